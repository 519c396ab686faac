/* record_test.c: records into batches and back, and found by time. */
#include "common/record.h"

#include "common/record_stream.h"
#include "test/unit/batch_fixture.h"
#include "test/unit/test.h"

static Slice bytes_of(const Writer *writer)
{
    return slice_of(writer->bytes, writer->used);
}

/* Header and plain records of a batch; scratch keeps the latter. */
static bool open_batch(Slice batch, BatchHeader *header, Writer *scratch, RecordIterator *records)
{
    Slice plain;
    BatchError error = batch_header_read(batch, header);
    if (error.code != BATCH_OK) {
        return false;
    }
    Status status = record_bytes(batch, header, FIXTURE_OUTPUT_MAX, scratch, &plain);
    *records = record_iterate(header, plain);
    return status_is_ok(&status);
}

TEST(records_of_the_java_client_are_read_in_every_codec)
{
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        char name[32];
        BatchHeader header;
        Record record;
        RecordHeader trace;
        RecordIterator records;
        Writer file, scratch;
        writer_init(&file);
        writer_init(&scratch);
        snprintf(name, sizeof(name), "java-%s", compression_name((CompressionCodec)codec));
        CHECK(open_batch(fixture_file(&file, "batch", name), &header, &scratch, &records));
        CHECK(record_next(&records, &record));
        CHECK_BYTES(record.key, SLICE_LITERAL("key-0"));
        CHECK_BYTES(record.value, SLICE_LITERAL("the value of record number 0 "));
        CHECK_INT(record.header_count, 0);
        CHECK(record_next(&records, &record));
        CHECK(slice_is_null(record.key));
        CHECK(record_next(&records, &record));
        CHECK(slice_is_null(record.value));
        CHECK(record_next(&records, &record));
        CHECK_INT(record.offset, 3);
        CHECK_INT(record.timestamp, 1700000100000);
        CHECK(record_next(&records, &record));
        CHECK_INT(record.header_count, 3);
        Reader headers = reader_of(record.headers);
        CHECK(record_header_next(&headers, &trace));
        CHECK_BYTES(trace.key, SLICE_LITERAL("trace"));
        CHECK_BYTES(trace.value, SLICE_LITERAL("0af7651916cd43dd"));
        CHECK(record_header_next(&headers, &trace));
        CHECK(slice_is_null(trace.value));
        CHECK(record_header_next(&headers, &trace));
        CHECK_BYTES(trace.value, SLICE_LITERAL(""));
        CHECK(!record_header_next(&headers, &trace));
        CHECK(!record_next(&records, &record));
        CHECK(!records.failed);
        writer_free(&file);
        writer_free(&scratch);
    }
}

TEST(a_batch_built_like_the_java_clients_has_the_same_bytes)
{
    char value[200];
    Writer file, out;
    RecordBuilder builder;
    RecordBatchOptions options = record_batch_options_plain;
    const RecordHeader headers[] = { { SLICE_LITERAL("trace"), SLICE_LITERAL("0af7651916cd43dd") },
                                     { SLICE_LITERAL("nothing"), SLICE_NULL },
                                     { SLICE_LITERAL("empty"), SLICE_LITERAL("") } };
    options.producer_id = 4711;
    options.producer_epoch = 3;
    options.base_sequence = 17;
    writer_init(&file);
    writer_init(&out);
    record_builder_init(&builder, &options);
    for (int i = 0; i < 5; i++) {
        char key[8];
        int key_size = snprintf(key, sizeof(key), "key-%d", i);
        int value_size = snprintf(value, sizeof(value), "the value of record number %d ", i);
        for (int j = 0; j < i * 10; j++) {
            value_size += snprintf(value + value_size, sizeof(value) - (size_t)value_size, "abc");
        }
        record_builder_add(&builder,
                           &(RecordInput){ .timestamp = FIXTURE_TIME_MS + (i == 3 ? 100000 : i * 10),
                                           .key = i == 1 ? SLICE_NULL : slice_of(key, (size_t)key_size),
                                           .value = i == 2 ? SLICE_NULL : slice_of(value, (size_t)value_size),
                                           .headers = headers,
                                           .header_count = i == 4 ? 3 : 0 });
    }
    Status status = record_builder_finish(&builder, &out);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(bytes_of(&out), fixture_file(&file, "batch", "java-none"));
    record_builder_free(&builder);
    writer_free(&file);
    writer_free(&out);
}

