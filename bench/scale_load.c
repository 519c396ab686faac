/* scale_load.c: what many agents ask of PostgreSQL, from one process and one thread: heartbeats, watches and
 * commits, by the statements that agents prepare, without the agents. It reads commands from its standard
 * input and answers each with one line of JSON; agents beat and watch all the while.
 *
 *   scale_load CONNINFO
 *
 *   agents COUNT                            so many agents, each with one connection for heartbeats and one
 * for watches hold SECONDS                            nothing but heartbeats and watches commit SECONDS RATE
 * LINES ROWS DEPTH    commits of ROWS partitions each, RATE a second in all (0: as fast as answers come),
 *                                           over so many connections of agents, each with DEPTH under way at
 * most */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bench/scale_agent.h"

enum { EVENTS = 256, TICK_MS = 2, LINE_MAX_BYTES = 256, SETTLE_S = 5 };

static Scale scale;

static void samples_print(const char *name, Samples *samples)
{
    samples_sort(samples);
    printf(", \"%s\": {\"count\": %zu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}", name,
           samples->count, samples_quantile_ms(samples, 0.5), samples_quantile_ms(samples, 0.99),
           samples_quantile_ms(samples, 1));
}

static void measure_begin(void)
{
    scale.heartbeats.count = scale.commits.count = 0;
    scale.watches = scale.moves = 0;
}

static void answer(int64_t began)
{
    printf("{\"seconds\": %.3f, \"watches\": %ld, \"moves\": %ld", (double)(now_ns() - began) / 1e9,
           (long)scale.watches, (long)scale.moves);
    samples_print("heartbeats", &scale.heartbeats);
    samples_print("commits", &scale.commits);
    printf("}\n");
    fflush(stdout);
}

/* Sends what is due, reads what has come, waits a little when there is nothing. */
static void turn(bool with_input, bool *command)
{
    struct epoll_event events[EVENTS];
    int64_t now = now_ns();
    for (int i = 0; i < scale.agent_count; i++) {
        agent_turn(&scale.agents[i], now);
    }
    int count = epoll_wait(scale.poll, events, EVENTS, TICK_MS);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            line_received(events[i].data.ptr);
        } else if (with_input) {
            *command = true;
        }
    }
}

static void turn_until(int64_t end)
{
    while (now_ns() < end) {
        turn(false, NULL);
    }
}

static void hold(double seconds)
{
    int64_t began = now_ns();
    measure_begin();
    turn_until(began + (int64_t)(seconds * 1e9));
    answer(began);
}

static void agents(int count)
{
    if (count > AGENTS_MAX) {
        die("at most %d agents", AGENTS_MAX);
    }
    int64_t began = now_ns();
    for (int i = scale.agent_count; i < count; i++) {
        agent_open(&scale, i);
    }
    scale.agent_count = count;
    int64_t opened = now_ns();
    for (int i = 0; i < count; i++) {
        scale.agents[i].due_ns = opened + i * (HEARTBEAT_NS / count);
    }
    measure_begin();
    turn_until(now_ns() + SETTLE_S * 1000000000LL);
    answer(began);
}

static bool is_committing(void)
{
    for (int i = 0; i < scale.agent_count; i++) {
        if (scale.agents[i].committing && scale.agents[i].committing->count > 0) {
            return true;
        }
    }
    return false;
}

/* The agents in turn; who has as many under way as it may is passed over. */
static void commit(double seconds, int rate, int lines, int rows, int depth)
{
    if (lines < 1 || lines > scale.agent_count || rows < 1 || rows > ROWS_MAX || depth < 1 ||
        depth > DEPTH_MAX) {
        die("commits of 1 to %d rows, at most %d under way, by those agents that there are", ROWS_MAX,
            DEPTH_MAX);
    }
    for (int i = 0; i < lines; i++) {
        agent_prepare_commits(&scale.agents[i]);
    }
    measure_begin();
    int64_t began = now_ns(), end = began + (int64_t)(seconds * 1e9), made = 0;
    for (int64_t now = began; now < end; now = now_ns()) {
        int64_t due = rate == 0 ? made + (int64_t)lines * depth : (now - began) / 1000 * rate / 1000000;
        for (int64_t tries = 0; made < due && tries < (int64_t)lines * depth; tries++) {
            made += agent_commit(&scale.agents[(made + tries) % lines], rows, depth);
        }
        turn(false, NULL);
    }
    while (is_committing()) {
        turn(false, NULL);
    }
    answer(began);
}

static void obey(const char *line)
{
    int a, b, c, d;
    double seconds;
    if (sscanf(line, "agents %d", &a) == 1) {
        agents(a);
    } else if (sscanf(line, "hold %lf", &seconds) == 1) {
        hold(seconds);
    } else if (sscanf(line, "commit %lf %d %d %d %d", &seconds, &a, &b, &c, &d) == 5) {
        commit(seconds, a, b, c, d);
    } else {
        die("what is \"%s\"?", line);
    }
}

int main(int count, char **arguments)
{
    char line[LINE_MAX_BYTES];
    if (count != 2) {
        die("usage: scale_load CONNINFO");
    }
    scale.conninfo = arguments[1];
    scale.poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(scale.poll, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    for (;;) {
        bool command = false;
        while (!command) {
            turn(true, &command);
        }
        if (!fgets(line, sizeof(line), stdin)) {
            return 0;
        }
        obey(line);
    }
}
