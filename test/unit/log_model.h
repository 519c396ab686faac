/* log_model.h: a store and a brain for simulations. The store is slow and fails; the brain keeps what it must
 * (offsets, the last five batches of a producer, epochs, answers already given), is locked now and then, has
 * no room for bytes now and then, and loses answers: after having committed, without having committed, or
 * committing only later. */
#ifndef STREAMHOUSE_LOG_MODEL_H
#define STREAMHOUSE_LOG_MODEL_H

#include <stdio.h>
#include <stdlib.h>

#include "agent/log/log.h"

enum {
    MODEL_PARTITIONS = 3,
    MODEL_PRODUCERS = 4,
    MODEL_RING = 5,
    MODEL_CALLS_MAX = 256,
    MODEL_OBJECTS_MAX = 4096,
    MODEL_INLINE_MAX = 4096, /* ids of inline calls: they are objects of their own to the model */
    MODEL_INLINE_FIRST = 1000000,
    MODEL_CALL_IDS = 8, /* of a block */
    MODEL_LOG_MAX = 4096,
    MODEL_NEVER = INT32_MAX
};

typedef struct Random {
    uint64_t state;
} Random;

static inline uint32_t random_next(Random *random)
{
    random->state = random->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    uint64_t mixed = random->state ^ (random->state >> 29);
    return (uint32_t)((mixed * UINT64_C(0x9E3779B97F4A7C15)) >> 32);
}

/* 0 .. limit - 1 */
static inline int random_below(Random *random, int limit)
{
    return (int)(random_next(random) % (uint32_t)limit);
}

static inline bool random_chance(Random *random, int percent)
{
    return random_below(random, 100) < percent;
}

typedef struct ModelBatch {
    int64_t producer_id;
    int32_t sequence;
    int32_t count;
    int64_t base_offset;
} ModelBatch;

typedef struct ModelRing {
    int count;
    ModelBatch batches[MODEL_RING]; /* newest first */
} ModelRing;

typedef struct ModelPartition {
    int32_t epoch;
    int64_t next_offset;
    int64_t locked_until_ms;
    ModelRing rings[MODEL_PRODUCERS];
    ModelBatch log[MODEL_LOG_MAX];
    int log_count;
} ModelPartition;

typedef struct ModelObject {
    bool is_inline;
    bool forgotten;
    bool put; /* its key was used */
    bool stored;
    bool expired;
    uint8_t *bytes;
    size_t size;
    CommitAnswer *answers; /* final ones, by ordinal */
    size_t answer_count;
} ModelObject;

typedef enum CallKind { CALL_RESERVE, CALL_RESERVE_CALLS, CALL_PUT, CALL_COMMIT } CallKind;

typedef struct ModelCall {
    CallKind kind;
    int64_t carried_out_at_ms; /* MODEL_NEVER: never */
    int64_t answered_at_ms;    /* MODEL_NEVER: already */
    bool lost;                 /* the answer is */
    bool failed;
    int64_t object_id;
    int count; /* intents */
    size_t row_count;
    CommitRow *rows;
    uint8_t *bytes; /* inline */
    size_t size;
    int wait_ms;
    CommitAnswer *answers;
    CommitOutcome outcome;
    IntentsReserved reserved;
    CallsReserved calls;
    PutFinished put;
    CommitFinished committed;
    void *argument;
} ModelCall;

/* In percent, per call or per millisecond. */
typedef struct ModelFaults {
    int store_busy;
    int put_fails;
    int put_ms_max;
    int commit_fails;
    int commit_lost;
    int commit_ms_max;
    int object_expires;
    int partition_locks;
    int epoch_moves; /* of 1000 */
    int reserve_fails;
    int ring_full;
} ModelFaults;

/* How often what the simulation is about happened at all. */
typedef struct ModelSeen {
    long duplicates;
    long fenced;
    long out_of_order;
    long locked;
    long lost;
    long late; /* committed after the answer was lost */
    long expired;
    long put_failures;
    long inline_commits;
    long full;
    long waits; /* for a lock */
    long busy;  /* in vain */
    long forgotten;
    long stopped; /* PUTs */
    long ill;     /* times that the store was found so */
    long well;    /* and well again */
} ModelSeen;

