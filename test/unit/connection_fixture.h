/* connection_fixture.h: a Kafka server on a loop turned by hand, handlers that hold requests until the test
 * answers them, and a raw client that can be slow, rude and wrong. For connection*_test.c. */
#ifndef STREAMHOUSE_CONNECTION_FIXTURE_H
#define STREAMHOUSE_CONNECTION_FIXTURE_H

#include "test/unit/test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/kafka/server.h"
#include "agent/metrics.h"

enum { HELD_MAX = 4096, PATIENCE_MS = 5000, KIB = 1024, MIB = 1024 * 1024, HANDLERS = 80 };

static uv_loop_t loop;
static KafkaServer *server;
static KafkaRequest *held[HELD_MAX];
static int held_count;
static int abandoned_count;
static Block *big_block;
static bool server_closed;

/* Keeps the request until the test answers it. */
__attribute__((unused)) static void produce_hold(KafkaRequest *request)
{
    held[held_count++] = request;
}

__attribute__((unused)) static void fetch_abandoned(KafkaRequest *request)
{
    abandoned_count++;
    for (int i = 0; i < held_count; i++) {
        held[i] = held[i] == request ? NULL : held[i];
    }
    kafka_request_finish_silently(request);
}

__attribute__((unused)) static void fetch_wait(KafkaRequest *request)
{
    request->on_abandon = fetch_abandoned;
    held[held_count++] = request;
}

__attribute__((unused)) static void versions_answer(KafkaRequest *request)
{
    KafkaApiVersionsResponse response;
    kafka_defaults(&KAFKA_API_VERSIONS_RESPONSE.root, &response);
    kafka_request_reply(request, &response);
}

static const ApiHandler handlers[HANDLERS] = {
    [KAFKA_PRODUCE] = { produce_hold, .oldest = 3, .newest = 9, .pipelined = true },
    [KAFKA_FETCH] = { fetch_wait, .oldest = 4, .newest = 12 },
    [KAFKA_API_VERSIONS] = { versions_answer, .oldest = 0, .newest = 3 },
};

__attribute__((unused)) static void answer(int i)
{
    KafkaRequest *request = held[i];
    held[i] = NULL;
    if (request->api->key == KAFKA_PRODUCE) {
        KafkaProduceResponse response;
        kafka_defaults(&KAFKA_PRODUCE_RESPONSE.root, &response);
        kafka_request_reply(request, &response);
        return;
    }
    Slice slice = slice_of(big_block->bytes, big_block->size);
    KafkaFetchResponse response;
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
    KafkaFetchResponseTopic *topic = kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_TOPIC, 1);
    KafkaFetchResponsePartition *partition =
        kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_PARTITION, 1);
    partition->records = (KafkaRecords){ &slice, 1, false };
    topic->partitions.items = partition;
    topic->partitions.count = 1;
    response.responses.items = topic;
    response.responses.count = 1;
    if (kafka_request_hold(request, big_block)) {
        kafka_request_reply(request, &response);
    }
}

__attribute__((unused)) static void server_up(KafkaServerOptions options)
{
    static int devnull = -1;
    if (devnull < 0) {
        devnull = open("/dev/null", O_WRONLY | O_CLOEXEC);
        journal_to(devnull);
        signal(SIGPIPE, SIG_IGN); /* as the agent does */
    }
    metrics_reset();
    uv_loop_init(&loop);
    options.handlers = handlers;
    options.handler_count = HANDLERS;
    held_count = 0;
    abandoned_count = 0;
    server_closed = false;
    Status status = kafka_server_start(&loop, &options, &server);
    if (!status_is_ok(&status)) {
        test_fail(__FILE__, __LINE__, "%s", status.message);
        abort();
    }
}

__attribute__((unused)) static void note_closed(void *arg)
{
    *(bool *)arg = true;
}

/* Ends everything and proves that nothing is left on the loop. */
__attribute__((unused)) static bool server_down(void)
{
    kafka_server_close(server, note_closed, &server_closed);
    for (int i = 0; i < held_count; i++) {
        if (held[i]) {
            kafka_request_finish_silently(held[i]);
        }
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    return server_closed && uv_loop_close(&loop) == 0;
}

/* Turns the loop until the condition holds; false when it does not within PATIENCE_MS. */
#define TURN_UNTIL(condition)                                                                                \
    ({                                                                                                       \
        int64_t until_ = time_ms() + PATIENCE_MS;                                                            \
        while (!(condition) && time_ms() < until_) {                                                         \
            uv_run(&loop, UV_RUN_NOWAIT);                                                                    \
            usleep(200);                                                                                     \
        }                                                                                                    \
        (condition);                                                                                         \
    })

__attribute__((unused)) static void turn_for(int ms)
{
    int64_t until = time_ms() + ms;
    while (time_ms() < until) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(500);
    }
}

