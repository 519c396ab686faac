/* s3_driver.c: runs a store's operations on S3. An operation is a series of errands, each an HTTP request:
 * the operation itself; for a PUT, perhaps a look whether the key is free, and a comparison when it is taken.
 * An errand that fails in a way that may pass is sent again after a pause with jitter, until the operation's
 * deadline. */
#include <assert.h>
#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/store/s3_internal.h"

enum {
    HASH_INLINE_MAX = 64 * 1024, /* larger bodies are hashed by a worker */
    PAUSE_MAX_MS = 5000,
    SLOW_DOWN_FACTOR = 10, /* a server that is overloaded gets longer pauses */
    PAUSE_DOUBLINGS_MAX = 10,
    CONNECT_MS_MAX = 5000,
    NEVER_MS = 24 * 60 * 60 * 1000 /* store.c keeps the deadlines */
};

static void s3_enter(S3Call *s3, S3State state)
{
    static const bool moves[S3_STATE_COUNT][S3_STATE_COUNT] = {
        [S3_READY] = { [S3_HASHING] = true,
                       [S3_WAITING_FOR_KEYS] = true,
                       [S3_SENDING] = true,
                       [S3_PAUSED] = true },
        [S3_HASHING] = { [S3_READY] = true },
        [S3_WAITING_FOR_KEYS] = { [S3_READY] = true },
        [S3_SENDING] = { [S3_READY] = true },
        [S3_PAUSED] = { [S3_READY] = true },
    };
    assert(moves[s3->state][state]);
    s3->state = state;
}

static void s3_end(S3Call *s3, Status status)
{
    StoreCall *call = s3->call;
    arena_reset(&s3->arena);
    free(s3);
    call->driving = NULL;
    store_call_end(call, status);
}

static uint64_t random_below(S3Driver *driver, uint64_t bound)
{
    driver->random ^= driver->random << 13;
    driver->random ^= driver->random >> 7;
    driver->random ^= driver->random << 17;
    return bound ? driver->random % bound : 0;
}

static void timer_fired(uv_timer_t *timer);

/* Sets the timer to the earliest end of a pause. */
static void timer_set(S3Driver *driver)
{
    uint64_t first = UINT64_MAX;
    for (const S3Call *s3 = driver->idle; s3; s3 = s3->next) {
        if (s3->state == S3_PAUSED && s3->resume_at_ms < first) {
            first = s3->resume_at_ms;
        }
    }
    uint64_t now = uv_now(driver->store->loop);
    if (first == UINT64_MAX) {
        uv_timer_stop(&driver->timer);
    } else {
        uv_timer_start(&driver->timer, timer_fired, first > now ? first - now : 0, 0);
    }
}

static void s3_idle(S3Call *s3, S3State state)
{
    s3_enter(s3, state);
    s3->next = s3->driver->idle;
    s3->driver->idle = s3;
    timer_set(s3->driver);
}

static void s3_wake(S3Call *s3)
{
    S3Call **link = &s3->driver->idle;
    while (*link != s3) {
        link = &(*link)->next;
    }
    *link = s3->next;
    s3_enter(s3, S3_READY);
    timer_set(s3->driver);
}

/* Full jitter, so that what failed together does not come back together; an overloaded server gets at least
 * half. */
static void s3_pause(S3Call *s3, Status why, bool slow_down, const char *retry_after)
{
    uint64_t wait = (uint64_t)s3->driver->store->options.retry_base_ms * (slow_down ? SLOW_DOWN_FACTOR : 1);
    wait <<= s3->failures < PAUSE_DOUBLINGS_MAX ? s3->failures : PAUSE_DOUBLINGS_MAX;
    wait = wait < PAUSE_MAX_MS ? wait : PAUSE_MAX_MS;
    uint64_t least = slow_down ? wait / 2 : 0;
    long asked_s = retry_after ? strtol(retry_after, NULL, 10) : 0;
    if (asked_s > 0) {
        least = asked_s < PAUSE_MAX_MS / 1000 ? (uint64_t)asked_s * 1000 : PAUSE_MAX_MS;
        wait = least + wait;
    }
    s3->failures++;
    s3->last = why;
    s3->resume_at_ms = uv_now(s3->driver->store->loop) + least + random_below(s3->driver, wait - least + 1);
    s3_idle(s3, S3_PAUSED);
}

