/* group_admin.c: DescribeGroups, ListGroups, DeleteGroups. The brain answers from its rows; of a request with
 * many groups it is asked for some at a time, so that an answer's size is bounded and others come between. */
#include <stdlib.h>
#include <strings.h>

#include "agent/api/api.h"
#include "agent/api/group_live.h"
#include "agent/api/operations.h"
#include "agent/brain/brain.h"
#include "agent/jobs/lease.h"

enum {
    DESCRIBE_AT_ONCE = 16,
    DELETE_AT_ONCE = 16,
    GROUPS_MAX = 10 * 1000, /* of a request */
    MESSAGE_OLDEST = 6      /* first version of DescribeGroups with an error for a group that is not there */
};

static const BrainStatement describe_statement = {
    "describe_groups",
    "SELECT request, error_code, error_message, state, protocol_type, protocol_name, member_id, instance_id, "
    "client_id, client_host, metadata, assignment FROM sh_describe_groups($1, $2)",
    2,
    { BRAIN_INT4, BRAIN_TEXTS },
};
enum {
    ROW_REQUEST,
    ROW_ERROR,
    ROW_MESSAGE,
    ROW_STATE,
    ROW_TYPE,
    ROW_PROTOCOL,
    ROW_MEMBER,
    ROW_INSTANCE,
    ROW_CLIENT,
    ROW_HOST,
    ROW_METADATA,
    ROW_ASSIGNMENT
};
static const BrainStatement list_statement = {
    "list_groups",
    "SELECT \"group\", protocol_type, state, type FROM sh_list_groups($1, $2, $3)",
    3,
    { BRAIN_INT4, BRAIN_TEXTS, BRAIN_TEXTS },
};
static const BrainStatement delete_statement = {
    "delete_groups", "SELECT sh_delete_groups($1, $2)", 2, { BRAIN_INT4, BRAIN_TEXTS }
};

/* A request about groups that are asked for some at a time. */
typedef struct GroupsState {
    KafkaRequest *request;
    Slice *names;    /* those that can be asked for, none twice */
    int32_t *places; /* where the answer to each goes */
    size_t count;
    size_t asked; /* so many of them */
    size_t at_once;
    const BrainStatement *statement;
    BrainLine line;
    /* The answer to the groups from first on. False when memory is short. */
    bool (*apply)(struct GroupsState *state, const BrainResult *result, size_t first);
    void (*fail)(struct GroupsState *state, size_t place, KafkaError error);
    void (*reply)(struct GroupsState *state);
    union {
        KafkaDescribeGroupsResponse described;
        KafkaDeleteGroupsResponse deleted;
    } response;
} GroupsState;

typedef KafkaDescribeGroupsResponseGroup DescribedGroup;
typedef KafkaDescribeGroupsResponseMember DescribedMember;

static void groups_ask(GroupsState *state);

static size_t groups_now(const GroupsState *state, size_t first)
{
    return state->count - first < state->at_once ? state->count - first : state->at_once;
}

static void groups_answered(const BrainResult *result, void *argument)
{
    GroupsState *state = argument;
    size_t first = state->asked;
    size_t count = groups_now(state, first);
    bool fits = true;
    state->asked += count;
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return;
    }
    if (status_is_ok(&result->status)) {
        fits = state->apply(state, result, first);
    }
    for (size_t i = first; !status_is_ok(&result->status) && i < first + count; i++) {
        state->fail(state, (size_t)state->places[i], api_group_error(result));
    }
    if (fits) {
        groups_ask(state);
    } else {
        kafka_request_disconnect(state->request, "the answer is too large");
    }
}

