/* record_stream.c: cuts the records of a batch apart and reads their fields. */
#include "common/record_stream.h"

#include <stdlib.h>

#include "common/reader.h"

enum {
    RECORD_WINDOW_SIZE = 64 * 1024,
    RECORD_LENGTH_BYTES_MAX = 5, /* a varint of 32 bits */
    RECORD_HEADER_SIZE_MIN = 2   /* two lengths */
};

void record_stream_open(RecordStream *stream, Slice batch, const BatchHeader *header, size_t output_max)
{
    Slice payload = batch_payload(batch);
    *stream = (RecordStream){ .status = status_ok() };
    if (payload.size == 0) {
        return;
    }
    if (batch_codec(header) == COMPRESSION_NONE) {
        stream->next = payload.data;
        stream->end = payload.data + payload.size;
        return;
    }
    stream->status = decompressor_new(batch_codec(header), payload, output_max, &stream->source);
}

void record_stream_close(RecordStream *stream)
{
    decompressor_free(stream->source);
    free(stream->window);
    stream->source = NULL;
    stream->window = NULL;
    stream->next = stream->end = NULL;
}

static bool stream_fail(RecordStream *stream, Status status)
{
    stream->status = status;
    stream->next = stream->end;
    decompressor_free(stream->source);
    stream->source = NULL;
    return false;
}

/* Moves what is left to the window's start; doubles the window when that leaves no room. */
static bool window_make_room(RecordStream *stream)
{
    size_t left = (size_t)(stream->end - stream->next);
    size_t capacity = stream->window_capacity;
    if (left == capacity) {
        capacity = capacity ? capacity * 2 : RECORD_WINDOW_SIZE;
        uint8_t *window = malloc(capacity);
        if (!window) {
            return stream_fail(
                stream, status_error(STATUS_INTERNAL, "no memory for a record of more than %zu bytes", left));
        }
        if (left > 0) {
            memcpy(window, stream->next, left);
        }
        free(stream->window);
        stream->window = window;
        stream->window_capacity = capacity;
    } else if (left > 0) {
        memmove(stream->window, stream->next, left);
    }
    stream->next = stream->window;
    stream->end = stream->window + left;
    return true;
}

/* Brings more bytes; false at the end of them, or on failure. */
static bool stream_refill(RecordStream *stream)
{
    if (!stream->source || !window_make_room(stream)) {
        return false;
    }
    size_t left = (size_t)(stream->end - stream->next);
    size_t size;
    Status status =
        decompressor_read(stream->source, stream->window + left, stream->window_capacity - left, &size);
    if (!status_is_ok(&status)) {
        return stream_fail(stream, status);
    }
    if (size == 0) {
        decompressor_free(stream->source);
        stream->source = NULL;
    }
    stream->end += size;
    return size > 0;
}

/* Nearly every number in a record takes one byte or two; the rest goes the general way, which also makes the
 * failures. */
static inline uint64_t raw_take(Reader *reader, unsigned bits)
{
    const uint8_t *next = reader->next;
    size_t left = reader_left(reader);
    if (left >= 1 && next[0] < 0x80) {
        reader->next += 1;
        return next[0];
    }
    if (left >= 2 && next[1] < 0x80) {
        reader->next += 2;
        return (uint64_t)(next[0] & 0x7f) | (uint64_t)next[1] << 7;
    }
    return reader_uvarint_bits(reader, bits);
}

static inline int64_t zigzag(uint64_t raw)
{
    return (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
}

static inline int32_t varint_take(Reader *reader)
{
    return (int32_t)zigzag(raw_take(reader, 32));
}

/* The length that the next record begins with. False and no failure when its bytes are not all there yet. */
static bool length_read(RecordStream *stream, Reader *reader, int32_t *length)
{
    *reader = (Reader){ stream->next, stream->end, false };
    *length = varint_take(reader);
    if (reader_failed(reader)) {
        if (stream->end - stream->next >= RECORD_LENGTH_BYTES_MAX) {
            stream_fail(stream, status_error(STATUS_CORRUPT, "a record's length is no varint of 32 bits"));
        }
        return false;
    }
    if (*length < 0) {
        return stream_fail(stream, status_error(STATUS_CORRUPT, "a record's length is %d", *length));
    }
    return true;
}

bool record_stream_next(RecordStream *stream, Slice *record)
{
    Reader reader;
    int32_t length;
    for (;;) {
        if (stream->next == stream->end && !stream_refill(stream)) {
            return false;
        }
        if (length_read(stream, &reader, &length) && (size_t)length <= reader_left(&reader)) {
            break;
        }
        if (status_is_ok(&stream->status) && !stream_refill(stream) && status_is_ok(&stream->status)) {
            stream_fail(stream,
                        status_error(STATUS_CORRUPT, "a record is longer than what is left of its batch"));
        }
        if (!status_is_ok(&stream->status)) {
            return false;
        }
    }
    *record = reader_take(&reader, (size_t)length);
    stream->bytes += (size_t)(reader.next - stream->next);
    stream->next = reader.next;
    return true;
}

/* A length of -1 is null. */
static Slice nullable_take(Reader *reader)
{
    int32_t size = varint_take(reader);
    if (size < 0) {
        if (size != -1) {
            reader_fail(reader);
        }
        return SLICE_NULL;
    }
    return reader_take(reader, (size_t)size);
}

static void headers_skip(Reader *reader, int32_t count)
{
    if (count < 0 || (size_t)count > reader_left(reader) / RECORD_HEADER_SIZE_MIN) {
        reader_fail(reader);
        return;
    }
    for (int32_t i = 0; i < count && !reader_failed(reader); i++) {
        if (slice_is_null(nullable_take(reader))) {
            reader_fail(reader); /* a header's key is never null */
        }
        nullable_take(reader);
    }
}

bool record_fields_read(Slice record, RecordFields *out)
{
    Reader reader = reader_of(record);
    reader_u8(&reader); /* a record's attributes have no meaning yet */
    out->timestamp_delta = zigzag(raw_take(&reader, 64));
    out->offset_delta = varint_take(&reader);
    out->key = nullable_take(&reader);
    out->value = nullable_take(&reader);
    out->header_count = varint_take(&reader);
    const uint8_t *headers = reader.next;
    headers_skip(&reader, out->header_count);
    out->headers = slice_of(headers, (size_t)(reader.next - headers));
    return !reader_failed(&reader) && reader_left(&reader) == 0;
}
