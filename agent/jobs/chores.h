/* chores.h: calls that the brain wants made by the clock, since PostgreSQL has no clock of its own: samples
 * of throughput, and consumer groups' members that are gone. Any agent may make them; the brain sees to it
 * that one at a time does the work. */
#ifndef STREAMHOUSE_CHORES_H
#define STREAMHOUSE_CHORES_H

#include "agent/agent.h"

typedef struct Chores Chores;

Chores *chores_new(Agent *agent);
/* Also while a call is under way: its answer then frees the rest. */
void chores_free(Chores *chores);

#endif
