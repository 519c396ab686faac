/* collect.h: gathers a partition's record batches from memory: from the tail, or from cached segments and
 * blocks. What is not in memory it names, for the caller to have it brought and to try again. */
#ifndef STREAMHOUSE_COLLECT_H
#define STREAMHOUSE_COLLECT_H

#include "agent/catalog/topic.h"
#include "agent/log/tail.h"
#include "agent/read/cache.h"
#include "agent/read/segments.h"

/* Slices of batches with patched headers, and the blocks that keep them alive. */
typedef struct Collection {
    Slice *slices;
    size_t slice_count;
    size_t slice_capacity;
    Block **blocks;
    size_t block_count;
    size_t block_capacity;
    Block *scratch; /* the block that copies go to; also among blocks */
    size_t scratch_used;
    bool failed; /* memory was short */
} Collection;

void collection_init(Collection *collection);
/* Lets go of the blocks, keeps the memory. */
void collection_reset(Collection *collection);
void collection_free(Collection *collection);
/* Keeps a block alive until the collection is reset. False when memory is short. */
bool collection_hold(Collection *collection, Block *block);

typedef enum CollectStop {
    COLLECT_FULL,   /* the byte limit was reached */
    COLLECT_END,    /* everything up to the high watermark is there */
    COLLECT_LOOKUP, /* the brain must say where the next offset is */
    COLLECT_LOAD,   /* a block of an object is missing */
    COLLECT_CORRUPT /* the object's bytes are no batches */
} CollectStop;

typedef struct CollectRequest {
    Partition *partition;
    int64_t offset;
    int64_t bytes_max;
    bool one_anyway; /* the first batch may pass bytes_max */
} CollectRequest;

typedef struct CollectResult {
    CollectStop stop;
    int64_t bytes;
    int64_t next_offset; /* after the last batch collected */
    size_t first_slice;  /* in the collection */
    size_t slice_count;
    /* COLLECT_LOAD: what is missing. The key is the segment pointer's. */
    CacheObject object;
    uint64_t block_number;
    uint64_t last_block_number; /* of the segment: read-ahead ends there */
} CollectResult;

typedef struct Collector {
    Segments *segments;
    Cache *cache;
} Collector;

/* Appends to the collection. On COLLECT_LOAD it also holds what is there of the next batch: were it evicted
 * while the rest is read, a batch larger than the cache would never be whole. */
CollectResult collect(const Collector *collector, const CollectRequest *request, Collection *out);

#endif
