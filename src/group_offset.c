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
    *offsets = (GroupOffsets){ 0 };
    key_scan_open(&offsets->rows, &offset_from_commit, RowExclusiveLock);
    group_offsets_choose(offsets, group_id);
}

void group_offsets_choose(GroupOffsets *offsets, int32 group_id)
{
    offsets->group_id = group_id;
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

/* What is to be done with one row of group_offset, and what became of it. */
enum { STATE_OPEN = 0, STATE_BUSY = 14, STATE_MISSING = -1 };

typedef struct OffsetRow {
    int32 group_id;
    int32 topic_id;
    int32 partition;
    int place; /* in the arguments, from 0 */
    int request;
    int state;
} OffsetRow;

/* The arguments of group_offset_write(), checked. */
typedef struct OffsetRequest {
    RequestArray states;
    RequestArray requests;
    RequestArray group_ids;
    RequestArray topic_ids;
    RequestArray partitions;
    RequestArray offsets;
    RequestArray epochs;
    Datum *metadata;
    Datum *member_ids;
    OffsetRow
        *rows; /* of those that are to be written, sorted: equal ones next to each other, the last one last */
    int row_count;
} OffsetRequest;

static Datum *text_elements(FunctionCallInfo fcinfo, int argument, int count)
{
    Datum *elements;
    bool *nulls;
    int found;
    deconstruct_array(PG_GETARG_ARRAYTYPE_P(argument), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls,
                      &found);
    request_arrays_check((RequestArray){ NULL, count }, (RequestArray){ NULL, found });
    for (int i = 0; i < found; i++) {
        elements[i] = nulls[i] ? CStringGetTextDatum("") : elements[i];
    }
    return elements;
}

static int row_compare(const void *a, const void *b)
{
    const OffsetRow *left = a;
    const OffsetRow *right = b;
    int order = (left->group_id > right->group_id) - (left->group_id < right->group_id);
    order = order ? order : (left->topic_id > right->topic_id) - (left->topic_id < right->topic_id);
    order = order ? order : (left->partition > right->partition) - (left->partition < right->partition);
    return order ? order : left->place - right->place;
}

static bool row_is_same(const OffsetRow *a, const OffsetRow *b)
{
    return a->group_id == b->group_id && a->topic_id == b->topic_id && a->partition == b->partition;
}

static void request_read(FunctionCallInfo fcinfo, OffsetRequest *asked)
{
    *asked = (OffsetRequest){ .states = request_array(fcinfo, 0, OFFSETS_MAX),
                              .requests = request_array(fcinfo, 1, OFFSETS_MAX),
                              .group_ids = request_array(fcinfo, 2, OFFSETS_MAX),
                              .topic_ids = request_array(fcinfo, 4, OFFSETS_MAX),
                              .partitions = request_array(fcinfo, 5, OFFSETS_MAX),
                              .offsets = request_array(fcinfo, 6, OFFSETS_MAX),
                              .epochs = request_array(fcinfo, 7, OFFSETS_MAX) };
    request_arrays_check(asked->states, asked->requests);
    request_arrays_check(asked->states, asked->topic_ids);
    request_arrays_check(asked->states, asked->partitions);
    request_arrays_check(asked->states, asked->offsets);
    request_arrays_check(asked->states, asked->epochs);
    asked->member_ids = text_elements(fcinfo, 3, asked->group_ids.count);
    asked->metadata = text_elements(fcinfo, 8, asked->states.count);
}

static void request_sort(OffsetRequest *asked)
{
    asked->rows = palloc(Max(asked->states.count, 1) * sizeof(OffsetRow));
    for (int i = 0; i < asked->states.count; i++) {
        int request = ((const int32 *)asked->requests.data)[i] - 1;
        if (((const int32 *)asked->states.data)[i] != STATE_OPEN) {
            continue;
        }
        if (request < 0 || request >= asked->group_ids.count) {
            ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                    errmsg("there is no request %d", request + 1));
        }
        asked->rows[asked->row_count++] =
            (OffsetRow){ .group_id = ((const int32 *)asked->group_ids.data)[request],
                         .topic_id = ((const int32 *)asked->topic_ids.data)[i],
                         .partition = ((const int32 *)asked->partitions.data)[i],
                         .place = i,
                         .request = request,
                         .state = STATE_BUSY };
    }
    qsort(asked->rows, asked->row_count, sizeof(OffsetRow), row_compare);
}

