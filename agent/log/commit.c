/* commit.c: stored batches into the brain. A call carries batches of one upload; of each partition only those
 * that are next in its order. What the brain calls locked is asked again in a call of that partition alone: a
 * few times at once, then in one that waits for the lock, so that it gets its turn however busy others keep
 * the partition. What a lost connection left open is asked again with the same rows. */
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
    int64_t started_ms;
    bool waits; /* for a lock */
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
static void commit_take_answer(Log *log, Append *append, const CommitAnswer *answer)
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

/* Its producer was told to try again, and the brain would not know the second try for what it is: asking for
 * the first one again could only commit the records twice. */
static bool commit_is_pointless(const Append *append)
{
    return append->answered && append->header.producer_id < 0;
}

static void commit_again_later(Log *log, Append *append, bool alone)
{
    if (commit_is_pointless(append)) {
        order_finish(log, append, KAFKA_ERROR_REQUEST_TIMED_OUT, OFFSET_UNKNOWN);
        return;
    }
    int64_t wait_ms = (int64_t)LOG_LOCKED_RETRY_MIN_MS << (append->retries < 8 ? append->retries : 8);
    append->retry_at_ms =
        log->now_ms + (wait_ms < LOG_LOCKED_RETRY_MAX_MS ? wait_ms : LOG_LOCKED_RETRY_MAX_MS);
    append->retries++;
    append->retry_alone = alone;
    append_enter(append, APPEND_LOCKED);
    log->locked++;
}

/* Somebody else commits to the partition again and again: its lock is to be waited for. */
static bool commit_is_contended(const Log *log, const Append *append)
{
    return log->options.contended_wait_ms > 0 && append->locked > 0 &&
           (append->locked > LOG_LOCKED_QUICK || append->partition->contended_until_ms > log->now_ms);
}

static void commit_locked(Log *log, Append *append)
{
    metric_add(METRIC_LOG_COMMIT_LOCKED, 1);
    append->locked++;
    commit_again_later(log, append, true);
    if (commit_is_contended(log, append)) {
        append->partition->contended_until_ms = log->now_ms + LOG_CONTENDED_MS;
        append->retry_at_ms = log->now_ms;
    }
}

/* Just after the partition came here, a missing batch may still be on its way: librdkafka may send what
 * follows to the new leader while the old one has it, or has refused it a moment ago. Told that its sequence
 * is broken it would number everything anew, in all partitions, and what is in doubt in any of them would be
 * stored twice. */
static bool commit_came_early(const Log *log, const Append *append, KafkaError error)
{
    return error == KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER &&
           log->now_ms < append->partition->led_ms + LOG_LED_LATELY_MS;
}

