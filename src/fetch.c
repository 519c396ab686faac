/* fetch.c: walks a partition's segments, their batches, and the batches' records.
 *
 * A segment's bytes are in an object or in a row of the inline ring. Either may go while a reader is on its
 * way: the mover writes inline bytes to an object, changes the pointer and empties the slot; compaction
 * writes new objects and the reaper deletes old ones. Then the same offsets are looked up once more, in a
 * snapshot taken now, and that pointer holds. The records behind both are the same, so a reader whose own
 * snapshot is older sees no difference.
 *
 * Who reads a record at a time would have a batch decoded for each of its records. So a batch that was not
 * read to its end stays decoded, and its reader where it stopped: one in a backend. Bytes of an object or row
 * never change, and ids are never used again.
 *
 * Bytes are read through a window, because one segment may be far larger than what is asked for. Offsets are
 * those that the segment's row gives: a batch's header has none of its own until somebody reads it. */
#include "compat.h"
#include "fetch.h"

#include "common/batch.h"
#include "inline.h"
#include "relation.h"
#include "store_read.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

enum {
    WINDOW_BYTES = 256 * 1024,
    SCRATCH_KEPT_BYTES = 16 * 1024 * 1024, /* a larger one is given back after its batch */
    DECOMPRESSED_BYTES_MAX = 1024 * 1024 * 1024 - 1,
    BATCH_LENGTH_AT = 8,
    BATCH_LAST_DELTA_AT = 23,
    INTERRUPT_RECORDS = 1024
};

/* The batches of a segment, as far as they are in memory. */
typedef struct SegmentBytes {
    const Segment *segment;
    const char *key; /* of the object; NULL for inline bytes */
    int32 start;     /* of the window, in the segment */
    int32 size;
    int32 capacity;
    uint8 *window;
    bool is_gone;
} SegmentBytes;

/* Decompressed records; malloc'ed, kept for the next batch, and so not lost in an ERROR. */
static Writer scratch;

/* A batch, and where the records that were not given yet begin. */
typedef struct Reading {
    Oid home;        /* table of the objects whose ids these are; InvalidOid: nothing is kept */
    int64 object_id; /* or the inline row's */
    int64 byte_start;
    int32 size;
    int64 base_offset;
    int64 end_offset;
    int64 max_timestamp;
    int64 from; /* records before this offset are passed already */
    RecordIterator records;
} Reading;

/* Its records are in scratch. */
static Reading kept;

void fetch_open(Fetch *fetch, FetchLimits limits, FetchPut *put, void *argument)
{
    *fetch = (Fetch){ .left = limits, .from_timestamp = PG_INT64_MIN, .put = put, .argument = argument };
    fetch->is_full = limits.records <= 0;
    fetch->context = CurrentMemoryContext;
    fetch->batches =
        AllocSetContextCreate(CurrentMemoryContext, "StreamHouse batches", ALLOCSET_DEFAULT_SIZES);
    finder_open(&fetch->finder);
}

void fetch_close(Fetch *fetch)
{
    finder_close(&fetch->finder);
    if (fetch->has_snapshot) {
        PopActiveSnapshot();
    }
    MemoryContextDelete(fetch->batches);
    if (scratch.capacity > SCRATCH_KEPT_BYTES) {
        kept.home = InvalidOid;
        writer_free(&scratch);
        writer_init(&scratch);
    }
}

/* Looks with new eyes. */
static void fetch_renew(Fetch *fetch)
{
    finder_close(&fetch->finder);
    if (fetch->has_snapshot) {
        PopActiveSnapshot();
    }
    PushActiveSnapshot(GetLatestSnapshot());
    fetch->has_snapshot = true;
    finder_open(&fetch->finder);
}

static void segment_corrupt(const SegmentBytes *bytes, const char *why)
{
    ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
            errmsg("the segment of offsets " INT64_FORMAT " to " INT64_FORMAT
                   " does not hold the batches that its row speaks of: %s",
                   bytes->segment->base_offset, bytes->segment->end_offset - 1, why),
            errdetail("It is %d bytes from byte %d of %s " INT64_FORMAT ".", bytes->segment->byte_length,
                      bytes->segment->byte_start, bytes->key ? bytes->key : "inline row",
                      bytes->segment->object_id));
}

