/* commit_read.c: the rows a commit locks, and then the rows it decides by. Locks never wait: what somebody
 * else has is "locked", and the agent asks again. Reading comes second, with a snapshot taken after the last
 * lock: under READ COMMITTED a statement that finds a row locked sees only that row's new version and, of
 * every other row, what was there when it began, and would accept duplicates and stale epochs. */
#include "compat.h"
#include "commit_call.h"

#include "catalog/pg_type.h"
#include "end_hint.h"
#include "enum.h"
#include "key_scan.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define ERRCODE_STALE_OBJECT MAKE_SQLSTATE('S', 'H', '0', '5', '6')

static const KeyScanSpec partition_by_range = {
    "partition", "partition_pkey", 3, { KEY_INT4_EQUAL, KEY_INT4_FROM, KEY_INT4_TO }, { 1, 2, 2 }
};
static const KeyScanSpec lease_by_range = {
    "lease", "lease_pkey", 3, { KEY_INT4_EQUAL, KEY_INT4_FROM, KEY_INT4_TO }, { 1, 2, 2 }
};
const KeyScanSpec commit_segment_from_end = {
    "segment", "segment_pkey", 3, { KEY_INT4_EQUAL, KEY_INT4_EQUAL, KEY_INT8_FROM }
};
static const KeyScanSpec producer_from_end = {
    "producer", "producer_pkey", 4, { KEY_INT4_EQUAL, KEY_INT4_EQUAL, KEY_INT8_EQUAL, KEY_INT8_FROM }
};
static const KeyScanSpec object_by_id = { "object", "object_pkey", 1, { KEY_INT8_EQUAL } };
static const KeyScanSpec answer_by_object = { "commit_answer", "commit_answer_pkey", 1, { KEY_INT8_EQUAL } };

static const char *const status_labels[COMMIT_STATUSES] = {
    [COMMIT_COMMITTED] = "committed", [COMMIT_DUPLICATE] = "duplicate", [COMMIT_FENCED] = "fenced",
    [COMMIT_LOCKED] = "locked",       [COMMIT_INVALID] = "invalid",     [COMMIT_UNKNOWN] = "unknown",
};

Oid commit_status_type(void)
{
    return enum_type("commit_status");
}

Oid commit_status_value(CommitStatus status)
{
    return enum_value("commit_status", status_labels[status]);
}

CommitStatus commit_status_from(Oid value)
{
    for (CommitStatus status = COMMIT_COMMITTED; status < COMMIT_STATUSES; status++) {
        if (commit_status_value(status) == value) {
            return status;
        }
    }
    elog(ERROR, "%u is no value of streamhouse.commit_status", value);
}

Oid object_state_value(const char *label)
{
    return enum_value("object_state", label);
}

/* Partitions so near to each other are read in one scan rather than sought one by one. */
enum { RUN_GAP_MAX = 4 };

/* How many of the partitions from the given one on are neighbours in the index, more or less. */
static int call_run_length(const CommitCall *call, int first)
{
    const CommitPartition *partition = &call->partitions[first];
    int left = call->partition_count - first;
    int length = 1;
    while (length < left && partition[length].topic_id == partition->topic_id &&
           (int64)partition[length].partition - partition[length - 1].partition <= RUN_GAP_MAX) {
        length++;
    }
    return length;
}

typedef void (*PartitionVisit)(KeyScan *scan, CommitPartition *partition);

/* Visits the partitions of a run that have a row; scan has a topic_id in column 1 and a partition in
 * column 2. */
static void run_visit(KeyScan *scan, CommitPartition *partition, int length, PartitionVisit visit)
{
    const CommitPartition *end = partition + length;
    key_scan_set(scan, 0, Int32GetDatum(partition->topic_id));
    key_scan_set(scan, 1, Int32GetDatum(partition->partition));
    key_scan_set(scan, 2, Int32GetDatum(end[-1].partition));
    for (bool found = key_scan_seek(scan, ForwardScanDirection); found && partition < end;
         found = key_scan_next(scan, ForwardScanDirection)) {
        int32 number = key_scan_int32(scan, Anum_partition_partition);
        while (partition < end && partition->partition < number) {
            partition++;
        }
        if (partition < end && partition->partition == number) {
            visit(scan, partition++);
        }
    }
}

