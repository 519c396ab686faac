/* offset_metadata.h: what clients write beside a committed offset: any bytes to them, text to PostgreSQL. */
#ifndef STREAMHOUSE_OFFSET_METADATA_H
#define STREAMHOUSE_OFFSET_METADATA_H

#include "common/arena.h"
#include "common/slice.h"

enum { OFFSET_METADATA_MAX = 4096 /* Kafka's offset.metadata.max.bytes */ };

/* What is stored: the text itself; or, of bytes that are no text (C programs commit a string with its end),
 * \x and hexadecimal digits, as PostgreSQL prints bytea. Text that begins so is written in digits, too. Null
 * when memory is short; null stays null. */
Slice offset_metadata_to_text(Arena *arena, Slice bytes);
/* The way back. Text that begins with \x without being digits, which SQL may have written, stays as it is. */
Slice offset_metadata_of_text(Arena *arena, Slice text);

#endif
