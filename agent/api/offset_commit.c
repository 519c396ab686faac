/* offset_commit.c: OffsetCommit and OffsetDelete. What cannot be committed is told at once; the rest goes to
 * the brain, commits together with those of other connections (offset_gather.h). */
#include "agent/api/api.h"
#include "agent/api/offset_metadata.h"
#include "agent/api/offset_gather.h"
#include "agent/brain/brain.h"
#include "agent/group/service.h"
#include "agent/jobs/lease.h"

enum {
    TOPIC_ID_OLDEST = 10,              /* first version of OffsetCommit with topic ids */
    PARTITIONS_MAX = 100 * 1000,       /* of a request */
    COMMIT_BYTES_MAX = 8 * 1024 * 1024 /* of all metadata of a request */
};

static const BrainStatement delete_statement = {
    "offset_delete",
    "SELECT d.error_code, d.errors FROM sh_offset_delete($1, $2, $3, $4) AS d",
    4,
    { BRAIN_INT4, BRAIN_TEXT, BRAIN_INT4S, BRAIN_INT4S },
};

typedef struct CommitState {
    KafkaRequest *request;
    KafkaOffsetCommitResponse response;
    OffsetCommitting committing;
    size_t metadata_bytes;
    bool refreshed;
} CommitState;

static void commit_begin(CommitState *state);

/* A member whose commit was accepted lives, as Kafka has it. */
static void commit_heard(const CommitState *state)
{
    const OffsetCommitting *committing = &state->committing;
    GroupService *service = api_agent(state->request)->groups;
    bool accepted = false;
    for (size_t i = 0; i < committing->count; i++) {
        accepted = accepted || *committing->entries[i].error_code == KAFKA_ERROR_NONE;
    }
    if (accepted && service && committing->member_id.size > 0) {
        group_heard(group_service_groups(service), committing->group, committing->member_id,
                    committing->epoch);
    }
}

static void commit_done(OffsetCommitting *committing)
{
    CommitState *state = committing->argument;
    commit_heard(state);
    kafka_request_reply(state->request, &state->response);
}

static void commit_refuse(CommitState *state, KafkaError error)
{
    for (int32_t i = 0; i < state->response.topics.count; i++) {
        KafkaOffsetCommitResponseTopic *topic = &state->response.topics.items[i];
        for (int32_t j = 0; j < topic->partitions.count; j++) {
            topic->partitions.items[j].error_code = (int16_t)error;
        }
    }
    kafka_request_reply(state->request, &state->response);
}

static void commit_partition(CommitState *state, const Topic *topic, KafkaError error,
                             const KafkaOffsetCommitRequestPartition *asked,
                             KafkaOffsetCommitResponsePartition *answer)
{
    Slice metadata = SLICE_NULL;
    answer->partition_index = asked->partition_index;
    if (error == KAFKA_ERROR_NONE && !topic_partition(topic, asked->partition_index)) {
        error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (error == KAFKA_ERROR_NONE && asked->committed_metadata.size > OFFSET_METADATA_MAX) {
        error = KAFKA_ERROR_OFFSET_METADATA_TOO_LARGE;
    } else if (error == KAFKA_ERROR_NONE &&
               !offset_metadata_to_text(&state->request->arena, asked->committed_metadata, &metadata)) {
        error = KAFKA_ERROR_OFFSET_METADATA_TOO_LARGE; /* all of the request's */
    }
    answer->error_code = (int16_t)error;
    if (error != KAFKA_ERROR_NONE) {
        return;
    }
    answer->error_code = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS; /* until the brain answers */
    state->metadata_bytes += metadata.size;
    state->committing.entries[state->committing.count++] = (OffsetEntry){
        .topic_id = topic->topic_id,
        .partition = asked->partition_index,
        .offset = asked->committed_offset,
        .leader_epoch = asked->committed_leader_epoch,
        .metadata = metadata,
        .error_code = &answer->error_code,
    };
}

static const Topic *commit_topic(const CommitState *state, const KafkaOffsetCommitRequestTopic *wanted,
                                 KafkaError *error)
{
    const Catalog *catalog = api_agent(state->request)->catalog;
    bool by_id = state->request->version >= TOPIC_ID_OLDEST;
    const Topic *topic =
        by_id ? catalog_topic_by_uuid(catalog, wanted->topic_id.bytes) : catalog_topic(catalog, wanted->name);
    *error = topic   ? KAFKA_ERROR_NONE
             : by_id ? KAFKA_ERROR_UNKNOWN_TOPIC_ID
                     : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    return topic;
}

/* False when a topic is unknown. */
static bool commit_resolve(CommitState *state)
{
    const KafkaOffsetCommitRequest *asked = state->request->message;
    bool known = true;
    state->committing.count = 0;
    state->metadata_bytes = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const KafkaOffsetCommitRequestTopic *wanted = &asked->topics.items[i];
        KafkaOffsetCommitResponseTopic *out = &state->response.topics.items[i];
        KafkaError error;
        const Topic *topic = commit_topic(state, wanted, &error);
        out->name = wanted->name;
        out->topic_id = wanted->topic_id;
        known = known && topic;
        for (int32_t j = 0; j < out->partitions.count; j++) {
            commit_partition(state, topic, error, &wanted->partitions.items[j], &out->partitions.items[j]);
        }
    }
    return known;
}

