/* connection_test.c: the Kafka server with real sockets: order, cutting, refusals, and clients that go away.
 */
#include "test/unit/connection_fixture.h"

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
