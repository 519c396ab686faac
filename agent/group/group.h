/* group.h: the coordinator of classic consumer groups: brings members together in generations, as Apache
 * Kafka 4 does, and lets the brain keep each generation before any member is told its assignment.
 *
 * It knows no sockets, no timers and no PostgreSQL, only a GroupBackend, so that tests inject time, member
 * ids and brain. One thread owns it all. What is in memory is a copy: a coordinator that forgets a group
 * loads it again as it was stored, and its members go on. */
#ifndef STREAMHOUSE_GROUP_H
#define STREAMHOUSE_GROUP_H

#include "agent/kafka/error.h"
#include "common/slice.h"
#include "common/status.h"

typedef struct Groups Groups;
typedef struct Group Group;
typedef struct GroupMember GroupMember;

enum {
    GROUPS_NEVER_MS = INT32_MAX,                 /* groups_tick(): nothing is due */
    GROUP_NEW_MEMBER_TIMEOUT_MS = 5 * 60 * 1000, /* how long a JoinGroup of a new member may wait */
    GROUP_PROTOCOLS_MAX = 256,                   /* of one member */
    GROUP_MEMBER_ID_MAX = 512,                   /* bytes of an id that we give */
    GROUP_STORES_MAX = 64,                       /* groups in one call to the brain */
    GROUP_STORE_BYTES_MAX = 4 * 1024 * 1024,     /* what one call carries, unless one group is larger */
    GROUP_STORE_RETRY_MS = 50,                   /* after a group was locked, or the brain away */
    GROUP_STORE_RETRIES_MAX = 100,               /* then its members are told */
    GROUP_EMPTY_RETRY_MS = 1000,                 /* after it could not be stored that a group is empty */
};

typedef enum GroupState {
    GROUP_EMPTY,                /* no members; pending ones perhaps */
    GROUP_PREPARING_REBALANCE,  /* waits for its members to join */
    GROUP_COMPLETING_REBALANCE, /* waits for the leader's assignment, then for the brain */
    GROUP_STABLE,               /* all have theirs */
    GROUP_DEAD,                 /* forgotten */
    GROUP_STATE_COUNT
} GroupState;

/* A protocol that a member speaks (a consumer's assignor), and what it says beside it. */
typedef struct GroupProtocol {
    Slice name;
    Slice metadata;
} GroupProtocol;

/* Answer to a JoinGroup or a SyncGroup; slices are good until the callback returns. */
typedef struct GroupAnswer {
    KafkaError error;
    int32_t generation;
    Slice protocol_type; /* null: none */
    Slice protocol_name; /* null: none */
    Slice leader;
    Slice member_id;
    bool skip_assignment;
    const Group *members; /* whose members a leader is told; NULL: none are */
    Slice assignment;     /* SyncGroup */
} GroupAnswer;

/* A JoinGroup or SyncGroup that waits; lives in the caller's memory until answered, which happens exactly
 * once, perhaps before the call returns, unless it is abandoned. answered() must not call back. */
typedef struct GroupWait GroupWait;
struct GroupWait {
    void (*answered)(GroupWait *wait, const GroupAnswer *answer);
    /* The coordinator's own. */
    GroupMember *member;
    bool is_sync;
    bool anonymous;     /* its client does not know its member id yet, and could not come back */
    bool supports_skip; /* JoinGroup 9 */
};

typedef enum GroupOpened {
    GROUP_OPEN,        /* in memory, and ours */
    GROUP_MISSING,     /* there is no such group */
    GROUP_IS_CONSUMER, /* its members speak KIP-848's protocol */
    GROUP_REFUSED      /* error says why */
} GroupOpened;

/* A request that wants a group which may have to be loaded first. */
typedef struct GroupOpening GroupOpening;
struct GroupOpening {
    /* group is NULL unless GROUP_OPEN, and good until opened() returns. */
    void (*opened)(GroupOpening *opening, GroupOpened outcome, Group *group, KafkaError error);
    /* The coordinator's own. */
    GroupOpening *next;
    bool create;
};

typedef struct GroupJoin {
    Slice member_id;   /* empty: a new member */
    Slice instance_id; /* null: a dynamic member */
    Slice client_id;
    Slice client_host;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms;
    Slice protocol_type;
    const GroupProtocol *protocols;
    size_t protocol_count;
    bool requires_known_id; /* JoinGroup 4 and later: a new member is told its id and joins again with it */
    bool supports_skip;     /* JoinGroup 9 and later */
} GroupJoin;

typedef struct GroupAssignment {
    Slice member_id;
    Slice assignment;
} GroupAssignment;

typedef struct GroupSync {
    Slice member_id;
    Slice instance_id;
    int32_t generation;
    Slice protocol_type; /* null: not said */
    Slice protocol_name; /* null: not said */
    const GroupAssignment *assignments;
    size_t assignment_count;
} GroupSync;

/* A member as it is stored. */
typedef struct GroupStoredMember {
    Slice member_id;
    Slice instance_id;
    Slice client_id;
    Slice client_host;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms;
    const GroupProtocol *protocols;
    size_t protocol_count;
    Slice assignment;
} GroupStoredMember;

