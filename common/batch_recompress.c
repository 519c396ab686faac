/* batch_recompress.c: decompresses all of a batch's records at once and compresses them anew: for batches,
 * which are small. */
#include "common/batch_recompress.h"

#include "common/record.h"
#include "common/writer.h"

static BatchError recompress_error(const Status *status)
{
    BatchErrorCode code = status->code == STATUS_LIMIT      ? BATCH_TOO_LARGE
                          : status->code == STATUS_INTERNAL ? BATCH_UNKNOWN
                                                            : BATCH_RECORD_INVALID;
    return batch_error(code, "%.*s", BATCH_MESSAGE_MAX - 1, status->message);
}

/* The batch in one block, from its old header and its new payload. */
static BatchError recompress_write(Slice batch, const BatchHeader *header, const BatchRecompress *how,
                                   Slice payload, Block **out)
{
    size_t size = BATCH_HEADER_SIZE + payload.size;
    if (size > how->batch_bytes_max) {
        return batch_error(BATCH_TOO_LARGE,
                           "the batch has %zu bytes with the topic's compression.type; %zu are allowed", size,
                           how->batch_bytes_max);
    }
    *out = block_new(size);
    if (!*out) {
        return batch_error(BATCH_UNKNOWN, "no memory for a batch of %zu bytes", size);
    }
    memcpy((*out)->bytes, batch.data, BATCH_HEADER_SIZE);
    if (payload.size > 0) {
        memcpy((*out)->bytes + BATCH_HEADER_SIZE, payload.data, payload.size);
    }
    batch_set_codec((*out)->bytes, size, how->codec);
    batch_set_max_timestamp((*out)->bytes, size, header->max_timestamp);
    return batch_ok();
}

BatchError batch_recompress(Slice batch, const BatchHeader *header, const BatchRecompress *how, Block **out)
{
    Writer plain;
    Writer packed;
    Slice records;
    *out = NULL;
    writer_init(&plain);
    writer_init(&packed);
    size_t output_max = how->codec == COMPRESSION_NONE ? how->batch_bytes_max : how->decompressed_bytes_max;
    Status status = record_bytes(batch, header, output_max, &plain, &records);
    if (status_is_ok(&status)) {
        status = compression_compress(how->codec, how->level, records, &packed);
    }
    BatchError error = status_is_ok(&status)
                           ? recompress_write(batch, header, how, slice_of(packed.bytes, packed.used), out)
                           : recompress_error(&status);
    writer_free(&plain);
    writer_free(&packed);
    return error;
}
