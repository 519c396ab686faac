/* commit_write.c: what a commit leaves behind. Inserts alone, but for the object's own row: a row that every
 * commit updates grows a chain of versions under any old snapshot, and commits with it. */
#include "compat.h"
#include "commit_call.h"

#include "catalog/pg_type.h"
#include "end_hint.h"
#include "key_scan.h"
#include "row_writer.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/timestamp.h"

void segment_put(RowWriter *writer, int64 object_id, int16 slot, const CommitSegment *segment)
{
    TupleTableSlot *row = row_writer_row(writer);
    row_set(row, Anum_segment_topic_id, Int32GetDatum(segment->topic_id));
    row_set(row, Anum_segment_partition, Int32GetDatum(segment->partition));
    row_set(row, Anum_segment_base_offset, Int64GetDatum(segment->base_offset));
    row_set(row, Anum_segment_end_offset, Int64GetDatum(segment->end_offset));
    row_set(row, Anum_segment_object_id, Int64GetDatum(object_id));
    row_set(row, Anum_segment_byte_start, Int32GetDatum(segment->byte_start));
    row_set(row, Anum_segment_byte_length, Int32GetDatum(segment->byte_length));
    row_set(row, Anum_segment_batches, Int32GetDatum(segment->batches));
    row_set(row, Anum_segment_leader_epoch, Int32GetDatum(segment->leader_epoch));
    row_set(row, Anum_segment_max_timestamp, Int64GetDatum(segment->max_timestamp));
    row_set(row, Anum_segment_running_max_timestamp, Int64GetDatum(segment->running_max_timestamp));
    row_set(row, Anum_segment_slot, Int16GetDatum(slot));
    row_writer_put(writer);
}

void segment_write(RowWriter *writer, int64 object_id, int16 slot, const CommitSegment *segment)
{
    segment_put(writer, object_id, slot, segment);
    end_hint_put(segment->topic_id, segment->partition, END_HINT_PARTITION, segment->end_offset);
}

static void ring_write(RowWriter *writer, TupleTableSlot *row, const ProducerRing *ring)
{
    Datum first[PRODUCER_RING_SIZE];
    Datum last[PRODUCER_RING_SIZE];
    Datum base[PRODUCER_RING_SIZE];
    for (int i = 0; i < ring->count; i++) {
        first[i] = Int32GetDatum(ring->batches[i].first_sequence);
        last[i] = Int32GetDatum(ring->batches[i].last_sequence);
        base[i] = Int64GetDatum(ring->batches[i].base_offset);
    }
    MemoryContext before = MemoryContextSwitchTo(writer->rows);
    row_set(row, Anum_producer_first_sequences,
            PointerGetDatum(construct_array(first, ring->count, INT4OID, sizeof(int32), true, TYPALIGN_INT)));
    row_set(row, Anum_producer_last_sequences,
            PointerGetDatum(construct_array(last, ring->count, INT4OID, sizeof(int32), true, TYPALIGN_INT)));
    row_set(row, Anum_producer_base_offsets,
            PointerGetDatum(construct_array(base, ring->count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
                                            TYPALIGN_DOUBLE)));
    MemoryContextSwitchTo(before);
}

static void producer_write(RowWriter *writer, const CommitProducer *producer, TimestampTz now)
{
    TupleTableSlot *row = row_writer_row(writer);
    row_set(row, Anum_producer_topic_id, Int32GetDatum(producer->topic_id));
    row_set(row, Anum_producer_partition, Int32GetDatum(producer->partition));
    row_set(row, Anum_producer_producer_id, Int64GetDatum(producer->producer_id));
    row_set(row, Anum_producer_end_offset, Int64GetDatum(producer->end_offset));
    row_set(row, Anum_producer_producer_epoch, Int16GetDatum(producer->ring.epoch));
    ring_write(writer, row, &producer->ring);
    row_set(row, Anum_producer_written_at, TimestampTzGetDatum(now));
    row_writer_put(writer);
    end_hint_put(producer->topic_id, producer->partition, producer->producer_id, producer->end_offset);
}

void commit_writer_open(CommitWriter *writer, const CommitCall *call)
{
    writer->call = call;
    writer->place = (InlinePlace){ call->object_id, call->is_inline ? -1 : 0 };
    writer->now = GetCurrentTimestamp();
    row_writer_open(&writer->segments, "segment");
    row_writer_open(&writer->producers, "producer");
}

/* Bytes go into the ring with the first segment that is in them: of a call that is locked out nothing is
 * left. */
static void writer_place(CommitWriter *writer)
{
    if (writer->place.slot < 0) {
        writer->place = inline_write(writer->call->inline_bytes);
    }
}

void commit_write_partition(CommitWriter *writer, const CommitPartition *partition)
{
    if (partition->segment_count > 0) {
        writer_place(writer);
    }
    for (int i = 0; i < partition->segment_count; i++) {
        segment_write(&writer->segments, writer->place.object_id, writer->place.slot,
                      &partition->segments[i]);
    }
    for (int i = 0; i < partition->producer_count; i++) {
        if (partition->producers[i].changed) {
            producer_write(&writer->producers, &partition->producers[i], writer->now);
        }
    }
}

