/* connection_test.c: the Kafka server with real sockets: the client's end is driven by hand, so that it can
 * be slow, rude and wrong. */
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
static void produce_hold(KafkaRequest *request)
{
    held[held_count++] = request;
}

static void fetch_abandoned(KafkaRequest *request)
{
    abandoned_count++;
    for (int i = 0; i < held_count; i++) {
        held[i] = held[i] == request ? NULL : held[i];
    }
    kafka_request_finish_silently(request);
}

static void fetch_wait(KafkaRequest *request)
{
    request->on_abandon = fetch_abandoned;
    held[held_count++] = request;
}

static void versions_answer(KafkaRequest *request)
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

static void answer(int i)
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

static void server_up(KafkaServerOptions options)
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

static void note_closed(void *arg)
{
    *(bool *)arg = true;
}

/* Ends everything and proves that nothing is left on the loop. */
static bool server_down(void)
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

static void turn_for(int ms)
{
    int64_t until = time_ms() + ms;
    while (time_ms() < until) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(500);
    }
}

static int client_connect(void)
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
static size_t client_send(int client, const void *bytes, size_t size)
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

static size_t client_receive(int client, void *bytes, size_t size)
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
static bool client_is_hung_up(int client)
{
    char ignored[4096];
    ssize_t got;
    do {
        got = recv(client, ignored, sizeof(ignored), 0);
    } while (got > 0);
    return got == 0 || errno == ECONNRESET;
}

/* The correlation id of the next reply, -1 when none comes. The rest of the reply is skipped. */
static int32_t client_next_reply(int client)
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

static void request_begin(Writer *out, int16_t key, int16_t version, int32_t correlation)
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

static void request_end(Writer *out)
{
    writer_patch_i32(out, 0, (int32_t)(out->used - 4));
}

/* A Produce request in version 3 with one partition's records of that size. */
static Writer produce_request(int32_t correlation, size_t size)
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

static Writer fetch_request(int32_t correlation)
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

static Writer versions_request(int16_t version, int32_t correlation)
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

static bool send_request(int client, Writer request)
{
    bool sent = client_send(client, request.bytes, request.used) == request.used;
    writer_free(&request);
    return sent;
}

TEST(a_request_is_answered_with_its_correlation_id)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    for (int16_t version = 0; version <= 3; version++) {
        CHECK(send_request(client, versions_request(version, 100 + version)));
        CHECK_INT(client_next_reply(client), 100 + version);
    }
    close(client);
    CHECK(server_down());
}

TEST(replies_leave_in_the_order_of_the_requests)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    for (int i = 0; i < 5; i++) {
        CHECK(send_request(client, produce_request(i, 100)));
    }
    CHECK(TURN_UNTIL(held_count == 5)); /* all of them at the same time */
    answer(4);
    answer(2);
    answer(1);
    turn_for(20);
    uint8_t early;
    CHECK(recv(client, &early, 1, 0) < 0 && errno == EAGAIN);
    answer(0);
    for (int i = 0; i < 3; i++) {
        CHECK_INT(client_next_reply(client), i);
    }
    answer(3);
    CHECK_INT(client_next_reply(client), 3);
    CHECK_INT(client_next_reply(client), 4);
    close(client);
    CHECK(server_down());
}

TEST(what_is_not_pipelined_waits_for_all_before_and_holds_up_all_after)
{
    big_block = block_new(10);
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, produce_request(0, 10)));
    CHECK(send_request(client, produce_request(1, 10)));
    CHECK(send_request(client, fetch_request(2)));
    CHECK(send_request(client, produce_request(3, 10)));
    CHECK(send_request(client, versions_request(0, 4)));
    turn_for(20);
    CHECK_INT(held_count, 2);
    answer(1);
    turn_for(20);
    CHECK_INT(held_count, 2);
    answer(0);
    CHECK(TURN_UNTIL(held_count == 3));
    turn_for(20);
    CHECK_INT(held_count, 3);
    CHECK_INT(held[2]->correlation_id, 2);
    answer(2);
    CHECK(TURN_UNTIL(held_count == 4));
    answer(3);
    for (int i = 0; i < 5; i++) {
        CHECK_INT(client_next_reply(client), i);
    }
    close(client);
    CHECK(server_down());
    block_release(big_block);
}

