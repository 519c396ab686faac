/* groups.c: all groups of this coordinator. One is loaded when it is first asked for, and forgotten when it
 * has no members any more and the brain knows that, or when this agent is not its coordinator any more. */
#include "agent/group/group_internal.h"

#include <assert.h>
#include <stdlib.h>

#define GROUP_OF(node, field) ((Group *)((char *)(node)-offsetof(Group, field)))

static const bool group_moves[GROUP_STATE_COUNT][GROUP_STATE_COUNT] = {
    [GROUP_EMPTY] = { [GROUP_PREPARING_REBALANCE] = true, [GROUP_STABLE] = true, [GROUP_DEAD] = true },
    [GROUP_PREPARING_REBALANCE] = { [GROUP_COMPLETING_REBALANCE] = true,
                                    [GROUP_EMPTY] = true,
                                    [GROUP_DEAD] = true },
    [GROUP_COMPLETING_REBALANCE] = { [GROUP_STABLE] = true,
                                     [GROUP_PREPARING_REBALANCE] = true,
                                     [GROUP_DEAD] = true },
    [GROUP_STABLE] = { [GROUP_PREPARING_REBALANCE] = true, [GROUP_DEAD] = true },
};

int64_t group_now(const Group *group)
{
    const GroupBackend *backend = &group->groups->backend;
    return backend->now_ms(backend->context);
}

void group_charge(Group *group, size_t more)
{
    group->bytes += more;
    group->groups->counts.bytes += more;
}

void group_discharge(Group *group, size_t less)
{
    group->bytes -= less;
    group->groups->counts.bytes -= less;
}

bool group_may_grow(const Group *group, size_t more)
{
    const GroupOptions *options = &group->groups->options;
    size_t all = group->groups->counts.bytes;
    return group->bytes <= options->group_bytes_max && more <= options->group_bytes_max - group->bytes &&
           all <= options->bytes_max && more <= options->bytes_max - all;
}

void group_enter(Group *group, GroupState state)
{
    assert(group_moves[group->state][state]);
    group->state_before = group->state;
    group->state = state;
}

void group_hold(Group *group)
{
    group->holds++;
}

static Group *group_new(Groups *groups, Slice name)
{
    Group *group = calloc(1, sizeof(Group));
    uint8_t *copy = malloc(name.size + 1);
    if (!group || !copy) {
        free(group);
        free(copy);
        return NULL;
    }
    memcpy(copy, name.data, name.size);
    group->groups = groups;
    group->name_bytes = copy;
    group->name = slice_of(copy, name.size);
    group->last_opening = &group->openings;
    group->join_timer.expired = rebalance_join_expired;
    group->sync_timer.expired = rebalance_sync_expired;
    group->store_timer.expired = store_expired;
    table_init(&group->ids);
    table_init(&group->instances);
    table_init(&group->protocols);
    group_charge(group, sizeof(Group) + name.size);
    table_insert(&groups->names, &group->by_name, group->name);
    group->next = groups->first;
    if (groups->first) {
        groups->first->previous = group;
    }
    groups->first = group;
    groups->counts.groups++;
    return group;
}

static void group_remove_members(Group *group)
{
    while (group->first) {
        group_remove(group, group->first);
    }
}

/* Out of every table; nobody finds it any more. */
static void group_bury(Group *group)
{
    Groups *groups = group->groups;
    *(group->previous ? &group->previous->next : &groups->first) = group->next;
    if (group->next) {
        group->next->previous = group->previous;
    }
    table_remove(&groups->names, &group->by_name);
    timer_stop(&groups->timers, &group->join_timer);
    timer_stop(&groups->timers, &group->sync_timer);
    timer_stop(&groups->timers, &group->store_timer);
    store_forget(group);
    group_remove_members(group);
    group_enter(group, GROUP_DEAD);
    group->gone = true;
    groups->counts.groups--;
}

static void group_free(Group *group)
{
    group_discharge(group, group->bytes);
    table_free(&group->ids);
    table_free(&group->instances);
    table_free(&group->protocols);
    free(group->protocol_type);
    free(group->protocol_name);
    free(group->name_bytes);
    free(group);
}

