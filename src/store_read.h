/* store_read.h: bytes of objects in the store, for a backend: blocking, interruptible, through a cache of
 * blocks. See store_read.c. */
#ifndef STREAMHOUSE_STORE_READ_H
#define STREAMHOUSE_STORE_READ_H

#include "postgres.h"

#include "common/status.h"

enum { STORE_READ_BLOCK_BYTES = 1024 * 1024 };

/* Copies bytes start .. start + length - 1 of an object to out. False when there is no such object: look the
 * segment up once more. ERROR when the store cannot be read, is not set, or the object ends before that. */
extern bool store_read(int64 object_id, const char *key, uint64 start, size_t length, uint8 *out);

/* Is there such an object? Asked of the store, not of the cache. ERROR when the store cannot be read. */
extern bool store_has(const char *key);

typedef struct StoreReadStats {
    int64 hits;
    int64 misses;
    int64 reads; /* requests to the store */
    int64 bytes_read;
    int64 evictions;
    int64 bytes_held;
} StoreReadStats;

extern StoreReadStats store_read_stats;

#endif
