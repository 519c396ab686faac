/* mover.c: a round turns the ring, asks what is to move, reads it, lays it out as an object, stores that and
 * swaps the pointers. Each step begins when the one before was answered; whatever fails ends the round, and
 * the next one begins anew: an object that was stored without its commit is an intent that expires. */
#include "agent/jobs/mover.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/log/log.h"
#include "agent/metrics.h"
#include "common/object_format.h"
#include "common/store/store.h"

static const BrainStatement turn_statement = {
    "inline_turn",
    "SELECT turned, ring_bytes, waiting_bytes, moves FROM sh_inline_turn($1, $2)",
    2,
    { BRAIN_INT4, BRAIN_INT8 },
};
static const BrainStatement plan_statement = {
    "inline_plan",
    "SELECT topic_id, topic_uuid, partition, base_offset, end_offset, object_id, slot, byte_start, "
    "byte_length, "
    "leader_epoch FROM sh_inline_plan($1, $2, $3)",
    3,
    { BRAIN_INT4, BRAIN_INT8, BRAIN_INT4 },
};
static const BrainStatement read_statement = {
    "move_read",
    "SELECT request, bytes FROM sh_read_inline($1, $2::int2[], $3, $4)",
    4,
    { BRAIN_INT8S, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S },
};
static const BrainStatement reserve_statement = {
    "move_reserve", "SELECT object_id, key FROM sh_reserve_objects($1, 1, $2)", 2, { BRAIN_INT4, BRAIN_INT8 }
};
static const BrainStatement commit_statement = {
    "commit_move",
    "SELECT sh_commit_move($1, $2, $3, $4, $5, $6, $7, $8)",
    8,
    { BRAIN_INT4, BRAIN_INT8, BRAIN_INT8, BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT8S, BRAIN_INT8S, BRAIN_INT4S },
};

enum {
    MOVER_DEADLINE_MS = 60 * 1000,
    MOVER_LEASE_MS = 3 * MOVER_DEADLINE_MS,
    MOVER_READ_BYTES = 4 * 1024 * 1024, /* of one query, but for a single segment that is larger */
    MOVER_TURNS_MAX = 32,               /* steps of the ring in one round: more than it has */
    MOVER_REST = 4,                     /* intervals between two rounds while nothing is written */
    MOVER_REST_BYTES = 64 * 1024, /* that may wait in the ring meanwhile: a slot with no more does not turn */
};

typedef struct MovedSegment {
    int32_t topic_id;
    uint8_t topic_uuid[OBJECT_UUID_SIZE];
    int32_t partition;
    int64_t base_offset;
    int64_t end_offset;
    int64_t object_id;
    int32_t slot;
    int32_t byte_start; /* in the ring's row */
    int32_t byte_length;
    int32_t leader_epoch;
    int32_t new_start; /* in the object; -1 until it is laid out */
} MovedSegment;

struct Mover {
    Agent *agent;
    uv_timer_t *timer;
    bool busy; /* a round is under way */
    bool freed;
    int turns;
    int64_t ring_bytes;     /* as the round before found it */
    MovedSegment *segments; /* of the round, sorted by partition and offset */
    size_t count;
    size_t asked; /* segments whose bytes were asked for */
    size_t read;  /* segments whose bytes are there */
    uint8_t *bytes;
    size_t used;
    size_t capacity;
    ObjectWriter object;
    int64_t object_id;
    char key[STORE_KEY_MAX + 1];
};

static void mover_ask(Mover *mover, const BrainStatement *statement, BrainParameters *parameters,
                      BrainCallback callback)
{
    brain_send(
        mover->agent->brain, BRAIN_JOBS,
        &(BrainQuery){ .statement = statement, .parameters = parameters, .deadline_ms = MOVER_DEADLINE_MS },
        callback, mover);
}

static void mover_round(uv_timer_t *timer);

static void mover_end_round(Mover *mover, bool again)
{
    free(mover->segments);
    free(mover->bytes);
    object_writer_free(&mover->object);
    mover->segments = NULL;
    mover->bytes = NULL;
    mover->busy = false;
    if (mover->freed) {
        free(mover);
    } else if (again) {
        uv_timer_start(mover->timer, mover_round, 0, (uint64_t)mover->agent->settings.mover_interval_ms);
    }
}

/* Ends the round unless the answer is good and the mover still wanted. */
static bool mover_goes_on(Mover *mover, const Status *status, const char *message, const char *what)
{
    if (!mover->freed && status_is_ok(status)) {
        return true;
    }
    if (!mover->freed) {
        metric_add(METRIC_MOVER_FAILURES, 1);
        journal_seldom(JOURNAL_WARN, "mover", "%s, the next round tries again: %s", what, message);
    }
    mover_end_round(mover, false);
    return false;
}

