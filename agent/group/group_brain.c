/* group_brain.c: claims and stores of groups as queries: many groups and their members in one call, as
 * arrays that go on from group to group. */
#include "agent/group/group_brain.h"

#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/group/service.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "common/arena.h"

static const BrainStatement claim_statement = {
    "claim_group",
    "SELECT group_id, coordinator_epoch, is_consumer, generation, protocol_type, protocol_name, leader, "
    "member_id, instance_id, client_id, client_host, session_timeout_ms, rebalance_timeout_ms, "
    "protocol_names, protocol_metadata, assignment FROM sh_claim_group($1, $2, $3)",
    3,
    { BRAIN_TEXT, BRAIN_INT4, BRAIN_BOOL },
};

static const BrainStatement store_statement = {
    "store_classic_groups",
    "SELECT error_code FROM sh_store_classic_groups($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, "
    "$14, $15, $16, $17, $18)",
    18,
    { BRAIN_INT4, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S, BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_INT4S,
      BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_INT4S, BRAIN_INT4S, BRAIN_BYTEAS, BRAIN_INT4S,
      BRAIN_TEXTS, BRAIN_BYTEAS },
};

typedef struct BrainAsk {
    struct GroupService *service;
    GroupClaimed claimed;
    GroupsStored stored;
    void *argument;
    size_t count; /* groups to be stored */
    int64_t started_ns;
} BrainAsk;

static BrainAsk *ask_new(BrainAsk ask)
{
    BrainAsk *kept = malloc(sizeof(BrainAsk));
    if (!kept) {
        abort(); /* a call that is neither made nor answered would hold its members for ever */
    }
    *kept = ask;
    return kept;
}

/* Whether the same call may succeed before long: the server is away or busy, or the group is locked. */
static bool ask_may_be_repeated(const BrainResult *result)
{
    return result->in_doubt || result->status.code == STATUS_UNAVAILABLE ||
           result->status.code == STATUS_TIMEOUT || result->status.code == STATUS_LIMIT ||
           strcmp(result->sqlstate, "55P03") == 0;
}

/* Claims. */

static KafkaError claim_error(const BrainResult *result)
{
    int named = brain_kafka_error(result);
    if (named >= 0) {
        return (KafkaError)named;
    }
    if (result->status.code == STATUS_CANCELLED) {
        return KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
    }
    journal_seldom(JOURNAL_WARN, "groups", "a consumer group could not be loaded: %s", result->message);
    if (ask_may_be_repeated(result)) {
        return KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
    }
    return result->status.code == STATUS_DENIED ? KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED
                                                : KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
}

static const GroupProtocol *claim_protocols(const BrainResult *result, int row, Arena *arena, size_t *count)
{
    BrainArray names = brain_texts(result, row, 13);
    BrainArray metadata = brain_byteas(result, row, 14);
    *count = 0;
    if (names.count <= 0 || metadata.count != names.count) {
        return NULL;
    }
    size_t most = (size_t)names.count;
    GroupProtocol *protocols = arena_allocate_array(arena, most, sizeof(GroupProtocol));
    Slice *slices = arena_allocate_array(arena, 2 * most, sizeof(Slice));
    if (!protocols || !slices) {
        return NULL;
    }
    brain_array_text(&names, slices, names.count);
    brain_array_text(&metadata, slices + most, metadata.count);
    for (size_t i = 0; i < most; i++) {
        protocols[i] = (GroupProtocol){ slices[i], slices[most + i] };
    }
    *count = most;
    return protocols;
}

static GroupStoredMember claim_member(const BrainResult *result, int row, Arena *arena)
{
    GroupStoredMember member = {
        .member_id = brain_text(result, row, 7),
        .instance_id = brain_text(result, row, 8),
        .client_id = brain_text(result, row, 9),
        .client_host = brain_text(result, row, 10),
        .session_timeout_ms = brain_int4(result, row, 11),
        .rebalance_timeout_ms = brain_int4(result, row, 12),
        .assignment = brain_bytes(result, row, 15),
    };
    member.protocols = claim_protocols(result, row, arena, &member.protocol_count);
    return member;
}

