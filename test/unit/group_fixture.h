/* group_fixture.h: a coordinator among fakes: time stands still unless a test moves it, and what it asks of
 * the brain waits until the test answers it. Clients are played by World's requests, each of which remembers
 * its answer. */
#ifndef STREAMHOUSE_GROUP_FIXTURE_H
#define STREAMHOUSE_GROUP_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "agent/group/group.h"

enum { WORLD_CLAIMS_MAX = 64, WORLD_START_MS = 1000000, WORLD_TEXT = 128, WORLD_MEMBERS = 64 };

/* What became of one JoinGroup or SyncGroup. */
typedef struct Reply {
    GroupWait wait;
    int count; /* how often it was answered: 1 is right */
    KafkaError error;
    int32_t generation;
    bool skip_assignment;
    int members; /* that the leader was told of */
    char member_id[WORLD_TEXT];
    char leader[WORLD_TEXT];
    char protocol[WORLD_TEXT];
    char metadata[WORLD_TEXT]; /* of the members, one after the other */
    char assignment[WORLD_TEXT];
} Reply;

typedef struct PendingClaim {
    char name[WORLD_TEXT];
    bool create;
    GroupClaimed done;
    void *argument;
} PendingClaim;

typedef struct World {
    Groups *groups;
    int64_t now_ms;
    int woken;
    int ids;
    int epoch;
    PendingClaim claims[WORLD_CLAIMS_MAX];
    size_t claim_count;
    bool storing; /* a store waits for its answer */
    size_t stored_count;
    int stores;
    char
        stored[1024]; /* the first group of the last store: generation/protocol/leader: member=assignment … */
    GroupsStored stored_done;
    void *stored_argument;
    /* The group of the last world_open(). */
    Group *group;
    GroupOpened outcome;
    KafkaError open_error;
    int opened;
} World;

static inline void text_put(char *out, Slice text)
{
    snprintf(out, WORLD_TEXT, "%.*s", (int)text.size, text.data ? (const char *)text.data : "");
}

static inline int64_t world_now(void *context)
{
    return ((World *)context)->now_ms;
}

static inline void world_claim(void *context, Slice name, bool create, GroupClaimed done, void *argument)
{
    World *world = context;
    if (world->claim_count == WORLD_CLAIMS_MAX) {
        abort();
    }
    PendingClaim *claim = &world->claims[world->claim_count++];
    *claim = (PendingClaim){ .create = create, .done = done, .argument = argument };
    text_put(claim->name, name);
}

static inline void world_store(void *context, Group *const *groups, size_t count, GroupsStored done,
                               void *argument)
{
    World *world = context;
    const Group *group = groups[0];
    if (world->storing) {
        abort();
    }
    world->storing = true;
    world->stores++;
    world->stored_count = count;
    world->stored_done = done;
    world->stored_argument = argument;
    Slice protocol = group_protocol_name(group);
    Slice leader = group_leader_id(group);
    size_t used = (size_t)snprintf(world->stored, sizeof(world->stored),
                                   "%d/%.*s/%.*s:", group_generation(group), (int)protocol.size,
                                   (const char *)protocol.data, (int)leader.size, (const char *)leader.data);
    for (const GroupMember *member = group_first(group); member; member = group_next(member)) {
        GroupStoredMember stored = group_member_stored(member);
        int wrote = snprintf(world->stored + used, sizeof(world->stored) - used, " %.*s=%.*s",
                             (int)stored.member_id.size, (const char *)stored.member_id.data,
                             (int)stored.assignment.size, (const char *)stored.assignment.data);
        used += (size_t)wrote < sizeof(world->stored) - used ? (size_t)wrote : 0;
    }
}

/* Ids that sort: 36 characters that end in a number. */
static inline void world_unique(void *context, char *out)
{
    char text[40];
    snprintf(text, sizeof(text), "%036d", ++((World *)context)->ids);
    memcpy(out, text, 36);
}

static inline void world_wake(void *context)
{
    ((World *)context)->woken++;
}

static const GroupOptions world_options = {
    .initial_delay_ms = 3000,
    .members_max = 100,
    .group_bytes_max = 1 << 20,
    .bytes_max = 4 << 20,
};

static inline World *world_new(const GroupOptions *options)
{
    World *world = calloc(1, sizeof(World));
    GroupBackend backend = {
        .context = world,
        .now_ms = world_now,
        .claim = world_claim,
        .store = world_store,
        .unique = world_unique,
        .wake = world_wake,
    };
    world->now_ms = WORLD_START_MS;
    world->groups = groups_new(options, &backend);
    return world;
}

