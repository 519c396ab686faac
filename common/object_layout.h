/* object_layout.h: what the writer and the reader of objects must agree on, besides object_format.h. */
#ifndef STREAMHOUSE_OBJECT_LAYOUT_H
#define STREAMHOUSE_OBJECT_LAYOUT_H

#include "common/object_format.h"

_Static_assert(OBJECT_MAGIC_SIZE + 2 * 2 + 2 * 8 + OBJECT_UUID_SIZE + 4 == OBJECT_HEADER_SIZE, "header");
_Static_assert(2 * 2 + 2 * 8 + OBJECT_UUID_SIZE + 2 * 4 == OBJECT_FOOTER_FIXED_SIZE,
               "footer before its rows");
_Static_assert(OBJECT_UUID_SIZE + 2 * 4 + 2 * 8 == OBJECT_PARTITION_ROW_SIZE, "row of a partition");
_Static_assert(6 * 4 + 2 * 2 + 4 * 8 == OBJECT_BATCH_ROW_SIZE, "row of a batch");
_Static_assert(4 + 8 + 8 + 4 + OBJECT_MAGIC_SIZE == OBJECT_TRAILER_SIZE, "trailer");

/* The trailer's bytes that its checksum covers, after the footer's. */
enum { OBJECT_TRAILER_CHECKED_SIZE = 4 + 8 + 8 };

/* Ends like PNG's magic, so that a transfer that changes line ends shows. */
static const uint8_t object_magic[OBJECT_MAGIC_SIZE] = { 'S', 'H', 'O', 'B', 'J', '\r', '\n', 0x1a };

#endif
