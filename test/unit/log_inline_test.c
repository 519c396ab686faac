/* log_inline_test.c: batches that go inline: when they do and when an object is taken instead, what a commit
 * carries, and partitions that others keep locked. */
#include "agent/metrics.h"
#include "test/unit/log_inline_fixture.h"
#include "test/unit/test.h"

TEST(a_small_batch_is_committed_at_once_and_nothing_is_put)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    append_and_tick(world, 3, &answer);
    CHECK_INT(world->put_count, 0);
    CHECK_INT(world->commit_count, 1);
    CHECK(world->commits[0].is_inline);
    CHECK_INT(world->commits[0].object_id, 5000);
    CHECK_INT(world->commits[0].byte_count, 100);
    world_accept_commit(world, 0, 7);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    CHECK_INT(answer.base_offset, 7);
    CHECK_INT(world_partition(world, 3)->high_watermark, 8);
    CHECK(tail_at(world_partition(world, 3), 0) != NULL);
    world_tick(world);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(what_comes_while_a_commit_is_under_way_goes_with_the_next_one)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer later[4];
    append_and_tick(world, 0, &first);
    for (int i = 0; i < 4; i++) {
        append_and_tick(world, i % 2, &later[i]);
    }
    CHECK_INT(world->commit_count, 1);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].count, 4);
    CHECK_INT(world->commits[0].object_id, 5001);
    world_free(world);
}

TEST(the_batches_of_a_partition_are_one_run_of_the_calls_bytes)
{
    World *world = world_inline(&inline_options);
    Answer answers[5];
    static const int32_t partitions[] = { 2, 1, 2, 1 };
    append_and_tick(world, 0, &answers[4]);
    for (int i = 0; i < 4; i++) {
        world_append(world, partitions[i], &(RawBatch){ .size = 100 + i, .fill = (uint8_t)i }, 1000,
                     &answers[i]);
    }
    world_accept_commit(world, 0, 0);
    world_tick(world);
    const PendingCommit *commit = &world->commits[0];
    CHECK_INT(commit->count, 4);
    int64_t start = 0;
    for (size_t i = 0; i < commit->count; i++) {
        CHECK_INT(commit->rows[i].partition, i < 2 ? 1 : 2);
        CHECK_INT(commit->rows[i].byte_start, start);
        start += commit->rows[i].byte_length;
    }
    CHECK_INT(commit->byte_count, start);
    CHECK_INT(commit->object_bytes, start);
    world_free(world);
}

TEST(a_retry_carries_its_own_bytes_under_the_first_calls_id_and_ordinals)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer answers[2];
    append_and_tick(world, 9, &first);
    world_append(world, 0, &(RawBatch){ .size = 120 }, 1000, &answers[0]);
    world_append(world, 1, &(RawBatch){ .size = 130 }, 1000, &answers[1]);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CommitRow second = world->commits[0].rows[1];
    CommitAnswer told[] = {
        { world->commits[0].rows[0].batch, COMMIT_COMMITTED, KAFKA_ERROR_NONE, 40, 0, 0 },
        { second.batch, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1, 0, 0 },
    };
    CHECK_INT(second.byte_start, 120);
    world_end_commit(world, 0, COMMIT_ANSWERED, told, 2);
    CHECK_INT(answers[0].base_offset, 40);
    world_pass(world, LOG_LOCKED_RETRY_MIN_MS);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].object_id, 5001);
    CHECK_INT(world->commits[0].rows[0].batch, second.batch);
    CHECK_INT(world->commits[0].rows[0].byte_start, 0);
    CHECK_INT(world->commits[0].byte_count, 130);
    world_accept_commit(world, 0, 3);
    CHECK_INT(answers[1].base_offset, 3);
    world_free(world);
}

TEST(an_answer_that_was_lost_is_asked_for_again_with_the_same_bytes)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    append_and_tick(world, 0, &answer);
    world_end_commit(world, 0, COMMIT_UNKNOWN, NULL, 0);
    CHECK_INT(answer.count, 0);
    world_pass(world, LOG_LOCKED_RETRY_MIN_MS);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].object_id, 5000);
    CHECK_INT(world->commits[0].byte_count, 100);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(a_topic_that_says_object_never_goes_inline)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    set_path(world, WRITE_OBJECT);
    append_and_tick(world, 0, &answer);
    world_pass(world, 10);
    CHECK_INT(world->put_count, 1);
    CHECK_INT(world->commit_count, 0);
    world_free(world);
}

