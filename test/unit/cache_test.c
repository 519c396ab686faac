/* cache_test.c: blocks of objects in memory: read once for all who wait, bounded while being read and when
 * kept. */
#include "agent/read/cache.h"

#include <stdlib.h>

#include "test/unit/test.h"

enum { BLOCK = 100, GETS_MAX = 64 };

typedef struct Get {
    char key[32];
    uint64_t start;
    uint64_t length;
    CacheGot done;
    void *argument;
} Get;

/* The store: keeps what it is asked until the test answers. */
typedef struct Shelf {
    Cache *cache;
    Get gets[GETS_MAX];
    int count;
    bool busy;
} Shelf;

typedef struct Waiter {
    int called;
    StatusCode code;
    bool had_block;
} Waiter;

static const CacheObject object_one = { .object_id = 1, .key = "o/1" };
static const CacheObject object_two = { .object_id = 2, .key = "o/2" };

static bool shelf_get(void *context, const CacheObject *object, uint64_t start, uint64_t length,
                      CacheGot done, void *argument)
{
    Shelf *shelf = context;
    if (shelf->busy || shelf->count == GETS_MAX) {
        return false;
    }
    Get *get = &shelf->gets[shelf->count++];
    *get = (Get){ .start = start, .length = length, .done = done, .argument = argument };
    snprintf(get->key, sizeof(get->key), "%s", object->key);
    return true;
}

static Shelf *shelf_new(size_t bytes_max, size_t cold_bytes_max)
{
    Shelf *shelf = calloc(1, sizeof(Shelf));
    CacheOptions options = { BLOCK, bytes_max, cold_bytes_max };
    CacheBackend backend = { shelf, shelf_get };
    shelf->cache = cache_new(&options, &backend);
    return shelf;
}

static Get shelf_take(Shelf *shelf)
{
    Get get = shelf->gets[0];
    memmove(shelf->gets, shelf->gets + 1, (size_t)--shelf->count * sizeof(Get));
    return get;
}

/* Answers the oldest read with size bytes, or with a failure. */
static void shelf_answer(Shelf *shelf, size_t size)
{
    Get get = shelf_take(shelf);
    Block *block = block_new(size);
    Status status = status_ok();
    memset(block->bytes, (int)get.start, size);
    get.done(get.argument, &status, block);
    block_release(block);
}

static void shelf_fail(Shelf *shelf, StatusCode code)
{
    Get get = shelf_take(shelf);
    Status status = code == STATUS_OK ? status_ok() : status_error(code, "gone");
    get.done(get.argument, &status, NULL);
}

static void shelf_free(Shelf *shelf)
{
    while (shelf->count > 0) {
        shelf_fail(shelf, STATUS_CANCELLED);
    }
    cache_free(shelf->cache);
    free(shelf);
}

static void waiter_ready(void *argument, const Status *status, Block *block)
{
    Waiter *waiter = argument;
    waiter->had_block = block != NULL;
    waiter->called++;
    waiter->code = status->code;
}

static void read_block(Shelf *shelf, const CacheObject *object, uint64_t number)
{
    Waiter waiter = { 0 };
    if (!cache_want(shelf->cache, object, number, waiter_ready, &waiter)) {
        abort();
    }
    while (waiter.called == 0) {
        shelf_answer(shelf, BLOCK);
    }
}

TEST(a_block_that_is_wanted_is_read_and_then_there)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiter = { 0 };
    CHECK(cache_find(shelf->cache, 1, 3) == NULL);
    CHECK(cache_is_idle(shelf->cache));
    CHECK(cache_want(shelf->cache, &object_one, 3, waiter_ready, &waiter));
    CHECK_INT(shelf->count, 1);
    CHECK_STR(shelf->gets[0].key, "o/1");
    CHECK_INT(shelf->gets[0].start, 300);
    CHECK_INT(shelf->gets[0].length, BLOCK);
    CHECK(!cache_is_idle(shelf->cache));
    CHECK(cache_find(shelf->cache, 1, 3) == NULL);
    CHECK_INT(waiter.called, 0);
    shelf_answer(shelf, 40);
    CHECK_INT(waiter.called, 1);
    CHECK_INT(waiter.code, STATUS_OK);
    CHECK(waiter.had_block);
    const Block *block = cache_find(shelf->cache, 1, 3);
    CHECK(block && block->size == 40);
    CHECK(cache_find(shelf->cache, 2, 3) == NULL);
    CHECK(cache_is_idle(shelf->cache));
    shelf_free(shelf);
}

TEST(one_read_serves_all_who_wait_for_a_block)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiters[3] = { { 0 } };
    for (int i = 0; i < 3; i++) {
        CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiters[i]));
    }
    CHECK_INT(shelf->count, 1);
    shelf_answer(shelf, BLOCK);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(waiters[i].called, 1);
    }
    shelf_free(shelf);
}

