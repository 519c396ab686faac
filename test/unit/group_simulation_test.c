/* group_simulation_test.c: members that come, go, die and come back, coordinators that die, and a brain that
 * is slow, loses calls and answers and carries some out late, over thousands of random schedules. After a
 * while everything works, and then all members must be in one stable generation before long. A schedule is
 * repeated by its number:
 *     SIMULATION_SEED=123 build/asan/test/unit/group_simulation_test */
#include <stdio.h>
#include <stdlib.h>

#include "test/unit/group_model.h"
#include "test/unit/test.h"

enum { SEEDS = TEST_SANITIZED ? 300 : 3000 };

/* Clients. */

static void client_again(Client *client, ClientState state)
{
    client->state = state;
    client->next_ms = client->simulation->now_ms + below(client->simulation, 300);
}

/* What Kafka's clients do when they are told of an error. */
static void client_hear_error(Client *client, KafkaError error)
{
    switch (error) {
    case KAFKA_ERROR_MEMBER_ID_REQUIRED:
    case KAFKA_ERROR_REBALANCE_IN_PROGRESS:
    case KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE:
    case KAFKA_ERROR_NOT_COORDINATOR:
    case KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS:
    case KAFKA_ERROR_ILLEGAL_GENERATION:
        break;
    case KAFKA_ERROR_UNKNOWN_MEMBER_ID:
        client->id[0] = '\0';
        break;
    case KAFKA_ERROR_FENCED_INSTANCE_ID:
        client_again(client, CLIENT_DEAD);
        return;
    default:
        wrong(client->simulation, "an error that no fault explains");
    }
    client_again(client, CLIENT_OUT);
}

static void joined(GroupWait *wait, const GroupAnswer *answer)
{
    Client *client = (Client *)((char *)wait - offsetof(Client, wait));
    if (!client->waiting) {
        wrong(client->simulation, "an answer to nobody");
    }
    client->waiting = false;
    if (answer->error == KAFKA_ERROR_NONE || answer->error == KAFKA_ERROR_MEMBER_ID_REQUIRED) {
        copy_text(client->id, answer->member_id);
    }
    if (answer->error != KAFKA_ERROR_NONE) {
        client_hear_error(client, answer->error);
        return;
    }
    client->generation = answer->generation;
    copy_text(client->leader, answer->leader);
    if (!slice_equals(answer->protocol_name, SLICE_LITERAL("range"))) {
        wrong(client->simulation, "a protocol that the member does not speak");
    }
    client->member_count = 0;
    for (const GroupMember *member = answer->members ? group_first(answer->members) : NULL; member;
         member = group_next(member)) {
        copy_text(client->members[client->member_count++], group_member_stored(member).member_id);
    }
    client_again(client, CLIENT_SYNCING);
}

static void own(Client *client, int partition)
{
    Simulation *simulation = client->simulation;
    char *owner = simulation->owners[client->generation][partition];
    const char *me = client->instance[0] ? client->instance : client->id;
    if (owner[0] && strcmp(owner, me) != 0) {
        wrong(simulation, "a partition has two owners in one generation");
    }
    snprintf(owner, TEXT, "%s", me);
}

/* "number of the leader's sync:place:members:generation" */
static void synced(GroupWait *wait, const GroupAnswer *answer)
{
    Client *client = (Client *)((char *)wait - offsetof(Client, wait));
    Simulation *simulation = client->simulation;
    char text[TEXT];
    int number, place, members, generation;
    if (!client->waiting) {
        wrong(simulation, "an answer to nobody");
    }
    client->waiting = false;
    if (answer->error != KAFKA_ERROR_NONE) {
        client_hear_error(client, answer->error);
        return;
    }
    copy_text(text, answer->assignment);
    client_again(client, CLIENT_IN);
    if (client->generation < client->last_synced) {
        wrong(simulation, "a member's generation went back");
    }
    client->last_synced = client->generation;
    if (sscanf(text, "%d:%d:%d:%d", &number, &place, &members, &generation) != 4) {
        wrong(simulation, "an assignment that is not the leader's");
        return;
    }
    if (generation != client->generation) {
        wrong(simulation, "an assignment of another generation");
    }
    int *known = &simulation->synced[client->generation];
    if (*known != 0 && *known != number) {
        wrong(simulation, "two assignments of one generation");
    }
    *known = number;
    if (simulation->rows.generation < client->generation) {
        wrong(simulation, "a member heard of an assignment that is not stored");
    }
    for (int partition = place; partition < PARTITIONS; partition += members) {
        own(client, partition);
    }
}

