/* watch.h: tells waiting readers which partitions moved. See watch.c. */
#ifndef STREAMHOUSE_WATCH_H
#define STREAMHOUSE_WATCH_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/condition_variable.h"

/*
 * Notes that the current transaction moved a partition's end. Published to every sh_watch() once the
 * transaction has committed and its rows are visible; forgotten when it (or its subtransaction) aborts. Call
 * it as often as there are partitions. COMMIT PREPARED publishes nothing: a caller refuses to be prepared.
 * Allocates in the transaction's memory and may ereport() only for lack of it.
 */
extern void watch_note(int32 topic_id, int32 partition, int64 end_offset);

/* The same for a partition whose log begins at a later offset from now on. */
extern void watch_note_log_start(int32 topic_id, int32 partition, int64 log_start_offset);

/* A partition, and an end of it; or, negative, a start: WATCH_LOG_START of the offset. */
#define WATCH_LOG_START(offset) (PG_INT64_MIN + (offset))
typedef struct WatchEntry {
    int64 end_offset;
    int32 topic_id;
    int32 partition;
} WatchEntry;

/* By topic, partition and end. */
extern int watch_entry_compare(const void *left, const void *right);

/* Whether commits are heard of at once; otherwise one has to poll. */
extern bool watch_is_shared(void);

/* Only where they are: the place in the ring after all that has been published, what to sleep on, and whether
 * one of the partitions (sorted by watch_entry_compare()) got beyond its end_offset since the cursor, which
 * moves on. Also true when the ring does not reach back that far. */
extern int64 watch_cursor(void);
extern ConditionVariable *watch_condition(void);
extern bool watch_passed(int64 *cursor, const WatchEntry *partitions, int count);

/* streamhouse.server_started_at() */
extern TimestampTz server_started_at(void);

/* Called once by _PG_init: callbacks and, under shared_preload_libraries, shared memory. */
extern void watch_init(void);

#endif
