/* agent.c: starts, runs, drains and stops. The state only moves forward: starting, running, draining,
 * stopping. Modules drain one after the other, the last started first, so that what feeds a module is quiet
 * before the module itself drains. */
#include "agent/agent.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/http/probes.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "agent/process.h"

enum {
    EXIT_AT_ONCE = 130,
    /* How long handles may take to close after everything was stopped. */
    STOP_TIMEOUT_MS = 5000
};

static const char *const state_names[] = {
    [AGENT_STARTING] = "starting",
    [AGENT_RUNNING] = "running",
    [AGENT_DRAINING] = "draining",
    [AGENT_STOPPING] = "stopping",
};

static const int signal_numbers[AGENT_SIGNALS] = { SIGTERM, SIGINT, SIGHUP };

const char *agent_state_name(AgentState state)
{
    return state_names[state];
}

static void drain_next(Agent *agent);

static void stop_expired(uv_timer_t *timer)
{
    (void)timer;
    journal(JOURNAL_ERROR, "agent", "something did not close; exiting without it");
    _exit(EXIT_FAILURE);
}

static void agent_stop(Agent *agent)
{
    if (agent->state == AGENT_STOPPING) {
        return;
    }
    agent->state = AGENT_STOPPING;
    while (agent->started > 0) {
        const Module *module = &agent->modules[--agent->started];
        if (module->stop) {
            module->stop(agent);
        }
    }
    http_server_stop(agent->http);
    agent->http = NULL;
    for (int i = 0; i < AGENT_SIGNALS; i++) {
        uv_close((uv_handle_t *)&agent->signals[i], NULL);
    }
    /* Fires only while something else keeps the loop alive. */
    uv_timer_start(&agent->timer, stop_expired, STOP_TIMEOUT_MS, 0);
    uv_unref((uv_handle_t *)&agent->timer);
}

static void module_drained(Agent *agent, const Module *module)
{
    if (agent->state == AGENT_DRAINING && module == &agent->modules[agent->draining]) {
        journal(JOURNAL_DEBUG, "agent", "%s has drained", module->name);
        drain_next(agent);
    }
}

/* Drains the module before the one that drained last; stops everything after the first one. */
static void drain_next(Agent *agent)
{
    if (agent->draining == 0) {
        journal(JOURNAL_INFO, "agent", "drained");
        agent_stop(agent);
        return;
    }
    const Module *module = &agent->modules[--agent->draining];
    if (module->drain) {
        module->drain(agent, module, module_drained);
    } else {
        module_drained(agent, module);
    }
}

static void drain_expired(uv_timer_t *timer)
{
    Agent *agent = timer->data;
    journal(JOURNAL_ERROR, "agent", "%s has not drained in time; exiting without it",
            agent->modules[agent->draining].name);
    agent->exit_code = EXIT_FAILURE;
    agent_stop(agent);
}

void agent_drain(Agent *agent)
{
    if (agent->state >= AGENT_DRAINING) {
        return;
    }
    journal(JOURNAL_INFO, "agent", "draining: finishing what was accepted, taking nothing new");
    agent->state = AGENT_DRAINING;
    condition_break(agent->running, "the agent is draining");
    agent->draining = agent->started;
    uv_timer_start(&agent->timer, drain_expired, (uint64_t)agent->settings.drain_timeout_ms, 0);
    drain_next(agent);
}

void agent_fail(Agent *agent, const char *component, const Status *why)
{
    journal(JOURNAL_ERROR, component, "%s", why->message);
    agent->exit_code = EXIT_FAILURE;
    agent_drain(agent);
}

void agent_abandon(const char *component, const Status *why)
{
    journal(JOURNAL_ERROR, component, "%s", why->message);
    _exit(EXIT_FAILURE);
}

static void setting_changed(const SettingRow *row, const char *before, const char *after, bool applied,
                            void *context)
{
    int *count = context;
    *count += applied;
    journal_with(applied ? JOURNAL_INFO : JOURNAL_WARN, "agent",
                 JOURNAL_FIELDS(FIELD_TEXT("setting", row->name), FIELD_TEXT("before", before),
                                FIELD_TEXT("after", after)),
                 applied ? "setting changed" : "setting needs a restart to change");
}

static void agent_take(Agent *agent, const SettingOverlay *overlays, int overlay_count)
{
    int count = 0;
    if (agent->state != AGENT_RUNNING) {
        return;
    }
    Status status = settings_overlay(&agent->settings, overlays, overlay_count, setting_changed, &count);
    if (!status_is_ok(&status)) {
        journal(JOURNAL_ERROR, "agent", "nothing reloaded: %s", status.message);
        return;
    }
    journal_configure((JournalLevel)agent->settings.log_level, (JournalFormat)agent->settings.log_format);
    for (int i = 0; i < agent->started; i++) {
        if (agent->modules[i].reload) {
            agent->modules[i].reload(agent);
        }
    }
    metric_add(METRIC_AGENT_RELOADS, 1);
    journal(JOURNAL_INFO, "agent", "reloaded: %d setting%s changed", count, count == 1 ? "" : "s");
}

void agent_reload(Agent *agent)
{
    agent_take(agent, agent->settings.overlays, agent->settings.overlay_count);
}