static void commit_refreshed(void *argument, const Status *status)
{
    (void)status;
    commit_begin(argument);
}

static void commit_begin(CommitState *state)
{
    Agent *agent = api_agent(state->request);
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return;
    }
    if (!commit_resolve(state) && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(agent->catalog, commit_refreshed, state);
        return;
    }
    if (state->committing.count == 0) {
        kafka_request_reply(state->request, &state->response);
    } else if (state->committing.count > PARTITIONS_MAX || state->metadata_bytes > COMMIT_BYTES_MAX) {
        commit_refuse(state, KAFKA_ERROR_INVALID_COMMIT_OFFSET_SIZE);
    } else if (!offset_gather_put(agent->offset_gather, &state->committing)) {
        kafka_request_reply(state->request, &state->response); /* what waits is to be tried again */
    }
}

/* Room for the whole answer; false when there is not enough. */
static bool commit_allocate(CommitState *state)
{
    KafkaRequest *request = state->request;
    const KafkaOffsetCommitRequest *asked = request->message;
    size_t total = 0;
    KafkaOffsetCommitResponseTopic *topics =
        kafka_items_new(&request->arena, &KAFKA_OFFSET_COMMIT_RESPONSE_TOPIC, (size_t)asked->topics.count);
    for (int32_t i = 0; topics && i < asked->topics.count; i++) {
        size_t count = (size_t)asked->topics.items[i].partitions.count;
        topics[i].partitions.items =
            kafka_items_new(&request->arena, &KAFKA_OFFSET_COMMIT_RESPONSE_PARTITION, count);
        topics[i].partitions.count = (int32_t)count;
        total += count;
        if (!topics[i].partitions.items) {
            return false;
        }
    }
    state->response.topics.items = topics;
    state->response.topics.count = asked->topics.count;
    state->committing.entries = arena_allocate_array(&request->arena, total, sizeof(OffsetEntry));
    return topics && state->committing.entries;
}

void offset_commit_handle(KafkaRequest *request)
{
    const KafkaOffsetCommitRequest *asked = request->message;
    CommitState *state = arena_allocate(&request->arena, sizeof(CommitState));
    if (state) {
        *state = (CommitState){ .request = request };
        kafka_defaults(&KAFKA_OFFSET_COMMIT_RESPONSE.root, &state->response);
    }
    if (!state || !commit_allocate(state)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
        return;
    }
    state->committing.group = asked->group_id;
    state->committing.member_id = asked->member_id;
    state->committing.instance_id = asked->group_instance_id;
    state->committing.epoch = asked->generation_id_or_member_epoch;
    state->committing.version = request->version;
    state->committing.done = commit_done;
    state->committing.argument = state;
    if (!api_text_is_storable(asked->group_id)) {
        commit_resolve(state);
        commit_refuse(state, KAFKA_ERROR_INVALID_GROUP_ID);
    } else if (!api_text_is_storable(asked->member_id) || !api_text_is_storable(asked->group_instance_id)) {
        commit_resolve(state);
        commit_refuse(state, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    } else {
        commit_begin(state);
    }
}

/* OffsetDelete. */

typedef struct DeleteState {
    KafkaRequest *request;
    KafkaOffsetDeleteResponse response;
    int16_t **error_codes; /* where the answers go, in the order of the question */
    int32_t *topic_ids;
    int32_t *partitions;
    size_t count;
    bool refreshed;
} DeleteState;

static void delete_begin(DeleteState *state);

static void delete_fail(DeleteState *state, KafkaError error)
{
    state->response.topics.count = 0;
    state->response.error_code = (int16_t)error;
    kafka_request_reply(state->request, &state->response);
}

static void delete_answered(const BrainResult *result, void *argument)
{
    DeleteState *state = argument;
    BrainArray errors = brain_int4s(result, 0, 1);
    int32_t code = brain_int4(result, 0, 0);
    int32_t *codes = arena_allocate_array(&state->request->arena, state->count, sizeof(int32_t));
    if (!status_is_ok(&result->status) || code != KAFKA_ERROR_NONE || !codes) {
        delete_fail(state, status_is_ok(&result->status) ? (KafkaError)code : api_group_error(result));
        return;
    }
    int32_t count = brain_array_int4(&errors, KAFKA_ERROR_UNKNOWN_SERVER_ERROR, codes, (int32_t)state->count);
    for (int32_t i = 0; i < count; i++) {
        *state->error_codes[i] = (int16_t)codes[i];
    }
    kafka_request_reply(state->request, &state->response);
}

static void delete_ask(DeleteState *state)
{
    const KafkaOffsetDeleteRequest *asked = state->request->message;
    Agent *agent = api_agent(state->request);
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    brain_put_text(&parameters, asked->group_id);
    brain_put_int4s(&parameters, state->topic_ids, state->count);
    brain_put_int4s(&parameters, state->partitions, state->count);
    brain_send(agent->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &delete_statement, .parameters = &parameters }, delete_answered,
               state);
}

