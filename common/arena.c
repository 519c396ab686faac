/* arena.c: a list of chunks, each twice the last up to a cap, freed together. */
#include "common/arena.h"

#include <stdint.h>
#include <stdlib.h>

enum { ARENA_ALIGNMENT = 16, ARENA_CHUNK_MIN = 2048, ARENA_CHUNK_MAX = 256 * 1024 };

struct ArenaChunk {
    ArenaChunk *next;
    size_t capacity;
    size_t used;
    _Alignas(ARENA_ALIGNMENT) unsigned char bytes[];
};

void arena_init(Arena *arena, size_t limit)
{
    *arena = (Arena){ .limit = limit };
}

static ArenaChunk *arena_grow(Arena *arena, size_t size)
{
    size_t capacity = arena->chunks ? arena->chunks->capacity * 2 : ARENA_CHUNK_MIN;
    if (capacity > ARENA_CHUNK_MAX) {
        capacity = ARENA_CHUNK_MAX;
    }
    if (capacity < size) {
        capacity = size;
    }
    ArenaChunk *chunk = malloc(sizeof(ArenaChunk) + capacity);
    if (!chunk) {
        return NULL;
    }
    *chunk = (ArenaChunk){ .next = arena->chunks, .capacity = capacity };
    arena->chunks = chunk;
    return chunk;
}

void *arena_allocate(Arena *arena, size_t size)
{
    if (size > SIZE_MAX - ARENA_ALIGNMENT) {
        return NULL;
    }
    size_t rounded = (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if (rounded == 0) {
        rounded = ARENA_ALIGNMENT;
    }
    if (rounded > arena->limit - arena->used) {
        return NULL;
    }
    ArenaChunk *chunk = arena->chunks;
    if (!chunk || rounded > chunk->capacity - chunk->used) {
        chunk = arena_grow(arena, rounded);
        if (!chunk) {
            return NULL;
        }
    }
    void *memory = chunk->bytes + chunk->used;
    chunk->used += rounded;
    arena->used += rounded;
    return memset(memory, 0, rounded);
}

void *arena_allocate_array(Arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        return NULL;
    }
    return arena_allocate(arena, count * size);
}

bool arena_copy(Arena *arena, Slice bytes, Slice *copy)
{
    if (slice_is_null(bytes)) {
        return true;
    }
    char *kept = arena_copy_text(arena, bytes);
    if (kept) {
        *copy = slice_of(kept, bytes.size);
    }
    return kept != NULL;
}

char *arena_copy_text(Arena *arena, Slice text)
{
    char *copy = text.size < SIZE_MAX ? arena_allocate(arena, text.size + 1) : NULL;
    if (copy && text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    return copy;
}

void arena_reset(Arena *arena)
{
    ArenaChunk *chunk = arena->chunks;
    while (chunk) {
        ArenaChunk *next = chunk->next;
        free(chunk);
        chunk = next;
    }
    arena->chunks = NULL;
    arena->used = 0;
}
