/* store_sign_test.c: signatures against the worked examples of the S3 API reference ("Signature Calculations
 * for the Authorization Header"), and the digests' spelling. */
#include "common/store/s3_request.h"
#include "test/unit/test.h"

#define EXAMPLE_KEY    "AKIAIOSFODNN7EXAMPLE"
#define EXAMPLE_SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define EXAMPLE_DATE   "20130524T000000Z"
#define EXAMPLE_HOST   "examplebucket.s3.amazonaws.com"

enum { EXAMPLE_TIME_S = 1369353600 };

static const char *signature_of(S3Signing signing, char authorization[S3_AUTHORIZATION_MAX])
{
    signing.date = EXAMPLE_DATE;
    signing.region = "us-east-1";
    signing.service = "s3";
    signing.access_key = EXAMPLE_KEY;
    signing.secret_key = EXAMPLE_SECRET;
    Status status = s3_sign(&signing, authorization);
    const char *found = status_is_ok(&status) ? strstr(authorization, "Signature=") : NULL;
    return found ? found + strlen("Signature=") : "no signature";
}

TEST(a_get_with_a_range_is_signed_as_in_the_reference)
{
    char authorization[S3_AUTHORIZATION_MAX];
    S3Header headers[] = { { "host", EXAMPLE_HOST },
                           { "range", "bytes=0-9" },
                           { "x-amz-content-sha256", S3_EMPTY_PAYLOAD },
                           { "x-amz-date", EXAMPLE_DATE } };
    S3Signing signing = { "GET", "/test.txt", "", headers, 4, S3_EMPTY_PAYLOAD };
    CHECK_STR(signature_of(signing, authorization),
              "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(a_put_is_signed_as_in_the_reference)
{
    char authorization[S3_AUTHORIZATION_MAX];
    char path[64];
    char hash[S3_HEX_SIZE];
    Slice body = SLICE_LITERAL("Welcome to Amazon S3.");
    Status status = s3_payload_hash(&body, 1, hash);
    CHECK(status_is_ok(&status));
    CHECK_STR(hash, "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072");
    s3_encode("/test$file.text", true, path, sizeof(path));
    CHECK_STR(path, "/test%24file.text");
    S3Header headers[] = { { "date", "Fri, 24 May 2013 00:00:00 GMT" },
                           { "host", EXAMPLE_HOST },
                           { "x-amz-content-sha256", hash },
                           { "x-amz-date", EXAMPLE_DATE },
                           { "x-amz-storage-class", "REDUCED_REDUNDANCY" } };
    S3Signing signing = { "PUT", path, "", headers, 5, hash };
    CHECK_STR(signature_of(signing, authorization),
              "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(a_query_is_signed_as_in_the_reference)
{
    char authorization[S3_AUTHORIZATION_MAX];
    S3Header headers[] = { { "host", EXAMPLE_HOST },
                           { "x-amz-content-sha256", S3_EMPTY_PAYLOAD },
                           { "x-amz-date", EXAMPLE_DATE } };
    S3Signing lifecycle = { "GET", "/", "lifecycle=", headers, 3, S3_EMPTY_PAYLOAD };
    S3Signing list = { "GET", "/", "max-keys=2&prefix=J", headers, 3, S3_EMPTY_PAYLOAD };
    CHECK_STR(signature_of(lifecycle, authorization),
              "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    CHECK_STR(signature_of(list, authorization),
              "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(a_request_built_is_signed_like_the_reference_example_of_the_same_request)
{
    Arena arena;
    S3Target target;
    S3Request request;
    StoreUrl url;
    Endpoint endpoint;
    Credentials credentials = { .access_key = EXAMPLE_KEY, .secret_key = EXAMPLE_SECRET };
    S3Order order = { .method = "GET", .key = "test.txt", .range_start = 0, .range_length = 10 };
    arena_init(&arena, S3_REQUEST_BYTES_MAX);
    Status status = store_url_parse("s3://examplebucket", &url);
    CHECK(status_is_ok(&status));
    status = endpoint_parse("https://s3.amazonaws.com", &endpoint);
    CHECK(status_is_ok(&status));
    status = s3_target_make(&url, &endpoint, "us-east-1", false, &target);
    CHECK(status_is_ok(&status));
    status = s3_request_build(&target, &order, &credentials, EXAMPLE_TIME_S, &arena, &request);
    CHECK(status_is_ok(&status));
    CHECK_STR(request.url, "https://examplebucket.s3.amazonaws.com/test.txt");
    CHECK_INT(request.header_count, 5);
    CHECK_STR(request.headers[0], "host: " EXAMPLE_HOST);
    CHECK_STR(request.headers[1], "range: bytes=0-9");
    CHECK(strstr(request.headers[4], "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
    CHECK(strstr(request.headers[4], "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"));
    arena_reset(&arena);
}

static Status build_put(const char *url_text, const char *endpoint_text, bool path, Arena *arena,
                        S3Request *request)
{
    static Credentials credentials = { .access_key = "K", .secret_key = "S", .session_token = "T" };
    S3Target target;
    StoreUrl url;
    Endpoint endpoint;
    S3Order order = { .method = "PUT",
                      .key = "o/1.sho",
                      .if_absent = true,
                      .payload = S3_UNSIGNED_PAYLOAD,
                      .content_md5 = "md5",
                      .checksum_crc32c = "crc" };
    Status status = store_url_parse(url_text, &url);
    if (status_is_ok(&status) && endpoint_text) {
        status = endpoint_parse(endpoint_text, &endpoint);
    }
    if (status_is_ok(&status)) {
        status = s3_target_make(&url, endpoint_text ? &endpoint : NULL, "eu-north-1", path, &target);
    }
    return status_is_ok(&status) ? s3_request_build(&target, &order, &credentials, 0, arena, request)
                                 : status;
}

TEST(every_header_that_matters_to_a_put_is_signed)
{
    Arena arena;
    S3Request request;
    arena_init(&arena, S3_REQUEST_BYTES_MAX);
    Status status = build_put("s3://bucket/a/b/", "http://127.0.0.1:9000", true, &arena, &request);
    CHECK(status_is_ok(&status));
    CHECK_STR(request.url, "http://127.0.0.1:9000/bucket/a/b/o/1.sho");
    CHECK(strstr(
        request.headers[request.header_count - 1],
        "SignedHeaders=content-md5;host;if-none-match;x-amz-checksum-crc32c;x-amz-content-sha256;x-amz-date;"
        "x-amz-security-token,"));
    arena_reset(&arena);
}

TEST(without_an_endpoint_the_request_goes_to_the_region)
{
    Arena arena;
    S3Request request;
    arena_init(&arena, S3_REQUEST_BYTES_MAX);
    Status status = build_put("s3://bucket", NULL, false, &arena, &request);
    CHECK(status_is_ok(&status));
    CHECK_STR(request.url, "https://bucket.s3.eu-north-1.amazonaws.com/o/1.sho");
    arena_reset(&arena);
}

TEST(an_arena_too_small_for_a_request_is_a_failure_and_not_a_short_request)
{
    S3Request request;
    for (size_t limit = 0; limit < 700; limit += 7) {
        Arena arena;
        arena_init(&arena, limit);
        Status status = build_put("s3://bucket", NULL, false, &arena, &request);
        CHECK(limit > 200 || !status_is_ok(&status));
        arena_reset(&arena);
    }
}

TEST(digests_are_spelled_as_s3_wants_them)
{
    char md5[S3_MD5_SIZE];
    char crc[S3_CRC32C_SIZE];
    Slice parts[] = { SLICE_LITERAL("1234"), SLICE_LITERAL(""), SLICE_LITERAL("56789") };
    Status status = s3_payload_md5(parts, 3, md5);
    CHECK(status_is_ok(&status));
    CHECK_STR(md5, "JfnnlDI7RTiF9RgfG2JNCw==");
    /* The check value of CRC-32C, e3069283. */
    s3_payload_crc32c(parts, 3, crc);
    CHECK_STR(crc, "4waSgw==");
}

TEST(the_query_of_a_list_is_encoded_and_sorted)
{
    Arena arena;
    S3Target target = { .prefix = "my/prefix/" };
    arena_init(&arena, 4096);
    CHECK_STR(s3_list_query(&target, "o/", "o/3f/x.sho", 10, &arena),
              "list-type=2&max-keys=10&prefix=my%2Fprefix%2Fo%2F&start-after=my%2Fprefix%2Fo%2F3f%2Fx.sho");
    CHECK_STR(s3_list_query(&target, "", "", 1000, &arena),
              "list-type=2&max-keys=1000&prefix=my%2Fprefix%2F");
    arena_reset(&arena);
}
