/* commit_read.c: the rows a commit locks, and then the rows it decides by. Locks never wait: what somebody else has is
 * "locked", and the agent asks again. Reading comes second, with a snapshot taken after the last lock: under READ
 * COMMITTED a statement that finds a row locked sees only that row's new version and, of every other row, what was
 * there when it began, and would accept duplicates and stale epochs. */
#include "compat.h"
#include "commit_call.h"

#include "access/stratnum.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "catalog/namespace.h"
#include "key_scan.h"
#include "row_writer.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define ERRCODE_STALE_OBJECT MAKE_SQLSTATE('S', 'H', '0', '5', '6')

static const KeyScanSpec partition_by_key = {
    "partition", "partition_pkey", 2, { { BTEqualStrategyNumber, F_INT4EQ }, { BTEqualStrategyNumber, F_INT4EQ } }
};
static const KeyScanSpec lease_by_key = {
    "lease", "lease_pkey", 2, { { BTEqualStrategyNumber, F_INT4EQ }, { BTEqualStrategyNumber, F_INT4EQ } }
};
static const KeyScanSpec segment_by_partition = {
    "segment", "segment_pkey", 2, { { BTEqualStrategyNumber, F_INT4EQ }, { BTEqualStrategyNumber, F_INT4EQ } }
};
static const KeyScanSpec producer_by_id = { "producer",
                                            "producer_pkey",
                                            3,
                                            { { BTEqualStrategyNumber, F_INT4EQ },
                                              { BTEqualStrategyNumber, F_INT4EQ },
                                              { BTEqualStrategyNumber, F_INT8EQ } } };
static const KeyScanSpec object_by_id = { "object", "object_pkey", 1, { { BTEqualStrategyNumber, F_INT8EQ } } };
static const KeyScanSpec answer_by_object = {
    "commit_answer", "commit_answer_pkey", 1, { { BTEqualStrategyNumber, F_INT8EQ } }
};

static const char *const status_labels[COMMIT_STATUSES] = {
    [COMMIT_COMMITTED] = "committed", [COMMIT_DUPLICATE] = "duplicate", [COMMIT_FENCED] = "fenced",
    [COMMIT_LOCKED] = "locked",       [COMMIT_INVALID] = "invalid",     [COMMIT_UNKNOWN] = "unknown",
};

static Oid enum_type(const char *name)
{
    return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(name),
                           ObjectIdGetDatum(get_namespace_oid("streamhouse", false)));
}

static Oid enum_value(Oid type, const char *label)
{
    return GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid, ObjectIdGetDatum(type), CStringGetDatum(label));
}

Oid commit_status_type(void)
{
    return enum_type("commit_status");
}

Oid commit_status_value(CommitStatus status)
{
    return enum_value(commit_status_type(), status_labels[status]);
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
    return enum_value(enum_type("object_state"), label);
}

static bool partition_seek(KeyScan *scan, const CommitPartition *partition, ScanDirection direction)
{
    key_scan_set(scan, 0, Int32GetDatum(partition->topic_id));
    key_scan_set(scan, 1, Int32GetDatum(partition->partition));
    return key_scan_seek(scan, direction);
}

static void partition_lock(KeyScan *scan, CommitPartition *partition)
{
    TM_Result result = TM_Deleted;
    if (partition_seek(scan, partition, ForwardScanDirection)) {
        result = key_scan_lock(scan);
    }
    if (result != TM_Ok) {
        partition->absent = result == TM_WouldBlock ? COMMIT_LOCKED : COMMIT_UNKNOWN;
        return;
    }
    partition->next_offset = key_scan_int64(scan, Anum_partition_floor_offset);
    partition->log_start_offset = key_scan_int64(scan, Anum_partition_log_start_offset);
}

void commit_lock_partitions(CommitCall *call)
{
    KeyScan scan;
    key_scan_open(&scan, &partition_by_key, RowShareLock);
    for (int i = 0; i < call->partition_count; i++) {
        partition_lock(&scan, &call->partitions[i]);
    }
    key_scan_close(&scan);
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
        result = key_scan_lock(&scan);
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
    if (partition_seek(scan, partition, ForwardScanDirection)) {
        bool is_null;
        Datum agent_id = key_scan_nullable(scan, Anum_lease_agent_id, &is_null);
        partition->leader_id = is_null ? -1 : DatumGetInt32(agent_id);
        partition->lease_epoch = key_scan_int32(scan, Anum_lease_epoch);
    }
}

static void partition_read_end(KeyScan *scan, CommitPartition *partition)
{
    if (partition_seek(scan, partition, BackwardScanDirection)) {
        partition->next_offset =
            Max(partition->next_offset, key_scan_int64(scan, Anum_segment_end_offset));
        partition->running_max_timestamp = key_scan_int64(scan, Anum_segment_running_max_timestamp);
    }
}

static void commit_read_partitions(CommitCall *call)
{
    KeyScan leases;
    KeyScan segments;
    key_scan_open(&leases, &lease_by_key, AccessShareLock);
    key_scan_open(&segments, &segment_by_partition, RowExclusiveLock);
    for (int i = 0; i < call->partition_count; i++) {
        CommitPartition *partition = &call->partitions[i];
        if (partition->absent == COMMIT_UNDECIDED) {
            partition_read_lease(&leases, partition);
            partition_read_end(&segments, partition);
        }
    }
    key_scan_close(&segments);
    key_scan_close(&leases);
}

static void producer_read(KeyScan *scan, CommitProducer *producer)
{
    key_scan_set(scan, 0, Int32GetDatum(producer->topic_id));
    key_scan_set(scan, 1, Int32GetDatum(producer->partition));
    key_scan_set(scan, 2, Int64GetDatum(producer->producer_id));
    if (!key_scan_seek(scan, BackwardScanDirection)) {
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

static void commit_read_producers(CommitCall *call)
{
    KeyScan scan;
    if (call->producer_count == 0) {
        return;
    }
    key_scan_open(&scan, &producer_by_id, RowExclusiveLock);
    for (int i = 0; i < call->producer_count; i++) {
        producer_read(&scan, &call->producers[i]);
    }
    key_scan_close(&scan);
}

void commit_read(CommitCall *call)
{
    commit_read_answers(call);
    commit_read_partitions(call);
    commit_read_producers(call);
}
