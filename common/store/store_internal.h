/* store_internal.h: what store.c (queues, deadlines, results) and its two drivers (folder_driver.c,
 * s3_driver.c) share. For nobody else. */
#ifndef STREAMHOUSE_STORE_INTERNAL_H
#define STREAMHOUSE_STORE_INTERNAL_H

#include "common/arena.h"
#include "common/store/store.h"
#include "common/store/store_url.h"

enum { STORE_DESCRIPTION_MAX = 2048 }; /* a URL and an endpoint */

/* Operations of one lane share a limit, so that cold reads never hold up writes. */
typedef enum StoreLaneKind { LANE_PUT, LANE_GET, LANE_JOB, LANE_COUNT } StoreLaneKind;

/* QUEUED: waits for its lane. RUNNING: the driver has it. ENDED: waits for its callback. */
typedef enum StoreCallState { CALL_QUEUED, CALL_RUNNING, CALL_ENDED, CALL_STATE_COUNT } StoreCallState;

typedef struct StoreCallList {
    StoreCall *first;
    StoreCall *last;
    int count;
} StoreCallList;

struct StoreCall {
    Store *store;
    StoreCall *previous;
    StoreCall *next;
    StoreCallState state;
    StoreOperation operation;
    StoreCallback callback;
    void *arg;

    char key[STORE_KEY_MAX + 1]; /* LIST: the prefix */
    char start_after[STORE_KEY_MAX + 1];
    Slice *slices;
    size_t slice_count;
    uint64_t bytes; /* PUT: of all slices */
    uint64_t start;
    uint64_t length;
    size_t tail_bytes;
    int max;
    bool if_absent;
    bool key_is_unique;

    bool is_cancelled;
    uint64_t began_ns;
    uint64_t deadline_at_ms; /* by uv_now() */
    StoreResult result;
    Arena arena;   /* entries of a list */
    void *driving; /* the driver's own, while RUNNING */
};

typedef struct StoreDriver {
    /* Starts a call that became RUNNING; must lead to one store_call_end(), now or later. */
    void (*start)(StoreCall *call);
    /* Leads to store_call_end() soon: is_cancelled, or its deadline passed. */
    void (*stop)(StoreCall *call);
    /* No call is running; store_driver_closed() when nothing is left in the loop. */
    void (*close)(Store *store);
} StoreDriver;

typedef struct StoreLane {
    StoreCallList queue;
    int running;
    int parallel;     /* now allowed at once */
    int parallel_max; /* by the options */
    int streak;       /* calls that went well since the limit last moved */
    uint64_t slowed_at_ms;
} StoreLane;

struct Store {
    uv_loop_t *loop;
    const StoreDriver *driver;
    void *driving; /* the driver's own */
    StoreUrl url;
    StoreOptions options; /* numbers and enums; strings are in arena, and resolved */
    Arena arena;
    char *description;
    StoreLane lanes[LANE_COUNT];
    StoreCallList running;
    StoreCallList ended;
    uv_timer_t deliver; /* to call back from the loop and not from within a call */
    uv_timer_t tick;    /* looks for deadlines, while there are calls */
    bool is_conditional;
    bool is_closing;
    bool is_pumping;
    int open_handles;
    void (*closed)(void *arg);
    void *closed_arg;
    Status refusal;
    StoreMetrics metrics;
};

/* Makes the driver's part of a store; nothing is left when it fails. */
MUST_CHECK Status folder_driver_open(Store *store);
MUST_CHECK Status s3_driver_open(Store *store);

/* The driver is through with a call. The rest of call->result is set before; the callback comes from the
 * loop. */
void store_call_end(StoreCall *call, Status status);

void store_driver_closed(Store *store);

/* The server asked for fewer requests: halves what the call's lane allows, at most once a second. */
void store_slow_down(StoreCall *call);
/* An attempt went well: raises the limit again, slowly. */
void store_speed_up(StoreCall *call);

#endif
