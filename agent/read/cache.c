/* cache.c: a hash of entries, each waiting, loading or ready; ready ones are in a list by last use. */
#include "agent/read/cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <uthash.h>
#include <utlist.h>

#include "agent/metrics.h"

typedef struct CacheWaiter {
    struct CacheWaiter *next;
    CacheReady ready;
    void *argument;
} CacheWaiter;

typedef struct CacheId {
    int64_t object_id;
    uint64_t number;
} CacheId;

typedef enum EntryState { ENTRY_WAITING, ENTRY_LOADING, ENTRY_READY } EntryState;

typedef struct CacheEntry {
    CacheId id;
    EntryState state;
    CacheObject object; /* the key is a copy, until loaded */
    char *key;
    uint64_t length; /* that is asked for */
    Block *block;
    CacheWaiter *waiters;
    Cache *cache;
    struct CacheEntry *prev; /* in Cache.waiting or Cache.ready */
    struct CacheEntry *next;
    UT_hash_handle hh;
} CacheEntry;

struct Cache {
    CacheOptions options;
    CacheBackend backend;
    CacheEntry *entries;
    CacheEntry *waiting; /* first come first */
    CacheEntry *ready;   /* least recently used first */
    size_t ready_bytes;
    size_t loading_bytes;
};

Cache *cache_new(const CacheOptions *options, const CacheBackend *backend)
{
    Cache *cache = calloc(1, sizeof(Cache));
    if (cache) {
        cache->options = *options;
        cache->backend = *backend;
    }
    return cache;
}

void cache_configure(Cache *cache, const CacheOptions *options)
{
    size_t block_bytes = cache->options.block_bytes; /* entries are numbered by it */
    cache->options = *options;
    cache->options.block_bytes = block_bytes;
}

size_t cache_block_bytes(const Cache *cache)
{
    return cache->options.block_bytes;
}

/* An inline segment is one block, whose number is where it begins. */
uint64_t cache_block_number(const Cache *cache, const CacheObject *object, uint64_t byte)
{
    return object->slot > 0 ? object->start : byte / cache->options.block_bytes;
}

uint64_t cache_block_start(const Cache *cache, const CacheObject *object, uint64_t number)
{
    return object->slot > 0 ? number : number * cache->options.block_bytes;
}

static void entry_remove(Cache *cache, CacheEntry *entry)
{
    HASH_DEL(cache->entries, entry);
    if (entry->state == ENTRY_READY) {
        DL_DELETE(cache->ready, entry);
        cache->ready_bytes -= entry->block->size;
        metric_set(METRIC_CACHE_BYTES, (double)cache->ready_bytes);
    } else if (entry->state == ENTRY_WAITING) {
        DL_DELETE(cache->waiting, entry);
    }
    block_release(entry->block);
    free(entry->key);
    free(entry);
}

void cache_free(Cache *cache)
{
    CacheEntry *entry;
    CacheEntry *next;
    HASH_ITER(hh, cache->entries, entry, next)
    {
        while (entry->waiters) {
            CacheWaiter *waiter = entry->waiters;
            LL_DELETE(entry->waiters, waiter);
            free(waiter);
        }
        entry_remove(cache, entry);
    }
    free(cache);
}

static CacheEntry *entry_find(Cache *cache, int64_t object_id, uint64_t number)
{
    CacheId id = { object_id, number };
    CacheEntry *entry;
    HASH_FIND(hh, cache->entries, &id, sizeof(id), entry);
    return entry;
}

Block *cache_find(Cache *cache, int64_t object_id, uint64_t number)
{
    CacheEntry *entry = entry_find(cache, object_id, number);
    if (!entry || entry->state != ENTRY_READY) {
        metric_add(METRIC_CACHE_MISSES, 1);
        return NULL;
    }
    DL_DELETE(cache->ready, entry);
    DL_APPEND(cache->ready, entry);
    metric_add(METRIC_CACHE_HITS, 1);
    return entry->block;
}

static void waiters_tell(CacheWaiter *waiters, const Status *status, Block *block)
{
    while (waiters) {
        CacheWaiter *waiter = waiters;
        waiters = waiter->next;
        waiter->ready(waiter->argument, status, block);
        free(waiter);
    }
}

