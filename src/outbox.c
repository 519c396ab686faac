/* outbox.c: where records wait until their transaction commits.
 *
 * They are encoded as they come, each partition's in order, as batches of about a MiB that want only offsets,
 * compression and a checksum (outbox_write.c). A record that was produced with sh_produce() knows its offset
 * already: its partition is locked, and its offset is where the partition ended plus its place in the queue.
 *
 * Savepoints: before the first change that a subtransaction makes to a partition, the partition's state is
 * put on a stack of marks. A rollback takes marks off and puts states back; a release hands them to the level
 * above, where a mark that is not the level's first for its partition is of no use, and none is at the top.
 *
 * Beyond streamhouse.outbox_memory all records so far go to a temporary file. A rollback needs nothing of it:
 * of a batch there, fewer bytes are read. Builders have memory of malloc(): it is given back when the context
 * goes. */
#include "compat.h"
#include "outbox.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "inline.h"
#include "setting.h"
#include "storage/buffile.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* Of records, not compressed: what Kafka's clients make at most by default. */
enum { BATCH_TARGET_BYTES = 1000 * 1000, BATCHES_FIRST = 4, MARKS_FIRST = 64 };

typedef struct OutboxMark {
    OutboxPartition *partition;
    OutboxState state;
    int previous_level; /* mark_level of the partition before this one */
    int level;
} OutboxMark;

typedef struct OutboxEntry {
    int32 topic_id;
    int32 number;
    OutboxPartition *partition;
} OutboxEntry;

typedef struct Outbox {
    MemoryContext context;
    MemoryContextCallback on_free;
    HTAB *by_number;      /* partitions by topic and number */
    OutboxPartition *all; /* the same, in a list */
    int partition_count;
    OutboxMark *marks; /* their levels never fall */
    int mark_count;
    int mark_capacity;
    BufFile *file;
    size_t memory;      /* of builders in memory */
    int64 record_count; /* may be too high after a rollback */
    bool is_committing; /* has been written once: what comes now is written at once */
} Outbox;

static Outbox *outbox = NULL;

static void batch_free(OutboxBatch *batch)
{
    record_builder_free(&batch->records);
}

/* The builders' memory is not the context's. What this reads is: children of a context go before it does. */
static void outbox_freed(void *argument)
{
    const Outbox *freed = argument;
    for (const OutboxPartition *partition = freed->all; partition; partition = partition->next) {
        for (int i = 0; i < partition->batch_capacity; i++) {
            batch_free(&partition->batches[i]);
        }
    }
}

