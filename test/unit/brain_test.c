/* brain_test.c: the brain's client against a real, private PostgreSQL that is stopped, killed and refuses
 * things. */
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

static int64_t shifted_ns(void)
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

static int free_port(void)
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

static bool postgres(const char *action)
{
    char command[256];
    snprintf(command, sizeof(command), "test/unit/brain_postgres.sh %s %s %d", action, folder, port);
    return system(command) == 0;
}

static void postgres_remove(void)
{
    postgres("remove");
}

static void psql(const char *sql)
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
static void postgres_up(void)
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

static bool brain_up_at(const char *conninfo, BrainOptions options)
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

static bool brain_up(BrainOptions options)
{
    char conninfo[128];
    postgres_up();
    snprintf(conninfo, sizeof(conninfo), "host=127.0.0.1 port=%d dbname=postgres user=postgres", port);
    return brain_up_at(conninfo, options) && TURN_UNTIL(brain_is_ready(brain, NULL));
}

static void note_gone(void *arg)
{
    *(bool *)arg = true;
}

/* Closes the brain and proves that nothing is left on the loop. */
static bool brain_down(void)
{
    brain_close(brain, note_gone, &brain_gone);
    uv_run(&loop, UV_RUN_DEFAULT);
    return brain_gone && uv_loop_close(&loop) == 0;
}

static void note_answer(const BrainResult *result, void *arg)
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

static void ask_within(int i, BrainLine line, const BrainStatement *statement, int64_t deadline_ms)
{
    brain_send(brain, line, &(BrainQuery){ .statement = statement, .deadline_ms = deadline_ms }, note_answer,
               &answers[i]);
}

static void ask(int i, BrainLine line, const BrainStatement *statement)
{
    ask_within(i, line, statement, PATIENCE_MS);
}

static void ask_number(int i, BrainLine line, const BrainStatement *statement, int64_t number)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int8(&parameters, number);
    brain_send(brain, line, &(BrainQuery){ statement, &parameters, PATIENCE_MS }, note_answer, &answers[i]);
}

static const BrainStatement one = { "one", "select 1::int8", 0, { 0 } };
static const BrainStatement echo = { "echo", "select $1", 1, { BRAIN_INT8 } };
static const BrainStatement sleep_long = { "sleep_long", "select pg_sleep(30)", 0, { 0 } };
static const BrainStatement seen_insert = {
    "seen_insert", "insert into seen values ($1) returning id", 1, { BRAIN_INT8 }
};
static const BrainStatement seen_count = {
    "seen_count", "select count(*) from seen where id = $1", 1, { BRAIN_INT8 }
};
static const BrainStatement divide = { "divide", "select 1 / $1", 1, { BRAIN_INT8 } };

/* Rounds of values of every type, checked inside the callback because rows live no longer. */
static bool values_are_right;

static bool are_scalars(const BrainResult *result)
{
    static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    const uint8_t *read_uuid = brain_uuid(result, 0, 7);
    return brain_bool(result, 0, 0) && brain_int2(result, 0, 1) == -2 &&
           brain_int4(result, 0, 2) == INT32_MIN && brain_int8(result, 0, 3) == INT64_MAX &&
           slice_equals(brain_text(result, 0, 4), SLICE_LITERAL("grün")) &&
           slice_equals(brain_bytes(result, 0, 5), SLICE_LITERAL("\0\1\2")) &&
           slice_equals(brain_text(result, 0, 6), SLICE_LITERAL("{\"a\": 1}")) && read_uuid &&
           memcmp(read_uuid, uuid, sizeof(uuid)) == 0 && brain_is_null(result, 0, 8) &&
           slice_equals(brain_text(result, 0, 9), SLICE_LITERAL("")) && !brain_is_null(result, 0, 9);
}

static void check_scalars(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    values_are_right =
        are_scalars(result) && brain_int8(result, 0, 2) == INT32_MIN && /* a wider getter is fine */
        brain_int4(result, 0, 3) == 0 &&                                /* a narrower one is not */
        brain_int4(result, 1, 0) == 0 && brain_int4(result, 0, 99) == 0 && brain_int4(result, -1, -1) == 0;
}

