/* read_call.c: sh_read(), sh_read_text() and sh_read_json(): a topic as a table. All ends are taken at the
 * start, by one snapshot, so that a read of many partitions is of one moment, and ends. A time range begins
 * at the first segment that can have a record of it, and passes over segments and batches that have none. */
#include "compat.h"

#include "access.h"
#include "catalog/pg_type.h"
#include "fetch.h"
#include "fetch_rows.h"
#include "fmgr.h"
#include "read_progress.h"
#include "request_array.h"
#include "topic_lookup.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(sh_read);
PG_FUNCTION_INFO_V1(sh_read_text);
PG_FUNCTION_INFO_V1(sh_read_json);

enum {
    READ_TOPIC,
    READ_PARTITIONS,
    READ_FROM_TIME,
    READ_TO_TIME,
    READ_FROM_OFFSET,
    READ_INVALID_AS_NULL, /* not of sh_read() */
    READ_PARTITIONS_MAX = 100000
};

#define ERRCODE_UNKNOWN_PARTITION MAKE_SQLSTATE('S', 'H', '0', '0', '3')
#define MS_TO_2000                ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

/* Offsets from .. to - 1 of a partition. */
typedef struct ReadRange {
    int32 partition;
    int64 from;
    int64 to;
} ReadRange;

typedef struct Reading {
    TopicFound topic;
    int64 from_ms; /* PG_INT64_MIN: no bound */
    int64 to_ms;   /* PG_INT64_MAX: no bound */
    int64 from_offset;
    int count;
    ReadRange *ranges;
    ReadProgress progress;
    FetchRows rows;
} Reading;

/* A bound in whole milliseconds, as records have them: the first one at or after it. */
static int64 bound_ms(TimestampTz at)
{
    if (TIMESTAMP_IS_NOBEGIN(at)) {
        return PG_INT64_MIN;
    }
    if (TIMESTAMP_IS_NOEND(at)) {
        return PG_INT64_MAX;
    }
    int64 ms = at / 1000 + (at % 1000 > 0 ? 1 : 0);
    return ms + MS_TO_2000;
}

static bool reading_has_times(const Reading *reading)
{
    return reading->from_ms != PG_INT64_MIN || reading->to_ms != PG_INT64_MAX;
}

static bool reading_put(void *argument, const Record *record)
{
    Reading *reading = argument;
    read_progress_add(&reading->progress,
                      (int64)(record->key.size + record->value.size + record->headers.size));
    if (reading_has_times(reading) && (record->timestamp == -1 || record->timestamp < reading->from_ms ||
                                       record->timestamp >= reading->to_ms)) {
        return true;
    }
    return fetch_rows_put(&reading->rows, record);
}

static void range_add(Reading *reading, Finder *finder, int32 partition)
{
    Segment segment;
    if (!finder_turn(finder, Int32GetDatum(reading->topic.topic_id), Int32GetDatum(partition))) {
        ereport(ERROR, errcode(ERRCODE_UNKNOWN_PARTITION),
                errmsg("topic \"%s\" has no partition %d", reading->topic.name, partition),
                errhint("Its partitions are 0 to %d.", reading->topic.partitions - 1));
    }
    ReadRange range = { partition, Max(finder->log_start_offset, reading->from_offset),
                        finder->high_watermark };
    if (reading->from_ms != PG_INT64_MIN) {
        if (!finder_seek_time(finder, reading->from_ms, &segment)) {
            return;
        }
        range.from = Max(range.from, segment.base_offset);
    }
    if (range.from < range.to) {
        reading->ranges[reading->count++] = range;
    }
}

/* Where to read, by the active snapshot. */
static void ranges_plan(FunctionCallInfo fcinfo, Reading *reading)
{
    Finder finder;
    RequestArray asked = { NULL, reading->topic.partitions };
    if (!PG_ARGISNULL(READ_PARTITIONS)) {
        asked = request_array(fcinfo, READ_PARTITIONS, READ_PARTITIONS_MAX);
    }
    reading->ranges = palloc(sizeof(ReadRange) * Max(asked.count, 1));
    finder_open(&finder);
    for (int i = 0; i < asked.count; i++) {
        range_add(reading, &finder, asked.data ? ((const int32 *)asked.data)[i] : i);
        CHECK_FOR_INTERRUPTS();
    }
    finder_close(&finder);
}

static int64 ranges_total(const Reading *reading)
{
    int64 total = 0;
    for (int i = 0; i < reading->count; i++) {
        total += reading->ranges[i].to - reading->ranges[i].from;
    }
    return total;
}

/* What is deleted while it is read has gone: its place is passed over. */
static void range_read(Reading *reading, Fetch *fetch, ReadRange range)
{
    bool exists = true;
    fetch_rows_turn(&reading->rows, reading->topic.name, range.partition);
    while (exists && range.from < range.to) {
        FetchedPartition fetched =
            fetch_partition(fetch, reading->topic.topic_id, range.partition, range.from, range.to);
        exists = fetched.exists && fetched.high_watermark > range.from;
        range.from = Max(fetched.next_offset, fetched.log_start_offset);
    }
}

static void reading_run(Reading *reading)
{
    Fetch fetch;
    FetchLimits everything = { PG_INT64_MAX, PG_INT64_MAX };
    read_progress_begin(&reading->progress, ranges_total(reading));
    fetch_open(&fetch, everything, reading_put, reading);
    fetch.from_timestamp = reading->from_ms;
    for (int i = 0; i < reading->count; i++) {
        range_read(reading, &fetch, reading->ranges[i]);
    }
    fetch_close(&fetch);
}

static Datum read_call(FunctionCallInfo fcinfo, RowsKind kind)
{
    Reading reading = { .from_ms = PG_INT64_MIN, .to_ms = PG_INT64_MAX };
    if (PG_ARGISNULL(READ_TOPIC)) {
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("topic must not be null"));
    }
    reading.topic = topic_lookup(text_to_cstring(PG_GETARG_TEXT_PP(READ_TOPIC)));
    access_require(reading.topic.topic_id, reading.topic.name, ACCESS_CONSUME);
    if (!PG_ARGISNULL(READ_FROM_TIME)) {
        reading.from_ms = bound_ms(PG_GETARG_TIMESTAMPTZ(READ_FROM_TIME));
    }
    if (!PG_ARGISNULL(READ_TO_TIME)) {
        reading.to_ms = bound_ms(PG_GETARG_TIMESTAMPTZ(READ_TO_TIME));
    }
    reading.from_offset = PG_ARGISNULL(READ_FROM_OFFSET) ? 0 : PG_GETARG_INT64(READ_FROM_OFFSET);
    fetch_rows_open(&reading.rows, fcinfo, kind);
    reading.rows.invalid_as_null =
        kind != ROWS_BYTES && !PG_ARGISNULL(READ_INVALID_AS_NULL) && PG_GETARG_BOOL(READ_INVALID_AS_NULL);
    ranges_plan(fcinfo, &reading);
    reading_run(&reading);
    return (Datum)0;
}

Datum sh_read(PG_FUNCTION_ARGS)
{
    return read_call(fcinfo, ROWS_BYTES);
}

Datum sh_read_text(PG_FUNCTION_ARGS)
{
    return read_call(fcinfo, ROWS_TEXT);
}

Datum sh_read_json(PG_FUNCTION_ARGS)
{
    return read_call(fcinfo, ROWS_JSON);
}
