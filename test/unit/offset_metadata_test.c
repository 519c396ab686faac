/* offset_metadata_test.c: the metadata of committed offsets comes back as it was, whatever bytes it is of. */
#include "agent/api/offset_metadata.h"
#include "test/unit/test.h"

static void check_round_trip(Slice metadata, const char *text)
{
    Arena arena;
    Slice stored;
    Slice back;
    arena_init(&arena, 1 << 20);
    CHECK(offset_metadata_to_text(&arena, metadata, &stored));
    CHECK(slice_equals(stored, slice_of_text(text)));
    CHECK(offset_metadata_of_text(&arena, stored, &back));
    CHECK(slice_equals(back, metadata));
    arena_reset(&arena);
}

TEST(text_is_kept_as_it_is)
{
    check_round_trip(SLICE_LITERAL(""), "");
    check_round_trip(SLICE_LITERAL("h\xc3\xa9llo"), "h\xc3\xa9llo");
}

TEST(bytes_that_are_no_text_are_kept_in_hex)
{
    check_round_trip(slice_of("ab\0", 3), "\\x616200");
    check_round_trip(slice_of("\xff", 1), "\\xff");
}

TEST(what_looks_like_hex_already_comes_back_too)
{
    check_round_trip(SLICE_LITERAL("\\x61"), "\\x5c783631");
}

TEST(text_that_only_begins_like_hex_is_given_as_it_is)
{
    Arena arena;
    Slice back;
    arena_init(&arena, 1 << 20);
    CHECK(offset_metadata_of_text(&arena, SLICE_LITERAL("\\xzz"), &back) &&
          slice_equals(back, SLICE_LITERAL("\\xzz")));
    CHECK(offset_metadata_of_text(&arena, SLICE_LITERAL("\\x6"), &back) &&
          slice_equals(back, SLICE_LITERAL("\\x6")));
    CHECK(offset_metadata_of_text(&arena, SLICE_NULL, &back) && slice_is_null(back));
    arena_reset(&arena);
}
