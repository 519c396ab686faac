/* brain_fixture.h: a private PostgreSQL for the program's tests, a brain on a loop turned by hand, and what
 * callbacks saw. For brain*_test.c. */
#ifndef STREAMHOUSE_BRAIN_FIXTURE_H
#define STREAMHOUSE_BRAIN_FIXTURE_H

#include "test/unit/test.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "common/reader.h"

enum { PATIENCE_MS = 15000, ANSWERS_MAX = 1024, TEXT_MAX = 256 };

static char folder[64];
static int port;
static uv_loop_t loop;
static Brain *brain;
static bool brain_gone;

/* The machine's clock, moved forward where a test needs the journal to have forgotten what it said. */
static int64_t clock_ahead_ns;

__attribute__((unused)) static int64_t shifted_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + clock_ahead_ns;
}

static const ClockSource shifted = { shifted_ns, shifted_ns };

/* What a query's callback saw. */
typedef struct Answer {
    bool there;
    int order; /* among all answers of the test */
    StatusCode code;
    char sqlstate[6];
    char message[TEXT_MAX];
    bool in_doubt;
    int rows;
    int64_t number; /* first column of the first row */
} Answer;

static Answer answers[ANSWERS_MAX];
static int answered;

__attribute__((unused)) static int free_port(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    int probe = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(probe, (struct sockaddr *)&address, size) != 0 ||
        getsockname(probe, (struct sockaddr *)&address, &size) != 0) {
        abort();
    }
    close(probe);
    return ntohs(address.sin_port);
}

__attribute__((unused)) static bool postgres(const char *action)
{
    char command[256];
    snprintf(command, sizeof(command), "test/unit/brain_postgres.sh %s %s %d", action, folder, port);
    return system(command) == 0;
}

__attribute__((unused)) static void postgres_remove(void)
{
    postgres("remove");
}

__attribute__((unused)) static void psql(const char *sql)
{
    char conninfo[128];
    snprintf(conninfo, sizeof(conninfo), "host=127.0.0.1 port=%d dbname=postgres user=postgres", port);
    PGconn *connection = PQconnectdb(conninfo);
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        test_fail(__FILE__, __LINE__, "%s: %s", sql, PQerrorMessage(connection));
    }
    PQclear(result);
    PQfinish(connection);
}

/* One server for all tests of the program. */
__attribute__((unused)) static void postgres_up(void)
{
    if (folder[0]) {
        return;
    }
    snprintf(folder, sizeof(folder), "/tmp/streamhouse-brain-XXXXXX");
    if (!mkdtemp(folder) || chmod(folder, 0755) != 0) {
        abort();
    }
    port = free_port();
    atexit(postgres_remove);
    if (!postgres("create") || !postgres("start")) {
        fprintf(stderr, "brain_test: PostgreSQL does not start\n");
        exit(EXIT_FAILURE);
    }
    psql("create table seen (id bigint, transaction xid8 default pg_current_xact_id())");
    psql("create table late (id int, primary key (id) deferrable initially deferred)");
    psql("create role needs_password login password 'correct horse'");
    psql("create function refuse() returns int language plpgsql as $$ begin"
         " raise exception 'that is no topic name' using errcode = 'SH017', hint = 'Use letters.'; end $$");
    psql("create function insert_slowly(id bigint, seconds float) returns int language plpgsql as $$ begin"
         " perform pg_sleep(seconds); insert into seen values (id); return 1; end $$");
    psql("create procedure wait_and_tell(inout cursor bigint, inout ids int[]) language plpgsql as $$ begin"
         " commit; perform pg_sleep(0.05); commit; cursor := cursor + 1; ids := array[4, null, 6]; end $$");
}

#define TURN_UNTIL(condition)                                                                                \
    ({                                                                                                       \
        int64_t until_ = time_ms() + PATIENCE_MS;                                                            \
        while (!(condition) && time_ms() < until_) {                                                         \
            uv_run(&loop, UV_RUN_NOWAIT);                                                                    \
            usleep(300);                                                                                     \
        }                                                                                                    \
        (condition);                                                                                         \
    })

