/* compression_test.c: every codec there and back, as clients send it, and what hostile streams get. */
#include "common/compression.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zstd.h>

#include "common/batch.h"
#include "test/unit/batch_fixture.h"
#include "test/unit/test.h"

enum { OUTPUT_MAX = 1 << 24 };

static const CompressionCodec real_codecs[] = { COMPRESSION_GZIP, COMPRESSION_SNAPPY, COMPRESSION_LZ4,
                                                COMPRESSION_ZSTD };
enum { REAL_CODECS = sizeof(real_codecs) / sizeof(real_codecs[0]) };

/* Bytes that compress somewhat, or not at all. */
static void fill(Writer *out, size_t size, bool random)
{
    uint32_t seed = 7;
    uint8_t *room = size > 0 ? writer_extend(out, size) : NULL;
    for (size_t i = 0; room && i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        room[i] = random ? (uint8_t)(seed >> 24) : (uint8_t)(seed >> 30);
    }
}

static Slice content(const Writer *writer)
{
    return slice_of(writer->bytes, writer->used);
}

static StatusCode decompress(CompressionCodec codec, Slice in, size_t output_max, Writer *out)
{
    Status status = compression_decompress(codec, in, output_max, out);
    return status.code;
}

static bool round_trip(CompressionCodec codec, int level, size_t size, bool random)
{
    Writer plain, packed, back;
    writer_init(&plain);
    writer_init(&packed);
    writer_init(&back);
    fill(&plain, size, random);
    Status status = compression_compress(codec, level, content(&plain), &packed);
    bool same = status_is_ok(&status) && decompress(codec, content(&packed), size, &back) == STATUS_OK &&
                back.used == size && (size == 0 || memcmp(plain.bytes, back.bytes, size) == 0);
    writer_free(&plain);
    writer_free(&packed);
    writer_free(&back);
    return same;
}

TEST(compression_round_trips_at_every_size)
{
    static const size_t sizes[] = { 0, 1, 100, 32767, 32768, 32769, 65535, 65536, 65537, 131072, 3000001 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int codec = sizes[i] == 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
            CHECK(round_trip((CompressionCodec)codec, COMPRESSION_LEVEL_DEFAULT, sizes[i], false));
            CHECK(round_trip((CompressionCodec)codec, COMPRESSION_LEVEL_DEFAULT, sizes[i], true));
        }
    }
}

TEST(compression_levels_beyond_the_codecs_are_moved_into_its_range)
{
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        CHECK(round_trip((CompressionCodec)codec, 1000, 20000, false));
        CHECK(round_trip((CompressionCodec)codec, -1000000, 20000, false));
    }
}

TEST(compression_names_are_kafkas)
{
    CompressionCodec codec;
    CHECK_STR(compression_name(COMPRESSION_SNAPPY), "snappy");
    CHECK_STR(compression_name((CompressionCodec)5), "unknown");
    CHECK(compression_find(SLICE_LITERAL("zstd"), &codec));
    CHECK_INT(codec, COMPRESSION_ZSTD);
    CHECK(!compression_find(SLICE_LITERAL("brotli"), &codec));
    CHECK(!compression_find(SLICE_NULL, &codec));
}

TEST(decompression_reads_what_the_java_client_wrote)
{
    for (int i = 0; i < REAL_CODECS; i++) {
        char name[64];
        BatchHeader header;
        Writer file, out;
        writer_init(&file);
        writer_init(&out);
        snprintf(name, sizeof(name), "java-large-%s", compression_name(real_codecs[i]));
        Slice batch = fixture_file(&file, "batch", name);
        BatchError error = batch_header_read(batch, &header);
        CHECK_INT(error.code, BATCH_OK);
        CHECK_INT(batch_codec(&header), real_codecs[i]);
        CHECK_INT(decompress(real_codecs[i], batch_payload(batch), OUTPUT_MAX, &out), STATUS_OK);
        CHECK(out.used > 2000 * 115);
        writer_free(&file);
        writer_free(&out);
    }
}

