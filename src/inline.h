/* inline.h: record batches that PostgreSQL holds itself, in the ring of tables inline_1 to inline_8, until
 * they move to an object. See inline.c and inline.sql. */
#ifndef STREAMHOUSE_INLINE_H
#define STREAMHOUSE_INLINE_H

#include "postgres.h"

#include "common/slice.h"
#include "datatype/timestamp.h"

enum {
    INLINE_SLOTS = 8,
    INLINE_ROW_BYTES_MAX = 64 * 1024 * 1024 /* batches of one row; a segment never reaches over two rows */
};

/* What segment.object_id and segment.slot say of bytes in the ring. */
typedef struct InlinePlace {
    int64 object_id;
    int16 slot; /* 1 to INLINE_SLOTS */
} InlinePlace;

/* Writes batches, one after the other, as one row of the slot that is filling, in the current transaction.
 * Keeps a lock on the slot's table to the transaction's end, so that the slot is not sealed before: write at
 * the end of a transaction, not at its beginning. ERROR 53100 beyond streamhouse.inline_bytes_max. */
extern InlinePlace inline_write(Slice batches);

/* Bytes start .. start + length - 1 of a row as the active snapshot sees it, in the current memory context;
 * NULL when the row is not there any more: look the segment up once more, with a newer snapshot. Keeps no
 * lock. */
extern bytea *inline_read(const InlinePlace *place, int32 start, int32 length);

/* When a row was written, as the active snapshot sees it; false when it is not there any more. Keeps no lock.
 */
extern bool inline_written_at(const InlinePlace *place, TimestampTz *written_at);

/* Bytes that a slot takes on disk, with its index. */
extern int64 inline_slot_bytes(int16 slot);

#endif
