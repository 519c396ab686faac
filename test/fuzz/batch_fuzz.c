/* batch_fuzz.c: whatever bytes a producer sends. What passes the checks must then be readable in every way we
 * read batches, and all of them must agree. */
#include <assert.h>
#include <stdlib.h>

#include "common/batch_recompress.h"
#include "common/record.h"

enum { OUTPUT_MAX = 1 << 20 };

static const BatchLimits limits = {
    .batch_bytes_max = 1 << 20,
    .decompressed_bytes_max = OUTPUT_MAX,
    .now_ms = 1700000000000,
    .timestamp_before_max_ms = INT64_MAX,
    .timestamp_after_max_ms = INT64_MAX,
};

static void accepted_check(Slice batch, const BatchHeader *header, const BatchFacts *facts)
{
    Slice plain;
    Record record;
    RecordPosition position;
    Writer scratch;
    writer_init(&scratch);
    Status status = record_bytes(batch, header, OUTPUT_MAX, &scratch, &plain);
    assert(status_is_ok(&status) && plain.size == facts->records_bytes);
    RecordIterator records = record_iterate(header, plain);
    int64_t max_timestamp = INT64_MIN;
    for (int32_t i = 0; record_next(&records, &record); i++) {
        assert(record.offset == header->base_offset + i);
        max_timestamp = record.timestamp > max_timestamp ? record.timestamp : max_timestamp;
    }
    assert(!records.failed && records.left == 0 && max_timestamp == facts->max_timestamp);
    status = record_find_max_timestamp(batch, header, OUTPUT_MAX, &position);
    assert(status_is_ok(&status) && position.timestamp == max_timestamp);
    status = record_find_timestamp(batch, header, max_timestamp, OUTPUT_MAX, &position);
    assert(status_is_ok(&status) && position.timestamp == max_timestamp);
    writer_free(&scratch);
}

/* Under another codec it is a valid batch with the same records, unless it gets too large. One codec is
 * tried, since compressing takes long. */
static void accepted_recompress(Slice batch, const BatchHeader *header, const BatchFacts *facts)
{
    CompressionCodec codec = (CompressionCodec)(header->crc % COMPRESSION_CODEC_COUNT);
    Block *made;
    BatchHeader made_header;
    BatchFacts made_facts;
    BatchRecompress how = { codec, COMPRESSION_LEVEL_DEFAULT, limits.batch_bytes_max, OUTPUT_MAX };
    BatchError error = batch_recompress(batch, header, &how, &made);
    assert((error.code == BATCH_OK) == (made != NULL));
    if (!made) {
        assert(error.code == BATCH_TOO_LARGE);
        return;
    }
    Slice bytes = slice_of(made->bytes, made->size);
    error = batch_header_read(bytes, &made_header);
    assert(error.code == BATCH_OK && batch_crc_matches(bytes, &made_header) &&
           batch_codec(&made_header) == codec);
    error = codec == COMPRESSION_NONE ? batch_check(bytes, &made_header, &limits, &made_facts)
                                      : batch_check_compressed(bytes, &made_header, &limits, &made_facts);
    assert(error.code == BATCH_OK && made_facts.records_bytes == facts->records_bytes &&
           made_facts.max_timestamp == facts->max_timestamp);
    block_release(made);
}

static void batch_try(Slice batch, const BatchHeader *header)
{
    BatchFacts facts;
    BatchError error = batch_check(batch, header, &limits, &facts);
    if (error.code == BATCH_OK && batch_codec(header) != COMPRESSION_NONE) {
        error = batch_check_compressed(batch, header, &limits, &facts);
    }
    assert((error.code == BATCH_OK) == (error.message[0] == '\0'));
    if (error.code == BATCH_OK) {
        accepted_check(batch, header, &facts);
        accepted_recompress(batch, header, &facts);
    }
}

/* A fuzzer cannot guess a checksum, so every batch is tried again with a right one. */
static void batch_seal_and_try(Slice batch, const BatchHeader *header)
{
    BatchHeader sealed;
    uint8_t *copy = malloc(batch.size);
    memcpy(copy, batch.data, batch.size);
    batch_patch_offset(copy, 0, -1);
    batch_set_max_timestamp(copy, batch.size, header->max_timestamp);
    BatchError error = batch_header_read(slice_of(copy, batch.size), &sealed);
    assert(error.code == BATCH_OK && batch_crc_matches(slice_of(copy, batch.size), &sealed));
    batch_try(slice_of(copy, batch.size), &sealed);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    BatchIterator batches = batch_iterate(slice_of(data, size));
    size_t seen = 0;
    while (batch_next(&batches)) {
        seen += batches.bytes.size;
        batch_try(batches.bytes, &batches.header);
        batch_seal_and_try(batches.bytes, &batches.header);
    }
    assert((batches.error.code == BATCH_OK) == (seen == size));
    return 0;
}
