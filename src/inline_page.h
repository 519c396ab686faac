/* inline_page.h: rows of the inline ring on pages that the backend has for itself. See inline_page.c. */
#ifndef STREAMHOUSE_INLINE_PAGE_H
#define STREAMHOUSE_INLINE_PAGE_H

#include "postgres.h"

#include "access/htup_details.h"
#include "common/slice.h"
#include "datatype/timestamp.h"
#include "utils/relcache.h"

/* A row of the ring as the table keeps it, without header and bytes. */
typedef struct InlineRow {
    int64 object_id;
    TimestampTz written_at;
    int32 byte_start;
    char bytes_size[VARHDRSZ]; /* the header of a bytea */
} InlineRow;
StaticAssertDecl(sizeof(InlineRow) == 24, "the columns are as schema.sql has them");

/* Bytes of a row that fills a page. */
enum { INLINE_PIECE_BYTES = MaxHeapTupleSize - MAXALIGN(SizeofHeapTupleHeader) - sizeof(InlineRow) };

/* What is to be written: batches, cut into such pieces. */
typedef struct InlineWrite {
    int64 object_id;
    TimestampTz written_at;
    Slice batches;
} InlineWrite;

/* Whether so many bytes are to be written with inline_page_write(): this backend has written much to the
 * table, and it has but one index. */
extern bool inline_page_begin(Relation table, size_t bytes);

/* Into a table of the ring and its one index, by name. */
extern void inline_page_write(Relation table, const char *index, const InlineWrite *write);

#endif
