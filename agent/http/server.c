/* server.c: libmicrohttpd without threads: its epoll descriptor is one descriptor of our loop, and its
 * timeouts are our timer. After every run the timer is set anew, because only libmicrohttpd knows when its
 * next idle connection is due. */
#include "agent/http/server.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/journal.h"
#include "agent/metrics.h"
#include "agent/utf8.h"

enum {
    CONNECTION_BYTES = 16 * 1024, /* request line, headers and reply headers of one connection */
    LISTEN_BACKLOG = 128,
    ALLOW_BYTES = 16
};

struct HttpServer {
    struct MHD_Daemon *daemon;
    const HttpRoute *routes;
    void *context;
    int port;
    int connections;
    int handles; /* not yet closed */
    uv_poll_t poll;
    uv_timer_t timer;
};

/* In 0.9.71 libmicrohttpd's results became an enum of their own. */
typedef enum MHD_Result Result;

void http_reply_print(HttpReply *reply, const char *format, ...)
{
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    if (text) {
        vsnprintf(text, (size_t)size + 1, format, again);
        writer_bytes(&reply->body, text, (size_t)size);
    } else {
        reply->body.failed = true;
    }
    free(text);
    va_end(again);
    va_end(arguments);
}

void http_reply_json_text(HttpReply *reply, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    writer_bytes(&reply->body, "\"", 1);
    while (*at) {
        size_t size = utf8_size(at);
        if (*at < 0x20 || *at == 0x7f) {
            http_reply_print(reply, "\\u%04x", *at);
        } else if (*at == '"' || *at == '\\') {
            http_reply_print(reply, "\\%c", *at);
        } else {
            writer_bytes(&reply->body, size ? at : (const unsigned char *)"?", size ? size : 1);
        }
        at += size ? size : 1;
    }
    writer_bytes(&reply->body, "\"", 1);
}

static const HttpRoute *route_find(const HttpServer *server, const char *path)
{
    for (const HttpRoute *route = server->routes; route->path; route++) {
        if (strcmp(route->path, path) == 0) {
            return route;
        }
    }
    return NULL;
}

static void reply_not_found(const HttpServer *server, HttpReply *reply)
{
    reply->status = MHD_HTTP_NOT_FOUND;
    http_reply_print(reply, "There is nothing at this path. Known paths:\n");
    for (const HttpRoute *route = server->routes; route->path; route++) {
        http_reply_print(reply, "  %-9s %s\n", route->path, route->help);
    }
}

static void reply_count(unsigned status)
{
    metric_add(status < 400   ? METRIC_HTTP_REQUESTS_OK
               : status < 500 ? METRIC_HTTP_REQUESTS_REFUSED
                              : METRIC_HTTP_REQUESTS_FAILED,
               1);
}

