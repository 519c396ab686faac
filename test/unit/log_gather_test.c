/* log_gather_test.c: when the log seals an object, by bytes, by age, by idleness, by hand; and what it keeps
 * in memory. */
#include "test/unit/log_fixture.h"
#include "test/unit/test.h"

static const RawBatch plain = { .size = 100 };

TEST(an_upload_is_sealed_when_it_has_enough_bytes)
{
    World *world = world_ready(&world_options);
    Answer answers[10];
    for (int i = 0; i < 9; i++) {
        world_append(world, 0, &plain, 1000, &answers[i]);
    }
    world_tick(world);
    CHECK_INT(world->put_count, 0);
    world_append(world, 0, &plain, 1000, &answers[9]);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    CHECK(world->puts[0].bytes > 1000);
    world_free(world);
}

TEST(a_batch_larger_than_an_object_should_be_travels_alone)
{
    World *world = world_ready(&world_options);
    Answer large;
    Answer next;
    world_append(world, 0, &(RawBatch){ .size = 5000 }, 1000, &large);
    world_append(world, 0, &plain, 1000, &next);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    CHECK(world->puts[0].bytes > 5000);
    world_free(world);
}

TEST(while_a_put_runs_an_upload_is_sealed_when_linger_expires_and_not_before)
{
    World *world = world_ready(&world_options);
    Answer first;
    Answer second;
    world_append_alone(world, 0, &plain, 1000, &first);
    CHECK_INT(world->put_count, 1);
    world_append(world, 0, &plain, 1000, &second);
    world_tick(world);
    CHECK_INT(world->due_ms, world_options.linger_ms);
    world_pass(world, world_options.linger_ms - 1);
    CHECK_INT(world->put_count, 1);
    CHECK_INT(world->due_ms, 1);
    world_pass(world, 1);
    CHECK_INT(world->put_count, 2);
    world_free(world);
}

TEST(with_no_put_under_way_an_upload_is_sealed_when_nothing_came_for_a_while)
{
    World *world = world_ready(&world_options);
    Answer first;
    Answer second;
    world_append(world, 0, &plain, 1000, &first);
    world_pass(world, 8);
    CHECK_INT(world->due_ms, 2);
    world_append(world, 0, &plain, 1000, &second); /* company: the wait begins anew */
    world_pass(world, 9);
    CHECK_INT(world->put_count, 0);
    world_pass(world, 1);
    CHECK_INT(world->put_count, 1);
    world_free(world);
}

TEST(an_upload_that_gets_batches_all_the_time_is_sealed_by_its_age)
{
    World *world = world_ready(&world_options);
    Answer answers[8];
    for (int i = 0; i < 6; i++) {
        world_append(world, 0, &(RawBatch){ .size = 70 }, 1000, &answers[i]);
        CHECK_INT(world->put_count, 0);
        world_pass(world, 9);
    }
    CHECK_INT(world->put_count, 1);
    world_free(world);
}

TEST(the_end_of_a_put_seals_what_has_waited_long_enough_meanwhile)
{
    World *world = world_ready(&world_options);
    Answer first;
    Answer second;
    world_append_alone(world, 0, &plain, 1000, &first);
    world_append(world, 1, &plain, 1000, &second);
    world_pass(world, 20);
    CHECK_INT(world->put_count, 1);
    int woken = world->woken;
    world_end_put(world, 0, true);
    CHECK(world->woken > woken);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    CHECK_INT(world->commit_count, 1);
    world_free(world);
}

TEST(flushing_seals_at_once_and_draining_ends_when_all_is_answered)
{
    World *world = world_ready(&world_options);
    Answer answer;
    CHECK(log_is_idle(world->log));
    world_append(world, 0, &plain, 1000, &answer);
    CHECK(!log_is_idle(world->log));
    log_flush(world->log);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK(!log_is_idle(world->log));
    world_accept_commit(world, 0, 0);
    CHECK(log_is_idle(world->log));
    CHECK_INT(answer.count, 1);
    world_free(world);
}

TEST(nothing_is_due_when_there_is_nothing)
{
    World *world = world_ready(&world_options);
    world_tick(world);
    CHECK_INT(world->due_ms, LOG_NEVER_MS);
    Answer answer;
    world_append_alone(world, 0, &plain, 1000, &answer);
    world_end_put(world, 0, true);
    world_tick(world);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->due_ms, LOG_NEVER_MS);
    world_free(world);
}

TEST(an_object_takes_only_so_many_batches)
{
    LogOptions options = world_options;
    options.flush_bytes = 1 << 30;
    World *world = world_ready(&options);
    Answer *answers = calloc(LOG_UPLOAD_BATCHES_MAX + 1, sizeof(Answer));
    for (int i = 0; i <= LOG_UPLOAD_BATCHES_MAX; i++) {
        world_append(world, i % WORLD_PARTITIONS, &(RawBatch){ .size = 61 }, 1000, &answers[i]);
    }
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    log_flush(world->log);
    world_tick(world);
    CHECK_INT(world->put_count, 2);
    world_free(world);
    free(answers);
}

static int released;

static void count_release(Block *block, void *context)
{
    (void)block;
    (void)context;
    released++;
}

static void append_watched(World *world, int64_t timeout_ms, Answer *answer)
{
    Block *frame = raw_batch_block(&plain);
    LogAppend append = {
        .partition = world_partition(world, 0),
        .frame = frame,
        .bytes = frame->bytes,
        .size = (int32_t)frame->size,
        .header = raw_batch_header(frame),
        .deadline_ms = world->now_ms + timeout_ms,
    };
    frame->released = count_release;
    *answer = (Answer){ 0 };
    if (!log_append(world->log, &append, world->now_ms, world_answered, answer)) {
        abort();
    }
    block_release(frame);
}

TEST(a_batch_that_expires_before_its_object_is_made_keeps_no_memory)
{
    World *world = world_new(&world_options);
    Answer late;
    Answer patient;
    released = 0;
    append_watched(world, 100, &late);
    append_watched(world, 100000, &patient);
    log_flush(world->log); /* sealed, but there are no intents */
    world_pass(world, 99);
    CHECK_INT(late.count, 0);
    world_pass(world, 1);
    CHECK_INT(late.count, 1);
    CHECK_INT(late.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK_INT(released, 1);
    world_give_intents(world, 8);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commits[0].count, 1);
    world_accept_commit(world, 0, 40);
    CHECK_INT(patient.error, KAFKA_ERROR_NONE);
    CHECK_INT(patient.base_offset, 40);
    world_free(world);
    CHECK_INT(released, 2);
}

TEST(a_log_that_is_freed_answers_what_it_still_has)
{
    World *world = world_ready(&world_options);
    Answer gathered;
    Answer stored;
    world_append_alone(world, 0, &plain, 1000, &stored);
    world_end_put(world, 0, true);
    world_append(world, 0, &plain, 1000, &gathered);
    world_free(world);
    CHECK_INT(stored.count, 1);
    CHECK_INT(stored.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK_INT(gathered.count, 1);
    CHECK_INT(gathered.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
}

TEST(new_options_count_from_the_next_tick_on)
{
    World *world = world_ready(&world_options);
    LogOptions options = world_options;
    Answer answer;
    options.idle_flush_ms = 3;
    world_append(world, 0, &plain, 1000, &answer);
    log_configure(world->log, &options);
    world_pass(world, 3);
    CHECK_INT(world->put_count, 1);
    world_free(world);
}
