/* group_brain.h: what the coordinator asks of PostgreSQL, and how the answers read. */
#ifndef STREAMHOUSE_GROUP_BRAIN_H
#define STREAMHOUSE_GROUP_BRAIN_H

#include "agent/agent.h"
#include "agent/group/group.h"

struct GroupService;

/* GroupBackend.claim and .store; the service settles after each answer. */
void group_brain_claim(Agent *agent, Slice name, bool create, GroupClaimed done, void *argument,
                       struct GroupService *service);
void group_brain_store(Agent *agent, Group *const *groups, size_t count, GroupsStored done, void *argument,
                       struct GroupService *service);

#endif
