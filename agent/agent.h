/* agent.h: the process. It owns the loop, the settings and the HTTP server, starts the modules in the order
 * of a table, drains and stops them in the reverse order, and obeys signals: SIGTERM and SIGINT drain (a
 * second one exits at once), SIGHUP reloads the settings. */
#ifndef STREAMHOUSE_AGENT_AGENT_H
#define STREAMHOUSE_AGENT_AGENT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/readiness.h"
#include "agent/settings.h"
#include "common/status.h"

typedef struct Agent Agent;
typedef struct Module Module;

/* Tells the agent that a module has drained; a second call for the same module does nothing. */
typedef void ModuleDrained(Agent *agent, const Module *module);

/* A part of the agent. Every function runs on the loop thread; all but start may be NULL. */
struct Module {
    const char *name; /* NULL ends a table */
    /* Makes the module work, or says why it cannot (the agent then exits). What only becomes true later (a
     * connection, a lease) is a condition of agent->readiness, not waited for here. A start that fails leaves
     * nothing behind. */
    Status (*start)(Agent *agent);
    /* Finishes what was accepted and takes nothing new; calls drained when done, now or later. Not waited for
     * beyond the setting drain_timeout_ms. */
    void (*drain)(Agent *agent, const Module *module, ModuleDrained *drained);
    /* Settings changed; agent->settings has the new values already. For modules that copied some. */
    void (*reload)(Agent *agent);
    /* Closes handles and frees memory. The loop still runs until closing callbacks are through, but the
     * module must not start anything. Also called without drain, or before drained was called. */
    void (*stop)(Agent *agent);
};

typedef enum AgentState { AGENT_STARTING, AGENT_RUNNING, AGENT_DRAINING, AGENT_STOPPING } AgentState;

enum { AGENT_SIGNALS = 3 };

struct Agent {
    uv_loop_t *loop;
    Settings settings; /* reloadable ones change under SIGHUP: read them where they are used */
    Readiness readiness;
    AgentState state;
    int64_t started_ms;      /* time_ms() */
    uint64_t incarnation[2]; /* random, new with every start */

    /* Each set by its module's start and cleared by its stop. */
    struct Store *store;
    struct Brain *brain;
    struct Catalog *catalog;
    struct Log *log;
    struct Lease *lease;
    struct HandOver *hand_over;
    struct Fetcher *fetcher;
    struct OffsetGather *offset_gather;
    struct GroupService *groups;
    struct RosterService *roster;
    struct KafkaServer *kafka;
    struct HttpServer *http;

    /* The process' own; not for modules. */
    const Module *modules;
    int started;  /* modules started, from the table's beginning */
    int draining; /* index of the module that drains now */
    int exit_code;
    Condition *running;
    uv_signal_t signals[AGENT_SIGNALS];
    uv_timer_t timer; /* bounds draining, then stopping */
};

/* The agent's modules in starting order. */
extern const Module agent_modules[];

/* Runs until told to stop; takes settings over. Returns the process' exit code. One agent at a time per
 * process. */
int agent_run(Agent *agent, Settings *settings, const Module *modules);

/* Begins an orderly end: what SIGTERM does. Harmless when called again. */
void agent_drain(Agent *agent);
/* The same because of a failure nothing can be done about: the exit code will be 1. */
void agent_fail(Agent *agent, const char *component, const Status *why);
/* Likewise, at once: what was accepted is not to be finished, and its producers will send it again. */
void agent_abandon(const char *component, const Status *why) __attribute__((noreturn));
/* What SIGHUP does. */
void agent_reload(Agent *agent);
/* The same after broker configs changed in the brain; does nothing when these values are in effect. */
void agent_overlay(Agent *agent, const SettingOverlay *overlays, int count);
const char *agent_state_name(AgentState state);

#endif
