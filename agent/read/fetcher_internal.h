/* fetcher_internal.h: what fetcher.c, fetch_task.c, fetch_lookup.c and inline_read.c share. */
#ifndef STREAMHOUSE_FETCHER_INTERNAL_H
#define STREAMHOUSE_FETCHER_INTERNAL_H

#include "agent/read/fetch_wait.h"
#include "agent/read/fetcher.h"
#include "agent/read/session_cache.h"

/* A task in the list of a partition it waits for. */
typedef struct TaskWait {
    FetchWait wait; /* first: its address is the TaskWait's */
    FetchTask *task;
} TaskWait;

struct FetchTask {
    Fetcher *fetcher;
    FetchTask *prev; /* in Fetcher.all */
    FetchTask *next;
    FetchTask *next_scheduled;
    uint32_t references; /* the caller's until answered, one per callback under way, one while scheduled */
    bool scheduled;
    bool finished; /* answered or cancelled: callbacks only let go */
    FetchRequest request;
    FetchItem **items;
    Topic **topics; /* held, one per item that has one: the items may be gone when the task ends */
    int32_t count;  /* of items and topics */
    int32_t capacity;
    FetchAnswered done;
    void *argument;
    int64_t deadline_ms;
    int pending;    /* lookups and loads under way */
    int32_t *busy;  /* the same, of each item */
    int64_t bytes;  /* found by the last try */
    int moved_away; /* times that what its pointers named was gone */
    Collection records;
    TaskWait *waits; /* one per item of the request, NULL until it waits */
    uv_timer_t *timer;
};

/* A segment that PostgreSQL is to be asked for. */
typedef struct InlineRead {
    int64_t object_id;
    int16_t slot;
    int32_t start;
    int32_t length;
    CacheGot done;
    void *argument;
} InlineRead;

typedef struct InlineReads {
    InlineRead *reads;
    size_t count;
    size_t capacity;
} InlineReads;

struct Fetcher {
    Agent *agent;
    Segments segments;
    Cache *cache;
    Collector collector;
    SessionCache sessions;
    InlineReads inline_reads; /* to be asked for in this turn of the loop */
    uint32_t generation;      /* high watermarks asked for in an older one are doubted */
    bool draining;
    bool stopped;
    size_t tasks;
    FetchTask *all;
    FetchTask *scheduled;
    uv_timer_t *timer;
};

void fetcher_wake(Fetcher *fetcher, uint64_t delay_ms);

void fetch_task_try(FetchTask *task);
void fetch_task_schedule(FetchTask *task);
FetchTask *fetch_task_hold(FetchTask *task);
void fetch_task_release(FetchTask *task);

/* Has a segment read with others of this turn of the loop; false when it cannot be now. */
bool inline_read_add(Fetcher *fetcher, const CacheObject *object, CacheGot done, void *argument);
/* Asks for what was added. */
void inline_read_send(Fetcher *fetcher);
/* Ends what was added and not asked for. */
void inline_read_stop(Fetcher *fetcher);

/* Asks the brain about the marked items (item->lookups counts), then schedules the task. */
void fetch_lookup(FetchTask *task, const int32_t *items, size_t count);

#endif
