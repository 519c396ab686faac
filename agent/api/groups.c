/* groups.c: JoinGroup, SyncGroup, Heartbeat and LeaveGroup of classic consumer groups: from requests to the
 * coordinator (agent/group/) and back. A reply is made when the coordinator answers, and leaves when it has
 * settled. */
#include "agent/api/group_request.h"
#include "agent/utf8.h"

enum { JOIN_SKIP_OLDEST = 9, JOIN_NULL_PROTOCOL_OLDEST = 7 };
enum { SYNC_PROTOCOL_OLDEST = 5, LEAVE_MEMBERS_OLDEST = 3 };

/* JoinGroup. */

static void join_refuse(GroupRequest *state, KafkaError error)
{
    const KafkaJoinGroupRequest *asked = state->request->message;
    KafkaJoinGroupResponse *response = &state->response.joined;
    response->error_code = (int16_t)error;
    response->member_id = asked->member_id;
    response->leader = slice_of("", 0);
    response->protocol_name =
        state->request->version < JOIN_NULL_PROTOCOL_OLDEST ? slice_of("", 0) : SLICE_NULL;
    group_request_end(state);
}

/* What the leader needs to know to assign. */
static void join_list_members(GroupRequest *state, const Group *group)
{
    KafkaJoinGroupResponse *response = &state->response.joined;
    response->members.items =
        kafka_items_new(&state->request->arena, &KAFKA_JOIN_GROUP_RESPONSE_MEMBER, group_member_count(group));
    for (const GroupMember *member = group_first(group); member && response->members.items;
         member = group_next(member)) {
        GroupStoredMember known = group_member_stored(member);
        KafkaJoinGroupResponseMember *out = &response->members.items[response->members.count++];
        Slice metadata = group_member_metadata(member);
        out->member_id = group_copy(state, known.member_id);
        out->group_instance_id = group_copy(state, known.instance_id);
        out->metadata = group_copy(state, slice_is_null(metadata) ? slice_of("", 0) : metadata);
    }
}

static void join_answered(GroupWait *wait, const GroupAnswer *answer)
{
    GroupRequest *state = REQUEST_OF(wait, wait);
    KafkaJoinGroupResponse *response = &state->response.joined;
    bool may_be_null = state->request->version >= JOIN_NULL_PROTOCOL_OLDEST;
    response->error_code = (int16_t)answer->error;
    response->generation_id = answer->generation;
    response->protocol_type = group_copy(state, answer->protocol_type);
    response->protocol_name = slice_is_null(answer->protocol_name) && !may_be_null
                                  ? slice_of("", 0)
                                  : group_copy(state, answer->protocol_name);
    response->leader = group_copy(state, answer->leader);
    response->member_id = group_copy(state, answer->member_id);
    response->skip_assignment = answer->skip_assignment;
    if (answer->members) {
        join_list_members(state, answer->members);
    }
    group_request_end(state);
}

