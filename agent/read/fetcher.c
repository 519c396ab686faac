/* fetcher.c: the fetcher's state, its timers, and its reads from the store. Tasks are in fetch_task.c,
 * lookups in fetch_lookup.c. */
#include "agent/read/fetcher.h"

#include <stdlib.h>

#include <utlist.h>

#include "agent/clock.h"
#include "agent/read/fetcher_internal.h"
#include "common/store/store.h"

enum { SEGMENT_CACHE_BYTES_MAX = 16 * 1024 * 1024, PUMP_EVERY_MS = 5 };

typedef struct StoreRead {
    CacheGot done;
    void *argument;
} StoreRead;

static void store_got(const StoreResult *result, void *argument)
{
    StoreRead read = *(StoreRead *)argument;
    free(argument);
    read.done(read.argument, &result->status, status_is_ok(&result->status) ? result->block : NULL);
}

static bool fetcher_get(void *context, const CacheObject *object, uint64_t start, uint64_t length,
                        CacheGot done, void *argument)
{
    Fetcher *fetcher = context;
    if (object->slot > 0) {
        return inline_read_add(fetcher, object, done, argument);
    }
    StoreRead *read = malloc(sizeof(StoreRead));
    if (!read) {
        return false;
    }
    *read = (StoreRead){ done, argument };
    StoreGet get = {
        .key = object->key,
        .start = start,
        .length = length,
        .deadline_ms = (int)fetcher->agent->settings.get_timeout_ms,
    };
    if (!store_get(fetcher->agent->store, &get, store_got, read)) {
        free(read);
        return false;
    }
    return true;
}

static CacheOptions fetcher_cache_options(const Settings *settings)
{
    return (CacheOptions){
        .block_bytes = (size_t)settings->cache_block_bytes,
        .bytes_max = (size_t)settings->cache_bytes_max,
        .cold_bytes_max = (size_t)settings->cold_bytes_max,
    };
}

/* Runs what was scheduled: tasks to try again, and reads that wait for room. */
static void fetcher_run(uv_timer_t *timer)
{
    Fetcher *fetcher = timer->data;
    FetchTask *tasks = fetcher->scheduled;
    fetcher->scheduled = NULL;
    while (tasks) {
        FetchTask *task = tasks;
        tasks = task->next_scheduled;
        task->scheduled = false;
        fetch_task_try(task);
        fetch_task_release(task);
    }
    cache_pump(fetcher->cache);
    inline_read_send(fetcher);
    if (cache_is_waiting(fetcher->cache) && !fetcher->scheduled) {
        uv_timer_start(timer, fetcher_run, PUMP_EVERY_MS, 0);
    }
}

void fetcher_wake(Fetcher *fetcher, uint64_t delay_ms)
{
    bool is_due =
        uv_is_active((uv_handle_t *)fetcher->timer) && uv_timer_get_due_in(fetcher->timer) <= delay_ms;
    if (!fetcher->stopped && !is_due) {
        uv_timer_start(fetcher->timer, fetcher_run, delay_ms, 0);
    }
}

Fetcher *fetcher_new(Agent *agent)
{
    Fetcher *fetcher = calloc(1, sizeof(Fetcher));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!fetcher || !timer) {
        free(fetcher);
        free(timer);
        return NULL;
    }
    CacheOptions options = fetcher_cache_options(&agent->settings);
    CacheBackend backend = { .context = fetcher, .get = fetcher_get };
    fetcher->agent = agent;
    fetcher->timer = timer;
    fetcher->generation = 1;
    fetcher->cache = cache_new(&options, &backend);
    segments_init(&fetcher->segments, SEGMENT_CACHE_BYTES_MAX);
    session_cache_init(&fetcher->sessions, (size_t)agent->settings.fetch_sessions_max,
                       (size_t)agent->settings.fetch_session_bytes_max);
    fetcher->collector = (Collector){ &fetcher->segments, fetcher->cache };
    uv_timer_init(agent->loop, timer);
    timer->data = fetcher;
    return fetcher;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void fetcher_free(Fetcher *fetcher)
{
    uv_close((uv_handle_t *)fetcher->timer, timer_closed);
    session_cache_free(&fetcher->sessions);
    free(fetcher->inline_reads.reads);
    segments_free(&fetcher->segments);
    cache_free(fetcher->cache);
    free(fetcher);
}

static void fetcher_schedule_all(Fetcher *fetcher)
{
    FetchTask *task;
    DL_FOREACH(fetcher->all, task)
    {
        fetch_task_schedule(task);
    }
}

void fetcher_drain(Fetcher *fetcher)
{
    fetcher->draining = true;
    fetcher_schedule_all(fetcher);
}

void fetcher_stop(Fetcher *fetcher)
{
    fetcher->stopped = true;
    uv_timer_stop(fetcher->timer);
    inline_read_stop(fetcher);
    while (fetcher->scheduled) {
        FetchTask *task = fetcher->scheduled;
        fetcher->scheduled = task->next_scheduled;
        task->scheduled = false;
        fetch_task_release(task);
    }
}

void fetcher_reload(Fetcher *fetcher)
{
    const Settings *settings = &fetcher->agent->settings;
    CacheOptions options = fetcher_cache_options(settings);
    cache_configure(fetcher->cache, &options);
    session_cache_limit(&fetcher->sessions, (size_t)settings->fetch_sessions_max,
                        (size_t)settings->fetch_session_bytes_max);
}

void fetcher_moved(Fetcher *fetcher, Partition *partition)
{
    (void)fetcher;
    fetch_wait_tell(partition);
}

void fetcher_trimmed(Fetcher *fetcher, Partition *partition, int64_t log_start_offset)
{
    if (log_start_offset > partition->log_start_offset) {
        partition->log_start_offset = log_start_offset;
        segments_drop(&fetcher->segments, partition);
        fetcher_moved(fetcher, partition);
    }
}

void fetcher_doubt(Fetcher *fetcher)
{
    fetcher->generation++;
    fetcher_schedule_all(fetcher);
}

SessionCache *fetcher_sessions(Fetcher *fetcher)
{
    return &fetcher->sessions;
}

uint32_t fetcher_generation(const Fetcher *fetcher)
{
    return fetcher->generation;
}

void fetcher_lead(Fetcher *fetcher, Topic *topic)
{
    for (int32_t i = 0; i < topic->partition_count; i++) {
        fetcher_moved(fetcher, topic->partitions[i]);
    }
}

void fetcher_forget(Fetcher *fetcher, Topic *topic)
{
    for (int32_t i = 0; i < topic->partition_count; i++) {
        segments_drop(&fetcher->segments, topic->partitions[i]);
        fetcher_moved(fetcher, topic->partitions[i]);
    }
}