static bool window_load(SegmentBytes *bytes, int32 start, int32 length)
{
    const Segment *segment = bytes->segment;
    bytes->start = start;
    bytes->size = length;
    if (bytes->key) {
        return store_read(segment->object_id, bytes->key, (uint64)segment->byte_start + start, length,
                          bytes->window);
    }
    InlinePlace place = { segment->object_id, segment->slot };
    bytea *read = inline_read(&place, segment->byte_start + start, length);
    if (!read) {
        return false;
    }
    if (VARSIZE_ANY_EXHDR(read) != length) {
        segment_corrupt(bytes, "the row is shorter");
    }
    memcpy(bytes->window, VARDATA_ANY(read), length);
    pfree(read);
    return true;
}

/* Bytes start .. start + length - 1 of the segment; NULL when they are gone from where they were. */
static const uint8 *segment_bytes(SegmentBytes *bytes, int32 start, int32 length)
{
    int32 left = bytes->segment->byte_length - start;
    if (length > left) {
        segment_corrupt(bytes, "its last batch is cut off");
    }
    if (start >= bytes->start && start - bytes->start <= bytes->size - length) {
        return bytes->window + (start - bytes->start);
    }
    int32 wanted = Min(left, Max(length, WINDOW_BYTES));
    if (wanted > bytes->capacity) {
        if (bytes->window) {
            pfree(bytes->window);
        }
        bytes->window = palloc_extended(wanted, MCXT_ALLOC_HUGE);
        bytes->capacity = wanted;
    }
    bytes->is_gone = !window_load(bytes, start, wanted);
    return bytes->is_gone ? NULL : bytes->window;
}

static int32 big_endian_i32(const uint8 *bytes)
{
    return (int32)((uint32)bytes[0] << 24 | (uint32)bytes[1] << 16 | (uint32)bytes[2] << 8 | bytes[3]);
}

static size_t record_size(const Record *record)
{
    return record->key.size + record->value.size + record->headers.size;
}

/* False when the record does not fit any more. */
static bool fetch_give(Fetch *fetch, const Record *record)
{
    int64 size = (int64)record_size(record);
    if (fetch->has_given && size > fetch->left.bytes) {
        fetch->is_full = true;
        return false;
    }
    fetch->has_given = true;
    fetch->left.bytes -= size;
    fetch->left.records--;
    fetch->is_full = !fetch->put(fetch->argument, record) || fetch->left.records <= 0;
    return true;
}

/* Keeps what was begun. Records that are not compressed were read in the window, which goes. */
static void reading_keep(const Reading *reading, int64 from)
{
    size_t left = reader_left(&reading->records.reader);
    RecordIterator records = reading->records;
    kept.home = InvalidOid;
    if (left == 0 || left > SCRATCH_KEPT_BYTES) {
        return;
    }
    if (scratch.used == 0) {
        writer_bytes(&scratch, records.reader.next, left);
        if (writer_failed(&scratch)) {
            return;
        }
        records.reader = reader_of(slice_of(scratch.bytes, left));
    }
    kept = *reading;
    kept.home = streamhouse_relation("object");
    kept.from = from;
    kept.records = records;
}

/* Whether the batch at the position is the one that is kept, and can be read from the offset on. */
static bool reading_is_kept(const SegmentBytes *bytes, int32 position, int64 base_offset, int64 from)
{
    return OidIsValid(kept.home) && kept.object_id == bytes->segment->object_id &&
           kept.byte_start == (int64)bytes->segment->byte_start + position &&
           kept.base_offset == base_offset && kept.from <= from &&
           kept.home == streamhouse_relation("object");
}