/* Asks for the next ones; replies when there are none left. */
static void groups_ask(GroupsState *state)
{
    Agent *agent = api_agent(state->request);
    if (state->asked == state->count) {
        state->reply(state);
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    brain_put_texts(&parameters, state->names + state->asked, groups_now(state, state->asked));
    brain_send(agent->brain, state->line,
               &(BrainQuery){ .statement = state->statement, .parameters = &parameters }, groups_answered,
               state);
}

static int name_compare(const void *a, const void *b)
{
    const Slice *left = *(const Slice *const *)a;
    const Slice *right = *(const Slice *const *)b;
    size_t shorter = left->size < right->size ? left->size : right->size;
    int order = shorter > 0 ? memcmp(left->data, right->data, shorter) : 0;
    order = order ? order : (left->size > right->size) - (left->size < right->size);
    return order ? order : (left > right) - (left < right);
}

/* Marks names that an earlier one is equal to: what is asked for twice would be answered twice, however large
 * it is. False when memory is short. */
static bool names_find_repeated(Arena *arena, const KafkaStringArray *names, bool **repeated)
{
    size_t count = (size_t)names->count;
    const Slice **sorted = arena_allocate_array(arena, count, sizeof(*sorted));
    *repeated = arena_allocate_array(arena, count, sizeof(bool));
    if (!sorted || !*repeated) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &names->items[i];
    }
    qsort(sorted, count, sizeof(*sorted), name_compare);
    for (size_t i = 1; i < count; i++) {
        (*repeated)[sorted[i] - names->items] = slice_equals(*sorted[i - 1], *sorted[i]);
    }
    return true;
}

/* Which groups the brain is asked for; the others fail. */
static bool groups_choose(GroupsState *state, const KafkaStringArray *names)
{
    Arena *arena = &state->request->arena;
    bool *repeated;
    state->names = arena_allocate_array(arena, (size_t)names->count, sizeof(Slice));
    state->places = arena_allocate_array(arena, (size_t)names->count, sizeof(int32_t));
    if (!state->names || !state->places || !names_find_repeated(arena, names, &repeated)) {
        return false;
    }
    for (int32_t i = 0; i < names->count; i++) {
        if (!api_text_is_storable(names->items[i])) {
            state->fail(state, (size_t)i, KAFKA_ERROR_INVALID_GROUP_ID);
        } else if (state->statement == &delete_statement &&
                   group_live_has_members(state->request, names->items[i])) {
            state->fail(state, (size_t)i, KAFKA_ERROR_NON_EMPTY_GROUP);
        } else if (repeated[i] || state->count == GROUPS_MAX) {
            state->fail(state, (size_t)i, KAFKA_ERROR_INVALID_REQUEST);
        } else {
            state->names[state->count] = names->items[i];
            state->places[state->count++] = i;
        }
    }
    return true;
}

static GroupsState *groups_new(KafkaRequest *request)
{
    GroupsState *state = arena_allocate(&request->arena, sizeof(GroupsState));
    if (state) {
        *state = (GroupsState){ .request = request };
    } else {
        kafka_request_disconnect(request, "memory is short");
    }
    return state;
}

/* DescribeGroups. */

static void describe_fail(GroupsState *state, size_t place, KafkaError error)
{
    state->response.described.groups.items[place].error_code = (int16_t)error;
}

static void describe_reply(GroupsState *state)
{
    kafka_request_reply(state->request, &state->response.described);
}

/* What an answer points to is gone when the next one comes: everything is copied. */
static bool copy_text(Arena *arena, const BrainResult *result, int row, int column, Slice *copy)
{
    return arena_copy(arena, brain_text(result, row, column), copy);
}

static bool describe_member(Arena *arena, const BrainResult *result, int row, DescribedMember *member)
{
    return copy_text(arena, result, row, ROW_MEMBER, &member->member_id) &&
           copy_text(arena, result, row, ROW_INSTANCE, &member->group_instance_id) &&
           copy_text(arena, result, row, ROW_CLIENT, &member->client_id) &&
           copy_text(arena, result, row, ROW_HOST, &member->client_host) &&
           copy_text(arena, result, row, ROW_METADATA, &member->member_metadata) &&
           copy_text(arena, result, row, ROW_ASSIGNMENT, &member->member_assignment);
}

