/* brain.h: PostgreSQL as the agents of a simulation see it: transactions over tables in memory, decided by
 * the product's own commit_decide.c and lease planner. A transaction decides when it begins, under its locks,
 * shows what it did when it ends, and is durable some time before that. A restart ends all that are open:
 * what was durable stays, though nobody was told; the rest was never there. A failover is the same, where
 * durable means that the standby has it.
 *
 * Included beside agent/log/log.h, whose names for answers are commit_decide.h's too: hence names of its own.
 */
#ifndef STREAMHOUSE_SIM_BRAIN_H
#define STREAMHOUSE_SIM_BRAIN_H

#include "common/commit_row.h"
#include "test/sim/config.h"
#include "test/sim/coverage.h"

enum {
    BRAIN_ROWS = 48,      /* batches of one commit */
    BRAIN_ENTRIES = 512,  /* batches of one partition */
    BRAIN_OBJECTS = 4096, /* and inline calls */
    BRAIN_ANSWERS = 2048, /* kept ones */
    BRAIN_TXS = 32,
    BRAIN_CALL_IDS = 8, /* of a block */
    BRAIN_NOBODY = -1
};

typedef struct Sim Sim;
typedef struct Brain Brain;

typedef enum BrainStatus { BRAIN_COMMITTED, BRAIN_DUPLICATE, BRAIN_LOCKED, BRAIN_REFUSED } BrainStatus;

typedef struct BrainAnswer {
    int32_t batch;
    BrainStatus status;
    int16_t error;
    int32_t leader_epoch;
    int64_t base_offset;
} BrainAnswer;

typedef enum BrainOutcome {
    BRAIN_ANSWERED,
    BRAIN_EXPIRED, /* the object's time is over */
    BRAIN_BUSY,    /* it waits for a lock, until BrainBegun.busy_until_us at least */
    BRAIN_FULL,
    BRAIN_REPLACED, /* another process has the agent's name */
    BRAIN_UNKNOWN,  /* the connection died */
    BRAIN_FAILED
} BrainOutcome;

typedef struct BrainBegun {
    BrainOutcome outcome;
    int tx; /* that is to be ended; BRAIN_NOBODY: none is open */
    int64_t busy_until_us;
} BrainBegun;

typedef struct BrainCommit {
    int32_t agent_id;
    bool is_inline;
    bool waits; /* for the lock of its partition */
    int64_t id;
    const CommitRow *rows;
    int count;
} BrainCommit;

/* What a partition's lease looks like. */
typedef struct BrainLease {
    int32_t leader; /* agent id, BRAIN_NOBODY */
    int32_t epoch;
    int32_t next; /* who is to lead then, BRAIN_NOBODY */
} BrainLease;

typedef struct BrainHeartbeat {
    int agent; /* its place among the simulation's agents: its name */
    int64_t incarnation;
    int64_t known_version;
    int64_t ttl_us;
    bool draining;
    uint32_t partitions; /* a hand-over's, as a set */
} BrainHeartbeat;

typedef struct BrainHeartbeatAnswer {
    int32_t agent_id;
    int64_t version;
    bool changed;
} BrainHeartbeatAnswer;

/* A batch in a partition's log. */
typedef struct BrainEntry {
    int64_t base_offset;
    int64_t object_id;
    int32_t count;
    int32_t first_sequence;
    int32_t epoch;
    int32_t producer; /* BRAIN_NOBODY: SQL's */
} BrainEntry;

typedef enum ObjectState {
    OBJECT_NONE,
    OBJECT_INTENT,
    OBJECT_LIVE,
    OBJECT_DELETING,
    OBJECT_GONE
} ObjectState;

typedef struct BrainObject {
    ObjectState state;
    bool is_inline;
    bool forgotten; /* inline: the agent said that it will not ask again */
    bool put;       /* its key was used */
    bool stored;
    int32_t agent_id;
    int32_t segments;
    int32_t answers; /* the newest kept one, 0: none */
    int64_t expires_us;
} BrainObject;

Brain *brain_new(Sim *sim);
void brain_free(Brain *brain);
/* Empty tables, as the configuration wants them. */
void brain_reset(Brain *brain);

/* A transaction begins and decides. Its end comes when tx_ends() is called for it; answers are written at
 * once, and are to be told only then. */
BrainBegun brain_begin_commit(Brain *brain, const BrainCommit *commit, BrainAnswer *answers);
BrainBegun brain_begin_heartbeat(Brain *brain, const BrainHeartbeat *heartbeat, BrainHeartbeatAnswer *answer);
BrainBegun brain_begin_leave(Brain *brain, const BrainHeartbeat *heartbeat);
/* An agent gives the heartbeat's partitions to their next leaders. */
BrainBegun brain_begin_hand_over(Brain *brain, const BrainHeartbeat *heartbeat);
/* A session of SQL locks a partition, and appends to it or does not. */
BrainBegun brain_begin_session(Brain *brain, int partition, int32_t records);
/* The transaction is durable from durable_us on and ends at end_us. */
void brain_set_end(Brain *brain, int tx, int64_t durable_us, int64_t end_us);
/* What it did is there for everybody. */
void brain_end(Brain *brain, int tx);
/* Another one for each transaction that ever was; 0: it is over. */
uint32_t brain_tx_number(const Brain *brain, int tx);
/* All transactions end, in one way or the other; calls whose transaction ended are told nothing. */
void brain_restart(Brain *brain);

/* Without transactions of their own. */
int64_t brain_reserve_object(Brain *brain, int32_t agent_id, int64_t ttl_us);
int64_t brain_reserve_calls(Brain *brain, int32_t agent_id);
void brain_forget_calls(Brain *brain, int64_t first);
void brain_read_leases(const Brain *brain, BrainLease *leases);
/* The reaper's round; last: and a day passes, so that what it deleted before is deleted again. */
void brain_reap(Brain *brain, bool last);

BrainObject *brain_object(Brain *brain, int64_t id);
/* Ids are below it. */
int64_t brain_object_count(const Brain *brain);
int64_t brain_end_offset(const Brain *brain, int partition);
const BrainEntry *brain_entries(const Brain *brain, int partition, int *count);
/* Agents that count as alive, as a set of their places. */
/* The last epoch that began because an agent that was to hand the partition over had not; 0: none. */
int32_t brain_overruled_epoch(const Brain *brain, int partition);
/* The agents that may lead are those for which the last plan was carried out, and nothing is being handed
 * over. */
bool brain_is_balanced(const Brain *brain);
uint32_t brain_live_agents(const Brain *brain);
int32_t brain_agent_id(const Brain *brain, int agent);

#endif
