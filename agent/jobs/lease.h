/* lease.h: this agent's membership: it says once a heartbeat that it lives, and holds leases only as long as
 * that was heard. Time runs from before the heartbeat was sent, on the monotonic clock, so that the agent
 * stops before others may begin. */
#ifndef STREAMHOUSE_LEASE_H
#define STREAMHOUSE_LEASE_H

#include "agent/agent.h"
#include "agent/catalog/topic.h"

typedef struct Lease Lease;

enum { LEASE_NO_AGENT = -1 };

/* Starts to beat. port: what clients are told, when the setting leaves it open. */
Lease *lease_new(Agent *agent);
void lease_free(Lease *lease);

/* Goes on beating, as one that drains: the brain has its leases handed over to other agents. Calls done when
 * they are, or when there is nobody, or when that gets nowhere. */
void lease_drain(Lease *lease, void (*done)(void *argument), void *argument);

/* Gives every lease back (sh_agent_leave), then calls done; beats no more. */
void lease_leave(Lease *lease, void (*done)(void *argument), void *argument);

/* This agent's id, LEASE_NO_AGENT until the brain gave one. lease may be NULL here and in lease_holds(): the
 * agent is stopping, and answers that come late are still looked at. */
int32_t lease_agent_id(const Lease *lease);

/* Is this agent the partition's leader, with a lease that is certain to hold now? */
bool lease_holds(const Lease *lease, const Partition *partition);

/* Is this agent certain to count as alive now? Then nobody else has become the coordinator of its groups. */
bool lease_is_valid(const Lease *lease);

/* How often it was not, for however short a time: what was true before may not be any more. */
uint64_t lease_lapses(const Lease *lease);

#endif