TEST(a_request_without_a_reply_leaves_no_gap)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    for (int i = 0; i < 3; i++) {
        CHECK(send_request(client, produce_request(i, 10)));
    }
    CHECK(TURN_UNTIL(held_count == 3));
    answer(2);
    kafka_request_finish_silently(held[1]);
    held[1] = NULL;
    answer(0);
    CHECK_INT(client_next_reply(client), 0);
    CHECK_INT(client_next_reply(client), 2);
    CHECK_INT(kafka_server_stats(server).requests, 0);
    close(client);
    CHECK(server_down());
}

TEST(requests_in_flight_are_bounded_per_connection)
{
    server_up((KafkaServerOptions){ .in_flight_max = 3 });
    int client = client_connect();
    for (int i = 0; i < 10; i++) {
        CHECK(send_request(client, produce_request(i, 1000)));
    }
    turn_for(30);
    CHECK_INT(held_count, 3);
    for (int i = 0; i < 10; i++) {
        CHECK(TURN_UNTIL(held_count > i));
        CHECK(held_count <= i + 3);
        answer(i);
        CHECK_INT(client_next_reply(client), i);
    }
    close(client);
    CHECK(server_down());
}

TEST(a_frame_arrives_byte_for_byte_however_it_is_cut)
{
    static const size_t sizes[] = { 0,         1,   1000,       32 * KIB - 50, 32 * KIB, 256 * KIB - 30,
                                    256 * KIB, MIB, 5 * MIB + 3 };
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        Writer request = produce_request((int32_t)i, sizes[i]);
        size_t cut = request.used / 3;
        CHECK_INT(client_send(client, request.bytes, cut), cut);
        turn_for(3);
        CHECK_INT(client_send(client, request.bytes + cut, request.used - cut), request.used - cut);
        CHECK(TURN_UNTIL(held_count == (int)i + 1));
        KafkaRequest *got = held[i];
        CHECK_BYTES(slice_of(got->frame->bytes, got->frame->size),
                    slice_of(request.bytes + 4, request.used - 4));
        CHECK_BYTES(got->client_id, SLICE_LITERAL("test"));
        const KafkaProduceRequest *message = got->message;
        CHECK_INT(message->acks, -1);
        writer_free(&request);
        answer((int)i);
        CHECK_INT(client_next_reply(client), i);
    }
    close(client);
    CHECK(server_down());
}

TEST(many_small_requests_in_one_segment_are_all_answered)
{
    enum { REQUESTS = 3000 };
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    Writer all;
    writer_init(&all);
    for (int i = 0; i < REQUESTS; i++) {
        Writer one = versions_request(0, i);
        writer_bytes(&all, one.bytes, one.used);
        writer_free(&one);
    }
    CHECK_INT(client_send(client, all.bytes, all.used), all.used);
    for (int i = 0; i < REQUESTS; i++) {
        CHECK_INT(client_next_reply(client), i);
    }
    writer_free(&all);
    close(client);
    CHECK(server_down());
}

TEST(a_reply_refers_to_its_blocks_until_a_slow_reader_has_it_all)
{
    big_block = block_new(20 * MIB);
    memset(big_block->bytes, 0x5a, big_block->size);
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, fetch_request(1)));
    CHECK(send_request(client, fetch_request(2)));
    CHECK(TURN_UNTIL(held_count == 1));
    answer(0);
    turn_for(30);
    CHECK_INT(big_block->references, 2);
    CHECK_INT(held_count, 1); /* the second waits until the first is out */
    CHECK_INT(client_next_reply(client), 1);
    CHECK(TURN_UNTIL(held_count == 2));
    CHECK_INT(big_block->references, 1);
    answer(1);
    CHECK_INT(client_next_reply(client), 2);
    close(client);
    CHECK(server_down());
    CHECK_INT(big_block->references, 1);
    block_release(big_block);
}

