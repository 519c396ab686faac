/* marker.c: a round: ask the brain what to do (sh_marker_begin), write the next marker if it says so, list
 * all markers, read the newest unless it is the one just written, report (sh_marker_end), remove those that
 * are long past. What fails ends the round: the brain gives the same marker again. */
#include "agent/jobs/marker.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "common/store/store.h"

static const BrainStatement begin_statement = {
    "marker_begin",
    "SELECT holds, reason, task, number, body, prefix, begun_us, age_ms, due_ms FROM sh_marker_begin($1)",
    1,
    { BRAIN_INT4 },
};
static const BrainStatement end_statement = {
    "marker_end",
    "SELECT holds, reason FROM sh_marker_end($1, $2, $3, $4, $5, $6)",
    6,
    { BRAIN_INT4, BRAIN_INT8, BRAIN_INT8, BRAIN_BOOL, BRAIN_INT8S, BRAIN_TEXT },
};

enum {
    MARKER_TICK_MS = 1000,     /* while the next one is due, and it is another agent's */
    MARKER_REST_MAX_MS = 3000, /* what another agent found is known here, too, by then */
    MARKER_FIRST_TICK_MS = 50, /* until this agent has a number */
    MARKER_DEADLINE_MS = 10 * 1000,
    MARKER_BODY_MAX = 4096,
    MARKER_PREFIX_MAX = 64,
    MARKER_DIGITS = 19,
    MARKERS_KEPT = 8,   /* a slow reader of the chain still finds its last one */
    MARKERS_REMOVED = 4 /* of one round, which writes one */
};

_Static_assert(MARKER_PREFIX_MAX + MARKER_DIGITS < (int)STORE_KEY_MAX, "a marker's key is a key");
_Static_assert(MARKER_BODY_MAX <= (int)STORE_TAIL_DEFAULT,
               "a marker that is there already is compared as a whole");

struct Marker {
    Agent *agent;
    uv_timer_t *timer;
    Condition *condition;
    bool busy; /* a round is under way */
    bool freed;

    /* Of the round. */
    bool writes;
    bool is_stored;
    int64_t number;
    int64_t begun_us;
    char prefix[MARKER_PREFIX_MAX + 1];
    char key[STORE_KEY_MAX + 1];
    char body[MARKER_BODY_MAX];
    Slice body_slice;
    int64_t numbers[STORE_LIST_MAX]; /* that are in the store, rising */
    size_t count;
    size_t removed;
};

static void marker_end_round(Marker *marker)
{
    marker->busy = false;
    if (marker->freed) {
        free(marker);
    }
}

/* Ends the round unless the answer is good and the marker still wanted. */
static bool marker_goes_on(Marker *marker, const Status *status, const char *message, const char *what)
{
    if (!marker->freed && status_is_ok(status)) {
        return true;
    }
    if (!marker->freed) {
        metric_add(METRIC_MARKER_FAILURES, 1);
        journal_seldom(JOURNAL_WARN, "marker", "%s, which is tried again: %s", what, message);
    }
    marker_end_round(marker);
    return false;
}

static void marker_refused(Marker *marker, const char *what)
{
    const Status *refusal = store_refusal(marker->agent->store);
    (void)marker_goes_on(marker, refusal, refusal->message, what);
}

static const char *marker_key(Marker *marker, int64_t number)
{
    snprintf(marker->key, sizeof(marker->key), "%s%0*lld", marker->prefix, MARKER_DIGITS, (long long)number);
    return marker->key;
}

static void slice_copy_text(Slice slice, char *out, size_t size)
{
    size_t length = slice.size < size - 1 ? slice.size : size - 1;
    memcpy(out, slice.data, length);
    out[length] = '\0';
}

static void marker_stands(Marker *marker, bool holds, Slice reason)
{
    char text[CONDITION_REASON_MAX];
    slice_copy_text(reason, text, sizeof(text));
    metric_set(METRIC_MARKER_OWNER, holds);
    if (holds) {
        condition_hold(marker->condition);
    } else {
        condition_break(marker->condition, "%s", text);
    }
}

static void marker_remove_next(Marker *marker);

static void marker_removed(const StoreResult *result, void *argument)
{
    Marker *marker = argument;
    if (marker_goes_on(marker, &result->status, result->status.message,
                       "an old owner marker was not removed")) {
        marker->removed++;
        marker_remove_next(marker);
    }
}

static void marker_remove_next(Marker *marker)
{
    bool is_old = marker->removed < MARKERS_REMOVED && marker->removed + MARKERS_KEPT < marker->count &&
                  marker->numbers[marker->removed] < marker->number - MARKERS_KEPT;
    if (!is_old) {
        marker_end_round(marker);
        return;
    }
    StoreDelete remove = { .key = marker_key(marker, marker->numbers[marker->removed]),
                           .deadline_ms = MARKER_DEADLINE_MS };
    if (!store_delete(marker->agent->store, &remove, marker_removed, marker)) {
        marker_refused(marker, "an old owner marker was not removed");
    }
}

