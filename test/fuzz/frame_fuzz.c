/* frame_fuzz.c: any bytes, cut anywhere, against a Kafka connection whose handlers answer at once, later, or
 * never. The first byte of the input says how it is cut; the rest is what the client sends. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/journal.h"
#include "agent/kafka/connection.h"
#include "agent/kafka/server.h"

enum { HANDLERS = 80, HELD_MAX = 8, TURNS = 3, FRAME_BYTES_MAX = 256 * 1024, BUFFERED_BYTES_MAX = 64 * 1024 };

static uv_loop_t loop;
static KafkaServer *server;
static KafkaRequest *held[HELD_MAX];
static int held_count;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer_defaults(KafkaRequest *request)
{
    size_t size = request->api->response->root.size;
    void *response = arena_allocate(&request->arena, size);
    if (!response) {
        kafka_request_disconnect(request, "its arena is full");
        return;
    }
    kafka_defaults(&request->api->response->root, response);
    kafka_request_reply(request, response);
}

static void held_end(int i)
{
    KafkaRequest *request = held[i];
    held[i] = NULL;
    if (request && i % 3 == 2) {
        kafka_request_finish_silently(request);
    } else if (request) {
        answer_defaults(request);
    }
}

/* Answered in the opposite order, some never by a reply. */
static void hold(KafkaRequest *request)
{
    if (held_count == HELD_MAX) {
        kafka_request_disconnect(request, "too many");
        return;
    }
    held[held_count++] = request;
}

static void held_end_all(void)
{
    while (held_count > 0) {
        held_end(--held_count);
    }
}

static ApiHandler handlers[HANDLERS];

static void set_up(void)
{
    size_t count;
    const KafkaApi *apis = kafka_apis(&count);
    for (size_t i = 0; i < count; i++) {
        if (apis[i].key < HANDLERS) {
            handlers[apis[i].key] = (ApiHandler){ answer_defaults, .newest = INT16_MAX };
        }
    }
    handlers[KAFKA_PRODUCE] = (ApiHandler){ hold, .newest = INT16_MAX, .pipelined = true };
    KafkaServerOptions options = { .handlers = handlers,
                                   .handler_count = HANDLERS,
                                   .frame_bytes_max = FRAME_BYTES_MAX,
                                   .buffered_bytes_max = BUFFERED_BYTES_MAX,
                                   .in_flight_max = 4 };
    signal(SIGPIPE, SIG_IGN); /* as the agent does */
    journal_configure(JOURNAL_ERROR, JOURNAL_TEXT);
    uv_loop_init(&loop);
    Status status = kafka_server_start(&loop, &options, &server);
    if (!status_is_ok(&status)) {
        abort();
    }
}

static KafkaConnection *connection_new(int end)
{
    KafkaConnection *connection = calloc(1, sizeof(KafkaConnection));
    connection->server = server;
    uv_tcp_init(&loop, &connection->socket);
    server->handles++;
    if (uv_tcp_open(&connection->socket, end) != 0) {
        abort();
    }
    connection_open(connection);
    return connection;
}

static void turn(void)
{
    for (int i = 0; i < TURNS; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2];
    if (!server) {
        set_up();
    }
    if (size < 1 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        return 0;
    }
    size_t cut = data[0] == 0 ? size : data[0];
    connection_new(ends[0]);
    for (size_t at = 1; at < size; at += cut) {
        size_t piece = size - at < cut ? size - at : cut;
        if (send(ends[1], data + at, piece, MSG_NOSIGNAL) < 0) {
            break;
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        if (data[0] & 1) {
            held_end_all();
        }
    }
    turn();
    if (data[0] & 2) {
        held_end_all();
        turn();
    }
    close(ends[1]);
    while (server->connection_count > 0) {
        uv_run(&loop, UV_RUN_NOWAIT);
        held_end_all();
    }
    held_end_all();
    turn();
    if (server->request_count != 0 || server->receiving_bytes != 0 || server->handling_bytes != 0 ||
        server->parked_count != 0 || server->unsent_bytes != 0) {
        abort(); /* something was not given back */
    }
    return 0;
}
