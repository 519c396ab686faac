/* http_test.c: the HTTP server and the probes over real sockets. Server and client share one thread: the
 * client's blocking calls only touch what the kernel buffers, and the loop turns until the reply is complete.
 */
#include "agent/http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/clock.h"
#include "agent/http/probes.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "test/unit/test.h"

enum { REPLY_BYTES = 1024 * 1024, PATIENCE_MS = 5000 };

static uv_loop_t loop;
static HttpServer *server;
static Agent agent;
static char reply[REPLY_BYTES];

static Status server_begin(int connections_max, int64_t idle_ms)
{
    memset(&agent, 0, sizeof(agent));
    agent.settings.agent_name = "te\"st";
    journal_configure(JOURNAL_ERROR, JOURNAL_TEXT);
    metrics_reset();
    uv_loop_init(&loop);
    return http_server_start(&loop,
                             &(HttpServerOptions){ .host = "127.0.0.1",
                                                   .connections_max = connections_max,
                                                   .idle_ms = idle_ms,
                                                   .routes = probe_routes,
                                                   .context = &agent },
                             &server);
}

/* True when nothing is left on the loop. */
static bool server_end(void)
{
    http_server_stop(server);
    server = NULL;
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0;
}

static int client_connect(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)http_server_port(server)),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) != 0) {
        abort();
    }
    return client;
}

static void client_send(int client, const char *text)
{
    if (send(client, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text)) {
        abort();
    }
}

/* Turns the loop until the server closes the connection or until is in the reply; false when patience ends.
 */
static bool client_receive(int client, const char *until)
{
    int64_t deadline_ms = time_ms() + PATIENCE_MS;
    size_t used = 0;
    reply[0] = '\0';
    while (time_ms() < deadline_ms) {
        uv_run(&loop, UV_RUN_NOWAIT);
        ssize_t size = recv(client, reply + used, sizeof(reply) - 1 - used, MSG_DONTWAIT);
        if (size == 0 || (size < 0 && errno == ECONNRESET)) {
            return true;
        }
        used += size > 0 ? (size_t)size : 0;
        reply[used] = '\0';
        if (until && strstr(reply, until)) {
            return true;
        }
        if (size < 0) {
            nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        }
    }
    return false;
}

/* One request on a connection of its own; the whole reply is in reply. */
static bool exchange(const char *request)
{
    int client = client_connect();
    client_send(client, request);
    bool closed = client_receive(client, NULL);
    close(client);
    return closed;
}

static bool get(const char *path)
{
    char request[256];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    return exchange(request);
}

static bool reply_begins(const char *text)
{
    return strncmp(reply, text, strlen(text)) == 0;
}

static const char *reply_body(void)
{
    const char *end = strstr(reply, "\r\n\r\n");
    return end ? end + 4 : "";
}

