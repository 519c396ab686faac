/* fetch_lookup.c: asks the brain where offsets are and how far partitions go: one query for all partitions of
 * a fetch. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "agent/read/fetcher_internal.h"

enum { LOOKUP_BYTES_MIN = 16 * 1024 * 1024, LOOKUP_REFS_MAX = 4096 };

static const BrainStatement find_statement = {
    "find_segments",
    "SELECT request, base_offset, end_offset, object_id, object_key, byte_start, byte_length, leader_epoch, "
    "log_start_offset, high_watermark, slot FROM sh_find_segments($1, $2, $3, $4, $5)",
    5,
    { BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT8S, BRAIN_INT4S, BRAIN_INT8 },
};

typedef struct Lookup {
    FetchTask *task;
    uint32_t generation;
    size_t count;
    int32_t items[];
} Lookup;

/* A row's segment, whose key is copied to the caller's buffer. False when the row has none. */
static bool lookup_ref(const BrainResult *result, int row, SegmentRef *ref)
{
    if (brain_is_null(result, row, 1)) {
        return false;
    }
    Slice key = brain_text(result, row, 4);
    *ref = (SegmentRef){
        .base_offset = brain_int8(result, row, 1),
        .end_offset = brain_int8(result, row, 2),
        .object_id = brain_int8(result, row, 3),
        .slot = brain_int2(result, row, 10),
        .key = strndup(slice_is_null(key) ? "" : (const char *)key.data, key.size),
        .byte_start = brain_int4(result, row, 5),
        .byte_length = brain_int4(result, row, 6),
        .leader_epoch = brain_int4(result, row, 7),
    };
    return ref->key != NULL;
}

static void lookup_apply_ends(const Lookup *lookup, FetchItem *item, const BrainResult *result, int row)
{
    Partition *partition = item->partition;
    int64_t high_watermark = brain_int8(result, row, 9);
    int64_t log_start_offset = brain_int8(result, row, 8);
    if (log_start_offset > partition->log_start_offset) {
        partition->log_start_offset = log_start_offset; /* a notice may have come while the brain looked */
    }
    if (high_watermark > partition->high_watermark) {
        partition->high_watermark = high_watermark;
    }
    partition->watermark_age = lookup->generation;
    item->verified = true;
}

/* The rows of one item, from row on; returns the row after them. */
static int lookup_apply_item(const Lookup *lookup, int32_t request, const BrainResult *result, int row)
{
    FetchItem *item = lookup->task->items[lookup->items[request]];
    SegmentRef *refs = malloc(LOOKUP_REFS_MAX * sizeof(SegmentRef));
    int32_t count = 0;
    if (item->partition) {
        lookup_apply_ends(lookup, item, result, row);
    }
    while (row < brain_row_count(result) && brain_int4(result, row, 0) == request + 1) {
        if (refs && count < LOOKUP_REFS_MAX && lookup_ref(result, row, &refs[count])) {
            count++;
        }
        row++;
    }
    if (item->partition) { /* NULL: its topic was deleted meanwhile */
        segments_keep(&lookup->task->fetcher->segments, item->partition, item->offset, refs, count);
    }
    while (count > 0) {
        free(refs[--count].key);
    }
    free(refs);
    return row;
}

static void lookup_apply(const Lookup *lookup, const BrainResult *result)
{
    int row = 0;
    for (size_t i = 0; i < lookup->count; i++) {
        FetchItem *item = lookup->task->items[lookup->items[i]];
        if (row < brain_row_count(result) && brain_int4(result, row, 0) == (int32_t)i + 1) {
            row = lookup_apply_item(lookup, (int32_t)i, result, row);
        } else {
            item->error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        }
    }
}

static void lookup_done(const BrainResult *result, void *argument)
{
    Lookup *lookup = argument;
    FetchTask *task = lookup->task;
    task->pending--;
    for (size_t i = 0; i < lookup->count; i++) {
        task->busy[lookup->items[i]]--;
    }
    if (!task->finished && status_is_ok(&result->status)) {
        lookup_apply(lookup, result);
    } else if (!task->finished) {
        journal_seldom(JOURNAL_WARN, "fetch", "segments could not be looked up: %s", result->message);
        metric_add(METRIC_FETCH_LOOKUPS_FAILED, 1);
        for (size_t i = 0; i < lookup->count; i++) {
            task->items[lookup->items[i]]->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
        }
    }
    free(lookup);
    fetch_task_schedule(task);
    fetch_task_release(task);
}

static void lookup_parameters(const FetchTask *task, const int32_t *items, size_t count,
                              BrainParameters *parameters)
{
    int32_t *numbers = malloc(3 * count * sizeof(int32_t));
    int64_t *offsets = malloc(count * sizeof(int64_t));
    int64_t ahead = task->fetcher->agent->settings.read_ahead_bytes;
    for (size_t i = 0; numbers && offsets && i < count; i++) {
        const FetchItem *item = task->items[items[i]];
        int64_t bytes = item->bytes_max + ahead;
        numbers[i] = item->partition->topic->topic_id;
        numbers[count + i] = item->partition->index;
        numbers[2 * count + i] = bytes < INT32_MAX ? (int32_t)bytes : INT32_MAX;
        offsets[i] = item->offset;
    }
    if (numbers && offsets) {
        brain_put_int4s(parameters, numbers, count);
        brain_put_int4s(parameters, numbers + count, count);
        brain_put_int8s(parameters, offsets, count);
        brain_put_int4s(parameters, numbers + 2 * count, count);
        brain_put_int8(parameters, task->request.bytes_max + LOOKUP_BYTES_MIN);
    }
    free(numbers);
    free(offsets);
}

void fetch_lookup(FetchTask *task, const int32_t *items, size_t count)
{
    Lookup *lookup = malloc(sizeof(Lookup) + count * sizeof(int32_t));
    if (!lookup) {
        for (size_t i = 0; i < count; i++) {
            task->items[items[i]]->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
        }
        fetch_task_schedule(task);
        return;
    }
    *lookup =
        (Lookup){ .task = fetch_task_hold(task), .generation = task->fetcher->generation, .count = count };
    memcpy(lookup->items, items, count * sizeof(int32_t));
    task->pending++;
    for (size_t i = 0; i < count; i++) {
        task->busy[items[i]]++;
    }
    metric_add(METRIC_FETCH_LOOKUPS, 1);
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    lookup_parameters(task, items, count, &parameters);
    brain_send(task->fetcher->agent->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &find_statement, .parameters = &parameters }, lookup_done, lookup);
}
