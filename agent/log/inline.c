/* inline.c: uploads without a store: PostgreSQL keeps their bytes, which travel with the commits. Such an
 * upload has an id for its calls where another has an object's, and is committed and asked for again in the
 * same way.
 *
 * The brain keeps an answer to each call for long, in case it is asked again. Most calls are answered when
 * they are first asked: when that is so of all that have an id of one block, the brain is told that it may
 * forget them. One call that was ever in doubt keeps the whole block: its first copy may come late, whatever
 * was answered meanwhile, and has to find the answer then. */
#include "agent/log/log_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/journal.h"
#include "agent/metrics.h"

enum { CALLS_LOW_PART = 4 /* a quarter of a block is left */ };

static void block_release_if_over(Log *log, CallBlock *block)
{
    if (!block->used_up || block->uploads > 0) {
        return;
    }
    if (block->in_doubt) {
        metric_add(METRIC_LOG_CALLS_KEPT, 1);
    } else {
        log->backend.forget_calls(log->backend.context, block->first);
    }
    free(block);
}

/* The few ids that are left of the block before are given up. */
static void block_begin(Log *log, CallBlock *block, int64_t first)
{
    CallBlock *before = log->block;
    block->first = first;
    log->block = block;
    if (before) {
        before->used_up = true;
        block_release_if_over(log, before);
    }
}

void inline_leave(Log *log, Upload *upload)
{
    CallBlock *block = upload->block;
    if (!block) {
        return;
    }
    for (size_t i = 0; i < upload->append_count; i++) {
        block->in_doubt = block->in_doubt || upload->appends[i]->in_doubt;
    }
    upload->block = NULL;
    block->uploads--;
    block_release_if_over(log, block);
}

void inline_abandon(Upload *upload)
{
    if (upload->block) {
        upload->block->in_doubt = true;
    }
}

static void calls_reserved(void *argument, int64_t first, int count)
{
    Log *log = argument;
    CallBlock *block = count > 0 ? calloc(1, sizeof(CallBlock)) : NULL;
    log->calls--;
    log->calls_reserving = false;
    if (!block) {
        log->calls_reserve_at_ms = log->now_ms + LOG_RESERVE_RETRY_MS;
    } else {
        block_begin(log, block, first);
        log->call_id = first;
        log->call_id_end = first + count;
        log->calls_low = count / CALLS_LOW_PART;
    }
    log->backend.wake(log->backend.context);
}

static bool inline_is_possible(const Log *log)
{
    return log->options.inline_flush_bytes > 0 || log->open[WRITE_INLINE];
}

void inline_keep_ids(Log *log)
{
    if (!inline_is_possible(log) || log->call_id_end - log->call_id > log->calls_low ||
        log->calls_reserving || log->now_ms < log->calls_reserve_at_ms) {
        return;
    }
    log->calls_reserving = true;
    log->calls++;
    log->backend.reserve_calls(log->backend.context, calls_reserved, log);
}

int64_t inline_next_due_ms(const Log *log)
{
    bool waits = log->open[WRITE_INLINE] && log->call_id == log->call_id_end && !log->calls_reserving;
    return waits ? log->calls_reserve_at_ms : INT64_MAX;
}

void inline_start(Log *log, Upload *upload)
{
    assert(log->call_id < log->call_id_end && upload->path != WRITE_OBJECT);
    upload->object_id = log->call_id++;
    upload->block = log->block;
    upload->block->uploads++;
    Status status = upload_lay_out(log, upload);
    if (!status_is_ok(&status)) {
        journal_seldom(JOURNAL_ERROR, "log", "an inline commit could not be laid out: %s", status.message);
        upload_fail(log, upload, KAFKA_ERROR_KAFKA_STORAGE_ERROR);
        upload_release_if_done(log, upload);
        return;
    }
    choose_spend(log, upload->bytes);
    if (upload->path == WRITE_INLINE) {
        metric_add(METRIC_LOG_CHOICE_INLINE_PINNED, 1);
    } else {
        choose_count(REFUSAL_NONE);
    }
    metric_add(METRIC_LOG_FLUSHES_INLINE, 1);
    metric_add(METRIC_LOG_PATH_BYTES_INLINE, upload->bytes);
    upload_stored(upload);
}

/* Only when it is certain of every batch that no call has committed it or will. */
static bool inline_may_leave(const Upload *upload)
{
    for (size_t i = 0; i < upload->append_count; i++) {
        const Append *append = upload->appends[i];
        if (append->state == APPEND_COMMITTING || (append->state != APPEND_FINAL && append->in_doubt)) {
            return false;
        }
    }
    return true;
}

bool inline_to_object(Log *log, Upload *upload)
{
    if (upload->path != WRITE_AUTO || !inline_may_leave(upload)) {
        return false;
    }
    for (size_t i = 0; i < upload->append_count; i++) {
        Append *append = upload->appends[i];
        log->locked -= append->state == APPEND_LOCKED;
        if (append->state != APPEND_FINAL) {
            append_enter(append, APPEND_GATHERED);
        }
    }
    choose_count(REFUSAL_FULL);
    inline_leave(log, upload);
    upload_enter(upload, UPLOAD_SEALED);
    upload->path = WRITE_OBJECT;
    upload->object_id = 0;
    object_writer_reset(&upload->object);
    return true;
}