static bool overlays_are_equal(const Settings *settings, const SettingOverlay *overlays, int count)
{
    bool equal = count == settings->overlay_count;
    for (int i = 0; equal && i < count; i++) {
        equal = overlays[i].id == settings->overlays[i].id &&
                strcmp(overlays[i].value, settings->overlays[i].value) == 0;
    }
    return equal;
}

void agent_overlay(Agent *agent, const SettingOverlay *overlays, int count)
{
    if (!overlays_are_equal(&agent->settings, overlays, count)) {
        agent_take(agent, overlays, count);
    }
}

static void signal_arrived(uv_signal_t *handle, int number)
{
    Agent *agent = handle->data;
    if (number == SIGHUP) {
        agent_reload(agent);
    } else if (agent->state >= AGENT_DRAINING) {
        journal(JOURNAL_WARN, "agent", "told to stop again: exiting at once");
        _exit(EXIT_AT_ONCE);
    } else {
        journal(JOURNAL_INFO, "agent", "got SIG%s", number == SIGTERM ? "TERM" : "INT");
        agent_drain(agent);
    }
}

static void handles_start(Agent *agent)
{
    for (int i = 0; i < AGENT_SIGNALS; i++) {
        agent->signals[i].data = agent;
        uv_signal_init(agent->loop, &agent->signals[i]);
        uv_signal_start(&agent->signals[i], signal_arrived, signal_numbers[i]);
    }
    agent->timer.data = agent;
    uv_timer_init(agent->loop, &agent->timer);
}

static void process_prepare(const Settings *settings)
{
    char threads[16];
    signal(SIGPIPE, SIG_IGN);
    process_limit_cores(settings->core_dumps);
    process_keep_memory();
    int connections = process_connections_max(settings->connections_max);
    if (connections < settings->connections_max) {
        journal_with(JOURNAL_WARN, "agent", JOURNAL_FIELDS(FIELD_INT("files_max", process_raise_files())),
                     "the limit of open files allows %d connections and not connections_max = %d; raise it "
                     "(ulimit -n)",
                     connections, settings->connections_max);
    }
    snprintf(threads, sizeof(threads), "%d", settings->worker_threads);
    setenv("UV_THREADPOOL_SIZE", threads, 1);
    process_measure();
}

static Status http_start(Agent *agent)
{
    const Settings *settings = &agent->settings;
    return http_server_start(agent->loop,
                             &(HttpServerOptions){ .host = settings->http_host,
                                                   .port = settings->http_port,
                                                   .connections_max = settings->http_connections_max,
                                                   .idle_ms = settings->http_idle_ms,
                                                   .routes = probe_routes,
                                                   .context = agent },
                             &agent->http);
}

static void banner_write(const Agent *agent)
{
    char database[256];
    const Settings *settings = &agent->settings;
    settings_show(settings, SETTING_ID_database, database, sizeof(database));
    journal_with(JOURNAL_INFO, "agent",
                 JOURNAL_FIELDS(FIELD_TEXT("agent", settings->agent_name), FIELD_INT("pid", getpid()),
                                FIELD_TEXT("http_host", settings->http_host),
                                FIELD_INT("http_port", http_server_port(agent->http)),
                                FIELD_TEXT("kafka_host", settings->kafka_host),
                                FIELD_INT("kafka_port", settings->kafka_port),
                                FIELD_TEXT("store", settings->store), FIELD_TEXT("database", database)),
                 "StreamHouse agent " STREAMHOUSE_VERSION " starts");
}

/* Starts HTTP first, so that /live and /ready tell how far the modules are. */
static Status agent_start(Agent *agent)
{
    Status status = http_start(agent);
    if (!status_is_ok(&status)) {
        return status;
    }
    banner_write(agent);
    while (agent->state == AGENT_STARTING && agent->modules[agent->started].name) {
        const Module *module = &agent->modules[agent->started];
        status = module->start(agent);
        if (!status_is_ok(&status)) {
            return status;
        }
        agent->started++;
        journal(JOURNAL_DEBUG, "agent", "%s has started", module->name);
    }
    return status;
}

static void agent_init(Agent *agent, Settings *settings, const Module *modules)
{
    memset(agent, 0, sizeof(*agent));
    agent->settings = *settings;
    memset(settings, 0, sizeof(*settings));
    agent->modules = modules;
    agent->started_ms = time_ms();
    agent->running = readiness_add(&agent->readiness, "agent", "the agent is starting");
    if (getrandom(agent->incarnation, sizeof(agent->incarnation), 0) != sizeof(agent->incarnation)) {
        abort();
    }
}

int agent_run(Agent *agent, Settings *settings, const Module *modules)
{
    uv_loop_t loop;
    agent_init(agent, settings, modules);
    journal_configure((JournalLevel)agent->settings.log_level, (JournalFormat)agent->settings.log_format);
    process_prepare(&agent->settings);
    uv_loop_init(&loop);
    agent->loop = &loop;
    handles_start(agent);
    Status status = agent_start(agent);
    if (!status_is_ok(&status)) {
        journal(JOURNAL_ERROR, "agent", "cannot start: %s", status.message);
        agent->exit_code = EXIT_FAILURE;
        agent_stop(agent);
    } else if (agent->state == AGENT_STARTING) {
        agent->state = AGENT_RUNNING;
        condition_hold(agent->running);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_close((uv_handle_t *)&agent->timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    agent->loop = NULL;
    settings_free(&agent->settings);
    return agent->exit_code;
}
