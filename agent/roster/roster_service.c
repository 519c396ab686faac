/* roster_service.c: two queries a second at most, however many members there are, on the line of the
 * heartbeats themselves: so versions arrive in the order in which they were true. */
#include "agent/roster/roster_service.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum { ROSTER_SEEN_MAX = 4096 };

static const BrainStatement versions_statement = {
    "group_versions", "SELECT group_id, version FROM sh_group_versions($1)", 1, { BRAIN_INT4S }
};
static const BrainStatement seen_statement = {
    "group_seen", "SELECT sh_group_seen($1, $2, $3)", 3, { BRAIN_INT4S, BRAIN_TEXTS, BRAIN_INT4S }
};

struct RosterService {
    Agent *agent;
    Roster *roster;
    uv_timer_t *timer;
    bool freed;
    bool asking;
    bool telling;
    int64_t asked_ms;
};

static bool service_is_gone(RosterService *service)
{
    if (service->freed && !service->asking && !service->telling) {
        roster_free(service->roster);
        free(service);
        return true;
    }
    return service->freed;
}

static void service_failed(const BrainResult *result)
{
    if (!status_is_ok(&result->status)) {
        metric_add(METRIC_ROSTER_FAILURES, 1);
        journal_seldom(JOURNAL_WARN, "groups", "PostgreSQL could not be asked about consumer groups: %s",
                       result->message);
    }
}

static void versions_answered(const BrainResult *result, void *argument)
{
    RosterService *service = argument;
    service->asking = false;
    if (service_is_gone(service)) {
        return;
    }
    service_failed(result);
    for (int row = 0; status_is_ok(&result->status) && row < brain_row_count(result); row++) {
        roster_confirm(service->roster, brain_int4(result, row, 0), brain_int8(result, row, 1),
                       service->asked_ms);
    }
}

static void service_ask(RosterService *service, int64_t now_ms)
{
    size_t count = roster_groups(service->roster, NULL, 0);
    int32_t *group_ids = count > 0 && !service->asking ? calloc(count, sizeof(int32_t)) : NULL;
    if (!group_ids) {
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    (void)roster_groups(service->roster, group_ids, count);
    brain_put_int4s(&parameters, group_ids, count);
    free(group_ids);
    service->asking = true;
    service->asked_ms = now_ms;
    brain_send(service->agent->brain, BRAIN_GROUPS,
               &(BrainQuery){ .statement = &versions_statement, .parameters = &parameters },
               versions_answered, service);
}

static void seen_answered(const BrainResult *result, void *argument)
{
    RosterService *service = argument;
    service->telling = false;
    if (!service_is_gone(service)) {
        service_failed(result);
    }
}

/* The arrays of one call. */
typedef struct SeenArrays {
    RosterSeen seen[ROSTER_SEEN_MAX];
    int32_t group_ids[ROSTER_SEEN_MAX];
    Slice member_ids[ROSTER_SEEN_MAX];
    int32_t ages_ms[ROSTER_SEEN_MAX];
} SeenArrays;

static size_t seen_gather(Roster *roster, int64_t now_ms, SeenArrays *arrays)
{
    size_t count = roster_take_seen(roster, now_ms, arrays->seen, ROSTER_SEEN_MAX);
    for (size_t i = 0; i < count; i++) {
        arrays->group_ids[i] = arrays->seen[i].group_id;
        arrays->member_ids[i] = arrays->seen[i].member_id;
        arrays->ages_ms[i] = arrays->seen[i].age_ms;
    }
    return count;
}

static void service_tell(RosterService *service, int64_t now_ms)
{
    SeenArrays *arrays = service->telling ? NULL : malloc(sizeof(SeenArrays));
    size_t count = arrays ? seen_gather(service->roster, now_ms, arrays) : 0;
    if (count > 0) {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        brain_put_int4s(&parameters, arrays->group_ids, count);
        brain_put_texts(&parameters, arrays->member_ids, count);
        brain_put_int4s(&parameters, arrays->ages_ms, count);
        service->telling = true;
        brain_send(service->agent->brain, BRAIN_GROUPS,
                   &(BrainQuery){ .statement = &seen_statement, .parameters = &parameters }, seen_answered,
                   service);
    }
    free(arrays);
}

static void service_tick(uv_timer_t *timer)
{
    RosterService *service = timer->data;
    int64_t now_ms = time_ms();
    roster_sweep(service->roster, now_ms);
    service_ask(service, now_ms);
    service_tell(service, now_ms);
    metric_set(METRIC_ROSTER_BYTES, (double)roster_bytes(service->roster));
    metric_set(METRIC_ROSTER_MEMBERS, (double)roster_member_count(service->roster));
}

RosterService *roster_service_new(Agent *agent)
{
    RosterService *service = calloc(1, sizeof(RosterService));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    Roster *roster = roster_new((size_t)agent->settings.group_members_bytes_max);
    if (!service || !timer || !roster) {
        free(service);
        free(timer);
        roster_free(roster);
        return NULL;
    }
    *service = (RosterService){ .agent = agent, .roster = roster, .timer = timer };
    uv_timer_init(agent->loop, timer);
    timer->data = service;
    uv_timer_start(timer, service_tick, ROSTER_POLL_MS, ROSTER_POLL_MS);
    return service;
}

static void service_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void roster_service_free(RosterService *service)
{
    uv_close((uv_handle_t *)service->timer, service_timer_closed);
    service->freed = true;
    (void)service_is_gone(service);
}

void roster_service_reload(RosterService *service)
{
    roster_resize(service->roster, (size_t)service->agent->settings.group_members_bytes_max);
}

Roster *roster_service_roster(RosterService *service)
{
    return service->roster;
}