__attribute__((unused)) static int client_connect(void)
{
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)kafka_server_port(server)) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) != 0) {
        test_fail(__FILE__, __LINE__, "cannot connect: %s", strerror(errno));
        abort();
    }
    fcntl(client, F_SETFL, O_NONBLOCK);
    return client;
}

/* Sends all of it, turning the loop while the socket is full; gives up after a while. */
__attribute__((unused)) static size_t client_send(int client, const void *bytes, size_t size)
{
    size_t sent = 0;
    int64_t until = time_ms() + PATIENCE_MS;
    while (sent < size && time_ms() < until) {
        ssize_t now = send(client, (const char *)bytes + sent, size - sent, MSG_NOSIGNAL);
        if (now < 0 && errno != EAGAIN) {
            break;
        }
        sent += now > 0 ? (size_t)now : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    return sent;
}

__attribute__((unused)) static size_t client_receive(int client, void *bytes, size_t size)
{
    size_t got = 0;
    int64_t until = time_ms() + PATIENCE_MS;
    while (got < size && time_ms() < until) {
        ssize_t now = recv(client, (char *)bytes + got, size - got, 0);
        if (now == 0 || (now < 0 && errno != EAGAIN)) {
            break;
        }
        got += now > 0 ? (size_t)now : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    return got;
}

/* Whether the server has hung up, reading whatever it still sent. */
__attribute__((unused)) static bool client_is_hung_up(int client)
{
    char ignored[4096];
    ssize_t got;
    do {
        got = recv(client, ignored, sizeof(ignored), 0);
    } while (got > 0);
    return got == 0 || errno == ECONNRESET;
}

/* The correlation id of the next reply, -1 when none comes. The rest of the reply is skipped. */
__attribute__((unused)) static int32_t client_next_reply(int client)
{
    uint8_t head[8];
    if (client_receive(client, head, sizeof(head)) != sizeof(head)) {
        return -1;
    }
    Reader in = reader_of(slice_of(head, sizeof(head)));
    size_t rest = (size_t)reader_i32(&in) - 4;
    int32_t correlation = reader_i32(&in);
    uint8_t *skipped = malloc(rest + 1);
    bool complete = client_receive(client, skipped, rest) == rest;
    free(skipped);
    return complete ? correlation : -1;
}

__attribute__((unused)) static void request_begin(Writer *out, int16_t key, int16_t version,
                                                  int32_t correlation)
{
    writer_init(out);
    writer_i32(out, 0);
    writer_i16(out, key);
    writer_i16(out, version);
    writer_i32(out, correlation);
    writer_i16(out, 4);
    writer_bytes(out, "test", 4);
    if (kafka_request_header_version(kafka_api_find(key), version) >= 2) {
        writer_uvarint(out, 0);
    }
}

__attribute__((unused)) static void request_end(Writer *out)
{
    writer_patch_i32(out, 0, (int32_t)(out->used - 4));
}

/* A Produce request in version 3 with one partition's records of that size. */
__attribute__((unused)) static Writer produce_request(int32_t correlation, size_t size)
{
    Writer out;
    request_begin(&out, KAFKA_PRODUCE, 3, correlation);
    writer_i16(&out, -1);
    writer_i16(&out, -1);
    writer_i32(&out, 1000);
    writer_i32(&out, 1);
    writer_i16(&out, 1);
    writer_bytes(&out, "t", 1);
    writer_i32(&out, 1);
    writer_i32(&out, 0);
    writer_i32(&out, (int32_t)size);
    uint8_t *records = writer_extend(&out, size);
    for (size_t i = 0; i < size; i++) {
        records[i] = (uint8_t)(i * 7 + (size_t)correlation);
    }
    request_end(&out);
    return out;
}

__attribute__((unused)) static Writer fetch_request(int32_t correlation)
{
    Writer out;
    KafkaFetchRequest request;
    kafka_defaults(&KAFKA_FETCH_REQUEST.root, &request);
    request_begin(&out, KAFKA_FETCH, 4, correlation);
    Status status = kafka_encode(&KAFKA_FETCH_REQUEST, 4, &request, &out);
    if (!status_is_ok(&status)) {
        abort();
    }
    request_end(&out);
    return out;
}

__attribute__((unused)) static Writer versions_request(int16_t version, int32_t correlation)
{
    Writer out;
    request_begin(&out, KAFKA_API_VERSIONS, version, correlation);
    if (version >= 3) {
        writer_uvarint(&out, 2);
        writer_bytes(&out, "a", 1);
        writer_uvarint(&out, 2);
        writer_bytes(&out, "1", 1);
        writer_uvarint(&out, 0);
    }
    request_end(&out);
    return out;
}

__attribute__((unused)) static bool send_request(int client, Writer request)
{
    bool sent = client_send(client, request.bytes, request.used) == request.used;
    writer_free(&request);
    return sent;
}

#endif
