/* segment.c: finds segments by offset and by time, for many partitions a call. Every step is a descent of
 * segment's primary key (topic_id, partition, end_offset): the segment at an offset is the first whose end
 * lies beyond it, and running_max_timestamp never falls along the key, so a time is found by halving. */
#include "compat.h"

#include "catalog/pg_type.h"
#include "key_scan.h"
#include "marker.h"
#include "request_array.h"
#include "result_rows.h"
#include "segment.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(sh_find_segments);
PG_FUNCTION_INFO_V1(sh_list_offsets);

/* Segments given for one partition in a call, and partitions asked for in one. */
enum { FIND_SEGMENTS_MAX = 4096, FIND_REQUESTS_MAX = 1000000 };

/* Kafka's special timestamps of ListOffsets. */
enum { TIME_LATEST = -1, TIME_EARLIEST = -2, TIME_MAX = -3, TIME_EARLIEST_LOCAL = -4 };

static const KeyScanSpec partition_by_key = {
    "partition", "partition_pkey", 2, { KEY_INT4_EQUAL, KEY_INT4_EQUAL }
};
static const KeyScanSpec lease_by_key = { "lease", "lease_pkey", 2, { KEY_INT4_EQUAL, KEY_INT4_EQUAL } };
static const KeyScanSpec segment_by_partition = {
    "segment", "segment_pkey", 2, { KEY_INT4_EQUAL, KEY_INT4_EQUAL }
};
static const KeyScanSpec segment_beyond_offset = {
    "segment", "segment_pkey", 3, { KEY_INT4_EQUAL, KEY_INT4_EQUAL, KEY_INT8_BEYOND }
};
static const KeyScanSpec object_by_id = { "object", "object_pkey", 1, { KEY_INT8_EQUAL } };

void finder_open(Finder *finder)
{
    key_scan_open(&finder->partitions, &partition_by_key, AccessShareLock);
    key_scan_open(&finder->ends, &segment_by_partition, AccessShareLock);
    key_scan_open(&finder->segments, &segment_beyond_offset, AccessShareLock);
    key_scan_open(&finder->leases, &lease_by_key, AccessShareLock);
    key_scan_open(&finder->objects, &object_by_id, AccessShareLock);
    finder->object_id = -1;
}

void finder_close(Finder *finder)
{
    key_scan_close(&finder->objects);
    key_scan_close(&finder->leases);
    key_scan_close(&finder->segments);
    key_scan_close(&finder->ends);
    key_scan_close(&finder->partitions);
}

static Segment segment_read(KeyScan *scan)
{
    return (Segment){ .base_offset = key_scan_int64(scan, Anum_segment_base_offset),
                      .end_offset = key_scan_int64(scan, Anum_segment_end_offset),
                      .object_id = key_scan_int64(scan, Anum_segment_object_id),
                      .byte_start = key_scan_int32(scan, Anum_segment_byte_start),
                      .byte_length = key_scan_int32(scan, Anum_segment_byte_length),
                      .leader_epoch = key_scan_int32(scan, Anum_segment_leader_epoch),
                      .max_timestamp = key_scan_int64(scan, Anum_segment_max_timestamp),
                      .running_max_timestamp = key_scan_int64(scan, Anum_segment_running_max_timestamp),
                      .slot = DatumGetInt16(key_scan_column(scan, Anum_segment_slot)) };
}

static void scan_set_partition(KeyScan *scan, Datum topic_id, Datum partition)
{
    key_scan_set(scan, 0, topic_id);
    key_scan_set(scan, 1, partition);
}