TEST(every_type_comes_back_as_it_was_sent)
{
    static const BrainStatement types = {
        "types",
        "select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10",
        10,
        { BRAIN_BOOL, BRAIN_INT2, BRAIN_INT4, BRAIN_INT8, BRAIN_TEXT, BRAIN_BYTEA, BRAIN_JSONB, BRAIN_UUID,
          BRAIN_TEXT, BRAIN_TEXT },
    };
    static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    BrainParameters parameters;
    CHECK(brain_up((BrainOptions){ 0 }));
    for (int round = 0; round < 3; round++) {
        brain_parameters_init(&parameters);
        brain_put_bool(&parameters, true);
        brain_put_int2(&parameters, -2);
        brain_put_int4(&parameters, INT32_MIN);
        brain_put_int8(&parameters, INT64_MAX);
        brain_put_text(&parameters, SLICE_LITERAL("grün"));
        brain_put_bytea(&parameters, SLICE_LITERAL("\0\1\2"));
        brain_put_jsonb(&parameters, SLICE_LITERAL("{\"a\":1}"));
        brain_put_uuid(&parameters, uuid);
        brain_put_text(&parameters, SLICE_NULL);
        brain_put_text(&parameters, SLICE_LITERAL(""));
        values_are_right = false;
        brain_send(brain, BRAIN_READ, &(BrainQuery){ &types, &parameters, 0 }, check_scalars,
                   &answers[round]);
        CHECK_INT(parameters.count, 0); /* taken over */
        CHECK(TURN_UNTIL(answers[round].there));
        CHECK_STR(answers[round].message, "");
        CHECK(values_are_right);
    }
    CHECK(brain_down());
}

static void check_arrays(const BrainResult *result, void *arg)
{
    int32_t fours[4];
    int64_t eights[4];
    Slice texts[4];
    note_answer(result, arg);
    BrainArray four = brain_int4s(result, 0, 0);
    BrainArray eight = brain_int8s(result, 0, 1);
    BrainArray text = brain_texts(result, 0, 2);
    BrainArray with_null = brain_int4s(result, 0, 5);
    BrainArray square = brain_int4s(result, 0, 6);
    BrainArray null = brain_int4s(result, 0, 4);
    BrainArray wrong = brain_int8s(result, 0, 0);
    values_are_right = four.count == 3 && brain_array_int4(&four, 0, fours, 4) == 3 && fours[0] == 7 &&
                       fours[2] == -9 && brain_array_int4(&four, 0, fours, 2) == 2 && eight.count == 0 &&
                       brain_array_int8(&eight, 0, eights, 4) == 0 && text.count == 2 &&
                       brain_array_text(&text, texts, 4) == 2 &&
                       slice_equals(texts[1], SLICE_LITERAL("b\"c,")) &&
                       slice_equals(texts[0], SLICE_LITERAL("")) && brain_int4(result, 0, 3) == 2 &&
                       null.count == -1 && with_null.count == 3 &&
                       brain_array_int4(&with_null, -5, fours, 4) == 3 && fours[1] == -5 && fours[2] == 3 &&
                       square.count == -1 && wrong.count == -1 && brain_array_int4(&square, 0, fours, 4) == 0;
}

TEST(arrays_come_back_as_they_were_sent)
{
    static const BrainStatement arrays = {
        "arrays",
        "select $1, $2, $3, cardinality($4), null::int[], array[1, null, 3], array[[1, 2], [3, 4]]",
        4,
        { BRAIN_INT4S, BRAIN_INT8S, BRAIN_TEXTS, BRAIN_UUIDS },
    };
    BrainParameters parameters;
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_parameters_init(&parameters);
    brain_put_int4s(&parameters, (int32_t[]){ 7, 0, -9 }, 3);
    brain_put_int8s(&parameters, (int64_t[]){ 1 }, 0);
    brain_put_texts(&parameters, (Slice[]){ SLICE_LITERAL(""), SLICE_LITERAL("b\"c,") }, 2);
    brain_put_uuids(&parameters, (uint8_t[32]){ 1, 2, 3 }, 2);
    brain_send(brain, BRAIN_READ, &(BrainQuery){ &arrays, &parameters, 0 }, check_arrays, &answers[0]);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_STR(answers[0].message, "");
    CHECK(values_are_right);
    CHECK(brain_down());
}

/* A result with one cell of the test's own bytes. */
static BrainResult forged_result(Oid type, const void *bytes, int size)
{
    PGresAttDesc column = { .name = (char *)"x", .format = 1, .typid = type, .typlen = -1, .atttypmod = -1 };
    PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PQsetResultAttrs(rows, 1, &column);
    PQsetvalue(rows, 0, 0, (char *)bytes, size);
    return (BrainResult){ .status = status_ok(), .rows = rows };
}

