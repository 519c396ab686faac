/* tail_test.c: the newest batches in memory: found by offset, evicted oldest first, one unbroken run per
 * partition, and never more memory than allowed. */
#include "agent/log/tail.h"
#include "test/unit/raw_batch.h"
#include "test/unit/test.h"

static const uint8_t uuid[16] = { 1 };
static int freed;

static void count_freed(Block *block, void *context)
{
    (void)block;
    (void)context;
    freed++;
}

static Topic *topic_of(int32_t partitions)
{
    Topic *topic = topic_new(1, uuid, SLICE_LITERAL("t"));
    if (!topic || !topic_grow(topic, partitions)) {
        abort();
    }
    return topic;
}

/* A frame of its own for each batch; count offsets from base_offset on. */
static void push(Tail *tail, Partition *partition, int64_t base_offset, int count, size_t size)
{
    Block *block = block_new(size);
    block->released = count_freed;
    tail_push(tail, partition, block, block->bytes, (int32_t)size, base_offset, base_offset + count);
    block_release(block);
}

TEST(an_offset_is_found_in_the_batch_that_holds_it)
{
    Tail tail;
    Topic *topic = topic_of(1);
    Partition *partition = topic->partitions[0];
    tail_init(&tail, 1 << 20);
    CHECK_INT(tail_find(partition, 0), TAIL_MISS);
    for (int i = 0; i < 100; i++) {
        push(&tail, partition, 50 + 10 * i, 10, 100);
    }
    for (int64_t offset = 50; offset < 1050; offset++) {
        const TailBatch *batch = tail_at(partition, tail_find(partition, offset));
        CHECK(batch && batch->base_offset <= offset && offset < batch->end_offset);
    }
    CHECK_INT(tail_find(partition, 49), TAIL_MISS);
    CHECK_INT(tail_find(partition, 1050), TAIL_MISS);
    CHECK(tail_at(partition, -1) == NULL);
    CHECK(tail_at(partition, 100) == NULL);
    tail_free(&tail);
    topic_release(topic);
}

TEST(the_oldest_batch_of_all_partitions_goes_first)
{
    Tail tail;
    Topic *topic = topic_of(2);
    tail_init(&tail, 6000);
    freed = 0;
    push(&tail, topic->partitions[0], 0, 1, 1000);
    push(&tail, topic->partitions[1], 0, 1, 1000);
    push(&tail, topic->partitions[0], 1, 1, 1000);
    push(&tail, topic->partitions[1], 1, 1, 1000);
    CHECK_INT(freed, 0);
    push(&tail, topic->partitions[1], 2, 1, 1500);
    CHECK_INT(freed, 1);
    CHECK_INT(tail_find(topic->partitions[0], 0), TAIL_MISS);
    CHECK_INT(tail_find(topic->partitions[0], 1), 0);
    CHECK_INT(tail_find(topic->partitions[1], 0), 0);
    push(&tail, topic->partitions[0], 2, 1, 1000);
    CHECK_INT(tail_find(topic->partitions[1], 0), TAIL_MISS);
    CHECK_INT(tail_find(topic->partitions[1], 1), 0);
    tail_free(&tail);
    CHECK_INT(freed, 6);
    topic_release(topic);
}

TEST(the_tail_stays_within_its_limit_and_counts_back_to_nothing)
{
    Tail tail;
    Topic *topic = topic_of(3);
    tail_init(&tail, 50000);
    int64_t next[3] = { 0 };
    for (int i = 0; i < 5000; i++) {
        int p = (i * 7) % 3;
        push(&tail, topic->partitions[p], next[p], 1 + i % 4, 100 + (size_t)(i * 37) % 900);
        next[p] += 1 + i % 4;
        CHECK(tail.bytes <= tail.bytes_max);
    }
    for (int p = 0; p < 3; p++) {
        tail_drop(&tail, topic->partitions[p]);
    }
    CHECK_INT(tail.bytes, 0);
    CHECK(tail.oldest == NULL);
    tail_free(&tail);
    topic_release(topic);
}

TEST(a_frame_counts_as_a_whole_however_little_of_it_is_kept)
{
    Tail tail;
    Topic *topic = topic_of(1);
    tail_init(&tail, 1 << 20);
    freed = 0;
    for (int i = 0; i < 100; i++) {
        Block *frame = block_new(100000);
        frame->released = count_freed;
        tail_push(&tail, topic->partitions[0], frame, frame->bytes, 61, i, i + 1);
        block_release(frame);
    }
    CHECK(100 - freed <= 10);
    tail_free(&tail);
    topic_release(topic);
}

TEST(a_frame_of_many_batches_counts_once_and_goes_with_the_last_of_them)
{
    Tail tail;
    Topic *topic = topic_of(4);
    tail_init(&tail, 1 << 20);
    freed = 0;
    Block *frame = block_new(10000);
    frame->released = count_freed;
    for (int i = 0; i < 4; i++) {
        tail_push(&tail, topic->partitions[i], frame, frame->bytes + i * 2500, 2500, 0, 1);
    }
    block_release(frame);
    CHECK(tail.bytes >= 10000 && tail.bytes < 12000);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(freed, 0);
        tail_drop(&tail, topic->partitions[i]);
    }
    CHECK_INT(freed, 1);
    CHECK_INT(tail.bytes, 0);
    tail_free(&tail);
    topic_release(topic);
}

TEST(a_gap_drops_the_older_run)
{
    Tail tail;
    Topic *topic = topic_of(2);
    tail_init(&tail, 1 << 20);
    push(&tail, topic->partitions[0], 0, 10, 100);
    push(&tail, topic->partitions[1], 0, 10, 100);
    push(&tail, topic->partitions[0], 11, 10, 100);
    CHECK_INT(tail_find(topic->partitions[0], 5), TAIL_MISS);
    CHECK_INT(tail_find(topic->partitions[0], 10), TAIL_MISS);
    CHECK_INT(tail_find(topic->partitions[0], 11), 0);
    CHECK_INT(tail_find(topic->partitions[1], 5), 0);
    tail_free(&tail);
    topic_release(topic);
}

TEST(a_batch_larger_than_the_tail_is_kept_until_the_next_comes)
{
    Tail tail;
    Topic *topic = topic_of(1);
    tail_init(&tail, 0);
    freed = 0;
    push(&tail, topic->partitions[0], 0, 1, 1000);
    CHECK_INT(tail_find(topic->partitions[0], 0), 0);
    push(&tail, topic->partitions[0], 1, 1, 1000);
    CHECK_INT(freed, 1);
    CHECK_INT(tail_find(topic->partitions[0], 0), TAIL_MISS);
    CHECK_INT(tail_find(topic->partitions[0], 1), 0);
    tail_free(&tail);
    topic_release(topic);
}

TEST(a_partition_gives_back_the_room_that_a_burst_needed)
{
    Tail tail;
    Topic *topic = topic_of(2);
    tail_init(&tail, 10000 * 400);
    for (int i = 0; i < 5000; i++) {
        push(&tail, topic->partitions[0], i, 1, 100);
    }
    CHECK(topic->partitions[0]->tail.capacity >= 5000);
    for (int i = 0; i < 20000; i++) {
        push(&tail, topic->partitions[1], i, 1, 100);
    }
    CHECK_INT(topic->partitions[0]->tail.count, 0);
    CHECK(topic->partitions[0]->tail.capacity <= 16);
    tail_free(&tail);
    topic_release(topic);
}
