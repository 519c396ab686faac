/* wait.h: waits until one of some partitions has new records. See wait.c. */
#ifndef STREAMHOUSE_WAIT_H
#define STREAMHOUSE_WAIT_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "watch.h"

/* A place in the history of commits, and until when to wait. */
typedef struct Wait {
    int64 cursor;
    TimestampTz deadline;
} Wait;

/* Takes a place. Then look, with a snapshot taken after this (GetLatestSnapshot()): what commits later is
 * waited for, and nothing falls between. */
extern Wait wait_begin(int64 timeout_ms);

/* An interval's milliseconds, a month being 30 days; ERROR when it is negative. */
extern int64 wait_ms(const Interval *interval);

/* Sleeps until the end of one of the partitions is beyond the end_offset given for it: true, look again, with
 * a snapshot taken after this. False: the deadline has passed. ERROR when the query is cancelled. Sorts the
 * partitions. May wake for nothing, so look in a loop.
 *
 * fcinfo is the calling function's (NULL: none). When that runs in a statement by itself that reads no table,
 * under READ COMMITTED, the statement's snapshot is given back meanwhile and replaced by a new one after, so
 * that waiting holds back no vacuum: close every scan, and keep no pointer to a snapshot. */
extern bool wait_for_partitions(Wait *wait, FunctionCallInfo fcinfo, WatchEntry *partitions, int count);

#endif
