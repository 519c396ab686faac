/* segment.h: finds a partition's segments by offset and by time. See segment.c. */
#ifndef STREAMHOUSE_SEGMENT_H
#define STREAMHOUSE_SEGMENT_H

#include "postgres.h"

#include "key_scan.h"

typedef struct Segment {
    int64 base_offset;
    int64 end_offset;
    int64 object_id;
    int32 byte_start;
    int32 byte_length;
    int32 leader_epoch;
    int64 max_timestamp;
    int64 running_max_timestamp;
    int16 slot; /* 0: in an object, else in the inline ring */
} Segment;

/* One partition's scans; the partition they are set to; what its rows say. */
typedef struct Finder {
    KeyScan partitions;
    KeyScan ends;
    KeyScan segments;
    KeyScan leases;
    KeyScan objects;
    int64 log_start_offset;
    int64 high_watermark;
    bool has_last;
    Segment last;
    int64 object_id; /* of object_key; -1 at first */
    Datum object_key;
} Finder;

/* Sees what the snapshot sees that is active now. */
extern void finder_open(Finder *finder);
extern void finder_close(Finder *finder);

/* Turns to a partition and reads where it begins and ends; false when there is none. */
extern bool finder_turn(Finder *finder, Datum topic_id, Datum partition);

/* The segment that has the offset, or the first one after it; then those that follow. */
extern bool finder_seek(Finder *finder, int64 offset, Segment *segment);
extern bool finder_next(Finder *finder, Segment *segment);

/* The first segment with a record of the timestamp or a later one. */
extern bool finder_seek_time(Finder *finder, int64 timestamp, Segment *segment);

/* The key of an object, a text; valid until the next call. */
extern Datum finder_object_key(Finder *finder, int64 object_id);

#endif
