/* marker.h: keeps the store's owner marker (src/marker.sql): writes it when the brain says so, tells the
 * brain what is there, and lets /ready say why this agent leads nothing when the brain is not the owner. */
#ifndef STREAMHOUSE_MARKER_H
#define STREAMHOUSE_MARKER_H

#include "agent/agent.h"

typedef struct Marker Marker;

Marker *marker_new(Agent *agent);
/* Also while a round is under way: its last answer then frees the rest. */
void marker_free(Marker *marker);

#endif
