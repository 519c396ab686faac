/* store_faults.c: the S3 store against a real server, straight and through fault_proxy.py. Run by
 * test/system/store_faults, which starts both and says where they are: STORE_TEST_UPSTREAM, STORE_TEST_PROXY,
 * STORE_TEST_CONTROL, STORE_TEST_TLS (URLs), STORE_TEST_CA (a file). */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "test/unit/store_wait.h"
#include "test/unit/test.h"

#define KEY_ID "STREAMHOUSE"
#define SECRET "streamhouse-secret"

typedef struct Fixture {
    uv_loop_t loop;
    Store *store;
    char key[64]; /* a new one for every test */
} Fixture;

/* The machine's own settings stay out of it. */
static const char *test_environment(const char *name, void *context)
{
    (void)context;
    static const char *const values[][2] = {
        { "AWS_ACCESS_KEY_ID", KEY_ID },
        { "AWS_SECRET_ACCESS_KEY", SECRET },
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        if (strcmp(name, values[i][0]) == 0) {
            return values[i][1];
        }
    }
    return NULL;
}

static const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

static Status fixture_open_at(Fixture *f, const char *endpoint, StoreOptions options)
{
    static unsigned count;
    uv_loop_init(&f->loop);
    snprintf(f->key, sizeof(f->key), "o/%02x/%d-%llu-%u.sho", count % 7, getpid(),
             (unsigned long long)uv_hrtime(), count);
    count++;
    options.url = options.url ? options.url : "s3://streamhouse-test/some/prefix";
    options.endpoint = endpoint;
    options.environment = options.environment ? options.environment : test_environment;
    options.deadline_ms = options.deadline_ms ? options.deadline_ms : 10000;
    return store_open(&options, &f->loop, &f->store);
}

static Status fixture_open_with(Fixture *f, StoreOptions options)
{
    return fixture_open_at(f, from_environment("STORE_TEST_PROXY"), options);
}

static Status fixture_open(Fixture *f)
{
    return fixture_open_with(f, (StoreOptions){ 0 });
}

static size_t control_keep(char *data, size_t size, size_t count, void *arg)
{
    char *out = arg;
    size_t used = strlen(out);
    size_t total = size * count;
    size_t kept = total < 65535 - used ? total : 65535 - used;
    memcpy(out + used, data, kept);
    out[used + kept] = '\0';
    return total;
}

static char control_answer[65536];

/* Sends a command to the proxy; the answer is in control_answer. */
static bool control(const char *method, const char *path, const char *body)
{
    char url[300];
    long status = 0;
    CURL *easy = curl_easy_init();
    snprintf(url, sizeof(url), "%s%s", from_environment("STORE_TEST_CONTROL"), path);
    control_answer[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, control_keep);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, control_answer);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    return code == CURLE_OK && status == 200;
}

static bool faults(const char *rules)
{
    return control("DELETE", "/log", "") && control("PUT", "/up", "") && control("PUT", "/rules", rules);
}

/* How often a text is in the proxy's log of requests. */
static int logged(const char *text)
{
    int count = 0;
    if (!control("GET", "/log", "")) {
        return -1;
    }
    for (const char *found = control_answer; (found = strstr(found, text)); found++) {
        count++;
    }
    return count;
}

static bool fixture_close(Fixture *f)
{
    return store_and_loop_close(f->store, &f->loop) && faults("[]");
}

static bool object_is(Fixture *f, const char *text)
{
    Answer read = get_range(f->store, &f->loop, f->key, 0, 0);
    bool same =
        status_is_ok(&read.status) && slice_equals(slice_of(read.bytes, read.size), slice_of_text(text));
    answer_free(&read);
    return same;
}

#define OPEN(...)                                                                                            \
    Fixture f;                                                                                               \
    Status status = __VA_ARGS__;                                                                             \
    CHECK_STR(status.message, "")

