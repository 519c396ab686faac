/* store_parse_test.c: everything of a store that reads text from elsewhere: URLs, keys, XML, profiles,
 * answers. */
#include <stdlib.h>

#include "common/store/credentials.h"
#include "common/store/ini.h"
#include "common/store/s3_response.h"
#include "common/store/store_key.h"
#include "common/store/store_url.h"
#include "common/store/xml.h"
#include "test/unit/test.h"

TEST(store_urls_are_taken_apart)
{
    StoreUrl url;
    Status status = store_url_parse("s3://my-bucket/some/prefix/", &url);
    CHECK(status_is_ok(&status));
    CHECK(!url.is_folder);
    CHECK_STR(url.bucket, "my-bucket");
    CHECK_STR(url.prefix, "some/prefix");
    status = store_url_parse("s3://my-bucket", &url);
    CHECK(status_is_ok(&status));
    CHECK_STR(url.prefix, "");
    status = store_url_parse("file:///var/lib/x//", &url);
    CHECK(status_is_ok(&status));
    CHECK(url.is_folder);
    CHECK_STR(url.path, "/var/lib/x");
}

TEST(malformed_store_urls_are_refused)
{
    static const char *const malformed[] = {
        "",           "s3:/",         "s3://",       "s3://ab",    "s3://a b c",   "file://x/y", "file:///",
        "s3://abc//", "s3://abc/../", "s3://abc/.x", "http://abc", "s3://abc/a%2", "file:///a?b"
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
        StoreUrl url;
        Status status = store_url_parse(malformed[i], &url);
        if (status.code != STATUS_INVALID) {
            test_fail(__FILE__, __LINE__, "\"%s\" is taken for a store's URL", malformed[i]);
        }
    }
}

TEST(endpoints_are_taken_apart)
{
    Endpoint endpoint;
    char host[300];
    Status status = endpoint_parse("https://S3.Example.org:443/", &endpoint);
    CHECK(status_is_ok(&status));
    CHECK(endpoint.is_secure);
    endpoint_host(&endpoint, host, sizeof(host));
    CHECK_STR(host, "s3.example.org");
    status = endpoint_parse("http://[::1]:9000", &endpoint);
    CHECK(status_is_ok(&status));
    endpoint_host(&endpoint, host, sizeof(host));
    CHECK_STR(host, "[::1]:9000");
}

TEST(malformed_endpoints_are_refused)
{
    static const char *const malformed[] = {
        "",           "example.org",    "ftp://x",      "http://",     "http://u:p@host",
        "http://x:0", "http://x:65536", "http://x:1:2", "http://x/y?", "http://x:",
        "http://[]",  "http://x\r\nA:b"
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(*malformed); i++) {
        Endpoint endpoint;
        Status status = endpoint_parse(malformed[i], &endpoint);
        if (status.code != STATUS_INVALID) {
            test_fail(__FILE__, __LINE__, "\"%s\" is taken for an endpoint", malformed[i]);
        }
    }
}

TEST(keys_stay_below_their_folder)
{
    CHECK(store_key_is_valid("o/3f/3f9c.sho"));
    CHECK(store_key_is_valid("a"));
    CHECK(!store_key_is_valid(""));
    CHECK(!store_key_is_valid("/a"));
    CHECK(!store_key_is_valid("a/"));
    CHECK(!store_key_is_valid("a//b"));
    CHECK(!store_key_is_valid("../a"));
    CHECK(!store_key_is_valid("a/../b"));
    CHECK(!store_key_is_valid(".part/x"));
    CHECK(!store_key_is_valid("a b"));
    CHECK(!store_key_is_valid("a%2f"));
    CHECK(!store_key_is_valid(NULL));
    CHECK(store_prefix_is_valid(""));
    CHECK(store_prefix_is_valid("o/"));
    CHECK(!store_prefix_is_valid("o/."));
}

static char *found_text(const char *document, const char *name, Arena *arena)
{
    return xml_find(slice_of_text(document), name, arena);
}

TEST(elements_are_found_in_xml)
{
    Arena arena;
    arena_init(&arena, 65536);
    CHECK_STR(found_text("<?xml version='1.0'?>\n<E xmlns='x'><Code>SlowDown</Code></E>", "Code", &arena),
              "SlowDown");
    CHECK_STR(
        found_text("<E><!-- <Code>no</Code> --><Code>a&amp;b&#x41;&#66;&lt;</Code></E>", "Code", &arena),
        "a&bAB<");
    CHECK_STR(found_text("<E><Code/></E>", "Code", &arena), "");
    CHECK_STR(found_text("<E><Code a='1'>x</Code ></E>", "Code", &arena), "x");
    arena_reset(&arena);
}