TEST(records_keep_their_offsets_where_compaction_left_gaps)
{
    static const int32_t deltas[] = { 2, 3, 1000, 70000 };
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        BatchHeader header;
        Record record;
        RecordIterator records;
        RecordBuilder builder;
        Writer out, scratch;
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        options.base_offset = INT64_C(5000000000);
        writer_init(&out);
        writer_init(&scratch);
        record_builder_init(&builder, &options);
        for (int i = 0; i < 4; i++) {
            record_builder_add_at(&builder, deltas[i],
                                  &(RecordInput){ .timestamp = -1, .value = SLICE_LITERAL("kept") });
        }
        record_builder_extend(&builder, 80000);
        Status status = record_builder_finish(&builder, &out);
        CHECK(status_is_ok(&status));
        CHECK(open_batch(bytes_of(&out), &header, &scratch, &records));
        CHECK_INT(header.last_offset_delta, 80000);
        CHECK_INT(header.record_count, 4);
        CHECK(batch_crc_matches(bytes_of(&out), &header));
        for (int i = 0; i < 4; i++) {
            CHECK(record_next(&records, &record));
            CHECK_INT(record.offset, INT64_C(5000000000) + deltas[i]);
            CHECK_INT(record.timestamp, -1);
        }
        CHECK(!record_next(&records, &record) && !records.failed);
        record_builder_free(&builder);
        writer_free(&out);
        writer_free(&scratch);
    }
}

TEST(a_batch_that_lost_all_its_records_keeps_its_offsets)
{
    BatchHeader header;
    Record record;
    RecordIterator records;
    RecordBuilder builder;
    RecordPosition position;
    Writer out, scratch;
    RecordBatchOptions options = fixture_options(COMPRESSION_LZ4);
    writer_init(&out);
    writer_init(&scratch);
    record_builder_init(&builder, &options);
    record_builder_extend(&builder, 9);
    Status status = record_builder_finish(&builder, &out);
    CHECK(status_is_ok(&status));
    CHECK(open_batch(bytes_of(&out), &header, &scratch, &records));
    CHECK_INT(batch_offset_count(&header), 10);
    CHECK_INT(out.used, BATCH_HEADER_SIZE);
    CHECK(!record_next(&records, &record) && !records.failed);
    status = record_find_timestamp(bytes_of(&out), &header, 0, FIXTURE_OUTPUT_MAX, &position);
    CHECK(status_is_ok(&status));
    CHECK_INT(position.offset, -1);
    record_builder_free(&builder);
    writer_free(&out);
    writer_free(&scratch);
}

TEST(the_builder_refuses_what_the_format_cannot_hold)
{
    RecordBuilder builder;
    Writer out;
    RecordHeader without_key = { SLICE_NULL, SLICE_LITERAL("x") };
    writer_init(&out);
    record_builder_init(&builder, &record_batch_options_plain);
    Status status = record_builder_finish(&builder, &out);
    CHECK_INT(status.code, STATUS_INVALID);
    record_builder_add(&builder, &(RecordInput){ .headers = &without_key, .header_count = 1 });
    status = record_builder_finish(&builder, &out);
    CHECK_INT(status.code, STATUS_INVALID);
    record_builder_add_at(&builder, 5, &(RecordInput){ .value = SLICE_LITERAL("a") });
    record_builder_add_at(&builder, 5, &(RecordInput){ .value = SLICE_LITERAL("b") });
    status = record_builder_finish(&builder, &out);
    CHECK_INT(status.code, STATUS_INVALID);
    record_builder_add(&builder, &(RecordInput){ .value = slice_of("", (size_t)INT32_MAX + 1) });
    status = record_builder_finish(&builder, &out);
    CHECK_INT(status.code, STATUS_INVALID);
    record_builder_add_at(&builder, INT32_MAX, &(RecordInput){ .value = SLICE_LITERAL("the last") });
    record_builder_add(&builder, &(RecordInput){ .value = SLICE_LITERAL("one too many") });
    status = record_builder_finish(&builder, &out);
    CHECK_INT(status.code, STATUS_INVALID);
    CHECK_INT(out.used, 0);
    record_builder_add(&builder, &(RecordInput){ .value = SLICE_LITERAL("goes on after failures") });
    status = record_builder_finish(&builder, &out);
    CHECK(status_is_ok(&status));
    record_builder_free(&builder);
    writer_free(&out);
}

