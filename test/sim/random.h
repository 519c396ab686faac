/* random.h: the only source of chance in a simulation, so that a seed is a schedule. */
#ifndef STREAMHOUSE_SIM_RANDOM_H
#define STREAMHOUSE_SIM_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Random {
    uint64_t state;
} Random;

static inline Random random_from(uint64_t seed, uint64_t stream)
{
    return (Random){ (seed * UINT64_C(0xD1342543DE82EF95)) ^ (stream * UINT64_C(0xA0761D6478BD642F)) };
}

static inline uint64_t random_next(Random *random)
{
    uint64_t mixed = random->state += UINT64_C(0x9E3779B97F4A7C15);
    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94D049BB133111EB);
    return mixed ^ (mixed >> 31);
}

/* 0 .. limit - 1; 0 for a limit below 1. */
static inline int64_t random_below(Random *random, int64_t limit)
{
    return limit < 1 ? 0 : (int64_t)(((random_next(random) >> 32) * (uint64_t)limit) >> 32);
}

/* low .. high, both included. */
static inline int64_t random_between(Random *random, int64_t low, int64_t high)
{
    return low + random_below(random, high - low + 1);
}

static inline bool random_chance(Random *random, int percent)
{
    return random_below(random, 100) < percent;
}

#endif
