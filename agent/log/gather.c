/* gather.c: gathers batches of many partitions into the open upload, and seals it by bytes, by age, or
 * because the store has nothing else to do. */
#include "agent/log/log_internal.h"

#include <stdlib.h>

#include <utlist.h>

#include "agent/metrics.h"

enum { UPLOAD_APPENDS_MIN = 16 };

static Upload *gather_open(Log *log, int64_t now_ms)
{
    if (log->open) {
        return log->open;
    }
    Upload *upload = calloc(1, sizeof(Upload));
    if (!upload) {
        return NULL;
    }
    upload->opened_ms = now_ms;
    upload->earliest_deadline_ms = INT64_MAX;
    object_writer_init(&upload->object);
    DL_APPEND(log->uploads, upload);
    log->open = upload;
    return upload;
}

static bool gather_reserve(Upload *upload)
{
    if (upload->append_count < upload->append_capacity) {
        return true;
    }
    size_t capacity = upload->append_capacity ? upload->append_capacity * 2 : UPLOAD_APPENDS_MIN;
    Append **appends = realloc(upload->appends, capacity * sizeof(Append *));
    if (!appends) {
        return false;
    }
    upload->appends = appends;
    upload->append_capacity = capacity;
    return true;
}

static void gather_seal(Log *log)
{
    Upload *upload = log->open;
    upload_enter(upload, UPLOAD_SEALED);
    log->open = NULL;
    metric_observe(METRIC_LOG_OBJECT_BYTES, (double)upload->bytes);
}

static Append *append_new(const LogAppend *from, AppendAnswered done, void *argument)
{
    Append *append = calloc(1, sizeof(Append));
    if (!append) {
        return NULL;
    }
    *append = (Append){
        .partition = from->partition,
        .frame = block_hold(from->frame),
        .bytes = from->bytes,
        .size = from->size,
        .header = from->header,
        .lease_epoch = from->partition->epoch,
        .deadline_ms = from->deadline_ms,
        .done = done,
        .argument = argument,
    };
    topic_hold(from->partition->topic);
    return append;
}

bool log_append(Log *log, const LogAppend *from, int64_t now_ms, AppendAnswered done, void *argument)
{
    Upload *upload = gather_open(log, now_ms);
    if (!upload || !gather_reserve(upload)) {
        return false;
    }
    Append *append = append_new(from, done, argument);
    if (!append) {
        return false;
    }
    append->upload = upload;
    upload->appends[upload->append_count++] = append;
    upload->unfinished++;
    upload->newest_ms = now_ms;
    upload->bytes += (size_t)append->size;
    if (append->deadline_ms < upload->earliest_deadline_ms) {
        upload->earliest_deadline_ms = append->deadline_ms;
    }
    if (append->deadline_ms > upload->latest_deadline_ms) {
        upload->latest_deadline_ms = append->deadline_ms;
    }
    order_join(append);
    log->waiting++;
    metric_add(METRIC_LOG_BATCHES, 1);
    metric_add(METRIC_LOG_BATCH_BYTES, (uint64_t)append->size);
    if (upload->bytes >= log->options.flush_bytes || upload->append_count == LOG_UPLOAD_BATCHES_MAX) {
        gather_seal(log);
    }
    log->backend.wake(log->backend.context);
    return true;
}

/* When the open upload is to be sealed for its age; INT64_MAX when there is none. */
static int64_t gather_due_ms(const Log *log)
{
    if (!log->open) {
        return INT64_MAX;
    }
    int64_t aged_ms = log->open->opened_ms + log->options.linger_ms;
    int64_t idle_ms = log->open->newest_ms + log->options.idle_flush_ms;
    return log->putting == 0 && idle_ms < aged_ms ? idle_ms : aged_ms;
}

void gather_seal_due(Log *log)
{
    if (gather_due_ms(log) <= log->now_ms) {
        gather_seal(log);
    }
}

int64_t gather_next_due_ms(const Log *log)
{
    return gather_due_ms(log);
}

void log_flush(Log *log)
{
    if (log->open) {
        gather_seal(log);
        log->backend.wake(log->backend.context);
    }
}
