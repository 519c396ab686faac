/* report.c: counters as they are in /metrics, and a quantile of the commits of the last ten seconds: one of
 * all commits since the agent began would hide that they have become slow. */
#include "agent/jobs/report.h"

#include <stdio.h>
#include <string.h>

enum {
    REPORT_WINDOW_MS = 10 * 1000,
    REPORT_EVERY_MS = 5 * 1000, /* speeds are told from two reports, and leases are evened out every 30 s */
    MS_PER_SECOND = 1000,
    RATE_LEAST = 16 * 1024, /* slower partitions are not worth a word */
    RATE_PARTS = 2,         /* a rate follows what happens in about so many reports */
};

bool report_is_due(const Report *report, int64_t now_ms)
{
    return report->hot_ms == 0 || now_ms - report->hot_ms >= REPORT_EVERY_MS;
}

static void report_measure(Report *report, int64_t now_ms)
{
    const MetricCell *commits = &metric_cells[METRIC_LOG_COMMIT_DURATION];
    if (report->since_ms != 0 && now_ms - report->since_ms < REPORT_WINDOW_MS) {
        return;
    }
    report->commit_p99_ms =
        metric_quantile(METRIC_LOG_COMMIT_DURATION, report->buckets, 0.99) * MS_PER_SECOND;
    report->since_ms = now_ms;
    memcpy(report->buckets, commits->buckets, sizeof(report->buckets));
}

const char *report_write(Report *report, int64_t now_ms)
{
    report_measure(report, now_ms);
    snprintf(report->text, sizeof(report->text),
             "{\"produce_bytes\":%.0f,\"produce_batches\":%.0f,\"fetch_bytes\":%.0f,\"flushes_inline\":%.0f,"
             "\"flushes_object\":%.0f,\"commit_p99_ms\":%.3f,\"connections\":%.0f,\"memory_bytes\":%.0f}",
             metric_value(METRIC_LOG_BATCH_BYTES), metric_value(METRIC_LOG_BATCHES),
             metric_value(METRIC_FETCH_BYTES), metric_value(METRIC_LOG_FLUSHES_INLINE),
             metric_value(METRIC_LOG_FLUSHES_OBJECT), report->commit_p99_ms,
             metric_value(METRIC_KAFKA_CONNECTIONS), metric_value(METRIC_PROCESS_RESIDENT));
    return report->text;
}

/* Keeps the REPORT_HOT_MAX fastest. */
static void hot_put(ReportHot *hot, const Partition *partition)
{
    size_t at = hot->count;
    if (at == REPORT_HOT_MAX) {
        at = 0;
        for (size_t i = 1; i < hot->count; i++) {
            at = hot->rates[i] < hot->rates[at] ? i : at;
        }
        if (hot->rates[at] >= partition->append_rate) {
            return;
        }
    } else {
        hot->count++;
    }
    hot->topic_ids[at] = partition->topic->topic_id;
    hot->partitions[at] = partition->index;
    hot->rates[at] = partition->append_rate;
}

void report_hot(Report *report, const Catalog *catalog, int64_t now_ms, ReportHot *hot)
{
    int64_t elapsed_ms = now_ms - report->hot_ms;
    hot->count = 0;
    if (elapsed_ms <= 0) {
        return;
    }
    for (const Topic *topic = catalog_first(catalog); topic; topic = catalog_next(topic)) {
        for (int32_t i = 0; i < topic->partition_count; i++) {
            Partition *partition = topic->partitions[i];
            int64_t rate =
                (int64_t)(partition->appended_bytes - partition->reported_bytes) * MS_PER_SECOND / elapsed_ms;
            partition->reported_bytes = partition->appended_bytes;
            partition->append_rate += (rate - partition->append_rate) / RATE_PARTS;
            if (partition->append_rate >= RATE_LEAST) {
                hot_put(hot, partition);
            }
        }
    }
    report->hot_ms = now_ms;
}