static void s3_send(S3Call *s3);

static void timer_fired(uv_timer_t *timer)
{
    S3Driver *driver = timer->data;
    uint64_t now = uv_now(driver->store->loop);
    for (S3Call *s3 = driver->idle; s3; s3 = s3->next) {
        if (s3->state == S3_PAUSED && now >= s3->resume_at_ms) {
            /* Sending changes the list; the timer comes back for the others. */
            s3_wake(s3);
            s3_send(s3);
            return;
        }
    }
    timer_set(driver);
}

/* New keys, or none: everyone who waits tries again. */
void s3_keys_settled(void *arg)
{
    S3Driver *driver = arg;
    for (S3Call *s3 = driver->idle; s3;) {
        if (s3->state != S3_WAITING_FOR_KEYS) {
            s3 = s3->next;
            continue;
        }
        s3_wake(s3);
        s3_send(s3);
        s3 = driver->keys.asking ? NULL : driver->idle;
    }
}

static void s3_answered(const HttpResponse *response, void *arg);

static void s3_send_signed(S3Call *s3)
{
    S3Driver *driver = s3->driver;
    StoreCall *call = s3->call;
    S3Request request;
    bool has_body = call->operation == STORE_PUT && s3->errand == ERRAND_OPERATION;
    int attempt_ms = driver->store->options.attempt_timeout_ms;
    arena_reset(&s3->arena);
    S3Order order = s3_errand_order(s3);
    Status status = s3_request_build(&driver->target, &order, &driver->keys.current,
                                     (int64_t)time(NULL) + driver->skew_s, &s3->arena, &request);
    if (!status_is_ok(&status)) {
        s3_end(s3, status);
        return;
    }
    s3->generation = driver->keys.generation;
    s3->http =
        http_send(driver->http,
                  &(HttpRequest){ .method = request.method,
                                  .url = request.url,
                                  .headers = request.headers,
                                  .header_count = request.header_count,
                                  .slices = has_body ? call->slices : NULL,
                                  .slice_count = has_body ? call->slice_count : 0,
                                  .response_max = s3_errand_answer_max(s3),
                                  .connect_ms = attempt_ms < CONNECT_MS_MAX ? attempt_ms : CONNECT_MS_MAX,
                                  .stall_ms = attempt_ms,
                                  .deadline_ms = NEVER_MS },
                  s3_answered, s3);
    if (!s3->http) {
        s3_end(s3, status_error(STATUS_INTERNAL, "no memory for a request to S3"));
        return;
    }
    call->result.attempts++;
    s3_enter(s3, S3_SENDING);
}

static void s3_send(S3Call *s3)
{
    S3Keys *keys = &s3->driver->keys;
    KeysState state = s3_keys_get(keys, (int64_t)time(NULL));
    if (state == KEYS_READY) {
        s3_send_signed(s3);
    } else if (state == KEYS_COMING) {
        s3_idle(s3, S3_WAITING_FOR_KEYS);
    } else if (keys->generation == 0) {
        /* There never were any: nobody is served by waiting. */
        s3_end(s3, keys->failure);
    } else {
        s3_pause(s3, keys->failure, false, NULL);
    }
}

static void s3_send_errand(S3Call *s3, S3Errand errand)
{
    s3->errand = errand;
    s3_send(s3);
}

/* A PUT that must not overwrite, on a server that cannot refuse to, looks first. */
static void s3_begin(S3Call *s3)
{
    const StoreCall *call = s3->call;
    bool must_look = call->operation == STORE_PUT && call->if_absent && !call->store->is_conditional &&
                     !call->key_is_unique && !s3->was_looked;
    s3_send_errand(s3, must_look ? ERRAND_LOOK : ERRAND_OPERATION);
}

