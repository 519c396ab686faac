/* log.c: the write path as a whole: creation, the tick that drives it, draining. */
#include "agent/log/log.h"

#include <assert.h>
#include <stdlib.h>

#include <utlist.h>

#include "agent/log/log_internal.h"

Log *log_new(const LogOptions *options, const LogBackend *backend)
{
    Log *log = calloc(1, sizeof(Log));
    if (log) {
        log->options = *options;
        log->backend = *backend;
        tail_init(&log->tail, options->tail_bytes_max);
        choose_show_limits(log);
    }
    return log;
}

void log_configure(Log *log, const LogOptions *options)
{
    log->options = *options;
    log->tail.bytes_max = options->tail_bytes_max;
    choose_show_limits(log);
}

void log_set_cluster(Log *log, const uint8_t cluster_id[OBJECT_UUID_SIZE])
{
    memcpy(log->cluster_id, cluster_id, sizeof(log->cluster_id));
}

KafkaError log_check_order(Log *log, const Partition *partition, const BatchHeader *header, int64_t now_ms)
{
    return gap_check(&log->gaps, partition, header, now_ms);
}

void log_refused_elsewhere(Log *log, const Partition *partition, const BatchHeader *header, int64_t now_ms)
{
    gap_open_elsewhere(&log->gaps, partition, header, now_ms);
}

void log_free(Log *log)
{
    Upload *upload;
    DL_FOREACH(log->uploads, upload)
    {
        order_abandon(upload);
        inline_abandon(upload);
    }
    while (log->uploads) {
        upload_free(log, log->uploads);
    }
    tail_free(&log->tail);
    gaps_free(&log->gaps);
    free(log->block);
    free(log);
}

int64_t log_tick(Log *log, int64_t now_ms)
{
    log->now_ms = now_ms;
    order_expire(log);
    choose_tick(log);
    inline_keep_ids(log);
    gather_seal_due(log);
    upload_start_all(log);
    commit_start_all(log);
    int64_t due = gather_next_due_ms(log);
    int64_t others[] = {
        order_next_due_ms(log),
        commit_next_due_ms(log),
        upload_next_due_ms(log),
        inline_next_due_ms(log),
        log->intent_count == 0 && !log->reserving && log->uploads ? log->reserve_at_ms : INT64_MAX,
        log->store_busy ? now_ms + LOG_STORE_BUSY_RETRY_MS : INT64_MAX,
    };
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        due = others[i] < due ? others[i] : due;
    }
    if (due == INT64_MAX) {
        return LOG_NEVER_MS;
    }
    return due <= now_ms ? 1 : due - now_ms;
}

bool log_is_idle(const Log *log)
{
    return log->waiting == 0 && log->calls == 0;
}

void log_forget_partition(Log *log, Partition *partition)
{
    Append *append = partition->appends;
    while (append) {
        if (append->state == APPEND_COMMITTING) {
            append = append->next; /* its answer is on the way */
        } else {
            order_finish(log, append, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION, OFFSET_UNKNOWN);
            append = partition->appends;
        }
    }
    tail_drop(&log->tail, partition);
}

void log_doubt_partition(Log *log, Partition *partition)
{
    tail_drop(&log->tail, partition);
    partition->high_watermark = OFFSET_UNKNOWN;
    partition->watched_end = 0;
}
