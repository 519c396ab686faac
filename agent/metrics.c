/* metrics.c: keeps the cells of metric_table.h and writes them in Prometheus' text format. */
#include "agent/metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/clock.h"

typedef struct MetricRow {
    const char *name;
    const char *labels;
    const char *help;
    MetricType type;
} MetricRow;

static const MetricRow rows[METRIC_COUNT] = {
#define METRIC(id, type, name, labels, help) [METRIC_##id] = { name, labels, help, METRIC_##type },
#include "agent/metric_table.h"
#undef METRIC
};

/* Upper bounds; one more bucket without a bound follows. */
static const double second_bounds[] = { 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                        0.25,   0.5,   1,      2.5,   5,    10,    30,   60 };
static const double byte_bounds[] = { 256,     1024,    4096,    16384,   65536,    262144,
                                      1048576, 2097152, 4194304, 8388608, 16777216, 67108864 };

enum {
    SECOND_BOUNDS = sizeof(second_bounds) / sizeof(second_bounds[0]),
    BYTE_BOUNDS = sizeof(byte_bounds) / sizeof(byte_bounds[0]),
    LINE_MAX_BYTES = 1024
};
_Static_assert((int)SECOND_BOUNDS < (int)METRIC_BUCKETS_MAX && (int)BYTE_BOUNDS < (int)METRIC_BUCKETS_MAX,
               "buckets fit a cell");

typedef struct MetricsRefresher {
    MetricsRefresh *refresh;
    void *context;
} MetricsRefresher;

MetricCell metric_cells[METRIC_COUNT];
static MetricsRefresher refreshers[METRICS_REFRESHERS_MAX];

static bool metric_is_histogram(MetricId id)
{
    return rows[id].type == METRIC_SECONDS || rows[id].type == METRIC_BYTES;
}

static size_t metric_bounds(MetricId id, const double **bounds)
{
    bool seconds = rows[id].type == METRIC_SECONDS;
    *bounds = seconds ? second_bounds : byte_bounds;
    return seconds ? SECOND_BOUNDS : BYTE_BOUNDS;
}

double metric_quantile(MetricId id, const uint64_t *earlier, double part)
{
    const double *bounds;
    size_t count = metric_bounds(id, &bounds);
    const uint64_t *buckets = metric_cells[id].buckets;
    uint64_t total = 0;
    for (size_t i = 0; i <= count; i++) {
        total += buckets[i] - earlier[i];
    }
    uint64_t below = 0;
    for (size_t i = 0; i < count && total > 0; i++) {
        below += buckets[i] - earlier[i];
        if ((double)below >= part * (double)total) {
            return bounds[i];
        }
    }
    return total > 0 ? bounds[count - 1] : 0;
}

void metric_observe(MetricId id, double value)
{
    const double *bounds;
    size_t count = metric_bounds(id, &bounds);
    size_t bucket = 0;
    assert(metric_is_histogram(id));
    while (bucket < count && value > bounds[bucket]) {
        bucket++;
    }
    metric_cells[id].buckets[bucket]++;
    metric_cells[id].count++;
    metric_cells[id].value += value;
}

void metric_observe_since(MetricId id, int64_t started_ns)
{
    metric_observe(id, (double)(time_ns() - started_ns) / 1e9);
}

void metrics_on_scrape(MetricsRefresh *refresh, void *context)
{
    for (size_t i = 0; i < METRICS_REFRESHERS_MAX; i++) {
        if (!refreshers[i].refresh) {
            refreshers[i] = (MetricsRefresher){ refresh, context };
            return;
        }
    }
    abort();
}

void metrics_off_scrape(MetricsRefresh *refresh, void *context)
{
    for (size_t i = 0; i < METRICS_REFRESHERS_MAX; i++) {
        if (refreshers[i].refresh == refresh && refreshers[i].context == context) {
            refreshers[i] = (MetricsRefresher){ NULL, NULL };
        }
    }
}

