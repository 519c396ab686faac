/* store.c: takes operations in, lets a bounded number of each kind run, ends them by their deadlines, and
 * calls back. What an operation does is the driver's: folder_driver.c or s3_driver.c. */
#include "common/store/store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/store_internal.h"
#include "common/store/store_key.h"

enum {
    TICK_MS = 20,
    SLOWED_MS = 1000,
    STREAK_PER_SLOT = 4,
    STORE_ARENA_BYTES = 64 * 1024,
    LIST_ARENA_BYTES = 4 * 1024 * 1024,
    SLICE_COUNT_MAX = 1 << 20
};

const char *const store_addressing_names[] = { "auto", "path", "virtual" };
const char *const store_checksum_names[] = { "auto", "sha256", "crc32c", "md5", "none" };
const char *const store_conditional_names[] = { "auto", "on", "off" };
const uint64_t store_latency_bounds_us[] = { 250,    500,     1000,    2500,    5000,
                                             10000,  25000,   50000,   100000,  250000,
                                             500000, 1000000, 2500000, 5000000, 10000000 };

static const StoreLaneKind operation_lanes[STORE_OPERATION_COUNT] = {
    [STORE_PUT] = LANE_PUT,    [STORE_GET] = LANE_GET,  [STORE_HEAD] = LANE_GET,
    [STORE_DELETE] = LANE_JOB, [STORE_LIST] = LANE_JOB,
};

/* What a folder does at once by default leaves a thread of libuv's four to others. */
static const int folder_parallel[LANE_COUNT] = { [LANE_PUT] = 3, [LANE_GET] = 3, [LANE_JOB] = 1 };
static const int s3_parallel[LANE_COUNT] = { [LANE_PUT] = 8, [LANE_GET] = 16, [LANE_JOB] = 4 };

static void list_append(StoreCallList *list, StoreCall *call)
{
    call->next = NULL;
    call->previous = list->last;
    *(list->last ? &list->last->next : &list->first) = call;
    list->last = call;
    list->count++;
}

static void list_remove(StoreCallList *list, StoreCall *call)
{
    *(call->previous ? &call->previous->next : &list->first) = call->next;
    *(call->next ? &call->next->previous : &list->last) = call->previous;
    list->count--;
}

static StoreLane *call_lane(StoreCall *call)
{
    return &call->store->lanes[operation_lanes[call->operation]];
}

static StoreCallList *call_list(StoreCall *call)
{
    return call->state == CALL_QUEUED    ? &call_lane(call)->queue
           : call->state == CALL_RUNNING ? &call->store->running
                                         : &call->store->ended;
}

/* The one door for a call's state; also keeps the counts of lanes and gauges. */
static void call_enter(StoreCall *call, StoreCallState state)
{
    static const bool moves[CALL_STATE_COUNT][CALL_STATE_COUNT] = {
        [CALL_QUEUED] = { [CALL_RUNNING] = true, [CALL_ENDED] = true },
        [CALL_RUNNING] = { [CALL_ENDED] = true },
    };
    StoreMetrics *metrics = &call->store->metrics;
    assert(moves[call->state][state]);
    list_remove(call_list(call), call);
    metrics->queued[call->operation] -= call->state == CALL_QUEUED;
    metrics->running[call->operation] += (state == CALL_RUNNING) - (call->state == CALL_RUNNING);
    call_lane(call)->running += (state == CALL_RUNNING) - (call->state == CALL_RUNNING);
    call->state = state;
    list_append(call_list(call), call);
}

static void call_free(StoreCall *call)
{
    block_release(call->result.block);
    arena_reset(&call->arena);
    free(call->slices);
    free(call);
}

static void call_count(StoreCall *call)
{
    StoreMetrics *metrics = &call->store->metrics;
    StoreLatency *latency = &metrics->latency[call->operation];
    const StoreResult *result = &call->result;
    size_t bucket = 0;
    while (bucket < STORE_LATENCY_BUCKETS - 1 && result->elapsed_us > store_latency_bounds_us[bucket]) {
        bucket++;
    }
    latency->count++;
    latency->sum_us += result->elapsed_us;
    latency->buckets[bucket]++;
    metrics->requests[call->operation][result->status.code]++;
    metrics->retries[call->operation] += result->attempts > 1 ? result->attempts - 1 : 0;
    metrics->lost_replies += result->was_there;
    if (status_is_ok(&result->status)) {
        metrics->bytes_put += call->operation == STORE_PUT ? call->bytes : 0;
        metrics->bytes_got += call->operation == STORE_GET && result->block ? result->block->size : 0;
    }
}

static void deliver_fired(uv_timer_t *timer);

static void deliver_soon(Store *store)
{
    if (!uv_is_active((uv_handle_t *)&store->deliver)) {
        uv_timer_start(&store->deliver, deliver_fired, 0, 0);
    }
}

