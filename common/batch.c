/* batch.c: reads and patches the header of a record batch in place. */
#include "common/batch.h"

#include <assert.h>
#include <endian.h>
#include <stdarg.h>
#include <stdio.h>

#include "common/crc32c.h"
#include "common/reader.h"

/* Where fields are that get patched. */
enum {
    BASE_OFFSET_AT = 0,
    LENGTH_AT = 8,
    LEADER_EPOCH_AT = 12,
    MAGIC_AT = 16,
    CRC_AT = 17,
    ATTRIBUTES_AT = 21,
    MAX_TIMESTAMP_AT = 35
};
_Static_assert((int)CRC_AT + 4 == (int)BATCH_CRC_START && (int)ATTRIBUTES_AT == (int)BATCH_CRC_START,
               "the checksum covers what follows it");

BatchError batch_ok(void)
{
    BatchError error;
    error.code = BATCH_OK;
    error.message[0] = '\0';
    return error;
}

BatchError batch_error(BatchErrorCode code, const char *format, ...)
{
    BatchError error;
    va_list arguments;
    error.code = (int16_t)code;
    va_start(arguments, format);
    vsnprintf(error.message, sizeof(error.message), format, arguments);
    va_end(arguments);
    return error;
}

static void header_decode(Slice bytes, BatchHeader *out)
{
    Reader reader = reader_of(bytes);
    out->base_offset = reader_i64(&reader);
    out->length = reader_i32(&reader);
    out->leader_epoch = reader_i32(&reader);
    out->magic = reader_i8(&reader);
    out->crc = reader_u32(&reader);
    out->attributes = reader_i16(&reader);
    out->last_offset_delta = reader_i32(&reader);
    out->base_timestamp = reader_i64(&reader);
    out->max_timestamp = reader_i64(&reader);
    out->producer_id = reader_i64(&reader);
    out->producer_epoch = reader_i16(&reader);
    out->base_sequence = reader_i32(&reader);
    out->record_count = reader_i32(&reader);
}

BatchError batch_header_read(Slice bytes, BatchHeader *out)
{
    /* Magic is at the same place in all formats; the old ones have smaller headers. */
    if (bytes.size > MAGIC_AT && (bytes.data[MAGIC_AT] == 0 || bytes.data[MAGIC_AT] == 1)) {
        return batch_error(BATCH_FORMAT_UNSUPPORTED,
                           "message format %d is not supported; send record batches (format 2)",
                           bytes.data[MAGIC_AT]);
    }
    if (bytes.size < BATCH_HEADER_SIZE) {
        return batch_error(BATCH_CORRUPT, "%zu bytes are no record batch; its header alone has %d",
                           bytes.size, BATCH_HEADER_SIZE);
    }
    header_decode(bytes, out);
    if (out->magic != BATCH_MAGIC) {
        return batch_error(BATCH_CORRUPT, "message format %d does not exist", out->magic);
    }
    if (out->length < BATCH_HEADER_SIZE - BATCH_LENGTH_END) {
        return batch_error(BATCH_CORRUPT, "a batch length of %d is less than its header's %d", out->length,
                           BATCH_HEADER_SIZE - BATCH_LENGTH_END);
    }
    if (batch_size(out) > bytes.size) {
        return batch_error(BATCH_CORRUPT, "a batch of %zu bytes has only %zu left for it", batch_size(out),
                           bytes.size);
    }
    return batch_ok();
}

static uint32_t batch_crc(const uint8_t *batch, size_t size)
{
    return crc32c(slice_of(batch + BATCH_CRC_START, size - BATCH_CRC_START));
}

bool batch_crc_matches(Slice batch, const BatchHeader *header)
{
    return batch.size >= BATCH_HEADER_SIZE && batch_crc(batch.data, batch.size) == header->crc;
}

static void store_u32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

static void store_u64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
}

void batch_patch_offset(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    store_u64(batch + BASE_OFFSET_AT, (uint64_t)base_offset);
    store_u32(batch + LEADER_EPOCH_AT, (uint32_t)leader_epoch);
}

void batch_set_max_timestamp(uint8_t *batch, size_t size, int64_t max_timestamp)
{
    assert(size >= BATCH_HEADER_SIZE);
    store_u64(batch + MAX_TIMESTAMP_AT, (uint64_t)max_timestamp);
    store_u32(batch + CRC_AT, batch_crc(batch, size));
}

void batch_set_codec(uint8_t *batch, size_t size, CompressionCodec codec)
{
    assert(size >= BATCH_HEADER_SIZE && size <= INT32_MAX);
    store_u32(batch + LENGTH_AT, (uint32_t)(size - BATCH_LENGTH_END));
    batch[ATTRIBUTES_AT + 1] = (uint8_t)((batch[ATTRIBUTES_AT + 1] & ~BATCH_CODEC_MASK) | (int)codec);
}

void batch_set_append_time(uint8_t *batch, size_t size, int64_t now_ms)
{
    assert(size >= BATCH_HEADER_SIZE);
    batch[ATTRIBUTES_AT + 1] |= BATCH_APPEND_TIME;
    batch_set_max_timestamp(batch, size, now_ms);
}

BatchIterator batch_iterate(Slice bytes)
{
    return (BatchIterator){ .rest = bytes };
}

bool batch_next(BatchIterator *iterator)
{
    if (iterator->rest.size == 0 || iterator->error.code != BATCH_OK) {
        return false;
    }
    iterator->error = batch_header_read(iterator->rest, &iterator->header);
    if (iterator->error.code != BATCH_OK) {
        return false;
    }
    size_t size = batch_size(&iterator->header);
    iterator->bytes = slice_of(iterator->rest.data, size);
    iterator->rest = slice_of(iterator->rest.data + size, iterator->rest.size - size);
    return true;
}