/* Locks and replaces one row. True when it has a successor that a newer snapshot will see. */
static bool row_write(GroupOffsets *offsets, const OffsetRequest *asked, OffsetRow *row)
{
    group_offsets_choose(offsets, row->group_id);
    if (!group_offsets_turn(offsets, row->topic_id, row->partition, 0)) {
        row->state = STATE_MISSING;
        return false;
    }
    OffsetLock lock = group_offsets_lock(offsets);
    if (lock == OFFSET_LOCKED) {
        Datum member_id = asked->member_ids[row->request];
        OffsetCommit commit = { ((const int64 *)asked->offsets.data)[row->place],
                                ((const int32 *)asked->epochs.data)[row->place], asked->metadata[row->place],
                                VARSIZE_ANY_EXHDR(DatumGetPointer(member_id)) > 0
                                    ? TextDatumGetCString(member_id)
                                    : NULL };
        group_offsets_commit(offsets, &commit);
        row->state = STATE_OPEN;
    }
    return lock == OFFSET_MOVED;
}

/* All that are still to be written, under one new snapshot. Of equal ones the last counts. */
static bool rows_write(const OffsetRequest *asked, bool *moved)
{
    GroupOffsets offsets;
    bool busy = false;
    *moved = false;
    PushActiveSnapshot(GetLatestSnapshot());
    group_offsets_open(&offsets, 0);
    for (int i = 0; i < asked->row_count; i++) {
        OffsetRow *row = &asked->rows[i];
        bool is_last = i + 1 == asked->row_count || !row_is_same(row, row + 1);
        if (is_last && row->state == STATE_BUSY) {
            *moved = row_write(&offsets, asked, row) || *moved;
            busy = busy || row->state == STATE_BUSY;
        }
    }
    group_offsets_close(&offsets);
    PopActiveSnapshot();
    CommandCounterIncrement();
    return busy;
}

/* Nothing is waited for but what the caller allows; what has just got a successor is looked for once more. */
static void rows_write_until(const OffsetRequest *asked, TimestampTz deadline)
{
    bool moved;
    while (rows_write(asked, &moved) && (moved || GetCurrentTimestamp() < deadline)) {
        CHECK_FOR_INTERRUPTS();
        if (!moved) {
            pg_usleep(RETRY_MS * 1000L);
        }
    }
}

/* group_offset_write(states, requests, group_ids, member_ids, topic_ids, partitions, offsets, leader_epochs,
 * metadata, wait_ms) */
Datum streamhouse_group_offset_write(PG_FUNCTION_ARGS)
{
    OffsetRequest asked;
    request_read(fcinfo, &asked);
    request_sort(&asked);
    rows_write_until(&asked, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(9)));
    Datum *states = palloc(Max(asked.states.count, 1) * sizeof(Datum));
    for (int i = 0; i < asked.states.count; i++) {
        states[i] = Int32GetDatum(((const int32 *)asked.states.data)[i]);
    }
    for (int i = asked.row_count - 1; i >= 0; i--) {
        OffsetRow *row = &asked.rows[i];
        if (i + 1 < asked.row_count && row_is_same(row, row + 1)) {
            row->state = row[1].state;
        }
        states[row->place] = Int32GetDatum(row->state);
    }
    PG_RETURN_ARRAYTYPE_P(
        construct_array(states, asked.states.count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}
