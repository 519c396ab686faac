/* log_fixture.h: a Log among fakes: time stands still unless a test moves it, and what the log asks of store
 * and brain waits in lists until the test answers it, in whatever order it likes. */
#ifndef STREAMHOUSE_LOG_FIXTURE_H
#define STREAMHOUSE_LOG_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "agent/log/log.h"
#include "test/unit/raw_batch.h"

enum { WORLD_PARTITIONS = 64, WORLD_CALLS_MAX = 512, WORLD_START_MS = 1000000 };

/* What became of one batch. */
typedef struct Answer {
    int count; /* how often it was answered: 1 is right */
    KafkaError error;
    int64_t base_offset;
} Answer;

typedef struct PendingReserve {
    int count;
    IntentsReserved done;
    void *argument;
} PendingReserve;

typedef struct PendingCalls {
    CallsReserved done;
    void *argument;
} PendingCalls;

typedef struct PendingPut {
    char key[128];
    size_t bytes;
    int deadline_ms;
    PutFinished done;
    void *argument;
} PendingPut;

typedef struct PendingCommit {
    bool is_inline;
    int wait_ms;
    int64_t object_id; /* or of the inline calls */
    int64_t object_bytes;
    CommitRow *rows;
    uint8_t *bytes; /* inline: what travels with it */
    size_t byte_count;
    size_t count;
    CommitFinished done;
    void *argument;
} PendingCommit;

typedef struct World {
    Log *log;
    Topic *topic;
    int64_t now_ms;
    int64_t due_ms; /* what the last tick said */
    bool store_busy;
    int woken;
    int moved;
    int fenced;
    int64_t next_object_id;
    int64_t next_call_id;
    int forgotten; /* blocks of calls */
    int64_t forgotten_first;
    bool calls_asked;
    PendingCalls calls;
    PendingReserve reserves[WORLD_CALLS_MAX];
    size_t reserve_count;
    PendingPut puts[WORLD_CALLS_MAX];
    size_t put_count;
    PendingCommit commits[WORLD_CALLS_MAX];
    size_t commit_count;
} World;

static inline void world_full(void)
{
    printf("Bail out! the log makes more calls than a test can hold\n");
    exit(EXIT_FAILURE);
}

static inline void world_reserve(void *context, int count, IntentsReserved done, void *argument)
{
    World *world = context;
    if (world->reserve_count == WORLD_CALLS_MAX) {
        world_full();
    }
    world->reserves[world->reserve_count++] = (PendingReserve){ count, done, argument };
}

static inline bool world_put(void *context, const char *key, const Slice *slices, size_t count,
                             int deadline_ms, PutFinished done, void *argument)
{
    World *world = context;
    if (world->store_busy) {
        return false;
    }
    if (world->put_count == WORLD_CALLS_MAX) {
        world_full();
    }
    PendingPut *put = &world->puts[world->put_count++];
    *put = (PendingPut){ .deadline_ms = deadline_ms, .done = done, .argument = argument };
    snprintf(put->key, sizeof(put->key), "%s", key);
    for (size_t i = 0; i < count; i++) {
        put->bytes += slices[i].size;
    }
    return true;
}

static inline void world_reserve_calls(void *context, CallsReserved done, void *argument)
{
    World *world = context;
    if (world->calls_asked) {
        world_full();
    }
    world->calls_asked = true;
    world->calls = (PendingCalls){ done, argument };
}

static inline void world_forget_calls(void *context, int64_t first)
{
    World *world = context;
    world->forgotten++;
    world->forgotten_first = first;
}

