/* record_builder.c: makes a record batch of records. */
#include "common/crc32c.h"
#include "common/record.h"

const RecordBatchOptions record_batch_options_plain = {
    .codec = COMPRESSION_NONE,
    .level = COMPRESSION_LEVEL_DEFAULT,
    .leader_epoch = -1,
    .producer_id = -1,
    .producer_epoch = -1,
    .base_sequence = -1,
};

static void builder_empty(RecordBuilder *builder)
{
    writer_reset(&builder->records);
    builder->base_timestamp = -1;
    builder->max_timestamp = -1;
    builder->last_offset_delta = -1;
    builder->record_count = 0;
    builder->failed = false;
}

void record_builder_init(RecordBuilder *builder, const RecordBatchOptions *options)
{
    builder->options = *options;
    writer_init(&builder->records);
    builder_empty(builder);
}

void record_builder_free(RecordBuilder *builder)
{
    writer_free(&builder->records);
}

static size_t uvarint_size(uint64_t value)
{
    size_t size = 1;
    while (value >= 0x80) {
        value >>= 7;
        size++;
    }
    return size;
}

static size_t varlong_size(int64_t value)
{
    uint64_t twice = (uint64_t)value << 1;
    return uvarint_size(value < 0 ? ~twice : twice);
}

static size_t nullable_size(Slice bytes)
{
    return slice_is_null(bytes) ? 1 : varlong_size((int64_t)bytes.size) + bytes.size;
}

static size_t record_size(const RecordInput *record, int64_t timestamp_delta, int32_t offset_delta)
{
    size_t size = 1 + varlong_size(timestamp_delta) + varlong_size(offset_delta) +
                  nullable_size(record->key) + nullable_size(record->value) +
                  varlong_size(record->header_count);
    for (int32_t i = 0; i < record->header_count; i++) {
        size += nullable_size(record->headers[i].key) + nullable_size(record->headers[i].value);
    }
    return size;
}

static uint8_t *varlong_put(uint8_t *at, int64_t value)
{
    uint64_t twice = (uint64_t)value << 1;
    uint64_t left = value < 0 ? ~twice : twice;
    while (left >= 0x80) {
        *at++ = (uint8_t)(left | 0x80);
        left >>= 7;
    }
    *at++ = (uint8_t)left;
    return at;
}

static uint8_t *nullable_put(uint8_t *at, Slice bytes)
{
    if (slice_is_null(bytes)) {
        return varlong_put(at, -1);
    }
    at = varlong_put(at, (int64_t)bytes.size);
    memcpy(at, bytes.data, bytes.size);
    return at + bytes.size;
}

/* Room is made once for the whole record: this runs for every record that is produced in SQL. */
static void record_write(Writer *out, const RecordInput *record, size_t size, int64_t timestamp_delta,
                         int32_t offset_delta)
{
    uint8_t *at = writer_extend(out, varlong_size((int64_t)size) + size);
    if (!at) {
        return;
    }
    at = varlong_put(at, (int64_t)size);
    *at++ = 0;
    at = varlong_put(at, timestamp_delta);
    at = varlong_put(at, offset_delta);
    at = nullable_put(at, record->key);
    at = nullable_put(at, record->value);
    at = varlong_put(at, record->header_count);
    for (int32_t i = 0; i < record->header_count; i++) {
        at = nullable_put(at, record->headers[i].key);
        at = nullable_put(at, record->headers[i].value);
    }
}

static bool headers_are_sound(const RecordInput *record)
{
    for (int32_t i = 0; i < record->header_count; i++) {
        if (slice_is_null(record->headers[i].key)) {
            return false;
        }
    }
    return record->header_count >= 0;
}

void record_builder_add_at(RecordBuilder *builder, int32_t offset_delta, const RecordInput *record)
{
    int64_t base_timestamp = builder->record_count > 0 ? builder->base_timestamp : record->timestamp;
    int64_t timestamp_delta;
    if (offset_delta <= builder->last_offset_delta || !headers_are_sound(record) ||
        __builtin_sub_overflow(record->timestamp, base_timestamp, &timestamp_delta)) {
        builder->failed = true;
        return;
    }
    size_t size = record_size(record, timestamp_delta, offset_delta);
    if (size > INT32_MAX - builder->records.used) {
        builder->failed = true;
        return;
    }
    record_write(&builder->records, record, size, timestamp_delta, offset_delta);
    builder->base_timestamp = base_timestamp;
    if (builder->record_count == 0 || record->timestamp > builder->max_timestamp) {
        builder->max_timestamp = record->timestamp;
    }
    builder->last_offset_delta = offset_delta;
    builder->record_count++;
}

