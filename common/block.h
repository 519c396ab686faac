/* block.h: reference-counted bytes, used by one thread. A produced frame or a cached piece of an object is
 * one Block. */
#ifndef STREAMHOUSE_BLOCK_H
#define STREAMHOUSE_BLOCK_H

#include <stddef.h>
#include <stdint.h>

typedef struct Block {
    uint32_t references;
    void (*released)(struct Block *block,
                     void *context); /* called just before the bytes are freed; may be NULL */
    void *context;
    size_t size;
    void *memory; /* what is freed: the block itself, or where its alignment begins */
    uint8_t bytes[];
} Block;

/* One reference, bytes not initialised; NULL when memory is short. */
Block *block_new(size_t size);
enum { BLOCK_ALIGNMENT = 4096 };
/* The same with bytes at a multiple of BLOCK_ALIGNMENT and room up to the next one, as direct reads need.
 * Cannot be resized. */
Block *block_new_aligned(size_t size);
/* Gives a block with a single reference another size, perhaps at another address; NULL when memory is short,
 * and then the block is as it was. */
Block *block_resize(Block *block, size_t size);
Block *block_hold(Block *block);
/* Drops one reference; NULL is allowed. */
void block_release(Block *block);

#endif
