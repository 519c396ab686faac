/* Metadata of offsets: whatever a client commits comes back, and what is stored is text. */
#include "agent/api/offset_metadata.h"
#include "agent/utf8.h"
#include "test/unit/test.h"

static void check_round_trip(Slice bytes, const char *stored)
{
    Arena arena;
    arena_init(&arena, 1 << 20);
    Slice text = offset_metadata_to_text(&arena, bytes);
    CHECK(utf8_is_text(text));
    CHECK(slice_equals(text, slice_of_text(stored)));
    CHECK(slice_equals(offset_metadata_of_text(&arena, text), bytes));
    arena_reset(&arena);
}

TEST(text_is_stored_as_it_is)
{
    check_round_trip(SLICE_LITERAL(""), "");
    check_round_trip(SLICE_LITERAL("caf\xc3\xa9 \\ x"), "caf\xc3\xa9 \\ x");
}

TEST(bytes_that_are_no_text_are_stored_as_digits)
{
    check_round_trip(SLICE_LITERAL("end\0"), "\\x656e6400");
    check_round_trip(SLICE_LITERAL("\xff\xfe"), "\\xfffe");
}

TEST(text_that_looks_like_digits_comes_back_too)
{
    check_round_trip(SLICE_LITERAL("\\x41"), "\\x5c783431");
    check_round_trip(SLICE_LITERAL("\\x"), "\\x5c78");
}

TEST(what_sql_wrote_and_is_no_digits_stays)
{
    static const char *const texts[] = { "\\xyz!", "\\x4", "\\x4G", "\\xAB", "\\" };
    Arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        CHECK(
            slice_equals(offset_metadata_of_text(&arena, slice_of_text(texts[i])), slice_of_text(texts[i])));
    }
    arena_reset(&arena);
}

TEST(null_stays_null_and_too_much_is_not_stored)
{
    static uint8_t zeros[OFFSET_METADATA_MAX + 1];
    Arena arena;
    arena_init(&arena, 1 << 20);
    CHECK(slice_is_null(offset_metadata_to_text(&arena, SLICE_NULL)));
    CHECK(slice_is_null(offset_metadata_to_text(&arena, slice_of(zeros, sizeof(zeros)))));
    CHECK(!slice_is_null(offset_metadata_to_text(&arena, slice_of(zeros, OFFSET_METADATA_MAX))));
    arena_reset(&arena);
}