double metric_value(MetricId id)
{
    const MetricCell *cell = &metric_cells[id];
    if (cell->source) {
        return cell->source(cell->context);
    }
    return rows[id].type == METRIC_GAUGE ? cell->value : (double)cell->count;
}

const char *metric_name(MetricId id)
{
    return rows[id].name;
}

const char *metric_labels(MetricId id)
{
    return rows[id].labels;
}

const char *metric_help(MetricId id)
{
    return rows[id].help;
}

MetricType metric_type(MetricId id)
{
    return rows[id].type;
}

__attribute__((format(printf, 2, 3))) static void line_write(Writer *out, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    /* Half a line would spoil the scrape; names and help are ours and short (metrics_test.c looks). */
    if (size > 0 && (size_t)size < sizeof(line)) {
        writer_bytes(out, line, (size_t)size);
    }
}

static void number_format(double value, char *out, size_t size)
{
    if (isnan(value)) {
        snprintf(out, size, "NaN");
    } else if (isinf(value)) {
        snprintf(out, size, value > 0 ? "+Inf" : "-Inf");
    } else {
        snprintf(out, size, "%.15g", value);
    }
}

static void header_write(Writer *out, const MetricRow *row)
{
    static const char *const types[] = {
        [METRIC_COUNTER] = "counter",
        [METRIC_GAUGE] = "gauge",
        [METRIC_SECONDS] = "histogram",
        [METRIC_BYTES] = "histogram",
    };
    line_write(out, "# HELP %s %s\n# TYPE %s %s\n", row->name, row->help, row->name, types[row->type]);
}

static void plain_write(Writer *out, MetricId id)
{
    const MetricRow *row = &rows[id];
    const MetricCell *cell = &metric_cells[id];
    bool labelled = row->labels[0] != '\0';
    char number[40];
    if (row->type == METRIC_COUNTER && !cell->source) {
        snprintf(number, sizeof(number), "%" PRIu64, cell->count);
    } else {
        number_format(metric_value(id), number, sizeof(number));
    }
    line_write(out, "%s%s%s%s %s\n", row->name, labelled ? "{" : "", row->labels, labelled ? "}" : "",
               number);
}

static void histogram_write(Writer *out, MetricId id)
{
    const MetricRow *row = &rows[id];
    const MetricCell *cell = &metric_cells[id];
    const char *comma = row->labels[0] ? "," : "";
    const char *open = row->labels[0] ? "{" : "";
    const char *close = row->labels[0] ? "}" : "";
    const double *bounds;
    size_t count = metric_bounds(id, &bounds);
    uint64_t below = 0;
    char number[40];
    for (size_t i = 0; i <= count; i++) {
        below += cell->buckets[i];
        number_format(i < count ? bounds[i] : INFINITY, number, sizeof(number));
        line_write(out, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", row->name, row->labels, comma, number,
                   below);
    }
    number_format(cell->value, number, sizeof(number));
    line_write(out, "%s_sum%s%s%s %s\n", row->name, open, row->labels, close, number);
    line_write(out, "%s_count%s%s%s %" PRIu64 "\n", row->name, open, row->labels, close, cell->count);
}

void metrics_write(Writer *out)
{
    for (size_t i = 0; i < METRICS_REFRESHERS_MAX; i++) {
        if (refreshers[i].refresh) {
            refreshers[i].refresh(refreshers[i].context);
        }
    }
    for (MetricId id = 0; id < METRIC_COUNT; id++) {
        if (id == 0 || strcmp(rows[id].name, rows[id - 1].name) != 0) {
            header_write(out, &rows[id]);
        }
        if (metric_is_histogram(id)) {
            histogram_write(out, id);
        } else {
            plain_write(out, id);
        }
    }
}

void metrics_reset(void)
{
    memset(metric_cells, 0, sizeof(metric_cells));
    memset(refreshers, 0, sizeof(refreshers));
}