void commit_writer_flush(CommitWriter *writer)
{
    row_writer_flush(&writer->segments);
    row_writer_flush(&writer->producers);
}

void commit_writer_close(CommitWriter *writer)
{
    row_writer_close(&writer->producers);
    row_writer_close(&writer->segments);
}

/* Answers that are final and were not given before. An unknown partition has no row to wait under, and cannot
 * come back; it is answered anew each time. */
static bool batch_is_to_keep(const CommitBatch *batch)
{
    return !batch->repeated && batch->answer.status != COMMIT_LOCKED &&
           batch->answer.status != COMMIT_UNKNOWN;
}

static void answers_write(const CommitCall *call, const CommitBatch **kept, int count, TimestampTz now)
{
    RowWriter writer;
    Datum *ordinals = palloc(sizeof(Datum) * count * 4);
    Datum *statuses = ordinals + count;
    Datum *error_codes = statuses + count;
    Datum *base_offsets = error_codes + count;
    Oid values[COMMIT_STATUSES];
    int32 smallest = PG_INT32_MAX;
    for (CommitStatus status = COMMIT_COMMITTED; status < COMMIT_STATUSES; status++) {
        values[status] = commit_status_value(status);
    }
    for (int i = 0; i < count; i++) {
        smallest = Min(smallest, kept[i]->row.batch);
        ordinals[i] = Int32GetDatum(kept[i]->row.batch);
        statuses[i] = ObjectIdGetDatum(values[kept[i]->answer.status]);
        error_codes[i] = Int16GetDatum(kept[i]->answer.error_code);
        base_offsets[i] = Int64GetDatum(kept[i]->answer.base_offset);
    }
    row_writer_open(&writer, "commit_answer");
    TupleTableSlot *row = row_writer_row(&writer);
    row_set(row, Anum_commit_answer_object_id, Int64GetDatum(call->object_id));
    row_set(row, Anum_commit_answer_batch, Int32GetDatum(smallest));
    row_set(row, Anum_commit_answer_batches,
            PointerGetDatum(construct_array(ordinals, count, INT4OID, sizeof(int32), true, TYPALIGN_INT)));
    row_set(row, Anum_commit_answer_statuses,
            PointerGetDatum(
                construct_array(statuses, count, commit_status_type(), sizeof(Oid), true, TYPALIGN_INT)));
    row_set(
        row, Anum_commit_answer_error_codes,
        PointerGetDatum(construct_array(error_codes, count, INT2OID, sizeof(int16), true, TYPALIGN_SHORT)));
    row_set(row, Anum_commit_answer_base_offsets,
            PointerGetDatum(construct_array(base_offsets, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
                                            TYPALIGN_DOUBLE)));
    row_set(row, Anum_commit_answer_answered_at, TimestampTzGetDatum(now));
    row_writer_put(&writer);
    row_writer_close(&writer);
}

static void commit_write_answers(const CommitCall *call, TimestampTz now)
{
    const CommitBatch **kept = palloc(sizeof(CommitBatch *) * call->batch_count);
    int count = 0;
    for (int i = 0; i < call->batch_count; i++) {
        if (batch_is_to_keep(&call->batches[i])) {
            kept[count++] = &call->batches[i];
        }
    }
    if (count > 0) {
        answers_write(call, kept, count, now);
    }
    pfree(kept);
}

static void commit_write_object(const CommitCall *call)
{
    static const KeyScanSpec object_by_id = { "object", "object_pkey", 1, { KEY_INT8_EQUAL } };
    KeyScan scan;
    RowWriter writer;
    key_scan_open(&scan, &object_by_id, RowExclusiveLock);
    key_scan_set(&scan, 0, Int64GetDatum(call->object_id));
    if (!key_scan_seek(&scan, ForwardScanDirection)) {
        elog(ERROR, "object " INT64_FORMAT " is gone though its row is locked", call->object_id);
    }
    row_writer_open(&writer, "object");
    TupleTableSlot *row = row_writer_row(&writer);
    slot_getallattrs(scan.slot);
    for (int i = 0; i < Natts_object; i++) {
        row->tts_values[i] = scan.slot->tts_values[i];
        row->tts_isnull[i] = scan.slot->tts_isnull[i];
    }
    row_set(row, Anum_object_state, ObjectIdGetDatum(object_state_value("live")));
    row_set(row, Anum_object_bytes, Int64GetDatum(call->object_bytes));
    row_writer_replace(&writer, scan.slot, ExecStoreVirtualTuple(row));
    row_writer_close(&writer);
    key_scan_close(&scan);
}

static bool call_has_segments(const CommitCall *call)
{
    for (int i = 0; i < call->partition_count; i++) {
        if (call->partitions[i].segment_count > 0) {
            return true;
        }
    }
    return false;
}

/* An object of which nothing was taken stays an intent, and expires. */
void commit_write_call(const CommitCall *call, bool is_intent)
{
    if (is_intent && call_has_segments(call)) {
        commit_write_object(call);
    }
    commit_write_answers(call, GetCurrentTimestamp());
}
