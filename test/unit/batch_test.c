/* batch_test.c: which batches a producer may send, what the others are answered, and patching in place. */
#include "common/batch.h"

#include "common/crc32c.h"
#include "test/unit/batch_fixture.h"
#include "test/unit/test.h"

/* Where the fields are, written down once more on purpose: what Kafka's documentation says, not what batch.c
 * does. */
enum {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_LAST_OFFSET_DELTA = 23,
    AT_BASE_TIMESTAMP = 27,
    AT_MAX_TIMESTAMP = 35,
    AT_PRODUCER_ID = 43,
    AT_PRODUCER_EPOCH = 51,
    AT_BASE_SEQUENCE = 53,
    AT_RECORD_COUNT = 57,
    AT_RECORDS = 61
};

static void put(uint8_t *at, uint64_t value, size_t size)
{
    for (size_t i = size; i > 0; i--) {
        at[i - 1] = (uint8_t)value;
        value >>= 8;
    }
}

static void seal(Writer *batch)
{
    put(batch->bytes + AT_LENGTH, batch->used - 12, 4);
    put(batch->bytes + AT_CRC, crc32c(slice_of(batch->bytes + AT_ATTRIBUTES, batch->used - AT_ATTRIBUTES)),
        4);
}

static Slice bytes_of(const Writer *writer)
{
    return slice_of(writer->bytes, writer->used);
}

static int check_with(Slice batch, const BatchLimits *limits, BatchFacts *facts)
{
    BatchHeader header;
    BatchError error = batch_header_read(batch, &header);
    if (error.code == BATCH_OK) {
        error = batch_check(batch, &header, limits, facts);
    }
    if (error.code == BATCH_OK) {
        error = batch_check_compressed(batch, &header, limits, facts && facts->walked ? NULL : facts);
    }
    if ((error.code == BATCH_OK) != (error.message[0] == '\0')) {
        return -1000; /* a refusal says why, a success says nothing */
    }
    return error.code;
}

static int check(Slice batch)
{
    BatchFacts facts;
    return check_with(batch, &fixture_limits, &facts);
}

/* What a batch is answered after one of its fields was set to a value, with a right checksum. */
static int check_field(size_t at, uint64_t value, size_t size)
{
    Writer batch;
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    options.producer_id = 4711;
    options.producer_epoch = 2;
    options.base_sequence = 40;
    writer_init(&batch);
    fixture_batch(&batch, &options, 3, 20);
    put(batch.bytes + at, value, size);
    if (at != AT_LENGTH) {
        seal(&batch);
    }
    int code = check(bytes_of(&batch));
    writer_free(&batch);
    return code;
}

