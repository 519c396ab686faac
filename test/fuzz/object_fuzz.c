/* object_fuzz.c: objects from a bucket that someone else can write to. What is accepted must tile the object.
 */
#include <assert.h>
#include <stdlib.h>

#include "common/crc32c.h"
#include "common/object_format.h"

enum { ARENA_LIMIT = 1 << 22, TRAILER_CHECKED_SIZE = 20 };

static void index_check(Slice object, const ObjectTrailer *trailer, const ObjectIndex *index)
{
    int64_t at = OBJECT_HEADER_SIZE;
    int32_t batches = 0;
    for (int32_t i = 0; i < index->partition_count; i++) {
        const ObjectPartitionRow *partition = &index->partitions[i];
        assert(partition->byte_start == at && partition->first_batch == batches &&
               partition->batch_count > 0);
        for (int32_t j = 0; j < partition->batch_count; j++) {
            const ObjectBatchRow *row = &index->batches[batches++];
            assert(row->byte_start == at && row->byte_length >= BATCH_HEADER_SIZE);
            assert(row->byte_length <= object_footer_start(trailer) - at);
            object_batch_matches(slice_of(object.data + at, (size_t)row->byte_length), row);
            at += row->byte_length;
        }
        assert(partition->byte_start + partition->byte_length == at);
    }
    assert(at == object_footer_start(trailer) && batches == index->batch_count);
}

static void index_try(Slice object, const ObjectTrailer *trailer)
{
    ObjectIndex index;
    Arena arena;
    arena_init(&arena, ARENA_LIMIT);
    Slice footer = slice_of(object.data + object_footer_start(trailer), trailer->footer_size);
    Status status = object_index_read(footer, trailer, &arena, &index);
    if (status_is_ok(&status)) {
        index_check(object, trailer, &index);
    }
    arena_reset(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ObjectIdentity identity;
    ObjectTrailer trailer;
    Slice object = slice_of(data, size);
    Status status = object_header_read(object, &identity);
    (void)status;
    status = object_trailer_read(object, (int64_t)size, &trailer);
    if (!status_is_ok(&status)) {
        return 0;
    }
    index_try(object, &trailer);
    /* Again with the checksum that a liar would write. */
    trailer.checksum =
        crc32c(slice_of(data + object_footer_start(&trailer), trailer.footer_size + TRAILER_CHECKED_SIZE));
    index_try(object, &trailer);
    return 0;
}
