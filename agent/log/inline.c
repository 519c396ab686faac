/* inline.c: uploads without a store: PostgreSQL keeps their bytes, which travel with the commits. Such an
 * upload has an id for its calls where another has an object's, and is committed and asked for again in the
 * same way. */
#include "agent/log/log_internal.h"

#include <assert.h>

#include "agent/journal.h"
#include "agent/metrics.h"

enum { CALL_IDS_MIN = LOG_CALL_IDS / 4 };

static void calls_reserved(void *argument, int64_t first)
{
    Log *log = argument;
    log->calls--;
    log->calls_reserving = false;
    if (first == 0) {
        log->calls_reserve_at_ms = log->now_ms + LOG_RESERVE_RETRY_MS;
    } else {
        log->call_id = first; /* the few that were left are given up */
        log->call_id_end = first + LOG_CALL_IDS;
    }
    log->backend.wake(log->backend.context);
}

static bool inline_is_possible(const Log *log)
{
    return log->options.inline_flush_bytes > 0 || log->open[WRITE_INLINE];
}

void inline_keep_ids(Log *log)
{
    if (!inline_is_possible(log) || log->call_id_end - log->call_id >= CALL_IDS_MIN || log->calls_reserving ||
        log->now_ms < log->calls_reserve_at_ms) {
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
    upload_enter(upload, UPLOAD_SEALED);
    upload->path = WRITE_OBJECT;
    upload->object_id = 0;
    object_writer_reset(&upload->object);
    return true;
}