static GroupClaim claim_read(const BrainResult *result, Arena *arena)
{
    int rows = brain_row_count(result);
    if (rows == 0) {
        return (GroupClaim){ .outcome = GROUP_MISSING };
    }
    if (brain_bool(result, 0, 2)) {
        return (GroupClaim){ .outcome = GROUP_IS_CONSUMER };
    }
    GroupStoredMember *members = arena_allocate_array(arena, (size_t)rows, sizeof(GroupStoredMember));
    if (!members) {
        return (GroupClaim){ .outcome = GROUP_REFUSED, .error = KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE };
    }
    bool any = !brain_is_null(result, 0, 7);
    for (int row = 0; any && row < rows; row++) {
        members[row] = claim_member(result, row, arena);
    }
    return (GroupClaim){
        .outcome = GROUP_OPEN,
        .group_id = brain_int4(result, 0, 0),
        .coordinator_epoch = brain_int4(result, 0, 1),
        .generation = brain_int4(result, 0, 3),
        .protocol_type = brain_text(result, 0, 4),
        .protocol_name = brain_text(result, 0, 5),
        .leader = brain_text(result, 0, 6),
        .members = members,
        .member_count = any ? (size_t)rows : 0,
    };
}

static void claim_answered(const BrainResult *result, void *argument)
{
    BrainAsk ask = *(BrainAsk *)argument;
    Arena arena;
    free(argument);
    arena_init(&arena, SIZE_MAX / 2);
    GroupClaim claim = { .outcome = GROUP_REFUSED };
    if (status_is_ok(&result->status)) {
        claim = claim_read(result, &arena);
    } else {
        claim.error = claim_error(result);
    }
    ask.claimed(ask.argument, &claim);
    arena_reset(&arena);
    group_service_settle(ask.service);
}

void group_brain_claim(Agent *agent, Slice name, bool create, GroupClaimed done, void *argument,
                       struct GroupService *service)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, name);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    brain_put_bool(&parameters, create);
    brain_send(agent->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &claim_statement, .parameters = &parameters }, claim_answered,
               ask_new((BrainAsk){ .service = service, .claimed = done, .argument = argument }));
}

/* Stores. */

static GroupStoreOutcome store_outcome(const BrainResult *result)
{
    if (result->in_doubt) {
        return GROUP_IN_DOUBT;
    }
    journal_seldom(JOURNAL_WARN, "groups", "generations of consumer groups could not be kept: %s",
                   result->message);
    return ask_may_be_repeated(result) ? GROUP_BUSY : GROUP_FAILED;
}

static GroupStoreOutcome store_verdict(int32_t error)
{
    return error == KAFKA_ERROR_NONE                           ? GROUP_STORED
           : error == KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS ? GROUP_BUSY
                                                               : GROUP_FENCED;
}

static void store_answered(const BrainResult *result, void *argument)
{
    BrainAsk ask = *(BrainAsk *)argument;
    GroupStoreOutcome outcomes[GROUP_STORES_MAX];
    free(argument);
    metric_observe_since(METRIC_GROUP_STORE_DURATION, ask.started_ns);
    bool whole = status_is_ok(&result->status) && (size_t)brain_row_count(result) == ask.count;
    GroupStoreOutcome of_all = whole ? GROUP_STORED : store_outcome(result);
    for (size_t i = 0; i < ask.count; i++) {
        outcomes[i] = whole ? store_verdict(brain_int4(result, (int)i, 0)) : of_all;
    }
    ask.stored(ask.argument, outcomes);
    group_service_settle(ask.service);
}

/* The arrays of a call while they are filled. */
typedef struct StoreArrays {
    int32_t *ids, *epochs, *generations, *member_counts;
    Slice *types, *names, *leaders;
    Slice *members, *instances, *clients, *hosts, *assignments;
    int32_t *sessions, *rebalances, *protocol_counts;
    Slice *protocols, *metadata;
    size_t member_count, protocol_count;
} StoreArrays;

static void *store_array(Arena *arena, size_t count, size_t size)
{
    void *array = arena_allocate_array(arena, count, size);
    if (!array) {
        abort(); /* what is never stored is never answered */
    }
    return array;
}