TEST(a_reader_that_stops_reading_is_disconnected)
{
    big_block = block_new(20 * MIB);
    memset(big_block->bytes, 0, big_block->size);
    server_up((KafkaServerOptions){ .write_timeout_ms = 60 });
    int client = client_connect();
    CHECK(send_request(client, fetch_request(1)));
    CHECK(TURN_UNTIL(held_count == 1));
    answer(0);
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 0));
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_WRITE_TIMEOUT), 1);
    turn_for(5);
    CHECK_INT(big_block->references, 1);
    close(client);
    CHECK(server_down());
    block_release(big_block);
}

TEST(a_reader_that_reads_slowly_is_not_disconnected)
{
    big_block = block_new(8 * MIB);
    memset(big_block->bytes, 0, big_block->size);
    server_up((KafkaServerOptions){ .write_timeout_ms = 150 });
    int client = client_connect();
    CHECK(send_request(client, fetch_request(1)));
    CHECK(TURN_UNTIL(held_count == 1));
    answer(0);
    static uint8_t piece[512 * KIB];
    size_t got = 0;
    for (int i = 0; i < 60 && got < big_block->size; i++) {
        got += client_receive(client, piece, sizeof(piece));
        turn_for(20);
    }
    CHECK(got >= big_block->size);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_WRITE_TIMEOUT), 0);
    close(client);
    CHECK(server_down());
    block_release(big_block);
}

static bool is_refused(const void *bytes, size_t size, MetricId reason)
{
    double before = metric_value(reason);
    int client = client_connect();
    client_send(client, bytes, size);
    bool refused = TURN_UNTIL(metric_value(reason) > before) && TURN_UNTIL(client_is_hung_up(client));
    close(client);
    return refused;
}

static bool is_refused_prefix(int32_t size, int16_t key, int16_t version, MetricId reason)
{
    Writer out;
    writer_init(&out);
    writer_i32(&out, size);
    writer_i16(&out, key);
    writer_i16(&out, version);
    writer_i32(&out, 1);
    bool refused = is_refused(out.bytes, out.used, reason);
    writer_free(&out);
    return refused;
}

