/* rebalance.c: from one generation to the next: members are asked to join (by what their heartbeats are
 * answered), waited for, given a number and a leader, and the leader's assignment is waited for. */
#include "agent/group/group_internal.h"

#define GROUP_OF(timer, field)  ((Group *)((char *)(timer)-offsetof(Group, field)))
#define MEMBER_OF(timer, field) ((GroupMember *)((char *)(timer)-offsetof(GroupMember, field)))

static GroupMember *first_of(const Group *group)
{
    return (GroupMember *)group_first(group);
}

static GroupMember *next_of(const GroupMember *member)
{
    return (GroupMember *)group_next(member);
}

static TimerHeap *timers_of(Group *group)
{
    return &group->groups->timers;
}

int32_t group_rebalance_timeout_ms(const Group *group)
{
    int32_t longest = 0;
    for (const GroupMember *member = group_first(group); member; member = group_next(member)) {
        longest = member->rebalance_timeout_ms > longest ? member->rebalance_timeout_ms : longest;
    }
    return longest;
}

bool rebalance_all_joined(const Group *group)
{
    return group->member_count == group->joined_count && group->pending_count == 0;
}

static void sync_expectation_ends(Group *group)
{
    for (GroupMember *member = first_of(group); member; member = next_of(member)) {
        member_mark_sync_due(member, false);
    }
    timer_stop(timers_of(group), &group->sync_timer);
}

static void join_waits(Group *group, int64_t wait_ms, bool initial)
{
    group->initial = initial;
    timer_set(timers_of(group), &group->join_timer, group_now(group) + wait_ms);
}

/* A new group gives others time to join before its first generation, so that it need not make many. */
static void initial_delay_begins(Group *group)
{
    int64_t delay_ms = group->groups->options.initial_delay_ms;
    int64_t remaining_ms = group_rebalance_timeout_ms(group) - delay_ms;
    group->delay_ms = delay_ms;
    group->remaining_ms = remaining_ms > 0 ? remaining_ms : 0;
    join_waits(group, delay_ms, true);
}

/* Static members that came back, and that the brain does not know of yet, join like others now. */
static void replaced_members_join(Group *group)
{
    for (GroupMember *member = first_of(group); member; member = next_of(member)) {
        if (member->replacing != MEMBER_SETTLED) {
            member->replacing = MEMBER_SETTLED;
            member_mark_joined(member, member->joining != NULL);
        }
    }
}