/* False when a topic is unknown. */
static bool delete_resolve(DeleteState *state)
{
    const KafkaOffsetDeleteRequest *asked = state->request->message;
    bool known = true;
    state->count = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const KafkaOffsetDeleteRequestTopic *wanted = &asked->topics.items[i];
        KafkaOffsetDeleteResponseTopic *out = &state->response.topics.items[i];
        const Topic *topic = catalog_topic(api_agent(state->request)->catalog, wanted->name);
        out->name = wanted->name;
        known = known && topic;
        for (int32_t j = 0; j < out->partitions.count; j++) {
            int32_t index = wanted->partitions.items[j].partition_index;
            out->partitions.items[j].partition_index = index;
            out->partitions.items[j].error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
            if (topic && topic_partition(topic, index)) {
                state->error_codes[state->count] = &out->partitions.items[j].error_code;
                state->topic_ids[state->count] = topic->topic_id;
                state->partitions[state->count++] = index;
            }
        }
    }
    return known;
}

static void delete_refreshed(void *argument, const Status *status)
{
    (void)status;
    delete_begin(argument);
}

static void delete_begin(DeleteState *state)
{
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
    } else if (!delete_resolve(state) && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(api_agent(state->request)->catalog, delete_refreshed, state);
    } else if (state->count > PARTITIONS_MAX) {
        delete_fail(state, KAFKA_ERROR_INVALID_REQUEST);
    } else {
        delete_ask(state); /* also when nothing is left to be deleted: is there such a group? */
    }
}

static bool delete_allocate(DeleteState *state)
{
    KafkaRequest *request = state->request;
    const KafkaOffsetDeleteRequest *asked = request->message;
    size_t total = 0;
    KafkaOffsetDeleteResponseTopic *topics =
        kafka_items_new(&request->arena, &KAFKA_OFFSET_DELETE_RESPONSE_TOPIC, (size_t)asked->topics.count);
    for (int32_t i = 0; topics && i < asked->topics.count; i++) {
        size_t count = (size_t)asked->topics.items[i].partitions.count;
        topics[i].partitions.items =
            kafka_items_new(&request->arena, &KAFKA_OFFSET_DELETE_RESPONSE_PARTITION, count);
        topics[i].partitions.count = (int32_t)count;
        total += count;
        if (!topics[i].partitions.items) {
            return false;
        }
    }
    state->response.topics.items = topics;
    state->response.topics.count = asked->topics.count;
    state->error_codes = arena_allocate_array(&request->arena, total, sizeof(*state->error_codes));
    state->topic_ids = arena_allocate_array(&request->arena, total, sizeof(int32_t));
    state->partitions = arena_allocate_array(&request->arena, total, sizeof(int32_t));
    return topics && state->error_codes && state->topic_ids && state->partitions;
}

void offset_delete_handle(KafkaRequest *request)
{
    const KafkaOffsetDeleteRequest *asked = request->message;
    DeleteState *state = arena_allocate(&request->arena, sizeof(DeleteState));
    if (state) {
        *state = (DeleteState){ .request = request };
        kafka_defaults(&KAFKA_OFFSET_DELETE_RESPONSE.root, &state->response);
    }
    if (!state || !delete_allocate(state)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    } else if (!api_text_is_storable(asked->group_id)) {
        delete_fail(state, KAFKA_ERROR_INVALID_GROUP_ID);
    } else {
        delete_begin(state);
    }
}
