/* watch.c: one call of sh_watch after the other. The first takes a cursor without waiting; when the brain
 * lost its memory of what moved (a restart), high watermarks are doubted and the next call starts from a new
 * cursor. */
#include "agent/jobs/watch.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/journal.h"
#include "agent/log/append.h"
#include "agent/metrics.h"
#include "agent/read/fetcher.h"

enum { WATCH_WAIT_MS = 20 * 1000, WATCH_DEADLINE_MS = 60 * 1000, WATCH_RETRY_MS = 200, WATCH_GATHER_MS = 5 };

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

/* Has this agent asked the brain to commit to the partition, and has no answer yet? */
static bool watch_is_committing(const Partition *partition)
{
    return partition->appends && partition->appends->state == APPEND_COMMITTING;
}

/* True when it was not known. Most moves are this agent's own commits, whose answers bring the records too:
 * were readers woken before that, they would look for them in the store. */
static bool watch_moved(Watch *watch, int32_t topic_id, int32_t index, int64_t end_offset)
{
    Topic *topic = catalog_topic_by_id(watch->agent->catalog, topic_id);
    Partition *partition = topic ? topic_partition(topic, index) : NULL;
    if (partition && end_offset < 0) { /* in place of an end: where the log begins by now */
        fetcher_trimmed(watch->agent->fetcher, partition, end_offset - INT64_MIN);
        return true;
    }
    if (!partition || end_offset <= partition->high_watermark) {
        return false;
    }
    if (watch_is_committing(partition)) {
        partition->watched_end = end_offset;
        return false;
    }
    /* Also when it is not known yet: the lookup under way may have looked before this commit. */
    partition->high_watermark = end_offset;
    fetcher_moved(watch->agent->fetcher, partition);
    return true;
}

/* False when the brain does not know any more what moved. news: something moved that was not known. */
static bool watch_apply(Watch *watch, const BrainResult *result, bool *news)
{
    BrainArray topic_ids = brain_int4s(result, 0, 1);
    BrainArray partitions = brain_int4s(result, 0, 2);
    BrainArray ends = brain_int8s(result, 0, 3);
    int32_t count = topic_ids.count;
    *news = false;
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
        *news = watch_moved(watch, numbers[i], numbers[count + i], end_offsets[i]) || *news;
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
    bool news;
    watch->cursor = brain_int8(result, 0, 0);
    if (!watch_apply(watch, result, &news) || began) {
        fetcher_doubt(watch->agent->fetcher);
        news = true;
    }
    if (news) {
        watch_ask(watch);
    } else {
        /* Nothing but own commits: let some gather rather than ask after each. */
        uv_timer_start(watch->timer, watch_retry, WATCH_GATHER_MS, 0);
    }
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
