/* http.h: HTTP requests on a libuv loop, by curl's multi interface. Connections are kept and used again; a
 * body is sent from the caller's slices and received into one Block. No redirect is followed, nothing is
 * retried: that is the caller's part. */
#ifndef STREAMHOUSE_HTTP_H
#define STREAMHOUSE_HTTP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "common/block.h"
#include "common/slice.h"
#include "common/status.h"

typedef struct Http Http;
typedef struct HttpCall HttpCall;

enum { HTTP_HEADER_VALUE_MAX = 127, HTTP_FAILURE_MAX = 127 };

typedef struct HttpRequest {
    const char *method; /* GET, HEAD, PUT, POST, DELETE */
    const char *url;
    const char *const *headers; /* "Name: value"; method, URL and headers are copied */
    size_t header_count;
    const Slice *slices; /* the body; array and bytes stay until the callback */
    size_t slice_count;
    size_t response_max; /* a longer answer is a failure */
    bool is_local;       /* never through a proxy */
    int connect_ms;      /* for name, connection and TLS together */
    int stall_ms;        /* the longest time in which no byte moves */
    int deadline_ms;     /* for all of it, from now */
} HttpRequest;

/* The headers that someone here asks for. "" when not there. */
typedef enum HttpHeader {
    HTTP_CONTENT_RANGE,
    HTTP_CONTENT_LENGTH,
    HTTP_RETRY_AFTER,
    HTTP_DATE,
    HTTP_BUCKET_REGION,
    HTTP_HEADER_COUNT
} HttpHeader;

/* Borrowed until the callback returns; block_hold() keeps the body. */
typedef struct HttpResponse {
    int status;          /* 0: no whole answer came */
    const char *failure; /* then: why */
    bool timed_out;      /* then: connecting, silence or the deadline ended it */
    Block *body;         /* NULL when empty */
    char headers[HTTP_HEADER_COUNT][HTTP_HEADER_VALUE_MAX + 1];
} HttpResponse;

/* Called once, from the loop; not after http_cancel(). */
typedef void HttpCallback(const HttpResponse *response, void *arg);

/* connections_max: kept open, and used at once. ca_file NULL: the system's. */
MUST_CHECK Status http_open(uv_loop_t *loop, int connections_max, const char *ca_file, Http **http);

/* NULL when memory is short. */
HttpCall *http_send(Http *http, const HttpRequest *request, HttpCallback *callback, void *arg);

/* Forgets the call at once: its callback is not called, its slices are not read any more. */
void http_cancel(HttpCall *call);

/* Connections opened so far. */
uint64_t http_connections(const Http *http);

/* Cancels every call; closed(arg) when the loop holds nothing of it. */
void http_close(Http *http, void (*closed)(void *arg), void *arg);

#endif
