/* agent.h: an agent of a simulation: the product's lease clock and log, and of the rest as much as they need: a
 * heartbeat timer, a catalog, Produce requests, a drain. */
#ifndef STREAMHOUSE_SIM_AGENT_H
#define STREAMHOUSE_SIM_AGENT_H

#include "agent/jobs/lease_clock.h"
#include "agent/log/log.h"
#include "test/sim/network.h"

typedef enum AgentState { AGENT_DOWN, AGENT_RUNNING, AGENT_DRAINING, AGENT_LEAVING } AgentState;

struct SimAgent {
    Sim *sim;
    int index;
    AgentState state;
    uint32_t life;
    int64_t incarnation;
    int64_t paused_until_us;
    int64_t cut_off_until_us; /* from PostgreSQL */
    int64_t clock_zero_ms;
    int64_t clock_ppm;
    LeaseClock lease;
    int32_t agent_id;
    int64_t version;
    bool catalog_reading;
    bool catalog_wanted;
    bool catalog_fresh;
    bool woken;
    int64_t resumed_ms; /* when a pause ended last */
    int64_t tick_at_us;
    int64_t arrive_us[CONNECTIONS]; /* of the last call */
    int64_t busy_us[CONNECTIONS];   /* until then the backend works on one */
    int64_t answer_us[CONNECTIONS];
    Topic *topic;
    Log *log;
};

void agent_start(Sim *sim, SimAgent *agent);
void agent_kill(SimAgent *agent);
/* SIGSTOP, and SIGCONT later. */
void agent_pause(SimAgent *agent, int64_t until_us);
void agent_drain(SimAgent *agent);
bool agent_runs(const SimAgent *agent);
bool agent_is_paused(const SimAgent *agent);
int64_t agent_ms(const SimAgent *agent);
/* The earliest true time at which the agent's clock shows so much. */
int64_t agent_true_us(const SimAgent *agent, int64_t ms);
/* The product's code may be called: its clock is this agent's. */
void agent_enter(const SimAgent *agent);

/* Would the agent take a batch for the partition now? */
bool agent_leads(const SimAgent *agent, int partition);
/* A Produce request came. */
void agent_produce(SimAgent *agent, SimRequest *request);
void agent_catalog_refresh(SimAgent *agent);
void agent_call_ended(SimAgent *agent, SimCall *call);
void agent_event(Sim *sim, const Event *event);
void agent_run_tick(SimAgent *agent);

/* agent_log.c */
Log *agent_log_new(SimAgent *agent);
void agent_log_call_ended(SimAgent *agent, SimCall *call, BrainOutcome outcome);

#endif
