/* roster_service.h: keeps the roster true: asks once a second for the versions of its groups, and tells the
 * brain which members were heard of. */
#ifndef STREAMHOUSE_ROSTER_SERVICE_H
#define STREAMHOUSE_ROSTER_SERVICE_H

#include "agent/agent.h"
#include "agent/roster/roster.h"

typedef struct RosterService RosterService;

/* NULL when memory is short. */
RosterService *roster_service_new(Agent *agent);
void roster_service_free(RosterService *service);
void roster_service_reload(RosterService *service);
Roster *roster_service_roster(RosterService *service);

#endif
