/* server.h: HTTP/1.1 for operators: a table of routes, answered on the loop thread. GET and HEAD only; a
 * handler answers at once from memory. */
#ifndef STREAMHOUSE_AGENT_HTTP_SERVER_H
#define STREAMHOUSE_AGENT_HTTP_SERVER_H

#include <stdint.h>
#include <uv.h>

#include "common/status.h"
#include "common/writer.h"

typedef struct HttpServer HttpServer;

typedef struct HttpReply {
    unsigned status; /* 200 unless the handler says otherwise */
    const char *content_type;
    Writer body;
} HttpReply;

typedef void HttpHandler(void *context, HttpReply *reply);

typedef struct HttpRoute {
    const char *path; /* NULL ends a table */
    const char *help;
    HttpHandler *handle;
} HttpRoute;

typedef struct HttpServerOptions {
    const char *host;
    int port; /* 0: the system chooses */
    int connections_max;
    int64_t idle_ms;         /* rounded up to whole seconds */
    const HttpRoute *routes; /* outlives the server */
    void *context;           /* given to handlers */
} HttpServerOptions;

/* Listens; *out is NULL on failure. */
MUST_CHECK Status http_server_start(uv_loop_t *loop, const HttpServerOptions *options, HttpServer **out);
/* The port listened on. */
int http_server_port(const HttpServer *server);
/* Closes every connection and frees the server once the loop has run its closing callbacks. NULL is allowed.
 */
void http_server_stop(HttpServer *server);

/* printf into a reply. */
void http_reply_print(HttpReply *reply, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A JSON string, quotes included. */
void http_reply_json_text(HttpReply *reply, const char *text);

#endif
