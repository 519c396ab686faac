/* segments.h: where a partition's records are: pointers to runs of offsets in objects or in PostgreSQL, asked
 * of the brain and kept in windows of consecutive ones, so that a reader going forward asks seldom. */
#ifndef STREAMHOUSE_SEGMENTS_H
#define STREAMHOUSE_SEGMENTS_H

#include "agent/catalog/topic.h"
#include "agent/read/cache.h"

typedef struct SegmentRef {
    int64_t base_offset;
    int64_t end_offset; /* exclusive */
    int64_t object_id;  /* of the object, or of the row in the inline ring */
    int16_t slot;       /* 0: in an object; else of the inline ring */
    char *key;          /* "" when inline */
    int32_t byte_start; /* in the object or row */
    int32_t byte_length;
    int32_t leader_epoch;
    /* Where a reader left off: the batch that begins at hint_position (in the segment) has hint_offset as its
     * base. */
    int64_t hint_offset;
    int32_t hint_position;
} SegmentRef;

/* What one lookup gave for one partition: every segment that overlaps from_offset .. to_offset. */
struct SegmentWindow {
    Partition *partition;
    SegmentWindow *prev; /* in Partition.segments */
    SegmentWindow *next;
    SegmentWindow *older; /* over all partitions, by last use */
    SegmentWindow *newer;
    int64_t from_offset;
    int64_t to_offset;
    int32_t count;
    SegmentRef refs[];
};

typedef struct Segments {
    SegmentWindow *oldest;
    size_t bytes;
    size_t bytes_max;
} Segments;

/* What the cache is asked for; the key is the pointer's. */
static inline CacheObject segment_object(const SegmentRef *ref)
{
    return (CacheObject){
        .object_id = ref->object_id,
        .slot = ref->slot,
        .key = ref->key,
        .start = (uint64_t)ref->byte_start,
        .length = (uint64_t)ref->byte_length,
    };
}

enum { SEGMENT_WINDOWS_MAX = 4 /* of one partition: that many readers do not disturb each other */ };

void segments_init(Segments *segments, size_t bytes_max);
void segments_free(Segments *segments);

/* Takes refs (their keys are copied), in order of offsets, as the answer to a lookup at from_offset. */
void segments_keep(Segments *segments, Partition *partition, int64_t from_offset, const SegmentRef *refs,
                   int32_t count);

/* The segment that holds the offset, or the next one when the offset fell in a gap; NULL when that must be
 * looked up. Valid until the next segments_keep() or segments_drop(). */
SegmentRef *segments_find(Segments *segments, Partition *partition, int64_t offset);

/* Forgets a partition's pointers: its topic went, or an object was not there any more. */
void segments_drop(Segments *segments, Partition *partition);

#endif
