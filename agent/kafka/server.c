/* server.c: listens, accepts, shares out memory, and ends things in order. */
#include "agent/kafka/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/kafka/connection.h"
#include "agent/kafka/crowd.h"
#include "agent/metrics.h"

enum {
    LISTEN_BACKLOG = 1024,
    KEEPALIVE_S = 60,
    SWEEP_MS_MAX = 1000,
    SWEEP_MS_MIN = 5,
    SWEEPS_PER_TIMEOUT = 4,
    SERVER_HANDLES = 3
};

static const KafkaServerOptions default_options = {
    .host = "127.0.0.1",
    .frame_bytes_max = 100 << 20,
    .buffered_bytes_max = 256 << 20,
    .unsent_bytes_max = 256 << 20,
    .connections_max = 10000,
    .in_flight_max = 64,
    .frame_timeout_ms = 30 * 1000,
    .idle_kept_ms = 10 * 1000,
    .idle_timeout_ms = 10 * 60 * 1000,
    .write_timeout_ms = 60 * 1000,
};

const ApiHandler *server_handler(const KafkaServer *server, int16_t key)
{
    if (key < 0 || (size_t)key >= server->options.handler_count || !server->options.handlers[key].handle) {
        return NULL;
    }
    return &server->options.handlers[key];
}

/* First come, first served; but whoever overdraws goes on until its frame is complete, and when no complete
 * frame is left whose end would give memory back, one may begin to overdraw. */
bool server_has_memory(KafkaServer *server, KafkaConnection *connection, size_t bytes)
{
    size_t used = server->receiving_bytes + server->handling_bytes;
    size_t limit = server->options.buffered_bytes_max;
    if (server->overdrawn == connection) {
        return true;
    }
    if (frame_is_there(connection) && server->handling_bytes <= limit / 2 &&
        bytes <= limit / 2 - server->handling_bytes) {
        return true;
    }
    if (server->parked_first && !server->resuming) {
        return false;
    }
    if (used <= limit && bytes <= limit - used) {
        return true;
    }
    if (!server->overdrawn && server->handling_bytes == 0) {
        server->overdrawn = connection;
        return true;
    }
    return false;
}

void server_park(KafkaServer *server, KafkaConnection *connection)
{
    assert(!connection->parked);
    connection->parked = true;
    connection->next_parked = NULL;
    server->parked_count++;
    if (!server->parked_first) {
        server->parked_last = &server->parked_first;
    }
    if (server->resuming &&
        connection->served == server->resuming_served) { /* it was the first, and is so still */
        connection->next_parked = server->parked_first;
        server->parked_last = server->parked_first ? server->parked_last : &connection->next_parked;
        server->parked_first = connection;
    } else {
        *server->parked_last = connection;
        server->parked_last = &connection->next_parked;
    }
}

void server_unpark(KafkaServer *server, KafkaConnection *connection)
{
    KafkaConnection **link = &server->parked_first;
    while (connection->parked && *link) {
        if (*link == connection) {
            *link = connection->next_parked;
            server->parked_last = connection->next_parked ? server->parked_last : link;
            server->parked_count--;
            connection->parked = false;
            return;
        }
        link = &(*link)->next_parked;
    }
}

static void server_resume_parked(KafkaServer *server)
{
    bool more = true;
    while (more && server->parked_first) {
        KafkaConnection *connection = server->parked_first;
        server_unpark(server, connection);
        server->resuming = true;
        server->resuming_served = connection->served;
        connection_advance(connection);
        server->resuming = false;
        more = !connection->parked;
    }
}

static void connection_close_unless_busy(KafkaConnection *connection, int64_t now_ms)
{
    (void)now_ms;
    if (connection->in_flight == 0) {
        connection_close(connection, CLOSE_SHUTDOWN, "%s", "");
    }
}

static void server_close_all(ConnectionList *list)
{
    while (list->first) {
        connection_close(list->first, CLOSE_SHUTDOWN, "%s", "");
    }
}