/* Turns to a partition and reads where it begins and ends; false when there is none. */
bool finder_turn(Finder *finder, Datum topic_id, Datum partition)
{
    scan_set_partition(&finder->partitions, topic_id, partition);
    if (!key_scan_seek(&finder->partitions, ForwardScanDirection)) {
        return false;
    }
    scan_set_partition(&finder->ends, topic_id, partition);
    scan_set_partition(&finder->segments, topic_id, partition);
    scan_set_partition(&finder->leases, topic_id, partition);
    finder->log_start_offset = key_scan_int64(&finder->partitions, Anum_partition_log_start_offset);
    finder->high_watermark = key_scan_int64(&finder->partitions, Anum_partition_floor_offset);
    finder->has_last = key_scan_seek(&finder->ends, BackwardScanDirection);
    finder->last = (Segment){ .running_max_timestamp = -1 };
    if (finder->has_last) {
        finder->last = segment_read(&finder->ends);
        finder->high_watermark = Max(finder->high_watermark, finder->last.end_offset);
    }
    return true;
}

/* The segment that has the offset, or the first one after it. */
bool finder_seek(Finder *finder, int64 offset, Segment *segment)
{
    key_scan_set(&finder->segments, 2, Int64GetDatum(offset));
    if (!key_scan_seek(&finder->segments, ForwardScanDirection)) {
        return false;
    }
    *segment = segment_read(&finder->segments);
    return true;
}

bool finder_next(Finder *finder, Segment *segment)
{
    if (!key_scan_next(&finder->segments, ForwardScanDirection)) {
        return false;
    }
    *segment = segment_read(&finder->segments);
    return true;
}

static int32 finder_lease_epoch(Finder *finder)
{
    return key_scan_seek(&finder->leases, ForwardScanDirection)
               ? key_scan_int32(&finder->leases, Anum_lease_epoch)
               : -1;
}

/* Neighbouring segments are often in one object. */
Datum finder_object_key(Finder *finder, int64 object_id)
{
    if (finder->object_id == object_id) {
        return finder->object_key;
    }
    key_scan_set(&finder->objects, 0, Int64GetDatum(object_id));
    if (!key_scan_seek(&finder->objects, ForwardScanDirection)) {
        ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
                errmsg("object " INT64_FORMAT " of a segment does not exist", object_id));
    }
    finder->object_id = object_id;
    finder->object_key = key_scan_column(&finder->objects, Anum_object_key);
    return finder->object_key;
}

/* The columns that both functions have: where a segment is, its key null when that is the inline ring. */
static void segment_put(Finder *finder, const Segment *segment, Datum *values, bool *nulls)
{
    enum { KEY = 3 };
    values[0] = Int64GetDatum(segment->base_offset);
    values[1] = Int64GetDatum(segment->end_offset);
    values[2] = Int64GetDatum(segment->object_id);
    nulls[KEY] = segment->slot != 0;
    values[KEY] = nulls[KEY] ? (Datum)0 : finder_object_key(finder, segment->object_id);
    values[4] = Int32GetDatum(segment->byte_start);
    values[5] = Int32GetDatum(segment->byte_length);
}

enum {
    FIND_COLUMNS = 11,
    FIND_REQUEST = 0,
    FIND_SEGMENT_FIRST = 1,
    FIND_LOG_START = 8,
    FIND_HIGH_WATERMARK = 9,
    FIND_SLOT = 10
};

/* segment is NULL when there is none to give. */
static void find_put(Finder *finder, ResultRows *rows, int request, const Segment *segment)
{
    Datum values[FIND_COLUMNS] = { [FIND_REQUEST] = Int32GetDatum(request),
                                   [FIND_LOG_START] = Int64GetDatum(finder->log_start_offset),
                                   [FIND_HIGH_WATERMARK] = Int64GetDatum(finder->high_watermark) };
    bool nulls[FIND_COLUMNS] = { false };
    if (segment) {
        segment_put(finder, segment, &values[FIND_SEGMENT_FIRST], &nulls[FIND_SEGMENT_FIRST]);
        values[FIND_LOG_START - 1] = Int32GetDatum(segment->leader_epoch);
        values[FIND_SLOT] = Int16GetDatum(segment->slot);
    } else {
        memset(&nulls[FIND_SEGMENT_FIRST], true, FIND_LOG_START - FIND_SEGMENT_FIRST);
        nulls[FIND_SLOT] = true;
    }
    result_rows_put(rows, values, nulls);
}

typedef struct FindBudget {
    int64 request_bytes; /* left of the request's */
    bool is_first;       /* nothing was given yet */
} FindBudget;