TEST(a_batch_larger_than_an_inline_commit_may_be_goes_to_an_object)
{
    World *world = world_inline(&inline_options);
    Answer large;
    Answer small;
    uint64_t counted = metric_cells[METRIC_LOG_CHOICE_LARGE].count;
    world_append(world, 0, &(RawBatch){ .size = 501 }, 1000, &large);
    CHECK_INT(metric_cells[METRIC_LOG_CHOICE_LARGE].count - counted, 1);
    append_and_tick(world, 1, &small);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 1);
    world_pass(world, 10);
    CHECK_INT(world->put_count, 1);
    world_free(world);
}

TEST(when_much_is_pending_all_of_it_goes_to_an_object)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer answers[6];
    append_and_tick(world, 0, &first);
    for (int i = 0; i < 6; i++) {
        append_and_tick(world, 0, &answers[i]);
    }
    world_pass(world, 10);
    CHECK_INT(world->put_count, 1);
    CHECK(world->puts[0].bytes > 600);
    world_free(world);
}

TEST(a_batch_behind_one_that_is_in_an_object_waits_and_then_goes_inline)
{
    World *world = world_inline(&inline_options);
    Answer large;
    Answer behind;
    Answer free_one;
    world_append(world, 0, &(RawBatch){ .size = 600 }, 1000, &large);
    world_pass(world, 10);
    CHECK_INT(world->put_count, 1);
    world_append(world, 0, &plain, 1000, &behind);
    append_and_tick(world, 1, &free_one);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 1);
    world_accept_commit(world, 0, 0);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK(!world->commits[0].is_inline);
    world_accept_commit(world, 0, 0);
    CHECK_INT(large.count, 1);
    CHECK_INT(behind.count, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK(world->commits[0].is_inline);
    world_accept_commit(world, 0, 1);
    CHECK_INT(behind.base_offset, 1);
    world_free(world);
}

TEST(what_is_behind_objects_goes_to_an_object_when_it_is_much_and_others_stay_inline)
{
    World *world = world_inline(&inline_options);
    Answer large;
    Answer behind[6];
    Answer free_one;
    Answer busy;
    world_append(world, 0, &(RawBatch){ .size = 600 }, 1000, &large);
    world_pass(world, 10);
    append_and_tick(world, 5, &busy); /* one inline commit is under way */
    for (int i = 0; i < 5; i++) {
        world_append(world, 0, &plain, 1000, &behind[i]);
    }
    append_and_tick(world, 1, &free_one);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 1);
    world_pass(world, 50);
    CHECK_INT(world->put_count, 2);
    world_free(world);
}

TEST(slow_commits_send_what_follows_to_objects_until_they_are_fast_again)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer second;
    Answer third;
    append_and_tick(world, 0, &first);
    world_pass(world, 200); /* a fifth of it is twice what is allowed */
    world_accept_commit(world, 0, 0);
    world_tick(world);
    append_and_tick(world, 1, &second);
    CHECK_INT(world->commit_count, 0);
    world_pass(world, 10);
    CHECK_INT(world->put_count, 1);
    for (int i = 0; i < 4; i++) { /* an object's commits are commits too */
        Answer answer;
        set_path(world, WRITE_OBJECT);
        world_append_alone(world, 2, &plain, 1000, &answer);
        world_end_put(world, world->put_count - 1, true);
        world_tick(world);
        world_accept_commit(world, 0, i);
        world_tick(world);
    }
    set_path(world, WRITE_AUTO);
    append_and_tick(world, 3, &third);
    CHECK_INT(world->commit_count, 1);
    CHECK(world->commits[0].is_inline);
    world_free(world);
}

TEST(more_bytes_a_second_than_allowed_go_to_objects_until_time_has_passed)
{
    LogOptions options = inline_options;
    options.inline_rate_bytes = 250;
    World *world = world_inline(&options);
    Answer answers[5];
    for (int i = 0; i < 3; i++) {
        append_and_tick(world, 0, &answers[i]);
        CHECK_INT(world->commit_count, 1);
        world_accept_commit(world, 0, i);
        world_tick(world);
    }
    append_and_tick(world, 1, &answers[3]);
    CHECK_INT(world->commit_count, 0);
    world_pass(world, 500);
    CHECK_INT(world->put_count, 1);
    append_and_tick(world, 2, &answers[4]);
    CHECK_INT(world->commit_count, 1);
    world_free(world);
}

