/* log_upload_test.c: intents and PUTs: how keys are got, used once and dropped when old; a store that is
 * busy, slow or failing. */
#include "test/unit/log_fixture.h"
#include "test/unit/test.h"

static const RawBatch plain = { .size = 100 };

TEST(intents_are_reserved_before_they_are_needed)
{
    World *world = world_new(&world_options);
    world_tick(world);
    CHECK_INT(world->reserve_count, 1);
    world_tick(world);
    CHECK_INT(world->reserve_count, 1); /* one reservation at a time */
    world_give_intents(world, 32);
    world_tick(world);
    CHECK_INT(world->reserve_count, 0);
    world_free(world);
}

TEST(intents_are_asked_for_again_when_few_are_left)
{
    World *world = world_new(&world_options);
    Answer answers[2];
    world_tick(world);
    world_give_intents(world, 9);
    world_append_alone(world, 0, &plain, 1000, &answers[0]);
    CHECK_INT(world->reserve_count, 0); /* eight are left, which is enough */
    world_append_alone(world, 1, &plain, 1000, &answers[1]);
    world_tick(world);
    CHECK_INT(world->reserve_count, 1);
    world_free(world);
}

TEST(no_key_is_used_twice)
{
    World *world = world_new(&world_options);
    LogOptions options = world_options;
    Answer answers[100];
    options.put_parallel_max = 100;
    log_configure(world->log, &options);
    for (int i = 0; i < 100; i++) {
        world_append_alone(world, i % WORLD_PARTITIONS, &plain, 1000, &answers[i]);
        if (world->reserve_count > 0) {
            world_give_intents(world, (size_t)world->reserves[0].count);
            world_tick(world);
        }
    }
    world_tick(world);
    CHECK_INT(world->put_count, 100);
    for (size_t i = 0; i < world->put_count; i++) {
        for (size_t j = 0; j < i; j++) {
            CHECK(strcmp(world->puts[i].key, world->puts[j].key) != 0);
        }
    }
    world_free(world);
}

TEST(an_old_intent_is_not_used)
{
    World *world = world_new(&world_options);
    Answer answer;
    world_tick(world);
    world_give_intents(world, 32); /* ids 1 to 32 */
    world->now_ms += world_options.intent_fresh_ms + 1;
    world_append_alone(world, 0, &plain, 1000, &answer);
    CHECK_INT(world->put_count, 0);
    CHECK_INT(world->reserve_count, 1);
    world_give_intents(world, 1);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    CHECK_STR(world->puts[0].key, "o/33");
    world_free(world);
}

TEST(a_pool_that_is_larger_than_can_be_kept_is_not_asked_for_for_ever)
{
    LogOptions options = world_options;
    options.intents_min = 10000;
    World *world = world_new(&options);
    int reservations = 0;
    for (world_tick(world); world->reserve_count > 0 && reservations < 100; world_tick(world)) {
        world_give_intents(world, (size_t)world->reserves[0].count);
        reservations++;
    }
    CHECK(reservations > 0 && reservations < 4);
    world_free(world);
}

TEST(a_failed_reservation_is_repeated_after_a_pause)
{
    World *world = world_new(&world_options);
    Answer answer;
    world_append_alone(world, 0, &plain, 10000, &answer);
    world_give_intents(world, 0);
    world_tick(world);
    CHECK_INT(world->reserve_count, 0);
    CHECK_INT(world->due_ms, LOG_RESERVE_RETRY_MS);
    world_pass(world, LOG_RESERVE_RETRY_MS);
    CHECK_INT(world->reserve_count, 1);
    world_give_intents(world, 1);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    world_free(world);
}

TEST(only_so_many_puts_run_at_a_time_and_the_oldest_upload_is_next)
{
    World *world = world_ready(&world_options);
    Answer answers[6];
    for (int i = 0; i < 6; i++) {
        world_append_alone(world, i, &(RawBatch){ .size = 100 + i }, 1000, &answers[i]);
    }
    CHECK_INT(world->put_count, 4);
    size_t newest = world->puts[3].bytes;
    world_end_put(world, 2, true);
    world_tick(world);
    CHECK_INT(world->put_count, 4);
    CHECK_INT(world->puts[3].bytes, newest + 1);
    world_free(world);
}

TEST(a_busy_store_is_tried_again_soon)
{
    World *world = world_ready(&world_options);
    Answer answer;
    world->store_busy = true;
    world_append_alone(world, 0, &plain, 1000, &answer);
    CHECK_INT(world->put_count, 0);
    CHECK_INT(world->due_ms, LOG_STORE_BUSY_RETRY_MS);
    world_pass(world, LOG_STORE_BUSY_RETRY_MS);
    world->store_busy = false;
    world_pass(world, LOG_STORE_BUSY_RETRY_MS);
    CHECK_INT(world->put_count, 1);
    CHECK_STR(world->puts[0].key, "o/32"); /* the key it was laid out for */
    world_free(world);
}

