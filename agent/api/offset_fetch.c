/* offset_fetch.c: OffsetFetch. One question to the brain for all groups of a request. Older versions, which
 * ask for one group, are turned into the newer form first, and the answer back at the end. There are no
 * transactions that could still change an offset, so every answer is stable. */
#include "agent/api/api.h"
#include "agent/api/offset_metadata.h"
#include "agent/brain/brain.h"
#include "agent/jobs/lease.h"

enum {
    GROUPS_OLDEST = 8,    /* first version with several groups */
    TOPIC_ID_OLDEST = 10, /* first version with topic ids */
    ERROR_OLDEST = 2,     /* first version with an error of the whole group */
    GROUPS_MAX = 10 * 1000,
    PARTITIONS_MAX = 100 * 1000
};

static const BrainStatement fetch_statement = {
    "offset_fetch",
    "SELECT request, place, topic_id, partition, \"offset\", leader_epoch, metadata, error_code "
    "FROM sh_offset_fetch_many($1, $2, $3, $4, $5, $6, $7, $8)",
    8,
    { BRAIN_INT4, BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S },
};

enum { ROW_REQUEST, ROW_PLACE, ROW_TOPIC, ROW_PARTITION, ROW_OFFSET, ROW_EPOCH, ROW_METADATA, ROW_ERROR };

typedef KafkaOffsetFetchResponseGroup FetchedGroup;
typedef KafkaOffsetFetchResponseGroupTopic FetchedTopic;
typedef KafkaOffsetFetchResponseGroupTopicPartition FetchedPartition;

typedef struct FetchState {
    KafkaRequest *request;
    const KafkaOffsetFetchRequestGroup *asked;
    FetchedGroup *groups;
    size_t group_count;
    FetchedPartition **places; /* where the answers go, in the order of the question */
    int32_t *requests;
    int32_t *topic_ids;
    int32_t *partitions;
    size_t count;
    bool refreshed;
} FetchState;

static void fetch_begin(FetchState *state);

static bool fetch_wants_all(const KafkaOffsetFetchRequestGroup *asked)
{
    return asked->topics.count < 0;
}

static void group_fail(const FetchState *state, FetchedGroup *group, KafkaError error)
{
    group->error_code = (int16_t)error;
    for (int32_t i = 0; state->request->version < ERROR_OLDEST && i < group->topics.count; i++) {
        for (int32_t j = 0; j < group->topics.items[i].partitions.count; j++) {
            group->topics.items[i].partitions.items[j].error_code = (int16_t)error;
        }
    }
    if (state->request->version >= ERROR_OLDEST) {
        group->topics.count = 0;
    }
}

/* The one group of an old version. False when memory is short. */
static bool fetch_reply_old(FetchState *state, KafkaOffsetFetchResponse *response)
{
    Arena *arena = &state->request->arena;
    const FetchedGroup *group = &state->groups[0];
    KafkaOffsetFetchResponseTopic *topics =
        kafka_items_new(arena, &KAFKA_OFFSET_FETCH_RESPONSE_TOPIC, (size_t)group->topics.count);
    for (int32_t i = 0; topics && i < group->topics.count; i++) {
        const FetchedTopic *from = &group->topics.items[i];
        KafkaOffsetFetchResponsePartition *to =
            kafka_items_new(arena, &KAFKA_OFFSET_FETCH_RESPONSE_PARTITION, (size_t)from->partitions.count);
        for (int32_t j = 0; to && j < from->partitions.count; j++) {
            to[j] = (KafkaOffsetFetchResponsePartition){
                .partition_index = from->partitions.items[j].partition_index,
                .committed_offset = from->partitions.items[j].committed_offset,
                .committed_leader_epoch = from->partitions.items[j].committed_leader_epoch,
                .metadata = from->partitions.items[j].metadata,
                .error_code = from->partitions.items[j].error_code,
            };
        }
        topics[i].name = from->name;
        topics[i].partitions.items = to;
        topics[i].partitions.count = from->partitions.count;
        if (!to) {
            return false;
        }
    }
    response->topics.items = topics;
    response->topics.count = group->topics.count;
    response->error_code = group->error_code;
    return topics != NULL;
}

static void fetch_reply(FetchState *state)
{
    KafkaOffsetFetchResponse response;
    kafka_defaults(&KAFKA_OFFSET_FETCH_RESPONSE.root, &response);
    if (state->request->version >= GROUPS_OLDEST) {
        response.groups.items = state->groups;
        response.groups.count = (int32_t)state->group_count;
    } else if (!fetch_reply_old(state, &response)) {
        kafka_request_disconnect(state->request, "the answer is too large");
        return;
    }
    kafka_request_reply(state->request, &response);
}

