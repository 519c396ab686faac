/* consumer_groups.c: ConsumerGroupHeartbeat (KIP-848). What has no news in it and finds none is answered from
 * the roster; everything else is one call of sh_member_heartbeat(). Any agent answers for any group. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/metrics.h"
#include "agent/roster/roster_service.h"

enum { EPOCH_JOINS = 0, UUID_BYTES = 16, MEMBER_ID_SIZE = 23 };

static const BrainStatement heartbeat_statement = {
    "member_heartbeat",
    "SELECT error_code, error_message, epoch, topic_uuids, partitions, group_id, version, settled, "
    "heartbeat_interval_ms, session_timeout_ms "
    "FROM sh_member_heartbeat($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    13,
    { BRAIN_TEXT, BRAIN_TEXT, BRAIN_INT4, BRAIN_TEXT, BRAIN_TEXT, BRAIN_INT4, BRAIN_TEXTS, BRAIN_TEXT,
      BRAIN_TEXT, BRAIN_UUIDS, BRAIN_INT4S, BRAIN_TEXT, BRAIN_TEXT }
};

typedef struct Beat {
    KafkaRequest *request;
    Slice member_id; /* the client's, or the one it was given */
    int64_t asked_ms;
} Beat;

static Roster *beat_roster(const KafkaRequest *request)
{
    RosterService *service = api_agent(request)->roster;
    return service ? roster_service_roster(service) : NULL;
}

static RosterBeat beat_of(const Beat *beat, int32_t epoch)
{
    const KafkaConsumerGroupHeartbeatRequest *said = beat->request->message;
    return (RosterBeat){ said->group_id, beat->member_id, said->instance_id, epoch };
}

/* Nothing but that it lives. */
static bool beat_is_quiet(const KafkaConsumerGroupHeartbeatRequest *said)
{
    return said->member_epoch > EPOCH_JOINS && said->rebalance_timeout_ms == -1 &&
           said->subscribed_topic_names.count < 0 && slice_is_null(said->subscribed_topic_regex) &&
           slice_is_null(said->server_assignor) && said->topic_partitions.count < 0;
}

static void beat_reply(const Beat *beat, KafkaConsumerGroupHeartbeatResponse *response, int32_t epoch,
                       int32_t heartbeat_interval_ms)
{
    response->member_id = beat->member_id;
    response->member_epoch = epoch;
    response->heartbeat_interval_ms = heartbeat_interval_ms;
    kafka_request_reply(beat->request, response);
}

/* Partitions arrive sorted by topic: as many topics as there are different neighbours. */
static int32_t count_topics(Slice uuids)
{
    int32_t count = uuids.size > 0 ? 1 : 0;
    for (size_t at = UUID_BYTES; at + UUID_BYTES <= uuids.size; at += UUID_BYTES) {
        count += memcmp(uuids.data + at, uuids.data + at - UUID_BYTES, UUID_BYTES) != 0;
    }
    return count;
}

/* False when the request's memory is too small for it. */
static bool beat_put_assignment(const Beat *beat, const BrainResult *result,
                                KafkaConsumerGroupHeartbeatResponse *response)
{
    Arena *arena = &beat->request->arena;
    Slice uuids = brain_bytes(result, 0, 3);
    BrainArray partitions = brain_int4s(result, 0, 4);
    int32_t count = partitions.count;
    if ((size_t)count * UUID_BYTES != uuids.size) {
        return count == 0;
    }
    int32_t *numbers = arena_allocate_array(arena, (size_t)count, sizeof(int32_t));
    KafkaConsumerGroupHeartbeatResponseTopicPartition *topics = kafka_items_new(
        arena, &KAFKA_CONSUMER_GROUP_HEARTBEAT_RESPONSE_TOPIC_PARTITION, (size_t)count_topics(uuids));
    if (!numbers || !topics || brain_array_int4(&partitions, -1, numbers, count) != count) {
        return false;
    }
    response->assignment->topic_partitions.items = topics;
    for (int32_t i = 0; i < count; i++) {
        const uint8_t *uuid = uuids.data + (size_t)i * UUID_BYTES;
        if (i == 0 || memcmp(uuid, uuid - UUID_BYTES, UUID_BYTES) != 0) {
            KafkaConsumerGroupHeartbeatResponseTopicPartition *topic =
                &topics[response->assignment->topic_partitions.count++];
            memcpy(topic->topic_id.bytes, uuid, UUID_BYTES);
            topic->partitions.items = &numbers[i];
        }
        topics[response->assignment->topic_partitions.count - 1].partitions.count++;
    }
    return true;
}