TEST(forged_cells_are_read_within_their_bytes)
{
    Writer array;
    writer_init(&array);
    writer_i32(&array, 1);
    writer_i32(&array, 0);
    writer_i32(&array, BRAIN_INT4);
    writer_i32(&array, 2);
    writer_i32(&array, 1);
    for (int i = 0; i < 2; i++) {
        writer_i32(&array, 4);
        writer_i32(&array, 42);
    }
    for (size_t size = 0; size <= array.used; size++) {
        uint8_t *exact = malloc(size + 1); /* an overrun hits the sanitizer's wall */
        memcpy(exact, array.bytes, size);
        BrainResult result = forged_result(1007, exact, (int)size);
        int32_t out[2] = { 0 };
        BrainArray read = brain_int4s(&result, 0, 0);
        int32_t count = brain_array_int4(&read, 0, out, 2);
        CHECK_INT(count, size == array.used ? 2 : count);
        CHECK(size >= array.used || count < 2);
        CHECK_INT(brain_int8(&result, 0, 0), 0);
        PQclear(result.rows);
        free(exact);
    }
    writer_patch_i32(&array, 12, INT32_MAX); /* so many elements cannot be there */
    BrainResult result = forged_result(1007, array.bytes, (int)array.used);
    CHECK_INT(brain_int4s(&result, 0, 0).count, -1);
    PQclear(result.rows);
    writer_free(&array);
}

TEST(queries_of_a_line_run_in_order_and_each_is_its_own_transaction)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("truncate seen");
    ask_number(0, BRAIN_COMMIT, &seen_insert, 10);
    ask_number(1, BRAIN_COMMIT, &divide, 0);
    ask_number(2, BRAIN_COMMIT, &seen_insert, 20);
    ask_number(3, BRAIN_COMMIT, &seen_count, 10);
    ask_number(4, BRAIN_COMMIT, &divide, 1);
    CHECK_INT(answered, 0); /* never from within brain_send() */
    CHECK(TURN_UNTIL(answered == 5));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(answers[i].order, i);
    }
    CHECK_INT(answers[0].number, 10);
    CHECK_INT(answers[1].code, STATUS_INVALID);
    CHECK_STR(answers[1].sqlstate, "22012");
    CHECK(!answers[1].in_doubt);
    CHECK_INT(answers[2].number, 20);
    CHECK_INT(answers[3].number, 1);
    CHECK_INT(answers[4].number, 1);
    static const BrainStatement transactions = {
        "transactions", "select count(distinct transaction) from seen", 0, { 0 }
    };
    ask(5, BRAIN_READ, &transactions);
    CHECK(TURN_UNTIL(answers[5].there));
    CHECK_INT(answers[5].number, 2);
    CHECK(brain_down());
}

TEST(hundreds_of_queries_are_answered_in_order)
{
    enum { QUERIES = 1000 };
    CHECK(brain_up((BrainOptions){ .pipeline_queries_max = 16 }));
    for (int i = 0; i < QUERIES; i++) {
        ask_number(i, BRAIN_READ, &echo, i * 3);
    }
    CHECK(TURN_UNTIL(answered == QUERIES));
    for (int i = 0; i < QUERIES; i++) {
        CHECK_INT(answers[i].order, i);
        CHECK_INT(answers[i].number, i * 3);
    }
    CHECK_INT(metric_value(METRIC_BRAIN_QUERIES_OK), QUERIES + 4); /* and the greetings */
    CHECK(brain_down());
}

static int last_kafka_error;

static void note_kafka_error(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    last_kafka_error = brain_kafka_error(result);
}

