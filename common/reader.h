/* reader.h: a bounds-checked cursor over bytes from a peer. After the first failure every getter gives zero
 * and reader_failed() stays true, so that a parser may check once at the end of a run of fixed fields. */
#ifndef STREAMHOUSE_READER_H
#define STREAMHOUSE_READER_H

#include "common/slice.h"

typedef struct Reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
} Reader;

static inline Reader reader_of(Slice bytes)
{
    return (Reader){ bytes.data, bytes.data ? bytes.data + bytes.size : bytes.data, false };
}

static inline size_t reader_left(const Reader *reader)
{
    return (size_t)(reader->end - reader->next);
}

static inline bool reader_failed(const Reader *reader)
{
    return reader->failed;
}

/* Marks the reader failed and empties it; always false. */
static inline bool reader_fail(Reader *reader)
{
    reader->failed = true;
    reader->next = reader->end;
    return false;
}

/* A view of the next size bytes; SLICE_NULL and failure when fewer are left. */
static inline Slice reader_take(Reader *reader, size_t size)
{
    if (size > reader_left(reader)) {
        reader_fail(reader);
        return SLICE_NULL;
    }
    Slice taken = { reader->next, size };
    reader->next += size;
    return taken;
}

static inline uint64_t reader_big_endian(Reader *reader, size_t size)
{
    Slice taken = reader_take(reader, size);
    uint64_t value = 0;
    for (size_t i = 0; i < taken.size; i++) {
        value = value << 8 | taken.data[i];
    }
    return value;
}

static inline uint8_t reader_u8(Reader *reader)
{
    return (uint8_t)reader_big_endian(reader, 1);
}

static inline int8_t reader_i8(Reader *reader)
{
    return (int8_t)reader_big_endian(reader, 1);
}

static inline int16_t reader_i16(Reader *reader)
{
    return (int16_t)reader_big_endian(reader, 2);
}

static inline uint16_t reader_u16(Reader *reader)
{
    return (uint16_t)reader_big_endian(reader, 2);
}

static inline int32_t reader_i32(Reader *reader)
{
    return (int32_t)reader_big_endian(reader, 4);
}

static inline uint32_t reader_u32(Reader *reader)
{
    return (uint32_t)reader_big_endian(reader, 4);
}

static inline int64_t reader_i64(Reader *reader)
{
    return (int64_t)reader_big_endian(reader, 8);
}

/* Unsigned LEB128 of at most bits significant bits; more bytes or bits than that is a failure. */
static inline uint64_t reader_uvarint_bits(Reader *reader, unsigned bits)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < bits; shift += 7) {
        if (reader->next == reader->end) {
            break;
        }
        uint8_t byte = *reader->next++;
        if (bits - shift < 7 && (byte & 0x7f) >> (bits - shift) != 0) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return value;
        }
    }
    reader_fail(reader);
    return 0;
}

static inline uint32_t reader_uvarint(Reader *reader)
{
    return (uint32_t)reader_uvarint_bits(reader, 32);
}

/* Zigzag, 32 bits: lengths and counts inside a record. */
static inline int32_t reader_varint(Reader *reader)
{
    uint32_t raw = (uint32_t)reader_uvarint_bits(reader, 32);
    return (int32_t)(raw >> 1) ^ -(int32_t)(raw & 1);
}

/* Zigzag, 64 bits: timestamp deltas. */
static inline int64_t reader_varlong(Reader *reader)
{
    uint64_t raw = reader_uvarint_bits(reader, 64);
    return (int64_t)(raw >> 1) ^ -(int64_t)(raw & 1);
}

#endif
