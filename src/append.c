/* append.c: the append lock as a SQL transaction takes it. It is the same row lock that sh_commit_object()
 * takes, so agents and SQL append to one log; but this one waits, for a bounded time, where an agent's commit
 * goes on.
 *
 * Both looks are through snapshots of their own, taken at that moment: under REPEATABLE READ the
 * transaction's snapshot is older than the lock, and where the partition ended then is of no interest. */
#include "compat.h"
#include "append.h"

#include "access/xact.h"
#include "commit_call.h"
#include "commit_timing.h"
#include "key_scan.h"
#include "marker.h"
#include "setting.h"
#include "storage/proc.h"
#include "tables.h"
#include "utils/snapmgr.h"

static const KeyScanSpec partition_by_key = {
    "partition", "partition_pkey", 2, { KEY_INT4_EQUAL, KEY_INT4_EQUAL }
};
static const KeyScanSpec lease_by_key = { "lease", "lease_pkey", 2, { KEY_INT4_EQUAL, KEY_INT4_EQUAL } };

static bool seek_partition(KeyScan *scan, int32 topic_id, int32 partition)
{
    key_scan_set(scan, 0, Int32GetDatum(topic_id));
    key_scan_set(scan, 1, Int32GetDatum(partition));
    return key_scan_seek(scan, ForwardScanDirection);
}

static void complain_of_wait(const char *topic, int32 partition)
{
    ereport(ERROR, errcode(ERRCODE_LOCK_NOT_AVAILABLE),
            errmsg("partition %d of topic \"%s\" is locked by another transaction", partition, topic),
            errhint("Whoever appends to a partition with sh_produce() holds it until COMMIT. Try again; "
                    "streamhouse.append_lock_timeout and lock_timeout say how long to wait."));
}

static int wait_bound_ms(void)
{
    if (setting_append_lock_timeout_ms == 0 ||
        (LockTimeout > 0 && LockTimeout < setting_append_lock_timeout_ms)) {
        return LockTimeout;
    }
    return setting_append_lock_timeout_ms;
}

/* PostgreSQL's own lock timeout ends the wait. */
static TM_Result lock_waiting(KeyScan *scan, const char *topic, int32 partition)
{
    volatile TM_Result result = TM_Deleted;
    int before = LockTimeout;
    PG_TRY();
    {
        LockTimeout = wait_bound_ms();
        result = key_scan_lock(scan, LockWaitBlock);
    }
    PG_CATCH();
    {
        LockTimeout = before;
        if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE) {
            FlushErrorState();
            complain_of_wait(topic, partition);
        }
        PG_RE_THROW();
    }
    PG_END_TRY();
    LockTimeout = before;
    return result;
}

static void read_lease(int32 topic_id, int32 partition, AppendEnd *end)
{
    KeyScan scan;
    key_scan_open(&scan, &lease_by_key, AccessShareLock);
    if (seek_partition(&scan, topic_id, partition)) {
        end->leader_epoch = key_scan_int32(&scan, Anum_lease_epoch);
    }
    key_scan_close(&scan);
}

static void read_segments(int32 topic_id, int32 partition, AppendEnd *end)
{
    KeyScan scan;
    CommitPartition found = { .topic_id = topic_id,
                              .partition = partition,
                              .next_offset = end->next_offset,
                              .running_max_timestamp = -1 };
    key_scan_open(&scan, &commit_segment_from_end, RowExclusiveLock);
    commit_read_end(&scan, &found);
    key_scan_close(&scan);
    end->next_offset = found.next_offset;
    end->running_max_timestamp = found.running_max_timestamp;
}

static bool read_floor(int32 topic_id, int32 partition, AppendEnd *end)
{
    KeyScan scan;
    key_scan_open(&scan, &partition_by_key, RowShareLock);
    bool found = seek_partition(&scan, topic_id, partition);
    if (found) {
        end->next_offset = key_scan_int64(&scan, Anum_partition_floor_offset);
    }
    key_scan_close(&scan);
    return found;
}

static void read_end(int32 topic_id, int32 partition, AppendEnd *end)
{
    read_segments(topic_id, partition, end);
    read_lease(topic_id, partition, end);
    end->command = GetCurrentCommandId(false);
}

bool append_read(int32 topic_id, int32 partition, AppendEnd *end)
{
    *end = (AppendEnd){ 0 };
    PushActiveSnapshot(GetLatestSnapshot());
    bool found = read_floor(topic_id, partition, end);
    if (found) {
        read_end(topic_id, partition, end);
    }
    PopActiveSnapshot();
    return found;
}

/* The row that is locked then is the latest: it says itself what its floor is. */
static TM_Result lock_row(int32 topic_id, int32 partition, const char *topic, LockWaitPolicy wait,
                          AppendEnd *end)
{
    KeyScan scan;
    TM_Result result = TM_Deleted;
    PushActiveSnapshot(GetLatestSnapshot());
    key_scan_open(&scan, &partition_by_key, RowShareLock);
    if (seek_partition(&scan, topic_id, partition)) {
        result = wait == LockWaitBlock ? lock_waiting(&scan, topic, partition) : key_scan_lock(&scan, wait);
    }
    if (result == TM_Ok) {
        end->next_offset = key_scan_int64(&scan, Anum_partition_floor_offset);
    }
    key_scan_close(&scan);
    PopActiveSnapshot();
    return result;
}

AppendLock append_lock(int32 topic_id, int32 partition, const char *topic, LockWaitPolicy wait,
                       AppendEnd *end)
{
    commit_timing_begin(COMMIT_KIND_SQL, 0, 0, 0);
    marker_require();
    *end = (AppendEnd){ 0 };
    TM_Result result = lock_row(topic_id, partition, topic, wait, end);
    if (result != TM_Ok) {
        return result == TM_WouldBlock ? APPEND_BUSY : APPEND_GONE;
    }
    PushActiveSnapshot(GetLatestSnapshot());
    read_end(topic_id, partition, end);
    PopActiveSnapshot();
    return APPEND_LOCKED;
}
