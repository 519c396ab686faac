/* collect_internal.h: what collect.c needs of collection.c. */
#ifndef STREAMHOUSE_COLLECT_INTERNAL_H
#define STREAMHOUSE_COLLECT_INTERNAL_H

#include "agent/read/collect.h"

/* Each is false or NULL, and sets collection->failed, when memory is short. */
bool collection_add_slice(Collection *collection, Slice slice);
uint8_t *collection_room(Collection *collection,
                         size_t size); /* uninitialised bytes that live as long as the blocks */

#endif
