/* consumer_describe.c: ConsumerGroupDescribe: groups with their members and assignments, in one call of
 * sh_describe_consumer_groups(). */
#include <ctype.h>

#include "agent/api/api.h"
#include "agent/api/operations.h"
#include "agent/brain/brain.h"

enum { UUID_BYTES = 16, MEMBER_TYPE_CONSUMER = 1 };
/* Columns of the answer. */
enum {
    COLUMN_NAME,
    COLUMN_ERROR,
    COLUMN_STATE,
    COLUMN_GROUP_EPOCH,
    COLUMN_TARGET_EPOCH,
    COLUMN_ASSIGNOR,
    COLUMN_MEMBER_ID,
    COLUMN_INSTANCE_ID,
    COLUMN_RACK,
    COLUMN_MEMBER_EPOCH,
    COLUMN_CLIENT_ID,
    COLUMN_CLIENT_HOST,
    COLUMN_TOPICS,
    COLUMN_REGEX,
    COLUMN_ASSIGNED,
    COLUMN_TARGET = COLUMN_ASSIGNED + 3
};

static const BrainStatement describe_statement = {
    "describe_consumer_groups",
    "SELECT name, error_code, state, group_epoch, target_epoch, assignor, member_id, instance_id, rack, "
    "member_epoch, client_id, client_host, subscribed_topics, subscribed_regex, assigned_uuids, "
    "assigned_topics, assigned_partitions, target_uuids, target_topics, target_partitions "
    "FROM sh_describe_consumer_groups($1)",
    1,
    { BRAIN_TEXTS }
};

typedef KafkaConsumerGroupDescribeResponseGroup DescribedGroup;
typedef KafkaConsumerGroupDescribeResponseMember DescribedMember;
typedef KafkaConsumerGroupDescribeResponseTopicPartition DescribedTopic;

typedef struct Description {
    KafkaRequest *request;
    const BrainResult *result;
    bool short_of_memory;
} Description;

static Slice describe_text(Description *description, int row, int column)
{
    Slice text = brain_text(description->result, row, column);
    Slice copy = api_copy(description->request, text);
    description->short_of_memory = description->short_of_memory || (text.data && !copy.data);
    return copy;
}

/* Zeroed; NULL when memory is short, or there are none. */
static void *describe_array(Description *description, int32_t count, size_t size)
{
    void *array = count > 0 ? arena_allocate_array(&description->request->arena, (size_t)count, size) : NULL;
    description->short_of_memory = description->short_of_memory || (count > 0 && !array);
    return array;
}

static void describe_names(Description *description, int row, KafkaStringArray *out)
{
    BrainArray names = brain_texts(description->result, row, COLUMN_TOPICS);
    out->items = describe_array(description, names.count, sizeof(Slice));
    out->count = out->items ? brain_array_text(&names, out->items, names.count) : 0;
    for (int32_t i = 0; i < out->count; i++) {
        out->items[i] = api_copy(description->request, out->items[i]);
        description->short_of_memory = description->short_of_memory || !out->items[i].data;
    }
}

/* Three columns side by side, sorted by topic. */
static void describe_assignment(Description *description, int row, int column,
                                KafkaConsumerGroupDescribeResponseAssignment *out)
{
    const BrainResult *result = description->result;
    Slice uuids = brain_bytes(result, row, column);
    BrainArray names = brain_texts(result, row, column + 1);
    BrainArray partitions = brain_int4s(result, row, column + 2);
    int32_t count = partitions.count;
    Slice *texts = describe_array(description, count, sizeof(Slice));
    int32_t *numbers = describe_array(description, count, sizeof(int32_t));
    DescribedTopic *topics = describe_array(description, count, sizeof(DescribedTopic));
    if (!texts || !numbers || !topics || uuids.size != (size_t)count * UUID_BYTES ||
        brain_array_text(&names, texts, count) != count ||
        brain_array_int4(&partitions, -1, numbers, count) != count) {
        return;
    }
    out->topic_partitions.items = topics;
    for (int32_t i = 0; i < count; i++) {
        const uint8_t *uuid = uuids.data + (size_t)i * UUID_BYTES;
        if (i == 0 || memcmp(uuid, uuid - UUID_BYTES, UUID_BYTES) != 0) {
            DescribedTopic *topic = &topics[out->topic_partitions.count++];
            memcpy(topic->topic_id.bytes, uuid, UUID_BYTES);
            topic->topic_name = api_copy(description->request, texts[i]);
            topic->partitions.items = &numbers[i];
            description->short_of_memory = description->short_of_memory || !topic->topic_name.data;
        }
        topics[out->topic_partitions.count - 1].partitions.count++;
    }
}

static void describe_member(Description *description, int row, DescribedMember *member)
{
    kafka_defaults(&KAFKA_CONSUMER_GROUP_DESCRIBE_RESPONSE_MEMBER, member);
    member->member_id = describe_text(description, row, COLUMN_MEMBER_ID);
    member->instance_id = describe_text(description, row, COLUMN_INSTANCE_ID);
    member->rack_id = describe_text(description, row, COLUMN_RACK);
    member->member_epoch = brain_int4(description->result, row, COLUMN_MEMBER_EPOCH);
    member->client_id = describe_text(description, row, COLUMN_CLIENT_ID);
    member->client_host = describe_text(description, row, COLUMN_CLIENT_HOST);
    member->subscribed_topic_regex = describe_text(description, row, COLUMN_REGEX);
    member->member_type = MEMBER_TYPE_CONSUMER;
    describe_names(description, row, &member->subscribed_topic_names);
    describe_assignment(description, row, COLUMN_ASSIGNED, &member->assignment);
    describe_assignment(description, row, COLUMN_TARGET, &member->target_assignment);
}