TEST(a_header_is_read_as_the_java_client_wrote_it)
{
    BatchHeader header;
    Writer file;
    writer_init(&file);
    Slice batch = fixture_file(&file, "batch", "java-none");
    BatchError error = batch_header_read(batch, &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK_INT(header.base_offset, 0);
    CHECK_INT(batch_size(&header), batch.size);
    CHECK_INT(header.leader_epoch, -1);
    CHECK_INT(header.magic, 2);
    CHECK_INT(header.crc, 0x3cd98b51);
    CHECK_INT(header.attributes, 0);
    CHECK_INT(header.last_offset_delta, 4);
    CHECK_INT(header.base_timestamp, 1700000000000);
    CHECK_INT(header.max_timestamp, 1700000100000);
    CHECK_INT(header.producer_id, 4711);
    CHECK_INT(header.producer_epoch, 3);
    CHECK_INT(header.base_sequence, 17);
    CHECK_INT(header.record_count, 5);
    CHECK_INT(batch_last_sequence(&header), 21);
    CHECK_INT(batch_offset_count(&header), 5);
    writer_free(&file);
}

TEST(batches_of_the_java_client_are_accepted_in_every_codec)
{
    static const char *const names[] = { "java-none",         "java-gzip",      "java-snappy",
                                         "java-lz4",          "java-zstd",      "java-large-gzip",
                                         "java-large-snappy", "java-large-lz4", "java-large-zstd" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        BatchFacts facts;
        Writer file;
        writer_init(&file);
        Slice batch = fixture_file(&file, "batch", names[i]);
        CHECK_INT(check_with(batch, &fixture_limits, &facts), BATCH_OK);
        CHECK(facts.walked);
        CHECK_INT(facts.max_timestamp, i < 5 ? 1700000100000 : 1700000001999);
        writer_free(&file);
    }
}

TEST(message_sets_of_old_formats_are_unsupported)
{
    Writer file;
    writer_init(&file);
    CHECK_INT(check(fixture_file(&file, "batch", "java-magic0")), BATCH_FORMAT_UNSUPPORTED);
    CHECK_INT(check(fixture_file(&file, "batch", "java-magic1")), BATCH_FORMAT_UNSUPPORTED);
    writer_free(&file);
    CHECK_INT(check_field(AT_MAGIC, 3, 1), BATCH_CORRUPT);
}

TEST(control_batches_of_clients_are_invalid_but_can_be_read)
{
    BatchHeader header;
    Writer file;
    writer_init(&file);
    Slice marker = fixture_file(&file, "batch", "java-marker");
    BatchError error = batch_header_read(marker, &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK(batch_is_control(&header) && batch_is_transactional(&header));
    CHECK(batch_crc_matches(marker, &header));
    CHECK_INT(check(marker), BATCH_RECORD_INVALID);
    writer_free(&file);
}

TEST(empty_batches_of_compaction_can_be_read_but_not_produced)
{
    BatchHeader header;
    Writer file;
    writer_init(&file);
    Slice empty = fixture_file(&file, "batch", "java-empty");
    BatchError error = batch_header_read(empty, &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK_INT(header.record_count, 0);
    CHECK_INT(batch_offset_count(&header), 10);
    CHECK(batch_crc_matches(empty, &header));
    CHECK_INT(check(empty), BATCH_RECORD_INVALID);
    writer_free(&file);
    CHECK_INT(check_field(AT_RECORD_COUNT, 0, 4), BATCH_RECORD_INVALID);
}

TEST(every_cut_of_a_batch_is_corrupt)
{
    Writer batch;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    fixture_batch(&batch, &options, 3, 20);
    for (size_t size = 0; size < batch.used; size++) {
        BatchHeader header;
        BatchError error = batch_header_read(slice_of(batch.bytes, size), &header);
        CHECK_INT(error.code, BATCH_CORRUPT);
    }
    CHECK_INT(check(bytes_of(&batch)), BATCH_OK);
    writer_free(&batch);
}

TEST(lengths_that_cannot_be_are_corrupt)
{
    CHECK_INT(check_field(AT_LENGTH, 0, 4), BATCH_CORRUPT);
    CHECK_INT(check_field(AT_LENGTH, 48, 4), BATCH_CORRUPT);
    CHECK_INT(check_field(AT_LENGTH, UINT32_MAX, 4), BATCH_CORRUPT);
    CHECK_INT(check_field(AT_LENGTH, INT32_MAX, 4), BATCH_CORRUPT);
    CHECK_INT(check_field(AT_LENGTH, 49, 4), BATCH_CORRUPT);
}

TEST(a_flipped_bit_anywhere_under_the_checksum_is_corrupt)
{
    Writer batch;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_LZ4);
    fixture_batch(&batch, &options, 4, 50);
    for (size_t at = AT_CRC; at < batch.used; at++) {
        batch.bytes[at] ^= 0x04;
        CHECK_INT(check(bytes_of(&batch)), BATCH_CORRUPT);
        batch.bytes[at] ^= 0x04;
    }
    CHECK_INT(check(bytes_of(&batch)), BATCH_OK);
    writer_free(&batch);
}

TEST(a_batch_larger_than_max_message_bytes_is_too_large)
{
    Writer batch;
    BatchLimits limits = fixture_limits;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    fixture_batch(&batch, &options, 10, 100);
    limits.batch_bytes_max = batch.used;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
    limits.batch_bytes_max = batch.used - 1;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_TOO_LARGE);
    writer_free(&batch);
}

TEST(attributes_that_a_producer_may_not_set_are_refused)
{
    CHECK_INT(check_field(AT_ATTRIBUTES, 5, 2), BATCH_CODEC_UNSUPPORTED);
    CHECK_INT(check_field(AT_ATTRIBUTES, 7, 2), BATCH_CODEC_UNSUPPORTED);
    CHECK_INT(check_field(AT_ATTRIBUTES, BATCH_CONTROL, 2), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_ATTRIBUTES, BATCH_APPEND_TIME, 2), BATCH_TIMESTAMP_INVALID);
    CHECK_INT(check_field(AT_ATTRIBUTES, BATCH_TRANSACTIONAL, 2), BATCH_OK);
    CHECK_INT(check_field(AT_ATTRIBUTES, COMPRESSION_GZIP, 2), BATCH_RECORD_INVALID);
}

