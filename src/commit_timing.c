/* commit_timing.c: the slowest commits of the last hour, in shared memory, for streamhouse.slow_commits.
 *
 * A transaction keeps its own clock. When it has committed, and took as long as
 * streamhouse.slow_commit_min_ms, it looks for a place: a free one, one that is older than an hour, or that
 * of the fastest commit if that was faster. The places are fixed and the lock is a spinlock, so that nothing
 * there can fail: an error in a commit callback would restart the server. Without shared_preload_libraries
 * there are no places. */
#include "compat.h"
#include "commit_timing.h"

#include "access.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "result_rows.h"
#include "setting.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(streamhouse_slow_commit_rows);

enum { SLOW_COMMITS = 64 };
#define SLOW_COMMIT_KEPT_US (INT64CONST(3600) * USECS_PER_SEC)
#define SLOW_COMMITS_NAME   "streamhouse_slow_commits"

/* An extension that was dropped and made again has another schema: its commits are not the old one's. */
typedef struct SlowCommit {
    TimestampTz started_at; /* 0: the place is free */
    int64 duration_us;
    int64 bytes;
    int32 partitions;
    int32 batches;
    CommitKind kind;
    Oid database;
    Oid schema;
    Oid role;
    int32 pid;
} SlowCommit;

typedef struct SlowCommits {
    slock_t lock;
    SlowCommit commits[SLOW_COMMITS];
} SlowCommits;

static const char *const kind_names[COMMIT_KINDS] = {
    [COMMIT_KIND_OBJECT] = "object",
    [COMMIT_KIND_INLINE] = "inline",
    [COMMIT_KIND_SQL] = "sql",
};

static SlowCommits *slowest = NULL;
static SlowCommit current; /* of this transaction; started_at 0: it has not appended */

static shmem_startup_hook_type shmem_startup_next = NULL;
#ifdef COMPAT_SHMEM_REQUEST_HOOK
static shmem_request_hook_type shmem_request_next = NULL;
#endif

static void slowest_request(void)
{
#ifdef COMPAT_SHMEM_REQUEST_HOOK
    if (shmem_request_next) {
        shmem_request_next();
    }
#endif
    RequestAddinShmemSpace(sizeof(SlowCommits));
}

static void slowest_startup(void)
{
    bool found;
    if (shmem_startup_next) {
        shmem_startup_next();
    }
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    slowest = ShmemInitStruct(SLOW_COMMITS_NAME, sizeof(SlowCommits), &found);
    if (!found) {
        memset(slowest, 0, sizeof(*slowest));
        SpinLockInit(&slowest->lock);
    }
    LWLockRelease(AddinShmemInitLock);
}

void commit_timing_init(void)
{
    if (!process_shared_preload_libraries_in_progress) {
        return;
    }
#ifdef COMPAT_SHMEM_REQUEST_HOOK
    shmem_request_next = shmem_request_hook;
    shmem_request_hook = slowest_request;
#else
    slowest_request();
#endif
    shmem_startup_next = shmem_startup_hook;
    shmem_startup_hook = slowest_startup;
}

/* Free places count as the fastest, then those that are too old to matter. */
static int64 place_worth(const SlowCommit *place, TimestampTz now)
{
    return place->started_at == 0 || place->started_at < now - SLOW_COMMIT_KEPT_US ? -1 : place->duration_us;
}

/* Called after commit: must not fail. */
static void slowest_keep(const SlowCommit *commit, TimestampTz now)
{
    SlowCommit *fastest = &slowest->commits[0];
    SpinLockAcquire(&slowest->lock);
    for (int i = 1; i < SLOW_COMMITS; i++) {
        if (place_worth(&slowest->commits[i], now) < place_worth(fastest, now)) {
            fastest = &slowest->commits[i];
        }
    }
    if (commit->duration_us > place_worth(fastest, now)) {
        *fastest = *commit;
    }
    SpinLockRelease(&slowest->lock);
}

static void transaction_ended(XactEvent event, void *argument)
{
    if (current.started_at == 0) {
        return;
    }
    if (event == XACT_EVENT_COMMIT) {
        TimestampTz now = GetCurrentTimestamp();
        current.duration_us = Max(now - current.started_at, 0);
        if (current.duration_us >= (int64)setting_slow_commit_min_ms * 1000) {
            slowest_keep(&current, now);
        }
    }
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) {
        current.started_at = 0;
    }
}

void commit_timing_begin(CommitKind kind, int32 partitions, int32 batches, int64 bytes)
{
    static bool registered = false;
    if (!slowest) {
        return;
    }
    if (!registered) {
        RegisterXactCallback(transaction_ended, NULL);
        registered = true;
    }
    if (current.started_at == 0) {
        current = (SlowCommit){ .started_at = GetCurrentTimestamp(),
                                .kind = kind,
                                .database = MyDatabaseId,
                                .schema = get_namespace_oid("streamhouse", false),
                                .role = access_caller(),
                                .pid = MyProcPid };
    }
    current.partitions += partitions;
    current.batches += batches;
    current.bytes += bytes;
}

static void commit_put(ResultRows *rows, const SlowCommit *commit)
{
    Datum values[] = { TimestampTzGetDatum(commit->started_at),
                       Float8GetDatum((double)commit->duration_us / 1000.0),
                       CStringGetTextDatum(kind_names[commit->kind]),
                       Int32GetDatum(commit->partitions),
                       Int32GetDatum(commit->batches),
                       Int64GetDatum(commit->bytes),
                       ObjectIdGetDatum(commit->role),
                       Int32GetDatum(commit->pid) };
    result_rows_put(rows, values, NULL);
}

Datum streamhouse_slow_commit_rows(PG_FUNCTION_ARGS)
{
    ResultRows rows = result_rows_open(fcinfo);
    Oid schema = get_namespace_oid("streamhouse", false);
    TimestampTz oldest = GetCurrentTimestamp() - SLOW_COMMIT_KEPT_US;
    if (!slowest) {
        return (Datum)0;
    }
    SlowCommit *copy = palloc(sizeof(slowest->commits));
    SpinLockAcquire(&slowest->lock);
    memcpy(copy, slowest->commits, sizeof(slowest->commits));
    SpinLockRelease(&slowest->lock);
    for (int i = 0; i < SLOW_COMMITS; i++) {
        if (copy[i].started_at >= oldest && copy[i].database == MyDatabaseId && copy[i].schema == schema) {
            commit_put(&rows, &copy[i]);
        }
    }
    return (Datum)0;
}