__attribute__((unused)) static bool brain_up_at(const char *conninfo, BrainOptions options)
{
    static int devnull = -1;
    if (devnull < 0) {
        devnull = open("/dev/null", O_WRONLY | O_CLOEXEC);
    }
    journal_to(devnull);
    metrics_reset();
    uv_loop_init(&loop);
    memset(answers, 0, sizeof(answers));
    answered = 0;
    brain_gone = false;
    options.conninfo = conninfo;
    options.reconnect_base_ms = 20;
    Status status = brain_open(&loop, &options, &brain);
    if (!status_is_ok(&status)) {
        test_fail(__FILE__, __LINE__, "%s", status.message);
        return false;
    }
    return true;
}

__attribute__((unused)) static bool brain_up(BrainOptions options)
{
    char conninfo[128];
    postgres_up();
    snprintf(conninfo, sizeof(conninfo), "host=127.0.0.1 port=%d dbname=postgres user=postgres", port);
    return brain_up_at(conninfo, options) && TURN_UNTIL(brain_is_ready(brain, NULL));
}

__attribute__((unused)) static void note_gone(void *arg)
{
    *(bool *)arg = true;
}

/* Closes the brain and proves that nothing is left on the loop. */
__attribute__((unused)) static bool brain_down(void)
{
    brain_close(brain, note_gone, &brain_gone);
    uv_run(&loop, UV_RUN_DEFAULT);
    return brain_gone && uv_loop_close(&loop) == 0;
}

__attribute__((unused)) static void note_answer(const BrainResult *result, void *arg)
{
    Answer *answer = arg;
    if (answer->there) {
        test_fail(__FILE__, __LINE__, "a second answer");
    }
    answer->there = true;
    answer->order = answered++;
    answer->code = result->status.code;
    answer->in_doubt = result->in_doubt;
    answer->rows = brain_row_count(result);
    answer->number = brain_int8(result, 0, 0);
    snprintf(answer->sqlstate, sizeof(answer->sqlstate), "%s", result->sqlstate);
    snprintf(answer->message, sizeof(answer->message), "%s", result->message);
}

__attribute__((unused)) static void ask_within(int i, BrainLine line, const BrainStatement *statement,
                                               int64_t deadline_ms)
{
    brain_send(brain, line, &(BrainQuery){ .statement = statement, .deadline_ms = deadline_ms }, note_answer,
               &answers[i]);
}

__attribute__((unused)) static void ask(int i, BrainLine line, const BrainStatement *statement)
{
    ask_within(i, line, statement, PATIENCE_MS);
}

__attribute__((unused)) static void ask_number(int i, BrainLine line, const BrainStatement *statement,
                                               int64_t number)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int8(&parameters, number);
    brain_send(brain, line, &(BrainQuery){ statement, &parameters, PATIENCE_MS }, note_answer, &answers[i]);
}

__attribute__((unused)) static const BrainStatement one = { "one", "select 1::int8", 0, { 0 } };
__attribute__((unused)) static const BrainStatement echo = { "echo", "select $1", 1, { BRAIN_INT8 } };
__attribute__((
    unused)) static const BrainStatement sleep_long = { "sleep_long", "select pg_sleep(30)", 0, { 0 } };
__attribute__((unused)) static const BrainStatement seen_insert = {
    "seen_insert", "insert into seen values ($1) returning id", 1, { BRAIN_INT8 }
};
__attribute__((unused)) static const BrainStatement seen_count = {
    "seen_count", "select count(*) from seen where id = $1", 1, { BRAIN_INT8 }
};
__attribute__((unused)) static const BrainStatement divide = { "divide", "select 1 / $1", 1, { BRAIN_INT8 } };

#endif