void record_builder_add(RecordBuilder *builder, const RecordInput *record)
{
    if (builder->last_offset_delta == INT32_MAX) {
        builder->failed = true;
        return;
    }
    record_builder_add_at(builder, builder->last_offset_delta + 1, record);
}

void record_builder_extend(RecordBuilder *builder, int32_t last_offset_delta)
{
    if (last_offset_delta > builder->last_offset_delta) {
        builder->last_offset_delta = last_offset_delta;
    }
}

RecordBuilderMark record_builder_mark(const RecordBuilder *builder)
{
    return (RecordBuilderMark){ builder->records.used, builder->base_timestamp, builder->max_timestamp,
                                builder->last_offset_delta, builder->record_count };
}

void record_builder_rewind(RecordBuilder *builder, const RecordBuilderMark *mark)
{
    builder->records.used = mark->size;
    builder->records.failed = false;
    builder->base_timestamp = mark->base_timestamp;
    builder->max_timestamp = mark->max_timestamp;
    builder->last_offset_delta = mark->last_offset_delta;
    builder->record_count = mark->record_count;
    builder->failed = false;
}

size_t record_builder_size(const RecordBuilder *builder)
{
    return builder->records.used;
}

size_t record_builder_size_with(const RecordBuilder *builder, const RecordInput *record)
{
    int64_t base_timestamp = builder->record_count > 0 ? builder->base_timestamp : record->timestamp;
    size_t size = record_size(record, (int64_t)((uint64_t)record->timestamp - (uint64_t)base_timestamp),
                              builder->last_offset_delta + 1);
    return builder->records.used + varlong_size((int64_t)size) + size;
}

/* Length and checksum are filled in when the records are there. */
static void header_write(const RecordBuilder *builder, CompressionCodec codec, Writer *out)
{
    const RecordBatchOptions *options = &builder->options;
    writer_i64(out, options->base_offset);
    writer_i32(out, 0);
    writer_i32(out, options->leader_epoch);
    writer_i8(out, BATCH_MAGIC);
    writer_u32(out, 0);
    writer_i16(out, (int16_t)((options->attributes & ~BATCH_CODEC_MASK) | (int)codec));
    writer_i32(out, builder->last_offset_delta);
    writer_i64(out, builder->base_timestamp);
    writer_i64(out, builder->max_timestamp);
    writer_i64(out, options->producer_id);
    writer_i16(out, options->producer_epoch);
    writer_i32(out, options->base_sequence);
    writer_i32(out, builder->record_count);
}

static Status body_write(const RecordBuilder *builder, CompressionCodec codec, Writer *out)
{
    size_t start = out->used;
    header_write(builder, codec, out);
    Status status = compression_compress(codec, builder->options.level,
                                         slice_of(builder->records.bytes, builder->records.used), out);
    if (codec != COMPRESSION_NONE && builder->options.plain_if_larger && status_is_ok(&status) &&
        out->used - start >= BATCH_HEADER_SIZE + builder->records.used) {
        out->used = start;
        return body_write(builder, COMPRESSION_NONE, out);
    }
    return status;
}

static Status batch_write(const RecordBuilder *builder, Writer *out)
{
    enum { LENGTH_AT = 8, CRC_AT = 17 };
    size_t start = out->used;
    Status status =
        body_write(builder, builder->record_count > 0 ? builder->options.codec : COMPRESSION_NONE, out);
    if (!status_is_ok(&status) || writer_failed(out)) {
        return status_is_ok(&status) ? status_error(STATUS_INTERNAL, "no memory for a batch") : status;
    }
    size_t size = out->used - start;
    if (size > INT32_MAX) {
        return status_error(STATUS_LIMIT, "%zu bytes are more than a batch holds", size);
    }
    writer_patch_i32(out, start + LENGTH_AT, (int32_t)(size - BATCH_LENGTH_END));
    Slice covered = slice_of(out->bytes + start + BATCH_CRC_START, size - BATCH_CRC_START);
    writer_patch_i32(out, start + CRC_AT, (int32_t)crc32c(covered));
    return status;
}

Status record_builder_finish(RecordBuilder *builder, Writer *out)
{
    size_t start = out->used;
    Status status;
    if (builder->failed || writer_failed(&builder->records)) {
        status = status_error(STATUS_INVALID, "a record was not one that a batch can hold");
    } else if (builder->last_offset_delta < 0) {
        status = status_error(STATUS_INVALID, "a batch takes at least one offset");
    } else {
        status = batch_write(builder, out);
    }
    if (!status_is_ok(&status)) {
        out->used = start;
    }
    builder_empty(builder);
    return status;
}
