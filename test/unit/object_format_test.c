/* object_format_test.c: objects written and read again, and what is no object of ours. */
#include "common/object_format.h"

#include "common/crc32c.h"
#include "test/unit/batch_fixture.h"
#include "test/unit/test.h"

static const ObjectIdentity identity = { .object_id = 4242,
                                         .created_ms = FIXTURE_TIME_MS,
                                         .cluster_id = { 1, 2, 3 } };

enum { ARENA_LIMIT = 1 << 22, BATCHES = 7 };

/* Two topics, three partitions, batches that came mixed. */
static const struct {
    uint8_t topic;
    int32_t partition;
    int count;
} arrivals[BATCHES] = { { 9, 1, 1 }, { 9, 0, 2 }, { 9, 1, 3 }, { 2, 5, 4 },
                        { 9, 0, 5 }, { 2, 5, 6 }, { 9, 1, 7 } };

/* Fills the writer with the arrivals; bytes holds their batches and must outlive it. */
static bool arrive(ObjectWriter *writer, Writer *bytes)
{
    size_t starts[BATCHES + 1];
    RecordBatchOptions options = record_batch_options_plain;
    options.producer_id = 4711;
    options.producer_epoch = 1;
    for (int i = 0; i < BATCHES; i++) {
        starts[i] = bytes->used;
        options.base_sequence = i * 100;
        fixture_batch(bytes, &options, arrivals[i].count, 100);
    }
    starts[BATCHES] = bytes->used;
    for (int i = 0; i < BATCHES; i++) {
        ObjectBatch batch = { .topic_uuid = { arrivals[i].topic },
                              .partition = arrivals[i].partition,
                              .lease_epoch = 3,
                              .base_offset = -1 };
        batch.bytes = slice_of(bytes->bytes + starts[i], starts[i + 1] - starts[i]);
        batch.context = (void *)&arrivals[i];
        BatchError error = batch_header_read(batch.bytes, &batch.header);
        Status status = object_writer_add(writer, &batch);
        if (error.code != BATCH_OK || !status_is_ok(&status)) {
            return false;
        }
    }
    return true;
}

/* The object as one piece; whoever called frees it. */
static Slice flatten(const ObjectWriter *writer)
{
    size_t count = object_writer_slice_count(writer);
    Slice *slices = calloc(count, sizeof(Slice));
    uint8_t *bytes = malloc(object_writer_size(writer));
    size_t size = 0;
    object_writer_slices(writer, slices);
    for (size_t i = 0; i < count && size + slices[i].size <= object_writer_size(writer); i++) {
        memcpy(bytes + size, slices[i].data, slices[i].size);
        size += slices[i].size;
    }
    free(slices);
    return slice_of(bytes, size);
}

static Slice make_object(ObjectWriter *writer, Writer *bytes)
{
    object_writer_init(writer);
    writer_init(bytes);
    if (!arrive(writer, bytes)) {
        return SLICE_NULL;
    }
    Status status = object_writer_seal(writer, &identity);
    return status_is_ok(&status) ? flatten(writer) : SLICE_NULL;
}

static Status read_index(Slice object, Arena *arena, ObjectIndex *index)
{
    ObjectTrailer trailer;
    Status status = object_trailer_read(object, (int64_t)object.size, &trailer);
    if (!status_is_ok(&status)) {
        return status;
    }
    return object_index_read(slice_of(object.data + object_footer_start(&trailer), trailer.footer_size),
                             &trailer, arena, index);
}

TEST(an_object_is_read_as_it_was_written)
{
    ObjectWriter writer;
    ObjectIndex index;
    ObjectIdentity head;
    Writer bytes;
    Arena arena;
    Slice object = make_object(&writer, &bytes);
    CHECK_INT(object.size, object_writer_size(&writer));
    arena_init(&arena, ARENA_LIMIT);
    Status status = object_header_read(object, &head);
    CHECK(status_is_ok(&status));
    CHECK_INT(head.object_id, 4242);
    CHECK_INT(head.created_ms, FIXTURE_TIME_MS);
    CHECK(memcmp(head.cluster_id, identity.cluster_id, OBJECT_UUID_SIZE) == 0);
    status = read_index(object, &arena, &index);
    CHECK(status_is_ok(&status));
    CHECK_INT(index.identity.object_id, 4242);
    CHECK_INT(index.partition_count, 3);
    CHECK_INT(index.batch_count, BATCHES);
    for (int i = 0; i < BATCHES; i++) {
        const ObjectBatchRow *row = &index.batches[i];
        Slice batch = slice_of(object.data + row->byte_start, (size_t)row->byte_length);
        CHECK(object_batch_matches(batch, row));
        CHECK_BYTES(batch, writer.batches[i].bytes);
        CHECK_INT(row->byte_start, writer.batches[i].byte_start);
        CHECK_INT(row->base_offset, -1);
        CHECK_INT(row->lease_epoch, 3);
        CHECK_INT(row->producer_id, 4711);
        CHECK_INT(row->producer_epoch, 1);
        CHECK_INT(row->record_count, row->last_offset_delta + 1);
        CHECK_INT(row->base_timestamp, FIXTURE_TIME_MS);
        CHECK_INT(row->max_timestamp, FIXTURE_TIME_MS + row->last_offset_delta);
    }
    arena_reset(&arena);
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}

