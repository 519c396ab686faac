/* classic_members.c: JoinGroup, SyncGroup, Heartbeat and LeaveGroup of consumers that speak the classic
 * protocol in a group whose other members speak KIP-848's: each is one call of the brain, which assigns. */
#include <string.h>

#include "agent/api/group_request.h"
#include "agent/brain/brain.h"

enum { UNIQUE_SIZE = 36, LEAVES_MAX = 1000 /* in one call of the brain */ };

static const BrainStatement join_statement = {
    "classic_member_join",
    "SELECT error_code, generation, protocol_name "
    "FROM sh_classic_member_join($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    9,
    { BRAIN_TEXT, BRAIN_TEXT, BRAIN_TEXT, BRAIN_TEXT, BRAIN_TEXT, BRAIN_INT4, BRAIN_INT4, BRAIN_TEXTS,
      BRAIN_BYTEAS },
};
static const BrainStatement sync_statement = {
    "classic_member_sync",
    "SELECT error_code, assignment FROM sh_classic_member_sync($1, $2, $3, $4)",
    4,
    { BRAIN_TEXT, BRAIN_TEXT, BRAIN_TEXT, BRAIN_INT4 },
};
static const BrainStatement heartbeat_statement = {
    "classic_member_heartbeat",
    "SELECT sh_classic_member_heartbeat($1, $2, $3, $4)",
    4,
    { BRAIN_TEXT, BRAIN_TEXT, BRAIN_TEXT, BRAIN_INT4 },
};
static const BrainStatement leave_statement = {
    "classic_member_leave",
    "SELECT l.error_code FROM unnest(sh_classic_member_leave($1, $2, $3)) WITH ORDINALITY AS l (error_code, "
    "n) "
    "ORDER BY l.n",
    3,
    { BRAIN_TEXT, BRAIN_TEXTS, BRAIN_TEXTS },
};

static void classic_ask(GroupRequest *state, const BrainStatement *statement, BrainParameters *parameters,
                        BrainCallback answered)
{
    brain_send(api_agent(state->request)->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = statement, .parameters = parameters }, answered, state);
}

/* Whatever keeps the brain from answering, the client is to look for a coordinator and ask again. */
static KafkaError classic_error(const BrainResult *result)
{
    if (!status_is_ok(&result->status)) {
        int named = brain_kafka_error(result);
        return named > 0                                ? (KafkaError)named
               : result->status.code == STATUS_DENIED   ? KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED
               : strcmp(result->sqlstate, "55P03") == 0 ? KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS
                                                        : KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
    }
    return brain_row_count(result) > 0 ? (KafkaError)brain_int2(result, 0, 0)
                                       : KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
}

static void classic_finish(GroupRequest *state)
{
    GroupService *service = state->service;
    group_request_end(state);
    group_service_settle(service);
}

static void classic_refuse(GroupRequest *state, KafkaError error)
{
    GroupService *service = state->service;
    state->refuse(state, error);
    group_service_settle(service);
}

/* JoinGroup. */

static void join_answered(const BrainResult *result, void *argument)
{
    GroupRequest *state = argument;
    KafkaJoinGroupResponse *response = &state->response.joined;
    KafkaError error = classic_error(result);
    if (group_request_is_over(state)) {
        return;
    }
    if (error != KAFKA_ERROR_NONE) {
        classic_refuse(state, error);
        return;
    }
    response->generation_id = brain_int4(result, 0, 1);
    response->protocol_type = SLICE_LITERAL("consumer");
    response->protocol_name = group_copy(state, brain_text(result, 0, 2));
    response->leader = slice_of("", 0); /* nobody assigns but the brain */
    classic_finish(state);
}

/* Names a member that has no id yet. True when it is to come again with it first. */
static bool join_must_know_id(GroupRequest *state)
{
    const KafkaJoinGroupRequest *asked = state->request->message;
    KafkaJoinGroupResponse *response = &state->response.joined;
    response->member_id = asked->member_id;
    if (asked->member_id.size > 0) {
        return false;
    }
    bool is_static = !slice_is_null(asked->group_instance_id);
    Slice name = is_static ? asked->group_instance_id : group_request_client_id(state);
    size_t size = name.size < GROUP_MEMBER_ID_MAX - UNIQUE_SIZE - 1 ? name.size : 0;
    uint8_t *id = arena_allocate(&state->request->arena, size + 1 + UNIQUE_SIZE);
    if (id) {
        if (size > 0) {
            memcpy(id, name.data, size);
        }
        id[size] = '-';
        group_service_unique(state->service, (char *)id + size + 1);
        response->member_id = slice_of(id, size + 1 + UNIQUE_SIZE);
    }
    return !is_static && state->request->version >= JOIN_KNOWN_ID_OLDEST;
}