static bool group_is_unused(const Group *group)
{
    return group->state == GROUP_EMPTY && !group->first && !group->openings && !group->store_queued &&
           !group->storing && !group->claiming && group->store_timer.place == 0;
}

void group_release(Group *group)
{
    if (--group->holds > 0) {
        return;
    }
    if (!group->gone && group_is_unused(group)) {
        group_bury(group);
    }
    if (group->gone) {
        group_free(group);
    }
}

static void openings_answer(Group *group, GroupOpened outcome, KafkaError error)
{
    GroupOpening *next;
    GroupOpening *opening = group->openings;
    group->openings = NULL;
    group->last_opening = &group->openings;
    for (; opening; opening = next) {
        next = opening->next;
        if (outcome == GROUP_OPEN && group->gone) {
            outcome = GROUP_REFUSED;
            error = KAFKA_ERROR_NOT_COORDINATOR;
        }
        opening->opened(opening, outcome, outcome == GROUP_OPEN ? group : NULL, error);
    }
}

void group_forget(Group *group, KafkaError error)
{
    if (group->gone) {
        return;
    }
    group_hold(group);
    for (GroupMember *member = group->first; member; member = member->next) {
        member_fail(member, error);
    }
    group_bury(group);
    openings_answer(group, GROUP_REFUSED, error);
    group_release(group);
}

/* Loading. */

static bool load_member(Group *group, const GroupStoredMember *stored, Slice leader)
{
    GroupMember *member = member_new(group, stored);
    if (!member) {
        return false;
    }
    group_add(group, member);
    if (slice_equals(stored->member_id, leader)) {
        group->leader = member;
    }
    member_session_begins(member, member->session_timeout_ms);
    return true;
}

static bool group_stored_leader(const Group *group, Slice leader)
{
    return group->leader && slice_equals(group->leader->id, leader);
}

/* Its members go on as if nothing had happened; their sessions begin anew. */
static bool group_load(Group *group, const GroupClaim *claim)
{
    group->loaded = true;
    group->group_id = claim->group_id;
    group->coordinator_epoch = claim->coordinator_epoch;
    group->generation = claim->generation;
    bool whole = group_set_protocol_type(group, claim->protocol_type) &&
                 group_set_protocol_name(group, claim->protocol_name);
    for (size_t i = 0; whole && i < claim->member_count; i++) {
        whole = load_member(group, &claim->members[i], claim->leader);
    }
    if (whole && claim->member_count > 0) {
        group_enter(group, GROUP_STABLE);
        if (!group_stored_leader(group, claim->leader)) {
            rebalance_prepare(group); /* its members spoke with the brain until now, and need a leader */
        }
    }
    return whole;
}

static void group_claimed(void *argument, const GroupClaim *claim);

static void group_claim(Group *group, bool create)
{
    Groups *groups = group->groups;
    group->claiming = true;
    group->claim_creates = create;
    groups->claims++;
    group_hold(group);
    groups->backend.claim(groups->backend.context, group->name, create, group_claimed, group);
}

void group_claim_again(Group *group)
{
    if (!group->claiming) {
        group_claim(group, false);
    }
}

static bool openings_create(const Group *group)
{
    for (const GroupOpening *opening = group->openings; opening; opening = opening->next) {
        if (opening->create) {
            return true;
        }
    }
    return false;
}

