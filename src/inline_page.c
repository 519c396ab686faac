/* inline_page.c: pages of the inline ring that a backend has for itself.
 *
 * To find room for a row, PostgreSQL looks at pages that others fill, too, then makes the table one page
 * longer: for rows that fill a page each, that is most of what writing them costs. A backend that writes much
 * reserves a run of pages at the table's end in one step, and fills one after the other: those that it needs
 * now, and the more of those to come the more it has written. One that writes little shares pages with
 * others, as in any table: a page for each client that writes one record would be a waste.
 *
 * Reserved pages that are never filled, because the slot turns or the backend goes, are zeros until the table
 * is truncated. To PostgreSQL that is what a crash leaves of a table that was just made longer: readers pass
 * over such pages, and another writer may take one for its own. So whoever comes second sees that a page is
 * taken, and goes on to the next.
 *
 * What is written is what heap_insert() would write, with its WAL record. */
#include "compat.h"
#include "inline_page.h"

#include "access/heapam_xlog.h"
#include "access/hio.h"
#include "access/genam.h"
#include "access/xact.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "pgstat.h"
#include "relation.h"
#include "relation_extend.h"
#include "storage/bufmgr.h"
#include "storage/predicate.h"
#include "tables.h"
#include "utils/rel.h"

enum { MUCH_BYTES = 8 * BLCKSZ, AHEAD_PART = 4, AHEAD_MAX = 64 };

typedef struct PageRun {
    Oid table;
    Oid file;            /* the table's: another one once it was truncated */
    size_t bytes;        /* written to it by this backend */
    BlockNumber ahead;   /* pages to reserve beyond those that the call needs */
    BlockRun left;       /* reserved, not filled */
    BlockNumber partial; /* the page that has room, as far as this backend knows */
    Size room;
} PageRun;

/* Of the slot that this backend wrote to last. */
static PageRun run;

/* VACUUM, where somebody calls for it, cuts empty pages off a table's end; but not while we hold the writer's
 * lock, so looking once is enough. */
static void run_forget_cut(BlockNumber blocks)
{
    if (run.left.end > blocks) {
        run.left.next = run.left.end;
    }
    if (run.partial >= blocks) {
        run.room = 0;
    }
}

/* While an index is being made beside the ring's own (REINDEX CONCURRENTLY does so, and then drops the old
 * one), each row has to be in both. */
static bool table_has_one_index(Relation table)
{
    List *indexes = RelationGetIndexList(table);
    bool has_one = list_length(indexes) == 1;
    list_free(indexes);
    return has_one;
}

bool inline_page_begin(Relation table, size_t bytes)
{
    if (run.table != RelationGetRelid(table) || run.file != compat_file_number(table)) {
        run = (PageRun){ .table = RelationGetRelid(table), .file = compat_file_number(table) };
    }
    run_forget_cut(RelationGetNumberOfBlocks(table));
    run.ahead = (BlockNumber)Min(run.bytes / BLCKSZ / AHEAD_PART, AHEAD_MAX);
    run.bytes += bytes;
    return run.bytes >= MUCH_BYTES && RelationNeedsWAL(table) && !RelationIsLogicallyLogged(table) &&
           table_has_one_index(table);
}

static Buffer page_lock_partial(Relation table, Size size)
{
    if (size > run.room) {
        return InvalidBuffer;
    }
    Buffer buffer = ReadBuffer(table, run.partial);
    LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
    Page page = BufferGetPage(buffer);
    if (!PageIsNew(page) && !PageIsAllVisible(page) && PageGetHeapFreeSpace(page) >= size) {
        return buffer;
    }
    UnlockReleaseBuffer(buffer);
    run.room = 0;
    return InvalidBuffer;
}

/* The page is read, though it was made of zeros a moment ago: what another writer has put on it may not be in
 * shared buffers any more, and is not to be taken for nothing. */
static Buffer page_lock_reserved(Relation table, BlockNumber needed)
{
    for (;;) {
        if (run.left.next == run.left.end) {
            run.left = relation_extend(table, Max(needed, run.ahead));
        }
        Buffer buffer = ReadBuffer(table, run.left.next++);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        if (PageIsNew(BufferGetPage(buffer))) {
            return buffer;
        }
        UnlockReleaseBuffer(buffer);
    }
}

typedef struct PieceWriter {
    Relation table;
    Relation index;
    IndexInfo *index_info;
    HeapTupleData row;
} PieceWriter;

/* As the table's own insert makes it; one after the other is made in the same place. */
static void writer_begin(PieceWriter *writer, Relation table, const char *index)
{
    HeapTupleHeader header = palloc0(MaxHeapTupleSize);
    header->t_infomask = HEAP_HASVARWIDTH | HEAP_XMAX_INVALID;
    header->t_hoff = MAXALIGN(SizeofHeapTupleHeader);
    HeapTupleHeaderSetNatts(header, Natts_inline);
    HeapTupleHeaderSetXmin(header, GetCurrentTransactionId());
    HeapTupleHeaderSetCmin(header, GetCurrentCommandId(true));
    HeapTupleHeaderSetXmax(header, InvalidTransactionId);
    writer->table = table;
    writer->index = index_open(streamhouse_relation(index), RowExclusiveLock);
    writer->index_info = BuildIndexInfo(writer->index);
    writer->row = (HeapTupleData){ .t_tableOid = RelationGetRelid(table), .t_data = header };
}