static void mover_give_up(Mover *mover, const char *why)
{
    Status status = status_error(STATUS_INTERNAL, "%s", why);
    (void)mover_goes_on(mover, &status, why, "inline records could not be moved");
}

static void mover_committed(const BrainResult *result, void *argument)
{
    Mover *mover = argument;
    if (!mover_goes_on(mover, &result->status, result->message,
                       "an object's segments could not be swapped")) {
        return;
    }
    metric_add(METRIC_MOVER_OBJECTS, 1);
    metric_add(METRIC_MOVER_BYTES, mover->used);
    metric_add(METRIC_MOVER_SEGMENTS, (uint64_t)brain_int8(result, 0, 0));
    mover_end_round(mover, true);
}

/* Columns of the segments as arrays, in the order of sh_commit_move()'s arguments. */
static bool mover_put_segments(const Mover *mover, BrainParameters *parameters)
{
    int32_t *numbers = malloc(3 * mover->count * sizeof(int32_t));
    int64_t *wide = malloc(2 * mover->count * sizeof(int64_t));
    bool there = numbers && wide;
    for (size_t i = 0; there && i < mover->count; i++) {
        const MovedSegment *segment = &mover->segments[i];
        numbers[i] = segment->topic_id;
        numbers[mover->count + i] = segment->partition;
        numbers[2 * mover->count + i] = segment->new_start;
        wide[i] = segment->end_offset;
        wide[mover->count + i] = segment->object_id;
    }
    if (there) {
        brain_put_int4s(parameters, numbers, mover->count);
        brain_put_int4s(parameters, numbers + mover->count, mover->count);
        brain_put_int8s(parameters, wide, mover->count);
        brain_put_int8s(parameters, wide + mover->count, mover->count);
        brain_put_int4s(parameters, numbers + 2 * mover->count, mover->count);
    }
    free(numbers);
    free(wide);
    return there;
}

static void mover_stored(const StoreResult *result, void *argument)
{
    Mover *mover = argument;
    if (result->status.code != STATUS_CANCELLED) {
        log_note_store(mover->agent->log, status_is_ok(&result->status));
    }
    if (!mover_goes_on(mover, &result->status, result->status.message, "moved records could not be stored")) {
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(mover->agent->lease));
    brain_put_int8(&parameters, mover->object_id);
    brain_put_int8(&parameters, (int64_t)object_writer_size(&mover->object));
    if (!mover_put_segments(mover, &parameters)) {
        brain_parameters_free(&parameters);
        mover_give_up(mover, "memory is short");
        return;
    }
    mover_ask(mover, &commit_statement, &parameters, mover_committed);
}

/* Base offsets are known by now, so that the object itself has them. */
static Status segment_lay_out(ObjectWriter *object, MovedSegment *segment, uint8_t *bytes)
{
    int64_t base_offset = segment->base_offset;
    BatchIterator batches = batch_iterate(slice_of(bytes, (size_t)segment->byte_length));
    while (batch_next(&batches)) {
        batch_patch_offset(bytes + (batches.bytes.data - bytes), base_offset, segment->leader_epoch);
        ObjectBatch batch = {
            .partition = segment->partition,
            .lease_epoch = segment->leader_epoch,
            .base_offset = base_offset,
            .bytes = batches.bytes,
            .header = batches.header,
            .context = segment,
        };
        memcpy(batch.topic_uuid, segment->topic_uuid, sizeof(batch.topic_uuid));
        Status status = object_writer_add(object, &batch);
        if (!status_is_ok(&status)) {
            return status;
        }
        base_offset += batch_offset_count(&batches.header);
    }
    if (batches.error.code != BATCH_OK || base_offset != segment->end_offset) {
        return status_error(STATUS_CORRUPT,
                            "row %lld of slot %d does not hold the batches that the brain knows of",
                            (long long)segment->object_id, segment->slot);
    }
    return status_ok();
}

static Status mover_lay_out(Mover *mover)
{
    Status status = status_ok();
    uint8_t *bytes = mover->bytes;
    for (size_t i = 0; i < mover->count && status_is_ok(&status); i++) {
        status = segment_lay_out(&mover->object, &mover->segments[i], bytes);
        bytes += mover->segments[i].byte_length;
    }
    if (status_is_ok(&status)) {
        ObjectIdentity identity = { .object_id = mover->object_id, .created_ms = time_wall_ms() };
        memcpy(identity.cluster_id, catalog_cluster_uuid(mover->agent->catalog), sizeof(identity.cluster_id));
        status = object_writer_seal(&mover->object, &identity);
    }
    for (size_t i = 0; i < mover->object.batch_count && status_is_ok(&status); i++) {
        MovedSegment *segment = mover->object.batches[i].context;
        if (segment->new_start < 0) {
            segment->new_start = (int32_t)mover->object.batches[i].byte_start;
        }
    }
    return status;
}