TEST(zstd_can_be_refused_to_old_produce_versions)
{
    Writer batch;
    BatchLimits limits = fixture_limits;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_ZSTD);
    fixture_batch(&batch, &options, 2, 100);
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
    limits.zstd_refused = true;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_CODEC_UNSUPPORTED);
    writer_free(&batch);
}

TEST(counts_that_disagree_are_invalid)
{
    CHECK_INT(check_field(AT_RECORD_COUNT, 2, 4), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_RECORD_COUNT, 4, 4), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_RECORD_COUNT, UINT32_MAX, 4), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_LAST_OFFSET_DELTA, 1, 4), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_LAST_OFFSET_DELTA, UINT32_MAX, 4), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_BASE_OFFSET, 7, 8), BATCH_RECORD_INVALID);
}

TEST(counts_that_agree_with_each_other_but_not_with_the_bytes_are_invalid)
{
    static const int counts[] = { 1, 2, 4, 1000000, INT32_MAX };
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            Writer batch;
            writer_init(&batch);
            RecordBatchOptions options = fixture_options((CompressionCodec)codec);
            fixture_batch(&batch, &options, 3, 20);
            put(batch.bytes + AT_RECORD_COUNT, (uint64_t)counts[i], 4);
            put(batch.bytes + AT_LAST_OFFSET_DELTA, (uint64_t)counts[i] - 1, 4);
            seal(&batch);
            CHECK_INT(check(bytes_of(&batch)), BATCH_RECORD_INVALID);
            writer_free(&batch);
        }
    }
}

TEST(producer_fields_must_make_sense)
{
    CHECK_INT(check_field(AT_PRODUCER_EPOCH, UINT16_MAX, 2), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_BASE_SEQUENCE, UINT32_MAX, 4), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_BASE_SEQUENCE, INT32_MAX, 4), BATCH_OK);
    CHECK_INT(check_field(AT_PRODUCER_ID, (uint64_t)-2, 8), BATCH_RECORD_INVALID);
    CHECK_INT(check_field(AT_PRODUCER_ID, (uint64_t)-1, 8), BATCH_OK);
}

TEST(a_transactional_batch_needs_a_producer)
{
    Writer batch;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    options.attributes = BATCH_TRANSACTIONAL;
    fixture_batch(&batch, &options, 1, 10);
    CHECK_INT(check(bytes_of(&batch)), BATCH_RECORD_INVALID);
    writer_free(&batch);
}

TEST(sequences_wrap_around)
{
    BatchHeader header = { .base_sequence = INT32_MAX, .last_offset_delta = 0 };
    CHECK_INT(batch_last_sequence(&header), INT32_MAX);
    header.last_offset_delta = 1;
    CHECK_INT(batch_last_sequence(&header), 0);
    header.base_sequence = INT32_MAX - 5;
    header.last_offset_delta = 9;
    CHECK_INT(batch_last_sequence(&header), 3);
}