static bool beat_assign(const Beat *beat, const BrainResult *result,
                        KafkaConsumerGroupHeartbeatResponse *response)
{
    if (brain_is_null(result, 0, 4)) {
        return true; /* as before */
    }
    response->assignment = arena_allocate(&beat->request->arena, sizeof(*response->assignment));
    if (!response->assignment) {
        return false;
    }
    kafka_defaults(&KAFKA_CONSUMER_GROUP_HEARTBEAT_RESPONSE_ASSIGNMENT, response->assignment);
    return beat_put_assignment(beat, result, response);
}

static void beat_remember(const Beat *beat, const BrainResult *result, int32_t epoch)
{
    const KafkaConsumerGroupHeartbeatRequest *said = beat->request->message;
    Roster *roster = beat_roster(beat->request);
    if (!roster) {
        return;
    }
    if (brain_int2(result, 0, 0) != KAFKA_ERROR_NONE || epoch < EPOCH_JOINS || brain_is_null(result, 0, 5)) {
        roster_forget(roster, said->group_id, beat->member_id);
        return;
    }
    RosterBeat known = beat_of(beat, epoch);
    RosterAnswer answer = {
        .group_id = brain_int4(result, 0, 5),
        .version = brain_int8(result, 0, 6),
        .settled = brain_bool(result, 0, 7),
        .heartbeat_interval_ms = brain_int4(result, 0, 8),
        .session_timeout_ms = brain_int4(result, 0, 9),
    };
    roster_learn(roster, &known, &answer, beat->asked_ms);
}

/* A lock that somebody else has (of the group, for 100 ms) is worth another try at the same agent; without a
 * brain the client is to look for another one. */
static KafkaError beat_error(const BrainResult *result)
{
    static const char lock_not_available[] = "55P03";
    if (strcmp(result->sqlstate, lock_not_available) == 0) {
        metric_add(METRIC_ROSTER_BEATS_BUSY, 1);
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    }
    KafkaError error = api_brain_error(result);
    switch (error) {
    case KAFKA_ERROR_REQUEST_TIMED_OUT:
    case KAFKA_ERROR_UNKNOWN_SERVER_ERROR:
        return KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
    case KAFKA_ERROR_CLUSTER_AUTHORIZATION_FAILED:
        return KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED;
    default:
        return error;
    }
}

static void beat_answered(const BrainResult *result, void *argument)
{
    Beat *beat = argument;
    KafkaConsumerGroupHeartbeatResponse response;
    kafka_defaults(&KAFKA_CONSUMER_GROUP_HEARTBEAT_RESPONSE.root, &response);
    if (!status_is_ok(&result->status) || brain_row_count(result) != 1) {
        response.error_code = (int16_t)beat_error(result);
        response.error_message = api_copy(beat->request, slice_of_text(result->message));
        kafka_request_reply(beat->request, &response);
        return;
    }
    int32_t epoch = brain_int4(result, 0, 2);
    beat_remember(beat, result, epoch);
    response.error_code = brain_int2(result, 0, 0);
    if (response.error_code != KAFKA_ERROR_NONE) {
        response.error_message = api_copy(beat->request, brain_text(result, 0, 1));
        kafka_request_reply(beat->request, &response);
    } else if (!beat_assign(beat, result, &response)) {
        kafka_request_disconnect(beat->request, "the member's assignment does not fit in a request's memory");
    } else {
        beat_reply(beat, &response, epoch, brain_int4(result, 0, 8));
    }
}

