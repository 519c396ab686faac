/* store_s3.c: ranged reads from S3: what is asked for, what the answer means, and how long to go on asking.
 * Target and credentials come from the settings streamhouse.s3_* or, where these are empty, from the server's
 * environment and AWS files, as for agents. */
#include "compat.h"
#include "store_s3.h"

#include <curl/curl.h>
#include <time.h>

#include "common/store/profile.h"
#include "common/store/s3_request.h"
#include "common/store/s3_response.h"
#include "pgstat.h"
#include "setting.h"
#include "storage/latch.h"
#include "store_http.h"
#include "store_keys.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

enum {
    ERROR_BYTES_MAX = 64 * 1024,
    PAUSE_FIRST_MS = 50,
    PAUSE_MAX_MS = 5000,
    SLOW_DOWN_FACTOR = 10, /* a server that is overloaded gets longer pauses */
    PAUSE_DOUBLINGS_MAX = 10
};

/* Where requests go, and the settings that said so, joined. */
static S3Target target;
static char *target_settings;
static int64 skew_s; /* the server's clock minus ours */
static Arena request_arena;

/* One read. */
typedef struct S3Read {
    const char *key;
    uint64 start;
    uint64 length;
    TimestampTz deadline;
    int failures;
    bool was_renewed;
    bool was_skewed;
    Block *block;
} S3Read;

static const char *setting_or_null(const char *setting)
{
    return setting && *setting ? setting : NULL;
}

/* The first that is there of a setting, two variables, and what the profile says. */
static const char *first_of(const char *setting, const char *variable, const char *other, const char *profile)
{
    CredentialsOptions environment = { 0 };
    const char *found = setting_or_null(setting);
    found = found ? found : credentials_environment(&environment, variable);
    found = found ? found : credentials_environment(&environment, other);
    return found ? found : profile;
}