/* Before version 6 a group that is not there is dead, and no error. */
static bool describe_group(GroupsState *state, const BrainResult *result, int row, DescribedGroup *group)
{
    Arena *arena = &state->request->arena;
    const KafkaDescribeGroupsRequest *asked = state->request->message;
    bool copied = copy_text(arena, result, row, ROW_STATE, &group->group_state) &&
                  copy_text(arena, result, row, ROW_TYPE, &group->protocol_type) &&
                  copy_text(arena, result, row, ROW_PROTOCOL, &group->protocol_data) &&
                  copy_text(arena, result, row, ROW_MESSAGE, &group->error_message);
    group->error_code = (int16_t)brain_int4(result, row, ROW_ERROR);
    if (group->error_code == KAFKA_ERROR_GROUP_ID_NOT_FOUND && state->request->version < MESSAGE_OLDEST) {
        group->error_code = KAFKA_ERROR_NONE;
    }
    if (group->error_code == KAFKA_ERROR_NONE && asked->include_authorized_operations) {
        group->authorized_operations = GROUP_OPERATIONS;
    }
    return copied;
}

static bool describe_members(GroupsState *state, const BrainResult *result, int first, int rows,
                             DescribedGroup *group)
{
    Arena *arena = &state->request->arena;
    group->members.items = kafka_items_new(arena, &KAFKA_DESCRIBE_GROUPS_RESPONSE_MEMBER, (size_t)rows);
    for (int row = first; group->members.items && row < first + rows; row++) {
        if (!brain_is_null(result, row, ROW_MEMBER) &&
            !describe_member(arena, result, row, &group->members.items[group->members.count++])) {
            return false;
        }
    }
    return group->members.items != NULL;
}

static bool describe_apply(GroupsState *state, const BrainResult *result, size_t first)
{
    size_t count = groups_now(state, first);
    for (int row = 0; row < brain_row_count(result);) {
        int32_t request = brain_int4(result, row, ROW_REQUEST);
        int rows = 1;
        while (row + rows < brain_row_count(result) &&
               brain_int4(result, row + rows, ROW_REQUEST) == request) {
            rows++;
        }
        if (request < 1 || (size_t)request > count) {
            return false;
        }
        int32_t place = state->places[first + (size_t)request - 1];
        DescribedGroup *group = &state->response.described.groups.items[place];
        if (!describe_group(state, result, row, group) ||
            !describe_members(state, result, row, rows, group) ||
            !group_live_describe(state->request, state->names[first + (size_t)request - 1], group)) {
            return false;
        }
        row += rows;
    }
    return true;
}

void describe_groups_handle(KafkaRequest *request)
{
    const KafkaDescribeGroupsRequest *asked = request->message;
    GroupsState *state = groups_new(request);
    if (!state) {
        return;
    }
    KafkaDescribeGroupsResponse *response = &state->response.described;
    state->at_once = DESCRIBE_AT_ONCE;
    state->statement = &describe_statement;
    state->line = BRAIN_READ;
    state->apply = describe_apply;
    state->fail = describe_fail;
    state->reply = describe_reply;
    kafka_defaults(&KAFKA_DESCRIBE_GROUPS_RESPONSE.root, response);
    response->groups.items =
        kafka_items_new(&request->arena, &KAFKA_DESCRIBE_GROUPS_RESPONSE_GROUP, (size_t)asked->groups.count);
    response->groups.count = asked->groups.count;
    for (int32_t i = 0; response->groups.items && i < asked->groups.count; i++) {
        response->groups.items[i].group_id = asked->groups.items[i];
    }
    if (!response->groups.items || !groups_choose(state, &asked->groups)) {
        kafka_request_disconnect(request, "the request has too many groups to be handled");
        return;
    }
    groups_ask(state);
}

/* DeleteGroups. */

static void delete_fail(GroupsState *state, size_t place, KafkaError error)
{
    state->response.deleted.results.items[place].error_code = (int16_t)error;
}

static void delete_reply(GroupsState *state)
{
    kafka_request_reply(state->request, &state->response.deleted);
}

static bool delete_apply(GroupsState *state, const BrainResult *result, size_t first)
{
    int32_t codes[DELETE_AT_ONCE];
    BrainArray errors = brain_int4s(result, 0, 0);
    int32_t count = brain_array_int4(&errors, KAFKA_ERROR_UNKNOWN_SERVER_ERROR, codes, DELETE_AT_ONCE);
    for (size_t i = 0; i < groups_now(state, first); i++) {
        delete_fail(state, (size_t)state->places[first + i],
                    (int32_t)i < count ? (KafkaError)codes[i] : KAFKA_ERROR_UNKNOWN_SERVER_ERROR);
    }
    return true;
}

