/* inline_page.h: rows of the inline ring on pages that the backend has for itself. See inline_page.c. */
#ifndef STREAMHOUSE_INLINE_PAGE_H
#define STREAMHOUSE_INLINE_PAGE_H

#include "postgres.h"

#include "row_writer.h"

/* Whether rows with so many bytes in all are to be written with inline_page_put(): this backend has written
 * much to the table. */
extern bool inline_page_begin(Relation table, size_t bytes);

/* Writes the row that row_writer_row() gave and that is filled, instead of row_writer_put(). */
extern void inline_page_put(RowWriter *writer, TupleTableSlot *row);

#endif