/* Kafka writes states with a capital. */
static Slice describe_state(Description *description, int row)
{
    Slice text = brain_text(description->result, row, COLUMN_STATE);
    char *state = arena_copy_text(&description->request->arena, text);
    if (!state) {
        description->short_of_memory = true;
        return SLICE_LITERAL("");
    }
    state[0] = (char)toupper((unsigned char)state[0]);
    return slice_of_text(state);
}

static int describe_rows(const BrainResult *result, int row)
{
    Slice name = brain_text(result, row, COLUMN_NAME);
    int next = row + 1;
    while (!brain_is_null(result, row, COLUMN_MEMBER_ID) && next < brain_row_count(result) &&
           slice_equals(brain_text(result, next, COLUMN_NAME), name)) {
        next++;
    }
    return next - row;
}

/* Gives the number of rows that it took. */
static int describe_group(Description *description, int row, DescribedGroup *group)
{
    const KafkaConsumerGroupDescribeRequest *asked = description->request->message;
    const BrainResult *result = description->result;
    int rows = describe_rows(result, row);
    kafka_defaults(&KAFKA_CONSUMER_GROUP_DESCRIBE_RESPONSE_GROUP, group);
    group->group_id = describe_text(description, row, COLUMN_NAME);
    group->error_code = brain_int2(result, row, COLUMN_ERROR);
    group->group_state = describe_state(description, row);
    if (group->error_code != KAFKA_ERROR_NONE) {
        group->error_message = slice_of_text(kafka_error_text(group->error_code));
        return rows;
    }
    group->group_epoch = brain_int4(result, row, COLUMN_GROUP_EPOCH);
    group->assignment_epoch = brain_int4(result, row, COLUMN_TARGET_EPOCH);
    group->assignor_name = describe_text(description, row, COLUMN_ASSIGNOR);
    group->authorized_operations =
        asked->include_authorized_operations ? GROUP_OPERATIONS : group->authorized_operations;
    int members = brain_is_null(result, row, COLUMN_MEMBER_ID) ? 0 : rows;
    group->members.items = describe_array(description, members, sizeof(DescribedMember));
    for (int i = 0; group->members.items && i < members; i++) {
        describe_member(description, row + i, &group->members.items[group->members.count++]);
    }
    return rows;
}

/* The same error for every group that was asked for. */
static void describe_refuse(KafkaRequest *request, KafkaError error)
{
    const KafkaConsumerGroupDescribeRequest *asked = request->message;
    KafkaConsumerGroupDescribeResponse response;
    kafka_defaults(&KAFKA_CONSUMER_GROUP_DESCRIBE_RESPONSE.root, &response);
    DescribedGroup *groups = kafka_items_new(&request->arena, &KAFKA_CONSUMER_GROUP_DESCRIBE_RESPONSE_GROUP,
                                             (size_t)asked->group_ids.count);
    if (!groups) {
        kafka_request_disconnect(request, "a description of groups does not fit in a request's memory");
        return;
    }
    response.groups.items = groups;
    for (int32_t i = 0; i < asked->group_ids.count; i++) {
        groups[i].group_id = asked->group_ids.items[i];
        groups[i].error_code = (int16_t)error;
        response.groups.count++;
    }
    kafka_request_reply(request, &response);
}

static KafkaError describe_error(const BrainResult *result)
{
    KafkaError error = api_brain_error(result);
    return error == KAFKA_ERROR_REQUEST_TIMED_OUT ? KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE : error;
}

static void describe_answered(const BrainResult *result, void *argument)
{
    KafkaRequest *request = argument;
    const KafkaConsumerGroupDescribeRequest *asked = request->message;
    Description description = { .request = request, .result = result };
    if (!status_is_ok(&result->status)) {
        describe_refuse(request, describe_error(result));
        return;
    }
    KafkaConsumerGroupDescribeResponse response;
    kafka_defaults(&KAFKA_CONSUMER_GROUP_DESCRIBE_RESPONSE.root, &response);
    response.groups.items = kafka_items_new(&request->arena, &KAFKA_CONSUMER_GROUP_DESCRIBE_RESPONSE_GROUP,
                                            (size_t)asked->group_ids.count);
    description.short_of_memory = !response.groups.items;
    for (int row = 0; !description.short_of_memory && row < brain_row_count(result) &&
                      response.groups.count < asked->group_ids.count;) {
        row += describe_group(&description, row, &response.groups.items[response.groups.count++]);
    }
    if (description.short_of_memory) {
        kafka_request_disconnect(request, "a description of groups does not fit in a request's memory");
    } else {
        kafka_request_reply(request, &response);
    }
}

void consumer_group_describe_handle(KafkaRequest *request)
{
    const KafkaConsumerGroupDescribeRequest *asked = request->message;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_texts(&parameters, asked->group_ids.items, (size_t)asked->group_ids.count);
    brain_send(api_agent(request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &describe_statement, .parameters = &parameters },
               describe_answered, request);
}
