/* modules.c: the agent's modules in starting order: brain, store, catalog and log, the Kafka listener, then
 * what needs to know its port. They drain and stop in the reverse order. */
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/api/api.h"
#include "agent/api/offset_gather.h"
#include "agent/brain/brain.h"
#include "agent/broker_configs.h"
#include "agent/catalog/catalog.h"
#include "agent/group/service.h"
#include "agent/jobs/chores.h"
#include "agent/jobs/hand_over.h"
#include "agent/jobs/lease.h"
#include "agent/jobs/marker.h"
#include "agent/jobs/mover.h"
#include "agent/jobs/reaper.h"
#include "agent/jobs/watch.h"
#include "agent/journal.h"
#include "agent/kafka/server.h"
#include "agent/log/service.h"
#include "agent/process.h"
#include "agent/read/fetcher.h"
#include "agent/roster/roster_service.h"
#include "agent/store_metrics.h"
#include "common/store/store.h"

enum { PROBE_DEADLINE_MS = 20 * 1000, PROBE_AGAIN_MS = 5 * 1000 };

/* What the table's functions share beyond struct Agent. */
static struct {
    Condition *brain;
    Condition *store;
    LogService *log;
    Watch *watch;
    Reaper *reaper;
    Mover *mover;
    Marker *marker;
    Chores *chores;
    uv_timer_t *probe_timer;
    int backends;           /* brain and store, as long as they are open */
    ModuleDrained *drained; /* whom the module that drains now is to tell */
    const Module *draining;
} modules;

static Status modules_no_memory(void)
{
    return status_error(STATUS_INTERNAL, "memory is short");
}

/* Brain. */

static void brain_readiness(Brain *brain, bool ready, void *argument)
{
    const char *reason;
    (void)argument;
    (void)brain_is_ready(brain, &reason);
    if (ready) {
        condition_hold(modules.brain);
    } else {
        condition_break(modules.brain, "no PostgreSQL for %.1f s: %s", (double)brain_away_ms(brain) / 1000,
                        reason);
    }
}

static Status brain_module_start(Agent *agent)
{
    const Settings *settings = &agent->settings;
    BrainOptions options = {
        .conninfo = settings->database,
        .deadline_ms = (int)settings->database_timeout_ms,
        .reconnect_max_ms = (int)settings->database_retry_ms,
    };
    modules.brain = readiness_add(&agent->readiness, "database", "not connected to PostgreSQL yet");
    Status status = brain_open(agent->loop, &options, &agent->brain);
    if (status_is_ok(&status)) {
        modules.backends++;
        brain_on_ready(agent->brain, brain_readiness, agent);
    }
    return status;
}

/* Callbacks of brain and store go on until both are closed; only then may what they call be freed. */
static void data_free(Agent *agent);

static void backend_closed(void *argument)
{
    if (--modules.backends == 0) {
        data_free(argument);
    }
}

static void brain_module_stop(Agent *agent)
{
    brain_close(agent->brain, backend_closed, agent);
}

/* Store. */

static void store_probe_again(uv_timer_t *timer);

static void store_probed(const StoreResult *result, void *argument)
{
    (void)argument;
    if (result->status.code == STATUS_CANCELLED) {
        return;
    }
    if (status_is_ok(&result->status)) {
        condition_hold(modules.store);
        return;
    }
    condition_break(modules.store, "%s", result->status.message);
    uv_timer_start(modules.probe_timer, store_probe_again, PROBE_AGAIN_MS, 0);
}

static void store_probe_again(uv_timer_t *timer)
{
    Agent *agent = timer->data;
    if (!store_probe(agent->store, PROBE_DEADLINE_MS, store_probed, agent)) {
        uv_timer_start(timer, store_probe_again, PROBE_AGAIN_MS, 0);
    }
}