static void marker_reported(const BrainResult *result, void *argument)
{
    Marker *marker = argument;
    if (!marker_goes_on(marker, &result->status, result->message, "the owner marker could not be reported")) {
        return;
    }
    bool holds = brain_bool(result, 0, 0);
    marker_stands(marker, holds, brain_text(result, 0, 1));
    if (holds && marker->writes && marker->is_stored) {
        metric_add(METRIC_MARKER_WRITES, 1);
        marker_remove_next(marker);
    } else {
        marker_end_round(marker);
    }
}

/* newest: SLICE_NULL when it is what was written. */
static void marker_report(Marker *marker, Slice newest)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(marker->agent->lease));
    brain_put_int8(&parameters, marker->begun_us);
    brain_put_int8(&parameters, marker->number);
    if (marker->writes) {
        brain_put_bool(&parameters, marker->is_stored);
    } else {
        brain_put_null(&parameters);
    }
    brain_put_int8s(&parameters, marker->numbers, marker->count);
    if (slice_is_null(newest)) {
        brain_put_null(&parameters);
    } else {
        brain_put_text(&parameters, newest);
    }
    brain_send(marker->agent->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &end_statement,
                              .parameters = &parameters,
                              .deadline_ms = MARKER_DEADLINE_MS },
               marker_reported, marker);
}

/* Whatever is there was written by somebody: what is not plain text goes to the brain as nothing. */
static Slice marker_text(const Block *block)
{
    for (size_t i = 0; i < block->size; i++) {
        if (block->bytes[i] < ' ' || block->bytes[i] > '~') {
            return slice_of("", 0);
        }
    }
    return slice_of(block->bytes, block->size);
}

static void marker_read(const StoreResult *result, void *argument)
{
    Marker *marker = argument;
    if (marker_goes_on(marker, &result->status, result->status.message,
                       "the newest owner marker was not read")) {
        marker_report(marker, marker_text(result->block));
    }
}

/* A store that may have let two write the same marker is asked what it kept. */
static void marker_look_at_newest(Marker *marker)
{
    int64_t newest = marker->count > 0 ? marker->numbers[marker->count - 1] : 0;
    bool is_known = marker->writes && marker->is_stored && newest == marker->number;
    if (marker->count == 0 || (is_known && store_is_conditional(marker->agent->store))) {
        marker_report(marker, SLICE_NULL);
        return;
    }
    StoreGet get = { .key = marker_key(marker, newest),
                     .length = MARKER_BODY_MAX,
                     .deadline_ms = MARKER_DEADLINE_MS };
    if (!store_get(marker->agent->store, &get, marker_read, marker)) {
        marker_refused(marker, "the newest owner marker was not read");
    }
}

/* What is no number of 19 digits is somebody else's. */
static bool marker_number_of(const Marker *marker, const char *key, int64_t *number)
{
    size_t prefix = strlen(marker->prefix);
    if (strncmp(key, marker->prefix, prefix) != 0 || strlen(key) != prefix + MARKER_DIGITS) {
        return false;
    }
    *number = 0;
    for (const char *at = key + prefix; *at; at++) {
        if (*at < '0' || *at > '9' || *number > (INT64_MAX - 9) / 10) {
            return false;
        }
        *number = *number * 10 + (*at - '0');
    }
    return true;
}

static void marker_list(Marker *marker, const char *start_after);

/* Of several pages the last one counts: it has the newest. */
static void marker_listed(const StoreResult *result, void *argument)
{
    Marker *marker = argument;
    if (!marker_goes_on(marker, &result->status, result->status.message,
                        "owner markers could not be listed")) {
        return;
    }
    if (result->more && result->entry_count > 0) {
        slice_copy_text(slice_of_text(result->entries[result->entry_count - 1].key), marker->key,
                        sizeof(marker->key));
        marker_list(marker, marker->key);
        return;
    }
    for (size_t i = 0; i < result->entry_count && marker->count < STORE_LIST_MAX; i++) {
        marker->count += marker_number_of(marker, result->entries[i].key, &marker->numbers[marker->count]);
    }
    marker_look_at_newest(marker);
}

static void marker_list(Marker *marker, const char *start_after)
{
    StoreList list = { .prefix = marker->prefix,
                       .start_after = start_after,
                       .deadline_ms = MARKER_DEADLINE_MS };
    marker->count = 0;
    if (!store_list(marker->agent->store, &list, marker_listed, marker)) {
        marker_refused(marker, "owner markers could not be listed");
    }
}

