/* recompress_test.c: batches under another codec are the same batches, and a partition's leave in the order
 * in which they came. */
#include "agent/log/recompress.h"

#include <stdlib.h>

#include "agent/metrics.h"
#include "test/unit/batch_fixture.h"
#include "test/unit/test.h"

static BatchRecompress to(CompressionCodec codec)
{
    return (BatchRecompress){ .codec = codec,
                              .level = COMPRESSION_LEVEL_DEFAULT,
                              .batch_bytes_max = fixture_limits.batch_bytes_max,
                              .decompressed_bytes_max = FIXTURE_OUTPUT_MAX };
}

static RecordBatchOptions from_producer(CompressionCodec codec)
{
    RecordBatchOptions options = fixture_options(codec);
    options.producer_id = 4711;
    options.producer_epoch = 3;
    options.base_sequence = 99;
    return options;
}

/* Whether both batches say the same but for codec, length and checksum. */
static bool means_the_same(Slice batch, Slice other, CompressionCodec codec)
{
    BatchHeader a;
    BatchHeader b;
    Slice a_records;
    Slice b_records;
    Writer a_plain;
    Writer b_plain;
    writer_init(&a_plain);
    writer_init(&b_plain);
    bool read =
        batch_header_read(batch, &a).code == BATCH_OK && batch_header_read(other, &b).code == BATCH_OK;
    Status a_status = record_bytes(batch, &a, FIXTURE_OUTPUT_MAX, &a_plain, &a_records);
    Status b_status = record_bytes(other, &b, FIXTURE_OUTPUT_MAX, &b_plain, &b_records);
    bool same = read && status_is_ok(&a_status) && status_is_ok(&b_status) &&
                slice_equals(a_records, b_records) && batch_codec(&b) == codec &&
                (a.attributes | BATCH_CODEC_MASK) == (b.attributes | BATCH_CODEC_MASK) &&
                a.base_timestamp == b.base_timestamp && a.max_timestamp == b.max_timestamp &&
                a.producer_id == b.producer_id && a.producer_epoch == b.producer_epoch &&
                a.base_sequence == b.base_sequence && a.record_count == b.record_count &&
                a.last_offset_delta == b.last_offset_delta && batch_size(&b) == other.size &&
                batch_crc_matches(other, &b);
    writer_free(&a_plain);
    writer_free(&b_plain);
    return same;
}

TEST(every_codec_becomes_every_other)
{
    for (int from = 0; from < COMPRESSION_CODEC_COUNT; from++) {
        for (int codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
            Writer out;
            Block *made;
            BatchHeader header;
            writer_init(&out);
            RecordBatchOptions options = from_producer((CompressionCodec)from);
            Slice batch = fixture_batch(&out, &options, 50, 300);
            BatchRecompress how = to((CompressionCodec)codec);
            CHECK_INT(batch_header_read(batch, &header).code, BATCH_OK);
            CHECK_INT(batch_recompress(batch, &header, &how, &made).code, BATCH_OK);
            Slice result = slice_of(made->bytes, made->size);
            CHECK(means_the_same(batch, result, (CompressionCodec)codec));
            CHECK_INT(batch_header_read(result, &header).code, BATCH_OK);
            CHECK_INT(batch_check(result, &header, &fixture_limits, NULL).code, BATCH_OK);
            block_release(made);
            writer_free(&out);
        }
    }
}

TEST(a_batch_too_large_without_its_codec_is_refused)
{
    Writer out;
    Block *made;
    BatchHeader header;
    writer_init(&out);
    RecordBatchOptions options = from_producer(COMPRESSION_ZSTD);
    Slice batch = fixture_batch(&out, &options, 100, 20000);
    BatchRecompress how = to(COMPRESSION_NONE);
    CHECK_INT(batch_header_read(batch, &header).code, BATCH_OK);
    CHECK_INT(batch_recompress(batch, &header, &how, &made).code, BATCH_TOO_LARGE);
    CHECK(made == NULL);
    how = to(COMPRESSION_LZ4);
    how.decompressed_bytes_max = 1000000;
    CHECK_INT(batch_recompress(batch, &header, &how, &made).code, BATCH_TOO_LARGE);
    writer_free(&out);
}

TEST(a_level_is_obeyed)
{
    Writer out;
    Block *fast;
    Block *small;
    BatchHeader header;
    writer_init(&out);
    RecordBatchOptions options = from_producer(COMPRESSION_NONE);
    Slice batch = fixture_batch(&out, &options, 200, 1000);
    BatchRecompress how = to(COMPRESSION_ZSTD);
    CHECK_INT(batch_header_read(batch, &header).code, BATCH_OK);
    how.level = -100;
    CHECK_INT(batch_recompress(batch, &header, &how, &fast).code, BATCH_OK);
    how.level = 19;
    CHECK_INT(batch_recompress(batch, &header, &how, &small).code, BATCH_OK);
    CHECK(small->size < fast->size);
    block_release(fast);
    block_release(small);
    writer_free(&out);
}

/* What came out, in order. */
typedef struct Outcome {
    int count;
    int order[8];
    int codes[8];
    size_t sizes[8];
} Outcome;

typedef struct Ticket {
    Outcome *outcome;
    int number;
} Ticket;

static void done(void *argument, const BatchError *error, Block *frame, uint8_t *bytes, size_t size)
{
    Ticket *ticket = argument;
    Outcome *outcome = ticket->outcome;
    (void)frame;
    BatchHeader header;
    outcome->codes[outcome->count] =
        error->code == BATCH_OK ? batch_header_read(slice_of(bytes, size), &header).code : error->code;
    outcome->sizes[outcome->count] = size;
    outcome->order[outcome->count++] = ticket->number;
}

