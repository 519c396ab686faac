/* fetch_call.c: sh_fetch() and streamhouse.fetch_many(): records from an offset on, as rows. */
#include "compat.h"

#include "access.h"
#include "fetch.h"
#include "fetch_rows.h"
#include "fmgr.h"
#include "request_array.h"
#include "store_read.h"
#include "topic_lookup.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "wait.h"

PG_FUNCTION_INFO_V1(sh_fetch);
PG_FUNCTION_INFO_V1(sh_fetch_stats);
PG_FUNCTION_INFO_V1(streamhouse_fetch_many);

enum { FETCH_POSITIONS_MAX = 1000000 };

/* Kafka's error codes as SQLSTATEs. */
#define ERRCODE_OFFSET_OUT_OF_RANGE MAKE_SQLSTATE('S', 'H', '0', '0', '1')
#define ERRCODE_UNKNOWN_PARTITION   MAKE_SQLSTATE('S', 'H', '0', '0', '3')

/* What sh_fetch() was asked for. */
typedef struct FetchAsked {
    TopicFound topic;
    int32 partition;
    int64 from;
    bool from_start;
    FetchLimits limits;
    int64 wait_ms;
} FetchAsked;

static int32 argument_positive(FunctionCallInfo fcinfo, int number, const char *name)
{
    if (PG_ARGISNULL(number) || PG_GETARG_INT32(number) < 1) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be 1 or more", name));
    }
    return PG_GETARG_INT32(number);
}

static void argument_require(FunctionCallInfo fcinfo, int number, const char *name)
{
    if (PG_ARGISNULL(number)) {
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name));
    }
}

static FetchAsked fetch_arguments(FunctionCallInfo fcinfo)
{
    FetchAsked asked = { 0 };
    argument_require(fcinfo, 0, "topic");
    argument_require(fcinfo, 1, "partition");
    argument_require(fcinfo, 5, "wait");
    asked.topic = topic_lookup(text_to_cstring(PG_GETARG_TEXT_PP(0)));
    access_require(asked.topic.topic_id, asked.topic.name, ACCESS_CONSUME);
    asked.partition = PG_GETARG_INT32(1);
    asked.from_start = PG_ARGISNULL(2);
    asked.from = asked.from_start ? 0 : PG_GETARG_INT64(2);
    asked.limits.records = argument_positive(fcinfo, 3, "max_records");
    asked.limits.bytes = argument_positive(fcinfo, 4, "max_bytes");
    asked.wait_ms = wait_ms(PG_GETARG_INTERVAL_P(5));
    return asked;
}

static void fetched_check(const FetchAsked *asked, const FetchedPartition *fetched)
{
    if (!fetched->exists) {
        ereport(ERROR, errcode(ERRCODE_UNKNOWN_PARTITION),
                errmsg("topic \"%s\" has no partition %d", asked->topic.name, asked->partition),
                errhint("Its partitions are 0 to %d.", asked->topic.partitions - 1));
    }
    if (asked->from < fetched->log_start_offset || asked->from > fetched->high_watermark) {
        ereport(
            ERROR, errcode(ERRCODE_OFFSET_OUT_OF_RANGE),
            errmsg("offset " INT64_FORMAT " is out of range in partition %d of topic \"%s\"", asked->from,
                   asked->partition, asked->topic.name),
            errdetail("The partition has offsets from " INT64_FORMAT
                      ", and the next record gets " INT64_FORMAT ".",
                      fetched->log_start_offset, fetched->high_watermark),
            errhint(
                "Offsets before the first are deleted by now. from_offset null begins at the first one."));
    }
}

/* One look, with the active snapshot. */
static FetchedPartition fetch_look(FetchAsked *asked, FetchRows *rows)
{
    Fetch fetch;
    fetch_open(&fetch, asked->limits, fetch_rows_put, rows);
    if (asked->from_start &&
        finder_turn(&fetch.finder, Int32GetDatum(asked->topic.topic_id), Int32GetDatum(asked->partition))) {
        asked->from = fetch.finder.log_start_offset;
        asked->from_start = false;
    }
    FetchedPartition fetched =
        fetch_partition(&fetch, asked->topic.topic_id, asked->partition, asked->from, PG_INT64_MAX);
    fetch_close(&fetch);
    if (rows->count == 0) {
        fetched_check(asked, &fetched);
    }
    asked->from = fetched.next_offset;
    return fetched;
}

/* Looks with new snapshots until there is a record or the time is up; then once more. */
static void fetch_wait(FunctionCallInfo fcinfo, FetchAsked *asked, FetchRows *rows)
{
    Wait wait = wait_begin(asked->wait_ms);
    bool has_time = true;
    for (;;) {
        PushActiveSnapshot(GetLatestSnapshot());
        FetchedPartition fetched = fetch_look(asked, rows);
        PopActiveSnapshot();
        if (rows->count > 0 || !has_time) {
            break;
        }
        WatchEntry end = { fetched.high_watermark, asked->topic.topic_id, asked->partition };
        has_time = wait_for_partitions(&wait, fcinfo, &end, 1);
    }
}

Datum sh_fetch(PG_FUNCTION_ARGS)
{
    FetchRows rows;
    FetchAsked asked = fetch_arguments(fcinfo);
    fetch_rows_open(&rows, fcinfo, ROWS_BYTES);
    fetch_rows_turn(&rows, asked.topic.name, asked.partition);
    (void)fetch_look(&asked, &rows);
    if (rows.count == 0 && asked.wait_ms > 0) {
        fetch_wait(fcinfo, &asked, &rows);
    }
    return (Datum)0;
}

Datum streamhouse_fetch_many(PG_FUNCTION_ARGS)
{
    Fetch fetch;
    FetchRows rows;
    RequestArray topic_ids = request_array(fcinfo, 0, FETCH_POSITIONS_MAX);
    RequestArray partitions = request_array(fcinfo, 1, FETCH_POSITIONS_MAX);
    RequestArray offsets = request_array(fcinfo, 2, FETCH_POSITIONS_MAX);
    FetchLimits limits = { PG_GETARG_INT32(3), PG_GETARG_INT32(4) };
    request_arrays_check(topic_ids, partitions);
    request_arrays_check(topic_ids, offsets);
    fetch_rows_open(&rows, fcinfo, ROWS_BYTES);
    fetch_open(&fetch, limits, fetch_rows_put, &rows);
    for (int i = 0; i < topic_ids.count && !fetch.is_full; i++) {
        int32 topic_id = ((const int32 *)topic_ids.data)[i];
        int32 partition = ((const int32 *)partitions.data)[i];
        const char *topic = topic_lookup_name(topic_id);
        if (topic) {
            fetch_rows_turn(&rows, topic, partition);
            (void)fetch_partition(&fetch, topic_id, partition, ((const int64 *)offsets.data)[i],
                                  PG_INT64_MAX);
        }
        CHECK_FOR_INTERRUPTS();
    }
    fetch_close(&fetch);
    return (Datum)0;
}

Datum sh_fetch_stats(PG_FUNCTION_ARGS)
{
    ResultRows rows = result_rows_open(fcinfo);
    Datum values[] = {
        Int64GetDatum(store_read_stats.hits),      Int64GetDatum(store_read_stats.misses),
        Int64GetDatum(store_read_stats.reads),     Int64GetDatum(store_read_stats.bytes_read),
        Int64GetDatum(store_read_stats.evictions), Int64GetDatum(store_read_stats.bytes_held)
    };
    result_rows_put(&rows, values, NULL);
    return (Datum)0;
}