static inline int64_t world_tick(World *world)
{
    return groups_tick(world->groups);
}

static inline void world_pass(World *world, int64_t ms)
{
    world->now_ms += ms;
    world_tick(world);
}

/* Answers the oldest claim. */
static inline void world_answer_claim(World *world, const GroupClaim *answer)
{
    PendingClaim claim = world->claims[0];
    memmove(world->claims, world->claims + 1, --world->claim_count * sizeof(PendingClaim));
    claim.done(claim.argument, answer);
    world_tick(world);
}

/* It is there, without members. */
static inline void world_give_empty(World *world, int32_t generation)
{
    GroupClaim claim = {
        .outcome = GROUP_OPEN, .group_id = 7, .coordinator_epoch = ++world->epoch, .generation = generation
    };
    world_answer_claim(world, &claim);
}

static inline void world_end_store(World *world, GroupStoreOutcome outcome)
{
    GroupStoreOutcome outcomes[GROUP_STORES_MAX];
    for (size_t i = 0; i < GROUP_STORES_MAX; i++) {
        outcomes[i] = outcome;
    }
    world->storing = false;
    world->stored_done(world->stored_argument, outcomes);
    world_tick(world);
}

static inline void world_free(World *world)
{
    groups_forget(world->groups);
    while (world->claim_count > 0) {
        GroupClaim gone = { .outcome = GROUP_MISSING };
        world_answer_claim(world, &gone);
    }
    if (world->storing) {
        world_end_store(world, GROUP_FAILED);
    }
    groups_free(world->groups);
    free(world);
}

static inline void reply_answered(GroupWait *wait, const GroupAnswer *answer)
{
    Reply *reply = (Reply *)((char *)wait - offsetof(Reply, wait));
    reply->count++;
    reply->error = answer->error;
    reply->generation = answer->generation;
    reply->skip_assignment = answer->skip_assignment;
    text_put(reply->member_id, answer->member_id);
    text_put(reply->leader, answer->leader);
    text_put(reply->protocol, answer->protocol_name);
    text_put(reply->assignment, answer->assignment);
    const GroupMember *member = answer->members ? group_first(answer->members) : NULL;
    size_t used = 0;
    for (; member; member = group_next(member)) {
        Slice metadata = group_member_metadata(member);
        reply->members++;
        if (used + metadata.size + 1 < WORLD_TEXT) {
            memcpy(reply->metadata + used, metadata.data, metadata.size);
            used += metadata.size;
        }
    }
}

/* What one client says; a test changes what it is about. */
typedef struct Client {
    const char *group;
    const char *instance; /* NULL: dynamic */
    const char *type;
    const char *protocols[4]; /* up to a NULL */
    const char *metadata;
    int32_t session_ms;
    int32_t rebalance_ms;
    bool old; /* speaks a version in which new members need not know their id */
    bool skips;
    char id[WORLD_TEXT];
    int32_t generation;
} Client;

static inline Client client_new(void)
{
    return (Client){ .group = "g",
                     .type = "consumer",
                     .protocols = { "range" },
                     .metadata = "m",
                     .session_ms = 10000,
                     .rebalance_ms = 60000 };
}

typedef struct WorldOpening {
    GroupOpening opening;
    World *world;
    void (*then)(World *world, Group *group, void *argument);
    void *argument;
} WorldOpening;

static inline void world_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    WorldOpening *opened = (WorldOpening *)opening;
    World *world = opened->world;
    world->opened++;
    world->outcome = outcome;
    world->open_error = error;
    if (group && opened->then) {
        opened->then(world, group, opened->argument);
    }
    free(opened);
}

static inline void world_open(World *world, const char *name, bool create,
                              void (*then)(World *world, Group *group, void *argument), void *argument)
{
    WorldOpening *opening = calloc(1, sizeof(WorldOpening));
    *opening = (WorldOpening){ .world = world, .then = then, .argument = argument };
    opening->opening.opened = world_opened;
    groups_open(world->groups, slice_of_text(name), create, &opening->opening);
}

typedef struct JoinCall {
    Client *client;
    Reply *reply;
} JoinCall;

