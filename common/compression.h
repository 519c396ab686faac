/* compression.h: the codecs of Kafka's record batches. Every function may run on any thread; nothing is
 * shared.
 *
 * What is read: gzip (several members one after the other), snappy (raw, or in snappy-java's "xerial" stream
 * of blocks), LZ4 frames and zstd frames (several, with or without checksums, content sizes and skippable
 * frames). Bytes after the last frame and frames that stop early are errors. What is written can be read by
 * the Java client and by librdkafka. */
#ifndef STREAMHOUSE_COMPRESSION_H
#define STREAMHOUSE_COMPRESSION_H

#include <limits.h>

#include "common/slice.h"
#include "common/status.h"
#include "common/writer.h"

/* Bits 0-2 of a batch's attributes. */
typedef enum CompressionCodec {
    COMPRESSION_NONE = 0,
    COMPRESSION_GZIP = 1,
    COMPRESSION_SNAPPY = 2,
    COMPRESSION_LZ4 = 3,
    COMPRESSION_ZSTD = 4,
    COMPRESSION_CODEC_COUNT
} CompressionCodec;

/* The codec's own default level. */
#define COMPRESSION_LEVEL_DEFAULT INT_MIN

/* "none", "gzip" …; "unknown" for an id that is no codec. */
const char *compression_name(CompressionCodec codec);

/* The codec of a name such as "lz4"; false when there is none. */
bool compression_find(Slice name, CompressionCodec *out);

/* Appends in, compressed, to the writer's own bytes. A level outside the codec's range is moved into it;
 * snappy has none. COMPRESSION_NONE copies. */
MUST_CHECK Status compression_compress(CompressionCodec codec, int level, Slice in, Writer *out);

/* Appends what in holds to the writer's own bytes. Never makes more than output_max bytes: STATUS_LIMIT when
 * there is more, STATUS_CORRUPT when in is broken, cut short or empty, STATUS_INVALID for an unknown codec.
 * On failure the writer has the bytes it had. Memory: what came out so far, at most doubled, plus the codec's
 * state. */
MUST_CHECK Status compression_decompress(CompressionCodec codec, Slice in, size_t output_max, Writer *out);

/* The same, a piece at a time, for those who need not hold everything. */
typedef struct Decompressor Decompressor;

/* in must stay until decompressor_free(). *out is NULL on failure. */
MUST_CHECK Status decompressor_new(CompressionCodec codec, Slice in, size_t output_max, Decompressor **out);

/* Fills at most room bytes, *size of them; 0 with success means the end. At most output_max bytes come in
 * all: one more is STATUS_LIMIT. After a failure it must not be called again. */
MUST_CHECK Status decompressor_read(Decompressor *decompressor, uint8_t *bytes, size_t room, size_t *size);

/* NULL is allowed. */
void decompressor_free(Decompressor *decompressor);

#endif
