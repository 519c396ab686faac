/* object_format.h: the bytes of an object: header, record batches, index footer, trailer.
 * docs/object-format.md is the specification.
 *
 *   header (48)   magic, version, object id, time, cluster
 *   body          whole record batches; those of one partition are adjacent
 *   footer        identity again, one row per partition, one row per batch
 *   trailer (32)  footer size, object id, object size, checksum of footer and trailer, magic
 *
 * Offsets are not known when an object is written: base offset and leader epoch inside a batch's header mean
 * nothing in the body, and readers patch them. The footer's checksum covers each batch's own, so it stands
 * for the whole content. */
#ifndef STREAMHOUSE_OBJECT_FORMAT_H
#define STREAMHOUSE_OBJECT_FORMAT_H

#include "common/arena.h"
#include "common/batch.h"

enum {
    OBJECT_VERSION = 1,
    OBJECT_UUID_SIZE = 16,
    OBJECT_MAGIC_SIZE = 8,
    OBJECT_HEADER_SIZE = 48,
    OBJECT_TRAILER_SIZE = 32,
    OBJECT_FOOTER_FIXED_SIZE = 44,
    OBJECT_PARTITION_ROW_SIZE = 40,
    OBJECT_BATCH_ROW_SIZE = 60
};

/* The segment table counts an object's bytes in int4. */
#define OBJECT_BYTES_MAX INT32_MAX

typedef struct ObjectIdentity {
    int64_t object_id;                    /* from sh_reserve_objects() */
    int64_t created_ms;                   /* ms since 1970 */
    uint8_t cluster_id[OBJECT_UUID_SIZE]; /* whose object this is; zeros when not known */
} ObjectIdentity;

/* One batch for an object. The first part is the caller's, the last is filled by object_writer_seal(). */
typedef struct ObjectBatch {
    uint8_t topic_uuid[OBJECT_UUID_SIZE];
    int32_t partition;
    int32_t lease_epoch; /* under which it was accepted, -1 none */
    int64_t base_offset; /* -1 while not known; merged objects know it */
    Slice bytes;         /* the whole batch; must stay until the object was sent */
    BatchHeader header;  /* read from bytes as they are sent: append time is set before this */
    void *context;       /* the caller's, untouched */

    int32_t ordinal;    /* place among the object's batches, from 0 */
    int64_t byte_start; /* from the object's first byte */
} ObjectBatch;

/* Gathers batches in any order, then lays them out: by partition, and within one in the order they were
 * added. */
typedef struct ObjectWriter {
    ObjectIdentity identity;
    ObjectBatch *batches; /* after sealing: in the object's order */
    size_t batch_count;
    size_t batch_capacity;
    size_t body_size;
    size_t partition_count; /* after sealing */
    Writer index;           /* footer and trailer */
    uint8_t header[OBJECT_HEADER_SIZE];
    uint32_t checksum; /* after sealing: the trailer's */
    bool sealed;
} ObjectWriter;

void object_writer_init(ObjectWriter *writer);
void object_writer_free(ObjectWriter *writer);
/* Forgets the batches, keeps the memory. */
void object_writer_reset(ObjectWriter *writer);

/* Adds a batch (copied, its bytes not). STATUS_LIMIT when the object would pass OBJECT_BYTES_MAX,
 * STATUS_INVALID when the slice is not as long as the header says. */
MUST_CHECK Status object_writer_add(ObjectWriter *writer, const ObjectBatch *batch);

/* The object's size: exact once sealed, before that an upper bound. */
size_t object_writer_size(const ObjectWriter *writer);

/* Sorts the batches, gives them ordinals and places, makes header, footer and trailer. The id may be known
 * only now. An object without batches is STATUS_INVALID. */
MUST_CHECK Status object_writer_seal(ObjectWriter *writer, const ObjectIdentity *identity);

/* Again with another identity (a hedged PUT under a second intent): places stay as they are. */
MUST_CHECK Status object_writer_rename(ObjectWriter *writer, const ObjectIdentity *identity);

/* How many slices the sealed object has, and the slices in order; their sizes sum to object_writer_size().
 * They are valid until the writer changes. */
size_t object_writer_slice_count(const ObjectWriter *writer);
void object_writer_slices(const ObjectWriter *writer, Slice *out);

typedef struct ObjectTrailer {
    int64_t object_id;
    int64_t object_size;
    uint32_t footer_size; /* the footer is this many bytes before the trailer */
    uint32_t checksum;    /* of the footer and of the trailer up to here */
} ObjectTrailer;

/* Where the footer begins in the object. */
static inline int64_t object_footer_start(const ObjectTrailer *trailer)
{
    return trailer->object_size - OBJECT_TRAILER_SIZE - (int64_t)trailer->footer_size;
}

/* Reads the trailer from the object's last bytes (OBJECT_TRAILER_SIZE or more of them); object_size is what
 * the store says it is. STATUS_CORRUPT when it is no object of ours, was cut, or the sizes cannot be. */
MUST_CHECK Status object_trailer_read(Slice tail, int64_t object_size, ObjectTrailer *out);

/* After a PUT that found the key taken (412): whether the stored trailer is that of the object which this
 * writer sealed, hence the earlier PUT won. */
bool object_writer_made(const ObjectWriter *writer, const ObjectTrailer *stored);

typedef struct ObjectPartitionRow {
    uint8_t topic_uuid[OBJECT_UUID_SIZE];
    int32_t partition;
    int32_t batch_count;
    int32_t first_batch; /* ordinal */
    int64_t byte_start;
    int64_t byte_length;
} ObjectPartitionRow;

typedef struct ObjectBatchRow {
    int32_t byte_length;
    uint32_t crc; /* the batch's own */
    int64_t byte_start;
    int64_t base_offset; /* -1 not known when it was written */
    int32_t lease_epoch; /* -1 none */
    int16_t attributes;
    int32_t last_offset_delta;
    int32_t record_count;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
} ObjectBatchRow;

/* The parsed footer: partitions in the body's order, each with its run of batches. */
typedef struct ObjectIndex {
    ObjectIdentity identity;
    ObjectPartitionRow *partitions;
    int32_t partition_count;
    ObjectBatchRow *batches;
    int32_t batch_count;
} ObjectIndex;

/* Parses the footer (trailer->footer_size bytes) into the arena. Checks the checksum and that the rows tile
 * the body without gap or overlap. STATUS_CORRUPT otherwise, STATUS_LIMIT when the arena is too small for it.
 */
MUST_CHECK Status object_index_read(Slice footer, const ObjectTrailer *trailer, Arena *arena,
                                    ObjectIndex *out);

/* Reads the object's first OBJECT_HEADER_SIZE bytes; for tools that look at a damaged object. */
MUST_CHECK Status object_header_read(Slice head, ObjectIdentity *out);

/* Whether bytes (byte_length of them) are the batch that the row describes, its checksum recomputed. */
bool object_batch_matches(Slice bytes, const ObjectBatchRow *row);

#endif
