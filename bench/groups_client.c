/* groups_client.c: how a group's member speaks: in the classic protocol it finds its coordinator, joins,
 * syncs and beats; in the new one it only beats. Requests and answers go through the agent's own codec. */
#include "bench/groups_client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent/kafka/message.h"

enum {
    SESSION_MS = 45000,
    REBALANCE_MS = 60000,
    CLASSIC_INTERVAL_MS = 3000, /* Kafka's heartbeat.interval.ms */
    RETRY_MS = 100,
    PROBE_MS = 20,
    ARENA_MAX = 64 << 20,
    READ_BYTES = 64 * 1024,

    NOT_READY = 14,
    NOT_AVAILABLE = 15,
    NOT_COORDINATOR = 16,
    ILLEGAL_GENERATION = 22,
    UNKNOWN_MEMBER = 25,
    REBALANCING = 27,
    MEMBER_ID_REQUIRED = 79,
    FENCED_EPOCH = 110,
};

static const int16_t versions[] = {
    [KAFKA_METADATA] = 12,    [KAFKA_FIND_COORDINATOR] = 3,
    [KAFKA_JOIN_GROUP] = 9,   [KAFKA_SYNC_GROUP] = 5,
    [KAFKA_HEARTBEAT] = 4,    [KAFKA_OFFSET_COMMIT] = 9,
    [KAFKA_API_VERSIONS] = 0, [KAFKA_CONSUMER_GROUP_HEARTBEAT] = 1,
};

int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "groups_load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

static Slice text(const char *string)
{
    return slice_of(string, strlen(string));
}

static void must(Status status)
{
    if (!status_is_ok(&status)) {
        die("%s", status.message);
    }
}

/* Requests are small and answered before more are sent, so that a socket always takes one whole. */
static void ask(Member *member, int16_t api, const void *request)
{
    static Writer out;
    int16_t version = versions[api];
    const KafkaApi *described = kafka_api_find(api);
    writer_reset(&out);
    writer_i32(&out, 0);
    writer_i16(&out, api);
    writer_i16(&out, version);
    writer_i32(&out, 0);
    writer_i16(&out, 5);
    writer_bytes(&out, "bench", 5);
    if (kafka_request_header_version(described, version) >= 2) {
        writer_uvarint(&out, 0);
    }
    must(kafka_encode(described->request, version, request, &out));
    writer_patch_i32(&out, 0, (int32_t)(out.used - 4));
    if (member->asked_count == ASKED_MAX ||
        send(member->fd, out.bytes, out.used, MSG_NOSIGNAL) != (ssize_t)out.used) {
        die("a request cannot be sent: %s", strerror(errno));
    }
    member->asked[(member->asked_first + member->asked_count++) % ASKED_MAX] = (Asked){ api, now_ns() };
}

static void member_later(Member *member, int64_t ms)
{
    member->due_ns = now_ns() + ms * 1000000;
}

static void ask_coordinator(Member *member)
{
    KafkaFindCoordinatorRequest request;
    kafka_defaults(&KAFKA_FIND_COORDINATOR_REQUEST.root, &request);
    request.key = text(member->group->name);
    member->state = MEMBER_FINDING;
    ask(member, KAFKA_FIND_COORDINATOR, &request);
}

/* What Kafka's own consumers say: version 0, the topics, no data of the user's. */
static void subscription_write(Writer *out, const char *topic)
{
    writer_i16(out, 0);
    writer_i32(out, 1);
    writer_i16(out, (int16_t)strlen(topic));
    writer_bytes(out, topic, strlen(topic));
    writer_i32(out, -1);
}

static void ask_to_join(Member *member)
{
    KafkaJoinGroupRequest request;
    KafkaJoinGroupRequestProtocol protocol = { .name = text("range") };
    Writer subscription;
    writer_init(&subscription);
    subscription_write(&subscription, member->group->topic);
    protocol.metadata = slice_of(subscription.bytes, subscription.used);
    kafka_defaults(&KAFKA_JOIN_GROUP_REQUEST.root, &request);
    request.group_id = text(member->group->name);
    request.session_timeout_ms = SESSION_MS;
    request.rebalance_timeout_ms = REBALANCE_MS;
    request.member_id = text(member->id);
    request.protocol_type = text("consumer");
    request.protocols.items = &protocol;
    request.protocols.count = 1;
    member->state = MEMBER_JOINING;
    ask(member, KAFKA_JOIN_GROUP, &request);
    writer_free(&subscription);
}

