/* session.h: a fetch session (KIP-227): what a client wants to read, kept between its fetches, so that
 * neither it nor we go over thousands of partitions for the few that have news. A session is a client's view:
 * it is found by id and epoch (session_cache.h), holds topics by name or by id, and remembers what the client
 * was told last.
 *
 * A partition is quiet when its reader stands at its end and knows as much as we do. Quiet ones cost nothing:
 * the session is told when one moves. All others are ready, in a line: a fetch looks at them from its head,
 * and those that gave records go to its end, so that each gets its turn however little a reply may hold. */
#ifndef STREAMHOUSE_SESSION_H
#define STREAMHOUSE_SESSION_H

#include <uthash.h>

#include "agent/read/fetch_wait.h"
#include "agent/read/fetcher.h"

enum {
    SESSION_ID_NONE = 0,
    SESSION_EPOCH_FIRST = 0,  /* a full fetch, to begin a session */
    SESSION_EPOCH_FINAL = -1, /* a full fetch without a session */
};

typedef struct FetchSession FetchSession;
typedef struct SessionPartition SessionPartition;

/* A topic as the client names it: by id when the session is by ids, else by name. */
typedef struct SessionTopicName {
    Slice name;
    const uint8_t *uuid;
} SessionTopicName;

typedef struct SessionTopic {
    UT_hash_handle hh; /* in the session, by name or uuid */
    char *name;        /* NULL when by id */
    uint8_t uuid[16];
    Topic *topic;                 /* held; NULL when there is none */
    SessionPartition *partitions; /* by index */
} SessionTopic;

struct SessionPartition {
    FetchItem item; /* first: its address is the SessionPartition's */
    FetchWait wait;
    FetchSession *session;
    SessionTopic *topic;
    int32_t index;
    int32_t leader_epoch;        /* that the client has seen; -1 none */
    int64_t sent_high_watermark; /* what the client was told last */
    int64_t sent_log_start_offset;
    bool ready;
    bool news;              /* in the answer that is being made */
    SessionPartition *prev; /* in the session's line of ready ones */
    SessionPartition *next;
    UT_hash_handle hh;
};

/* What a fetch asks of one partition. */
typedef struct SessionAsk {
    int32_t index;
    int32_t leader_epoch;
    int64_t offset;
    int64_t bytes_max;
} SessionAsk;

struct FetchSession {
    /* The cache's. */
    int32_t id; /* SESSION_ID_NONE: in no cache */
    UT_hash_handle hh;
    FetchSession *prev; /* by last use */
    FetchSession *next;
    int64_t created_ms;
    int64_t used_ms;
    size_t cached_bytes; /* counted by the cache */
    int32_t cached_partitions;

    int32_t epoch; /* that the next fetch must have */
    bool by_id;
    int32_t partition_count;
    size_t bytes;
    SessionTopic *topics;
    SessionPartition *ready;
    SessionPartition *unjoined; /* the first ready one that the fetch under way has not seen */
    uint32_t generation;        /* the fetcher's, when quiet ones were found so */
    uint32_t references;
    /* Whose fetch is under way; told when a quiet partition moves. */
    void *owner;
    void (*moved)(void *owner);
};

/* The next epoch: 1 follows the largest. */
int32_t session_epoch_next(int32_t epoch);

/* One reference; NULL when memory is short. */
FetchSession *session_new(bool by_id);
FetchSession *session_hold(FetchSession *session);
void session_release(FetchSession *session);

/* What so many partitions and topics take at most. */
size_t session_estimate(int32_t partitions, int32_t topics);

/* Takes a partition in, or changes what is asked of it; either way it is ready. False when memory is short.
 */
MUST_CHECK bool session_put(FetchSession *session, const SessionTopicName *name, const SessionAsk *ask);
/* Nothing happens when it is not there. */
void session_forget(FetchSession *session, const SessionTopicName *name, int32_t index);

/* The topic of that name or id; NULL when there is none. */
typedef Topic *(*SessionFind)(void *context, const SessionTopic *topic);
/* Looks at the partition before it is fetched: sets item.error and item.elsewhere. */
typedef void (*SessionCheck)(void *context, SessionPartition *partition);

typedef struct SessionLook {
    SessionFind find;
    SessionCheck check;
    void *context;
    uint32_t generation; /* the fetcher's */
} SessionLook;

/* A fetch begins: every ready partition is to be looked at anew. */
void session_begin(FetchSession *session);
/* The next ready partition that the fetch has not seen, resolved and checked; NULL when it has seen them all.
 * After a doubt all partitions are ready. */
SessionPartition *session_next(FetchSession *session, const SessionLook *look);

/* The fetch of these items ends. Marks those that the client is to be told of (all: every one), lets go of
 * quiet ones, sends those that gave records to the end of the line. Returns how many are marked. */
int32_t session_settle(FetchItem *const *items, int32_t count, bool all);

#endif
