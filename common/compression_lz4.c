/* compression_lz4.c: LZ4 frames through liblz4. Written as the Java client writes and reads them: independent
 * blocks of 64 KiB, no checksum of the content. */
#include "common/compression_driver.h"

#include <lz4.h>
#include <lz4frame.h>
#include <lz4hc.h>
#include <stdlib.h>

typedef struct Lz4State {
    LZ4F_dctx *context;
    Slice left;
    size_t wanted; /* bytes that liblz4 still needs; 0 between frames */
} Lz4State;

static Status lz4_open(Slice in, size_t output_max, void **state)
{
    (void)output_max;
    *state = NULL;
    Lz4State *made = malloc(sizeof(Lz4State));
    if (!made) {
        return status_error(STATUS_INTERNAL, "no memory for lz4");
    }
    *made = (Lz4State){ NULL, in, 0 };
    if (LZ4F_isError(LZ4F_createDecompressionContext(&made->context, LZ4F_VERSION))) {
        free(made);
        return status_error(STATUS_INTERNAL, "no memory for lz4");
    }
    *state = made;
    return status_ok();
}

static Status lz4_read(void *state, uint8_t *bytes, size_t room, size_t *size)
{
    Lz4State *lz4 = state;
    while (lz4->left.size > 0 || lz4->wanted > 0) {
        size_t made = room;
        size_t taken = lz4->left.size;
        size_t result = LZ4F_decompress(lz4->context, bytes, &made, lz4->left.data, &taken, NULL);
        if (LZ4F_isError(result)) {
            return status_error(STATUS_CORRUPT, "lz4 data is broken: %s", LZ4F_getErrorName(result));
        }
        lz4->left.data += taken;
        lz4->left.size -= taken;
        lz4->wanted = result;
        if (made > 0) {
            *size = made;
            return status_ok();
        }
        if (taken == 0) {
            return status_error(STATUS_CORRUPT, "lz4 data is broken: it ends early");
        }
    }
    return status_ok();
}

static void lz4_close(void *state)
{
    Lz4State *lz4 = state;
    LZ4F_freeDecompressionContext(lz4->context);
    free(lz4);
}

/* LZ4F takes a negative level for acceleration. One step of it makes what is half words and half noise a
 * third faster to compress, and 3 % larger. Eight steps take another two fifths off the time, for another
 * 3 %, where that noise is most of the bytes; prose and JSON would become a sixth larger and hardly faster.
 * So a sample says which it is. */
enum {
    LEVEL_DEFAULT = -1,
    LEVEL_HURRIED = -8,
    SAMPLE_BYTES = 8 * 1024,
    SAMPLED_BYTES_MIN = 4 * SAMPLE_BYTES
};

/* Whether a sample from the middle shrinks by less than a third. room is for what comes of it. */
static bool shrinks_little(Slice in, uint8_t *room, size_t room_size)
{
    const uint8_t *sample = in.data + (in.size - SAMPLE_BYTES) / 2;
    int size = LZ4_compress_fast((const char *)sample, (char *)room, SAMPLE_BYTES,
                                 (int)(room_size < INT_MAX ? room_size : INT_MAX), 1 - LEVEL_DEFAULT);
    return size > SAMPLE_BYTES * 2 / 3;
}

static Status lz4_compress(int level, Slice in, Writer *out)
{
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
    preferences.frameInfo.blockSizeID = LZ4F_max64KB;
    preferences.frameInfo.blockMode = LZ4F_blockIndependent;
    preferences.compressionLevel = level;
    size_t bound = LZ4F_compressFrameBound(in.size, &preferences);
    uint8_t *room = writer_extend(out, bound);
    if (!room) {
        return status_error(STATUS_INTERNAL, "no memory for lz4");
    }
    if (level == LEVEL_DEFAULT && in.size >= SAMPLED_BYTES_MIN && shrinks_little(in, room, bound)) {
        preferences.compressionLevel = LEVEL_HURRIED;
    }
    size_t size = LZ4F_compressFrame(room, bound, in.data, in.size, &preferences);
    if (LZ4F_isError(size)) {
        return status_error(STATUS_INTERNAL, "lz4 could not compress %zu bytes: %s", in.size,
                            LZ4F_getErrorName(size));
    }
    compression_give_back(out, bound - size);
    return status_ok();
}

const CompressionDriver compression_lz4 = {
    .name = "lz4",
    .open = lz4_open,
    .read = lz4_read,
    .close = lz4_close,
    .compress = lz4_compress,
    .level_least = 1,
    .level_most = LZ4HC_CLEVEL_MAX,
    .level_default = LEVEL_DEFAULT,
};
