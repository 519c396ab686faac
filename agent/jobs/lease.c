/* lease.c: one query a heartbeat, one at a time. What the lease covers is in the catalog, which is read anew
 * when the brain says that this agent's leases changed. */
#include "agent/jobs/lease.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/clock.h"
#include "agent/http/server.h"
#include "agent/jobs/report.h"
#include "agent/journal.h"
#include "agent/kafka/error.h"
#include "agent/kafka/server.h"
#include "agent/metrics.h"

static const BrainStatement heartbeat_statement = {
    "heartbeat",
    "SELECT agent_id, lease_version, changed, coalesce(cardinality(partitions), 0) "
    "FROM sh_agent_heartbeat($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    11,
    { BRAIN_TEXT, BRAIN_UUID, BRAIN_TEXT, BRAIN_INT4, BRAIN_TEXT, BRAIN_INT4, BRAIN_TEXT, BRAIN_TEXT,
      BRAIN_INT4, BRAIN_INT8, BRAIN_JSONB },
};
static const BrainStatement leave_statement = {
    "leave", "SELECT sh_agent_leave($1, $2)", 2, { BRAIN_INT4, BRAIN_UUID }
};

struct Lease {
    Agent *agent;
    uv_timer_t *timer;
    Condition *condition;
    int32_t agent_id;
    Report report;
    int64_t version;
    int64_t sent_ms;
    int64_t valid_until_ms; /* time_ms() */
    uint64_t lapses;
    bool asking;
    bool leaving;
    bool replaced; /* a later process has this agent's name: it beats no more */
    bool freed;    /* the timer is closed; the last answer frees the rest */
    void (*left)(void *argument);
    void *left_argument;
};

static void lease_beat(uv_timer_t *timer);

static void lease_leave_now(Lease *lease);

static void lease_answered(const BrainResult *result, void *argument)
{
    Lease *lease = argument;
    lease->asking = false;
    if (lease->freed) {
        free(lease);
        return;
    }
    if (!status_is_ok(&result->status) || brain_row_count(result) != 1) {
        metric_add(METRIC_LEASE_HEARTBEATS_FAILED, 1);
        if (brain_kafka_error(result) == KAFKA_ERROR_BROKER_ID_NOT_REGISTERED) {
            /* Topics and keys in memory have the numbers of others in the cluster that is there now. */
            Status elsewhere = status_error(STATUS_EXISTS, "%s", result->message);
            agent_abandon("lease", &elsewhere);
        }
        if (brain_kafka_error(result) == KAFKA_ERROR_DUPLICATE_BROKER_REGISTRATION) {
            /* Two processes under one name would take the leases from each other for ever. */
            Status replaced = status_error(STATUS_EXISTS, "%s", result->message);
            lease->valid_until_ms = 0;
            lease->replaced = true;
            agent_fail(lease->agent, "lease", &replaced);
            if (lease->leaving) {
                lease_leave_now(lease); /* the drain that waited for this answer goes on */
            }
            return;
        }
        journal_seldom(JOURNAL_WARN, "lease", "a heartbeat failed: %s", result->message);
        if (time_ms() >= lease->valid_until_ms) {
            condition_break(lease->condition, "no heartbeat was answered for too long: %s", result->message);
        }
    } else {
        metric_add(METRIC_LEASE_HEARTBEATS, 1);
        if (lease->agent_id == LEASE_NO_AGENT) {
            journal(JOURNAL_INFO, "lease", "this agent is number %d", brain_int4(result, 0, 0));
        }
        lease->agent_id = brain_int4(result, 0, 0);
        lease->version = brain_int8(result, 0, 1);
        lease->lapses += time_ms() >= lease->valid_until_ms; /* perhaps it arrived too late */
        lease->valid_until_ms = lease->sent_ms + lease->agent->settings.lease_ttl_ms;
        if (brain_bool(result, 0, 2)) {
            metric_set(METRIC_LEASE_PARTITIONS, brain_int4(result, 0, 3));
        }
        if (brain_bool(result, 0, 2) || !catalog_is_fresh(lease->agent->catalog)) {
            catalog_refresh(lease->agent->catalog, NULL, NULL);
        }
        condition_hold(lease->condition);
    }
    if (lease->leaving) {
        lease_leave_now(lease);
    }
}

