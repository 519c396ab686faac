/* compression_zstd.c: zstd frames (RFC 8878). A frame's header may ask for a window of up to 128 MiB, what
 * level 22 uses; only as much of it as was decompressed is ever touched. */
#include "common/compression_driver.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { ZSTD_WINDOW_LOG_MAX = 27 };

typedef struct ZstdState {
    ZSTD_DCtx *context;
    ZSTD_inBuffer in;
    size_t wanted; /* bytes that zstd still expects; 0 between frames */
} ZstdState;

static Status zstd_open(Slice in, size_t output_max, void **state)
{
    (void)output_max;
    *state = NULL;
    ZstdState *made = malloc(sizeof(ZstdState));
    if (!made) {
        return status_error(STATUS_INTERNAL, "no memory for zstd");
    }
    *made = (ZstdState){ ZSTD_createDCtx(), { in.data, in.size, 0 }, 0 };
    if (!made->context ||
        ZSTD_isError(ZSTD_DCtx_setParameter(made->context, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX))) {
        ZSTD_freeDCtx(made->context);
        free(made);
        return status_error(STATUS_INTERNAL, "no memory for zstd");
    }
    *state = made;
    return status_ok();
}

static Status zstd_fail(size_t result)
{
    if (ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation) {
        return status_error(STATUS_INTERNAL, "no memory for zstd");
    }
    return status_error(STATUS_CORRUPT, "zstd data is broken: %s", ZSTD_getErrorName(result));
}

static Status zstd_read(void *state, uint8_t *bytes, size_t room, size_t *size)
{
    ZstdState *zstd = state;
    ZSTD_outBuffer out = { bytes, room, 0 };
    while (out.pos == 0 && (zstd->in.pos < zstd->in.size || zstd->wanted > 0)) {
        size_t before = zstd->in.pos;
        size_t result = ZSTD_decompressStream(zstd->context, &out, &zstd->in);
        if (ZSTD_isError(result)) {
            return zstd_fail(result);
        }
        zstd->wanted = result;
        if (out.pos == 0 && result > 0 && zstd->in.pos == before) {
            return status_error(STATUS_CORRUPT, "zstd data is broken: it ends early");
        }
    }
    *size = out.pos;
    return status_ok();
}

static void zstd_close(void *state)
{
    ZstdState *zstd = state;
    ZSTD_freeDCtx(zstd->context);
    free(zstd);
}

static Status zstd_compress(int level, Slice in, Writer *out)
{
    size_t bound = ZSTD_compressBound(in.size);
    uint8_t *room = writer_extend(out, bound);
    if (!room) {
        return status_error(STATUS_INTERNAL, "no memory for zstd");
    }
    size_t size = ZSTD_compress(room, bound, in.data, in.size, level);
    if (ZSTD_isError(size)) {
        return status_error(STATUS_INTERNAL, "zstd could not compress %zu bytes: %s", in.size,
                            ZSTD_getErrorName(size));
    }
    compression_give_back(out, bound - size);
    return status_ok();
}

const CompressionDriver compression_zstd = {
    .name = "zstd",
    .open = zstd_open,
    .read = zstd_read,
    .close = zstd_close,
    .compress = zstd_compress,
    .level_least = -131072, /* ZSTD_minCLevel(), which is no constant */
    .level_most = 22,
    .level_default = ZSTD_CLEVEL_DEFAULT,
};
