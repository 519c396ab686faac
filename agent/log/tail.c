/* tail.c: every batch is in two orders: a ring per partition for reading, one list over all for eviction.
 * Both are first in, first out, so that eviction always takes a partition's oldest batch. */
#include "agent/log/tail.h"

#include <assert.h>
#include <stdlib.h>

#include <uthash.h>
#include <utlist.h>

#include "agent/metrics.h"

enum { TAIL_RING_MIN = 16, TAIL_BATCH_COST = sizeof(TailBatch) + sizeof(TailBatch *) };

void tail_init(Tail *tail, size_t bytes_max)
{
    *tail = (Tail){ .bytes_max = bytes_max };
}

/* A block that some batches of the tail are in. */
struct TailFrame {
    Block *block;
    size_t batches;
    UT_hash_handle hh;
};

/* The block's frame, with one batch more; NULL when memory is short. */
static TailFrame *frame_take(Tail *tail, Block *block)
{
    TailFrame *frame;
    HASH_FIND_PTR(tail->frames, &block, frame);
    if (!frame) {
        frame = calloc(1, sizeof(TailFrame));
        if (!frame) {
            return NULL;
        }
        frame->block = block_hold(block);
        HASH_ADD_PTR(tail->frames, block, frame);
        tail->bytes += sizeof(TailFrame) + block->size;
    }
    frame->batches++;
    return frame;
}

static void frame_leave(Tail *tail, TailFrame *frame)
{
    if (--frame->batches > 0) {
        return;
    }
    HASH_DEL(tail->frames, frame);
    tail->bytes -= sizeof(TailFrame) + frame->block->size;
    block_release(frame->block);
    free(frame);
}

const TailBatch *tail_at(const Partition *partition, int64_t place)
{
    const TailRing *ring = &partition->tail;
    if (place < 0 || place >= ring->count) {
        return NULL;
    }
    return ring->batches[(ring->first + (uint32_t)place) & (ring->capacity - 1)];
}

static bool ring_resize(TailRing *ring, uint32_t capacity)
{
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

static bool ring_grow(TailRing *ring)
{
    return ring->count < ring->capacity ||
           ring_resize(ring, ring->capacity ? ring->capacity * 2 : TAIL_RING_MIN);
}

/* Gives back what a burst needed. */
static void ring_shrink(TailRing *ring)
{
    if (ring->capacity > TAIL_RING_MIN && ring->count < ring->capacity / 4) {
        (void)ring_resize(ring, ring->capacity / 2);
    }
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
    ring_shrink(ring);
    DL_DELETE(tail->oldest, batch);
    tail->bytes -= TAIL_BATCH_COST;
    frame_leave(tail, batch->frame);
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

void tail_push(Tail *tail, Partition *partition, Block *block, const uint8_t *bytes, int32_t size,
               int64_t base_offset, int64_t end_offset)
{
    const TailBatch *newest = tail_at(partition, (int64_t)partition->tail.count - 1);
    if (newest && newest->end_offset != base_offset) {
        tail_drop(tail, partition);
    }
    TailBatch *batch = malloc(sizeof(TailBatch));
    TailFrame *frame = batch && ring_grow(&partition->tail) ? frame_take(tail, block) : NULL;
    if (!frame) {
        free(batch);
        tail_drop(tail, partition);
        return;
    }
    *batch = (TailBatch){
        .partition = partition,
        .block = block,
        .frame = frame,
        .bytes = bytes,
        .size = size,
        .base_offset = base_offset,
        .end_offset = end_offset,
    };
    ring_push(&partition->tail, batch);
    DL_APPEND(tail->oldest, batch);
    tail->bytes += TAIL_BATCH_COST;
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
