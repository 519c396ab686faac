/* upload.c: sealed uploads into the store. Each takes an intent, becomes an object's bytes and is PUT;
 * several PUTs run at once and may end in any order, which commit.c puts right. One that is slow is written a
 * second time, under an intent of its own, and whichever ends first counts. Nothing is deleted when a PUT
 * fails: the intent expires and the reaper deals with whatever arrived. */
#include "agent/log/log_internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include <utlist.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum { RESERVE_BATCH = 32, HEDGE_AGAIN_MS = 50 };
_Static_assert(RESERVE_BATCH * 2 <= LOG_INTENTS_MAX, "a reservation always fits beside what is left");

/* One PUT. */
struct UploadCall {
    Log *log;
    Upload *upload;
    bool is_hedge; /* the second one of its upload */
    bool stopped;
    int64_t object_id;
    char key[128];
    int64_t started_ms;
    int64_t started_ns;
    ObjectWriter hedge; /* of a hedge: its object */
};

static const bool upload_moves[UPLOAD_FAILED + 1][UPLOAD_FAILED + 1] = {
    [UPLOAD_OPEN] = { [UPLOAD_SEALED] = true },
    [UPLOAD_SEALED] = { [UPLOAD_PUTTING] = true, [UPLOAD_STORED] = true, [UPLOAD_FAILED] = true },
    [UPLOAD_PUTTING] = { [UPLOAD_STORED] = true, [UPLOAD_SEALED] = true, [UPLOAD_FAILED] = true },
    [UPLOAD_STORED] = { [UPLOAD_SEALED] = true },
};

void upload_enter(Upload *upload, UploadState state)
{
    assert(upload_moves[upload->state][state]);
    upload->state = state;
}

void append_free(Append *append)
{
    block_release(append->frame);
    topic_release(append->partition->topic);
    free(append);
}

void upload_free(Log *log, Upload *upload)
{
    DL_DELETE(log->uploads, upload);
    inline_leave(log, upload);
    for (int path = 0; path < WRITE_PATHS; path++) {
        if (log->open[path] == upload) {
            log->open[path] = NULL;
        }
    }
    for (size_t i = 0; i < upload->append_count; i++) {
        append_free(upload->appends[i]);
    }
    free(upload->appends);
    object_writer_free(&upload->object);
    free(upload);
}

static bool upload_has_puts(const Upload *upload)
{
    return upload->puts[0] || upload->puts[1];
}

void upload_release_if_done(Log *log, Upload *upload)
{
    if (upload->unfinished == 0 && !upload_has_puts(upload) && upload->state != UPLOAD_PUTTING &&
        upload->state != UPLOAD_OPEN) {
        upload_free(log, upload);
    }
}

/* Every batch that still waits fails, retriably: the producer sends it again. */
void upload_fail(Log *log, Upload *upload, KafkaError error)
{
    upload_enter(upload, UPLOAD_FAILED);
    for (size_t i = 0; i < upload->append_count; i++) {
        if (upload->appends[i]->state != APPEND_FINAL) {
            order_finish(log, upload->appends[i], error, OFFSET_UNKNOWN);
        }
    }
}

static void intents_reserved(void *argument, const Intent *intents, size_t count)
{
    Log *log = argument;
    log->calls--;
    log->reserving = false;
    if (count == 0) {
        log->reserve_at_ms = log->now_ms + LOG_RESERVE_RETRY_MS;
    }
    for (size_t i = 0; i < count && log->intent_count < LOG_INTENTS_MAX; i++) {
        log->intent_from_ms[log->intent_count] = log->now_ms;
        log->intents[log->intent_count++] = intents[i];
    }
    log->backend.wake(log->backend.context);
}

/* A pool that a reservation cannot fill would be asked for again and again. */
static size_t intents_wanted(const Log *log)
{
    int most = LOG_INTENTS_MAX - RESERVE_BATCH;
    return (size_t)(log->options.intents_min < most ? log->options.intents_min : most);
}

