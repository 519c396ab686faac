/* service.c: binds the coordinator to libuv, the brain and the lease. Groups that nobody asks for, because
 * their members vanished together with their coordinator, are looked for by the clock. */
#include "agent/group/service.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/group/group_brain.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum { TICK_MAX_MS = 1000, ORPHANS_MS = 2000, ORPHANS_MAX = 200, UUID_BYTES = 16 };

static const BrainStatement orphans_statement = {
    "orphan_groups",
    "SELECT sh_orphan_groups($1, $2, $3, $4)",
    4,
    { BRAIN_INT4, BRAIN_BOOL, BRAIN_TEXT, BRAIN_INT4 },
};

struct GroupService {
    Agent *agent;
    Groups *groups;
    uv_timer_t *timer;
    GroupReply *first_reply;
    GroupReply **last_reply;
    uint64_t lapses;
    int64_t orphans_ms; /* when they are looked for next */
    bool orphans_asked;
    bool own_asked;      /* the question under way is for those, too */
    bool own_too;        /* groups in memory were forgotten: look for them, too */
    char *orphans_after; /* the last name of the part that was found; NULL: from the beginning */
    bool sending;
    bool draining;
    bool stopped;
};

static int64_t service_now(void *context)
{
    (void)context;
    return time_ms();
}

static void service_unique(void *context, char *out)
{
    uint8_t bytes[UUID_BYTES];
    char text[2 * UUID_BYTES + 5];
    (void)context;
    if (getentropy(bytes, sizeof(bytes)) != 0) {
        abort(); /* two members of one id would be worse */
    }
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    size_t used = 0;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%02x", dash ? "-" : "", bytes[i]);
    }
    memcpy(out, text, used);
}

void group_service_unique(GroupService *service, char *out)
{
    service_unique(service, out);
}

static void service_tick(uv_timer_t *timer);

static void service_wake(void *context)
{
    GroupService *service = context;
    if (!service->stopped) {
        uv_timer_start(service->timer, service_tick, 0, 0);
    }
}

static void service_claim(void *context, Slice name, bool create, GroupClaimed done, void *argument)
{
    GroupService *service = context;
    group_brain_claim(service->agent, name, create, done, argument, service);
}

static void service_store(void *context, Group *const *groups, size_t count, GroupsStored done,
                          void *argument)
{
    GroupService *service = context;
    group_brain_store(service->agent, groups, count, done, argument, service);
}

/* Sends what was made while groups were between two states. What comes of it may make more. */
static void service_send(GroupService *service)
{
    if (service->sending) {
        return;
    }
    service->sending = true;
    while (service->first_reply) {
        GroupReply *reply = service->first_reply;
        service->first_reply = reply->next;
        if (!service->first_reply) {
            service->last_reply = &service->first_reply;
        }
        reply->send(reply);
    }
    service->sending = false;
}

void group_service_reply(GroupService *service, GroupReply *reply)
{
    reply->next = NULL;
    *service->last_reply = reply;
    service->last_reply = &reply->next;
}

/* Another agent may have become the coordinator while this one did not count as alive. */
static bool service_lives(GroupService *service)
{
    const Lease *lease = service->agent->lease;
    bool valid = lease_is_valid(lease);
    if (!valid || lease_lapses(lease) != service->lapses) {
        if (groups_count(service->groups).groups > 0) {
            journal(JOURNAL_WARN, "groups",
                    "all consumer groups are loaded again: heartbeats to PostgreSQL were late");
            metric_add(METRIC_GROUP_LAPSES, 1);
        }
        groups_forget(service->groups);
        service->own_too = true;
        service->own_asked = false;
        free(service->orphans_after);
        service->orphans_after = NULL;
        service->lapses = lease_lapses(lease);
    }
    return valid;
}

KafkaError group_service_check(GroupService *service)
{
    if (service->draining) {
        return KAFKA_ERROR_NOT_COORDINATOR;
    }
    return service_lives(service) ? KAFKA_ERROR_NONE : KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
}

/* Groups that nobody asks for. */

static void orphan_opened(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error)
{
    (void)outcome;
    (void)group;
    (void)error;
    free(opening);
}

static void orphan_open(GroupService *service, Slice name)
{
    GroupOpening *opening = groups_find(service->groups, name) ? NULL : calloc(1, sizeof(GroupOpening));
    if (opening) {
        opening->opened = orphan_opened;
        groups_open(service->groups, name, false, opening);
    }
}

/* There may be more than one answer holds: the next question goes on where this one ended. */
static void orphans_remember(GroupService *service, const BrainResult *result, int count)
{
    free(service->orphans_after);
    service->orphans_after = NULL;
    if (count == ORPHANS_MAX) {
        Slice last = brain_text(result, count - 1, 0);
        service->orphans_after = strndup((const char *)last.data, last.size);
        service->orphans_ms = time_ms();
    } else if (service->own_asked) {
        service->own_too = false;
    }
}

