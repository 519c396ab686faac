/* log_inline_late_test.c: inline commits that are answered late or never, partitions that stay locked, and
 * when the brain may forget its answers. */
#include "test/unit/log_inline_fixture.h"
#include "test/unit/test.h"

/* One batch after the other, each answered before the next one comes, until ids are asked for. */
static void use_calls_up(World *world)
{
    for (int i = 0; i < LOG_CALL_IDS && !world->calls_asked; i++) {
        Answer answer;
        world_append(world, 9, &(RawBatch){ .size = 70 }, 1000, &answer);
        world_pass(world, 100);
        CHECK_INT(world->commit_count, 1);
        CHECK(world->commits[0].is_inline);
        world_accept_commit(world, 0, i);
        world_pass(world, 10);
    }
    CHECK(world->calls_asked);
}

TEST(answers_are_forgotten_when_each_call_of_a_used_up_block_had_its_own_at_once)
{
    World *world = world_inline(&inline_options);
    use_calls_up(world);
    CHECK_INT(world->forgotten, 0);
    world_give_calls(world, true);
    CHECK_INT(world->forgotten, 1);
    CHECK_INT(world->forgotten_first, 5000);
    use_calls_up(world);
    world_give_calls(world, true);
    CHECK_INT(world->forgotten, 2);
    CHECK_INT(world->forgotten_first, 5000 + LOG_CALL_IDS);
    world_free(world);
}

TEST(answers_are_forgotten_only_when_the_last_call_of_the_block_has_its_own)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    use_calls_up(world);
    world_append(world, 1, &plain, 1000, &answer);
    world_pass(world, 1);
    world_give_calls(world, true);
    world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    world_pass(world, LOG_LOCKED_RETRY_MIN_MS);
    CHECK_INT(world->forgotten, 0);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->forgotten, 1);
    world_free(world);
}

TEST(a_call_that_was_in_doubt_keeps_the_answers_of_its_block)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    append_and_tick(world, 0, &answer);
    world_end_commit(world, 0, COMMIT_UNKNOWN, NULL, 0);
    world_pass(world, LOG_LOCKED_RETRY_MIN_MS);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    world_tick(world);
    use_calls_up(world);
    world_give_calls(world, true);
    CHECK_INT(world->forgotten, 0);
    use_calls_up(world);
    world_give_calls(world, true);
    CHECK_INT(world->forgotten, 1);
    CHECK_INT(world->forgotten_first, 5000 + LOG_CALL_IDS);
    world_free(world);
}

TEST(a_block_is_kept_when_a_batch_expired_in_doubt)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    world_append(world, 0, &plain, 5, &answer);
    world_tick(world);
    world_pass(world, 4);
    world_end_commit(world, 0, COMMIT_UNKNOWN, NULL, 0);
    world_pass(world, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    use_calls_up(world);
    world_give_calls(world, true);
    CHECK_INT(world->forgotten, 0);
    world_free(world);
}

TEST(what_waits_behind_a_locked_partition_keeps_no_other_partition_waiting)
{
    World *world = world_inline(&inline_options);
    Answer locked[6];
    Answer free_one;
    set_path(world, WRITE_INLINE);
    append_and_tick(world, 0, &locked[0]);
    for (int i = 0; i <= LOG_LOCKED_QUICK; i++) {
        world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
        world_tick(world);
        world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    }
    CHECK(world->commits[0].wait_ms > 0);
    for (int i = 1; i < 6; i++) {
        world_append(world, 0, &(RawBatch){ .size = 1000 * 1000 }, 1000, &locked[i]);
    }
    append_and_tick(world, 1, &free_one);
    CHECK_INT(world->commit_count, 2);
    CHECK_INT(world->commits[1].count, 1);
    CHECK_INT(world->commits[1].rows[0].partition, 1);
    world_free(world);
}

/* Its producer has been told to try again when the brain says that the partition is locked, or says nothing.
 */
static World *world_late(const RawBatch *batch, CommitOutcome outcome, Answer *answer)
{
    World *world = world_inline(&inline_options);
    world_append(world, 0, batch, 50, answer);
    world_tick(world);
    world_pass(world, 50);
    if (outcome == COMMIT_ANSWERED) {
        world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    } else {
        world_end_commit(world, 0, outcome, NULL, 0);
    }
    world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    return world;
}

TEST(a_batch_whose_producer_gave_it_up_is_not_committed_beside_its_second_try)
{
    static const CommitOutcome outcomes[] = { COMMIT_ANSWERED, COMMIT_BUSY, COMMIT_FAILED, COMMIT_UNKNOWN };
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        Answer answer;
        World *world = world_late(&plain, outcomes[i], &answer);
        CHECK_INT(world->commit_count, 0);
        CHECK_INT(answer.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
        CHECK_INT(answer.count, 1);
        CHECK(log_is_idle(world->log));
        world_free(world);
    }
}

TEST(a_late_batch_of_an_idempotent_producer_keeps_its_place_as_its_second_try_is_known)
{
    Answer answer;
    World *world = world_late(&(RawBatch){ .size = 100, .producer_id = 7 }, COMMIT_UNKNOWN, &answer);
    CHECK_INT(world->commit_count, 1);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answer.count, 1);
    world_free(world);
}
