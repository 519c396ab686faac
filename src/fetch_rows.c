/* fetch_rows.c: makes rows of records, as fast as a tuplestore takes them: values are built in memory that is
 * used again, and copied once. */
#include "compat.h"
#include "fetch_rows.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

enum { ROW_BYTES_FIRST = 1024 };

#define MS_TO_2000 ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

void fetch_rows_open(FetchRows *rows, FunctionCallInfo fcinfo, RowsKind kind)
{
    *rows = (FetchRows){ .rows = result_rows_open(fcinfo), .kind = kind, .context = CurrentMemoryContext };
    rows->record = AllocSetContextCreate(CurrentMemoryContext, "StreamHouse record", ALLOCSET_DEFAULT_SIZES);
}

void fetch_rows_turn(FetchRows *rows, const char *topic, int32 partition)
{
    MemoryContext before = MemoryContextSwitchTo(rows->context);
    rows->topic = pstrdup(topic);
    rows->partition = partition;
    rows->values[RECORD_TOPIC] = CStringGetTextDatum(topic);
    rows->values[RECORD_PARTITION] = Int32GetDatum(partition);
    MemoryContextSwitchTo(before);
}

TimestampTz timestamp_of_ms(int64 ms)
{
    int64 since_2000;
    TimestampTz at;
    if (pg_sub_s64_overflow(ms, MS_TO_2000, &since_2000) || pg_mul_s64_overflow(since_2000, 1000, &at) ||
        !IS_VALID_TIMESTAMP(at)) {
        return ms < 0 ? DT_NOBEGIN : DT_NOEND;
    }
    return at;
}

static void row_bytes_grow(FetchRows *rows, RowBytes *bytes, size_t size)
{
    size_t capacity = Max(Max(bytes->capacity * 2, size), ROW_BYTES_FIRST);
    if (bytes->value) {
        pfree(bytes->value);
        bytes->value = NULL;
        bytes->capacity = 0;
    }
    if (!AllocSizeIsValid(size)) {
        ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                errmsg("a record has %zu bytes, more than a value can have in PostgreSQL", size));
    }
    bytes->value = MemoryContextAlloc(rows->context, Min(capacity, MaxAllocSize));
    bytes->capacity = Min(capacity, MaxAllocSize);
}

static void row_bytes_set(FetchRows *rows, int column, RowBytes *bytes, Slice slice)
{
    rows->nulls[column] = slice_is_null(slice);
    if (rows->nulls[column]) {
        return;
    }
    if (slice.size + VARHDRSZ > bytes->capacity) {
        row_bytes_grow(rows, bytes, slice.size + VARHDRSZ);
    }
    SET_VARSIZE(bytes->value, slice.size + VARHDRSZ);
    memcpy(VARDATA(bytes->value), slice.data, slice.size);
    rows->values[column] = PointerGetDatum(bytes->value);
}

bool fetch_rows_put(void *argument, const Record *record)
{
    FetchRows *rows = argument;
    rows->values[RECORD_OFFSET] = Int64GetDatum(record->offset);
    rows->nulls[RECORD_TIMESTAMP] = record->timestamp == -1;
    rows->values[RECORD_TIMESTAMP] = TimestampTzGetDatum(timestamp_of_ms(record->timestamp));
    bool is_plain = rows->kind == ROWS_BYTES && record->header_count == 0;
    MemoryContext before = MemoryContextSwitchTo(rows->record);
    if (rows->kind == ROWS_BYTES) {
        row_bytes_set(rows, RECORD_KEY, &rows->key, record->key);
        row_bytes_set(rows, RECORD_VALUE, &rows->value, record->value);
    } else {
        row_texts_set(rows, record);
    }
    rows->nulls[RECORD_HEADERS] = record->header_count == 0;
    if (record->header_count > 0) {
        rows->values[RECORD_HEADERS] = JsonbPGetDatum(headers_jsonb(record));
    }
    MemoryContextSwitchTo(before);
    result_rows_put(&rows->rows, rows->values, rows->nulls);
    if (!is_plain) {
        MemoryContextReset(rows->record);
    }
    rows->count++;
    return true;
}
