/* agent.h: an agent of a simulation: the product's lease clock and log, and of the rest as much as they need:
 * a heartbeat timer, a catalog, Produce requests, a drain. */
#ifndef STREAMHOUSE_SIM_AGENT_H
#define STREAMHOUSE_SIM_AGENT_H

#include "agent/jobs/lease_clock.h"
#include "agent/log/log.h"
#include "test/sim/network.h"

typedef enum AgentState {
    AGENT_DOWN,
    AGENT_RUNNING,
    AGENT_DRAINING,  /* serves until others have its leases */
    AGENT_FINISHING, /* takes nothing new */
    AGENT_LEAVING
} AgentState;

/* Of a hand-over. */
typedef enum RoundState { ROUND_NONE, ROUND_LISTING, ROUND_FINISHING, ROUND_GIVING, ROUND_ASKING } RoundState;

enum { AGENT_PARKED = 64 };

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
    RoundState round;
    int64_t round_until_ms;
    uint32_t closing; /* partitions that it takes nothing new for, as a set */
    int64_t drain_until_ms;
    int parked_count;
    SimRequest *parked[AGENT_PARKED];
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

/* Batches whose partition has changed hands go on. */
void agent_resume_parked(SimAgent *agent);

/* agent_lease.c */
void agent_beat_after(SimAgent *agent, int64_t delay_ms);
void agent_beat(SimAgent *agent);
void agent_heartbeat_ended(SimAgent *agent, const SimCall *call);
void agent_catalog_read(SimAgent *agent, const SimCall *call, bool answered);
void agent_look_after_drain(SimAgent *agent);
void agent_news(SimAgent *agent, const News *news);
void agent_hand_over(SimAgent *agent);
void agent_round_listed(SimAgent *agent, const SimCall *call);
void agent_round_given(SimAgent *agent);
void agent_round_tick(SimAgent *agent);

/* agent_log.c */
Log *agent_log_new(SimAgent *agent);
void agent_log_call_ended(SimAgent *agent, SimCall *call, BrainOutcome outcome);

#endif
