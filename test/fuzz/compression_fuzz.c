/* compression_fuzz.c: compressed bytes from anyone. The first byte chooses the codec. All at once and in odd
 * pieces must agree, and limits hold; what we compress must come back. */
#include <assert.h>
#include <stdlib.h>

#include "common/compression.h"

enum { OUTPUT_MAX = 1 << 20, PIECE_SIZE = 997 };

static StatusCode read_in_pieces(CompressionCodec codec, Slice in, Writer *out)
{
    Decompressor *decompressor;
    Status status = decompressor_new(codec, in, OUTPUT_MAX, &decompressor);
    size_t size = 1;
    while (status_is_ok(&status) && size > 0) {
        uint8_t piece[PIECE_SIZE];
        status = decompressor_read(decompressor, piece, PIECE_SIZE, &size);
        if (status_is_ok(&status)) {
            writer_bytes(out, piece, size);
        }
        assert(size <= PIECE_SIZE && out->used <= OUTPUT_MAX);
    }
    decompressor_free(decompressor);
    return status.code;
}

static void decompress_try(CompressionCodec codec, Slice in)
{
    Writer whole, pieces;
    writer_init(&whole);
    writer_init(&pieces);
    Status status = compression_decompress(codec, in, OUTPUT_MAX, &whole);
    StatusCode code = read_in_pieces(codec, in, &pieces);
    /* Which of two faults is met first may depend on the pieces; whether there is one may not. */
    assert((status.code == STATUS_OK) == (code == STATUS_OK));
    assert(whole.used <= OUTPUT_MAX);
    if (code == STATUS_OK) {
        assert(whole.used == pieces.used &&
               (whole.used == 0 || memcmp(whole.bytes, pieces.bytes, whole.used) == 0));
    } else {
        assert(whole.used == 0);
    }
    writer_free(&whole);
    writer_free(&pieces);
}

static void round_trip(CompressionCodec codec, Slice in)
{
    Writer packed, back;
    writer_init(&packed);
    writer_init(&back);
    Status status = compression_compress(codec, COMPRESSION_LEVEL_DEFAULT, in, &packed);
    assert(status_is_ok(&status));
    status = compression_decompress(codec, slice_of(packed.bytes, packed.used), in.size, &back);
    assert(status_is_ok(&status) && back.used == in.size &&
           (in.size == 0 || memcmp(back.bytes, in.data, in.size) == 0));
    writer_free(&packed);
    writer_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    CompressionCodec codec = (CompressionCodec)(data[0] % COMPRESSION_CODEC_COUNT);
    Slice in = slice_of(data + 1, size - 1);
    decompress_try(codec, in);
    if (data[0] & 0x80) {
        round_trip(codec, in);
    }
    return 0;
}
