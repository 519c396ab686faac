/* secret_hash.c: the hash begins with what clients cannot know. */
#include "agent/secret_hash.h"

#include <unistd.h>

static uint64_t secret_seed(void)
{
    static uint64_t seed;
    if (seed == 0 && getentropy(&seed, sizeof(seed)) != 0) {
        seed = (uint64_t)(uintptr_t)&seed;
    }
    return seed | 1;
}

uint32_t secret_hash(Slice key)
{
    uint64_t hash = secret_seed();
    for (size_t i = 0; i < key.size; i++) {
        hash = (hash ^ key.data[i]) * 0x9e3779b97f4a7c15ULL;
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 16);
}
