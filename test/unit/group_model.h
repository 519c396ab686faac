/* group_model.h: the world of the simulation of groups: what its clients and its brain are, and a brain that
 * is slow, loses calls and answers, and carries some out when nobody waits for them any more. */
#ifndef STREAMHOUSE_GROUP_MODEL_H
#define STREAMHOUSE_GROUP_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "agent/group/group.h"

enum {
    CLIENTS = 6,
    STEP_MS = 50,
    FAULTS_MS = 60000,
    GIVE_UP_MS = 160000, /* by then all must be in one generation */
    SESSION_MS = 6000,
    REBALANCE_MS = 10000,
    BEAT_MS = 1000,
    PARTITIONS = 12,
    CALLS_MAX = 64,
    GENERATIONS_MAX = 4096,
    TEXT = 96,
    UNIQUE_SIZE = 36
};

typedef struct StoredMember {
    char id[TEXT];
    char instance[TEXT];
    char metadata[TEXT];
    char assignment[TEXT];
} StoredMember;

/* The group's rows. */
typedef struct Rows {
    int32_t epoch;
    int32_t generation;
    char protocol[TEXT];
    char leader[TEXT];
    StoredMember members[CLIENTS * 4];
    size_t member_count;
} Rows;

/* A call on its way: what it would write, when it is carried out and when it is answered. */
typedef struct Call {
    bool used;
    bool is_claim;
    bool lost; /* never carried out */
    bool done;
    int64_t runs_ms;
    int64_t answers_ms;
    GroupStoreOutcome outcome;
    int32_t life; /* of the coordinator that made it: nobody hears of it in another */
    Rows rows;    /* a store's */
    GroupClaimed claimed;
    GroupsStored stored;
    void *argument;
} Call;

typedef enum ClientState { CLIENT_OUT, CLIENT_JOINING, CLIENT_SYNCING, CLIENT_IN, CLIENT_DEAD } ClientState;

typedef struct Simulation Simulation;

typedef struct Client {
    Simulation *simulation;
    ClientState state;
    char id[TEXT];
    char instance[TEXT]; /* "" dynamic */
    char metadata[TEXT];
    int32_t generation;
    char leader[TEXT];
    int64_t next_ms; /* when it does something next */
    GroupWait wait;
    bool waiting;
    int32_t last_synced;
    char members[CLIENTS * 4][TEXT]; /* what it knows as a leader */
    size_t member_count;
} Client;

struct Simulation {
    uint64_t random;
    uint64_t seed;
    int64_t now_ms;
    bool calm;
    Groups *groups;
    int32_t life; /* counts coordinators */
    int ids;
    int syncs; /* of leaders, each with a number of its own */
    Rows rows;
    Call calls[CALLS_MAX];
    Client clients[CLIENTS];
    int synced[GENERATIONS_MAX]; /* the number of the leader's sync that a generation was answered with */
    char owners[GENERATIONS_MAX][PARTITIONS][TEXT];
    int wrong;
};

static inline void wrong(Simulation *simulation, const char *what)
{
    if (simulation->wrong++ == 0) {
        printf("# seed %llu at %lld ms: %s\n", (unsigned long long)simulation->seed,
               (long long)simulation->now_ms, what);
    }
}

static inline uint32_t below(Simulation *simulation, uint32_t limit)
{
    simulation->random = simulation->random * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(simulation->random >> 33) % limit;
}

static inline bool chance(Simulation *simulation, uint32_t in)
{
    return !simulation->calm && below(simulation, in) == 0;
}

static inline void copy_text(char *out, Slice text)
{
    snprintf(out, TEXT, "%.*s", (int)text.size, text.data ? (const char *)text.data : "");
}

/* The brain. */

static inline Call *call_new(Simulation *simulation, void *argument)
{
    for (int i = 0; i < CALLS_MAX; i++) {
        Call *call = &simulation->calls[i];
        if (!call->used) {
            *call = (Call){ .used = true, .argument = argument, .life = simulation->life };
            call->runs_ms = simulation->now_ms + below(simulation, 4) * 20;
            call->answers_ms = call->runs_ms + below(simulation, 4) * 20;
            return call;
        }
    }
    printf("Bail out! too many calls\n");
    exit(EXIT_FAILURE);
}

static inline int64_t backend_now(void *context)
{
    return ((Simulation *)context)->now_ms;
}

static inline void backend_claim(void *context, Slice name, bool create, GroupClaimed done, void *argument)
{
    Simulation *simulation = context;
    Call *call = call_new(simulation, argument);
    (void)name;
    (void)create;
    call->is_claim = true;
    call->claimed = done;
    call->lost = chance(simulation, 10);
}