TEST(batches_of_a_partition_are_adjacent_and_in_the_order_they_came)
{
    static const struct {
        uint8_t topic;
        int32_t partition;
        int32_t records[3];
        int32_t count;
    } expected[] = { { 2, 5, { 4, 6 }, 2 }, { 9, 0, { 2, 5 }, 2 }, { 9, 1, { 1, 3, 7 }, 3 } };
    ObjectWriter writer;
    ObjectIndex index;
    Writer bytes;
    Arena arena;
    Slice object = make_object(&writer, &bytes);
    arena_init(&arena, ARENA_LIMIT);
    Status status = read_index(object, &arena, &index);
    CHECK(status_is_ok(&status));
    int64_t byte_start = OBJECT_HEADER_SIZE;
    int32_t ordinal = 0;
    for (int i = 0; i < 3; i++) {
        const ObjectPartitionRow *row = &index.partitions[i];
        CHECK_INT(row->topic_uuid[0], expected[i].topic);
        CHECK_INT(row->partition, expected[i].partition);
        CHECK_INT(row->batch_count, expected[i].count);
        CHECK_INT(row->first_batch, ordinal);
        CHECK_INT(row->byte_start, byte_start);
        for (int j = 0; j < row->batch_count; j++) {
            CHECK_INT(index.batches[ordinal].byte_start, byte_start);
            CHECK_INT(index.batches[ordinal].record_count, expected[i].records[j]);
            CHECK_INT(writer.batches[ordinal].ordinal, ordinal);
            CHECK_INT(((const __typeof__(arrivals[0]) *)writer.batches[ordinal].context)->count,
                      expected[i].records[j]);
            byte_start += index.batches[ordinal++].byte_length;
        }
        CHECK_INT(row->byte_start + row->byte_length, byte_start);
    }
    arena_reset(&arena);
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}

TEST(bodies_are_referred_to_and_not_copied)
{
    ObjectWriter writer;
    Writer bytes;
    Slice object = make_object(&writer, &bytes);
    Slice slices[BATCHES + 2];
    size_t size = 0;
    CHECK_INT(object_writer_slice_count(&writer), BATCHES + 2);
    object_writer_slices(&writer, slices);
    for (int i = 1; i <= BATCHES; i++) {
        CHECK(slices[i].data >= bytes.bytes && slices[i].data < bytes.bytes + bytes.used);
    }
    for (int i = 0; i < BATCHES + 2; i++) {
        size += slices[i].size;
    }
    CHECK_INT(size, object_writer_size(&writer));
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}

TEST(the_size_before_sealing_is_an_upper_bound)
{
    ObjectWriter writer;
    Writer bytes;
    object_writer_init(&writer);
    writer_init(&bytes);
    CHECK(arrive(&writer, &bytes));
    size_t bound = object_writer_size(&writer);
    Status status = object_writer_seal(&writer, &identity);
    CHECK(status_is_ok(&status));
    CHECK(object_writer_size(&writer) <= bound);
    object_writer_free(&writer);
    writer_free(&bytes);
}

TEST(a_stored_object_is_ours_only_when_everything_is_the_same)
{
    ObjectWriter writer;
    ObjectTrailer trailer;
    Writer bytes;
    Slice object = make_object(&writer, &bytes);
    Status status =
        object_trailer_read(slice_of(object.data + object.size - OBJECT_TRAILER_SIZE, OBJECT_TRAILER_SIZE),
                            (int64_t)object.size, &trailer);
    CHECK(status_is_ok(&status));
    CHECK(object_writer_made(&writer, &trailer));
    ObjectIdentity other = identity;
    other.object_id = 4243;
    status = object_writer_rename(&writer, &other);
    CHECK(status_is_ok(&status));
    CHECK_INT(object_writer_size(&writer), object.size);
    CHECK(!object_writer_made(&writer, &trailer));
    status = object_writer_rename(&writer, &identity);
    CHECK(status_is_ok(&status));
    CHECK(object_writer_made(&writer, &trailer));
    other = identity;
    other.created_ms++;
    status = object_writer_rename(&writer, &other);
    CHECK(status_is_ok(&status));
    CHECK(!object_writer_made(&writer, &trailer));
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}

