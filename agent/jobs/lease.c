/* lease.c: one query a heartbeat, one at a time. What the lease covers is in the catalog, which hears of
 * every move; when the brain says that this agent's leases changed, both lists are compared, and the catalog
 * is read anew if they differ. */
#include "agent/jobs/lease.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/clock.h"
#include "agent/http/server.h"
#include "agent/jobs/lease_clock.h"
#include "agent/jobs/report.h"
#include "agent/journal.h"
#include "agent/kafka/error.h"
#include "agent/kafka/server.h"
#include "agent/metrics.h"

static const BrainStatement heartbeat_statement = {
    "heartbeat",
    "SELECT agent_id, lease_version, changed, topic_ids, partitions, epochs FROM sh_agent_heartbeat"
    "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    17,
    { BRAIN_TEXT, BRAIN_UUID, BRAIN_TEXT, BRAIN_INT4, BRAIN_TEXT, BRAIN_INT4, BRAIN_TEXT, BRAIN_TEXT,
      BRAIN_INT4, BRAIN_INT8, BRAIN_JSONB, BRAIN_TEXT, BRAIN_INT4, BRAIN_BOOL, BRAIN_INT4S, BRAIN_INT4S,
      BRAIN_INT8S },
};
static const BrainStatement leave_statement = {
    "leave", "SELECT sh_agent_leave($1, $2)", 2, { BRAIN_INT4, BRAIN_UUID }
};

enum {
    DRAIN_BEAT_MS = 50,         /* while leases are handed over */
    DRAIN_LINGER_MS = 4 * 1000, /* after the last one, at most */
    DRAIN_TOLD_MS = 300,        /* who asks meanwhile learns who leads */
    DRAIN_IDLE_MS = 200,        /* a client that asks for nothing for so long needs no connection */
    DRAIN_STUCK_MS = 3 * 1000,  /* with nothing handed over for so long, the rest is given back to nobody */
};

struct Lease {
    Agent *agent;
    uv_timer_t *timer;
    Condition *condition;
    int32_t agent_id;
    Report report;
    int64_t version;
    LeaseClock clock; /* on time_ms() */
    bool learning;    /* asked who leads, after a lapse … */
    uint64_t learning_since;
    int32_t held;           /* leases, as the brain last said */
    int64_t handed_over_ms; /* draining: when it was last told of fewer */
    int64_t visited_ms;     /* draining: when a client was last here */
    void (*drained)(void *argument);
    void *drained_argument;
    bool draining;
    bool leaving;
    bool replaced; /* a later process has this agent's name: it beats no more */
    bool freed;    /* the timer is closed; the last answer frees the rest */
    void (*left)(void *argument);
    void *left_argument;
};

static void lease_beat(uv_timer_t *timer);

static void lease_leave_now(Lease *lease);

/* When no answer is on its way any more. */
static void lease_release(Lease *lease)
{
    if (lease->freed && !lease->clock.asking && !lease->learning) {
        free(lease);
    }
}

static void lease_learned(void *argument, const Status *status)
{
    Lease *lease = argument;
    lease->learning = false;
    if (status_is_ok(status)) {
        lease_clock_learned(&lease->clock, lease->learning_since);
    }
    lease_release(lease);
}

/* After a lapse others may lead what this agent remembers to lead: it serves again when it has read who does.
 */
static void lease_learn(Lease *lease)
{
    if (!lease->learning) {
        lease->learning = true;
        lease->learning_since = lease->clock.renewals;
        catalog_refresh(lease->agent->catalog, lease_learned, lease);
    }
}

