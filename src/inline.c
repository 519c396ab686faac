/* inline.c: bytes of record batches in PostgreSQL: the ring's rows, written and read.
 *
 * Which slot is filling is a row that changes seldom. A writer locks the slot that it wrote to last, then
 * looks with a newer snapshot whether that one is still filling, and if not lets go and turns to the one that
 * is. So once a slot has stopped filling and nobody holds a writer's lock on its table, nobody writes to it
 * ever again: that is how inline.sql seals it.
 *
 * Readers let go of their lock as soon as they have the bytes, so that a transaction that has read and then
 * rests keeps no slot from being emptied. Whoever comes after that finds nothing and looks its pointer up
 * once more.
 *
 * Bytes are cut into pieces that fill a page each: one tuple, one index entry and no TOAST table. TOAST would
 * make four times as many tuples of them, each written on its own. */
#include "compat.h"
#include "inline.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "fmgr.h"
#include "enum.h"
#include "inline_page.h"
#include "key_scan.h"
#include "request_array.h"
#include "result_rows.h"
#include "row_writer.h"
#include "setting.h"
#include "storage/lmgr.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(sh_read_inline);
PG_FUNCTION_INFO_V1(streamhouse_inline_append);

enum {
    KEPT_BYTES = 32 * 1024 * 1024,
    SIZE_CHECK_BYTES = 1024 * 1024,
    SIZE_CHECK_PART = 256,
    SLOT_FIRST = 1,
    READ_REQUESTS_MAX = 100000
};

static const KeyScanSpec slots_all = { "inline_slot", "inline_slot_pkey", 0, { { 0 } } };

static const struct {
    const char *table;
    KeyScanSpec from_piece;
} ring[INLINE_SLOTS] = {
#define SLOT(n)                                                                                              \
    {                                                                                                        \
        "inline_" #n,                                                                                        \
        {                                                                                                    \
            "inline_" #n, "inline_" #n "_pkey", 2,                                                           \
            {                                                                                                \
                KEY_INT8_EQUAL, KEY_INT4_FROM                                                                \
            }                                                                                                \
        }                                                                                                    \
    }
    SLOT(1), SLOT(2), SLOT(3), SLOT(4), SLOT(5), SLOT(6), SLOT(7), SLOT(8),
#undef SLOT
};

/* What the table says now, in a snapshot of its own; before the first rotation it is empty. */
static int16 slot_filling(void)
{
    KeyScan scan;
    int16 filling = SLOT_FIRST;
    Oid state = enum_value("slot_state", "filling");
    PushActiveSnapshot(GetLatestSnapshot());
    key_scan_open(&scan, &slots_all, AccessShareLock);
    for (bool found = key_scan_seek(&scan, ForwardScanDirection); found;
         found = key_scan_next(&scan, ForwardScanDirection)) {
        if (DatumGetObjectId(key_scan_column(&scan, Anum_inline_slot_state)) == state) {
            filling = DatumGetInt16(key_scan_column(&scan, Anum_inline_slot_slot));
        }
    }
    key_scan_close(&scan);
    PopActiveSnapshot();
    return filling;
}

/* Locks the table of the slot that is filling, and says which that is. */
static int16 slot_lock(void)
{
    static int16 last = SLOT_FIRST;
    for (;;) {
        Oid table = streamhouse_relation(ring[last - 1].table);
        LockRelationOid(table, RowExclusiveLock);
        int16 filling = slot_filling();
        if (filling == last) {
            return last;
        }
        UnlockRelationOid(table, RowExclusiveLock);
        last = filling;
    }
}

static int64 table_size(Oid table)
{
    return DatumGetInt64(DirectFunctionCall1(pg_total_relation_size, ObjectIdGetDatum(table)));
}

int64 inline_slot_bytes(int16 slot)
{
    Assert(slot >= 1 && slot <= INLINE_SLOTS);
    return table_size(streamhouse_relation(ring[slot - 1].table));
}

static int64 ring_size(void)
{
    int64 size = 0;
    for (int16 slot = 1; slot <= INLINE_SLOTS; slot++) {
        size += inline_slot_bytes(slot);
    }
    return size;
}

/* Looked at once per MiB that this backend writes, and more seldom as long as there is much room: a hundred
 * backends at a time cannot fill that before they look again. */
