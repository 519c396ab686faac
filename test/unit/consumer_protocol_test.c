/* consumer_protocol_test.c: subscriptions and assignments of the consumer protocol, by the bytes that clients
 * send. */
#include "common/consumer_protocol.h"
#include "test/unit/test.h"

/* They live as long as the program: what was read refers to them. */
#define BYTES(...)                                                                                           \
    __extension__({                                                                                          \
        static const uint8_t bytes_of_it[] = { __VA_ARGS__ };                                                \
        slice_of(bytes_of_it, sizeof(bytes_of_it));                                                          \
    })

static void check_owned(ConsumerPartitions owned)
{
    Slice topic;
    int32_t partition;
    CHECK(consumer_partitions_next(&owned, &topic, &partition));
    CHECK(slice_equals(topic, SLICE_LITERAL("a")));
    CHECK_INT(partition, 3);
    CHECK(consumer_partitions_next(&owned, &topic, &partition));
    CHECK_INT(partition, 4);
    CHECK(!consumer_partitions_next(&owned, &topic, &partition));
}

TEST(a_subscription_of_version_0_names_topics)
{
    ConsumerSubscription said;
    Slice name;
    CHECK(consumer_subscription_read(
        BYTES(0, 0, 0, 0, 0, 2, 0, 1, 'a', 0, 2, 'b', 'c', 0xff, 0xff, 0xff, 0xff), &said));
    CHECK(consumer_topics_next(&said.topics, &name) && slice_equals(name, SLICE_LITERAL("a")));
    CHECK(consumer_topics_next(&said.topics, &name) && slice_equals(name, SLICE_LITERAL("bc")));
    CHECK(!consumer_topics_next(&said.topics, &name));
    CHECK_INT(said.generation, -1);
    CHECK(slice_is_null(said.rack));
}

TEST(a_subscription_of_version_3_says_what_the_member_owns_its_generation_and_its_rack)
{
    ConsumerSubscription said;
    CHECK(consumer_subscription_read(BYTES(0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 2, 0, 1, 'z', 0, 0, 0, 0,
                                           0, 1, 'a', 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 7, 0, 1,
                                           'r'),
                                     &said));
    check_owned(said.owned);
    CHECK_INT(said.generation, 7);
    CHECK(slice_equals(said.rack, SLICE_LITERAL("r")));
}

TEST(a_newer_subscription_is_read_as_the_newest_that_is_known)
{
    ConsumerSubscription said;
    CHECK(consumer_subscription_read(
        BYTES(0, 9, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 1, 2, 3), &said));
    CHECK_INT(said.version, 9);
    CHECK_INT(said.generation, 1);
}

TEST(what_is_cut_off_anywhere_is_no_subscription)
{
    static const uint8_t whole[] = { 0, 2, 0, 0,   0, 1, 0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 0, 0, 0,
                                     1, 0, 1, 'a', 0, 0, 0, 1, 0,   0,    0,    3,    0,    0, 0, 5 };
    ConsumerSubscription said;
    CHECK(consumer_subscription_read(slice_of(whole, sizeof(whole)), &said));
    for (size_t size = 0; size < sizeof(whole); size++) {
        CHECK(!consumer_subscription_read(slice_of(whole, size), &said));
    }
}

TEST(counts_and_lengths_that_cannot_be_are_refused)
{
    ConsumerSubscription said;
    ConsumerAssignment assignment;
    CHECK(!consumer_subscription_read(BYTES(0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0), &said));
    CHECK(!consumer_subscription_read(BYTES(0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), &said));
    CHECK(!consumer_subscription_read(BYTES(0, 0, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0), &said));
    CHECK(!consumer_subscription_read(BYTES(0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0), &said));
    CHECK(!consumer_assignment_read(BYTES(0, 0, 0, 0, 0, 1, 0, 1, 'a', 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
                                    &assignment));
}

TEST(no_bytes_are_an_assignment_of_nothing)
{
    ConsumerAssignment assignment;
    Slice topic;
    int32_t partition;
    CHECK(consumer_assignment_read(SLICE_NULL, &assignment));
    CHECK(!consumer_partitions_next(&assignment.partitions, &topic, &partition));
}

TEST(an_assignment_is_read_as_it_was_written)
{
    const Slice topics[] = { SLICE_LITERAL("a"), SLICE_LITERAL("a"), SLICE_LITERAL("bb") };
    const int32_t partitions[] = { 3, 4, 0 };
    ConsumerAssignment assignment;
    Writer writer;
    Slice topic;
    int32_t partition;
    writer_init(&writer);
    consumer_assignment_write(&writer, topics, partitions, 3);
    CHECK(!writer_failed(&writer));
    CHECK(consumer_assignment_read(slice_of(writer.bytes, writer.used), &assignment));
    CHECK_INT(assignment.partitions.topics_left, 2);
    for (size_t i = 0; i < 3; i++) {
        CHECK(consumer_partitions_next(&assignment.partitions, &topic, &partition));
        CHECK(slice_equals(topic, topics[i]));
        CHECK_INT(partition, partitions[i]);
    }
    CHECK(!consumer_partitions_next(&assignment.partitions, &topic, &partition));
    writer_free(&writer);
}
