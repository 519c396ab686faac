/* topic.c: life of Topic and Partition, and the configs an agent acts on. */
#include "agent/catalog/topic.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

enum { DEFAULT_MAX_MESSAGE_BYTES = 1048588, DEFAULT_TIMESTAMP_AFTER_MAX_MS = 60 * 60 * 1000 };

Topic *topic_new(int32_t topic_id, const uint8_t uuid[16], Slice name)
{
    Topic *topic = calloc(1, sizeof(Topic));
    if (!topic) {
        return NULL;
    }
    topic->name = strndup((const char *)name.data, name.size);
    if (!topic->name) {
        free(topic);
        return NULL;
    }
    topic->topic_id = topic_id;
    memcpy(topic->uuid, uuid, sizeof(topic->uuid));
    topic->references = 1;
    topic_config_read(&topic->config, SLICE_NULL);
    return topic;
}

Topic *topic_hold(Topic *topic)
{
    topic->references++;
    return topic;
}

void topic_release(Topic *topic)
{
    assert(topic->references > 0);
    if (--topic->references > 0) {
        return;
    }
    for (int32_t i = 0; i < topic->partition_count; i++) {
        free(topic->partitions[i]->tail.batches);
        free(topic->partitions[i]);
    }
    free(topic->partitions);
    free(topic->name);
    free(topic);
}

bool topic_grow(Topic *topic, int32_t count)
{
    if (count <= topic->partition_count) {
        return true;
    }
    Partition **partitions = realloc(topic->partitions, (size_t)count * sizeof(Partition *));
    if (!partitions) {
        return false;
    }
    topic->partitions = partitions;
    while (topic->partition_count < count) {
        Partition *partition = calloc(1, sizeof(Partition));
        if (!partition) {
            return false;
        }
        partition->topic = topic;
        partition->index = topic->partition_count;
        partition->leader = TOPIC_NO_LEADER;
        partition->log_start_offset = OFFSET_UNKNOWN;
        partition->high_watermark = OFFSET_UNKNOWN;
        partitions[topic->partition_count++] = partition;
    }
    return true;
}

Partition *topic_partition(const Topic *topic, int32_t index)
{
    return index >= 0 && index < topic->partition_count ? topic->partitions[index] : NULL;
}

/* A config's number, whether it was given as a JSON number or as a string of digits. */
static int64_t config_number(const json_t *configs, const char *name, int64_t otherwise)
{
    const json_t *value = json_object_get(configs, name);
    if (json_is_integer(value)) {
        return json_integer_value(value);
    }
    if (!json_is_string(value)) {
        return otherwise;
    }
    const char *text = json_string_value(value);
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' ? number : otherwise;
}

static bool config_contains(const json_t *configs, const char *name, const char *word)
{
    const json_t *value = json_object_get(configs, name);
    return json_is_string(value) && strstr(json_string_value(value), word) != NULL;
}

static WritePath config_write_path(const json_t *configs)
{
    const json_t *value = json_object_get(configs, "streamhouse.write.path");
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    return strcmp(text, "inline") == 0   ? WRITE_INLINE
           : strcmp(text, "object") == 0 ? WRITE_OBJECT
                                         : WRITE_AUTO;
}

/* A level counts when it was set; the codec's own default is what it otherwise is. */
static void config_read_codec(TopicConfig *config, const json_t *configs)
{
    const json_t *value = json_object_get(configs, "compression.type");
    const char *name = json_is_string(value) ? json_string_value(value) : "producer";
    char level_name[64];
    config->codec = COMPRESSION_NONE;
    config->codec_level = COMPRESSION_LEVEL_DEFAULT;
    config->keeps_codec =
        strcmp(name, "uncompressed") != 0 &&
        (!compression_find(slice_of_text(name), &config->codec) || config->codec == COMPRESSION_NONE);
    snprintf(level_name, sizeof(level_name), "compression.%s.level", name);
    int64_t level = config_number(configs, level_name, INT_MIN);
    bool is_default =
        level < INT_MIN || level > INT_MAX || (config->codec == COMPRESSION_GZIP && level == -1);
    config->codec_level = is_default ? COMPRESSION_LEVEL_DEFAULT : (int)level;
}

void topic_config_read(TopicConfig *config, Slice json)
{
    json_t *configs = slice_is_null(json) ? NULL : json_loadb((const char *)json.data, json.size, 0, NULL);
    int64_t max_bytes = config_number(configs, "max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES);
    *config = (TopicConfig){
        .max_message_bytes = max_bytes > INT32_MAX ? INT32_MAX
                             : max_bytes > 0       ? (int32_t)max_bytes
                                                   : 0,
        .log_append_time = config_contains(configs, "message.timestamp.type", "LogAppendTime"),
        .compacted = config_contains(configs, "cleanup.policy", "compact"),
        .timestamp_before_max_ms = config_number(configs, "message.timestamp.before.max.ms", INT64_MAX),
        .timestamp_after_max_ms =
            config_number(configs, "message.timestamp.after.max.ms", DEFAULT_TIMESTAMP_AFTER_MAX_MS),
        .write_path = config_write_path(configs),
    };
    config_read_codec(config, configs);
    json_decref(configs);
}