static void client_join(Client *client, Group *group)
{
    GroupProtocol protocols[] = { { SLICE_LITERAL("range"), slice_of_text(client->metadata) } };
    GroupJoin join = {
        .member_id = slice_of_text(client->id),
        .instance_id = client->instance[0] ? slice_of_text(client->instance) : SLICE_NULL,
        .client_id = SLICE_LITERAL("c"),
        .client_host = SLICE_LITERAL("/h"),
        .session_timeout_ms = SESSION_MS,
        .rebalance_timeout_ms = REBALANCE_MS,
        .protocol_type = SLICE_LITERAL("consumer"),
        .protocols = protocols,
        .protocol_count = 1,
        .requires_known_id = true,
    };
    client->state = CLIENT_JOINING;
    client->waiting = true;
    client->wait.answered = joined;
    group_join(group, &join, &client->wait);
}

static void client_sync(Client *client, Group *group)
{
    static char texts[CLIENTS * 4][TEXT];
    GroupAssignment assignments[CLIENTS * 4];
    size_t count = strcmp(client->leader, client->id) == 0 ? client->member_count : 0;
    int number = ++client->simulation->syncs;
    for (size_t i = 0; i < count; i++) {
        snprintf(texts[i], TEXT, "%d:%zu:%zu:%d", number, i, count, client->generation);
        assignments[i] = (GroupAssignment){ slice_of_text(client->members[i]), slice_of_text(texts[i]) };
    }
    GroupSync sync = {
        .member_id = slice_of_text(client->id),
        .instance_id = client->instance[0] ? slice_of_text(client->instance) : SLICE_NULL,
        .generation = client->generation,
        .protocol_type = SLICE_LITERAL("consumer"),
        .protocol_name = SLICE_LITERAL("range"),
        .assignments = assignments,
        .assignment_count = count,
    };
    client->waiting = true;
    client->wait.answered = synced;
    group_sync(group, &sync, &client->wait);
}

/* What the next coordinator would know of a member that is told that all is well. */
static void client_check_stored(const Client *client)
{
    const Rows *rows = &client->simulation->rows;
    bool found = rows->generation != client->generation;
    for (size_t i = 0; i < rows->member_count; i++) {
        found = found || strcmp(rows->members[i].id, client->id) == 0;
    }
    if (!found) {
        wrong(client->simulation, "the brain does not know a member of its generation");
    }
}

static void client_beat(Client *client, Group *group)
{
    Slice instance = client->instance[0] ? slice_of_text(client->instance) : SLICE_NULL;
    KafkaError error = group_heartbeat(group, slice_of_text(client->id), instance, client->generation);
    if (error == KAFKA_ERROR_NONE) {
        client_check_stored(client);
        client->next_ms = client->simulation->now_ms + BEAT_MS;
    } else {
        client_hear_error(client, error);
    }
}

static void client_leave(Client *client, Group *group)
{
    if (group_leave(group, slice_of_text(client->id), SLICE_NULL) == KAFKA_ERROR_NONE) {
        group_left(group);
    }
    client->id[0] = '\0';
    client_again(client, CLIENT_DEAD);
}

typedef struct Opening {
    GroupOpening opening;
    Client *client;
    ClientState state;
} Opening;

static void client_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    Client *client = ((Opening *)opening)->client;
    bool outdated = ((Opening *)opening)->state != client->state || client->waiting;
    free(opening);
    if (outdated) {
        return;
    }
    if (outcome != GROUP_OPEN) {
        client_hear_error(client, outcome == GROUP_REFUSED ? error : KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    } else if (client->state == CLIENT_OUT) {
        client_join(client, group);
    } else if (client->state == CLIENT_SYNCING) {
        client_sync(client, group);
    } else if (client->state == CLIENT_IN && client->instance[0] == '\0' && chance(client->simulation, 40)) {
        client_leave(client, group);
    } else if (client->state == CLIENT_IN) {
        client_beat(client, group);
    }
}

static void client_ask(Client *client)
{
    Opening *opening = calloc(1, sizeof(Opening));
    *opening = (Opening){ .client = client, .state = client->state };
    opening->opening.opened = client_opened;
    client->next_ms = client->simulation->now_ms + BEAT_MS;
    groups_open(client->simulation->groups, SLICE_LITERAL("g"), client->id[0] == '\0', &opening->opening);
}

/* The process dies; a new one, perhaps of the same instance, comes later. */
static void client_die(Client *client)
{
    if (client->waiting) {
        group_abandon(&client->wait);
        client->waiting = false;
    }
    client->id[0] = '\0';
    client->state = CLIENT_DEAD;
    client->next_ms = client->simulation->now_ms + below(client->simulation, 9000);
}