static Topic *topic_of(const char *config)
{
    static const uint8_t uuid[16] = { 1 };
    Topic *topic = topic_new(1, uuid, SLICE_LITERAL("t"));
    if (!topic || !topic_grow(topic, 1)) {
        abort();
    }
    topic_config_read(&topic->config, slice_of_text(config));
    return topic;
}

/* A batch of so many records of 1000 bytes, on its way. */
static bool submit(Partition *partition, CompressionCodec codec, int records, size_t bytes_max,
                   Ticket *ticket)
{
    Writer out;
    writer_init(&out);
    RecordBatchOptions options = from_producer(codec);
    Slice batch = fixture_batch(&out, &options, records, 1000);
    Block *frame = block_new(batch.size);
    memcpy(frame->bytes, batch.data, batch.size);
    RecompressRequest request = { .partition = partition,
                                  .frame = frame,
                                  .batch = slice_of(frame->bytes, frame->size),
                                  .how = to(partition->topic->config.codec),
                                  .records_bytes = (size_t)records * 1000,
                                  .bytes_max = bytes_max };
    bool sent = batch_header_read(batch, &request.header).code == BATCH_OK &&
                recompress(uv_default_loop(), &request, done, ticket);
    block_release(frame);
    writer_free(&out);
    return sent;
}

TEST(batches_of_a_partition_leave_in_their_order)
{
    Topic *topic = topic_of("{\"compression.type\": \"zstd\"}");
    Partition *partition = topic->partitions[0];
    Outcome outcome = { .count = 0 };
    Ticket tickets[4] = { { &outcome, 0 }, { &outcome, 1 }, { &outcome, 2 }, { &outcome, 3 } };
    CHECK(submit(partition, COMPRESSION_NONE, 2, SIZE_MAX, &tickets[0])); /* small: at once */
    CHECK_INT(outcome.count, 1);
    CHECK(submit(partition, COMPRESSION_GZIP, 900, SIZE_MAX, &tickets[1])); /* large: by a worker */
    CHECK(submit(partition, COMPRESSION_NONE, 2, SIZE_MAX, &tickets[2]));
    CHECK(submit(partition, COMPRESSION_ZSTD, 2, SIZE_MAX,
                 &tickets[3])); /* right as it is, and behind the others */
    CHECK_INT(outcome.count, 1);
    uv_run(uv_default_loop(), UV_RUN_DEFAULT);
    CHECK_INT(outcome.count, 4);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(outcome.order[i], i);
        CHECK_INT(outcome.codes[i], BATCH_OK);
    }
    CHECK(partition->recompressions == NULL);
    for (int i = 0; i < 3; i++) {
        recompress_settle(outcome.sizes[i]);
    }
    CHECK_INT(metric_value(METRIC_RECOMPRESS_BYTES), 0);
    topic_release(topic);
}

TEST(beyond_the_bound_on_memory_a_batch_is_refused_for_a_retry)
{
    Topic *topic = topic_of("{\"compression.type\": \"uncompressed\"}");
    Outcome outcome = { .count = 0 };
    Ticket tickets[3] = { { &outcome, 0 }, { &outcome, 1 }, { &outcome, 2 } };
    for (int i = 0; i < 3; i++) {
        CHECK(submit(topic->partitions[0], COMPRESSION_LZ4, 10, 25000, &tickets[i]));
    }
    CHECK_INT(outcome.count, 3);
    CHECK_INT(outcome.codes[1], BATCH_OK);
    CHECK_INT(outcome.codes[2], BATCH_BUSY);
    recompress_settle(outcome.sizes[0]);
    recompress_settle(outcome.sizes[1]);
    topic_release(topic);
}

TEST(producers_keep_their_codec_unless_the_topic_has_one)
{
    static const struct {
        const char *config;
        bool due[COMPRESSION_CODEC_COUNT];
    } cases[] = {
        { "{}", { false, false, false, false, false } },
        { "{\"compression.type\": \"producer\"}", { false, false, false, false, false } },
        { "{\"compression.type\": \"uncompressed\"}", { false, true, true, true, true } },
        { "{\"compression.type\": \"snappy\"}", { true, true, false, true, true } },
        { "{\"compression.type\": \"gzip\", \"compression.gzip.level\": \"-1\"}",
          { true, false, true, true, true } },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Topic *topic = topic_of(cases[i].config);
        for (int16_t codec = 0; codec < COMPRESSION_CODEC_COUNT; codec++) {
            BatchHeader header = { .attributes = codec };
            CHECK_INT(recompress_is_due(topic->partitions[0], &header), cases[i].due[codec]);
        }
        topic_release(topic);
    }
}

TEST(levels_are_read_with_their_codec)
{
    TopicConfig config;
    topic_config_read(&config,
                      SLICE_LITERAL("{\"compression.type\": \"lz4\", \"compression.lz4.level\": \"12\"}"));
    CHECK_INT(config.codec_level, 12);
    topic_config_read(&config,
                      SLICE_LITERAL("{\"compression.type\": \"lz4\", \"compression.zstd.level\": \"12\"}"));
    CHECK_INT(config.codec_level, COMPRESSION_LEVEL_DEFAULT);
    topic_config_read(&config,
                      SLICE_LITERAL("{\"compression.type\": \"gzip\", \"compression.gzip.level\": \"-1\"}"));
    CHECK_INT(config.codec_level, COMPRESSION_LEVEL_DEFAULT);
}