static HTAB *partitions_new(MemoryContext context)
{
    HASHCTL control = { .keysize = 2 * sizeof(int32), .entrysize = sizeof(OutboxEntry), .hcxt = context };
    return hash_create("StreamHouse partitions", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void outbox_open(void)
{
    MemoryContext context =
        AllocSetContextCreate(TopTransactionContext, "StreamHouse outbox", ALLOCSET_DEFAULT_SIZES);
    Outbox *fresh = MemoryContextAllocZero(context, sizeof(Outbox));
    fresh->context = context;
    fresh->on_free = (MemoryContextCallback){ .func = outbox_freed, .arg = fresh };
    MemoryContextRegisterResetCallback(context, &fresh->on_free);
    fresh->by_number = partitions_new(context);
    outbox = fresh;
}

/* ---- Marks ---- */

static OutboxState partition_state(const OutboxPartition *partition)
{
    OutboxState state = partition->state;
    if (state.batch_count > 0) {
        state.last = record_builder_mark(&partition->batches[state.batch_count - 1].records);
    }
    return state;
}

static void mark_push(OutboxPartition *partition, int level)
{
    if (outbox->mark_count == outbox->mark_capacity) {
        int capacity = Max(MARKS_FIRST, outbox->mark_capacity * 2);
        size_t bytes = sizeof(OutboxMark) * capacity;
        outbox->marks = outbox->marks ? repalloc_huge(outbox->marks, bytes)
                                      : MemoryContextAllocHuge(outbox->context, bytes);
        outbox->mark_capacity = capacity;
    }
    outbox->marks[outbox->mark_count++] =
        (OutboxMark){ partition, partition_state(partition), partition->mark_level, level };
    partition->mark_level = level;
}

/* Before every change. */
static inline void partition_mark(OutboxPartition *partition)
{
    int level = GetCurrentTransactionNestLevel();
    if (level > 1 && partition->mark_level < level) {
        mark_push(partition, level);
    }
}

static void mark_restore(const OutboxMark *mark)
{
    OutboxPartition *partition = mark->partition;
    for (int i = mark->state.batch_count; i < partition->state.batch_count; i++) {
        outbox->memory -= partition->batches[i].records.records.capacity;
        batch_free(&partition->batches[i]);
    }
    partition->state = mark->state;
    partition->mark_level = mark->previous_level;
    if (mark->state.batch_count > 0) {
        record_builder_rewind(&partition->batches[mark->state.batch_count - 1].records, &mark->state.last);
    }
}

static void marks_abort(int level)
{
    while (outbox->mark_count > 0 && outbox->marks[outbox->mark_count - 1].level >= level) {
        mark_restore(&outbox->marks[--outbox->mark_count]);
    }
}

static void marks_commit(int level)
{
    int first = outbox->mark_count;
    while (first > 0 && outbox->marks[first - 1].level >= level) {
        first--;
    }
    int kept = first;
    for (int i = first; i < outbox->mark_count; i++) {
        OutboxMark mark = outbox->marks[i];
        OutboxPartition *partition = mark.partition;
        partition->state.lock_level = Min(partition->state.lock_level, level - 1);
        if (mark.previous_level >= level - 1 || level == 2) {
            partition->mark_level = mark.previous_level;
        } else {
            mark.level = partition->mark_level = level - 1;
            outbox->marks[kept++] = mark;
        }
    }
    outbox->mark_count = kept;
}

/* ---- Spilling ---- */

static void file_open(void)
{
    ResourceOwner owner = CurrentResourceOwner;
    MemoryContext before = MemoryContextSwitchTo(outbox->context);
    /* A rollback to a savepoint must not close it. */
    CurrentResourceOwner = TopTransactionResourceOwner;
    outbox->file = BufFileCreateTemp(false);
    CurrentResourceOwner = owner;
    MemoryContextSwitchTo(before);
}

static void batch_spill(OutboxBatch *batch)
{
    Writer *records = &batch->records.records;
    BufFileTell(outbox->file, &batch->file, &batch->offset);
    BufFileWrite(outbox->file, records->bytes, records->used);
    batch->spilled_bytes = records->used;
    /* used stays: it is how much there is to read. */
    free(records->bytes);
    records->bytes = NULL;
    records->capacity = 0;
}

static void outbox_spill(void)
{
    if (!outbox->file) {
        file_open();
    }
    for (OutboxPartition *partition = outbox->all; partition; partition = partition->next) {
        for (int i = 0; i < partition->state.batch_count; i++) {
            if (partition->batches[i].records.records.bytes) {
                batch_spill(&partition->batches[i]);
            }
        }
    }
    outbox->memory = 0;
}

void outbox_batch_load(OutboxBatch *batch)
{
    Writer *records = &batch->records.records;
    size_t size = records->used;
    if (batch->spilled_bytes == 0) {
        return;
    }
    records->used = 0;
    if (!writer_extend(records, size)) {
        ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
    }
    if (BufFileSeek(outbox->file, batch->file, batch->offset, SEEK_SET) != 0 ||
        BufFileRead(outbox->file, records->bytes, size) != size) {
        ereport(ERROR, errcode_for_file_access(),
                errmsg("could not read records back from a temporary file"));
    }
    batch->spilled_bytes = 0;
}

/* ---- Queueing ---- */

OutboxPartition *outbox_partition(const ProduceTopic *topic, int32 partition)
{
    int32 key[2] = { topic->topic_id, partition };
    OutboxEntry *entry = hash_search(outbox->by_number, key, HASH_FIND, NULL);
    if (unlikely(!entry)) {
        OutboxPartition *fresh = MemoryContextAllocZero(outbox->context, sizeof(OutboxPartition));
        fresh->topic_id = topic->topic_id;
        fresh->partition = partition;
        entry = hash_search(outbox->by_number, key, HASH_ENTER, NULL);
        entry->partition = fresh;
        fresh->next = outbox->all;
        outbox->all = fresh;
        outbox->partition_count++;
    }
    entry->partition->topic = topic;
    return entry->partition;
}

static void partition_grow(OutboxPartition *partition)
{
    int capacity = Max(BATCHES_FIRST, partition->batch_capacity * 2);
    OutboxBatch *batches = MemoryContextAllocZero(outbox->context, sizeof(OutboxBatch) * capacity);
    if (partition->batches) {
        memcpy(batches, partition->batches, sizeof(OutboxBatch) * partition->batch_capacity);
        pfree(partition->batches);
    }
    partition->batches = batches;
    partition->batch_capacity = capacity;
}

static OutboxBatch *partition_open_batch(OutboxPartition *partition)
{
    RecordBatchOptions options = record_batch_options_plain;
    if (partition->state.batch_count == partition->batch_capacity) {
        partition_grow(partition);
    }
    OutboxBatch *batch = &partition->batches[partition->state.batch_count++];
    options.codec = partition->topic->config.codec;
    options.level = partition->topic->config.level;
    options.plain_if_larger = true;
    *batch = (OutboxBatch){ 0 };
    record_builder_init(&batch->records, &options);
    return batch;
}

static size_t batch_bytes_max(const OutboxPartition *partition)
{
    return Min((size_t)partition->topic->config.batch_bytes_max, (size_t)INLINE_ROW_BYTES_MAX);
}

static size_t batch_bytes_target(const OutboxPartition *partition)
{
    return Min(batch_bytes_max(partition), (size_t)BATCH_TARGET_BYTES);
}

/* Cheaper than the exact size, and enough for all but the last record of a batch. */
static size_t record_bytes_bound(const RecordInput *record)
{
    enum { NUMBERS_MAX = 48, HEADER_NUMBERS_MAX = 10 };
    size_t size = record->key.size + record->value.size + NUMBERS_MAX;
    for (int i = 0; i < record->header_count; i++) {
        size += record->headers[i].key.size + record->headers[i].value.size + HEADER_NUMBERS_MAX;
    }
    return size;
}

static bool batch_has_room(const OutboxBatch *batch, const RecordInput *record, size_t bytes_target)
{
    size_t size = BATCH_HEADER_SIZE + record_builder_size(&batch->records);
    return size + record_bytes_bound(record) <= bytes_target ||
           BATCH_HEADER_SIZE + record_builder_size_with(&batch->records, record) <= bytes_target;
}

/* The batch that a record can be added to; NULL when it needs a new one. */
static OutboxBatch *partition_batch_for(const OutboxPartition *partition, const RecordInput *record)
{
    if (partition->state.batch_count == 0) {
        return NULL;
    }
    OutboxBatch *last = &partition->batches[partition->state.batch_count - 1];
    bool is_open = last->spilled_bytes == 0 && last->records.record_count < PG_INT32_MAX;
    return is_open && batch_has_room(last, record, batch_bytes_target(partition)) ? last : NULL;
}

static void complain_of_size(const OutboxPartition *partition, size_t bytes)
{
    ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
            errmsg("a record of %zu bytes is too large for topic \"%s\"", bytes, partition->topic->name),
            errhint("A batch with its header has %zu bytes at most there: see max.message.bytes in "
                    "sh_alter_topic().",
                    batch_bytes_max(partition)));
}

/* The record is in a batch of its own when it can be too large. */
static void batch_check_size(OutboxPartition *partition, OutboxBatch *batch, const RecordBuilderMark *before)
{
    size_t size = BATCH_HEADER_SIZE + record_builder_size(&batch->records);
    bool failed = batch->records.failed || writer_failed(&batch->records.records);
    if (likely(!failed && size <= batch_bytes_max(partition))) {
        return;
    }
    record_builder_rewind(&batch->records, before);
    if (before->record_count == 0) {
        batch_free(batch);
        partition->state.batch_count--;
    }
    if (failed) {
        ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("a record could not be kept: out of memory"));
    }
    complain_of_size(partition, size);
}