TEST(damage_inside_a_record_is_invalid_even_under_a_right_checksum)
{
    int refused = 0;
    Writer batch;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    fixture_batch(&batch, &options, 3, 5);
    CHECK_INT(check(bytes_of(&batch)), BATCH_OK);
    /* Each record: length, attributes, timestamp and offset deltas, key length. All but the attributes and
     * the timestamp must hold. */
    static const int fields[] = { 0, 3, 4 };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        uint8_t *field = batch.bytes + AT_RECORDS + fields[i];
        uint8_t before = *field;
        for (int value = 0; value < 256; value++) {
            *field = (uint8_t)value;
            seal(&batch);
            int code = check(bytes_of(&batch));
            CHECK(code == (value == before ? BATCH_OK : BATCH_RECORD_INVALID));
            refused += code != BATCH_OK;
        }
        *field = before;
    }
    CHECK_INT(refused, 3 * 255);
    writer_free(&batch);
}

TEST(bytes_after_the_last_record_are_invalid)
{
    Writer batch;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    fixture_batch(&batch, &options, 3, 5);
    writer_i8(&batch, 0);
    seal(&batch);
    CHECK_INT(check(bytes_of(&batch)), BATCH_RECORD_INVALID);
    writer_free(&batch);
}

TEST(timestamps_too_far_from_now_are_invalid)
{
    Writer batch;
    BatchLimits limits = fixture_limits;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    fixture_batch(&batch, &options, 10, 10);
    limits.timestamp_before_max_ms = 1000;
    limits.timestamp_after_max_ms = 5;
    limits.now_ms = FIXTURE_TIME_MS + 1000;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
    limits.now_ms++;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_TIMESTAMP_INVALID);
    limits.now_ms = FIXTURE_TIME_MS + 4;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
    limits.now_ms--;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_TIMESTAMP_INVALID);
    limits.timestamp_after_max_ms = INT64_MAX;
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
    writer_free(&batch);
}

TEST(timestamps_at_the_ends_of_64_bits_do_not_overflow)
{
    CHECK_INT(check_field(AT_BASE_TIMESTAMP, (uint64_t)INT64_MAX, 8), BATCH_TIMESTAMP_INVALID);
    CHECK_INT(check_field(AT_BASE_TIMESTAMP, (uint64_t)INT64_MIN, 8), BATCH_OK);
    CHECK_INT(check_field(AT_BASE_TIMESTAMP, (uint64_t)(INT64_MAX - 1), 8), BATCH_TIMESTAMP_INVALID);
}

TEST(records_without_timestamps_are_never_too_old)
{
    Writer batch;
    RecordBuilder builder;
    BatchLimits limits = fixture_limits;
    limits.timestamp_before_max_ms = 1;
    writer_init(&batch);
    record_builder_init(&builder, &record_batch_options_plain);
    record_builder_add(&builder, &(RecordInput){ .timestamp = -1, .value = SLICE_LITERAL("timeless") });
    Status status = record_builder_finish(&builder, &batch);
    CHECK(status_is_ok(&status));
    CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
    record_builder_free(&builder);
    writer_free(&batch);
}

TEST(keyless_records_are_invalid_where_keys_are_required)
{
    BatchLimits limits = fixture_limits;
    limits.keys_required = true;
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        Writer batch;
        RecordBuilder builder;
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        writer_init(&batch);
        record_builder_init(&builder, &options);
        record_builder_add(&builder, &(RecordInput){ .key = SLICE_LITERAL(""),
                                                     .value = SLICE_LITERAL("an empty key is one") });
        Status status = record_builder_finish(&builder, &batch);
        CHECK(status_is_ok(&status));
        CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_OK);
        writer_reset(&batch);
        record_builder_add(&builder, &(RecordInput){ .key = SLICE_LITERAL("k"), .value = SLICE_NULL });
        record_builder_add(&builder, &(RecordInput){ .value = SLICE_LITERAL("no key") });
        status = record_builder_finish(&builder, &batch);
        CHECK(status_is_ok(&status));
        CHECK_INT(check_with(bytes_of(&batch), &limits, NULL), BATCH_RECORD_INVALID);
        CHECK_INT(check(bytes_of(&batch)), BATCH_OK);
        record_builder_free(&builder);
        writer_free(&batch);
    }
}