static int lease_advertised_port(const Agent *agent)
{
    return agent->settings.advertised_port != 0 ? agent->settings.advertised_port
                                                : kafka_server_port(agent->kafka);
}

static void lease_beat(uv_timer_t *timer)
{
    Lease *lease = timer->data;
    const Settings *settings = &lease->agent->settings;
    uv_timer_set_repeat(timer, (uint64_t)settings->heartbeat_ms);
    if (lease->asking || lease->leaving || lease->replaced) {
        return;
    }
    lease->asking = true;
    lease->sent_ms = time_ms();
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, slice_of_text(settings->agent_name));
    brain_put_uuid(&parameters, (const uint8_t *)lease->agent->incarnation);
    brain_put_text(&parameters, slice_of_text(settings->advertised_host));
    brain_put_int4(&parameters, lease_advertised_port(lease->agent));
    brain_put_text(&parameters, slice_of_text(settings->http_host));
    brain_put_int4(&parameters, http_server_port(lease->agent->http));
    brain_put_text(&parameters, slice_of_text(settings->zone));
    brain_put_text(&parameters, slice_of_text(STREAMHOUSE_VERSION));
    brain_put_int4(&parameters, (int32_t)settings->lease_ttl_ms);
    brain_put_int8(&parameters, lease->version);
    brain_put_jsonb(&parameters, slice_of_text(report_write(&lease->report, lease->sent_ms)));
    brain_send(lease->agent->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &heartbeat_statement,
                              .parameters = &parameters,
                              .deadline_ms = settings->lease_ttl_ms },
               lease_answered, lease);
}

Lease *lease_new(Agent *agent)
{
    Lease *lease = calloc(1, sizeof(Lease));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!lease || !timer) {
        free(lease);
        free(timer);
        return NULL;
    }
    *lease = (Lease){
        .agent = agent,
        .timer = timer,
        .agent_id = LEASE_NO_AGENT,
        .version = -1,
        .condition = readiness_add(&agent->readiness, "lease", "PostgreSQL has not answered a heartbeat yet"),
    };
    uv_timer_init(agent->loop, timer);
    timer->data = lease;
    uv_timer_start(timer, lease_beat, 0, (uint64_t)agent->settings.heartbeat_ms);
    return lease;
}

static void lease_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void lease_free(Lease *lease)
{
    lease->freed = true;
    uv_close((uv_handle_t *)lease->timer, lease_timer_closed);
    if (!lease->asking) {
        free(lease);
    }
}

static void lease_left(const BrainResult *result, void *argument)
{
    Lease *lease = argument;
    lease->asking = false;
    if (lease->freed) {
        free(lease);
        return;
    }
    if (status_is_ok(&result->status)) {
        journal(JOURNAL_INFO, "lease", "gave %d leases back", brain_int4(result, 0, 0));
    } else {
        journal(JOURNAL_WARN, "lease", "leases could not be given back, they expire by themselves: %s",
                result->message);
    }
    lease->left(lease->left_argument);
}

static void lease_leave_now(Lease *lease)
{
    if (lease->agent_id == LEASE_NO_AGENT || lease->replaced) {
        lease->left(lease->left_argument);
        return;
    }
    lease->asking = true;
    lease->valid_until_ms = 0;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease->agent_id);
    brain_put_uuid(&parameters, (const uint8_t *)lease->agent->incarnation);
    brain_send(lease->agent->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &leave_statement, .parameters = &parameters, .deadline_ms = 5000 },
               lease_left, lease);
}

void lease_leave(Lease *lease, void (*done)(void *argument), void *argument)
{
    lease->left = done;
    lease->left_argument = argument;
    lease->leaving = true;
    if (!lease->asking) {
        lease_leave_now(lease);
    }
}

int32_t lease_agent_id(const Lease *lease)
{
    return lease ? lease->agent_id : LEASE_NO_AGENT;
}

bool lease_holds(const Lease *lease, const Partition *partition)
{
    return lease_is_valid(lease) && partition->leader == lease->agent_id;
}

bool lease_is_valid(const Lease *lease)
{
    return lease && lease->agent_id != LEASE_NO_AGENT && time_ms() < lease->valid_until_ms;
}

uint64_t lease_lapses(const Lease *lease)
{
    return lease ? lease->lapses : 0;
}