static void store_allocate(StoreArrays *arrays, Arena *arena, Group *const *groups, size_t count)
{
    size_t members = 0;
    size_t protocols = 0;
    for (size_t i = 0; i < count; i++) {
        for (const GroupMember *member = group_first(groups[i]); member; member = group_next(member)) {
            members++;
            protocols += group_member_stored(member).protocol_count;
        }
    }
    int32_t **numbers[] = { &arrays->ids, &arrays->epochs, &arrays->generations, &arrays->member_counts };
    Slice **texts[] = { &arrays->types, &arrays->names, &arrays->leaders };
    Slice **member_texts[] = { &arrays->members, &arrays->instances, &arrays->clients, &arrays->hosts,
                               &arrays->assignments };
    int32_t **member_numbers[] = { &arrays->sessions, &arrays->rebalances, &arrays->protocol_counts };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        *numbers[i] = store_array(arena, count, sizeof(int32_t));
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        *texts[i] = store_array(arena, count, sizeof(Slice));
    }
    for (size_t i = 0; i < sizeof(member_texts) / sizeof(member_texts[0]); i++) {
        *member_texts[i] = store_array(arena, members, sizeof(Slice));
    }
    for (size_t i = 0; i < sizeof(member_numbers) / sizeof(member_numbers[0]); i++) {
        *member_numbers[i] = store_array(arena, members, sizeof(int32_t));
    }
    arrays->protocols = store_array(arena, protocols, sizeof(Slice));
    arrays->metadata = store_array(arena, protocols, sizeof(Slice));
}

static Slice store_text(Slice text)
{
    return slice_is_null(text) ? slice_of("", 0) : text;
}

static void store_fill_member(StoreArrays *arrays, const GroupMember *member)
{
    GroupStoredMember stored = group_member_stored(member);
    size_t place = arrays->member_count++;
    arrays->members[place] = stored.member_id;
    arrays->instances[place] = store_text(stored.instance_id);
    arrays->clients[place] = store_text(stored.client_id);
    arrays->hosts[place] = store_text(stored.client_host);
    arrays->assignments[place] = stored.assignment;
    arrays->sessions[place] = stored.session_timeout_ms;
    arrays->rebalances[place] = stored.rebalance_timeout_ms;
    arrays->protocol_counts[place] = (int32_t)stored.protocol_count;
    for (size_t i = 0; i < stored.protocol_count; i++) {
        arrays->protocols[arrays->protocol_count] = stored.protocols[i].name;
        arrays->metadata[arrays->protocol_count++] = stored.protocols[i].metadata;
    }
}

static void store_fill(StoreArrays *arrays, Group *const *groups, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const Group *group = groups[i];
        arrays->ids[i] = group_id(group);
        arrays->epochs[i] = group_coordinator_epoch(group);
        arrays->generations[i] = group_generation(group);
        arrays->types[i] = store_text(group_protocol_type(group));
        arrays->names[i] = store_text(group_protocol_name(group));
        arrays->leaders[i] = store_text(group_leader_id(group));
        arrays->member_counts[i] = (int32_t)group_member_count(group);
        for (const GroupMember *member = group_first(group); member; member = group_next(member)) {
            store_fill_member(arrays, member);
        }
    }
}

static void store_put(BrainParameters *parameters, const StoreArrays *arrays, size_t count)
{
    size_t members = arrays->member_count;
    brain_put_int4s(parameters, arrays->ids, count);
    brain_put_int4s(parameters, arrays->epochs, count);
    brain_put_int4s(parameters, arrays->generations, count);
    brain_put_texts(parameters, arrays->types, count);
    brain_put_texts(parameters, arrays->names, count);
    brain_put_texts(parameters, arrays->leaders, count);
    brain_put_int4s(parameters, arrays->member_counts, count);
    brain_put_texts(parameters, arrays->members, members);
    brain_put_texts(parameters, arrays->instances, members);
    brain_put_texts(parameters, arrays->clients, members);
    brain_put_texts(parameters, arrays->hosts, members);
    brain_put_int4s(parameters, arrays->sessions, members);
    brain_put_int4s(parameters, arrays->rebalances, members);
    brain_put_byteas(parameters, arrays->assignments, members);
    brain_put_int4s(parameters, arrays->protocol_counts, members);
    brain_put_texts(parameters, arrays->protocols, arrays->protocol_count);
    brain_put_byteas(parameters, arrays->metadata, arrays->protocol_count);
}

void group_brain_store(Agent *agent, Group *const *groups, size_t count, GroupsStored done, void *argument,
                       struct GroupService *service)
{
    Arena arena;
    StoreArrays arrays = { 0 };
    BrainParameters parameters;
    arena_init(&arena, SIZE_MAX / 2);
    store_allocate(&arrays, &arena, groups, count);
    store_fill(&arrays, groups, count);
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    store_put(&parameters, &arrays, count);
    arena_reset(&arena);
    brain_send(agent->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &store_statement, .parameters = &parameters }, store_answered,
               ask_new((BrainAsk){ .service = service,
                                   .stored = done,
                                   .argument = argument,
                                   .count = count,
                                   .started_ns = time_ns() }));
}