static void marker_written(const StoreResult *result, void *argument)
{
    Marker *marker = argument;
    static const Status fine = { .code = STATUS_OK };
    bool is_taken = result->status.code == STATUS_EXISTS;
    if (marker_goes_on(marker, is_taken ? &fine : &result->status, result->status.message,
                       "the owner marker was not written")) {
        marker->is_stored = !is_taken;
        marker_list(marker, NULL);
    }
}

static void marker_write(Marker *marker)
{
    StorePut put = { .key = marker_key(marker, marker->number),
                     .slices = &marker->body_slice,
                     .slice_count = 1,
                     .deadline_ms = MARKER_DEADLINE_MS,
                     .if_absent = true };
    if (!store_put(marker->agent->store, &put, marker_written, marker)) {
        marker_refused(marker, "the owner marker was not written");
    }
}

static void marker_round(uv_timer_t *timer);

/* Asks again when the brain will have something to do, as far as it knows by now. */
static void marker_rest(Marker *marker, int64_t due_ms)
{
    int64_t rest_ms = due_ms < MARKER_REST_MAX_MS ? due_ms : MARKER_REST_MAX_MS;
    if (rest_ms > 0) {
        uv_timer_start(marker->timer, marker_round, (uint64_t)rest_ms, MARKER_TICK_MS);
    }
}

static void marker_told(const BrainResult *result, void *argument)
{
    Marker *marker = argument;
    if (!marker_goes_on(marker, &result->status, result->message,
                        "PostgreSQL could not be asked about the owner marker")) {
        return;
    }
    Slice task = brain_text(result, 0, 2);
    Slice body = brain_text(result, 0, 4);
    Slice prefix = brain_text(result, 0, 5);
    marker_stands(marker, brain_bool(result, 0, 0), brain_text(result, 0, 1));
    metric_set(METRIC_MARKER_AGE, brain_int8(result, 0, 7) / 1000);
    marker_rest(marker, brain_int4(result, 0, 8));
    if (slice_equals(task, slice_of_text("none"))) {
        marker_end_round(marker);
        return;
    }
    if (body.size > sizeof(marker->body) || prefix.size > MARKER_PREFIX_MAX) {
        Status status = status_error(STATUS_INVALID, "the owner marker is larger than expected");
        (void)marker_goes_on(marker, &status, status.message, "the owner marker was not written");
        return;
    }
    marker->writes = slice_equals(task, slice_of_text("write"));
    marker->number = brain_int8(result, 0, 3);
    marker->begun_us = brain_int8(result, 0, 6);
    memcpy(marker->body, body.data, body.size);
    marker->body_slice = slice_of(marker->body, body.size);
    slice_copy_text(prefix, marker->prefix, sizeof(marker->prefix));
    if (marker->writes) {
        marker_write(marker);
    } else {
        marker_list(marker, NULL);
    }
}

static void marker_round(uv_timer_t *timer)
{
    Marker *marker = timer->data;
    int32_t agent_id = lease_agent_id(marker->agent->lease);
    if (marker->busy || agent_id == LEASE_NO_AGENT) {
        return;
    }
    uv_timer_set_repeat(timer, MARKER_TICK_MS);
    marker->busy = true;
    marker->is_stored = false;
    marker->removed = 0;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, agent_id);
    brain_send(marker->agent->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &begin_statement,
                              .parameters = &parameters,
                              .deadline_ms = MARKER_DEADLINE_MS },
               marker_told, marker);
}

/* The owner's state has changed. A round that is under way was begun before that. */
static void marker_notified(const char *channel, Slice payload, void *argument)
{
    Marker *marker = argument;
    (void)channel;
    (void)payload;
    uv_timer_start(marker->timer, marker_round, marker->busy ? MARKER_FIRST_TICK_MS : 0,
                   MARKER_FIRST_TICK_MS);
}

Marker *marker_new(Agent *agent)
{
    Marker *marker = calloc(1, sizeof(Marker));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!marker || !timer) {
        free(marker);
        free(timer);
        return NULL;
    }
    marker->agent = agent;
    marker->timer = timer;
    marker->condition =
        readiness_add(&agent->readiness, "owner", "PostgreSQL was not asked yet whether it owns the store");
    uv_timer_init(agent->loop, timer);
    timer->data = marker;
    uv_timer_start(timer, marker_round, MARKER_FIRST_TICK_MS, MARKER_FIRST_TICK_MS);
    Status status = brain_listen(agent->brain, "streamhouse_owner", marker_notified, marker);
    if (!status_is_ok(&status)) {
        journal(JOURNAL_ERROR, "marker", "cannot listen for the owner's state: %s", status.message);
    }
    return marker;
}

static void marker_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void marker_free(Marker *marker)
{
    marker->freed = true;
    uv_close((uv_handle_t *)marker->timer, marker_timer_closed);
    if (!marker->busy) {
        free(marker);
    }
}