TEST(objects_come_back_byte_for_byte_from_a_real_server)
{
    static const size_t sizes[] = { 0, 1, 4096, 65536, 65537, 8 * 1024 * 1024 + 3 };
    OPEN(fixture_open_at(&f, from_environment("STORE_TEST_UPSTREAM"), (StoreOptions){ 0 }));
    uint8_t *bytes = malloc(sizes[5]);
    for (size_t i = 0; i < sizes[5]; i++) {
        bytes[i] = (uint8_t)(i * 2654435761u >> 24);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char key[100];
        size_t cut = sizes[i] / 3;
        Slice parts[] = { slice_of(bytes, cut), SLICE_LITERAL(""), slice_of(bytes + cut, sizes[i] - cut) };
        snprintf(key, sizeof(key), "%s-%zu", f.key, sizes[i]);
        Answer put = put_slices(f.store, &f.loop, key, parts, 3, true);
        CHECK_STR(put.status.message, "");
        CHECK(!put.was_there);
        Answer read = get_range(f.store, &f.loop, key, 0, 0);
        CHECK_STR(read.status.message, "");
        CHECK_BYTES(slice_of(read.bytes, read.size), slice_of(bytes, sizes[i]));
        CHECK_INT(read.object_bytes, sizes[i]);
        CHECK_INT(head_key(f.store, &f.loop, key).object_bytes, sizes[i]);
        CHECK(put_slices(f.store, &f.loop, key, parts, 3, true).was_there);
        CHECK_INT(delete_key(f.store, &f.loop, key).status.code, STATUS_OK);
        answer_free(&read);
    }
    free(bytes);
    CHECK(fixture_close(&f));
}

TEST(ranges_of_an_object_are_read_and_ranges_outside_it_are_not)
{
    OPEN(fixture_open(&f));
    CHECK_INT(put_text(f.store, &f.loop, f.key, "hello world").status.code, STATUS_OK);
    Answer part = get_range(f.store, &f.loop, f.key, 4, 3);
    CHECK_BYTES(slice_of(part.bytes, part.size), SLICE_LITERAL("o w"));
    CHECK_INT(part.object_bytes, 11);
    Answer end = get_range(f.store, &f.loop, f.key, 6, 100);
    CHECK_BYTES(slice_of(end.bytes, end.size), SLICE_LITERAL("world"));
    Answer rest = get_range(f.store, &f.loop, f.key, 6, 0);
    CHECK_BYTES(slice_of(rest.bytes, rest.size), SLICE_LITERAL("world"));
    CHECK_INT(get_range(f.store, &f.loop, f.key, 11, 1).status.code, STATUS_INVALID);
    CHECK_INT(get_range(f.store, &f.loop, "no/such", 0, 1).status.code, STATUS_NOT_FOUND);
    CHECK_INT(head_key(f.store, &f.loop, "no/such").status.code, STATUS_NOT_FOUND);
    CHECK_INT(delete_key(f.store, &f.loop, "no/such").status.code, STATUS_OK);
    answer_free(&part);
    answer_free(&end);
    answer_free(&rest);
    CHECK(fixture_close(&f));
}

TEST(an_object_is_never_overwritten)
{
    OPEN(fixture_open(&f));
    CHECK_INT(put_text(f.store, &f.loop, f.key, "first").status.code, STATUS_OK);
    CHECK_INT(put_text(f.store, &f.loop, f.key, "other").status.code, STATUS_EXISTS);
    CHECK_INT(put_text(f.store, &f.loop, f.key, "first and more").status.code, STATUS_EXISTS);
    CHECK_INT(put_text(f.store, &f.loop, f.key, "").status.code, STATUS_EXISTS);
    CHECK(object_is(&f, "first"));
    CHECK(fixture_close(&f));
}

