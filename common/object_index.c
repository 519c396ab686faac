/* object_index.c: reads objects' headers, trailers and footers. Nothing in them is believed before the
 * checksum, nor after it: rows must tile the body. */
#include "common/crc32c.h"
#include "common/object_layout.h"
#include "common/reader.h"

static bool magic_take(Reader *reader)
{
    Slice magic = reader_take(reader, OBJECT_MAGIC_SIZE);
    return !slice_is_null(magic) && memcmp(magic.data, object_magic, OBJECT_MAGIC_SIZE) == 0;
}

static void uuid_take(Reader *reader, uint8_t *out)
{
    Slice uuid = reader_take(reader, OBJECT_UUID_SIZE);
    if (!slice_is_null(uuid)) {
        memcpy(out, uuid.data, OBJECT_UUID_SIZE);
    }
}

static void identity_take(Reader *reader, ObjectIdentity *out)
{
    out->object_id = reader_i64(reader);
    out->created_ms = reader_i64(reader);
    uuid_take(reader, out->cluster_id);
}

/* Version and header size; both are 1 and 48 until a second version exists. */
static Status version_take(Reader *reader)
{
    uint16_t version = reader_u16(reader);
    uint16_t header_size = reader_u16(reader);
    if (version != OBJECT_VERSION || header_size != OBJECT_HEADER_SIZE) {
        return status_error(STATUS_CORRUPT,
                            "object format version %d is not known; this program reads version %d", version,
                            OBJECT_VERSION);
    }
    return status_ok();
}

Status object_header_read(Slice head, ObjectIdentity *out)
{
    Reader reader =
        reader_of(slice_of(head.data, head.size < OBJECT_HEADER_SIZE ? head.size : OBJECT_HEADER_SIZE));
    if (!magic_take(&reader)) {
        return status_error(STATUS_CORRUPT, "the bytes do not begin like an object of StreamHouse");
    }
    Status status = version_take(&reader);
    if (!status_is_ok(&status)) {
        return status;
    }
    identity_take(&reader, out);
    uint32_t stored = reader_u32(&reader);
    if (reader_failed(&reader) ||
        stored != crc32c(slice_of(head.data, OBJECT_HEADER_SIZE - sizeof(stored)))) {
        return status_error(STATUS_CORRUPT, "the object's header does not match its checksum");
    }
    return status_ok();
}

Status object_trailer_read(Slice tail, int64_t object_size, ObjectTrailer *out)
{
    if (tail.size < OBJECT_TRAILER_SIZE || object_size < (int64_t)tail.size) {
        return status_error(STATUS_CORRUPT, "%zu bytes at the end of %lld are too few for an object",
                            tail.size, (long long)object_size);
    }
    Reader reader = reader_of(slice_of(tail.data + tail.size - OBJECT_TRAILER_SIZE, OBJECT_TRAILER_SIZE));
    out->footer_size = reader_u32(&reader);
    out->object_id = reader_i64(&reader);
    out->object_size = reader_i64(&reader);
    out->checksum = reader_u32(&reader);
    if (!magic_take(&reader)) {
        return status_error(STATUS_CORRUPT, "the bytes do not end like an object of StreamHouse");
    }
    if (out->object_size != object_size) {
        return status_error(STATUS_CORRUPT, "the object has %lld bytes, its trailer says %lld",
                            (long long)object_size, (long long)out->object_size);
    }
    if (out->footer_size < OBJECT_FOOTER_FIXED_SIZE || object_footer_start(out) < OBJECT_HEADER_SIZE) {
        return status_error(STATUS_CORRUPT, "a footer of %u bytes does not fit an object of %lld",
                            out->footer_size, (long long)object_size);
    }
    return status_ok();
}

static uint32_t footer_checksum(Slice footer, const ObjectTrailer *trailer)
{
    uint8_t checked[OBJECT_TRAILER_CHECKED_SIZE];
    uint64_t words[] = { (uint64_t)trailer->object_id, (uint64_t)trailer->object_size };
    uint8_t *at = checked;
    for (int shift = 24; shift >= 0; shift -= 8) {
        *at++ = (uint8_t)(trailer->footer_size >> shift);
    }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        for (int shift = 56; shift >= 0; shift -= 8) {
            *at++ = (uint8_t)(words[i] >> shift);
        }
    }
    return crc32c_extend(crc32c(footer), slice_of(checked, sizeof(checked)));
}

static void partition_row_take(Reader *reader, ObjectPartitionRow *row)
{
    uuid_take(reader, row->topic_uuid);
    row->partition = reader_i32(reader);
    row->batch_count = reader_i32(reader);
    row->byte_start = reader_i64(reader);
    row->byte_length = reader_i64(reader);
}