static void ring_check_size(size_t bytes)
{
    static int64 checked_limit = -1;
    static int64 unchecked = 0;
    static int64 check_after = 0;
    int64 limit = (int64)setting_inline_bytes_max_mb * 1024 * 1024;
    unchecked += (int64)bytes;
    if (unchecked < check_after && limit == checked_limit) {
        return;
    }
    int64 size = ring_size();
    if (size > limit) {
        ereport(ERROR, errcode(ERRCODE_DISK_FULL),
                errmsg("the inline ring has " INT64_FORMAT " bytes, which is its limit", size),
                errhint("Agents move records from there to the store: is one running? The limit is "
                        "streamhouse.inline_bytes_max."));
    }
    checked_limit = limit;
    check_after = Max(SIZE_CHECK_BYTES, (limit - size) / SIZE_CHECK_PART);
    unchecked = 0;
}

/* A call that writes MiBs allocates several times as many and frees them all. glibc gives such memory back to
 * the kernel each time, and page faults are then a fourth of the call. */
static void memory_keep(void)
{
#ifdef __GLIBC__
    static bool is_kept = false;
    if (!is_kept) {
        is_kept = mallopt(M_MMAP_THRESHOLD, KEPT_BYTES) && mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    }
#endif
}

static void row_write(RowWriter *writer, const InlineWrite *write, size_t start, Slice piece)
{
    TupleTableSlot *row = row_writer_row(writer);
    bytea *bytes = MemoryContextAlloc(writer->rows, VARHDRSZ + piece.size);
    SET_VARSIZE(bytes, VARHDRSZ + piece.size);
    memcpy(VARDATA(bytes), piece.data, piece.size);
    row_set(row, Anum_inline_object_id, Int64GetDatum(write->object_id));
    row_set(row, Anum_inline_written_at, TimestampTzGetDatum(write->written_at));
    row_set(row, Anum_inline_byte_start, Int32GetDatum((int32)start));
    row_set(row, Anum_inline_bytes, PointerGetDatum(bytes));
    row_writer_put(writer);
}

static void rows_write(const char *table, const InlineWrite *write)
{
    RowWriter writer;
    row_writer_open(&writer, table);
    for (size_t start = 0; start < write->batches.size; start += INLINE_PIECE_BYTES) {
        size_t size = Min(INLINE_PIECE_BYTES, write->batches.size - start);
        row_write(&writer, write, start, slice_of(write->batches.data + start, size));
    }
    row_writer_close(&writer);
}

static void slot_write(int16 slot, const InlineWrite *write)
{
    const char *name = ring[slot - 1].table;
    Relation table = table_open(streamhouse_relation(name), RowExclusiveLock);
    if (inline_page_begin(table, write->batches.size)) {
        inline_page_write(table, ring[slot - 1].from_piece.index, write);
    } else {
        rows_write(name, write);
    }
    table_close(table, NoLock);
}

InlinePlace inline_write(Slice batches)
{
    Assert(batches.size > 0 && batches.size <= INLINE_ROW_BYTES_MAX);
    memory_keep();
    ring_check_size(batches.size);
    InlinePlace place = { .object_id = nextval_internal(streamhouse_relation("object_object_id_seq"), false),
                          .slot = slot_lock() };
    slot_write(place.slot, &(InlineWrite){ place.object_id, GetCurrentTimestamp(), batches });
    return place;
}

/* Copies what one piece has of the range, and says how far the range is copied then. */
static int32 piece_read(KeyScan *scan, uint8 *target, int32 start, int32 length, int32 done)
{
    int32 piece_start = DatumGetInt32(key_scan_column(scan, Anum_inline_byte_start));
    Datum stored = key_scan_column(scan, Anum_inline_bytes);
    struct varlena *piece = pg_detoast_datum_packed((struct varlena *)DatumGetPointer(stored));
    int32 skip = start + done - piece_start;
    int32 take = Min((int32)VARSIZE_ANY_EXHDR(piece) - skip, length - done);
    if (skip >= 0 && take > 0) {
        memcpy(target + done, VARDATA_ANY(piece) + skip, take);
        done += take;
    }
    if ((Pointer)piece != DatumGetPointer(stored)) {
        pfree(piece);
    }
    return done;
}

/* A scan of the slot that was read last. */
typedef struct RingReader {
    KeyScan scan;
    int16 slot; /* 0: none is open */
} RingReader;

static void reader_close(RingReader *reader)
{
    if (reader->slot > 0) {
        key_scan_release(&reader->scan, AccessShareLock);
        reader->slot = 0;
    }
}