static void join_ask(GroupRequest *state)
{
    const KafkaJoinGroupRequest *asked = state->request->message;
    size_t count = asked->protocols.count > 0 ? (size_t)asked->protocols.count : 0;
    Slice *names = arena_allocate_array(&state->request->arena, 2 * count + 1, sizeof(Slice));
    if (!names) {
        classic_refuse(state, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = asked->protocols.items[i].name;
        names[count + i] = asked->protocols.items[i].metadata;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, asked->group_id);
    brain_put_text(&parameters, state->response.joined.member_id);
    brain_put_text(&parameters, asked->group_instance_id);
    brain_put_text(&parameters, group_request_client_id(state));
    brain_put_text(&parameters, api_client_host(state->request));
    brain_put_int4(&parameters, asked->session_timeout_ms);
    brain_put_int4(&parameters, asked->rebalance_timeout_ms >= 0 ? asked->rebalance_timeout_ms
                                                                 : asked->session_timeout_ms);
    brain_put_texts(&parameters, names, count);
    brain_put_byteas(&parameters, names + count, count);
    classic_ask(state, &join_statement, &parameters, join_answered);
}

void classic_member_join(GroupRequest *state)
{
    const KafkaJoinGroupRequest *asked = state->request->message;
    if (!slice_equals(asked->protocol_type, SLICE_LITERAL("consumer")) || asked->protocols.count < 1) {
        classic_refuse(state, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    } else if (join_must_know_id(state)) {
        Slice given = state->response.joined.member_id;
        state->refuse(state, KAFKA_ERROR_MEMBER_ID_REQUIRED);
        state->response.joined.member_id = given; /* instead of the empty one that was asked with */
        group_service_settle(state->service);
    } else {
        join_ask(state);
    }
}

/* SyncGroup. */

static void sync_answered(const BrainResult *result, void *argument)
{
    GroupRequest *state = argument;
    const KafkaSyncGroupRequest *asked = state->request->message;
    KafkaSyncGroupResponse *response = &state->response.synced;
    KafkaError error = classic_error(result);
    if (group_request_is_over(state)) {
        return;
    }
    if (error != KAFKA_ERROR_NONE) {
        /* Clients do not expect to hear of loading here. */
        classic_refuse(state, error == KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS
                                  ? KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE
                                  : error);
        return;
    }
    response->protocol_type = SLICE_LITERAL("consumer");
    response->protocol_name = asked->protocol_name; /* it was told in the answer to its JoinGroup */
    response->assignment = group_copy(state, brain_bytes(result, 0, 1));
    classic_finish(state);
}

static void classic_ask_member(GroupRequest *state, const BrainStatement *statement, Slice group,
                               Slice member_id, Slice instance_id, int32_t generation, BrainCallback answered)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, group);
    brain_put_text(&parameters, member_id);
    brain_put_text(&parameters, instance_id);
    brain_put_int4(&parameters, generation);
    classic_ask(state, statement, &parameters, answered);
}

void classic_member_sync(GroupRequest *state)
{
    const KafkaSyncGroupRequest *asked = state->request->message;
    classic_ask_member(state, &sync_statement, asked->group_id, asked->member_id, asked->group_instance_id,
                       asked->generation_id, sync_answered);
}

/* Heartbeat. */

static void heartbeat_answered(const BrainResult *result, void *argument)
{
    GroupRequest *state = argument;
    KafkaError error = classic_error(result);
    if (!group_request_is_over(state)) {
        classic_refuse(state, error);
    }
}

void classic_member_heartbeat(GroupRequest *state)
{
    const KafkaHeartbeatRequest *asked = state->request->message;
    classic_ask_member(state, &heartbeat_statement, asked->group_id, asked->member_id,
                       asked->group_instance_id, asked->generation_id, heartbeat_answered);
}

/* LeaveGroup. */

static void leave_answered(const BrainResult *result, void *argument)
{
    GroupRequest *state = argument;
    const KafkaLeaveGroupRequest *asked = state->request->message;
    KafkaLeaveGroupResponse *response = &state->response.left;
    int32_t count = asked->members.count > 0 ? asked->members.count : 0;
    if (group_request_is_over(state)) {
        return;
    }
    response->members.items =
        kafka_items_new(&state->request->arena, &KAFKA_LEAVE_GROUP_RESPONSE_MEMBER, (size_t)count);
    if (!status_is_ok(&result->status) || !response->members.items) {
        classic_refuse(state, classic_error(result));
        return;
    }
    if (asked->members.count <= 0) {
        response->error_code = (int16_t)classic_error(result);
    }
    for (int32_t i = 0; i < count; i++) {
        KafkaLeaveGroupResponseMember *out = &response->members.items[response->members.count++];
        out->member_id = asked->members.items[i].member_id;
        out->group_instance_id = asked->members.items[i].group_instance_id;
        out->error_code = brain_int2(result, i, 0);
    }
    classic_finish(state);
}

void classic_member_leave(GroupRequest *state)
{
    const KafkaLeaveGroupRequest *asked = state->request->message;
    bool one = asked->members.count <= 0; /* versions before 3 name it in the request itself */
    size_t count = one ? 1 : (size_t)asked->members.count;
    Slice *ids =
        count <= LEAVES_MAX ? arena_allocate_array(&state->request->arena, 2 * count, sizeof(Slice)) : NULL;
    if (count > LEAVES_MAX) {
        classic_refuse(state, KAFKA_ERROR_INVALID_REQUEST);
        return;
    }
    if (!ids) {
        classic_refuse(state, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        ids[i] = one ? asked->member_id : asked->members.items[i].member_id;
        Slice instance = one ? SLICE_NULL : asked->members.items[i].group_instance_id;
        ids[count + i] = slice_is_null(instance) ? slice_of("", 0) : instance; /* the brain's word for none */
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, asked->group_id);
    brain_put_texts(&parameters, ids, count);
    brain_put_texts(&parameters, ids + count, count);
    classic_ask(state, &leave_statement, &parameters, leave_answered);
}
