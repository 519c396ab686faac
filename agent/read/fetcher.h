/* fetcher.h: the read path. A fetch of many partitions is served from memory; what is not there is looked up
 * in the brain and read from the store, and the fetch is tried again; one that found nothing new waits,
 * without polling, until a partition moves. */
#ifndef STREAMHOUSE_FETCHER_H
#define STREAMHOUSE_FETCHER_H

#include "agent/agent.h"
#include "agent/catalog/topic.h"
#include "agent/kafka/error.h"
#include "agent/read/collect.h"

typedef struct Fetcher Fetcher;
typedef struct FetchTask FetchTask;

/* One partition of a fetch. */
typedef struct FetchItem {
    /* The caller's. */
    Partition *partition; /* NULL with error set: not looked at */
    int64_t offset;
    int64_t bytes_max;
    KafkaError error;
    int32_t elsewhere; /* agent id: the caller had better fetch there; negative: here */
    /* The answer. */
    int64_t high_watermark;
    int64_t log_start_offset;
    size_t first_slice;
    size_t slice_count;
    /* The fetcher's. */
    bool verified; /* the brain was asked since this fetch came */
    int lookups;
} FetchItem;

/* The answer: items are filled; their slices are in the collection, which stays valid during the call. */
typedef void (*FetchAnswered)(void *argument, FetchItem *const *items, int32_t count,
                              const Collection *records);
/* Comes before every try, the first one too: may call fetch_add(). */
typedef void (*FetchPrepare)(void *argument, FetchTask *task);

typedef struct FetchRequest {
    /* Either items, which are waited for, all of them; or whoever comes with them as they have something to
     * look at, and calls fetch_wake() then. The memory is the caller's until the answer or fetch_cancel(). */
    FetchItem *items;
    int32_t count;
    FetchPrepare prepare;
    int64_t bytes_min; /* answer when this much is there */
    int64_t bytes_max; /* over all items, in their order; the first batch may pass it */
    int64_t wait_ms;   /* or after this time */
} FetchRequest;

Fetcher *fetcher_new(Agent *agent);
/* When brain and store are closed. */
void fetcher_free(Fetcher *fetcher);
/* From now on every fetch answers with what it has. */
void fetcher_drain(Fetcher *fetcher);
/* Starts nothing any more; callbacks under way may still come. */
void fetcher_stop(Fetcher *fetcher);
void fetcher_reload(Fetcher *fetcher);

/* The clients' sessions. */
struct SessionCache *fetcher_sessions(Fetcher *fetcher);

/* Starts a fetch; the answer comes exactly once, from the loop or from within this call. NULL when memory is
 * short, or when the answer was given already: started tells which. */
FetchTask *fetch_start(Fetcher *fetcher, const FetchRequest *request, FetchAnswered done, void *argument,
                       bool *started);
/* One more item. Its partition's topic is held until the fetch ends. False when memory is short. */
MUST_CHECK bool fetch_add(FetchTask *task, FetchItem *item);
/* Has it tried again in this turn of the loop. */
void fetch_wake(FetchTask *task);
/* No answer is wanted any more. */
void fetch_cancel(FetchTask *task);

/* Records were committed to the partition, it has another leader, or its topic is gone. */
void fetcher_moved(Fetcher *fetcher, Partition *partition);
/* The partition's log begins at a later offset from now on. */
void fetcher_trimmed(Fetcher *fetcher, Partition *partition, int64_t log_start_offset);
/* Movements may have been missed: high watermarks are asked for again. */
void fetcher_doubt(Fetcher *fetcher);
/* Rises with every doubt: what was known of a partition under an older one (Partition.watermark_age) is not
 * known any more. */
uint32_t fetcher_generation(const Fetcher *fetcher);
/* Partitions of the topic have another leader: who waits looks again. */
void fetcher_lead(Fetcher *fetcher, Topic *topic);
/* The topic was deleted, or a failover may have cost its end: forget its segments, wake who waits. */
void fetcher_forget(Fetcher *fetcher, Topic *topic);

/* A whole segment from cache or store, its batches patched. batches is empty on failure, and borrowed during
 * the call. Called from the loop, or from within fetcher_read_segment(). */
typedef void (*SegmentRead)(void *argument, const Status *status, Slice batches);
void fetcher_read_segment(Fetcher *fetcher, const SegmentRef *ref, SegmentRead done, void *argument);

#endif
