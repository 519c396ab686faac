/* fetch.c: walks a partition's segments, their batches, and the batches' records.
 *
 * A segment's bytes are in an object or in a row of the inline ring. Either may go while a reader is on its
 * way: the mover writes inline bytes to an object, changes the pointer and empties the slot; compaction
 * writes new objects and the reaper deletes old ones. Then the same offsets are looked up once more, in a
 * snapshot taken now, and that pointer holds. The records behind both are the same, so a reader whose own
 * snapshot is older sees no difference.
 *
 * Bytes are read through a window, because one segment may be far larger than what is asked for. Offsets are
 * those that the segment's row gives: a batch's header has none of its own until somebody reads it. */
#include "compat.h"
#include "fetch.h"

#include "common/batch.h"
#include "inline.h"
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

/* Gives the records of offsets from .. to - 1; *from becomes where to go on. */
static void batch_give(Fetch *fetch, const SegmentBytes *bytes, Slice batch, const BatchHeader *header,
                       int64 *from, int64 to)
{
    Slice encoded;
    Record record;
    int32 number = 0;
    if (!batch_crc_matches(batch, header)) {
        segment_corrupt(bytes, "a checksum does not match");
    }
    writer_reset(&scratch);
    Status status = record_bytes(batch, header, DECOMPRESSED_BYTES_MAX, &scratch, &encoded);
    if (!status_is_ok(&status)) {
        segment_corrupt(bytes, status.message);
    }
    RecordIterator records = record_iterate(header, encoded);
    while (record_next(&records, &record)) {
        if (++number % INTERRUPT_RECORDS == 0) {
            CHECK_FOR_INTERRUPTS();
        }
        if (record.offset < *from) {
            continue;
        }
        if (record.offset >= to || !fetch_give(fetch, &record)) {
            return;
        }
        *from = record.offset + 1;
        if (fetch->is_full) {
            return;
        }
    }
    if (records.failed) {
        segment_corrupt(bytes, "a record is broken");
    }
}

/* Walks the segment's batches; false when its bytes are gone. */
static bool segment_give(Fetch *fetch, SegmentBytes *bytes, int64 *from, int64 to)
{
    const Segment *segment = bytes->segment;
    int64 base_offset = segment->base_offset;
    int32 position = 0;
    while (position < segment->byte_length && !fetch->is_full && *from < to) {
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
        if (end_offset > *from) {
            BatchHeader header;
            start = segment_bytes(bytes, position, (int32)size);
            if (!start) {
                return false;
            }
            BatchError error = batch_header_read(slice_of(start, size), &header);
            if (error.code != BATCH_OK) {
                segment_corrupt(bytes, error.message);
            }
            header.base_offset = base_offset;
            if (!batch_is_control(&header) && header.max_timestamp >= fetch->from_timestamp) {
                batch_give(fetch, bytes, slice_of(start, size), &header, from, to);
            }
            if (!fetch->is_full) {
                *from = Min(end_offset, to);
            }
        }
        base_offset = end_offset;
        position += (int32)size;
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
