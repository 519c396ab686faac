/* log_reroute_test.c: a store that is slow or fails: batches go inline instead, slow PUTs are written twice,
 * and it is noticed when the store is well again. */
#include "test/unit/log_inline_fixture.h"
#include "test/unit/test.h"

static void *stopped;

static void note_stop(void *context, void *argument)
{
    (void)context;
    stopped = argument;
}

/* Only object topics and large batches go to objects; a PUT is slow after 100 ms, hedged after 40. */
static World *world_ill_able(int64_t hedge_ms)
{
    LogOptions options = inline_options;
    options.store_slow_ms = 100;
    options.put_hedge_ms = hedge_ms;
    World *world = world_new(&options);
    LogBackend backend = world_backend(world);
    backend.put_stop = note_stop;
    log_free(world->log);
    world->log = log_new(&options, &backend);
    stopped = NULL;
    world_tick(world);
    world_give_intents(world, 32);
    world_give_calls(world, true);
    world_tick(world);
    return world;
}

static const RawBatch large = { .size = 700 };

TEST(a_batch_whose_put_is_too_slow_goes_inline)
{
    World *world = world_ill_able(0);
    Answer answer;
    world_append_alone(world, 0, &large, 5000, &answer);
    CHECK_INT(world->put_count, 1);
    CHECK_INT(world->commit_count, 0);
    world_pass(world, 101);
    CHECK(log_store_is_ill(world->log));
    CHECK(stopped == world->puts[0].argument);
    CHECK_INT(world->commit_count, 0); /* its bytes are still the store's */
    world_end_put_with(world, 0, status_error(STATUS_CANCELLED, "cancelled"));
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK(world->commits[0].is_inline);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(a_put_that_ends_well_after_it_was_told_to_stop_is_committed_once)
{
    World *world = world_ill_able(0);
    Answer answer;
    world_append_alone(world, 0, &large, 5000, &answer);
    world_pass(world, 101);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK(!world->commits[0].is_inline);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    CHECK_INT(answer.count, 1);
    world_free(world);
}

TEST(a_topic_that_says_object_waits_for_the_store)
{
    World *world = world_ill_able(0);
    Answer answer;
    set_path(world, WRITE_OBJECT);
    world_append_alone(world, 0, &large, 5000, &answer);
    world_pass(world, 101);
    CHECK(log_store_is_ill(world->log));
    CHECK(stopped == NULL);
    CHECK_INT(world->commit_count, 0);
    world_free(world);
}

TEST(an_ill_store_is_probed_and_well_after_three_quick_answers)
{
    World *world = world_ill_able(0);
    Answer answer;
    set_path(world, WRITE_OBJECT);
    world_append_alone(world, 0, &large, 5000, &answer);
    world_pass(world, 101);
    world_end_put(world, 0, true); /* late, which does not count */
    world_tick(world);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    for (int i = 0; i < 3; i++) {
        CHECK(log_store_is_ill(world->log));
        world_pass(world, 5001);
        CHECK_INT(world->put_count, 1);
        world_end_put(world, 0, true);
        world_tick(world);
        CHECK_INT(world->commit_count, 0); /* a probe is no object */
    }
    world_pass(world, 1);
    CHECK(!log_store_is_ill(world->log));
    world_free(world);
}

TEST(a_slow_put_is_written_twice_and_the_first_to_end_counts)
{
    World *world = world_ill_able(40);
    Answer answer;
    world_append_alone(world, 0, &large, 5000, &answer);
    world_pass(world, 41);
    CHECK_INT(world->put_count, 2);
    CHECK(strcmp(world->puts[0].key, world->puts[1].key) != 0);
    CHECK_INT(world->puts[0].bytes, world->puts[1].bytes);
    void *first = world->puts[0].argument;
    int64_t second_id = strtoll(world->puts[1].key + 2, NULL, 10);
    world_end_put(world, 1, true);
    CHECK(stopped == first);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].object_id, second_id);
    world_accept_commit(world, 0, 0);
    world_end_put(world, 0, true); /* came all the same: it is nobody's */
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    CHECK_INT(answer.count, 1);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(a_hedge_that_fails_leaves_the_first_put_alone)
{
    World *world = world_ill_able(40);
    Answer answer;
    world_append_alone(world, 0, &large, 5000, &answer);
    world_pass(world, 41);
    world_end_put_with(world, 1, status_error(STATUS_UNAVAILABLE, "refused"));
    CHECK_INT(answer.count, 0);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    world_free(world);
}