/* The partitions in turn: number, number + count, and so on. */
static void assignment_write(Writer *out, const Group *group, int number, int count)
{
    int partitions = number < group->partitions ? (group->partitions - number + count - 1) / count : 0;
    writer_i16(out, 0);
    writer_i32(out, 1);
    writer_i16(out, (int16_t)strlen(group->topic));
    writer_bytes(out, group->topic, strlen(group->topic));
    writer_i32(out, partitions);
    for (int i = 0; i < partitions; i++) {
        writer_i32(out, number + i * count);
    }
    writer_i32(out, -1);
}

static void ask_to_sync(Member *member, const KafkaJoinGroupResponse *joined)
{
    KafkaSyncGroupRequest request;
    int count = joined->members.count > 0 ? joined->members.count : 0;
    KafkaSyncGroupRequestAssignment *assignments = calloc((size_t)count + 1, sizeof(*assignments));
    Writer *bytes = calloc((size_t)count + 1, sizeof(*bytes));
    if (!assignments || !bytes) {
        die("memory is short");
    }
    for (int i = 0; i < count; i++) {
        assignment_write(&bytes[i], member->group, i, count);
        assignments[i].member_id = joined->members.items[i].member_id;
        assignments[i].assignment = slice_of(bytes[i].bytes, bytes[i].used);
    }
    kafka_defaults(&KAFKA_SYNC_GROUP_REQUEST.root, &request);
    request.group_id = text(member->group->name);
    request.generation_id = member->generation;
    request.member_id = text(member->id);
    request.protocol_type = text("consumer");
    request.protocol_name = text("range");
    request.assignments.items = assignments;
    request.assignments.count = count;
    member->state = MEMBER_SYNCING;
    ask(member, KAFKA_SYNC_GROUP, &request);
    for (int i = 0; i < count; i++) {
        writer_free(&bytes[i]);
    }
    free(bytes);
    free(assignments);
}

static void ask_classic_heartbeat(Member *member)
{
    KafkaHeartbeatRequest request;
    kafka_defaults(&KAFKA_HEARTBEAT_REQUEST.root, &request);
    request.group_id = text(member->group->name);
    request.generation_id = member->generation;
    request.member_id = text(member->id);
    ask(member, KAFKA_HEARTBEAT, &request);
}

static void ask_heartbeat(Member *member)
{
    KafkaConsumerGroupHeartbeatRequest request;
    KafkaConsumerGroupHeartbeatRequestTopicPartition owned = { 0 };
    Slice topic = text(member->group->topic);
    bool joins = member->generation == 0;
    kafka_defaults(&KAFKA_CONSUMER_GROUP_HEARTBEAT_REQUEST.root, &request);
    request.group_id = text(member->group->name);
    request.member_id = text(member->id);
    request.member_epoch = member->generation;
    request.rebalance_timeout_ms = joins ? REBALANCE_MS : -1;
    request.subscribed_topic_names.items = &topic;
    request.subscribed_topic_names.count = joins ? 1 : -1;
    memcpy(owned.topic_id.bytes, member->topic_id, UUID_BYTES);
    owned.partitions.items = member->owned;
    owned.partitions.count = member->owned_count;
    request.topic_partitions.items = &owned;
    request.topic_partitions.count = member->owned_is_news ? member->owned_count > 0 : joins ? 0 : -1;
    member->owned_is_news = false;
    member->state = joins ? MEMBER_JOINING : MEMBER_IN;
    ask(member, KAFKA_CONSUMER_GROUP_HEARTBEAT, &request);
}

static bool is_asking(const Member *member, int16_t api)
{
    for (int i = 0; i < member->asked_count; i++) {
        if (member->asked[(member->asked_first + i) % ASKED_MAX].api == api) {
            return true;
        }
    }
    return false;
}

void member_commit(Member *member)
{
    KafkaOffsetCommitRequest request;
    KafkaOffsetCommitRequestTopic topic;
    KafkaOffsetCommitRequestPartition partition;
    if (!member->group || member->state != MEMBER_IN || member->owned_count == 0 ||
        is_asking(member, KAFKA_OFFSET_COMMIT)) {
        return;
    }
    kafka_defaults(&KAFKA_OFFSET_COMMIT_REQUEST.root, &request);
    kafka_defaults(&KAFKA_OFFSET_COMMIT_REQUEST_TOPIC, &topic);
    kafka_defaults(&KAFKA_OFFSET_COMMIT_REQUEST_PARTITION, &partition);
    partition.partition_index = member->owned[0];
    partition.committed_offset = ++member->offset;
    topic.name = text(member->group->topic);
    topic.partitions.items = &partition;
    topic.partitions.count = 1;
    request.group_id = text(member->group->name);
    request.generation_id_or_member_epoch = member->generation;
    request.member_id = text(member->id);
    request.topics.items = &topic;
    request.topics.count = 1;
    ask(member, KAFKA_OFFSET_COMMIT, &request);
}