void delete_groups_handle(KafkaRequest *request)
{
    const KafkaDeleteGroupsRequest *asked = request->message;
    GroupsState *state = groups_new(request);
    if (!state) {
        return;
    }
    KafkaDeleteGroupsResponse *response = &state->response.deleted;
    state->at_once = DELETE_AT_ONCE;
    state->statement = &delete_statement;
    state->line = BRAIN_GROUPS;
    state->apply = delete_apply;
    state->fail = delete_fail;
    state->reply = delete_reply;
    kafka_defaults(&KAFKA_DELETE_GROUPS_RESPONSE.root, response);
    response->results.items = kafka_items_new(&request->arena, &KAFKA_DELETE_GROUPS_RESPONSE_RESULT,
                                              (size_t)asked->groups_names.count);
    response->results.count = asked->groups_names.count;
    for (int32_t i = 0; response->results.items && i < asked->groups_names.count; i++) {
        response->results.items[i].group_id = asked->groups_names.items[i];
    }
    if (!response->results.items || !groups_choose(state, &asked->groups_names)) {
        kafka_request_disconnect(request, "the request has too many groups to be handled");
        return;
    }
    groups_ask(state);
}

/* ListGroups. */

/* States are compared here, since of a group that is joining only its coordinator knows. */
static bool list_wants(const KafkaRequest *request, Slice state)
{
    const KafkaListGroupsRequest *asked = request->message;
    for (int32_t i = 0; i < asked->states_filter.count; i++) {
        Slice wanted = asked->states_filter.items[i];
        if (wanted.size == state.size &&
            strncasecmp((const char *)wanted.data, (const char *)state.data, state.size) == 0) {
            return true;
        }
    }
    return asked->states_filter.count <= 0;
}

static void list_answered(const BrainResult *result, void *argument)
{
    KafkaRequest *request = argument;
    KafkaListGroupsResponse response;
    kafka_defaults(&KAFKA_LIST_GROUPS_RESPONSE.root, &response);
    size_t rows = status_is_ok(&result->status) ? (size_t)brain_row_count(result) : 0;
    response.groups.items = kafka_items_new(&request->arena, &KAFKA_LIST_GROUPS_RESPONSE_GROUP, rows);
    if (!response.groups.items) {
        kafka_request_disconnect(request, "the answer is too large");
        return;
    }
    for (int i = 0; i < (int)rows; i++) {
        Slice name = brain_text(result, i, 0);
        Slice state = group_live_state(request, name, brain_text(result, i, 2));
        if (!list_wants(request, state)) {
            continue;
        }
        KafkaListGroupsResponseGroup *group = &response.groups.items[response.groups.count++];
        group->group_id = name;
        group->protocol_type = brain_text(result, i, 1);
        group->group_state = state;
        group->group_type = brain_text(result, i, 3);
    }
    if (!status_is_ok(&result->status)) {
        response.error_code = (int16_t)api_group_error(result);
    }
    kafka_request_reply(request, &response);
}

/* A filter that no state or type can match matches nothing. */
static void list_put_filter(BrainParameters *parameters, const KafkaStringArray *filter)
{
    static const Slice none[1] = { { (const uint8_t *)"", 0 } };
    for (int32_t i = 0; i < filter->count; i++) {
        if (!api_text_is_storable(filter->items[i])) {
            brain_put_texts(parameters, none, 1);
            return;
        }
    }
    brain_put_texts(parameters, filter->count > 0 ? filter->items : none,
                    filter->count > 0 ? (size_t)filter->count : 0);
}

void list_groups_handle(KafkaRequest *request)
{
    const KafkaListGroupsRequest *asked = request->message;
    Agent *agent = api_agent(request);
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    brain_put_texts(&parameters, (const Slice[]){ SLICE_NULL }, 0); /* any state */
    list_put_filter(&parameters, &asked->types_filter);
    brain_send(agent->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &list_statement, .parameters = &parameters }, list_answered,
               request);
}