static inline void rows_take(Rows *rows, const Group *group)
{
    rows->epoch = group_coordinator_epoch(group);
    rows->generation = group_generation(group);
    copy_text(rows->protocol, group_protocol_name(group));
    copy_text(rows->leader, group_leader_id(group));
    for (const GroupMember *member = group_first(group); member; member = group_next(member)) {
        GroupStoredMember stored = group_member_stored(member);
        StoredMember *out = &rows->members[rows->member_count++];
        if (rows->member_count >= sizeof(rows->members) / sizeof(rows->members[0])) {
            abort();
        }
        copy_text(out->id, stored.member_id);
        copy_text(out->instance, stored.instance_id);
        copy_text(out->metadata, stored.protocols[0].metadata);
        copy_text(out->assignment, stored.assignment);
    }
}

static inline void backend_store(void *context, Group *const *groups, size_t count, GroupsStored done,
                                 void *argument)
{
    Simulation *simulation = context;
    Call *call = call_new(simulation, argument);
    (void)count;
    call->stored = done;
    rows_take(&call->rows, groups[0]);
    uint32_t fate = simulation->calm ? 0 : below(simulation, 20);
    call->outcome = fate == 1              ? GROUP_BUSY
                    : fate == 2            ? GROUP_FAILED
                    : fate < 6 && fate > 2 ? GROUP_IN_DOUBT
                                           : GROUP_STORED;
    call->lost = fate == 1 || fate == 2 || fate == 3;
    if (fate == 5) {
        call->runs_ms = call->answers_ms + below(simulation, 3000); /* long after nobody waits for it */
    }
}

static inline void backend_unique(void *context, char *out)
{
    char text[UNIQUE_SIZE + 1];
    snprintf(text, sizeof(text), "%036d", ++((Simulation *)context)->ids);
    memcpy(out, text, UNIQUE_SIZE);
}

static inline void backend_wake(void *context)
{
    (void)context;
}

/* What sh_store_classic_groups() does. */
static inline void store_run(Simulation *simulation, Call *call)
{
    Rows *rows = &simulation->rows;
    if (call->rows.epoch != rows->epoch || call->rows.generation < rows->generation) {
        call->outcome = call->outcome == GROUP_STORED ? GROUP_FENCED : call->outcome;
        return;
    }
    *rows = call->rows;
}

static inline void claim_answer(Simulation *simulation, const Call *call)
{
    Rows *rows = &simulation->rows;
    GroupStoredMember members[CLIENTS * 4];
    GroupProtocol protocols[CLIENTS * 4];
    GroupClaim claim = { .outcome = GROUP_REFUSED, .error = KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS };
    if (!call->lost) {
        claim = (GroupClaim){ .outcome = GROUP_OPEN,
                              .group_id = 1,
                              .coordinator_epoch = ++rows->epoch,
                              .generation = rows->generation,
                              .protocol_type = SLICE_LITERAL("consumer"),
                              .protocol_name = slice_of_text(rows->protocol),
                              .leader = slice_of_text(rows->leader),
                              .members = members,
                              .member_count = rows->member_count };
    }
    for (size_t i = 0; i < rows->member_count; i++) {
        const StoredMember *stored = &rows->members[i];
        protocols[i] = (GroupProtocol){ SLICE_LITERAL("range"), slice_of_text(stored->metadata) };
        members[i] = (GroupStoredMember){
            .member_id = slice_of_text(stored->id),
            .instance_id = stored->instance[0] ? slice_of_text(stored->instance) : SLICE_NULL,
            .session_timeout_ms = SESSION_MS,
            .rebalance_timeout_ms = REBALANCE_MS,
            .protocols = &protocols[i],
            .protocol_count = 1,
            .assignment = slice_of_text(stored->assignment),
        };
    }
    call->claimed(call->argument, &claim);
}

static inline void call_run(Simulation *simulation, Call *call)
{
    if (!call->done && simulation->now_ms >= call->runs_ms) {
        call->done = true;
        if (!call->is_claim && !call->lost) {
            store_run(simulation, call);
        }
    }
    bool answers = simulation->now_ms >= call->answers_ms;
    if (answers && call->life == simulation->life && (call->claimed || call->stored)) {
        Call answered = *call;
        call->claimed = NULL;
        call->stored = NULL;
        call->used = !call->done;
        if (answered.is_claim) {
            claim_answer(simulation, &answered);
        } else {
            answered.stored(answered.argument, &answered.outcome);
        }
    } else if (answers && call->done) {
        call->used = false;
    }
}

static inline void brain_run(Simulation *simulation)
{
    for (int i = 0; i < CALLS_MAX; i++) {
        if (simulation->calls[i].used) {
            call_run(simulation, &simulation->calls[i]);
        }
    }
}

#endif