static bool finish(RecordBuilder *builder, Writer *out)
{
    Status status = record_builder_finish(builder, out);
    return status_is_ok(&status);
}

/* What is taken back leaves no trace in the batch's bytes. */
TEST(a_builder_that_goes_back_builds_what_it_would_have_built)
{
    RecordInput kept = { .timestamp = 5, .key = SLICE_LITERAL("k"), .value = SLICE_LITERAL("kept") };
    RecordInput undone = { .timestamp = 9, .value = SLICE_LITERAL("undone, and longer") };
    RecordBuilder there;
    RecordBuilder back;
    Writer expected;
    Writer actual;
    writer_init(&expected);
    writer_init(&actual);
    record_builder_init(&there, &record_batch_options_plain);
    record_builder_init(&back, &record_batch_options_plain);
    RecordBuilderMark empty = record_builder_mark(&back);
    record_builder_add(&back, &undone);
    record_builder_rewind(&back, &empty);
    record_builder_add(&back, &kept);
    RecordBuilderMark one = record_builder_mark(&back);
    CHECK_INT(record_builder_size_with(&back, &undone), record_builder_size(&back) + 25);
    record_builder_add(&back, &undone);
    CHECK_INT(record_builder_size(&back), one.size + 25);
    record_builder_rewind(&back, &one);
    record_builder_add(&back, &kept);
    record_builder_add(&there, &kept);
    record_builder_add(&there, &kept);
    CHECK(finish(&there, &expected));
    CHECK(finish(&back, &actual));
    CHECK(slice_equals(slice_of(expected.bytes, expected.used), slice_of(actual.bytes, actual.used)));
    writer_free(&expected);
    writer_free(&actual);
    record_builder_free(&there);
    record_builder_free(&back);
}

TEST(a_codec_that_makes_a_batch_larger_is_left_out_where_that_is_wanted)
{
    RecordInput record = { .timestamp = 5, .value = SLICE_LITERAL("x") };
    RecordBatchOptions options = record_batch_options_plain;
    RecordBuilder builder;
    Writer plain;
    Writer chosen;
    writer_init(&plain);
    writer_init(&chosen);
    record_builder_init(&builder, &options);
    record_builder_add(&builder, &record);
    CHECK(finish(&builder, &plain));
    builder.options.codec = COMPRESSION_LZ4;
    builder.options.plain_if_larger = true;
    record_builder_add(&builder, &record);
    CHECK(finish(&builder, &chosen));
    CHECK(slice_equals(slice_of(plain.bytes, plain.used), slice_of(chosen.bytes, chosen.used)));
    writer_free(&plain);
    writer_free(&chosen);
    record_builder_free(&builder);
}

TEST(a_count_that_disagrees_with_the_bytes_fails_the_iterator)
{
    BatchHeader header;
    Record record;
    Writer out;
    writer_init(&out);
    Slice batch = fixture_batch(&out, &record_batch_options_plain, 3, 10);
    BatchError error = batch_header_read(batch, &header);
    CHECK_INT(error.code, BATCH_OK);
    static const int32_t wrong[] = { -1, 0, 2, 4, INT32_MAX };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        header.record_count = wrong[i];
        RecordIterator records = record_iterate(&header, batch_payload(batch));
        int count = 0;
        while (record_next(&records, &record)) {
            count++;
        }
        CHECK(records.failed);
        CHECK(count <= 3);
        CHECK(!record_next(&records, &record));
    }
    writer_free(&out);
}

