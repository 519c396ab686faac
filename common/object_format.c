/* object_format.c: writes objects: gathers batches, lays them out by partition, describes them in a footer.
 * Bodies are never copied. */
#include "common/object_format.h"

#include <assert.h>
#include <stdlib.h>

#include "common/crc32c.h"
#include "common/object_layout.h"

enum { OBJECT_BATCHES_MIN = 64 };

void object_writer_init(ObjectWriter *writer)
{
    *writer = (ObjectWriter){ 0 };
    writer_init(&writer->index);
}

void object_writer_free(ObjectWriter *writer)
{
    free(writer->batches);
    writer_free(&writer->index);
    object_writer_init(writer);
}

void object_writer_reset(ObjectWriter *writer)
{
    writer->batch_count = 0;
    writer->body_size = 0;
    writer->sealed = false;
    writer_reset(&writer->index);
}

/* An object's size when every batch may be a partition of its own, or when the partitions are counted. */
static size_t size_of(size_t body_size, size_t batch_count, size_t partition_count)
{
    return OBJECT_HEADER_SIZE + body_size + OBJECT_FOOTER_FIXED_SIZE +
           partition_count * OBJECT_PARTITION_ROW_SIZE + batch_count * OBJECT_BATCH_ROW_SIZE +
           OBJECT_TRAILER_SIZE;
}

size_t object_writer_size(const ObjectWriter *writer)
{
    return size_of(writer->body_size, writer->batch_count,
                   writer->sealed ? writer->partition_count : writer->batch_count);
}

static bool writer_grow(ObjectWriter *writer)
{
    if (writer->batch_count < writer->batch_capacity) {
        return true;
    }
    size_t capacity = writer->batch_capacity ? writer->batch_capacity * 2 : OBJECT_BATCHES_MIN;
    ObjectBatch *batches = realloc(writer->batches, capacity * sizeof(ObjectBatch));
    if (!batches) {
        return false;
    }
    writer->batches = batches;
    writer->batch_capacity = capacity;
    return true;
}

Status object_writer_add(ObjectWriter *writer, const ObjectBatch *batch)
{
    assert(!writer->sealed);
    size_t size = batch->bytes.size;
    if (batch->partition < 0 || size < BATCH_HEADER_SIZE || batch->header.length < 0 ||
        size != batch_size(&batch->header)) {
        return status_error(STATUS_INVALID, "%zu bytes of partition %d are not one whole batch", size,
                            batch->partition);
    }
    size_t before = size_of(writer->body_size, writer->batch_count + 1, writer->batch_count + 1);
    if (size > OBJECT_BYTES_MAX || before > OBJECT_BYTES_MAX - size) {
        return status_error(STATUS_LIMIT, "an object holds at most %d bytes", OBJECT_BYTES_MAX);
    }
    if (!writer_grow(writer)) {
        return status_error(STATUS_INTERNAL, "no memory for %zu batches", writer->batch_count + 1);
    }
    ObjectBatch *added = &writer->batches[writer->batch_count];
    *added = *batch;
    added->ordinal = (int32_t)writer->batch_count++; /* until sealing: when it came */
    writer->body_size += size;
    return status_ok();
}

static int partition_compare(const ObjectBatch *a, const ObjectBatch *b)
{
    int order = memcmp(a->topic_uuid, b->topic_uuid, OBJECT_UUID_SIZE);
    return order != 0 ? order : (a->partition > b->partition) - (a->partition < b->partition);
}

static int batch_compare(const void *left, const void *right)
{
    const ObjectBatch *a = left;
    const ObjectBatch *b = right;
    int order = partition_compare(a, b);
    return order != 0 ? order : (a->ordinal > b->ordinal) - (a->ordinal < b->ordinal);
}

static void batches_place(ObjectWriter *writer)
{
    int64_t byte_start = OBJECT_HEADER_SIZE;
    qsort(writer->batches, writer->batch_count, sizeof(ObjectBatch), batch_compare);
    writer->partition_count = 0;
    for (size_t i = 0; i < writer->batch_count; i++) {
        ObjectBatch *batch = &writer->batches[i];
        batch->ordinal = (int32_t)i;
        batch->byte_start = byte_start;
        byte_start += (int64_t)batch->bytes.size;
        writer->partition_count += i == 0 || partition_compare(batch - 1, batch) != 0;
    }
}