TEST(impossible_sizes_are_refused)
{
    server_up((KafkaServerOptions){ .frame_bytes_max = MIB });
    CHECK(is_refused_prefix(-1, KAFKA_PRODUCE, 3, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK(is_refused_prefix(0, KAFKA_PRODUCE, 3, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK(is_refused_prefix(7, KAFKA_PRODUCE, 3, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK(is_refused_prefix(MIB + 1, KAFKA_PRODUCE, 3, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK(is_refused_prefix(INT32_MAX, KAFKA_PRODUCE, 3, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK(is_refused_prefix(INT32_MIN, KAFKA_PRODUCE, 3, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK(is_refused("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, METRIC_KAFKA_CLOSED_FRAME_SIZE));
    CHECK_INT(held_count, 0);
    CHECK(server_down());
}

TEST(unknown_apis_and_versions_are_refused_before_their_body_comes)
{
    server_up((KafkaServerOptions){ 0 });
    CHECK(is_refused_prefix(50 * MIB, 9999, 0, METRIC_KAFKA_CLOSED_UNSUPPORTED));
    CHECK(is_refused_prefix(50 * MIB, -1, 0, METRIC_KAFKA_CLOSED_UNSUPPORTED));
    CHECK(is_refused_prefix(50 * MIB, KAFKA_METADATA, 1, METRIC_KAFKA_CLOSED_UNSUPPORTED));
    CHECK(is_refused_prefix(50 * MIB, KAFKA_PRODUCE, 2, METRIC_KAFKA_CLOSED_UNSUPPORTED));
    CHECK(is_refused_prefix(50 * MIB, KAFKA_PRODUCE, 10, METRIC_KAFKA_CLOSED_UNSUPPORTED));
    CHECK(is_refused_prefix(50 * MIB, KAFKA_PRODUCE, -1, METRIC_KAFKA_CLOSED_UNSUPPORTED));
    CHECK_INT(kafka_server_stats(server).buffered_bytes, 0);
    CHECK(server_down());
}

TEST(malformed_bodies_and_headers_are_refused)
{
    server_up((KafkaServerOptions){ 0 });
    for (size_t cut = 12; cut < 40; cut++) {
        Writer request = produce_request(1, 20);
        size_t used = request.used - cut > 12 ? request.used - cut : 12;
        writer_patch_i32(&request, 0, (int32_t)used - 4); /* the body ends early */
        CHECK(is_refused(request.bytes, used, METRIC_KAFKA_CLOSED_MALFORMED));
        writer_free(&request);
    }
    Writer request = produce_request(1, 20);
    request.bytes[12] = 0x7f; /* a client id longer than the frame */
    CHECK(is_refused(request.bytes, request.used, METRIC_KAFKA_CLOSED_MALFORMED));
    request.bytes[12] = 0xff;
    request.bytes[13] = 0xfe; /* a client id of -2 bytes */
    CHECK(is_refused(request.bytes, request.used, METRIC_KAFKA_CLOSED_MALFORMED));
    writer_free(&request);
    CHECK_INT(held_count, 0);
    CHECK_INT(kafka_server_stats(server).buffered_bytes, 0);
    CHECK(server_down());
}

TEST(api_versions_of_the_future_gets_error_35_in_version_0)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, versions_request(99, 7)));
    uint8_t reply[4 + 4 + 2 + 4 + 6];
    CHECK_INT(client_receive(client, reply, sizeof(reply)), sizeof(reply));
    Reader in = reader_of(slice_of(reply, sizeof(reply)));
    CHECK_INT(reader_i32(&in), sizeof(reply) - 4);
    CHECK_INT(reader_i32(&in), 7);
    CHECK_INT(reader_i16(&in), 35);
    CHECK_INT(reader_i32(&in), 1);
    CHECK_INT(reader_i16(&in), KAFKA_API_VERSIONS);
    CHECK_INT(reader_i16(&in), 0);
    CHECK_INT(reader_i16(&in), 3);
    CHECK(send_request(client, versions_request(3, 8))); /* and the connection lives on */
    CHECK_INT(client_next_reply(client), 8);
    close(client);
    CHECK(server_down());
}

TEST(a_huge_announced_frame_reserves_little)
{
    enum { CLIENTS = 20 };
    int clients[CLIENTS];
    server_up((KafkaServerOptions){ 0 });
    for (int i = 0; i < CLIENTS; i++) {
        Writer request = produce_request(i, 1000);
        writer_patch_i32(&request, 0, 99 * MIB);
        clients[i] = client_connect();
        CHECK(send_request(clients[i], request));
    }
    turn_for(30);
    CHECK_INT(kafka_server_stats(server).buffered_bytes, CLIENTS * 256 * KIB);
    for (int i = 0; i < CLIENTS; i++) {
        close(clients[i]);
    }
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 0));
    CHECK_INT(kafka_server_stats(server).buffered_bytes, 0);
    CHECK(server_down());
}

TEST(memory_follows_what_arrives)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    Writer request = produce_request(1, 40 * MIB);
    size_t sent = 0;
    while (sent < request.used) {
        size_t piece = request.used - sent < MIB ? request.used - sent : MIB;
        CHECK_INT(client_send(client, request.bytes + sent, piece), piece);
        sent += piece;
        turn_for(2);
        CHECK(kafka_server_stats(server).buffered_bytes <= 4 * sent + 256 * KIB);
    }
    writer_free(&request);
    CHECK(TURN_UNTIL(held_count == 1));
    CHECK_INT(kafka_server_stats(server).buffered_bytes, held[0]->frame->size);
    answer(0);
    CHECK_INT(client_next_reply(client), 1);
    CHECK_INT(kafka_server_stats(server).buffered_bytes, 0);
    close(client);
    CHECK(server_down());
}

TEST(a_dribbled_frame_is_given_up)
{
    server_up((KafkaServerOptions){ .frame_timeout_ms = 80 });
    int client = client_connect();
    CHECK(send_request(client, versions_request(0, 1)));
    CHECK_INT(client_next_reply(client), 1);
    Writer request = produce_request(2, 1000);
    bool hung_up = false;
    for (size_t i = 0; i < request.used && !hung_up; i++) {
        send(client, request.bytes + i, 1, MSG_NOSIGNAL);
        turn_for(4);
        hung_up = client_is_hung_up(client);
    }
    CHECK(hung_up);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_FRAME_TIMEOUT), 1);
    writer_free(&request);
    close(client);
    CHECK(server_down());
}

TEST(silent_and_idle_connections_are_closed_but_not_waiting_ones)
{
    server_up((KafkaServerOptions){ .frame_timeout_ms = 60, .idle_timeout_ms = 300 });
    int silent = client_connect();
    int idle = client_connect();
    int waiting = client_connect();
    CHECK(send_request(idle, versions_request(0, 1)));
    CHECK(send_request(waiting, fetch_request(1)));
    CHECK(TURN_UNTIL(client_is_hung_up(silent)));
    CHECK_INT(kafka_server_stats(server).connections, 2);
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 1));
    CHECK(client_is_hung_up(idle));
    turn_for(350);
    CHECK_INT(kafka_server_stats(server).connections, 1);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_IDLE), 2);
    close(silent);
    close(idle);
    close(waiting);
    CHECK(server_down());
}

TEST(used_up_memory_holds_up_producers_but_not_others_and_everything_completes)
{
    enum { CLIENTS = 12, SIZE = 900 * KIB };
    int clients[CLIENTS];
    Writer requests[CLIENTS];
    size_t sent[CLIENTS] = { 0 };
    server_up((KafkaServerOptions){ .buffered_bytes_max = 2 * MIB });
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = client_connect();
        requests[i] = produce_request(i, SIZE);
    }
    int answered = 0;
    size_t most = 0;
    int64_t until = time_ms() + 2 * PATIENCE_MS;
    while (answered < CLIENTS && time_ms() < until) {
        for (int i = 0; i < CLIENTS; i++) {
            ssize_t now =
                send(clients[i], requests[i].bytes + sent[i], requests[i].used - sent[i], MSG_NOSIGNAL);
            sent[i] += now > 0 ? (size_t)now : 0;
        }
        uv_run(&loop, UV_RUN_NOWAIT);
        size_t buffered = kafka_server_stats(server).buffered_bytes;
        most = buffered > most ? buffered : most;
        if (kafka_server_stats(server).parked > 0 && answered == 0) {
            int other = client_connect();
            CHECK(send_request(other, versions_request(0, 55)));
            CHECK_INT(client_next_reply(other), 55);
            close(other);
        }
        if (held_count > answered && (held_count == CLIENTS || kafka_server_stats(server).parked > 0)) {
            answer(answered++);
        }
    }
    CHECK_INT(answered, CLIENTS);
    CHECK(most > MIB);
    CHECK(most <= 2 * MIB + SIZE + KIB);
    for (int i = 0; i < CLIENTS; i++) {
        CHECK_INT(client_next_reply(clients[i]), i);
        writer_free(&requests[i]);
        close(clients[i]);
    }
    CHECK_INT(kafka_server_stats(server).buffered_bytes, 0);
    CHECK(server_down());
}

TEST(a_frame_larger_than_all_memory_still_completes)
{
    server_up((KafkaServerOptions){ .buffered_bytes_max = MIB });
    int clients[2] = { client_connect(), client_connect() };
    Writer big = produce_request(0, 6 * MIB);
    CHECK_INT(client_send(clients[0], big.bytes, 2 * MIB), 2 * MIB);
    turn_for(10);
    Writer second = produce_request(1, 6 * MIB);
    size_t second_sent = 0;
    size_t first_sent = 2 * MIB;
    int64_t until = time_ms() + PATIENCE_MS;
    while (held_count < 2 && time_ms() < until) {
        ssize_t now = send(clients[0], big.bytes + first_sent, big.used - first_sent, MSG_NOSIGNAL);
        first_sent += now > 0 ? (size_t)now : 0;
        now = send(clients[1], second.bytes + second_sent, second.used - second_sent, MSG_NOSIGNAL);
        second_sent += now > 0 ? (size_t)now : 0;
        uv_run(&loop, UV_RUN_NOWAIT);
        CHECK(kafka_server_stats(server).buffered_bytes <= 7 * MIB);
        if (held_count == 1 && held[0]) {
            answer(0);
        }
    }
    CHECK_INT(held_count, 2);
    answer(1);
    CHECK_INT(client_next_reply(clients[0]), 0);
    CHECK_INT(client_next_reply(clients[1]), 1);
    writer_free(&big);
    writer_free(&second);
    close(clients[0]);
    close(clients[1]);
    CHECK(server_down());
}

TEST(a_frame_that_is_kept_after_its_request_is_not_counted)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, produce_request(0, MIB)));
    CHECK(TURN_UNTIL(held_count == 1));
    Block *kept = block_hold(held[0]->frame);
    CHECK(kafka_server_stats(server).buffered_bytes > MIB);
    answer(0);
    CHECK_INT(kafka_server_stats(server).buffered_bytes, 0);
    CHECK(kept->released == NULL);
    CHECK_INT(client_next_reply(client), 0);
    close(client);
    CHECK(server_down());
    block_release(kept);
}

