/* recompress.h: batches whose topic's compression.type names another codec than theirs, on their way to the
 * log. Small ones are compressed at once, others by a worker thread. A partition's batches come out in the
 * order they went in, those that need nothing behind those that do. */
#ifndef STREAMHOUSE_RECOMPRESS_H
#define STREAMHOUSE_RECOMPRESS_H

#include <uv.h>

#include "agent/catalog/topic.h"
#include "common/batch_recompress.h"

/* error BATCH_OK: bytes lie in frame, which is borrowed during the call. Called from the loop, or from within
 * recompress(). */
typedef void (*RecompressDone)(void *argument, const BatchError *error, Block *frame, uint8_t *bytes,
                               size_t size);

typedef struct RecompressRequest {
    Partition *partition;
    Block *frame; /* keeps batch alive */
    Slice batch;
    BatchHeader header;
    BatchRecompress how;
    size_t records_bytes; /* decompressed; 0: not known */
    size_t bytes_max;     /* of all results that were not given back */
} RecompressRequest;

/* Whether a batch of the partition has to come this way. */
bool recompress_is_due(const Partition *partition, const BatchHeader *header);

/* False when memory is short. */
MUST_CHECK bool recompress(uv_loop_t *loop, const RecompressRequest *request, RecompressDone done,
                           void *argument);

/* A result of that size is durable, or has failed: its memory counts no more. */
void recompress_settle(size_t size);

#endif