static void intents_keep_enough(Log *log)
{
    while (log->intent_count > 0 && log->now_ms - log->intent_from_ms[0] > log->options.intent_fresh_ms) {
        log->intent_count--;
        memmove(log->intents, log->intents + 1, log->intent_count * sizeof(Intent));
        memmove(log->intent_from_ms, log->intent_from_ms + 1, log->intent_count * sizeof(int64_t));
    }
    if (log->intent_count >= intents_wanted(log) || log->reserving || log->now_ms < log->reserve_at_ms) {
        return;
    }
    log->reserving = true;
    log->calls++;
    log->backend.reserve(log->backend.context, RESERVE_BATCH, intents_reserved, log);
}

static ObjectIdentity upload_identity(const Log *log, const Upload *upload)
{
    ObjectIdentity identity = { .object_id = upload->object_id, .created_ms = time_wall_ms() };
    memcpy(identity.cluster_id, log->cluster_id, sizeof(identity.cluster_id));
    return identity;
}

Status upload_lay_out(const Log *log, Upload *upload)
{
    Status status = status_ok();
    for (size_t i = 0; i < upload->append_count && status_is_ok(&status); i++) {
        Append *append = upload->appends[i];
        if (append->state == APPEND_FINAL) {
            continue;
        }
        ObjectBatch batch = {
            .partition = append->partition->index,
            .lease_epoch = append->lease_epoch,
            .base_offset = OFFSET_UNKNOWN,
            .bytes = slice_of(append->bytes, (size_t)append->size),
            .header = append->header,
            .context = append,
        };
        memcpy(batch.topic_uuid, append->partition->topic->uuid, sizeof(batch.topic_uuid));
        status = object_writer_add(&upload->object, &batch);
    }
    ObjectIdentity identity = upload_identity(log, upload);
    if (status_is_ok(&status)) {
        status = object_writer_seal(&upload->object, &identity);
    }
    for (size_t i = 0; i < upload->object.batch_count && status_is_ok(&status); i++) {
        const ObjectBatch *batch = &upload->object.batches[i];
        Append *append = batch->context;
        append->ordinal = batch->ordinal;
        append->byte_start = batch->byte_start;
    }
    return status;
}

void upload_stored(Upload *upload)
{
    upload_enter(upload, UPLOAD_STORED);
    upload->commit_due = true;
    for (size_t i = 0; i < upload->append_count; i++) {
        if (upload->appends[i]->state == APPEND_GATHERED) {
            append_enter(upload->appends[i], APPEND_STORED);
        }
    }
}

/* A store that refuses today (rights, a missing bucket, a full disk) may take it tomorrow. Under another key:
 * the PUT that failed may yet arrive. */
static bool upload_try_again(Log *log, Upload *upload, const Status *status)
{
    int64_t wait_ms = (int64_t)LOG_PUT_RETRY_MIN_MS << (upload->retries < 8 ? upload->retries : 8);
    wait_ms = circuit_pause_ms(log, wait_ms < LOG_PUT_RETRY_MAX_MS ? wait_ms : LOG_PUT_RETRY_MAX_MS);
    if (status->code == STATUS_CANCELLED || status->code == STATUS_INVALID ||
        log->now_ms + wait_ms >= upload->latest_deadline_ms) {
        return false;
    }
    upload_enter(upload, UPLOAD_SEALED);
    upload->object_id = 0;
    upload->retries++;
    upload->retry_at_ms = log->now_ms + wait_ms;
    metric_add(METRIC_LOG_UPLOAD_RETRIES, 1);
    journal_seldom(JOURNAL_WARN, "log",
                   "object %s could not be stored, it is tried again under another key: %s", upload->key,
                   status->message);
    return true;
}