static Status s3_hash(S3Call *s3)
{
    const StoreCall *call = s3->call;
    switch (s3->driver->checksum) {
    case STORE_CHECKSUM_SHA256:
        return s3_payload_hash(call->slices, call->slice_count, s3->payload);
    case STORE_CHECKSUM_MD5:
        return s3_payload_md5(call->slices, call->slice_count, s3->md5);
    case STORE_CHECKSUM_CRC32C:
        s3_payload_crc32c(call->slices, call->slice_count, s3->crc32c);
        return status_ok();
    default:
        return status_ok();
    }
}

static Status s3_stopped(const S3Call *s3)
{
    if (s3->call->is_cancelled) {
        return status_error(STATUS_CANCELLED, "cancelled");
    }
    if (!status_is_ok(&s3->last)) {
        return s3->last;
    }
    return status_error(STATUS_TIMEOUT, "%s: the object store had not answered when the deadline passed",
                        s3->call->key);
}

static void hash_run(uv_work_t *work)
{
    S3Call *s3 = work->data;
    s3->hashed = s3_hash(s3);
}

static void hash_done(uv_work_t *work, int status)
{
    S3Call *s3 = work->data;
    s3_enter(s3, S3_READY);
    if (status != 0 || s3->call->is_cancelled || s3->call->deadline_at_ms == UINT64_MAX) {
        s3_end(s3, s3_stopped(s3));
    } else if (!status_is_ok(&s3->hashed)) {
        s3_end(s3, s3->hashed);
    } else {
        s3_begin(s3);
    }
}

static void s3_start(StoreCall *call)
{
    S3Driver *driver = call->store->driving;
    S3Call *s3 = calloc(1, sizeof(*s3));
    if (!s3) {
        store_call_end(call, status_error(STATUS_INTERNAL, "no memory for an operation of the object store"));
        return;
    }
    s3->call = call;
    s3->driver = driver;
    s3->last = status_ok();
    s3->hashed = status_ok();
    s3->work.data = s3;
    arena_init(&s3->arena, S3_REQUEST_BYTES_MAX);
    call->driving = s3;
    if (call->operation == STORE_PUT && call->bytes > HASH_INLINE_MAX &&
        driver->checksum != STORE_CHECKSUM_NONE) {
        s3_enter(s3, S3_HASHING);
        uv_queue_work(call->store->loop, &s3->work, hash_run, hash_done);
        return;
    }
    Status status = call->operation == STORE_PUT ? s3_hash(s3) : status_ok();
    if (status_is_ok(&status)) {
        s3_begin(s3);
    } else {
        s3_end(s3, status);
    }
}

static void s3_stop(StoreCall *call)
{
    S3Call *s3 = call->driving;
    switch (s3->state) {
    case S3_HASHING:
        uv_cancel((uv_req_t *)&s3->work);
        return;
    case S3_SENDING:
        http_cancel(s3->http);
        s3_enter(s3, S3_READY);
        break;
    default:
        s3_wake(s3);
    }
    s3_end(s3, s3_stopped(s3));
}

static Status compare_status(const S3Call *s3, bool is_ours)
{
    s3->call->result.was_there = is_ours;
    return is_ours ? status_ok() : s3_verdict_status(S3_TAKEN, 412, "", s3->call->key, NULL);
}

static void errand_done(S3Call *s3, const HttpResponse *response)
{
    store_speed_up(s3->call);
    if (s3->errand == ERRAND_LOOK) {
        s3_send_errand(s3, ERRAND_COMPARE);
    } else if (s3->errand == ERRAND_COMPARE) {
        s3_end(s3, compare_status(s3, s3_errand_is_ours(s3, response)));
    } else {
        s3_end(s3, s3_errand_finish(s3, response));
    }
}

static Status retry_status(const S3Call *s3, const HttpResponse *response, const char *code)
{
    if (response->status == 0) {
        return status_error(response->timed_out ? STATUS_TIMEOUT : STATUS_UNAVAILABLE,
                            "%s: no answer from %s: %s", s3->call->key, s3->driver->target.host,
                            response->failure);
    }
    return status_error(STATUS_UNAVAILABLE, "%s: the object store failed (HTTP %d%s%s)", s3->call->key,
                        response->status, *code ? " " : "", code);
}

