/* offset_gather.h: OffsetCommits of many connections on their way to the brain: while one call is under way,
 * the next one is gathered. */
#ifndef STREAMHOUSE_API_OFFSET_GATHER_H
#define STREAMHOUSE_API_OFFSET_GATHER_H

#include "agent/agent.h"
#include "common/slice.h"

typedef struct OffsetGather OffsetGather;

/* One partition's offset. error_code is what the client is told: COORDINATOR_LOAD_IN_PROGRESS as long as the
 * brain has not answered, or somebody had the partition. */
typedef struct OffsetEntry {
    int32_t topic_id;
    int32_t partition;
    int64_t offset;
    int32_t leader_epoch;
    Slice metadata;
    int16_t *error_code;
} OffsetEntry;

/* One request. All of it, and what it points to, is the caller's and stays until done is called. */
typedef struct OffsetCommitting {
    Slice group;
    Slice member_id;
    Slice instance_id; /* null: none */
    int32_t epoch;     /* generation or member epoch, -1: not a member */
    int16_t version;   /* of the API */
    OffsetEntry *entries;
    size_t count;
    /* Every entry has its error code. Called from the loop, never from within offset_gather_put(). */
    void (*done)(struct OffsetCommitting *committing);
    void *argument;

    /* offset_gather.c's own. */
    struct OffsetCommitting *next;
    size_t bytes;
    size_t first; /* entries from here to last are in the next call, or in the one under way */
    size_t last;
    int64_t due_ms;
    int tries;
    bool alone; /* in a call that failed */
} OffsetCommitting;

OffsetGather *offset_gather_new(Agent *agent);
/* Takes nothing any more, and tells those that wait; a call under way ends with its connection. */
void offset_gather_stop(OffsetGather *gather);
/* After the brain is closed. */
void offset_gather_free(OffsetGather *gather);

/* False when too much waits already: nothing was taken. */
bool offset_gather_put(OffsetGather *gather, OffsetCommitting *committing);

#endif