TEST(a_writer_can_be_used_again_after_a_reset)
{
    ObjectWriter writer;
    Writer bytes;
    Slice first = make_object(&writer, &bytes);
    object_writer_reset(&writer);
    writer_reset(&bytes);
    CHECK(arrive(&writer, &bytes));
    Status status = object_writer_seal(&writer, &identity);
    CHECK(status_is_ok(&status));
    Slice second = flatten(&writer);
    CHECK_BYTES(second, first);
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)first.data);
    free((void *)second.data);
}

TEST(an_object_of_nothing_or_of_half_a_batch_is_refused)
{
    ObjectWriter writer;
    Writer bytes;
    ObjectBatch batch = { .partition = 0 };
    object_writer_init(&writer);
    writer_init(&bytes);
    Status status = object_writer_seal(&writer, &identity);
    CHECK_INT(status.code, STATUS_INVALID);
    batch.bytes = fixture_batch(&bytes, &record_batch_options_plain, 1, 10);
    BatchError error = batch_header_read(batch.bytes, &batch.header);
    CHECK_INT(error.code, BATCH_OK);
    batch.bytes.size--;
    status = object_writer_add(&writer, &batch);
    CHECK_INT(status.code, STATUS_INVALID);
    batch.bytes.size++;
    batch.partition = -1;
    status = object_writer_add(&writer, &batch);
    CHECK_INT(status.code, STATUS_INVALID);
    object_writer_free(&writer);
    writer_free(&bytes);
}

TEST(an_object_does_not_grow_past_what_a_segment_can_point_into)
{
    ObjectWriter writer;
    Status status = status_ok();
    ObjectBatch batch = { .partition = 0, .header = { .length = (1 << 30) - BATCH_LENGTH_END } };
    batch.bytes = slice_of("", 1 << 30); /* never read */
    object_writer_init(&writer);
    status = object_writer_add(&writer, &batch);
    CHECK(status_is_ok(&status));
    status = object_writer_add(&writer, &batch);
    CHECK_INT(status.code, STATUS_LIMIT);
    object_writer_free(&writer);
}

TEST(any_changed_bit_of_footer_or_trailer_is_noticed)
{
    ObjectWriter writer;
    ObjectTrailer trailer;
    Writer bytes;
    Slice object = make_object(&writer, &bytes);
    uint8_t *changed = (uint8_t *)object.data;
    Status status = object_trailer_read(object, (int64_t)object.size, &trailer);
    CHECK(status_is_ok(&status));
    for (size_t at = (size_t)object_footer_start(&trailer); at < object.size; at++) {
        for (int bit = 0; bit < 8; bit++) {
            ObjectIndex index;
            Arena arena;
            arena_init(&arena, ARENA_LIMIT);
            changed[at] ^= (uint8_t)(1 << bit);
            status = read_index(object, &arena, &index);
            changed[at] ^= (uint8_t)(1 << bit);
            arena_reset(&arena);
            CHECK_INT(status.code, STATUS_CORRUPT);
        }
    }
    object_writer_free(&writer);
    writer_free(&bytes);
    free(changed);
}

TEST(any_changed_bit_of_the_header_is_noticed)
{
    ObjectWriter writer;
    ObjectIdentity head;
    Writer bytes;
    Slice object = make_object(&writer, &bytes);
    uint8_t *changed = (uint8_t *)object.data;
    for (size_t at = 0; at < OBJECT_HEADER_SIZE; at++) {
        changed[at] ^= 1;
        Status status = object_header_read(object, &head);
        changed[at] ^= 1;
        CHECK_INT(status.code, STATUS_CORRUPT);
    }
    Status status = object_header_read(slice_of(object.data, OBJECT_HEADER_SIZE - 1), &head);
    CHECK_INT(status.code, STATUS_CORRUPT);
    object_writer_free(&writer);
    writer_free(&bytes);
    free(changed);
}

TEST(an_object_cut_short_is_noticed)
{
    ObjectWriter writer;
    Writer bytes;
    Slice object = make_object(&writer, &bytes);
    for (size_t size = 0; size < object.size; size++) {
        ObjectIndex index;
        Arena arena;
        arena_init(&arena, ARENA_LIMIT);
        Status status = read_index(slice_of(object.data, size), &arena, &index);
        arena_reset(&arena);
        CHECK_INT(status.code, STATUS_CORRUPT);
    }
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}

/* Where rows are, once more on purpose: what docs/object-format.md says. */
enum { FOOTER_FIXED = 44, PARTITION_ROW = 40, BATCH_ROW = 60, TRAILER = 32, TRAILER_CHECKED = 20 };