static void call_visit_partitions(CommitCall *call, const KeyScanSpec *spec, LOCKMODE lock,
                                  PartitionVisit visit)
{
    KeyScan scan;
    key_scan_open(&scan, spec, lock);
    for (int first = 0; first < call->partition_count;) {
        int length = call_run_length(call, first);
        run_visit(&scan, &call->partitions[first], length, visit);
        first += length;
    }
    key_scan_close(&scan);
}

static LockWaitPolicy partition_lock_wait = LockWaitSkip;

static void partition_lock(KeyScan *scan, CommitPartition *partition)
{
    TM_Result result = key_scan_lock(scan, partition_lock_wait);
    if (result == TM_Ok) {
        partition->absent = COMMIT_UNDECIDED;
        partition->next_offset = key_scan_int64(scan, Anum_partition_floor_offset);
        partition->log_start_offset = key_scan_int64(scan, Anum_partition_log_start_offset);
    } else if (result == TM_WouldBlock) {
        partition->absent = COMMIT_LOCKED;
    }
}

void commit_lock_partitions(CommitCall *call)
{
    for (int i = 0; i < call->partition_count; i++) {
        call->partitions[i].absent = COMMIT_UNKNOWN;
    }
    partition_lock_wait = call->wait_ms > 0 ? LockWaitBlock : LockWaitSkip;
    call_visit_partitions(call, &partition_by_range, RowShareLock, partition_lock);
}

static _Noreturn void refuse_object(const CommitCall *call, const char *why)
{
    ereport(ERROR, errcode(ERRCODE_STALE_OBJECT),
            errmsg("object " INT64_FORMAT " cannot be committed: %s", call->object_id, why),
            errhint("Write the batches again under a key from sh_reserve_objects(), and commit that."));
    pg_unreachable();
}

/* True for an intent, false for a live object, ERROR for any other. */
static bool object_check(const CommitCall *call, KeyScan *object)
{
    Oid state = DatumGetObjectId(key_scan_column(object, Anum_object_state));
    if (key_scan_int32(object, Anum_object_agent_id) != call->agent_id) {
        refuse_object(call, "another agent reserved it");
    }
    if (state == object_state_value("live")) {
        return false;
    }
    if (state != object_state_value("intent")) {
        refuse_object(call, "it is being deleted");
    }
    /* Not now(): the transaction may be older than the intent's last moment. */
    if (DatumGetTimestampTz(key_scan_column(object, Anum_object_expires_at)) <= GetCurrentTimestamp()) {
        refuse_object(call, "its intent has expired");
    }
    return true;
}

static void call_lose_partitions(CommitCall *call)
{
    for (int i = 0; i < call->partition_count; i++) {
        if (call->partitions[i].absent == COMMIT_UNDECIDED) {
            call->partitions[i].absent = COMMIT_LOCKED;
        }
    }
}

bool commit_lock_object(CommitCall *call)
{
    KeyScan scan;
    bool is_intent = false;
    key_scan_open(&scan, &object_by_id, RowShareLock);
    key_scan_set(&scan, 0, Int64GetDatum(call->object_id));
    TM_Result result = TM_Deleted;
    if (key_scan_seek(&scan, ForwardScanDirection)) {
        result = key_scan_lock(&scan, LockWaitSkip);
    }
    if (result == TM_Deleted) {
        refuse_object(call, "nobody reserved it");
    } else if (result == TM_WouldBlock) {
        call_lose_partitions(call);
    } else {
        is_intent = object_check(call, &scan);
    }
    key_scan_close(&scan);
    return is_intent;
}

typedef struct ArrayView {
    const void *data;
    int count;
} ArrayView;

/* Elements of an array column of a fixed-width type. */
static ArrayView row_array(KeyScan *scan, AttrNumber column)
{
    ArrayType *array = DatumGetArrayTypeP(key_scan_column(scan, column));
    return (ArrayView){ ARR_DATA_PTR(array), ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) };
}

