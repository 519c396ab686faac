/* group_offset.c: finds, locks and replaces rows of streamhouse.group_offset.
 *
 * A partition has one row that is visible. A commit deletes it and inserts the next, with commit_id one
 * higher, so that the index has them in order and the newest is found at once, whatever an old snapshot keeps
 * of the others. Whoever gets the lock of a row has the newest one: had it a successor, it would be deleted.
 * A lock is never waited for here, so that nobody is held up by a transaction that has polled and rests. */
#include "compat.h"
#include "group_offset.h"

#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "request_array.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(streamhouse_group_offset_write);

enum { OFFSETS_MAX = 1000000, RETRY_MS = 2 };

static const KeyScanSpec offset_from_commit = {
    "group_offset", "group_offset_pkey", 4, { KEY_INT4_EQUAL, KEY_INT4_EQUAL, KEY_INT4_EQUAL, KEY_INT8_FROM }
};

void group_offsets_open(GroupOffsets *offsets, int32 group_id)
{
    *offsets = (GroupOffsets){ .group_id = group_id };
    key_scan_open(&offsets->rows, &offset_from_commit, RowExclusiveLock);
    key_scan_set(&offsets->rows, 0, Int32GetDatum(group_id));
}

void group_offsets_close(GroupOffsets *offsets)
{
    if (offsets->is_writing) {
        row_writer_close(&offsets->writer);
    }
    key_scan_close(&offsets->rows);
}

bool group_offsets_turn(GroupOffsets *offsets, int32 topic_id, int32 partition, int64 commit_id)
{
    offsets->topic_id = topic_id;
    offsets->partition = partition;
    key_scan_set(&offsets->rows, 1, Int32GetDatum(topic_id));
    key_scan_set(&offsets->rows, 2, Int32GetDatum(partition));
    key_scan_set(&offsets->rows, 3, Int64GetDatum(commit_id));
    bool found = key_scan_seek(&offsets->rows, commit_id > 0 ? ForwardScanDirection : BackwardScanDirection);
    if (!found && commit_id > 0) {
        return group_offsets_turn(offsets, topic_id, partition, 0);
    }
    if (found) {
        offsets->commit_id = key_scan_int64(&offsets->rows, Anum_group_offset_commit_id);
        offsets->committed_offset = key_scan_int64(&offsets->rows, Anum_group_offset_committed_offset);
    }
    return found;
}

OffsetLock group_offsets_lock(GroupOffsets *offsets)
{
    TM_Result result = key_scan_lock(&offsets->rows, LockWaitSkip);
    return result == TM_Ok ? OFFSET_LOCKED : result == TM_WouldBlock ? OFFSET_BUSY : OFFSET_MOVED;
}

void group_offsets_commit(GroupOffsets *offsets, const OffsetCommit *commit)
{
    if (!offsets->is_writing) {
        row_writer_open(&offsets->writer, "group_offset");
        offsets->is_writing = true;
    }
    simple_table_tuple_delete(offsets->rows.table, &offsets->rows.slot->tts_tid, GetActiveSnapshot());
    TupleTableSlot *row = row_writer_row(&offsets->writer);
    MemoryContext before = MemoryContextSwitchTo(offsets->writer.rows);
    offsets->commit_id++;
    row_set(row, Anum_group_offset_group_id, Int32GetDatum(offsets->group_id));
    row_set(row, Anum_group_offset_topic_id, Int32GetDatum(offsets->topic_id));
    row_set(row, Anum_group_offset_partition, Int32GetDatum(offsets->partition));
    row_set(row, Anum_group_offset_commit_id, Int64GetDatum(offsets->commit_id));
    row_set(row, Anum_group_offset_committed_offset, Int64GetDatum(commit->offset));
    row_set(row, Anum_group_offset_leader_epoch, Int32GetDatum(commit->leader_epoch));
    row_set(row, Anum_group_offset_metadata, commit->metadata);
    row_set(row, Anum_group_offset_member_id,
            commit->member_id ? CStringGetTextDatum(commit->member_id) : (Datum)0);
    row->tts_isnull[Anum_group_offset_member_id - 1] = !commit->member_id;
    row_set(row, Anum_group_offset_committed_at, TimestampTzGetDatum(GetCurrentTimestamp()));
    MemoryContextSwitchTo(before);
    row_writer_put(&offsets->writer);
}

/* Tries until the deadline to lock the row and replace it, with a new snapshot each time; false when it is
 * missing or stays busy. */
static bool offset_write(int32 group_id, int32 topic_id, int32 partition, const OffsetCommit *commit,
                         TimestampTz deadline)
{
    for (;;) {
        GroupOffsets offsets;
        PushActiveSnapshot(GetLatestSnapshot());
        group_offsets_open(&offsets, group_id);
        bool found = group_offsets_turn(&offsets, topic_id, partition, 0);
        OffsetLock lock = found ? group_offsets_lock(&offsets) : OFFSET_BUSY;
        if (lock == OFFSET_LOCKED) {
            group_offsets_commit(&offsets, commit);
        }
        group_offsets_close(&offsets);
        PopActiveSnapshot();
        if (lock == OFFSET_LOCKED || !found || (lock == OFFSET_BUSY && GetCurrentTimestamp() >= deadline)) {
            return lock == OFFSET_LOCKED;
        }
        CHECK_FOR_INTERRUPTS();
        if (lock == OFFSET_BUSY) {
            pg_usleep(RETRY_MS * 1000L);
        }
    }
}

/* group_offset_write(group_id, topic_ids, partitions, offsets, leader_epochs, metadata, member_id, wait_ms)
 */
Datum streamhouse_group_offset_write(PG_FUNCTION_ARGS)
{
    int32 group_id = PG_GETARG_INT32(0);
    RequestArray topic_ids = request_array(fcinfo, 1, OFFSETS_MAX);
    RequestArray partitions = request_array(fcinfo, 2, OFFSETS_MAX);
    RequestArray offsets = request_array(fcinfo, 3, OFFSETS_MAX);
    RequestArray epochs = request_array(fcinfo, 4, OFFSETS_MAX);
    TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(7));
    char *member_id = PG_ARGISNULL(6) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(6));
    Datum *metadata;
    bool *nulls;
    int metadata_count;
    request_arrays_check(topic_ids, partitions);
    request_arrays_check(topic_ids, offsets);
    request_arrays_check(topic_ids, epochs);
    deconstruct_array(PG_GETARG_ARRAYTYPE_P(5), TEXTOID, -1, false, TYPALIGN_INT, &metadata, &nulls,
                      &metadata_count);
    request_arrays_check(topic_ids, (RequestArray){ NULL, metadata_count });
    Datum *written = palloc(Max(topic_ids.count, 1) * sizeof(Datum));
    for (int i = 0; i < topic_ids.count; i++) {
        OffsetCommit commit = { ((const int64 *)offsets.data)[i], ((const int32 *)epochs.data)[i],
                                nulls[i] ? CStringGetTextDatum("") : metadata[i], member_id };
        written[i] = BoolGetDatum(offset_write(group_id, ((const int32 *)topic_ids.data)[i],
                                               ((const int32 *)partitions.data)[i], &commit, deadline));
        CommandCounterIncrement(); /* a partition may be named twice */
    }
    PG_RETURN_ARRAYTYPE_P(construct_array(written, topic_ids.count, BOOLOID, 1, true, TYPALIGN_CHAR));
}