static void find_request(Finder *finder, ResultRows *rows, int request, int64 offset, int64 max_bytes,
                         FindBudget *budget)
{
    Segment segment;
    int given = 0;
    if (offset > finder->high_watermark) {
        marker_require_history();
    }
    bool found = offset >= finder->log_start_offset && offset < finder->high_watermark &&
                 finder_seek(finder, offset, &segment);
    while (found && given < FIND_SEGMENTS_MAX &&
           (budget->is_first || (max_bytes > 0 && budget->request_bytes > 0))) {
        find_put(finder, rows, request, &segment);
        given++;
        max_bytes -= segment.byte_length;
        budget->request_bytes -= segment.byte_length;
        budget->is_first = false;
        found = finder_next(finder, &segment);
    }
    if (given == 0) {
        find_put(finder, rows, request, NULL);
    }
}

Datum sh_find_segments(PG_FUNCTION_ARGS)
{
    RequestArray topic_ids = request_array(fcinfo, 0, FIND_REQUESTS_MAX);
    RequestArray partitions = request_array(fcinfo, 1, FIND_REQUESTS_MAX);
    RequestArray offsets = request_array(fcinfo, 2, FIND_REQUESTS_MAX);
    RequestArray max_bytes = request_array(fcinfo, 3, FIND_REQUESTS_MAX);
    FindBudget budget = { PG_GETARG_INT64(4), true };
    ResultRows rows = result_rows_open(fcinfo);
    Finder finder;
    request_arrays_check(topic_ids, partitions);
    request_arrays_check(topic_ids, offsets);
    request_arrays_check(topic_ids, max_bytes);
    finder_open(&finder);
    for (int i = 0; i < topic_ids.count; i++) {
        if (finder_turn(&finder, Int32GetDatum(((const int32 *)topic_ids.data)[i]),
                        Int32GetDatum(((const int32 *)partitions.data)[i]))) {
            find_request(&finder, &rows, i + 1, ((const int64 *)offsets.data)[i],
                         ((const int32 *)max_bytes.data)[i], &budget);
        }
        CHECK_FOR_INTERRUPTS();
    }
    finder_close(&finder);
    return (Datum)0;
}

/* The first segment at whose end the partition has seen the timestamp. Every segment that ends at or before
 * low has not; the one at high has. */
static void finder_halve(Finder *finder, int64 timestamp, Segment *segment)
{
    int64 low = finder->log_start_offset;
    int64 high = Max(low, finder->last.base_offset);
    *segment = finder->last;
    while (low < high) {
        int64 middle = low + (high - low) / 2;
        if (!finder_seek(finder, middle, segment)) {
            break;
        }
        if (segment->running_max_timestamp >= timestamp) {
            high = Min(middle, segment->base_offset);
        } else {
            low = segment->end_offset;
        }
    }
    (void)finder_seek(finder, Max(low, high), segment);
}

/* The first segment with a record of the timestamp or a later one. Where that was the doing of a segment
 * which is deleted by now, the next that has one itself is stepped to. */
bool finder_seek_time(Finder *finder, int64 timestamp, Segment *segment)
{
    if (!finder->has_last || finder->last.end_offset <= finder->log_start_offset ||
        finder->last.running_max_timestamp < timestamp) {
        return false;
    }
    finder_halve(finder, timestamp, segment);
    bool found = true;
    while (found && segment->max_timestamp < timestamp) {
        CHECK_FOR_INTERRUPTS();
        found = finder_next(finder, segment);
    }
    return found;
}

/* The segment with the largest timestamp. The running maximum says which, unless the segment that reached it
 * is deleted: then all that are left are looked at. */
static bool finder_seek_max_time(Finder *finder, Segment *segment)
{
    Segment next;
    if (finder->last.running_max_timestamp < 0 || !finder_seek(finder, finder->log_start_offset, segment)) {
        return false;
    }
    if (finder_seek_time(finder, finder->last.running_max_timestamp, &next)) {
        *segment = next;
        return true;
    }
    (void)finder_seek(finder, finder->log_start_offset, segment);
    while (finder_next(finder, &next)) {
        CHECK_FOR_INTERRUPTS();
        if (next.max_timestamp > segment->max_timestamp) {
            *segment = next;
        }
    }
    return segment->max_timestamp >= 0;
}

