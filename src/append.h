/* append.h: a partition's append lock for transactions of people, and where its log ends. See append.c. */
#ifndef STREAMHOUSE_APPEND_H
#define STREAMHOUSE_APPEND_H

#include "postgres.h"

#include "nodes/lockoptions.h"

typedef enum AppendLock { APPEND_LOCKED, APPEND_BUSY, APPEND_GONE } AppendLock;

/* Where the next record goes. */
typedef struct AppendEnd {
    int64 next_offset;
    int64 running_max_timestamp; /* ms since 1970; -1 before the first record */
    int32 leader_epoch;          /* of the partition's current lease */
    CommandId command;           /* of this transaction, when this was read */
} AppendEnd;

/* Locks a partition's row in the current (sub)transaction and reads, with a snapshot newer than the lock,
 * where the partition ends. APPEND_BUSY only with LockWaitSkip; LockWaitBlock waits for
 * streamhouse.append_lock_timeout, then it is ERROR 55P03. APPEND_GONE: there is no such partition (any
 * more). topic is the name for that error. */
extern AppendLock append_lock(int32 topic_id, int32 partition, const char *topic, LockWaitPolicy wait,
                              AppendEnd *end);

/* Where a partition that is locked ends now; false when the transaction has deleted it. */
extern bool append_read(int32 topic_id, int32 partition, AppendEnd *end);

#endif
