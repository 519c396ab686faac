/* report.h: what the agent tells the brain of itself with a heartbeat every few seconds, as
 * sh_agent_heartbeat() wants it: a JSON object of numbers. */
#ifndef STREAMHOUSE_JOBS_REPORT_H
#define STREAMHOUSE_JOBS_REPORT_H

#include "agent/catalog/catalog.h"
#include "agent/metrics.h"

enum { REPORT_HOT_MAX = 64 };

/* The commits of the last while are those that came after buckets. */
typedef struct Report {
    uint64_t buckets[METRIC_BUCKETS_MAX];
    int64_t since_ms;
    double commit_p99_ms;
    int64_t hot_ms; /* when the rates were last worked out: with every report */
    char text[512];
} Report;

/* Partitions that most is written to here, with bytes a second. */
typedef struct ReportHot {
    int32_t topic_ids[REPORT_HOT_MAX];
    int32_t partitions[REPORT_HOT_MAX];
    int64_t rates[REPORT_HOT_MAX];
    size_t count;
} ReportHot;

/* Most heartbeats bring none: a report costs PostgreSQL as much as several renewals. */
bool report_is_due(const Report *report, int64_t now_ms);

void report_hot(Report *report, const Catalog *catalog, int64_t now_ms, ReportHot *hot);

/* Valid until the next call. */
const char *report_write(Report *report, int64_t now_ms);

#endif