TEST(a_backlog_in_postgresql_sends_batches_to_objects)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer second;
    log_set_inline_backlog(world->log, 5001);
    append_and_tick(world, 0, &first);
    CHECK_INT(world->commit_count, 0);
    log_set_inline_backlog(world->log, 5000);
    append_and_tick(world, 1, &second);
    CHECK_INT(world->commit_count, 1);
    world_free(world);
}

TEST(a_topic_that_says_inline_stays_inline_whatever_the_choice_would_be)
{
    LogOptions options = inline_options;
    options.inline_rate_bytes = 1;
    World *world = world_inline(&options);
    Answer answers[10];
    set_path(world, WRITE_INLINE);
    log_set_inline_backlog(world->log, 1 << 30);
    append_and_tick(world, 0, &answers[0]);
    world_pass(world, 500);
    for (int i = 1; i < 10; i++) {
        append_and_tick(world, 0, &answers[i]);
    }
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK(world->commits[0].is_inline);
    CHECK_INT(world->commits[0].count, 9);
    CHECK_INT(world->put_count, 0);
    world_free(world);
}

TEST(an_inline_commit_has_no_more_bytes_than_it_may)
{
    World *world = world_inline(&inline_options);
    Answer answers[6];
    set_path(world, WRITE_INLINE);
    append_and_tick(world, 9, &answers[5]);
    for (int i = 0; i < 5; i++) {
        world_append(world, i % 2, &(RawBatch){ .size = 1000 * 1000 }, 1000, &answers[i]);
    }
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commits[0].count, 4);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commits[0].count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 0);
    world_free(world);
}

TEST(batches_wait_for_ids_and_go_to_an_object_when_none_can_be_had_unless_they_must_be_inline)
{
    World *world = world_ready(&inline_options);
    Answer chosen;
    Answer pinned;
    CHECK(world->calls_asked);
    append_and_tick(world, 0, &chosen);
    set_path(world, WRITE_INLINE);
    append_and_tick(world, 1, &pinned);
    CHECK_INT(world->commit_count, 0);
    world_pass(world, 10);
    CHECK_INT(world->put_count, 0);
    world_give_calls(world, false);
    world_tick(world);
    CHECK(!world->calls_asked);
    CHECK_INT(world->put_count, 1);
    world_pass(world, LOG_RESERVE_RETRY_MS);
    CHECK(world->calls_asked);
    world_give_calls(world, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 1);
    world_free(world);
}

TEST(ids_are_asked_for_before_they_run_out)
{
    World *world = world_inline(&inline_options);
    int asked_at = -1;
    for (int i = 0; i < LOG_CALL_IDS && asked_at < 0; i++) {
        Answer answer;
        world_append(world, 0, &(RawBatch){ .size = 70 }, 1000, &answer);
        world_pass(world, 100);
        CHECK_INT(world->commits[0].object_id, 5000 + i);
        world_accept_commit(world, 0, i);
        world_pass(world, 10);
        CHECK_INT(answer.count, 1);
        asked_at = world->calls_asked ? i : -1;
    }
    CHECK(asked_at > 0 && asked_at < LOG_CALL_IDS - 100);
    world_give_calls(world, true);
    Answer answer;
    append_and_tick(world, 0, &answer);
    CHECK_INT(world->commits[0].object_id, 5000 + LOG_CALL_IDS);
    world_free(world);
}

TEST(when_postgresql_is_full_what_was_chosen_to_be_inline_becomes_an_object)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer second;
    Answer later;
    append_and_tick(world, 0, &first);
    append_and_tick(world, 1, &second);
    world_end_commit(world, 0, COMMIT_FULL, NULL, 0);
    CHECK_INT(first.count, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    CHECK_INT(world->put_count, 1);
    world_pass(world, 50);
    CHECK_INT(world->put_count, 2);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK(!world->commits[0].is_inline);
    world_accept_commit(world, 0, 0);
    CHECK_INT(first.error, KAFKA_ERROR_NONE);
    world_tick(world);
    world_pass(world, LOG_INLINE_FULL_MS);
    append_and_tick(world, 2, &later);
    CHECK(world->commits[0].is_inline);
    world_free(world);
}

TEST(when_postgresql_is_full_a_producer_to_a_topic_that_says_inline_is_told_to_try_again)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    set_path(world, WRITE_INLINE);
    append_and_tick(world, 0, &answer);
    world_end_commit(world, 0, COMMIT_FULL, NULL, 0);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    CHECK(kafka_error_is_retriable((int16_t)answer.error));
    world_free(world);
}

