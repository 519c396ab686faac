/* commit.c: sh_commit_object() and sh_commit_inline(): offsets for the batches of an object, or for batches
 * that PostgreSQL is to hold itself, in one transaction that is flushed and replicated.
 *
 * First every partition row that is free is locked, in (topic, partition) order, then the object's row. Then,
 * with a snapshot newer than the locks, leases, offsets, producers and answers given before are read
 * (commit_read.c), the batches decided in plain C (commit_decide.c), and rows inserted (commit_write.c). The
 * locks are held to the transaction's end, so offsets become visible in order. commit_model.sql says the same
 * in SQL; a test holds both equal. */
#include "compat.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commit.h"
#include "commit_call.h"
#include "commit_timing.h"
#include "fmgr.h"
#include "marker.h"
#include "miscadmin.h"
#include "result_rows.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(sh_commit_object);
PG_FUNCTION_INFO_V1(sh_commit_inline);

enum { WAIT_MS_MAX = 60000 };

/* A commit of this transaction has been made; it must be flushed and, with synchronous standbys, replicated.
 */
static bool must_be_durable = false;

static void raise_synchronous_commit(void)
{
    if (synchronous_commit < SYNCHRONOUS_COMMIT_ON) {
        (void)set_config_option("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
                                true, 0, false);
    }
}

/* The setting is raised again at the very end: a function's SET clause or a later SET LOCAL may have put it
 * back. */
static void commit_transaction_event(XactEvent event, void *argument)
{
    if (!must_be_durable) {
        return;
    }
    switch (event) {
    case XACT_EVENT_PRE_COMMIT:
        raise_synchronous_commit();
        break;
    case XACT_EVENT_PRE_PREPARE:
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                errmsg("a transaction that appends to partitions cannot be prepared"),
                errhint("Use COMMIT: partitions stay locked until then."));
        break;
    default:
        must_be_durable = false;
    }
}

void require_durable_commit(void)
{
    static bool registered = false;
    if (!registered) {
        RegisterXactCallback(commit_transaction_event, NULL);
        registered = true;
    }
    must_be_durable = true;
    raise_synchronous_commit();
    ForceSyncCommit();
    (void)GetTopTransactionId();
}

static void check_transaction(const char *function)
{
    PreventCommandIfReadOnly(function);
    PreventCommandDuringRecovery(function);
    if (XactIsoLevel != XACT_READ_COMMITTED) {
        ereport(
            ERROR, errcode(ERRCODE_INVALID_TRANSACTION_STATE),
            errmsg("%s needs a READ COMMITTED transaction", function),
            errhint("An older snapshot cannot see what was committed before a partition's lock was had."));
    }
}

/* A wait is for one partition, so that nothing else is held meanwhile; PostgreSQL's own lock_timeout ends it.
 */
static void bound_wait(const CommitCall *call)
{
    char timeout[16];
    if (call->wait_ms == 0) {
        return;
    }
    if (call->wait_ms < 0 || call->wait_ms > WAIT_MS_MAX || call->partition_count > 1) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                errmsg("a commit to %d partitions cannot wait %d ms for a lock", call->partition_count,
                       call->wait_ms),
                errhint("One that waits is for a single partition, and waits %d ms at most.", WAIT_MS_MAX));
    }
    snprintf(timeout, sizeof(timeout), "%d", call->wait_ms);
    (void)set_config_option("lock_timeout", timeout, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0,
                            false);
}

/* Locks under one snapshot, reads under a newer one. */
static bool commit_lock(CommitCall *call)
{
    CommandCounterIncrement();
    PushActiveSnapshot(GetLatestSnapshot());
    commit_lock_partitions(call);
    bool is_intent = !call->is_inline && commit_lock_object(call);
    PopActiveSnapshot();
    return is_intent;
}

static void partition_answer_absent(CommitPartition *partition)
{
    for (int i = 0; i < partition->batch_count; i++) {
        partition->batches[i]->answer =
            (CommitAnswer){ partition->absent,
                            partition->absent == COMMIT_UNKNOWN ? COMMIT_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                                                : COMMIT_ERROR_NONE,
                            -1 };
    }
}

static void partition_decide(CommitPartition *partition, int32 agent_id)
{
    if (partition->absent) {
        partition_answer_absent(partition);
        return;
    }
    commit_decide_partition(partition, agent_id);
    if (partition->segment_count > 0) {
        watch_note(partition->topic_id, partition->partition, partition->next_offset);
    }
}

/* Partitions that are read, decided and written before the next ones are: their index pages are still in the
 * processor's cache when rows go where rows were looked up. */
enum { COMMIT_STRIDE = 64 };

