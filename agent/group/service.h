/* service.h: the coordinator inside the agent: its backend is the brain, its clock a timer of the loop. It
 * works as long as this agent's lease does: an agent that may count as dead forgets its groups, since
 * another one may coordinate them by now. */
#ifndef STREAMHOUSE_GROUP_SERVICE_H
#define STREAMHOUSE_GROUP_SERVICE_H

#include "agent/agent.h"
#include "agent/group/group.h"

typedef struct GroupService GroupService;

/* A reply that is made and leaves a little later: a reply makes its connection's next request begin, and
 * nothing must begin while a group is between two states. */
typedef struct GroupReply GroupReply;
struct GroupReply {
    void (*send)(GroupReply *reply);
    GroupReply *next; /* the service's own */
};

GroupService *group_service_new(Agent *agent);
void group_service_reload(GroupService *service);
/* Hands the groups over: who waits is told to look for another coordinator, and nothing new is taken. */
void group_service_drain(GroupService *service);
/* Starts nothing any more; callbacks under way may still come. */
void group_service_stop(GroupService *service);
/* When the brain is closed. */
void group_service_free(GroupService *service);

/* Whether this agent may be a coordinator at all now; NONE, or what to answer. To be asked before the others.
 */
KafkaError group_service_check(GroupService *service);
Groups *group_service_groups(GroupService *service);
/* 36 characters that nobody has been given before. */
void group_service_unique(GroupService *service, char *out);
void group_service_reply(GroupService *service, GroupReply *reply);
/* To be called after every call of the coordinator, when nothing is between two states: sends replies and
 * does what is due. */
void group_service_settle(GroupService *service);

#endif
