/* join.c: JoinGroup. A new member is told its id first and comes again with it; a known one that brings
 * nothing new to a generation is told of that generation again; everything else begins a rebalance. */
#include <stdio.h>
#include <string.h>

#include "agent/group/group_internal.h"

enum { UNIQUE_SIZE = 36 };

GroupAnswer group_answer(KafkaError error)
{
    return (GroupAnswer){
        .error = error,
        .generation = -1,
        .leader = group_empty_slice(),
        .member_id = group_empty_slice(),
        .assignment = group_empty_slice(),
    };
}

GroupAnswer group_generation_answer(const GroupMember *member, bool leader_is_told_members)
{
    const Group *group = member->group;
    GroupAnswer answer = group_answer(KAFKA_ERROR_NONE);
    answer.generation = group->generation;
    answer.protocol_type = group_protocol_type(group);
    answer.protocol_name = group_protocol_name(group);
    answer.leader = group->leader ? group->leader->id : group_empty_slice();
    answer.member_id = member->id;
    answer.members = leader_is_told_members && group->leader == member ? group : NULL;
    return answer;
}

static void join_refuse(GroupWait *wait, KafkaError error, Slice member_id)
{
    GroupAnswer answer = group_answer(error);
    answer.member_id = member_id;
    wait->answered(wait, &answer);
}

/* Kafka's rule: who joins counts among those that wait while members are gathered, and among all later. */
static bool join_has_room(const Group *group, Slice member_id)
{
    const GroupMember *member = group_member_find(group, member_id);
    size_t most = group->groups->options.members_max;
    switch (group->state) {
    case GROUP_PREPARING_REBALANCE:
        return (member && member->joined) || group->joined_count < most;
    case GROUP_COMPLETING_REBALANCE:
    case GROUP_STABLE:
        return member || group->member_count < most;
    default:
        return true;
    }
}

/* A JoinGroup of the member waits from now on; one that waited before belongs to a connection that the
 * client has given up. */
static void join_waits(GroupMember *member, GroupWait *wait)
{
    if (member->joining && member->joining != wait) {
        GroupAnswer superseded = group_answer(KAFKA_ERROR_REBALANCE_IN_PROGRESS);
        superseded.member_id = member->id;
        member_answer_join(member, &superseded);
    }
    wait->member = member;
    wait->is_sync = false;
    member->joining = wait;
    member_mark_joined(member, true);
}

static GroupStoredMember join_spec(const GroupJoin *join, Slice member_id)
{
    return (GroupStoredMember){
        .member_id = member_id,
        .instance_id = join->instance_id,
        .client_id = join->client_id,
        .client_host = join->client_host,
        .session_timeout_ms = join->session_timeout_ms,
        .rebalance_timeout_ms = join->rebalance_timeout_ms,
        .protocols = join->protocols,
        .protocol_count = join->protocol_count,
    };
}

static GroupMember *join_new_member(Group *group, const GroupStoredMember *spec, GroupWait *wait)
{
    if (!group_may_grow(group, member_spec_bytes(spec))) {
        join_refuse(wait, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED, group_empty_slice());
        return NULL;
    }
    GroupMember *member = member_new(group, spec);
    if (!member) {
        join_refuse(wait, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, group_empty_slice());
    }
    return member;
}

static void join_add(Group *group, const GroupJoin *join, Slice member_id, GroupWait *wait)
{
    GroupStoredMember spec = join_spec(join, member_id);
    if (group->member_count == 0 && !group_set_protocol_type(group, join->protocol_type)) {
        join_refuse(wait, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, group_empty_slice());
        return;
    }
    GroupMember *member = join_new_member(group, &spec, wait);
    if (!member) {
        return;
    }
    member->is_new = true;
    if (group->state == GROUP_PREPARING_REBALANCE && group->state_before == GROUP_EMPTY) {
        group->new_member_added = true;
    }
    group_add(group, member);
    join_waits(member, wait);
    member_session_begins(member, GROUP_NEW_MEMBER_TIMEOUT_MS);
    rebalance_prepare_or_complete(group);
}

/* Kafka's form: the client's or the instance's name, and what nobody else has. */
static Slice join_member_id(const Group *group, const GroupJoin *join, char out[GROUP_MEMBER_ID_MAX])
{
    const GroupBackend *backend = &group->groups->backend;
    Slice name = slice_is_null(join->instance_id) ? join->client_id : join->instance_id;
    size_t size = name.size < GROUP_MEMBER_ID_MAX - UNIQUE_SIZE - 2 ? name.size : 0;
    if (size > 0) {
        memcpy(out, name.data, size);
    }
    out[size++] = '-';
    backend->unique(backend->context, out + size);
    return slice_of(out, size + UNIQUE_SIZE);
}

static void join_pending(Group *group, const GroupJoin *join, Slice member_id, GroupWait *wait)
{
    GroupStoredMember spec = { .member_id = member_id, .instance_id = SLICE_NULL };
    GroupMember *member = join_new_member(group, &spec, wait);
    if (!member) {
        return;
    }
    group_add_pending(group, member);
    member_session_begins(member, join->session_timeout_ms);
    join_refuse(wait, KAFKA_ERROR_MEMBER_ID_REQUIRED, member_id);
}

