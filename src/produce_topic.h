/* produce_topic.h: what producing in SQL has to know of a topic. See produce_topic.c. */
#ifndef STREAMHOUSE_PRODUCE_TOPIC_H
#define STREAMHOUSE_PRODUCE_TOPIC_H

#include "postgres.h"

#include "common/compression.h"

enum { TOPIC_NAME_MAX = 249 };

typedef struct TopicConfig {
    CompressionCodec codec;
    int level;
    int32 batch_bytes_max; /* max.message.bytes */
    bool is_append_time;   /* message.timestamp.type is LogAppendTime */
    bool keys_required;    /* cleanup.policy has compact */
    int64 before_max_ms;   /* message.timestamp.before.max.ms */
    int64 after_max_ms;    /* message.timestamp.after.max.ms */
} TopicConfig;

typedef struct ProduceTopic {
    char name[TOPIC_NAME_MAX + 1]; /* the key by which a transaction finds it */
    uint32 generation;             /* of the look-up that the rest is from */
    int32 topic_id;
    int32 partitions;
    TopicConfig config;
    int32 sticky; /* partition for records without a key; -1: none chosen yet */
} ProduceTopic;

/* The topic of that name, which the caller may produce to: looked up once per transaction, and again after a
 * rollback to a savepoint. ERROR 42704 when there is none, 42501 when the caller may not. */
extern ProduceTopic *produce_topic(Slice name);

/* Called at the end of a transaction, and when a subtransaction is rolled back. */
extern void produce_topics_end(void);
extern void produce_topics_doubt(void);

#endif
