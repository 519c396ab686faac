/* fetcher_internal.h: what fetcher.c, fetch_task.c and fetch_lookup.c share. */
#ifndef STREAMHOUSE_FETCHER_INTERNAL_H
#define STREAMHOUSE_FETCHER_INTERNAL_H

#include "agent/read/fetcher.h"

/* A task in the list of a partition it waits for. */
struct FetchWait {
    FetchTask *task;
    FetchWait *prev;
    FetchWait *next;
};

struct FetchTask {
    Fetcher *fetcher;
    FetchTask *prev; /* in Fetcher.all */
    FetchTask *next;
    FetchTask *next_scheduled;
    uint32_t references; /* the caller's until answered, one per callback under way, one while scheduled */
    bool scheduled;
    bool finished; /* answered or cancelled: callbacks only let go */
    FetchRequest request;
    Topic **topics; /* held, one per item that has one: the items may be gone when the task ends */
    FetchAnswered done;
    void *argument;
    int64_t deadline_ms;
    int pending; /* lookups and loads under way */
    KafkaError load_error;
    Collection records;
    FetchWait *waits; /* one per item, NULL until it waits */
    uv_timer_t *timer;
};

struct Fetcher {
    Agent *agent;
    Segments segments;
    Cache *cache;
    Collector collector;
    uint32_t generation; /* high watermarks asked for in an older one are doubted */
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

/* Asks the brain about the marked items (item->lookups counts), then schedules the task. */
void fetch_lookup(FetchTask *task, const int32_t *items, size_t count);

#endif
