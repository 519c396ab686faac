/* batch.h: the header of a Kafka record batch (message format 2): read it, check the batch, patch it. Batches
 * stay the bytes that the producer sent; nothing here encodes one again.
 *
 *  0 baseOffset i64           16 magic i8 (2)             27 baseTimestamp i64    53 baseSequence i32
 *  8 batchLength i32          17 crc u32 (of 21 to end)   35 maxTimestamp i64     57 recordCount i32
 * 12 partitionLeaderEpoch i32 21 attributes i16           43 producerId i64       61 records, compressed as a
 * whole 23 lastOffsetDelta i32      51 producerEpoch i16 batchLength counts from byte 12. Source: Kafka's
 * documentation, "Record Batch". */
#ifndef STREAMHOUSE_BATCH_H
#define STREAMHOUSE_BATCH_H

#include "common/compression.h"
#include "common/slice.h"

enum {
    BATCH_LENGTH_END = 12,  /* what batchLength does not count */
    BATCH_CRC_START = 21,   /* first byte the checksum covers */
    BATCH_HEADER_SIZE = 61, /* first byte of the records */
    BATCH_MAGIC = 2,
    BATCH_MESSAGE_MAX = 160
};

/* Bits of the attributes. */
enum {
    BATCH_CODEC_MASK = 0x07,
    BATCH_APPEND_TIME = 0x08, /* timestamps are the broker's */
    BATCH_TRANSACTIONAL = 0x10,
    BATCH_CONTROL = 0x20,
    BATCH_DELETE_HORIZON =
        0x40 /* baseTimestamp is when tombstones may go; deltas count from it all the same */
};

typedef struct BatchHeader {
    int64_t base_offset;
    int32_t length; /* as stored, without the first BATCH_LENGTH_END bytes */
    int32_t leader_epoch;
    int8_t magic;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp; /* ms since 1970, -1 none */
    int64_t max_timestamp;  /* ms since 1970, -1 none */
    int64_t producer_id;    /* -1 none */
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t record_count;
} BatchHeader;

/* Kafka's error codes, those that a batch can earn. */
typedef enum BatchErrorCode {
    BATCH_UNKNOWN = -1, /* UNKNOWN_SERVER_ERROR: memory was short */
    BATCH_OK = 0,
    BATCH_CORRUPT = 2,             /* CORRUPT_MESSAGE: retriable, the bytes were damaged on their way */
    BATCH_BUSY = 7,                /* REQUEST_TIMED_OUT: retriable, nothing is wrong with the batch */
    BATCH_TOO_LARGE = 10,          /* MESSAGE_TOO_LARGE: producers split the batch */
    BATCH_TIMESTAMP_INVALID = 32,  /* INVALID_TIMESTAMP */
    BATCH_FORMAT_UNSUPPORTED = 43, /* UNSUPPORTED_FOR_MESSAGE_FORMAT */
    BATCH_CODEC_UNSUPPORTED = 76,  /* UNSUPPORTED_COMPRESSION_TYPE */
    BATCH_RECORD_INVALID = 87      /* INVALID_RECORD: the producer made it wrong */
} BatchErrorCode;

/* A verdict: what to answer, and a sentence for the answer's error_message and the log. message is "" when
 * code is BATCH_OK. */
typedef struct BatchError {
    int16_t code; /* BatchErrorCode, as on the wire */
    char message[BATCH_MESSAGE_MAX];
} BatchError;

/* What a producer may send to a topic. Timestamp limits are INT64_MAX when there are none (as for a
 * LogAppendTime topic). */
typedef struct BatchLimits {
    size_t batch_bytes_max;          /* max.message.bytes: the whole batch, compressed, header included */
    size_t decompressed_bytes_max;   /* of the records; see batch_check_compressed() */
    int64_t now_ms;                  /* for the two below */
    int64_t timestamp_before_max_ms; /* message.timestamp.before.max.ms */
    int64_t timestamp_after_max_ms;  /* message.timestamp.after.max.ms */
    bool keys_required;              /* cleanup.policy has compact */
    bool zstd_refused;               /* Produce before version 7 */
} BatchLimits;

/* What walking the records told; all zero when they were not walked. */
typedef struct BatchFacts {
    bool walked;
    int64_t max_timestamp; /* greatest of the records', -1 none. When it is not the header's, use
                              batch_set_max_timestamp(). */
    size_t records_bytes;  /* of the records, not compressed */
    bool records_refused;  /* the batch was refused for what single records say: batch_find_refused() */
} BatchFacts;

static inline CompressionCodec batch_codec(const BatchHeader *header)
{
    return (CompressionCodec)(header->attributes & BATCH_CODEC_MASK);
}

static inline bool batch_is_append_time(const BatchHeader *header)
{
    return (header->attributes & BATCH_APPEND_TIME) != 0;
}