enum {
    LIST_COLUMNS = 12,
    LIST_OFFSET = 1,
    LIST_TIMESTAMP,
    LIST_LEADER_EPOCH,
    LIST_LOG_START,
    LIST_SEGMENT_FIRST,
    LIST_SLOT = 11
};

static void list_put(Finder *finder, ResultRows *rows, int request, int64 offset, int64 timestamp,
                     int32 leader_epoch, const Segment *segment)
{
    Datum values[LIST_COLUMNS] = { Int32GetDatum(request), Int64GetDatum(offset), Int64GetDatum(timestamp),
                                   Int32GetDatum(leader_epoch), Int64GetDatum(finder->log_start_offset) };
    bool nulls[LIST_COLUMNS] = { false };
    if (segment) {
        segment_put(finder, segment, &values[LIST_SEGMENT_FIRST], &nulls[LIST_SEGMENT_FIRST]);
        values[LIST_SLOT] = Int16GetDatum(segment->slot);
    } else {
        memset(&nulls[LIST_SEGMENT_FIRST], true, LIST_COLUMNS - LIST_SEGMENT_FIRST);
    }
    nulls[LIST_OFFSET] = nulls[LIST_TIMESTAMP] = offset < 0;
    result_rows_put(rows, values, nulls);
}

static void list_earliest(Finder *finder, ResultRows *rows, int request)
{
    Segment first;
    bool found = finder->has_last && finder_seek(finder, finder->log_start_offset, &first);
    list_put(finder, rows, request, finder->log_start_offset, -1,
             found ? first.leader_epoch : finder_lease_epoch(finder), NULL);
}

static void list_by_time(Finder *finder, ResultRows *rows, int request, int64 timestamp)
{
    Segment segment;
    bool found = timestamp == TIME_MAX ? finder_seek_max_time(finder, &segment)
                                       : timestamp >= 0 && finder_seek_time(finder, timestamp, &segment);
    if (!found) {
        list_put(finder, rows, request, -1, -1, finder_lease_epoch(finder), NULL);
        return;
    }
    list_put(finder, rows, request, segment.base_offset,
             timestamp == TIME_MAX ? segment.max_timestamp : timestamp, segment.leader_epoch, &segment);
}

static void list_request(Finder *finder, ResultRows *rows, int request, int64 timestamp)
{
    if (timestamp == TIME_LATEST) {
        list_put(finder, rows, request, finder->high_watermark, -1, finder_lease_epoch(finder), NULL);
    } else if (timestamp == TIME_EARLIEST || timestamp == TIME_EARLIEST_LOCAL) {
        list_earliest(finder, rows, request);
    } else {
        list_by_time(finder, rows, request, timestamp);
    }
}

Datum sh_list_offsets(PG_FUNCTION_ARGS)
{
    RequestArray topic_ids = request_array(fcinfo, 0, FIND_REQUESTS_MAX);
    RequestArray partitions = request_array(fcinfo, 1, FIND_REQUESTS_MAX);
    RequestArray timestamps = request_array(fcinfo, 2, FIND_REQUESTS_MAX);
    ResultRows rows = result_rows_open(fcinfo);
    Finder finder;
    request_arrays_check(topic_ids, partitions);
    request_arrays_check(topic_ids, timestamps);
    finder_open(&finder);
    for (int i = 0; i < topic_ids.count; i++) {
        if (finder_turn(&finder, Int32GetDatum(((const int32 *)topic_ids.data)[i]),
                        Int32GetDatum(((const int32 *)partitions.data)[i]))) {
            list_request(&finder, &rows, i + 1, ((const int64 *)timestamps.data)[i]);
        }
        CHECK_FOR_INTERRUPTS();
    }
    finder_close(&finder);
    return (Datum)0;
}
