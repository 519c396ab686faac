/* collect.c: the tail is batches in a ring; a segment is a byte range that is cut into batches by their
 * headers, over the borders of cached blocks. Objects were written before offsets were known, so that every
 * header gets its base offset and leader epoch here. */
#include "agent/read/collect.h"

#include "agent/read/collect_internal.h"
#include "common/batch.h"

/* Below this a batch is copied whole: one slice is cheaper than two. */
enum { COLLECT_COPY_MAX = 4096 };

/* Bytes of a segment, through the cache. */
typedef struct SegmentView {
    Cache *cache;
    const SegmentRef *ref;
    CacheObject object;
    uint64_t missing; /* number of the block that was not there */
    bool cut_short;   /* the block was there but the object ends before the segment does */
} SegmentView;

static Slice view_at(SegmentView *view, int32_t position, size_t size, Block **block)
{
    uint64_t start = (uint64_t)view->ref->byte_start + (uint64_t)position;
    uint64_t number = cache_block_number(view->cache, &view->object, start);
    size_t within = (size_t)(start - cache_block_start(view->cache, &view->object, number));
    *block = cache_find(view->cache, view->ref->object_id, number);
    view->missing = number;
    if (!*block || (*block)->size <= within) {
        view->cut_short = *block != NULL;
        return SLICE_NULL;
    }
    size_t left = (*block)->size - within;
    return slice_of((*block)->bytes + within, size < left ? size : left);
}

/* Copies size bytes from position; false when a block is missing. */
static bool view_copy(SegmentView *view, int32_t position, uint8_t *out, size_t size)
{
    while (size > 0) {
        Block *block;
        Slice piece = view_at(view, position, size, &block);
        if (slice_is_null(piece)) {
            return false;
        }
        memcpy(out, piece.data, piece.size);
        out += piece.size;
        size -= piece.size;
        position += (int32_t)piece.size;
    }
    return true;
}

/* Adds size bytes from position without copying; false when a block is missing or memory is short. */
static bool view_add(SegmentView *view, int32_t position, size_t size, Collection *out)
{
    while (size > 0) {
        Block *block;
        Slice piece = view_at(view, position, size, &block);
        if (slice_is_null(piece) || !collection_hold(out, block) || !collection_add_slice(out, piece)) {
            return false;
        }
        size -= piece.size;
        position += (int32_t)piece.size;
    }
    return true;
}

typedef struct Cut {
    int32_t size;
    int64_t offset_count;
} Cut;

/* The size and the offsets of the batch at a position. 1: there; 0: a block is missing; -1: no batch. */
static int view_cut(SegmentView *view, int32_t position, uint8_t header[BATCH_HEADER_SIZE], Cut *cut)
{
    int32_t left = view->ref->byte_length - position;
    if (left < BATCH_HEADER_SIZE) {
        return -1;
    }
    if (!view_copy(view, position, header, BATCH_HEADER_SIZE)) {
        return 0;
    }
    int32_t length = (int32_t)((uint32_t)header[8] << 24 | (uint32_t)header[9] << 16 |
                               (uint32_t)header[10] << 8 | header[11]);
    int32_t last_delta = (int32_t)((uint32_t)header[23] << 24 | (uint32_t)header[24] << 16 |
                                   (uint32_t)header[25] << 8 | header[26]);
    if (length < BATCH_HEADER_SIZE - BATCH_LENGTH_END || length > left - BATCH_LENGTH_END || last_delta < 0 ||
        header[16] != BATCH_MAGIC) {
        return -1;
    }
    *cut = (Cut){ length + BATCH_LENGTH_END, (int64_t)last_delta + 1 };
    return 1;
}

/* Adds one batch; nothing is added when a block is missing. */
static bool view_take(SegmentView *view, int32_t position, const uint8_t *header, const Cut *cut,
                      int64_t base_offset, Collection *out)
{
    size_t slices = out->slice_count;
    size_t copied = cut->size <= COLLECT_COPY_MAX ? (size_t)cut->size : BATCH_HEADER_SIZE;
    uint8_t *room = collection_room(out, copied);
    if (!room) {
        return false;
    }
    memcpy(room, header, BATCH_HEADER_SIZE);
    batch_patch_offset(room, base_offset, view->ref->leader_epoch);
    if (!view_copy(view, position + BATCH_HEADER_SIZE, room + BATCH_HEADER_SIZE,
                   copied - BATCH_HEADER_SIZE) ||
        !collection_add_slice(out, slice_of(room, copied)) ||
        !view_add(view, position + (int32_t)copied, (size_t)cut->size - copied, out)) {
        out->slice_count = slices;
        return false;
    }
    return true;
}