static void store_pump(Store *store);

void store_call_end(StoreCall *call, Status status)
{
    Store *store = call->store;
    call->result.status = status;
    call->result.elapsed_us = (uv_hrtime() - call->began_ns) / 1000;
    call_count(call);
    call_enter(call, CALL_ENDED);
    deliver_soon(store);
    store_pump(store);
}

/* Lets queued calls run as far as their lanes allow. */
static void store_pump(Store *store)
{
    /* A start that fails ends its call, which pumps again. */
    if (store->is_pumping) {
        return;
    }
    store->is_pumping = true;
    for (int i = 0; i < LANE_COUNT; i++) {
        StoreLane *lane = &store->lanes[i];
        while (lane->queue.first && lane->running < lane->parallel && !store->is_closing) {
            StoreCall *call = lane->queue.first;
            call_enter(call, CALL_RUNNING);
            store->driver->start(call);
        }
    }
    store->is_pumping = false;
}

static bool store_is_idle(const Store *store)
{
    int count = store->running.count + store->ended.count;
    for (int i = 0; i < LANE_COUNT; i++) {
        count += store->lanes[i].queue.count;
    }
    return count == 0;
}

static void handle_closed(uv_handle_t *handle)
{
    Store *store = handle->data;
    if (--store->open_handles > 0) {
        return;
    }
    void (*closed)(void *arg) = store->closed;
    void *arg = store->closed_arg;
    free(store->description);
    arena_reset(&store->arena);
    free(store);
    closed(arg);
}

void store_driver_closed(Store *store)
{
    uv_close((uv_handle_t *)&store->deliver, handle_closed);
    uv_close((uv_handle_t *)&store->tick, handle_closed);
}

/* Calls back what had ended when it began; what ends meanwhile waits for the next round. */
static void deliver_fired(uv_timer_t *timer)
{
    Store *store = timer->data;
    for (int left = store->ended.count; left > 0; left--) {
        StoreCall *call = store->ended.first;
        list_remove(&store->ended, call);
        if (call->callback) {
            call->callback(&call->result, call->arg);
        }
        call_free(call);
    }
    if (store->ended.count > 0) {
        deliver_soon(store);
    } else if (store_is_idle(store)) {
        uv_timer_stop(&store->tick);
        if (store->is_closing) {
            store->is_closing = false;
            store->driver->close(store);
        }
    }
}

static Status call_late(void)
{
    return status_error(STATUS_TIMEOUT, "the object store did not get to it before the deadline");
}

static StoreCall *list_find_late(const StoreCallList *list, uint64_t now)
{
    StoreCall *call = list->first;
    while (call && now < call->deadline_at_ms) {
        call = call->next;
    }
    return call;
}

/* Ending a call moves others between the lists, so that each search begins anew; what is late is mostly in
 * front. */
static void tick_fired(uv_timer_t *timer)
{
    Store *store = timer->data;
    uint64_t now = uv_now(store->loop);
    StoreCall *late;
    for (int i = 0; i < LANE_COUNT; i++) {
        while ((late = list_find_late(&store->lanes[i].queue, now))) {
            store_call_end(late, call_late());
        }
    }
    while ((late = list_find_late(&store->running, now))) {
        /* Found once only, even where its end has to be waited for. */
        late->deadline_at_ms = UINT64_MAX;
        store->driver->stop(late);
    }
}

void store_slow_down(StoreCall *call)
{
    Store *store = call->store;
    StoreLane *lane = call_lane(call);
    uint64_t now = uv_now(store->loop);
    store->metrics.slowdowns++;
    lane->streak = 0;
    if (lane->slowed_at_ms != 0 && now - lane->slowed_at_ms < SLOWED_MS) {
        return;
    }
    lane->slowed_at_ms = now;
    lane->parallel = lane->parallel > 1 ? lane->parallel / 2 : 1;
}

void store_speed_up(StoreCall *call)
{
    StoreLane *lane = call_lane(call);
    if (lane->parallel < lane->parallel_max && ++lane->streak >= STREAK_PER_SLOT * lane->parallel) {
        lane->parallel++;
        lane->streak = 0;
    }
}

static StoreCall *store_refuse(Store *store, Status why)
{
    store->refusal = why;
    return NULL;
}

