/* commit_decide_test.c: what becomes of batches, without a server. The brain's own tests go through SQL;
 * these reach the edges of sequences and segments. */
#include "src/commit_decide.c"

#include "test/unit/test.h"

enum { AGENT = 7, EPOCH = 3, BATCHES_MAX = 8 };

typedef struct World {
    CommitPartition partition;
    CommitProducer producer;
    CommitBatch batches[BATCHES_MAX];
    CommitBatch *order[BATCHES_MAX];
    CommitSegment segments[BATCHES_MAX];
} World;

static void world_open(World *world)
{
    *world = (World){ .producer = { .producer_id = 1 } };
    world->partition = (CommitPartition){ .leader_id = AGENT,
                                          .lease_epoch = EPOCH,
                                          .next_offset = 100,
                                          .running_max_timestamp = 50,
                                          .batches = world->order,
                                          .segments = world->segments };
}

/* A batch of ten bytes right after the one before. */
static CommitBatch *world_add(World *world, int32_t first_sequence, int32_t count)
{
    int ordinal = world->partition.batch_count++;
    CommitBatch *batch = &world->batches[ordinal];
    *batch = (CommitBatch){ .row = { .batch = ordinal,
                                     .lease_epoch = EPOCH,
                                     .byte_start = ordinal * 10,
                                     .byte_length = 10,
                                     .offset_count = count,
                                     .max_timestamp = -1,
                                     .producer_id = 1,
                                     .producer_epoch = 0,
                                     .first_sequence = first_sequence },
                            .answer = { .base_offset = -1 },
                            .producer = &world->producer };
    world->order[ordinal] = batch;
    return batch;
}

static void world_decide(World *world)
{
    commit_decide_partition(&world->partition, AGENT);
}

TEST(zero_follows_the_largest_sequence)
{
    CHECK_INT(sequence_after(INT32_MAX, 1), 0);
    CHECK_INT(sequence_after(INT32_MAX - 1, 1), INT32_MAX);
    CHECK_INT(sequence_after(INT32_MAX, INT32_MAX), INT32_MAX - 1);
    CHECK_INT(sequence_after(0, 0), 0);
}

TEST(a_sequence_may_wrap_inside_a_batch)
{
    World world;
    world_open(&world);
    CommitBatch *wrapping = world_add(&world, INT32_MAX - 1, 4);
    CommitBatch *next = world_add(&world, 2, 1);
    CommitBatch *again = world_add(&world, INT32_MAX - 1, 4);
    world_decide(&world);
    CHECK_INT(wrapping->answer.status, COMMIT_COMMITTED);
    CHECK_INT(next->answer.status, COMMIT_COMMITTED);
    CHECK_INT(next->answer.base_offset, 104);
    CHECK_INT(again->answer.status, COMMIT_DUPLICATE);
    CHECK_INT(again->answer.base_offset, 100);
}

TEST(a_batch_as_long_as_all_sequences_is_followed_by_its_own_first)
{
    World world;
    world_open(&world);
    world_add(&world, 5, INT32_MAX);
    CommitBatch *next = world_add(&world, 4, 1);
    world_decide(&world);
    CHECK_INT(next->answer.status, COMMIT_COMMITTED);
    CHECK_INT(next->answer.base_offset, 100 + (int64_t)INT32_MAX);
}

TEST(touching_batches_become_one_segment)
{
    World world;
    world_open(&world);
    world_add(&world, 0, 3)->row.max_timestamp = 70;
    world_add(&world, 3, 2)->row.max_timestamp = 60;
    world_decide(&world);
    CHECK_INT(world.partition.segment_count, 1);
    CHECK_INT(world.segments[0].base_offset, 100);
    CHECK_INT(world.segments[0].end_offset, 105);
    CHECK_INT(world.segments[0].byte_length, 20);
    CHECK_INT(world.segments[0].batches, 2);
    CHECK_INT(world.segments[0].max_timestamp, 70);
    CHECK_INT(world.segments[0].running_max_timestamp, 70);
}

TEST(a_duplicate_between_two_batches_parts_their_segments)
{
    World world;
    world_open(&world);
    world_add(&world, 0, 3);
    world_add(&world, 0, 3);
    world_add(&world, 3, 2);
    world_decide(&world);
    CHECK_INT(world.partition.segment_count, 2);
    CHECK_INT(world.segments[1].base_offset, 103);
    CHECK_INT(world.segments[1].byte_start, 20);
    CHECK_INT(world.segments[1].running_max_timestamp, 50);
}

TEST(a_batch_under_another_epoch_or_agent_is_fenced_and_its_producer_with_it)
{
    World world;
    world_open(&world);
    world_add(&world, 0, 3)->row.lease_epoch = EPOCH - 1;
    CommitBatch *later = world_add(&world, 3, 3);
    CommitBatch *other = world_add(&world, 3, 3);
    other->producer = NULL;
    world_decide(&world);
    CHECK_INT(world.batches[0].answer.error_code, COMMIT_ERROR_NOT_LEADER);
    CHECK_INT(later->answer.status, COMMIT_FENCED);
    CHECK_INT(other->answer.status, COMMIT_COMMITTED);
    CHECK_INT(world.producer.ring.count, 0);
}

