/* crowd.h: who is connected to a Kafka server, and who makes way when there are too many. For server.c and
 * connection.c. */
#ifndef STREAMHOUSE_KAFKA_CROWD_H
#define STREAMHOUSE_KAFKA_CROWD_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/kafka/connection.h"

void crowd_add(KafkaServer *server, KafkaConnection *connection);
void crowd_remove(KafkaServer *server, KafkaConnection *connection);
/* The connection has a request to be served. */
void crowd_served(KafkaServer *server, KafkaConnection *connection);
/* Calls visit for every connection, which may close it, but no other. */
void crowd_visit(KafkaServer *server, void (*visit)(KafkaConnection *connection, int64_t now_ms),
                 int64_t now_ms);
/* Closes one connection so that the newcomer has room; false when there is none that may be closed. */
MUST_CHECK bool crowd_make_way(KafkaServer *server, const KafkaConnection *newcomer);

#endif
