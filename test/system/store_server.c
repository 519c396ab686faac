/* store_server.c: the S3 store against a real server that does as servers do: what it answers to every
 * operation, and how servers differ in conditional PUT, clocks and certificates. Run by
 * test/system/store_faults. */
#include <stdio.h>
#include <unistd.h>

#include "test/system/store_fixture.h"

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
