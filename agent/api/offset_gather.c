/* offset_gather.c: commits of offsets in few transactions. One call is under way at a time; what comes
 * meanwhile goes in the next, up to a bound; a request of more partitions goes in several, one after the
 * other. What somebody else had locked goes again a little later, and holds up nobody; after some tries the
 * client is told to. A call that fails as a whole, though the brain can
 * be reached, is taken apart, so that one request can never fail others. */
#include "agent/api/offset_gather.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/kafka/error.h"
#include "agent/metrics.h"
#include "common/arena.h"

enum {
    CALL_REQUESTS_MAX = 300, /* some milliseconds: heartbeats take the same line */
    CALL_PARTITIONS_MAX = 1500,
    CALL_BYTES_MAX = 4 * 1024 * 1024,
    WAITING_BYTES_MAX = 64 * 1024 * 1024,
    BUSY_TRIES_MAX = 10,
    BUSY_AGAIN_MS = 10,
    CALL_DEADLINE_MS = 5 * 1000, /* offsets.commit.timeout.ms */
    CALL_ARENA_BYTES_MAX = 64 * 1024 * 1024,
    ENTRY_BYTES = 64 /* what an entry costs on its way, beside its text */
};
_Static_assert(CALL_BYTES_MAX < WAITING_BYTES_MAX, "a full call can wait");

static const BrainStatement commit_statement = {
    "offset_commit",
    "SELECT sh_offset_commit_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    12,
    { BRAIN_INT4, BRAIN_TEXTS, BRAIN_TEXTS, BRAIN_INT4S, BRAIN_TEXTS, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S,
      BRAIN_INT4S, BRAIN_INT8S, BRAIN_INT4S, BRAIN_TEXTS },
};

/* Oldest first. */
typedef struct CommitList {
    OffsetCommitting *first;
    OffsetCommitting *last;
} CommitList;

struct OffsetGather {
    Agent *agent;
    uv_timer_t *timer;
    CommitList queue;
    CommitList busy;    /* by due_ms */
    CommitList calling; /* in the call under way */
    size_t waiting_bytes;
    size_t waiting_count;
    int64_t called_ns;
    bool stopped;
};

/* The arguments of one call. */
typedef struct CommitCall {
    size_t request_count;
    size_t count;
    Slice *groups;
    Slice *member_ids;
    Slice *instance_ids;
    int32_t *epochs;
    int32_t *versions;
    int32_t *requests;
    int32_t *topic_ids;
    int32_t *partitions;
    int64_t *offsets;
    int32_t *leader_epochs;
    Slice *metadata;
} CommitCall;

static void gather_turn(uv_timer_t *timer);

static void list_append(CommitList *list, OffsetCommitting *committing)
{
    committing->next = NULL;
    if (list->first) {
        list->last->next = committing;
    } else {
        list->first = committing;
    }
    list->last = committing;
}

static OffsetCommitting *list_take(CommitList *list)
{
    OffsetCommitting *taken = list->first;
    if (taken) {
        list->first = taken->next;
    }
    return taken;
}

static bool entry_is_pending(const OffsetEntry *entry)
{
    return *entry->error_code == KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS;
}

static size_t committing_pending(const OffsetCommitting *committing, size_t from, size_t to)
{
    size_t pending = 0;
    for (size_t i = from; i < to; i++) {
        pending += entry_is_pending(&committing->entries[i]);
    }
    return pending;
}

/* Sets how far the next call goes, with at most so many entries; says how many. */
static size_t committing_reach(OffsetCommitting *committing, size_t most)
{
    size_t reached = 0;
    size_t last = committing->first;
    while (last < committing->count && reached < most) {
        reached += entry_is_pending(&committing->entries[last++]);
    }
    committing->last = last;
    return reached;
}

static void committing_refuse(OffsetCommitting *committing, KafkaError error)
{
    for (size_t i = 0; i < committing->count; i++) {
        if (entry_is_pending(&committing->entries[i])) {
            *committing->entries[i].error_code = (int16_t)error;
        }
    }
}

static void gather_measure(const OffsetGather *gather)
{
    metric_set(METRIC_OFFSET_COMMITS_WAITING, (double)gather->waiting_count);
    metric_set(METRIC_OFFSET_COMMITS_BYTES, (double)gather->waiting_bytes);
}

static void gather_end(OffsetGather *gather, OffsetCommitting *committing)
{
    gather->waiting_bytes -= committing->bytes;
    gather->waiting_count--;
    gather_measure(gather);
    committing->done(committing);
}

/* The next turn is now, when something can be sent, or when what was busy is due. */
static void gather_arm(OffsetGather *gather)
{
    if (gather->stopped || gather->calling.first) {
        return;
    }
    if (gather->queue.first) {
        uv_timer_start(gather->timer, gather_turn, 0, 0);
    } else if (gather->busy.first) {
        int64_t left_ms = gather->busy.first->due_ms - time_ms();
        uv_timer_start(gather->timer, gather_turn, left_ms > 0 ? (uint64_t)left_ms : 0, 0);
    }
}

