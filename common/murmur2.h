/* murmur2.h: the hash by which Kafka's Java client chooses a partition for a key
 * (org.apache.kafka.common.utils, 32-bit MurmurHash2 with seed 0x9747b28c). */
#ifndef STREAMHOUSE_MURMUR2_H
#define STREAMHOUSE_MURMUR2_H

#include "common/slice.h"

uint32_t murmur2(Slice bytes);

/* The partition of a key that is not null, from 0 to partitions - 1. */
static inline int32_t murmur2_partition(Slice key, int32_t partitions)
{
    return (int32_t)(murmur2(key) & 0x7fffffff) % partitions;
}

#endif