TEST(a_busy_store_does_not_outlive_the_batches)
{
    World *world = world_ready(&world_options);
    Answer answer;
    world->store_busy = true;
    world_append_alone(world, 0, &plain, 100, &answer);
    world_pass(world, 100);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK(log_is_idle(world->log));
    world_tick(world);
    CHECK_INT(world->due_ms, LOG_NEVER_MS);
    world_free(world);
}

TEST(a_put_is_tried_as_long_as_its_most_patient_batch_waits_but_not_longer_than_allowed)
{
    World *world = world_ready(&world_options);
    Answer answers[3];
    world_append(world, 0, &plain, 500, &answers[0]);
    world_append(world, 1, &plain, 3000, &answers[1]);
    log_flush(world->log);
    world_tick(world);
    CHECK_INT(world->puts[0].deadline_ms, 3000);
    world_append_alone(world, 2, &plain, 600000, &answers[2]);
    CHECK_INT(world->puts[1].deadline_ms, world_options.put_timeout_ms);
    world_free(world);
}

TEST(a_failed_put_fails_its_batches_retriably_and_nothing_is_committed)
{
    World *world = world_ready(&world_options);
    Answer answers[2];
    world_append(world, 0, &plain, 1000, &answers[0]);
    world_append(world, 1, &plain, 1000, &answers[1]);
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, false);
    world_tick(world);
    for (int i = 0; i < 2; i++) {
        CHECK_INT(answers[i].count, 1);
        CHECK_INT(answers[i].error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    }
    CHECK_INT(world->commit_count, 0);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(a_put_that_a_store_refuses_for_now_is_made_again_under_another_key)
{
    World *world = world_ready(&world_options);
    Answer answer;
    char first_key[sizeof(world->puts[0].key)];
    world_append(world, 0, &plain, 1000, &answer);
    log_flush(world->log);
    world_tick(world);
    snprintf(first_key, sizeof(first_key), "%s", world->puts[0].key);
    world_end_put_with(world, 0, status_error(STATUS_DENIED, "no rights yet"));
    world_tick(world);
    CHECK_INT(world->put_count, 0);
    CHECK_INT(answer.count, 0);
    world_pass(world, LOG_PUT_RETRY_MIN_MS);
    CHECK_INT(world->put_count, 1);
    CHECK(strcmp(world->puts[0].key, first_key) != 0);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    world_free(world);
}

TEST(a_put_is_not_made_again_when_no_producer_would_wait_for_it)
{
    World *world = world_ready(&world_options);
    Answer answer;
    world_append(world, 0, &plain, LOG_PUT_RETRY_MIN_MS, &answer);
    log_flush(world->log);
    world_tick(world);
    world_end_put_with(world, 0, status_error(STATUS_UNAVAILABLE, "away"));
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    world_tick(world);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(batches_that_expired_before_the_put_are_not_in_the_object)
{
    World *world = world_new(&world_options);
    Answer late;
    Answer patient;
    world_append(world, 0, &(RawBatch){ .size = 900 }, 20, &late);
    world_append(world, 1, &plain, 1000, &patient);
    log_flush(world->log);
    world_pass(world, 20);
    CHECK_INT(late.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_give_intents(world, 1);
    world_tick(world);
    CHECK_INT(world->put_count, 1);
    CHECK(world->puts[0].bytes < 900);
    world_free(world);
}

TEST(an_upload_of_which_everything_expired_is_never_put)
{
    World *world = world_new(&world_options);
    Answer answer;
    world_append(world, 0, &plain, 20, &answer);
    log_flush(world->log);
    world_pass(world, 20);
    world_give_intents(world, 1);
    world_tick(world);
    CHECK_INT(answer.count, 1);
    CHECK_INT(world->put_count, 0);
    world_free(world);
}

TEST(batches_that_expire_during_the_put_are_answered_and_not_committed)
{
    World *world = world_ready(&world_options);
    Answer answer;
    world_append_alone(world, 0, &plain, 30, &answer);
    CHECK_INT(world->due_ms, 30);
    world_pass(world, 30);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(each_deadline_of_an_upload_is_kept_to_the_millisecond)
{
    World *world = world_ready(&world_options);
    Answer answers[3];
    static const int64_t timeouts_ms[] = { 300, 40, 170 };
    for (int i = 0; i < 3; i++) {
        world_append(world, i, &plain, timeouts_ms[i], &answers[i]);
    }
    log_flush(world->log);
    world_tick(world);
    CHECK_INT(world->due_ms, 40);
    world_pass(world, 40);
    CHECK_INT(answers[1].count, 1);
    CHECK_INT(world->due_ms, 130);
    world_pass(world, 130);
    CHECK_INT(answers[2].count, 1);
    CHECK_INT(world->due_ms, 130);
    world_free(world);
}
