/* inline_move.c: puts segments of an object in the place of inline ones. Each is taken away if it is still
 * there, by its key; then those that are neighbours in the log, and in the object, are written as one. */
#include "compat.h"
#include "inline.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "commit_call.h"
#include "common/int.h"
#include "fmgr.h"
#include "key_scan.h"
#include "request_array.h"
#include "row_writer.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(streamhouse_move_segments);

enum { MOVES_MAX = 100000 };

static const KeyScanSpec segment_by_key = {
    "segment", "segment_pkey", 3, { KEY_INT4_EQUAL, KEY_INT4_EQUAL, KEY_INT8_EQUAL }
};

static bool segment_find(KeyScan *segment, int32 topic_id, int32 partition, int64 end_offset, int64 object_id)
{
    key_scan_set(segment, 0, Int32GetDatum(topic_id));
    key_scan_set(segment, 1, Int32GetDatum(partition));
    key_scan_set(segment, 2, Int64GetDatum(end_offset));
    return key_scan_seek(segment, ForwardScanDirection) &&
           key_scan_int64(segment, Anum_segment_object_id) == object_id &&
           DatumGetInt16(key_scan_column(segment, Anum_segment_slot)) > 0;
}

/* As it is to be in the object, where its batches begin at byte_start. */
static CommitSegment segment_read(KeyScan *segment, int32 byte_start)
{
    return (CommitSegment){
        .topic_id = key_scan_int32(segment, Anum_segment_topic_id),
        .partition = key_scan_int32(segment, Anum_segment_partition),
        .base_offset = key_scan_int64(segment, Anum_segment_base_offset),
        .end_offset = key_scan_int64(segment, Anum_segment_end_offset),
        .byte_start = byte_start,
        .byte_length = key_scan_int32(segment, Anum_segment_byte_length),
        .batches = key_scan_int32(segment, Anum_segment_batches),
        .leader_epoch = key_scan_int32(segment, Anum_segment_leader_epoch),
        .max_timestamp = key_scan_int64(segment, Anum_segment_max_timestamp),
        .running_max_timestamp = key_scan_int64(segment, Anum_segment_running_max_timestamp),
    };
}

/* Waits for whoever is about to delete it; false when he did, or this call has already. */
static bool segment_take(KeyScan *segment)
{
    TM_FailureData failure;
    TM_Result result = table_tuple_delete(segment->table, &segment->slot->tts_tid, GetCurrentCommandId(true),
                                          GetActiveSnapshot(), InvalidSnapshot, true, &failure, false);
    return result == TM_Ok;
}

static int moved_compare(const void *left, const void *right)
{
    const CommitSegment *a = left;
    const CommitSegment *b = right;
    if (a->topic_id != b->topic_id) {
        return a->topic_id < b->topic_id ? -1 : 1;
    }
    if (a->partition != b->partition) {
        return a->partition < b->partition ? -1 : 1;
    }
    return a->end_offset < b->end_offset ? -1 : a->end_offset > b->end_offset;
}

/* Makes one of both, if they are neighbours. */
static bool moved_join(CommitSegment *run, const CommitSegment *next)
{
    int32 byte_length;
    int32 batches;
    if (next->topic_id != run->topic_id || next->partition != run->partition ||
        next->base_offset != run->end_offset || next->leader_epoch != run->leader_epoch ||
        next->byte_start != (int64)run->byte_start + run->byte_length ||
        pg_add_s32_overflow(run->byte_length, next->byte_length, &byte_length) ||
        pg_add_s32_overflow(run->batches, next->batches, &batches)) {
        return false;
    }
    run->end_offset = next->end_offset;
    run->byte_length = byte_length;
    run->batches = batches;
    run->max_timestamp = Max(run->max_timestamp, next->max_timestamp);
    run->running_max_timestamp = Max(run->running_max_timestamp, next->running_max_timestamp);
    return true;
}

static void moved_write_all(CommitSegment *moved, int count, int64 object_id)
{
    RowWriter writer;
    qsort(moved, count, sizeof(CommitSegment), moved_compare);
    row_writer_open(&writer, "segment");
    for (int i = 0; i < count;) {
        CommitSegment run = moved[i++];
        while (i < count && moved_join(&run, &moved[i])) {
            i++;
        }
        segment_put(&writer, object_id, 0, &run);
    }
    row_writer_close(&writer);
}

/* streamhouse.move_segments(object_id, topic_ids, partitions, end_offsets, object_ids, byte_starts) */
Datum streamhouse_move_segments(PG_FUNCTION_ARGS)
{
    KeyScan segment;
    int count = 0;
    RequestArray arrays[5];
    for (int i = 0; i < (int)lengthof(arrays); i++) {
        arrays[i] = request_array(fcinfo, i + 1, MOVES_MAX);
        request_arrays_check(arrays[0], arrays[i]);
    }
    const int32 *topic_ids = arrays[0].data;
    const int32 *partitions = arrays[1].data;
    const int64 *end_offsets = arrays[2].data;
    const int64 *object_ids = arrays[3].data;
    const int32 *byte_starts = arrays[4].data;
    CommitSegment *moved = palloc((arrays[0].count + 1) * sizeof(CommitSegment));
    key_scan_open(&segment, &segment_by_key, RowExclusiveLock);
    for (int i = 0; i < arrays[0].count; i++) {
        if (segment_find(&segment, topic_ids[i], partitions[i], end_offsets[i], object_ids[i])) {
            moved[count] = segment_read(&segment, byte_starts[i]);
            count += segment_take(&segment);
        }
        CHECK_FOR_INTERRUPTS();
    }
    key_scan_close(&segment);
    moved_write_all(moved, count, PG_GETARG_INT64(0));
    PG_RETURN_INT64(count);
}
