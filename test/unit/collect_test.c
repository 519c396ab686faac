/* collect_test.c: record batches gathered from tail and cached blocks: cut right over every block border,
 * patched, within limits; and what is missing or wrong is named. */
#include "agent/read/collect.h"

#include <stdlib.h>

#include "test/unit/raw_batch.h"
#include "test/unit/test.h"

enum { OBJECT_MAX = 1 << 20, BATCHES_MAX = 256, LEADER_EPOCH = 11 };

static const uint8_t uuid[16] = { 1 };

/* An object in a store that answers at once when told to, and a partition whose records are in it. */
typedef struct Shop {
    uint8_t bytes[OBJECT_MAX];
    size_t size;
    size_t loads;
    int16_t slot; /* of what is written: 0 an object */
    int16_t slot_asked;
    struct {
        uint64_t start;
        uint64_t length;
        CacheGot done;
        void *argument;
    } get;
    bool getting;
    Topic *topic;
    Partition *partition;
    Segments segments;
    Tail tail;
    Collector collector;
    Collection records;
    /* What was written, to compare. */
    struct {
        int64_t base_offset;
        int64_t end_offset;
        size_t size;
    } batches[BATCHES_MAX];
    int batch_count;
    int64_t next_offset;
} Shop;

static bool shop_get(void *context, const CacheObject *object, uint64_t start, uint64_t length, CacheGot done,
                     void *argument)
{
    Shop *shop = context;
    shop->slot_asked = object->slot;
    if (shop->getting) {
        return false;
    }
    shop->getting = true;
    shop->get.start = start;
    shop->get.length = length;
    shop->get.done = done;
    shop->get.argument = argument;
    return true;
}

static Shop *shop_new(size_t block_bytes, size_t cache_bytes)
{
    Shop *shop = calloc(1, sizeof(Shop));
    CacheOptions options = { block_bytes, cache_bytes, 1 << 20 };
    CacheBackend backend = { shop, shop_get };
    shop->size = 48; /* whatever comes before the segment */
    shop->topic = topic_new(1, uuid, SLICE_LITERAL("t"));
    if (!shop->topic || !topic_grow(shop->topic, 1)) {
        abort();
    }
    shop->partition = shop->topic->partitions[0];
    shop->next_offset = 1000;
    segments_init(&shop->segments, 1 << 20);
    tail_init(&shop->tail, 1 << 20);
    shop->collector = (Collector){ &shop->segments, cache_new(&options, &backend) };
    collection_init(&shop->records);
    return shop;
}

static void shop_free(Shop *shop)
{
    collection_free(&shop->records);
    tail_free(&shop->tail);
    segments_free(&shop->segments);
    cache_free(shop->collector.cache);
    topic_release(shop->topic);
    free(shop);
}

static void shop_note(Shop *shop, const RawBatch *batch)
{
    shop->batches[shop->batch_count].base_offset = shop->next_offset;
    shop->next_offset += raw_batch_records(batch);
    shop->batches[shop->batch_count].end_offset = shop->next_offset;
    shop->batches[shop->batch_count++].size = raw_batch_size(batch);
    shop->partition->high_watermark = shop->next_offset;
}

/* count batches into the object, as one segment from the next offset on. */
static SegmentRef shop_write(Shop *shop, const RawBatch *batches, int count)
{
    static char key[] = "o/7";
    SegmentRef ref = { .base_offset = shop->next_offset,
                       .object_id = 7,
                       .slot = shop->slot,
                       .key = key,
                       .byte_start = (int32_t)shop->size,
                       .leader_epoch = LEADER_EPOCH };
    for (int i = 0; i < count; i++) {
        raw_batch_write(shop->bytes + shop->size, &batches[i]);
        shop->size += raw_batch_size(&batches[i]);
        shop_note(shop, &batches[i]);
    }
    ref.end_offset = shop->next_offset;
    ref.byte_length = (int32_t)shop->size - ref.byte_start;
    return ref;
}

