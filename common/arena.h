/* arena.h: memory of one request, freed at once. Allocation fails (NULL) past the arena's limit. */
#ifndef STREAMHOUSE_ARENA_H
#define STREAMHOUSE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "common/slice.h"

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
    ArenaChunk *chunks;
    size_t used;  /* bytes handed out */
    size_t limit; /* bytes that may be handed out */
} Arena;

void arena_init(Arena *arena, size_t limit);

/* Zeroed, 16-byte aligned memory; NULL when the limit or the machine's memory is reached. */
void *arena_allocate(Arena *arena, size_t size);

/* count * size with overflow checked; NULL on overflow or limit. count 0 gives a non-NULL pointer. */
void *arena_allocate_array(Arena *arena, size_t count, size_t size);

/* A copy of the bytes, which may be of any kind; null leaves *copy as it is. False, and *copy as it is, when
 * memory is short. */
bool arena_copy(Arena *arena, Slice bytes, Slice *copy);

/* A NUL-terminated copy. */
char *arena_copy_text(Arena *arena, Slice text);

/* Frees everything, keeps the limit. */
void arena_reset(Arena *arena);

#endif