static Status store_module_start(Agent *agent)
{
    const Settings *settings = &agent->settings;
    StoreOptions options = {
        .url = settings->store,
        .endpoint = settings->s3_endpoint[0] ? settings->s3_endpoint : NULL,
        .region = settings->s3_region[0] ? settings->s3_region : NULL,
        .profile = settings->s3_profile[0] ? settings->s3_profile : NULL,
        .ca_file = settings->s3_ca_file[0] ? settings->s3_ca_file : NULL,
        .addressing = (StoreAddressing)settings->s3_addressing,
        .checksum = (StoreChecksum)settings->s3_checksum,
        .conditional = (StoreConditional)settings->s3_conditional,
        .put_parallel_max = settings->put_parallel,
        .get_parallel_max = settings->get_parallel,
        .job_parallel_max = settings->delete_parallel,
        .queue_max = settings->store_queue_max,
        .attempt_timeout_ms = (int)settings->s3_attempt_timeout_ms,
        .retry_base_ms = (int)settings->s3_retry_base_ms,
    };
    modules.probe_timer = malloc(sizeof(uv_timer_t));
    if (!modules.probe_timer) {
        return modules_no_memory();
    }
    Status status = store_open(&options, agent->loop, &agent->store);
    if (!status_is_ok(&status)) {
        free(modules.probe_timer);
        return status;
    }
    modules.backends++;
    uv_timer_init(agent->loop, modules.probe_timer);
    modules.probe_timer->data = agent;
    modules.store = readiness_add(&agent->readiness, "store", "not tried yet");
    store_probe_again(modules.probe_timer);
    store_metrics_start(agent);
    journal(JOURNAL_INFO, "store", "records are kept in %s", store_describe(agent->store));
    return status_ok();
}

static void modules_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void store_module_stop(Agent *agent)
{
    store_metrics_stop(agent);
    uv_close((uv_handle_t *)modules.probe_timer, modules_timer_closed);
    store_close(agent->store, backend_closed, agent);
}

/* Catalog, fetcher and log, which know of each other's events. */

static void topic_deleted(void *context, Topic *topic)
{
    Agent *agent = context;
    for (int32_t i = 0; i < topic->partition_count; i++) {
        log_forget_partition(agent->log, topic->partitions[i]);
    }
    fetcher_forget(agent->fetcher, topic);
}

/* The old primary may have shown what no standby had, and had to give up when it was replaced. */
static void failover_followed(void *context)
{
    Agent *agent = context;
    for (Topic *topic = catalog_first(agent->catalog); topic; topic = catalog_next(topic)) {
        for (int32_t i = 0; i < topic->partition_count; i++) {
            log_doubt_partition(agent->log, topic->partitions[i]);
        }
        fetcher_forget(agent->fetcher, topic);
    }
    fetcher_doubt(agent->fetcher);
}

static void topic_moved(void *context, Topic *topic)
{
    Agent *agent = context;
    hand_over_moved(agent->hand_over);
    fetcher_lead(agent->fetcher, topic); /* fetches are served whoever leads; sessions tell their clients */
}

static Status data_module_start(Agent *agent)
{
    agent->catalog = catalog_new(agent->brain);
    agent->fetcher = fetcher_new(agent);
    agent->offset_gather = offset_gather_new(agent);
    modules.log = log_service_new(agent);
    agent->groups = group_service_new(agent);
    if (!agent->catalog || !agent->fetcher || !agent->offset_gather || !modules.log || !agent->groups) {
        return modules_no_memory();
    }
    catalog_on_change(agent->catalog, topic_deleted, topic_moved, agent);
    brain_on_failover(agent->brain, failover_followed, agent);
    catalog_refresh(agent->catalog, NULL, NULL);
    return status_ok();
}

static void module_drained(void *argument)
{
    modules.drained(argument, modules.draining);
}

static void module_drains(const Module *module, ModuleDrained *drained)
{
    modules.drained = drained;
    modules.draining = module;
}

static void data_module_drain(Agent *agent, const Module *module, ModuleDrained *drained)
{
    module_drains(module, drained);
    log_service_drain(modules.log, module_drained, agent);
}

static void data_module_reload(Agent *agent)
{
    log_service_reload(modules.log);
    group_service_reload(agent->groups);
    fetcher_reload(agent->fetcher);
}

static void data_module_stop(Agent *agent)
{
    log_service_stop(modules.log);
    group_service_stop(agent->groups);
    fetcher_stop(agent->fetcher);
    offset_gather_stop(agent->offset_gather);
}

static void topic_ignored(void *context, Topic *topic)
{
    (void)context;
    (void)topic;
}

static void data_free(Agent *agent)
{
    if (!modules.log) {
        return; /* it never started */
    }
    catalog_on_change(agent->catalog, topic_ignored, topic_ignored, NULL);
    log_service_free(modules.log);
    group_service_free(agent->groups);
    fetcher_free(agent->fetcher);
    offset_gather_free(agent->offset_gather);
    catalog_free(agent->catalog);
    modules.log = NULL;
    agent->groups = NULL;
    agent->fetcher = NULL;
    agent->offset_gather = NULL;
    agent->catalog = NULL;
    agent->brain = NULL;
    agent->store = NULL;
}

