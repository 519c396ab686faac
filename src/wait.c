/* wait.c: waits for records without a snapshot where that is possible, and without spinning.
 *
 * With the ring of watch.c a waiter sleeps on its condition variable and is woken by every commit that moved
 * a partition; it then looks in the ring whether one of its own is among them. Without a ring, and on a
 * standby, it looks at the ends of its own partitions every 100 ms.
 *
 * A statement's snapshot holds back vacuum for as long as it is registered, everywhere in the cluster. A
 * function cannot end its statement, but it can exchange the snapshot when nobody else in the statement
 * depends on it: the statement is all of its transaction (no block, READ COMMITTED), it is the plan of the
 * active portal itself and not a query within a function, and the plan reads no table, whose scan would have
 * kept the snapshot's address. Then it has three owners: the stack of active snapshots, the portal's query,
 * the executor's state. All let go, and afterwards all get the same new one, as if the statement had begun
 * now. Everything is counted and owned as usual, so an ERROR in between cleans up as usual, and if somebody
 * did keep the old one, then it only stays. */
#include "compat.h"
#include "wait.h"

#include "access/xact.h"
#include "executor/execdesc.h"
#include "fetch.h"
#include "nodes/execnodes.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "tcop/pquery.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

enum { POLL_MS = 100, DAY_MS = 24 * 60 * 60 * 1000, MONTH_DAYS = 30 };

#define WAIT_MS_MAX ((int64)10000 * DAY_MS)

Wait wait_begin(int64 timeout_ms)
{
    return (Wait){ .cursor = watch_is_shared() ? watch_cursor() : 0,
                   .deadline =
                       TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(timeout_ms, WAIT_MS_MAX)) };
}

int64 wait_ms(const Interval *interval)
{
    int64 days = (int64)interval->month * MONTH_DAYS + interval->day;
    double ms = (double)days * DAY_MS + (double)interval->time / 1000;
    if (ms < 0) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("wait must not be negative"),
                errhint("'0' does not wait."));
    }
    return ms > (double)WAIT_MS_MAX ? WAIT_MS_MAX : (int64)ms;
}

static long wait_left_ms(const Wait *wait)
{
    return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), wait->deadline);
}

static bool plan_reads_tables(const PlannedStmt *plan)
{
    ListCell *cell;
    foreach (cell, plan->rtable) {
        if (lfirst_node(RangeTblEntry, cell)->rtekind == RTE_RELATION) {
            return true;
        }
    }
    return plan->hasModifyingCTE || plan->commandType != CMD_SELECT;
}

/* The query of the active portal when the function is called by its plan itself; else NULL. */
static QueryDesc *calling_query(FunctionCallInfo fcinfo)
{
    ReturnSetInfo *caller = fcinfo ? (ReturnSetInfo *)fcinfo->resultinfo : NULL;
    if (!caller || !IsA(caller, ReturnSetInfo) || !ActivePortal ||
        ActivePortal->strategy != PORTAL_ONE_SELECT || !ActivePortal->queryDesc ||
        ActivePortal->queryDesc->estate != caller->econtext->ecxt_estate ||
        ActivePortal->resowner != CurrentResourceOwner) {
        return NULL;
    }
    return ActivePortal->queryDesc;
}

/* Lets the statement's snapshot go; NULL when that cannot be done. */
static QueryDesc *snapshot_release(FunctionCallInfo fcinfo)
{
    QueryDesc *query = calling_query(fcinfo);
    if (!query || IsTransactionBlock() || IsolationUsesXactSnapshot() ||
        GetCurrentTransactionNestLevel() > 1 || plan_reads_tables(query->plannedstmt) ||
        query->snapshot != query->estate->es_snapshot || query->crosscheck_snapshot || !ActiveSnapshotSet() ||
        GetActiveSnapshot() != query->snapshot) {
        return NULL;
    }
    PopActiveSnapshot();
    if (ActiveSnapshotSet()) {
        PushActiveSnapshot(query->snapshot);
        return NULL;
    }
    UnregisterSnapshot(query->estate->es_snapshot);
    UnregisterSnapshot(query->snapshot);
    query->estate->es_snapshot = NULL;
    query->snapshot = NULL;
    InvalidateCatalogSnapshot();
    return query;
}

static void snapshot_renew(QueryDesc *query)
{
    if (query) {
        PushActiveSnapshot(GetTransactionSnapshot());
        query->snapshot = RegisterSnapshot(GetActiveSnapshot());
        query->estate->es_snapshot = RegisterSnapshot(GetActiveSnapshot());
    }
}

static bool ring_wait(Wait *wait, const WatchEntry *partitions, int count)
{
    bool passed;
    ConditionVariablePrepareToSleep(watch_condition());
    while (!(passed = watch_passed(&wait->cursor, partitions, count))) {
        long left_ms = wait_left_ms(wait);
        if (left_ms <= 0) {
            break;
        }
        (void)ConditionVariableTimedSleep(watch_condition(), left_ms, PG_WAIT_EXTENSION);
    }
    ConditionVariableCancelSleep();
    return passed;
}

/* Looks at the partitions' ends in a snapshot of its own. */
static bool poll_passed(const WatchEntry *partitions, int count)
{
    Finder finder;
    bool passed = false;
    PushActiveSnapshot(GetLatestSnapshot());
    finder_open(&finder);
    for (int i = 0; i < count && !passed; i++) {
        passed = !finder_turn(&finder, Int32GetDatum(partitions[i].topic_id),
                              Int32GetDatum(partitions[i].partition)) ||
                 finder.high_watermark > partitions[i].end_offset;
    }
    finder_close(&finder);
    PopActiveSnapshot();
    return passed;
}

static bool poll_wait(const Wait *wait, const WatchEntry *partitions, int count)
{
    for (;;) {
        if (poll_passed(partitions, count)) {
            return true;
        }
        long left_ms = wait_left_ms(wait);
        if (left_ms <= 0) {
            return false;
        }
        InvalidateCatalogSnapshot();
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(POLL_MS, left_ms),
                        PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
    }
}

bool wait_for_partitions(Wait *wait, FunctionCallInfo fcinfo, WatchEntry *partitions, int count)
{
    qsort(partitions, count, sizeof(WatchEntry), watch_entry_compare);
    QueryDesc *query = snapshot_release(fcinfo);
    bool passed = watch_is_shared() ? ring_wait(wait, partitions, count) : poll_wait(wait, partitions, count);
    snapshot_renew(query);
    return passed;
}