/* Sets a number in the footer and makes the checksum right again: a liar, not damage. */
static StatusCode read_with_lie(size_t footer_at, uint64_t value, size_t size)
{
    ObjectWriter writer;
    ObjectIndex index;
    ObjectTrailer trailer;
    Writer bytes;
    Arena arena;
    Slice object = make_object(&writer, &bytes);
    uint8_t *changed = (uint8_t *)object.data;
    Status status = object_trailer_read(object, (int64_t)object.size, &trailer);
    size_t footer = (size_t)object_footer_start(&trailer);
    for (size_t i = size; i > 0; i--, value >>= 8) {
        changed[footer + footer_at + i - 1] = (uint8_t)value;
    }
    uint32_t checksum = crc32c(slice_of(changed + footer, trailer.footer_size + TRAILER_CHECKED));
    for (int i = 0; i < 4; i++) {
        changed[object.size - TRAILER + TRAILER_CHECKED + (size_t)i] = (uint8_t)(checksum >> (24 - 8 * i));
    }
    arena_init(&arena, ARENA_LIMIT);
    status = read_index(object, &arena, &index);
    arena_reset(&arena);
    object_writer_free(&writer);
    writer_free(&bytes);
    free(changed);
    return status.code;
}

TEST(a_footer_that_lies_under_a_right_checksum_is_refused)
{
    enum { BATCH_ROWS = FOOTER_FIXED + 3 * PARTITION_ROW };
    static const struct {
        size_t at;
        uint64_t value;
        size_t size;
    } lies[] = {
        { 0, 2, 2 },                                   /* a version to come */
        { 4, 1, 8 },                                   /* another object's id */
        { 36, 2, 4 },                                  /* fewer partitions */
        { 36, UINT32_MAX, 4 },                         /* more than fit */
        { 40, 0, 4 },                                  /* no batches */
        { 40, UINT32_MAX, 4 },                         /* more than fit */
        { FOOTER_FIXED + 16, UINT32_MAX, 4 },          /* partition -1 */
        { FOOTER_FIXED + 20, 0, 4 },                   /* a partition without batches */
        { FOOTER_FIXED + 20, 3, 4 },                   /* one that takes its neighbour's */
        { FOOTER_FIXED + 20, INT32_MAX, 4 },           /* one that takes more than there are */
        { FOOTER_FIXED + 24, 49, 8 },                  /* a gap after the header */
        { FOOTER_FIXED + 24, 0, 8 },                   /* a range over the header */
        { FOOTER_FIXED + 32, (uint64_t)INT64_MAX, 8 }, /* a range past the end */
        { FOOTER_FIXED + 32, (uint64_t)-1, 8 },        /* a negative range */
        { FOOTER_FIXED + PARTITION_ROW + 24, 48, 8 },  /* overlapping partitions */
        { BATCH_ROWS, 60, 4 },                         /* a batch smaller than its header */
        { BATCH_ROWS, (uint64_t)-1, 4 },               /* a negative length */
        { BATCH_ROWS, INT32_MAX, 4 },                  /* one larger than its partition */
        { BATCH_ROWS + 24, (uint64_t)-1, 4 },          /* a batch without offsets */
    };
    CHECK_INT(read_with_lie(4, 4242, 8), STATUS_OK);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        CHECK_INT(read_with_lie(lies[i].at, lies[i].value, lies[i].size), STATUS_CORRUPT);
    }
}

TEST(a_footer_larger_than_the_memory_for_it_is_refused)
{
    ObjectWriter writer;
    ObjectIndex index;
    Writer bytes;
    Arena arena;
    Slice object = make_object(&writer, &bytes);
    arena_init(&arena, 200);
    Status status = read_index(object, &arena, &index);
    CHECK_INT(status.code, STATUS_LIMIT);
    arena_reset(&arena);
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}

TEST(a_batch_that_is_not_the_rows_is_noticed)
{
    ObjectWriter writer;
    ObjectIndex index;
    Writer bytes;
    Arena arena;
    Slice object = make_object(&writer, &bytes);
    arena_init(&arena, ARENA_LIMIT);
    Status status = read_index(object, &arena, &index);
    CHECK(status_is_ok(&status));
    ObjectBatchRow *row = &index.batches[1];
    uint8_t *batch = (uint8_t *)object.data + row->byte_start;
    size_t size = (size_t)row->byte_length;
    CHECK(object_batch_matches(slice_of(batch, size), row));
    batch_patch_offset(batch, 99, 7);
    CHECK(object_batch_matches(slice_of(batch, size), row));
    CHECK(!object_batch_matches(slice_of(batch, size - 1), row));
    CHECK(!object_batch_matches(slice_of(batch, size), &index.batches[2]));
    batch[size - 1] ^= 1;
    CHECK(!object_batch_matches(slice_of(batch, size), row));
    arena_reset(&arena);
    object_writer_free(&writer);
    writer_free(&bytes);
    free((void *)object.data);
}
