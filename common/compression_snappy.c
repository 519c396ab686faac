/* compression_snappy.c: snappy, raw as librdkafka sends it, and in the stream that snappy-java ("xerial")
 * makes around it: a header of 16 bytes, then blocks, each after its size. A header may come again where a
 * block could begin. */
#include "common/compression_driver.h"

#include <snappy-c.h>
#include <stdlib.h>

#include "common/reader.h"

enum {
    XERIAL_MAGIC_SIZE = 8,
    XERIAL_HEADER_SIZE = 16,
    XERIAL_BLOCK_SIZE = 32 * 1024, /* what snappy-java makes */
    XERIAL_VERSION = 1,
    /* No three bytes of snappy make more than 64, so a block that claims more lies. */
    SNAPPY_RATIO_MAX = 22
};

static const uint8_t xerial_magic[XERIAL_MAGIC_SIZE] = { 0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0 };

typedef struct SnappyState {
    Reader in;
    size_t output_max;
    bool framed;
    uint8_t *block; /* a block that did not fit the caller's room */
    size_t block_capacity;
    Slice pending; /* what is left of it */
} SnappyState;

static bool at_xerial_header(const Reader *in)
{
    return reader_left(in) >= XERIAL_HEADER_SIZE && memcmp(in->next, xerial_magic, XERIAL_MAGIC_SIZE) == 0;
}

static Status snappy_open(Slice in, size_t output_max, void **state)
{
    *state = NULL;
    SnappyState *made = calloc(1, sizeof(SnappyState));
    if (!made) {
        return status_error(STATUS_INTERNAL, "no memory for snappy");
    }
    made->in = reader_of(in);
    made->output_max = output_max;
    made->framed = at_xerial_header(&made->in);
    *state = made;
    return status_ok();
}

/* The next raw block; false when the stream's end is reached or it is cut short, which reader_failed() tells
 * apart. */
static bool next_block(SnappyState *snappy, Slice *block)
{
    if (!snappy->framed) {
        *block = reader_take(&snappy->in, reader_left(&snappy->in));
        return block->size > 0;
    }
    while (at_xerial_header(&snappy->in)) {
        reader_take(&snappy->in, XERIAL_HEADER_SIZE);
    }
    if (reader_left(&snappy->in) == 0) {
        return false;
    }
    uint32_t size = reader_u32(&snappy->in);
    *block = reader_take(&snappy->in, size);
    return !reader_failed(&snappy->in);
}

static Status block_size_check(const SnappyState *snappy, Slice block, size_t *size)
{
    if (snappy_uncompressed_length((const char *)block.data, block.size, size) != SNAPPY_OK ||
        *size / SNAPPY_RATIO_MAX > block.size) {
        return status_error(STATUS_CORRUPT, "snappy data is broken: a block's length cannot be");
    }
    if (*size > snappy->output_max) {
        return status_error(STATUS_LIMIT, "decompressed snappy data is larger than %zu bytes",
                            snappy->output_max);
    }
    return status_ok();
}

static bool block_reserve(SnappyState *snappy, size_t size)
{
    if (size <= snappy->block_capacity) {
        return true;
    }
    free(snappy->block);
    snappy->block = malloc(size);
    snappy->block_capacity = snappy->block ? size : 0;
    return snappy->block != NULL;
}

/* Straight into the caller's room when it fits, else aside. */
static Status block_open(SnappyState *snappy, Slice block, uint8_t *bytes, size_t room, size_t *size)
{
    size_t full;
    Status status = block_size_check(snappy, block, &full);
    if (!status_is_ok(&status)) {
        return status;
    }
    bool direct = full <= room;
    if (!direct && !block_reserve(snappy, full)) {
        return status_error(STATUS_INTERNAL, "no memory for a snappy block of %zu bytes", full);
    }
    uint8_t *target = direct ? bytes : snappy->block;
    if (snappy_uncompress((const char *)block.data, block.size, (char *)target, &full) != SNAPPY_OK) {
        return status_error(STATUS_CORRUPT, "snappy data is broken");
    }
    if (direct) {
        *size = full;
    } else {
        snappy->pending = slice_of(snappy->block, full);
    }
    return status;
}

static Status snappy_read(void *state, uint8_t *bytes, size_t room, size_t *size)
{
    SnappyState *snappy = state;
    Slice block;
    while (snappy->pending.size == 0 && next_block(snappy, &block)) {
        Status status = block_open(snappy, block, bytes, room, size);
        if (!status_is_ok(&status) || *size > 0) {
            return status;
        }
    }
    if (reader_failed(&snappy->in)) {
        return status_error(STATUS_CORRUPT, "snappy data is broken: it ends early");
    }
    *size = room < snappy->pending.size ? room : snappy->pending.size;
    if (*size > 0) {
        memcpy(bytes, snappy->pending.data, *size);
        snappy->pending.data += *size;
        snappy->pending.size -= *size;
    }
    return status_ok();
}

static void snappy_close(void *state)
{
    SnappyState *snappy = state;
    free(snappy->block);
    free(snappy);
}

static Status block_compress(Slice in, Writer *out)
{
    size_t size_position = out->used;
    size_t size = snappy_max_compressed_length(in.size);
    size_t bound = size;
    writer_i32(out, 0);
    uint8_t *room = writer_extend(out, bound);
    if (!room) {
        return status_error(STATUS_INTERNAL, "no memory for snappy");
    }
    if (snappy_compress((const char *)in.data, in.size, (char *)room, &size) != SNAPPY_OK) {
        return status_error(STATUS_INTERNAL, "snappy could not compress %zu bytes", in.size);
    }
    compression_give_back(out, bound - size);
    writer_patch_i32(out, size_position, (int32_t)size);
    return status_ok();
}

static Status snappy_compress_stream(int level, Slice in, Writer *out)
{
    (void)level;
    Status status = status_ok();
    writer_bytes(out, xerial_magic, XERIAL_MAGIC_SIZE);
    writer_i32(out, XERIAL_VERSION);
    writer_i32(out, XERIAL_VERSION);
    while (in.size > 0 && status_is_ok(&status)) {
        size_t size = in.size < XERIAL_BLOCK_SIZE ? in.size : XERIAL_BLOCK_SIZE;
        status = block_compress(slice_of(in.data, size), out);
        in.data += size;
        in.size -= size;
    }
    return status;
}

const CompressionDriver compression_snappy = {
    .name = "snappy",
    .open = snappy_open,
    .read = snappy_read,
    .close = snappy_close,
    .compress = snappy_compress_stream,
};
