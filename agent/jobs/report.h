/* report.h: what the agent tells the brain of itself with each heartbeat, as sh_agent_heartbeat() wants it: a
 * JSON object of numbers. */
#ifndef STREAMHOUSE_JOBS_REPORT_H
#define STREAMHOUSE_JOBS_REPORT_H

#include "agent/metrics.h"

/* The commits of the last while are those that came after buckets. */
typedef struct Report {
    uint64_t buckets[METRIC_BUCKETS_MAX];
    int64_t since_ms;
    double commit_p99_ms;
    char text[512];
} Report;

/* Valid until the next call. */
const char *report_write(Report *report, int64_t now_ms);

#endif
