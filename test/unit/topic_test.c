/* topic_test.c: topics, their partitions' addresses, and the configs an agent acts on. */
#include "agent/catalog/topic.h"
#include "test/unit/test.h"

static const uint8_t uuid[16] = { 1, 2, 3 };

static TopicConfig config_of(const char *json)
{
    TopicConfig config;
    topic_config_read(&config, slice_of_text(json));
    return config;
}

TEST(partitions_keep_their_address_when_a_topic_grows)
{
    Topic *topic = topic_new(9, uuid, SLICE_LITERAL("orders"));
    CHECK(topic != NULL);
    CHECK_STR(topic->name, "orders");
    CHECK(topic_partition(topic, 0) == NULL);
    CHECK(topic_grow(topic, 2));
    Partition *first = topic_partition(topic, 0);
    CHECK(topic_grow(topic, 1000));
    CHECK(topic_partition(topic, 0) == first);
    CHECK_INT(topic->partition_count, 1000);
    CHECK_INT(topic_partition(topic, 999)->index, 999);
    CHECK(topic_partition(topic, 999)->topic == topic);
    CHECK(topic_partition(topic, 1000) == NULL);
    CHECK(topic_partition(topic, -1) == NULL);
    CHECK(topic_partition(topic, INT32_MIN) == NULL);
    CHECK(topic_grow(topic, 5));
    CHECK_INT(topic->partition_count, 1000);
    topic_release(topic);
}

TEST(a_new_partition_has_no_leader_and_unknown_offsets)
{
    Topic *topic = topic_new(9, uuid, SLICE_LITERAL("orders"));
    CHECK(topic && topic_grow(topic, 1));
    const Partition *partition = topic_partition(topic, 0);
    CHECK_INT(partition->leader, TOPIC_NO_LEADER);
    CHECK_INT(partition->high_watermark, OFFSET_UNKNOWN);
    CHECK_INT(partition->log_start_offset, OFFSET_UNKNOWN);
    topic_release(topic);
}

TEST(a_topic_lives_until_its_last_reference_goes)
{
    Topic *topic = topic_new(9, uuid, SLICE_LITERAL("orders"));
    CHECK(topic && topic_grow(topic, 3));
    topic_hold(topic);
    topic_release(topic);
    CHECK_INT(topic->references, 1);
    CHECK_INT(topic->partition_count, 3);
    topic_release(topic);
}

TEST(configs_that_are_not_set_are_kafkas_defaults)
{
    static const char *const nothing[] = {
        "{}", "", "null", "[1]", "{\"max.message.bytes\":", "{\"retention.ms\":\"1\"}"
    };
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++) {
        TopicConfig config = config_of(nothing[i]);
        CHECK_INT(config.max_message_bytes, 1048588);
        CHECK(!config.log_append_time);
        CHECK(!config.compacted);
        CHECK_INT(config.timestamp_before_max_ms, INT64_MAX);
        CHECK_INT(config.timestamp_after_max_ms, 3600000);
    }
    TopicConfig config;
    topic_config_read(&config, SLICE_NULL);
    CHECK_INT(config.max_message_bytes, 1048588);
}

TEST(configs_are_read_from_numbers_and_from_strings)
{
    TopicConfig numbers = config_of("{\"max.message.bytes\": 100, \"message.timestamp.after.max.ms\": 5}");
    CHECK_INT(numbers.max_message_bytes, 100);
    CHECK_INT(numbers.timestamp_after_max_ms, 5);
    TopicConfig strings =
        config_of("{\"max.message.bytes\": \"200\", \"message.timestamp.before.max.ms\": \"7\","
                  "\"message.timestamp.type\": \"LogAppendTime\", \"cleanup.policy\": \"compact,delete\"}");
    CHECK_INT(strings.max_message_bytes, 200);
    CHECK_INT(strings.timestamp_before_max_ms, 7);
    CHECK(strings.log_append_time);
    CHECK(strings.compacted);
}

TEST(the_write_path_is_auto_unless_the_topic_says_inline_or_object)
{
    CHECK_INT(config_of("{}").write_path, WRITE_AUTO);
    CHECK_INT(config_of("{\"streamhouse.write.path\": \"auto\"}").write_path, WRITE_AUTO);
    CHECK_INT(config_of("{\"streamhouse.write.path\": \"inline\"}").write_path, WRITE_INLINE);
    CHECK_INT(config_of("{\"streamhouse.write.path\": \"object\"}").write_path, WRITE_OBJECT);
    CHECK_INT(config_of("{\"streamhouse.write.path\": \"elsewhere\"}").write_path, WRITE_AUTO);
    CHECK_INT(config_of("{\"streamhouse.write.path\": 7}").write_path, WRITE_AUTO);
}

TEST(a_number_that_is_none_or_too_large_does_no_harm)
{
    CHECK_INT(config_of("{\"max.message.bytes\": \"many\"}").max_message_bytes, 1048588);
    CHECK_INT(config_of("{\"max.message.bytes\": \"12x\"}").max_message_bytes, 1048588);
    CHECK_INT(config_of("{\"max.message.bytes\": \"\"}").max_message_bytes, 1048588);
    CHECK_INT(config_of("{\"max.message.bytes\": 99999999999}").max_message_bytes, INT32_MAX);
    CHECK_INT(config_of("{\"max.message.bytes\": \"99999999999999999999\"}").max_message_bytes, 1048588);
    CHECK_INT(config_of("{\"max.message.bytes\": -99999999999}").max_message_bytes, 0);
    CHECK_INT(config_of("{\"max.message.bytes\": \"-1\"}").max_message_bytes, 0);
    CHECK_INT(config_of("{\"max.message.bytes\": true}").max_message_bytes, 1048588);
}