TEST(a_list_is_in_byte_order_and_goes_on_where_it_ended)
{
    static const char *const names[] = { "b/z", "a-b", "a/x", "c" };
    OPEN(fixture_open_with(&f, (StoreOptions){ .url = "s3://streamhouse-test/lists" }));
    char prefix[80];
    char after[100];
    snprintf(prefix, sizeof(prefix), "%d/", getpid());
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(after, sizeof(after), "%s%s", prefix, names[i]);
        CHECK_INT(put_text(f.store, &f.loop, after, "12").status.code, STATUS_OK);
    }
    char expected[600];
    Answer all = list_keys(f.store, &f.loop, prefix, NULL, 0);
    snprintf(expected, sizeof(expected), "%sa-b:2 %sa/x:2 %sb/z:2 %sc:2", prefix, prefix, prefix, prefix);
    CHECK_STR(all.keys, expected);
    CHECK(!all.more);
    Answer page = list_keys(f.store, &f.loop, prefix, NULL, 2);
    snprintf(expected, sizeof(expected), "%sa-b:2 %sa/x:2", prefix, prefix);
    CHECK_STR(page.keys, expected);
    CHECK(page.more);
    snprintf(after, sizeof(after), "%sa/x", prefix);
    snprintf(expected, sizeof(expected), "%sb/z:2 %sc:2", prefix, prefix);
    CHECK_STR(list_keys(f.store, &f.loop, prefix, after, 2).keys, expected);
    CHECK(fixture_close(&f));
}

TEST(every_checksum_is_accepted_by_the_server)
{
    for (StoreChecksum checksum = STORE_CHECKSUM_AUTO; checksum < STORE_CHECKSUM_COUNT; checksum++) {
        OPEN(fixture_open_with(&f, (StoreOptions){ .checksum = checksum }));
        CHECK_STR(put_text(f.store, &f.loop, f.key, store_checksum_names[checksum]).status.message, "");
        CHECK(object_is(&f, store_checksum_names[checksum]));
        CHECK(fixture_close(&f));
    }
}

TEST(a_probe_finds_that_the_server_honours_conditional_put)
{
    Answer answer = { 0 };
    OPEN(fixture_open(&f));
    CHECK(store_probe(f.store, 10000, answer_keep, &answer));
    answer_await(&f.loop, &answer);
    CHECK_STR(answer.status.message, "");
    CHECK(store_is_conditional(f.store));
    CHECK_STR(list_keys(f.store, &f.loop, "probe/", NULL, 0).keys, "");
    CHECK(fixture_close(&f));
}

TEST(a_missing_bucket_is_named_at_once)
{
    OPEN(fixture_open_with(&f, (StoreOptions){ .url = "s3://no-such-bucket-here" }));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_INT(put.status.code, STATUS_NOT_FOUND);
    CHECK(strstr(put.status.message, "no-such-bucket-here"));
    CHECK(!strstr(put.status.message, SECRET));
    CHECK(fixture_close(&f));
}

static const char *wrong_environment(const char *name, void *context)
{
    return strcmp(name, "AWS_SECRET_ACCESS_KEY") == 0 ? "wrong-and-private" : test_environment(name, context);
}

TEST(a_wrong_secret_is_denied_at_once_and_not_shown)
{
    OPEN(fixture_open_with(&f, (StoreOptions){ .environment = wrong_environment }));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_INT(put.status.code, STATUS_DENIED);
    CHECK_INT(put.attempts, 1);
    CHECK(!strstr(put.status.message, "private"));
    CHECK(fixture_close(&f));
}

TEST(a_put_survives_a_server_that_refuses_connections_for_a_while)
{
    Answer answer = { 0 };
    Slice body = SLICE_LITERAL("patient");
    OPEN(fixture_open(&f));
    CHECK(control("PUT", "/down", ""));
    CHECK(store_put(f.store,
                    &(StorePut){ .key = f.key, .slices = &body, .slice_count = 1, .if_absent = true },
                    answer_keep, &answer));
    uint64_t until_ns = uv_hrtime() + 1000000000;
    while (uv_hrtime() < until_ns) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
        usleep(2000);
    }
    CHECK(!answer.done);
    CHECK(control("PUT", "/up", ""));
    answer_await(&f.loop, &answer);
    CHECK_STR(answer.status.message, "");
    CHECK(answer.attempts > 2);
    CHECK_INT(store_metrics(f.store)->retries[STORE_PUT], answer.attempts - 1);
    CHECK(object_is(&f, "patient"));
    CHECK(fixture_close(&f));
}

TEST(a_server_that_stays_away_is_said_to_be_away_at_the_deadline)
{
    OPEN(fixture_open_with(&f, (StoreOptions){ .deadline_ms = 800 }));
    CHECK(control("PUT", "/down", ""));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_INT(put.status.code, STATUS_UNAVAILABLE);
    CHECK(put.elapsed_us >= 700000 && put.elapsed_us < 2500000);
    CHECK(put.attempts > 1);
    CHECK(fixture_close(&f));
}