static void client_run(Client *client)
{
    Simulation *simulation = client->simulation;
    if (client->state != CLIENT_DEAD && chance(simulation, 1500)) {
        client_die(client);
    }
    if (client->waiting || simulation->now_ms < client->next_ms) {
        return;
    }
    if (client->state == CLIENT_DEAD) {
        client->last_synced = 0;
        client->id[0] = '\0';
        client->state = CLIENT_OUT;
    } else if (client->state == CLIENT_IN && chance(simulation, 30)) {
        snprintf(client->metadata, TEXT, "%u", below(simulation, 1000));
        client->state = CLIENT_OUT;
    }
    client_ask(client);
}

/* Coordinators. */

static const GroupOptions options = {
    .initial_delay_ms = 500,
    .members_max = 100,
    .group_bytes_max = 1 << 20,
    .bytes_max = 1 << 20,
};

static void coordinator_start(Simulation *simulation)
{
    GroupBackend backend = { simulation,    backend_now,    backend_claim,
                             backend_store, backend_unique, backend_wake };
    simulation->life++;
    simulation->groups = groups_new(&options, &backend);
}

/* Its calls are answered to nobody; what they do may be done after its successor has begun. */
static void coordinator_stop(Simulation *simulation)
{
    groups_forget(simulation->groups);
    for (int i = 0; i < CALLS_MAX; i++) {
        Call *call = &simulation->calls[i];
        if (call->used && call->life == simulation->life && call->claimed) {
            GroupClaim gone = { .outcome = GROUP_REFUSED, .error = KAFKA_ERROR_NOT_COORDINATOR };
            GroupClaimed claimed = call->claimed;
            call->claimed = NULL;
            claimed(call->argument, &gone);
        } else if (call->used && call->life == simulation->life && call->stored) {
            GroupStoreOutcome doubt = GROUP_IN_DOUBT;
            GroupsStored stored = call->stored;
            call->stored = NULL;
            stored(call->argument, &doubt);
        }
    }
    groups_free(simulation->groups);
}

static bool simulation_is_settled(const Simulation *simulation)
{
    for (int i = 0; i < CLIENTS; i++) {
        const Client *client = &simulation->clients[i];
        if (client->state != CLIENT_IN || client->generation != simulation->clients[0].generation) {
            return false;
        }
    }
    return simulation->rows.generation == simulation->clients[0].generation &&
           simulation->rows.member_count == CLIENTS;
}

static void simulation_step(Simulation *simulation)
{
    simulation->now_ms += STEP_MS;
    simulation->calm = simulation->now_ms > FAULTS_MS;
    if (chance(simulation, 300)) {
        coordinator_stop(simulation);
        coordinator_start(simulation);
    }
    int32_t before = simulation->rows.generation;
    brain_run(simulation);
    if (simulation->rows.generation < before || simulation->rows.generation >= GENERATIONS_MAX) {
        wrong(simulation, "the stored generation went back");
    }
    for (int i = 0; i < CLIENTS; i++) {
        client_run(&simulation->clients[i]);
        groups_tick(simulation->groups);
    }
}

static bool simulation_run(uint64_t seed)
{
    Simulation *simulation = calloc(1, sizeof(Simulation));
    simulation->seed = seed;
    simulation->random = seed * 2654435761u + 12345;
    coordinator_start(simulation);
    for (int i = 0; i < CLIENTS; i++) {
        Client *client = &simulation->clients[i];
        *client = (Client){ .simulation = simulation, .metadata = "m" };
        client->next_ms = below(simulation, 5000);
        if (i % 3 == 0) {
            snprintf(client->instance, TEXT, "i%d", i);
        }
    }
    int64_t settled_ms = 0;
    while (simulation->wrong == 0 && settled_ms < 20000 && simulation->now_ms < GIVE_UP_MS) {
        simulation_step(simulation);
        bool settled = simulation->calm && simulation_is_settled(simulation);
        settled_ms = settled ? settled_ms + STEP_MS : 0;
    }
    if (simulation->wrong == 0 && settled_ms < 20000) {
        wrong(simulation, "somebody waits for ever");
    }
    bool right = simulation->wrong == 0;
    coordinator_stop(simulation);
    free(simulation);
    return right;
}

TEST(whatever_dies_and_however_late_each_generation_has_one_assignment_and_all_come_together)
{
    const char *one = getenv("SIMULATION_SEED");
    int failed = 0;
    if (one) {
        CHECK(simulation_run(strtoull(one, NULL, 10)));
        return;
    }
    for (uint64_t seed = 1; seed <= SEEDS && failed < 5; seed++) {
        failed += !simulation_run(seed);
    }
    CHECK_INT(failed, 0);
}
