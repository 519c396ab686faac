/* segment_read.c: one segment as contiguous bytes, for lookups inside it (offsets by time). */
#include <stdlib.h>

#include "agent/read/fetcher_internal.h"
#include "common/batch.h"

typedef struct SegmentReading {
    Fetcher *fetcher;
    SegmentRef ref;
    SegmentRead done;
    void *argument;
    size_t copied;
    Block *bytes;
} SegmentReading;

static void reading_end(SegmentReading *reading, const Status *status)
{
    Slice batches = status_is_ok(status) ? slice_of(reading->bytes->bytes, reading->copied) : SLICE_NULL;
    reading->fetcher->tasks--;
    reading->done(reading->argument, status, batches);
    block_release(reading->bytes);
    free(reading->ref.key);
    free(reading);
}

/* Offsets were not known when the object was written. */
static Status reading_patch(SegmentReading *reading)
{
    int64_t base_offset = reading->ref.base_offset;
    BatchIterator batches = batch_iterate(slice_of(reading->bytes->bytes, reading->copied));
    while (batch_next(&batches)) {
        uint8_t *batch = reading->bytes->bytes + (batches.bytes.data - reading->bytes->bytes);
        batch_patch_offset(batch, base_offset, reading->ref.leader_epoch);
        base_offset += batch_offset_count(&batches.header);
    }
    if (batches.error.code != BATCH_OK || base_offset != reading->ref.end_offset) {
        return status_error(STATUS_CORRUPT, "object %s does not hold the batches that the brain knows of",
                            reading->ref.key);
    }
    return status_ok();
}

static void reading_go_on(void *argument, const Status *status, Block *loaded)
{
    (void)loaded; /* found below */
    SegmentReading *reading = argument;
    Cache *cache = reading->fetcher->cache;
    size_t length = (size_t)reading->ref.byte_length;
    if (!status_is_ok(status)) {
        reading_end(reading, status);
        return;
    }
    while (reading->copied < length) {
        uint64_t start = (uint64_t)reading->ref.byte_start + reading->copied;
        CacheObject object = segment_object(&reading->ref);
        uint64_t number = cache_block_number(cache, &object, start);
        size_t within = (size_t)(start - cache_block_start(cache, &object, number));
        Block *block = cache_find(cache, reading->ref.object_id, number);
        if (!block) {
            if (!cache_want(cache, &object, number, reading_go_on, reading)) {
                Status short_of_memory = status_error(STATUS_LIMIT, "memory is short");
                reading_end(reading, &short_of_memory);
            } else if (cache_is_waiting(cache)) {
                fetcher_wake(reading->fetcher, 1); /* the store may have refused it for now */
            }
            return;
        }
        if (block->size <= within) {
            Status cut = status_error(STATUS_CORRUPT, "object %s ends too early", reading->ref.key);
            reading_end(reading, &cut);
            return;
        }
        size_t size =
            block->size - within < length - reading->copied ? block->size - within : length - reading->copied;
        memcpy(reading->bytes->bytes + reading->copied, block->bytes + within, size);
        reading->copied += size;
    }
    Status patched = reading_patch(reading);
    reading_end(reading, &patched);
}

void fetcher_read_segment(Fetcher *fetcher, const SegmentRef *ref, SegmentRead done, void *argument)
{
    SegmentReading *reading = calloc(1, sizeof(SegmentReading));
    Block *bytes = ref->byte_length > 0 ? block_new((size_t)ref->byte_length) : NULL;
    char *key = strdup(ref->key);
    if (!reading || !bytes || !key) {
        Status status = status_error(STATUS_LIMIT, "memory is short");
        free(reading);
        block_release(bytes);
        free(key);
        done(argument, &status, SLICE_NULL);
        return;
    }
    *reading = (SegmentReading){
        .fetcher = fetcher, .ref = *ref, .done = done, .argument = argument, .bytes = bytes
    };
    reading->ref.key = key;
    fetcher->tasks++;
    Status status = status_ok();
    reading_go_on(reading, &status, NULL);
}
