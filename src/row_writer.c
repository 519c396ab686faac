/* row_writer.c: many rows a page and a WAL record, then their index entries. */
#include "compat.h"
#include "row_writer.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "key_scan.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

void row_writer_open(RowWriter *writer, const char *table)
{
    writer->table = table_open(streamhouse_relation(table), RowExclusiveLock);
    writer->estate = CreateExecutorState();
    writer->result = makeNode(ResultRelInfo);
    InitResultRelInfo(writer->result, writer->table, 0, NULL, 0);
    ExecOpenIndices(writer->result, false);
    writer->rows = AllocSetContextCreate(CurrentMemoryContext, "StreamHouse rows", ALLOCSET_DEFAULT_SIZES);
    writer->used = 0;
    writer->slot_count = 0;
}

TupleTableSlot *row_writer_row(RowWriter *writer)
{
    if (writer->used == writer->slot_count) {
        writer->slots[writer->slot_count++] = table_slot_create(writer->table, NULL);
    }
    TupleTableSlot *slot = writer->slots[writer->used];
    ExecClearTuple(slot);
    return slot;
}

static void row_writer_index(RowWriter *writer, TupleTableSlot *slot)
{
    compat_insert_index_tuples(writer->result, slot, writer->estate);
    ResetPerTupleExprContext(writer->estate);
}

void row_writer_flush(RowWriter *writer)
{
    if (writer->used == 0) {
        return;
    }
    MemoryContext before = MemoryContextSwitchTo(writer->rows);
    table_multi_insert(writer->table, writer->slots, writer->used, GetCurrentCommandId(true), 0, NULL);
    MemoryContextSwitchTo(before);
    for (int i = 0; i < writer->used; i++) {
        row_writer_index(writer, writer->slots[i]);
        ExecClearTuple(writer->slots[i]);
    }
    writer->used = 0;
    MemoryContextReset(writer->rows);
}

void row_writer_put(RowWriter *writer)
{
    ExecStoreVirtualTuple(writer->slots[writer->used++]);
    if (writer->used == ROW_WRITER_ROWS) {
        row_writer_flush(writer);
    }
}

void row_writer_replace(RowWriter *writer, TupleTableSlot *old, TupleTableSlot *new)
{
    EPQState no_triggers = { 0 };
    ExecSimpleRelationUpdate(writer->result, writer->estate, &no_triggers, old, new);
}

TupleTableSlot *row_copy(Relation table, TupleTableSlot *found)
{
    TupleTableSlot *copy = table_slot_create(table, NULL);
    slot_getallattrs(found);
    memcpy(copy->tts_values, found->tts_values, sizeof(Datum) * found->tts_nvalid);
    memcpy(copy->tts_isnull, found->tts_isnull, sizeof(bool) * found->tts_nvalid);
    return ExecStoreVirtualTuple(copy);
}

bool row_replace(Relation table, TupleTableSlot *found, TupleTableSlot *changed)
{
    TM_FailureData failure;
    LockTupleMode mode;
    compat_index_update_t indexes;
    TM_Result result =
        table_tuple_update(table, &found->tts_tid, changed, GetCurrentCommandId(true), GetActiveSnapshot(),
                           InvalidSnapshot, true, &failure, &mode, &indexes);
    if (result == TM_Ok && indexes) {
        RowWriter writer;
        row_writer_open(&writer, RelationGetRelationName(table));
        row_writer_index(&writer, changed);
        row_writer_close(&writer);
    }
    return result == TM_Ok;
}

void row_writer_close(RowWriter *writer)
{
    row_writer_flush(writer);
    for (int i = 0; i < writer->slot_count; i++) {
        ExecDropSingleTupleTableSlot(writer->slots[i]);
    }
    ExecCloseIndices(writer->result);
    FreeExecutorState(writer->estate);
    MemoryContextDelete(writer->rows);
    table_close(writer->table, NoLock);
}
