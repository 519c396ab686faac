/* store_faults.c: the S3 store against a real server through a proxy that refuses, errs, stalls, cuts and
 * loses, and calls that are given up. Run by test/system/store_faults. */
#include <stdio.h>
#include <unistd.h>

#include "test/system/store_fixture.h"

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