static void mover_store(Mover *mover)
{
    size_t count = object_writer_slice_count(&mover->object);
    Slice *slices = malloc(count * sizeof(Slice));
    if (!slices) {
        mover_give_up(mover, "memory is short");
        return;
    }
    object_writer_slices(&mover->object, slices);
    StorePut put = {
        .key = mover->key,
        .slices = slices,
        .slice_count = count,
        .deadline_ms = (int)mover->agent->settings.put_timeout_ms,
        .if_absent = true,
        .key_is_unique = true,
    };
    bool started = store_put(mover->agent->store, &put, mover_stored, mover) != NULL;
    free(slices);
    if (!started) {
        mover_give_up(mover, store_refusal(mover->agent->store)->message);
    }
}

static void mover_reserved(const BrainResult *result, void *argument)
{
    Mover *mover = argument;
    if (!mover_goes_on(mover, &result->status, result->message, "no object key could be reserved")) {
        return;
    }
    Slice key = brain_text(result, 0, 1);
    if (brain_row_count(result) != 1 || key.size >= sizeof(mover->key)) {
        mover_give_up(mover, "no object key could be reserved");
        return;
    }
    mover->object_id = brain_int8(result, 0, 0);
    memcpy(mover->key, key.data, key.size);
    mover->key[key.size] = '\0';
    Status status = mover_lay_out(mover);
    if (!status_is_ok(&status)) {
        mover_give_up(mover, status.message);
        return;
    }
    mover_store(mover);
}

static void mover_reserve(Mover *mover)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(mover->agent->lease));
    brain_put_int8(&parameters, mover->agent->settings.intent_ttl_ms);
    mover_ask(mover, &reserve_statement, &parameters, mover_reserved);
}

static void mover_read_next(Mover *mover);

static void mover_read(const BrainResult *result, void *argument)
{
    Mover *mover = argument;
    if (!mover_goes_on(mover, &result->status, result->message, "inline records could not be read")) {
        return;
    }
    for (int row = 0; row < brain_row_count(result) && mover->read < mover->asked; row++) {
        const MovedSegment *segment = &mover->segments[mover->read];
        Slice bytes = brain_bytes(result, row, 1);
        if (bytes.size != (size_t)segment->byte_length) {
            break; /* gone: another agent was faster */
        }
        memcpy(mover->bytes + mover->used, bytes.data, bytes.size);
        mover->used += bytes.size;
        mover->read++;
    }
    if (mover->read < mover->asked) {
        mover_give_up(mover, "they are not where the plan said");
    } else if (mover->read < mover->count) {
        mover_read_next(mover);
    } else {
        mover_reserve(mover);
    }
}

static void mover_read_next(Mover *mover)
{
    size_t first = mover->asked;
    size_t bytes = 0;
    while (mover->asked < mover->count && (mover->asked == first || bytes < MOVER_READ_BYTES)) {
        bytes += (size_t)mover->segments[mover->asked++].byte_length;
    }
    size_t count = mover->asked - first;
    int64_t *ids = malloc(count * sizeof(int64_t));
    int32_t *numbers = malloc(3 * count * sizeof(int32_t));
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    for (size_t i = 0; ids && numbers && i < count; i++) {
        const MovedSegment *segment = &mover->segments[first + i];
        ids[i] = segment->object_id;
        numbers[i] = segment->slot;
        numbers[count + i] = segment->byte_start;
        numbers[2 * count + i] = segment->byte_length;
    }
    if (ids && numbers) {
        brain_put_int8s(&parameters, ids, count);
        brain_put_int4s(&parameters, numbers, count);
        brain_put_int4s(&parameters, numbers + count, count);
        brain_put_int4s(&parameters, numbers + 2 * count, count);
        mover_ask(mover, &read_statement, &parameters, mover_read);
    } else {
        brain_parameters_free(&parameters);
        mover_give_up(mover, "memory is short");
    }
    free(ids);
    free(numbers);
}

static MovedSegment plan_segment(const BrainResult *result, int row)
{
    MovedSegment segment = {
        .topic_id = brain_int4(result, row, 0),
        .partition = brain_int4(result, row, 2),
        .base_offset = brain_int8(result, row, 3),
        .end_offset = brain_int8(result, row, 4),
        .object_id = brain_int8(result, row, 5),
        .slot = brain_int2(result, row, 6),
        .byte_start = brain_int4(result, row, 7),
        .byte_length = brain_int4(result, row, 8),
        .leader_epoch = brain_int4(result, row, 9),
        .new_start = -1,
    };
    const uint8_t *uuid = brain_uuid(result, row, 1);
    if (uuid) {
        memcpy(segment.topic_uuid, uuid, sizeof(segment.topic_uuid));
    }
    return segment;
}