bool offset_gather_put(OffsetGather *gather, OffsetCommitting *committing)
{
    size_t bytes = committing->group.size + committing->member_id.size + committing->instance_id.size;
    for (size_t i = 0; i < committing->count; i++) {
        bytes += ENTRY_BYTES + committing->entries[i].metadata.size;
    }
    if (gather->stopped || bytes > WAITING_BYTES_MAX - gather->waiting_bytes) {
        metric_add(METRIC_OFFSET_COMMITS_REFUSED, 1);
        return false;
    }
    metric_add(METRIC_OFFSET_COMMITS, 1);
    committing->bytes = bytes;
    committing->tries = 0;
    committing->first = 0;
    committing->alone = false;
    gather->waiting_bytes += bytes;
    gather->waiting_count++;
    gather_measure(gather);
    list_append(&gather->queue, committing);
    gather_arm(gather);
    return true;
}

/* The rest of a large request follows; then what was busy goes again, or its client is told. */
static void gather_settle(OffsetGather *gather, OffsetCommitting *committing)
{
    committing->first = committing->last;
    if (committing_pending(committing, committing->first, committing->count) > 0 && !gather->stopped) {
        list_append(&gather->queue, committing);
        return;
    }
    committing->first = 0;
    if (committing_pending(committing, 0, committing->count) == 0 || ++committing->tries >= BUSY_TRIES_MAX ||
        gather->stopped) {
        gather_end(gather, committing);
        return;
    }
    metric_add(METRIC_OFFSET_COMMITS_BUSY, 1);
    committing->due_ms = time_ms() + BUSY_AGAIN_MS;
    list_append(&gather->busy, committing);
}

static bool call_apply(OffsetGather *gather, const BrainResult *result)
{
    BrainArray errors = brain_int4s(result, 0, 0);
    int32_t *codes = malloc(sizeof(int32_t) * (errors.count > 0 ? (size_t)errors.count : 1));
    int32_t count = codes && errors.count > 0 ? brain_array_int4(&errors, 0, codes, errors.count) : 0;
    size_t pending = 0;
    for (OffsetCommitting *c = gather->calling.first; c; c = c->next) {
        pending += committing_pending(c, c->first, c->last);
    }
    bool matches = (size_t)count == pending;
    int32_t next = 0;
    for (OffsetCommitting *c = gather->calling.first; matches && c; c = c->next) {
        for (size_t i = c->first; i < c->last; i++) {
            if (entry_is_pending(&c->entries[i])) {
                *c->entries[i].error_code = (int16_t)codes[next++];
            }
        }
    }
    free(codes);
    return matches;
}

/* Each request of a call that failed goes by itself, unless it did already. */
static void gather_take_apart(OffsetGather *gather, OffsetCommitting *committing, const BrainResult *result)
{
    journal_seldom(JOURNAL_WARN, "groups", "offsets could not be committed: %s", result->message);
    if (committing->alone || gather->stopped) {
        committing_refuse(committing, KAFKA_ERROR_UNKNOWN_SERVER_ERROR);
        gather_end(gather, committing);
        return;
    }
    committing->alone = true;
    list_append(&gather->queue, committing);
}

static bool is_brain_away(const BrainResult *result)
{
    StatusCode code = result->status.code;
    return result->in_doubt || code == STATUS_UNAVAILABLE || code == STATUS_TIMEOUT || code == STATUS_LIMIT ||
           code == STATUS_CANCELLED;
}