TEST(decompression_reads_frames_that_follow_one_another)
{
    for (int i = 0; i < REAL_CODECS; i++) {
        Writer packed, out;
        writer_init(&packed);
        writer_init(&out);
        Status first = compression_compress(real_codecs[i], COMPRESSION_LEVEL_DEFAULT,
                                            SLICE_LITERAL("one frame, "), &packed);
        Status second = compression_compress(real_codecs[i], COMPRESSION_LEVEL_DEFAULT,
                                             SLICE_LITERAL("then another"), &packed);
        CHECK(status_is_ok(&first) && status_is_ok(&second));
        CHECK_INT(decompress(real_codecs[i], content(&packed), OUTPUT_MAX, &out), STATUS_OK);
        CHECK_BYTES(content(&out), SLICE_LITERAL("one frame, then another"));
        writer_free(&packed);
        writer_free(&out);
    }
}

TEST(decompression_stops_exactly_at_its_limit)
{
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        Writer plain, packed, out;
        writer_init(&plain);
        writer_init(&packed);
        writer_init(&out);
        fill(&plain, 200000, false);
        Status status = compression_compress((CompressionCodec)codec, COMPRESSION_LEVEL_DEFAULT,
                                             content(&plain), &packed);
        CHECK(status_is_ok(&status));
        writer_bytes(&out, "before", 6);
        CHECK_INT(decompress((CompressionCodec)codec, content(&packed), 199999, &out), STATUS_LIMIT);
        CHECK_INT(decompress((CompressionCodec)codec, content(&packed), 0, &out), STATUS_LIMIT);
        CHECK_BYTES(content(&out), SLICE_LITERAL("before"));
        CHECK_INT(decompress((CompressionCodec)codec, content(&packed), 200000, &out), STATUS_OK);
        CHECK_INT(out.used, 200006);
        writer_free(&plain);
        writer_free(&packed);
        writer_free(&out);
    }
}

TEST(a_decompression_bomb_takes_no_more_memory_than_its_limit)
{
    enum { BOMB_SIZE = 64 << 20, LIMIT = 1 << 20 };
    uint8_t *zeros = calloc(1, BOMB_SIZE);
    CHECK(zeros != NULL);
    for (int i = 0; i < REAL_CODECS; i++) {
        Writer packed, out;
        writer_init(&packed);
        writer_init(&out);
        Status status = compression_compress(real_codecs[i], COMPRESSION_LEVEL_DEFAULT,
                                             slice_of(zeros, BOMB_SIZE), &packed);
        CHECK(status_is_ok(&status));
        CHECK(packed.used < BOMB_SIZE / 15);
        CHECK_INT(decompress(real_codecs[i], content(&packed), LIMIT, &out), STATUS_LIMIT);
        CHECK(out.capacity <= 4 * LIMIT);
        writer_free(&packed);
        writer_free(&out);
    }
    free(zeros);
}

TEST(decompression_refuses_streams_that_are_cut_short)
{
    for (int i = 0; i < REAL_CODECS; i++) {
        Writer plain, packed, out;
        writer_init(&plain);
        writer_init(&packed);
        writer_init(&out);
        fill(&plain, 1000, false);
        Status status =
            compression_compress(real_codecs[i], COMPRESSION_LEVEL_DEFAULT, content(&plain), &packed);
        CHECK(status_is_ok(&status));
        for (size_t size = 0; size < packed.used; size++) {
            /* A xerial stream of no blocks is a whole one. */
            StatusCode expected =
                real_codecs[i] == COMPRESSION_SNAPPY && size == 16 ? STATUS_OK : STATUS_CORRUPT;
            CHECK_INT(decompress(real_codecs[i], slice_of(packed.bytes, size), OUTPUT_MAX, &out), expected);
            CHECK_INT(out.used, 0);
        }
        writer_free(&plain);
        writer_free(&packed);
        writer_free(&out);
    }
}

TEST(decompression_refuses_bytes_after_the_last_frame)
{
    for (int i = 0; i < REAL_CODECS; i++) {
        Writer packed, out;
        writer_init(&packed);
        writer_init(&out);
        Status status = compression_compress(real_codecs[i], COMPRESSION_LEVEL_DEFAULT,
                                             SLICE_LITERAL("a frame"), &packed);
        CHECK(status_is_ok(&status));
        writer_bytes(&packed, "garbage", 7);
        CHECK_INT(decompress(real_codecs[i], content(&packed), OUTPUT_MAX, &out), STATUS_CORRUPT);
        writer_free(&packed);
        writer_free(&out);
    }
}

