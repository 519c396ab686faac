/* log_order_test.c: each partition's order: kept whatever order PUTs end in, and what a failure takes with
 * it. */
#include "test/unit/log_fixture.h"
#include "test/unit/test.h"

static const RawBatch plain = { .size = 100 };

TEST(puts_that_end_in_any_order_are_committed_in_each_partitions_order)
{
    World *world = world_ready(&world_options);
    Answer answers[3];
    for (int i = 0; i < 3; i++) {
        world_append_alone(world, 0, &(RawBatch){ .size = 100 + i }, 1000, &answers[i]);
    }
    world_end_put(world, 2, true);
    world_end_put(world, 1, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    world_end_put(world, 0, true);
    for (int i = 0; i < 3; i++) {
        world_tick(world);
        CHECK_INT(world->commit_count, 1);
        CHECK_INT(world->commits[0].rows[0].byte_length, 100 + i);
        world_accept_commit(world, 0, i);
        CHECK_INT(answers[i].base_offset, i);
    }
    world_free(world);
}

TEST(a_partition_that_waits_holds_up_no_other)
{
    World *world = world_ready(&world_options);
    Answer early;
    Answer behind;
    Answer other;
    world_append_alone(world, 0, &plain, 1000, &early);
    world_append(world, 0, &plain, 1000, &behind);
    world_append(world, 1, &plain, 1000, &other);
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 1, true);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    CHECK_INT(world->commits[0].count, 1);
    CHECK_INT(world->commits[0].rows[0].partition, 1);
    world_accept_commit(world, 0, 0);
    CHECK_INT(other.count, 1);
    CHECK_INT(behind.count, 0);
    world_end_put(world, 0, true);
    world_tick(world);
    world_accept_commit(world, 0, 0);
    world_tick(world);
    world_accept_commit(world, 0, 1);
    CHECK_INT(early.base_offset, 0);
    CHECK_INT(behind.base_offset, 1);
    world_free(world);
}

TEST(an_early_put_that_fails_takes_later_batches_of_its_producer_with_it_and_leaves_others_alone)
{
    World *world = world_ready(&world_options);
    Answer first;
    Answer followers[3];
    Answer others[3];
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 0 }, 1000, &first);
    world_append(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 1 }, 1000, &followers[0]);
    world_append(world, 0, &(RawBatch){ .producer_id = 2, .sequence = 0 }, 1000, &others[0]);
    world_append(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 2 }, 1000, &followers[1]);
    world_append(world, 1, &(RawBatch){ .producer_id = 1, .sequence = 0 }, 1000, &others[1]);
    log_flush(world->log);
    world_tick(world);
    world_append(world, 0, &plain, 1000, &others[2]);
    world_append(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 3 }, 1000, &followers[2]);
    world_end_put(world, 1, true);
    world_end_put(world, 0, false);
    CHECK_INT(first.error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(followers[i].count, 1);
        CHECK_INT(followers[i].error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
        CHECK_INT(others[i].count, 0);
    }
    world_tick(world);
    CHECK_INT(world->commits[0].count, 2);
    world_accept_commit(world, 0, 0);
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    CHECK_INT(world->commits[0].count, 1);
    world_accept_commit(world, 0, 5);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(others[i].error, KAFKA_ERROR_NONE);
    }
    world_free(world);
}

TEST(batches_without_a_producer_id_fail_one_by_one)
{
    World *world = world_ready(&world_options);
    Answer first;
    Answer second;
    world_append_alone(world, 0, &plain, 1000, &first);
    world_append_alone(world, 0, &plain, 1000, &second);
    world_end_put(world, 0, false);
    CHECK_INT(first.count, 1);
    CHECK_INT(second.count, 0);
    world_free(world);
}

TEST(a_batch_that_expires_takes_later_ones_of_its_producer_with_it)
{
    World *world = world_ready(&world_options);
    Answer hasty;
    Answer patient;
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 0 }, 50, &hasty);
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 1 }, 5000, &patient);
    world_pass(world, 50);
    CHECK_INT(hasty.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK_INT(patient.count, 1);
    CHECK_INT(patient.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_free(world);
}

TEST(a_batch_of_a_newer_producer_epoch_does_not_fail_with_the_older_ones)
{
    World *world = world_ready(&world_options);
    Answer old;
    Answer new;
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .epoch = 0, .sequence = INT32_MAX }, 1000,
                       &old);
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .epoch = 1, .sequence = 0 }, 1000, &new);
    world_end_put(world, 0, true);
    world_end_put(world, 0, true);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_INVALID_PRODUCER_EPOCH, -1);
    CHECK_INT(old.error, KAFKA_ERROR_INVALID_PRODUCER_EPOCH);
    CHECK_INT(new.count, 0);
    world_tick(world);
    world_accept_commit(world, 0, 0);
    CHECK_INT(new.error, KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(what_follows_an_invalid_batch_is_out_of_order_not_invalid)
{
    World *world = world_ready(&world_options);
    Answer invalid;
    Answer follower;
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 0 }, 1000, &invalid);
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 1 }, 1000, &follower);
    world_end_put(world, 0, true);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_INVALID_RECORD, -1);
    CHECK_INT(invalid.error, KAFKA_ERROR_INVALID_RECORD);
    CHECK_INT(follower.error, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    world_free(world);
}

