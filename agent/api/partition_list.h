/* partition_list.h: the partitions that a request names, as arrays for one question to the brain, each with
 * where its answer goes. */
#ifndef STREAMHOUSE_PARTITION_LIST_H
#define STREAMHOUSE_PARTITION_LIST_H

#include "agent/api/api.h"
#include "agent/brain/brain.h"

typedef struct PartitionList {
    size_t count;
    size_t capacity;
    int32_t *topic_ids;
    int32_t *partitions;
    int64_t *numbers; /* whatever is asked beside each */
    void **answers;
} PartitionList;

/* Room for so many, in the request's arena; false when it is full. */
MUST_CHECK bool partition_list_init(PartitionList *list, KafkaRequest *request, size_t capacity);
void partition_list_add(PartitionList *list, const Partition *partition, int64_t number, void *answer);
/* Two parameters: topic ids and partitions. */
void partition_list_put(const PartitionList *list, BrainParameters *parameters);
/* The answer that a row is about, by the request's place in its first column, from 1; NULL for none. */
void *partition_list_answer(const PartitionList *list, const BrainResult *result, int row);

#endif
