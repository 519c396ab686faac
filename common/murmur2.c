/* murmur2.c: 32-bit MurmurHash2, as Kafka's Java client computes it: words are little-endian. */
#include "common/murmur2.h"

enum { MURMUR2_SHIFT = 24 };
static const uint32_t murmur2_seed = 0x9747b28c;
static const uint32_t murmur2_factor = 0x5bd1e995;

static uint32_t murmur2_word(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t murmur2_tail(uint32_t hash, const uint8_t *bytes, size_t size)
{
    if (size == 0) {
        return hash;
    }
    for (size_t i = 0; i < size; i++) {
        hash ^= (uint32_t)bytes[i] << (8 * i);
    }
    return hash * murmur2_factor;
}

uint32_t murmur2(Slice bytes)
{
    uint32_t hash = murmur2_seed ^ (uint32_t)bytes.size;
    size_t words = bytes.size / 4;
    for (size_t i = 0; i < words; i++) {
        uint32_t word = murmur2_word(bytes.data + 4 * i) * murmur2_factor;
        word ^= word >> MURMUR2_SHIFT;
        hash = hash * murmur2_factor ^ word * murmur2_factor;
    }
    hash = murmur2_tail(hash, bytes.data + 4 * words, bytes.size % 4);
    hash ^= hash >> 13;
    hash *= murmur2_factor;
    return hash ^ hash >> 15;
}