TEST(a_failure_is_told_to_all_and_not_remembered)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiters[2] = { { 0 } };
    CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiters[0]));
    CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiters[1]));
    shelf_fail(shelf, STATUS_NOT_FOUND);
    CHECK_INT(waiters[0].code, STATUS_NOT_FOUND);
    CHECK_INT(waiters[1].code, STATUS_NOT_FOUND);
    CHECK(cache_find(shelf->cache, 1, 0) == NULL);
    CHECK(cache_is_idle(shelf->cache));
    read_block(shelf, &object_one, 0);
    CHECK(cache_find(shelf->cache, 1, 0) != NULL);
    shelf_free(shelf);
}

TEST(a_read_that_ends_well_but_without_bytes_is_a_failure)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiter = { 0 };
    CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiter));
    shelf_fail(shelf, STATUS_OK);
    CHECK_INT(waiter.called, 1);
    CHECK(waiter.code != STATUS_OK);
    shelf_free(shelf);
}

TEST(reads_beyond_the_cold_budget_wait_their_turn_first_come_first)
{
    Shelf *shelf = shelf_new(10000, 2 * BLOCK);
    Waiter waiters[5] = { { 0 } };
    for (int i = 0; i < 5; i++) {
        CHECK(cache_want(shelf->cache, &object_one, (uint64_t)i, waiter_ready, &waiters[i]));
    }
    CHECK_INT(shelf->count, 2);
    CHECK(cache_is_waiting(shelf->cache));
    for (int i = 0; i < 3; i++) {
        shelf_answer(shelf, BLOCK);
        CHECK_INT(waiters[i].called, 1);
        CHECK_INT(shelf->count, 2);
        CHECK_INT(shelf->gets[1].start, (i + 2) * BLOCK);
    }
    CHECK(!cache_is_waiting(shelf->cache));
    shelf_free(shelf);
}

TEST(one_read_goes_on_however_small_the_cold_budget_is)
{
    Shelf *shelf = shelf_new(10000, 1);
    Waiter waiters[2] = { { 0 } };
    CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiters[0]));
    CHECK(cache_want(shelf->cache, &object_one, 1, waiter_ready, &waiters[1]));
    CHECK_INT(shelf->count, 1);
    shelf_answer(shelf, BLOCK);
    CHECK_INT(shelf->count, 1);
    shelf_answer(shelf, BLOCK);
    CHECK_INT(waiters[1].called, 1);
    shelf_free(shelf);
}

TEST(a_busy_store_is_asked_again_by_pumping)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiter = { 0 };
    shelf->busy = true;
    CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiter));
    CHECK(cache_is_waiting(shelf->cache));
    cache_pump(shelf->cache);
    CHECK(cache_is_waiting(shelf->cache));
    shelf->busy = false;
    cache_pump(shelf->cache);
    CHECK(!cache_is_waiting(shelf->cache));
    shelf_answer(shelf, BLOCK);
    CHECK_INT(waiter.called, 1);
    shelf_free(shelf);
}

TEST(the_least_recently_used_block_goes_first)
{
    Shelf *shelf = shelf_new(3 * BLOCK, 1000);
    for (uint64_t i = 0; i < 3; i++) {
        read_block(shelf, &object_one, i);
    }
    CHECK(cache_find(shelf->cache, 1, 0) != NULL); /* used again: 1 is the oldest now */
    read_block(shelf, &object_two, 0);
    CHECK(cache_find(shelf->cache, 1, 1) == NULL);
    CHECK(cache_find(shelf->cache, 1, 0) != NULL);
    CHECK(cache_find(shelf->cache, 1, 2) != NULL);
    CHECK(cache_find(shelf->cache, 2, 0) != NULL);
    shelf_free(shelf);
}

TEST(a_block_that_somebody_holds_is_not_evicted)
{
    Shelf *shelf = shelf_new(BLOCK, 1000);
    read_block(shelf, &object_one, 1);
    Block *held = block_hold(cache_find(shelf->cache, 1, 1));
    read_block(shelf, &object_two, 0);
    read_block(shelf, &object_two, 1);
    CHECK(cache_find(shelf->cache, 1, 1) == held);
    CHECK(cache_find(shelf->cache, 2, 0) == NULL);
    block_release(held);
    read_block(shelf, &object_two, 2);
    CHECK(cache_find(shelf->cache, 1, 1) == NULL);
    shelf_free(shelf);
}

