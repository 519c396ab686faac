/* reader_test.c: a cursor that never passes the end and remembers that it wanted to. */
#include "common/reader.h"
#include "test/unit/test.h"

#define READER(...)                                                                                          \
    reader_of(slice_of((const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ })))

TEST(reader_reads_big_endian_numbers)
{
    Reader reader =
        READER(0x01, 0xff, 0x80, 0x00, 0x12, 0x34, 0xff, 0xff, 0xff, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1);
    CHECK_INT(reader_u8(&reader), 1);
    CHECK_INT(reader_i8(&reader), -1);
    CHECK_INT(reader_i16(&reader), -32768);
    CHECK_INT(reader_u16(&reader), 0x1234);
    CHECK_INT(reader_i32(&reader), -2);
    CHECK_INT(reader_i64(&reader), INT64_MIN + 1);
    CHECK(!reader_failed(&reader));
    CHECK_INT(reader_left(&reader), 0);
}

TEST(reader_gives_zeros_after_the_first_failure)
{
    Reader reader = READER(1, 2, 3, 4, 5);
    CHECK_INT(reader_i64(&reader), 0);
    CHECK(reader_failed(&reader));
    CHECK_INT(reader_u8(&reader), 0);
    CHECK_INT(reader_left(&reader), 0);
    CHECK(slice_is_null(reader_take(&reader, 1)));
}

TEST(reader_takes_views_not_copies)
{
    Slice text = SLICE_LITERAL("topic-partition");
    Reader reader = reader_of(text);
    Slice topic = reader_take(&reader, 5);
    CHECK(topic.data == text.data);
    CHECK_BYTES(topic, SLICE_LITERAL("topic"));
    CHECK(slice_is_null(reader_take(&reader, SIZE_MAX)));
    CHECK(reader_failed(&reader));
}

TEST(reader_takes_nothing_at_the_end_without_failing)
{
    Reader reader = READER(7);
    reader_u8(&reader);
    Slice nothing = reader_take(&reader, 0);
    CHECK_INT(nothing.size, 0);
    CHECK(!reader_failed(&reader));
}

TEST(reader_of_null_has_nothing)
{
    Reader reader = reader_of(SLICE_NULL);
    CHECK_INT(reader_left(&reader), 0);
    CHECK_INT(reader_uvarint(&reader), 0);
    CHECK(reader_failed(&reader));
}

TEST(reader_reads_varints_to_their_limits)
{
    Reader reader = READER(0x00, 0x7f, 0xac, 0x02, 0xff, 0xff, 0xff, 0xff, 0x0f);
    CHECK_INT(reader_uvarint(&reader), 0);
    CHECK_INT(reader_uvarint(&reader), 127);
    CHECK_INT(reader_uvarint(&reader), 300);
    CHECK_INT(reader_uvarint(&reader), UINT32_MAX);
    CHECK(!reader_failed(&reader));
}

TEST(reader_unfolds_zigzag)
{
    Reader reader = READER(0x00, 0x01, 0x02, 0xff, 0xff, 0xff, 0xff, 0x0f, 0xfe, 0xff, 0xff, 0xff, 0x0f);
    CHECK_INT(reader_varint(&reader), 0);
    CHECK_INT(reader_varint(&reader), -1);
    CHECK_INT(reader_varint(&reader), 1);
    CHECK_INT(reader_varint(&reader), INT32_MIN);
    CHECK_INT(reader_varint(&reader), INT32_MAX);
    Reader longs = READER(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x03);
    CHECK_INT(reader_varlong(&longs), INT64_MIN);
    CHECK_INT(reader_varlong(&longs), -2);
    CHECK(!reader_failed(&longs));
}

TEST(reader_refuses_varints_that_are_too_long_or_too_large)
{
    Reader fifth_byte_too_large = READER(0xff, 0xff, 0xff, 0xff, 0x1f);
    reader_uvarint(&fifth_byte_too_large);
    CHECK(reader_failed(&fifth_byte_too_large));
    Reader endless = READER(0x80, 0x80, 0x80, 0x80, 0x80, 0x00);
    reader_uvarint(&endless);
    CHECK(reader_failed(&endless));
    Reader tenth_byte_too_large = READER(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02);
    reader_varlong(&tenth_byte_too_large);
    CHECK(reader_failed(&tenth_byte_too_large));
    Reader cut = READER(0x80);
    reader_varint(&cut);
    CHECK(reader_failed(&cut));
}