TEST(a_refusal_carries_sqlstate_kafka_error_message_and_hint)
{
    static const BrainStatement refuse = { "refuse", "select refuse()", 0, { 0 } };
    static const BrainStatement missing = { "missing", "select no_such_function()", 0, { 0 } };
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_send(brain, BRAIN_CONTROL, &(BrainQuery){ .statement = &refuse }, note_kafka_error, &answers[0]);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_INT(last_kafka_error, 17);
    CHECK_STR(answers[0].message, "that is no topic name Use letters.");
    CHECK_INT(answers[0].code, STATUS_INVALID);
    /* A statement that could not be prepared is tried anew once it can. */
    brain_send(brain, BRAIN_CONTROL, &(BrainQuery){ .statement = &missing }, note_kafka_error, &answers[1]);
    CHECK(TURN_UNTIL(answers[1].there));
    CHECK_STR(answers[1].sqlstate, "42883");
    CHECK_INT(last_kafka_error, -1);
    psql("create function no_such_function() returns int8 language sql return 5");
    ask(2, BRAIN_CONTROL, &missing);
    CHECK(TURN_UNTIL(answers[2].there));
    psql("drop function no_such_function()");
    CHECK_INT(answers[2].number, 5);
    CHECK(brain_down());
}

TEST(a_commit_that_fails_after_its_rows_came_is_a_failure)
{
    static const BrainStatement late_insert = {
        "late_insert", "insert into late values (1) returning 1::int8", 0, { 0 }
    };
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("truncate late");
    ask(0, BRAIN_COMMIT, &late_insert);
    ask(1, BRAIN_COMMIT, &late_insert);
    ask(2, BRAIN_COMMIT, &one);
    CHECK(TURN_UNTIL(answered == 3));
    CHECK_INT(answers[0].code, STATUS_OK);
    CHECK_INT(answers[1].code, STATUS_EXISTS);
    CHECK_STR(answers[1].sqlstate, "23505");
    CHECK_INT(answers[1].rows, 0);
    CHECK_INT(answers[2].number, 1);
    CHECK(brain_down());
}

static void check_watch(const BrainResult *result, void *arg)
{
    int32_t ids[4];
    note_answer(result, arg);
    BrainArray array = brain_int4s(result, 0, 1);
    values_are_right =
        brain_array_int4(&array, -1, ids, 4) == 3 && ids[0] == 4 && ids[1] == -1 && ids[2] == 6;
}

TEST(a_procedure_that_commits_can_be_called)
{
    static const BrainStatement watch = {
        "watch", "call wait_and_tell($1, $2)", 2, { BRAIN_INT8, BRAIN_INT4S }
    };
    CHECK(brain_up((BrainOptions){ 0 }));
    for (int i = 0; i < 3; i++) {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        brain_put_int8(&parameters, 41 + i);
        brain_put_null(&parameters);
        brain_send(brain, BRAIN_WATCH, &(BrainQuery){ &watch, &parameters, 0 }, check_watch, &answers[i]);
    }
    CHECK(TURN_UNTIL(answered == 3));
    CHECK_STR(answers[0].message, "");
    CHECK_INT(answers[0].number, 42);
    CHECK_INT(answers[2].number, 44);
    CHECK(values_are_right);
    CHECK(brain_down());
}

TEST(a_plan_of_another_shape_is_prepared_anew)
{
    static const BrainStatement shape = { "shape", "select * from shape", 0, { 0 } };
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("create table shape (a int8); insert into shape values (1)");
    ask(0, BRAIN_READ, &shape);
    CHECK(TURN_UNTIL(answers[0].there));
    psql("alter table shape add b int default 2");
    ask(1, BRAIN_READ, &shape);
    CHECK(TURN_UNTIL(answers[1].there));
    ask(2, BRAIN_READ, &shape);
    CHECK(TURN_UNTIL(answers[2].there));
    psql("drop table shape");
    CHECK_INT(answers[1].code, STATUS_UNAVAILABLE);
    CHECK(!answers[1].in_doubt);
    CHECK_INT(answers[2].code, STATUS_OK);
    CHECK(brain_down());
}

TEST(what_was_sent_to_a_killed_backend_is_in_doubt_and_the_line_returns)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    ask(0, BRAIN_READ, &sleep_long);
    ask(1, BRAIN_READ, &one);
    ask(2, BRAIN_COMMIT, &one);
    CHECK(TURN_UNTIL(answers[2].there));
    psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'streamhouse-agent "
         "read'");
    CHECK(TURN_UNTIL(answers[0].there && answers[1].there));
    for (int i = 0; i < 2; i++) {
        CHECK_INT(answers[i].code, STATUS_UNAVAILABLE);
        CHECK(answers[i].in_doubt);
    }
    CHECK_STR(answers[0].sqlstate, "57P01");
    CHECK_INT(answers[2].code, STATUS_OK);
    CHECK(!brain_is_ready(brain, NULL));
    ask(3, BRAIN_READ, &one);
    CHECK(TURN_UNTIL(answers[3].there));
    CHECK_INT(answers[3].number, 1);
    CHECK(brain_is_ready(brain, NULL));
    CHECK_INT(metric_value(METRIC_BRAIN_LOSSES), 1);
    CHECK(brain_down());
}