TEST(nobody_is_accepted_where_nobody_leads)
{
    World world;
    world_open(&world);
    world.partition.leader_id = -1;
    world_add(&world, 0, 3);
    world_decide(&world);
    CHECK_INT(world.batches[0].answer.status, COMMIT_FENCED);
    CHECK_INT(world.partition.segment_count, 0);
    CHECK_INT(world.partition.next_offset, 100);
}

TEST(the_ring_keeps_five_batches_newest_first)
{
    World world;
    world_open(&world);
    for (int i = 0; i < 7; i++) {
        world_add(&world, i, 1);
    }
    CommitBatch *forgotten = world_add(&world, 1, 1);
    world_decide(&world);
    CHECK_INT(world.producer.ring.count, PRODUCER_RING_SIZE);
    CHECK_INT(world.producer.ring.batches[0].first_sequence, 6);
    CHECK_INT(world.producer.ring.batches[4].first_sequence, 2);
    CHECK_INT(world.producer.ring.batches[4].base_offset, 102);
    CHECK_INT(forgotten->answer.error_code, COMMIT_ERROR_OUT_OF_ORDER_SEQUENCE);
}

TEST(a_new_epoch_starts_at_zero_and_an_old_one_is_over)
{
    World world;
    world_open(&world);
    world.producer.ring = (ProducerRing){ .epoch = 4, .count = 1, .batches = { { 10, 19, 7 } } };
    CommitBatch *fresh = world_add(&world, 0, 1);
    fresh->row.producer_epoch = 5;
    CommitBatch *stale = world_add(&world, 20, 1);
    stale->row.producer_epoch = 4;
    world_decide(&world);
    CHECK_INT(fresh->answer.status, COMMIT_COMMITTED);
    CHECK_INT(stale->answer.error_code, COMMIT_ERROR_INVALID_PRODUCER_EPOCH);
    CHECK_INT(world.producer.ring.epoch, 5);
    CHECK_INT(world.producer.ring.count, 1);
}

TEST(an_answer_given_before_is_kept_and_writes_nothing)
{
    World world;
    world_open(&world);
    CommitBatch *given = world_add(&world, 0, 3);
    given->answer = (CommitAnswer){ COMMIT_COMMITTED, COMMIT_ERROR_NONE, 42 };
    given->repeated = true;
    world_decide(&world);
    CHECK_INT(given->answer.base_offset, 42);
    CHECK_INT(world.partition.segment_count, 0);
    CHECK(!world.producer.changed);
}

TEST(records_of_transactions_and_the_broker_are_no_clients)
{
    World world;
    world_open(&world);
    world_add(&world, 0, 1)->row.attributes = COMMIT_ATTRIBUTE_TRANSACTIONAL;
    world.batches[0].producer = NULL;
    world_add(&world, 0, 1)->row.attributes = COMMIT_ATTRIBUTE_CONTROL;
    world.batches[1].producer = NULL;
    world_add(&world, 0, 0)->producer = NULL;
    world_decide(&world);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(world.batches[i].answer.error_code, COMMIT_ERROR_INVALID_RECORD);
    }
}

TEST(what_a_producer_sends_again_behind_its_refused_batch_is_taken)
{
    World world;
    world_open(&world);
    CommitBatch *refused = world_add(&world, 0, 10);
    refused->row.lease_epoch = EPOCH - 1;
    CommitBatch *follower = world_add(&world, 10, 10);
    CommitBatch *again = world_add(&world, 0, 10);
    CommitBatch *next = world_add(&world, 10, 10);
    world_decide(&world);
    CHECK_INT(refused->answer.status, COMMIT_FENCED);
    CHECK_INT(follower->answer.status, COMMIT_FENCED);
    CHECK_INT(again->answer.status, COMMIT_COMMITTED);
    CHECK_INT(next->answer.status, COMMIT_COMMITTED);
    CHECK_INT(next->answer.base_offset, again->answer.base_offset + 10);
}

TEST(a_batch_that_came_too_early_does_not_take_the_next_one_with_it)
{
    World world;
    world_open(&world);
    CommitBatch *first = world_add(&world, 0, 10);
    CommitBatch *early = world_add(&world, 20, 10);
    CommitBatch *next = world_add(&world, 10, 10);
    world_decide(&world);
    CHECK_INT(first->answer.status, COMMIT_COMMITTED);
    CHECK_INT(early->answer.error_code, COMMIT_ERROR_OUT_OF_ORDER_SEQUENCE);
    CHECK_INT(next->answer.status, COMMIT_COMMITTED);
}
