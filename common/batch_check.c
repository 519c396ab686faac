/* batch_check.c: what a producer may send. The order matters: damage is told before meaning, because Kafka's
 * clients send a damaged batch again and give up on a wrong one. */
#include "common/batch.h"
#include "common/record_stream.h"

static BatchError bytes_check(Slice batch, const BatchHeader *header, const BatchLimits *limits)
{
    if (batch.size < BATCH_HEADER_SIZE || batch.size != batch_size(header)) {
        return batch_error(BATCH_CORRUPT, "a batch of %zu bytes came as %zu", batch_size(header), batch.size);
    }
    if (batch.size > limits->batch_bytes_max) {
        return batch_error(BATCH_TOO_LARGE,
                           "a batch of %zu bytes is larger than the %zu that max.message.bytes allows",
                           batch.size, limits->batch_bytes_max);
    }
    if (!batch_crc_matches(batch, header)) {
        return batch_error(BATCH_CORRUPT,
                           "the batch's bytes do not give its checksum 0x%08x; they changed on their way",
                           header->crc);
    }
    return batch_ok();
}

static BatchError attributes_check(const BatchHeader *header, const BatchLimits *limits)
{
    CompressionCodec codec = batch_codec(header);
    if (codec >= COMPRESSION_CODEC_COUNT) {
        return batch_error(BATCH_CODEC_UNSUPPORTED, "compression codec %d does not exist", (int)codec);
    }
    if (codec == COMPRESSION_ZSTD && limits->zstd_refused) {
        return batch_error(BATCH_CODEC_UNSUPPORTED, "zstd needs Produce version 7 or later");
    }
    if (batch_is_control(header)) {
        return batch_error(BATCH_RECORD_INVALID, "clients may not write control batches");
    }
    if (batch_is_append_time(header)) {
        return batch_error(BATCH_TIMESTAMP_INVALID, "producers may not set the timestamp type LogAppendTime");
    }
    return batch_ok();
}

static BatchError counts_check(const BatchHeader *header)
{
    if (header->base_offset != 0) {
        return batch_error(BATCH_RECORD_INVALID, "the base offset of a produced batch is 0, not %lld",
                           (long long)header->base_offset);
    }
    if (header->record_count < 1) {
        return batch_error(BATCH_RECORD_INVALID, "a produced batch has records, not %d",
                           header->record_count);
    }
    if (header->record_count != batch_offset_count(header)) {
        return batch_error(BATCH_RECORD_INVALID, "%d records do not take the offsets up to delta %d",
                           header->record_count, header->last_offset_delta);
    }
    return batch_ok();
}

static BatchError producer_check(const BatchHeader *header)
{
    if (header->producer_id < -1) {
        return batch_error(BATCH_RECORD_INVALID, "producer id %lld does not exist",
                           (long long)header->producer_id);
    }
    if (header->producer_id >= 0 && (header->producer_epoch < 0 || header->base_sequence < 0)) {
        return batch_error(BATCH_RECORD_INVALID,
                           "producer %lld sent epoch %d and sequence %d; neither may be negative",
                           (long long)header->producer_id, header->producer_epoch, header->base_sequence);
    }
    if (header->producer_id < 0 && batch_is_transactional(header)) {
        return batch_error(BATCH_RECORD_INVALID, "a transactional batch needs a producer id");
    }
    return batch_ok();
}

/* -1 is a record without a timestamp, which no limit concerns. */
static bool timestamp_is_allowed(int64_t timestamp, const BatchLimits *limits)
{
    int64_t age;
    if (timestamp == -1) {
        return true;
    }
    if (__builtin_sub_overflow(limits->now_ms, timestamp, &age)) {
        return timestamp < limits->now_ms ? limits->timestamp_before_max_ms == INT64_MAX
                                          : limits->timestamp_after_max_ms == INT64_MAX;
    }
    return age <= limits->timestamp_before_max_ms && (age >= 0 || age >= -limits->timestamp_after_max_ms);
}

static BatchError record_check(Slice record, int32_t index, const BatchHeader *header,
                               const BatchLimits *limits, int64_t *timestamp)
{
    RecordFields fields;
    *timestamp = -1;
    if (!record_fields_read(record, &fields)) {
        return batch_error(BATCH_RECORD_INVALID,
                           "record %d of the batch does not fill its %zu bytes as it should", index,
                           record.size);
    }
    if (fields.offset_delta != index) {
        return batch_error(BATCH_RECORD_INVALID, "record %d of the batch has the offset delta %d", index,
                           fields.offset_delta);
    }
    if (limits->keys_required && slice_is_null(fields.key)) {
        return batch_error(BATCH_RECORD_INVALID,
                           "record %d of the batch has no key, which a compacted topic needs", index);
    }
    if (__builtin_add_overflow(header->base_timestamp, fields.timestamp_delta, timestamp)) {
        return batch_error(BATCH_RECORD_INVALID, "record %d of the batch has a timestamp beyond 64 bits",
                           index);
    }
    if (!timestamp_is_allowed(*timestamp, limits)) {
        return batch_error(BATCH_TIMESTAMP_INVALID,
                           "record %d of the batch has the timestamp %lld, too far from now (%lld)", index,
                           (long long)*timestamp, (long long)limits->now_ms);
    }
    return batch_ok();
}