static void fetch_reply_error(FetchState *state, KafkaError error)
{
    for (size_t i = 0; i < state->group_count; i++) {
        group_fail(state, &state->groups[i], error);
    }
    fetch_reply(state);
}

/* False when memory is short. */
static bool partition_apply(FetchedPartition *partition, const BrainResult *result, int row, Arena *arena)
{
    partition->committed_offset = brain_int8(result, row, ROW_OFFSET);
    partition->committed_leader_epoch = brain_int4(result, row, ROW_EPOCH);
    partition->error_code = brain_int2(result, row, ROW_ERROR);
    return offset_metadata_of_text(arena, brain_text(result, row, ROW_METADATA), &partition->metadata);
}

/* Rows from first on that are of the same group and topic. */
static int rows_of_topic(const BrainResult *result, int first)
{
    int32_t request = brain_int4(result, first, ROW_REQUEST);
    int32_t topic_id = brain_int4(result, first, ROW_TOPIC);
    int last = first;
    while (last < brain_row_count(result) && brain_int4(result, last, ROW_REQUEST) == request &&
           brain_int4(result, last, ROW_TOPIC) == topic_id && brain_is_null(result, last, ROW_PLACE)) {
        last++;
    }
    return last - first;
}

/* A topic of a group that asked for all; the catalog may not know it yet. False when memory is short. */
static bool topic_apply(FetchState *state, const BrainResult *result, int first, int rows, const Topic *topic)
{
    Arena *arena = &state->request->arena;
    FetchedGroup *group = &state->groups[brain_int4(result, first, ROW_REQUEST) - 1];
    FetchedTopic *added = &group->topics.items[group->topics.count];
    FetchedPartition *partitions =
        kafka_items_new(arena, &KAFKA_OFFSET_FETCH_RESPONSE_GROUP_TOPIC_PARTITION, (size_t)rows);
    if (!partitions) {
        return false;
    }
    for (int i = 0; i < rows; i++) {
        partitions[i].partition_index = brain_int4(result, first + i, ROW_PARTITION);
        if (!partition_apply(&partitions[i], result, first + i, arena)) {
            return false;
        }
    }
    added->name = slice_of_text(topic->name);
    memcpy(added->topic_id.bytes, topic->uuid, sizeof(topic->uuid));
    added->partitions.items = partitions;
    added->partitions.count = rows;
    group->topics.count++;
    return true;
}

/* How many topics each group that asked for all has, so that there is room for them. */
static bool groups_make_room(FetchState *state, const BrainResult *result)
{
    int rows = brain_row_count(result);
    int32_t *counts = arena_allocate_array(&state->request->arena, state->group_count, sizeof(int32_t));
    for (int row = 0; counts && row < rows;) {
        bool is_named = !brain_is_null(result, row, ROW_PLACE) || brain_is_null(result, row, ROW_TOPIC);
        int skip = is_named ? 1 : rows_of_topic(result, row);
        if (!is_named) {
            counts[brain_int4(result, row, ROW_REQUEST) - 1]++;
        }
        row += skip;
    }
    for (size_t i = 0; counts && i < state->group_count; i++) {
        if (counts[i] > 0) {
            state->groups[i].topics.count = 0;
            state->groups[i].topics.items = kafka_items_new(
                &state->request->arena, &KAFKA_OFFSET_FETCH_RESPONSE_GROUP_TOPIC, (size_t)counts[i]);
            if (!state->groups[i].topics.items) {
                return false;
            }
        }
    }
    return counts != NULL;
}

/* False when the catalog does not know a topic that the brain named. */
static bool fetch_apply(FetchState *state, const BrainResult *result, bool *fits)
{
    const Catalog *catalog = api_agent(state->request)->catalog;
    bool known = true;
    for (int row = 0; *fits && row < brain_row_count(result);) {
        int32_t request = brain_int4(result, row, ROW_REQUEST);
        int32_t place = brain_int4(result, row, ROW_PLACE);
        int rows = 1;
        if (!brain_is_null(result, row, ROW_PLACE)) {
            if (place >= 1 && (size_t)place <= state->count) {
                *fits = partition_apply(state->places[place - 1], result, row, &state->request->arena);
            }
        } else if (brain_is_null(result, row, ROW_TOPIC)) {
            group_fail(state, &state->groups[request - 1], (KafkaError)brain_int2(result, row, ROW_ERROR));
        } else {
            const Topic *topic = catalog_topic_by_id(catalog, brain_int4(result, row, ROW_TOPIC));
            rows = rows_of_topic(result, row);
            *fits = !topic || topic_apply(state, result, row, rows, topic);
            known = known && topic;
        }
        row += rows;
    }
    return known;
}