TEST(a_waiting_request_is_abandoned_when_its_client_goes)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, fetch_request(1)));
    CHECK(TURN_UNTIL(held_count == 1));
    close(client);
    CHECK(TURN_UNTIL(abandoned_count == 1));
    CHECK_INT(kafka_server_stats(server).requests, 0);
    CHECK(server_down());
}

TEST(a_request_may_be_answered_after_its_client_is_gone)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, produce_request(1, 100)));
    CHECK(send_request(client, produce_request(2, 100)));
    CHECK(TURN_UNTIL(held_count == 2));
    answer(1); /* finished, but not the first: freed with the connection */
    close(client);
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 0));
    CHECK(held[0]->abandoned);
    CHECK_STR(kafka_request_peer(held[0]), "gone");
    CHECK_INT(kafka_server_stats(server).requests, 1);
    answer(0);
    CHECK_INT(kafka_server_stats(server).requests, 0);
    CHECK(server_down());
}

TEST(a_handler_can_disconnect)
{
    server_up((KafkaServerOptions){ 0 });
    int client = client_connect();
    CHECK(send_request(client, produce_request(1, 100)));
    CHECK(send_request(client, produce_request(2, 100)));
    CHECK(TURN_UNTIL(held_count == 2));
    kafka_request_disconnect(held[1], "the test says so");
    held[1] = NULL;
    CHECK(TURN_UNTIL(client_is_hung_up(client)));
    CHECK(held[0]->abandoned);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_HANDLER), 1);
    close(client);
    CHECK(server_down());
}

