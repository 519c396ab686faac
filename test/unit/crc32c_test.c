/* crc32c_test.c: the checksum against RFC 3720's vectors and against a bit-by-bit reference. */
#include "common/crc32c.h"
#include "test/unit/test.h"

static uint32_t crc32c_bitwise(const uint8_t *bytes, size_t size)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
        }
    }
    return ~crc;
}

TEST(crc32c_gives_the_values_of_rfc_3720)
{
    uint8_t zeros[32] = { 0 };
    uint8_t ones[32];
    uint8_t rising[32];
    uint8_t falling[32];
    for (int i = 0; i < 32; i++) {
        ones[i] = 0xff;
        rising[i] = (uint8_t)i;
        falling[i] = (uint8_t)(31 - i);
    }
    CHECK_INT(crc32c(slice_of(zeros, 32)), 0x8a9136aa);
    CHECK_INT(crc32c(slice_of(ones, 32)), 0x62a8ab43);
    CHECK_INT(crc32c(slice_of(rising, 32)), 0x46dd794e);
    CHECK_INT(crc32c(slice_of(falling, 32)), 0x113fdb5c);
    CHECK_INT(crc32c(SLICE_LITERAL("123456789")), 0xe3069283);
}

TEST(crc32c_of_nothing_is_zero)
{
    CHECK_INT(crc32c(SLICE_NULL), 0);
    CHECK_INT(crc32c_extend(0x1234, SLICE_NULL), 0x1234);
}

TEST(crc32c_agrees_with_the_definition_at_every_length_and_alignment)
{
    static uint8_t bytes[4096];
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    for (size_t size = 0; size < 1100; size++) {
        const uint8_t *start = bytes + size % 17;
        CHECK_INT(crc32c(slice_of(start, size)), crc32c_bitwise(start, size));
    }
    CHECK_INT(crc32c(slice_of(bytes, sizeof(bytes))), crc32c_bitwise(bytes, sizeof(bytes)));
}

TEST(crc32c_may_be_taken_in_pieces)
{
    Slice text = SLICE_LITERAL(
        "offsets are assigned at commit, under the lock of the partition's row, and nowhere else");
    uint32_t whole = crc32c(text);
    for (size_t cut = 0; cut <= text.size; cut++) {
        uint32_t first = crc32c(slice_of(text.data, cut));
        CHECK_INT(crc32c_extend(first, slice_of(text.data + cut, text.size - cut)), whole);
    }
}
