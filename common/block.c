/* block.c: reference counts without atomics, since one thread owns every Block. */
#include "common/block.h"

#include <assert.h>
#include <stdlib.h>

Block *block_new(size_t size)
{
    Block *block = size <= SIZE_MAX - sizeof(Block) ? malloc(sizeof(Block) + size) : NULL;
    if (block) {
        block->references = 1;
        block->released = NULL;
        block->context = NULL;
        block->size = size;
    }
    return block;
}

Block *block_resize(Block *block, size_t size)
{
    assert(block->references == 1);
    Block *resized = size <= SIZE_MAX - sizeof(Block) ? realloc(block, sizeof(Block) + size) : NULL;
    if (resized) {
        resized->size = size;
    }
    return resized;
}

Block *block_hold(Block *block)
{
    assert(block->references > 0 && block->references < UINT32_MAX);
    block->references++;
    return block;
}

void block_release(Block *block)
{
    if (!block) {
        return;
    }
    assert(block->references > 0);
    if (--block->references > 0) {
        return;
    }
    if (block->released) {
        block->released(block, block->context);
    }
    free(block);
}
