/* fetch_task.c: one fetch, tried until it has enough, or its time is up. A try gathers from memory and starts
 * what is missing; it is repeated when that arrives or a partition moves. */
#include <stdlib.h>

#include <utlist.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "agent/read/fetcher_internal.h"

enum {
    LOOKUPS_MAX = 8,    /* of one item: beyond that its segments contradict each other */
    MOVED_AWAY_MAX = 3, /* of one fetch: beyond that its records are lost */
    LATE_MS = 5000      /* so long after its time a fetch that has nothing waits for reads under way */
};

/* What one try found. */
typedef struct Try {
    int64_t bytes;
    bool error;
    int32_t *lookups;
    size_t lookup_count;
} Try;

FetchTask *fetch_task_hold(FetchTask *task)
{
    task->references++;
    return task;
}

void fetch_task_release(FetchTask *task)
{
    if (--task->references > 0) {
        return;
    }
    for (int32_t i = 0; i < task->count; i++) {
        if (task->topics[i]) {
            topic_release(task->topics[i]);
        }
    }
    collection_free(&task->records);
    free(task->items);
    free(task->topics);
    free(task->busy);
    free(task->waits);
    free(task);
}

void fetch_task_schedule(FetchTask *task)
{
    Fetcher *fetcher = task->fetcher;
    if (task->scheduled || task->finished || fetcher->stopped) {
        return;
    }
    task->scheduled = true;
    task->next_scheduled = fetcher->scheduled;
    fetcher->scheduled = fetch_task_hold(task);
    fetcher_wake(fetcher, 0);
}

void fetch_wake(FetchTask *task)
{
    fetch_task_schedule(task);
}

static void task_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

/* Leaves every list; callbacks under way find it finished. */
static void task_finish(FetchTask *task)
{
    task->finished = true;
    for (int32_t i = 0; task->waits && i < task->request.count; i++) {
        fetch_wait_end(&task->waits[i].wait);
    }
    if (task->timer) {
        uv_close((uv_handle_t *)task->timer, task_timer_closed);
    }
    DL_DELETE(task->fetcher->all, task);
    task->fetcher->tasks--;
    metric_set(METRIC_FETCHES_WAITING, (double)task->fetcher->tasks);
}

static void task_answer(FetchTask *task)
{
    for (int32_t i = 0; i < task->count; i++) {
        FetchItem *item = task->items[i];
        if (item->partition) {
            item->high_watermark = item->partition->high_watermark;
            item->log_start_offset = item->partition->log_start_offset;
        }
    }
    metric_add(METRIC_FETCH_BYTES, (uint64_t)task->bytes);
    task_finish(task);
    task->done(task->argument, task->items, task->count, &task->records);
    fetch_task_release(task);
}

void fetch_cancel(FetchTask *task)
{
    task_finish(task);
    fetch_task_release(task);
}

/* What the pointers named is gone: its records have been moved, and are looked up once more. */
static void task_look_again(FetchTask *task)
{
    for (int32_t i = 0; i < task->count; i++) {
        if (task->items[i]->partition) {
            segments_drop(&task->fetcher->segments, task->items[i]->partition);
        }
    }
    metric_add(METRIC_FETCH_MOVED_AWAY, 1);
    task->moved_away++;
}

/* Whom a block is for. */
typedef struct TaskLoad {
    FetchTask *task;
    int32_t index;
} TaskLoad;

/* A block that cannot be had fails the item that asked for it, and no other. */
static void task_loaded(void *argument, const Status *status, Block *block)
{
    TaskLoad load = *(TaskLoad *)argument;
    FetchTask *task = load.task;
    free(argument);
    task->pending--;
    task->busy[load.index]--;
    if (!task->finished && block) {
        (void)collection_hold(&task->records, block); /* until the next try, that it may find it */
    }
    if (!task->finished && status->code == STATUS_NOT_FOUND && task->moved_away < MOVED_AWAY_MAX) {
        task_look_again(task);
    } else if (!task->finished && !status_is_ok(status)) {
        journal_seldom(JOURNAL_WARN, "fetch", "records could not be read: %s", status->message);
        task->items[load.index]->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    }
    fetch_task_schedule(task);
    fetch_task_release(task);
}

static void task_load(FetchTask *task, int32_t index, const CollectResult *missing, Try *found)
{
    Fetcher *fetcher = task->fetcher;
    TaskLoad *load = malloc(sizeof(TaskLoad));
    if (load) {
        *load = (TaskLoad){ task, index };
        task->pending++;
        task->busy[index]++;
        fetch_task_hold(task);
    }
    if (!load || !cache_want(fetcher->cache, &missing->object, missing->block_number, task_loaded, load)) {
        task->pending -= load != NULL;
        task->busy[index] -= load != NULL;
        task->references -= load != NULL;
        free(load);
        task->items[index]->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
        found->error = true;
        return;
    }
    uint64_t ahead = (uint64_t)fetcher->agent->settings.read_ahead_bytes / cache_block_bytes(fetcher->cache);
    for (uint64_t i = 1; i <= ahead && missing->block_number + i <= missing->last_block_number; i++) {
        (void)cache_want(fetcher->cache, &missing->object, missing->block_number + i, NULL, NULL);
    }
    if (cache_is_waiting(fetcher->cache)) {
        fetcher_wake(fetcher, 1);
    }
}