/* Gives the records of offsets from .. to - 1; *from becomes where to go on. */
static void reading_give(Fetch *fetch, const SegmentBytes *bytes, Reading *reading, int64 *from, int64 to)
{
    Record record;
    int32 number = 0;
    RecordIterator before = reading->records;
    while (record_next(&reading->records, &record)) {
        if (++number % INTERRUPT_RECORDS == 0) {
            CHECK_FOR_INTERRUPTS();
        }
        if (record.offset >= to) {
            return;
        }
        if (record.offset >= *from) {
            if (!fetch_give(fetch, &record)) {
                reading->records = before;
                reading_keep(reading, record.offset);
                return;
            }
            *from = record.offset + 1;
            if (fetch->is_full) {
                reading_keep(reading, *from);
                return;
            }
        }
        before = reading->records;
    }
    if (reading->records.failed) {
        segment_corrupt(bytes, "a record is broken");
    }
}

/* Where the batch at the position ends; false when the bytes are gone. */
static bool batch_locate(SegmentBytes *bytes, int32 position, int64 base_offset, Reading *reading)
{
    const Segment *segment = bytes->segment;
    const uint8 *start = segment_bytes(bytes, position, BATCH_HEADER_SIZE);
    if (!start) {
        return false;
    }
    int64 size = (int64)big_endian_i32(start + BATCH_LENGTH_AT) + BATCH_LENGTH_END;
    int64 end_offset = base_offset + big_endian_i32(start + BATCH_LAST_DELTA_AT) + 1;
    if (size < BATCH_HEADER_SIZE || size > segment->byte_length - position || end_offset <= base_offset ||
        end_offset > segment->end_offset) {
        segment_corrupt(bytes, "a batch's header is broken");
    }
    *reading = (Reading){ .object_id = segment->object_id,
                          .byte_start = (int64)segment->byte_start + position,
                          .size = (int32)size,
                          .base_offset = base_offset,
                          .end_offset = end_offset };
    return true;
}

/* Checks and decodes a batch; false when it has no records for the fetch. */
static bool batch_decode(const Fetch *fetch, const SegmentBytes *bytes, Slice batch, Reading *reading)
{
    Slice encoded;
    BatchHeader header;
    BatchError error = batch_header_read(batch, &header);
    if (error.code != BATCH_OK) {
        segment_corrupt(bytes, error.message);
    }
    header.base_offset = reading->base_offset;
    if (batch_is_control(&header) || header.max_timestamp < fetch->from_timestamp) {
        return false;
    }
    if (!batch_crc_matches(batch, &header)) {
        segment_corrupt(bytes, "a checksum does not match");
    }
    kept.home = InvalidOid;
    writer_reset(&scratch);
    Status status = record_bytes(batch, &header, DECOMPRESSED_BYTES_MAX, &scratch, &encoded);
    if (!status_is_ok(&status)) {
        segment_corrupt(bytes, status.message);
    }
    reading->max_timestamp = header.max_timestamp;
    reading->records = record_iterate(&header, encoded);
    return true;
}

/* Gives what is wanted of a batch that was located; false when its bytes are gone. */
static bool batch_give(Fetch *fetch, SegmentBytes *bytes, int32 position, Reading *reading, int64 *from,
                       int64 to)
{
    const uint8 *start = segment_bytes(bytes, position, reading->size);
    if (!start) {
        return false;
    }
    if (batch_decode(fetch, bytes, slice_of(start, reading->size), reading)) {
        reading_give(fetch, bytes, reading, from, to);
    }
    return true;
}

/* Walks the segment's batches; false when its bytes are gone. */
static bool segment_give(Fetch *fetch, SegmentBytes *bytes, int64 *from, int64 to)
{
    const Segment *segment = bytes->segment;
    int64 base_offset = segment->base_offset;
    int32 position = 0;
    while (position < segment->byte_length && !fetch->is_full && *from < to) {
        Reading reading;
        if (reading_is_kept(bytes, position, base_offset, *from)) {
            reading = kept;
            if (reading.max_timestamp >= fetch->from_timestamp) {
                reading_give(fetch, bytes, &reading, from, to);
            }
        } else if (!batch_locate(bytes, position, base_offset, &reading) ||
                   (reading.end_offset > *from && !batch_give(fetch, bytes, position, &reading, from, to))) {
            return false;
        }
        if (!fetch->is_full) {
            *from = Max(*from, Min(reading.end_offset, to));
        }
        base_offset = reading.end_offset;
        position += reading.size;
        CHECK_FOR_INTERRUPTS();
    }
    if (position == segment->byte_length && base_offset != segment->end_offset) {
        segment_corrupt(bytes, "offsets are missing");
    }
    return true;
}