/* What the brain says to a claim. */
typedef struct GroupClaim {
    GroupOpened outcome;
    KafkaError error; /* GROUP_REFUSED; COORDINATOR_LOAD_IN_PROGRESS: it may be had before long */
    int32_t group_id;
    int32_t coordinator_epoch;
    int32_t generation;
    Slice protocol_type;
    Slice protocol_name;
    Slice leader;
    const GroupStoredMember *members;
    size_t member_count;
} GroupClaim;

typedef enum GroupStoreOutcome {
    GROUP_STORED,
    GROUP_FENCED,  /* somebody else coordinates the group by now, or it is gone */
    GROUP_BUSY,    /* not stored, may be tried again */
    GROUP_FAILED,  /* not stored */
    GROUP_IN_DOUBT /* perhaps stored, perhaps yet to be */
} GroupStoreOutcome;

typedef void (*GroupClaimed)(void *argument, const GroupClaim *claim);
/* outcomes: one for each group that was to be stored, in order. */
typedef void (*GroupsStored)(void *argument, const GroupStoreOutcome *outcomes);

/* What the coordinator needs from the world. Callbacks come later, never from within the call, once. */
typedef struct GroupBackend {
    void *context;
    int64_t (*now_ms)(void *context);
    /* Makes this agent the group's coordinator, with a higher epoch, and loads it. */
    void (*claim)(void *context, Slice name, bool create, GroupClaimed done, void *argument);
    /* Writes the groups' present generations and members; what it needs of them it copies before it
       returns. */
    void (*store)(void *context, Group *const *groups, size_t count, GroupsStored done, void *argument);
    /* 36 characters that nobody has been given before. */
    void (*unique)(void *context, char *out);
    /* Something is due: call groups_tick() before long, and not from here. */
    void (*wake)(void *context);
} GroupBackend;

/* Copied at creation; groups_configure() changes them later. */
typedef struct GroupOptions {
    int64_t initial_delay_ms; /* how long a group without members waits for more than its first */
    size_t members_max;       /* of one group */
    size_t group_bytes_max;   /* memory of one group */
    size_t bytes_max;         /* memory of all */
} GroupOptions;

/* Totals since the start, and what is in memory now. */
typedef struct GroupCounts {
    size_t groups;
    size_t members;
    size_t bytes;
    uint64_t rebalances; /* generations that were assigned */
    uint64_t expired;    /* members removed because they were silent */
    uint64_t stores;
    uint64_t stores_failed;
    uint64_t loads;
} GroupCounts;

Groups *groups_new(const GroupOptions *options, const GroupBackend *backend);
void groups_configure(Groups *groups, const GroupOptions *options);
/* Only when no backend call is under way. */
void groups_free(Groups *groups);

/* Does all that is due and says in how many ms the next thing is; GROUPS_NEVER_MS when nothing is. */
int64_t groups_tick(Groups *groups);
/* Forgets every group; who waits is told NOT_COORDINATOR. This agent may not be the coordinator any more. */
void groups_forget(Groups *groups);
/* Asks the brain whether the group of that name is still this coordinator's; null: all of them. */
void groups_check(Groups *groups, Slice name);
GroupCounts groups_count(const Groups *groups);

/* Finds the group, or loads it; opened() may come before this returns. create: make it when it is missing. */
void groups_open(Groups *groups, Slice name, bool create, GroupOpening *opening);

/* These are for a group that is open. */
void group_join(Group *group, const GroupJoin *join, GroupWait *wait);
void group_sync(Group *group, const GroupSync *sync, GroupWait *wait);
MUST_CHECK KafkaError group_heartbeat(Group *group, Slice member_id, Slice instance_id, int32_t generation);
/* One member of a LeaveGroup; group_left() when all were tried. */
MUST_CHECK KafkaError group_leave(Group *group, Slice member_id, Slice instance_id);
void group_left(Group *group);

/* The client is gone; the wait is not answered any more. */
void group_abandon(GroupWait *wait);

/* An offset commit of the member was accepted: as good as a heartbeat. Does nothing for a group that is not
 * in memory. */
void group_heard(Groups *groups, Slice group, Slice member_id, int32_t generation);

/* For the backend, handlers and tests. */
/* False while the brain is asked for it. */
bool group_is_loaded(const Group *group);
int32_t group_id(const Group *group);
int32_t group_coordinator_epoch(const Group *group);
GroupState group_state(const Group *group);
int32_t group_generation(const Group *group);
Slice group_protocol_type(const Group *group);
Slice group_protocol_name(const Group *group);
Slice group_leader_id(const Group *group);
size_t group_member_count(const Group *group);
const GroupMember *group_first(const Group *group);
const GroupMember *group_next(const GroupMember *member);
GroupStoredMember group_member_stored(const GroupMember *member);
/* What the member says beside the protocol that was chosen; null when it says none. */
Slice group_member_metadata(const GroupMember *member);
/* In memory; NULL when it is not. */
Group *groups_find(Groups *groups, Slice name);

#endif