TEST(broken_xml_gives_nothing)
{
    static const char *const broken[] = {
        "",
        "<",
        "<E>",
        "<E><Code>x",
        "<E><Code>x</E>",
        "</E>",
        "plain",
        "<E><Code>&bogus;</Code></E>",
        "<E><Code>&#0;</Code></E>",
        "<E><Code>&amp</Code></E>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><E><Code>&a;</Code></E>",
        "<a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><Code>x</Code>",
    };
    Arena arena;
    arena_init(&arena, 65536);
    for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
        if (found_text(broken[i], "Code", &arena)) {
            test_fail(__FILE__, __LINE__, "something is found in %s", broken[i]);
        }
    }
    arena_reset(&arena);
}

static S3Verdict judge(int status, const char *body)
{
    char code[S3_CODE_MAX + 1];
    return s3_response_judge(status, slice_of_text(body), code);
}

TEST(answers_mean_what_the_error_code_says_else_what_http_says)
{
    CHECK_INT(judge(200, ""), S3_DONE);
    CHECK_INT(judge(204, ""), S3_DONE);
    CHECK_INT(judge(0, ""), S3_RETRY);
    CHECK_INT(judge(500, ""), S3_RETRY);
    CHECK_INT(judge(502, "<html>Bad Gateway</html>"), S3_RETRY);
    CHECK_INT(judge(503, ""), S3_SLOW_DOWN);
    CHECK_INT(judge(503, "<Error><Code>SlowDown</Code></Error>"), S3_SLOW_DOWN);
    CHECK_INT(judge(429, ""), S3_SLOW_DOWN);
    CHECK_INT(judge(400, "<Error><Code>RequestTimeout</Code></Error>"), S3_RETRY);
    CHECK_INT(judge(400, "<Error><Code>ExpiredToken</Code></Error>"), S3_RENEW);
    CHECK_INT(judge(403, "<Error><Code>RequestTimeTooSkewed</Code></Error>"), S3_SKEWED);
    CHECK_INT(judge(403, ""), S3_DENIED);
    CHECK_INT(judge(403, "<Error><Code>SignatureDoesNotMatch</Code></Error>"), S3_DENIED);
    CHECK_INT(judge(404, ""), S3_MISSING);
    CHECK_INT(judge(404, "<Error><Code>NoSuchBucket</Code></Error>"), S3_NO_BUCKET);
    CHECK_INT(judge(409, "<Error><Code>ConditionalRequestConflict</Code></Error>"), S3_RETRY);
    CHECK_INT(judge(412, ""), S3_TAKEN);
    CHECK_INT(judge(416, ""), S3_NO_RANGE);
    CHECK_INT(judge(501, ""), S3_UNCONDITIONAL);
    CHECK_INT(judge(301, ""), S3_ELSEWHERE);
    CHECK_INT(judge(400, "<Error><Code>EntityTooLarge</Code></Error>"), S3_REFUSED);
}

TEST(an_error_code_is_repeated_only_as_far_as_it_is_a_word)
{
    char code[S3_CODE_MAX + 1];
    s3_response_judge(400, slice_of_text("<Error><Code>Odd\r\nThing</Code></Error>"), code);
    CHECK_STR(code, "Odd");
    Status status = s3_verdict_status(S3_REFUSED, 400, code, "o/1", NULL);
    CHECK_INT(status.code, STATUS_INVALID);
    CHECK_STR(status.message, "o/1: the object store refused the request (HTTP 400 Odd)");
    status = s3_verdict_status(S3_ELSEWHERE, 301, "", "bucket", "eu-west-1");
    CHECK(strstr(status.message, "set the region to eu-west-1"));
}

TEST(content_ranges_are_parsed_strictly)
{
    uint64_t start, end, bytes;
    CHECK(s3_content_range_parse("bytes 5-9/443", &start, &end, &bytes));
    CHECK_INT(start, 5);
    CHECK_INT(end, 9);
    CHECK_INT(bytes, 443);
    CHECK(!s3_content_range_parse("", &start, &end, &bytes));
    CHECK(!s3_content_range_parse("bytes 5-9/*", &start, &end, &bytes));
    CHECK(!s3_content_range_parse("bytes 9-5/443", &start, &end, &bytes));
    CHECK(!s3_content_range_parse("bytes 0-443/443", &start, &end, &bytes));
    CHECK(!s3_content_range_parse("bytes 0-9/99999999999999999999", &start, &end, &bytes));
}

