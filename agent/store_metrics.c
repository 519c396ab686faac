/* store_metrics.c: copies StoreMetrics into the metric cells before a scrape. */
#include "agent/store_metrics.h"

#include "agent/metrics.h"
#include "common/store/store.h"

/* One row per operation, in StoreOperation's order. */
static const struct {
    MetricId ok;
    MetricId failed;
    MetricId retries;
    MetricId running;
    MetricId queued;
} operation_metrics[STORE_OPERATION_COUNT] = {
    [STORE_PUT] = { METRIC_STORE_PUT_OK, METRIC_STORE_PUT_FAILED, METRIC_STORE_PUT_RETRIES,
                    METRIC_STORE_PUT_RUNNING, METRIC_STORE_PUT_QUEUED },
    [STORE_GET] = { METRIC_STORE_GET_OK, METRIC_STORE_GET_FAILED, METRIC_STORE_GET_RETRIES,
                    METRIC_STORE_GET_RUNNING, METRIC_STORE_GET_QUEUED },
    [STORE_HEAD] = { METRIC_STORE_HEAD_OK, METRIC_STORE_HEAD_FAILED, METRIC_STORE_HEAD_RETRIES,
                     METRIC_STORE_HEAD_RUNNING, METRIC_STORE_HEAD_QUEUED },
    [STORE_DELETE] = { METRIC_STORE_DELETE_OK, METRIC_STORE_DELETE_FAILED, METRIC_STORE_DELETE_RETRIES,
                       METRIC_STORE_DELETE_RUNNING, METRIC_STORE_DELETE_QUEUED },
    [STORE_LIST] = { METRIC_STORE_LIST_OK, METRIC_STORE_LIST_FAILED, METRIC_STORE_LIST_RETRIES,
                     METRIC_STORE_LIST_RUNNING, METRIC_STORE_LIST_QUEUED },
};

static void store_metrics_copy_operation(const StoreMetrics *from, int operation)
{
    uint64_t failed = 0;
    for (int status = STATUS_OK + 1; status <= STATUS_INTERNAL; status++) {
        failed += from->requests[operation][status];
    }
    metric_count(operation_metrics[operation].ok, from->requests[operation][STATUS_OK]);
    metric_count(operation_metrics[operation].failed, failed);
    metric_count(operation_metrics[operation].retries, from->retries[operation]);
    metric_set(operation_metrics[operation].running, from->running[operation]);
    metric_set(operation_metrics[operation].queued, from->queued[operation]);
}

static void store_metrics_copy(void *context)
{
    const Agent *agent = context;
    const StoreMetrics *from = store_metrics(agent->store);
    for (int operation = 0; operation < STORE_OPERATION_COUNT; operation++) {
        store_metrics_copy_operation(from, operation);
    }
    metric_count(METRIC_STORE_BYTES_PUT, from->bytes_put);
    metric_count(METRIC_STORE_BYTES_GOT, from->bytes_got);
    metric_count(METRIC_STORE_SLOWDOWNS, from->slowdowns);
    metric_count(METRIC_STORE_LOST_REPLIES, from->lost_replies);
    metric_count(METRIC_STORE_REFUSED, from->refused);
    metric_count(METRIC_STORE_CREDENTIAL_FAILURES, from->credential_failures);
    metric_set(METRIC_STORE_PUT_PARALLEL, from->put_parallel);
    metric_set(METRIC_STORE_GET_PARALLEL, from->get_parallel);
}

void store_metrics_start(Agent *agent)
{
    metrics_on_scrape(store_metrics_copy, agent);
}

void store_metrics_stop(Agent *agent)
{
    metrics_off_scrape(store_metrics_copy, agent);
}
