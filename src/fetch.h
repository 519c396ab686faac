/* fetch.h: records of partitions, in order, from wherever their bytes are. For C: open with limits and a
 * function that takes records; fetch from as many positions as you like; close. See fetch.c. */
#ifndef STREAMHOUSE_FETCH_H
#define STREAMHOUSE_FETCH_H

#include "postgres.h"

#include "common/record.h"
#include "segment.h"
#include "utils/snapshot.h"

typedef struct FetchLimits {
    int64 records;
    int64 bytes; /* of keys, values and headers; the first record of all is given whatever its size */
} FetchLimits;

/* Takes a record, whose slices are valid until it returns. False: that was enough. */
typedef bool FetchPut(void *argument, const Record *record);

typedef struct Fetch {
    FetchLimits left;
    bool has_given;       /* at least one record */
    bool is_full;         /* a limit was reached, or put had enough */
    int64 from_timestamp; /* segments and batches without a record of this time or later are passed over;
                             PG_INT64_MIN: none */
    FetchPut *put;
    void *argument;
    Finder finder;
    bool has_snapshot;     /* one of its own is active: what the first one saw has moved */
    MemoryContext context; /* of the scans */
    MemoryContext batches;
} Fetch;

/* What became of a position. */
typedef struct FetchedPartition {
    bool exists;
    int64 log_start_offset;
    int64 high_watermark;
    int64 next_offset; /* to go on from */
} FetchedPartition;

/* Sees what the active snapshot sees; that one must stay active. */
extern void fetch_open(Fetch *fetch, FetchLimits limits, FetchPut *put, void *argument);
extern void fetch_close(Fetch *fetch);

/* Gives records of a partition from the offset from on, to its high watermark, or to the offset to if that
 * comes first (PG_INT64_MAX: no such end). A position before log_start_offset or after the high watermark
 * gives nothing: compare with what it returns. Checks no rights. */
extern FetchedPartition fetch_partition(Fetch *fetch, int32 topic_id, int32 partition, int64 from, int64 to);

#endif