/* Jobs: the lease, the watch, the owner marker, the reaper, the mover, the chores. */

static Status jobs_module_start(Agent *agent)
{
    agent->lease = lease_new(agent);
    agent->hand_over = hand_over_new(agent);
    modules.watch = watch_new(agent);
    modules.reaper = reaper_new(agent);
    modules.mover = mover_new(agent);
    modules.chores = chores_new(agent);
    modules.marker = marker_new(agent);
    catalog_on_refresh(agent->catalog, broker_configs_read, agent);
    agent->roster = roster_service_new(agent);
    bool made = agent->lease && agent->hand_over && modules.watch && modules.reaper && modules.mover &&
                modules.chores && modules.marker && agent->roster;
    return made ? status_ok() : modules_no_memory();
}

/* Runs when every producer has its answer: the next leader can take over at once. */
static void jobs_module_drain(Agent *agent, const Module *module, ModuleDrained *drained)
{
    module_drains(module, drained);
    lease_leave(agent->lease, module_drained, agent);
}

static void jobs_module_reload(Agent *agent)
{
    roster_service_reload(agent->roster);
}

static void jobs_module_stop(Agent *agent)
{
    catalog_on_refresh(agent->catalog, NULL, NULL);
    roster_service_free(agent->roster);
    agent->roster = NULL;
    marker_free(modules.marker);
    chores_free(modules.chores);
    mover_free(modules.mover);
    reaper_free(modules.reaper);
    watch_free(modules.watch);
    hand_over_free(agent->hand_over);
    agent->hand_over = NULL;
    lease_free(agent->lease);
    agent->lease = NULL;
}

/* Kafka listener. */

static Status kafka_module_start(Agent *agent)
{
    const Settings *settings = &agent->settings;
    KafkaServerOptions options = {
        .handlers = api_handlers,
        .handler_count = api_handler_count,
        .context = agent,
        .host = settings->kafka_host,
        .port = (uint16_t)settings->kafka_port,
        .frame_bytes_max = (size_t)settings->frame_bytes_max,
        .buffered_bytes_max = (size_t)settings->produce_bytes_max,
        .unsent_bytes_max = (size_t)settings->unsent_bytes_max,
        .connections_max = process_connections_max(settings->connections_max),
        .in_flight_max = settings->connection_requests_max,
        .idle_timeout_ms = settings->connection_idle_ms,
    };
    Status status = kafka_server_start(agent->loop, &options, &agent->kafka);
    if (status_is_ok(&status)) {
        journal(JOURNAL_INFO, "kafka", "listening on %s:%d", settings->kafka_host,
                kafka_server_port(agent->kafka));
    }
    return status;
}

static void kafka_module_drain(Agent *agent, const Module *module, ModuleDrained *drained)
{
    module_drains(module, drained);
    fetcher_drain(agent->fetcher);
    group_service_drain(agent->groups);
    kafka_server_drain(agent->kafka, module_drained, agent);
}

static void kafka_module_stop(Agent *agent)
{
    kafka_server_close(agent->kafka, NULL, NULL);
    agent->kafka = NULL;
}

/* Leases: nothing of its own, but the first to drain. Others lead this agent's partitions before it closes
 * its connections, so that clients know where to go. */

static Status leases_module_start(Agent *agent)
{
    (void)agent;
    return status_ok();
}

static void leases_module_drain(Agent *agent, const Module *module, ModuleDrained *drained)
{
    module_drains(module, drained);
    group_service_drain(agent->groups);
    lease_drain(agent->lease, module_drained, agent);
}

const Module agent_modules[] = {
    { .name = "brain", .start = brain_module_start, .stop = brain_module_stop },
    { .name = "store", .start = store_module_start, .stop = store_module_stop },
    { .name = "data",
      .start = data_module_start,
      .drain = data_module_drain,
      .reload = data_module_reload,
      .stop = data_module_stop },
    { .name = "jobs",
      .start = jobs_module_start,
      .drain = jobs_module_drain,
      .reload = jobs_module_reload,
      .stop = jobs_module_stop },
    { .name = "kafka", .start = kafka_module_start, .drain = kafka_module_drain, .stop = kafka_module_stop },
    { .name = "leases", .start = leases_module_start, .drain = leases_module_drain },
    { .name = NULL },
};
