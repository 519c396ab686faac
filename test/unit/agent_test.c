/* agent_test.c: the process starts, drains and stops its modules in the right order, whatever signals come.
 * Modules here write down what happens to them; a timer on the loop plays the operator. */
#include "agent/agent.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "test/unit/test.h"

enum { LATER_MS = 20, LATER_STEPS = 4 };

static char happened[512];
static Agent agent;
static uv_timer_t operator_timer;
static void (*operator_steps[LATER_STEPS])(void);
static int operator_step;
static char *settings_path;
static const Module *late_module;
static ModuleDrained *late_drained;

static void note(const char *what)
{
    size_t used = strlen(happened);
    snprintf(happened + used, sizeof(happened) - used, "%s%s", used ? " " : "", what);
}

static Status first_start(Agent *started)
{
    (void)started;
    note("+first");
    return status_ok();
}

static void first_drain(Agent *draining, const Module *module, ModuleDrained *drained)
{
    note("~first");
    drained(draining, module);
}

static void first_reload(Agent *reloaded)
{
    (void)reloaded;
    note("*first");
}

static void first_stop(Agent *stopped)
{
    (void)stopped;
    note("-first");
}

static void operator_run(uv_timer_t *timer)
{
    if (operator_step < LATER_STEPS && operator_steps[operator_step]) {
        operator_steps[operator_step++]();
    } else {
        uv_timer_stop(timer);
    }
}

/* The module that carries the operator's timer. */
static Status second_start(Agent *started)
{
    note("+second");
    uv_timer_init(started->loop, &operator_timer);
    uv_timer_start(&operator_timer, operator_run, LATER_MS, LATER_MS);
    return status_ok();
}

/* Finishes when the operator says so; twice, which must not matter. */
static void second_drain(Agent *draining, const Module *module, ModuleDrained *drained)
{
    (void)draining;
    note("~second");
    late_module = module;
    late_drained = drained;
}

static void second_stop(Agent *stopped)
{
    (void)stopped;
    note("-second");
    uv_close((uv_handle_t *)&operator_timer, NULL);
}

static Status third_start(Agent *started)
{
    (void)started;
    note("+third");
    return status_error(STATUS_UNAVAILABLE, "no third today");
}

static const Module two_modules[] = {
    { "first", first_start, first_drain, first_reload, first_stop },
    { "second", second_start, second_drain, NULL, second_stop },
    { .name = NULL },
};

static const Module three_modules[] = {
    { "first", first_start, first_drain, first_reload, first_stop },
    { "second", second_start, second_drain, NULL, second_stop },
    { "third", third_start, NULL, NULL, NULL },
    { .name = NULL },
};

static void send_term(void)
{
    raise(SIGTERM);
}

static void send_hup(void)
{
    raise(SIGHUP);
}

static void finish_second(void)
{
    late_drained(&agent, late_module);
    late_drained(&agent, late_module);
}

static void fail_agent(void)
{
    Status why = status_error(STATUS_DENIED, "another agent has this name");
    agent_fail(&agent, "brain", &why);
}

/* Runs an agent with these modules while the operator does the steps in turn; its exit code, or -1 for bad
 * settings. */
static int run(const Module *modules, char *drain_timeout, void (*const *steps)(void))
{
    char *flags[] = { "streamhouse-agent",
                      "--http-port=0",
                      "--log-level=error",
                      drain_timeout,
                      settings_path ? "--config" : "--core-dumps=no",
                      settings_path };
    Settings settings;
    Status status = settings_load(settings_path ? 6 : 5, flags, (char *[]){ NULL }, &settings);
    if (!status_is_ok(&status)) {
        return -1;
    }
    happened[0] = '\0';
    operator_step = 0;
    memset(operator_steps, 0, sizeof(operator_steps));
    for (int i = 0; i < LATER_STEPS && steps[i]; i++) {
        operator_steps[i] = steps[i];
    }
    metrics_reset();
    journal_to(open("/dev/null", O_WRONLY | O_CLOEXEC));
    int code = agent_run(&agent, &settings, modules);
    journal_to(STDERR_FILENO);
    return code;
}