/* Why the stream of records stopped before it should have. */
static BatchError stream_error(const RecordStream *stream, const BatchHeader *header, int32_t seen)
{
    switch (stream->status.code) {
    case STATUS_OK:
        return batch_error(BATCH_RECORD_INVALID, "the batch says it has %d records, its bytes hold %d",
                           header->record_count, seen);
    case STATUS_LIMIT:
        return batch_error(BATCH_TOO_LARGE, "%.*s", BATCH_MESSAGE_MAX - 1, stream->status.message);
    case STATUS_INTERNAL:
        return batch_error(BATCH_UNKNOWN, "%.*s", BATCH_MESSAGE_MAX - 1, stream->status.message);
    default:
        return batch_error(BATCH_RECORD_INVALID, "%.*s", BATCH_MESSAGE_MAX - 1, stream->status.message);
    }
}

static BatchError stream_check(RecordStream *stream, const BatchHeader *header, const BatchLimits *limits,
                               BatchFacts *facts)
{
    Slice record;
    int64_t timestamp;
    for (int32_t i = 0; i < header->record_count; i++) {
        if (!record_stream_next(stream, &record)) {
            return stream_error(stream, header, i);
        }
        BatchError error = record_check(record, i, header, limits, &timestamp);
        if (error.code != BATCH_OK) {
            facts->records_refused = true;
            return error;
        }
        if (i == 0 || timestamp > facts->max_timestamp) {
            facts->max_timestamp = timestamp;
        }
    }
    facts->records_bytes = stream->bytes;
    if (record_stream_next(stream, &record)) {
        return batch_error(BATCH_RECORD_INVALID, "the batch says it has %d records, its bytes hold more",
                           header->record_count);
    }
    facts->walked = true;
    return status_is_ok(&stream->status) ? batch_ok() : stream_error(stream, header, header->record_count);
}

static BatchError records_check(Slice batch, const BatchHeader *header, const BatchLimits *limits,
                                BatchFacts *facts)
{
    BatchFacts found = { 0 };
    RecordStream stream;
    record_stream_open(&stream, batch, header, limits->decompressed_bytes_max);
    BatchError error = stream_check(&stream, header, limits, &found);
    record_stream_close(&stream);
    if (facts) {
        *facts = error.code == BATCH_OK ? found : (BatchFacts){ .records_refused = found.records_refused };
    }
    return error;
}

BatchError batch_check(Slice batch, const BatchHeader *header, const BatchLimits *limits, BatchFacts *facts)
{
    if (facts) {
        *facts = (BatchFacts){ 0 };
    }
    BatchError error = bytes_check(batch, header, limits);
    if (error.code == BATCH_OK) {
        error = attributes_check(header, limits);
    }
    if (error.code == BATCH_OK) {
        error = counts_check(header);
    }
    if (error.code == BATCH_OK) {
        error = producer_check(header);
    }
    if (error.code != BATCH_OK || batch_codec(header) != COMPRESSION_NONE) {
        return error;
    }
    return records_check(batch, header, limits, facts);
}

BatchError batch_check_compressed(Slice batch, const BatchHeader *header, const BatchLimits *limits,
                                  BatchFacts *facts)
{
    if (batch_codec(header) == COMPRESSION_NONE) {
        if (facts) {
            *facts = (BatchFacts){ 0 };
        }
        return batch_ok();
    }
    return records_check(batch, header, limits, facts);
}

size_t batch_find_refused(Slice batch, const BatchHeader *header, const BatchLimits *limits,
                          BatchRefused refused, void *argument)
{
    size_t count = 0;
    Slice record;
    int64_t timestamp;
    RecordStream stream;
    record_stream_open(&stream, batch, header, limits->decompressed_bytes_max);
    for (int32_t i = 0; i < header->record_count && record_stream_next(&stream, &record); i++) {
        BatchError error = record_check(record, i, header, limits, &timestamp);
        if (error.code != BATCH_OK) {
            refused(argument, i, &error);
            count++;
        }
    }
    record_stream_close(&stream);
    return count;
}