TEST(every_cut_of_a_record_is_refused)
{
    RecordFields fields;
    RecordBuilder builder;
    RecordHeader header = { SLICE_LITERAL("name"), SLICE_LITERAL("content") };
    record_builder_init(&builder, &record_batch_options_plain);
    record_builder_add(&builder, &(RecordInput){ .timestamp = 5,
                                                 .key = SLICE_LITERAL("key"),
                                                 .value = SLICE_LITERAL("value"),
                                                 .headers = &header,
                                                 .header_count = 1 });
    Slice record = slice_of(builder.records.bytes + 1, builder.records.used - 1); /* without its length */
    CHECK(record_fields_read(record, &fields));
    CHECK_BYTES(fields.value, SLICE_LITERAL("value"));
    for (size_t size = 0; size < record.size; size++) {
        CHECK(!record_fields_read(slice_of(record.data, size), &fields));
    }
    CHECK(!record_fields_read(slice_of(record.data, record.size + 1), &fields));
    record_builder_free(&builder);
}

TEST(lengths_and_counts_inside_a_record_that_lie_are_refused)
{
    /* attributes, timestamp delta, offset delta, key length, value length, header count, headers */
    static const struct {
        const char *bytes;
        size_t size;
    } records[] = {
        { "\0\0\0\x03\x01\0", 6 },                     /* a key of -2 bytes */
        { "\0\0\0\x01\x03\0", 6 },                     /* a value of -2 bytes */
        { "\0\0\0\xfe\xff\xff\xff\x0f\x01\0", 10 },    /* a key of 2^31 - 1 bytes */
        { "\0\0\0\x01\x01\x01", 6 },                   /* -1 headers */
        { "\0\0\0\x01\x01\xfe\xff\xff\xff\x0f", 10 },  /* 2^31 - 1 headers */
        { "\0\0\0\x01\x01\x02\x01\x01", 8 },           /* a header with the key null */
        { "\0\0\0\x01\x01\x02\0\x03", 8 },             /* a header's value of -2 bytes */
        { "\0\0\0\xff\xff\xff\xff\xff\x01\x01\0", 11 } /* a varint of more than 32 bits */
    };
    RecordFields fields;
    CHECK(record_fields_read(slice_of("\0\0\0\x01\x01\x02\0\x01", 8), &fields));
    for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
        CHECK(!record_fields_read(slice_of(records[i].bytes, records[i].size), &fields));
    }
}

TEST(records_larger_than_the_window_pass_through_it)
{
    for (int codec = 1; codec < COMPRESSION_CODEC_COUNT; codec++) {
        BatchHeader header;
        RecordStream stream;
        Slice record;
        RecordFields fields;
        Writer out;
        writer_init(&out);
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        Slice batch = fixture_batch(&out, &options, 5, 300000);
        BatchError error = batch_header_read(batch, &header);
        CHECK_INT(error.code, BATCH_OK);
        record_stream_open(&stream, batch, &header, FIXTURE_OUTPUT_MAX);
        for (int i = 0; i < 5; i++) {
            CHECK(record_stream_next(&stream, &record));
            CHECK(record_fields_read(record, &fields));
            CHECK_INT(fields.offset_delta, i);
            CHECK_INT(fields.value.size, 300000);
            CHECK_INT(fields.value.data[299999], "streamhouse"[299999 % 11] + i);
        }
        CHECK(!record_stream_next(&stream, &record));
        CHECK(status_is_ok(&stream.status));
        CHECK(stream.window_capacity <= 1 << 20);
        record_stream_close(&stream);
        writer_free(&out);
    }
}