/* Something of the batch at the position is missing: holds what comes before it. */
static CollectStop collect_missing(const SegmentView *view, int32_t position, CollectResult *result,
                                   Collection *out)
{
    if (view->cut_short) {
        return COLLECT_CORRUPT;
    }
    uint64_t start = (uint64_t)view->ref->byte_start + (uint64_t)position;
    for (uint64_t number = cache_block_number(view->cache, &view->object, start); number < view->missing;
         number++) {
        Block *block = cache_find(view->cache, view->ref->object_id, number);
        if (block) {
            (void)collection_hold(out, block);
        }
    }
    uint64_t end = (uint64_t)view->ref->byte_start + (uint64_t)view->ref->byte_length;
    result->object = view->object;
    result->block_number = view->missing;
    result->last_block_number = cache_block_number(view->cache, &view->object, end - 1);
    return COLLECT_LOAD;
}

/* Whether a batch of this size still fits; the first may be larger. */
static bool collect_fits(const CollectRequest *request, const CollectResult *result, int64_t size)
{
    return size <= request->bytes_max - result->bytes || (request->one_anyway && result->bytes == 0);
}

/* From the segment, until its end (COLLECT_END) or something else stops it. */
static CollectStop collect_segment(const Collector *collector, const CollectRequest *request, SegmentRef *ref,
                                   CollectResult *result, Collection *out)
{
    SegmentView view = { collector->cache, ref, segment_object(ref), 0, false };
    int32_t position = 0;
    int64_t base_offset = ref->base_offset;
    if (ref->hint_offset <= result->next_offset) {
        position = ref->hint_position;
        base_offset = ref->hint_offset;
    }
    while (position < ref->byte_length) {
        uint8_t header[BATCH_HEADER_SIZE];
        Cut cut;
        int there = view_cut(&view, position, header, &cut);
        if (there <= 0) {
            return there == 0 ? collect_missing(&view, position, result, out) : COLLECT_CORRUPT;
        }
        if (cut.offset_count > ref->end_offset - base_offset) {
            return COLLECT_CORRUPT;
        }
        int64_t end_offset = base_offset + cut.offset_count;
        if (end_offset > result->next_offset) {
            if (!collect_fits(request, result, cut.size)) {
                return COLLECT_FULL;
            }
            if (!view_take(&view, position, header, &cut, base_offset, out)) {
                return out->failed ? COLLECT_FULL : collect_missing(&view, position, result, out);
            }
            result->bytes += cut.size;
            result->next_offset = end_offset;
        }
        position += cut.size;
        base_offset = end_offset;
        ref->hint_offset = base_offset;
        ref->hint_position = position;
    }
    if (base_offset != ref->end_offset) {
        return COLLECT_CORRUPT; /* fewer offsets than the brain knows of: never skipped in silence */
    }
    result->next_offset = base_offset;
    return COLLECT_END;
}

static CollectStop collect_tail(const CollectRequest *request, int64_t place, CollectResult *result,
                                Collection *out)
{
    const TailBatch *batch;
    while ((batch = tail_at(request->partition, place++)) != NULL) {
        if (!collect_fits(request, result, batch->size)) {
            return COLLECT_FULL;
        }
        if (!collection_hold(out, batch->block) ||
            !collection_add_slice(out, slice_of(batch->bytes, (size_t)batch->size))) {
            return COLLECT_FULL;
        }
        result->bytes += batch->size;
        result->next_offset = batch->end_offset;
    }
    return COLLECT_END;
}

CollectResult collect(const Collector *collector, const CollectRequest *request, Collection *out)
{
    Partition *partition = request->partition;
    CollectResult result = { .next_offset = request->offset, .first_slice = out->slice_count };
    do {
        if (result.next_offset >= partition->high_watermark) {
            result.stop = COLLECT_END;
            break;
        }
        int64_t place = tail_find(partition, result.next_offset);
        if (place != TAIL_MISS) {
            result.stop = collect_tail(request, place, &result, out);
            continue;
        }
        SegmentRef *ref = segments_find(collector->segments, partition, result.next_offset);
        result.stop = ref ? collect_segment(collector, request, ref, &result, out) : COLLECT_LOOKUP;
    } while (result.stop == COLLECT_END);
    result.slice_count = out->slice_count - result.first_slice;
    return result;
}