static void group_load_claimed(Group *group, const GroupClaim *claim)
{
    group->groups->counts.loads++;
    if (claim->outcome == GROUP_MISSING && !group->claim_creates && openings_create(group)) {
        group_claim(group, true);
    } else if (claim->outcome != GROUP_OPEN) {
        GroupOpened outcome = claim->outcome;
        KafkaError error = claim->error;
        group_bury(group);
        openings_answer(group, outcome, error);
    } else if (group_load(group, claim)) {
        openings_answer(group, GROUP_OPEN, KAFKA_ERROR_NONE);
    } else {
        group_forget(group, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
    }
}

/* Memory knows better than what was stored, as long as nobody else has been the coordinator meanwhile, nor
 * the brain itself: the epoch says so. */
static void group_reclaimed(Group *group, const GroupClaim *claim)
{
    if (claim->outcome == GROUP_OPEN && claim->coordinator_epoch == group->coordinator_epoch + 1) {
        group->coordinator_epoch = claim->coordinator_epoch;
        group->doubtful = false;
        store_want(group);
    } else if (claim->outcome == GROUP_REFUSED && claim->error == KAFKA_ERROR_COORDINATOR_LOAD_IN_PROGRESS) {
        timer_set(&group->groups->timers, &group->store_timer, group_now(group) + GROUP_STORE_RETRY_MS);
    } else {
        group_forget(group, KAFKA_ERROR_NOT_COORDINATOR);
    }
}

static void group_claimed(void *argument, const GroupClaim *claim)
{
    Group *group = argument;
    group->claiming = false;
    group->groups->claims--;
    if (group->gone) {
        openings_answer(group, GROUP_REFUSED, KAFKA_ERROR_NOT_COORDINATOR);
    } else if (group->loaded) {
        group_reclaimed(group, claim);
    } else {
        group_load_claimed(group, claim);
    }
    group_release(group);
}

void groups_open(Groups *groups, Slice name, bool create, GroupOpening *opening)
{
    Group *group = groups_find(groups, name);
    if (group && group->loaded) {
        group_hold(group);
        opening->opened(opening, GROUP_OPEN, group, KAFKA_ERROR_NONE);
        group_release(group);
        return;
    }
    bool fits = groups->counts.bytes <= groups->options.bytes_max;
    if (!group && fits) {
        group = group_new(groups, name);
    }
    if (!group) {
        opening->opened(opening, GROUP_REFUSED, NULL, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    opening->create = create;
    opening->next = NULL;
    *group->last_opening = opening;
    group->last_opening = &opening->next;
    if (!group->claiming) {
        group_claim(group, create);
    }
}

/* All of them. */

Groups *groups_new(const GroupOptions *options, const GroupBackend *backend)
{
    Groups *groups = calloc(1, sizeof(Groups));
    if (groups) {
        *groups = (Groups){ .options = *options, .backend = *backend };
        table_init(&groups->names);
    }
    return groups;
}

void groups_configure(Groups *groups, const GroupOptions *options)
{
    groups->options = *options;
}

void groups_forget(Groups *groups)
{
    while (groups->first) {
        group_forget(groups->first, KAFKA_ERROR_NOT_COORDINATOR);
    }
}

void groups_check(Groups *groups, Slice name)
{
    bool all = slice_is_null(name);
    for (Group *group = all ? groups->first : groups_find(groups, name); group;
         group = all ? group->next : NULL) {
        if (group->loaded) {
            group_claim_again(group);
        }
    }
}

void groups_free(Groups *groups)
{
    groups_forget(groups);
    table_free(&groups->names);
    timers_free(&groups->timers);
    free(groups);
}

int64_t groups_tick(Groups *groups)
{
    int64_t now_ms = groups->backend.now_ms(groups->backend.context);
    timers_run(&groups->timers, now_ms);
    store_send(groups);
    int64_t due_ms = timers_due(&groups->timers);
    int64_t wait_ms = due_ms - now_ms;
    return due_ms == INT64_MAX || wait_ms > GROUPS_NEVER_MS ? GROUPS_NEVER_MS : wait_ms > 0 ? wait_ms : 0;
}

GroupCounts groups_count(const Groups *groups)
{
    return groups->counts;
}

Group *groups_find(Groups *groups, Slice name)
{
    TableNode *node = table_find(&groups->names, name);
    return node ? GROUP_OF(node, by_name) : NULL;
}

bool group_is_loaded(const Group *group)
{
    return group->loaded;
}

int32_t group_id(const Group *group)
{
    return group->group_id;
}

int32_t group_coordinator_epoch(const Group *group)
{
    return group->coordinator_epoch;
}

GroupState group_state(const Group *group)
{
    return group->state;
}

int32_t group_generation(const Group *group)
{
    return group->generation;
}