/* The same, and a lookup has told of it. */
static void shop_fill(Shop *shop, const RawBatch *batches, int count)
{
    SegmentRef ref = shop_write(shop, batches, count);
    segments_keep(&shop->segments, shop->partition, ref.base_offset, &ref, 1);
}

static void shop_push(Shop *shop, const RawBatch *batch)
{
    Block *block = raw_batch_block(batch);
    shop_note(shop, batch);
    batch_patch_offset(block->bytes, shop->batches[shop->batch_count - 1].base_offset, LEADER_EPOCH);
    tail_push(&shop->tail, shop->partition, block, block->bytes, (int32_t)block->size,
              shop->batches[shop->batch_count - 1].base_offset, shop->next_offset);
    block_release(block);
}

static CollectResult shop_collect(Shop *shop, int64_t offset, int64_t bytes_max, bool one_anyway)
{
    CollectRequest request = { shop->partition, offset, bytes_max, one_anyway };
    collection_reset(&shop->records);
    return collect(&shop->collector, &request, &shop->records);
}

static void loaded(void *argument, const Status *status, Block *block)
{
    (void)argument;
    (void)status;
    (void)block;
}

static void shop_load(Shop *shop, const CollectResult *missing)
{
    Status status = status_ok();
    if (!cache_want(shop->collector.cache, &missing->object, missing->block_number, loaded, NULL)) {
        abort();
    }
    shop->loads++;
    shop->getting = false;
    size_t left = shop->get.start < shop->size ? shop->size - shop->get.start : 0;
    Block *block = block_new(left < shop->get.length ? left : (size_t)shop->get.length);
    memcpy(block->bytes, shop->bytes + shop->get.start, block->size);
    shop->get.done(shop->get.argument, &status, block);
    block_release(block);
}

/* Collects, and brings what is missing as long as there is nothing yet, as a fetch does. */
static CollectResult shop_read(Shop *shop, int64_t offset, int64_t bytes_max, bool one_anyway)
{
    CollectResult result = shop_collect(shop, offset, bytes_max, one_anyway);
    for (int i = 0; i < 5000 && result.stop == COLLECT_LOAD && result.bytes == 0; i++) {
        shop_load(shop, &result);
        result = shop_collect(shop, offset, bytes_max, one_anyway);
    }
    return result;
}

/* Whether the collection is the batches from the one that holds the offset on, patched. */
static bool shop_matches(const Shop *shop, int64_t offset, const CollectResult *result)
{
    uint8_t *flat = malloc((size_t)result->bytes + 1);
    size_t size = 0;
    for (size_t i = 0; i < result->slice_count; i++) {
        Slice slice = shop->records.slices[result->first_slice + i];
        memcpy(flat + size, slice.data, slice.size);
        size += slice.size;
    }
    BatchIterator batches = batch_iterate(slice_of(flat, size));
    bool matches = size == (size_t)result->bytes;
    int next = 0;
    while (shop->batches[next].end_offset <= offset) {
        next++;
    }
    while (batch_next(&batches)) {
        matches = matches && next < shop->batch_count &&
                  batches.header.base_offset == shop->batches[next].base_offset &&
                  batches.header.leader_epoch == LEADER_EPOCH &&
                  batches.bytes.size == shop->batches[next].size &&
                  batches.header.base_offset + batch_offset_count(&batches.header) ==
                      shop->batches[next].end_offset;
        for (size_t i = BATCH_HEADER_SIZE; matches && i < batches.bytes.size; i++) {
            matches = batches.bytes.data[i] == batches.bytes.data[BATCH_HEADER_SIZE];
        }
        next++;
    }
    matches = matches && batches.error.code == BATCH_OK &&
              result->next_offset == shop->batches[next - 1].end_offset;
    free(flat);
    return matches;
}

