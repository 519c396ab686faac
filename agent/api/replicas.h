/* replicas.h: replicas that clients name, where there are none: the object store keeps the copies. */
#ifndef STREAMHOUSE_REPLICAS_H
#define STREAMHOUSE_REPLICAS_H

#include "agent/api/api.h"

/* What is wrong with a partition's replicas; NULL: each is a live agent, and none is named twice. */
const char *replicas_complaint(const KafkaRequest *request, const KafkaInt32Array *broker_ids);

#endif
