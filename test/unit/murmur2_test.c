/* murmur2_test.c: the hash of keys against what Kafka's Java client gives (its own test's values). */
#include "common/murmur2.h"
#include "test/unit/test.h"

TEST(murmur2_gives_the_values_of_kafkas_own_test)
{
    CHECK_INT((int32_t)murmur2(SLICE_LITERAL("21")), -973932308);
    CHECK_INT((int32_t)murmur2(SLICE_LITERAL("foobar")), -790332482);
    CHECK_INT((int32_t)murmur2(SLICE_LITERAL("a-little-bit-long-string")), -985981536);
    CHECK_INT((int32_t)murmur2(SLICE_LITERAL("a-little-bit-longer-string")), -1486304829);
    CHECK_INT((int32_t)murmur2(SLICE_LITERAL("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8")), -58897971);
    CHECK_INT((int32_t)murmur2(SLICE_LITERAL("abc")), 479470107);
}

TEST(murmur2_takes_bytes_above_127_as_unsigned)
{
    /* In a word and in what is left after the words; values of another implementation. */
    const uint8_t word[] = { 0xff, 0x80, 0x00, 0x7f, 0xfe };
    const uint8_t rest[] = { 0xff, 0xfe, 0x80 };
    CHECK_INT((int32_t)murmur2(slice_of(word, sizeof(word))), 768357719);
    CHECK_INT((int32_t)murmur2(slice_of(rest, sizeof(rest))), -160726397);
}

TEST(partition_of_a_key_is_never_negative)
{
    /* The hash of "21" is negative: Kafka clears its sign bit rather than negate it. */
    CHECK_INT(murmur2_partition(SLICE_LITERAL("21"), 1000000),
              (int32_t)((uint32_t)-973932308 & 0x7fffffff) % 1000000);
    CHECK_INT(murmur2_partition(SLICE_LITERAL("abc"), 4), 3);
    CHECK_INT(murmur2_partition(SLICE_LITERAL(""), 1), 0);
}