TEST(decompression_of_an_unknown_codec_is_refused)
{
    Writer out;
    writer_init(&out);
    CHECK_INT(decompress((CompressionCodec)5, SLICE_LITERAL("x"), OUTPUT_MAX, &out), STATUS_INVALID);
    CHECK_INT(decompress((CompressionCodec)7, SLICE_LITERAL("x"), OUTPUT_MAX, &out), STATUS_INVALID);
    writer_free(&out);
}

TEST(snappy_is_read_raw_as_librdkafka_sends_it)
{
    Writer plain, out;
    static char packed[400000];
    size_t size = sizeof(packed);
    writer_init(&plain);
    writer_init(&out);
    fill(&plain, 300000, false);
    CHECK_INT(snappy_compress((const char *)plain.bytes, plain.used, packed, &size), SNAPPY_OK);
    CHECK_INT(decompress(COMPRESSION_SNAPPY, slice_of(packed, size), 300000, &out), STATUS_OK);
    CHECK_BYTES(content(&out), content(&plain));
    CHECK_INT(decompress(COMPRESSION_SNAPPY, slice_of(packed, size - 1), 300000, &out), STATUS_CORRUPT);
    CHECK_INT(decompress(COMPRESSION_SNAPPY, slice_of(packed, size), 299999, &out), STATUS_LIMIT);
    writer_free(&plain);
    writer_free(&out);
}

TEST(snappy_lengths_that_lie_allocate_nothing)
{
    static const uint8_t four_gigabytes[] = { 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00, 'x' };
    static const uint8_t framed[] = { 0x82, 'S', 'N', 'A', 'P', 'P', 'Y',  0,    0,    0,    0,    1, 0,  0,
                                      0,    1,   0,   0,   0,   7,   0xff, 0xff, 0xff, 0xff, 0x0f, 0, 'x' };
    static const uint8_t long_block[] = { 0x82, 'S', 'N', 'A', 'P', 'P',  'Y',  0,    0,    0, 0,
                                          1,    0,   0,   0,   1,   0xff, 0xff, 0xff, 0xf0, 1 };
    Writer out;
    writer_init(&out);
    CHECK_INT(
        decompress(COMPRESSION_SNAPPY, slice_of(four_gigabytes, sizeof(four_gigabytes)), SIZE_MAX, &out),
        STATUS_CORRUPT);
    CHECK_INT(decompress(COMPRESSION_SNAPPY, slice_of(framed, sizeof(framed)), SIZE_MAX, &out),
              STATUS_CORRUPT);
    CHECK_INT(decompress(COMPRESSION_SNAPPY, slice_of(long_block, sizeof(long_block)), SIZE_MAX, &out),
              STATUS_CORRUPT);
    writer_free(&out);
}

TEST(lz4_is_read_with_every_checksum_and_linked_blocks)
{
    Writer plain;
    writer_init(&plain);
    fill(&plain, 700000, false);
    for (int flags = 0; flags < 16; flags++) {
        Writer packed, out;
        LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
        preferences.frameInfo.blockSizeID = flags & 1 ? LZ4F_max64KB : LZ4F_max4MB;
        preferences.frameInfo.blockMode = flags & 2 ? LZ4F_blockLinked : LZ4F_blockIndependent;
        preferences.frameInfo.blockChecksumFlag =
            flags & 4 ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum;
        preferences.frameInfo.contentChecksumFlag =
            flags & 8 ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum;
        writer_init(&packed);
        writer_init(&out);
        size_t bound = LZ4F_compressFrameBound(plain.used, &preferences);
        uint8_t *room = writer_extend(&packed, bound);
        packed.used = LZ4F_compressFrame(room, bound, plain.bytes, plain.used, &preferences);
        CHECK_INT(decompress(COMPRESSION_LZ4, content(&packed), 700000, &out), STATUS_OK);
        CHECK_BYTES(content(&out), content(&plain));
        packed.bytes[packed.used / 2] ^= 0x10;
        if (flags & 4) {
            CHECK_INT(decompress(COMPRESSION_LZ4, content(&packed), OUTPUT_MAX, &out), STATUS_CORRUPT);
        }
        writer_free(&packed);
        writer_free(&out);
    }
    writer_free(&plain);
}