static void batch_row_take(Reader *reader, ObjectBatchRow *row)
{
    row->byte_length = reader_i32(reader);
    row->crc = reader_u32(reader);
    row->base_offset = reader_i64(reader);
    row->lease_epoch = reader_i32(reader);
    row->attributes = reader_i16(reader);
    row->producer_epoch = reader_i16(reader);
    row->last_offset_delta = reader_i32(reader);
    row->record_count = reader_i32(reader);
    row->base_timestamp = reader_i64(reader);
    row->max_timestamp = reader_i64(reader);
    row->producer_id = reader_i64(reader);
    row->base_sequence = reader_i32(reader);
}

/* Counts, then the tables; false with reader failed when the counts and the footer's size disagree. */
static Status tables_take(Reader *reader, Arena *arena, ObjectIndex *out)
{
    uint32_t partition_count = reader_u32(reader);
    uint32_t batch_count = reader_u32(reader);
    uint64_t size =
        (uint64_t)partition_count * OBJECT_PARTITION_ROW_SIZE + (uint64_t)batch_count * OBJECT_BATCH_ROW_SIZE;
    if (reader_failed(reader) || size != reader_left(reader) || partition_count > batch_count) {
        return status_error(STATUS_CORRUPT, "%u partitions and %u batches do not fill the footer",
                            partition_count, batch_count);
    }
    out->partitions = arena_allocate_array(arena, partition_count, sizeof(ObjectPartitionRow));
    out->batches = arena_allocate_array(arena, batch_count, sizeof(ObjectBatchRow));
    if (!out->partitions || !out->batches) {
        return status_error(STATUS_LIMIT, "an index of %u batches is larger than the memory given for it",
                            batch_count);
    }
    /* Both fit: a footer's size is a u32 and rows are larger than two bytes. */
    out->partition_count = (int32_t)partition_count;
    out->batch_count = (int32_t)batch_count;
    for (int32_t i = 0; i < out->partition_count; i++) {
        partition_row_take(reader, &out->partitions[i]);
    }
    for (int32_t i = 0; i < out->batch_count; i++) {
        batch_row_take(reader, &out->batches[i]);
    }
    return status_ok();
}

/* Places the batches of one partition; false unless they fill its range and it begins where the last one
 * ended. */
static bool partition_tile(ObjectIndex *index, ObjectPartitionRow *row, int32_t first_batch,
                           int64_t byte_start, int64_t end)
{
    if (row->partition < 0 || row->byte_start != byte_start || row->batch_count < 1 ||
        row->batch_count > index->batch_count - first_batch || row->byte_length > end - byte_start) {
        return false;
    }
    row->first_batch = first_batch;
    int64_t left = row->byte_length;
    for (int32_t i = 0; i < row->batch_count; i++) {
        ObjectBatchRow *batch = &index->batches[first_batch + i];
        if (batch->byte_length < BATCH_HEADER_SIZE || batch->byte_length > left ||
            batch->last_offset_delta < 0) {
            return false;
        }
        batch->byte_start = byte_start;
        byte_start += batch->byte_length;
        left -= batch->byte_length;
    }
    return left == 0;
}

static bool index_tile(ObjectIndex *index, int64_t end)
{
    int64_t byte_start = OBJECT_HEADER_SIZE;
    int32_t first_batch = 0;
    for (int32_t i = 0; i < index->partition_count; i++) {
        ObjectPartitionRow *row = &index->partitions[i];
        if (!partition_tile(index, row, first_batch, byte_start, end)) {
            return false;
        }
        first_batch += row->batch_count;
        byte_start += row->byte_length;
    }
    return byte_start == end && first_batch == index->batch_count;
}

Status object_index_read(Slice footer, const ObjectTrailer *trailer, Arena *arena, ObjectIndex *out)
{
    *out = (ObjectIndex){ 0 };
    if (footer.size != trailer->footer_size || footer_checksum(footer, trailer) != trailer->checksum) {
        return status_error(STATUS_CORRUPT, "the footer of object %lld does not match its checksum",
                            (long long)trailer->object_id);
    }
    Reader reader = reader_of(footer);
    Status status = version_take(&reader);
    if (!status_is_ok(&status)) {
        return status;
    }
    identity_take(&reader, &out->identity);
    status = tables_take(&reader, arena, out);
    if (!status_is_ok(&status)) {
        return status;
    }
    if (out->identity.object_id != trailer->object_id || !index_tile(out, object_footer_start(trailer))) {
        return status_error(STATUS_CORRUPT, "the footer of object %lld contradicts itself",
                            (long long)trailer->object_id);
    }
    return status;
}

bool object_batch_matches(Slice bytes, const ObjectBatchRow *row)
{
    BatchHeader header;
    BatchError error = batch_header_read(bytes, &header);
    return error.code == BATCH_OK && (size_t)row->byte_length == bytes.size &&
           bytes.size == batch_size(&header) && header.crc == row->crc && batch_crc_matches(bytes, &header);
}