static Status target_make(const StoreUrl *url, const Profile *profile)
{
    Endpoint endpoint;
    const char *region = first_of(setting_s3_region, "AWS_REGION", "AWS_DEFAULT_REGION", profile->region);
    const char *host =
        first_of(setting_s3_endpoint, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", profile->endpoint_url);
    Status status = host ? endpoint_parse(host, &endpoint) : status_ok();
    if (!status_is_ok(&status)) {
        return status;
    }
    bool by_path = setting_s3_addressing == SETTING_ADDRESSING_PATH ||
                   (setting_s3_addressing == SETTING_ADDRESSING_AUTO && (host || strchr(url->bucket, '.')));
    return s3_target_make(url, host ? &endpoint : NULL, region ? region : "us-east-1", by_path, &target);
}

static void target_forget(void)
{
    if (target_settings) {
        pfree(target_settings);
        target_settings = NULL;
    }
    store_keys_forget();
    skew_s = 0;
}

static Status target_open(const StoreUrl *url)
{
    Arena arena;
    Profile profile;
    CredentialsOptions options = { .profile = setting_or_null(setting_s3_profile) };
    char *settings = psprintf("%s %s %s %s %s %d", url->bucket, url->prefix, setting_s3_endpoint,
                              setting_s3_region, setting_s3_profile, setting_s3_addressing);
    if (target_settings && strcmp(settings, target_settings) == 0) {
        pfree(settings);
        return status_ok();
    }
    target_forget();
    arena_init(&arena, PROFILE_ARENA_BYTES);
    profile_read(&options, &arena, &profile);
    Status status = target_make(url, &profile);
    arena_reset(&arena);
    if (status_is_ok(&status)) {
        target_settings = MemoryContextStrdup(TopMemoryContext, settings);
    }
    pfree(settings);
    return status;
}

/* Sends the request once; NULL, and why, when it cannot be sent. */
static const StoreHttpAnswer *read_send(S3Read *read, Status *status)
{
    S3Request request;
    S3Order order = {
        .method = "GET", .key = read->key, .range_start = read->start, .range_length = read->length
    };
    const Credentials *credentials = store_keys_get(target.region, read->deadline, status);
    if (!credentials) {
        return NULL;
    }
    arena_reset(&request_arena);
    arena_init(&request_arena, S3_REQUEST_BYTES_MAX);
    *status = s3_request_build(&target, &order, credentials, (int64_t)time(NULL) + skew_s, &request_arena,
                               &request);
    if (!status_is_ok(status)) {
        return NULL;
    }
    return store_http_send(&(StoreHttpRequest){ .method = request.method,
                                                .url = request.url,
                                                .headers = request.headers,
                                                .header_count = request.header_count,
                                                .response_max = Max(read->length, ERROR_BYTES_MAX),
                                                .deadline = read->deadline });
}

/* Takes the body, if it is what was asked for. */
static Status read_done(S3Read *read, const StoreHttpAnswer *answer)
{
    uint64 start, end, object_bytes;
    Slice body = store_http_body(answer);
    if (answer->status == 206) {
        if (!s3_content_range_parse(answer->headers[STORE_HTTP_CONTENT_RANGE], &start, &end, &object_bytes) ||
            start != read->start || end - start + 1 != body.size || body.size > read->length) {
            return status_error(STATUS_CORRUPT,
                                "%s: the object store answered another range than was asked for", read->key);
        }
    } else if (read->start > 0 || body.size > read->length) {
        return status_error(STATUS_CORRUPT, "%s: the object store ignores ranges", read->key);
    }
    read->block = answer->body ? block_hold(answer->body) : block_new(0);
    return read->block ? status_ok() : status_error(STATUS_INTERNAL, "no memory for an empty object");
}

static Status attempt_status(const S3Read *read, const StoreHttpAnswer *answer, const char *code)
{
    if (answer->status == 0) {
        return status_error(answer->timed_out ? STATUS_TIMEOUT : STATUS_UNAVAILABLE,
                            "%s: no answer from %s: %s", read->key, target.host, answer->failure);
    }
    return status_error(STATUS_UNAVAILABLE, "%s: the object store failed (HTTP %d%s%s)", read->key,
                        answer->status, *code ? " " : "", code);
}

static void sleep_ms(int64 ms)
{
    TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
    for (;;) {
        long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (left <= 0) {
            return;
        }
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

/* Pauses with full jitter, so that what failed together does not come back together; a server that asked for
 * it gets at least half. False when the deadline would pass meanwhile. */
static bool read_pause(S3Read *read, bool slow_down, const char *retry_after)
{
    int64 wait = (int64)PAUSE_FIRST_MS * (slow_down ? SLOW_DOWN_FACTOR : 1)
                 << Min(read->failures, PAUSE_DOUBLINGS_MAX);
    wait = Min(wait, PAUSE_MAX_MS);
    int64 least = slow_down ? wait / 2 : 0;
    long asked_s = strtol(retry_after, NULL, 10);
    if (asked_s > 0) {
        least = Min(asked_s, PAUSE_MAX_MS / 1000) * 1000;
        wait += least;
    }
    int64 pause = least + (int64)(compat_random_fraction() * (double)(wait - least));
    read->failures++;
    if (TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause) >= read->deadline) {
        return false;
    }
    sleep_ms(pause);
    return true;
}

/* Takes the server's clock over, once a read. */
static bool clock_follow(S3Read *read, const StoreHttpAnswer *answer)
{
    time_t theirs = curl_getdate(answer->headers[STORE_HTTP_DATE], NULL);
    if (read->was_skewed || theirs <= 0) {
        return false;
    }
    read->was_skewed = true;
    skew_s = (int64)theirs - (int64)time(NULL);
    return true;
}

/* One attempt; true: ask again. */
static bool read_attempt(S3Read *read, Status *status)
{
    char code[S3_CODE_MAX + 1];
    const StoreHttpAnswer *answer = read_send(read, status);
    if (!answer) {
        return false;
    }
    S3Verdict verdict = s3_response_judge(answer->status, store_http_body(answer), code);
    if (verdict == S3_DONE) {
        *status = read_done(read, answer);
        return false;
    }
    if (verdict == S3_RETRY || verdict == S3_SLOW_DOWN) {
        *status = attempt_status(read, answer, code);
        return read_pause(read, verdict == S3_SLOW_DOWN, answer->headers[STORE_HTTP_RETRY_AFTER]);
    }
    if (verdict == S3_SKEWED && clock_follow(read, answer)) {
        return true;
    }
    if (verdict == S3_RENEW && !read->was_renewed) {
        read->was_renewed = true;
        store_keys_forget();
        return true;
    }
    bool is_bucket = verdict == S3_NO_BUCKET || verdict == S3_ELSEWHERE;
    *status = s3_verdict_status(verdict, answer->status, code, is_bucket ? target.bucket : read->key,
                                answer->headers[STORE_HTTP_BUCKET_REGION]);
    if (verdict == S3_NO_BUCKET) {
        status->code = STATUS_INVALID; /* NOT_FOUND is an object's */
    }
    return false;
}

Status store_s3_get(const StoreUrl *url, const char *key, uint64 start, uint64 length, Block **block)
{
    S3Read read = { .key = key, .start = start, .length = length };
    Status status = target_open(url);
    read.deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), setting_fetch_timeout_ms);
    if (status_is_ok(&status)) {
        while (read_attempt(&read, &status)) {
            CHECK_FOR_INTERRUPTS();
        }
    }
    *block = read.block;
    return status;
}