static void reader_turn_to(RingReader *reader, int16 slot)
{
    if (reader->slot != slot) {
        reader_close(reader);
        key_scan_open(&reader->scan, &ring[slot - 1].from_piece, AccessShareLock);
        reader->slot = slot;
    }
}

static bytea *reader_read(RingReader *reader, const InlinePlace *place, int32 start, int32 length)
{
    KeyScan *scan = &reader->scan;
    bytea *bytes = NULL;
    int32 done = 0;
    if (place->slot < 1 || place->slot > INLINE_SLOTS) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no slot %d", place->slot),
                errhint("Slots have the numbers 1 to %d; see streamhouse.segment.", INLINE_SLOTS));
    }
    length = Min(length, INLINE_ROW_BYTES_MAX);
    reader_turn_to(reader, place->slot);
    key_scan_set(scan, 0, Int64GetDatum(place->object_id));
    key_scan_set(scan, 1, Int32GetDatum(start - start % INLINE_PIECE_BYTES));
    for (bool found = key_scan_seek(scan, ForwardScanDirection); found && done < length;
         found = done < length && key_scan_next(scan, ForwardScanDirection)) {
        bytes = bytes ? bytes : palloc((Size)VARHDRSZ + length);
        done = piece_read(scan, (uint8 *)VARDATA(bytes), start, length, done);
    }
    if (bytes) {
        SET_VARSIZE(bytes, VARHDRSZ + done);
    }
    return bytes;
}

bytea *inline_read(const InlinePlace *place, int32 start, int32 length)
{
    RingReader reader = { .slot = 0 };
    bytea *bytes = reader_read(&reader, place, start, length);
    reader_close(&reader);
    return bytes;
}

bool inline_written_at(const InlinePlace *place, TimestampTz *written_at)
{
    KeyScan scan;
    Assert(place->slot >= 1 && place->slot <= INLINE_SLOTS);
    key_scan_open(&scan, &ring[place->slot - 1].from_piece, AccessShareLock);
    key_scan_set(&scan, 0, Int64GetDatum(place->object_id));
    key_scan_set(&scan, 1, Int32GetDatum(0));
    bool found = key_scan_seek(&scan, ForwardScanDirection);
    if (found) {
        *written_at = DatumGetTimestampTz(key_scan_column(&scan, Anum_inline_written_at));
    }
    key_scan_release(&scan, AccessShareLock);
    return found;
}

Datum sh_read_inline(PG_FUNCTION_ARGS)
{
    RequestArray ids = request_array(fcinfo, 0, READ_REQUESTS_MAX);
    RequestArray slots = request_array(fcinfo, 1, READ_REQUESTS_MAX);
    RequestArray starts = request_array(fcinfo, 2, READ_REQUESTS_MAX);
    RequestArray lengths = request_array(fcinfo, 3, READ_REQUESTS_MAX);
    ResultRows rows = result_rows_open(fcinfo);
    RingReader reader = { .slot = 0 };
    request_arrays_check(ids, slots);
    request_arrays_check(ids, starts);
    request_arrays_check(ids, lengths);
    for (int i = 0; i < ids.count; i++) {
        InlinePlace place = { ((const int64 *)ids.data)[i], ((const int16 *)slots.data)[i] };
        int32 start = ((const int32 *)starts.data)[i];
        int32 length = ((const int32 *)lengths.data)[i];
        if (start < 0 || length < 0) {
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("bytes %d to %d + %d cannot be read", start, start, length));
        }
        bytea *bytes = reader_read(&reader, &place, start, length);
        Datum values[] = { Int32GetDatum(i + 1), PointerGetDatum(bytes) };
        bool nulls[] = { false, bytes == NULL };
        result_rows_put(&rows, values, nulls);
        if (bytes) {
            pfree(bytes);
        }
        CHECK_FOR_INTERRUPTS();
    }
    reader_close(&reader);
    return (Datum)0;
}

/* For SQL of this extension that has batches of its own to append. */
Datum streamhouse_inline_append(PG_FUNCTION_ARGS)
{
    bytea *bytes = PG_GETARG_BYTEA_PP(0);
    ResultRows rows = result_rows_open(fcinfo);
    InlinePlace place = inline_write(slice_of(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)));
    Datum values[] = { Int64GetDatum(place.object_id), Int16GetDatum(place.slot) };
    result_rows_put(&rows, values, NULL);
    return (Datum)0;
}
