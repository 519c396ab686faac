/* consumer_protocol.h: what members of a classic group say inside JoinGroup and SyncGroup when their protocol
 * type is "consumer": a subscription, and the assignment that the leader makes of all of them. Kafka's
 * brokers look inside only to let a group change between the classic protocol and KIP-848's.
 *
 *     ConsumerSubscription said;
 *     if (consumer_subscription_read(metadata, &said)) {
 *         Slice name;
 *         for (ConsumerTopics topics = said.topics; consumer_topics_next(&topics, &name);) { … }
 *         ConsumerPartitions owned = said.owned;
 *         for (int32_t number; consumer_partitions_next(&owned, &name, &number);) { … }
 *     }
 *
 * Reading checks everything at once: what follows cannot fail. Nothing is allocated; names are views. */
#ifndef STREAMHOUSE_CONSUMER_PROTOCOL_H
#define STREAMHOUSE_CONSUMER_PROTOCOL_H

#include <stdbool.h>

#include "common/reader.h"
#include "common/status.h"
#include "common/writer.h"

/* Names that are still to come. */
typedef struct ConsumerTopics {
    Reader reader;
    int32_t left;
} ConsumerTopics;

/* Pairs of a topic and a partition that are still to come. */
typedef struct ConsumerPartitions {
    Reader reader;
    int32_t topics_left;
    Slice topic;
    int32_t left; /* of topic */
} ConsumerPartitions;

typedef struct ConsumerSubscription {
    int16_t version; /* as it came; newer ones than 3 are read as 3 */
    ConsumerTopics topics;
    ConsumerPartitions owned; /* from version 1 on */
    int32_t generation;       /* from version 2 on; -1: not known */
    Slice rack;               /* from version 3 on; SLICE_NULL: none */
} ConsumerSubscription;

typedef struct ConsumerAssignment {
    int16_t version;
    ConsumerPartitions partitions;
} ConsumerAssignment;

/* False when the bytes are no subscription. */
MUST_CHECK bool consumer_subscription_read(Slice bytes, ConsumerSubscription *subscription);
/* False when the bytes are no assignment. No bytes at all are an assignment of nothing. */
MUST_CHECK bool consumer_assignment_read(Slice bytes, ConsumerAssignment *assignment);

bool consumer_topics_next(ConsumerTopics *topics, Slice *name);
bool consumer_partitions_next(ConsumerPartitions *partitions, Slice *topic, int32_t *partition);

/* An assignment of count pairs, with those of one topic next to each other; without user data. A name has at
 * most INT16_MAX bytes. */
void consumer_assignment_write(Writer *writer, const Slice *topics, const int32_t *partitions, size_t count);

#endif
