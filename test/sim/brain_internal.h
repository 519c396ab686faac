/* brain_internal.h: the tables and transactions behind brain.h. */
#ifndef STREAMHOUSE_SIM_BRAIN_INTERNAL_H
#define STREAMHOUSE_SIM_BRAIN_INTERNAL_H

#include "src/commit_decide.h"
#include "test/sim/brain.h"
#include "test/sim/sim.h"

typedef struct PartitionRow {
    int32_t leader;
    int32_t epoch;
    int32_t next;
    int32_t overruled_epoch;
    int64_t hand_over_until_us;
    int64_t end_offset;
    int held_by; /* transaction, plus one */
    int entry_count;
    ProducerRing rings[SIM_PRODUCERS];
    BrainEntry entries[BRAIN_ENTRIES];
} PartitionRow;

typedef struct AgentRow {
    bool registered;
    bool draining;
    int held_by;
    int32_t agent_id;
    int64_t incarnation;
    int64_t previous_incarnation;
    int64_t heartbeat_us;
    int64_t expires_us;
    int64_t version;
    int notices;
} AgentRow;

typedef struct AnswerRow {
    int32_t next; /* of its object, 0: none */
    BrainAnswer answer;
    int16_t status; /* as commit_decide.c calls it */
} AnswerRow;

typedef enum TxKind { TX_COMMIT, TX_LEASES, TX_SESSION } TxKind;

typedef enum ChangeKind { CHANGE_MOVE, CHANGE_RELEASE, CHANGE_NEXT } ChangeKind;

/* What a transaction does to a lease. */
typedef struct LeaseChange {
    ChangeKind kind;
    int partition;
    int32_t before; /* who leads */
    int32_t agent;  /* who is to; of CHANGE_NEXT too */
    bool overruled;
} LeaseChange;

typedef struct BrainTx {
    bool open;
    uint32_t number;
    TxKind kind;
    int64_t durable_us;
    int64_t end_us;
    uint32_t partitions_held; /* a set */
    uint32_t agents_held;
    bool assigns; /* has the advisory lock */

    int64_t object_id;
    int partition_count;
    int batch_count;
    CommitPartition partitions[SIM_PARTITIONS];
    CommitProducer producers[SIM_PARTITIONS][SIM_PRODUCERS];
    CommitBatch batches[BRAIN_ROWS];
    CommitBatch *order[BRAIN_ROWS];
    CommitSegment segments[BRAIN_ROWS];

    int session_partition;
    int32_t session_records;

    int agent; /* whose row changes; BRAIN_NOBODY: none */
    AgentRow row;
    int notices_taken;
    bool balanced; /* nothing was left to be done */
    uint32_t able;
    int change_count;
    LeaseChange changes[2 * SIM_PARTITIONS];
} BrainTx;

struct Brain {
    Sim *sim;
    uint32_t tx_count;
    int64_t started_us;
    int64_t next_object_id;
    int32_t answer_count;
    int32_t next_agent_id;
    uint32_t balanced; /* agents, as a set */
    bool was_balanced;
    int assigner; /* the transaction with the advisory lock, plus one */
    PartitionRow partitions[SIM_PARTITIONS];
    AgentRow agents[SIM_AGENTS];
    BrainObject objects[BRAIN_OBJECTS];
    AnswerRow answers[BRAIN_ANSWERS];
    BrainTx txs[BRAIN_TXS];
};

/* brain.c */
BrainTx *brain_tx_new(Brain *brain, TxKind kind, int *number);
BrainBegun brain_begun(int tx);
BrainBegun brain_refused(BrainOutcome outcome);
void brain_hold_partition(Brain *brain, int tx, int partition);
void brain_release(Brain *brain, int tx);
void brain_append_entry(Brain *brain, int partition, const BrainEntry *entry);
bool brain_object_is_held(const Brain *brain, int64_t object_id);

/* brain_commit.c */
void brain_apply_commit(Brain *brain, BrainTx *tx);
/* brain_lease.c */
void brain_apply_leases(Brain *brain, BrainTx *tx);

#endif
