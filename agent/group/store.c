/* store.c: what the brain has to know before members are told: a generation's assignments, a static member's
 * new id, that a group is empty. Groups that become due while a call is under way go together in the next
 * one. What is written is a group's state at the moment of the call. */
#include <stdlib.h>

#include "agent/group/group_internal.h"

#define GROUP_OF(timer, field) ((Group *)((char *)(timer)-offsetof(Group, field)))

typedef struct StoreBatch {
    Groups *groups;
    size_t count;
    Group *stored[GROUP_STORES_MAX]; /* each held */
} StoreBatch;

void store_want(Group *group)
{
    Groups *groups = group->groups;
    if (!group->store_queued) {
        group->store_queued = true;
        group->next_store = NULL;
        *(groups->store_last ? &groups->store_last->next_store : &groups->store_first) = group;
        groups->store_last = group;
    }
    groups->backend.wake(groups->backend.context);
}

static Group *store_take(Groups *groups)
{
    Group *group = groups->store_first;
    groups->store_first = group->next_store;
    if (!groups->store_first) {
        groups->store_last = NULL;
    }
    group->store_queued = false;
    return group;
}

void store_forget(Group *group)
{
    Groups *groups = group->groups;
    Group *before = NULL;
    if (!group->store_queued) {
        return;
    }
    for (Group *queued = groups->store_first; queued != group; queued = queued->next_store) {
        before = queued;
    }
    *(before ? &before->next_store : &groups->store_first) = group->next_store;
    groups->store_last = groups->store_last == group ? before : groups->store_last;
    group->store_queued = false;
}

static void store_again(Group *group, int64_t wait_ms)
{
    timer_set(&group->groups->timers, &group->store_timer, group_now(group) + wait_ms);
}

void store_expired(GroupTimer *timer)
{
    Group *group = GROUP_OF(timer, store_timer);
    group_hold(group);
    store_want(group);
    group_release(group);
}

static bool replacing_moves(Group *group, MemberReplacing from, MemberReplacing to)
{
    bool any = false;
    for (const GroupMember *each = group_first(group); each; each = group_next(each)) {
        GroupMember *member = (GroupMember *)each;
        if (member->replacing == from) {
            member->replacing = to;
            any = true;
        }
    }
    return any;
}

/* Whether there is anything to write; the group may have moved on since it was asked for. */
static bool store_begins(Group *group)
{
    bool due = group->state == GROUP_EMPTY ||
               (group->state == GROUP_COMPLETING_REBALANCE && group->leader_synced) ||
               (group->state == GROUP_STABLE && replacing_moves(group, MEMBER_REPLACED, MEMBER_STORING));
    if (due) {
        group->storing = true;
        group->storing_generation = group->generation;
        timer_stop(&group->groups->timers, &group->store_timer);
    }
    return due;
}

/* Members that came back are told the generation that they are in again. */
static void store_answer_replaced(Group *group)
{
    for (const GroupMember *each = group_first(group); each; each = group_next(each)) {
        GroupMember *member = (GroupMember *)each;
        if (member->replacing != MEMBER_STORING) {
            continue;
        }
        bool skips = member->joining && member->joining->supports_skip;
        GroupAnswer answer = group_generation_answer(member, skips);
        answer.skip_assignment = skips && group->leader == member;
        member_answer_join(member, &answer);
        member_session_begins(member, member->session_timeout_ms); /* its end was passed over */
    }
}

static void store_succeeded(Group *group)
{
    group->store_retries = 0;
    if (group->state == GROUP_STABLE) {
        store_answer_replaced(group);
    } else if (group->state == GROUP_COMPLETING_REBALANCE && group->leader_synced &&
               group->generation == group->storing_generation) {
        group_enter(group, GROUP_STABLE);
        group->groups->counts.rebalances++;
        sync_answer_all(group, KAFKA_ERROR_NONE);
    }
}

static void store_failed(Group *group)
{
    group->store_retries = 0;
    group->groups->counts.stores_failed++;
    if (group->state == GROUP_EMPTY) {
        store_again(group, GROUP_EMPTY_RETRY_MS);
    } else if (group->state == GROUP_COMPLETING_REBALANCE && group->leader_synced &&
               group->generation == group->storing_generation) {
        sync_answer_all(group, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        rebalance_prepare(group);
    } else if (group->state == GROUP_STABLE) {
        GroupAnswer answer = group_answer(KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
        for (const GroupMember *each = group_first(group); each; each = group_next(each)) {
            GroupMember *member = (GroupMember *)each;
            if (member->replacing == MEMBER_STORING) {
                member_answer_join(member, &answer);
                member_session_begins(member, member->session_timeout_ms);
            }
        }
    }
}

static void store_ended(Group *group, GroupStoreOutcome outcome)
{
    group->storing = false;
    group->groups->counts.stores++;
    if (group->gone) {
        return;
    }
    if (outcome == GROUP_IN_DOUBT) {
        group->doubtful = true;
    }
    bool again = outcome == GROUP_IN_DOUBT ||
                 (outcome == GROUP_BUSY && ++group->store_retries < GROUP_STORE_RETRIES_MAX);
    if (again) {
        replacing_moves(group, MEMBER_STORING, MEMBER_REPLACED);
        store_again(group, GROUP_STORE_RETRY_MS);
    } else if (outcome == GROUP_STORED) {
        store_succeeded(group);
    } else if (outcome == GROUP_FENCED) {
        group->groups->counts.stores_failed++;
        group_forget(group, KAFKA_ERROR_NOT_COORDINATOR);
    } else {
        store_failed(group);
    }
}

static void stores_ended(void *argument, const GroupStoreOutcome *outcomes)
{
    StoreBatch *batch = argument;
    Groups *groups = batch->groups;
    groups->batch = NULL;
    for (size_t i = 0; i < batch->count; i++) {
        store_ended(batch->stored[i], outcomes[i]);
        group_release(batch->stored[i]);
    }
    free(batch);
    groups->backend.wake(groups->backend.context);
}

static StoreBatch *store_gather(Groups *groups)
{
    StoreBatch *batch = calloc(1, sizeof(StoreBatch));
    if (!batch) {
        abort(); /* what is never stored is never answered */
    }
    batch->groups = groups;
    size_t bytes = 0;
    while (groups->store_first && batch->count < GROUP_STORES_MAX && bytes < GROUP_STORE_BYTES_MAX) {
        Group *group = store_take(groups);
        group_hold(group);
        if (group->doubtful || group->claiming) {
            group_claim_again(group); /* what is sent with the epoch before it would be refused */
        } else if (store_begins(group)) {
            bytes += group->bytes;
            batch->stored[batch->count++] = group;
            continue;
        }
        group_release(group);
    }
    return batch;
}

void store_send(Groups *groups)
{
    if (groups->batch || !groups->store_first) {
        return;
    }
    StoreBatch *batch = store_gather(groups);
    if (batch->count == 0) {
        free(batch);
        return;
    }
    groups->batch = batch;
    groups->backend.store(groups->backend.context, batch->stored, batch->count, stores_ended, batch);
}