static void gather_answered(const BrainResult *result, void *argument)
{
    OffsetGather *gather = argument;
    bool answered = status_is_ok(&result->status) && call_apply(gather, result);
    CommitList ended = gather->calling;
    gather->calling = (CommitList){ 0 };
    metric_observe_since(METRIC_OFFSET_COMMIT_DURATION, gather->called_ns);
    for (OffsetCommitting *c = list_take(&ended); c; c = list_take(&ended)) {
        if (answered) {
            gather_settle(gather, c);
        } else if (is_brain_away(result)) {
            committing_refuse(c, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
            gather_end(gather, c);
        } else {
            gather_take_apart(gather, c, result);
        }
    }
    gather_arm(gather);
}

static bool call_allocate(CommitCall *call, Arena *arena, size_t requests, size_t count)
{
    *call = (CommitCall){
        .groups = arena_allocate_array(arena, requests, sizeof(Slice)),
        .member_ids = arena_allocate_array(arena, requests, sizeof(Slice)),
        .instance_ids = arena_allocate_array(arena, requests, sizeof(Slice)),
        .epochs = arena_allocate_array(arena, requests, sizeof(int32_t)),
        .versions = arena_allocate_array(arena, requests, sizeof(int32_t)),
        .requests = arena_allocate_array(arena, count, sizeof(int32_t)),
        .topic_ids = arena_allocate_array(arena, count, sizeof(int32_t)),
        .partitions = arena_allocate_array(arena, count, sizeof(int32_t)),
        .offsets = arena_allocate_array(arena, count, sizeof(int64_t)),
        .leader_epochs = arena_allocate_array(arena, count, sizeof(int32_t)),
        .metadata = arena_allocate_array(arena, count, sizeof(Slice)),
    };
    return call->groups && call->member_ids && call->instance_ids && call->epochs && call->versions &&
           call->requests && call->topic_ids && call->partitions && call->offsets && call->leader_epochs &&
           call->metadata;
}

static void call_add(CommitCall *call, const OffsetCommitting *committing)
{
    size_t place = call->request_count++;
    call->groups[place] = committing->group;
    call->member_ids[place] = committing->member_id;
    call->instance_ids[place] = committing->instance_id;
    call->epochs[place] = committing->epoch;
    call->versions[place] = committing->version;
    for (size_t i = committing->first; i < committing->last; i++) {
        const OffsetEntry *entry = &committing->entries[i];
        if (entry_is_pending(entry)) {
            call->requests[call->count] = (int32_t)call->request_count;
            call->topic_ids[call->count] = entry->topic_id;
            call->partitions[call->count] = entry->partition;
            call->offsets[call->count] = entry->offset;
            call->leader_epochs[call->count] = entry->leader_epoch;
            call->metadata[call->count++] = entry->metadata;
        }
    }
}

static void call_send(OffsetGather *gather, const CommitCall *call)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(gather->agent->lease));
    brain_put_texts(&parameters, call->groups, call->request_count);
    brain_put_texts(&parameters, call->member_ids, call->request_count);
    brain_put_int4s(&parameters, call->epochs, call->request_count);
    brain_put_texts(&parameters, call->instance_ids, call->request_count);
    brain_put_int4s(&parameters, call->versions, call->request_count);
    brain_put_int4s(&parameters, call->requests, call->count);
    brain_put_int4s(&parameters, call->topic_ids, call->count);
    brain_put_int4s(&parameters, call->partitions, call->count);
    brain_put_int8s(&parameters, call->offsets, call->count);
    brain_put_int4s(&parameters, call->leader_epochs, call->count);
    brain_put_texts(&parameters, call->metadata, call->count);
    metric_add(METRIC_OFFSET_COMMIT_CALLS, 1);
    gather->called_ns = time_ns();
    brain_send(gather->agent->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &commit_statement,
                              .parameters = &parameters,
                              .deadline_ms = CALL_DEADLINE_MS },
               gather_answered, gather);
}

/* Moves what goes in the next call to calling: at least one, and no more than the bounds allow. */
static size_t gather_choose(OffsetGather *gather, size_t *requests)
{
    size_t partitions = 0;
    size_t bytes = 0;
    *requests = 0;
    while (gather->queue.first && *requests < CALL_REQUESTS_MAX) {
        OffsetCommitting *next = gather->queue.first;
        bool fits = partitions + next->count <= CALL_PARTITIONS_MAX && bytes + next->bytes <= CALL_BYTES_MAX;
        if (*requests > 0 && (!fits || next->alone || gather->calling.first->alone)) {
            break;
        }
        partitions += committing_reach(next, CALL_PARTITIONS_MAX);
        bytes += next->bytes;
        (*requests)++;
        list_append(&gather->calling, list_take(&gather->queue));
    }
    return partitions;
}

static void gather_turn(uv_timer_t *timer)
{
    OffsetGather *gather = timer->data;
    int64_t now_ms = time_ms();
    while (gather->busy.first && gather->busy.first->due_ms <= now_ms) {
        list_append(&gather->queue, list_take(&gather->busy));
    }
    if (!gather->queue.first) {
        gather_arm(gather);
        return;
    }
    Arena arena;
    CommitCall call;
    size_t requests;
    size_t count = gather_choose(gather, &requests);
    arena_init(&arena, CALL_ARENA_BYTES_MAX);
    if (call_allocate(&call, &arena, requests, count)) {
        for (const OffsetCommitting *c = gather->calling.first; c; c = c->next) {
            call_add(&call, c);
        }
        call_send(gather, &call);
    } else {
        BrainResult result = { .status = status_error(STATUS_LIMIT, "memory is short"), .message = "" };
        gather_answered(&result, gather);
    }
    arena_reset(&arena);
}

OffsetGather *offset_gather_new(Agent *agent)
{
    OffsetGather *gather = calloc(1, sizeof(OffsetGather));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!gather || !timer) {
        free(gather);
        free(timer);
        return NULL;
    }
    *gather = (OffsetGather){ .agent = agent, .timer = timer };
    uv_timer_init(agent->loop, timer);
    timer->data = gather;
    return gather;
}

static void gather_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void gather_refuse_all(OffsetGather *gather, CommitList *list)
{
    for (OffsetCommitting *c = list_take(list); c; c = list_take(list)) {
        committing_refuse(c, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        gather_end(gather, c);
    }
}

void offset_gather_stop(OffsetGather *gather)
{
    gather->stopped = true;
    uv_close((uv_handle_t *)gather->timer, gather_timer_closed);
    gather_refuse_all(gather, &gather->queue);
    gather_refuse_all(gather, &gather->busy);
}

void offset_gather_free(OffsetGather *gather)
{
    free(gather);
}
