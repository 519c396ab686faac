/* produce.c: sh_produce() and sh_enqueue(), and their forms for JSON. Both put a record into the
 * transaction's outbox; sh_produce() locks the partition first, and so knows the offset. */
#include "compat.h"
#include "produce.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "jsonb_text.h"
#include "produce_record.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sh_produce);
PG_FUNCTION_INFO_V1(sh_produce_jsonb);
PG_FUNCTION_INFO_V1(sh_enqueue);
PG_FUNCTION_INFO_V1(sh_enqueue_jsonb);

/* Arguments of all four. */
enum { ARG_TOPIC, ARG_VALUE, ARG_KEY, ARG_PARTITION, ARG_HEADERS, ARG_TS };

/* Partitions that are tried before one is waited for. */
enum { FREE_TRIES = 4 };

ProduceTopic *produce_begin(FunctionCallInfo fcinfo, const char *function)
{
    outbox_begin(function);
    if (PG_ARGISNULL(ARG_TOPIC)) {
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("the topic is null"),
                errhint("Name one, as in sh_produce('orders', 'hello')."));
    }
    return produce_topic(slice_of_varlena((struct varlena *)PG_GETARG_TEXT_PP(ARG_TOPIC)));
}

static Slice argument_bytes(FunctionCallInfo fcinfo, int argument)
{
    return PG_ARGISNULL(argument) ? SLICE_NULL : slice_of_varlena(PG_GETARG_VARLENA_PP(argument));
}

static Slice argument_json(FunctionCallInfo fcinfo, int argument)
{
    return PG_ARGISNULL(argument) ? SLICE_NULL : slice_of_jsonb(PG_GETARG_JSONB_P(argument));
}

static int32 argument_partition(FunctionCallInfo fcinfo)
{
    int32 wanted = PG_ARGISNULL(ARG_PARTITION) ? PARTITION_ANY : PG_GETARG_INT32(ARG_PARTITION);
    if (wanted < 0 && !PG_ARGISNULL(ARG_PARTITION)) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no partition %d", wanted),
                errhint("Partitions have the numbers from 0 on; null lets the key decide."));
    }
    return wanted;
}

static RecordInput record_of(FunctionCallInfo fcinfo, const ProduceTopic *topic, Slice value)
{
    RecordInput record = { .key = argument_bytes(fcinfo, ARG_KEY), .value = value };
    record.timestamp = PG_ARGISNULL(ARG_TS) ? record_timestamp_now()
                                            : record_timestamp(topic, PG_GETARG_TIMESTAMPTZ(ARG_TS));
    if (!PG_ARGISNULL(ARG_HEADERS)) {
        record_read_headers(&record, PG_GETARG_JSONB_P(ARG_HEADERS));
    }
    record_check(topic, &record);
    return record;
}

static int32 random_partition(const ProduceTopic *topic)
{
    return (int32)(compat_random_fraction() * topic->partitions);
}

/* Some in turn, from a random one on; when all of these are taken, the last is waited for. */
int32 produce_choose_locked(ProduceTopic *topic)
{
    if (topic->sticky >= 0) {
        return topic->sticky;
    }
    int32 first = random_partition(topic);
    for (int i = 0; topic->sticky < 0; i++) {
        int32 candidate = (int32)(((int64)first + i) % topic->partitions);
        bool is_last = i + 1 == Min(FREE_TRIES, topic->partitions);
        if (outbox_lock(outbox_partition(topic, candidate), is_last ? LockWaitBlock : LockWaitSkip)) {
            topic->sticky = candidate;
        }
    }
    return topic->sticky;
}

/* Another one for every batch, so that a large transaction fills them evenly. */
static int32 choose_sticky(ProduceTopic *topic, const RecordInput *record)
{
    if (topic->sticky < 0 ||
        (topic->partitions > 1 && outbox_is_at_batch_end(outbox_partition(topic, topic->sticky), record))) {
        topic->sticky = random_partition(topic);
    }
    return topic->sticky;
}

static bool wants_any(const RecordInput *record, int32 wanted)
{
    return wanted == PARTITION_ANY && slice_is_null(record->key);
}

static Datum produced_row(FunctionCallInfo fcinfo, int32 partition, int64 offset)
{
    FmgrInfo *function = fcinfo->flinfo;
    Datum values[] = { Int32GetDatum(partition), Int64GetDatum(offset) };
    bool nulls[] = { false, false };
    if (!function->fn_extra) {
        TupleDesc row;
        if (get_call_result_type(fcinfo, NULL, &row) != TYPEFUNC_COMPOSITE) {
            elog(ERROR, "the function's result is not the row type that the library knows");
        }
        MemoryContext before = MemoryContextSwitchTo(function->fn_mcxt);
        function->fn_extra = BlessTupleDesc(CreateTupleDescCopy(row));
        MemoryContextSwitchTo(before);
    }
    return HeapTupleGetDatum(heap_form_tuple(function->fn_extra, values, nulls));
}

static Datum produce(FunctionCallInfo fcinfo, ProduceTopic *topic, Slice value)
{
    int32 wanted = argument_partition(fcinfo);
    RecordInput record = record_of(fcinfo, topic, value);
    int32 number =
        wants_any(&record, wanted) ? produce_choose_locked(topic) : record_partition(topic, &record, wanted);
    OutboxPartition *partition = outbox_partition(topic, number);
    (void)outbox_lock(partition, LockWaitBlock);
    int64 offset = outbox_add(partition, &record) + partition->state.end.next_offset;
    outbox_end();
    return produced_row(fcinfo, number, offset);
}

static Datum enqueue(FunctionCallInfo fcinfo, ProduceTopic *topic, Slice value)
{
    int32 wanted = argument_partition(fcinfo);
    RecordInput record = record_of(fcinfo, topic, value);
    int32 number =
        wants_any(&record, wanted) ? choose_sticky(topic, &record) : record_partition(topic, &record, wanted);
    (void)outbox_add(outbox_partition(topic, number), &record);
    outbox_end();
    PG_RETURN_INT32(number);
}

Datum sh_produce(PG_FUNCTION_ARGS)
{
    ProduceTopic *topic = produce_begin(fcinfo, "sh_produce()");
    return produce(fcinfo, topic, argument_bytes(fcinfo, ARG_VALUE));
}

Datum sh_produce_jsonb(PG_FUNCTION_ARGS)
{
    ProduceTopic *topic = produce_begin(fcinfo, "sh_produce()");
    return produce(fcinfo, topic, argument_json(fcinfo, ARG_VALUE));
}

Datum sh_enqueue(PG_FUNCTION_ARGS)
{
    ProduceTopic *topic = produce_begin(fcinfo, "sh_enqueue()");
    return enqueue(fcinfo, topic, argument_bytes(fcinfo, ARG_VALUE));
}

Datum sh_enqueue_jsonb(PG_FUNCTION_ARGS)
{
    ProduceTopic *topic = produce_begin(fcinfo, "sh_enqueue()");
    return enqueue(fcinfo, topic, argument_json(fcinfo, ARG_VALUE));
}