typedef struct Model {
    ModelSeen seen;
    Random random;
    int64_t now_ms;
    bool calm; /* no faults any more */
    ModelFaults faults;
    ModelPartition partitions[MODEL_PARTITIONS];
    ModelObject objects[MODEL_OBJECTS_MAX + MODEL_INLINE_MAX];
    int64_t next_object_id;
    int64_t next_call_id;
    ModelCall calls[MODEL_CALLS_MAX];
    size_t call_count;
    const char *wrong; /* the first thing that must not be */
} Model;

static inline void model_wrong(Model *model, const char *what)
{
    if (!model->wrong) {
        model->wrong = what;
    }
}

static inline bool model_happens(Model *model, int percent)
{
    return !model->calm && random_chance(&model->random, percent);
}

static inline ModelCall *model_call(Model *model, CallKind kind, int ms_max, void *argument)
{
    if (model->call_count == MODEL_CALLS_MAX) {
        printf("Bail out! too many calls at once\n");
        exit(EXIT_FAILURE);
    }
    ModelCall *call = &model->calls[model->call_count++];
    *call = (ModelCall){ .kind = kind, .argument = argument };
    call->answered_at_ms = model->now_ms + 1 + random_below(&model->random, model->calm ? 5 : ms_max);
    call->carried_out_at_ms = call->answered_at_ms;
    return call;
}

/* An object, or what the brain keeps of an inline upload's calls. */
static inline ModelObject *model_object(Model *model, int64_t id)
{
    bool is_inline = id >= MODEL_INLINE_FIRST;
    int64_t place = is_inline ? id - MODEL_INLINE_FIRST : id;
    if (place >= (is_inline ? MODEL_INLINE_MAX : MODEL_OBJECTS_MAX)) {
        printf("Bail out! more objects or inline uploads than a simulation can hold\n");
        exit(EXIT_FAILURE);
    }
    return &model->objects[is_inline ? MODEL_OBJECTS_MAX + place : place];
}

static inline void model_reserve_calls(void *context, CallsReserved done, void *argument)
{
    Model *model = context;
    ModelCall *call = model_call(model, CALL_RESERVE_CALLS, 30, argument);
    call->count = model_happens(model, model->faults.reserve_fails) ? 0 : MODEL_CALL_IDS;
    call->calls = done;
}

static inline bool call_is_over(const ModelCall *call)
{
    return call->answered_at_ms == MODEL_NEVER &&
           (call->kind != CALL_COMMIT || call->carried_out_at_ms == MODEL_NEVER);
}

static inline bool call_may_come(const ModelCall *call, int64_t first)
{
    return call->kind == CALL_COMMIT && !call_is_over(call) && call->object_id >= first &&
           call->object_id < first + MODEL_CALL_IDS;
}

static inline void model_forget_calls(void *context, int64_t first)
{
    Model *model = context;
    for (size_t i = 0; i < model->call_count; i++) {
        if (call_may_come(&model->calls[i], first)) {
            model_wrong(model, "answers were forgotten of calls that may yet come");
        }
    }
    for (int i = 0; i < MODEL_CALL_IDS; i++) {
        model_object(model, first + i)->forgotten = true;
    }
    model->seen.forgotten++;
}

static inline void model_reserve(void *context, int count, IntentsReserved done, void *argument)
{
    Model *model = context;
    ModelCall *call = model_call(model, CALL_RESERVE, 30, argument);
    call->count = model_happens(model, model->faults.reserve_fails) ? 0 : count;
    call->reserved = done;
}

