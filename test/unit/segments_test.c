/* segments_test.c: pointers to segments in windows: found by offset, kept for a few readers, dropped with
 * their topic. */
#include "agent/read/segments.h"

#include <stdlib.h>

#include "test/unit/test.h"

static const uint8_t uuid[16] = { 1 };

static Topic *topic_of(int32_t partitions)
{
    Topic *topic = topic_new(1, uuid, SLICE_LITERAL("t"));
    if (!topic || !topic_grow(topic, partitions)) {
        abort();
    }
    return topic;
}

/* count segments of ten offsets each, in objects numbered like their first offset. */
static void keep(Segments *segments, Partition *partition, int64_t from_offset, int64_t base_offset,
                 int32_t count)
{
    SegmentRef *refs = calloc((size_t)count + 1, sizeof(SegmentRef));
    char key[] = "o/key";
    for (int32_t i = 0; i < count; i++) {
        int64_t base = base_offset + 10 * i;
        refs[i] = (SegmentRef){
            .base_offset = base, .end_offset = base + 10, .object_id = base, .key = key, .byte_length = 100
        };
    }
    segments_keep(segments, partition, from_offset, refs, count);
    free(refs);
}

TEST(an_offset_is_found_in_its_segment)
{
    Segments segments;
    Topic *topic = topic_of(2);
    Partition *partition = topic->partitions[0];
    segments_init(&segments, 1 << 20);
    CHECK(segments_find(&segments, partition, 0) == NULL);
    keep(&segments, partition, 105, 100, 50);
    for (int64_t offset = 105; offset < 600; offset++) {
        const SegmentRef *ref = segments_find(&segments, partition, offset);
        CHECK(ref && ref->base_offset <= offset && offset < ref->end_offset);
        CHECK_STR(ref->key, "o/key");
    }
    CHECK(segments_find(&segments, partition, 104) ==
          NULL); /* not asked for: it may begin before the window */
    CHECK(segments_find(&segments, partition, 600) == NULL);
    CHECK(segments_find(&segments, topic->partitions[1], 105) == NULL);
    segments_free(&segments);
    topic_release(topic);
}

TEST(an_offset_in_a_gap_finds_the_segment_after_it)
{
    Segments segments;
    Topic *topic = topic_of(1);
    Partition *partition = topic->partitions[0];
    char key[] = "k";
    SegmentRef refs[] = { { .base_offset = 20, .end_offset = 30, .key = key },
                          { .base_offset = 50, .end_offset = 60, .key = key } };
    segments_init(&segments, 1 << 20);
    segments_keep(&segments, partition, 5, refs, 2);
    CHECK_INT(segments_find(&segments, partition, 5)->base_offset, 20);
    CHECK_INT(segments_find(&segments, partition, 29)->base_offset, 20);
    CHECK_INT(segments_find(&segments, partition, 30)->base_offset, 50);
    CHECK_INT(segments_find(&segments, partition, 59)->base_offset, 50);
    segments_free(&segments);
    topic_release(topic);
}

TEST(a_fresh_pointers_hint_is_its_beginning)
{
    Segments segments;
    Topic *topic = topic_of(1);
    char key[] = "k";
    SegmentRef ref = {
        .base_offset = 20, .end_offset = 30, .key = key, .hint_offset = 99, .hint_position = 99
    };
    segments_init(&segments, 1 << 20);
    segments_keep(&segments, topic->partitions[0], 20, &ref, 1);
    CHECK_INT(segments_find(&segments, topic->partitions[0], 20)->hint_offset, 20);
    CHECK_INT(segments_find(&segments, topic->partitions[0], 20)->hint_position, 0);
    segments_free(&segments);
    topic_release(topic);
}

TEST(a_partition_keeps_its_four_most_recently_used_windows)
{
    Segments segments;
    Topic *topic = topic_of(1);
    Partition *partition = topic->partitions[0];
    segments_init(&segments, 1 << 20);
    for (int i = 0; i < SEGMENT_WINDOWS_MAX; i++) {
        keep(&segments, partition, i * 1000, i * 1000, 3);
    }
    CHECK(segments_find(&segments, partition, 0) != NULL); /* used: 1000 is the oldest now */
    keep(&segments, partition, 9000, 9000, 3);
    CHECK(segments_find(&segments, partition, 1000) == NULL);
    CHECK(segments_find(&segments, partition, 0) != NULL);
    CHECK(segments_find(&segments, partition, 2000) != NULL);
    CHECK(segments_find(&segments, partition, 9029) != NULL);
    segments_free(&segments);
    topic_release(topic);
}

TEST(over_all_partitions_the_least_recently_used_window_goes_first)
{
    Segments segments;
    Topic *topic = topic_of(200);
    segments_init(&segments, 20000);
    for (int i = 0; i < 200; i++) {
        keep(&segments, topic->partitions[i], 0, 0, 5);
        CHECK(segments.bytes <= segments.bytes_max);
        CHECK(segments_find(&segments, topic->partitions[0], 0) != NULL); /* always in use */
    }
    CHECK(segments_find(&segments, topic->partitions[1], 0) == NULL);
    CHECK(segments_find(&segments, topic->partitions[199], 0) != NULL);
    segments_free(&segments);
    CHECK_INT(segments.bytes, 0);
    topic_release(topic);
}

TEST(dropping_forgets_one_partition)
{
    Segments segments;
    Topic *topic = topic_of(2);
    segments_init(&segments, 1 << 20);
    keep(&segments, topic->partitions[0], 0, 0, 5);
    keep(&segments, topic->partitions[0], 900, 900, 5);
    keep(&segments, topic->partitions[1], 0, 0, 5);
    segments_drop(&segments, topic->partitions[0]);
    CHECK(segments_find(&segments, topic->partitions[0], 0) == NULL);
    CHECK(segments_find(&segments, topic->partitions[0], 900) == NULL);
    CHECK(segments_find(&segments, topic->partitions[1], 0) != NULL);
    segments_free(&segments);
    topic_release(topic);
}

TEST(an_answer_about_a_deleted_topic_is_not_kept)
{
    Segments segments;
    Topic *topic = topic_of(1);
    segments_init(&segments, 1 << 20);
    topic->deleted = true;
    segments_drop(&segments, topic->partitions[0]);
    keep(&segments, topic->partitions[0], 0, 0, 5); /* it was asked for before */
    CHECK(segments_find(&segments, topic->partitions[0], 0) == NULL);
    topic_release(topic);
    segments_free(&segments); /* would look at the topic's partitions */
}

TEST(no_segments_are_no_window)
{
    Segments segments;
    Topic *topic = topic_of(1);
    segments_init(&segments, 1 << 20);
    keep(&segments, topic->partitions[0], 0, 0, 0);
    CHECK(segments.oldest == NULL);
    segments_free(&segments);
    topic_release(topic);
}
