/* commit_decide.c: fence, check the producer, assign the offset, cut segments. One partition at a time, its
 * batches in the caller's order; the caller holds the partition's row lock and has read everything after
 * taking it. */
#include "commit_decide.h"

#include <stddef.h>

static const CommitAnswer accepted = { COMMIT_COMMITTED, COMMIT_ERROR_NONE, -1 };
static const CommitAnswer fenced = { COMMIT_FENCED, COMMIT_ERROR_NOT_LEADER, -1 };
static const CommitAnswer out_of_order = { COMMIT_INVALID, COMMIT_ERROR_OUT_OF_ORDER_SEQUENCE, -1 };
static const CommitAnswer old_epoch = { COMMIT_INVALID, COMMIT_ERROR_INVALID_PRODUCER_EPOCH, -1 };
static const CommitAnswer invalid_record = { COMMIT_INVALID, COMMIT_ERROR_INVALID_RECORD, -1 };

int32_t sequence_after(int32_t sequence, int32_t distance)
{
    return (int32_t)(((int64_t)sequence + distance) & INT32_MAX);
}

static int32_t row_last_sequence(const CommitRow *row)
{
    return sequence_after(row->first_sequence, row->offset_count - 1);
}

static bool row_is_malformed(const CommitRow *row)
{
    return row->offset_count < 1 ||
           row->attributes & (COMMIT_ATTRIBUTE_TRANSACTIONAL | COMMIT_ATTRIBUTE_CONTROL) ||
           (row->producer_id >= 0 && (row->producer_epoch < 0 || row->first_sequence < 0));
}

static const ProducedBatch *ring_find(const ProducerRing *ring, const CommitRow *row)
{
    for (int i = 0; i < ring->count; i++) {
        const ProducedBatch *batch = &ring->batches[i];
        if (batch->first_sequence == row->first_sequence && batch->last_sequence == row_last_sequence(row)) {
            return batch;
        }
    }
    return NULL;
}

static void ring_push(ProducerRing *ring, const CommitRow *row, int64_t base_offset)
{
    if (row->producer_epoch != ring->epoch) {
        ring->count = 0;
        ring->epoch = row->producer_epoch;
    }
    if (ring->count < PRODUCER_RING_SIZE) {
        ring->count++;
    }
    for (int i = ring->count - 1; i > 0; i--) {
        ring->batches[i] = ring->batches[i - 1];
    }
    ring->batches[0] = (ProducedBatch){ row->first_sequence, row_last_sequence(row), base_offset };
}

/* A producer nothing is known of may start anywhere: its state may have expired. */
static CommitAnswer ring_check(const ProducerRing *ring, const CommitRow *row)
{
    if (ring->count == 0) {
        return accepted;
    }
    if (row->producer_epoch < ring->epoch) {
        return old_epoch;
    }
    if (row->producer_epoch > ring->epoch) {
        return row->first_sequence == 0 ? accepted : out_of_order;
    }
    const ProducedBatch *twin = ring_find(ring, row);
    if (twin) {
        return (CommitAnswer){ COMMIT_DUPLICATE, COMMIT_ERROR_NONE, twin->base_offset };
    }
    return row->first_sequence == sequence_after(ring->batches[0].last_sequence, 1) ? accepted : out_of_order;
}

/* After a refusal the producer's later batches fall with it: of a producer without state any sequence would
 * pass, and sequence 10 must not be committed before 0. They fall as retriably as the first did. Of a
 * producer with state the ring decides: a batch that came too early must not take the one with it that was to
 * come next, since a producer takes that for the end. */
static CommitAnswer batch_check(const CommitPartition *partition, const CommitBatch *batch, int32_t agent_id)
{
    const CommitProducer *producer = batch->producer;
    if (partition->leader_id != agent_id || partition->lease_epoch != batch->row.lease_epoch) {
        return fenced;
    }
    if (row_is_malformed(&batch->row)) {
        return invalid_record;
    }
    if (!producer) {
        return accepted;
    }
    if (producer->refused == COMMIT_FENCED) {
        return fenced;
    }
    if (producer->refused && producer->ring.count == 0) {
        return out_of_order;
    }
    return ring_check(&producer->ring, &batch->row);
}

static void segment_extend(CommitSegment *segment, const CommitRow *row)
{
    segment->end_offset += row->offset_count;
    segment->byte_length += row->byte_length;
    segment->batches++;
    if (row->max_timestamp > segment->max_timestamp) {
        segment->max_timestamp = row->max_timestamp;
    }
}

static CommitSegment *partition_open_segment(CommitPartition *partition, const CommitRow *row)
{
    CommitSegment *segment = &partition->segments[partition->segment_count++];
    *segment = (CommitSegment){ .topic_id = partition->topic_id,
                                .partition = partition->partition,
                                .base_offset = partition->next_offset,
                                .end_offset = partition->next_offset,
                                .byte_start = (int32_t)row->byte_start,
                                .leader_epoch = partition->lease_epoch,
                                .max_timestamp = row->max_timestamp };
    return segment;
}

/* The segment that a batch goes to: the one it touches in the object, else a new one. */
static CommitSegment *partition_segment_for(CommitPartition *partition, const CommitRow *row)
{
    if (partition->segment_count > 0) {
        CommitSegment *last = &partition->segments[partition->segment_count - 1];
        if ((int64_t)last->byte_start + last->byte_length == row->byte_start) {
            return last;
        }
    }
    return partition_open_segment(partition, row);
}

static void partition_append(CommitPartition *partition, CommitBatch *batch)
{
    CommitSegment *segment = partition_segment_for(partition, &batch->row);
    CommitProducer *producer = batch->producer;
    batch->answer.base_offset = partition->next_offset;
    segment_extend(segment, &batch->row);
    partition->next_offset = segment->end_offset;
    if (segment->max_timestamp > partition->running_max_timestamp) {
        partition->running_max_timestamp = segment->max_timestamp;
    }
    segment->running_max_timestamp = partition->running_max_timestamp;
    if (producer) {
        ring_push(&producer->ring, &batch->row, batch->answer.base_offset);
        producer->end_offset = partition->next_offset;
        producer->changed = true;
    }
}

static void producer_note_refusal(CommitProducer *producer, const CommitRow *row, CommitStatus status)
{
    if (producer && !producer->refused && (status == COMMIT_FENCED || status == COMMIT_INVALID)) {
        producer->refused = status;
        producer->refused_sequence = row->first_sequence;
    }
}

/* The refused batch itself, sent again: from here on the producer's order is whole. */
static void producer_note_retry(CommitProducer *producer, const CommitRow *row)
{
    if (producer && producer->refused && row->first_sequence == producer->refused_sequence) {
        producer->refused = COMMIT_UNDECIDED;
    }
}

void commit_decide_partition(CommitPartition *partition, int32_t agent_id)
{
    for (int i = 0; i < partition->batch_count; i++) {
        CommitBatch *batch = partition->batches[i];
        producer_note_retry(batch->producer, &batch->row);
        if (batch->answer.status == COMMIT_UNDECIDED) {
            batch->answer = batch_check(partition, batch, agent_id);
            if (batch->answer.status == COMMIT_COMMITTED) {
                partition_append(partition, batch);
            }
        }
        producer_note_refusal(batch->producer, &batch->row, batch->answer.status);
    }
}