static inline void join_then(World *world, Group *group, void *argument)
{
    JoinCall *call = argument;
    Client *client = call->client;
    GroupProtocol protocols[4];
    size_t count = 0;
    (void)world;
    while (count < 4 && client->protocols[count]) {
        protocols[count] =
            (GroupProtocol){ slice_of_text(client->protocols[count]), slice_of_text(client->metadata) };
        count++;
    }
    GroupJoin join = {
        .member_id = slice_of_text(client->id),
        .instance_id = client->instance ? slice_of_text(client->instance) : SLICE_NULL,
        .client_id = SLICE_LITERAL("c"),
        .client_host = SLICE_LITERAL("/h"),
        .session_timeout_ms = client->session_ms,
        .rebalance_timeout_ms = client->rebalance_ms,
        .protocol_type = slice_of_text(client->type),
        .protocols = protocols,
        .protocol_count = count,
        .requires_known_id = !client->old,
        .supports_skip = client->skips,
    };
    *call->reply = (Reply){ .wait = { .answered = reply_answered } };
    group_join(group, &join, &call->reply->wait);
    free(call);
}

/* Sends a JoinGroup; one that loads the group first is answered a new, empty one. */
static inline void client_join(World *world, Client *client, Reply *reply)
{
    JoinCall *call = calloc(1, sizeof(JoinCall));
    *call = (JoinCall){ client, reply };
    world_open(world, client->group, client->id[0] == '\0', join_then, call);
    if (world->claim_count > 0) {
        world_give_empty(world, 0);
    }
    world_tick(world);
}

/* What it learns from an answer. */
static inline void client_learn(Client *client, const Reply *reply)
{
    if (reply->member_id[0]) {
        memcpy(client->id, reply->member_id, sizeof(client->id));
    }
    client->generation = reply->generation;
}

/* Asks for its id first, as clients of today do. */
static inline void client_enter(World *world, Client *client, Reply *reply)
{
    if (!client->instance && !client->old) {
        client_join(world, client, reply);
        client_learn(client, reply);
    }
    client_join(world, client, reply);
}

static inline Group *world_group(World *world)
{
    return groups_find(world->groups, SLICE_LITERAL("g"));
}

/* assignments: up to count texts, for the clients in order. */
static inline void client_sync_for(World *world, Client *client, Reply *reply, Client *const *clients,
                                   const char *const *texts, size_t count)
{
    GroupAssignment assignments[WORLD_MEMBERS];
    for (size_t i = 0; i < count; i++) {
        assignments[i] = (GroupAssignment){ slice_of_text(clients[i]->id), slice_of_text(texts[i]) };
    }
    GroupSync sync = {
        .member_id = slice_of_text(client->id),
        .instance_id = client->instance ? slice_of_text(client->instance) : SLICE_NULL,
        .generation = client->generation,
        .protocol_type = SLICE_NULL,
        .protocol_name = SLICE_NULL,
        .assignments = assignments,
        .assignment_count = count,
    };
    *reply = (Reply){ .wait = { .answered = reply_answered } };
    group_sync(world_group(world), &sync, &reply->wait);
    world_tick(world);
}

static inline void client_sync(World *world, Client *client, Reply *reply)
{
    client_sync_for(world, client, reply, NULL, NULL, 0);
}

static inline KafkaError client_beat(World *world, const Client *client)
{
    Group *group = world_group(world);
    if (!group) {
        return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    }
    KafkaError error =
        group_heartbeat(group, slice_of_text(client->id),
                        client->instance ? slice_of_text(client->instance) : SLICE_NULL, client->generation);
    world_tick(world);
    return error;
}

static inline KafkaError client_leave(World *world, const char *id, const char *instance)
{
    Group *group = world_group(world);
    KafkaError error = group_leave(group, slice_of_text(id), instance ? slice_of_text(instance) : SLICE_NULL);
    if (error == KAFKA_ERROR_NONE) {
        group_left(group);
    }
    world_tick(world);
    return error;
}

/* The only member has synced; the brain has not answered yet. */
static inline void world_alone(World *world, Client *a, Reply *ra)
{
    client_enter(world, a, ra);
    world_pass(world, world_options.initial_delay_ms);
    client_learn(a, ra);
    client_sync_for(world, a, ra, (Client *const[]){ a }, (const char *const[]){ "x" }, 1);
}

/* Two clients, a the leader, in a stable first generation with assignments "x" and "y". */
static inline void world_pair(World *world, Client *a, Client *b, Reply *ra, Reply *rb)
{
    client_enter(world, a, ra);
    client_enter(world, b, rb);
    world_pass(world, world_options.initial_delay_ms);
    world_pass(world, world_options.initial_delay_ms);
    client_learn(a, ra);
    client_learn(b, rb);
    client_sync(world, b, rb);
    client_sync_for(world, a, ra, (Client *const[]){ a, b }, (const char *const[]){ "x", "y" }, 2);
    world_end_store(world, GROUP_STORED);
}

#endif
