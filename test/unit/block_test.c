/* block_test.c: bytes live until the last reference is gone. */
#include "common/block.h"
#include "test/unit/test.h"

static void released_count(Block *block, void *context)
{
    *(size_t *)context += block->size;
}

TEST(block_is_released_with_its_last_reference)
{
    size_t released = 0;
    Block *block = block_new(100);
    CHECK(block != NULL);
    CHECK_INT(block->size, 100);
    memset(block->bytes, 0xee, 100);
    block->released = released_count;
    block->context = &released;
    CHECK(block_hold(block) == block);
    block_release(block);
    CHECK_INT(released, 0);
    CHECK_INT(block->bytes[99], 0xee);
    block_release(block);
    CHECK_INT(released, 100);
}

TEST(block_release_of_nothing_does_nothing)
{
    block_release(NULL);
    Block *empty = block_new(0);
    CHECK(empty != NULL);
    block_release(empty);
}

TEST(block_of_an_impossible_size_is_refused)
{
    CHECK(block_new(SIZE_MAX) == NULL);
    CHECK(block_new(SIZE_MAX - 8) == NULL);
}

TEST(an_aligned_block_has_its_bytes_at_the_alignment_and_room_up_to_the_next)
{
    for (size_t size = 0; size < 3 * BLOCK_ALIGNMENT; size += 1000) {
        Block *block = block_new_aligned(size);
        size_t rounded = (size + BLOCK_ALIGNMENT - 1) / BLOCK_ALIGNMENT * BLOCK_ALIGNMENT;
        CHECK(block != NULL);
        CHECK_INT((uintptr_t)block->bytes % BLOCK_ALIGNMENT, 0);
        CHECK_INT(block->size, size);
        memset(block->bytes, 0xa5, rounded);
        block_release(block_hold(block));
        block_release(block);
    }
}
