/* connection_limit_test.c: what a Kafka connection may cost: memory, time and number. */
#include "test/unit/connection_fixture.h"

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
    CHECK_INT(kafka_server_stats(server).buffered_bytes, CLIENTS * 16 * KIB);
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
        CHECK(kafka_server_stats(server).buffered_bytes <= 4 * sent + 128 * KIB);
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