static void fetch_refreshed(void *argument, const Status *status)
{
    (void)status;
    fetch_begin(argument);
}

static bool rows_are_ours(const FetchState *state, const BrainResult *result)
{
    for (int row = 0; row < brain_row_count(result); row++) {
        int32_t request = brain_int4(result, row, ROW_REQUEST);
        if (request < 1 || (size_t)request > state->group_count) {
            return false;
        }
    }
    return true;
}

static void fetch_answered(const BrainResult *result, void *argument)
{
    FetchState *state = argument;
    bool fits = true;
    if (!status_is_ok(&result->status) || !rows_are_ours(state, result)) {
        /* The clients' sign to look for the coordinator again; older ones know no other here. */
        KafkaError error = api_group_error(result);
        fetch_reply_error(state, error == KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE ? KAFKA_ERROR_NOT_COORDINATOR
                                                                                : error);
        return;
    }
    fits = groups_make_room(state, result);
    if (!fetch_apply(state, result, &fits) && !state->refreshed && fits) {
        state->refreshed = true;
        catalog_refresh(api_agent(state->request)->catalog, fetch_refreshed, state);
    } else if (fits) {
        fetch_reply(state);
    } else {
        kafka_request_disconnect(state->request, "the answer is too large");
    }
}

static void fetch_ask(FetchState *state)
{
    Agent *agent = api_agent(state->request);
    Arena *arena = &state->request->arena;
    size_t count = state->group_count;
    Slice *names = arena_allocate_array(arena, 2 * count, sizeof(Slice));
    int32_t *numbers = arena_allocate_array(arena, 2 * count, sizeof(int32_t));
    if (!names || !numbers) {
        kafka_request_disconnect(state->request, "the request has too many groups to be handled");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = state->asked[i].group_id;
        names[count + i] = state->asked[i].member_id;
        numbers[i] = state->asked[i].member_epoch;
        numbers[count + i] = fetch_wants_all(&state->asked[i]);
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    brain_put_texts(&parameters, names, count);
    brain_put_texts(&parameters, names + count, count);
    brain_put_int4s(&parameters, numbers, count);
    brain_put_int4s(&parameters, numbers + count, count);
    brain_put_int4s(&parameters, state->requests, state->count);
    brain_put_int4s(&parameters, state->topic_ids, state->count);
    brain_put_int4s(&parameters, state->partitions, state->count);
    brain_send(agent->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &fetch_statement, .parameters = &parameters }, fetch_answered,
               state);
}

/* A topic that is not known by name has no offsets; one that is not known by id is an error. */
static bool topic_resolve(FetchState *state, size_t group, const KafkaOffsetFetchRequestGroupTopic *asked,
                          FetchedTopic *out)
{
    const Catalog *catalog = api_agent(state->request)->catalog;
    bool by_id = state->request->version >= TOPIC_ID_OLDEST;
    const Topic *topic =
        by_id ? catalog_topic_by_uuid(catalog, asked->topic_id.bytes) : catalog_topic(catalog, asked->name);
    out->name = asked->name;
    out->topic_id = asked->topic_id;
    for (int32_t i = 0; i < out->partitions.count; i++) {
        FetchedPartition *partition = &out->partitions.items[i];
        kafka_defaults(&KAFKA_OFFSET_FETCH_RESPONSE_GROUP_TOPIC_PARTITION, partition);
        partition->partition_index = asked->partition_indexes.items[i];
        partition->committed_offset = OFFSET_UNKNOWN;
        partition->metadata = SLICE_LITERAL("");
        partition->error_code = topic || !by_id ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_ID;
        if (topic) {
            state->places[state->count] = partition;
            state->requests[state->count] = (int32_t)group + 1;
            state->topic_ids[state->count] = topic->topic_id;
            state->partitions[state->count++] = partition->partition_index;
        }
    }
    return topic != NULL;
}

/* False when a topic is unknown. */
static bool fetch_resolve(FetchState *state)
{
    bool known = true;
    state->count = 0;
    for (size_t i = 0; i < state->group_count; i++) {
        const KafkaOffsetFetchRequestGroup *asked = &state->asked[i];
        state->groups[i].error_code = KAFKA_ERROR_NONE;
        state->groups[i].topics.count = asked->topics.count > 0 ? asked->topics.count : 0;
        for (int32_t j = 0; j < asked->topics.count; j++) {
            known =
                topic_resolve(state, i, &asked->topics.items[j], &state->groups[i].topics.items[j]) && known;
        }
    }
    return known;
}