static void mover_planned(const BrainResult *result, void *argument)
{
    Mover *mover = argument;
    if (!mover_goes_on(mover, &result->status, result->message,
                       "PostgreSQL could not be asked what to move")) {
        return;
    }
    mover->count = (size_t)brain_row_count(result);
    mover->asked = mover->read = mover->used = mover->capacity = 0;
    if (mover->count == 0) {
        mover_end_round(mover, false);
        return;
    }
    mover->segments = malloc(mover->count * sizeof(MovedSegment));
    for (size_t i = 0; mover->segments && i < mover->count; i++) {
        mover->segments[i] = plan_segment(result, (int)i);
        mover->capacity += (size_t)mover->segments[i].byte_length;
    }
    mover->bytes = malloc(mover->capacity + 1);
    if (!mover->segments || !mover->bytes) {
        mover_give_up(mover, "memory is short");
        return;
    }
    object_writer_init(&mover->object);
    mover_read_next(mover);
}

static void mover_plan(Mover *mover)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(mover->agent->lease));
    brain_put_int8(&parameters, mover->agent->settings.mover_bytes_max);
    brain_put_int4(&parameters, MOVER_LEASE_MS);
    mover_ask(mover, &plan_statement, &parameters, mover_planned);
}

static void mover_turn(Mover *mover);

/* Nothing to do, next to nothing in the ring, and nobody has written anything to speak of: it is as well to
 * look later. */
static void mover_rest(Mover *mover, const BrainResult *result)
{
    bool is_quiet = !brain_bool(result, 0, 0) && !brain_bool(result, 0, 3) &&
                    brain_int8(result, 0, 2) <= MOVER_REST_BYTES &&
                    brain_int8(result, 0, 1) == mover->ring_bytes;
    uint64_t interval_ms = (uint64_t)mover->agent->settings.mover_interval_ms;
    if (is_quiet) {
        uv_timer_start(mover->timer, mover_round, MOVER_REST * interval_ms, interval_ms);
    }
    mover->ring_bytes = brain_int8(result, 0, 1);
}

static void mover_turned(const BrainResult *result, void *argument)
{
    Mover *mover = argument;
    if (!mover_goes_on(mover, &result->status, result->message, "the inline ring could not be turned")) {
        return;
    }
    metric_set(METRIC_INLINE_RING_BYTES, (double)brain_int8(result, 0, 1));
    metric_set(METRIC_INLINE_WAITING_BYTES, (double)brain_int8(result, 0, 2));
    log_set_inline_backlog(mover->agent->log, brain_int8(result, 0, 2));
    mover_rest(mover, result);
    if (brain_bool(result, 0, 0) && ++mover->turns < MOVER_TURNS_MAX) {
        mover_turn(mover);
    } else if (log_store_is_ill(mover->agent->log)) {
        mover_end_round(mover, false); /* an object could not be stored: nothing is read for it */
    } else if (!brain_bool(result, 0, 3)) {
        mover_end_round(mover, false);
    } else {
        mover_plan(mover);
    }
}

static void mover_turn(Mover *mover)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(mover->agent->lease));
    brain_put_int8(&parameters, mover->agent->settings.mover_bytes_max);
    mover_ask(mover, &turn_statement, &parameters, mover_turned);
}

static void mover_round(uv_timer_t *timer)
{
    Mover *mover = timer->data;
    uv_timer_set_repeat(timer, (uint64_t)mover->agent->settings.mover_interval_ms);
    if (mover->busy || lease_agent_id(mover->agent->lease) == LEASE_NO_AGENT) {
        return;
    }
    mover->busy = true;
    mover->turns = 0;
    mover_turn(mover);
}

Mover *mover_new(Agent *agent)
{
    Mover *mover = calloc(1, sizeof(Mover));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!mover || !timer) {
        free(mover);
        free(timer);
        return NULL;
    }
    *mover = (Mover){ .agent = agent, .timer = timer };
    object_writer_init(&mover->object);
    uv_timer_init(agent->loop, timer);
    timer->data = mover;
    uv_timer_start(timer, mover_round, (uint64_t)agent->settings.mover_interval_ms,
                   (uint64_t)agent->settings.mover_interval_ms);
    return mover;
}

static void mover_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void mover_free(Mover *mover)
{
    mover->freed = true;
    uv_close((uv_handle_t *)mover->timer, mover_timer_closed);
    if (!mover->busy) {
        free(mover);
    }
}