static inline bool batch_is_transactional(const BatchHeader *header)
{
    return (header->attributes & BATCH_TRANSACTIONAL) != 0;
}

static inline bool batch_is_control(const BatchHeader *header)
{
    return (header->attributes & BATCH_CONTROL) != 0;
}

/* Bytes of the whole batch. */
static inline size_t batch_size(const BatchHeader *header)
{
    return (size_t)header->length + BATCH_LENGTH_END;
}

/* Offsets that the batch takes; the offset after it is base_offset + this. */
static inline int64_t batch_offset_count(const BatchHeader *header)
{
    return (int64_t)header->last_offset_delta + 1;
}

/* The last sequence number of the batch; 0 follows INT32_MAX. */
static inline int32_t batch_last_sequence(const BatchHeader *header)
{
    return (int32_t)(((uint32_t)header->base_sequence + (uint32_t)header->last_offset_delta) & INT32_MAX);
}

/* Reads the header of the batch that bytes begin with; more may follow. On success the whole batch
 * (batch_size()) lies within bytes, the magic is 2 and the length at least a header's. Anything else in the
 * header is as sent. Fails with BATCH_CORRUPT, or BATCH_FORMAT_UNSUPPORTED for message sets of magic 0 and 1.
 */
MUST_CHECK BatchError batch_header_read(Slice bytes, BatchHeader *out);

/* The batch's records as stored (compressed or not): what follows the header. batch is the whole batch. */
static inline Slice batch_payload(Slice batch)
{
    return slice_of(batch.data + BATCH_HEADER_SIZE, batch.size - BATCH_HEADER_SIZE);
}

/* Checks a whole batch (exactly batch_size() bytes, header read from it) of a producer: size, checksum, base
 * offset 0, counts, codec, no control bits, producer id, epoch and sequence. Of an uncompressed batch the
 * records too: each length, offset deltas 0, 1, 2 …, count, keys and timestamps, and that they fill the
 * batch. facts may be NULL. Pure: any thread. */
MUST_CHECK BatchError batch_check(Slice batch, const BatchHeader *header, const BatchLimits *limits,
                                  BatchFacts *facts);

/* The records of a compressed batch that passed batch_check(), decompressed piece by piece in bounded memory:
 * the same checks of the records. More than decompressed_bytes_max is BATCH_TOO_LARGE, a broken stream
 * BATCH_RECORD_INVALID. Slow: meant for a worker thread. An uncompressed batch is BATCH_OK at once. */
MUST_CHECK BatchError batch_check_compressed(Slice batch, const BatchHeader *header,
                                             const BatchLimits *limits, BatchFacts *facts);

/* Told of a record that is refused: its place in the batch, and why. */
typedef void (*BatchRefused)(void *argument, int32_t index, const BatchError *error);

/* Walks a batch again that was refused with facts->records_refused, and tells of every record that has no
 * place, key or timestamp as it should. Returns their number. Slow for a compressed batch. */
size_t batch_find_refused(Slice batch, const BatchHeader *header, const BatchLimits *limits,
                          BatchRefused refused, void *argument);

/* Whether the stored checksum is that of the bytes: for what comes back from a store. */
bool batch_crc_matches(Slice batch, const BatchHeader *header);

/* Writes base offset and leader epoch in place; the checksum covers neither. batch has at least a header. */
void batch_patch_offset(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);

/* Makes now_ms the time of every record (LogAppendTime) and writes the checksum anew. size is the whole
 * batch's. */
void batch_set_append_time(uint8_t *batch, size_t size, int64_t now_ms);

/* For a batch whose records were compressed anew: its codec and its length, which is size. The checksum is to
 * be written next, by batch_set_max_timestamp(). */
void batch_set_codec(uint8_t *batch, size_t size, CompressionCodec codec);

/* Corrects the greatest timestamp, and the checksum. */
void batch_set_max_timestamp(uint8_t *batch, size_t size, int64_t max_timestamp);

/* Batches one after the other:
 *     BatchIterator batches = batch_iterate(bytes);
 *     while (batch_next(&batches)) { use batches.bytes, batches.header }
 *     if (batches.error.code != BATCH_OK) …
 * No bytes at all are no batches and no error: producers send such record sets. */
typedef struct BatchIterator {
    Slice rest;         /* after the current batch */
    Slice bytes;        /* the current batch, whole */
    BatchHeader header; /* of the current batch */
    BatchError error;   /* why it stopped early */
} BatchIterator;

BatchIterator batch_iterate(Slice bytes);
bool batch_next(BatchIterator *iterator);

/* A verdict with a sentence. */
BatchError batch_error(BatchErrorCode code, const char *format, ...) __attribute__((format(printf, 2, 3)));
BatchError batch_ok(void);

#endif