TEST(one_connection_too_many_is_closed_and_the_others_live)
{
    server_up((KafkaServerOptions){ .connections_max = 2 });
    int first = client_connect();
    int second = client_connect();
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 2));
    int third = client_connect();
    CHECK(TURN_UNTIL(client_is_hung_up(third)));
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_LIMIT), 1);
    CHECK(send_request(first, versions_request(0, 1)));
    CHECK_INT(client_next_reply(first), 1);
    close(second);
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 1));
    int fourth = client_connect();
    CHECK(send_request(fourth, versions_request(0, 2)));
    CHECK_INT(client_next_reply(fourth), 2);
    close(first);
    close(third);
    close(fourth);
    CHECK(server_down());
}

TEST(draining_answers_what_was_accepted_and_then_hangs_up)
{
    bool drained = false;
    server_up((KafkaServerOptions){ 0 });
    int busy = client_connect();
    int quiet = client_connect();
    CHECK(send_request(busy, produce_request(1, 100)));
    CHECK(send_request(quiet, versions_request(0, 1)));
    CHECK_INT(client_next_reply(quiet), 1);
    CHECK(TURN_UNTIL(held_count == 1));
    kafka_server_drain(server, note_closed, &drained);
    CHECK(TURN_UNTIL(client_is_hung_up(quiet)));
    CHECK(send_request(busy, produce_request(2, 100)));
    turn_for(20);
    CHECK_INT(held_count, 1);
    CHECK(!drained);
    answer(0);
    CHECK_INT(client_next_reply(busy), 1);
    CHECK(TURN_UNTIL(client_is_hung_up(busy)));
    CHECK(TURN_UNTIL(drained));
    close(busy);
    close(quiet);
    CHECK(server_down());
}