/* Has up to bytes of the segment from a position on brought; returns how many of them are left for the next
 * one. */
static int64_t segment_read_ahead(Cache *cache, const SegmentRef *ref, int32_t position, int64_t bytes)
{
    if (position >= ref->byte_length) {
        return bytes;
    }
    CacheObject object = segment_object(ref);
    int64_t left = ref->byte_length - position;
    uint64_t start = (uint64_t)ref->byte_start + (uint64_t)position;
    uint64_t end = start + (uint64_t)(left < bytes ? left : bytes);
    uint64_t last = cache_block_number(cache, &object, end - 1);
    for (uint64_t number = cache_block_number(cache, &object, start); number <= last; number++) {
        (void)cache_want(cache, &object, number, NULL, NULL);
    }
    return bytes - left;
}

/* Has what follows a cold read brought, over the ends of segments, so that the next fetch finds it. */
static void task_read_ahead(FetchTask *task, Partition *partition, int64_t offset)
{
    Fetcher *fetcher = task->fetcher;
    int64_t bytes = fetcher->agent->settings.read_ahead_bytes;
    while (bytes > 0 && tail_find(partition, offset) == TAIL_MISS) {
        SegmentRef *ref = segments_find(&fetcher->segments, partition, offset);
        if (!ref) {
            return;
        }
        bool begun = ref->hint_offset <= offset;
        bytes = segment_read_ahead(fetcher->cache, ref, begun ? ref->hint_position : 0, bytes);
        offset = ref->end_offset;
    }
}

/* Inline segments are small: with the one that is missing, those after it are asked for. */
static void task_read_ahead_inline(FetchTask *task, Partition *partition, const CollectResult *missing)
{
    if (missing->object.slot > 0) {
        task_read_ahead(task, partition, missing->next_offset);
    }
}

static void item_needs_lookup(const FetchTask *task, int32_t index, Try *found)
{
    FetchItem *item = task->items[index];
    if (task->busy[index] > 0) {
        return;
    }
    if (item->lookups++ >= LOOKUPS_MAX) {
        item->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
        found->error = true;
        return;
    }
    found->lookups[found->lookup_count++] = index;
}

/* Is the offset where the partition's records are, as far as is known? False: settled or being looked up. */
static bool item_is_in_range(FetchTask *task, int32_t index, Try *found)
{
    FetchItem *item = task->items[index];
    const Partition *partition = item->partition;
    if (!partition || partition->topic->deleted) { /* a session lets go of a topic that it finds deleted */
        item->error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        found->error = true;
        return false;
    }
    if (partition->watermark_age != task->fetcher->generation) {
        item_needs_lookup(task, index, found);
        return false;
    }
    if (item->offset <= partition->high_watermark && item->offset >= partition->log_start_offset) {
        return true;
    }
    if (!item->verified) {
        item_needs_lookup(task, index, found);
    } else {
        item->error = KAFKA_ERROR_OFFSET_OUT_OF_RANGE;
        found->error = true;
    }
    return false;
}

static void item_try(FetchTask *task, int32_t index, Try *found)
{
    FetchItem *item = task->items[index];
    item->slice_count = 0;
    if (item->error != KAFKA_ERROR_NONE) {
        found->error = true;
        return;
    }
    int64_t left = task->request.bytes_max - found->bytes;
    if (!item_is_in_range(task, index, found)) {
        return;
    }
    if (item->elsewhere >= 0) {
        found->error = true; /* in that it is not waited for */
        return;
    }
    if (left <= 0 && found->bytes > 0) {
        return;
    }
    CollectRequest request = {
        .partition = item->partition,
        .offset = item->offset,
        .bytes_max = item->bytes_max < left ? item->bytes_max : left,
        .one_anyway = found->bytes == 0,
    };
    CollectResult result = collect(&task->fetcher->collector, &request, &task->records);
    item->first_slice = result.first_slice;
    item->slice_count = result.slice_count;
    found->bytes += result.bytes;
    if (result.bytes > 0) {
        task_read_ahead(task, item->partition, result.next_offset);
    } else if (result.stop == COLLECT_LOOKUP) {
        item_needs_lookup(task, index, found);
    } else if (result.stop == COLLECT_LOAD) {
        if (task->busy[index] == 0) {
            task_load(task, index, &result, found);
            task_read_ahead_inline(task, item->partition, &result);
        }
    } else if (result.stop == COLLECT_CORRUPT) {
        journal_seldom(JOURNAL_ERROR, "fetch", "an object holds no valid batch for %s-%d at offset %lld",
                       item->partition->topic->name, item->partition->index, (long long)item->offset);
        metric_add(METRIC_FETCH_CORRUPT, 1);
        item->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
        found->error = true;
    }
}

static void task_timed_out(uv_timer_t *timer)
{
    fetch_task_schedule(timer->data);
}

/* The loop's clock runs a moment behind ours, so a timer may fire before the deadline: then it is set again.
 */
