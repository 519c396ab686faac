/* watch.h: tells waiting readers which partitions moved. See watch.c. */
#ifndef STREAMHOUSE_WATCH_H
#define STREAMHOUSE_WATCH_H

#include "postgres.h"

/*
 * Notes that the current transaction moved a partition's end. Published to every sh_watch() once the
 * transaction has committed and its rows are visible; forgotten when it (or its subtransaction) aborts. Call
 * it as often as there are partitions. COMMIT PREPARED publishes nothing: a caller refuses to be prepared.
 * Allocates in the transaction's memory and may ereport() only for lack of it.
 */
extern void watch_note(int32 topic_id, int32 partition, int64 end_offset);

/* Called once by _PG_init: callbacks and, under shared_preload_libraries, shared memory. */
extern void watch_init(void);

#endif
