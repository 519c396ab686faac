/* s3_request.c: builds and signs requests to S3. */
#include "common/store/s3_request.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RANGE_SIZE = 64 };

static char *arena_print(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

static char *arena_print(Arena *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *out = size < 0 ? NULL : arena_allocate(arena, (size_t)size + 1);
    if (out) {
        va_start(arguments, format);
        vsnprintf(out, (size_t)size + 1, format, arguments);
        va_end(arguments);
    }
    return out;
}

static char *arena_encode(Arena *arena, const char *text, bool keep_slash)
{
    size_t size = s3_encode(text, keep_slash, NULL, 0);
    char *out = arena_allocate(arena, size + 1);
    if (out) {
        s3_encode(text, keep_slash, out, size + 1);
    }
    return out;
}

static Status target_fits(int written, size_t size)
{
    return written >= 0 && (size_t)written < size
               ? status_ok()
               : status_error(STATUS_INVALID, "the endpoint's or the region's name is too long");
}

Status s3_target_make(const StoreUrl *url, const Endpoint *endpoint, const char *region, bool path,
                      S3Target *target)
{
    char host[ENDPOINT_HOST_MAX + 8];
    memset(target, 0, sizeof(*target));
    bool is_secure = !endpoint || endpoint->is_secure;
    snprintf(target->scheme, sizeof(target->scheme), "%s", is_secure ? "https" : "http");
    snprintf(target->bucket, sizeof(target->bucket), "%s", url->bucket);
    snprintf(target->prefix, sizeof(target->prefix), "%s%s", url->prefix, *url->prefix ? "/" : "");
    snprintf(target->base, sizeof(target->base), "%s%s", path ? "/" : "", path ? url->bucket : "");
    Status status =
        target_fits(snprintf(target->region, sizeof(target->region), "%s", region), sizeof(target->region));
    if (!status_is_ok(&status)) {
        return status;
    }
    if (endpoint) {
        endpoint_host(endpoint, host, sizeof(host));
    } else {
        snprintf(host, sizeof(host), "s3.%s.amazonaws.com%s", region,
                 strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    }
    int size = snprintf(target->host, sizeof(target->host), "%s%s%s", path ? "" : url->bucket,
                        path ? "" : ".", host);
    return target_fits(size, sizeof(target->host));
}

typedef struct Headers {
    S3Header list[S3_HEADERS_MAX];
    size_t count;
} Headers;

/* Called in the order of names, which is the order they are signed in. */
static void headers_add(Headers *headers, const char *name, const char *value)
{
    if (value && *value) {
        headers->list[headers->count++] = (S3Header){ name, value };
    }
}

static Status request_sign(const S3Signing *signing, Arena *arena, S3Request *request)
{
    char authorization[S3_AUTHORIZATION_MAX];
    Status status = s3_sign(signing, authorization);
    if (!status_is_ok(&status)) {
        return status;
    }
    for (size_t i = 0; i < signing->header_count; i++) {
        const S3Header *header = &signing->headers[i];
        request->headers[request->header_count++] = arena_print(arena, "%s: %s", header->name, header->value);
    }
    request->headers[request->header_count++] = arena_print(arena, "authorization: %s", authorization);
    for (size_t i = 0; i < request->header_count; i++) {
        if (!request->headers[i]) {
            return status_error(STATUS_INTERNAL, "no memory for a request to S3");
        }
    }
    return status_ok();
}

Status s3_request_build(const S3Target *target, const S3Order *order, const Credentials *credentials,
                        int64_t now_s, Arena *arena, S3Request *request)
{
    char date[S3_DATE_SIZE];
    char range[RANGE_SIZE] = "";
    Headers headers = { 0 };
    const char *payload = order->payload ? order->payload : S3_EMPTY_PAYLOAD;
    const char *query = order->query ? order->query : "";
    const char *name = arena_print(arena, "%s/%s%s", target->base, order->key ? target->prefix : "",
                                   order->key ? order->key : "");
    const char *path = name ? arena_encode(arena, name, true) : NULL;
    *request = (S3Request){ .method = order->method };
    request->url = path ? arena_print(arena, "%s://%s%s%s%s", target->scheme, target->host, path,
                                      *query ? "?" : "", query)
                        : NULL;
    if (!request->url) {
        return status_error(STATUS_INTERNAL, "no memory for a request to S3");
    }
    s3_date(now_s, date);
    if (order->range_length > 0) {
        snprintf(range, sizeof(range), "bytes=%" PRIu64 "-%" PRIu64, order->range_start,
                 order->range_start + (order->range_length - 1));
    }
    headers_add(&headers, "content-md5", order->content_md5);
    headers_add(&headers, "host", target->host);
    headers_add(&headers, "if-none-match", order->if_absent ? "*" : NULL);
    headers_add(&headers, "range", range);
    headers_add(&headers, "x-amz-checksum-crc32c", order->checksum_crc32c);
    headers_add(&headers, "x-amz-content-sha256", payload);
    headers_add(&headers, "x-amz-date", date);
    headers_add(&headers, "x-amz-security-token", credentials->session_token);
    _Static_assert(8 + 1 <= S3_HEADERS_MAX, "the eight headers above and the signature");
    S3Signing signing = { .method = order->method,
                          .path = path,
                          .query = query,
                          .headers = headers.list,
                          .header_count = headers.count,
                          .payload = payload,
                          .date = date,
                          .region = target->region,
                          .service = "s3",
                          .access_key = credentials->access_key,
                          .secret_key = credentials->secret_key };
    return request_sign(&signing, arena, request);
}

const char *s3_list_query(const S3Target *target, const char *prefix, const char *start_after, int max,
                          Arena *arena)
{
    char *whole = arena_print(arena, "%s%s", target->prefix, prefix);
    char *after = arena_print(arena, "%s%s", *start_after ? target->prefix : "", start_after);
    char *whole_encoded = whole ? arena_encode(arena, whole, false) : NULL;
    char *after_encoded = after ? arena_encode(arena, after, false) : NULL;
    if (!whole_encoded || !after_encoded) {
        return NULL;
    }
    return *after ? arena_print(arena, "list-type=2&max-keys=%d&prefix=%s&start-after=%s", max, whole_encoded,
                                after_encoded)
                  : arena_print(arena, "list-type=2&max-keys=%d&prefix=%s", max, whole_encoded);
}
