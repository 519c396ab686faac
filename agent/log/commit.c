/* commit.c: stored batches into the brain. A call carries batches of one object; of each partition only those
 * that are next in its order. What the brain calls locked is asked again in a call of that partition alone;
 * what a lost connection left open, with the same rows. */
#include "agent/log/log_internal.h"

#include <assert.h>
#include <stdlib.h>

#include <utlist.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"

typedef struct CommitCall {
    Log *log;
    Upload *upload;
    int64_t started_ns;
    size_t count;
    Append *appends[]; /* in the object's order */
} CommitCall;

static void commit_row_fill(CommitRow *row, const Append *append)
{
    *row = (CommitRow){
        .batch = append->ordinal,
        .topic_id = append->partition->topic->topic_id,
        .partition = append->partition->index,
        .lease_epoch = append->lease_epoch,
        .byte_start = append->byte_start,
        .byte_length = append->size,
        .offset_count = (int32_t)batch_offset_count(&append->header),
        .base_timestamp = append->header.base_timestamp,
        .max_timestamp = append->header.max_timestamp,
        .producer_id = append->header.producer_id,
        .producer_epoch = append->header.producer_epoch,
        .attributes = append->header.attributes,
        .first_sequence = append->header.base_sequence,
    };
}

/* Committed: the offsets are known, the bytes become readable. */
static void commit_apply(Log *log, Append *append, const CommitAnswer *answer)
{
    Partition *partition = append->partition;
    int64_t end_offset = answer->base_offset + batch_offset_count(&append->header);
    batch_patch_offset(append->bytes, answer->base_offset, answer->leader_epoch);
    if (answer->log_start_offset > partition->log_start_offset) {
        partition->log_start_offset = answer->log_start_offset;
    }
    if (!partition->topic->deleted) {
        tail_push(&log->tail, partition, append->frame, append->bytes, append->size, answer->base_offset,
                  end_offset);
    }
    if (end_offset > partition->high_watermark) {
        partition->high_watermark = end_offset;
    }
    order_finish(log, append, KAFKA_ERROR_NONE, answer->base_offset);
}

static void commit_again_later(Log *log, Append *append, bool alone)
{
    int64_t wait_ms = (int64_t)LOG_LOCKED_RETRY_MIN_MS << (append->retries < 8 ? append->retries : 8);
    append->retry_at_ms =
        log->now_ms + (wait_ms < LOG_LOCKED_RETRY_MAX_MS ? wait_ms : LOG_LOCKED_RETRY_MAX_MS);
    append->retries++;
    append->retry_alone = alone;
    append_enter(append, APPEND_LOCKED);
    log->locked++;
}

/* Final, and why. An answer without a reason is a defect of the brain; it must not look like success. */
static void commit_refused(Log *log, Append *append, KafkaError error)
{
    if (error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER) {
        metric_add(METRIC_LOG_FENCED, 1);
        log->backend.fenced(log->backend.context, append->partition);
    }
    order_finish(log, append, error != KAFKA_ERROR_NONE ? error : KAFKA_ERROR_UNKNOWN_SERVER_ERROR,
                 OFFSET_UNKNOWN);
}

static void commit_answered(Log *log, Append *append, const CommitAnswer *answer)
{
    switch (answer->status) {
    case COMMIT_COMMITTED:
        commit_apply(log, append, answer);
        break;
    case COMMIT_DUPLICATE:
        metric_add(METRIC_LOG_DUPLICATES, 1);
        order_finish(log, append, KAFKA_ERROR_NONE, answer->base_offset);
        break;
    case COMMIT_LOCKED:
        metric_add(METRIC_LOG_COMMIT_LOCKED, 1);
        commit_again_later(log, append, true);
        break;
    case COMMIT_REFUSED:
        commit_refused(log, append, answer->error);
        break;
    }
}

/* The answers are in the rows' order; a batch that got none, or another's, is a defect of the brain: asked
 * again. */
static void commit_apply_answers(CommitCall *call, const CommitAnswer *answers, size_t count)
{
    for (size_t i = 0; i < call->count; i++) {
        Append *append = call->appends[i];
        if (i < count && answers[i].batch == append->ordinal) {
            commit_answered(call->log, append, &answers[i]);
        } else {
            journal_seldom(JOURNAL_ERROR, "log", "the brain's answer to a commit lacks batch %d",
                           append->ordinal);
            commit_again_later(call->log, append, true);
        }
    }
}

static void commit_finished(void *argument, CommitOutcome outcome, const CommitAnswer *answers, size_t count)
{
    CommitCall *call = argument;
    Log *log = call->log;
    Upload *upload = call->upload;
    log->calls--;
    metric_observe_since(METRIC_LOG_COMMIT_DURATION, call->started_ns);
    if (outcome == COMMIT_ANSWERED) {
        commit_apply_answers(call, answers, count);
    } else if (outcome == COMMIT_EXPIRED) {
        journal_seldom(JOURNAL_WARN, "log",
                       "object %s came too late to be committed, its producers will send again", upload->key);
        for (size_t i = 0; i < call->count; i++) {
            order_finish(log, call->appends[i], KAFKA_ERROR_KAFKA_STORAGE_ERROR, OFFSET_UNKNOWN);
        }
    } else {
        metric_add(METRIC_LOG_COMMIT_RETRIES, 1);
        for (size_t i = 0; i < call->count; i++) {
            /* A call that fails again and again fails for one of its partitions: the others go on without it.
             */
            bool alone = outcome == COMMIT_FAILED && call->appends[i]->retries > 0;
            commit_again_later(log, call->appends[i], alone);
        }
    }
    for (size_t i = 0; i < call->count; i++) {
        log->backend.moved(log->backend.context, call->appends[i]->partition);
    }
    upload->unfinished--;
    upload->commit_due = true;
    free(call);
    log->backend.wake(log->backend.context);
}