typedef struct Refusals {
    size_t count;
    int32_t indices[8];
    int16_t codes[8];
} Refusals;

static void refusal_note(void *argument, int32_t index, const BatchError *error)
{
    Refusals *seen = argument;
    seen->indices[seen->count] = index;
    seen->codes[seen->count++] = error->code;
}

TEST(every_record_that_is_at_fault_is_found)
{
    BatchLimits limits = fixture_limits;
    limits.keys_required = true;
    limits.now_ms = 1000;
    limits.timestamp_after_max_ms = 500;
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        Writer batch;
        RecordBuilder builder;
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        writer_init(&batch);
        record_builder_init(&builder, &options);
        for (int i = 0; i < 6; i++) {
            record_builder_add(&builder, &(RecordInput){ .key = i % 2 ? SLICE_NULL : SLICE_LITERAL("k"),
                                                         .timestamp = i == 4 ? 9999 : 1000,
                                                         .value = SLICE_LITERAL("v") });
        }
        Status status = record_builder_finish(&builder, &batch);
        CHECK(status_is_ok(&status));
        BatchFacts facts;
        BatchHeader header;
        Refusals seen = { 0 };
        CHECK_INT(check_with(bytes_of(&batch), &limits, &facts), BATCH_RECORD_INVALID);
        CHECK(facts.records_refused);
        CHECK_INT(batch_header_read(bytes_of(&batch), &header).code, BATCH_OK);
        CHECK_INT(batch_find_refused(bytes_of(&batch), &header, &limits, refusal_note, &seen), 4);
        for (int i = 0; i < 4; i++) {
            static const int32_t at_fault[] = { 1, 3, 4, 5 };
            CHECK_INT(seen.indices[i], at_fault[i]);
            CHECK_INT(seen.codes[i], i == 2 ? BATCH_TIMESTAMP_INVALID : BATCH_RECORD_INVALID);
        }
        record_builder_free(&builder);
        writer_free(&batch);
    }
}

TEST(a_compressed_batch_that_unfolds_beyond_the_limit_is_too_large)
{
    for (int codec = 1; codec < COMPRESSION_CODEC_COUNT; codec++) {
        Writer batch;
        BatchFacts facts;
        BatchLimits limits = fixture_limits;
        writer_init(&batch);
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        fixture_batch(&batch, &options, 20, 100000);
        CHECK_INT(check_with(bytes_of(&batch), &limits, &facts), BATCH_OK);
        limits.decompressed_bytes_max = facts.records_bytes;
        CHECK_INT(check_with(bytes_of(&batch), &limits, &facts), BATCH_OK);
        limits.decompressed_bytes_max = facts.records_bytes - 1;
        CHECK_INT(check_with(bytes_of(&batch), &limits, &facts), BATCH_TOO_LARGE);
        CHECK(!facts.walked);
        writer_free(&batch);
    }
}

TEST(a_broken_compressed_stream_under_a_right_checksum_is_invalid)
{
    for (int codec = 1; codec < COMPRESSION_CODEC_COUNT; codec++) {
        Writer batch;
        writer_init(&batch);
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        fixture_batch(&batch, &options, 5, 100);
        batch.used--;
        seal(&batch);
        CHECK_INT(check(bytes_of(&batch)), BATCH_RECORD_INVALID);
        batch.used = AT_RECORDS;
        seal(&batch);
        CHECK_INT(check(bytes_of(&batch)), BATCH_RECORD_INVALID);
        writer_free(&batch);
    }
}