void rebalance_prepare(Group *group)
{
    if (group->state == GROUP_COMPLETING_REBALANCE) {
        for (GroupMember *member = first_of(group); member; member = next_of(member)) {
            (void)member_set_assignment(member, SLICE_NULL);
        }
        sync_answer_all(group, KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    }
    group->leader_synced = false;
    sync_expectation_ends(group);
    replaced_members_join(group);
    bool initial = group->state == GROUP_EMPTY;
    group_enter(group, GROUP_PREPARING_REBALANCE);
    if (initial) {
        initial_delay_begins(group);
    } else if (rebalance_all_joined(group)) {
        rebalance_complete(group);
    } else {
        join_waits(group, group_rebalance_timeout_ms(group), false);
    }
}

void rebalance_prepare_or_complete(Group *group)
{
    if (group->state == GROUP_PREPARING_REBALANCE) {
        rebalance_complete_if_joined(group);
    } else {
        rebalance_prepare(group);
    }
}

/* A group's first members always wait for the initial delay. */
void rebalance_complete_if_joined(Group *group)
{
    if (group->state == GROUP_PREPARING_REBALANCE && group->state_before != GROUP_EMPTY &&
        rebalance_all_joined(group)) {
        rebalance_complete(group);
    }
}

/* Static members keep their place, whether they have joined in time or not. */
static void remove_absent(Group *group)
{
    GroupMember *next;
    for (GroupMember *member = first_of(group); member; member = next) {
        next = next_of(member);
        if (!member->joined && slice_is_null(member->instance_id)) {
            member_fail(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
            group_remove(group, member);
        }
    }
}

/* The leader must be one that has joined; false when none has. */
static bool leader_elected(Group *group)
{
    if (group->leader && group->leader->joined) {
        return true;
    }
    for (GroupMember *member = first_of(group); member; member = next_of(member)) {
        if (member->joined) {
            group->leader = member;
            return true;
        }
    }
    return false;
}

static void group_became_empty(Group *group)
{
    (void)group_set_protocol_name(group, SLICE_NULL);
    group_enter(group, GROUP_EMPTY);
    store_want(group);
}

static void generation_begins(Group *group)
{
    if (!group_set_protocol_name(group, group_vote(group))) {
        group_forget(group, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        return;
    }
    group_enter(group, GROUP_COMPLETING_REBALANCE);
    for (GroupMember *member = first_of(group); member; member = next_of(member)) {
        GroupAnswer answer = group_generation_answer(member, true);
        member_answer_join(member, &answer);
        member_session_begins(member, member->session_timeout_ms);
        member->is_new = false;
        member_mark_sync_due(member, true);
    }
    timer_set(timers_of(group), &group->sync_timer, group_now(group) + group_rebalance_timeout_ms(group));
}

void rebalance_complete(Group *group)
{
    timer_stop(timers_of(group), &group->join_timer);
    remove_absent(group);
    if (group->member_count > 0 && !leader_elected(group)) {
        /* Only static members are left, and none of them has joined: until their sessions end. */
        join_waits(group, group_rebalance_timeout_ms(group), false);
        return;
    }
    group->generation++;
    group->leader_synced = false;
    if (group->member_count == 0) {
        group_became_empty(group);
    } else {
        generation_begins(group);
    }
}

static void initial_delay_ended(Group *group)
{
    if (!group->new_member_added || group->remaining_ms == 0) {
        rebalance_complete(group);
        return;
    }
    int64_t delay_ms = group->groups->options.initial_delay_ms;
    int64_t ended_ms = group->delay_ms;
    group->new_member_added = false;
    group->delay_ms = delay_ms < group->remaining_ms ? delay_ms : group->remaining_ms;
    group->remaining_ms = group->remaining_ms > ended_ms ? group->remaining_ms - ended_ms : 0;
    join_waits(group, group->delay_ms, true);
}

void rebalance_join_expired(GroupTimer *timer)
{
    Group *group = GROUP_OF(timer, join_timer);
    group_hold(group);
    if (group->state == GROUP_PREPARING_REBALANCE) {
        if (group->initial) {
            initial_delay_ended(group);
        } else {
            rebalance_complete(group);
        }
    }
    group_release(group);
}

/* Members that were told of the generation and never asked for their assignment. */
void rebalance_sync_expired(GroupTimer *timer)
{
    Group *group = GROUP_OF(timer, sync_timer);
    bool waits = group->state == GROUP_COMPLETING_REBALANCE || group->state == GROUP_STABLE;
    if (!waits || group->sync_due_count == 0) {
        return;
    }
    group_hold(group);
    GroupMember *next;
    for (GroupMember *member = first_of(group); member; member = next) {
        next = next_of(member);
        if (member->sync_due) {
            member_fail(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
            group_remove(group, member);
        }
    }
    rebalance_prepare(group);
    group_release(group);
}

void member_session_expired(GroupTimer *timer)
{
    GroupMember *member = MEMBER_OF(timer, session);
    Group *group = member->group;
    if (member_is_excused(member)) {
        return; /* its session begins again when it is answered */
    }
    group_hold(group);
    bool was_pending = member->pending;
    member_fail(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    group->groups->counts.expired += !was_pending;
    group_remove(group, member);
    if (group->state == GROUP_PREPARING_REBALANCE) {
        if (rebalance_all_joined(group)) {
            rebalance_complete(group);
        }
    } else if (!was_pending) {
        rebalance_prepare_or_complete(group);
    }
    group_release(group);
}
