/* order.c: the order of each partition, and final answers. A batch that fails takes the later batches of its producer with
 * it: were they committed, the producer's retry of the failed one would come after them. */
#include "agent/log/log_internal.h"

#include <assert.h>

#include <utlist.h>

#include "agent/metrics.h"

enum { ORDER_EXPIRE_EVERY_MS = 50 };

static const bool append_moves[APPEND_FINAL + 1][APPEND_FINAL + 1] = {
    [APPEND_GATHERED] = { [APPEND_STORED] = true, [APPEND_FINAL] = true },
    [APPEND_STORED] = { [APPEND_COMMITTING] = true, [APPEND_FINAL] = true },
    [APPEND_COMMITTING] = { [APPEND_STORED] = true, [APPEND_LOCKED] = true, [APPEND_FINAL] = true },
    [APPEND_LOCKED] = { [APPEND_COMMITTING] = true, [APPEND_FINAL] = true },
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
    append_answer(append, error, base_offset);
    if (error != KAFKA_ERROR_NONE) {
        metric_add(METRIC_LOG_BATCHES_FAILED, 1);
    }
}

static bool append_is_of_producer(const Append *append, const Append *failed)
{
    return append->header.producer_id == failed->header.producer_id && append->state != APPEND_COMMITTING;
}

void order_finish(Log *log, Append *append, KafkaError error, int64_t base_offset)
{
    Partition *partition = append->partition;
    Append *later = append->next;
    append_finish(log, append, error, base_offset);
    while (error != KAFKA_ERROR_NONE && append->header.producer_id >= 0 && later) {
        Append *next = later->next;
        if (append_is_of_producer(later, append)) {
            Upload *upload = later->upload;
            append_finish(log, later, error, OFFSET_UNKNOWN);
            upload->commit_due = true;
        }
        later = next;
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

void order_expire(Log *log)
{
    Upload *upload;
    DL_FOREACH(log->uploads, upload) {
        for (size_t i = 0; i < upload->append_count && upload->earliest_deadline_ms <= log->now_ms; i++) {
            Append *append = upload->appends[i];
            if (append->state != APPEND_FINAL && !append->answered && append->deadline_ms <= log->now_ms) {
                append_expire(log, append);
            }
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
    DL_FOREACH(log->uploads, upload) {
        if (upload->unfinished > 0 && upload->earliest_deadline_ms < due) {
            due = upload->earliest_deadline_ms;
        }
    }
    /* An upload's later deadlines are looked for from time to time, not tracked. */
    if (due <= log->now_ms) {
        due = log->now_ms + ORDER_EXPIRE_EVERY_MS;
    }
    return due;
}