TEST(the_loss_of_an_idle_connection_is_noticed)
{
    const char *reason;
    CHECK(brain_up((BrainOptions){ 0 }));
    ask(0, BRAIN_COMMIT, &one);
    CHECK(TURN_UNTIL(answers[0].there));
    psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'streamhouse-agent "
         "commit'");
    CHECK(TURN_UNTIL(!brain_is_ready(brain, &reason)));
    CHECK_STR(reason, "terminating connection due to administrator command");
    CHECK(TURN_UNTIL(brain_is_ready(brain, &reason)));
    CHECK_STR(reason, "");
    CHECK(brain_down());
}

static int ready_changes;

static void note_ready(Brain *changed, bool ready, void *arg)
{
    (void)ready;
    (void)arg;
    ready_changes += changed == brain;
}

TEST(a_server_killed_and_started_again_finds_the_queue_waiting)
{
    enum { KILL_ROUNDS = 2 };
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("truncate seen");
    ready_changes = 0;
    brain_on_ready(brain, note_ready, NULL);
    for (int i = 0; i < KILL_ROUNDS; i++) {
        int base = i * 10;
        ask(base, BRAIN_READ, &sleep_long);
        ask_number(base + 1, BRAIN_COMMIT, &seen_insert, i);
        CHECK(TURN_UNTIL(answers[base + 1].there));
        CHECK(postgres("kill"));
        CHECK(TURN_UNTIL(answers[base].there));
        CHECK(answers[base].in_doubt);
        CHECK(TURN_UNTIL(metric_value(METRIC_BRAIN_CONNECTED_COMMIT) ==
                         0)); /* or it would be sent, and in doubt */
        ask_number(base + 2, BRAIN_COMMIT, &seen_count, i);
        ask(base + 3, BRAIN_READ, &one);
        for (int turn = 0; turn < 300; turn++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            usleep(500);
        }
        CHECK(!answers[base + 2].there);
        CHECK(postgres("start"));
        CHECK(TURN_UNTIL(answers[base + 2].there && answers[base + 3].there));
        CHECK_INT(answers[base + 2].number, 1);
        CHECK_INT(answers[base + 3].number, 1);
        CHECK(TURN_UNTIL(brain_is_ready(brain, NULL)));
    }
    CHECK_INT(ready_changes, 2 * KILL_ROUNDS);
    CHECK(brain_down());
}

TEST(a_query_that_could_not_be_sent_in_time_is_not_in_doubt)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    ask(0, BRAIN_CONTROL, &sleep_long);
    ask_within(1, BRAIN_CONTROL, &one, 100); /* waits for its turn */
    CHECK(TURN_UNTIL(answers[1].there));
    CHECK_INT(answers[1].code, STATUS_TIMEOUT);
    CHECK(!answers[1].in_doubt);
    CHECK(!answers[0].there);
    CHECK(brain_down());
    CHECK(answers[0].in_doubt); /* the brain closed while it ran */
}

TEST(a_query_without_an_answer_in_time_costs_the_connection_but_is_never_cancelled)
{
    static const BrainStatement slow = { "slow", "select insert_slowly($1, 1.0)", 1, { BRAIN_INT8 } };
    BrainParameters parameters;
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("truncate seen");
    brain_parameters_init(&parameters);
    brain_put_int8(&parameters, 77);
    brain_send(brain, BRAIN_COMMIT, &(BrainQuery){ &slow, &parameters, 200 }, note_answer, &answers[0]);
    ask(1, BRAIN_COMMIT, &one);
    CHECK(TURN_UNTIL(answered == 2));
    CHECK_INT(answers[0].code, STATUS_TIMEOUT);
    CHECK(answers[0].in_doubt);
    CHECK_INT(answers[1].code, STATUS_UNAVAILABLE);
    CHECK(answers[1].in_doubt);
    ask_number(2, BRAIN_READ, &seen_count, 77);
    CHECK(TURN_UNTIL(answers[2].there));
    CHECK_INT(answers[2].number, 0);
    int64_t until = time_ms() + PATIENCE_MS;
    for (int i = 3; answers[i - 1].number == 0 && time_ms() < until && i < ANSWERS_MAX; i++) {
        usleep(50000);
        ask_number(i, BRAIN_READ, &seen_count, 77);
        CHECK(TURN_UNTIL(answers[i].there));
        answers[2].number = answers[i].number;
    }
    CHECK_INT(answers[2].number, 1); /* it was carried out all the same */
    CHECK(brain_down());
}

