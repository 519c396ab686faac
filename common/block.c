/* block.c: reference counts without atomics, since one thread owns every Block. */
#include "common/block.h"

#include <assert.h>
#include <stdalign.h>
#include <stdlib.h>

_Static_assert(BLOCK_ALIGNMENT % alignof(Block) == 0 && sizeof(Block) % alignof(Block) == 0,
               "a header before an aligned byte is aligned itself");

static Block *block_begin(Block *block, void *memory, size_t size)
{
    block->references = 1;
    block->released = NULL;
    block->context = NULL;
    block->size = size;
    block->memory = memory;
    return block;
}

Block *block_new(size_t size)
{
    Block *block = size <= SIZE_MAX - sizeof(Block) ? malloc(sizeof(Block) + size) : NULL;
    return block ? block_begin(block, block, size) : NULL;
}

/* The header stands right before the first aligned byte. */
Block *block_new_aligned(size_t size)
{
    uint8_t *memory;
    if (size > SIZE_MAX - 2 * BLOCK_ALIGNMENT) {
        return NULL;
    }
    size_t rounded = (size + BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT;
    if (posix_memalign((void **)&memory, BLOCK_ALIGNMENT, BLOCK_ALIGNMENT + rounded) != 0) {
        return NULL;
    }
    return block_begin((Block *)(memory + BLOCK_ALIGNMENT - sizeof(Block)), memory, size);
}

Block *block_resize(Block *block, size_t size)
{
    assert(block->references == 1 && block->memory == block);
    Block *resized = size <= SIZE_MAX - sizeof(Block) ? realloc(block, sizeof(Block) + size) : NULL;
    if (resized) {
        resized->size = size;
        resized->memory = resized;
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
    free(block->memory);
}