TEST(a_list_of_objects_is_read)
{
    Arena arena;
    S3Listing listing;
    static const char body[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>"
        "<Prefix>p/</Prefix><IsTruncated>true</IsTruncated>"
        "<Contents><Key>p/a&amp;b</Key><LastModified>x</LastModified><Size>12</Size></Contents>"
        "<Contents><Key>elsewhere</Key><Size>1</Size></Contents>"
        "<Contents><Key>p/c</Key><Size>0</Size><Owner><ID>1</ID></Owner></Contents>"
        "</ListBucketResult>";
    arena_init(&arena, 1 << 20);
    Status status = s3_listing_parse(slice_of_text(body), "p/", &arena, &listing);
    CHECK(status_is_ok(&status));
    CHECK_INT(listing.count, 2);
    CHECK(listing.more);
    CHECK_STR(listing.entries[0].key, "a&b");
    CHECK_INT(listing.entries[0].bytes, 12);
    CHECK_STR(listing.entries[1].key, "c");
    arena_reset(&arena);
}

TEST(a_list_cut_anywhere_is_refused_and_not_taken_for_a_shorter_one)
{
    static const char body[] = "<ListBucketResult><IsTruncated>false</IsTruncated>"
                               "<Contents><Key>a</Key><Size>1</Size></Contents></ListBucketResult>";
    for (size_t size = 0; size < sizeof(body) - 1; size++) {
        Arena arena;
        S3Listing listing;
        arena_init(&arena, 1 << 20);
        Status status = s3_listing_parse(slice_of(body, size), "", &arena, &listing);
        CHECK_INT(status.code, STATUS_CORRUPT);
        arena_reset(&arena);
    }
}

typedef struct Settings {
    char text[512];
} Settings;

static void setting_note(Slice name, Slice value, void *arg)
{
    Settings *settings = arg;
    size_t used = strlen(settings->text);
    snprintf(settings->text + used, sizeof(settings->text) - used, "%.*s=%.*s;", (int)name.size,
             (const char *)name.data, (int)value.size, (const char *)value.data);
}

TEST(a_section_of_a_profile_file_is_read)
{
    static const char text[] =
        "# comment\n[default]\nregion = eu-west-1 \r\n[profile  work]\n; another\nkey=a=b\ns3 =\n"
        "  addressing_style = path\nempty =\nno equals\n[other]\nkey = no\n";
    Settings settings = { "" };
    CHECK(ini_section_walk(slice_of_text(text), "profile work", setting_note, &settings));
    CHECK_STR(settings.text, "key=a=b;s3=;empty=;");
    settings.text[0] = '\0';
    CHECK(ini_section_walk(slice_of_text(text), "default", setting_note, &settings));
    CHECK_STR(settings.text, "region=eu-west-1;");
    CHECK(!ini_section_walk(slice_of_text(text), "profile", setting_note, &settings));
    CHECK(!ini_section_walk(SLICE_NULL, "default", setting_note, &settings));
}

TEST(times_of_expiration_are_read)
{
    int64_t unix_s;
    CHECK(credentials_parse_time("2013-05-24T00:00:00Z", &unix_s));
    CHECK_INT(unix_s, 1369353600);
    CHECK(credentials_parse_time("2013-05-24T00:00:01.123Z", &unix_s));
    CHECK_INT(unix_s, 1369353601);
    CHECK(!credentials_parse_time("2013-05-24 00:00:00", &unix_s));
    CHECK(!credentials_parse_time("2013-13-24T00:00:00Z", &unix_s));
    CHECK(!credentials_parse_time("", &unix_s));
}

TEST(credentials_in_json_need_all_four_parts)
{
    Credentials credentials;
    Status status = credentials_parse_json(
        slice_of_text("{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\","
                      "\"Token\":\"C\",\"Expiration\":\"2013-05-24T00:00:00Z\"}"),
        &credentials);
    CHECK(status_is_ok(&status));
    CHECK_STR(credentials.access_key, "A");
    CHECK_STR(credentials.secret_key, "B");
    CHECK_STR(credentials.session_token, "C");
    CHECK_INT(credentials.expires_at_s, 1369353600);
    status = credentials_parse_json(slice_of_text("{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"B\"}"),
                                    &credentials);
    CHECK_INT(status.code, STATUS_DENIED);
    status = credentials_parse_json(slice_of_text("[1]"), &credentials);
    CHECK_INT(status.code, STATUS_DENIED);
    status = credentials_parse_json(SLICE_NULL, &credentials);
    CHECK_INT(status.code, STATUS_DENIED);
}

TEST(a_secret_that_could_break_a_header_is_refused_and_not_shown)
{
    Credentials credentials;
    Status status = credentials_set(&credentials, "KEY", "top\nsecret", NULL, NULL);
    CHECK_INT(status.code, STATUS_DENIED);
    CHECK(!strstr(status.message, "top"));
}

TEST(credentials_are_renewed_before_they_expire)
{
    Credentials credentials = { .expires_at_s = 10000 };
    CHECK_INT(credentials_renew_at(&credentials, 6400), 9700);
    CHECK_INT(credentials_renew_at(&credentials, 9960), 9990);
    CHECK_INT(credentials_renew_at(&credentials, 11000), 10000);
    credentials.expires_at_s = 0;
    CHECK(credentials_renew_at(&credentials, 6400) == INT64_MAX);
}
