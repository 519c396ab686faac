/* tail.h: the newest committed batches of every partition in memory, bounded in bytes over all of them.
 * Consumers who keep up read from here and never touch the store. A partition's tail is one unbroken run of
 * offsets. A batch keeps the whole frame alive that it came in, however little of it the batch is: what
 * counts is frames. */
#ifndef STREAMHOUSE_TAIL_H
#define STREAMHOUSE_TAIL_H

#include "agent/catalog/topic.h"
#include "common/block.h"

typedef struct TailFrame TailFrame;

struct TailBatch {
    TailBatch *prev; /* in Tail, over all partitions, oldest first */
    TailBatch *next;
    Partition *partition;
    Block *block;
    TailFrame *frame;
    const uint8_t *bytes; /* base offset and leader epoch are patched */
    int32_t size;
    int64_t base_offset;
    int64_t end_offset; /* exclusive */
};

typedef struct Tail {
    TailBatch *oldest;
    TailFrame *frames; /* by block */
    size_t bytes;      /* frames and bookkeeping */
    size_t bytes_max;
} Tail;

enum { TAIL_MISS = -1 };

void tail_init(Tail *tail, size_t bytes_max);

/* Takes a batch that was just committed at base_offset; holds the block. A gap to what is there drops the
 * older run. */
void tail_push(Tail *tail, Partition *partition, Block *block, const uint8_t *bytes, int32_t size,
               int64_t base_offset, int64_t end_offset);

/* The place in the partition's tail of the batch that contains the offset; TAIL_MISS when the tail does not
 * reach it. */
int64_t tail_find(const Partition *partition, int64_t offset);

/* The batch at a place; NULL past the newest. */
const TailBatch *tail_at(const Partition *partition, int64_t place);

/* Forgets a partition's tail (the topic went away, or offsets did not follow each other). */
void tail_drop(Tail *tail, Partition *partition);

void tail_free(Tail *tail);

#endif
