/* order.c: the order of each partition, and final answers. A batch that fails takes those with it that its
 * producer sent after it: were they committed, the producer's retry of the failed one would come after them.
 * What the producer has sent again meanwhile is left alone: an error there would tell it that its sequence is
 * broken for good. */
#include "agent/log/log_internal.h"

#include <assert.h>

#include <utlist.h>

#include "agent/metrics.h"

static const bool append_moves[APPEND_FINAL + 1][APPEND_FINAL + 1] = {
    [APPEND_GATHERED] = { [APPEND_STORED] = true, [APPEND_FINAL] = true },
    [APPEND_STORED] = { [APPEND_GATHERED] = true, [APPEND_COMMITTING] = true, [APPEND_FINAL] = true },
    [APPEND_COMMITTING] = { [APPEND_STORED] = true, [APPEND_LOCKED] = true, [APPEND_FINAL] = true },
    [APPEND_LOCKED] = { [APPEND_GATHERED] = true, [APPEND_COMMITTING] = true, [APPEND_FINAL] = true },
};

void append_enter(Append *append, AppendState state)
{
    assert(append_moves[append->state][state]);
    append->state = state;
}

void order_join(Append *append)
{
    DL_APPEND(append->partition->appends, append);
}

static void append_answer(Append *append, KafkaError error, int64_t base_offset)
{
    if (append->answered) {
        return;
    }
    append->answered = true;
    append->done(append->argument, error, base_offset);
}

/* Everything but the followers. */
static void append_finish(Log *log, Append *append, KafkaError error, int64_t base_offset)
{
    if (append->state == APPEND_LOCKED) {
        log->locked--;
    }
    append_enter(append, APPEND_FINAL);
    DL_DELETE(append->partition->appends, append);
    log->waiting--;
    append->upload->unfinished--;
    if (!append->upload->object.sealed) {
        /* It will be in no object, and the upload may wait long for its turn. */
        block_release(append->frame);
        append->frame = NULL;
    }
    append_answer(append, error, base_offset);
    if (error != KAFKA_ERROR_NONE) {
        metric_add(METRIC_LOG_BATCHES_FAILED, 1);
    }
}

static bool append_is_of_producer(const Append *append, const Append *other)
{
    return append->header.producer_id == other->header.producer_id &&
           append->header.producer_epoch == other->header.producer_epoch;
}

static bool append_follows(const Append *append, const Append *before)
{
    uint32_t next = ((uint32_t)batch_last_sequence(&before->header) + 1) & INT32_MAX;
    return (uint32_t)append->header.base_sequence == next;
}

/* Nothing is wrong with the records of a batch that only came after an invalid one. */
static KafkaError order_error_of_followers(KafkaError error)
{
    return error == KAFKA_ERROR_INVALID_RECORD ? KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER : error;
}

/* Ends what the producer sent after the failed batch, up to where it began again. */
static void order_finish_followers(Log *log, const Append *failed, Append *later, KafkaError error)
{
    const Append *before = failed;
    while (later) {
        Append *next = later->next;
        if (append_is_of_producer(later, failed)) {
            if (!append_follows(later, before)) {
                return;
            }
            before = later;
            if (later->state != APPEND_COMMITTING) {
                append_finish(log, later, order_error_of_followers(error), OFFSET_UNKNOWN);
                later->upload->commit_due = true;
            }
        }
        later = next;
    }
}

void order_finish(Log *log, Append *append, KafkaError error, int64_t base_offset)
{
    Partition *partition = append->partition;
    Append *later = append->next;
    if (error != KAFKA_ERROR_NONE && !append->early) {
        gap_open(&log->gaps, append, error, log->now_ms);
    } else if (error == KAFKA_ERROR_NONE) {
        gap_fill(&log->gaps, append);
    }
    append_finish(log, append, error, base_offset);
    if (error != KAFKA_ERROR_NONE && append->header.producer_id >= 0) {
        order_finish_followers(log, append, later, error);
    }
    if (partition->appends) {
        partition->appends->upload->commit_due = true;
    }
    append->upload->commit_due = true;
    log->backend.wake(log->backend.context);
}

static void append_expire(Log *log, Append *append)
{
    if (append->state == APPEND_COMMITTING) {
        /* The brain may have committed it: the producer is told to try again, the batch keeps its place. */
        append_answer(append, KAFKA_ERROR_REQUEST_TIMED_OUT, OFFSET_UNKNOWN);
    } else {
        order_finish(log, append, KAFKA_ERROR_REQUEST_TIMED_OUT, OFFSET_UNKNOWN);
    }
    metric_add(METRIC_LOG_BATCHES_EXPIRED, 1);
}

/* Also finds the upload's next deadline. */
static void upload_expire(Log *log, Upload *upload)
{
    upload->earliest_deadline_ms = INT64_MAX;
    for (size_t i = 0; i < upload->append_count; i++) {
        Append *append = upload->appends[i];
        if (append->answered) {
            continue;
        }
        if (append->deadline_ms <= log->now_ms) {
            append_expire(log, append);
        } else if (append->deadline_ms < upload->earliest_deadline_ms) {
            upload->earliest_deadline_ms = append->deadline_ms;
        }
    }
}

void order_expire(Log *log)
{
    Upload *upload;
    DL_FOREACH(log->uploads, upload)
    {
        if (upload->earliest_deadline_ms <= log->now_ms) {
            upload_expire(log, upload);
        }
    }
}

void order_abandon(Upload *upload)
{
    for (size_t i = 0; i < upload->append_count; i++) {
        append_answer(upload->appends[i], KAFKA_ERROR_REQUEST_TIMED_OUT, OFFSET_UNKNOWN);
    }
}

int64_t order_next_due_ms(const Log *log)
{
    int64_t due = INT64_MAX;
    const Upload *upload;
    DL_FOREACH(log->uploads, upload)
    {
        if (upload->unfinished > 0 && upload->earliest_deadline_ms < due) {
            due = upload->earliest_deadline_ms;
        }
    }
    return due;
}
