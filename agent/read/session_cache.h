/* session_cache.h: the fetch sessions of an agent, bounded in number and in bytes. When there is no room, one
 * that nobody used for two minutes goes; or the smallest of those that are older than that, if it is smaller
 * than the one that comes; else the one that comes gets no session, and its client fetches everything each
 * time. */
#ifndef STREAMHOUSE_SESSION_CACHE_H
#define STREAMHOUSE_SESSION_CACHE_H

#include "agent/read/session.h"

enum { SESSION_EVICTION_MS = 2 * 60 * 1000 };

typedef struct SessionCache {
    FetchSession *by_id;
    FetchSession *oldest; /* by last use */
    size_t count;
    size_t bytes;
    size_t reserved; /* for what fetches under way have brought */
    int64_t partitions;
    size_t count_max;
    size_t bytes_max;
} SessionCache;

void session_cache_init(SessionCache *cache, size_t count_max, size_t bytes_max);
/* Lets go of all. */
void session_cache_free(SessionCache *cache);
/* Other bounds; what is above them goes, the longest unused first. */
void session_cache_limit(SessionCache *cache, size_t count_max, size_t bytes_max);

/* Before memory is taken for what a request names: so much of it may be under way at a time as may be kept.
 * False when it may not; otherwise it is given back when the request's fetch ends. */
bool session_cache_reserve(SessionCache *cache, size_t bytes);
void session_cache_give_back(SessionCache *cache, size_t bytes);

/* Takes a reference to the session and gives it an id. False when there is no room. */
bool session_cache_add(SessionCache *cache, FetchSession *session, int64_t now_ms);
/* NULL when there is none. */
FetchSession *session_cache_find(const SessionCache *cache, int32_t id);
/* It was used, and may have grown. False when there is no room for it as it is now: it has gone. */
bool session_cache_touch(SessionCache *cache, FetchSession *session, int64_t now_ms);
/* Harmless when it is not there. */
void session_cache_remove(SessionCache *cache, FetchSession *session);

#endif
