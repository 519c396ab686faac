/* watch_internal.h: what the two ways of sh_watch() share: the ring in shared memory (watch.c) and polling
 * (watch_poll.c).
 */
#ifndef STREAMHOUSE_WATCH_INTERNAL_H
#define STREAMHOUSE_WATCH_INTERNAL_H

#include "postgres.h"

#include "utils/timestamp.h"
#include "watch.h"

enum { WATCH_ENTRIES_MAX = 8192 /* entries one sh_watch() gives */ };

/* What a call of sh_watch() found. */
typedef struct WatchNews {
    int64 cursor;
    int count;
    bool lost;
    WatchEntry *entries;
} WatchNews;

/* Of the same partition, and both ends, or both starts. */
extern bool watch_same_subject(const WatchEntry *a, const WatchEntry *b);
extern long watch_left_ms(TimestampTz deadline);

/* Ends the transaction, and with it every snapshot. */
extern void watch_release_snapshots(void);

/* Waits without a ring. */
extern void watch_poll_wait(WatchNews *news, TimestampTz deadline);

#endif
