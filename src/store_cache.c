/* store_cache.c: the backend's cache of objects' blocks: a hash table, and a list in the order of use. Blocks
 * are malloc'ed, as the store's code makes them, and owned by the table: an ERROR leaks none. */
#include "compat.h"
#include "store_cache.h"

#include "lib/ilist.h"
#include "store_read.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

enum { CACHE_BLOCKS_FIRST = 64 };

typedef struct CacheKey {
    int64 object_id;
    int64 number;
} CacheKey;

typedef struct CacheBlock {
    CacheKey key;
    Block *block;
    dlist_node used; /* head: most recently */
} CacheBlock;

static HTAB *blocks = NULL;
static dlist_head by_use = DLIST_STATIC_INIT(by_use);

static void cache_open(void)
{
    HASHCTL control = { .keysize = sizeof(CacheKey),
                        .entrysize = sizeof(CacheBlock),
                        .hcxt = TopMemoryContext };
    if (!blocks) {
        blocks = hash_create("StreamHouse blocks", CACHE_BLOCKS_FIRST, &control,
                             HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
    }
}

Block *store_cache_find(int64 object_id, int64 number)
{
    CacheKey key = { object_id, number };
    CacheBlock *found = blocks ? hash_search(blocks, &key, HASH_FIND, NULL) : NULL;
    if (!found) {
        return NULL;
    }
    dlist_move_head(&by_use, &found->used);
    return found->block;
}

static CacheBlock *cache_enter(const CacheKey *key, bool *found)
{
    cache_open();
    return hash_search(blocks, key, HASH_ENTER, found);
}

void store_cache_put(int64 object_id, int64 number, Block *block)
{
    CacheKey key = { object_id, number };
    CacheBlock *entry = NULL;
    bool found = false;
    PG_TRY();
    {
        entry = cache_enter(&key, &found);
    }
    PG_CATCH();
    {
        block_release(block);
        PG_RE_THROW();
    }
    PG_END_TRY();
    if (found) {
        store_read_stats.bytes_held -= entry->block->size;
        block_release(entry->block);
        dlist_delete(&entry->used);
    }
    entry->block = block;
    dlist_push_head(&by_use, &entry->used);
    store_read_stats.bytes_held += block->size;
}

void store_cache_trim(int64 bytes_max)
{
    while (store_read_stats.bytes_held > bytes_max && !dlist_is_empty(&by_use)) {
        CacheBlock *oldest = dlist_container(CacheBlock, used, dlist_tail_node(&by_use));
        store_read_stats.bytes_held -= oldest->block->size;
        store_read_stats.evictions++;
        block_release(oldest->block);
        dlist_delete(&oldest->used);
        hash_search(blocks, &oldest->key, HASH_REMOVE, NULL);
    }
}
