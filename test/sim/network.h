/* network.h: what agents ask of PostgreSQL and of the store. Calls of one connection arrive in order and are
 * worked on one after the other. A connection that dies takes the answers with it, and not always the calls.
 */
#ifndef STREAMHOUSE_SIM_NETWORK_H
#define STREAMHOUSE_SIM_NETWORK_H

#include "agent/log/log.h"
#include "test/sim/sim.h"

typedef enum Connection {
    CONNECTION_COMMIT,
    CONNECTION_CONTENDED,
    CONNECTION_CONTROL,
    CONNECTION_READ,
    CONNECTIONS
} Connection;

typedef enum CallKind {
    CALL_HEARTBEAT,
    CALL_LEAVE,
    CALL_CATALOG,
    CALL_LIST,
    CALL_HAND_OVER,
    CALL_RESERVE,
    CALL_RESERVE_IDS,
    CALL_COMMIT,
    CALL_PUT
} CallKind;

struct SimCall {
    bool used;
    bool agent_waits;
    bool brain_waits; /* it has not arrived, or its transaction is open, or its answer is on the way */
    bool lost;        /* the answer is, or will be */
    bool is_inline;
    CallKind kind;
    uint8_t agent;
    uint8_t connection;
    uint32_t life; /* of the slot: events of its last use find another one */
    uint32_t agent_life;
    int tx;
    BrainOutcome outcome;
    int64_t sent_ms;    /* on the agent's clock */
    int64_t give_up_us; /* a commit that waits for a lock */
    int64_t id;         /* of the object or call; of reserved ones the first */
    int count;
    bool stored; /* PUT: and it succeeded */
    int32_t next_free;
    BrainHeartbeat heartbeat;
    BrainHeartbeatAnswer heartbeat_answer;
    union {
        IntentsReserved reserved;
        CallsReserved ids;
        PutFinished put;
        CommitFinished committed;
    } done;
    void *argument;
    BrainLease leases[SIM_PARTITIONS];
    CommitRow rows[BRAIN_ROWS];
    BrainAnswer answers[BRAIN_ROWS];
};

void network_reset(Sim *sim);
/* A call to PostgreSQL that is on its way when this returns; the caller fills the rest. */
SimCall *network_call(Sim *sim, SimAgent *agent, Connection connection, CallKind kind);
void network_put(Sim *sim, SimAgent *agent, int64_t object_id, int deadline_ms, PutFinished done,
                 void *argument);
/* The agent's connections die. */
void network_cut(Sim *sim, SimAgent *agent);
/* So do all; what is under way at PostgreSQL is over. */
void network_brain_down(Sim *sim, int64_t until_us);
/* The agent is gone: nobody waits for its calls. */
void network_forget_agent(Sim *sim, SimAgent *agent);
/* May a commit with one of these ids yet reach PostgreSQL? */
bool network_may_ask(const Sim *sim, int64_t first, int64_t end);
bool network_is_idle(const Sim *sim);
void network_event(Sim *sim, const Event *event);

#endif
