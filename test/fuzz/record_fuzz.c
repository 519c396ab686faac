/* record_fuzz.c: records as plain bytes. The first two bytes are the count that the header claims. Records
 * that can be read can be built again, and read as the same. */
#include <assert.h>
#include <stdlib.h>

#include "common/record.h"
#include "common/record_stream.h"

enum { HEADERS_MAX = 64, OUTPUT_MAX = 1 << 24 };

static void headers_read(const Record *record, RecordHeader *out)
{
    Reader reader = reader_of(record->headers);
    int32_t count = 0;
    while (count < HEADERS_MAX && record_header_next(&reader, &out[count])) {
        assert(!slice_is_null(out[count].key));
        count++;
    }
    assert(count == (record->header_count < HEADERS_MAX ? record->header_count : HEADERS_MAX));
}

static void same_check(RecordIterator a, RecordIterator b)
{
    Record first, second;
    while (record_next(&a, &first)) {
        assert(record_next(&b, &second));
        assert(first.offset == second.offset && first.timestamp == second.timestamp);
        assert(slice_equals(first.key, second.key) && slice_equals(first.value, second.value));
    }
    assert(!record_next(&b, &second) && !b.failed);
}

static void rebuild(const BatchHeader *header, Slice records, CompressionCodec codec)
{
    Record record;
    RecordHeader headers[HEADERS_MAX];
    RecordBuilder builder;
    Writer out, scratch;
    BatchHeader built;
    Slice plain;
    RecordBatchOptions options = record_batch_options_plain;
    options.codec = codec;
    writer_init(&out);
    writer_init(&scratch);
    record_builder_init(&builder, &options);
    RecordIterator iterator = record_iterate(header, records);
    while (record_next(&iterator, &record)) {
        headers_read(&record, headers);
        int32_t count = record.header_count < HEADERS_MAX ? record.header_count : HEADERS_MAX;
        record_builder_add_at(&builder, (int32_t)record.offset,
                              &(RecordInput){ record.timestamp, record.key, record.value, headers, count });
    }
    Status status = record_builder_finish(&builder, &out);
    if (status_is_ok(&status)) {
        BatchError error = batch_header_read(slice_of(out.bytes, out.used), &built);
        assert(error.code == BATCH_OK && batch_crc_matches(slice_of(out.bytes, out.used), &built));
        status = record_bytes(slice_of(out.bytes, out.used), &built, OUTPUT_MAX, &scratch, &plain);
        assert(status_is_ok(&status));
        same_check(record_iterate(header, records), record_iterate(&built, plain));
    }
    record_builder_free(&builder);
    writer_free(&out);
    writer_free(&scratch);
}

/* The stream cuts the same records as the iterator. */
static int32_t stream_count(Slice records)
{
    RecordFields fields;
    RecordStream stream = { .next = records.data, .end = records.data + records.size, .status = status_ok() };
    Slice record;
    int32_t count = 0;
    while (record_stream_next(&stream, &record) && record_fields_read(record, &fields) &&
           fields.offset_delta >= 0) {
        count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    Record record;
    Slice records = slice_of(data + 2, size - 2);
    BatchHeader header = { .magic = BATCH_MAGIC, .record_count = data[0] << 8 | data[1] };
    RecordIterator iterator = record_iterate(&header, records);
    int32_t count = 0;
    while (record_next(&iterator, &record)) {
        count++;
    }
    assert(count <= stream_count(records));
    if (!iterator.failed && count > 0) {
        rebuild(&header, records, (CompressionCodec)(size % COMPRESSION_CODEC_COUNT));
    }
    return 0;
}