TEST(a_failure_leaves_batches_alone_that_the_brain_was_asked_about)
{
    World *world = world_ready(&world_options);
    Answer answers[2];
    world_append(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 0 }, 1000, &answers[0]);
    world_append(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 1 }, 1000, &answers[1]);
    log_flush(world->log);
    world_tick(world);
    world_end_put(world, 0, true);
    world_tick(world);
    CommitAnswer mixed[] = { { 0, COMMIT_REFUSED, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER, -1, 0, 0 },
                             { 1, COMMIT_COMMITTED, KAFKA_ERROR_NONE, 9, 0, 0 } };
    world_end_commit(world, 0, COMMIT_ANSWERED, mixed, 2);
    CHECK_INT(answers[0].error, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    CHECK_INT(answers[1].count, 1);
    CHECK_INT(answers[1].error, KAFKA_ERROR_NONE);
    CHECK_INT(answers[1].base_offset, 9);
    world_free(world);
}

TEST(a_locked_batch_holds_up_later_ones_of_its_partition_until_it_is_decided)
{
    World *world = world_ready(&world_options);
    Answer locked;
    Answer behind;
    world_append_alone(world, 0, &plain, 40, &locked);
    world_append_alone(world, 0, &plain, 1000, &behind);
    world_end_put(world, 0, true);
    world_end_put(world, 0, true);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_LOCKED, KAFKA_ERROR_NONE, -1);
    world_tick(world);
    CHECK_INT(world->commit_count, 0);
    world_pass(world, 40); /* the locked one is given up */
    CHECK_INT(locked.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_tick(world);
    CHECK_INT(world->commit_count, 1);
    world_accept_commit(world, 0, 3);
    CHECK_INT(behind.base_offset, 3);
    world_free(world);
}

/* A producer that sends its next batch from within the answer to the last one. */
typedef struct Chain {
    World *world;
    Answer next;
    int sent;
} Chain;

static void chain_answered(void *argument, KafkaError error, int64_t base_offset)
{
    Chain *chain = argument;
    (void)error;
    (void)base_offset;
    chain->sent++;
    world_append(chain->world, 0, &(RawBatch){ .producer_id = 1, .sequence = 9 }, 1000, &chain->next);
}

TEST(a_producer_may_send_from_within_an_answer)
{
    World *world = world_ready(&world_options);
    Chain chain = { .world = world };
    Block *frame = raw_batch_block(&(RawBatch){ .producer_id = 1 });
    LogAppend append = {
        world_partition(world, 0), frame, frame->bytes, (int32_t)frame->size, raw_batch_header(frame),
        world->now_ms + 30
    };
    CHECK(log_append(world->log, &append, world->now_ms, chain_answered, &chain));
    block_release(frame);
    world_pass(world, 30);
    CHECK_INT(chain.sent, 1);
    world_pass(world, 1000);
    CHECK_INT(chain.next.count, 1);
    CHECK_INT(chain.next.error, KAFKA_ERROR_REQUEST_TIMED_OUT);
    world_free(world);
}

/* Sequence 8 was sent to the old leader, which refused it; 16 came here first. */
TEST(at_a_new_leader_what_overtook_a_batch_is_sent_again_and_holds_up_nothing)
{
    World *world = world_ready(&world_options);
    Answer overtaking;
    Answer missing;
    world_partition(world, 0)->led_ms = world->now_ms - 1000;
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 16 }, 1000, &overtaking);
    world_end_put(world, 0, true);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    CHECK_INT(overtaking.error, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER);
    Block *late = raw_batch_block(&(RawBatch){ .producer_id = 1, .sequence = 8 });
    BatchHeader header = raw_batch_header(late);
    CHECK_INT(log_check_order(world->log, world_partition(world, 0), &header, world->now_ms),
              KAFKA_ERROR_NONE);
    block_release(late);
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 8 }, 1000, &missing);
    world_end_put(world, 0, true);
    world_tick(world);
    world_accept_commit(world, 0, 3);
    CHECK_INT(missing.error, KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(at_a_leader_of_long_standing_a_broken_sequence_is_called_so)
{
    World *world = world_ready(&world_options);
    Answer answer;
    world_partition(world, 0)->led_ms = world->now_ms - LOG_LED_LATELY_MS;
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 16 }, 1000, &answer);
    world_end_put(world, 0, true);
    world_tick(world);
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    CHECK_INT(answer.error, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    world_free(world);
}

TEST(a_batch_that_was_sent_again_does_not_fail_with_what_came_before_it)
{
    World *world = world_ready(&world_options);
    static const int32_t sequences[] = { 1, 2, 0, 1, 2 }; /* 0 failed just before; the producer began again */
    Answer answers[5];
    for (int i = 0; i < 5; i++) {
        world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = sequences[i] }, 1000,
                           &answers[i]);
        if (i < 4) {
            world_end_put(world, 0, true);
        }
    }
    world_answer_commit(world, 0, COMMIT_REFUSED, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
    CHECK_INT(answers[0].count, 1);
    CHECK_INT(answers[1].count, 1); /* sent in one go with the refused one */
    CHECK_INT(answers[1].error, KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER);
    CHECK_INT(answers[2].count + answers[3].count + answers[4].count, 0);
    world_free(world);
}

TEST(sequences_follow_each_other_around_their_end)
{
    World *world = world_ready(&world_options);
    Answer answers[3];
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = INT32_MAX - 1, .records = 2 },
                       1000, &answers[0]);
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 0 }, 1000, &answers[1]);
    world_append_alone(world, 0, &(RawBatch){ .producer_id = 1, .sequence = 1 }, 1000, &answers[2]);
    world_end_put(world, 0, false);
    CHECK_INT(answers[1].error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    CHECK_INT(answers[2].error, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    world_free(world);
}