TEST(batches_are_whole_and_patched_over_every_block_border)
{
    static const size_t block_sizes[] = { 61, 64, 100, 128, 1000, 4096, 5000, 1 << 16 };
    for (size_t b = 0; b < sizeof(block_sizes) / sizeof(block_sizes[0]); b++) {
        Shop *shop = shop_new(block_sizes[b], 1 << 20);
        RawBatch batches[40];
        for (int i = 0; i < 40; i++) {
            int32_t size = i % 9 == 0 ? 6000 + i : 61 + i * 13 % 300;
            batches[i] = (RawBatch){ .size = size, .records = 1 + i % 4, .fill = (uint8_t)(i + 1) };
        }
        shop_fill(shop, batches, 40);
        int64_t offset = 1000;
        while (offset < shop->next_offset) {
            CollectResult result = shop_read(shop, offset, 3000, true);
            CHECK(result.bytes > 0);
            CHECK(shop_matches(shop, offset, &result));
            offset = result.next_offset;
        }
        CHECK_INT(shop_read(shop, offset, 3000, true).stop, COLLECT_END);
        shop_free(shop);
    }
}

TEST(reading_may_begin_at_any_offset_and_gives_the_batch_that_holds_it)
{
    Shop *shop = shop_new(128, 1 << 20);
    static const RawBatch batches[] = { { .records = 5, .size = 90 },
                                        { .records = 1, .size = 200 },
                                        { .records = 7, .size = 61 },
                                        { .records = 2, .size = 5000 } };
    shop_fill(shop, batches, 4);
    for (int64_t offset = shop->next_offset - 1; offset >= 1000;
         offset--) { /* backwards: hints do not help */
        CollectResult result = shop_read(shop, offset, 1, true);
        CHECK(result.bytes > 0);
        CHECK(shop_matches(shop, offset, &result));
    }
    shop_free(shop);
}

TEST(a_missing_block_is_named_with_where_reading_ahead_ends)
{
    Shop *shop = shop_new(100, 1 << 20);
    shop_fill(shop, &(RawBatch){ .size = 1000 }, 1); /* bytes 48 to 1047 */
    CollectResult result = shop_collect(shop, 1000, 10000, true);
    CHECK_INT(result.stop, COLLECT_LOAD);
    CHECK_INT(result.bytes, 0);
    CHECK_INT(result.slice_count, 0);
    CHECK_INT(result.object.object_id, 7);
    CHECK_STR(result.object.key, "o/7");
    CHECK_INT(result.block_number, 0);
    CHECK_INT(result.last_block_number, 10);
    shop_load(shop, &result);
    result = shop_collect(shop, 1000, 10000, true);
    CHECK_INT(result.stop, COLLECT_LOAD);
    CHECK_INT(result.block_number, 1);
    CHECK_INT(shop->records.slice_count, 0);
    shop_free(shop);
}

TEST(a_batch_that_is_larger_than_the_cache_can_be_read)
{
    Shop *shop = shop_new(100, 300);
    shop_fill(shop, &(RawBatch){ .size = 20000, .fill = 9 }, 1);
    CollectResult result = shop_read(shop, 1000, 1, true);
    CHECK_INT(result.bytes, 20000);
    CHECK(shop_matches(shop, 1000, &result));
    CHECK(shop->loads < 250);
    shop_free(shop);
}

TEST(a_small_batch_over_a_border_can_be_read_with_a_cache_of_one_block)
{
    Shop *shop = shop_new(100, 100);
    static const RawBatch batches[] = { { .size = 70 }, { .size = 70, .fill = 3 }, { .size = 190 } };
    shop_fill(shop, batches, 3);
    for (int64_t offset = 1000; offset < shop->next_offset; offset++) {
        CollectResult result = shop_read(shop, offset, 1, true);
        CHECK(result.bytes > 0);
        CHECK(shop_matches(shop, offset, &result));
    }
    shop_free(shop);
}