TEST(a_batch_that_an_earlier_call_may_have_committed_stays_where_its_answer_is_kept)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    append_and_tick(world, 0, &answer);
    world_end_commit(world, 0, COMMIT_UNKNOWN, NULL, 0);
    world_pass(world, 5);
    world_end_commit(world, 0, COMMIT_FULL, NULL, 0);
    world_pass(world, 60);
    CHECK_INT(world->put_count, 0);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].object_id, 5000);
    world_answer_commit(world, 0, COMMIT_COMMITTED, KAFKA_ERROR_NONE, 12);
    CHECK_INT(answer.base_offset, 12);
    world_free(world);
}

TEST(a_locked_partition_is_tried_a_few_times_and_then_waited_for_alone)
{
    World *world = world_inline(&inline_options);
    Answer answers[2];
    Answer behind;
    world_append(world, 0, &plain, 10000, &answers[0]);
    world_append(world, 1, &plain, 10000, &answers[1]);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    for (int i = 0; i < LOG_LOCKED_QUICK; i++) {
        world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
        CHECK_INT(world->commit_count, 2);
        for (int j = 0; j < 2; j++) {
            CHECK_INT(world->commits[0].count, 1);
            CHECK_INT(world->commits[0].wait_ms, 0);
            world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
        }
    }
    world_tick(world);
    CHECK_INT(world->commit_count, 2);
    CHECK_INT(world->commits[0].wait_ms, inline_options.contended_wait_ms);
    CHECK_INT(world->commits[1].wait_ms, inline_options.contended_wait_ms);
    append_and_tick(world, 2, &behind); /* nobody else is delayed */
    CHECK_INT(world->commit_count, 3);
    CHECK_INT(world->commits[2].wait_ms, 0);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answers[0].count, 1);
    world_free(world);
}

TEST(a_wait_in_vain_is_followed_by_another_until_the_producers_time_is_up)
{
    World *world = world_inline(&inline_options);
    Answer answer;
    world_append(world, 0, &plain, 1000, &answer);
    world_tick(world);
    for (int i = 0; i <= LOG_LOCKED_QUICK; i++) {
        world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
        world_tick(world);
        world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    }
    int waits = 0;
    while (answer.count == 0 && waits < 20) {
        int wait_ms = world->commits[0].wait_ms;
        CHECK(wait_ms > 0 && world->now_ms + wait_ms <= WORLD_START_MS + 1000);
        world_pass(world, wait_ms);
        CHECK_INT(answer.count, world->now_ms >= WORLD_START_MS + 1000);
        world_end_commit(world, 0, COMMIT_BUSY, NULL, 0);
        world_tick(world);
        waits++;
    }
    CHECK(waits >= 3);
    CHECK_INT(answer.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_free(world);
}

TEST(a_partition_that_was_contended_lately_is_waited_for_at_the_first_sign)
{
    World *world = world_inline(&inline_options);
    Answer first;
    Answer second;
    append_and_tick(world, 0, &first);
    for (int i = 0; i <= LOG_LOCKED_QUICK; i++) {
        world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
        world_tick(world);
        world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    }
    CHECK(world->commits[0].wait_ms > 0);
    world_accept_commit(world, 0, 0);
    append_and_tick(world, 0, &second);
    CHECK_INT(world->commits[0].wait_ms, 0);
    world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    world_tick(world);
    CHECK(world->commits[0].wait_ms > 0);
    world_free(world);
}

TEST(batches_that_expire_while_they_gather_are_forgotten)
{
    World *world = world_inline(&inline_options);
    Answer large;
    Answer behind;
    world_append(world, 0, &(RawBatch){ .size = 600 }, 5000, &large);
    world_pass(world, 10);
    world_append(world, 0, &plain, 100, &behind);
    world_pass(world, 100);
    CHECK_INT(behind.count, 1);
    CHECK_INT(behind.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(the_path_that_counts_is_the_one_when_a_batch_came)
{
    World *world = world_inline(&inline_options);
    Answer object;
    Answer later;
    set_path(world, WRITE_OBJECT);
    world_append(world, 0, &plain, 1000, &object);
    set_path(world, WRITE_INLINE);
    append_and_tick(world, 0, &later);
    CHECK_INT(world->commit_count, 0);
    world_pass(world, 10);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK(!world->commits[0].is_inline);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    CHECK(world->commits[0].is_inline);
    world_accept_commit(world, 0, 1);
    CHECK_INT(object.base_offset, 0);
    CHECK_INT(later.base_offset, 1);
    world_free(world);
}