static inline void world_commit(void *context, const CommitRequest *request, CommitFinished done,
                                void *argument)
{
    World *world = context;
    if (world->commit_count == WORLD_CALLS_MAX) {
        world_full();
    }
    PendingCommit *commit = &world->commits[world->commit_count++];
    *commit = (PendingCommit){ .is_inline = request->is_inline,
                               .wait_ms = request->wait_ms,
                               .object_id = request->id,
                               .object_bytes = request->object_bytes,
                               .rows = malloc(request->count * sizeof(CommitRow)),
                               .bytes = malloc((size_t)request->object_bytes + 1),
                               .count = request->count,
                               .done = done,
                               .argument = argument };
    memcpy(commit->rows, request->rows, request->count * sizeof(CommitRow));
    for (size_t i = 0; request->is_inline && i < request->count; i++) {
        memcpy(commit->bytes + commit->byte_count, request->bytes[i].data, request->bytes[i].size);
        commit->byte_count += request->bytes[i].size;
    }
}

static inline void world_wake(void *context)
{
    ((World *)context)->woken++;
}

static inline void world_moved(void *context, Partition *partition)
{
    (void)partition;
    ((World *)context)->moved++;
}

static inline void world_fenced(void *context, Partition *partition)
{
    (void)partition;
    ((World *)context)->fenced++;
}

/* Sealed by bytes at 1000, by age at 50 ms, by idleness at 10 ms; four PUTs at a time. */
static const LogOptions world_options = {
    .flush_bytes = 1000,
    .linger_ms = 50,
    .idle_flush_ms = 10,
    .put_parallel_max = 4,
    .put_timeout_ms = 5000,
    .intents_min = 8,
    .intent_fresh_ms = 60000,
    .tail_bytes_max = 1 << 20,
};

static inline Topic *world_topic(int32_t topic_id)
{
    static const uint8_t uuid[16] = { 7 };
    Topic *topic = topic_new(topic_id, uuid, SLICE_LITERAL("orders"));
    if (!topic || !topic_grow(topic, WORLD_PARTITIONS)) {
        abort();
    }
    return topic;
}

static inline LogBackend world_backend(World *world)
{
    return (LogBackend){
        .context = world,
        .reserve = world_reserve,
        .reserve_calls = world_reserve_calls,
        .forget_calls = world_forget_calls,
        .put = world_put,
        .commit = world_commit,
        .wake = world_wake,
        .moved = world_moved,
        .fenced = world_fenced,
    };
}

static inline World *world_new(const LogOptions *options)
{
    World *world = calloc(1, sizeof(World));
    LogBackend backend = world_backend(world);
    world->now_ms = WORLD_START_MS;
    world->next_object_id = 1;
    world->next_call_id = 5000;
    world->topic = world_topic(5);
    world->log = log_new(options, &backend);
    return world;
}

static inline Partition *world_partition(const World *world, int32_t index)
{
    return topic_partition(world->topic, index);
}

static inline void world_tick(World *world)
{
    world->due_ms = log_tick(world->log, world->now_ms);
}

static inline void world_pass(World *world, int64_t ms)
{
    world->now_ms += ms;
    world_tick(world);
}

/* Answers the oldest reservation. */
static inline void world_give_intents(World *world, size_t count)
{
    Intent intents[128];
    PendingReserve reserve = world->reserves[0];
    memmove(world->reserves, world->reserves + 1, --world->reserve_count * sizeof(PendingReserve));
    for (size_t i = 0; i < count; i++) {
        intents[i].object_id = world->next_object_id++;
        snprintf(intents[i].key, sizeof(intents[i].key), "o/%lld", (long long)intents[i].object_id);
    }
    reserve.done(reserve.argument, intents, count);
}

/* Answers the reservation of ids of inline calls, which is under way. */
static inline void world_give_calls(World *world, bool any)
{
    PendingCalls calls = world->calls;
    int64_t first = world->next_call_id;
    world->next_call_id += LOG_CALL_IDS;
    world->calls_asked = false;
    calls.done(calls.argument, first, any ? LOG_CALL_IDS : 0);
}

/* A world whose log has intents. */
static inline World *world_ready(const LogOptions *options)
{
    World *world = world_new(options);
    world_tick(world);
    world_give_intents(world, 32);
    return world;
}

