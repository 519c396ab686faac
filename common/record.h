/* record.h: the records inside a batch: read them, find one by time, build a batch from them. Lengths inside
 * a record are zigzag varints; every one is compared with what is left. Source: Kafka's documentation,
 * "Record". */
#ifndef STREAMHOUSE_RECORD_H
#define STREAMHOUSE_RECORD_H

#include "common/batch.h"
#include "common/reader.h"
#include "common/writer.h"

typedef struct RecordHeader {
    Slice key;   /* never null */
    Slice value; /* may be null */
} RecordHeader;

typedef struct Record {
    int64_t offset;    /* base offset + delta */
    int64_t timestamp; /* ms since 1970, -1 none; the batch's when it has LogAppendTime */
    Slice key;         /* may be null */
    Slice value;       /* may be null: a tombstone */
    int32_t header_count;
    Slice headers; /* encoded and checked; see record_header_next() */
} Record;

/* The records of a batch as plain bytes: a view of the batch when it is not compressed, else appended to
 * scratch (which must outlive the view) and no more than output_max of them. batch is the whole batch. */
MUST_CHECK Status record_bytes(Slice batch, const BatchHeader *header, size_t output_max, Writer *scratch,
                               Slice *out);

/* Records one after the other, views into records (see record_bytes()):
 *     RecordIterator records = record_iterate(&header, bytes);
 *     while (record_next(&records, &record)) …
 *     if (records.failed) the bytes are broken, or disagree with the count of the header
 * A batch without records (compaction leaves such) gives none. */
typedef struct RecordIterator {
    Reader reader;
    int64_t base_offset;
    int64_t base_timestamp;
    int64_t append_timestamp;
    bool has_append_time;
    int32_t left; /* records that should follow */
    bool failed;
} RecordIterator;

RecordIterator record_iterate(const BatchHeader *header, Slice records);
bool record_next(RecordIterator *iterator, Record *out);

/* The headers of a record, one by one: Reader headers = reader_of(record.headers); while
 * (record_header_next(&headers, &header)) … */
bool record_header_next(Reader *headers, RecordHeader *out);

/* Where a record is in time and in the log; offset -1 when there is no such record. */
typedef struct RecordPosition {
    int64_t offset;
    int64_t timestamp;
} RecordPosition;

/* The first record of the batch whose timestamp is target or later. Decompresses piece by piece, at most
 * output_max bytes in all, and stops at the answer. batch is the whole batch, with its offset patched. */
MUST_CHECK Status record_find_timestamp(Slice batch, const BatchHeader *header, int64_t target,
                                        size_t output_max, RecordPosition *out);

/* The first record with the greatest timestamp of the batch. */
MUST_CHECK Status record_find_max_timestamp(Slice batch, const BatchHeader *header, size_t output_max,
                                            RecordPosition *out);

/* What to build a batch from. */
typedef struct RecordInput {
    int64_t timestamp; /* ms since 1970, -1 none */
    Slice key;
    Slice value;
    const RecordHeader *headers;
    int32_t header_count;
} RecordInput;

typedef struct RecordBatchOptions {
    CompressionCodec codec;
    int level;           /* COMPRESSION_LEVEL_DEFAULT, or the codec's own scale */
    int16_t attributes;  /* further bits: BATCH_TRANSACTIONAL, BATCH_CONTROL … */
    int64_t base_offset; /* 0 for what a producer sends */
    int32_t leader_epoch;
    int64_t producer_id; /* -1 none, then epoch and sequence are -1 too */
    int16_t producer_epoch;
    int32_t base_sequence;
    bool plain_if_larger; /* no codec where it would not make the records smaller */
} RecordBatchOptions;

/* No codec, no producer, base offset 0, leader epoch -1. */
extern const RecordBatchOptions record_batch_options_plain;

/* Gathers records, then writes one batch. Inputs are copied as they are added. */
typedef struct RecordBuilder {
    RecordBatchOptions options;
    Writer records;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int32_t last_offset_delta; /* -1 while there are no records */
    int32_t record_count;
    bool failed; /* a record beyond what the format holds, or memory was short */
} RecordBuilder;

void record_builder_init(RecordBuilder *builder, const RecordBatchOptions *options);
void record_builder_free(RecordBuilder *builder);

/* Adds a record at the next offset. */
void record_builder_add(RecordBuilder *builder, const RecordInput *record);

/* Adds a record at base offset + delta, which must be beyond the last one: what compaction keeps. */
void record_builder_add_at(RecordBuilder *builder, int32_t offset_delta, const RecordInput *record);

/* Makes the batch take offsets up to base offset + delta although its last records are gone: what compaction
 * leaves, down to a batch without any record. */
void record_builder_extend(RecordBuilder *builder, int32_t last_offset_delta);

/* Where a builder stands, to go back to: what was added since is forgotten. Good until the batch is finished.
 */
typedef struct RecordBuilderMark {
    size_t size;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int32_t last_offset_delta;
    int32_t record_count;
} RecordBuilderMark;

RecordBuilderMark record_builder_mark(const RecordBuilder *builder);
void record_builder_rewind(RecordBuilder *builder, const RecordBuilderMark *mark);

/* Bytes of the records so far, not compressed; and what they would be with one more. */
size_t record_builder_size(const RecordBuilder *builder);
size_t record_builder_size_with(const RecordBuilder *builder, const RecordInput *record);

/* Appends the batch, checksum included, to the writer's own bytes, and empties the builder for the next
 * batch. A batch without
 * any offset is STATUS_INVALID. */
MUST_CHECK Status record_builder_finish(RecordBuilder *builder, Writer *out);

#endif
