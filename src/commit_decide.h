/* commit_decide.h: what becomes of a batch, decided in plain C from rows that were read before. No SQL, no
 * allocation, no PostgreSQL header: the unit tests compile it alone. */
#ifndef STREAMHOUSE_COMMIT_DECIDE_H
#define STREAMHOUSE_COMMIT_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/commit_row.h"

/* Kafka's error codes, as far as a commit gives them. */
enum {
    COMMIT_ERROR_NONE = 0,
    COMMIT_ERROR_UNKNOWN_TOPIC_OR_PARTITION = 3,
    COMMIT_ERROR_NOT_LEADER = 6,
    COMMIT_ERROR_OUT_OF_ORDER_SEQUENCE = 45,
    COMMIT_ERROR_INVALID_PRODUCER_EPOCH = 47,
    COMMIT_ERROR_INVALID_RECORD = 87
};

/* Attribute bits that a client may not set: there are no transactions yet, and control batches are the
 * broker's. */
enum { COMMIT_ATTRIBUTE_TRANSACTIONAL = 0x10, COMMIT_ATTRIBUTE_CONTROL = 0x20 };

/* How many batches a producer may have in flight and still be told "duplicate": Kafka's number. */
enum { PRODUCER_RING_SIZE = 5 };

/* The labels of streamhouse.commit_status, after "not decided yet". */
typedef enum CommitStatus {
    COMMIT_UNDECIDED,
    COMMIT_COMMITTED,
    COMMIT_DUPLICATE,
    COMMIT_FENCED,
    COMMIT_LOCKED,
    COMMIT_INVALID,
    COMMIT_UNKNOWN,
    COMMIT_STATUSES
} CommitStatus;

typedef struct CommitAnswer {
    CommitStatus status;
    int16_t error_code;
    int64_t base_offset; /* -1 none */
} CommitAnswer;

typedef struct ProducedBatch {
    int32_t first_sequence;
    int32_t last_sequence;
    int64_t base_offset;
} ProducedBatch;

/* The last batches of a producer in a partition, newest first, all of one epoch; count 0 = nothing is known.
 */
typedef struct ProducerRing {
    int16_t epoch;
    int count;
    ProducedBatch batches[PRODUCER_RING_SIZE];
} ProducerRing;

typedef struct CommitProducer {
    int32_t topic_id;
    int32_t partition;
    int64_t producer_id;
    ProducerRing ring;
    int64_t end_offset;       /* after its last batch of this call */
    bool changed;             /* the ring took a batch in this call */
    CommitStatus refused;     /* fenced or invalid once a batch of this call was refused … */
    int32_t refused_sequence; /* … that began here; the same sequence again is the producer's retry */
} CommitProducer;

typedef struct CommitBatch {
    CommitRow row;
    CommitAnswer answer;
    bool repeated;            /* the answer was given by an earlier call and is not written again */
    CommitProducer *producer; /* NULL when the batch names none */
    struct CommitPartition *partition;
} CommitBatch;

typedef struct CommitSegment {
    int32_t topic_id;
    int32_t partition;
    int64_t base_offset;
    int64_t end_offset;
    int32_t byte_start;
    int32_t byte_length;
    int32_t batches;
    int32_t leader_epoch;
    int64_t max_timestamp;
    int64_t running_max_timestamp;
} CommitSegment;

typedef struct CommitPartition {
    int32_t topic_id;
    int32_t partition;
    CommitStatus absent; /* COMMIT_LOCKED or COMMIT_UNKNOWN; COMMIT_UNDECIDED while we hold its row */
    int64_t log_start_offset;
    int64_t next_offset;
    int64_t running_max_timestamp;
    int32_t leader_id; /* agent that leads, -1 none */
    int32_t lease_epoch;
    CommitBatch **batches; /* in the caller's order */
    int batch_count;
    CommitProducer *producers;
    int producer_count;
    CommitSegment *segments; /* room for batch_count of them */
    int segment_count;
} CommitPartition;

/* The sequence that is distance steps after another: 0 follows 2147483647. */
int32_t sequence_after(int32_t sequence, int32_t distance);

/* Answers every batch of a partition that has no answer yet, moves next_offset and rings, and fills segments.
 * Only batches under the agent's own current lease epoch are taken. */
void commit_decide_partition(CommitPartition *partition, int32_t agent_id);

#endif