static inline bool model_put(void *context, const char *key, const Slice *slices, size_t count,
                             int deadline_ms, PutFinished done, void *argument)
{
    Model *model = context;
    if (model_happens(model, model->faults.store_busy)) {
        return false;
    }
    ModelCall *call = model_call(model, CALL_PUT, model->faults.put_ms_max, argument);
    call->put = done;
    call->object_id = strtoll(key + 2, NULL, 10);
    call->failed =
        model_happens(model, model->faults.put_fails) || call->answered_at_ms > model->now_ms + deadline_ms;
    if (call->answered_at_ms > model->now_ms + deadline_ms) {
        call->answered_at_ms = model->now_ms + deadline_ms;
    }
    ModelObject *object = &model->objects[call->object_id];
    if (object->put) {
        model_wrong(model, "a key was used twice");
        return true;
    }
    object->put = true;
    for (size_t i = 0; i < count; i++) {
        object->bytes = realloc(object->bytes, object->size + slices[i].size);
        memcpy(object->bytes + object->size, slices[i].data, slices[i].size);
        object->size += slices[i].size;
    }
    return true;
}

/* The PUT ends soon; what it had sent may be all of the object. */
static inline void model_put_stop(void *context, void *argument)
{
    Model *model = context;
    for (size_t i = 0; i < model->call_count; i++) {
        ModelCall *call = &model->calls[i];
        if (call->kind == CALL_PUT && call->argument == argument && call->answered_at_ms > model->now_ms) {
            call->answered_at_ms = model->now_ms + 1 + random_below(&model->random, 5);
            call->failed = random_chance(&model->random, 70);
            model->seen.stopped++;
            return;
        }
    }
}

static inline void model_check_call(Model *model, const CommitRequest *request)
{
    ModelObject *object = model_object(model, request->id);
    object->is_inline = request->is_inline;
    if (object->forgotten) {
        model_wrong(model, "a call is made whose answer was forgotten");
    }
    if (request->is_inline != (request->id >= MODEL_INLINE_FIRST)) {
        model_wrong(model, "an inline call has an object's id, or the other way round");
    } else if (!request->is_inline && (!object->stored || (size_t)request->object_bytes != object->size)) {
        model_wrong(model, "a commit of an object that is not in the store");
    }
    for (size_t i = 1; request->wait_ms > 0 && i < request->count; i++) {
        if (request->rows[i].partition != request->rows[0].partition) {
            model_wrong(model, "a call waits for a lock while it holds another");
        }
    }
}

static inline void model_commit(void *context, const CommitRequest *request, CommitFinished done,
                                void *argument)
{
    Model *model = context;
    ModelCall *call = model_call(model, CALL_COMMIT, model->faults.commit_ms_max, argument);
    size_t count = request->count;
    call->committed = done;
    call->object_id = request->id;
    call->wait_ms = request->wait_ms;
    call->row_count = count;
    call->rows = malloc(count * sizeof(CommitRow));
    call->answers = calloc(count, sizeof(CommitAnswer));
    memcpy(call->rows, request->rows, count * sizeof(CommitRow));
    for (size_t i = 0; request->is_inline && i < count; i++) {
        call->bytes = realloc(call->bytes, call->size + request->bytes[i].size);
        memcpy(call->bytes + call->size, request->bytes[i].data, request->bytes[i].size);
        call->size += request->bytes[i].size;
    }
    if (request->is_inline && (size_t)request->object_bytes != call->size) {
        model_wrong(model, "a call says that it has more or fewer bytes than it has");
    }
    model_check_call(model, request);
    if (call->wait_ms > 0) {
        call->answered_at_ms += random_below(&model->random, call->wait_ms);
        model->seen.waits++;
    }
    call->carried_out_at_ms =
        model->now_ms + random_below(&model->random, (int)(call->answered_at_ms - model->now_ms));
    if (model_happens(model, model->faults.commit_fails)) {
        call->failed = true;
        call->carried_out_at_ms = MODEL_NEVER;
    } else if (model_happens(model, model->faults.commit_lost)) {
        call->lost = true;
        int when = random_below(&model->random, 3);
        call->carried_out_at_ms = when == 0   ? MODEL_NEVER
                                  : when == 1 ? call->carried_out_at_ms
                                              : call->answered_at_ms + random_below(&model->random, 50);
    }
}

