/* offset_metadata.h: the metadata of a committed offset between Kafka's clients, where it is any bytes, and
 * the brain, where it is text: what PostgreSQL cannot keep as text is kept as "\x" and its bytes in hex, as
 * is what begins like that. So it comes back as it was. */
#ifndef STREAMHOUSE_API_OFFSET_METADATA_H
#define STREAMHOUSE_API_OFFSET_METADATA_H

#include <stdbool.h>

#include "common/arena.h"
#include "common/slice.h"
#include "common/status.h"

enum { OFFSET_METADATA_MAX = 4096 };

/* Views of the arguments or of the arena. False when the arena is too small. */
MUST_CHECK bool offset_metadata_to_text(Arena *arena, Slice metadata, Slice *text);
MUST_CHECK bool offset_metadata_of_text(Arena *arena, Slice text, Slice *metadata);

#endif
