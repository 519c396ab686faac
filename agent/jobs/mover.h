/* mover.h: moves inline segments from PostgreSQL into objects, many partitions and batches to one, and turns
 * the inline ring, so that PostgreSQL holds the last minutes and the store the log. One agent at a time does
 * the moving; the brain says which. */
#ifndef STREAMHOUSE_MOVER_H
#define STREAMHOUSE_MOVER_H

#include "agent/agent.h"

typedef struct Mover Mover;

Mover *mover_new(Agent *agent);
/* Also while a round is under way: its last answer then frees the rest. */
void mover_free(Mover *mover);

#endif
