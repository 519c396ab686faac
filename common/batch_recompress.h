/* batch_recompress.h: a record batch with the same records under another codec. */
#ifndef STREAMHOUSE_BATCH_RECOMPRESS_H
#define STREAMHOUSE_BATCH_RECOMPRESS_H

#include "common/batch.h"
#include "common/block.h"

typedef struct BatchRecompress {
    CompressionCodec codec;
    int level;                     /* COMPRESSION_LEVEL_DEFAULT, or the codec's own scale */
    size_t batch_bytes_max;        /* of the result: more is BATCH_TOO_LARGE */
    size_t decompressed_bytes_max; /* of its records */
} BatchRecompress;

/* Makes *out, a block with the batch alone; header is batch's. Records, times, producer and sequence are as
 * they were; codec, length and checksum are new. *out is NULL on failure. Any thread. */
MUST_CHECK BatchError batch_recompress(Slice batch, const BatchHeader *header, const BatchRecompress *how,
                                       Block **out);

#endif