static void partition_append(OutboxPartition *partition, const RecordInput *record)
{
    OutboxBatch *batch = partition_batch_for(partition, record);
    if (!batch) {
        batch = partition_open_batch(partition);
    }
    size_t capacity = batch->records.records.capacity;
    RecordBuilderMark before = record_builder_mark(&batch->records);
    record_builder_add(&batch->records, record);
    batch_check_size(partition, batch, &before);
    outbox->memory += batch->records.records.capacity - capacity;
}

int64 outbox_add(OutboxPartition *partition, const RecordInput *record)
{
    if (record->key.size + record->value.size > batch_bytes_max(partition)) {
        complain_of_size(partition, record->key.size + record->value.size);
    }
    partition_mark(partition);
    partition_append(partition, record);
    outbox->record_count++;
    if (outbox->memory > (size_t)setting_outbox_memory_kb * 1024) {
        outbox_spill();
    }
    return partition->state.record_count++;
}

bool outbox_is_at_batch_end(const OutboxPartition *partition, const RecordInput *record)
{
    return partition->state.record_count > 0 && !partition_batch_for(partition, record);
}

void outbox_complain_of_absence(const OutboxPartition *partition)
{
    ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
            errmsg("partition %d of topic \"%s\" does not exist any more", partition->partition,
                   partition->topic->name),
            errhint("The topic was deleted meanwhile. Try again, if there is one of that name."));
}

