/* writer.c: own bytes in one growing buffer, references in a list with their place among them. */
#include "common/writer.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

enum { WRITER_CAPACITY_MIN = 256, WRITER_PIECES_MIN = 8 };

struct WriterPiece {
    size_t own_before;
    Slice bytes;
};

void writer_init(Writer *writer)
{
    *writer = (Writer){ 0 };
}

void writer_free(Writer *writer)
{
    free(writer->bytes);
    free(writer->pieces);
    writer_init(writer);
}

void writer_reset(Writer *writer)
{
    writer->used = 0;
    writer->piece_count = 0;
    writer->referenced = 0;
    writer->failed = false;
}

size_t writer_size(const Writer *writer)
{
    return writer->used + writer->referenced;
}

static bool writer_reserve(Writer *writer, size_t size)
{
    if (writer->failed) {
        return false;
    }
    if (size <= writer->capacity - writer->used) {
        return true;
    }
    size_t capacity = writer->capacity ? writer->capacity : WRITER_CAPACITY_MIN;
    while (capacity - writer->used < size) {
        if (capacity > SIZE_MAX / 2) {
            writer->failed = true;
            return false;
        }
        capacity *= 2;
    }
    uint8_t *bytes = realloc(writer->bytes, capacity);
    if (!bytes) {
        writer->failed = true;
        return false;
    }
    writer->bytes = bytes;
    writer->capacity = capacity;
    return true;
}

uint8_t *writer_extend(Writer *writer, size_t size)
{
    if (!writer_reserve(writer, size)) {
        return NULL;
    }
    uint8_t *room = writer->bytes + writer->used;
    writer->used += size;
    return room;
}

void writer_bytes(Writer *writer, const void *data, size_t size)
{
    if (size == 0) {
        return;
    }
    uint8_t *room = writer_extend(writer, size);
    if (room) {
        memcpy(room, data, size);
    }
}

void writer_reference(Writer *writer, Slice bytes)
{
    if (writer->failed || bytes.size == 0) {
        return;
    }
    if (writer->piece_count == writer->piece_capacity) {
        size_t capacity = writer->piece_capacity ? writer->piece_capacity * 2 : WRITER_PIECES_MIN;
        WriterPiece *pieces = realloc(writer->pieces, capacity * sizeof(WriterPiece));
        if (!pieces) {
            writer->failed = true;
            return;
        }
        writer->pieces = pieces;
        writer->piece_capacity = capacity;
    }
    writer->pieces[writer->piece_count++] = (WriterPiece){ writer->used, bytes };
    writer->referenced += bytes.size;
}

/* The last size bytes of a big-endian value. */
static inline void writer_big_endian(Writer *writer, uint64_t value, size_t size)
{
    uint8_t *room = writer_extend(writer, size);
    uint64_t bytes = htobe64(value);
    if (room) {
        memcpy(room, (const uint8_t *)&bytes + sizeof(bytes) - size, size);
    }
}

void writer_i8(Writer *writer, int8_t value)
{
    writer_big_endian(writer, (uint8_t)value, 1);
}

void writer_i16(Writer *writer, int16_t value)
{
    writer_big_endian(writer, (uint16_t)value, 2);
}

void writer_u16(Writer *writer, uint16_t value)
{
    writer_big_endian(writer, value, 2);
}

void writer_i32(Writer *writer, int32_t value)
{
    writer_big_endian(writer, (uint32_t)value, 4);
}

void writer_u32(Writer *writer, uint32_t value)
{
    writer_big_endian(writer, value, 4);
}

void writer_i64(Writer *writer, int64_t value)
{
    writer_big_endian(writer, (uint64_t)value, 8);
}

void writer_uvarint(Writer *writer, uint64_t value)
{
    uint8_t encoded[10];
    size_t size = 0;
    if (value < 0x80) {
        writer_big_endian(writer, value, 1); /* nearly every one */
        return;
    }
    while (value >= 0x80) {
        encoded[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    encoded[size++] = (uint8_t)value;
    writer_bytes(writer, encoded, size);
}

void writer_varint(Writer *writer, int32_t value)
{
    writer_uvarint(writer, ((uint32_t)value << 1) ^ (uint32_t)(value >> 31));
}

void writer_varlong(Writer *writer, int64_t value)
{
    writer_uvarint(writer, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

void writer_patch_i32(Writer *writer, size_t own_position, int32_t value)
{
    if (writer->failed) {
        return;
    }
    assert(own_position <= writer->used && writer->used - own_position >= 4);
    uint32_t bits = (uint32_t)value;
    for (size_t i = 4; i > 0; i--) {
        writer->bytes[own_position + i - 1] = (uint8_t)bits;
        bits >>= 8;
    }
}

size_t writer_slice_count(const Writer *writer)
{
    return writer->piece_count * 2 + 1;
}

size_t writer_slices(const Writer *writer, Slice *out)
{
    size_t count = 0;
    size_t position = 0;
    for (size_t i = 0; i < writer->piece_count; i++) {
        const WriterPiece *piece = &writer->pieces[i];
        if (piece->own_before > position) {
            out[count++] = slice_of(writer->bytes + position, piece->own_before - position);
            position = piece->own_before;
        }
        out[count++] = piece->bytes;
    }
    if (writer->used > position) {
        out[count++] = slice_of(writer->bytes + position, writer->used - position);
    }
    return count;
}
