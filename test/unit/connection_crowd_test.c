/* connection_crowd_test.c: more clients, dribblers and clients that do not read than there is room for; a
 * good one is served. */
#include "test/unit/connection_fixture.h"

static bool is_answered(int client, int32_t correlation)
{
    return send_request(client, versions_request(0, correlation)) && client_next_reply(client) == correlation;
}

/* Connected and seen by the server. */
static int client_connected(int count)
{
    int client = client_connect();
    if (!TURN_UNTIL(kafka_server_stats(server).connections == count)) {
        test_fail(__FILE__, __LINE__, "%d connections", kafka_server_stats(server).connections);
    }
    return client;
}

TEST(the_first_that_asked_for_nothing_makes_way_and_the_others_live)
{
    server_up((KafkaServerOptions){ .connections_max = 3 });
    int good = client_connected(1);
    CHECK(is_answered(good, 1));
    int silent = client_connected(2);
    int half = client_connected(3);
    Writer request = versions_request(0, 2);
    CHECK_INT(client_send(half, request.bytes, 6), 6);
    int fourth = client_connect();
    CHECK(TURN_UNTIL(client_is_hung_up(silent)));
    CHECK(is_answered(fourth, 3));
    int fifth = client_connect();
    CHECK(TURN_UNTIL(client_is_hung_up(half)));
    CHECK(is_answered(fifth, 4));
    CHECK(is_answered(good, 5));
    CHECK_INT(kafka_server_stats(server).connections, 3);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_DISPLACED), 2);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_LIMIT), 0);
    writer_free(&request);
    int all[] = { good, silent, half, fourth, fifth };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        close(all[i]);
    }
    CHECK(server_down());
}

TEST(one_too_many_is_closed_while_all_others_are_busy_or_were_just_now)
{
    server_up((KafkaServerOptions){ .connections_max = 2 });
    int busy = client_connected(1);
    int recent = client_connected(2);
    CHECK(send_request(busy, fetch_request(1)));
    CHECK(TURN_UNTIL(held_count == 1));
    CHECK(is_answered(recent, 1));
    int third = client_connect();
    CHECK(TURN_UNTIL(client_is_hung_up(third)));
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_LIMIT), 1);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_DISPLACED), 0);
    CHECK(is_answered(recent, 2));
    close(recent);
    CHECK(TURN_UNTIL(kafka_server_stats(server).connections == 1));
    int fourth = client_connect();
    CHECK(is_answered(fourth, 3));
    close(busy);
    close(third);
    close(fourth);
    CHECK(server_down());
}

TEST(who_has_been_idle_longest_makes_way_but_not_who_waits_for_an_answer)
{
    server_up((KafkaServerOptions){ .connections_max = 3, .idle_kept_ms = 50 });
    int waiting = client_connected(1);
    CHECK(send_request(waiting, fetch_request(1)));
    CHECK(TURN_UNTIL(held_count == 1));
    int first = client_connected(2);
    int second = client_connected(3);
    CHECK(is_answered(second, 1));
    turn_for(10);
    CHECK(is_answered(first, 1));
    turn_for(60);
    int newcomer = client_connect();
    CHECK(TURN_UNTIL(client_is_hung_up(second)));
    CHECK(is_answered(newcomer, 2));
    CHECK(is_answered(first, 2));
    CHECK_INT(kafka_server_stats(server).connections, 3);
    CHECK_INT(abandoned_count, 0);
    int all[] = { waiting, first, second, newcomer };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        close(all[i]);
    }
    CHECK(server_down());
}

