/* compression_driver.h: what each codec's file gives compression.c, which alone includes this besides them.
 */
#ifndef STREAMHOUSE_COMPRESSION_DRIVER_H
#define STREAMHOUSE_COMPRESSION_DRIVER_H

#include "common/compression.h"

typedef struct CompressionDriver {
    const char *name;
    /* *state is NULL on failure. in is not empty and outlives the state. */
    Status (*open)(Slice in, size_t output_max, void **state);
    /* Fills up to room (> 0) bytes; *size 0 with success is the end of a complete stream. */
    Status (*read)(void *state, uint8_t *bytes, size_t room, size_t *size);
    void (*close)(void *state);
    Status (*compress)(int level, Slice in, Writer *out);
    int level_least;
    int level_most;
    int level_default;
} CompressionDriver;

extern const CompressionDriver compression_gzip;
extern const CompressionDriver compression_snappy;
extern const CompressionDriver compression_lz4;
extern const CompressionDriver compression_zstd;

/* Gives back what was not used of the room that writer_extend() just made. */
static inline void compression_give_back(Writer *out, size_t unused)
{
    out->used -= unused;
}

#endif