static StoreCall *call_make(Store *store, StoreOperation operation, const char *key, int deadline_ms,
                            StoreCallback callback, void *arg)
{
    StoreLane *lane = &store->lanes[operation_lanes[operation]];
    if (store->closed) {
        return store_refuse(store, status_error(STATUS_CANCELLED, "the store is closing"));
    }
    if (lane->queue.count >= store->options.queue_max) {
        store->metrics.refused++;
        return store_refuse(
            store,
            status_error(STATUS_LIMIT, "%d operations wait for the object store already", lane->queue.count));
    }
    if (operation == STORE_LIST ? !store_prefix_is_valid(key) : !store_key_is_valid(key)) {
        return store_refuse(store, status_error(STATUS_INVALID, "malformed key"));
    }
    StoreCall *call = calloc(1, sizeof(*call));
    if (!call) {
        return store_refuse(store,
                            status_error(STATUS_INTERNAL, "no memory for an operation of the object store"));
    }
    snprintf(call->key, sizeof(call->key), "%s", key);
    call->store = store;
    call->operation = operation;
    call->callback = callback;
    call->arg = arg;
    call->began_ns = uv_hrtime();
    call->deadline_at_ms =
        uv_now(store->loop) + (uint64_t)(deadline_ms > 0 ? deadline_ms : store->options.deadline_ms);
    arena_init(&call->arena, LIST_ARENA_BYTES);
    return call;
}

static StoreCall *call_queue(StoreCall *call)
{
    Store *store = call->store;
    call->state = CALL_QUEUED;
    store->metrics.queued[call->operation]++;
    list_append(&call_lane(call)->queue, call);
    if (!uv_is_active((uv_handle_t *)&store->tick)) {
        uv_timer_start(&store->tick, tick_fired, TICK_MS, TICK_MS);
    }
    store_pump(store);
    return call;
}

static uint64_t slices_size(const Slice *slices, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count && size <= STORE_PUT_MAX; i++) {
        size += slices[i].size;
    }
    return size;
}

static StoreCall *put_make(Store *store, const StorePut *put, StoreCallback callback, void *arg)
{
    uint64_t bytes = slices_size(put->slices, put->slice_count);
    if (bytes > STORE_PUT_MAX || put->slice_count > SLICE_COUNT_MAX || put->tail_bytes > STORE_TAIL_DEFAULT) {
        return store_refuse(store,
                            status_error(STATUS_INVALID, "an object has at most %d bytes", STORE_PUT_MAX));
    }
    StoreCall *call = call_make(store, STORE_PUT, put->key, put->deadline_ms, callback, arg);
    if (!call) {
        return NULL;
    }
    call->slices = calloc(put->slice_count + 1, sizeof(Slice));
    if (!call->slices) {
        call_free(call);
        return store_refuse(store,
                            status_error(STATUS_INTERNAL, "no memory for an operation of the object store"));
    }
    if (put->slice_count > 0) {
        memcpy(call->slices, put->slices, put->slice_count * sizeof(Slice));
    }
    call->slice_count = put->slice_count;
    call->bytes = bytes;
    call->if_absent = put->if_absent;
    call->key_is_unique = put->key_is_unique;
    call->tail_bytes = put->tail_bytes ? put->tail_bytes : STORE_TAIL_DEFAULT;
    return call;
}

StoreCall *store_put(Store *store, const StorePut *put, StoreCallback callback, void *arg)
{
    StoreCall *call = put_make(store, put, callback, arg);
    return call ? call_queue(call) : NULL;
}

StoreCall *store_get(Store *store, const StoreGet *get, StoreCallback callback, void *arg)
{
    if (get->length > STORE_GET_MAX || get->start > INT64_MAX - STORE_GET_MAX) {
        return store_refuse(
            store, status_error(STATUS_INVALID, "at most %d bytes can be read at once", STORE_GET_MAX));
    }
    StoreCall *call = call_make(store, STORE_GET, get->key, get->deadline_ms, callback, arg);
    if (!call) {
        return NULL;
    }
    call->start = get->start;
    call->length = get->length;
    return call_queue(call);
}

StoreCall *store_head(Store *store, const StoreHead *head, StoreCallback callback, void *arg)
{
    StoreCall *call = call_make(store, STORE_HEAD, head->key, head->deadline_ms, callback, arg);
    return call ? call_queue(call) : NULL;
}

StoreCall *store_delete(Store *store, const StoreDelete *remove, StoreCallback callback, void *arg)
{
    StoreCall *call = call_make(store, STORE_DELETE, remove->key, remove->deadline_ms, callback, arg);
    return call ? call_queue(call) : NULL;
}

StoreCall *store_list(Store *store, const StoreList *list, StoreCallback callback, void *arg)
{
    const char *after = list->start_after ? list->start_after : "";
    if (strlen(after) > STORE_KEY_MAX) {
        return store_refuse(store, status_error(STATUS_INVALID, "start_after is longer than a key"));
    }
    StoreCall *call =
        call_make(store, STORE_LIST, list->prefix ? list->prefix : "", list->deadline_ms, callback, arg);
    if (!call) {
        return NULL;
    }
    snprintf(call->start_after, sizeof(call->start_after), "%s", after);
    call->max = list->max > 0 && list->max < STORE_LIST_MAX ? list->max : STORE_LIST_MAX;
    return call_queue(call);
}

