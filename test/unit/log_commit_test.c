/* log_commit_test.c: commits: what a call carries, and what each answer of the brain leads to. */
#include "test/unit/log_fixture.h"
#include "test/unit/test.h"

static const RawBatch plain = { .size = 100, .records = 3 };

/* One batch, stored, its commit asked for. */
static World *world_committing(Answer *answer, int64_t timeout_ms)
{
    World *world = world_ready(&world_options);
    world_append_alone(world, 0, &plain, timeout_ms, answer);
    world_end_put(world, 0, true);
    world_tick(world);
    return world;
}

TEST(a_commit_says_what_the_brain_needs_to_know_of_each_batch)
{
    World *world = world_ready(&world_options);
    Answer answers[2];
    world_partition(world, 3)->epoch = 9;
    world_append(world, 3,
                 &(RawBatch){ .producer_id = 77, .epoch = 2, .sequence = 40, .records = 5, .size = 200 },
                 1000, &answers[0]);
    world_append(world, 1, &plain, 1000, &answers[1]);
    log_flush(world->log);
    world_tick(world);
    int64_t bytes = (int64_t)world->puts[0].bytes;
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    const PendingCommit *commit = &world->commits[0];
    CHECK_INT(commit->object_id, 32);
    CHECK_INT(commit->object_bytes, bytes);
    CHECK_INT(commit->count, 2);
    CHECK_INT(commit->rows[0].partition, 1);
    CHECK_INT(commit->rows[0].producer_id, -1);
    const CommitRow *row = &commit->rows[1];
    CHECK_INT(row->batch, 1);
    CHECK_INT(row->topic_id, 5);
    CHECK_INT(row->partition, 3);
    CHECK_INT(row->lease_epoch, 9);
    CHECK_INT(row->byte_start, OBJECT_HEADER_SIZE + 100);
    CHECK_INT(row->byte_length, 200);
    CHECK_INT(row->offset_count, 5);
    CHECK_INT(row->producer_id, 77);
    CHECK_INT(row->producer_epoch, 2);
    CHECK_INT(row->first_sequence, 40);
    world_free(world);
}

TEST(a_batch_is_accepted_under_the_epoch_of_its_time)
{
    World *world = world_ready(&world_options);
    Answer answer;
    world_partition(world, 0)->epoch = 4;
    world_append(world, 0, &plain, 1000, &answer);
    world_partition(world, 0)->epoch = 5;
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commits[0].rows[0].lease_epoch, 4);
    world_free(world);
}

TEST(a_committed_batch_is_answered_patched_and_readable)
{
    Answer answer;
    World *world = world_committing(&answer, 1000);
    CommitAnswer committed = { 0, COMMIT_COMMITTED, KAFKA_ERROR_NONE, 70, 6, 12 };
    world_end_commit(world, 0, COMMIT_ANSWERED, &committed, 1);
    Partition *partition = world_partition(world, 0);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    CHECK_INT(answer.base_offset, 70);
    CHECK_INT(partition->high_watermark, 73);
    CHECK_INT(partition->log_start_offset, 12);
    CHECK_INT(world->moved, 1);
    const TailBatch *batch = tail_at(partition, tail_find(partition, 72));
    CHECK(batch != NULL);
    BatchHeader header;
    BatchError error = batch_header_read(slice_of(batch->bytes, (size_t)batch->size), &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK_INT(header.base_offset, 70);
    CHECK_INT(header.leader_epoch, 6);
    world_free(world);
}

TEST(a_duplicate_gets_the_first_ones_offset_and_is_not_readable_twice)
{
    Answer answer;
    World *world = world_committing(&answer, 1000);
    world_answer_commit(world, 0, COMMIT_DUPLICATE, KAFKA_ERROR_NONE, 20);
    CHECK_INT(answer.error, KAFKA_ERROR_NONE);
    CHECK_INT(answer.base_offset, 20);
    CHECK_INT(tail_find(world_partition(world, 0), 20), TAIL_MISS);
    world_free(world);
}

TEST(a_fenced_batch_tells_the_producer_and_the_agent)
{
    Answer answer;
    World *world = world_committing(&answer, 1000);
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER, -1);
    CHECK_INT(answer.error, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER);
    CHECK_INT(world->fenced, 1);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(a_refusal_without_a_reason_is_no_success)
{
    Answer answer;
    World *world = world_committing(&answer, 1000);
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_NONE, -1);
    CHECK_INT(answer.count, 1);
    CHECK_INT(answer.error, KAFKA_ERROR_UNKNOWN_SERVER_ERROR);
    world_free(world);
}