static void ask_metadata(Member *member)
{
    KafkaMetadataRequest request;
    kafka_defaults(&KAFKA_METADATA_REQUEST.root, &request);
    request.topics.count = -1;
    ask(member, KAFKA_METADATA, &request);
}

void member_turn(Member *member, int64_t now)
{
    if (now < member->due_ns) {
        return;
    }
    member->due_ns = INT64_MAX; /* until it is answered */
    if (member->state == MEMBER_PROBE) {
        ask_metadata(member);
    } else if (member->state == MEMBER_OUT && member->classic) {
        ask_coordinator(member);
    } else if (member->state == MEMBER_OUT) {
        ask_heartbeat(member);
    } else if (member->state == MEMBER_IN && member->classic) {
        ask_classic_heartbeat(member);
    } else if (member->state == MEMBER_IN) {
        ask_heartbeat(member);
    }
}

/* What a member does about an error; true when it has done something. */
static bool member_begins_again(Member *member, int16_t error)
{
    switch (error) {
    case 0:
        return false;
    case MEMBER_ID_REQUIRED:
    case REBALANCING:
        ask_to_join(member);
        return true;
    case UNKNOWN_MEMBER:
    case ILLEGAL_GENERATION:
        member->id[0] = error == UNKNOWN_MEMBER ? 0 : member->id[0];
        ask_to_join(member);
        return true;
    case NOT_READY:
    case NOT_AVAILABLE:
    case NOT_COORDINATOR:
        member->state = MEMBER_OUT;
        member_later(member, RETRY_MS);
        return true;
    default:
        die("a member of %s was told error %d", member->group->name, error);
    }
}

static void found(Member *member, const void *answer)
{
    const KafkaFindCoordinatorResponse *response = answer;
    if (!member_begins_again(member, response->error_code)) {
        ask_to_join(member);
    }
}

static void joined(Member *member, const void *answer)
{
    const KafkaJoinGroupResponse *response = answer;
    if (response->error_code == 0 || response->error_code == MEMBER_ID_REQUIRED) {
        snprintf(member->id, sizeof(member->id), "%.*s", (int)response->member_id.size,
                 (const char *)response->member_id.data);
    }
    if (member_begins_again(member, response->error_code)) {
        return;
    }
    member->generation = response->generation_id;
    if (member->group->generation != member->generation) {
        member->group->generation = member->generation;
        member->group->joined_ns = now_ns();
    }
    ask_to_sync(member, response);
}

static void synced(Member *member, const void *answer)
{
    const KafkaSyncGroupResponse *response = answer;
    if (member_begins_again(member, response->error_code)) {
        return;
    }
    Reader in = reader_of(response->assignment);
    member->owned_count = 0;
    reader_i16(&in);
    if (reader_i32(&in) == 1) {
        reader_take(&in, (size_t)reader_i16(&in));
        int32_t count = reader_i32(&in);
        for (int i = 0; i < count && i < OWNED_MAX; i++) {
            member->owned[member->owned_count++] = reader_i32(&in);
        }
    }
    member->state = MEMBER_IN;
    member->group->synced_ns = now_ns();
    member->interval_ms = CLASSIC_INTERVAL_MS;
    member_later(member, CLASSIC_INTERVAL_MS);
}

static void beaten_classic(Member *member, const void *answer)
{
    const KafkaHeartbeatResponse *response = answer;
    if (!member_begins_again(member, response->error_code)) {
        member_later(member, member->interval_ms);
    }
}

/* Gives up at once what it should not have any more. */
static void member_assign(Member *member, const KafkaConsumerGroupHeartbeatResponseAssignment *assignment)
{
    member->owned_count = 0;
    for (int t = 0; t < assignment->topic_partitions.count; t++) {
        const KafkaConsumerGroupHeartbeatResponseTopicPartition *topic =
            &assignment->topic_partitions.items[t];
        memcpy(member->topic_id, topic->topic_id.bytes, UUID_BYTES);
        for (int i = 0; i < topic->partitions.count && member->owned_count < OWNED_MAX; i++) {
            member->owned[member->owned_count++] = topic->partitions.items[i];
        }
    }
    member->owned_is_news = true;
}

static void beaten(Member *member, const void *answer)
{
    const KafkaConsumerGroupHeartbeatResponse *response = answer;
    int16_t error = response->error_code;
    if (error == UNKNOWN_MEMBER || error == FENCED_EPOCH || error == NOT_READY || error == NOT_AVAILABLE ||
        error == NOT_COORDINATOR) {
        bool gone = error == UNKNOWN_MEMBER || error == FENCED_EPOCH;
        member->generation = gone ? 0 : member->generation;
        member->owned_count = gone ? 0 : member->owned_count;
        member->state = member->generation == 0 ? MEMBER_OUT : MEMBER_IN;
        member_later(member, RETRY_MS);
        return;
    }
    if (error != 0) {
        die("a member of %s was told error %d: %.*s", member->group->name, error,
            (int)response->error_message.size, (const char *)response->error_message.data);
    }
    member->generation = response->member_epoch;
    member->group->generation = response->member_epoch > member->group->generation
                                    ? response->member_epoch
                                    : member->group->generation;
    member->state = MEMBER_IN;
    member->interval_ms = response->heartbeat_interval_ms;
    if (response->assignment) {
        member_assign(member, response->assignment);
    }
    member_later(member, response->assignment ? 0 : member->interval_ms);
}

