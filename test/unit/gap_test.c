/* gap_test.c: producers whose failed batch is awaited. */
#include "agent/log/gap.h"

#include "test/unit/test.h"

static Topic *topic;

static Append failed_batch(int64_t producer_id, int32_t sequence)
{
    if (!topic) {
        static const uint8_t uuid[16] = { 1 };
        topic = topic_new(1, uuid, SLICE_LITERAL("t"));
        (void)topic_grow(topic, 2);
    }
    return (Append){
        .partition = topic->partitions[0],
        .header = { .producer_id = producer_id,
                    .producer_epoch = 0,
                    .base_sequence = sequence,
                    .last_offset_delta = 9 },
    };
}

static KafkaError check(Gaps *gaps, int64_t producer_id, int32_t sequence, int64_t now_ms)
{
    Append sent = failed_batch(producer_id, sequence);
    return gap_check(gaps, sent.partition, &sent.header, now_ms);
}

TEST(what_comes_after_a_failed_batch_is_refused_until_that_one_comes_again)
{
    Gaps gaps = { 0 };
    Append failed = failed_batch(7, 0);
    gap_open(&gaps, &failed, KAFKA_ERROR_KAFKA_STORAGE_ERROR, 0);
    CHECK_INT(check(&gaps, 7, 10, 1), KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    CHECK_INT(check(&gaps, 8, 10, 1), KAFKA_ERROR_NONE);
    CHECK_INT(check(&gaps, 7, 0, 2), KAFKA_ERROR_NONE);
    CHECK_INT(check(&gaps, 7, 10, 3), KAFKA_ERROR_NONE);
    gaps_free(&gaps);
}

TEST(a_batch_that_was_refused_elsewhere_is_awaited_for_a_moment)
{
    Gaps gaps = { 0 };
    Append refused = failed_batch(7, 0);
    Append nobody = failed_batch(-1, 0);
    gap_open_elsewhere(&gaps, refused.partition, &refused.header, 0);
    gap_open_elsewhere(&gaps, nobody.partition, &nobody.header, 0);
    CHECK_INT(gaps.count, 1);
    CHECK_INT(check(&gaps, 7, 10, 1), KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER);
    CHECK_INT(check(&gaps, 7, 0, 2), KAFKA_ERROR_NONE);
    gap_open_elsewhere(&gaps, refused.partition, &refused.header, 10);
    CHECK_INT(check(&gaps, 7, 10, 10 + GAP_ELSEWHERE_MS), KAFKA_ERROR_NONE);
    CHECK_INT(gaps.count, 0);
    gaps_free(&gaps);
}

TEST(the_first_of_several_failures_is_the_one_awaited)
{
    Gaps gaps = { 0 };
    Append first = failed_batch(7, 20);
    Append second = failed_batch(7, 30);
    gap_open(&gaps, &first, KAFKA_ERROR_REQUEST_TIMED_OUT, 0);
    gap_open(&gaps, &second, KAFKA_ERROR_REQUEST_TIMED_OUT, 0);
    CHECK_INT(check(&gaps, 7, 30, 1), KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK_INT(check(&gaps, 7, 20, 1), KAFKA_ERROR_NONE);
    CHECK_INT(check(&gaps, 7, 30, 1), KAFKA_ERROR_NONE);
    gaps_free(&gaps);
}

TEST(final_errors_and_producers_without_an_id_leave_no_gap)
{
    Gaps gaps = { 0 };
    Append final = failed_batch(7, 0);
    Append nobody = failed_batch(-1, -1);
    gap_open(&gaps, &final, KAFKA_ERROR_INVALID_RECORD, 0);
    gap_open(&gaps, &nobody, KAFKA_ERROR_REQUEST_TIMED_OUT, 0);
    CHECK_INT(gaps.count, 0);
    CHECK_INT(check(&gaps, 7, 10, 1), KAFKA_ERROR_NONE);
    gaps_free(&gaps);
}

/* The missing batch may have been sent to who led the partition meanwhile: it will never come. */
TEST(a_gap_ends_soon_when_the_partition_was_led_elsewhere_since)
{
    Gaps gaps = { 0 };
    Append failed = failed_batch(7, 0);
    failed.lease_epoch = 1;
    failed.partition->epoch = 1;
    gap_open(&gaps, &failed, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER, 0);
    CHECK_INT(check(&gaps, 7, 10, 100 * GAP_ELSEWHERE_MS), KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER);
    failed.partition->epoch = 3;
    CHECK_INT(check(&gaps, 7, 10, GAP_ELSEWHERE_MS - 1), KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER);
    CHECK_INT(check(&gaps, 7, 10, GAP_ELSEWHERE_MS), KAFKA_ERROR_NONE);
    failed.partition->epoch = 0;
    gaps_free(&gaps);
}

TEST(a_gap_is_forgotten_after_a_while_and_their_number_is_bounded)
{
    Gaps gaps = { 0 };
    for (int64_t id = 0; id < GAPS_MAX + 10; id++) {
        Append failed = failed_batch(id, 0);
        gap_open(&gaps, &failed, KAFKA_ERROR_REQUEST_TIMED_OUT, 0);
    }
    CHECK_INT(gaps.count, GAPS_MAX);
    CHECK_INT(check(&gaps, 0, 10, 1), KAFKA_ERROR_NONE);
    CHECK_INT(check(&gaps, GAPS_MAX, 10, 1), KAFKA_ERROR_REQUEST_TIMED_OUT);
    CHECK_INT(check(&gaps, GAPS_MAX, 10, GAP_FORGET_MS), KAFKA_ERROR_NONE);
    Append late = failed_batch(99999, 0);
    gap_open(&gaps, &late, KAFKA_ERROR_REQUEST_TIMED_OUT, GAP_FORGET_MS);
    CHECK_INT(gaps.count, 1);
    gaps_free(&gaps);
}

TEST(a_missing_batch_that_was_sent_twice_and_committed_is_awaited_no_more)
{
    Gaps gaps = { 0 };
    Append failed = failed_batch(7, 0);
    Append other = failed_batch(7, 10);
    gap_open(&gaps, &failed, KAFKA_ERROR_KAFKA_STORAGE_ERROR, 0);
    gap_fill(&gaps, &other);
    CHECK_INT(check(&gaps, 7, 10, 1), KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    gap_fill(&gaps, &failed);
    CHECK_INT(check(&gaps, 7, 10, 2), KAFKA_ERROR_NONE);
    gaps_free(&gaps);
}

TEST(what_another_leader_may_have_got_meanwhile_is_awaited_for_a_moment)
{
    Gaps gaps = { 0 };
    Append failed = failed_batch(7, 0);
    gap_open(&gaps, &failed, KAFKA_ERROR_KAFKA_STORAGE_ERROR, 0);
    failed.partition->epoch += 2;
    CHECK_INT(check(&gaps, 7, 10, 1), KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    CHECK_INT(check(&gaps, 7, 10, GAP_ELSEWHERE_MS), KAFKA_ERROR_NONE);
    failed.partition->epoch = 0;
    gaps_free(&gaps);
}