static void task_set_timer(FetchTask *task)
{
    if (task->timer && !uv_is_active((uv_handle_t *)task->timer)) {
        int64_t left_ms = task->deadline_ms - time_ms();
        left_ms = left_ms > 0 ? left_ms : left_ms + LATE_MS;
        uv_timer_start(task->timer, task_timed_out, left_ms > 0 ? (uint64_t)left_ms : 1, 0);
    }
}

static void task_moved(FetchWait *wait)
{
    fetch_task_schedule(((TaskWait *)wait)->task);
}

/* Waits for partitions to move, or for the time to be up. When it is, only reads under way are waited for,
 * and not for ever. */
static void task_wait(FetchTask *task)
{
    if (task->timer) {
        task_set_timer(task);
        return;
    }
    task->timer = malloc(sizeof(uv_timer_t));
    task->waits = calloc((size_t)task->request.count + 1, sizeof(TaskWait));
    if (task->timer) {
        uv_timer_init(task->fetcher->agent->loop, task->timer);
        task->timer->data = task;
        task_set_timer(task);
    }
    for (int32_t i = 0; task->waits && i < task->request.count; i++) {
        Partition *partition = task->request.items[i].partition;
        if (partition) {
            task->waits[i].task = task;
            fetch_wait_begin(&task->waits[i].wait, partition, task_moved);
        }
    }
}

/* Its time is long over: what is still being read fails, retriably, so that its client can go on with what
 * else it has. The block comes into the cache all the same, for who asks next. */
static void task_give_up_reads(FetchTask *task)
{
    for (int32_t i = 0; i < task->count; i++) {
        if (task->busy[i] > 0 && task->items[i]->error == KAFKA_ERROR_NONE) {
            task->items[i]->error = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
        }
    }
}

void fetch_task_try(FetchTask *task)
{
    if (task->finished) {
        return;
    }
    if (task->request.prepare) {
        task->request.prepare(task->argument, task);
    }
    Try found = { .lookups = malloc((size_t)task->count * sizeof(int32_t) + 1) };
    collection_reset(&task->records);
    for (int32_t i = 0; found.lookups && i < task->count; i++) {
        item_try(task, i, &found);
    }
    if (found.lookup_count > 0) {
        fetch_lookup(task, found.lookups, found.lookup_count);
    }
    free(found.lookups);
    task->bytes = found.bytes;
    bool late = task->fetcher->draining || time_ms() >= task->deadline_ms;
    bool waits_for_more = task->pending > 0 && found.bytes == 0;
    if (waits_for_more && time_ms() >= task->deadline_ms + LATE_MS) {
        task_give_up_reads(task);
        waits_for_more = false;
    }
    if (!waits_for_more && (found.error || late || found.bytes >= task->request.bytes_min)) {
        task_answer(task);
    } else {
        task_wait(task);
    }
}

/* Room for so many items. */
static bool task_reserve(FetchTask *task, int32_t capacity)
{
    if (capacity <= task->capacity) {
        return true;
    }
    FetchItem **items = realloc(task->items, (size_t)capacity * sizeof(FetchItem *));
    if (!items) {
        return false;
    }
    task->items = items;
    Topic **topics = realloc(task->topics, (size_t)capacity * sizeof(Topic *));
    if (!topics) {
        return false;
    }
    task->topics = topics;
    int32_t *busy = realloc(task->busy, (size_t)capacity * sizeof(int32_t));
    if (!busy) {
        return false;
    }
    task->busy = busy;
    task->capacity = capacity;
    return true;
}

static void task_put(FetchTask *task, FetchItem *item)
{
    task->items[task->count] = item;
    task->busy[task->count] = 0;
    task->topics[task->count++] = item->partition ? topic_hold(item->partition->topic) : NULL;
}

bool fetch_add(FetchTask *task, FetchItem *item)
{
    enum { TASK_ITEMS_MIN = 8 };
    if (task->count == task->capacity &&
        !task_reserve(task, task->capacity > 0 ? task->capacity * 2 : TASK_ITEMS_MIN)) {
        return false;
    }
    task_put(task, item);
    return true;
}

FetchTask *fetch_start(Fetcher *fetcher, const FetchRequest *request, FetchAnswered done, void *argument,
                       bool *started)
{
    FetchTask *task = calloc(1, sizeof(FetchTask));
    *started = task && task_reserve(task, request->count);
    if (!*started) {
        if (task) {
            free(task->items);
            free(task->topics);
            free(task->busy);
        }
        free(task);
        return NULL;
    }
    task->fetcher = fetcher;
    task->references = 2; /* the caller's, and this function's */
    task->request = *request;
    task->done = done;
    task->argument = argument;
    task->deadline_ms = time_ms() + request->wait_ms;
    collection_init(&task->records);
    for (int32_t i = 0; i < request->count; i++) {
        task_put(task, &request->items[i]);
    }
    DL_APPEND(fetcher->all, task);
    fetcher->tasks++;
    metric_set(METRIC_FETCHES_WAITING, (double)fetcher->tasks);
    fetch_task_try(task);
    bool answered = task->finished;
    fetch_task_release(task);
    return answered ? NULL : task;
}
