/* group_internal.h: what the coordinator's files share: groups.c (all of them), member.c (who is in one),
 * join.c, sync.c (requests), rebalance.c (from one generation to the next), store.c (the brain). */
#ifndef STREAMHOUSE_GROUP_INTERNAL_H
#define STREAMHOUSE_GROUP_INTERNAL_H

#include "agent/group/group.h"
#include "agent/group/table.h"
#include "agent/group/timer.h"

/* How far the new id of a static member that came back to a stable group is: its JoinGroup waits until the
 * brain has it. */
typedef enum MemberReplacing { MEMBER_SETTLED, MEMBER_REPLACED, MEMBER_STORING } MemberReplacing;

struct GroupMember {
    TableNode by_id;
    TableNode by_instance; /* when instance_id is not null */
    GroupMember *next;     /* in the order in which they joined */
    GroupMember *previous;
    Group *group;
    uint8_t *texts; /* the four slices' */
    Slice id;
    Slice instance_id;
    Slice client_id;
    Slice client_host;
    GroupProtocol *protocols; /* their bytes follow the array */
    size_t protocol_count;
    uint8_t *assignment;
    size_t assignment_size;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms;
    bool pending; /* was given its id and has not joined with it yet: no member */
    bool is_new;  /* no JoinGroup of it was answered yet: it may expire while it waits */
    bool joined;  /* a JoinGroup of it waits, though its client may be gone by now */
    bool sync_due;
    MemberReplacing replacing;
    GroupWait *joining;
    GroupWait *syncing;
    GroupTimer session;
    size_t bytes; /* charged to the group */
};

/* How many members speak a protocol. */
typedef struct ProtocolCount {
    TableNode node;
    size_t members;
    size_t votes;
    uint8_t name[];
} ProtocolCount;

struct Group {
    TableNode by_name;
    Groups *groups;
    Group *next; /* of all */
    Group *previous;
    Group *next_store; /* in the queue */
    Slice name;
    uint8_t *name_bytes;
    int32_t group_id;
    int32_t coordinator_epoch;
    GroupState state;
    GroupState state_before;
    int32_t generation;
    uint8_t *protocol_type; /* NULL: none */
    size_t protocol_type_size;
    uint8_t *protocol_name;
    size_t protocol_name_size;
    GroupMember *leader;
    GroupMember *first;
    GroupMember *last;
    size_t member_count; /* without pending ones */
    size_t joined_count;
    size_t pending_count;
    size_t sync_due_count;
    Table ids; /* pending ones included */
    Table instances;
    Table protocols;
    size_t bytes;
    bool new_member_added; /* the initial delay may be extended */
    bool initial;          /* the join timer is the initial delay's */
    bool leader_synced;    /* the assignments of this generation are there */
    int64_t delay_ms;      /* of the initial delay under way */
    int64_t remaining_ms;  /* by which it may yet be extended */
    GroupTimer join_timer;
    GroupTimer sync_timer;
    GroupTimer store_timer;
    /* The brain. */
    bool store_queued;
    bool storing;
    bool loaded;
    bool claiming;
    bool claim_creates;
    bool doubtful; /* the last store may yet be carried out: claim again first, so that it is refused */
    int store_retries;
    int32_t storing_generation;
    GroupOpening *openings; /* requests that wait for it to be loaded, in order */
    GroupOpening **last_opening;
    int holds;
    bool gone; /* in no table any more; freed when nobody holds it */
};

struct Groups {
    GroupOptions options;
    GroupBackend backend;
    Table names;
    Group *first;
    TimerHeap timers;
    Group *store_first; /* those that wait to be stored */
    Group *store_last;
    struct StoreBatch *batch; /* the call under way */
    size_t claims;            /* under way */
    GroupCounts counts;
};

static inline Slice group_empty_slice(void)
{
    return slice_of("", 0);
}

/* groups.c */
int64_t group_now(const Group *group);
void group_charge(Group *group, size_t more);
void group_discharge(Group *group, size_t less);
/* Whether the group may take so many bytes more. */
bool group_may_grow(const Group *group, size_t more);
void group_enter(Group *group, GroupState state);
void group_hold(Group *group);
/* Frees it when it is gone, or forgets it when it is empty, and nobody holds it. */
void group_release(Group *group);
/* Forgets one group; who waits is told the error. */
void group_forget(Group *group, KafkaError error);
/* With a higher epoch, so that what an earlier store of ours may yet do is refused. */
void group_claim_again(Group *group);

/* member.c */
size_t member_spec_bytes(const GroupStoredMember *spec);
/* Not in the group yet; NULL when memory is short. */
GroupMember *member_new(Group *group, const GroupStoredMember *spec);
void member_free(GroupMember *member);
bool member_set_protocols(GroupMember *member, const GroupProtocol *protocols, size_t count);
/* The same for a member that is in the group already. */
bool member_change_protocols(GroupMember *member, const GroupProtocol *protocols, size_t count);
bool member_matches(const GroupMember *member, const GroupProtocol *protocols, size_t count);
bool member_set_assignment(GroupMember *member, Slice assignment);
Slice member_assignment(const GroupMember *member);
/* Members awaiting a rebalance need send no heartbeats. */
bool member_is_excused(const GroupMember *member);
void member_session_begins(GroupMember *member, int64_t timeout_ms);
void member_mark_joined(GroupMember *member, bool joined);
void member_mark_sync_due(GroupMember *member, bool due);
void member_answer_join(GroupMember *member, const GroupAnswer *answer);
void member_answer_sync(GroupMember *member, const GroupAnswer *answer);
void member_fail(GroupMember *member, KafkaError error);
GroupMember *group_member_any(const Group *group, Slice member_id); /* pending ones, too */
GroupMember *group_member_find(const Group *group, Slice member_id);
GroupMember *group_member_of_instance(const Group *group, Slice instance_id);
void group_add(Group *group, GroupMember *member);
void group_add_pending(Group *group, GroupMember *member);
/* Takes it out and frees it; its waits must have been answered. */
void group_remove(Group *group, GroupMember *member);
KafkaError group_validate(const Group *group, Slice member_id, Slice instance_id);
bool group_speaks(const Group *group, Slice protocol_type, const GroupProtocol *protocols, size_t count);
Slice group_vote(Group *group);
bool group_set_protocol_type(Group *group, Slice type);
bool group_set_protocol_name(Group *group, Slice name);

/* join.c */
GroupAnswer group_answer(KafkaError error);
GroupAnswer group_generation_answer(const GroupMember *member, bool leader_is_told_members);

/* rebalance.c */
int32_t group_rebalance_timeout_ms(const Group *group);
void rebalance_prepare(Group *group);
void rebalance_prepare_or_complete(Group *group);
void rebalance_complete_if_joined(Group *group);
void rebalance_complete(Group *group);
bool rebalance_all_joined(const Group *group);
void rebalance_join_expired(GroupTimer *timer);
void rebalance_sync_expired(GroupTimer *timer);
void member_session_expired(GroupTimer *timer);

/* sync.c */
void sync_answer_all(Group *group, KafkaError error);

/* store.c */
void store_want(Group *group);
void store_send(Groups *groups);
void store_forget(Group *group);
void store_expired(GroupTimer *timer);

#endif