TEST(the_first_record_at_or_after_a_time_is_found)
{
    for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
        BatchHeader header;
        RecordPosition position;
        Writer out;
        writer_init(&out);
        RecordBatchOptions options = fixture_options((CompressionCodec)codec);
        options.base_offset = 1000;
        Slice batch = fixture_batch(&out, &options, 500, 200);
        BatchError error = batch_header_read(batch, &header);
        CHECK_INT(error.code, BATCH_OK);
        static const struct {
            int64_t after_ms;
            int64_t offset;
        } cases[] = { { -1000, 1000 }, { 0, 1000 }, { 1, 1001 }, { 499, 1499 }, { 500, -1 } };
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            Status status = record_find_timestamp(batch, &header, FIXTURE_TIME_MS + cases[i].after_ms,
                                                  FIXTURE_OUTPUT_MAX, &position);
            CHECK(status_is_ok(&status));
            CHECK_INT(position.offset, cases[i].offset);
        }
        CHECK_INT(position.timestamp, -1);
        writer_free(&out);
    }
}

TEST(the_first_record_with_the_greatest_time_is_found)
{
    static const int64_t times[] = { 5, 9, 3, 9, 1 };
    RecordBuilder builder;
    RecordPosition position;
    BatchHeader header;
    Writer out;
    writer_init(&out);
    record_builder_init(&builder, &record_batch_options_plain);
    for (int i = 0; i < 5; i++) {
        record_builder_add(&builder, &(RecordInput){ .timestamp = times[i], .value = SLICE_LITERAL("v") });
    }
    Status status = record_builder_finish(&builder, &out);
    CHECK(status_is_ok(&status));
    BatchError error = batch_header_read(bytes_of(&out), &header);
    CHECK_INT(error.code, BATCH_OK);
    CHECK_INT(header.max_timestamp, 9);
    status = record_find_max_timestamp(bytes_of(&out), &header, FIXTURE_OUTPUT_MAX, &position);
    CHECK(status_is_ok(&status));
    CHECK_INT(position.offset, 1);
    CHECK_INT(position.timestamp, 9);
    status = record_find_timestamp(bytes_of(&out), &header, 4, FIXTURE_OUTPUT_MAX, &position);
    CHECK(status_is_ok(&status));
    CHECK_INT(position.offset, 0);
    record_builder_free(&builder);
    writer_free(&out);
}

TEST(records_with_append_time_are_found_by_it)
{
    BatchHeader header;
    RecordPosition position;
    Writer out;
    writer_init(&out);
    RecordBatchOptions options = fixture_options(COMPRESSION_GZIP);
    Slice batch = fixture_batch(&out, &options, 5, 10);
    batch_set_append_time(out.bytes, out.used, FIXTURE_TIME_MS + 50);
    BatchError error = batch_header_read(batch, &header);
    CHECK_INT(error.code, BATCH_OK);
    Status status =
        record_find_timestamp(batch, &header, FIXTURE_TIME_MS + 50, FIXTURE_OUTPUT_MAX, &position);
    CHECK(status_is_ok(&status));
    CHECK_INT(position.offset, 0);
    CHECK_INT(position.timestamp, FIXTURE_TIME_MS + 50);
    status = record_find_timestamp(batch, &header, FIXTURE_TIME_MS + 51, FIXTURE_OUTPUT_MAX, &position);
    CHECK(status_is_ok(&status));
    CHECK_INT(position.offset, -1);
    writer_free(&out);
}

TEST(looking_for_a_time_in_a_broken_batch_fails)
{
    BatchHeader header;
    RecordPosition position;
    Writer out;
    writer_init(&out);
    Slice batch = fixture_batch(&out, &record_batch_options_plain, 5, 10);
    BatchError error = batch_header_read(batch, &header);
    CHECK_INT(error.code, BATCH_OK);
    out.bytes[BATCH_HEADER_SIZE] = 0x7f;
    Status status = record_find_timestamp(batch, &header, INT64_MAX, FIXTURE_OUTPUT_MAX, &position);
    CHECK_INT(status.code, STATUS_CORRUPT);
    CHECK_INT(position.offset, -1);
    writer_free(&out);
}