/* Does the catalog say the same of this agent's leases as the brain's arrays? */
static bool lease_is_known(const Lease *lease, const BrainResult *result)
{
    BrainArray topic_ids = brain_int4s(result, 0, 3);
    BrainArray partitions = brain_int4s(result, 0, 4);
    BrainArray epochs = brain_int4s(result, 0, 5);
    size_t count = topic_ids.count > 0 ? (size_t)topic_ids.count : 0;
    int32_t *numbers = malloc((3 * count + 1) * sizeof(int32_t));
    bool known = numbers != NULL;
    size_t led = 0;
    if (numbers) {
        brain_array_int4(&topic_ids, 0, numbers, (int32_t)count);
        brain_array_int4(&partitions, 0, numbers + count, (int32_t)count);
        brain_array_int4(&epochs, 0, numbers + 2 * count, (int32_t)count);
    }
    for (size_t i = 0; known && i < count; i++) {
        Topic *topic = catalog_topic_by_id(lease->agent->catalog, numbers[i]);
        const Partition *partition = topic ? topic_partition(topic, numbers[count + i]) : NULL;
        known =
            partition && partition->leader == lease->agent_id && partition->epoch == numbers[2 * count + i];
    }
    for (const Topic *topic = catalog_first(lease->agent->catalog); known && topic;
         topic = catalog_next(topic)) {
        for (int32_t i = 0; i < topic->partition_count; i++) {
            led += topic->partitions[i]->leader == lease->agent_id;
        }
    }
    free(numbers);
    return known && led == count;
}

static void lease_drained(Lease *lease)
{
    void (*drained)(void *argument) = lease->drained;
    lease->drained = NULL;
    uv_timer_set_repeat(lease->timer, (uint64_t)lease->agent->settings.heartbeat_ms);
    if (drained) {
        drained(lease->drained_argument);
    }
}

/* Clients leave when their connection is closed while they want nothing of it, and come back, or not, as long
 * as the door is open. True when none has been here for a while. */
static bool lease_see_clients_off(Lease *lease, int64_t now_ms)
{
    struct KafkaServer *kafka = lease->agent->kafka;
    if (!kafka) {
        return true;
    }
    if (now_ms - lease->handed_over_ms >= DRAIN_TOLD_MS) {
        kafka_server_shed(kafka, DRAIN_IDLE_MS);
    }
    if (kafka_server_stats(kafka).connections > 0) {
        lease->visited_ms = now_ms;
    }
    return now_ms - lease->visited_ms >= DRAIN_IDLE_MS;
}

static bool lease_is_alone(const Lease *lease)
{
    size_t count;
    size_t others = 0;
    const AgentNode *agents = catalog_agents(lease->agent->catalog, &count);
    for (size_t i = 0; i < count; i++) {
        others += agents[i].agent_id != lease->agent_id;
    }
    return others == 0;
}

/* Draining: is anything left that somebody else could lead? Then clients have some time to go there: who
 * comes with old metadata is told, and would otherwise find the door closed. */
static void lease_look_drained(Lease *lease)
{
    int64_t now_ms = time_ms();
    bool is_empty = lease->held == 0 && lease_see_clients_off(lease, now_ms);
    int64_t patience_ms = lease->held == 0 ? DRAIN_LINGER_MS : DRAIN_STUCK_MS;
    if (is_empty || lease_is_alone(lease) || now_ms - lease->handed_over_ms > patience_ms) {
        lease_drained(lease);
    }
}

