/* s3_response.h: what an answer of S3 means for the operation that asked: done, ask again, slow down, give
 * up. Knows neither loop nor HTTP client. */
#ifndef STREAMHOUSE_S3_RESPONSE_H
#define STREAMHOUSE_S3_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/slice.h"
#include "common/status.h"
#include "common/store/store.h"

enum { S3_CODE_MAX = 63 };

typedef enum S3Verdict {
    S3_DONE,
    S3_RETRY,         /* the server or the network failed; the same request may succeed */
    S3_SLOW_DOWN,     /* the server wants fewer requests */
    S3_RENEW,         /* the credentials have expired or are unknown: get new ones, try again */
    S3_SKEWED,        /* our clock differs: sign with the server's time, try again */
    S3_UNCONDITIONAL, /* the server does not know If-None-Match on PUT */
    S3_TAKEN,         /* If-None-Match: the key has an object */
    S3_MISSING,       /* no such object */
    S3_NO_BUCKET,
    S3_NO_RANGE,  /* the object ends before the range */
    S3_ELSEWHERE, /* the bucket is in another region */
    S3_DENIED,
    S3_REFUSED /* the request is wrong in a way that trying again does not mend */
} S3Verdict;

/* An error document's Code, and the verdict. body may be empty (HEAD). http_status 0: no whole answer came.
 */
S3Verdict s3_response_judge(int http_status, Slice body, char code[S3_CODE_MAX + 1]);

/* The status of an operation that ends with this verdict; only for verdicts that end one. code, region and
 * subject (a key or a bucket) go into the message. */
Status s3_verdict_status(S3Verdict verdict, int http_status, const char *code, const char *subject,
                         const char *region);

/* "bytes 0-9/443": false when it is something else. */
bool s3_content_range_parse(const char *text, uint64_t *start, uint64_t *end, uint64_t *object_bytes);

typedef struct S3Listing {
    StoreEntry *entries; /* keys without the prefix */
    size_t count;
    bool more;
} S3Listing;

/* A ListObjectsV2 answer; entries are in the arena. Keys outside the prefix are left out. CORRUPT when it is
 * malformed. */
MUST_CHECK Status s3_listing_parse(Slice body, const char *prefix, Arena *arena, S3Listing *listing);

#endif
