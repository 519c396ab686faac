/* s3_keys.c: drives the credentials chain over HTTP on the loop. */
#include "common/store/s3_keys.h"

#include <string.h>
#include <time.h>

void s3_keys_init(S3Keys *keys, Http *http, uv_loop_t *loop, const CredentialsOptions *options,
                  StoreMetrics *metrics)
{
    memset(keys, 0, sizeof(*keys));
    keys->http = http;
    keys->loop = loop;
    keys->metrics = metrics;
    keys->failure = status_ok();
    credentials_chain_init(&keys->chain, options);
}

void s3_keys_free(S3Keys *keys)
{
    if (keys->asking) {
        http_cancel(keys->asking);
    }
    credentials_chain_free(&keys->chain);
    explicit_bzero(&keys->current, sizeof(keys->current));
}

static void keys_fail(S3Keys *keys, Status status)
{
    keys->failure = status;
    keys->next_try_at_ms = uv_now(keys->loop) + KEYS_PAUSE_MS;
    keys->metrics->credential_failures++;
}

static void keys_take(S3Keys *keys)
{
    int64_t now_s = (int64_t)time(NULL);
    keys->current = keys->chain.credentials;
    keys->generation++;
    keys->is_stale = false;
    keys->renew_at_s = credentials_renew_at(&keys->current, now_s);
    /* A service that hands out the same old keys is not asked in a loop. */
    keys->next_try_at_ms = uv_now(keys->loop) + KEYS_PAUSE_MS;
    keys->failure = status_ok();
    keys->metrics->credential_refreshes++;
    keys->metrics->credentials_expire_at_s = keys->current.expires_at_s;
    credentials_chain_free(&keys->chain);
}

static void keys_step(S3Keys *keys, CredentialsNext next);

static void keys_answered(const HttpResponse *response, void *arg)
{
    S3Keys *keys = arg;
    Slice body = response->body ? slice_of(response->body->bytes, response->body->size) : SLICE_LITERAL("");
    keys->asking = NULL;
    keys_step(keys, credentials_answer(&keys->chain, response->status, body, (int64_t)time(NULL)));
    if (!keys->asking) {
        keys->settled(keys->settled_arg);
    }
}

static void keys_ask(S3Keys *keys)
{
    const CredentialsRequest *request = &keys->chain.request;
    keys->body = request->body;
    keys->asking = http_send(keys->http,
                             &(HttpRequest){ .method = request->method,
                                             .url = request->url,
                                             .headers = request->headers,
                                             .header_count = request->header_count,
                                             .slices = &keys->body,
                                             .slice_count = slice_is_null(keys->body) ? 0 : 1,
                                             .response_max = CREDENTIALS_ANSWER_MAX,
                                             .is_local = request->is_local,
                                             .connect_ms = request->timeout_ms,
                                             .stall_ms = request->timeout_ms,
                                             .deadline_ms = request->timeout_ms },
                             keys_answered, keys);
    if (!keys->asking) {
        keys_fail(keys, status_error(STATUS_INTERNAL, "no memory to ask for credentials"));
    }
}

static void keys_step(S3Keys *keys, CredentialsNext next)
{
    if (next == CREDENTIALS_ASK) {
        keys_ask(keys);
    } else if (next == CREDENTIALS_FOUND) {
        keys_take(keys);
    } else {
        keys_fail(keys, keys->chain.status);
    }
}

static bool keys_are_good(const S3Keys *keys, int64_t now_s)
{
    return keys->generation > 0 && !keys->is_stale &&
           (keys->current.expires_at_s == 0 || now_s < keys->current.expires_at_s - KEYS_GRACE_S);
}

KeysState s3_keys_get(S3Keys *keys, int64_t now_s)
{
    bool is_due = !keys_are_good(keys, now_s) || now_s >= keys->renew_at_s;
    if (is_due && !keys->asking && uv_now(keys->loop) >= keys->next_try_at_ms) {
        keys_step(keys, credentials_begin(&keys->chain, now_s));
    }
    if (keys_are_good(keys, now_s)) {
        return KEYS_READY;
    }
    if (keys->asking) {
        return KEYS_COMING;
    }
    if (status_is_ok(&keys->failure)) {
        keys->failure =
            status_error(STATUS_DENIED, "the credentials have expired, and no newer ones are to be had");
    }
    return KEYS_FAILED;
}

void s3_keys_refused(S3Keys *keys, unsigned generation)
{
    if (generation == keys->generation) {
        keys->is_stale = true;
        keys->next_try_at_ms = 0;
    }
}
