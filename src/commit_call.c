/* commit_call.c: from packed rows to batches, partitions and producers. Every length is checked here; what
 * comes after trusts it. */
#include "compat.h"
#include "commit_call.h"

#include "common/reader.h"

static _Noreturn void malformed(int row, const char *what)
{
    ereport(ERROR, errcode(ERRCODE_INVALID_BINARY_REPRESENTATION), errmsg("packed row %d: %s", row, what),
            errhint("See streamhouse.pack_commit_rows() and the manual of sh_commit_object()."));
    pg_unreachable();
}

static CommitRow row_read(Reader *in)
{
    CommitRow row;
    row.batch = reader_i32(in);
    row.topic_id = reader_i32(in);
    row.partition = reader_i32(in);
    row.lease_epoch = reader_i32(in);
    row.byte_start = reader_i64(in);
    row.byte_length = reader_i32(in);
    row.offset_count = reader_i32(in);
    row.base_timestamp = reader_i64(in);
    row.max_timestamp = reader_i64(in);
    row.producer_id = reader_i64(in);
    row.producer_epoch = reader_i16(in);
    row.attributes = reader_i16(in);
    row.first_sequence = reader_i32(in);
    return row;
}

static void row_check(const CommitCall *call, const CommitRow *row, int number)
{
    if (row->batch < 0) {
        malformed(number, "the batch's ordinal is negative");
    }
    if (row->byte_start < 0 || row->byte_length < 1 || row->byte_length > call->object_bytes ||
        row->byte_start > call->object_bytes - row->byte_length) {
        malformed(number, "the batch's bytes are not in the object");
    }
    if (row->producer_id < -1) {
        malformed(number, "the producer id is negative but not -1");
    }
}

/* A segment's place in its object is four bytes. */
static void call_check_size(const CommitCall *call, size_t size)
{
    if (call->object_bytes < 1 || call->object_bytes > PG_INT32_MAX) {
        ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
                errmsg("an object of " INT64_FORMAT " bytes cannot be committed", call->object_bytes),
                errhint("It has between 1 and %d bytes.", PG_INT32_MAX));
    }
    if (size == 0 || size % COMMIT_ROW_SIZE != 0 || size / COMMIT_ROW_SIZE > COMMIT_BATCHES_MAX) {
        ereport(ERROR, errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
                errmsg("packed rows of %zu bytes", size),
                errhint("Rows have %d bytes each, and a call has between 1 and %d of them.", COMMIT_ROW_SIZE,
                        COMMIT_BATCHES_MAX));
    }
}

static int compare_int64(int64 a, int64 b)
{
    return (a > b) - (a < b);
}

static int batch_compare_ordinals(const void *left, const void *right)
{
    const CommitBatch *a = *(CommitBatch *const *)left;
    const CommitBatch *b = *(CommitBatch *const *)right;
    return compare_int64(a->row.batch, b->row.batch);
}

static int batch_compare_partitions(const CommitBatch *a, const CommitBatch *b)
{
    int result = compare_int64(a->row.topic_id, b->row.topic_id);
    return result ? result : compare_int64(a->row.partition, b->row.partition);
}

/* Batches lie in the caller's order, so their addresses do too. */
static int batch_compare_places(const void *left, const void *right)
{
    const CommitBatch *a = *(CommitBatch *const *)left;
    const CommitBatch *b = *(CommitBatch *const *)right;
    int result = batch_compare_partitions(a, b);
    return result ? result : (a > b) - (a < b);
}

static int batch_compare_producers(const void *left, const void *right)
{
    const CommitBatch *a = *(CommitBatch *const *)left;
    const CommitBatch *b = *(CommitBatch *const *)right;
    int result = batch_compare_partitions(a, b);
    return result ? result : compare_int64(a->row.producer_id, b->row.producer_id);
}

/* Pointers to all batches, sorted; what is sorted already, as agents send it, costs one pass. */
static CommitBatch **call_sort(const CommitCall *call, int (*compare)(const void *, const void *))
{
    CommitBatch **sorted = palloc(sizeof(CommitBatch *) * call->batch_count);
    for (int i = 0; i < call->batch_count; i++) {
        sorted[i] = &call->batches[i];
    }
    qsort(sorted, call->batch_count, sizeof(CommitBatch *), compare);
    return sorted;
}

static void call_index_ordinals(CommitCall *call)
{
    call->by_ordinal = call_sort(call, batch_compare_ordinals);
    for (int i = 1; i < call->batch_count; i++) {
        if (call->by_ordinal[i]->row.batch == call->by_ordinal[i - 1]->row.batch) {
            malformed(call->by_ordinal[i] - call->batches, "the batch's ordinal is there twice");
        }
    }
}

static void call_group_partitions(CommitCall *call)
{
    CommitBatch **sorted = call_sort(call, batch_compare_places);
    CommitSegment *segments = palloc(sizeof(CommitSegment) * call->batch_count);
    call->partitions = palloc0(sizeof(CommitPartition) * call->batch_count);
    for (int i = 0; i < call->batch_count; i++) {
        if (i == 0 || batch_compare_partitions(sorted[i - 1], sorted[i]) != 0) {
            call->partitions[call->partition_count++] =
                (CommitPartition){ .topic_id = sorted[i]->row.topic_id,
                                   .partition = sorted[i]->row.partition,
                                   .log_start_offset = -1,
                                   .running_max_timestamp = -1,
                                   .leader_id = -1,
                                   .lease_epoch = -1,
                                   .batches = &sorted[i],
                                   .segments = &segments[i] };
        }
        sorted[i]->partition = &call->partitions[call->partition_count - 1];
        sorted[i]->partition->batch_count++;
    }
}

static void call_group_producers(CommitCall *call)
{
    CommitBatch **sorted = call_sort(call, batch_compare_producers);
    call->producers = palloc0(sizeof(CommitProducer) * call->batch_count);
    for (int i = 0; i < call->batch_count; i++) {
        const CommitRow *row = &sorted[i]->row;
        if (row->producer_id < 0) {
            continue;
        }
        CommitPartition *partition = sorted[i]->partition;
        if (i == 0 || batch_compare_producers(&sorted[i - 1], &sorted[i]) != 0) {
            CommitProducer *producer = &call->producers[call->producer_count++];
            producer->topic_id = row->topic_id;
            producer->partition = row->partition;
            producer->producer_id = row->producer_id;
            partition->producers = partition->producer_count == 0 ? producer : partition->producers;
            partition->producer_count++;
        }
        sorted[i]->producer = &partition->producers[partition->producer_count - 1];
    }
    pfree(sorted);
}

void commit_call_parse(CommitCall *call, const uint8 *rows, size_t size)
{
    Reader in = reader_of(slice_of(rows, size));
    call_check_size(call, size);
    call->batch_count = size / COMMIT_ROW_SIZE;
    call->batches = palloc0(sizeof(CommitBatch) * call->batch_count);
    for (int i = 0; i < call->batch_count; i++) {
        call->batches[i].row = row_read(&in);
        call->batches[i].answer.base_offset = -1;
        row_check(call, &call->batches[i].row, i);
    }
    call_index_ordinals(call);
    call_group_partitions(call);
    call_group_producers(call);
}

CommitBatch *commit_call_find(const CommitCall *call, int32 ordinal)
{
    CommitBatch wanted = { .row.batch = ordinal };
    CommitBatch *key = &wanted;
    CommitBatch **found =
        bsearch(&key, call->by_ordinal, call->batch_count, sizeof(CommitBatch *), batch_compare_ordinals);
    return found ? *found : NULL;
}
