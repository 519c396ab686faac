/* report.c: counters as they are in /metrics, and a quantile of the commits of the last ten seconds: one of
 * all commits since the agent began would hide that they have become slow. */
#include "agent/jobs/report.h"

#include <stdio.h>
#include <string.h>

enum { REPORT_WINDOW_MS = 10 * 1000, MS_PER_SECOND = 1000 };

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
