/* describe_topics.c: DescribeTopicPartitions: what Metadata tells of topics, a page at a time, in the order
 * of their names. A cursor says where the next page begins. */
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/api/operations.h"
#include "agent/api/rack.h"

/* Kafka's own limit of a page. */
enum { PAGE_PARTITIONS_MAX = 2000, TOPIC_NAME_MAX = 249 };

typedef struct DescribeState {
    KafkaRequest *request;
    KafkaDescribeTopicPartitionsResponse response;
    Slice *names; /* wanted, sorted, each once */
    size_t name_count;
    int32_t left; /* partitions that the page has room for */
    bool refreshed;
} DescribeState;

static void describe_begin(DescribeState *state);

/* As Kafka sorts names: they are ASCII. */
static int name_compare(Slice a, Slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int name_compare_items(const void *left, const void *right)
{
    return name_compare(*(const Slice *)left, *(const Slice *)right);
}

static const KafkaDescribeTopicPartitionsRequestCursor *describe_cursor(const DescribeState *state)
{
    const KafkaDescribeTopicPartitionsRequest *asked = state->request->message;
    return asked->cursor;
}

static bool name_is_on_page(const DescribeState *state, Slice name)
{
    const KafkaDescribeTopicPartitionsRequestCursor *cursor = describe_cursor(state);
    return !cursor || name_compare(name, cursor->topic_name) >= 0;
}

static void describe_sort(DescribeState *state)
{
    size_t kept = 0;
    qsort(state->names, state->name_count, sizeof(Slice), name_compare_items);
    for (size_t i = 0; i < state->name_count; i++) {
        if (kept == 0 || name_compare(state->names[kept - 1], state->names[i]) != 0) {
            state->names[kept++] = state->names[i];
        }
    }
    state->name_count = kept;
}

/* The topic of the cursor is among them even where it was not named: the client must get on. */
static bool describe_names(DescribeState *state)
{
    const KafkaDescribeTopicPartitionsRequest *asked = state->request->message;
    const Catalog *catalog = api_agent(state->request)->catalog;
    bool all = asked->topics.count <= 0;
    size_t count = all ? catalog_topic_count(catalog) : (size_t)asked->topics.count;
    state->name_count = 0;
    state->names = arena_allocate_array(&state->request->arena, count + 1, sizeof(Slice));
    if (!state->names) {
        return false;
    }
    for (Topic *topic = all ? catalog_first(catalog) : NULL; topic; topic = catalog_next(topic)) {
        Slice name = slice_of_text(topic->name);
        if (name_is_on_page(state, name)) {
            state->names[state->name_count++] = name;
        }
    }
    for (int32_t i = 0; !all && i < asked->topics.count; i++) {
        if (name_is_on_page(state, asked->topics.items[i].name)) {
            state->names[state->name_count++] = asked->topics.items[i].name;
        }
    }
    if (!all && asked->cursor) {
        state->names[state->name_count++] = asked->cursor->topic_name;
    }
    describe_sort(state);
    return true;
}

static bool describe_misses_any(const DescribeState *state)
{
    bool missing = !catalog_is_loaded(api_agent(state->request)->catalog);
    for (size_t i = 0; !missing && i < state->name_count; i++) {
        missing = !catalog_topic(api_agent(state->request)->catalog, state->names[i]);
    }
    return missing;
}

static bool name_is_valid(Slice name)
{
    bool valid = name.size > 0 && name.size <= TOPIC_NAME_MAX && !slice_equals(name, SLICE_LITERAL(".")) &&
                 !slice_equals(name, SLICE_LITERAL(".."));
    for (size_t i = 0; valid && i < name.size; i++) {
        uint8_t c = name.data[i];
        valid = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                c == '_' || c == '-';
    }
    return valid;
}

/* Replicas as in Metadata: who serves the partition. */
static bool describe_partition(DescribeState *state, const Partition *partition,
                               KafkaDescribeTopicPartitionsResponsePartition *out)
{
    out->partition_index = partition->index;
    out->leader_epoch = partition->epoch;
    out->leader_id = partition->leader;
    out->eligible_leader_replicas.count = 0;
    out->last_known_elr.count = 0;
    if (!catalog_agent(api_agent(state->request)->catalog, partition->leader)) {
        out->leader_id = TOPIC_NO_LEADER;
        out->error_code = KAFKA_ERROR_LEADER_NOT_AVAILABLE;
        return true;
    }
    const Catalog *catalog = api_agent(state->request)->catalog;
    RackZones zones = rack_zones(catalog);
    int32_t *replicas = arena_allocate_array(&state->request->arena, zones.count + 1, sizeof(int32_t));
    if (!replicas) {
        return false;
    }
    out->replica_nodes.items = replicas;
    out->replica_nodes.count = rack_replicas(catalog, &zones, partition, replicas);
    out->isr_nodes = out->replica_nodes;
    return true;
}

static bool describe_end_page(DescribeState *state, Slice name, int32_t index)
{
    KafkaDescribeTopicPartitionsResponseCursor *next =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_TOPIC_PARTITIONS_RESPONSE_CURSOR, 1);
    if (next) {
        next->topic_name = name;
        next->partition_index = index;
    }
    state->response.next_cursor = next;
    return next != NULL;
}