bool outbox_lock(OutboxPartition *partition, LockWaitPolicy wait)
{
    AppendEnd end;
    if (partition->state.lock_level > 0) {
        return true;
    }
    AppendLock result =
        append_lock(partition->topic_id, partition->partition, partition->topic->name, wait, &end);
    if (result == APPEND_GONE) {
        outbox_complain_of_absence(partition);
    }
    if (result == APPEND_BUSY) {
        return false;
    }
    partition_mark(partition);
    partition->state.lock_level = GetCurrentTransactionNestLevel();
    partition->state.end = end;
    return true;
}

static int partition_compare(const void *left, const void *right)
{
    const OutboxPartition *a = *(OutboxPartition *const *)left;
    const OutboxPartition *b = *(OutboxPartition *const *)right;
    if (a->topic_id != b->topic_id) {
        return a->topic_id < b->topic_id ? -1 : 1;
    }
    return a->partition < b->partition ? -1 : a->partition > b->partition;
}

OutboxPartition **outbox_filled(int *count)
{
    OutboxPartition **filled = palloc(sizeof(*filled) * (outbox->partition_count + 1));
    *count = 0;
    for (OutboxPartition *partition = outbox->all; partition; partition = partition->next) {
        if (partition->state.record_count > 0) {
            filled[(*count)++] = partition;
        }
    }
    qsort(filled, *count, sizeof(*filled), partition_compare);
    return filled;
}

static void partition_empty(OutboxPartition *partition)
{
    for (int i = 0; i < partition->batch_capacity; i++) {
        batch_free(&partition->batches[i]);
    }
    partition->state.record_count = 0;
    partition->state.batch_count = 0;
}

void outbox_empty(void)
{
    for (OutboxPartition *partition = outbox->all; partition; partition = partition->next) {
        partition_empty(partition);
    }
    if (outbox->file) {
        BufFileClose(outbox->file);
        outbox->file = NULL;
    }
    outbox->memory = 0;
    outbox->record_count = 0;
}

/* ---- The transaction's end ---- */

static bool outbox_has_records(void)
{
    if (outbox->record_count == 0) {
        return false;
    }
    for (OutboxPartition *partition = outbox->all; partition; partition = partition->next) {
        if (partition->state.record_count > 0) {
            return true;
        }
    }
    outbox_empty();
    return false;
}

static void outbox_write_all(void)
{
    outbox->is_committing = true;
    while (outbox_has_records()) {
        outbox_write();
    }
}

void outbox_end(void)
{
    if (outbox->is_committing) {
        outbox_write_all();
    }
}

/* Records, or a lock that keeps others from appending. */
static void refuse_prepare(void)
{
    bool holds_lock = false;
    for (const OutboxPartition *partition = outbox->all; partition; partition = partition->next) {
        holds_lock = holds_lock || partition->state.lock_level > 0;
    }
    if (!outbox_has_records() && !holds_lock) {
        return;
    }
    ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
            errmsg("a transaction that has produced records cannot be prepared"),
            errhint("Use COMMIT: records get their places when the transaction commits."));
}

static void transaction_event(XactEvent event, void *argument)
{
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
        if (outbox) {
            outbox_write_all();
        }
        break;
    case XACT_EVENT_PRE_PREPARE:
        if (outbox) {
            refuse_prepare();
        }
        break;
    default:
        outbox = NULL;
        produce_topics_end();
    }
}

static void subtransaction_event(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
                                 void *argument)
{
    if (!outbox) {
        return;
    }
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        marks_abort(GetCurrentTransactionNestLevel());
        produce_topics_doubt();
    } else if (event == SUBXACT_EVENT_COMMIT_SUB) {
        marks_commit(GetCurrentTransactionNestLevel());
    }
}

static void callbacks_register(void)
{
    static bool registered = false;
    if (!registered) {
        RegisterXactCallback(transaction_event, NULL);
        RegisterSubXactCallback(subtransaction_event, NULL);
        registered = true;
    }
}

void outbox_begin(const char *function)
{
    PreventCommandIfReadOnly(function);
    if (likely(outbox != NULL)) {
        return;
    }
    PreventCommandDuringRecovery(function);
    PreventCommandIfParallelMode(function);
    callbacks_register();
    outbox_open();
}