static KafkaError fetch_check(const FetchState *state)
{
    if (state->count > PARTITIONS_MAX || state->group_count > GROUPS_MAX) {
        return KAFKA_ERROR_INVALID_REQUEST;
    }
    for (size_t i = 0; i < state->group_count; i++) {
        if (!api_text_is_storable(state->asked[i].group_id)) {
            return KAFKA_ERROR_INVALID_GROUP_ID;
        }
        if (!api_text_is_storable(state->asked[i].member_id)) {
            return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
        }
    }
    return KAFKA_ERROR_NONE;
}

static void fetch_begin(FetchState *state)
{
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return;
    }
    if (!fetch_resolve(state) && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(api_agent(state->request)->catalog, fetch_refreshed, state);
        return;
    }
    KafkaError error = fetch_check(state);
    if (error != KAFKA_ERROR_NONE) {
        fetch_reply_error(state, error);
    } else if (state->group_count == 0) {
        fetch_reply(state);
    } else {
        fetch_ask(state);
    }
}

/* An old version's one group, in the newer form. */
static bool fetch_convert(FetchState *state)
{
    Arena *arena = &state->request->arena;
    const KafkaOffsetFetchRequest *old = state->request->message;
    size_t count = old->topics.count > 0 ? (size_t)old->topics.count : 0;
    KafkaOffsetFetchRequestGroup *group = kafka_items_new(arena, &KAFKA_OFFSET_FETCH_REQUEST_GROUP, 1);
    KafkaOffsetFetchRequestGroupTopic *topics =
        kafka_items_new(arena, &KAFKA_OFFSET_FETCH_REQUEST_GROUP_TOPIC, count);
    if (!group || !topics) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        topics[i].name = old->topics.items[i].name;
        topics[i].partition_indexes = old->topics.items[i].partition_indexes;
    }
    group->group_id = old->group_id;
    group->topics.items = topics;
    group->topics.count = old->topics.count;
    state->asked = group;
    state->group_count = 1;
    return true;
}

static bool fetch_allocate(FetchState *state)
{
    Arena *arena = &state->request->arena;
    size_t total = 0;
    state->groups = kafka_items_new(arena, &KAFKA_OFFSET_FETCH_RESPONSE_GROUP, state->group_count);
    for (size_t i = 0; state->groups && i < state->group_count; i++) {
        const KafkaOffsetFetchRequestGroup *asked = &state->asked[i];
        FetchedGroup *group = &state->groups[i];
        group->group_id = asked->group_id;
        group->topics.count = asked->topics.count > 0 ? asked->topics.count : 0;
        group->topics.items =
            kafka_items_new(arena, &KAFKA_OFFSET_FETCH_RESPONSE_GROUP_TOPIC, (size_t)group->topics.count);
        for (int32_t j = 0; group->topics.items && j < group->topics.count; j++) {
            FetchedTopic *topic = &group->topics.items[j];
            topic->partitions.count = asked->topics.items[j].partition_indexes.count;
            topic->partitions.items = kafka_items_new(
                arena, &KAFKA_OFFSET_FETCH_RESPONSE_GROUP_TOPIC_PARTITION, (size_t)topic->partitions.count);
            total += (size_t)topic->partitions.count;
            if (!topic->partitions.items) {
                return false;
            }
        }
        if (!group->topics.items) {
            return false;
        }
    }
    state->places = arena_allocate_array(arena, total, sizeof(*state->places));
    state->requests = arena_allocate_array(arena, total, sizeof(int32_t));
    state->topic_ids = arena_allocate_array(arena, total, sizeof(int32_t));
    state->partitions = arena_allocate_array(arena, total, sizeof(int32_t));
    return state->groups && state->places && state->requests && state->topic_ids && state->partitions;
}

static bool fetch_prepare(FetchState *state)
{
    const KafkaOffsetFetchRequest *asked = state->request->message;
    if (state->request->version >= GROUPS_OLDEST) {
        state->asked = asked->groups.items;
        state->group_count = (size_t)asked->groups.count;
    } else if (!fetch_convert(state)) {
        return false;
    }
    return fetch_allocate(state);
}

void offset_fetch_handle(KafkaRequest *request)
{
    FetchState *state = arena_allocate(&request->arena, sizeof(FetchState));
    if (state) {
        *state = (FetchState){ .request = request };
    }
    if (!state || !fetch_prepare(state)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    } else {
        fetch_begin(state);
    }
}