static void header_make(ObjectWriter *writer)
{
    Writer out;
    const ObjectIdentity *identity = &writer->identity;
    writer_init(&out);
    writer_bytes(&out, object_magic, OBJECT_MAGIC_SIZE);
    writer_u16(&out, OBJECT_VERSION);
    writer_u16(&out, OBJECT_HEADER_SIZE);
    writer_i64(&out, identity->object_id);
    writer_i64(&out, identity->created_ms);
    writer_bytes(&out, identity->cluster_id, OBJECT_UUID_SIZE);
    if (!writer_failed(&out)) {
        writer_u32(&out, crc32c(slice_of(out.bytes, out.used)));
        assert(out.used == OBJECT_HEADER_SIZE);
        memcpy(writer->header, out.bytes, OBJECT_HEADER_SIZE);
    }
    writer->index.failed |= writer_failed(&out);
    writer_free(&out);
}

static void partition_row_write(Writer *out, const ObjectBatch *first, size_t count)
{
    const ObjectBatch *last = first + count - 1;
    int64_t end = last->byte_start + (int64_t)last->bytes.size;
    writer_bytes(out, first->topic_uuid, OBJECT_UUID_SIZE);
    writer_i32(out, first->partition);
    writer_i32(out, (int32_t)count);
    writer_i64(out, first->byte_start);
    writer_i64(out, end - first->byte_start);
}

static void partition_rows_write(ObjectWriter *writer)
{
    size_t first = 0;
    for (size_t i = 1; i <= writer->batch_count; i++) {
        if (i == writer->batch_count ||
            partition_compare(&writer->batches[first], &writer->batches[i]) != 0) {
            partition_row_write(&writer->index, &writer->batches[first], i - first);
            first = i;
        }
    }
}

static void batch_row_write(Writer *out, const ObjectBatch *batch)
{
    const BatchHeader *header = &batch->header;
    writer_i32(out, (int32_t)batch->bytes.size);
    writer_u32(out, header->crc);
    writer_i64(out, batch->base_offset);
    writer_i32(out, batch->lease_epoch);
    writer_i16(out, header->attributes);
    writer_i16(out, header->producer_epoch);
    writer_i32(out, header->last_offset_delta);
    writer_i32(out, header->record_count);
    writer_i64(out, header->base_timestamp);
    writer_i64(out, header->max_timestamp);
    writer_i64(out, header->producer_id);
    writer_i32(out, header->base_sequence);
}

static void footer_write(ObjectWriter *writer)
{
    Writer *out = &writer->index;
    writer_u16(out, OBJECT_VERSION);
    writer_u16(out, OBJECT_HEADER_SIZE);
    writer_i64(out, writer->identity.object_id);
    writer_i64(out, writer->identity.created_ms);
    writer_bytes(out, writer->identity.cluster_id, OBJECT_UUID_SIZE);
    writer_u32(out, (uint32_t)writer->partition_count);
    writer_u32(out, (uint32_t)writer->batch_count);
    partition_rows_write(writer);
    for (size_t i = 0; i < writer->batch_count; i++) {
        batch_row_write(out, &writer->batches[i]);
    }
}

static void trailer_write(ObjectWriter *writer)
{
    Writer *out = &writer->index;
    writer_u32(out, (uint32_t)out->used);
    writer_i64(out, writer->identity.object_id);
    writer_i64(out, (int64_t)object_writer_size(writer));
    writer->checksum = writer_failed(out) ? 0 : crc32c(slice_of(out->bytes, out->used));
    writer_u32(out, writer->checksum);
    writer_bytes(out, object_magic, OBJECT_MAGIC_SIZE);
}

Status object_writer_rename(ObjectWriter *writer, const ObjectIdentity *identity)
{
    assert(writer->sealed);
    writer->identity = *identity;
    writer_reset(&writer->index);
    header_make(writer);
    footer_write(writer);
    trailer_write(writer);
    if (writer_failed(&writer->index)) {
        return status_error(STATUS_INTERNAL, "no memory for an object's index of %zu batches",
                            writer->batch_count);
    }
    return status_ok();
}

Status object_writer_seal(ObjectWriter *writer, const ObjectIdentity *identity)
{
    if (writer->batch_count == 0) {
        return status_error(STATUS_INVALID, "an object has at least one batch");
    }
    assert(!writer->sealed);
    batches_place(writer);
    writer->sealed = true;
    return object_writer_rename(writer, identity);
}

size_t object_writer_slice_count(const ObjectWriter *writer)
{
    return writer->batch_count + 2;
}

void object_writer_slices(const ObjectWriter *writer, Slice *out)
{
    assert(writer->sealed);
    *out++ = slice_of(writer->header, OBJECT_HEADER_SIZE);
    for (size_t i = 0; i < writer->batch_count; i++) {
        *out++ = writer->batches[i].bytes;
    }
    *out = slice_of(writer->index.bytes, writer->index.used);
}

bool object_writer_made(const ObjectWriter *writer, const ObjectTrailer *stored)
{
    return writer->sealed && stored->object_id == writer->identity.object_id &&
           stored->checksum == writer->checksum && stored->object_size == (int64_t)object_writer_size(writer);
}
