/* consumer_protocol.c: reads and writes the consumer protocol's subscription and assignment. The formats are
 * not flexible ones: lengths of 2 bytes for strings, of 4 for bytes and counts. A newer version than ours has
 * its new fields at the end, and is read as ours. */
#include "common/consumer_protocol.h"

enum { VERSION_OWNED = 1, VERSION_GENERATION = 2, VERSION_RACK = 3, GENERATION_UNKNOWN = -1 };
enum { STRING_SIZE_MIN = 2, COUNT_SIZE = 4, PARTITION_SIZE = 4 };

static Slice string_read(Reader *reader)
{
    int16_t size = reader_i16(reader);
    if (size < 0) {
        reader_fail(reader);
        return SLICE_NULL;
    }
    return reader_take(reader, (size_t)size);
}

static Slice string_read_nullable(Reader *reader)
{
    int16_t size = reader_i16(reader);
    return size < 0 ? SLICE_NULL : reader_take(reader, (size_t)size);
}

/* A count of things of at least size bytes each; as many must be able to follow. */
static int32_t count_read(Reader *reader, size_t size)
{
    int32_t count = reader_i32(reader);
    if (count < 0 || (size_t)count > reader_left(reader) / size) {
        reader_fail(reader);
        return 0;
    }
    return count;
}

static void user_data_skip(Reader *reader)
{
    int32_t size = reader_i32(reader);
    if (size > 0) {
        (void)reader_take(reader, (size_t)size);
    }
}

static ConsumerTopics topics_read(Reader *reader)
{
    ConsumerTopics topics = { .left = count_read(reader, STRING_SIZE_MIN) };
    topics.reader = *reader;
    for (int32_t i = 0; i < topics.left && !reader_failed(reader); i++) {
        (void)string_read(reader);
    }
    return topics;
}

static ConsumerPartitions partitions_read(Reader *reader)
{
    ConsumerPartitions partitions = { .topics_left = count_read(reader, STRING_SIZE_MIN + COUNT_SIZE) };
    partitions.reader = *reader;
    for (int32_t i = 0; i < partitions.topics_left && !reader_failed(reader); i++) {
        (void)string_read(reader);
        size_t count = (size_t)count_read(reader, PARTITION_SIZE);
        (void)reader_take(reader, count * PARTITION_SIZE);
    }
    return partitions;
}

bool consumer_subscription_read(Slice bytes, ConsumerSubscription *subscription)
{
    Reader reader = reader_of(bytes);
    *subscription = (ConsumerSubscription){ .generation = GENERATION_UNKNOWN, .rack = SLICE_NULL };
    subscription->version = reader_i16(&reader);
    if (subscription->version < 0) {
        return reader_fail(&reader);
    }
    subscription->topics = topics_read(&reader);
    user_data_skip(&reader);
    if (subscription->version >= VERSION_OWNED) {
        subscription->owned = partitions_read(&reader);
    }
    if (subscription->version >= VERSION_GENERATION) {
        subscription->generation = reader_i32(&reader);
    }
    if (subscription->version >= VERSION_RACK) {
        subscription->rack = string_read_nullable(&reader);
    }
    return !reader_failed(&reader);
}

bool consumer_assignment_read(Slice bytes, ConsumerAssignment *assignment)
{
    Reader reader = reader_of(bytes);
    *assignment = (ConsumerAssignment){ 0 };
    if (bytes.size == 0) {
        return true;
    }
    assignment->version = reader_i16(&reader);
    if (assignment->version < 0) {
        return reader_fail(&reader);
    }
    assignment->partitions = partitions_read(&reader);
    user_data_skip(&reader);
    return !reader_failed(&reader);
}

bool consumer_topics_next(ConsumerTopics *topics, Slice *name)
{
    if (topics->left == 0) {
        return false;
    }
    topics->left--;
    *name = string_read(&topics->reader);
    return true;
}

bool consumer_partitions_next(ConsumerPartitions *partitions, Slice *topic, int32_t *partition)
{
    while (partitions->left == 0) {
        if (partitions->topics_left == 0) {
            return false;
        }
        partitions->topics_left--;
        partitions->topic = string_read(&partitions->reader);
        partitions->left = reader_i32(&partitions->reader);
    }
    partitions->left--;
    *topic = partitions->topic;
    *partition = reader_i32(&partitions->reader);
    return true;
}

static size_t run_length(const Slice *topics, size_t count)
{
    size_t length = 1;
    while (length < count && slice_equals(topics[0], topics[length])) {
        length++;
    }
    return length;
}

void consumer_assignment_write(Writer *writer, const Slice *topics, const int32_t *partitions, size_t count)
{
    int32_t runs = 0;
    writer_i16(writer, 0);
    size_t runs_at = writer->used;
    writer_i32(writer, 0);
    for (size_t i = 0; i < count; runs++) {
        size_t length = run_length(topics + i, count - i);
        writer_i16(writer, (int16_t)topics[i].size);
        writer_bytes(writer, topics[i].data, topics[i].size);
        writer_i32(writer, (int32_t)length);
        for (size_t end = i + length; i < end; i++) {
            writer_i32(writer, partitions[i]);
        }
    }
    writer_patch_i32(writer, runs_at, runs);
    writer_i32(writer, -1);
}
