/* cache.h: pieces of objects in memory: blocks of one size, aligned in the object, and segments that
 * PostgreSQL holds (inline), each a block by itself. Least recently used out first, but none that somebody
 * holds: that would free nothing. Readers of different partitions share them. What is being read from the
 * store is bounded apart, so that a backfill queues here and delays neither producers nor readers of the
 * tail. */
#ifndef STREAMHOUSE_CACHE_H
#define STREAMHOUSE_CACHE_H

#include <stdint.h>

#include "common/block.h"
#include "common/status.h"

typedef struct Cache Cache;

typedef struct CacheOptions {
    size_t block_bytes;
    size_t bytes_max;      /* kept */
    size_t cold_bytes_max; /* being read; more waits its turn */
} CacheOptions;

/* block NULL on failure. */
typedef void (*CacheGot)(void *argument, const Status *status, Block *block);

/* An object, or an inline segment, as readers know it. */
typedef struct CacheObject {
    int64_t object_id;
    int16_t slot; /* of the inline ring; 0: an object */
    const char *key;
    uint64_t start; /* inline: where the segment is in its row */
    uint64_t length;
} CacheObject;

/* Reads a range of an object or row. False: not started, now is no time for it. */
typedef struct CacheBackend {
    void *context;
    bool (*get)(void *context, const CacheObject *object, uint64_t start, uint64_t length, CacheGot done,
                void *argument);
} CacheBackend;

/* Called once, from the loop, when the wanted block is there or cannot be had (then it is NULL). Who goes on
 * only later holds it until then. */
typedef void (*CacheReady)(void *argument, const Status *status, Block *block);

Cache *cache_new(const CacheOptions *options, const CacheBackend *backend);
/* Only when no read is under way. */
void cache_free(Cache *cache);
void cache_configure(Cache *cache, const CacheOptions *options);

size_t cache_block_bytes(const Cache *cache);

/* The number of the block that has the byte of the object, and where that block begins. */
uint64_t cache_block_number(const Cache *cache, const CacheObject *object, uint64_t byte);
uint64_t cache_block_start(const Cache *cache, const CacheObject *object, uint64_t number);

/* The block with this number; NULL when it is not there. Borrowed: hold it to keep it. */
Block *cache_find(Cache *cache, int64_t object_id, uint64_t number);

/* Has the block read unless it is there or under way. ready NULL: nobody waits (read-ahead), and nothing
 * happens when others wait for their turn already. False when memory is short. */
bool cache_want(Cache *cache, const CacheObject *object, uint64_t number, CacheReady ready, void *argument);

/* Tries again to start what waits for its turn; call it from time to time while cache_is_waiting(). */
void cache_pump(Cache *cache);
bool cache_is_waiting(const Cache *cache);
/* No read is under way. */
bool cache_is_idle(const Cache *cache);

#endif