static bool describe_topic(DescribeState *state, Slice name, int32_t first)
{
    KafkaDescribeTopicPartitionsResponseTopic *out =
        &state->response.topics.items[state->response.topics.count++];
    Topic *topic = catalog_topic(api_agent(state->request)->catalog, name);
    out->name = name;
    if (!topic) {
        out->error_code = name_is_valid(name) ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                              : KAFKA_ERROR_INVALID_TOPIC_EXCEPTION;
        return true;
    }
    memcpy(out->topic_id.bytes, topic->uuid, sizeof(topic->uuid));
    out->topic_authorized_operations = TOPIC_OPERATIONS;
    int32_t count = topic->partition_count - first;
    count = count < 0 ? 0 : count > state->left ? state->left : count;
    out->partitions.items = kafka_items_new(
        &state->request->arena, &KAFKA_DESCRIBE_TOPIC_PARTITIONS_RESPONSE_PARTITION, (size_t)count);
    for (int32_t i = 0; out->partitions.items && i < count; i++) {
        if (!describe_partition(state, topic->partitions[first + i], &out->partitions.items[i])) {
            return false;
        }
        out->partitions.count++;
    }
    state->left -= count;
    return out->partitions.items &&
           (first + count >= topic->partition_count || describe_end_page(state, name, first + count));
}

static void describe_reply(DescribeState *state)
{
    const KafkaDescribeTopicPartitionsRequest *asked = state->request->message;
    const KafkaDescribeTopicPartitionsRequestCursor *cursor = asked->cursor;
    int32_t limit = asked->response_partition_limit;
    state->left = limit < 1 ? 1 : limit > PAGE_PARTITIONS_MAX ? PAGE_PARTITIONS_MAX : limit;
    /* Unknown topics take no room of the page: no more of them than were named. */
    state->response.topics.items = kafka_items_new(
        &state->request->arena, &KAFKA_DESCRIBE_TOPIC_PARTITIONS_RESPONSE_TOPIC, state->name_count);
    bool room = state->response.topics.items != NULL;
    for (size_t i = 0; room && i < state->name_count && !state->response.next_cursor; i++) {
        bool is_cursors = cursor && slice_equals(state->names[i], cursor->topic_name);
        if (state->left == 0) {
            room = describe_end_page(state, state->names[i], 0);
        } else {
            room = describe_topic(state, state->names[i], is_cursors ? cursor->partition_index : 0);
        }
    }
    if (room) {
        kafka_request_reply(state->request, &state->response);
    } else {
        kafka_request_disconnect(state->request,
                                 "the topics do not fit in the request's memory; ask for fewer");
    }
}

static void describe_refreshed(void *argument, const Status *status)
{
    (void)status;
    describe_begin(argument);
}

static void describe_begin(DescribeState *state)
{
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
    } else if (!describe_names(state)) {
        kafka_request_disconnect(state->request, "the request is too large to be handled");
    } else if (!state->refreshed && describe_misses_any(state)) {
        state->refreshed = true;
        catalog_refresh(api_agent(state->request)->catalog, describe_refreshed, state);
    } else {
        describe_reply(state);
    }
}

void describe_topic_partitions_handle(KafkaRequest *request)
{
    const KafkaDescribeTopicPartitionsRequest *asked = request->message;
    DescribeState *state = arena_allocate(&request->arena, sizeof(DescribeState));
    if (!state) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    if (asked->cursor && asked->cursor->partition_index < 0) {
        kafka_request_disconnect(request, "the cursor's partition is negative");
        return;
    }
    *state = (DescribeState){ .request = request };
    kafka_defaults(&KAFKA_DESCRIBE_TOPIC_PARTITIONS_RESPONSE.root, &state->response);
    describe_begin(state);
}