TEST(limits_count_whole_batches_and_the_first_may_pass_them_only_when_allowed)
{
    Shop *shop = shop_new(1 << 16, 1 << 20);
    static const RawBatch batches[] = { { .size = 300 }, { .size = 300 }, { .size = 300 } };
    shop_fill(shop, batches, 3);
    (void)shop_read(shop, 1000, 1, true);
    CollectResult result = shop_collect(shop, 1000, 600, false);
    CHECK_INT(result.bytes, 600);
    CHECK_INT(result.stop, COLLECT_FULL);
    CHECK_INT(result.next_offset, 1002);
    CHECK_INT(shop_collect(shop, 1000, 599, false).bytes, 300);
    CHECK_INT(shop_collect(shop, 1000, 299, false).bytes, 0);
    CHECK_INT(shop_collect(shop, 1000, 299, false).stop, COLLECT_FULL);
    CHECK_INT(shop_collect(shop, 1000, 299, true).bytes, 300);
    CHECK_INT(shop_collect(shop, 1000, 0, true).bytes, 300);
    CHECK_INT(shop_collect(shop, 1000, 0, false).bytes, 0);
    CHECK_INT(shop_collect(shop, 1000, INT64_MAX, false).bytes, 900);
    CHECK_INT(shop_collect(shop, 1000, INT64_MAX, false).stop, COLLECT_END);
    shop_free(shop);
}

TEST(a_reader_going_forward_does_not_look_at_earlier_batches_again)
{
    Shop *shop = shop_new(100, 1 << 20);
    RawBatch batches[100];
    for (int i = 0; i < 100; i++) {
        batches[i] = (RawBatch){ .size = 100 };
    }
    shop_fill(shop, batches, 100);
    (void)shop_read(shop, 1000, 1, true);
    int64_t offset = 1000;
    while (offset < shop->next_offset) {
        offset = shop_read(shop, offset, 1, true).next_offset;
    }
    const SegmentRef *ref = segments_find(&shop->segments, shop->partition, 1050);
    CHECK_INT(ref->hint_offset, 1100);
    CHECK_INT(ref->hint_position, 100 * 100);
    CHECK_INT(shop->loads, 101);
    shop_free(shop);
}

TEST(what_the_brain_must_be_asked_is_told)
{
    Shop *shop = shop_new(1 << 16, 1 << 20);
    shop->partition->high_watermark = 1010;
    CHECK_INT(shop_collect(shop, 1000, 100, true).stop, COLLECT_LOOKUP);
    shop->partition->high_watermark = 1000;
    CHECK_INT(shop_collect(shop, 1000, 100, true).stop, COLLECT_END);
    CHECK_INT(shop_collect(shop, 2000, 100, true).stop, COLLECT_END);
    shop_free(shop);
}

TEST(reading_goes_on_from_segments_into_the_tail_and_over_a_gap)
{
    Shop *shop = shop_new(1 << 16, 1 << 20);
    static const RawBatch cold[] = { { .size = 100, .fill = 1 }, { .size = 100, .fill = 2 } };
    shop->next_offset = 1000;
    SegmentRef first = shop_write(shop, cold, 2);
    shop->next_offset += 5; /* offsets that are gone */
    SegmentRef second = shop_write(shop, cold, 2);
    SegmentRef refs[] = { first, second };
    segments_keep(&shop->segments, shop->partition, 1000, refs, 2);
    shop_push(shop, &(RawBatch){ .size = 500, .fill = 3 });
    shop_push(shop, &(RawBatch){ .size = 500, .fill = 4, .records = 3 });
    CollectResult result = shop_read(shop, 1000, 10000, true);
    CHECK_INT(result.bytes, 1400);
    CHECK_INT(result.stop, COLLECT_END);
    CHECK_INT(result.next_offset, shop->next_offset);
    CHECK(shop_matches(shop, 1000, &result));
    result = shop_collect(shop, shop->next_offset - 1, 10000, true);
    CHECK_INT(result.bytes, 500); /* from the tail, the batch that holds the offset */
    shop_free(shop);
}

