/* topic_lookup.h: topics by name and by id, without planner and executor. See topic_lookup.c. */
#ifndef STREAMHOUSE_TOPIC_LOOKUP_H
#define STREAMHOUSE_TOPIC_LOOKUP_H

#include "postgres.h"

typedef struct TopicFound {
    int32 topic_id;
    int32 partitions;
    char *name;
} TopicFound;

/* ERROR 42704 when there is none. */
extern TopicFound topic_lookup(const char *name);

/* The name, deleted or not; NULL: no such row. In the current memory context. */
extern char *topic_lookup_name(int32 topic_id);

#endif
