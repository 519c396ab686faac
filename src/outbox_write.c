/* outbox_write.c: turns the outbox into rows when the transaction commits: partitions are locked in the order
 * that agents lock them in, their records become batches with the offsets that follow, and batches of all
 * partitions share rows of the inline ring. Runs as the extension's owner, with a snapshot of its own, after
 * the last deferred trigger. */
#include "compat.h"
#include "outbox.h"

#include "access/xact.h"
#include "commit.h"
#include "commit_call.h"
#include "commit_timing.h"
#include "inline.h"
#include "owner.h"
#include "produce_record.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "watch.h"

/* From this size on, a row of the ring is written. */
enum { ROW_TARGET_BYTES = 4 * 1024 * 1024, RUNS_FIRST = 16 };

typedef struct OutboxWriter {
    Writer row;          /* batches that are to be one row of the ring */
    CommitSegment *runs; /* what is in it */
    int run_count;
    int run_capacity;
    RowWriter segments;
    int64 now_ms;
} OutboxWriter;

static void raise_status(const Status *status)
{
    ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
            errmsg("records could not be made a batch: %s", status->message));
}

/* Who was locked before must be where it was, but for what this transaction appended in another way; and it
 * did not when no command of it has written anything since. */
static void partition_lock(OutboxPartition *partition)
{
    AppendEnd now;
    if (partition->state.lock_level == 0) {
        (void)outbox_lock(partition, LockWaitBlock);
        return;
    }
    if (partition->state.end.command == GetCurrentCommandId(false)) {
        return;
    }
    if (!append_read(partition->topic_id, partition->partition, &now)) {
        outbox_complain_of_absence(partition);
    }
    if (now.next_offset != partition->state.end.next_offset) {
        ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                errmsg("partition %d of topic \"%s\" was changed by the transaction that has produced to it",
                       partition->partition, partition->topic->name),
                errhint("Delete records and commit objects in transactions of their own."));
    }
    partition->state.end = now;
}

static void row_flush(OutboxWriter *writer)
{
    if (writer->run_count == 0) {
        return;
    }
    InlinePlace place = inline_write(slice_of(writer->row.bytes, writer->row.used));
    for (int i = 0; i < writer->run_count; i++) {
        const CommitSegment *run = &writer->runs[i];
        segment_write(&writer->segments, place.object_id, place.slot, run);
        commit_timing_begin(COMMIT_KIND_SQL, 1, run->batches, run->byte_length);
    }
    writer->run_count = 0;
    writer_reset(&writer->row);
}

static CommitSegment *run_open(OutboxWriter *writer, const OutboxPartition *partition)
{
    if (writer->run_count == writer->run_capacity) {
        writer->run_capacity *= 2;
        writer->runs = repalloc_huge(writer->runs, sizeof(CommitSegment) * writer->run_capacity);
    }
    CommitSegment *run = &writer->runs[writer->run_count++];
    *run = (CommitSegment){ .topic_id = partition->topic_id,
                            .partition = partition->partition,
                            .base_offset = partition->state.end.next_offset,
                            .end_offset = partition->state.end.next_offset,
                            .byte_start = (int32)writer->row.used,
                            .leader_epoch = partition->state.end.leader_epoch,
                            .max_timestamp = -1 };
    return run;
}

/* Appends a batch to the row; returns the greatest timestamp in it. */
static int64 batch_write(OutboxWriter *writer, const OutboxPartition *partition, RecordBuilder *records)
{
    size_t start = writer->row.used;
    int64 max_timestamp = records->max_timestamp;
    records->options.base_offset = partition->state.end.next_offset;
    records->options.leader_epoch = partition->state.end.leader_epoch;
    Status status = record_builder_finish(records, &writer->row);
    if (!status_is_ok(&status)) {
        raise_status(&status);
    }
    if (partition->topic->config.is_append_time) {
        batch_set_append_time(writer->row.bytes + start, writer->row.used - start, writer->now_ms);
        max_timestamp = writer->now_ms;
    }
    return max_timestamp;
}

static void run_extend(OutboxWriter *writer, CommitSegment *run, OutboxPartition *partition,
                       RecordBuilder *records)
{
    AppendEnd *end = &partition->state.end;
    int32 count = records->record_count;
    int64 max_timestamp = batch_write(writer, partition, records);
    end->next_offset += count;
    end->running_max_timestamp = Max(end->running_max_timestamp, max_timestamp);
    run->end_offset = end->next_offset;
    run->byte_length = (int32)writer->row.used - run->byte_start;
    run->batches++;
    run->max_timestamp = Max(run->max_timestamp, max_timestamp);
    run->running_max_timestamp = end->running_max_timestamp;
}

static void partition_write(OutboxWriter *writer, OutboxPartition *partition)
{
    CommitSegment *run = NULL;
    for (int i = 0; i < partition->state.batch_count; i++) {
        OutboxBatch *batch = &partition->batches[i];
        outbox_batch_load(batch);
        if (writer->row.used + record_builder_size(&batch->records) + BATCH_HEADER_SIZE >
            INLINE_ROW_BYTES_MAX) {
            row_flush(writer);
            run = NULL;
        }
        run = run ? run : run_open(writer, partition);
        run_extend(writer, run, partition, &batch->records);
        record_builder_free(&batch->records);
        if (writer->row.used >= ROW_TARGET_BYTES) {
            row_flush(writer);
            run = NULL;
        }
        CHECK_FOR_INTERRUPTS();
    }
    watch_note(partition->topic_id, partition->partition, partition->state.end.next_offset);
}

static void partitions_write(OutboxWriter *writer, OutboxPartition **partitions, int count)
{
    writer->run_capacity = RUNS_FIRST;
    writer->runs = palloc(sizeof(CommitSegment) * RUNS_FIRST);
    writer->now_ms = record_timestamp_now();
    row_writer_open(&writer->segments, "segment");
    for (int i = 0; i < count; i++) {
        partition_write(writer, partitions[i]);
    }
    row_flush(writer);
    row_writer_close(&writer->segments);
}

static void write_locked(OutboxPartition **partitions, int count)
{
    OutboxWriter writer = { 0 };
    PushActiveSnapshot(GetLatestSnapshot());
    PG_TRY();
    {
        partitions_write(&writer, partitions, count);
    }
    PG_FINALLY();
    {
        writer_free(&writer.row);
    }
    PG_END_TRY();
    PopActiveSnapshot();
    CommandCounterIncrement();
}

static void write_as_owner(void *argument)
{
    int count;
    OutboxPartition **partitions = outbox_filled(&count);
    require_durable_commit();
    for (int i = 0; i < count; i++) {
        partition_lock(partitions[i]);
    }
    write_locked(partitions, count);
    outbox_empty();
}

void outbox_write(void)
{
    MemoryContext work =
        AllocSetContextCreate(CurrentMemoryContext, "StreamHouse outbox rows", ALLOCSET_DEFAULT_SIZES);
    MemoryContext before = MemoryContextSwitchTo(work);
    owner_run_c(write_as_owner, NULL);
    MemoryContextSwitchTo(before);
    MemoryContextDelete(work);
}
