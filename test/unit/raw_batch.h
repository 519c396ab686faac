/* raw_batch.h: record batches for code that looks at headers only: a header as a producer would write it, and
 * bytes instead of records. */
#ifndef STREAMHOUSE_RAW_BATCH_H
#define STREAMHOUSE_RAW_BATCH_H

#include <stdlib.h>
#include <string.h>

#include "common/batch.h"
#include "common/block.h"

typedef struct RawBatch {
    int64_t producer_id; /* 0: none, so that a test need not say it */
    int16_t epoch;
    int32_t sequence;
    int32_t records; /* 0: one */
    int32_t size;    /* 0: 100 bytes */
    uint8_t fill;
} RawBatch;

static inline void raw_put(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        out[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    }
}

static inline int32_t raw_batch_records(const RawBatch *batch)
{
    return batch->records > 0 ? batch->records : 1;
}

static inline size_t raw_batch_size(const RawBatch *batch)
{
    return batch->size > 0 ? (size_t)batch->size : 100;
}

static inline void raw_batch_write(uint8_t *out, const RawBatch *batch)
{
    size_t size = raw_batch_size(batch);
    int32_t records = raw_batch_records(batch);
    memset(out, batch->fill, size);
    memset(out, 0, BATCH_HEADER_SIZE);
    raw_put(out + 8, size - BATCH_LENGTH_END, 4);
    out[16] = BATCH_MAGIC;
    raw_put(out + 23, (uint64_t)records - 1, 4);
    raw_put(out + 43, batch->producer_id > 0 ? (uint64_t)batch->producer_id : UINT64_MAX, 8);
    raw_put(out + 51, (uint64_t)batch->epoch, 2);
    raw_put(out + 53, (uint64_t)batch->sequence, 4);
    raw_put(out + 57, (uint64_t)records, 4);
}

static inline Block *raw_batch_block(const RawBatch *batch)
{
    Block *block = block_new(raw_batch_size(batch));
    if (!block) {
        abort();
    }
    raw_batch_write(block->bytes, batch);
    return block;
}

static inline BatchHeader raw_batch_header(const Block *block)
{
    BatchHeader header;
    BatchError error = batch_header_read(slice_of(block->bytes, block->size), &header);
    if (error.code != BATCH_OK) {
        abort();
    }
    return header;
}

#endif
