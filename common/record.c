/* record.c: reads the records of a batch, in order or by time. */
#include "common/record.h"

#include "common/record_stream.h"

Status record_bytes(Slice batch, const BatchHeader *header, size_t output_max, Writer *scratch, Slice *out)
{
    Slice payload = batch_payload(batch);
    if (batch_codec(header) == COMPRESSION_NONE || payload.size == 0) {
        *out = payload;
        return status_ok();
    }
    size_t start = scratch->used;
    Status status = compression_decompress(batch_codec(header), payload, output_max, scratch);
    if (status_is_ok(&status)) {
        *out = slice_of(scratch->bytes + start, scratch->used - start);
    }
    return status;
}

RecordIterator record_iterate(const BatchHeader *header, Slice records)
{
    return (RecordIterator){
        .reader = reader_of(records),
        .base_offset = header->base_offset,
        .base_timestamp = header->base_timestamp,
        .append_timestamp = header->max_timestamp,
        .has_append_time = batch_is_append_time(header),
        .left = header->record_count,
    };
}

static bool iterator_fail(RecordIterator *iterator)
{
    iterator->failed = true;
    iterator->left = 0;
    return false;
}

bool record_next(RecordIterator *iterator, Record *out)
{
    RecordFields fields;
    if (iterator->failed) {
        return false;
    }
    if (iterator->left <= 0) {
        return iterator->left == 0 && reader_left(&iterator->reader) == 0 ? false : iterator_fail(iterator);
    }
    int32_t size = reader_varint(&iterator->reader);
    Slice record = size < 0 ? SLICE_NULL : reader_take(&iterator->reader, (size_t)size);
    if (slice_is_null(record) || !record_fields_read(record, &fields) || fields.offset_delta < 0) {
        return iterator_fail(iterator);
    }
    if (__builtin_add_overflow(iterator->base_offset, fields.offset_delta, &out->offset) ||
        __builtin_add_overflow(iterator->base_timestamp, fields.timestamp_delta, &out->timestamp)) {
        return iterator_fail(iterator);
    }
    if (iterator->has_append_time) {
        out->timestamp = iterator->append_timestamp;
    }
    out->key = fields.key;
    out->value = fields.value;
    out->header_count = fields.header_count;
    out->headers = fields.headers;
    iterator->left--;
    return true;
}

bool record_header_next(Reader *headers, RecordHeader *out)
{
    if (reader_left(headers) == 0) {
        return false;
    }
    int32_t size = reader_varint(headers);
    out->key = size < 0 ? SLICE_NULL : reader_take(headers, (size_t)size);
    size = reader_varint(headers);
    out->value = size < 0 ? SLICE_NULL : reader_take(headers, (size_t)size);
    return !reader_failed(headers);
}

/* The next record's place; false at the end or when it makes no sense, which the stream's status tells. */
static bool position_next(RecordStream *stream, const BatchHeader *header, RecordPosition *out)
{
    Slice record;
    RecordFields fields;
    if (!record_stream_next(stream, &record)) {
        return false;
    }
    if (!record_fields_read(record, &fields) ||
        __builtin_add_overflow(header->base_offset, fields.offset_delta, &out->offset) ||
        __builtin_add_overflow(header->base_timestamp, fields.timestamp_delta, &out->timestamp)) {
        stream->status = status_error(STATUS_CORRUPT, "a record of the batch at offset %lld is broken",
                                      (long long)header->base_offset);
        return false;
    }
    if (batch_is_append_time(header)) {
        out->timestamp = header->max_timestamp;
    }
    return true;
}

Status record_find_timestamp(Slice batch, const BatchHeader *header, int64_t target, size_t output_max,
                             RecordPosition *out)
{
    RecordStream stream;
    RecordPosition position;
    *out = (RecordPosition){ -1, -1 };
    record_stream_open(&stream, batch, header, output_max);
    while (out->offset < 0 && position_next(&stream, header, &position)) {
        if (position.timestamp >= target) {
            *out = position;
        }
    }
    record_stream_close(&stream);
    return out->offset < 0 ? stream.status : status_ok();
}

Status record_find_max_timestamp(Slice batch, const BatchHeader *header, size_t output_max,
                                 RecordPosition *out)
{
    RecordStream stream;
    RecordPosition position;
    *out = (RecordPosition){ -1, -1 };
    record_stream_open(&stream, batch, header, output_max);
    while (position_next(&stream, header, &position)) {
        if (out->offset < 0 || position.timestamp > out->timestamp) {
            *out = position;
        }
    }
    record_stream_close(&stream);
    return stream.status;
}
