/* writer_test.c: what is written can be read again, and references keep their place. */
#include "common/writer.h"

#include <stdlib.h>

#include "common/reader.h"
#include "test/unit/test.h"

/* The output as one piece; the caller frees it. */
static Slice flatten(const Writer *writer)
{
    Slice *slices = calloc(writer_slice_count(writer), sizeof(Slice));
    uint8_t *bytes = malloc(writer_size(writer) + 1);
    size_t count = writer_slices(writer, slices);
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + size, slices[i].data, slices[i].size);
        size += slices[i].size;
    }
    free(slices);
    return slice_of(bytes, size);
}

TEST(writer_numbers_are_read_back)
{
    Writer writer;
    writer_init(&writer);
    writer_i8(&writer, -7);
    writer_i16(&writer, INT16_MIN);
    writer_u16(&writer, UINT16_MAX);
    writer_i32(&writer, INT32_MIN);
    writer_u32(&writer, UINT32_MAX);
    writer_i64(&writer, INT64_MIN + 5);
    Reader reader = reader_of(slice_of(writer.bytes, writer.used));
    CHECK_INT(reader_i8(&reader), -7);
    CHECK_INT(reader_i16(&reader), INT16_MIN);
    CHECK_INT(reader_u16(&reader), UINT16_MAX);
    CHECK_INT(reader_i32(&reader), INT32_MIN);
    CHECK_INT(reader_u32(&reader), UINT32_MAX);
    CHECK_INT(reader_i64(&reader), INT64_MIN + 5);
    CHECK_INT(reader_left(&reader), 0);
    writer_free(&writer);
}

TEST(writer_varints_are_read_back)
{
    static const int64_t values[] = { 0,    1,    -1,        63,        64,        -64,      -65,
                                      8191, 8192, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN };
    enum { VALUES = sizeof(values) / sizeof(values[0]) };
    Writer writer;
    writer_init(&writer);
    for (int i = 0; i < VALUES; i++) {
        writer_varlong(&writer, values[i]);
        writer_varint(&writer, (int32_t)values[i]);
        writer_uvarint(&writer, (uint32_t)values[i]);
    }
    Reader reader = reader_of(slice_of(writer.bytes, writer.used));
    for (int i = 0; i < VALUES; i++) {
        CHECK_INT(reader_varlong(&reader), values[i]);
        CHECK_INT(reader_varint(&reader), (int32_t)values[i]);
        CHECK_INT(reader_uvarint(&reader), (uint32_t)values[i]);
    }
    CHECK(!reader_failed(&reader));
    CHECK_INT(reader_left(&reader), 0);
    writer_free(&writer);
}

TEST(writer_keeps_references_in_their_place)
{
    Writer writer;
    writer_init(&writer);
    writer_reference(&writer, SLICE_LITERAL("first "));
    writer_bytes(&writer, "own ", 4);
    writer_reference(&writer, SLICE_LITERAL("second "));
    writer_reference(&writer, SLICE_NULL);
    writer_reference(&writer, SLICE_LITERAL("third "));
    writer_bytes(&writer, "end", 3);
    CHECK_INT(writer_size(&writer), 26);
    Slice all = flatten(&writer);
    CHECK_BYTES(all, SLICE_LITERAL("first own second third end"));
    free((void *)all.data);
    writer_free(&writer);
}

TEST(writer_does_not_copy_references)
{
    Slice slices[8];
    Slice body = SLICE_LITERAL("a body");
    Writer writer;
    writer_init(&writer);
    writer_i32(&writer, 6);
    writer_reference(&writer, body);
    CHECK(writer_slice_count(&writer) <= 8);
    CHECK_INT(writer_slices(&writer, slices), 2);
    CHECK(slices[1].data == body.data);
    writer_free(&writer);
}

TEST(writer_patches_a_size_that_came_late)
{
    Writer writer;
    writer_init(&writer);
    writer_i32(&writer, 0);
    for (int i = 0; i < 5000; i++) {
        writer_i8(&writer, 1);
    }
    writer_patch_i32(&writer, 0, (int32_t)writer.used - 4);
    Reader reader = reader_of(slice_of(writer.bytes, writer.used));
    CHECK_INT(reader_i32(&reader), 5000);
    writer_free(&writer);
}

TEST(writer_reset_forgets_everything)
{
    Writer writer;
    writer_init(&writer);
    writer_i64(&writer, 1);
    writer_reference(&writer, SLICE_LITERAL("x"));
    writer_reset(&writer);
    CHECK_INT(writer_size(&writer), 0);
    Slice slices[4];
    CHECK_INT(writer_slices(&writer, slices), 0);
    writer_i8(&writer, 3);
    CHECK_INT(writer_size(&writer), 1);
    writer_free(&writer);
}

TEST(writer_that_failed_stays_failed_and_writes_nothing)
{
    Writer writer;
    writer_init(&writer);
    writer_i8(&writer, 1);
    CHECK(writer_extend(&writer, SIZE_MAX) == NULL);
    CHECK(writer_failed(&writer));
    writer_i64(&writer, 2);
    writer_reference(&writer, SLICE_LITERAL("x"));
    CHECK_INT(writer_size(&writer), 1);
    writer_free(&writer);
}
