/* outbox.h: records that the current transaction produces, waiting for its end. See outbox.c. */
#ifndef STREAMHOUSE_OUTBOX_H
#define STREAMHOUSE_OUTBOX_H

#include "postgres.h"

#include "append.h"
#include "common/record.h"
#include "produce_topic.h"

/* Records of one batch to be, encoded; in memory or in the temporary file. */
typedef struct OutboxBatch {
    RecordBuilder records;
    size_t spilled_bytes; /* 0: in memory */
    int file;             /* where they are in the temporary file */
    off_t offset;
} OutboxBatch;

/* What a rollback to a savepoint gives back. */
typedef struct OutboxState {
    int64 record_count;
    int batch_count;
    RecordBuilderMark last; /* of the last batch */
    int lock_level;         /* the nesting level that holds the partition's append lock; 0: nobody does */
    AppendEnd end;          /* under the lock: where the first of the records goes */
} OutboxState;

typedef struct OutboxPartition {
    int32 topic_id; /* with the partition: the key */
    int32 partition;
    const ProduceTopic *topic;
    OutboxState state; /* but for last, which the batch itself knows */
    int mark_level;    /* nesting level of its latest mark; 0: none */
    OutboxBatch *batches;
    int batch_capacity;
    struct OutboxPartition *next; /* of all */
} OutboxPartition;

/* Must be called before a transaction produces: ERROR where it cannot. */
extern void outbox_begin(const char *function);

/* A partition of a topic, with whatever the transaction has for it. Valid until the transaction ends. */
extern OutboxPartition *outbox_partition(const ProduceTopic *topic, int32 partition);

/* Queues a record; returns how many were before it in its partition. ERROR 54000 when it is larger than
 * max.message.bytes. */
extern int64 outbox_add(OutboxPartition *partition, const RecordInput *record);

/* Whether a record would begin a new batch: the moment to turn to another partition. */
extern bool outbox_is_at_batch_end(const OutboxPartition *partition, const RecordInput *record);

/* Takes the partition's append lock, unless the transaction has it. False only with LockWaitSkip. ERROR 42704
 * when the partition is gone. */
extern bool outbox_lock(OutboxPartition *partition, LockWaitPolicy wait);

/* Called at the end of what produces: where the transaction is past writing its outbox, writes what came
 * since. */
extern void outbox_end(void);

/* For outbox_write.c. */
extern OutboxPartition **
outbox_filled(int *count); /* partitions with records, in order; in the current context */
extern void outbox_complain_of_absence(const OutboxPartition *partition);
extern void outbox_batch_load(OutboxBatch *batch);
extern void outbox_empty(void); /* all was written: forgets records and marks, and keeps locks */
extern void outbox_write(void); /* writes everything */

#endif