static void server_handle_closed(uv_handle_t *handle)
{
    KafkaServer *server = handle->data;
    if (--server->handles > 0) {
        server_soon(server);
        return;
    }
    void (*closed)(void *) = server->closed;
    void *arg = server->closed_arg;
    free(server);
    if (closed) {
        closed(arg);
    }
}

static void server_stop_listening(KafkaServer *server)
{
    if (server->listening) {
        server->listening = false;
        uv_close((uv_handle_t *)&server->listener, server_handle_closed);
    }
}

static void server_tell_drained(KafkaServer *server)
{
    void (*drained)(void *) = server->drained;
    if (drained && server->connection_count == 0) {
        server->drained = NULL;
        drained(server->drained_arg);
    }
}

static void server_turned(uv_timer_t *timer)
{
    KafkaServer *server = timer->data;
    if (server->draining) {
        crowd_visit(server, connection_close_unless_busy, time_ms());
        server_tell_drained(server);
    }
    server_resume_parked(server);
    /* The last handle is this timer: sockets and requests are gone then. */
    if (server->closing && server->handles == 1 && server->request_count == 0) {
        uv_close((uv_handle_t *)timer, server_handle_closed);
    }
}

void server_soon(KafkaServer *server)
{
    uv_handle_t *handle = (uv_handle_t *)&server->soon;
    bool wanted = server->parked_first || server->draining || server->closing;
    if (wanted && !uv_is_active(handle) && !uv_is_closing(handle)) {
        uv_timer_start(&server->soon, server_turned, 0, 0);
    }
}

static void server_swept(uv_timer_t *timer)
{
    KafkaServer *server = timer->data;
    crowd_visit(server, connection_check_time, time_ms());
    metric_set(METRIC_KAFKA_BUFFERED, (double)(server->receiving_bytes + server->handling_bytes));
    metric_set(METRIC_KAFKA_UNSENT, (double)server->unsent_bytes);
    metric_set(METRIC_KAFKA_PARKED, server->parked_count);
    metric_set(METRIC_KAFKA_IN_FLIGHT, server->request_count);
}

static void server_accepted(uv_stream_t *listener, int status)
{
    KafkaServer *server = listener->data;
    KafkaConnection *connection = status == 0 ? calloc(1, sizeof(KafkaConnection)) : NULL;
    if (!connection) {
        journal_seldom(JOURNAL_ERROR, "kafka", "a connection cannot be accepted: %s",
                       status == 0 ? "memory is short" : uv_strerror(status));
        return;
    }
    connection->server = server;
    uv_tcp_init(server->loop, &connection->socket);
    server->handles++;
    status = uv_accept(listener, (uv_stream_t *)&connection->socket);
    uv_tcp_nodelay(&connection->socket, 1);
    uv_tcp_keepalive(&connection->socket, 1, KEEPALIVE_S);
    connection_open(connection);
    if (status != 0) {
        connection_close(connection, CLOSE_SOCKET, "accepting: %s", uv_strerror(status));
    } else if (server->connection_count > server->options.connections_max &&
               !crowd_make_way(server, connection)) {
        connection_close(connection, CLOSE_LIMIT, "%d are allowed", server->options.connections_max);
    }
}

#define OPTION_OR_DEFAULT(name)                                                                              \
    do {                                                                                                     \
        if (!options->name) {                                                                                \
            options->name = default_options.name;                                                            \
        }                                                                                                    \
    } while (0)

static void options_complete(KafkaServerOptions *options)
{
    OPTION_OR_DEFAULT(host);
    OPTION_OR_DEFAULT(frame_bytes_max);
    OPTION_OR_DEFAULT(buffered_bytes_max);
    OPTION_OR_DEFAULT(unsent_bytes_max);
    OPTION_OR_DEFAULT(connections_max);
    OPTION_OR_DEFAULT(in_flight_max);
    OPTION_OR_DEFAULT(frame_timeout_ms);
    OPTION_OR_DEFAULT(idle_kept_ms);
    OPTION_OR_DEFAULT(idle_timeout_ms);
    OPTION_OR_DEFAULT(write_timeout_ms);
}