static void lease_answered(const BrainResult *result, void *argument)
{
    Lease *lease = argument;
    lease->clock.asking = false;
    if (lease->freed) {
        lease_release(lease);
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
            lease_clock_end(&lease->clock);
            lease->replaced = true;
            agent_fail(lease->agent, "lease", &replaced);
            lease_drained(lease);
            if (lease->leaving) {
                lease_leave_now(lease); /* the drain that waited for this answer goes on */
            }
            return;
        }
        journal_seldom(JOURNAL_WARN, "lease", "a heartbeat failed: %s", result->message);
        if (lease->drained) {
            lease_look_drained(lease);
        }
        if (!lease_clock_holds(&lease->clock, time_ms())) {
            condition_break(lease->condition, "no heartbeat was answered for too long: %s", result->message);
        }
    } else {
        metric_add(METRIC_LEASE_HEARTBEATS, 1);
        if (lease->agent_id == LEASE_NO_AGENT) {
            journal(JOURNAL_INFO, "lease", "this agent is number %d", brain_int4(result, 0, 0));
        }
        lease->agent_id = brain_int4(result, 0, 0);
        lease->version = brain_int8(result, 0, 1);
        if (lease_clock_renewed(&lease->clock, time_ms(), lease->agent->settings.lease_ttl_ms) ||
            !lease->clock.learned) {
            lease_learn(lease);
        }
        bool changed = brain_bool(result, 0, 2);
        if (changed) {
            int32_t held = brain_int4s(result, 0, 3).count;
            lease->handed_over_ms = held < lease->held ? time_ms() : lease->handed_over_ms;
            lease->held = held > 0 ? held : 0;
            metric_set(METRIC_LEASE_PARTITIONS, lease->held);
        }
        if ((changed && !lease_is_known(lease, result)) || !catalog_is_fresh(lease->agent->catalog)) {
            catalog_refresh(lease->agent->catalog, NULL, NULL);
        }
        condition_hold(lease->condition);
        if (lease->drained) {
            lease_look_drained(lease);
        }
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
    uv_timer_set_repeat(timer, lease->drained ? DRAIN_BEAT_MS : (uint64_t)settings->heartbeat_ms);
    if (lease->clock.asking || lease->leaving || lease->replaced) {
        return;
    }
    lease_clock_sent(&lease->clock, time_ms());
    bool reports = report_is_due(&lease->report, lease->clock.sent_ms);
    BrainParameters parameters;
    ReportHot hot = { .count = 0 };
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
    if (reports) {
        brain_put_jsonb(&parameters, slice_of_text(report_write(&lease->report, lease->clock.sent_ms)));
        report_hot(&lease->report, lease->agent->catalog, lease->clock.sent_ms, &hot);
    } else {
        brain_put_null(&parameters);
    }
    brain_put_text(&parameters, slice_of_text(settings->agent_group));
    brain_put_int4(&parameters, settings->lease_weight);
    brain_put_bool(&parameters, lease->draining);
    brain_put_int4s(&parameters, hot.topic_ids, hot.count);
    brain_put_int4s(&parameters, hot.partitions, hot.count);
    brain_put_int8s(&parameters, hot.rates, hot.count);
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
    lease_release(lease);
}

static void lease_left(const BrainResult *result, void *argument)
{
    Lease *lease = argument;
    lease->clock.asking = false;
    if (lease->freed) {
        lease_release(lease);
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
    lease->clock.asking = true;
    lease_clock_end(&lease->clock);
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease->agent_id);
    brain_put_uuid(&parameters, (const uint8_t *)lease->agent->incarnation);
    brain_send(lease->agent->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &leave_statement, .parameters = &parameters, .deadline_ms = 5000 },
               lease_left, lease);
}

void lease_drain(Lease *lease, void (*done)(void *argument), void *argument)
{
    lease->draining = true;
    lease->drained = done;
    lease->drained_argument = argument;
    lease->handed_over_ms = time_ms();
    if (lease->agent_id == LEASE_NO_AGENT || lease->replaced) {
        lease_drained(lease);
        return;
    }
    uv_timer_start(lease->timer, lease_beat, 0, DRAIN_BEAT_MS);
}

void lease_leave(Lease *lease, void (*done)(void *argument), void *argument)
{
    lease->left = done;
    lease->left_argument = argument;
    lease->leaving = true;
    if (!lease->clock.asking) {
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
    return lease && lease->agent_id != LEASE_NO_AGENT && lease_clock_holds(&lease->clock, time_ms());
}

uint64_t lease_lapses(const Lease *lease)
{
    return lease ? lease->clock.lapses : 0;
}
