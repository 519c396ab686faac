/* reroute.c: out of a store that is ill. An upload whose PUT is too slow, or that waits for its turn, gives
 * back the batches that may go inline. Nothing of it can have been committed: commits are asked for only when
 * an object is stored. So no producer is told anything, no batch loses its place in its partition's order,
 * and the object, should it arrive after all, is an intent that expires. */
#include "agent/log/log_internal.h"

#include <stdlib.h>

#include <utlist.h>

#include "agent/metrics.h"

enum { REROUTE_AGAIN_MS = 100 };

void reroute_finish(Log *log, Upload *upload)
{
    upload->rerouting = false;
    upload->object_id = 0;
    size_t bytes = gather_take_back(log, upload);
    object_writer_reset(&upload->object);
    metric_add(METRIC_LOG_REROUTED_BYTES, bytes);
    if (upload->unfinished == 0) {
        upload_fail(log, upload, KAFKA_ERROR_NONE);
        upload_release_if_done(log, upload);
    }
    log->backend.wake(log->backend.context);
}

/* The PUT that is under way takes longer than a store that is well would need. */
static bool upload_is_slow(const Log *log, const Upload *upload)
{
    return upload->state == UPLOAD_PUTTING &&
           log->now_ms - upload->put_started_ms > circuit_slow_ms(log, upload->bytes);
}

static void reroute_upload(Log *log, Upload *upload)
{
    if (upload->state == UPLOAD_SEALED) {
        reroute_finish(log, upload);
    } else if (log->backend.put_stop && upload_is_slow(log, upload)) {
        upload->rerouting = true;
        upload_stop_puts(log, upload);
    }
}

void reroute_all(Log *log)
{
    Upload *upload;
    if (log->options.store_slow_ms == 0) {
        return;
    }
    DL_FOREACH(log->uploads, upload)
    {
        if (!circuit_is_open(log) && upload_is_slow(log, upload)) {
            circuit_found_slow(log);
        }
    }
    /* Newest first: each puts its batches before those of the ones after it. */
    upload = circuit_prefers_inline(log) && choose_refusal(log) == REFUSAL_NONE && log->uploads
                 ? log->uploads->prev
                 : NULL;
    while (upload) {
        Upload *earlier = upload == log->uploads ? NULL : upload->prev;
        if (!upload->rerouting && gather_may_take_back(upload)) {
            reroute_upload(log, upload);
        }
        upload = earlier;
    }
}

int64_t reroute_next_due_ms(const Log *log)
{
    int64_t due = INT64_MAX;
    const Upload *upload;
    if (log->options.store_slow_ms == 0) {
        return due;
    }
    DL_FOREACH(log->uploads, upload)
    {
        if (upload->state != UPLOAD_PUTTING || upload->rerouting) {
            continue;
        }
        int64_t slow_ms = upload->put_started_ms + circuit_slow_ms(log, upload->bytes) + 1;
        int64_t at_ms = slow_ms > log->now_ms ? slow_ms : log->now_ms + REROUTE_AGAIN_MS;
        due = at_ms < due ? at_ms : due;
    }
    return due;
}
