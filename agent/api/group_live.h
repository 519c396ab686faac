/* group_live.h: what only the coordinator of a classic group knows of it: that it is between two generations,
 * and who has joined meanwhile. The brain has the last generation that was assigned. */
#ifndef STREAMHOUSE_API_GROUP_LIVE_H
#define STREAMHOUSE_API_GROUP_LIVE_H

#include "agent/api/api.h"

/* Kafka's name of the group's state; stored, when this agent is not its coordinator. */
Slice group_live_state(const KafkaRequest *request, Slice name, Slice stored);
bool group_live_has_members(const KafkaRequest *request, Slice name);

/* Puts the state into a DescribeGroups answer that has no error, and while a generation is being made, its
 * members without what they said and got. False when the request's memory is too small. */
MUST_CHECK bool group_live_describe(KafkaRequest *request, Slice name, KafkaDescribeGroupsResponseGroup *out);

#endif
