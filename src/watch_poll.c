/* watch_poll.c: sh_watch() without a ring: every partition's end as this backend last saw it, in the order of
 * topic and partition, compared again and again. */
#include "compat.h"
#include "watch_internal.h"

#include "executor/spi.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

enum {
    POLL_MS = 100, /* between two polls */
    POLL_REST = 4, /* a slow poll rests this many times its own length */
};

static WatchEntry *seen = NULL;
static int seen_count = 0;
static int64 seen_cursor = 0; /* 0: nothing seen yet */

/* All partitions' ends, in TopMemoryContext. */
static WatchEntry *poll_partitions(int *count)
{
    WatchEntry *ends;

    PushActiveSnapshot(GetTransactionSnapshot());
    if (SPI_execute("SELECT topic_id, partition, end_offset FROM streamhouse.watch_poll()", true, 0) !=
        SPI_OK_SELECT)
        elog(ERROR, "streamhouse.watch_poll() failed");
    *count = (int)SPI_processed;
    ends = MemoryContextAllocHuge(TopMemoryContext, sizeof(WatchEntry) * (SPI_processed + 1));
    for (int i = 0; i < *count; i++) {
        HeapTuple row = SPI_tuptable->vals[i];
        bool isnull;

        ends[i].topic_id = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &isnull));
        ends[i].partition = DatumGetInt32(SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &isnull));
        ends[i].end_offset = DatumGetInt64(SPI_getbinval(row, SPI_tuptable->tupdesc, 3, &isnull));
    }
    SPI_freetuptable(SPI_tuptable);
    PopActiveSnapshot();
    return ends;
}

/* Both lists are sorted: finds the entries of ends that are new or farther than in seen. */
static void poll_compare(const WatchEntry *ends, int count, WatchNews *news)
{
    int old = 0;

    news->count = 0;
    for (int i = 0; i < count && news->count < WATCH_ENTRIES_MAX; i++) {
        while (old < seen_count && !watch_same_subject(&seen[old], &ends[i]) &&
               watch_entry_compare(&seen[old], &ends[i]) < 0)
            old++;
        if (old == seen_count || !watch_same_subject(&seen[old], &ends[i]) ||
            seen[old].end_offset < ends[i].end_offset)
            news->entries[news->count++] = ends[i];
    }
}

static void poll_remember(WatchEntry *ends, int count, int64 cursor)
{
    if (seen)
        pfree(seen);
    seen = ends;
    seen_count = count;
    seen_cursor = cursor;
}

/* Ends the transaction, and with it every snapshot. */
void watch_release_snapshots(void)
{
    SPI_commit();
    SPI_start_transaction();
    InvalidateCatalogSnapshot();
}

/* True when something moved. More than fits means that everything is to be read again. */
static bool poll_once(WatchNews *news)
{
    int count;
    WatchEntry *ends = poll_partitions(&count);

    poll_compare(ends, count, news);
    news->lost = news->count == WATCH_ENTRIES_MAX;
    if (news->count > 0)
        news->cursor++;
    poll_remember(ends, count, news->cursor);
    watch_release_snapshots();
    return news->count > 0;
}

/* The first look of this backend, or one for a cursor that is not its own. */
static void poll_begin(WatchNews *news)
{
    int count;
    WatchEntry *ends = poll_partitions(&count);

    news->lost = news->cursor != 0;
    news->cursor = Max(GetCurrentTimestamp(), seen_cursor + 1);
    poll_remember(ends, count, news->cursor);
    watch_release_snapshots();
}

static void poll_rest(long timeout_ms)
{
    (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout_ms, PG_WAIT_EXTENSION);
    ResetLatch(MyLatch);
    CHECK_FOR_INTERRUPTS();
}

void watch_poll_wait(WatchNews *news, TimestampTz deadline)
{
    long rest_ms = POLL_MS;

    news->entries = palloc(sizeof(WatchEntry) * WATCH_ENTRIES_MAX);
    if (news->cursor == 0 || news->cursor != seen_cursor)
        poll_begin(news);
    while (!news->lost) {
        TimestampTz began = GetCurrentTimestamp();

        if (poll_once(news) || watch_left_ms(deadline) <= 0)
            break;
        rest_ms = Max(POLL_MS, POLL_REST * TimestampDifferenceMilliseconds(began, GetCurrentTimestamp()));
        poll_rest(Min(rest_ms, watch_left_ms(deadline)));
    }
}
