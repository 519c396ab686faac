/* partition_list.c: fills the arrays and finds answers by their place. */
#include "agent/api/partition_list.h"

bool partition_list_init(PartitionList *list, KafkaRequest *request, size_t capacity)
{
    Arena *arena = &request->arena;
    *list = (PartitionList){
        .capacity = capacity,
        .topic_ids = arena_allocate_array(arena, capacity, sizeof(int32_t)),
        .partitions = arena_allocate_array(arena, capacity, sizeof(int32_t)),
        .numbers = arena_allocate_array(arena, capacity, sizeof(int64_t)),
        .answers = arena_allocate_array(arena, capacity, sizeof(void *)),
    };
    return list->topic_ids && list->partitions && list->numbers && list->answers;
}

void partition_list_add(PartitionList *list, const Partition *partition, int64_t number, void *answer)
{
    if (list->count < list->capacity) {
        list->topic_ids[list->count] = partition->topic->topic_id;
        list->partitions[list->count] = partition->index;
        list->numbers[list->count] = number;
        list->answers[list->count] = answer;
        list->count++;
    }
}

void partition_list_put(const PartitionList *list, BrainParameters *parameters)
{
    brain_put_int4s(parameters, list->topic_ids, list->count);
    brain_put_int4s(parameters, list->partitions, list->count);
}

void *partition_list_answer(const PartitionList *list, const BrainResult *result, int row)
{
    int32_t request = brain_int4(result, row, 0);
    return request >= 1 && (size_t)request <= list->count ? list->answers[request - 1] : NULL;
}