TEST(term_drains_the_last_started_first_and_waits_for_each)
{
    CHECK_INT(run(two_modules, "--drain-timeout-ms=5s", (void (*[])(void)){ send_term, finish_second, NULL }),
              0);
    CHECK_STR(happened, "+first +second ~second ~first -second -first");
}

TEST(a_drain_that_takes_too_long_is_cut_short)
{
    CHECK_INT(run(two_modules, "--drain-timeout-ms=50", (void (*[])(void)){ send_term, NULL }), 1);
    CHECK_STR(happened, "+first +second ~second -second -first");
}

TEST(a_module_that_does_not_start_stops_those_before_it)
{
    CHECK_INT(run(three_modules, "--drain-timeout-ms=5s", (void (*[])(void)){ NULL }), 1);
    CHECK_STR(happened, "+first +second +third -second -first");
}

TEST(a_failure_drains_and_exits_with_one)
{
    CHECK_INT(
        run(two_modules, "--drain-timeout-ms=5s", (void (*[])(void)){ fail_agent, finish_second, NULL }), 1);
    CHECK_STR(happened, "+first +second ~second ~first -second -first");
}

static const char *settings_text;

static void rewrite_settings(void)
{
    FILE *file = fopen(settings_path, "w");
    if (!file || fputs(settings_text, file) < 0 || fclose(file) != 0) {
        abort();
    }
    raise(SIGHUP);
}

static void look_at_linger(void)
{
    note(agent.settings.linger_ms == 33 ? "linger=33" : "linger=other");
    note(metric_value(METRIC_AGENT_RELOADS) == 1 ? "reloads=1" : "reloads=other");
    raise(SIGTERM);
}

TEST(hup_reloads_and_tells_the_modules)
{
    char path[] = "/tmp/agent_test.XXXXXX";
    int descriptor = mkstemp(path);
    CHECK(descriptor >= 0);
    close(descriptor);
    settings_path = path;
    settings_text = "linger_ms = 33\n";
    int code = run(two_modules, "--drain-timeout-ms=5s",
                   (void (*[])(void)){ rewrite_settings, look_at_linger, finish_second, NULL });
    CHECK_INT(code, 0);
    CHECK_STR(happened, "+first +second *first linger=33 reloads=1 ~second ~first -second -first");

    FILE *file = fopen(path, "w");
    CHECK(file && fclose(file) == 0);
    settings_text = "linger_ms = soon\n";
    code = run(two_modules, "--drain-timeout-ms=5s",
               (void (*[])(void)){ rewrite_settings, look_at_linger, finish_second, NULL });
    settings_path = NULL;
    unlink(path);
    CHECK_INT(code, 0);
    CHECK_STR(happened, "+first +second linger=other reloads=other ~second ~first -second -first");
}

TEST(hup_while_draining_does_nothing)
{
    CHECK_INT(run(two_modules, "--drain-timeout-ms=5s",
                  (void (*[])(void)){ send_term, send_hup, finish_second, NULL }),
              0);
    CHECK_STR(happened, "+first +second ~second ~first -second -first");
}

TEST(a_second_term_exits_at_once)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run(two_modules, "--drain-timeout-ms=60s", (void (*[])(void)){ send_term, send_term, NULL });
        _exit(0);
    }
    int state = 0;
    CHECK(child > 0 && waitpid(child, &state, 0) == child);
    CHECK(WIFEXITED(state));
    CHECK_INT(WEXITSTATUS(state), 130);
}

static void look_at_readiness(void)
{
    note(readiness_holds(&agent.readiness) ? "ready" : "unready");
    note(agent_state_name(agent.state));
}

TEST(the_agent_is_ready_when_started_and_not_while_draining)
{
    CHECK_INT(run(two_modules, "--drain-timeout-ms=50",
                  (void (*[])(void)){ look_at_readiness, send_term, look_at_readiness, NULL }),
              1);
    CHECK_STR(happened, "+first +second ready running ~second unready draining -second -first");
}

TEST(a_condition_is_found_again_by_its_name)
{
    Readiness readiness = { 0 };
    CHECK(readiness_holds(&readiness));
    Condition *one = readiness_add(&readiness, "one", "not yet");
    CHECK(readiness_add(&readiness, "one", "again") == one);
    CHECK_INT(readiness.count, 1);
    CHECK_STR(one->reason, "not yet");
    CHECK(!readiness_holds(&readiness));
}