/* Lines of words that repeat, each followed by noise in so many hexadecimal digits. */
static void fill_lines(Writer *out, size_t size, int digits)
{
    static const char *const words[] = {
        "order ", "invoice ", "shipped ", "customer ", "pending ", "price "
    };
    uint32_t seed = 11;
    while (out->used < size) {
        for (int i = 0; i < 40; i++) {
            seed = seed * 1664525u + 1013904223u;
            writer_bytes(out, words[(seed >> 16) % 6], strlen(words[(seed >> 16) % 6]));
        }
        for (int i = 0; i < digits; i++) {
            seed = seed * 1664525u + 1013904223u;
            writer_bytes(out, &"0123456789abcdef"[seed >> 28], 1);
        }
    }
}

static size_t lz4_size_at(int level, Slice in)
{
    LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
    preferences.frameInfo.blockMode = LZ4F_blockIndependent;
    preferences.compressionLevel = level;
    size_t room = LZ4F_compressFrameBound(in.size, &preferences);
    uint8_t *bytes = malloc(room);
    size_t size = LZ4F_compressFrame(bytes, room, in.data, in.size, &preferences);
    free(bytes);
    return size;
}

static size_t lz4_size(Slice in)
{
    Writer packed;
    writer_init(&packed);
    Status status = compression_compress(COMPRESSION_LZ4, COMPRESSION_LEVEL_DEFAULT, in, &packed);
    size_t size = status_is_ok(&status) ? packed.used : 0;
    writer_free(&packed);
    return size;
}

TEST(lz4_hurries_where_little_is_to_be_gained_and_only_there)
{
    enum { SIZE = 200000, HURRIED_BYTES_MAX_PERCENT = 106 };
    Writer prose, noise;
    writer_init(&prose);
    writer_init(&noise);
    fill_lines(&prose, SIZE, 20);
    fill_lines(&noise, SIZE, 700);
    CHECK_INT(lz4_size(content(&prose)), lz4_size_at(-1, content(&prose)));
    CHECK_INT(lz4_size(content(&noise)), lz4_size_at(-8, content(&noise)));
    CHECK(lz4_size(content(&noise)) * 100 < lz4_size_at(-1, content(&noise)) * HURRIED_BYTES_MAX_PERCENT);
    writer_free(&prose);
    writer_free(&noise);
}

TEST(zstd_is_read_without_a_content_size)
{
    Writer plain, out;
    static uint8_t packed[400000];
    writer_init(&plain);
    writer_init(&out);
    fill(&plain, 300000, false);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_inBuffer in = { plain.bytes, plain.used / 2, 0 };
    ZSTD_outBuffer made = { packed, sizeof(packed), 0 };
    CHECK_INT(ZSTD_compressStream2(context, &made, &in, ZSTD_e_flush), 0);
    in.size = plain.used;
    CHECK_INT(ZSTD_compressStream2(context, &made, &in, ZSTD_e_end), 0);
    ZSTD_freeCCtx(context);
    CHECK(ZSTD_getFrameContentSize(packed, made.pos) == ZSTD_CONTENTSIZE_UNKNOWN);
    CHECK_INT(decompress(COMPRESSION_ZSTD, slice_of(packed, made.pos), 300000, &out), STATUS_OK);
    CHECK_BYTES(content(&out), content(&plain));
    writer_free(&plain);
    writer_free(&out);
}

TEST(a_decompressor_gives_the_same_bytes_one_by_one)
{
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        Writer plain, packed;
        Decompressor *decompressor;
        writer_init(&plain);
        writer_init(&packed);
        fill(&plain, 70000, false);
        Status status = compression_compress((CompressionCodec)codec, COMPRESSION_LEVEL_DEFAULT,
                                             content(&plain), &packed);
        CHECK(status_is_ok(&status));
        status = decompressor_new((CompressionCodec)codec, content(&packed), 70000, &decompressor);
        CHECK(status_is_ok(&status));
        for (size_t i = 0; i <= 70000; i++) {
            uint8_t byte;
            size_t size;
            status = decompressor_read(decompressor, &byte, 1, &size);
            CHECK(status_is_ok(&status));
            CHECK_INT(size, i < 70000);
            CHECK(i == 70000 || byte == plain.bytes[i]);
        }
        decompressor_free(decompressor);
        writer_free(&plain);
        writer_free(&packed);
    }
}