/* Sends the reply's bytes; MHD_NO closes the connection. */
static Result reply_send(struct MHD_Connection *connection, HttpReply *reply)
{
    Slice body = SLICE_NULL;
    if (writer_failed(&reply->body)) {
        return MHD_NO;
    }
    size_t count = writer_slice_count(&reply->body);
    if (count == 1) {
        writer_slices(&reply->body, &body);
    }
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.size, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
    if (!response) {
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (reply->status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    Result result = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    reply_count(reply->status);
    return result;
}

/* libmicrohttpd calls this once with the headers and again at the request's end; a reply to the first call
 * would close the connection. Uploads are refused at the first call, so that nobody has to read them. */
static Result request_handle(void *context, struct MHD_Connection *connection, const char *path,
                             const char *method, const char *version, const char *upload, size_t *upload_size,
                             void **seen)
{
    static char mark;
    const HttpServer *server = context;
    HttpReply reply = { .status = MHD_HTTP_OK, .content_type = "text/plain; charset=utf-8" };
    bool reads = strcmp(method, MHD_HTTP_METHOD_GET) == 0 || strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
    (void)version;
    (void)upload;
    if (reads && !*seen) {
        *seen = &mark;
        return MHD_YES;
    }
    if (*upload_size) {
        *upload_size = 0;
        return MHD_YES;
    }
    writer_init(&reply.body);
    const HttpRoute *route = route_find(server, path);
    if (!reads) {
        reply.status = MHD_HTTP_METHOD_NOT_ALLOWED;
        http_reply_print(&reply, "Only GET and HEAD are answered here.\n");
    } else if (!route) {
        reply_not_found(server, &reply);
    } else {
        route->handle(server->context, &reply);
    }
    Result result = reply_send(connection, &reply);
    writer_free(&reply.body);
    return result;
}

static void connection_notice(void *context, struct MHD_Connection *connection, void **socket_context,
                              enum MHD_ConnectionNotificationCode code)
{
    HttpServer *server = context;
    (void)connection;
    (void)socket_context;
    server->connections += code == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1;
    metric_set(METRIC_HTTP_CONNECTIONS, server->connections);
}

__attribute__((format(printf, 2, 0))) static void daemon_log(void *context, const char *format,
                                                             va_list arguments)
{
    char text[256];
    (void)context;
    vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    journal_seldom(JOURNAL_DEBUG, "http", "%s", text);
}

static void timer_run(uv_timer_t *timer);

static void server_run(HttpServer *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms;
    int before;
    /* At its limit libmicrohttpd stops watching the listening socket, and only looks again at the beginning
     * of the run after the one that closed a connection. */
    do {
        before = server->connections;
        MHD_run(server->daemon);
    } while (server->connections < before);
    if (MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES) {
        uv_timer_start(&server->timer, timer_run, wait_ms, 0);
    } else {
        uv_timer_stop(&server->timer);
    }
}

static void timer_run(uv_timer_t *timer)
{
    server_run(timer->data);
}

static void poll_run(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    server_run(poll->data);
}

/* A listening socket of one address; -1 and errno on failure. */
static int address_listen(const struct addrinfo *address)
{
    int yes = 1;
    int socket_fd =
        socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
    if (socket_fd < 0) {
        return -1;
    }
    setsockopt(socket_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (bind(socket_fd, address->ai_addr, address->ai_addrlen) == 0 &&
        listen(socket_fd, LISTEN_BACKLOG) == 0) {
        return socket_fd;
    }
    int why = errno;
    close(socket_fd);
    errno = why;
    return -1;
}

static Status options_listen(const HttpServerOptions *options, int *socket_fd)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV };
    struct addrinfo *addresses;
    char port[8];
    snprintf(port, sizeof(port), "%d", options->port);
    int failure = getaddrinfo(options->host, port, &hints, &addresses);
    if (failure) {
        return status_error(STATUS_INVALID, "http_host \"%s\" is no address of this machine: %s",
                            options->host, gai_strerror(failure));
    }
    *socket_fd = address_listen(addresses);
    int why = errno;
    freeaddrinfo(addresses);
    if (*socket_fd >= 0) {
        return status_ok();
    }
    return status_error(STATUS_UNAVAILABLE, "cannot listen for HTTP on %s:%d: %s%s", options->host,
                        options->port, strerror(why),
                        why == EADDRINUSE ? "; choose another port with --http-port" : "");
}

static int socket_port(int socket_fd)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    char port[8] = "0";
    getsockname(socket_fd, (struct sockaddr *)&address, &size);
    getnameinfo((struct sockaddr *)&address, size, NULL, 0, port, sizeof(port), NI_NUMERICSERV);
    return (int)strtol(port, NULL, 10);
}

static struct MHD_Daemon *daemon_start(HttpServer *server, const HttpServerOptions *options, int socket_fd)
{
    unsigned idle_s = (unsigned)((options->idle_ms + 999) / 1000);
    return MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, request_handle, server,
                            MHD_OPTION_EXTERNAL_LOGGER, daemon_log, NULL, MHD_OPTION_LISTEN_SOCKET, socket_fd,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)options->connections_max,
                            MHD_OPTION_CONNECTION_TIMEOUT, idle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                            (size_t)CONNECTION_BYTES, MHD_OPTION_NOTIFY_CONNECTION, connection_notice, server,
                            MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
}

Status http_server_start(uv_loop_t *loop, const HttpServerOptions *options, HttpServer **out)
{
    int socket_fd = -1;
    *out = NULL;
    Status status = options_listen(options, &socket_fd);
    if (!status_is_ok(&status)) {
        return status;
    }
    HttpServer *server = calloc(1, sizeof(*server));
    if (server) {
        server->routes = options->routes;
        server->context = options->context;
        server->port = socket_port(socket_fd);
        server->daemon = daemon_start(server, options, socket_fd);
    }
    if (!server || !server->daemon) {
        free(server);
        close(socket_fd);
        return status_error(STATUS_INTERNAL, "the HTTP server does not start: %s", strerror(errno));
    }
    int epoll_fd = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    server->handles = 2;
    server->poll.data = server->timer.data = server;
    uv_timer_init(loop, &server->timer);
    uv_poll_init(loop, &server->poll, epoll_fd);
    uv_poll_start(&server->poll, UV_READABLE, poll_run);
    *out = server;
    return status_ok();
}

int http_server_port(const HttpServer *server)
{
    return server->port;
}

static void handle_closed(uv_handle_t *handle)
{
    HttpServer *server = handle->data;
    if (--server->handles == 0) {
        free(server);
    }
}

void http_server_stop(HttpServer *server)
{
    if (!server) {
        return;
    }
    /* The loop must let go of the epoll descriptor before libmicrohttpd closes it. */
    uv_poll_stop(&server->poll);
    uv_timer_stop(&server->timer);
    MHD_stop_daemon(server->daemon);
    uv_close((uv_handle_t *)&server->poll, handle_closed);
    uv_close((uv_handle_t *)&server->timer, handle_closed);
}