/* The partitions that the member says it owns, as two arrays side by side; null when it does not say. */
static bool beat_put_owned(const KafkaConsumerGroupHeartbeatRequest *said, Arena *arena,
                           BrainParameters *parameters)
{
    size_t count = 0;
    for (int32_t i = 0; i < said->topic_partitions.count; i++) {
        const KafkaInt32Array *partitions = &said->topic_partitions.items[i].partitions;
        count += partitions->count > 0 ? (size_t)partitions->count : 0;
    }
    bool says = said->topic_partitions.count >= 0;
    uint8_t *uuids = arena_allocate_array(arena, count, UUID_BYTES);
    int32_t *numbers = arena_allocate_array(arena, count, sizeof(int32_t));
    if (!uuids || !numbers) {
        return false;
    }
    count = 0;
    for (int32_t i = 0; i < said->topic_partitions.count; i++) {
        const KafkaConsumerGroupHeartbeatRequestTopicPartition *topic = &said->topic_partitions.items[i];
        for (int32_t p = 0; p < topic->partitions.count; p++, count++) {
            memcpy(uuids + count * UUID_BYTES, topic->topic_id.bytes, UUID_BYTES);
            numbers[count] = topic->partitions.items[p];
        }
    }
    brain_put_uuids(parameters, says ? uuids : NULL, count);
    brain_put_int4s(parameters, says ? numbers : NULL, count);
    return true;
}

static bool beat_put(const Beat *beat, BrainParameters *parameters)
{
    KafkaRequest *request = beat->request;
    const KafkaConsumerGroupHeartbeatRequest *said = request->message;
    brain_put_text(parameters, said->group_id);
    brain_put_text(parameters, beat->member_id);
    brain_put_int4(parameters, said->member_epoch);
    brain_put_text(parameters, said->instance_id);
    brain_put_text(parameters, said->rack_id);
    brain_put_int4(parameters, said->rebalance_timeout_ms);
    if (said->subscribed_topic_names.count < 0) {
        brain_put_null(parameters);
    } else {
        brain_put_texts(parameters, said->subscribed_topic_names.items,
                        (size_t)said->subscribed_topic_names.count);
    }
    brain_put_text(parameters, said->subscribed_topic_regex);
    brain_put_text(parameters, said->server_assignor);
    bool put = beat_put_owned(said, &request->arena, parameters);
    brain_put_text(parameters, request->client_id);
    brain_put_text(parameters, api_client_host(request));
    return put;
}

static void beat_ask(Beat *beat)
{
    KafkaRequest *request = beat->request;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    if (!beat_put(beat, &parameters)) {
        brain_parameters_free(&parameters);
        kafka_request_disconnect(request, "a heartbeat with more partitions than a request's memory holds");
        return;
    }
    metric_add(METRIC_ROSTER_BEATS_BRAIN, 1);
    beat->asked_ms = time_ms();
    brain_send(api_agent(request)->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &heartbeat_statement, .parameters = &parameters }, beat_answered,
               beat);
}

/* Version 0 lets the server name a new member; from version 1 on the client does, and an empty name is an
 * error that the brain tells. */
static Slice beat_name_member(KafkaRequest *request, const KafkaConsumerGroupHeartbeatRequest *said)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t random[MEMBER_ID_SIZE - 1];
    char *name = arena_allocate(&request->arena, MEMBER_ID_SIZE);
    if (request->version > 0 || said->member_id.size > 0 || said->member_epoch != EPOCH_JOINS || !name ||
        uv_random(NULL, NULL, random, sizeof(random), 0, NULL) != 0) {
        return said->member_id;
    }
    for (size_t i = 0; i < sizeof(random); i++) {
        name[i] = digits[random[i] % (sizeof(digits) - 1)];
    }
    return slice_of(name, sizeof(random));
}

void consumer_group_heartbeat_handle(KafkaRequest *request)
{
    const KafkaConsumerGroupHeartbeatRequest *said = request->message;
    Beat *beat = arena_allocate(&request->arena, sizeof(Beat));
    if (!beat) {
        kafka_request_disconnect(request, "memory is short");
        return;
    }
    *beat = (Beat){ .request = request, .member_id = beat_name_member(request, said) };
    RosterBeat quiet = beat_of(beat, said->member_epoch);
    Roster *roster = beat_roster(request);
    int32_t heartbeat_interval_ms = 0;
    if (!roster || !beat_is_quiet(said) || !roster_knows(roster, &quiet, time_ms(), &heartbeat_interval_ms)) {
        beat_ask(beat);
        return;
    }
    KafkaConsumerGroupHeartbeatResponse response;
    kafka_defaults(&KAFKA_CONSUMER_GROUP_HEARTBEAT_RESPONSE.root, &response);
    metric_add(METRIC_ROSTER_BEATS_MEMORY, 1);
    beat_reply(beat, &response, said->member_epoch, heartbeat_interval_ms);
}
