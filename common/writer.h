/* writer.h: output made of bytes of its own and of slices it only refers to, ready for writev. Append-only;
 * after a failed allocation every call does nothing and writer_failed() is true. */
#ifndef STREAMHOUSE_WRITER_H
#define STREAMHOUSE_WRITER_H

#include "common/slice.h"

typedef struct WriterPiece WriterPiece;

typedef struct Writer {
    uint8_t *bytes; /* own bytes, all pieces' one after the other */
    size_t used;
    size_t capacity;
    WriterPiece *pieces; /* references, each with the count of own bytes before it */
    size_t piece_count;
    size_t piece_capacity;
    size_t referenced; /* bytes in references */
    bool failed;
} Writer;

void writer_init(Writer *writer);
void writer_free(Writer *writer);
/* Forgets the content, keeps the memory. */
void writer_reset(Writer *writer);

/* Own bytes plus referenced ones. */
size_t writer_size(const Writer *writer);

static inline bool writer_failed(const Writer *writer)
{
    return writer->failed;
}

/* Room for size own bytes, NULL on failure; valid until the next call. */
uint8_t *writer_extend(Writer *writer, size_t size);
void writer_bytes(Writer *writer, const void *data, size_t size);
/* Refers to bytes that must stay until the output was sent. */
void writer_reference(Writer *writer, Slice bytes);

void writer_i8(Writer *writer, int8_t value);
void writer_i16(Writer *writer, int16_t value);
void writer_u16(Writer *writer, uint16_t value);
void writer_i32(Writer *writer, int32_t value);
void writer_u32(Writer *writer, uint32_t value);
void writer_i64(Writer *writer, int64_t value);
void writer_uvarint(Writer *writer, uint64_t value);
void writer_varint(Writer *writer, int32_t value);
void writer_varlong(Writer *writer, int64_t value);

/* Overwrites 4 own bytes at an own-byte position (a size that is known only at the end). */
void writer_patch_i32(Writer *writer, size_t own_position, int32_t value);

/* How many slices writer_slices() gives at most. */
size_t writer_slice_count(const Writer *writer);
/* The output in order; returns the count. Valid until the writer changes. */
size_t writer_slices(const Writer *writer, Slice *out);

#endif