TEST(live_is_answered)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    CHECK(get("/live"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK_STR(reply_body(), "{\"live\":true}\n");
    CHECK(server_end());
}

TEST(ready_names_each_condition_and_is_503_until_all_hold)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    Condition *database = readiness_add(&agent.readiness, "database", "not \"connected\" yet");
    Condition *store = readiness_add(&agent.readiness, "store", "not probed yet");
    condition_hold(store);
    CHECK(get("/ready"));
    CHECK(reply_begins("HTTP/1.1 503 "));
    CHECK_STR(reply_body(), "{\"ready\":false,\"degraded\":false,\"conditions\":[{\"name\":\"database\","
                            "\"ready\":false,\"reason\":\"not "
                            "\\\"connected\\\" yet\"},{\"name\":\"store\",\"ready\":true}]}\n");
    condition_hold(database);
    CHECK(get("/ready"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK_STR(reply_body(), "{\"ready\":true,\"degraded\":false,\"conditions\":[{\"name\":\"database\","
                            "\"ready\":true},{\"name\":\"store\","
                            "\"ready\":true}]}\n");
    condition_break(store, "full: %d", 7);
    CHECK(get("/ready"));
    CHECK(strstr(reply_body(), "\"reason\":\"full: 7\"") != NULL);
    CHECK(server_end());
}

TEST(a_reason_that_is_not_text_is_still_json)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    readiness_add(&agent.readiness, "database", "r\xe9sum\xc3\xa9\n\x1b \xed\xa0\x80");
    CHECK(get("/ready"));
    json_t *object = json_loads(reply_body(), 0, NULL);
    CHECK(object != NULL);
    json_t *condition = json_array_get(json_object_get(object, "conditions"), 0);
    CHECK_STR(json_string_value(json_object_get(condition, "reason")), "r?sum\xc3\xa9\n\x1b ???");
    json_decref(object);
    CHECK(server_end());
}

TEST(health_says_who_and_how_even_when_not_ready)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    readiness_add(&agent.readiness, "store", "not probed yet");
    agent.state = AGENT_DRAINING;
    agent.started_ms = time_ms() - 2500;
    CHECK(get("/health"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK(strstr(reply, "\r\nContent-Type: application/json\r\n") != NULL);
    CHECK_STR(reply_body(),
              "{\"status\":\"draining\",\"ready\":false,\"degraded\":false,\"version\":\"" STREAMHOUSE_VERSION
              "\",\"agent\":\"te\\\"st\",\"uptime_seconds\":2}\n");
    CHECK(server_end());
}

TEST(metrics_are_text_with_the_requests_counted)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    CHECK(get("/live"));
    CHECK(get("/nothing"));
    CHECK(get("/metrics"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK(strstr(reply, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n") != NULL);
    CHECK(strstr(reply, "\nstreamhouse_http_requests_total{status=\"2xx\"} 1\n") != NULL);
    CHECK(strstr(reply, "\nstreamhouse_http_requests_total{status=\"4xx\"} 1\n") != NULL);
    CHECK(strstr(reply, "\nstreamhouse_http_connections 1\n") != NULL);
    CHECK(server_end());
}

TEST(an_unknown_path_is_404_with_the_known_ones)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    CHECK(get("/nothing?x=1"));
    CHECK(reply_begins("HTTP/1.1 404 "));
    CHECK(strstr(reply, "/ready") != NULL);
    CHECK(server_end());
}

TEST(head_has_no_body_and_other_methods_are_405)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    CHECK(exchange("HEAD /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK_STR(reply_body(), "");
    CHECK(exchange("POST /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"));
    CHECK(reply_begins("HTTP/1.1 405 "));
    CHECK(strstr(reply, "\r\nAllow: GET, HEAD\r\n") != NULL);
    CHECK(exchange("DELETE /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    CHECK(reply_begins("HTTP/1.1 405 "));
    CHECK(server_end());
}

TEST(a_connection_serves_several_requests)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    int client = client_connect();
    for (int i = 0; i < 3; i++) {
        client_send(client, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n");
        CHECK(client_receive(client, "true}\n"));
        CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    }
    close(client);
    CHECK(server_end());
}

TEST(an_idle_connection_is_closed)
{
    Status status = server_begin(10, 1000);
    CHECK_STR(status.message, "");
    int client = client_connect();
    client_send(client, "GET /live HTTP/1.1\r\nHo");
    int64_t started_ms = time_ms();
    CHECK(client_receive(client, NULL));
    CHECK(time_ms() - started_ms >= 900);
    close(client);
    CHECK(server_end());
}

TEST(connections_beyond_the_limit_are_not_served_and_later_ones_are)
{
    Status status = server_begin(2, 5000);
    CHECK_STR(status.message, "");
    int first = client_connect();
    int second = client_connect();
    client_send(first, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client_receive(first, "true}\n"));
    client_send(second, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client_receive(second, "true}\n"));
    int third = client_connect();
    for (int i = 0; i < 20; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    CHECK_INT(metric_value(METRIC_HTTP_CONNECTIONS), 2);
    close(first);
    close(second);
    close(third);
    CHECK(get("/live"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK(server_end());
}

TEST(rubbish_and_oversized_headers_close_the_connection_and_nothing_else)
{
    static char huge[64 * 1024];
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    CHECK(exchange("\x16\x03\x01\x02 rubbish\r\n\r\n"));
    int client = client_connect();
    memset(huge, 'a', sizeof(huge) - 1);
    memcpy(huge, "GET /", 5);
    send(client, huge, sizeof(huge) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    CHECK(client_receive(client, NULL));
    CHECK(!strstr(reply, "200 OK"));
    close(client);
    CHECK(get("/live"));
    CHECK(reply_begins("HTTP/1.1 200 OK\r\n"));
    CHECK(server_end());
}

TEST(a_port_in_use_is_refused_with_what_to_do)
{
    Status status = server_begin(10, 5000);
    CHECK_STR(status.message, "");
    HttpServer *second;
    char expected[160];
    status = http_server_start(&loop,
                               &(HttpServerOptions){ .host = "127.0.0.1",
                                                     .port = http_server_port(server),
                                                     .connections_max = 1,
                                                     .idle_ms = 1000,
                                                     .routes = probe_routes,
                                                     .context = &agent },
                               &second);
    snprintf(expected, sizeof(expected),
             "cannot listen for HTTP on 127.0.0.1:%d: Address already in use; choose another port with "
             "--http-port",
             http_server_port(server));
    CHECK_STR(status.message, expected);
    CHECK(second == NULL);
    CHECK(server_end());
}

TEST(stopping_closes_connections_that_are_open)
{
    Status status = server_begin(10, 60000);
    CHECK_STR(status.message, "");
    int client = client_connect();
    client_send(client, "GET /live HTTP/1.1\r\nHost: x\r\n\r\n");
    CHECK(client_receive(client, "true}\n"));
    CHECK(server_end());
    CHECK_INT(recv(client, reply, 1, 0), 0);
    CHECK_INT(metric_value(METRIC_HTTP_CONNECTIONS), 0);
    close(client);
}
