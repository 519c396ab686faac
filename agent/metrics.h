/* metrics.h: counters, gauges and histograms, declared once in metric_table.h and shown by /metrics in
 * Prometheus' text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/).
 *
 *   metric_add(METRIC_PUT_BYTES, size);
 *   metric_set(METRIC_CONNECTIONS, count);
 *   metric_observe(METRIC_PUT_DURATION, (time_ns() - started_ns) / 1e9);
 *
 * Loop thread only: a pool job reports when it is back on the loop. Updating is a store or an add, so hot
 * paths may. */
#ifndef STREAMHOUSE_AGENT_METRICS_H
#define STREAMHOUSE_AGENT_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/writer.h"

enum { METRIC_BUCKETS_MAX = 20 };

typedef enum MetricType { METRIC_COUNTER, METRIC_GAUGE, METRIC_SECONDS, METRIC_BYTES } MetricType;

typedef enum MetricId {
#define METRIC(id, type, name, labels, help) METRIC_##id,
#include "agent/metric_table.h"
#undef METRIC
    METRIC_COUNT
} MetricId;

typedef struct MetricCell {
    uint64_t count;                  /* a counter's value; a histogram's observations */
    double value;                    /* a gauge's value; a histogram's sum */
    double (*source)(void *context); /* when set, a counter's or gauge's value is asked for at each scrape */
    void *context;
    uint64_t buckets[METRIC_BUCKETS_MAX]; /* observations per bucket, not cumulative */
} MetricCell;

extern MetricCell metric_cells[METRIC_COUNT];

static inline void metric_add(MetricId id, uint64_t amount)
{
    metric_cells[id].count += amount;
}

static inline void metric_set(MetricId id, double value)
{
    metric_cells[id].value = value;
}

/* Moves a gauge up or down. */
static inline void metric_move(MetricId id, double change)
{
    metric_cells[id].value += change;
}

/* A counter or gauge whose value is asked for at each scrape; source NULL ends that. */
static inline void metric_from(MetricId id, double (*source)(void *context), void *context)
{
    metric_cells[id].source = source;
    metric_cells[id].context = context;
}

/* A counter that something else counts; for metrics_on_scrape(). */
static inline void metric_count(MetricId id, uint64_t total)
{
    metric_cells[id].count = total;
}

/* Calls refresh before each scrape, so that it may set many cells at once. Taken back by the same arguments.
 */
enum { METRICS_REFRESHERS_MAX = 16 };
typedef void MetricsRefresh(void *context);
void metrics_on_scrape(MetricsRefresh *refresh, void *context);
void metrics_off_scrape(MetricsRefresh *refresh, void *context);

/* One observation of a histogram, in its base unit (seconds or bytes). */
void metric_observe(MetricId id, double value);
/* The duration since a time_ns(). */
void metric_observe_since(MetricId id, int64_t started_ns);

/* What this part of a histogram's observations did not exceed, as its buckets know it; without those that
 * were in it when its buckets were as in earlier. 0 when there are none. */
double metric_quantile(MetricId id, const uint64_t *earlier, double part);
/* A counter's or gauge's present value, a histogram's count (tests, summaries). */
double metric_value(MetricId id);
const char *metric_name(MetricId id);
const char *metric_labels(MetricId id);
const char *metric_help(MetricId id);
MetricType metric_type(MetricId id);

/* All of them as text; check writer_failed(). */
void metrics_write(Writer *out);
/* Everything back to zero, no sources (tests). */
void metrics_reset(void);

#endif
