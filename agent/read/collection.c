/* collection.c: the growing lists behind a Fetch reply. */
#include <stdlib.h>

#include "agent/read/collect_internal.h"

enum { COLLECTION_MIN = 16, SCRATCH_BYTES = 64 * 1024 };

void collection_init(Collection *collection)
{
    *collection = (Collection){ 0 };
}

void collection_reset(Collection *collection)
{
    for (size_t i = 0; i < collection->block_count; i++) {
        block_release(collection->blocks[i]);
    }
    collection->block_count = 0;
    collection->slice_count = 0;
    collection->scratch = NULL;
    collection->scratch_used = 0;
    collection->failed = false;
}

void collection_free(Collection *collection)
{
    collection_reset(collection);
    free(collection->slices);
    free(collection->blocks);
    collection_init(collection);
}

/* Room for one more element; NULL when memory is short. */
static void *list_grow(void *list, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) {
        return list;
    }
    size_t wanted = *capacity ? *capacity * 2 : COLLECTION_MIN;
    void *grown = realloc(list, wanted * size);
    if (grown) {
        *capacity = wanted;
    }
    return grown;
}

bool collection_add_slice(Collection *collection, Slice slice)
{
    if (slice.size == 0) {
        return true;
    }
    Slice *slices =
        list_grow(collection->slices, collection->slice_count, &collection->slice_capacity, sizeof(Slice));
    if (!slices) {
        collection->failed = true;
        return false;
    }
    collection->slices = slices;
    slices[collection->slice_count++] = slice;
    return true;
}

bool collection_hold(Collection *collection, Block *block)
{
    if (collection->block_count > 0 && collection->blocks[collection->block_count - 1] == block) {
        return true;
    }
    Block **blocks =
        list_grow(collection->blocks, collection->block_count, &collection->block_capacity, sizeof(Block *));
    if (!blocks) {
        collection->failed = true;
        return false;
    }
    collection->blocks = blocks;
    blocks[collection->block_count++] = block_hold(block);
    return true;
}

uint8_t *collection_room(Collection *collection, size_t size)
{
    if (!collection->scratch || collection->scratch->size - collection->scratch_used < size) {
        Block *scratch = block_new(size > SCRATCH_BYTES ? size : SCRATCH_BYTES);
        if (!scratch || !collection_hold(collection, scratch)) {
            block_release(scratch);
            collection->failed = true;
            return NULL;
        }
        block_release(scratch); /* the list holds it */
        collection->scratch = scratch;
        collection->scratch_used = 0;
    }
    uint8_t *room = collection->scratch->bytes + collection->scratch_used;
    collection->scratch_used += size;
    return room;
}
