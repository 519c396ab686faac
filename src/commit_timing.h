/* commit_timing.h: remembers the slowest commits. See commit_timing.c. */
#ifndef STREAMHOUSE_COMMIT_TIMING_H
#define STREAMHOUSE_COMMIT_TIMING_H

#include "postgres.h"

/* What appends. */
typedef enum CommitKind { COMMIT_KIND_OBJECT, COMMIT_KIND_INLINE, COMMIT_KIND_SQL, COMMIT_KINDS } CommitKind;

extern void commit_timing_init(void);

/* Called when an append begins. The first of a transaction starts the clock and gives the kind; those that
 * follow add their numbers. The clock stops when the transaction has committed; one that is rolled back is
 * forgotten. */
extern void commit_timing_begin(CommitKind kind, int32 partitions, int32 batches, int64 bytes);

#endif