static void commit_send(Log *log, Upload *upload, CommitCall *call)
{
    CommitRow *rows = malloc(call->count * sizeof(CommitRow));
    if (!rows) {
        for (size_t i = 0; i < call->count; i++) {
            commit_again_later(log, call->appends[i], call->appends[i]->retry_alone);
        }
        free(call);
        return;
    }
    for (size_t i = 0; i < call->count; i++) {
        commit_row_fill(&rows[i], call->appends[i]);
    }
    upload->unfinished++;
    log->calls++;
    metric_add(METRIC_LOG_COMMITS, 1);
    log->backend.commit(log->backend.context, upload->object_id, (int64_t)object_writer_size(&upload->object),
                        rows, call->count, commit_finished, call);
    free(rows);
}

static CommitCall *commit_call_new(Log *log, Upload *upload, size_t capacity)
{
    CommitCall *call = malloc(sizeof(CommitCall) + capacity * sizeof(Append *));
    if (call) {
        *call = (CommitCall){ .log = log, .upload = upload, .started_ns = time_ns() };
    }
    return call;
}

/* The partition's batches of this object that are next in its order, from its head on. */
static void commit_take(CommitCall *call, Partition *partition, AppendState wanted)
{
    for (Append *append = partition->appends;
         append && append->upload == call->upload && append->state == wanted; append = append->next) {
        append_enter(append, APPEND_COMMITTING);
        call->appends[call->count++] = append;
    }
}

static void commit_start(Log *log, Upload *upload)
{
    CommitCall *call = commit_call_new(log, upload, upload->object.batch_count);
    if (!call) {
        return;
    }
    upload->commit_due = false;
    for (size_t i = 0; i < upload->object.batch_count; i++) {
        Append *append = upload->object.batches[i].context;
        if (append->state == APPEND_STORED && append->partition->appends == append) {
            commit_take(call, append->partition, APPEND_STORED);
        }
    }
    if (call->count > 0) {
        commit_send(log, upload, call);
    } else {
        free(call);
    }
}

/* The head of its partition, to be asked for again now. */
static bool commit_is_due(const Log *log, const Append *append)
{
    return append->state == APPEND_LOCKED && append->retry_at_ms <= log->now_ms &&
           append->partition->appends == append;
}

static size_t commit_run_length(const Append *head)
{
    size_t length = 0;
    for (const Append *append = head;
         append && append->upload == head->upload && append->state == APPEND_LOCKED; append = append->next) {
        length++;
    }
    return length;
}

static void commit_retry_alone(Log *log, Append *append)
{
    CommitCall *call = commit_call_new(log, append->upload, commit_run_length(append));
    if (!call) {
        append->retry_at_ms = log->now_ms + LOG_LOCKED_RETRY_MAX_MS;
        return;
    }
    commit_take(call, append->partition, APPEND_LOCKED);
    log->locked -= call->count;
    commit_send(log, append->upload, call);
}

static void commit_retry_together(Log *log, Upload *upload)
{
    CommitCall *call = commit_call_new(log, upload, upload->object.batch_count);
    for (size_t i = 0; call && i < upload->object.batch_count; i++) {
        Append *append = upload->object.batches[i].context;
        if (commit_is_due(log, append) && !append->retry_alone) {
            commit_take(call, append->partition, APPEND_LOCKED);
        }
    }
    if (call) {
        log->locked -= call->count;
        commit_send(log, upload, call);
    }
}

static void commit_retry_upload(Log *log, Upload *upload)
{
    bool together = false;
    for (size_t i = 0; i < upload->append_count; i++) {
        Append *append = upload->appends[i];
        if (!commit_is_due(log, append)) {
            continue;
        }
        if (append->retry_alone) {
            commit_retry_alone(log, append);
        } else {
            together = true;
        }
    }
    if (together) {
        commit_retry_together(log, upload);
    }
}

void commit_start_all(Log *log)
{
    Upload *upload = log->uploads;
    while (upload) {
        Upload *next = upload->next;
        if (upload->state == UPLOAD_STORED) {
            if (log->locked > 0) {
                commit_retry_upload(log, upload);
            }
            if (upload->commit_due) {
                commit_start(log, upload);
            }
        }
        upload_release_if_done(log, upload);
        upload = next;
    }
}

int64_t commit_next_due_ms(const Log *log)
{
    int64_t due = INT64_MAX;
    const Upload *upload;
    if (log->locked == 0) {
        return due;
    }
    DL_FOREACH(log->uploads, upload)
    {
        for (size_t i = 0; i < upload->append_count; i++) {
            const Append *append = upload->appends[i];
            if (append->state == APPEND_LOCKED && append->partition->appends == append &&
                append->retry_at_ms < due) {
                due = append->retry_at_ms;
            }
        }
    }
    return due;
}
