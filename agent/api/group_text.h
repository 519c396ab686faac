/* group_text.h: texts that the handlers of consumer groups need. */
#ifndef STREAMHOUSE_GROUP_TEXT_H
#define STREAMHOUSE_GROUP_TEXT_H

#include "agent/kafka/request.h"

/* A copy in the request's memory; null stays null, and is what a copy becomes when that memory is short. */
Slice group_text_copy(KafkaRequest *request, Slice text);
/* Where the client connects from, as Kafka writes it: a slash and the address. */
Slice group_text_host(KafkaRequest *request);

#endif
