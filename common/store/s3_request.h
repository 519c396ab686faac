/* s3_request.h: requests to S3, built and signed: a method, a URL and header lines for whichever HTTP client
 * sends them. Knows neither loop nor client. */
#ifndef STREAMHOUSE_S3_REQUEST_H
#define STREAMHOUSE_S3_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/store/credentials.h"
#include "common/store/s3_sign.h"
#include "common/store/store_url.h"

enum {
    S3_REGION_MAX = 63,
    S3_HEADERS_MAX = 10,
    S3_REQUEST_BYTES_MAX = 32 * 1024, /* what an arena for one request needs; a session token is most of it */
    S3_HOST_MAX = STORE_BUCKET_MAX + 1 + ENDPOINT_HOST_MAX + 6
};

/* Where a store's requests go. */
typedef struct S3Target {
    char scheme[6];                    /* "http" or "https" */
    char host[S3_HOST_MAX + 1];        /* as in the Host header */
    char base[STORE_BUCKET_MAX + 2];   /* "/bucket", or "" when the host names it */
    char prefix[STORE_PREFIX_MAX + 2]; /* "" or ends in '/' */
    char bucket[STORE_BUCKET_MAX + 1];
    char region[S3_REGION_MAX + 1];
} S3Target;

/* endpoint NULL: AWS's own of the region; path: the bucket is in the path and not in the host. */
MUST_CHECK Status s3_target_make(const StoreUrl *url, const Endpoint *endpoint, const char *region, bool path,
                                 S3Target *target);

/* What is asked for. Zero means "not there". */
typedef struct S3Order {
    const char *method;
    const char *key;   /* below the prefix; NULL: the bucket itself */
    const char *query; /* canonical (s3_list_query()); NULL for none */
    uint64_t range_start;
    uint64_t range_length; /* 0: no Range header */
    bool if_absent;        /* If-None-Match: * */
    const char *payload;   /* x-amz-content-sha256; NULL: that of an empty body */
    const char *content_md5;
    const char *checksum_crc32c;
} S3Order;

typedef struct S3Request {
    const char *method;
    const char *url;
    const char *headers[S3_HEADERS_MAX]; /* "Name: value" */
    size_t header_count;
} S3Request;

/* Everything in request lives in the arena. INTERNAL when the arena is full. */
MUST_CHECK Status s3_request_build(const S3Target *target, const S3Order *order,
                                   const Credentials *credentials, int64_t now_s, Arena *arena,
                                   S3Request *request);

/* The query of ListObjectsV2, or NULL when the arena is full. */
const char *s3_list_query(const S3Target *target, const char *prefix, const char *start_after, int max,
                          Arena *arena);

#endif