TEST(a_full_queue_refuses)
{
    CHECK(brain_up((BrainOptions){ .queue_queries_max = 5, .queue_bytes_max = 1000 }));
    ask(0, BRAIN_CONTROL, &sleep_long);
    for (int i = 1; i < 8; i++) {
        ask(i, BRAIN_CONTROL, &one);
    }
    CHECK(TURN_UNTIL(answered == 3));
    CHECK_INT(answers[5].code, STATUS_LIMIT);
    CHECK(!answers[5].in_doubt);
    CHECK(!answers[4].there);
    static const BrainStatement bytes = { "bytes", "select length($1)::int8", 1, { BRAIN_BYTEA } };
    static const uint8_t filler[600];
    for (int i = 10; i < 12; i++) {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        brain_put_bytea(&parameters, slice_of(filler, sizeof(filler)));
        brain_send(brain, BRAIN_READ, &(BrainQuery){ &bytes, &parameters, 0 }, note_answer, &answers[i]);
    }
    CHECK(TURN_UNTIL(answers[10].there && answers[11].there));
    CHECK_INT(answers[10].number, 600);
    CHECK_INT(answers[11].code, STATUS_LIMIT);
    ask_number(12, BRAIN_READ, &echo, 9);
    CHECK(TURN_UNTIL(answers[12].there));
    CHECK_INT(answers[12].number, 9);
    CHECK(brain_down());
}

TEST(too_few_parameters_are_a_defect_and_not_sent)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    ask(0, BRAIN_READ, &echo);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_INT(answers[0].code, STATUS_INTERNAL);
    CHECK_STR(answers[0].sqlstate, "");
    CHECK(brain_is_ready(brain, NULL));
    CHECK(brain_down());
}

static int told_everything;
static int told_payload;

static void note_notification(const char *channel, Slice payload, void *arg)
{
    (void)arg;
    told_everything += strcmp(channel, "streamhouse_metadata") == 0 && slice_is_null(payload);
    told_payload +=
        strcmp(channel, "streamhouse_metadata") == 0 && slice_equals(payload, SLICE_LITERAL("17"));
}

TEST(notifications_arrive_and_after_a_loss_everything_is_assumed_changed)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    told_everything = 0;
    told_payload = 0;
    Status status = brain_listen(brain, "streamhouse_metadata", note_notification, NULL);
    CHECK(status_is_ok(&status));
    CHECK(TURN_UNTIL(told_everything == 1));
    psql("notify streamhouse_metadata, '17'; notify streamhouse_other, '17'");
    CHECK(TURN_UNTIL(told_payload == 1));
    psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'streamhouse-agent "
         "control'");
    CHECK(TURN_UNTIL(told_everything == 2));
    psql("notify streamhouse_metadata, '17'");
    CHECK(TURN_UNTIL(told_payload == 2));
    status = brain_listen(brain, "x; drop table seen", note_notification, NULL);
    CHECK_INT(status.code, STATUS_INVALID);
    CHECK(brain_down());
}

TEST(a_notification_arrives_while_a_query_runs_on_another_line)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    told_payload = 0;
    told_everything = 0;
    Status status = brain_listen(brain, "streamhouse_metadata", note_notification, NULL);
    CHECK(status_is_ok(&status));
    ask(0, BRAIN_WATCH, &sleep_long);
    ask(1, BRAIN_CONTROL, &one);
    CHECK(TURN_UNTIL(told_everything == 1 && answers[1].there));
    psql("notify streamhouse_metadata, '17'");
    CHECK(TURN_UNTIL(told_payload == 1));
    CHECK(!answers[0].there);
    CHECK(brain_down());
}

