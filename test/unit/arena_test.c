/* arena_test.c: memory of one request, bounded and freed at once. */
#include "common/arena.h"
#include "test/unit/test.h"

TEST(arena_memory_is_zeroed_and_aligned)
{
    Arena arena;
    arena_init(&arena, 1 << 20);
    for (size_t size = 0; size < 300; size++) {
        uint8_t *memory = arena_allocate(&arena, size);
        CHECK(memory != NULL);
        CHECK_INT((uintptr_t)memory % 16, 0);
        for (size_t i = 0; i < size; i++) {
            CHECK_INT(memory[i], 0);
        }
        memset(memory, 0xaa, size);
    }
    arena_reset(&arena);
}

TEST(arena_pieces_do_not_overlap)
{
    enum { PIECES = 1000 };
    uint8_t *pieces[PIECES];
    Arena arena;
    arena_init(&arena, 1 << 20);
    for (int i = 0; i < PIECES; i++) {
        pieces[i] = arena_allocate(&arena, 33);
        CHECK(pieces[i] != NULL);
        memset(pieces[i], i % 251, 33);
    }
    for (int i = 0; i < PIECES; i++) {
        CHECK_INT(pieces[i][0], i % 251);
        CHECK_INT(pieces[i][32], i % 251);
    }
    arena_reset(&arena);
}

TEST(arena_refuses_what_is_past_its_limit_and_goes_on)
{
    Arena arena;
    arena_init(&arena, 1024);
    CHECK(arena_allocate(&arena, 1025) == NULL);
    CHECK(arena_allocate(&arena, 512) != NULL);
    CHECK(arena_allocate(&arena, 513) == NULL);
    CHECK(arena_allocate(&arena, 512) != NULL);
    CHECK(arena_allocate(&arena, 1) == NULL);
    arena_reset(&arena);
    CHECK(arena_allocate(&arena, 1024) != NULL);
    arena_reset(&arena);
}

TEST(arena_refuses_sizes_that_overflow)
{
    Arena arena;
    arena_init(&arena, SIZE_MAX);
    CHECK(arena_allocate(&arena, SIZE_MAX) == NULL);
    CHECK(arena_allocate(&arena, SIZE_MAX - 15) == NULL);
    CHECK(arena_allocate_array(&arena, SIZE_MAX / 2, 3) == NULL);
    CHECK(arena_allocate_array(&arena, 0, 8) != NULL);
    arena_reset(&arena);
}

TEST(arena_copies_text_with_an_end)
{
    Arena arena;
    arena_init(&arena, 4096);
    CHECK_STR(arena_copy_text(&arena, slice_of("orders and more", 6)), "orders");
    CHECK_STR(arena_copy_text(&arena, SLICE_NULL), "");
    arena_reset(&arena);
}
