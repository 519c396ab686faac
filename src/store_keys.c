/* store_keys.c: walks the chain of credentials (environment, web identity, profile, metadata services) of the
 * server process, as agents do in s3_keys.c, but waiting for each answer. Kept in static memory, never in one
 * that is dumped in a message. */
#include "compat.h"
#include "store_keys.h"

#include <time.h>

#include "setting.h"
#include "store_http.h"
#include "utils/timestamp.h"

static Credentials current;
static bool has_current;
static int64 renew_at_s;
static CredentialsChain chain;
static bool has_chain;

void store_keys_forget(void)
{
    explicit_bzero(&current, sizeof(current));
    has_current = false;
}

static CredentialsNext chain_send(TimestampTz deadline)
{
    const CredentialsRequest *asked = &chain.request;
    TimestampTz own = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), asked->timeout_ms);
    const StoreHttpAnswer *answer =
        store_http_send(&(StoreHttpRequest){ .method = asked->method,
                                             .url = asked->url,
                                             .headers = asked->headers,
                                             .header_count = asked->header_count,
                                             .body = asked->body,
                                             .response_max = CREDENTIALS_ANSWER_MAX,
                                             .is_local = asked->is_local,
                                             .deadline = Min(own, deadline) });
    return credentials_answer(&chain, answer->status, store_http_body(answer), (int64_t)time(NULL));
}

static void chain_clear(void)
{
    if (has_chain) {
        credentials_chain_free(&chain);
        has_chain = false;
    }
}

const Credentials *store_keys_get(const char *region, TimestampTz deadline, Status *status)
{
    CredentialsOptions options = { .profile =
                                       setting_s3_profile && *setting_s3_profile ? setting_s3_profile : NULL,
                                   .region = region };
    int64 now_s = (int64)time(NULL);
    if (has_current && (renew_at_s == 0 || now_s < renew_at_s)) {
        return &current;
    }
    chain_clear();
    credentials_chain_init(&chain, &options);
    has_chain = true;
    CredentialsNext next = credentials_begin(&chain, now_s);
    while (next == CREDENTIALS_ASK) {
        next = chain_send(deadline);
    }
    *status = chain.status;
    if (next == CREDENTIALS_FOUND) {
        current = chain.credentials;
        has_current = true;
        renew_at_s = current.expires_at_s ? credentials_renew_at(&current, now_s) : 0;
    } else if (current.expires_at_s <= now_s) {
        store_keys_forget(); /* else the old ones are good for a while yet */
    }
    chain_clear();
    return has_current ? &current : NULL;
}