void store_cancel(StoreCall *call)
{
    if (call->state == CALL_ENDED || call->is_cancelled) {
        return;
    }
    call->is_cancelled = true;
    if (call->state == CALL_QUEUED) {
        store_call_end(call, status_error(STATUS_CANCELLED, "cancelled before it began"));
    } else {
        call->store->driver->stop(call);
    }
}

void store_close(Store *store, void (*closed)(void *arg), void *arg)
{
    store->is_closing = true;
    store->closed = closed;
    store->closed_arg = arg;
    for (int i = 0; i < LANE_COUNT; i++) {
        while (store->lanes[i].queue.first) {
            store_cancel(store->lanes[i].queue.first);
        }
    }
    for (StoreCall *call = store->running.first, *next; call; call = next) {
        next = call->next;
        store_cancel(call);
    }
    deliver_soon(store);
}

static int option_or(int value, int otherwise)
{
    return value > 0 ? value : otherwise;
}

static void store_set_numbers(Store *store)
{
    StoreOptions *options = &store->options;
    const int *parallel = store->url.is_folder ? folder_parallel : s3_parallel;
    options->put_parallel_max = option_or(options->put_parallel_max, parallel[LANE_PUT]);
    options->get_parallel_max = option_or(options->get_parallel_max, parallel[LANE_GET]);
    options->job_parallel_max = option_or(options->job_parallel_max, parallel[LANE_JOB]);
    options->queue_max = option_or(options->queue_max, 1024);
    options->deadline_ms = option_or(options->deadline_ms, 30000);
    options->attempt_timeout_ms = option_or(options->attempt_timeout_ms, 10000);
    options->retry_base_ms = option_or(options->retry_base_ms, 50);
    store->lanes[LANE_PUT].parallel_max = options->put_parallel_max;
    store->lanes[LANE_GET].parallel_max = options->get_parallel_max;
    store->lanes[LANE_JOB].parallel_max = options->job_parallel_max;
    for (int i = 0; i < LANE_COUNT; i++) {
        store->lanes[i].parallel = store->lanes[i].parallel_max;
    }
}

/* Copies the options' strings, so that the caller's may go. */
static Status store_set_strings(Store *store)
{
    const char **strings[] = { &store->options.url, &store->options.endpoint, &store->options.region,
                               &store->options.profile, &store->options.ca_file };
    for (size_t i = 0; i < sizeof(strings) / sizeof(*strings); i++) {
        if (*strings[i] && **strings[i] == '\0') {
            *strings[i] = NULL;
        }
        if (*strings[i] && !(*strings[i] = arena_copy_text(&store->arena, slice_of_text(*strings[i])))) {
            return status_error(STATUS_INVALID, "the store's settings are too long");
        }
    }
    return status_ok();
}

Status store_open(const StoreOptions *options, uv_loop_t *loop, Store **out)
{
    Store *store = calloc(1, sizeof(*store));
    if (!store || !(store->description = calloc(1, STORE_DESCRIPTION_MAX))) {
        free(store);
        return status_error(STATUS_INTERNAL, "no memory for the object store");
    }
    store->loop = loop;
    store->options = *options;
    arena_init(&store->arena, STORE_ARENA_BYTES);
    Status status = store_url_parse(options->url, &store->url);
    if (status_is_ok(&status)) {
        status = store_set_strings(store);
    }
    store_set_numbers(store);
    store->is_conditional = store->url.is_folder || options->conditional != STORE_CONDITIONAL_OFF;
    if (status_is_ok(&status)) {
        snprintf(store->description, STORE_DESCRIPTION_MAX, "%s", store->options.url);
        status = store->url.is_folder ? folder_driver_open(store) : s3_driver_open(store);
    }
    if (!status_is_ok(&status)) {
        arena_reset(&store->arena);
        free(store->description);
        free(store);
        return status;
    }
    uv_timer_init(loop, &store->deliver);
    uv_timer_init(loop, &store->tick);
    store->deliver.data = store;
    store->tick.data = store;
    store->open_handles = 2;
    *out = store;
    return status_ok();
}

const Status *store_refusal(const Store *store)
{
    return &store->refusal;
}

bool store_is_conditional(const Store *store)
{
    return store->is_conditional;
}

const char *store_describe(const Store *store)
{
    return store->description;
}

const StoreMetrics *store_metrics(const Store *store)
{
    StoreMetrics *metrics = (StoreMetrics *)&store->metrics;
    metrics->put_parallel = store->lanes[LANE_PUT].parallel;
    metrics->get_parallel = store->lanes[LANE_GET].parallel;
    return metrics;
}