/* Takes the server's clock over, once for an operation. */
static bool clock_follow(S3Call *s3, const HttpResponse *response)
{
    time_t theirs = curl_getdate(response->headers[HTTP_DATE], NULL);
    if (s3->was_skewed || theirs <= 0) {
        return false;
    }
    s3->was_skewed = true;
    s3->driver->skew_s = (int64_t)theirs - (int64_t)time(NULL);
    return true;
}

/* False when the verdict ends the operation. */
static bool errand_repeat(S3Call *s3, S3Verdict verdict)
{
    StoreCall *call = s3->call;
    Store *store = call->store;
    bool is_put = call->operation == STORE_PUT && s3->errand == ERRAND_OPERATION;
    if (verdict == S3_RENEW && !s3->was_renewed) {
        s3->was_renewed = true;
        s3_keys_refused(&s3->driver->keys, s3->generation);
        s3_send(s3);
        return true;
    }
    if (verdict == S3_UNCONDITIONAL && is_put && call->if_absent && store->is_conditional &&
        store->options.conditional == STORE_CONDITIONAL_AUTO) {
        store->is_conditional = false;
        s3_begin(s3);
        return true;
    }
    if (verdict == S3_TAKEN && is_put && call->if_absent) {
        s3_send_errand(s3, ERRAND_COMPARE);
        return true;
    }
    if (verdict == S3_MISSING && s3->errand != ERRAND_OPERATION) {
        /* The key is free, or was freed after it was found taken. */
        s3->was_looked = true;
        s3_begin(s3);
        return true;
    }
    return false;
}

static void errand_failed(S3Call *s3, const HttpResponse *response, S3Verdict verdict, const char *code)
{
    StoreCall *call = s3->call;
    const char *subject =
        verdict == S3_NO_BUCKET || verdict == S3_ELSEWHERE ? s3->driver->target.bucket : call->key;
    if (verdict == S3_SLOW_DOWN) {
        store_slow_down(call);
    }
    if (verdict == S3_RETRY || verdict == S3_SLOW_DOWN) {
        s3_pause(s3, retry_status(s3, response, code), verdict == S3_SLOW_DOWN,
                 response->headers[HTTP_RETRY_AFTER]);
    } else if (verdict == S3_SKEWED && clock_follow(s3, response)) {
        s3_send(s3);
    } else if (errand_repeat(s3, verdict)) {
        return;
    } else if (verdict == S3_MISSING && call->operation == STORE_DELETE) {
        s3_end(s3, status_ok());
    } else if (verdict == S3_NO_RANGE && s3->errand == ERRAND_COMPARE) {
        s3_end(s3, compare_status(s3, false));
    } else {
        s3_end(s3, s3_verdict_status(verdict, response->status, code, subject,
                                     response->headers[HTTP_BUCKET_REGION]));
    }
}

static void s3_answered(const HttpResponse *response, void *arg)
{
    S3Call *s3 = arg;
    char code[S3_CODE_MAX + 1];
    s3->http = NULL;
    s3_enter(s3, S3_READY);
    s3->call->store->metrics.connections = http_connections(s3->driver->http);
    S3Verdict verdict = s3_response_judge(response->status, s3_response_bytes(response), code);
    if (verdict == S3_DONE) {
        errand_done(s3, response);
    } else {
        errand_failed(s3, response, verdict, code);
    }
}

static void timer_closed(uv_handle_t *handle)
{
    S3Driver *driver = handle->data;
    Store *store = driver->store;
    free(driver);
    store_driver_closed(store);
}

static void http_closed(void *arg)
{
    S3Driver *driver = arg;
    uv_close((uv_handle_t *)&driver->timer, timer_closed);
}

static void s3_close(Store *store)
{
    S3Driver *driver = store->driving;
    s3_keys_free(&driver->keys);
    http_close(driver->http, http_closed, driver);
}

const StoreDriver s3_driver = { s3_start, s3_stop, s3_close };