/* Ends a PUT; the others keep their order. */
static inline void world_end_put_with(World *world, size_t index, Status status)
{
    PendingPut put = world->puts[index];
    memmove(world->puts + index, world->puts + index + 1, (--world->put_count - index) * sizeof(PendingPut));
    put.done(put.argument, &status);
}

/* Stored, or refused for good. */
static inline void world_end_put(World *world, size_t index, bool stored)
{
    world_end_put_with(world, index,
                       stored ? status_ok() : status_error(STATUS_INVALID, "the store will never take it"));
}

static inline PendingCommit world_take_commit(World *world, size_t index)
{
    PendingCommit commit = world->commits[index];
    memmove(world->commits + index, world->commits + index + 1,
            (--world->commit_count - index) * sizeof(PendingCommit));
    return commit;
}

static inline void world_end_commit(World *world, size_t index, CommitOutcome outcome,
                                    const CommitAnswer *answers, size_t count)
{
    PendingCommit commit = world_take_commit(world, index);
    commit.done(commit.argument, outcome, answers, count);
    free(commit.rows);
    free(commit.bytes);
}

/* Ends a commit: all its rows get the same status; committed ones get consecutive offsets from base_offset
 * on. */
static inline void world_answer_commit(World *world, size_t index, CommitStatus status, KafkaError error,
                                       int64_t base_offset)
{
    size_t count = world->commits[index].count;
    CommitAnswer *answers = calloc(count, sizeof(CommitAnswer));
    for (size_t i = 0; i < count; i++) {
        const CommitRow *row = &world->commits[index].rows[i];
        answers[i] = (CommitAnswer){ row->batch, status, error, base_offset, row->lease_epoch, 0 };
        base_offset += row->offset_count;
    }
    world_end_commit(world, index, COMMIT_ANSWERED, answers, count);
    free(answers);
}

static inline void world_accept_commit(World *world, size_t index, int64_t base_offset)
{
    world_answer_commit(world, index, COMMIT_COMMITTED, KAFKA_ERROR_NONE, base_offset);
}

static inline void world_answered(void *argument, KafkaError error, int64_t base_offset)
{
    Answer *answer = argument;
    answer->count++;
    answer->error = error;
    answer->base_offset = base_offset;
}

/* Gives the log a batch; timeout_ms from now. */
static inline void world_append(World *world, int32_t partition, const RawBatch *batch, int64_t timeout_ms,
                                Answer *answer)
{
    Block *frame = raw_batch_block(batch);
    LogAppend append = {
        .partition = world_partition(world, partition),
        .frame = frame,
        .bytes = frame->bytes,
        .size = (int32_t)frame->size,
        .header = raw_batch_header(frame),
        .deadline_ms = world->now_ms + timeout_ms,
    };
    *answer = (Answer){ .base_offset = -2 };
    if (!log_append(world->log, &append, world->now_ms, world_answered, answer)) {
        abort();
    }
    block_release(frame);
}

/* The same, sealed at once in an object of its own. */
static inline void world_append_alone(World *world, int32_t partition, const RawBatch *batch,
                                      int64_t timeout_ms, Answer *answer)
{
    world_append(world, partition, batch, timeout_ms, answer);
    log_flush(world->log);
    world_tick(world);
}

/* Ends what is still under way, so that the log may be freed. */
static inline void world_free(World *world)
{
    while (world->reserve_count > 0) {
        world_give_intents(world, 0);
    }
    if (world->calls_asked) {
        world_give_calls(world, false);
    }
    while (world->put_count > 0) {
        world_end_put(world, 0, false);
    }
    while (world->commit_count > 0) {
        world_end_commit(world, 0, COMMIT_EXPIRED, NULL, 0);
    }
    log_free(world->log);
    topic_release(world->topic);
    free(world);
}

#endif