static inline CommitAnswer model_accept(ModelPartition *partition, ModelRing *ring, const CommitRow *row)
{
    CommitAnswer answer = { row->batch,       COMMIT_COMMITTED,
                            KAFKA_ERROR_NONE, partition->next_offset,
                            row->lease_epoch, 0 };
    ModelBatch batch = { row->producer_id, row->first_sequence, row->offset_count, partition->next_offset };
    memmove(ring->batches + 1, ring->batches, (MODEL_RING - 1) * sizeof(ModelBatch));
    ring->batches[0] = batch;
    ring->count += ring->count < MODEL_RING;
    partition->log[partition->log_count++] = batch;
    partition->next_offset += row->offset_count;
    return answer;
}

static inline CommitAnswer model_decide(Model *model, const CommitRow *row)
{
    ModelPartition *partition = &model->partitions[row->partition];
    ModelRing *ring = &partition->rings[row->producer_id - 1];
    CommitAnswer refused = { row->batch, COMMIT_REFUSED, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER, -1, 0, 0 };
    if (row->lease_epoch != partition->epoch) {
        model->seen.fenced++;
        return refused;
    }
    for (int i = 0; i < ring->count; i++) {
        if (ring->batches[i].sequence == row->first_sequence) {
            model->seen.duplicates++;
            return (CommitAnswer){
                row->batch, COMMIT_DUPLICATE, KAFKA_ERROR_NONE, ring->batches[i].base_offset, 0, 0
            };
        }
    }
    if (ring->count > 0 && ring->batches[0].sequence + ring->batches[0].count != row->first_sequence) {
        model->seen.out_of_order++;
        refused.error = KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        return refused;
    }
    return model_accept(partition, ring, row);
}

static inline bool bytes_hold(const uint8_t *bytes, size_t size, const CommitRow *row)
{
    BatchHeader header;
    if (row->byte_start < 0 || (size_t)row->byte_start + (size_t)row->byte_length > size) {
        return false;
    }
    BatchError error =
        batch_header_read(slice_of(bytes + row->byte_start, (size_t)row->byte_length), &header);
    return error.code == BATCH_OK && header.producer_id == row->producer_id &&
           header.base_sequence == row->first_sequence && batch_size(&header) == (size_t)row->byte_length;
}

static inline CommitAnswer *object_answer(ModelObject *object, int32_t batch)
{
    if ((size_t)batch >= object->answer_count) {
        object->answers = realloc(object->answers, ((size_t)batch + 1) * sizeof(CommitAnswer));
        for (; object->answer_count <= (size_t)batch; object->answer_count++) {
            object->answers[object->answer_count] = (CommitAnswer){ .status = COMMIT_LOCKED };
        }
    }
    return &object->answers[batch];
}

/* Bytes are only written when a batch needs them: one that was not answered before, and may be now. */
static inline bool call_is_refused(Model *model, ModelCall *call, ModelObject *object)
{
    bool needs_room = false;
    for (size_t i = 0; i < call->row_count; i++) {
        const CommitRow *row = &call->rows[i];
        bool locked = model->partitions[row->partition].locked_until_ms > model->now_ms;
        bool known = object_answer(object, row->batch)->status != COMMIT_LOCKED;
        if (locked && call->wait_ms > 0) {
            call->outcome = COMMIT_BUSY;
            model->seen.busy++;
            return true;
        }
        needs_room = needs_room || (!locked && !known);
    }
    if (object->is_inline && needs_room && model_happens(model, model->faults.ring_full)) {
        call->outcome = COMMIT_FULL;
        model->seen.full++;
        return true;
    }
    return false;
}