/* The static member's place goes to the new id; whoever has the old one is fenced. */
static GroupMember *join_replace(Group *group, GroupMember *old, const GroupJoin *join, Slice member_id,
                                 GroupWait *wait)
{
    GroupStoredMember spec = join_spec(join, member_id);
    spec.client_id = old->client_id;
    spec.client_host = old->client_host;
    spec.assignment = member_assignment(old);
    if (!group_may_grow(group, member_spec_bytes(&spec))) {
        join_refuse(wait, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED, group_empty_slice());
        return NULL;
    }
    GroupMember *member = member_new(group, &spec);
    if (!member) {
        join_refuse(wait, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, group_empty_slice());
        return NULL;
    }
    GroupAnswer fenced = group_answer(KAFKA_ERROR_FENCED_INSTANCE_ID);
    fenced.member_id = old->id;
    member_answer_join(old, &fenced);
    member_answer_sync(old, &fenced);
    bool led = group->leader == old;
    bool sync_due = old->sync_due;
    group_remove(group, old);
    group_add(group, member);
    if (led) {
        group->leader = member;
    }
    member_mark_sync_due(member, sync_due);
    member_session_begins(member, member->session_timeout_ms);
    return member;
}

static void join_static(Group *group, const GroupJoin *join, GroupMember *old, Slice member_id,
                        GroupWait *wait)
{
    GroupMember *member = join_replace(group, old, join, member_id, wait);
    if (!member) {
        return;
    }
    join_waits(member, wait);
    if (group->state == GROUP_STABLE && slice_equals(group_vote(group), group_protocol_name(group))) {
        /* Nothing changes for the others; the brain only has to know the new id first. */
        member_mark_joined(member, false);
        member->replacing = MEMBER_REPLACED;
        store_want(group);
    } else if (group->state == GROUP_PREPARING_REBALANCE) {
        rebalance_complete_if_joined(group);
    } else {
        rebalance_prepare(group);
    }
}

static void join_unknown(Group *group, const GroupJoin *join, GroupWait *wait)
{
    char text[GROUP_MEMBER_ID_MAX];
    if (!group_speaks(group, join->protocol_type, join->protocols, join->protocol_count)) {
        join_refuse(wait, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL, group_empty_slice());
        return;
    }
    Slice member_id = join_member_id(group, join, text);
    GroupMember *old = group_member_of_instance(group, join->instance_id);
    if (old) {
        join_static(group, join, old, member_id, wait);
    } else if (slice_is_null(join->instance_id) && join->requires_known_id) {
        join_pending(group, join, member_id, wait);
    } else {
        wait->anonymous = slice_is_null(join->instance_id);
        join_add(group, join, member_id, wait);
    }
}

static void join_again(Group *group, GroupMember *member, const GroupJoin *join, GroupWait *wait)
{
    GroupStoredMember spec = join_spec(join, member->id);
    size_t more = member_spec_bytes(&spec);
    bool fits = more <= member->bytes || group_may_grow(group, more - member->bytes);
    if (!fits) {
        join_refuse(wait, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED, member->id);
        return;
    }
    if (!member_change_protocols(member, join->protocols, join->protocol_count)) {
        join_refuse(wait, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, member->id);
        return;
    }
    member->session_timeout_ms = join->session_timeout_ms;
    member->rebalance_timeout_ms = join->rebalance_timeout_ms;
    join_waits(member, wait);
    rebalance_prepare_or_complete(group);
}

/* Told of the present generation: its answer may have been lost. */
static void join_repeat(GroupMember *member, bool members_too, GroupWait *wait)
{
    GroupAnswer answer = group_generation_answer(member, members_too);
    wait->answered(wait, &answer);
}

static void join_known(Group *group, const GroupJoin *join, GroupWait *wait)
{
    GroupMember *member = group_member_any(group, join->member_id);
    if (!group_speaks(group, join->protocol_type, join->protocols, join->protocol_count)) {
        join_refuse(wait, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL, join->member_id);
        return;
    }
    if (member && member->pending) {
        if (!slice_is_null(join->instance_id)) {
            join_refuse(wait, KAFKA_ERROR_UNKNOWN_MEMBER_ID, join->member_id);
            return;
        }
        group_remove(group, member);
        join_add(group, join, join->member_id, wait);
        return;
    }
    KafkaError error = group_validate(group, join->member_id, join->instance_id);
    if (error != KAFKA_ERROR_NONE) {
        join_refuse(wait, error, join->member_id);
        return;
    }
    bool same = member_matches(member, join->protocols, join->protocol_count);
    if (group->state == GROUP_COMPLETING_REBALANCE && same) {
        join_repeat(member, true, wait);
    } else if (group->state == GROUP_STABLE && same && group->leader != member) {
        join_repeat(member, false, wait);
    } else {
        join_again(group, member, join, wait);
    }
}

void group_join(Group *group, const GroupJoin *join, GroupWait *wait)
{
    *wait = (GroupWait){ .answered = wait->answered, .supports_skip = join->supports_skip };
    group_hold(group);
    if (!join_has_room(group, join->member_id)) {
        GroupMember *member = group_member_any(group, join->member_id);
        if (member) {
            member_fail(member, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED);
            group_remove(group, member);
        }
        join_refuse(wait, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED, group_empty_slice());
    } else if (join->member_id.size == 0) {
        join_unknown(group, join, wait);
    } else {
        join_known(group, join, wait);
    }
    group_release(group);
}
