/* inline_read.c: segments that PostgreSQL holds. What is wanted in one turn of the loop is asked for
 * together, so that a reader who is behind by many small segments does not pay for a question each; but in
 * several questions when it is much, so that the first is answered soon. */
#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/metrics.h"
#include "agent/read/fetcher_internal.h"

enum { QUERY_READS_MAX = 512, QUERY_BYTES_MAX = 1024 * 1024, READS_MIN = 64 };

static const BrainStatement read_statement = {
    "read_inline",
    "SELECT request, bytes FROM sh_read_inline($1, $2, $3, $4)",
    4,
    { BRAIN_INT8S, BRAIN_INT2S, BRAIN_INT4S, BRAIN_INT4S },
};

typedef struct InlineQuery {
    size_t count;
    InlineRead reads[];
} InlineQuery;

bool inline_read_add(Fetcher *fetcher, const CacheObject *object, CacheGot done, void *argument)
{
    InlineReads *pending = &fetcher->inline_reads;
    if (fetcher->stopped) {
        return false;
    }
    if (pending->count == pending->capacity) {
        size_t capacity = pending->capacity ? 2 * pending->capacity : READS_MIN;
        InlineRead *reads = realloc(pending->reads, capacity * sizeof(InlineRead));
        if (!reads) {
            return false;
        }
        pending->reads = reads;
        pending->capacity = capacity;
    }
    pending->reads[pending->count++] = (InlineRead){
        .object_id = object->object_id,
        .slot = object->slot,
        .start = (int32_t)object->start,
        .length = (int32_t)object->length,
        .done = done,
        .argument = argument,
    };
    fetcher_wake(fetcher, 0);
    return true;
}

static void read_end(const InlineRead *read, const Status *status, Slice bytes)
{
    Status outcome = *status;
    Block *block = NULL;
    if (status_is_ok(status) && slice_is_null(bytes)) {
        outcome = status_error(STATUS_NOT_FOUND, "row %lld of the inline ring has been moved to an object",
                               (long long)read->object_id);
    } else if (status_is_ok(status) && !(block = block_new(bytes.size))) {
        outcome = status_error(STATUS_LIMIT, "memory is short");
    }
    if (block) {
        memcpy(block->bytes, bytes.data, bytes.size);
    }
    read->done(read->argument, &outcome, block);
    block_release(block);
}

/* Rows are in the order of the reads; what has no row is gone. */
static void reads_done(const BrainResult *result, void *argument)
{
    InlineQuery *query = argument;
    int rows = status_is_ok(&result->status) ? brain_row_count(result) : 0;
    int row = 0;
    for (size_t i = 0; i < query->count; i++) {
        bool is_there = row < rows && brain_int4(result, row, 0) == (int32_t)i + 1;
        read_end(&query->reads[i], &result->status, is_there ? brain_bytes(result, row, 1) : SLICE_NULL);
        row += is_there;
    }
    free(query);
}

static bool query_parameters(const InlineQuery *query, BrainParameters *parameters)
{
    size_t count = query->count;
    int64_t *ids = malloc(count * sizeof(int64_t));
    int32_t *numbers = malloc(2 * count * sizeof(int32_t));
    int16_t *slots = malloc(count * sizeof(int16_t));
    bool enough = ids && numbers && slots;
    for (size_t i = 0; enough && i < count; i++) {
        ids[i] = query->reads[i].object_id;
        slots[i] = query->reads[i].slot;
        numbers[i] = query->reads[i].start;
        numbers[count + i] = query->reads[i].length;
    }
    brain_parameters_init(parameters);
    if (enough) {
        brain_put_int8s(parameters, ids, count);
        brain_put_int2s(parameters, slots, count);
        brain_put_int4s(parameters, numbers, count);
        brain_put_int4s(parameters, numbers + count, count);
    }
    free(ids);
    free(numbers);
    free(slots);
    return enough;
}

/* How many of the first reads one question has. */
static size_t query_size(const InlineRead *reads, size_t count)
{
    size_t size = 0;
    int64_t bytes = 0;
    while (size < count && size < QUERY_READS_MAX &&
           (size == 0 || bytes + reads[size].length <= QUERY_BYTES_MAX)) {
        bytes += reads[size++].length;
    }
    return size;
}

static void reads_fail(const InlineRead *reads, size_t count, Status status)
{
    for (size_t i = 0; i < count; i++) {
        read_end(&reads[i], &status, SLICE_NULL);
    }
}

static void reads_ask(Fetcher *fetcher, const InlineRead *reads, size_t count)
{
    InlineQuery *query = malloc(sizeof(InlineQuery) + count * sizeof(InlineRead));
    BrainParameters parameters;
    if (query) {
        query->count = count;
        memcpy(query->reads, reads, count * sizeof(InlineRead));
    }
    if (!query || !query_parameters(query, &parameters)) {
        free(query);
        reads_fail(reads, count, status_error(STATUS_LIMIT, "memory is short"));
        return;
    }
    metric_add(METRIC_INLINE_READS, 1);
    metric_add(METRIC_INLINE_READ_SEGMENTS, count);
    brain_send(fetcher->agent->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &read_statement,
                              .parameters = &parameters,
                              .deadline_ms = fetcher->agent->settings.get_timeout_ms },
               reads_done, query);
}

void inline_read_send(Fetcher *fetcher)
{
    InlineReads pending = fetcher->inline_reads;
    fetcher->inline_reads = (InlineReads){ 0 };
    for (size_t first = 0; first < pending.count;) {
        size_t count = query_size(pending.reads + first, pending.count - first);
        reads_ask(fetcher, pending.reads + first, count);
        first += count;
    }
    free(pending.reads);
}

void inline_read_stop(Fetcher *fetcher)
{
    InlineReads pending = fetcher->inline_reads;
    fetcher->inline_reads = (InlineReads){ 0 };
    reads_fail(pending.reads, pending.count, status_error(STATUS_CANCELLED, "the agent is stopping"));
    free(pending.reads);
}