TEST(an_address_in_use_is_told)
{
    server_up((KafkaServerOptions){ 0 });
    KafkaServer *second = NULL;
    KafkaServerOptions options = { .handlers = handlers, .handler_count = HANDLERS };
    options.port = (uint16_t)kafka_server_port(server);
    Status status = kafka_server_start(&loop, &options, &second);
    CHECK_INT(status.code, STATUS_EXISTS);
    options.port = 0;
    options.host = "host.invalid";
    status = kafka_server_start(&loop, &options, &second);
    CHECK(!status_is_ok(&status));
    CHECK(server_down());
}

static long resident_kib(void)
{
    long pages = 0;
    long ignored = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &ignored, &pages) != 2) {
        pages = 0;
    }
    if (file) {
        fclose(file);
    }
    return pages * (sysconf(_SC_PAGESIZE) / KIB);
}

TEST(idle_connections_cost_little)
{
    enum { CONNECTIONS = 400 };
    static int clients[CONNECTIONS];
    server_up((KafkaServerOptions){ 0 });
    long before = resident_kib();
    for (int i = 0; i < CONNECTIONS; i++) {
        clients[i] = client_connect();
        CHECK(send_request(clients[i], versions_request(0, i)));
        CHECK_INT(client_next_reply(clients[i]), i);
    }
    CHECK_INT(kafka_server_stats(server).connections, CONNECTIONS);
    CHECK((resident_kib() - before) / CONNECTIONS < 20);
    for (int i = 0; i < CONNECTIONS; i++) {
        close(clients[i]);
    }
    CHECK(server_down());
}

TEST(garbage_never_stops_the_server)
{
    uint32_t random = 12345;
    server_up((KafkaServerOptions){ 0 });
    for (int round = 0; round < 300; round++) {
        uint8_t garbage[600];
        for (size_t i = 0; i < sizeof(garbage); i++) {
            random = random * 1664525 + 1013904223;
            garbage[i] = (uint8_t)(random >> 24);
        }
        if (round % 2) { /* a plausible prefix before it */
            memcpy(garbage, (uint8_t[]){ 0, 0, 1, 0, 0, round % 3 == 0 ? 18 : round % 3, 0, 3 + round % 8 },
                   8);
        }
        int client = client_connect();
        client_send(client, garbage, sizeof(garbage));
        close(client);
    }
    turn_for(20);
    int client = client_connect();
    CHECK(send_request(client, versions_request(3, 1)));
    CHECK_INT(client_next_reply(client), 1);
    close(client);
    CHECK(server_down());
}