static void answers_take(const CommitCall *call, KeyScan *scan)
{
    ArrayView ordinals = row_array(scan, Anum_commit_answer_batches);
    const Oid *statuses = row_array(scan, Anum_commit_answer_statuses).data;
    const int16 *error_codes = row_array(scan, Anum_commit_answer_error_codes).data;
    const int64 *base_offsets = row_array(scan, Anum_commit_answer_base_offsets).data;
    for (int i = 0; i < ordinals.count; i++) {
        CommitBatch *batch = commit_call_find(call, ((const int32 *)ordinals.data)[i]);
        if (batch) {
            batch->repeated = true;
            batch->answer =
                (CommitAnswer){ commit_status_from(statuses[i]), error_codes[i], base_offsets[i] };
        }
    }
}

static void commit_read_answers(const CommitCall *call)
{
    KeyScan scan;
    key_scan_open(&scan, &answer_by_object, RowExclusiveLock);
    key_scan_set(&scan, 0, Int64GetDatum(call->object_id));
    for (bool found = key_scan_seek(&scan, ForwardScanDirection); found;
         found = key_scan_next(&scan, ForwardScanDirection)) {
        answers_take(call, &scan);
    }
    key_scan_close(&scan);
}

static void partition_read_lease(KeyScan *scan, CommitPartition *partition)
{
    bool is_null;
    Datum agent_id = key_scan_nullable(scan, Anum_lease_agent_id, &is_null);
    partition->leader_id = is_null ? -1 : DatumGetInt32(agent_id);
    partition->lease_epoch = key_scan_int32(scan, Anum_lease_epoch);
}

/* The last row of a key whose final column is an end offset, tried first from where it was last seen. */
static bool key_scan_seek_end(KeyScan *scan, int64 hint)
{
    int end_key = scan->key_count - 1;
    key_scan_set(scan, end_key, Int64GetDatum(hint));
    if (key_scan_seek(scan, BackwardScanDirection)) {
        return true;
    }
    key_scan_set(scan, end_key, Int64GetDatum(PG_INT64_MIN));
    return hint != PG_INT64_MIN && key_scan_seek(scan, BackwardScanDirection);
}

void commit_read_end(KeyScan *scan, CommitPartition *partition)
{
    key_scan_set(scan, 0, Int32GetDatum(partition->topic_id));
    key_scan_set(scan, 1, Int32GetDatum(partition->partition));
    if (key_scan_seek_end(scan,
                          end_hint_get(partition->topic_id, partition->partition, END_HINT_PARTITION))) {
        partition->next_offset = Max(partition->next_offset, key_scan_int64(scan, Anum_segment_end_offset));
        partition->running_max_timestamp = key_scan_int64(scan, Anum_segment_running_max_timestamp);
    }
}

static void producer_read(KeyScan *scan, CommitProducer *producer)
{
    key_scan_set(scan, 0, Int32GetDatum(producer->topic_id));
    key_scan_set(scan, 1, Int32GetDatum(producer->partition));
    key_scan_set(scan, 2, Int64GetDatum(producer->producer_id));
    if (!key_scan_seek_end(scan,
                           end_hint_get(producer->topic_id, producer->partition, producer->producer_id))) {
        return;
    }
    ArrayView firsts = row_array(scan, Anum_producer_first_sequences);
    const int32 *first = firsts.data;
    const int32 *last = row_array(scan, Anum_producer_last_sequences).data;
    const int64 *base = row_array(scan, Anum_producer_base_offsets).data;
    producer->ring.epoch = DatumGetInt16(key_scan_column(scan, Anum_producer_producer_epoch));
    producer->ring.count = Min(firsts.count, PRODUCER_RING_SIZE);
    for (int i = 0; i < producer->ring.count; i++) {
        producer->ring.batches[i] = (ProducedBatch){ first[i], last[i], base[i] };
    }
}

void commit_reader_open(CommitReader *reader)
{
    key_scan_open(&reader->segments, &commit_segment_from_end, RowExclusiveLock);
    key_scan_open(&reader->producers, &producer_from_end, RowExclusiveLock);
}

void commit_read_partition(CommitReader *reader, CommitPartition *partition)
{
    commit_read_end(&reader->segments, partition);
    for (int i = 0; i < partition->producer_count; i++) {
        producer_read(&reader->producers, &partition->producers[i]);
    }
}

void commit_reader_close(CommitReader *reader)
{
    key_scan_close(&reader->producers);
    key_scan_close(&reader->segments);
}

void commit_read_call(CommitCall *call)
{
    commit_read_answers(call);
    call_visit_partitions(call, &lease_by_range, AccessShareLock, partition_read_lease);
}
