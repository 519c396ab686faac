/* watch.h: hears from the brain which partitions moved, whoever moved them, so that waiting fetches never
 * poll. */
#ifndef STREAMHOUSE_WATCH_H
#define STREAMHOUSE_WATCH_H

#include "agent/agent.h"

typedef struct Watch Watch;

Watch *watch_new(Agent *agent);
/* Also while a call is under way: its answer then frees the rest. */
void watch_free(Watch *watch);

#endif
