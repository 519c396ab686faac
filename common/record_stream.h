/* record_stream.h: the encoded records of a batch, whole ones at a time, whether they are compressed or not.
 * Compressed ones pass through a window that only grows when a single record does not fit, and only as its
 * bytes really arrive. */
#ifndef STREAMHOUSE_RECORD_STREAM_H
#define STREAMHOUSE_RECORD_STREAM_H

#include "common/batch.h"
#include "common/status.h"

typedef struct RecordStream {
    const uint8_t *next; /* not yet handed out */
    const uint8_t *end;
    size_t bytes;         /* handed out, lengths included */
    Decompressor *source; /* NULL when all was there from the start */
    uint8_t *window;
    size_t window_capacity;
    Status status; /* why the stream ended; success at a clean end */
} RecordStream;

/* batch is the whole batch and must stay. Look at status after record_stream_next() said false. Always close
 * it. */
void record_stream_open(RecordStream *stream, Slice batch, const BatchHeader *header, size_t output_max);

/* The next record without its length; valid until the next call. */
bool record_stream_next(RecordStream *stream, Slice *record);

void record_stream_close(RecordStream *stream);

/* The fields of one encoded record, read from all of its bytes. */
typedef struct RecordFields {
    int64_t timestamp_delta;
    int32_t offset_delta;
    int32_t header_count;
    Slice key;
    Slice value;
    Slice headers; /* encoded; every one is known to be sound */
} RecordFields;

/* False when the fields do not fill the record exactly. */
bool record_fields_read(Slice record, RecordFields *out);

#endif