static void cache_evict(Cache *cache, const CacheEntry *newest)
{
    CacheEntry *entry = cache->ready;
    while (entry != newest && cache->ready_bytes > cache->options.bytes_max) {
        CacheEntry *next = entry->next;
        if (entry->block->references == 1) {
            entry_remove(cache, entry);
        }
        entry = next;
    }
}

static void entry_loaded(void *argument, const Status *status, Block *block)
{
    CacheEntry *entry = argument;
    Cache *cache = entry->cache;
    CacheWaiter *waiters = entry->waiters;
    Status missing = status_error(STATUS_UNAVAILABLE, "a read ended without bytes");
    entry->waiters = NULL;
    cache->loading_bytes -= entry->length;
    metric_set(METRIC_CACHE_COLD_BYTES, (double)cache->loading_bytes);
    if (!block) {
        metric_add(METRIC_CACHE_FAILURES, 1);
        entry_remove(cache, entry);
    } else {
        free(entry->key);
        entry->key = NULL;
        entry->object.key = NULL;
        entry->block = block_hold(block);
        entry->state = ENTRY_READY;
        DL_APPEND(cache->ready, entry);
        cache->ready_bytes += block->size;
        metric_add(METRIC_CACHE_READ_BYTES, block->size);
        cache_evict(cache, entry);
        metric_set(METRIC_CACHE_BYTES, (double)cache->ready_bytes);
    }
    /* Were they told that it is there, they would ask for it again and again. */
    waiters_tell(waiters, !block && status_is_ok(status) ? &missing : status, block);
    cache_pump(cache);
}

static bool entry_start(Cache *cache, CacheEntry *entry)
{
    uint64_t length = entry->length;
    uint64_t start = cache_block_start(cache, &entry->object, entry->id.number);
    if (!cache->backend.get(cache->backend.context, &entry->object, start, length, entry_loaded, entry)) {
        return false;
    }
    DL_DELETE(cache->waiting, entry);
    entry->state = ENTRY_LOADING;
    cache->loading_bytes += length;
    metric_set(METRIC_CACHE_COLD_BYTES, (double)cache->loading_bytes);
    return true;
}

void cache_pump(Cache *cache)
{
    while (cache->waiting && (cache->loading_bytes == 0 || cache->loading_bytes + cache->waiting->length <=
                                                               cache->options.cold_bytes_max)) {
        if (!entry_start(cache, cache->waiting)) {
            return;
        }
    }
}

static CacheEntry *entry_new(Cache *cache, const CacheObject *object, uint64_t number)
{
    CacheEntry *entry = calloc(1, sizeof(CacheEntry));
    char *key = strdup(object->key);
    if (!entry || !key) {
        free(entry);
        free(key);
        return NULL;
    }
    entry->id.object_id = object->object_id;
    entry->id.number = number;
    entry->key = key;
    entry->object = *object;
    entry->object.key = key;
    entry->length = object->slot > 0 ? object->length : cache->options.block_bytes;
    entry->cache = cache;
    HASH_ADD(hh, cache->entries, id, sizeof(entry->id), entry);
    DL_APPEND(cache->waiting, entry);
    return entry;
}

bool cache_want(Cache *cache, const CacheObject *object, uint64_t number, CacheReady ready, void *argument)
{
    CacheEntry *entry = entry_find(cache, object->object_id, number);
    if (!ready && (entry || cache->waiting)) {
        return true;
    }
    assert(!entry || entry->state != ENTRY_READY);
    CacheWaiter *waiter = ready ? malloc(sizeof(CacheWaiter)) : NULL;
    if (ready && !waiter) {
        return false;
    }
    if (!entry && !(entry = entry_new(cache, object, number))) {
        free(waiter);
        return false;
    }
    if (waiter) {
        *waiter = (CacheWaiter){ .ready = ready, .argument = argument };
        LL_APPEND(entry->waiters, waiter);
    }
    cache_pump(cache);
    return true;
}

bool cache_is_waiting(const Cache *cache)
{
    return cache->waiting != NULL;
}

bool cache_is_idle(const Cache *cache)
{
    return cache->loading_bytes == 0;
}