TEST(the_second_host_is_used_when_the_first_is_away_or_silent)
{
    char conninfo[256];
    postgres_up();
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* accepts in the kernel, answers never */
    CHECK(bind(silent, (struct sockaddr *)&address, size) == 0 && listen(silent, 16) == 0);
    getsockname(silent, (struct sockaddr *)&address, &size);
    snprintf(conninfo, sizeof(conninfo),
             "postgresql://postgres@127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/postgres", free_port(),
             ntohs(address.sin_port), port);
    CHECK(brain_up_at(conninfo, (BrainOptions){ .connect_timeout_ms = 2000 }));
    int64_t started = time_ms();
    int64_t longest_turn = 0;
    while (!brain_is_ready(brain, NULL) && time_ms() < started + PATIENCE_MS) {
        int64_t before = time_ms();
        uv_run(&loop, UV_RUN_NOWAIT);
        longest_turn = time_ms() - before > longest_turn ? time_ms() - before : longest_turn;
        usleep(1000);
    }
    CHECK(brain_is_ready(brain, NULL));
    CHECK(longest_turn < 500); /* the loop never waited for the silent host */
    CHECK(strstr(brain_describe(brain), "database postgres") != NULL);
    close(silent);
    CHECK(brain_down());
}

TEST(closing_does_not_wait_for_a_silent_host)
{
    char conninfo[128];
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(silent, (struct sockaddr *)&address, size) == 0 && listen(silent, 16) == 0);
    getsockname(silent, (struct sockaddr *)&address, &size);
    snprintf(conninfo, sizeof(conninfo), "host=127.0.0.1 port=%d user=postgres", ntohs(address.sin_port));
    CHECK(brain_up_at(conninfo, (BrainOptions){ .connect_timeout_ms = 2000 }));
    ask(0, BRAIN_COMMIT, &one);
    uv_run(&loop, UV_RUN_NOWAIT);
    int64_t started = time_ms();
    CHECK(brain_down());
    CHECK(time_ms() - started < 1000);
    CHECK_INT(answers[0].code, STATUS_CANCELLED);
    CHECK(!answers[0].in_doubt);
    close(silent); /* lets the connecting threads end */
    usleep(200000);
}

TEST(a_wrong_password_is_told_without_the_password)
{
    char conninfo[256];
    char lines[4096] = "";
    int pipe_ends[2];
    postgres_up();
    clock_ahead_ns = 2ll * JOURNAL_SELDOM_MS * 1000000;
    clock_use(&shifted);
    CHECK(pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) == 0);
    snprintf(conninfo, sizeof(conninfo),
             "host=127.0.0.1 port=%d dbname=postgres user=needs_password password='battery staple'", port);
    CHECK(brain_up_at(conninfo, (BrainOptions){ 0 }));
    journal_to(pipe_ends[1]); /* nothing was said yet: the loop has not turned */
    const char *reason = "";
    CHECK(TURN_UNTIL(
        (brain_is_ready(brain, &reason), strstr(reason, "password authentication failed") != NULL)));
    CHECK(strstr(reason, "battery") == NULL);
    CHECK(read(pipe_ends[0], lines, sizeof(lines) - 1) > 0);
    CHECK(strstr(lines, "cannot connect to PostgreSQL") != NULL);
    CHECK(strstr(lines, "battery") == NULL);
    CHECK(strstr(brain_describe(brain), "battery") == NULL);
    CHECK(brain_down());
    clock_use(NULL);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

TEST(a_malformed_connection_string_is_refused_without_quoting_it)
{
    uv_loop_init(&loop);
    Brain *none = NULL;
    Status status = brain_open(&loop, &(BrainOptions){ .conninfo = "host=x hunter2" }, &none);
    CHECK_INT(status.code, STATUS_INVALID);
    CHECK(strstr(status.message, "hunter2") == NULL);
    CHECK(uv_loop_close(&loop) == 0);
}

static void close_brain(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    brain_close(brain, note_gone, &brain_gone);
}

TEST(the_brain_may_be_closed_from_a_callback)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_send(brain, BRAIN_READ, &(BrainQuery){ .statement = &one }, close_brain, &answers[0]);
    ask(1, BRAIN_READ, &sleep_long);
    ask(2, BRAIN_CONTROL, &sleep_long);
    ask(3, BRAIN_CONTROL, &one);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(brain_gone);
    CHECK(uv_loop_close(&loop) == 0);
    CHECK(answers[1].there && answers[1].code != STATUS_OK);
    CHECK(answers[2].there && answers[2].in_doubt);
    CHECK_INT(answers[3].code, STATUS_CANCELLED);
}
