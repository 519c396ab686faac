/* brain_loss_test.c: the brain's client against a PostgreSQL that is away, silent, killed, or late. */
#include "test/unit/brain_fixture.h"

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
    static bool before = true;
    (void)arg;
    ready_changes += changed == brain && ready != before;
    before = ready;
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
    /* Once it is found, attempts begin there. */
    psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'streamhouse%'");
    CHECK(TURN_UNTIL(!brain_is_ready(brain, NULL)));
    started = time_ms();
    CHECK(TURN_UNTIL(brain_is_ready(brain, NULL)));
    CHECK(time_ms() - started < 1500);
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
