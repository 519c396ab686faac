/* topic_create.h: creates a topic in the brain: what CreateTopics and the auto-creation of Metadata share. */
#ifndef STREAMHOUSE_TOPIC_CREATE_H
#define STREAMHOUSE_TOPIC_CREATE_H

#include "agent/agent.h"
#include "agent/kafka/error.h"
#include "common/slice.h"

/* message is NULL when error is NONE, and borrowed during the call. */
typedef void (*TopicCreated)(void *argument, KafkaError error, const char *message);

/* config is a JSON object. Name and config are copied. done is called from the loop. */
void topic_create(Agent *agent, Slice name, int32_t partitions, Slice config, TopicCreated done,
                  void *argument);

#endif
