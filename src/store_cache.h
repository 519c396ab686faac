/* store_cache.h: blocks of objects that this backend has read, the least recently used one leaving first.
 * Objects never change and ids are never used again, so nothing in it grows stale. See store_cache.c. */
#ifndef STREAMHOUSE_STORE_CACHE_H
#define STREAMHOUSE_STORE_CACHE_H

#include "postgres.h"

#include "common/block.h"

/* Borrowed until the next call of anything here; NULL when it is not there. */
extern Block *store_cache_find(int64 object_id, int64 number);

/* Takes the block over, in any case. */
extern void store_cache_put(int64 object_id, int64 number, Block *block);

/* Lets blocks go until at most so many bytes are held. */
extern void store_cache_trim(int64 bytes_max);

#endif