static void orphans_found(const BrainResult *result, void *argument)
{
    GroupService *service = argument;
    service->orphans_asked = false;
    if (service->stopped || service->draining) {
        return;
    }
    if (!status_is_ok(&result->status)) {
        journal_seldom(JOURNAL_WARN, "groups", "groups without a coordinator could not be looked for: %s",
                       result->message);
        return;
    }
    int count = brain_row_count(result);
    orphans_remember(service, result, count);
    for (int row = 0; row < count && service_lives(service); row++) {
        orphan_open(service, brain_text(result, row, 0));
    }
    group_service_settle(service);
}

static void orphans_look(GroupService *service)
{
    if (service->orphans_asked || time_ms() < service->orphans_ms) {
        return;
    }
    service->orphans_asked = true;
    service->own_asked = service->own_too;
    service->orphans_ms = time_ms() + ORPHANS_MS;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(service->agent->lease));
    brain_put_bool(&parameters, service->own_too);
    brain_put_text(&parameters, slice_of_text(service->orphans_after ? service->orphans_after : ""));
    brain_put_int4(&parameters, ORPHANS_MAX);
    brain_send(service->agent->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &orphans_statement, .parameters = &parameters }, orphans_found,
               service);
}

/* The clock. */

void group_service_settle(GroupService *service)
{
    int64_t due_ms = groups_tick(service->groups);
    service_send(service);
    if (!service->stopped && !(uv_is_active((uv_handle_t *)service->timer) &&
                               uv_timer_get_due_in(service->timer) <= (uint64_t)due_ms)) {
        uv_timer_start(service->timer, service_tick, (uint64_t)(due_ms < TICK_MAX_MS ? due_ms : TICK_MAX_MS),
                       0);
    }
}

static void service_tick(uv_timer_t *timer)
{
    GroupService *service = timer->data;
    if (service->agent->lease && service_lives(service) && !service->draining) {
        orphans_look(service);
    }
    group_service_settle(service);
}

/* A group that was this coordinator's may have become one whose members the brain assigns to. */
static void service_notified(const char *channel, Slice payload, void *argument)
{
    GroupService *service = argument;
    (void)channel;
    if (!service->stopped) {
        groups_check(service->groups, payload);
        group_service_settle(service);
    }
}

static void service_measure(void *context)
{
    const GroupService *service = context;
    GroupCounts counts = groups_count(service->groups);
    metric_set(METRIC_GROUPS, (double)counts.groups);
    metric_set(METRIC_GROUP_MEMBERS, (double)counts.members);
    metric_set(METRIC_GROUP_BYTES, (double)counts.bytes);
    metric_count(METRIC_GROUP_REBALANCES, counts.rebalances);
    metric_count(METRIC_GROUP_EXPIRED, counts.expired);
    metric_count(METRIC_GROUP_LOADS, counts.loads);
    metric_count(METRIC_GROUP_STORES, counts.stores);
    metric_count(METRIC_GROUP_STORES_FAILED, counts.stores_failed);
}

static GroupOptions service_options(const Settings *settings)
{
    return (GroupOptions){
        .initial_delay_ms = settings->group_initial_delay_ms,
        .members_max = (size_t)settings->group_members_max,
        .group_bytes_max = (size_t)settings->group_bytes_max,
        .bytes_max = (size_t)settings->groups_bytes_max,
    };
}

GroupService *group_service_new(Agent *agent)
{
    GroupService *service = calloc(1, sizeof(GroupService));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    GroupOptions options = service_options(&agent->settings);
    GroupBackend backend = {
        .context = service,
        .now_ms = service_now,
        .claim = service_claim,
        .store = service_store,
        .unique = service_unique,
        .wake = service_wake,
    };
    Groups *groups = service && timer ? groups_new(&options, &backend) : NULL;
    if (!groups) {
        free(service);
        free(timer);
        return NULL;
    }
    *service = (GroupService){ .agent = agent, .groups = groups, .timer = timer, .own_too = true };
    service->last_reply = &service->first_reply;
    uv_timer_init(agent->loop, timer);
    timer->data = service;
    uv_timer_start(timer, service_tick, TICK_MAX_MS, 0);
    metrics_on_scrape(service_measure, service);
    Status status = brain_listen(agent->brain, "streamhouse_group", service_notified, service);
    if (!status_is_ok(&status)) {
        journal(JOURNAL_ERROR, "groups", "cannot listen for changes of groups: %s", status.message);
    }
    return service;
}

void group_service_reload(GroupService *service)
{
    GroupOptions options = service_options(&service->agent->settings);
    groups_configure(service->groups, &options);
}

void group_service_drain(GroupService *service)
{
    service->draining = true;
    groups_forget(service->groups);
    group_service_settle(service);
}

void group_service_stop(GroupService *service)
{
    service->stopped = true;
    uv_timer_stop(service->timer);
    metrics_off_scrape(service_measure, service);
}

static void service_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void group_service_free(GroupService *service)
{
    service->stopped = true;
    groups_free(service->groups);
    service_send(service);
    uv_close((uv_handle_t *)service->timer, service_timer_closed);
    free(service->orphans_after);
    free(service);
}

Groups *group_service_groups(GroupService *service)
{
    return service->groups;
}
