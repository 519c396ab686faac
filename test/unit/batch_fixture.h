/* batch_fixture.h: batches to test with: built here, or made by Kafka's Java client and kept in the fuzzers'
 * corpus. */
#ifndef STREAMHOUSE_BATCH_FIXTURE_H
#define STREAMHOUSE_BATCH_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>

#include "common/record.h"

enum { FIXTURE_FILE_MAX = 1 << 20, FIXTURE_OUTPUT_MAX = 1 << 24 };

#define FIXTURE_TIME_MS INT64_C(1700000000000)

/* What a topic with default settings allows, at a time just after the fixtures'. */
static const BatchLimits fixture_limits = {
    .batch_bytes_max = 1048588,
    .decompressed_bytes_max = FIXTURE_OUTPUT_MAX,
    .now_ms = FIXTURE_TIME_MS,
    .timestamp_before_max_ms = INT64_MAX,
    .timestamp_after_max_ms = 3600000,
};

/* A file of the corpus, appended to the writer; tests run in the repository's root. Ends the program when it
 * is missing. */
static inline Slice fixture_file(Writer *out, const char *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "test/fuzz/corpus/%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    uint8_t *room = writer_extend(out, FIXTURE_FILE_MAX);
    if (!file || !room) {
        printf("Bail out! cannot read %s\n", path);
        exit(EXIT_FAILURE);
    }
    size_t size = fread(room, 1, FIXTURE_FILE_MAX, file);
    fclose(file);
    out->used -= FIXTURE_FILE_MAX - size;
    return slice_of(out->bytes + out->used - size, size);
}

/* count records of value_size bytes, a millisecond apart from FIXTURE_TIME_MS on, appended to the writer. */
static inline Slice fixture_batch(Writer *out, const RecordBatchOptions *options, int count,
                                  size_t value_size)
{
    RecordBuilder builder;
    uint8_t *value = malloc(value_size + 1);
    size_t start = out->used;
    record_builder_init(&builder, options);
    for (int i = 0; i < count; i++) {
        char key[16];
        int key_size = snprintf(key, sizeof(key), "key-%d", i);
        for (size_t j = 0; j < value_size; j++) {
            value[j] = (uint8_t)("streamhouse"[j % 11] + (i % 7));
        }
        record_builder_add(&builder, &(RecordInput){ .timestamp = FIXTURE_TIME_MS + i,
                                                     .key = slice_of(key, (size_t)key_size),
                                                     .value = slice_of(value, value_size) });
    }
    Status status = record_builder_finish(&builder, out);
    record_builder_free(&builder);
    free(value);
    if (!status_is_ok(&status)) {
        printf("Bail out! %s\n", status.message);
        exit(EXIT_FAILURE);
    }
    return slice_of(out->bytes + start, out->used - start);
}

static inline RecordBatchOptions fixture_options(CompressionCodec codec)
{
    RecordBatchOptions options = record_batch_options_plain;
    options.codec = codec;
    return options;
}

#endif