TEST(reading_ahead_does_nothing_when_the_block_is_there_or_others_wait)
{
    Shelf *shelf = shelf_new(1000, BLOCK);
    Waiter waiter = { 0 };
    read_block(shelf, &object_one, 0);
    CHECK(cache_want(shelf->cache, &object_one, 0, NULL, NULL));
    CHECK_INT(shelf->count, 0);
    CHECK(cache_want(shelf->cache, &object_one, 1, NULL, NULL));
    CHECK_INT(shelf->count, 1);
    CHECK(cache_want(shelf->cache, &object_one, 1, NULL, NULL));
    CHECK(cache_want(shelf->cache, &object_one, 2, waiter_ready, &waiter));
    CHECK(cache_want(shelf->cache, &object_one, 3, NULL, NULL)); /* 2 waits: no reading ahead */
    shelf_answer(shelf, BLOCK);
    shelf_answer(shelf, BLOCK);
    CHECK_INT(waiter.called, 1);
    CHECK_INT(shelf->count, 0);
    CHECK(cache_find(shelf->cache, 1, 1) != NULL);
    CHECK(cache_find(shelf->cache, 1, 3) == NULL);
    shelf_free(shelf);
}

TEST(who_needs_a_block_that_is_being_read_ahead_waits_for_that_read)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiter = { 0 };
    CHECK(cache_want(shelf->cache, &object_one, 1, NULL, NULL));
    CHECK(cache_want(shelf->cache, &object_one, 1, waiter_ready, &waiter));
    CHECK_INT(shelf->count, 1);
    shelf_answer(shelf, BLOCK);
    CHECK_INT(waiter.called, 1);
    shelf_free(shelf);
}

/* Asks for the next block from within the news of the last. */
typedef struct Chain {
    Shelf *shelf;
    uint64_t number;
} Chain;

static void chain_ready(void *argument, const Status *status, Block *block)
{
    Chain *chain = argument;
    (void)status;
    (void)block;
    if (++chain->number < 4 &&
        !cache_want(chain->shelf->cache, &object_one, chain->number, chain_ready, chain)) {
        abort();
    }
}

TEST(a_waiter_may_ask_for_more_from_within_the_answer)
{
    Shelf *shelf = shelf_new(BLOCK, BLOCK);
    Chain chain = { shelf, 0 };
    CHECK(cache_want(shelf->cache, &object_one, 0, chain_ready, &chain));
    while (shelf->count > 0) {
        if (chain.number == 2) {
            shelf_fail(shelf, STATUS_UNAVAILABLE);
        } else {
            shelf_answer(shelf, BLOCK);
        }
    }
    CHECK_INT(chain.number, 4);
    shelf_free(shelf);
}

TEST(a_cache_with_waiting_reads_is_freed_whole)
{
    Shelf *shelf = shelf_new(1000, 1000);
    Waiter waiter = { 0 };
    shelf->busy = true;
    CHECK(cache_want(shelf->cache, &object_one, 0, waiter_ready, &waiter));
    shelf_free(shelf);
    CHECK_INT(waiter.called, 0);
}

TEST(the_size_of_blocks_cannot_change_while_the_cache_lives)
{
    Shelf *shelf = shelf_new(1000, 1000);
    CacheOptions options = { 7, BLOCK, 1000 };
    cache_configure(shelf->cache, &options);
    CHECK_INT(cache_block_bytes(shelf->cache), BLOCK);
    read_block(shelf, &object_one, 0);
    read_block(shelf, &object_one, 1); /* the new bytes_max holds */
    CHECK(cache_find(shelf->cache, 1, 0) == NULL);
    shelf_free(shelf);
}

TEST(an_inline_segment_is_read_as_it_is_whatever_the_size_of_a_block)
{
    Shelf *shelf = shelf_new(10000, 1000);
    CacheObject segment = { .object_id = 5, .slot = 3, .key = "", .start = 150, .length = 470 };
    Waiter waiter = { 0 };
    uint64_t number = cache_block_number(shelf->cache, &segment, 600);
    CHECK_INT(cache_block_number(shelf->cache, &segment, 150), number);
    CHECK_INT(cache_block_start(shelf->cache, &segment, number), 150);
    CHECK(cache_want(shelf->cache, &segment, number, waiter_ready, &waiter));
    CHECK_INT(shelf->gets[0].start, 150);
    CHECK_INT(shelf->gets[0].length, 470);
    shelf_answer(shelf, 470);
    CHECK_INT(waiter.code, STATUS_OK);
    CHECK(cache_find(shelf->cache, 5, number) != NULL);
    shelf_free(shelf);
}

TEST(inline_segments_count_as_what_they_are_among_the_reads_under_way)
{
    Shelf *shelf = shelf_new(10000, 1000);
    for (uint64_t i = 0; i < 30; i++) {
        CacheObject segment = { .object_id = 5, .slot = 3, .key = "", .start = 100 * i, .length = 70 };
        CHECK(cache_want(shelf->cache, &segment, 100 * i, NULL, NULL));
    }
    CHECK_INT(shelf->count, 14); /* 980 of 1000 bytes */
    CHECK(cache_is_waiting(shelf->cache));
    shelf_answer(shelf, 70);
    CHECK_INT(shelf->count, 14);
    shelf_free(shelf);
}