static void join_open(GroupRequest *state, Group *group)
{
    const KafkaJoinGroupRequest *asked = state->request->message;
    size_t count = asked->protocols.count > 0 ? (size_t)asked->protocols.count : 0;
    GroupProtocol *protocols = arena_allocate_array(&state->request->arena, count, sizeof(GroupProtocol));
    if (!protocols) {
        join_refuse(state, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        protocols[i] = (GroupProtocol){ asked->protocols.items[i].name, asked->protocols.items[i].metadata };
    }
    bool has_timeout = asked->rebalance_timeout_ms >= 0;
    GroupJoin join = {
        .member_id = asked->member_id,
        .instance_id = asked->group_instance_id,
        .client_id = group_request_client_id(state),
        .client_host = api_client_host(state->request),
        .session_timeout_ms = asked->session_timeout_ms,
        .rebalance_timeout_ms = has_timeout ? asked->rebalance_timeout_ms : asked->session_timeout_ms,
        .protocol_type = asked->protocol_type,
        .protocols = protocols,
        .protocol_count = count,
        .requires_known_id = state->request->version >= JOIN_KNOWN_ID_OLDEST,
        .supports_skip = state->request->version >= JOIN_SKIP_OLDEST,
    };
    state->wait.answered = join_answered;
    group_request_waits(state);
    group_join(group, &join, &state->wait);
}

static void join_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    GroupRequest *state = REQUEST_OF(opening, opening);
    if (group_request_is_over(state)) {
        return;
    }
    switch (outcome) {
    case GROUP_OPEN:
        join_open(state, group);
        break;
    case GROUP_MISSING:
        join_refuse(state, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
        break;
    case GROUP_IS_CONSUMER:
        classic_member_join(state);
        break;
    case GROUP_REFUSED:
        join_refuse(state, error);
        break;
    }
}

static KafkaError join_complaint(const KafkaRequest *request)
{
    const KafkaJoinGroupRequest *asked = request->message;
    const Settings *settings = &api_agent(request)->settings;
    if (asked->session_timeout_ms < settings->group_session_min_ms ||
        asked->session_timeout_ms > settings->group_session_max_ms) {
        return KAFKA_ERROR_INVALID_SESSION_TIMEOUT;
    }
    bool texts = utf8_is_text(asked->protocol_type) && api_text_is_storable(asked->group_instance_id) &&
                 utf8_is_text(asked->member_id) && asked->member_id.size <= GROUP_MEMBER_ID_MAX &&
                 asked->protocols.count <= GROUP_PROTOCOLS_MAX;
    for (int32_t i = 0; texts && i < asked->protocols.count; i++) {
        texts = utf8_is_text(asked->protocols.items[i].name);
    }
    bool named = slice_is_null(asked->group_instance_id) || asked->group_instance_id.size > 0;
    return texts && named ? KAFKA_ERROR_NONE : KAFKA_ERROR_INVALID_REQUEST;
}

void join_group_handle(KafkaRequest *request)
{
    const KafkaJoinGroupRequest *asked = request->message;
    GroupRequest *state = group_request_new(request, &KAFKA_JOIN_GROUP_RESPONSE.root, join_refuse);
    if (state) {
        group_request_begin(state, asked->group_id, asked->member_id.size == 0, join_complaint(request),
                            join_opened);
    }
}

/* SyncGroup. */

static void sync_refuse(GroupRequest *state, KafkaError error)
{
    state->response.synced.error_code = (int16_t)error;
    state->response.synced.assignment = slice_of("", 0);
    group_request_end(state);
}

static void sync_answered(GroupWait *wait, const GroupAnswer *answer)
{
    GroupRequest *state = REQUEST_OF(wait, wait);
    KafkaSyncGroupResponse *response = &state->response.synced;
    response->error_code = (int16_t)answer->error;
    response->protocol_type = group_copy(state, answer->protocol_type);
    response->protocol_name = group_copy(state, answer->protocol_name);
    response->assignment = group_copy(state, answer->assignment);
    group_request_end(state);
}

static void sync_open(GroupRequest *state, Group *group)
{
    const KafkaSyncGroupRequest *asked = state->request->message;
    size_t count = asked->assignments.count > 0 ? (size_t)asked->assignments.count : 0;
    GroupAssignment *assignments =
        arena_allocate_array(&state->request->arena, count, sizeof(GroupAssignment));
    if (!assignments) {
        sync_refuse(state, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        assignments[i] = (GroupAssignment){ asked->assignments.items[i].member_id,
                                            asked->assignments.items[i].assignment };
    }
    GroupSync sync = {
        .member_id = asked->member_id,
        .instance_id = asked->group_instance_id,
        .generation = asked->generation_id,
        .protocol_type = asked->protocol_type,
        .protocol_name = asked->protocol_name,
        .assignments = assignments,
        .assignment_count = count,
    };
    state->wait.answered = sync_answered;
    group_request_waits(state);
    group_sync(group, &sync, &state->wait);
}

/* A group that is not there has no such member. */
static KafkaError opened_error(GroupOpened outcome, KafkaError error)
{
    return outcome == GROUP_REFUSED ? error : KAFKA_ERROR_UNKNOWN_MEMBER_ID;
}

static void sync_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    GroupRequest *state = REQUEST_OF(opening, opening);
    if (group_request_is_over(state)) {
        return;
    }
    if (outcome == GROUP_OPEN) {
        sync_open(state, group);
    } else if (outcome == GROUP_IS_CONSUMER) {
        classic_member_sync(state);
    } else {
        sync_refuse(state, opened_error(outcome, error));
    }
}

void sync_group_handle(KafkaRequest *request)
{
    const KafkaSyncGroupRequest *asked = request->message;
    GroupRequest *state = group_request_new(request, &KAFKA_SYNC_GROUP_RESPONSE.root, sync_refuse);
    bool says = !slice_is_null(asked->protocol_type) && !slice_is_null(asked->protocol_name);
    if (state) {
        group_request_begin(state, asked->group_id, false,
                            request->version >= SYNC_PROTOCOL_OLDEST && !says
                                ? KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL
                                : KAFKA_ERROR_NONE,
                            sync_opened);
    }
}

/* Heartbeat. */

/* While a group is being loaded its members are taken to be in it, as Kafka does: clients do not expect to
 * hear of it here. */
static void heartbeat_refuse(GroupRequest *state, KafkaError error)
{
    bool loading = error == KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    state->response.beaten.error_code = (int16_t)(loading ? KAFKA_ERROR_NONE : error);
    group_request_end(state);
}

static void heartbeat_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    GroupRequest *state = REQUEST_OF(opening, opening);
    const KafkaHeartbeatRequest *asked = state->request->message;
    if (group_request_is_over(state)) {
        return;
    }
    if (outcome == GROUP_IS_CONSUMER) {
        classic_member_heartbeat(state);
        return;
    }
    heartbeat_refuse(
        state, outcome == GROUP_OPEN
                   ? group_heartbeat(group, asked->member_id, asked->group_instance_id, asked->generation_id)
                   : opened_error(outcome, error));
}

