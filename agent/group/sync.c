/* sync.c: SyncGroup, Heartbeat and LeaveGroup, and requests whose clients have gone. */
#include "agent/group/group_internal.h"

static void sync_refuse(GroupWait *wait, KafkaError error)
{
    GroupAnswer answer = group_answer(error);
    wait->answered(wait, &answer);
}

static GroupAnswer sync_answer(const GroupMember *member)
{
    GroupAnswer answer = group_answer(KAFKA_ERROR_NONE);
    answer.protocol_type = group_protocol_type(member->group);
    answer.protocol_name = group_protocol_name(member->group);
    answer.assignment = member_assignment(member);
    return answer;
}

/* Sessions begin anew: while their members waited, the ends of their sessions were passed over. */
void sync_answer_all(Group *group, KafkaError error)
{
    for (const GroupMember *each = group_first(group); each; each = group_next(each)) {
        GroupMember *member = (GroupMember *)each;
        if (member->syncing) {
            GroupAnswer answer = error == KAFKA_ERROR_NONE ? sync_answer(member) : group_answer(error);
            member_answer_sync(member, &answer);
            member_session_begins(member, member->session_timeout_ms);
        }
    }
}

static bool sync_contradicts(Slice said, Slice known)
{
    return !slice_is_null(said) && !slice_equals(said, known);
}

static KafkaError sync_validate(const Group *group, const GroupSync *sync)
{
    KafkaError error = group_validate(group, sync->member_id, sync->instance_id);
    if (error != KAFKA_ERROR_NONE) {
        return error;
    }
    if (sync->generation != group->generation) {
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    }
    if (sync_contradicts(sync->protocol_type, group_protocol_type(group)) ||
        sync_contradicts(sync->protocol_name, group_protocol_name(group))) {
        return KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL;
    }
    return group->state == GROUP_PREPARING_REBALANCE ? KAFKA_ERROR_REBALANCE_IN_PROGRESS : KAFKA_ERROR_NONE;
}

static void sync_arrived(Group *group, GroupMember *member)
{
    member_mark_sync_due(member, false);
    if (group->sync_due_count == 0) {
        timer_stop(&group->groups->timers, &group->sync_timer);
    }
}

/* What the leader says of members that are not in the group is passed over; who is not named gets nothing. */
static KafkaError sync_assign(Group *group, const GroupSync *sync)
{
    size_t bytes = 0;
    for (size_t i = 0; i < sync->assignment_count; i++) {
        bytes += sync->assignments[i].assignment.size;
    }
    if (!group_may_grow(group, bytes)) {
        return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
    }
    for (const GroupMember *each = group_first(group); each; each = group_next(each)) {
        (void)member_set_assignment((GroupMember *)each, SLICE_NULL);
    }
    for (size_t i = 0; i < sync->assignment_count; i++) {
        GroupMember *member = group_member_find(group, sync->assignments[i].member_id);
        if (member && !member_set_assignment(member, sync->assignments[i].assignment)) {
            return KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
        }
    }
    return KAFKA_ERROR_NONE;
}

static void sync_waits(GroupMember *member, GroupWait *wait)
{
    GroupAnswer superseded = group_answer(KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    member_answer_sync(member, &superseded);
    wait->member = member;
    member->syncing = wait;
}

/* The leader's first SyncGroup is the one that counts: it may be on its way to the brain. */
static void sync_completing(Group *group, const GroupSync *sync, GroupMember *member, GroupWait *wait)
{
    sync_arrived(group, member);
    bool decides = group->leader == member && !group->leader_synced;
    if (decides) {
        KafkaError error = sync_assign(group, sync);
        if (error != KAFKA_ERROR_NONE) {
            sync_refuse(wait, error);
            rebalance_prepare(group);
            return;
        }
        group->leader_synced = true;
    }
    sync_waits(member, wait);
    if (decides) {
        store_want(group);
    }
}

void group_sync(Group *group, const GroupSync *sync, GroupWait *wait)
{
    *wait = (GroupWait){ .answered = wait->answered, .is_sync = true };
    group_hold(group);
    KafkaError error = sync_validate(group, sync);
    GroupMember *member = group_member_find(group, sync->member_id);
    if (error != KAFKA_ERROR_NONE) {
        sync_refuse(wait, error);
    } else if (group->state == GROUP_COMPLETING_REBALANCE) {
        sync_completing(group, sync, member, wait);
    } else {
        sync_arrived(group, member);
        GroupAnswer answer = sync_answer(member);
        wait->answered(wait, &answer);
    }
    group_release(group);
}

KafkaError group_heartbeat(Group *group, Slice member_id, Slice instance_id, int32_t generation)
{
    KafkaError error = group_validate(group, member_id, instance_id);
    if (error != KAFKA_ERROR_NONE) {
        return error;
    }
    if (generation != group->generation) {
        return KAFKA_ERROR_ILLEGAL_GENERATION;
    }
    GroupMember *member = group_member_find(group, member_id);
    member_session_begins(member, member->session_timeout_ms);
    return group->state == GROUP_PREPARING_REBALANCE ? KAFKA_ERROR_REBALANCE_IN_PROGRESS : KAFKA_ERROR_NONE;
}

static void leave_remove(Group *group, GroupMember *member)
{
    member_fail(member, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    group_remove(group, member);
}

/* Without a member id: an administrator removes a static member. */
KafkaError group_leave(Group *group, Slice member_id, Slice instance_id)
{
    GroupMember *member = member_id.size == 0 ? group_member_of_instance(group, instance_id)
                                              : group_member_any(group, member_id);
    if (!member) {
        return member_id.size > 0 && !slice_is_null(instance_id)
                   ? group_validate(group, member_id, instance_id)
                   : KAFKA_ERROR_UNKNOWN_MEMBER_ID;
    }
    if (member_id.size > 0 && !member->pending) {
        KafkaError error = group_validate(group, member_id, instance_id);
        if (error != KAFKA_ERROR_NONE) {
            return error;
        }
    }
    leave_remove(group, member);
    return KAFKA_ERROR_NONE;
}

void group_left(Group *group)
{
    group_hold(group);
    if (group->state == GROUP_STABLE || group->state == GROUP_COMPLETING_REBALANCE) {
        rebalance_prepare(group);
    } else {
        rebalance_complete_if_joined(group);
    }
    group_release(group);
}

static void abandon_join(Group *group, GroupMember *member, bool anonymous)
{
    member->joining = NULL;
    if (!anonymous) {
        member_session_begins(member, member->session_timeout_ms);
        return;
    }
    group_remove(group, member);
    if (group->state == GROUP_PREPARING_REBALANCE && rebalance_all_joined(group)) {
        rebalance_complete(group);
    }
}

void group_abandon(GroupWait *wait)
{
    GroupMember *member = wait->member;
    if (!member) {
        return;
    }
    Group *group = member->group;
    group_hold(group);
    wait->member = NULL;
    if (wait->is_sync) {
        member->syncing = NULL;
        member_session_begins(member, member->session_timeout_ms);
    } else {
        abandon_join(group, member, wait->anonymous);
    }
    group_release(group);
}

void group_heard(Groups *groups, Slice name, Slice member_id, int32_t generation)
{
    Group *group = groups_find(groups, name);
    GroupMember *member = group ? group_member_find(group, member_id) : NULL;
    if (member && generation == group->generation) {
        member_session_begins(member, member->session_timeout_ms);
    }
}