static void committed(Member *member, const void *answer)
{
    const KafkaOffsetCommitResponse *response = answer;
    bool good = response->topics.count == 1 && response->topics.items[0].partitions.count == 1 &&
                response->topics.items[0].partitions.items[0].error_code == 0;
    member->measured->commits.failed += !good;
    if (member->leaves_no_rest) {
        member_commit(member);
    }
}

static void listed(Member *member, const void *answer)
{
    const KafkaMetadataResponse *response = answer;
    member->measured->metadata.failed += response->topics.count == 0;
    member_later(member, PROBE_MS);
}

static void ignored(Member *member, const void *answer)
{
    (void)member;
    (void)answer;
}

static Samples *samples_of(Member *member, int16_t api)
{
    return api == KAFKA_METADATA        ? &member->measured->metadata
           : api == KAFKA_OFFSET_COMMIT ? &member->measured->commits
           : api == KAFKA_HEARTBEAT || (api == KAFKA_CONSUMER_GROUP_HEARTBEAT && member->state == MEMBER_IN)
               ? &member->measured->heartbeats
               : NULL;
}

static void member_answered(Member *member, Slice frame)
{
    static void (*const reactions[])(Member *, const void *) = {
        [KAFKA_METADATA] = listed,          [KAFKA_FIND_COORDINATOR] = found,
        [KAFKA_JOIN_GROUP] = joined,        [KAFKA_SYNC_GROUP] = synced,
        [KAFKA_HEARTBEAT] = beaten_classic, [KAFKA_OFFSET_COMMIT] = committed,
        [KAFKA_API_VERSIONS] = ignored,     [KAFKA_CONSUMER_GROUP_HEARTBEAT] = beaten,
    };
    static Arena arena;
    if (member->asked_count == 0) {
        die("an answer that nobody asked for");
    }
    Asked asked = member->asked[member->asked_first];
    member->asked_first = (member->asked_first + 1) % ASKED_MAX;
    member->asked_count--;
    Samples *samples = samples_of(member, asked.api);
    if (samples) {
        samples_add(samples, now_ns() - asked.sent_ns);
    }
    if (asked.api == KAFKA_METADATA && member->offset++ > 0) { /* it is large, and others wait to be timed */
        member_later(member, PROBE_MS);
        return;
    }
    const KafkaApi *api = kafka_api_find(asked.api);
    Reader in = reader_of(frame);
    reader_i32(&in);
    if (kafka_response_header_version(api, versions[asked.api]) > 0) {
        reader_uvarint(&in);
    }
    arena_init(&arena, ARENA_MAX);
    void *answer = arena_allocate(&arena, api->response->root.size);
    must(kafka_decode(api->response, versions[asked.api], &in, &arena, answer));
    reactions[asked.api](member, answer);
    arena_reset(&arena);
}

static void input_grow(Member *member)
{
    if (member->input_capacity - member->input_used < READ_BYTES) {
        member->input_capacity = member->input_used * 2 + READ_BYTES;
        member->input = realloc(member->input, member->input_capacity);
        if (!member->input) {
            die("memory is short");
        }
    }
}

/* A member that has nothing unread has no memory for it: there are thousands. */
static void input_forget(Member *member, size_t taken)
{
    member->input_used -= taken;
    if (member->input_used > 0) {
        memmove(member->input, member->input + taken, member->input_used);
        return;
    }
    free(member->input);
    member->input = NULL;
    member->input_capacity = 0;
}

void member_received(Member *member)
{
    size_t taken = 0;
    input_grow(member);
    ssize_t got = recv(member->fd, member->input + member->input_used,
                       member->input_capacity - member->input_used, MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        die("the agent hung up on a member of %s", member->group ? member->group->name : "no group");
    }
    member->input_used += got > 0 ? (size_t)got : 0;
    while (member->input_used - taken >= 4) {
        Reader in = reader_of(slice_of(member->input + taken, member->input_used - taken));
        size_t size = reader_u32(&in);
        if (size > reader_left(&in)) {
            break;
        }
        member_answered(member, reader_take(&in, size));
        taken += 4 + size;
    }
    input_forget(member, taken);
}