static uint64_t sweep_interval(const KafkaServerOptions *options)
{
    int64_t interval = SWEEP_MS_MAX;
    const int64_t timeouts[] = { options->frame_timeout_ms, options->idle_timeout_ms,
                                 options->write_timeout_ms };
    for (size_t i = 0; i < sizeof(timeouts) / sizeof(timeouts[0]); i++) {
        if (timeouts[i] / SWEEPS_PER_TIMEOUT < interval) {
            interval = timeouts[i] / SWEEPS_PER_TIMEOUT;
        }
    }
    return (uint64_t)(interval < SWEEP_MS_MIN ? SWEEP_MS_MIN : interval);
}

static Status listen_error(const KafkaServerOptions *options, int error)
{
    StatusCode code = error == UV_EADDRINUSE                                ? STATUS_EXISTS
                      : error == UV_EACCES                                  ? STATUS_DENIED
                      : error == UV_EADDRNOTAVAIL || error == UV_EAI_NONAME ? STATUS_NOT_FOUND
                                                                            : STATUS_UNAVAILABLE;
    return status_error(code, "cannot listen on %s:%d: %s", options->host, options->port, uv_strerror(error));
}

static int server_listen(KafkaServer *server)
{
    char service[8];
    uv_getaddrinfo_t resolved;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    snprintf(service, sizeof(service), "%u", server->options.port);
    int status = uv_getaddrinfo(server->loop, &resolved, NULL, server->options.host, service, &hints);
    if (status != 0) {
        return status;
    }
    status = uv_tcp_bind(&server->listener, resolved.addrinfo->ai_addr, 0);
    uv_freeaddrinfo(resolved.addrinfo);
    return status != 0 ? status
                       : uv_listen((uv_stream_t *)&server->listener, LISTEN_BACKLOG, server_accepted);
}

Status kafka_server_start(uv_loop_t *loop, const KafkaServerOptions *options, KafkaServer **started)
{
    KafkaServer *server = calloc(1, sizeof(KafkaServer));
    if (!server) {
        return status_error(STATUS_LIMIT, "memory is short");
    }
    server->loop = loop;
    server->options = *options;
    options_complete(&server->options);
    uv_tcp_init(loop, &server->listener);
    uv_timer_init(loop, &server->sweep);
    uv_timer_init(loop, &server->soon);
    server->listener.data = server;
    server->sweep.data = server;
    server->soon.data = server;
    server->handles = SERVER_HANDLES;
    server->listening = true;
    int error = server_listen(server);
    if (error != 0) {
        Status status = listen_error(&server->options, error);
        kafka_server_close(server, NULL, NULL);
        return status;
    }
    uint64_t interval = sweep_interval(&server->options);
    uv_timer_start(&server->sweep, server_swept, interval, interval);
    *started = server;
    return status_ok();
}

int kafka_server_port(const KafkaServer *server)
{
    struct sockaddr_storage address;
    int size = sizeof(address);
    if (uv_tcp_getsockname(&server->listener, (struct sockaddr *)&address, &size) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

KafkaServerStats kafka_server_stats(const KafkaServer *server)
{
    return (KafkaServerStats){
        .connections = server->connection_count,
        .buffered_bytes = server->receiving_bytes + server->handling_bytes,
        .unsent_bytes = server->unsent_bytes,
        .parked = server->parked_count,
        .requests = server->request_count,
    };
}

void kafka_server_shed(KafkaServer *server, int64_t idle_ms)
{
    crowd_visit(server, connection_shed, time_ms() - idle_ms);
}

void kafka_server_drain(KafkaServer *server, void (*drained)(void *arg), void *arg)
{
    server->draining = true;
    server->drained = drained;
    server->drained_arg = arg;
    server_stop_listening(server);
    server_soon(server);
}

void kafka_server_close(KafkaServer *server, void (*closed)(void *arg), void *arg)
{
    assert(!server->closing);
    server->closing = true;
    server->drained = NULL;
    server->closed = closed;
    server->closed_arg = arg;
    server_stop_listening(server);
    uv_close((uv_handle_t *)&server->sweep, server_handle_closed);
    server_close_all(&server->clients);
    server_close_all(&server->strangers);
    server_soon(server);
}