/* Final, and why. An answer without a reason is a defect of the brain; it must not look like success. */
static void commit_refused(Log *log, Append *append, KafkaError error)
{
    if (error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER) {
        metric_add(METRIC_LOG_FENCED, 1);
        log->backend.fenced(log->backend.context, append->partition);
    } else if (commit_came_early(log, append, error)) {
        metric_add(METRIC_LOG_BATCHES_EARLY, 1);
        append->early = true;
        error = KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    order_finish(log, append, error != KAFKA_ERROR_NONE ? error : KAFKA_ERROR_UNKNOWN_SERVER_ERROR,
                 OFFSET_UNKNOWN);
}

static void commit_answered(Log *log, Append *append, const CommitAnswer *answer)
{
    switch (answer->status) {
    case COMMIT_COMMITTED:
        commit_take_answer(log, append, answer);
        break;
    case COMMIT_DUPLICATE:
        metric_add(METRIC_LOG_DUPLICATES, 1);
        order_finish(log, append, KAFKA_ERROR_NONE, answer->base_offset);
        break;
    case COMMIT_LOCKED:
        commit_locked(log, append);
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

static void commit_apply_expired(CommitCall *call)
{
    journal_seldom(JOURNAL_WARN, "log",
                   "object %s came too late to be committed, its producers will send again",
                   call->upload->key);
    for (size_t i = 0; i < call->count; i++) {
        order_finish(call->log, call->appends[i], KAFKA_ERROR_KAFKA_STORAGE_ERROR, OFFSET_UNKNOWN);
    }
}

/* A call that fails again and again fails for one of its partitions: the others go on without it. */
static void commit_apply_failure(CommitCall *call, CommitOutcome outcome)
{
    metric_add(METRIC_LOG_COMMIT_RETRIES, 1);
    for (size_t i = 0; i < call->count; i++) {
        Append *append = call->appends[i];
        append->locked = 0;
        append->in_doubt = append->in_doubt || outcome == COMMIT_UNKNOWN;
        commit_again_later(call->log, append, outcome == COMMIT_FAILED && append->retries > 0);
    }
}

/* Where the choice is ours, an object is made of it; where it is the topic's, producers are told to try
 * again. What may yet be committed by an earlier call stays where its answer is kept. */
static void commit_apply_full(CommitCall *call)
{
    Log *log = call->log;
    bool pinned = call->upload->path == WRITE_INLINE;
    journal_seldom(JOURNAL_WARN, "log", "PostgreSQL takes no more records inline: %s",
                   pinned ? "producers are told to try again" : "they go to objects");
    log->chooser.full_until_ms = log->now_ms + LOG_INLINE_FULL_MS;
    for (size_t i = 0; i < call->count; i++) {
        Append *append = call->appends[i];
        if (pinned && !append->in_doubt) {
            order_finish(log, append, KAFKA_ERROR_KAFKA_STORAGE_ERROR, OFFSET_UNKNOWN);
        } else {
            commit_again_later(log, append, false);
        }
    }
    (void)inline_to_object(log, call->upload);
}

static void commit_apply(CommitCall *call, CommitOutcome outcome, const CommitAnswer *answers, size_t count)
{
    switch (outcome) {
    case COMMIT_ANSWERED:
        commit_apply_answers(call, answers, count);
        break;
    case COMMIT_EXPIRED:
        commit_apply_expired(call);
        break;
    case COMMIT_BUSY:
        for (size_t i = 0; i < call->count; i++) {
            commit_locked(call->log, call->appends[i]);
        }
        break;
    case COMMIT_FULL:
        commit_apply_full(call);
        break;
    case COMMIT_UNKNOWN:
    case COMMIT_FAILED:
        commit_apply_failure(call, outcome);
        break;
    }
}

static void commit_observe(const CommitCall *call)
{
    Log *log = call->log;
    metric_observe_since(METRIC_LOG_COMMIT_DURATION, call->started_ns);
    if (call->waits) {
        return; /* for others: that says nothing of PostgreSQL */
    }
    choose_commit_ended(log, call->started_ms);
    if (call->upload->path != WRITE_OBJECT) {
        log->inline_calls--;
        metric_observe_since(METRIC_LOG_INLINE_COMMIT_DURATION, call->started_ns);
    }
}

static void commit_finished(void *argument, CommitOutcome outcome, const CommitAnswer *answers, size_t count)
{
    CommitCall *call = argument;
    Log *log = call->log;
    Upload *upload = call->upload;
    log->calls--;
    commit_observe(call);
    commit_apply(call, outcome, answers, count);
    for (size_t i = 0; i < call->count; i++) {
        log->backend.moved(log->backend.context, call->appends[i]->partition);
    }
    upload->unfinished--;
    upload->commit_due = true;
    free(call);
    log->backend.wake(log->backend.context);
}

/* Memory is short: nothing was asked. */
static void commit_give_up(CommitCall *call)
{
    for (size_t i = 0; i < call->count; i++) {
        commit_again_later(call->log, call->appends[i], call->appends[i]->retry_alone);
    }
    free(call);
}

static CommitRequest commit_request(const CommitCall *call, CommitRow *rows, Slice *bytes, int wait_ms)
{
    const Upload *upload = call->upload;
    CommitRequest request = {
        .is_inline = upload->path != WRITE_OBJECT,
        .id = upload->object_id,
        .object_bytes = (int64_t)object_writer_size(&upload->object),
        .rows = rows,
        .bytes = bytes,
        .count = call->count,
        .wait_ms = wait_ms,
    };
    int64_t start = 0;
    for (size_t i = 0; i < call->count; i++) {
        const Append *append = call->appends[i];
        commit_row_fill(&rows[i], append);
        bytes[i] = slice_of(append->bytes, (size_t)append->size);
        if (request.is_inline) {
            rows[i].byte_start = start;
        }
        start += append->size;
    }
    request.object_bytes = request.is_inline ? start : request.object_bytes;
    return request;
}

static void commit_send(Log *log, Upload *upload, CommitCall *call, int wait_ms)
{
    CommitRow *rows = malloc(call->count * sizeof(CommitRow));
    Slice *bytes = malloc(call->count * sizeof(Slice));
    if (!rows || !bytes) {
        commit_give_up(call);
        free(rows);
        free(bytes);
        return;
    }
    CommitRequest request = commit_request(call, rows, bytes, wait_ms);
    call->waits = wait_ms > 0;
    upload->unfinished++;
    log->calls++;
    log->inline_calls += request.is_inline && !call->waits;
    metric_add(METRIC_LOG_COMMITS, 1);
    log->backend.commit(log->backend.context, &request, commit_finished, call);
    free(rows);
    free(bytes);
}

static CommitCall *commit_call_new(Log *log, Upload *upload, size_t capacity)
{
    CommitCall *call = malloc(sizeof(CommitCall) + capacity * sizeof(Append *));
    if (call) {
        *call =
            (CommitCall){ .log = log, .upload = upload, .started_ns = time_ns(), .started_ms = log->now_ms };
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
        commit_send(log, upload, call, 0);
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

/* How long the call may wait for the lock: while the producer does. Answered batches have no deadline any
 * more. */
static int commit_wait_ms(const Log *log, const Append *append)
{
    int64_t left_ms = append->deadline_ms - log->now_ms;
    if (!commit_is_contended(log, append)) {
        return 0;
    }
    if (append->answered || left_ms > log->options.contended_wait_ms) {
        return log->options.contended_wait_ms;
    }
    return left_ms > 1 ? (int)left_ms : 1;
}

static void commit_retry_alone(Log *log, Append *append)
{
    int wait_ms = commit_wait_ms(log, append);
    CommitCall *call = commit_call_new(log, append->upload, commit_run_length(append));
    if (!call) {
        append->retry_at_ms = log->now_ms + LOG_LOCKED_RETRY_MAX_MS;
        return;
    }
    commit_take(call, append->partition, APPEND_LOCKED);
    log->locked -= call->count;
    commit_send(log, append->upload, call, wait_ms);
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
        commit_send(log, upload, call, 0);
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
