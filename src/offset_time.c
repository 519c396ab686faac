/* offset_time.c: the offset of the first record that is not older than a time. Segments are found by halving;
 * the records of one are looked through. */
#include "compat.h"

#include "fetch.h"
#include "fmgr.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(streamhouse_offset_at);

typedef struct TimeSearch {
    int64 timestamp;
    int64 found; /* -1: not yet */
} TimeSearch;

static bool search_put(void *argument, const Record *record)
{
    TimeSearch *search = argument;
    if (record->timestamp < search->timestamp) {
        return true;
    }
    search->found = record->offset;
    return false;
}

/* offset_at(topic_id, partition, ms since 1970): the next offset when no record is as young; NULL: no such
 * partition. */
Datum streamhouse_offset_at(PG_FUNCTION_ARGS)
{
    Datum topic_id = PG_GETARG_DATUM(0);
    Datum partition = PG_GETARG_DATUM(1);
    TimeSearch search = { PG_GETARG_INT64(2), -1 };
    FetchLimits all = { PG_INT64_MAX, PG_INT64_MAX };
    Fetch fetch;
    Segment segment;
    fetch_open(&fetch, all, search_put, &search);
    bool exists = finder_turn(&fetch.finder, topic_id, partition);
    int64 from = fetch.finder.high_watermark;
    if (exists && finder_seek_time(&fetch.finder, search.timestamp, &segment)) {
        from = Max(segment.base_offset, fetch.finder.log_start_offset);
    }
    if (exists) {
        (void)fetch_partition(&fetch, DatumGetInt32(topic_id), DatumGetInt32(partition), from, PG_INT64_MAX);
        from = search.found >= 0 ? search.found : fetch.finder.high_watermark;
    }
    fetch_close(&fetch);
    if (!exists) {
        PG_RETURN_NULL();
    }
    PG_RETURN_INT64(from);
}
