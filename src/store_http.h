/* store_http.h: one HTTP request at a time for a backend that waits for its answer. See store_http.c. */
#ifndef STREAMHOUSE_STORE_HTTP_H
#define STREAMHOUSE_STORE_HTTP_H

#include "postgres.h"

#include "common/block.h"
#include "common/slice.h"
#include "datatype/timestamp.h"

enum { STORE_HTTP_HEADER_MAX = 127, STORE_HTTP_FAILURE_MAX = 127 };

typedef struct StoreHttpRequest {
    const char *method;
    const char *url;
    const char *const *headers; /* "Name: value" */
    size_t header_count;
    Slice body;
    size_t response_max; /* a longer answer is a failure */
    bool is_local;       /* never through a proxy */
    TimestampTz deadline;
} StoreHttpRequest;

typedef enum StoreHttpHeader {
    STORE_HTTP_CONTENT_RANGE,
    STORE_HTTP_RETRY_AFTER,
    STORE_HTTP_DATE,
    STORE_HTTP_BUCKET_REGION,
    STORE_HTTP_HEADER_COUNT
} StoreHttpHeader;

/* Valid until the next request. */
typedef struct StoreHttpAnswer {
    int status; /* 0: no whole answer came */
    char failure[STORE_HTTP_FAILURE_MAX + 1];
    bool timed_out;
    Block *body; /* NULL when empty; block_hold() keeps it */
    char headers[STORE_HTTP_HEADER_COUNT][STORE_HTTP_HEADER_MAX + 1];
} StoreHttpAnswer;

/* ERROR when the query is cancelled, and for nothing else. */
extern const StoreHttpAnswer *store_http_send(const StoreHttpRequest *request);

/* The bytes of an answer's body. */
extern Slice store_http_body(const StoreHttpAnswer *answer);

#endif
