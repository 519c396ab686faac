/* reaper.h: deletes from the store what the brain says nothing refers to. Nothing else in the agent ever
 * deletes. */
#ifndef STREAMHOUSE_REAPER_H
#define STREAMHOUSE_REAPER_H

#include "agent/agent.h"

typedef struct Reaper Reaper;

Reaper *reaper_new(Agent *agent);
/* Also while a round is under way: its last answer then frees the rest. */
void reaper_free(Reaper *reaper);

#endif