TEST(a_thousand_that_come_and_say_nothing_do_not_push_out_one_that_is_served)
{
    enum { SILENT = 1000, PLACES = 50 };
    static int silent[SILENT];
    server_up((KafkaServerOptions){ .connections_max = PLACES, .idle_kept_ms = 60000 });
    int good = client_connected(1);
    CHECK(is_answered(good, 0));
    for (int i = 0; i < SILENT; i++) {
        silent[i] = client_connect();
        uv_run(&loop, UV_RUN_NOWAIT);
        if (i % 100 == 99) {
            CHECK(is_answered(good, i));
            int late = client_connect();
            CHECK(is_answered(late, i));
            close(late);
        }
        CHECK(kafka_server_stats(server).connections <= PLACES);
    }
    CHECK(is_answered(good, 1));
    for (int i = 0; i < SILENT; i++) {
        close(silent[i]);
    }
    close(good);
    CHECK(server_down());
}

TEST(a_large_announced_frame_has_no_more_time_than_a_small_one)
{
    server_up((KafkaServerOptions){ .frame_timeout_ms = 80 });
    int client = client_connect();
    Writer request = produce_request(1, 1000);
    writer_patch_i32(&request, 0, 99 * MIB);
    CHECK(send_request(client, request));
    int64_t since = time_ms();
    CHECK(TURN_UNTIL(client_is_hung_up(client)));
    CHECK(time_ms() - since < 1000);
    CHECK_INT(metric_value(METRIC_KAFKA_CLOSED_FRAME_TIMEOUT), 1);
    close(client);
    CHECK(server_down());
}

TEST(whole_requests_do_not_wait_for_the_memory_that_dribbled_ones_hold)
{
    enum { DRIBBLERS = 20 };
    int dribblers[DRIBBLERS];
    server_up((KafkaServerOptions){ .buffered_bytes_max = 200 * KIB });
    for (int i = 0; i < DRIBBLERS; i++) {
        Writer request = produce_request(i, 1000);
        writer_patch_i32(&request, 0, MIB);
        dribblers[i] = client_connect();
        CHECK(send_request(dribblers[i], request));
    }
    CHECK(TURN_UNTIL(kafka_server_stats(server).parked > 0));
    int good = client_connect();
    for (int i = 0; i < 10; i++) {
        CHECK(send_request(good, produce_request(i, 4000)));
        CHECK(TURN_UNTIL(held_count == i + 1));
        answer(i);
        CHECK_INT(client_next_reply(good), i);
    }
    CHECK(kafka_server_stats(server).parked > 0);
    CHECK(kafka_server_stats(server).buffered_bytes <= 300 * KIB);
    for (int i = 0; i < DRIBBLERS; i++) {
        close(dribblers[i]);
    }
    close(good);
    CHECK(server_down());
}

TEST(replies_that_nobody_reads_are_bounded_together)
{
    enum { DEAF = 24, LIMIT = 32 * MIB };
    int deaf[DEAF];
    big_block = block_new(16 * MIB);
    memset(big_block->bytes, 0, big_block->size);
    server_up((KafkaServerOptions){ .unsent_bytes_max = LIMIT, .frame_timeout_ms = 200 });
    size_t most = 0;
    for (int i = 0; i < DEAF; i++) {
        deaf[i] = client_connect();
        CHECK(send_request(deaf[i], fetch_request(1)));
        CHECK(TURN_UNTIL(held_count == i + 1));
        answer(i);
        size_t unsent = kafka_server_stats(server).unsent_bytes;
        most = unsent > most ? unsent : most;
    }
    CHECK(most > LIMIT);
    CHECK(most <= 2 * LIMIT + big_block->size);
    CHECK(metric_value(METRIC_KAFKA_CLOSED_UNSENT) >= 1);
    int good = client_connect();
    CHECK(is_answered(good, 7));
    CHECK(TURN_UNTIL(kafka_server_stats(server).unsent_bytes <= LIMIT));
    CHECK(is_answered(good, 8));
    for (int i = 0; i < DEAF; i++) {
        close(deaf[i]);
    }
    CHECK(TURN_UNTIL(kafka_server_stats(server).unsent_bytes == 0));
    close(good);
    CHECK(server_down());
    block_release(big_block);
}