void heartbeat_handle(KafkaRequest *request)
{
    const KafkaHeartbeatRequest *asked = request->message;
    GroupRequest *state = group_request_new(request, &KAFKA_HEARTBEAT_RESPONSE.root, heartbeat_refuse);
    if (state) {
        group_request_begin(state, asked->group_id, false, KAFKA_ERROR_NONE, heartbeat_opened);
    }
}

/* LeaveGroup. */

static void leave_refuse(GroupRequest *state, KafkaError error)
{
    state->response.left.error_code = (int16_t)error;
    group_request_end(state);
}

static KafkaError leave_member(Group *group, Slice member_id, Slice instance_id, bool *any)
{
    KafkaError error = group ? group_leave(group, member_id, instance_id) : KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    *any = *any || error == KAFKA_ERROR_NONE;
    return error;
}

/* group NULL: there is none, and so no such member. */
static void leave_members(GroupRequest *state, Group *group)
{
    const KafkaLeaveGroupRequest *asked = state->request->message;
    KafkaLeaveGroupResponse *response = &state->response.left;
    int32_t count = asked->members.count > 0 ? asked->members.count : 0;
    bool any = false;
    response->members.items =
        kafka_items_new(&state->request->arena, &KAFKA_LEAVE_GROUP_RESPONSE_MEMBER, (size_t)count);
    if (!response->members.items) {
        leave_refuse(state, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    if (state->request->version < LEAVE_MEMBERS_OLDEST) {
        response->error_code = (int16_t)leave_member(group, asked->member_id, SLICE_NULL, &any);
    }
    for (int32_t i = 0; i < count; i++) {
        KafkaLeaveGroupResponseMember *out = &response->members.items[response->members.count++];
        out->member_id = asked->members.items[i].member_id;
        out->group_instance_id = asked->members.items[i].group_instance_id;
        out->error_code = (int16_t)leave_member(group, out->member_id, out->group_instance_id, &any);
    }
    if (any) {
        group_left(group);
    }
    group_request_end(state);
}

static void leave_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    GroupRequest *state = REQUEST_OF(opening, opening);
    if (group_request_is_over(state)) {
        return;
    }
    if (outcome == GROUP_REFUSED) {
        leave_refuse(state, error);
    } else if (outcome == GROUP_IS_CONSUMER) {
        classic_member_leave(state);
    } else {
        leave_members(state, group);
    }
}

void leave_group_handle(KafkaRequest *request)
{
    const KafkaLeaveGroupRequest *asked = request->message;
    GroupRequest *state = group_request_new(request, &KAFKA_LEAVE_GROUP_RESPONSE.root, leave_refuse);
    if (state) {
        group_request_begin(state, asked->group_id, false, KAFKA_ERROR_NONE, leave_opened);
    }
}
