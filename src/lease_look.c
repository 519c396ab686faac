/* lease_look.c: a look at everybody's leases, which nearly always finds that nothing is to be done. It is due
 * after a while only, so that a heartbeat costs the same with a hundred agents as with one, and whoever comes
 * first takes it: each session does so now and then, so that plans which it would have to make each time anew
 * cost more than the look itself. Here are no plans. What is to be done is found and done by
 * streamhouse.lease_assign(). */
#include "compat.h"
#include "agent.h"

#include "fmgr.h"
#include "key_scan.h"
#include "row_writer.h"
#include "tables.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(streamhouse_lease_look_after);

#define LOOK_JOB "leases"

enum {
    LOOK_EVERY_US = 300 * 1000,
    BALANCE_EVERY_US = 30 * 1000 * 1000, /* lease_assign()'s balance_every */
    LEASE_LOCK_SPACE = 7310590,          /* those of streamhouse.lease_try_lock() */
    LEASE_LOCK_NUMBER = 1
};

static const KeyScanSpec job_by_name = { "job", "job_pkey", 1, { KEY_TEXT_EQUAL } };
static const KeyScanSpec agents = { "agent", "agent_pkey", 0 };
static const KeyScanSpec lease_by_agent = { "lease", "lease_agent", 1, { KEY_INT4_EQUAL } };
static const KeyScanSpec leases_by_agent = { "lease", "lease_agent", 0 };
static const KeyScanSpec hand_overs = { "lease", "lease_hand_over", 0 };
static const KeyScanSpec clusters = { "cluster", "cluster_pkey", 0 };

/* The agents over which leases were last evened out; count -1 when that is to be done again. */
typedef struct Balance {
    const int32 *agent_ids;
    int count;
} Balance;

static Balance balance_read(TimestampTz now)
{
    Balance balance = { NULL, -1 };
    KeyScan row;
    key_scan_open(&row, &clusters, AccessShareLock);
    if (key_scan_seek(&row, ForwardScanDirection)) {
        bool never;
        Datum balanced_at = key_scan_nullable(&row, Anum_cluster_balanced_at, &never);
        if (!never && DatumGetTimestampTz(balanced_at) + BALANCE_EVERY_US >= now) {
            ArrayType *ids = DatumGetArrayTypePCopy(key_scan_column(&row, Anum_cluster_balanced_agents));
            balance.agent_ids = (const int32 *)ARR_DATA_PTR(ids);
            balance.count = ArrayGetNItems(ARR_NDIM(ids), ARR_DIMS(ids));
        }
    }
    key_scan_close(&row);
    return balance;
}

/* As in the view streamhouse.live_agent. */
static bool agent_lives(KeyScan *agent, TimestampTz now)
{
    TimestampTz expires_at = DatumGetTimestampTz(key_scan_column(agent, Anum_agent_expires_at));
    TimestampTz heartbeat_at = DatumGetTimestampTz(key_scan_column(agent, Anum_agent_heartbeat_at));
    return expires_at > now || server_started_at() + (expires_at - heartbeat_at) > now;
}

/* Whether those that live and do not drain are those of the balance, and nobody else leads anything. */
static bool agents_are_balanced(const Balance *balance, TimestampTz now)
{
    KeyScan agent;
    int able = 0;
    bool balanced = true;
    key_scan_open(&agent, &agents, AccessShareLock);
    for (bool found = key_scan_seek(&agent, ForwardScanDirection); found && balanced;
         found = key_scan_next(&agent, ForwardScanDirection)) {
        int32 agent_id = key_scan_int32(&agent, Anum_agent_agent_id);
        if (!agent_lives(&agent, now)) {
            balanced = !key_scan_any(&lease_by_agent, Int32GetDatum(agent_id));
        } else if (!DatumGetBool(key_scan_column(&agent, Anum_agent_draining))) {
            balanced = able < balance->count && balance->agent_ids[able] == agent_id;
            able++;
        }
    }
    key_scan_close(&agent);
    return balanced && able == balance->count;
}