TEST(an_object_that_came_too_late_fails_retriably)
{
    Answer answer;
    World *world = world_committing(&answer, 1000);
    world_end_commit(world, 0, COMMIT_EXPIRED, NULL, 0);
    CHECK_INT(answer.error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(a_locked_partition_is_asked_for_again_alone_and_with_growing_pauses)
{
    World *world = world_ready(&world_options);
    Answer answers[2];
    static const int64_t pauses_ms[] = { 2, 4, 8, 16, 32, 50, 50, 50 };
    world_append(world, 0, &plain, 100000, &answers[0]);
    world_append(world, 1, &plain, 100000, &answers[1]);
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    CommitAnswer first[] = { { 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1, 0, 0 },
                             { 1, COMMIT_COMMITTED, KAFKA_ERROR_NONE, 5, 0, 0 } };
    world_end_commit(world, 0, COMMIT_ANSWERED, first, 2);
    CHECK_INT(answers[1].count, 1);
    for (size_t i = 0; i < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
        world_tick(world);
        CHECK_INT(world->commit_count, 0);
        CHECK_INT(world->due_ms, pauses_ms[i]);
        world_pass(world, pauses_ms[i]);
        CHECK_INT(world->commit_count, 1);
        CHECK_INT(world->commits[0].count, 1);
        CHECK_INT(world->commits[0].rows[0].partition, 0);
        CHECK_INT(answers[0].count, 0);
        world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    }
    world_pass(world, 50);
    world_accept_commit(world, 0, 8);
    CHECK_INT(answers[0].base_offset, 8);
    world_free(world);
}

TEST(several_locked_partitions_are_asked_for_each_on_its_own)
{
    World *world = world_ready(&world_options);
    Answer answers[4];
    for (int i = 0; i < 4; i++) {
        world_append(world, i / 2, &plain, 1000, &answers[i]);
    }
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    world_pass(world, LOG_LOCKED_RETRY_MIN_MS);
    CHECK_INT(world->commit_count, 2);
    CHECK_INT(world->commits[0].count, 2);
    CHECK_INT(world->commits[1].count, 2);
    CHECK(world->commits[0].rows[0].partition != world->commits[1].rows[0].partition);
    CHECK(world->commits[0].rows[0].batch < world->commits[0].rows[1].batch);
    world_free(world);
}

TEST(a_batch_that_stays_locked_is_given_up_at_its_deadline)
{
    Answer answer;
    World *world = world_committing(&answer, 60);
    int64_t began_ms = world->now_ms;
    while (answer.count == 0 && world->now_ms < began_ms + 1000) {
        while (world->commit_count > 0) {
            world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
        }
        world_pass(world, 1);
    }
    CHECK_INT(world->now_ms - began_ms, 60);
    CHECK_INT(answer.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_free(world);
}

TEST(a_commit_in_doubt_is_asked_again_with_the_same_rows)
{
    World *world = world_ready(&world_options);
    Answer answers[6];
    CommitRow rows[6];
    for (int i = 0; i < 6; i++) {
        world_append(world, i % 3, &plain, 1000, &answers[i]);
    }
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    for (int again = 0; again < 3; again++) {
        CHECK_INT(world->commit_count, 1);
        CHECK_INT(world->commits[0].count, 6);
        CHECK(again == 0 || memcmp(rows, world->commits[0].rows, sizeof(rows)) == 0);
        memcpy(rows, world->commits[0].rows, sizeof(rows));
        world_end_commit(world, 0, COMMIT_UNKNOWN, NULL, 0);
        world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    }
    world_accept_commit(world, 0, 0);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(answers[i].count, 1);
        CHECK_INT(answers[i].error, KAFKA_ERROR_NONE);
    }
    world_free(world);
}

TEST(a_commit_that_fails_twice_is_asked_for_partition_by_partition)
{
    World *world = world_ready(&world_options);
    Answer answers[3];
    for (int i = 0; i < 3; i++) {
        world_append(world, i, &plain, 1000, &answers[i]);
    }
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    world_end_commit(world, 0, COMMIT_FAILED, NULL, 0);
    world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    CHECK_INT(world->commit_count, 1);
    world_end_commit(world, 0, COMMIT_FAILED, NULL, 0);
    world_pass(world, LOG_LOCKED_RETRY_MAX_MS);
    CHECK_INT(world->commit_count, 3);
    world_end_commit(world, 0, COMMIT_FAILED, NULL, 0);
    world_accept_commit(world, 0, 0);
    world_accept_commit(world, 0, 0);
    CHECK_INT(answers[0].count + answers[1].count + answers[2].count, 2);
    world_free(world);
}

TEST(a_batch_that_expires_while_the_brain_is_asked_is_answered_once_and_keeps_its_place)
{
    Answer first;
    Answer second;
    World *world = world_committing(&first, 50);
    world_append_alone(world, 0, &plain, 10000, &second);
    world_end_put(world, 0, true);
    world_pass(world, 50);
    CHECK_INT(first.count, 1);
    CHECK_INT(first.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK_INT(world->commit_count, 1); /* the second waits for the first's outcome */
    CHECK(!log_is_idle(world->log));
    world_accept_commit(world, 0, 10);
    CHECK_INT(first.count, 1);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    world_accept_commit(world, 0, 13);
    CHECK_INT(second.base_offset, 13);
    CHECK_INT(tail_find(world_partition(world, 0), 10), 0);
    world_free(world);
}

TEST(a_deadline_behind_an_answered_batch_wakes_nobody_too_often)
{
    Answer answer;
    World *world = world_committing(&answer, 50);
    world_pass(world, 50);
    CHECK_INT(answer.count, 1);
    CHECK_INT(world->due_ms, LOG_NEVER_MS);
    world_free(world);
}

TEST(an_answer_that_lacks_a_batch_is_asked_for_again)
{
    World *world = world_ready(&world_options);
    Answer answers[2];
    world_append(world, 0, &plain, 1000, &answers[0]);
    world_append(world, 1, &plain, 1000, &answers[1]);
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    CommitAnswer only = { 0, COMMIT_COMMITTED, KAFKA_ERROR_NONE, 5, 0, 0 };
    world_end_commit(world, 0, COMMIT_ANSWERED, &only, 1);
    CHECK_INT(answers[0].count, 1);
    CHECK_INT(answers[1].count, 0);
    world_pass(world, LOG_LOCKED_RETRY_MIN_MS);
    CHECK_INT(world->commits[0].count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 1);
    world_free(world);
}

TEST(a_deleted_topics_batches_fail_but_those_the_brain_has_wait_for_its_answer)
{
    World *world = world_ready(&world_options);
    Answer committing;
    Answer stored;
    Answer gathered;
    world_append_alone(world, 0, &plain, 1000, &committing);
    world_append_alone(world, 0, &plain, 1000, &stored);
    world_end_put(world, 0, true);
    world_end_put(world, 0, true);
    world_tick(world);
    world_append(world, 0, &plain, 1000, &gathered);
    world->topic->deleted = true;
    log_forget_partition(world->log, world_partition(world, 0));
    CHECK_INT(committing.count, 0);
    CHECK_INT(stored.error, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    CHECK_INT(gathered.error, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    world_accept_commit(world, 0, 0);
    CHECK_INT(committing.error, KAFKA_ERROR_NONE);
    CHECK_INT(world_partition(world, 0)->tail.count, 0);
    world_tick(world);
    CHECK(log_is_idle(world->log));
    world_free(world);
}

TEST(a_commit_that_ended_without_an_answer_wakes_the_log)
{
    static const CommitOutcome outcomes[] = { COMMIT_UNKNOWN, COMMIT_FAILED };
    for (int i = 0; i < 2; i++) {
        Answer answer;
        World *world = world_committing(&answer, 1000);
        int woken = world->woken;
        world_end_commit(world, 0, outcomes[i], NULL, 0);
        CHECK(world->woken > woken);
        world_tick(world);
        CHECK_INT(world->due_ms, LOG_LOCKED_RETRY_MIN_MS);
        world_free(world);
    }
}