TEST(the_tail_is_given_within_limits)
{
    Shop *shop = shop_new(1 << 16, 1 << 20);
    for (int i = 0; i < 5; i++) {
        shop_push(shop, &(RawBatch){ .size = 100 });
    }
    CHECK_INT(shop_collect(shop, 1001, 250, true).bytes, 200);
    CHECK_INT(shop_collect(shop, 1001, 250, true).stop, COLLECT_FULL);
    CHECK_INT(shop_collect(shop, 1001, 10, true).bytes, 100);
    CHECK_INT(shop_collect(shop, 1001, 10, false).bytes, 0);
    CHECK_INT(shop_collect(shop, 1000, 1000, false).bytes, 500);
    shop_free(shop);
}

TEST(what_was_collected_outlives_tail_and_cache)
{
    Shop *shop = shop_new(64, 1 << 20);
    shop_fill(shop, &(RawBatch){ .size = 9000, .fill = 1 }, 1);
    shop_push(shop, &(RawBatch){ .size = 100, .fill = 2 });
    CollectResult result = shop_read(shop, 1000, 100000, true);
    CHECK_INT(result.bytes, 9100);
    tail_free(&shop->tail);
    cache_free(shop->collector.cache);
    CacheOptions options = { 64, 64, 64 };
    CacheBackend backend = { shop, shop_get };
    shop->collector.cache = cache_new(&options, &backend);
    CHECK(shop_matches(shop, 1000, &result));
    shop_free(shop);
}

TEST(an_object_that_is_cut_short_is_corrupt)
{
    for (size_t cut = 1; cut < 1000; cut += 13) {
        Shop *shop = shop_new(100, 1 << 20);
        shop_fill(shop, &(RawBatch){ .size = 1000 }, 1);
        shop->size -= cut;
        CHECK_INT(shop_read(shop, 1000, 10000, true).stop, COLLECT_CORRUPT);
        CHECK_INT(shop->records.slice_count, 0);
        shop_free(shop);
    }
}

/* One field of the second of three batches is wrong. */
static Shop *shop_damaged(size_t field, const uint8_t *value, size_t size)
{
    Shop *shop = shop_new(1 << 16, 1 << 20);
    static const RawBatch batches[] = { { .size = 100 }, { .size = 200, .records = 4 }, { .size = 100 } };
    shop_fill(shop, batches, 3);
    memcpy(shop->bytes + 48 + 100 + field, value, size);
    return shop;
}

TEST(lengths_that_cannot_be_are_corrupt_and_never_followed)
{
    static const uint8_t lengths[][4] = { { 0, 0, 0, 0 },
                                          { 0, 0, 0, 48 },
                                          { 0xff, 0xff, 0xff, 0xff },
                                          { 0x80, 0, 0, 0 },
                                          { 0x7f, 0xff, 0xff, 0xff },
                                          { 0, 0, 1, 33 },
                                          { 0x7f, 0xff, 0xff, 0xf4 } };
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        Shop *shop = shop_damaged(8, lengths[i], 4);
        CollectResult result = shop_read(shop, 1000, 10000, true);
        CHECK_INT(result.bytes, 100); /* the good one before it */
        CHECK_INT(result.stop, COLLECT_CORRUPT);
        CHECK_INT(shop_read(shop, 1001, 10000, true).stop, COLLECT_CORRUPT);
        shop_free(shop);
    }
}

TEST(another_magic_is_corrupt)
{
    static const uint8_t magic = 1;
    Shop *shop = shop_damaged(16, &magic, 1);
    CHECK_INT(shop_read(shop, 1001, 10000, true).stop, COLLECT_CORRUPT);
    shop_free(shop);
}

