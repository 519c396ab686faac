/* compression.c: one door to the codecs. Output limits are kept here, so that no codec can forget them. */
#include "common/compression_driver.h"

#include <stdlib.h>

/* A batch's length is an int32, so is what holds it. */
#define COMPRESSION_INPUT_MAX INT32_MAX

/* One call of a codec; LZ4 decodes blocks of 64 KiB straight into such a piece. */
enum { COMPRESSION_PIECE_SIZE = 64 * 1024 };

static const CompressionDriver compression_none = { .name = "none" };

static const CompressionDriver *const drivers[COMPRESSION_CODEC_COUNT] = {
    [COMPRESSION_NONE] = &compression_none,     [COMPRESSION_GZIP] = &compression_gzip,
    [COMPRESSION_SNAPPY] = &compression_snappy, [COMPRESSION_LZ4] = &compression_lz4,
    [COMPRESSION_ZSTD] = &compression_zstd,
};

struct Decompressor {
    const CompressionDriver *driver;
    void *state; /* NULL for COMPRESSION_NONE */
    Slice plain; /* COMPRESSION_NONE: what is left */
    size_t output_max;
    size_t output_left;
};

static const CompressionDriver *driver_of(CompressionCodec codec)
{
    return (unsigned)codec < COMPRESSION_CODEC_COUNT ? drivers[codec] : NULL;
}

const char *compression_name(CompressionCodec codec)
{
    const CompressionDriver *driver = driver_of(codec);
    return driver ? driver->name : "unknown";
}

bool compression_find(Slice name, CompressionCodec *out)
{
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        if (slice_equals(name, slice_of_text(drivers[codec]->name))) {
            *out = (CompressionCodec)codec;
            return true;
        }
    }
    return false;
}

static int level_clamp(const CompressionDriver *driver, int level)
{
    if (level == COMPRESSION_LEVEL_DEFAULT) {
        return driver->level_default;
    }
    if (level < driver->level_least) {
        return driver->level_least;
    }
    return level > driver->level_most ? driver->level_most : level;
}

static Status input_check(const CompressionDriver *driver, CompressionCodec codec, Slice in)
{
    if (!driver) {
        return status_error(STATUS_INVALID, "compression codec %d does not exist; 0 to %d do", (int)codec,
                            COMPRESSION_CODEC_COUNT - 1);
    }
    if (in.size > COMPRESSION_INPUT_MAX) {
        return status_error(STATUS_LIMIT, "%zu bytes are more than a codec takes at once", in.size);
    }
    return status_ok();
}

Status compression_compress(CompressionCodec codec, int level, Slice in, Writer *out)
{
    const CompressionDriver *driver = driver_of(codec);
    Status status = input_check(driver, codec, in);
    if (!status_is_ok(&status)) {
        return status;
    }
    size_t start = out->used;
    if (codec == COMPRESSION_NONE) {
        writer_bytes(out, in.data, in.size);
    } else {
        status = driver->compress(level_clamp(driver, level), in, out);
    }
    if (!status_is_ok(&status)) {
        out->used = start;
    } else if (writer_failed(out)) {
        status = status_error(STATUS_INTERNAL, "no memory to compress %zu bytes", in.size);
    }
    return status;
}

Status decompressor_new(CompressionCodec codec, Slice in, size_t output_max, Decompressor **out)
{
    const CompressionDriver *driver = driver_of(codec);
    *out = NULL;
    Status status = input_check(driver, codec, in);
    if (!status_is_ok(&status)) {
        return status;
    }
    if (codec != COMPRESSION_NONE && in.size == 0) {
        return status_error(STATUS_CORRUPT, "no bytes where %s data should be", driver->name);
    }
    Decompressor *made = malloc(sizeof(Decompressor));
    if (!made) {
        return status_error(STATUS_INTERNAL, "no memory for a decompressor");
    }
    *made = (Decompressor){ driver, NULL, in, output_max, output_max };
    if (driver->open) {
        status = driver->open(in, output_max, &made->state);
    }
    if (!status_is_ok(&status)) {
        free(made);
        return status;
    }
    *out = made;
    return status;
}

static Status read_plain(Decompressor *decompressor, uint8_t *bytes, size_t room, size_t *size)
{
    *size = room < decompressor->plain.size ? room : decompressor->plain.size;
    if (*size > 0) {
        memcpy(bytes, decompressor->plain.data, *size);
        decompressor->plain.data += *size;
        decompressor->plain.size -= *size;
    }
    return status_ok();
}

static Status read_any(Decompressor *decompressor, uint8_t *bytes, size_t room, size_t *size)
{
    *size = 0;
    return decompressor->driver->read ? decompressor->driver->read(decompressor->state, bytes, room, size)
                                      : read_plain(decompressor, bytes, room, size);
}

/* All that was allowed came out: it must have been all there is. */
static Status read_end(Decompressor *decompressor)
{
    uint8_t beyond;
    size_t size;
    Status status = read_any(decompressor, &beyond, 1, &size);
    if (status_is_ok(&status) && size > 0) {
        return status_error(STATUS_LIMIT, "decompressed %s data is larger than %zu bytes",
                            decompressor->driver->name, decompressor->output_max);
    }
    return status;
}

Status decompressor_read(Decompressor *decompressor, uint8_t *bytes, size_t room, size_t *size)
{
    *size = 0;
    if (room == 0) {
        return status_ok();
    }
    if (decompressor->output_left == 0) {
        return read_end(decompressor);
    }
    if (room > decompressor->output_left) {
        room = decompressor->output_left;
    }
    Status status = read_any(decompressor, bytes, room, size);
    decompressor->output_left -= *size;
    return status;
}

void decompressor_free(Decompressor *decompressor)
{
    if (decompressor && decompressor->driver->close) {
        decompressor->driver->close(decompressor->state);
    }
    free(decompressor);
}

static Status drain(Decompressor *decompressor, Writer *out)
{
    for (;;) {
        uint8_t *room = writer_extend(out, COMPRESSION_PIECE_SIZE);
        if (!room) {
            return status_error(STATUS_INTERNAL, "no memory for decompressed bytes");
        }
        size_t size;
        Status status = decompressor_read(decompressor, room, COMPRESSION_PIECE_SIZE, &size);
        compression_give_back(out, COMPRESSION_PIECE_SIZE - size);
        if (!status_is_ok(&status) || size == 0) {
            return status;
        }
    }
}

Status compression_decompress(CompressionCodec codec, Slice in, size_t output_max, Writer *out)
{
    Decompressor *decompressor;
    size_t start = out->used;
    Status status = decompressor_new(codec, in, output_max, &decompressor);
    if (!decompressor) {
        return status;
    }
    status = drain(decompressor, out);
    decompressor_free(decompressor);
    if (!status_is_ok(&status)) {
        out->used = start;
    }
    return status;
}
