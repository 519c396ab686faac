/* consumer_protocol_fuzz.c: a member's subscription and a leader's assignment as plain bytes. What can be
 * read can be walked to its end, and an assignment can be written again and read as the same. */
#include <assert.h>
#include <stdlib.h>

#include "common/consumer_protocol.h"

enum { PAIRS_MAX = 4096 };

static size_t partitions_collect(ConsumerPartitions partitions, Slice *topics, int32_t *numbers)
{
    size_t count = 0;
    while (count < PAIRS_MAX && consumer_partitions_next(&partitions, &topics[count], &numbers[count])) {
        assert(!slice_is_null(topics[count]) || topics[count].size == 0);
        count++;
    }
    return count;
}

static void subscription_walk(Slice bytes)
{
    static Slice topics[PAIRS_MAX];
    static int32_t numbers[PAIRS_MAX];
    ConsumerSubscription said;
    Slice name;
    size_t seen = 0;
    if (!consumer_subscription_read(bytes, &said)) {
        return;
    }
    while (consumer_topics_next(&said.topics, &name)) {
        seen += 2 + name.size;
    }
    assert(seen <= bytes.size);
    (void)partitions_collect(said.owned, topics, numbers);
}

static void assignment_walk(Slice bytes)
{
    static Slice topics[PAIRS_MAX];
    static int32_t numbers[PAIRS_MAX];
    static Slice again[PAIRS_MAX];
    static int32_t numbers_again[PAIRS_MAX];
    ConsumerAssignment assignment;
    if (!consumer_assignment_read(bytes, &assignment)) {
        return;
    }
    size_t count = partitions_collect(assignment.partitions, topics, numbers);
    Writer writer;
    writer_init(&writer);
    consumer_assignment_write(&writer, topics, numbers, count);
    assert(!writer_failed(&writer));
    assert(consumer_assignment_read(slice_of(writer.bytes, writer.used), &assignment));
    assert(partitions_collect(assignment.partitions, again, numbers_again) == count);
    for (size_t i = 0; i < count; i++) {
        assert(slice_equals(topics[i], again[i]) && numbers[i] == numbers_again[i]);
    }
    writer_free(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    subscription_walk(slice_of(data, size));
    assignment_walk(slice_of(data, size));
    return 0;
}
