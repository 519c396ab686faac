/* watch.c: one call of sh_watch after the other. The first takes a cursor without waiting; when the brain
 * lost its memory of what moved (a restart), high watermarks are doubted and the next call starts from a new
 * cursor. */
#include "agent/jobs/watch.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "agent/read/fetcher.h"

enum { WATCH_WAIT_MS = 20 * 1000, WATCH_DEADLINE_MS = 60 * 1000, WATCH_RETRY_MS = 200 };

static const BrainStatement watch_statement = {
    "watch", "CALL sh_watch($1, $2, NULL, NULL, NULL)", 2, { BRAIN_INT8, BRAIN_INT4 }
};

struct Watch {
    Agent *agent;
    uv_timer_t *timer; /* pause after a failure */
    int64_t cursor;    /* 0: none yet */
    bool asking;
    bool freed;
};

static void watch_ask(Watch *watch);

static void watch_moved(Watch *watch, int32_t topic_id, int32_t index, int64_t end_offset)
{
    Topic *topic = catalog_topic_by_id(watch->agent->catalog, topic_id);
    Partition *partition = topic ? topic_partition(topic, index) : NULL;
    /* Also when it is not known yet: the lookup under way may have looked before this commit. */
    if (partition && end_offset > partition->high_watermark) {
        partition->high_watermark = end_offset;
        fetcher_moved(watch->agent->fetcher, partition);
    }
}

/* False when the brain does not know any more what moved. */
static bool watch_apply(Watch *watch, const BrainResult *result)
{
    BrainArray topic_ids = brain_int4s(result, 0, 1);
    BrainArray partitions = brain_int4s(result, 0, 2);
    BrainArray ends = brain_int8s(result, 0, 3);
    int32_t count = topic_ids.count;
    if (count <= 0) {
        return true;
    }
    int32_t *numbers = malloc(2 * (size_t)count * sizeof(int32_t));
    int64_t *end_offsets = malloc((size_t)count * sizeof(int64_t));
    bool known = numbers && end_offsets;
    if (known) {
        brain_array_int4(&topic_ids, -1, numbers, count);
        known = numbers[0] != -1 && brain_array_int4(&partitions, -1, numbers + count, count) == count &&
                brain_array_int8(&ends, -1, end_offsets, count) == count;
    }
    for (int32_t i = 0; known && i < count; i++) {
        watch_moved(watch, numbers[i], numbers[count + i], end_offsets[i]);
    }
    metric_add(METRIC_WATCH_MOVES, (uint64_t)count);
    free(numbers);
    free(end_offsets);
    return known;
}

static void watch_retry(uv_timer_t *timer)
{
    watch_ask(timer->data);
}

static void watch_answered(const BrainResult *result, void *argument)
{
    Watch *watch = argument;
    watch->asking = false;
    if (watch->freed) {
        free(watch);
        return;
    }
    if (!status_is_ok(&result->status) || brain_row_count(result) != 1) {
        metric_add(METRIC_WATCH_FAILURES, 1);
        journal_seldom(JOURNAL_WARN, "watch", "waiting for commits failed: %s", result->message);
        watch->cursor = 0;
        uv_timer_start(watch->timer, watch_retry, WATCH_RETRY_MS, 0);
        return;
    }
    bool began = watch->cursor == 0;
    watch->cursor = brain_int8(result, 0, 0);
    if (!watch_apply(watch, result) || began) {
        fetcher_doubt(watch->agent->fetcher);
    }
    watch_ask(watch);
}

static void watch_ask(Watch *watch)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int8(&parameters, watch->cursor);
    brain_put_int4(&parameters, watch->cursor == 0 ? 0 : WATCH_WAIT_MS);
    watch->asking = true;
    brain_send(watch->agent->brain, BRAIN_WATCH,
               &(BrainQuery){ .statement = &watch_statement,
                              .parameters = &parameters,
                              .deadline_ms = WATCH_DEADLINE_MS },
               watch_answered, watch);
}

Watch *watch_new(Agent *agent)
{
    Watch *watch = calloc(1, sizeof(Watch));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!watch || !timer) {
        free(watch);
        free(timer);
        return NULL;
    }
    *watch = (Watch){ .agent = agent, .timer = timer };
    uv_timer_init(agent->loop, timer);
    timer->data = watch;
    watch_ask(watch);
    return watch;
}

static void watch_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void watch_free(Watch *watch)
{
    watch->freed = true;
    uv_close((uv_handle_t *)watch->timer, watch_timer_closed);
    if (!watch->asking) {
        free(watch);
    }
}
