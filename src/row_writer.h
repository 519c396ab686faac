/* row_writer.h: inserts many rows into a table and its indexes, as COPY does, without planner and executor.
 * Rows that are broken by a constraint are the caller's fault: only unique indexes are checked. */
#ifndef STREAMHOUSE_ROW_WRITER_H
#define STREAMHOUSE_ROW_WRITER_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

/* Rows held back before they are written together. */
enum { ROW_WRITER_ROWS = 256 };

typedef struct RowWriter {
    Relation table;
    ResultRelInfo *result;
    EState *estate;
    MemoryContext rows; /* values of the rows held back */
    int used;
    int slot_count;
    TupleTableSlot *slots[ROW_WRITER_ROWS];
} RowWriter;

extern void row_writer_open(RowWriter *writer, const char *table);

/* An empty row to fill: set tts_values and tts_isnull of every column, built in writer->rows, then put it. */
extern TupleTableSlot *row_writer_row(RowWriter *writer);
extern void row_writer_put(RowWriter *writer);

static inline void row_set(TupleTableSlot *row, AttrNumber column, Datum value)
{
    row->tts_values[column - 1] = value;
    row->tts_isnull[column - 1] = false;
}

/* Puts a new version of a row in the place of the one in old, which the caller has locked. */
extern void row_writer_replace(RowWriter *writer, TupleTableSlot *old, TupleTableSlot *new);

/* A row like the one found, to change and to put in its place. */
extern TupleTableSlot *row_copy(Relation table, TupleTableSlot *found);

/* Puts the changed row in the place of the one found, as UPDATE does: waits for whoever has locked it. False,
 * and nothing was done, when somebody has changed or deleted it. The caller checks constraints. */
extern bool row_replace(Relation table, TupleTableSlot *found, TupleTableSlot *changed);

/* Writes what is held back. */
extern void row_writer_flush(RowWriter *writer);

/* Likewise, and is done. */
extern void row_writer_close(RowWriter *writer);

#endif
