/* tail.c: every batch is in two orders: a ring per partition for reading, one list over all for eviction. Both are first
 * in, first out, so that eviction always takes a partition's oldest batch. */
#include "agent/log/tail.h"

#include <assert.h>
#include <stdlib.h>

#include <utlist.h>

#include "agent/metrics.h"

enum { TAIL_RING_MIN = 16 };

void tail_init(Tail *tail, size_t bytes_max)
{
    *tail = (Tail){ .bytes_max = bytes_max };
}

static size_t tail_cost(const TailBatch *batch)
{
    return (size_t)batch->size + sizeof(TailBatch) + sizeof(TailBatch *);
}

const TailBatch *tail_at(const Partition *partition, int64_t place)
{
    const TailRing *ring = &partition->tail;
    if (place < 0 || place >= ring->count) {
        return NULL;
    }
    return ring->batches[(ring->first + (uint32_t)place) & (ring->capacity - 1)];
}

static bool ring_grow(TailRing *ring)
{
    if (ring->count < ring->capacity) {
        return true;
    }
    uint32_t capacity = ring->capacity ? ring->capacity * 2 : TAIL_RING_MIN;
    TailBatch **batches = malloc(capacity * sizeof(TailBatch *));
    if (!batches) {
        return false;
    }
    for (uint32_t i = 0; i < ring->count; i++) {
        batches[i] = ring->batches[(ring->first + i) & (ring->capacity - 1)];
    }
    free(ring->batches);
    *ring = (TailRing){ batches, 0, ring->count, capacity };
    return true;
}

static void ring_push(TailRing *ring, TailBatch *batch)
{
    ring->batches[(ring->first + ring->count) & (ring->capacity - 1)] = batch;
    ring->count++;
}

/* Removes the oldest batch of its partition. */
static void tail_remove(Tail *tail, TailBatch *batch)
{
    TailRing *ring = &batch->partition->tail;
    assert(ring->batches[ring->first] == batch);
    ring->first = (ring->first + 1) & (ring->capacity - 1);
    ring->count--;
    DL_DELETE(tail->oldest, batch);
    tail->bytes -= tail_cost(batch);
    block_release(batch->block);
    free(batch);
}

void tail_drop(Tail *tail, Partition *partition)
{
    while (partition->tail.count > 0) {
        tail_remove(tail, partition->tail.batches[partition->tail.first]);
    }
}

void tail_free(Tail *tail)
{
    while (tail->oldest) {
        tail_remove(tail, tail->oldest);
    }
}

void tail_push(Tail *tail, Partition *partition, Block *block, const uint8_t *bytes, int32_t size, int64_t base_offset,
               int64_t end_offset)
{
    const TailBatch *newest = tail_at(partition, (int64_t)partition->tail.count - 1);
    if (newest && newest->end_offset != base_offset) {
        tail_drop(tail, partition);
    }
    TailBatch *batch = malloc(sizeof(TailBatch));
    if (!batch || !ring_grow(&partition->tail)) {
        free(batch);
        tail_drop(tail, partition);
        return;
    }
    *batch = (TailBatch){
        .partition = partition,
        .block = block_hold(block),
        .bytes = bytes,
        .size = size,
        .base_offset = base_offset,
        .end_offset = end_offset,
    };
    ring_push(&partition->tail, batch);
    DL_APPEND(tail->oldest, batch);
    tail->bytes += tail_cost(batch);
    while (tail->bytes > tail->bytes_max && tail->oldest != batch) {
        tail_remove(tail, tail->oldest);
    }
    metric_set(METRIC_TAIL_BYTES, (double)tail->bytes);
}

int64_t tail_find(const Partition *partition, int64_t offset)
{
    const TailRing *ring = &partition->tail;
    int64_t low = 0;
    int64_t high = (int64_t)ring->count - 1;
    if (ring->count == 0 || offset < tail_at(partition, low)->base_offset ||
        offset >= tail_at(partition, high)->end_offset) {
        return TAIL_MISS;
    }
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (tail_at(partition, middle)->end_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