static inline void model_carry_out(Model *model, ModelCall *call)
{
    ModelObject *object = model_object(model, call->object_id);
    call->carried_out_at_ms = MODEL_NEVER;
    model->seen.late += call->answered_at_ms == MODEL_NEVER;
    object->expired = object->expired || (!object->is_inline && object->answer_count == 0 &&
                                          model_happens(model, model->faults.object_expires));
    call->outcome = object->expired ? COMMIT_EXPIRED : COMMIT_ANSWERED;
    if (object->expired || call_is_refused(model, call, object)) {
        return;
    }
    model->seen.inline_commits += object->is_inline;
    for (size_t i = 0; i < call->row_count; i++) {
        const CommitRow *row = &call->rows[i];
        if (!bytes_hold(object->is_inline ? call->bytes : object->bytes,
                        object->is_inline ? call->size : object->size, row)) {
            model_wrong(model, "a commit whose rows do not describe the bytes");
        }
        CommitAnswer *known = object_answer(object, row->batch);
        bool locked = model->partitions[row->partition].locked_until_ms > model->now_ms;
        if (known->status == COMMIT_LOCKED && !locked) {
            *known = model_decide(model, row);
        }
        call->answers[i] = *known;
        call->answers[i].batch = row->batch;
        model->seen.locked += known->status == COMMIT_LOCKED;
    }
}

static inline void model_answer(Model *model, ModelCall call)
{
    Status status = call.failed ? status_error(STATUS_UNAVAILABLE, "simulated") : status_ok();
    if (call.kind == CALL_RESERVE) {
        Intent intents[64];
        if (model->next_object_id + call.count > MODEL_OBJECTS_MAX) {
            model_wrong(model, "more keys were reserved than could ever be needed");
            call.count = 0;
        }
        for (int i = 0; i < call.count; i++) {
            intents[i].object_id = model->next_object_id++;
            snprintf(intents[i].key, sizeof(intents[i].key), "o/%lld", (long long)intents[i].object_id);
        }
        call.reserved(call.argument, intents, (size_t)call.count);
    } else if (call.kind == CALL_RESERVE_CALLS) {
        call.calls(call.argument, model->next_call_id, call.count);
        model->next_call_id += call.count;
    } else if (call.kind == CALL_PUT) {
        model->objects[call.object_id].stored = !call.failed;
        model->seen.put_failures += call.failed;
        call.put(call.argument, &status);
    } else {
        model->seen.lost += call.lost;
        model->seen.expired += !call.lost && !call.failed && call.outcome == COMMIT_EXPIRED;
        CommitOutcome outcome = call.failed ? COMMIT_FAILED : call.lost ? COMMIT_UNKNOWN : call.outcome;
        call.committed(call.argument, outcome, outcome == COMMIT_ANSWERED ? call.answers : NULL,
                       outcome == COMMIT_ANSWERED ? call.row_count : 0);
    }
}

/* Everything that is due at the model's time. */
static inline void model_run(Model *model)
{
    for (int i = 0; i < MODEL_PARTITIONS && !model->calm; i++) {
        ModelPartition *partition = &model->partitions[i];
        if (partition->locked_until_ms <= model->now_ms &&
            model_happens(model, model->faults.partition_locks)) {
            partition->locked_until_ms = model->now_ms + random_below(&model->random, 100);
        }
        if (random_below(&model->random, 1000) < model->faults.epoch_moves) {
            partition->epoch++;
        }
    }
    for (size_t i = 0; i < model->call_count; i++) {
        ModelCall *call = &model->calls[i];
        if (call->kind == CALL_COMMIT && call->carried_out_at_ms <= model->now_ms) {
            model_carry_out(model, call);
        }
    }
    size_t i = 0;
    while (i < model->call_count) {
        ModelCall *call = &model->calls[i];
        if (call->answered_at_ms <= model->now_ms) {
            ModelCall answered = *call;
            call->answered_at_ms = MODEL_NEVER;
            model_answer(model, answered);
        } else if (call_is_over(call)) {
            free(call->rows);
            free(call->bytes);
            free(call->answers);
            model->calls[i] = model->calls[--model->call_count];
        } else {
            i++;
        }
    }
}

static inline bool model_is_idle(const Model *model)
{
    return model->call_count == 0;
}

static inline void model_free(Model *model)
{
    for (int64_t i = 0; i < MODEL_OBJECTS_MAX + MODEL_INLINE_MAX; i++) {
        free(model->objects[i].bytes);
        free(model->objects[i].answers);
    }
    free(model);
}

#endif