TEST(batches_with_more_or_fewer_offsets_than_the_brain_knows_are_corrupt)
{
    static const uint8_t deltas[][4] = { { 0, 0, 0, 9 },
                                         { 0x7f, 0xff, 0xff, 0xff },
                                         { 0xff, 0xff, 0xff, 0xff } };
    for (size_t i = 0; i < sizeof(deltas) / sizeof(deltas[0]); i++) {
        Shop *shop = shop_damaged(23, deltas[i], 4);
        CHECK_INT(shop_read(shop, 1001, 10000, true).stop, COLLECT_CORRUPT);
        CHECK_INT(shop_read(shop, 1001, 10000, true).bytes, 0);
        shop_free(shop);
    }
    static const uint8_t fewer[4] = { 0, 0, 0, 1 };
    Shop *shop = shop_damaged(23, fewer, 4);
    CollectResult result = shop_read(shop, 1000, 10000, true);
    CHECK_INT(result.stop, COLLECT_CORRUPT);
    CHECK_INT(shop_read(shop, result.next_offset, 10000, true).stop, COLLECT_CORRUPT); /* never skipped */
    shop_free(shop);
}

TEST(a_reset_collection_lets_go_of_every_block)
{
    Shop *shop = shop_new(1 << 16, 1 << 20);
    shop_fill(shop, &(RawBatch){ .size = 9000 }, 1);
    (void)shop_read(shop, 1000, 10000, true);
    const Block *block = cache_find(shop->collector.cache, 7, 0);
    CHECK_INT(block->references, 2);
    collection_reset(&shop->records);
    CHECK_INT(block->references, 1);
    shop_free(shop);
}

TEST(an_inline_segment_is_one_block_that_has_nothing_else)
{
    Shop *shop = shop_new(64, 1 << 20);
    RawBatch batches[3] = { { .size = 100, .fill = 1 },
                            { .size = 9000, .fill = 2 },
                            { .size = 70, .fill = 3 } };
    shop->slot = 4;
    SegmentRef refs[2];
    refs[0] = shop_write(shop, batches, 3);
    refs[1] = shop_write(shop, batches, 3);
    segments_keep(&shop->segments, shop->partition, 1000, refs, 2);
    CollectResult result = shop_collect(shop, 1000, 100000, true);
    CHECK_INT(result.stop, COLLECT_LOAD);
    CHECK_INT(result.block_number, result.last_block_number);
    result = shop_read(shop, 1000, 100000, true);
    CHECK_INT(shop->loads, 1);
    CHECK_INT(shop->slot_asked, 4);
    CHECK_INT(shop->get.start, refs[0].byte_start);
    CHECK_INT(shop->get.length, refs[0].byte_length);
    CHECK_INT(result.bytes, 9170);
    CHECK(shop_matches(shop, 1000, &result));
    result = shop_read(shop, 1003, 100000, true);
    CHECK_INT(shop->loads, 2);
    CHECK(shop_matches(shop, 1003, &result));
    shop_free(shop);
}

TEST(a_reader_may_begin_anywhere_in_an_inline_segment)
{
    Shop *shop = shop_new(64, 1 << 20);
    RawBatch batches[20];
    for (int i = 0; i < 20; i++) {
        batches[i] = (RawBatch){ .size = 80 + 31 * i, .records = 1 + i % 3, .fill = (uint8_t)(i + 1) };
    }
    shop->slot = 1;
    shop_fill(shop, batches, 20);
    for (int64_t offset = 1000; offset < shop->next_offset; offset++) {
        CollectResult result = shop_read(shop, offset, 1 << 20, true);
        CHECK(shop_matches(shop, offset, &result));
    }
    CHECK_INT(shop->loads, 1);
    shop_free(shop);
}

TEST(an_inline_segment_that_is_cut_short_is_corrupt)
{
    Shop *shop = shop_new(64, 1 << 20);
    shop->slot = 2;
    shop_fill(shop, &(RawBatch){ .size = 1000 }, 1);
    shop->size -= 10;
    CHECK_INT(shop_read(shop, 1000, 10000, true).stop, COLLECT_CORRUPT);
    shop_free(shop);
}
