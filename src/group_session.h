/* group_session.h: the groups of which this session is a member, and what it knows about its part of them.
 * See group_session.c. */
#ifndef STREAMHOUSE_GROUP_SESSION_H
#define STREAMHOUSE_GROUP_SESSION_H

#include "postgres.h"

#include "access/xact.h"
#include "datatype/timestamp.h"
#include "utils/array.h"

enum { MEMBER_ID_SIZE = 64, POLL_LIMIT_MS = 5 * 60 * 1000 };

typedef enum OffsetReset { RESET_EARLIEST, RESET_LATEST, RESET_NONE } OffsetReset;

/* A partition that the session is to have. */
typedef struct GroupPartition {
    int32 topic_id;
    int32 partition;
    const char *topic;
    int64 commit_id;   /* of the row in group_offset, when last seen; 0: never */
    int64 position;    /* where to go on from when nothing is committed by itself; -1: what is committed */
    int64 position_of; /* the commit_id it follows: with another one, somebody else has committed since */
    SubTransactionId moved_in; /* the position was, in this transaction */
} GroupPartition;

/* What a session joins with. */
typedef struct GroupJoin {
    ArrayType *topics; /* text[]; NULL: as before */
    char *regex;       /* NULL: as before, empty: none */
    char *assignor;
    char *auto_offset_reset; /* NULL: as before, or earliest */
    int32 poll_limit_ms;     /* 0: as before, or POLL_LIMIT_MS */
} GroupJoin;

typedef struct GroupSession {
    struct GroupSession *next;
    char *name;
    int32 group_id;
    char member_id[MEMBER_ID_SIZE];
    bool is_member;             /* as far as the session knows */
    SubTransactionId joined_in; /* in this transaction */
    Oid role;                   /* the last one that was found to have the right to use the group */
    GroupJoin join;             /* the last one, in memory of the session's */
    OffsetReset reset;
    TimestampTz checked_at;   /* the group was looked after */
    SubTransactionId seen_in; /* in this transaction */
    TimestampTz seen_at;      /* a row said that this member is alive */
    bool is_known;            /* what follows is of the version */
    int64 version;
    MemoryContext context; /* of the partitions */
    GroupPartition *partitions;
    int partition_count;
    int turn; /* where the next poll begins */
} GroupSession;

/* By its name; ERROR for a name that it has not. NULL: earliest. */
extern OffsetReset group_reset_named(const char *name);

/* NULL: the session never joined a group of that name. */
extern GroupSession *group_session_find(const char *name);

/* Joins the group, or changes the subscription; only where the running call owns its transaction. Writes
 * rows. */
extern GroupSession *group_session_join(const char *name, const GroupJoin *join);

/* ERROR 42501 when the caller may not use the group: the session may have changed its role since it joined.
 */
extern void group_session_authorize(GroupSession *session);

/* Whether a subscription would be another one. */
extern bool group_session_differs(const GroupSession *session, ArrayType *topics);

/* Looks after the group, once a second; for calls that own their transaction. */
extern void group_session_check(GroupSession *session);

/* Leaves a trace of a poll, a few times per poll limit. */
extern void group_session_seen(GroupSession *session);

/* Whether the active snapshot sees the version that the partitions are of. */
extern bool group_session_is_current(const GroupSession *session);

/* Reads the partitions again, as the active snapshot sees them, if they changed. ERROR SH110 when the session
 * is no member any more. */
extern void group_session_refresh(GroupSession *session);

/* ERROR: not a member, and cannot become one here. */
extern void group_session_require_block(const char *name);

/* Goes on from what is committed. */
extern void group_position_forget(GroupPartition *partition);

extern void group_session_forget(GroupSession *session);

/* Called once by _PG_init. */
extern void group_session_init(void);

#endif
