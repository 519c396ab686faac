/* metrics_test.c: the table of metrics keeps Prometheus' conventions, and the text is what a scraper parses.
 */
#include "agent/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "test/unit/test.h"

/* The text of all metrics, NUL-terminated; the caller frees it. */
static char *scrape(void)
{
    Writer out;
    writer_init(&out);
    metrics_write(&out);
    char *text = malloc(out.used + 1);
    if (!text || writer_failed(&out)) {
        abort();
    }
    memcpy(text, out.bytes, out.used);
    text[out.used] = '\0';
    writer_free(&out);
    return text;
}

/* Whether the text has line, whole. */
static bool scrape_has(const char *wanted)
{
    char *text = scrape();
    char sought[512];
    snprintf(sought, sizeof(sought), "\n%s\n", wanted);
    bool found = strstr(text, sought) != NULL;
    free(text);
    return found;
}

static bool name_ends(const char *name, const char *end)
{
    return strlen(name) > strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

TEST(names_follow_prometheus_conventions)
{
    for (MetricId id = 0; id < METRIC_COUNT; id++) {
        const char *name = metric_name(id);
        const char *help = metric_help(id);
        MetricType type = metric_type(id);
        CHECK(strncmp(name, "streamhouse_", 12) == 0 || strncmp(name, "process_", 8) == 0);
        CHECK(name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0');
        CHECK_INT(name_ends(name, "_total"), type == METRIC_COUNTER);
        CHECK(type != METRIC_SECONDS || name_ends(name, "_seconds"));
        CHECK(type != METRIC_BYTES || name_ends(name, "_bytes"));
        CHECK(!strstr(name, "_ms") && !strstr(name, "milli") && !strstr(name, "_kb"));
        CHECK(strlen(help) > 3 && !strpbrk(help, "\n\\"));
        /* Room for the numbers in one line of the text. */
        CHECK(strlen(name) + strlen(help) + strlen(metric_labels(id)) < 400);
    }
}

TEST(rows_of_one_name_stand_together_and_differ_in_labels_alone)
{
    for (MetricId id = 0; id < METRIC_COUNT; id++) {
        for (MetricId other = 0; other < id; other++) {
            if (strcmp(metric_name(id), metric_name(other)) == 0) {
                CHECK_STR(metric_name(id - 1), metric_name(id));
                CHECK_STR(metric_help(id), metric_help(other));
                CHECK_INT(metric_type(id), metric_type(other));
                CHECK(strcmp(metric_labels(id), metric_labels(other)) != 0);
            }
        }
    }
}

TEST(a_counter_counts_exactly)
{
    metrics_reset();
    metric_add(METRIC_HTTP_REQUESTS_OK, 1ULL << 53);
    metric_add(METRIC_HTTP_REQUESTS_OK, 1);
    CHECK(scrape_has("streamhouse_http_requests_total{status=\"2xx\"} 9007199254740993"));
    CHECK(scrape_has("streamhouse_http_requests_total{status=\"4xx\"} 0"));
    CHECK(scrape_has("# TYPE streamhouse_http_requests_total counter"));
}

TEST(a_gauge_goes_up_and_down)
{
    metrics_reset();
    metric_set(METRIC_HTTP_CONNECTIONS, 3);
    metric_move(METRIC_HTTP_CONNECTIONS, -0.5);
    CHECK(scrape_has("streamhouse_http_connections 2.5"));
    metric_set(METRIC_HTTP_CONNECTIONS, NAN);
    CHECK(scrape_has("streamhouse_http_connections NaN"));
}

static double give_seven(void *context)
{
    return *(int *)context;
}

static void set_nine(void *context)
{
    (void)context;
    metric_count(METRIC_HTTP_REQUESTS_FAILED, 9);
}

TEST(values_may_be_asked_for_at_each_scrape)
{
    int seven = 7;
    metrics_reset();
    metric_from(METRIC_HTTP_CONNECTIONS, give_seven, &seven);
    metrics_on_scrape(set_nine, NULL);
    CHECK(scrape_has("streamhouse_http_connections 7"));
    CHECK(scrape_has("streamhouse_http_requests_total{status=\"5xx\"} 9"));
    metrics_off_scrape(set_nine, NULL);
    metric_from(METRIC_HTTP_CONNECTIONS, NULL, NULL);
    metric_count(METRIC_HTTP_REQUESTS_FAILED, 1);
    CHECK(scrape_has("streamhouse_http_connections 0"));
    CHECK(scrape_has("streamhouse_http_requests_total{status=\"5xx\"} 1"));
}

/* The first histogram of seconds. */
static MetricId some_histogram(void)
{
    MetricId id = 0;
    while (id < METRIC_COUNT && metric_type(id) != METRIC_SECONDS) {
        id++;
    }
    return id;
}

TEST(a_histogram_has_cumulative_buckets_a_sum_and_a_count)
{
    MetricId id = some_histogram();
    char wanted[256];
    CHECK(id < METRIC_COUNT);
    const char *labels = metric_labels(id);
    const char *comma = *labels ? "," : "";
    metrics_reset();
    metric_observe(id, 0.001);
    metric_observe(id, 0.002);
    metric_observe(id, 1000);
    static const struct {
        const char *bound;
        int count;
    } buckets[] = { { "0.0005", 0 }, { "0.001", 1 }, { "0.0025", 2 }, { "60", 2 }, { "+Inf", 3 } };
    for (size_t i = 0; i < sizeof(buckets) / sizeof(buckets[0]); i++) {
        snprintf(wanted, sizeof(wanted), "%s_bucket{%s%sle=\"%s\"} %d", metric_name(id), labels, comma,
                 buckets[i].bound, buckets[i].count);
        CHECK(scrape_has(wanted));
    }
    snprintf(wanted, sizeof(wanted), "%s_sum%s%s%s 1000.003", metric_name(id), *labels ? "{" : "", labels,
             *labels ? "}" : "");
    CHECK(scrape_has(wanted));
    snprintf(wanted, sizeof(wanted), "%s_count%s%s%s 3", metric_name(id), *labels ? "{" : "", labels,
             *labels ? "}" : "");
    CHECK(scrape_has(wanted));
    CHECK_INT(metric_value(id), 3);
}

TEST(every_name_has_one_help_and_one_type_before_its_values)
{
    char *text = scrape();
    int names = 0;
    int helps = 0;
    int types = 0;
    for (MetricId id = 0; id < METRIC_COUNT; id++) {
        names += id == 0 || strcmp(metric_name(id), metric_name(id - 1)) != 0;
    }
    for (char *at = text; (at = strstr(at, "# HELP ")); at++) {
        helps++;
    }
    for (char *at = text; (at = strstr(at, "# TYPE ")); at++) {
        types++;
    }
    free(text);
    CHECK_INT(helps, names);
    CHECK_INT(types, names);
}

TEST(a_quantile_of_what_came_since_is_a_buckets_bound)
{
    uint64_t earlier[METRIC_BUCKETS_MAX] = { 0 };
    metrics_reset();
    CHECK(metric_quantile(METRIC_LOG_COMMIT_DURATION, earlier, 0.99) == 0);
    for (int i = 0; i < 1000; i++) {
        metric_observe(METRIC_LOG_COMMIT_DURATION, 0.2);
    }
    CHECK(metric_quantile(METRIC_LOG_COMMIT_DURATION, earlier, 0.5) == 0.25);
    memcpy(earlier, metric_cells[METRIC_LOG_COMMIT_DURATION].buckets, sizeof(earlier));
    CHECK(metric_quantile(METRIC_LOG_COMMIT_DURATION, earlier, 0.99) == 0);
    for (int i = 0; i < 100; i++) {
        metric_observe(METRIC_LOG_COMMIT_DURATION, i < 98 ? 0.0007 : 1000);
    }
    CHECK(metric_quantile(METRIC_LOG_COMMIT_DURATION, earlier, 0.98) == 0.001);
    CHECK(metric_quantile(METRIC_LOG_COMMIT_DURATION, earlier, 0.99) == 60);
}
