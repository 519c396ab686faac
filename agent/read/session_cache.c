/* session_cache.c: sessions by id and by last use. */
#include "agent/read/session_cache.h"

#include <uv.h>

#include "agent/metrics.h"

void session_cache_init(SessionCache *cache, size_t count_max, size_t bytes_max)
{
    *cache = (SessionCache){ .count_max = count_max, .bytes_max = bytes_max };
}

static void cache_show(const SessionCache *cache)
{
    metric_set(METRIC_FETCH_SESSIONS, (double)cache->count);
    metric_set(METRIC_FETCH_SESSION_PARTITIONS, (double)cache->partitions);
    metric_set(METRIC_FETCH_SESSION_BYTES, (double)cache->bytes);
}

/* Counts a session as it is now. */
static void cache_count(SessionCache *cache, FetchSession *session)
{
    cache->bytes += session->bytes - session->cached_bytes;
    cache->partitions += session->partition_count - session->cached_partitions;
    session->cached_bytes = session->bytes;
    session->cached_partitions = session->partition_count;
    cache_show(cache);
}

void session_cache_remove(SessionCache *cache, FetchSession *session)
{
    if (session->id == SESSION_ID_NONE) {
        return;
    }
    HASH_DELETE(hh, cache->by_id, session);
    DL_DELETE(cache->oldest, session);
    cache->count--;
    cache->bytes -= session->cached_bytes;
    cache->partitions -= session->cached_partitions;
    session->id = SESSION_ID_NONE;
    cache_show(cache);
    session_release(session);
}

void session_cache_free(SessionCache *cache)
{
    while (cache->oldest) {
        session_cache_remove(cache, cache->oldest);
    }
}

static void cache_evict(SessionCache *cache, FetchSession *session)
{
    metric_add(METRIC_FETCH_SESSION_EVICTIONS, 1);
    session_cache_remove(cache, session);
}

void session_cache_limit(SessionCache *cache, size_t count_max, size_t bytes_max)
{
    cache->count_max = count_max;
    cache->bytes_max = bytes_max;
    while (cache->oldest && (cache->count > count_max || cache->bytes > bytes_max)) {
        cache_evict(cache, cache->oldest);
    }
}

/* The smallest of those that have had their time, if it is smaller than the newcomer. */
static FetchSession *cache_smaller(const SessionCache *cache, const FetchSession *newcomer, int64_t now_ms)
{
    FetchSession *session;
    FetchSession *smallest = NULL;
    DL_FOREACH(cache->oldest, session)
    {
        if (session != newcomer && now_ms - session->created_ms > SESSION_EVICTION_MS &&
            session->partition_count < newcomer->partition_count &&
            (!smallest || session->partition_count < smallest->partition_count)) {
            smallest = session;
        }
    }
    return smallest;
}

/* Room for bytes more and, if it is new, one session more. */
static bool cache_make_room(SessionCache *cache, const FetchSession *newcomer, size_t bytes, int64_t now_ms)
{
    size_t slots = newcomer->id == SESSION_ID_NONE ? 1 : 0;
    if (slots > cache->count_max || newcomer->bytes > cache->bytes_max) {
        return false;
    }
    while (cache->count + slots > cache->count_max || bytes > cache->bytes_max - cache->bytes) {
        FetchSession *unused = cache->oldest == newcomer ? newcomer->next : cache->oldest;
        FetchSession *victim = unused && now_ms - unused->used_ms > SESSION_EVICTION_MS
                                   ? unused
                                   : cache_smaller(cache, newcomer, now_ms);
        if (!victim) {
            return false;
        }
        cache_evict(cache, victim);
    }
    return true;
}

bool session_cache_reserve(SessionCache *cache, size_t bytes)
{
    if (cache->reserved > cache->bytes_max || bytes > cache->bytes_max - cache->reserved) {
        metric_add(METRIC_FETCH_SESSIONS_REFUSED, 1);
        return false;
    }
    cache->reserved += bytes;
    return true;
}

void session_cache_give_back(SessionCache *cache, size_t bytes)
{
    cache->reserved -= bytes;
}

/* Not to be guessed, and not that of another session. */
static int32_t cache_new_id(const SessionCache *cache)
{
    for (;;) {
        uint32_t random = 0;
        if (uv_random(NULL, NULL, &random, sizeof(random), 0, NULL) != 0) {
            return SESSION_ID_NONE;
        }
        int32_t id = (int32_t)(random & INT32_MAX);
        if (id != SESSION_ID_NONE && !session_cache_find(cache, id)) {
            return id;
        }
    }
}

bool session_cache_add(SessionCache *cache, FetchSession *session, int64_t now_ms)
{
    if (!cache_make_room(cache, session, session->bytes, now_ms)) {
        metric_add(METRIC_FETCH_SESSIONS_REFUSED, 1);
        return false;
    }
    int32_t id = cache_new_id(cache);
    if (id == SESSION_ID_NONE) {
        return false;
    }
    session_hold(session);
    session->id = id;
    session->created_ms = now_ms;
    session->used_ms = now_ms;
    session->cached_bytes = 0;
    session->cached_partitions = 0;
    HASH_ADD(hh, cache->by_id, id, sizeof(session->id), session);
    DL_APPEND(cache->oldest, session);
    cache->count++;
    cache_count(cache, session);
    return true;
}

FetchSession *session_cache_find(const SessionCache *cache, int32_t id)
{
    FetchSession *session;
    HASH_FIND(hh, cache->by_id, &id, sizeof(id), session);
    return session;
}

bool session_cache_touch(SessionCache *cache, FetchSession *session, int64_t now_ms)
{
    DL_DELETE(cache->oldest, session);
    DL_APPEND(cache->oldest, session);
    session->used_ms = now_ms;
    size_t more = session->bytes > session->cached_bytes ? session->bytes - session->cached_bytes : 0;
    if (more > 0 && !cache_make_room(cache, session, more, now_ms)) {
        cache_evict(cache, session);
        return false;
    }
    cache_count(cache, session);
    return true;
}