static void upload_put_failed(Log *log, Upload *upload, const Status *status)
{
    if (upload_try_again(log, upload, status)) {
        return;
    }
    metric_add(METRIC_LOG_UPLOADS_FAILED, 1);
    journal_seldom(JOURNAL_WARN, "log", "object %s could not be stored, its producers will send again: %s",
                   upload->key, status->message);
    upload_fail(log, upload, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
}

void upload_stop_puts(Log *log, Upload *upload)
{
    for (int i = 0; i < 2; i++) {
        UploadCall *call = upload->puts[i];
        if (call && !call->stopped && log->backend.put_stop) {
            call->stopped = true;
            log->backend.put_stop(log->backend.context, call);
        }
    }
}

/* The first PUT that ends well makes the object; what the other one wrote is an intent that expires. */
static void upload_put_won(Log *log, Upload *upload, const UploadCall *call)
{
    upload->object_id = call->object_id;
    memcpy(upload->key, call->key, sizeof(upload->key));
    if (call->is_hedge) {
        metric_add(METRIC_LOG_HEDGES_WON, 1);
    }
    upload->rerouting = false;
    upload_stored(upload);
    upload_stop_puts(log, upload);
}

static void upload_call_leave(Log *log, Upload *upload, const UploadCall *call)
{
    upload->puts[call->is_hedge] = NULL;
    log->calls--;
    log->putting--;
    log->hedging -= call->is_hedge;
    metric_set(METRIC_LOG_UPLOADS_RUNNING, log->putting);
    metric_observe_since(METRIC_LOG_PUT_DURATION, call->started_ns);
}

static void upload_call_free(UploadCall *call)
{
    object_writer_free(&call->hedge);
    free(call);
}

/* Whether how it ended says anything of the store. */
static void upload_note_end(Log *log, const UploadCall *call, const Status *status)
{
    bool stored = status_is_ok(status);
    if (stored || (!call->stopped && status->code != STATUS_CANCELLED && status->code != STATUS_INVALID)) {
        circuit_put_ended(
            log, &(PutEnd){ .started_ms = call->started_ms, .bytes = call->upload->bytes, .stored = stored });
    }
}

static void upload_put_finished(void *argument, const Status *status)
{
    UploadCall *call = argument;
    Log *log = call->log;
    Upload *upload = call->upload;
    upload_call_leave(log, upload, call);
    upload_note_end(log, call, status);
    if (upload->state == UPLOAD_PUTTING && status_is_ok(status)) {
        upload_put_won(log, upload, call);
    } else if (upload->state == UPLOAD_PUTTING && upload->rerouting && !upload_has_puts(upload)) {
        upload_enter(upload, UPLOAD_SEALED);
        upload_call_free(call);
        reroute_finish(log, upload);
        return;
    } else if (upload->state == UPLOAD_PUTTING && !upload_has_puts(upload)) {
        upload_put_failed(log, upload, status);
    }
    upload_call_free(call);
    upload_release_if_done(log, upload);
    log->backend.wake(log->backend.context);
}

static int upload_deadline_ms(const Log *log, const Upload *upload)
{
    int64_t left_ms = upload->latest_deadline_ms - log->now_ms;
    if (left_ms > log->options.put_timeout_ms) {
        left_ms = log->options.put_timeout_ms;
    }
    return left_ms < 1 ? 1 : (int)left_ms;
}

/* Gives the upload a key, and its object the id that goes with it. */
static Status upload_take_intent(Log *log, Upload *upload)
{
    Intent *intent = &log->intents[--log->intent_count];
    upload->object_id = intent->object_id;
    memcpy(upload->key, intent->key, sizeof(upload->key));
    if (!upload->object.sealed) {
        return upload_lay_out(log, upload);
    }
    ObjectIdentity identity = upload_identity(log, upload);
    return object_writer_rename(&upload->object, &identity);
}

/* False when the store takes nothing now. */
static bool call_send(UploadCall *call, const ObjectWriter *object)
{
    Log *log = call->log;
    size_t count = object_writer_slice_count(object);
    Slice *slices = malloc(count * sizeof(Slice));
    if (!slices) {
        return false;
    }
    object_writer_slices(object, slices);
    bool started = log->backend.put(log->backend.context, call->key, slices, count,
                                    upload_deadline_ms(log, call->upload), upload_put_finished, call);
    free(slices);
    if (started) {
        call->upload->puts[call->is_hedge] = call;
        log->calls++;
        log->putting++;
        log->hedging += call->is_hedge;
        metric_set(METRIC_LOG_UPLOADS_RUNNING, log->putting);
    }
    return started;
}

static UploadCall *call_new(Log *log, Upload *upload, const Intent *intent, bool is_hedge)
{
    UploadCall *call = calloc(1, sizeof(UploadCall));
    if (call) {
        *call = (UploadCall){ .log = log,
                              .upload = upload,
                              .is_hedge = is_hedge,
                              .object_id = intent->object_id,
                              .started_ms = log->now_ms,
                              .started_ns = time_ns() };
        memcpy(call->key, intent->key, sizeof(call->key));
        object_writer_init(&call->hedge);
    }
    return call;
}

static bool upload_put(Log *log, Upload *upload)
{
    Intent intent = { .object_id = upload->object_id };
    memcpy(intent.key, upload->key, sizeof(intent.key));
    UploadCall *call = call_new(log, upload, &intent, false);
    bool started = call && call_send(call, &upload->object);
    log->store_busy = !started;
    if (!started) {
        free(call);
        return false;
    }
    upload->put_started_ms = log->now_ms;
    upload->hedged = false;
    upload_enter(upload, UPLOAD_PUTTING);
    return true;
}

/* The same batches in the same places, under another id: its own header and footer, since the first PUT still
 * reads those of the upload. */
static Status hedge_lay_out(UploadCall *call)
{
    const ObjectWriter *object = &call->upload->object;
    ObjectIdentity identity = object->identity;
    Status status = status_ok();
    for (size_t i = 0; i < object->batch_count && status_is_ok(&status); i++) {
        status = object_writer_add(&call->hedge, &object->batches[i]);
    }
    identity.object_id = call->object_id;
    return status_is_ok(&status) ? object_writer_seal(&call->hedge, &identity) : status;
}

static void upload_hedge(Log *log, Upload *upload)
{
    UploadCall *call = call_new(log, upload, &log->intents[log->intent_count - 1], true);
    if (!call) {
        return;
    }
    log->intent_count--;
    upload->hedged = true;
    Status status = hedge_lay_out(call);
    if (!status_is_ok(&status) || !call_send(call, &call->hedge)) {
        upload_call_free(call);
        return;
    }
    circuit_hedged(log);
    journal_seldom(JOURNAL_INFO, "log", "object %s takes long to be written, it is written a second time",
                   upload->key);
}

static bool upload_may_be_hedged(const Upload *upload)
{
    return upload->state == UPLOAD_PUTTING && !upload->hedged && !upload->rerouting;
}

static int64_t upload_hedge_at_ms(const Log *log, const Upload *upload)
{
    return upload->put_started_ms + circuit_hedge_ms(log, upload->bytes);
}

static void upload_hedge_all(Log *log)
{
    Upload *upload;
    DL_FOREACH(log->uploads, upload)
    {
        if (!circuit_may_hedge(log)) {
            return;
        }
        if (upload_may_be_hedged(upload) && upload_hedge_at_ms(log, upload) <= log->now_ms) {
            upload_hedge(log, upload);
        }
    }
}

/* False when there is no more to be started now. */
static bool upload_start(Log *log, Upload *upload)
{
    if (upload->unfinished == 0) {
        upload_fail(log, upload, KAFKA_ERROR_NONE);
        upload_release_if_done(log, upload);
        return true;
    }
    if (upload->object_id == 0) {
        if (log->intent_count == 0) {
            return false;
        }
        Status status = upload_take_intent(log, upload);
        if (!status_is_ok(&status)) {
            journal_seldom(JOURNAL_ERROR, "log", "an object could not be laid out: %s", status.message);
            upload_fail(log, upload, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
            upload_release_if_done(log, upload);
            return true;
        }
    }
    return upload_put(log, upload);
}

void upload_start_all(Log *log)
{
    Upload *upload = log->uploads;
    intents_keep_enough(log);
    log->store_busy = false;
    while (upload && log->putting < circuit_put_parallel(log)) {
        Upload *next = upload->next;
        if (upload->state == UPLOAD_SEALED && upload->retry_at_ms <= log->now_ms &&
            !upload_start(log, upload)) {
            break;
        }
        upload = next;
    }
    upload_hedge_all(log);
}

int64_t upload_next_due_ms(const Log *log)
{
    int64_t due = INT64_MAX;
    const Upload *upload;
    DL_FOREACH(log->uploads, upload)
    {
        if (upload->state == UPLOAD_SEALED && upload->retry_at_ms > log->now_ms &&
            upload->retry_at_ms < due) {
            due = upload->retry_at_ms;
        }
        if (upload_may_be_hedged(upload) && log->options.put_hedge_ms > 0) {
            int64_t at_ms = upload_hedge_at_ms(log, upload);
            at_ms = at_ms > log->now_ms ? at_ms : log->now_ms + HEDGE_AGAIN_MS;
            due = at_ms < due ? at_ms : due;
        }
    }
    return due;
}