TEST(errors_of_the_server_are_tried_again)
{
    OPEN(fixture_open(&f));
    CHECK(faults("[{\"fault\": \"status\", \"status\": 500, \"method\": \"PUT\", \"count\": 3}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_STR(put.status.message, "");
    CHECK_INT(put.attempts, 4);
    CHECK_INT(store_metrics(f.store)->slowdowns, 0);
    CHECK(object_is(&f, "x"));
    CHECK(fixture_close(&f));
}

TEST(slow_down_is_back_pressure_and_no_error)
{
    OPEN(fixture_open_with(&f, (StoreOptions){ .put_parallel_max = 8 }));
    CHECK(faults("[{\"fault\": \"status\", \"status\": 503, \"code\": \"SlowDown\", \"method\": \"PUT\", "
                 "\"count\": 2}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_STR(put.status.message, "");
    CHECK_INT(store_metrics(f.store)->slowdowns, 2);
    CHECK_INT(store_metrics(f.store)->put_parallel, 4);
    CHECK_INT(store_metrics(f.store)->get_parallel, 16);
    /* It recovers: one more for every few that went well. */
    for (int i = 0; i < 100; i++) {
        char key[80];
        snprintf(key, sizeof(key), "%s-%d", f.key, i);
        CHECK_INT(put_text(f.store, &f.loop, key, "x").status.code, STATUS_OK);
    }
    CHECK_INT(store_metrics(f.store)->put_parallel, 8);
    CHECK(fixture_close(&f));
}

TEST(a_request_cut_in_the_middle_is_sent_again)
{
    enum { SIZE = 1024 * 1024 };
    OPEN(fixture_open(&f));
    char *body = malloc(SIZE + 1);
    memset(body, 'x', SIZE);
    body[SIZE] = '\0';
    CHECK(faults("[{\"fault\": \"reset_request\", \"method\": \"PUT\", \"bytes\": 300000, \"count\": 2}]"));
    Answer put = put_text(f.store, &f.loop, f.key, body);
    CHECK_STR(put.status.message, "");
    CHECK_INT(logged("reset_request"), 2);
    CHECK(put.attempts >= 3);
    CHECK(object_is(&f, body));
    free(body);
    CHECK(fixture_close(&f));
}

TEST(an_answer_cut_in_the_middle_is_asked_for_again)
{
    enum { SIZE = 1024 * 1024 };
    OPEN(fixture_open(&f));
    char *body = malloc(SIZE + 1);
    memset(body, 'y', SIZE);
    body[SIZE] = '\0';
    CHECK_INT(put_text(f.store, &f.loop, f.key, body).status.code, STATUS_OK);
    CHECK(faults("[{\"fault\": \"reset_response\", \"method\": \"GET\", \"bytes\": 300000, \"count\": 2}]"));
    Answer read = get_range(f.store, &f.loop, f.key, 0, 0);
    CHECK_STR(read.status.message, "");
    CHECK_INT(read.attempts, 3);
    CHECK_BYTES(slice_of(read.bytes, read.size), slice_of(body, SIZE));
    answer_free(&read);
    free(body);
    CHECK(fixture_close(&f));
}

TEST(a_lost_reply_to_a_put_that_won_is_recognised)
{
    OPEN(fixture_open(&f));
    CHECK(faults("[{\"fault\": \"swallow\", \"method\": \"PUT\", \"count\": 1}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "mine");
    CHECK_STR(put.status.message, "");
    CHECK(put.was_there);
    CHECK_INT(logged("\"swallowed\": 200"), 1);
    CHECK_INT(logged("\"status\": 412"), 1);
    CHECK_INT(store_metrics(f.store)->lost_replies, 1);
    CHECK(object_is(&f, "mine"));
    CHECK(fixture_close(&f));
}

TEST(a_lost_reply_to_an_empty_put_that_won_is_recognised)
{
    OPEN(fixture_open(&f));
    CHECK(faults("[{\"fault\": \"swallow\", \"method\": \"PUT\", \"count\": 1}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "");
    CHECK_STR(put.status.message, "");
    CHECK(put.was_there);
    CHECK(fixture_close(&f));
}

TEST(a_lost_reply_to_a_put_that_lost_is_not_taken_for_a_win)
{
    OPEN(fixture_open(&f));
    CHECK_INT(put_text(f.store, &f.loop, f.key, "theirs").status.code, STATUS_OK);
    CHECK(faults("[{\"fault\": \"swallow\", \"method\": \"PUT\", \"count\": 1}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "mine, ");
    CHECK_INT(put.status.code, STATUS_EXISTS);
    CHECK(!put.was_there);
    CHECK(object_is(&f, "theirs"));
    CHECK(fixture_close(&f));
}

TEST(a_server_that_says_nothing_is_given_up_and_asked_again)
{
    OPEN(fixture_open_with(&f, (StoreOptions){ .attempt_timeout_ms = 400 }));
    CHECK(faults("[{\"fault\": \"delay\", \"method\": \"PUT\", \"seconds\": 20, \"count\": 1}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_STR(put.status.message, "");
    CHECK(put.attempts >= 2);
    CHECK(put.elapsed_us >= 350000 && put.elapsed_us < 5000000);
    CHECK(fixture_close(&f));
}

TEST(an_answer_that_stops_coming_is_given_up_and_asked_again)
{
    enum { SIZE = 300000 };
    OPEN(fixture_open_with(&f, (StoreOptions){ .attempt_timeout_ms = 400 }));
    char *body = malloc(SIZE + 1);
    memset(body, 'z', SIZE);
    body[SIZE] = '\0';
    CHECK_INT(put_text(f.store, &f.loop, f.key, body).status.code, STATUS_OK);
    CHECK(faults("[{\"fault\": \"stall_response\", \"method\": \"GET\", \"bytes\": 100000, \"seconds\": 20, "
                 "\"count\": 1}]"));
    CHECK(object_is(&f, body));
    CHECK_INT(logged("stall_response"), 1);
    free(body);
    CHECK(fixture_close(&f));
}

TEST(a_slow_server_is_waited_for_while_bytes_move)
{
    enum { SIZE = 400000 };
    OPEN(fixture_open_with(&f, (StoreOptions){ .attempt_timeout_ms = 1000 }));
    char *body = malloc(SIZE + 1);
    memset(body, 's', SIZE);
    body[SIZE] = '\0';
    CHECK_INT(put_text(f.store, &f.loop, f.key, body).status.code, STATUS_OK);
    CHECK(faults("[{\"fault\": \"throttle\", \"method\": \"GET\", \"bytes_per_s\": 200000}]"));
    Answer read = get_range(f.store, &f.loop, f.key, 0, 0);
    CHECK_STR(read.status.message, "");
    CHECK_INT(read.attempts, 1);
    CHECK(read.elapsed_us > 1200000);
    answer_free(&read);
    free(body);
    CHECK(fixture_close(&f));
}

TEST(a_deadline_ends_a_call_that_is_answered_too_slowly)
{
    OPEN(fixture_open_with(&f, (StoreOptions){ .deadline_ms = 500 }));
    CHECK(faults("[{\"fault\": \"delay\", \"seconds\": 20}]"));
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_INT(put.status.code, STATUS_TIMEOUT);
    CHECK(put.elapsed_us >= 450000 && put.elapsed_us < 2000000);
    CHECK(fixture_close(&f));
}

TEST(a_cancelled_put_is_called_back_at_once)
{
    Answer answer = { 0 };
    Slice body = SLICE_LITERAL("x");
    OPEN(fixture_open(&f));
    CHECK(faults("[{\"fault\": \"delay\", \"seconds\": 20}]"));
    StoreCall *call = store_put(f.store, &(StorePut){ .key = f.key, .slices = &body, .slice_count = 1 },
                                answer_keep, &answer);
    CHECK(call);
    for (int i = 0; i < 20; i++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
        usleep(2000);
    }
    store_cancel(call);
    CHECK(!answer.done);
    answer_await(&f.loop, &answer);
    CHECK_INT(answer.status.code, STATUS_CANCELLED);
    CHECK(answer.elapsed_us < 1000000);
    CHECK(fixture_close(&f));
}

TEST(closing_in_the_middle_of_everything_leaves_nothing_in_the_loop)
{
    enum { CALLS = 40 };
    Answer answers[CALLS] = { 0 };
    Slice body = SLICE_LITERAL("x");
    OPEN(fixture_open(&f));
    CHECK(faults("[{\"fault\": \"delay\", \"seconds\": 20, \"chance\": 0.5}, {\"fault\": \"status\", "
                 "\"chance\": 0.5}]"));
    for (int i = 0; i < CALLS; i++) {
        char key[80];
        snprintf(key, sizeof(key), "%s-%d", f.key, i);
        CHECK(store_put(f.store, &(StorePut){ .key = key, .slices = &body, .slice_count = 1 }, answer_keep,
                        &answers[i]));
    }
    for (int i = 0; i < 30; i++) {
        uv_run(&f.loop, UV_RUN_NOWAIT);
        usleep(2000);
    }
    CHECK(fixture_close(&f));
    for (int i = 0; i < CALLS; i++) {
        CHECK(answers[i].done);
    }
}

TEST(of_many_that_write_one_key_at_once_one_wins)
{
    enum { WRITERS = 16 };
    Answer answers[WRITERS] = { 0 };
    Slice slices[WRITERS];
    char bodies[WRITERS][32];
    int won = 0;
    OPEN(fixture_open_with(&f, (StoreOptions){ .put_parallel_max = WRITERS }));
    CHECK(faults("[{\"fault\": \"swallow\", \"method\": \"PUT\", \"chance\": 0.3}]"));
    for (int i = 0; i < WRITERS; i++) {
        snprintf(bodies[i], sizeof(bodies[i]), "writer %02d", i);
        slices[i] = slice_of_text(bodies[i]);
        StorePut put = { .key = f.key, .slices = &slices[i], .slice_count = 1, .if_absent = true };
        CHECK(store_put(f.store, &put, answer_keep, &answers[i]));
    }
    for (int i = 0; i < WRITERS; i++) {
        answer_await(&f.loop, &answers[i]);
        CHECK(status_is_ok(&answers[i].status) || answers[i].status.code == STATUS_EXISTS);
        if (status_is_ok(&answers[i].status)) {
            won++;
            CHECK(object_is(&f, bodies[i]));
        }
    }
    CHECK_INT(won, 1);
    CHECK(fixture_close(&f));
}

/* The proxy drops the header and signs the rest anew: to the store, a server that does not honour it. */
#define IGNORING                                                                                             \
    "[{\"fault\": \"strip\", \"header\": \"if-none-match\", \"method\": \"PUT\", \"key\": \"" KEY_ID         \
    "\", \"secret\": \"" SECRET "\"}]"

TEST(a_server_that_ignores_conditional_put_is_found_out_and_worked_with)
{
    Answer probe = { 0 };
    OPEN(fixture_open(&f));
    CHECK(faults(IGNORING));
    CHECK(store_probe(f.store, 10000, answer_keep, &probe));
    answer_await(&f.loop, &probe);
    CHECK_STR(probe.status.message, "");
    CHECK(!store_is_conditional(f.store));
    CHECK_INT(put_text(f.store, &f.loop, f.key, "first").status.code, STATUS_OK);
    CHECK_INT(put_text(f.store, &f.loop, f.key, "other").status.code, STATUS_EXISTS);
    CHECK(object_is(&f, "first"));
    CHECK_STR(list_keys(f.store, &f.loop, "probe/", NULL, 0).keys, "");
    CHECK(fixture_close(&f));
}

TEST(a_server_that_ignores_conditional_put_though_it_was_said_to_honour_it_is_reported)
{
    Answer probe = { 0 };
    OPEN(fixture_open_with(&f, (StoreOptions){ .conditional = STORE_CONDITIONAL_ON }));
    CHECK(faults(IGNORING));
    CHECK(store_probe(f.store, 10000, answer_keep, &probe));
    answer_await(&f.loop, &probe);
    CHECK_INT(probe.status.code, STATUS_INVALID);
    CHECK(strstr(probe.status.message, "If-None-Match"));
    CHECK_STR(list_keys(f.store, &f.loop, "probe/", NULL, 0).keys, "");
    CHECK(fixture_close(&f));
}

TEST(a_server_that_has_not_implemented_conditional_put_is_worked_with)
{
    OPEN(fixture_open(&f));
    CHECK(faults("[{\"fault\": \"status\", \"status\": 501, \"code\": \"NotImplemented\", \"method\": "
                 "\"PUT\", \"count\": 1}]"));
    CHECK_STR(put_text(f.store, &f.loop, f.key, "first").status.message, "");
    CHECK(!store_is_conditional(f.store));
    CHECK_INT(put_text(f.store, &f.loop, f.key, "other").status.code, STATUS_EXISTS);
    CHECK(put_text(f.store, &f.loop, f.key, "first").was_there);
    CHECK_INT(logged("HEAD"), 3);
    CHECK(object_is(&f, "first"));
    CHECK(fixture_close(&f));
}

TEST(without_conditional_put_a_unique_key_costs_one_request)
{
    Answer answer = { 0 };
    Slice body = SLICE_LITERAL("x");
    OPEN(fixture_open_with(&f, (StoreOptions){ .conditional = STORE_CONDITIONAL_OFF }));
    CHECK(faults("[]"));
    StorePut put = {
        .key = f.key, .slices = &body, .slice_count = 1, .if_absent = true, .key_is_unique = true
    };
    CHECK(store_put(f.store, &put, answer_keep, &answer));
    answer_await(&f.loop, &answer);
    CHECK_STR(answer.status.message, "");
    CHECK_INT(logged("\"method\""), 1);
    CHECK(fixture_close(&f));
}

TEST(the_servers_clock_is_followed_and_followed_back)
{
    OPEN(fixture_open(&f));
    char rules[300];
    char date[40];
    time_t later = time(NULL) + 3600;
    strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&later));
    snprintf(rules, sizeof(rules),
             "[{\"fault\": \"status\", \"status\": 403, \"code\": \"RequestTimeTooSkewed\", \"date\": "
             "\"%s\", \"count\": 1}]",
             date);
    CHECK(faults(rules));
    /* An hour ahead, as told, is what the real server then turns away; a second turn ends the operation. */
    Answer put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_INT(put.status.code, STATUS_DENIED);
    CHECK(strstr(put.status.message, "clock"));
    CHECK_INT(put.attempts, 2);
    put = put_text(f.store, &f.loop, f.key, "x");
    CHECK_STR(put.status.message, "");
    CHECK_INT(put.attempts, 2);
    CHECK_INT(put_text(f.store, &f.loop, "o/after", "x").attempts, 1);
    CHECK(fixture_close(&f));
}

TEST(connections_are_used_again)
{
    OPEN(fixture_open(&f));
    for (int i = 0; i < 30; i++) {
        char key[80];
        snprintf(key, sizeof(key), "%s-%d", f.key, i);
        CHECK_INT(put_text(f.store, &f.loop, key, "x").status.code, STATUS_OK);
    }
    CHECK_INT(store_metrics(f.store)->connections, 1);
    CHECK_INT(store_metrics(f.store)->bytes_put, 30);
    CHECK(fixture_close(&f));
}

TEST(over_tls_a_server_with_a_known_certificate_is_trusted)
{
    OPEN(fixture_open_at(&f, from_environment("STORE_TEST_TLS"),
                         (StoreOptions){ .ca_file = from_environment("STORE_TEST_CA") }));
    CHECK_STR(put_text(f.store, &f.loop, f.key, "private").status.message, "");
    CHECK(object_is(&f, "private"));
    CHECK(put_text(f.store, &f.loop, f.key, "private").was_there);
    CHECK(fixture_close(&f));
}

TEST(over_tls_a_server_with_an_unknown_certificate_is_told_nothing)
{
    OPEN(fixture_open_at(&f, from_environment("STORE_TEST_TLS"), (StoreOptions){ .deadline_ms = 500 }));
    Answer put = put_text(f.store, &f.loop, f.key, "private");
    CHECK_INT(put.status.code, STATUS_UNAVAILABLE);
    CHECK(strstr(put.status.message, "certificate"));
    CHECK(fixture_close(&f));
}