static void writer_end(PieceWriter *writer)
{
    index_close(writer->index, NoLock);
    pfree(writer->row.t_data);
}

static void row_form(HeapTuple row, const InlineWrite *write, size_t start, Slice piece)
{
    uint8 *columns = (uint8 *)row->t_data + row->t_data->t_hoff;
    InlineRow fields = { .object_id = write->object_id,
                         .written_at = write->written_at,
                         .byte_start = (int32)start };
    memcpy(columns, &fields, sizeof(fields));
    SET_VARSIZE(columns + offsetof(InlineRow, bytes_size), VARHDRSZ + piece.size);
    memcpy(columns + sizeof(fields), piece.data, piece.size);
    row->t_len = row->t_data->t_hoff + sizeof(fields) + piece.size;
}

static XLogRecPtr page_log(Buffer buffer, HeapTuple row, bool is_new)
{
    xl_heap_insert insert = { .offnum = ItemPointerGetOffsetNumber(&row->t_self) };
    xl_heap_header header = { row->t_data->t_infomask2, row->t_data->t_infomask, row->t_data->t_hoff };
    XLogBeginInsert();
    XLogRegisterData((char *)&insert, SizeOfHeapInsert);
    XLogRegisterBuffer(0, buffer, REGBUF_STANDARD | (is_new ? REGBUF_WILL_INIT : 0));
    XLogRegisterBufData(0, (char *)&header, SizeOfHeapHeader);
    XLogRegisterBufData(0, (char *)row->t_data + SizeofHeapTupleHeader, row->t_len - SizeofHeapTupleHeader);
    XLogSetRecordFlags(XLOG_INCLUDE_ORIGIN);
    return XLogInsert(RM_HEAP_ID, XLOG_HEAP_INSERT | (is_new ? XLOG_HEAP_INIT_PAGE : 0));
}

static void page_fill(Relation table, Buffer buffer, HeapTuple row)
{
    Page page = BufferGetPage(buffer);
    bool is_new = PageIsNew(page);
    START_CRIT_SECTION();
    if (is_new) {
        PageInit(page, BufferGetPageSize(buffer), 0);
    }
    RelationPutHeapTuple(table, buffer, row, false);
    MarkBufferDirty(buffer);
    XLogRecPtr logged = page_log(buffer, row, is_new);
    PageSetLSN(page, logged); /* a macro that looks twice */
    END_CRIT_SECTION();
    if (!is_new || PageGetHeapFreeSpace(page) > run.room) {
        run.partial = BufferGetBlockNumber(buffer);
        run.room = PageGetHeapFreeSpace(page);
    }
}

static void row_index(PieceWriter *writer, const InlineWrite *write, size_t start)
{
    Datum values[] = { Int64GetDatum(write->object_id), Int32GetDatum((int32)start) };
    bool nulls[] = { false, false };
    (void)index_insert(writer->index, values, nulls, &writer->row.t_self, writer->table, UNIQUE_CHECK_YES,
                       false, writer->index_info);
}

/* needed: pages for this row and those that follow. */
static void row_put(PieceWriter *writer, BlockNumber needed)
{
    Buffer buffer = page_lock_partial(writer->table, MAXALIGN(writer->row.t_len));
    if (!BufferIsValid(buffer)) {
        buffer = page_lock_reserved(writer->table, needed);
    }
    page_fill(writer->table, buffer, &writer->row);
    UnlockReleaseBuffer(buffer);
}

/* Conflicts are looked for before and after, as heap_multi_insert() does: a serializable transaction may
 * begin to read the whole table after the first look, and have seen its end before the first page is there.
 */
void inline_page_write(Relation table, const char *index, const InlineWrite *write)
{
    PieceWriter writer;
    writer_begin(&writer, table, index);
    CheckForSerializableConflictIn(table, NULL, InvalidBlockNumber);
    for (size_t start = 0; start < write->batches.size; start += INLINE_PIECE_BYTES) {
        size_t left = write->batches.size - start;
        row_form(&writer.row, write, start,
                 slice_of(write->batches.data + start, Min(INLINE_PIECE_BYTES, left)));
        row_put(&writer, (BlockNumber)(left / INLINE_PIECE_BYTES + 1));
        row_index(&writer, write, start);
        pgstat_count_heap_insert(table, 1);
        CHECK_FOR_INTERRUPTS();
    }
    CheckForSerializableConflictIn(table, NULL, InvalidBlockNumber);
    writer_end(&writer);
}