/* Nulls are last in the index. */
static bool all_are_led(void)
{
    KeyScan lease;
    bool is_null = false;
    key_scan_open(&lease, &leases_by_agent, AccessShareLock);
    if (key_scan_seek(&lease, BackwardScanDirection)) {
        (void)key_scan_nullable(&lease, Anum_lease_agent_id, &is_null);
    }
    key_scan_close(&lease);
    return !is_null;
}

/* True only if lease_assign() would find nothing to do. */
static bool leases_are_at_rest(TimestampTz now)
{
    Balance balance = balance_read(now);
    return balance.count >= 0 && all_are_led() && !key_scan_any(&hand_overs, (Datum)0) &&
           agents_are_balanced(&balance, now);
}

/* ---- One at a time ---- */

static bool lease_try_lock(void)
{
    return DatumGetBool(DirectFunctionCall2(pg_try_advisory_xact_lock_int4, Int32GetDatum(LEASE_LOCK_SPACE),
                                            Int32GetDatum(LEASE_LOCK_NUMBER)));
}

typedef enum JobState { JOB_NEVER_DONE, JOB_DUE, JOB_DONE } JobState;

static JobState job_read(KeyScan *job, TimestampTz now)
{
    key_scan_open(job, &job_by_name, RowExclusiveLock);
    key_scan_set_text(job, 0, LOOK_JOB);
    if (!key_scan_seek(job, ForwardScanDirection)) {
        return JOB_NEVER_DONE;
    }
    return DatumGetTimestampTz(key_scan_column(job, Anum_job_expires_at)) <= now ? JOB_DUE : JOB_DONE;
}

static bool job_is_due(TimestampTz now)
{
    KeyScan job;
    JobState state = job_read(&job, now);
    key_scan_close(&job);
    return state != JOB_DONE;
}

static void job_set(TupleTableSlot *row, int32 agent_id, TimestampTz now)
{
    row_set(row, Anum_job_agent_id, Int32GetDatum(agent_id));
    row_set(row, Anum_job_expires_at, TimestampTzGetDatum(now + LOOK_EVERY_US));
}

static void job_begin(int32 agent_id, TimestampTz now)
{
    RowWriter writer;
    row_writer_open(&writer, "job");
    TupleTableSlot *row = row_writer_row(&writer);
    row_set(row, Anum_job_name, CStringGetTextDatum(LOOK_JOB));
    job_set(row, agent_id, now);
    row_writer_put(&writer);
    row_writer_close(&writer);
}

static bool job_go_on(KeyScan *job, int32 agent_id, TimestampTz now)
{
    TupleTableSlot *row = row_copy(job->table, job->slot);
    job_set(row, agent_id, now);
    bool done = row_replace(job->table, job->slot, row);
    ExecDropSingleTupleTableSlot(row);
    return done;
}

/* Under the lock, which whoever is at work has to the end of his transaction: somebody may have done it since
 * the active snapshot was taken. */
static bool job_take(int32 agent_id, TimestampTz now)
{
    KeyScan job;
    bool taken = false;
    PushActiveSnapshot(GetLatestSnapshot());
    JobState state = job_read(&job, now);
    if (state == JOB_NEVER_DONE) {
        job_begin(agent_id, now);
        taken = true;
    } else if (state == JOB_DUE) {
        taken = job_go_on(&job, agent_id, now);
    }
    key_scan_close(&job);
    PopActiveSnapshot();
    return taken;
}

/* A look that found nothing may be forgotten: then there is one more. */
Datum streamhouse_lease_look_after(PG_FUNCTION_ARGS)
{
    TimestampTz now = GetCurrentTimestamp();
    if (!job_is_due(now) || !lease_try_lock() || !job_take(PG_GETARG_INT32(0), now)) {
        PG_RETURN_BOOL(false);
    }
    if (!leases_are_at_rest(now)) {
        PG_RETURN_BOOL(true);
    }
    agent_renewed_only();
    PG_RETURN_BOOL(false);
}
