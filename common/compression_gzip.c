/* compression_gzip.c: gzip (RFC 1952) through zlib; members that follow one another are one stream. */
#include "common/compression_driver.h"

#include <stdlib.h>
#include <zlib.h>

/* zlib's way to say: the largest window, gzip wrapping. */
enum { GZIP_WINDOW_BITS = 15 + 16, GZIP_MEMORY_LEVEL = 8 };

typedef struct GzipState {
    z_stream stream;
    bool member_ended;
} GzipState;

static Status gzip_open(Slice in, size_t output_max, void **state)
{
    (void)output_max;
    *state = NULL;
    GzipState *made = calloc(1, sizeof(GzipState));
    if (!made) {
        return status_error(STATUS_INTERNAL, "no memory for gzip");
    }
    made->stream.next_in = (Bytef *)in.data;
    made->stream.avail_in = (uInt)in.size;
    if (inflateInit2(&made->stream, GZIP_WINDOW_BITS) != Z_OK) {
        free(made);
        return status_error(STATUS_INTERNAL, "no memory for gzip");
    }
    *state = made;
    return status_ok();
}

static Status gzip_fail(const GzipState *gzip, int result)
{
    if (result == Z_MEM_ERROR) {
        return status_error(STATUS_INTERNAL, "no memory for gzip");
    }
    return status_error(STATUS_CORRUPT, "gzip data is broken: %s",
                        gzip->stream.msg ? gzip->stream.msg : "it ends early");
}

static Status gzip_read(void *state, uint8_t *bytes, size_t room, size_t *size)
{
    GzipState *gzip = state;
    gzip->stream.next_out = bytes;
    gzip->stream.avail_out = room < UINT_MAX ? (uInt)room : UINT_MAX;
    uInt offered = gzip->stream.avail_out;
    while (gzip->stream.avail_out == offered) {
        if (gzip->member_ended) {
            if (gzip->stream.avail_in == 0) {
                return status_ok();
            }
            inflateReset(&gzip->stream);
            gzip->member_ended = false;
        }
        int result = inflate(&gzip->stream, Z_NO_FLUSH);
        gzip->member_ended = result == Z_STREAM_END;
        bool starved = result == Z_OK && gzip->stream.avail_in == 0 && gzip->stream.avail_out == offered;
        if ((result != Z_OK && result != Z_STREAM_END) || starved) {
            return gzip_fail(gzip, result);
        }
    }
    *size = offered - gzip->stream.avail_out;
    return status_ok();
}

static void gzip_close(void *state)
{
    GzipState *gzip = state;
    inflateEnd(&gzip->stream);
    free(gzip);
}

static Status gzip_compress(int level, Slice in, Writer *out)
{
    z_stream stream = { .next_in = (Bytef *)in.data, .avail_in = (uInt)in.size };
    if (deflateInit2(&stream, level, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEMORY_LEVEL, Z_DEFAULT_STRATEGY) !=
        Z_OK) {
        return status_error(STATUS_INTERNAL, "no memory for gzip");
    }
    size_t bound = deflateBound(&stream, (uLong)in.size);
    stream.next_out = writer_extend(out, bound);
    stream.avail_out = (uInt)bound;
    int result = stream.next_out ? deflate(&stream, Z_FINISH) : Z_MEM_ERROR;
    size_t unused = stream.avail_out;
    deflateEnd(&stream);
    if (result != Z_STREAM_END) {
        return status_error(STATUS_INTERNAL, "gzip could not compress %zu bytes", in.size);
    }
    compression_give_back(out, unused);
    return status_ok();
}

const CompressionDriver compression_gzip = {
    .name = "gzip",
    .open = gzip_open,
    .read = gzip_read,
    .close = gzip_close,
    .compress = gzip_compress,
    .level_least = Z_BEST_SPEED,
    .level_most = Z_BEST_COMPRESSION,
    .level_default = Z_DEFAULT_COMPRESSION,
};