/* The key is looked up before the switch: what an index scan remembers, such as which entries are dead, it
 * allocates when it needs it, and that must live as long as the scan. */
static bool segment_fetch(Fetch *fetch, const Segment *segment, int64 *from, int64 to)
{
    Datum key = segment->slot == 0 ? finder_object_key(&fetch->finder, segment->object_id) : (Datum)0;
    MemoryContext before = MemoryContextSwitchTo(fetch->batches);
    SegmentBytes bytes = { .segment = segment,
                           .start = -1,
                           .key = segment->slot == 0 ? TextDatumGetCString(key) : NULL };
    bool given = segment_give(fetch, &bytes, from, to);
    MemoryContextSwitchTo(before);
    MemoryContextReset(fetch->batches);
    return given;
}

static void bytes_are_lost(const Segment *segment)
{
    ereport(
        ERROR, errcode(ERRCODE_DATA_CORRUPTED),
        errmsg("the bytes of offsets " INT64_FORMAT " to " INT64_FORMAT " are not where their row says",
               segment->base_offset, segment->end_offset - 1),
        errdetail("%s " INT64_FORMAT " does not exist.", segment->slot ? "Inline row" : "The file of object",
                  segment->object_id),
        errhint(
            "Is streamhouse.store the agents' store, and has nothing but agents deleted objects from it?"));
}

/* The segments from *from on; looks a pointer up again that leads nowhere, once. False when there is no such
 * partition any more. */
static bool segments_give(Fetch *fetch, int32 topic_id, int32 partition, int64 *from, int64 to)
{
    Segment segment;
    bool is_retry = false;
    bool found = finder_seek(&fetch->finder, *from, &segment);
    while (found && !fetch->is_full && *from < to) {
        bool is_early = segment.max_timestamp < fetch->from_timestamp;
        if (is_early) {
            *from = Min(segment.end_offset, to);
        }
        if (is_early || segment_fetch(fetch, &segment, from, to)) {
            is_retry = false;
            found = finder_next(&fetch->finder, &segment);
            continue;
        }
        if (is_retry) {
            bytes_are_lost(&segment);
        }
        is_retry = true;
        fetch_renew(fetch);
        /* What was deleted meanwhile must not be passed over in silence. */
        if (!finder_turn(&fetch->finder, Int32GetDatum(topic_id), Int32GetDatum(partition))) {
            return false;
        }
        found = *from >= fetch->finder.log_start_offset && finder_seek(&fetch->finder, *from, &segment);
    }
    return true;
}

/* In the scans' memory context. */
static FetchedPartition partition_fetch(Fetch *fetch, int32 topic_id, int32 partition, int64 from, int64 to)
{
    FetchedPartition fetched = { .next_offset = from };
    fetched.exists = finder_turn(&fetch->finder, Int32GetDatum(topic_id), Int32GetDatum(partition));
    if (!fetched.exists) {
        return fetched;
    }
    fetched.high_watermark = fetch->finder.high_watermark;
    int64 end = Min(to, fetched.high_watermark);
    if (from >= fetch->finder.log_start_offset && from < end) {
        fetched.exists = segments_give(fetch, topic_id, partition, &fetched.next_offset, end);
    }
    fetched.log_start_offset = fetch->finder.log_start_offset;
    if (!fetch->is_full && fetched.next_offset >= fetched.log_start_offset && fetched.next_offset < end) {
        fetched.next_offset = end; /* the floor was raised: nothing has the offsets after the last batch */
    }
    return fetched;
}

FetchedPartition fetch_partition(Fetch *fetch, int32 topic_id, int32 partition, int64 from, int64 to)
{
    MemoryContext before = MemoryContextSwitchTo(fetch->context);
    FetchedPartition fetched = partition_fetch(fetch, topic_id, partition, from, to);
    MemoryContextSwitchTo(before);
    return fetched;
}
