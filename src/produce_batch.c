/* produce_batch.c: sh_produce_batch(): arrays of records in one call. Partitions are chosen for all records
 * first, then locked in order, so that two calls never wait for each other; then the records are queued. */
#include "compat.h"
#include "produce.h"

#include "catalog/pg_type.h"
#include "jsonb_text.h"
#include "produce_record.h"
#include "result_rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(sh_produce_batch);

enum { ARG_TOPIC, ARG_VALUES, ARG_KEYS, ARG_PARTITION, ARG_HEADERS, ARG_TS };

typedef struct Column {
    Oid type;
    Datum *values;
    bool *nulls;
    int count; /* -1: the array is null */
} Column;

typedef struct ProduceBatch {
    ProduceTopic *topic;
    int count;
    RecordInput *records;
    int32 *partitions;
} ProduceBatch;

static Column column_read(FunctionCallInfo fcinfo, int argument)
{
    Column column = { .count = -1 };
    int16 width;
    bool by_value;
    char align;
    if (PG_ARGISNULL(argument)) {
        return column;
    }
    ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
    column.type = ARR_ELEMTYPE(array);
    get_typlenbyvalalign(column.type, &width, &by_value, &align);
    deconstruct_array(array, column.type, width, by_value, align, &column.values, &column.nulls,
                      &column.count);
    return column;
}

static void column_check(const Column *column, int count, const char *name)
{
    if (column->count >= 0 && column->count != count) {
        ereport(
            ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
            errmsg("there are %d values and %d %s", count, column->count, name),
            errhint("Elements at one place belong to one record; leave the array out if no record has any."));
    }
}

static bool column_has(const Column *column, int i)
{
    return column->count >= 0 && !column->nulls[i];
}

static Slice column_bytes(const Column *column, int i)
{
    if (!column_has(column, i)) {
        return SLICE_NULL;
    }
    if (column->type == JSONBOID) {
        return slice_of_jsonb(DatumGetJsonbP(column->values[i]));
    }
    return slice_of_varlena(PG_DETOAST_DATUM_PACKED(column->values[i]));
}

static void batch_read(FunctionCallInfo fcinfo, ProduceBatch *batch)
{
    Column values = column_read(fcinfo, ARG_VALUES);
    Column keys = column_read(fcinfo, ARG_KEYS);
    Column headers = column_read(fcinfo, ARG_HEADERS);
    Column timestamps = column_read(fcinfo, ARG_TS);
    int64 now = record_timestamp_now();
    batch->count = Max(values.count, 0);
    column_check(&keys, batch->count, "keys");
    column_check(&headers, batch->count, "headers");
    column_check(&timestamps, batch->count, "timestamps");
    batch->records = palloc0(sizeof(RecordInput) * (batch->count + 1));
    for (int i = 0; i < batch->count; i++) {
        RecordInput *record = &batch->records[i];
        record->value = column_bytes(&values, i);
        record->key = column_bytes(&keys, i);
        record->timestamp = column_has(&timestamps, i)
                                ? record_timestamp(batch->topic, DatumGetTimestampTz(timestamps.values[i]))
                                : now;
        if (column_has(&headers, i)) {
            record_read_headers(record, DatumGetJsonbP(headers.values[i]));
        }
        record_check(batch->topic, record);
    }
}

/* Those without a key follow when the others' partitions are known: they are chosen among what is free. */
static void batch_choose(FunctionCallInfo fcinfo, ProduceBatch *batch)
{
    int32 wanted = PG_ARGISNULL(ARG_PARTITION) ? PARTITION_ANY : PG_GETARG_INT32(ARG_PARTITION);
    if (wanted < 0 && !PG_ARGISNULL(ARG_PARTITION)) {
        wanted = PG_INT32_MAX; /* no topic has that many */
    }
    batch->partitions = palloc(sizeof(int32) * (batch->count + 1));
    for (int i = 0; i < batch->count; i++) {
        batch->partitions[i] = record_partition(batch->topic, &batch->records[i], wanted);
    }
}

static int number_compare(const void *left, const void *right)
{
    int32 a = *(const int32 *)left;
    int32 b = *(const int32 *)right;
    return a < b ? -1 : a > b;
}

/* The partitions of the batch, each once, in order. */
static int32 *batch_partitions(const ProduceBatch *batch, int *count)
{
    int32 *numbers = palloc(sizeof(int32) * (batch->count + 1));
    int runs = 0;
    int kept = 0;
    for (int i = 0; i < batch->count; i++) {
        if (runs == 0 || numbers[runs - 1] != batch->partitions[i]) {
            numbers[runs++] = batch->partitions[i];
        }
    }
    qsort(numbers, runs, sizeof(int32), number_compare);
    for (int i = 0; i < runs; i++) {
        if (kept == 0 || numbers[kept - 1] != numbers[i]) {
            numbers[kept++] = numbers[i];
        }
    }
    *count = kept;
    return numbers;
}

static void batch_lock(ProduceBatch *batch)
{
    int count;
    int32 *numbers = batch_partitions(batch, &count);
    for (int i = 0; i < count; i++) {
        if (numbers[i] >= 0) {
            (void)outbox_lock(outbox_partition(batch->topic, numbers[i]), LockWaitBlock);
        }
    }
    if (count == 0 || numbers[0] >= 0) {
        return;
    }
    int32 chosen = produce_choose_locked(batch->topic);
    for (int i = 0; i < batch->count; i++) {
        batch->partitions[i] = batch->partitions[i] < 0 ? chosen : batch->partitions[i];
    }
}

static void batch_add(const ProduceBatch *batch)
{
    OutboxPartition *partition = NULL;
    for (int i = 0; i < batch->count; i++) {
        if (!partition || partition->partition != batch->partitions[i]) {
            partition = outbox_partition(batch->topic, batch->partitions[i]);
        }
        (void)outbox_add(partition, &batch->records[i]);
    }
}

/* Records of one partition follow each other, so that a first offset and a count say it all. */
static void batch_answer(const ProduceBatch *batch, ResultRows *rows)
{
    int count;
    int32 *numbers = batch_partitions(batch, &count);
    int *records = palloc0(sizeof(int) * (count + 1));
    for (int i = 0; i < batch->count; i++) {
        int32 *found = bsearch(&batch->partitions[i], numbers, count, sizeof(int32), number_compare);
        records[found - numbers]++;
    }
    for (int i = 0; i < count; i++) {
        const OutboxState *state = &outbox_partition(batch->topic, numbers[i])->state;
        int64 end = state->end.next_offset + state->record_count;
        Datum values[] = { Int32GetDatum(numbers[i]), Int64GetDatum(end - records[i]),
                           Int32GetDatum(records[i]) };
        result_rows_put(rows, values, NULL);
    }
}

Datum sh_produce_batch(PG_FUNCTION_ARGS)
{
    ResultRows rows = result_rows_open(fcinfo);
    ProduceBatch batch = { .topic = produce_begin(fcinfo, "sh_produce_batch()") };
    batch_read(fcinfo, &batch);
    batch_choose(fcinfo, &batch);
    batch_lock(&batch);
    batch_add(&batch);
    batch_answer(&batch, &rows);
    outbox_end();
    return (Datum)0;
}