TEST(patching_the_offset_changes_those_bytes_alone)
{
    BatchHeader header;
    Writer batch, before;
    writer_init(&batch);
    writer_init(&before);
    RecordBatchOptions options = fixture_options(COMPRESSION_ZSTD);
    fixture_batch(&batch, &options, 5, 100);
    writer_bytes(&before, batch.bytes, batch.used);
    batch_patch_offset(batch.bytes, INT64_C(0x0123456789abcdef), 77);
    BatchError error = batch_header_read(bytes_of(&batch), &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK_INT(header.base_offset, INT64_C(0x0123456789abcdef));
    CHECK_INT(header.leader_epoch, 77);
    CHECK(batch_crc_matches(bytes_of(&batch), &header));
    put(before.bytes + AT_BASE_OFFSET, UINT64_C(0x0123456789abcdef), 8);
    put(before.bytes + AT_LEADER_EPOCH, 77, 4);
    CHECK_BYTES(bytes_of(&batch), bytes_of(&before));
    writer_free(&before);
    writer_free(&batch);
}

TEST(append_time_replaces_every_timestamp)
{
    Writer batch;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_NONE);
    fixture_batch(&batch, &options, 5, 10);
    batch_set_append_time(batch.bytes, batch.used, FIXTURE_TIME_MS + 12345);
    BatchHeader header;
    BatchError error = batch_header_read(bytes_of(&batch), &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK(batch_is_append_time(&header));
    CHECK(batch_crc_matches(bytes_of(&batch), &header));
    CHECK_INT(header.max_timestamp, FIXTURE_TIME_MS + 12345);
    CHECK_INT(header.base_timestamp, FIXTURE_TIME_MS);
    RecordIterator records = record_iterate(&header, batch_payload(bytes_of(&batch)));
    Record record;
    for (int i = 0; i < 5; i++) {
        CHECK(record_next(&records, &record));
        CHECK_INT(record.timestamp, FIXTURE_TIME_MS + 12345);
    }
    writer_free(&batch);
}

TEST(a_wrong_greatest_timestamp_is_found_and_corrected)
{
    Writer batch;
    BatchFacts facts;
    writer_init(&batch);
    RecordBatchOptions options = fixture_options(COMPRESSION_LZ4);
    fixture_batch(&batch, &options, 5, 10);
    put(batch.bytes + AT_MAX_TIMESTAMP, 99, 8);
    seal(&batch);
    CHECK_INT(check_with(bytes_of(&batch), &fixture_limits, &facts), BATCH_OK);
    CHECK_INT(facts.max_timestamp, FIXTURE_TIME_MS + 4);
    batch_set_max_timestamp(batch.bytes, batch.used, facts.max_timestamp);
    BatchHeader header;
    BatchError error = batch_header_read(bytes_of(&batch), &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK_INT(header.max_timestamp, FIXTURE_TIME_MS + 4);
    CHECK(batch_crc_matches(bytes_of(&batch), &header));
    writer_free(&batch);
}

TEST(batches_that_follow_one_another_are_iterated)
{
    Writer all;
    writer_init(&all);
    for (int i = 0; i < 5; i++) {
        RecordBatchOptions options = fixture_options((CompressionCodec)i);
        fixture_batch(&all, &options, i + 1, 30);
    }
    BatchIterator batches = batch_iterate(bytes_of(&all));
    int count = 0;
    size_t size = 0;
    while (batch_next(&batches)) {
        CHECK_INT(batches.header.record_count, ++count);
        CHECK_INT(check(batches.bytes), BATCH_OK);
        size += batches.bytes.size;
    }
    CHECK_INT(batches.error.code, BATCH_OK);
    CHECK_INT(count, 5);
    CHECK_INT(size, all.used);
    batches = batch_iterate(slice_of(all.bytes, all.used - 1));
    for (count = 0; batch_next(&batches); count++) {
    }
    CHECK_INT(count, 4);
    CHECK_INT(batches.error.code, BATCH_CORRUPT);
    CHECK(!batch_next(&batches));
    writer_free(&all);
}

TEST(no_bytes_are_no_batches)
{
    BatchIterator batches = batch_iterate(SLICE_NULL);
    CHECK(!batch_next(&batches));
    CHECK_INT(batches.error.code, BATCH_OK);
}