static void commit_partitions(const CommitCall *call)
{
    CommitReader reader;
    CommitWriter writer;
    commit_reader_open(&reader);
    commit_writer_open(&writer, call);
    for (int first = 0; first < call->partition_count; first += COMMIT_STRIDE) {
        int end = Min(first + COMMIT_STRIDE, call->partition_count);
        for (int i = first; i < end; i++) {
            CommitPartition *partition = &call->partitions[i];
            if (!partition->absent) {
                commit_read_partition(&reader, partition);
            }
            partition_decide(partition, call->agent_id);
            commit_write_partition(&writer, partition);
        }
        commit_writer_flush(&writer);
        CHECK_FOR_INTERRUPTS();
    }
    commit_writer_close(&writer);
    commit_reader_close(&reader);
}

static void commit_decide_and_write(CommitCall *call, bool is_intent)
{
    PushActiveSnapshot(GetLatestSnapshot());
    commit_read_call(call);
    commit_partitions(call);
    commit_write_call(call, is_intent);
    PopActiveSnapshot();
    CommandCounterIncrement();
}

/* A batch that was taken, now or before, has the epoch it was sent under; any other learns the current one.
 */
static int32 batch_leader_epoch(const CommitBatch *batch)
{
    bool is_taken = batch->answer.status == COMMIT_COMMITTED || batch->answer.status == COMMIT_DUPLICATE;
    return is_taken ? batch->row.lease_epoch : batch->partition->lease_epoch;
}

static void commit_answer_rows(const CommitCall *call, FunctionCallInfo fcinfo)
{
    ResultRows rows = result_rows_open(fcinfo);
    Oid statuses[COMMIT_STATUSES];
    for (CommitStatus status = COMMIT_COMMITTED; status < COMMIT_STATUSES; status++) {
        statuses[status] = commit_status_value(status);
    }
    for (int i = 0; i < call->batch_count; i++) {
        const CommitBatch *batch = &call->batches[i];
        bool is_absent = batch->partition->absent != COMMIT_UNDECIDED;
        Datum values[] = { Int32GetDatum(batch->row.batch),
                           ObjectIdGetDatum(statuses[batch->answer.status]),
                           Int16GetDatum(batch->answer.error_code),
                           Int64GetDatum(batch->answer.base_offset),
                           Int32GetDatum(is_absent ? -1 : batch_leader_epoch(batch)),
                           Int64GetDatum(is_absent ? -1 : batch->partition->log_start_offset) };
        result_rows_put(&rows, values, NULL);
    }
}

static int64 commit_call_bytes(const CommitCall *call)
{
    int64 bytes = 0;
    for (int i = 0; i < call->batch_count; i++) {
        bytes += call->batches[i].row.byte_length;
    }
    return bytes;
}

static void commit_run(CommitCall *call, bytea *packed, FunctionCallInfo fcinfo)
{
    MemoryContext work =
        AllocSetContextCreate(CurrentMemoryContext, "StreamHouse commit", ALLOCSET_DEFAULT_SIZES);
    MemoryContext before = MemoryContextSwitchTo(work);
    commit_call_parse(call, (const uint8 *)VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
    commit_timing_begin(call->is_inline ? COMMIT_KIND_INLINE : COMMIT_KIND_OBJECT, call->partition_count,
                        call->batch_count, commit_call_bytes(call));
    bound_wait(call);
    require_durable_commit();
    marker_require();
    bool is_intent = commit_lock(call);
    commit_decide_and_write(call, is_intent);
    commit_answer_rows(call, fcinfo);
    MemoryContextSwitchTo(before);
    MemoryContextDelete(work);
}

Datum sh_commit_object(PG_FUNCTION_ARGS)
{
    CommitCall call = { .agent_id = PG_GETARG_INT32(0),
                        .object_id = PG_GETARG_INT64(1),
                        .object_bytes = PG_GETARG_INT64(2),
                        .wait_ms = PG_GETARG_INT32(4) };
    check_transaction("sh_commit_object()");
    commit_run(&call, PG_GETARG_BYTEA_PP(3), fcinfo);
    return (Datum)0;
}

Datum sh_commit_inline(PG_FUNCTION_ARGS)
{
    int64 call_id = PG_GETARG_INT64(1);
    bytea *bytes = PG_GETARG_BYTEA_PP(2);
    CommitCall call = { .agent_id = PG_GETARG_INT32(0),
                        .object_id = -call_id,
                        .object_bytes = VARSIZE_ANY_EXHDR(bytes),
                        .is_inline = true,
                        .inline_bytes = slice_of(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)),
                        .wait_ms = PG_GETARG_INT32(4) };
    check_transaction("sh_commit_inline()");
    if (call_id < 1 || call.object_bytes > INLINE_ROW_BYTES_MAX) {
        ereport(
            ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("call " INT64_FORMAT " of " INT64_FORMAT " bytes cannot be committed", call_id,
                   call.object_bytes),
            errhint("Ids come from sh_reserve_inline(); a call has %d bytes at most.", INLINE_ROW_BYTES_MAX));
    }
    commit_run(&call, PG_GETARG_BYTEA_PP(3), fcinfo);
    return (Datum)0;
}
