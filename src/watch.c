/*
 * watch.c: tells waiting readers which partitions moved.
 *
 * With shared_preload_libraries, a ring in shared memory holds the last appends as (topic, partition, end
 * offset), each with a sequence number: the reader's cursor. A transaction gathers notes in its own memory
 * and copies them into the ring once it has committed: its rows are visible by then, and its partition locks
 * are still held, so that one partition's notes are in order. The ring never grows, so that publishing cannot
 * fail: an error in a commit callback would restart the server. Readers that fall behind by more than the
 * ring are told to read everything again. Waiting is a condition variable: register, look again, sleep.
 *
 * Sequence numbers start at the server's start time in microseconds, so that a cursor from an earlier life of
 * the server is older than the ring and is seen as such (no server appends a million times a second over its
 * whole life).
 *
 * Without the ring, and on a standby, where nobody commits, each backend remembers every partition's end and
 * compares.
 *
 * sh_watch() commits before it waits: a snapshot held for the length of a long poll would hold back vacuum.
 *
 * Every append wakes every watcher, and every agent watches: with a hundred of them, a hundred appends a
 * second would be ten thousand answers. So a session that was told of something lets more gather before it
 * looks again, the longer the more sessions watch: a moment after a rest is told at once, and all sessions
 * together answer a bounded number of times a second.
 */
#include "compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "promotion.h"
#include "setting.h"
#include "watch_internal.h"

enum {
    PENDING_FIRST = 16,
    GATHER_US_PER_WATCHER = 1000, /* all watchers together: 1,000 answers a second */
    GATHER_US_MAX = 250 * 1000
};

#define TOPIC_EVERYTHING (-1) /* in place of a topic id: history was lost, read everything again */

/* ---- The ring ---- */

/* Whose topics the ids are of: every database has its own, and an extension that is made again begins anew.
 */
typedef struct WatchHome {
    Oid database;
    Oid schema;
} WatchHome;

typedef struct RingEntry {
    WatchEntry entry;
    WatchHome home;
} RingEntry;
StaticAssertDecl(sizeof(RingEntry) == 24, "as the help of streamhouse.watch_ring_size says");

typedef struct WatchRing {
    LWLock *lock; /* guards entries and head */
    ConditionVariable moved;
    int64 origin; /* sequence number of this life's first entry */
    int64 size;
    pg_atomic_uint64 head;     /* sequence number of the next entry */
    pg_atomic_uint32 watchers; /* sessions that have called sh_watch() and are still there */
    RingEntry entries[FLEXIBLE_ARRAY_MEMBER];
} WatchRing;

static WatchRing *ring = NULL;
static WatchHome reader_home; /* of the wait that is under way: looked up before it, not while it sleeps */

#define RING_NAME "streamhouse_watch"

static shmem_startup_hook_type shmem_startup_next = NULL;
#ifdef COMPAT_SHMEM_REQUEST_HOOK
static shmem_request_hook_type shmem_request_next = NULL;
#endif

static Size ring_bytes(void)
{
    return add_size(offsetof(WatchRing, entries), mul_size(setting_watch_ring_size, sizeof(RingEntry)));
}

static void ring_request(void)
{
#ifdef COMPAT_SHMEM_REQUEST_HOOK
    if (shmem_request_next)
        shmem_request_next();
#endif
    RequestAddinShmemSpace(ring_bytes());
    RequestNamedLWLockTranche(RING_NAME, 1);
}

static void ring_initialise(WatchRing *fresh)
{
    fresh->lock = &GetNamedLWLockTranche(RING_NAME)->lock;
    ConditionVariableInit(&fresh->moved);
    fresh->origin = GetCurrentTimestamp();
    fresh->size = setting_watch_ring_size;
    pg_atomic_init_u64(&fresh->head, fresh->origin);
    pg_atomic_init_u32(&fresh->watchers, 0);
}

static void ring_startup(void)
{
    bool found;

    if (shmem_startup_next)
        shmem_startup_next();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    ring = ShmemInitStruct(RING_NAME, ring_bytes(), &found);
    if (!found)
        ring_initialise(ring);
    LWLockRelease(AddinShmemInitLock);
}

/* Leaves no snapshot behind that would hold back vacuum while its caller waits. */
static WatchHome home_current(void)
{
    WatchHome home = { MyDatabaseId, get_namespace_oid("streamhouse", true) };

    InvalidateCatalogSnapshot();
    return home;
}

/* The reader's entry at a place of the ring; NULL when it is somebody else's. */
static const WatchEntry *ring_own(int64 number)
{
    const RingEntry *found = &ring->entries[number % ring->size];
    bool own = found->home.database == reader_home.database && found->home.schema == reader_home.schema;

    return own ? &found->entry : NULL;
}

static int64 ring_head(void)
{
    return (int64)pg_atomic_read_u64(&ring->head);
}

/* Called after commit: must not fail. */
static void ring_publish(const WatchEntry *entries, int count, WatchHome home)
{
    int64 head;

    LWLockAcquire(ring->lock, LW_EXCLUSIVE);
    head = ring_head();
    for (int i = 0; i < count; i++)
        ring->entries[(head + i) % ring->size] = (RingEntry){ entries[i], home };
    pg_atomic_write_u64(&ring->head, head + count);
    LWLockRelease(ring->lock);
    ConditionVariableBroadcast(&ring->moved);
}

int watch_entry_compare(const void *left, const void *right)
{
    const WatchEntry *a = left;
    const WatchEntry *b = right;

    if (a->topic_id != b->topic_id)
        return a->topic_id < b->topic_id ? -1 : 1;
    if (a->partition != b->partition)
        return a->partition < b->partition ? -1 : 1;
    return a->end_offset < b->end_offset ? -1 : a->end_offset > b->end_offset;
}

bool watch_same_subject(const WatchEntry *a, const WatchEntry *b)
{
    return a->topic_id == b->topic_id && a->partition == b->partition &&
           (a->end_offset < 0) == (b->end_offset < 0);
}

bool watch_is_shared(void)
{
    return ring != NULL && !RecoveryInProgress();
}

int64 watch_cursor(void)
{
    reader_home = home_current();
    return ring_head();
}

ConditionVariable *watch_condition(void)
{
    return &ring->moved;
}

/* Whether the entry, if it is one, is beyond the end of its partition among the sorted ones. */
static bool entry_passed(const WatchEntry *entry, const WatchEntry *partitions, int count)
{
    int low = 0;
    WatchEntry key;

    if (!entry || entry->end_offset < 0)
        return false;
    key = (WatchEntry){ PG_INT64_MIN, entry->topic_id, entry->partition };
    while (low < count) {
        int middle = low + (count - low) / 2;

        if (watch_same_subject(&partitions[middle], entry))
            return entry->end_offset > partitions[middle].end_offset;
        if (watch_entry_compare(&partitions[middle], &key) < 0)
            low = middle + 1;
        else
            count = middle;
    }
    return false;
}

bool watch_passed(int64 *cursor, const WatchEntry *partitions, int count)
{
    bool passed;
    int64 head = ring_head();

    if (*cursor == head)
        return false;
    LWLockAcquire(ring->lock, LW_SHARED);
    head = ring_head();
    passed = *cursor < ring->origin || head - *cursor > ring->size;
    for (int64 i = *cursor; !passed && i < head; i++)
        passed = entry_passed(ring_own(i), partitions, count);
    LWLockRelease(ring->lock);
    *cursor = head;
    return passed;
}

/* Copies what came after news->cursor and is the reader's, as much as fits, and moves the cursor behind it.
 */
static void ring_read(WatchNews *news)
{
    int64 head;

    LWLockAcquire(ring->lock, LW_SHARED);
    head = ring_head();
    news->lost = news->cursor < ring->origin || news->cursor > head || head - news->cursor > ring->size;
    if (news->lost)
        news->cursor = head;
    for (; news->cursor < head && news->count < WATCH_ENTRIES_MAX; news->cursor++) {
        const WatchEntry *own = ring_own(news->cursor);

        if (own)
            news->entries[news->count++] = *own;
    }
    LWLockRelease(ring->lock);
}

long watch_left_ms(TimestampTz deadline)
{
    return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
}

static bool is_watcher = false; /* this session is one of ring->watchers */
static bool caught_up = false;  /* at its last answer, which was news, nothing was left to tell */
static TimestampTz told_at = 0; /* when that was */

static void watcher_leave(int code, Datum argument)
{
    pg_atomic_fetch_sub_u32(&ring->watchers, 1);
}

static void watcher_enter(void)
{
    if (is_watcher)
        return;
    before_shmem_exit(watcher_leave, (Datum)0);
    pg_atomic_fetch_add_u32(&ring->watchers, 1);
    is_watcher = true;
}

/* For how long from its last answer on a session leaves news alone; alone in the server, it does not.
 * Sessions differ by up to a half either way, so that they do not all run at the same moment again and again.
 */
static int64 gather_us(void)
{
    int64 watchers = pg_atomic_read_u32(&ring->watchers);
    int64 share = ((uint32)MyProcPid * UINT32_C(2654435761)) >> 24; /* 0 to 255 */

    if (watchers < 2)
        return 0;
    return Min(watchers * GATHER_US_PER_WATCHER, GATHER_US_MAX) * (128 + share) / 256;
}

/* Sleeps where appends do not wake it. A clock that was set back must not make it sleep longer. */
static void ring_gather(TimestampTz deadline)
{
    TimestampTz now = GetCurrentTimestamp();
    TimestampTz end = Min(deadline, Min(told_at, now) + gather_us());

    while (caught_up && now < end) {
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
                        Max(TimestampDifferenceMilliseconds(now, end), 1), PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        now = GetCurrentTimestamp();
    }
}

/* What others append wakes the reader, too, which then goes back to sleep. */
static void ring_wait(WatchNews *news, TimestampTz deadline)
{
    watcher_enter();
    ring_gather(deadline);
    reader_home = home_current();
    if (news->cursor == 0)
        news->cursor = ring_head();
    news->entries = palloc(sizeof(WatchEntry) * WATCH_ENTRIES_MAX);
    ConditionVariablePrepareToSleep(&ring->moved);
    for (;;) {
        long timeout_ms = watch_left_ms(deadline);

        if (news->cursor != ring_head())
            ring_read(news);
        if (news->count > 0 || news->lost || timeout_ms <= 0)
            break;
        ConditionVariableTimedSleep(&ring->moved, timeout_ms, PG_WAIT_EXTENSION);
    }
    ConditionVariableCancelSleep();
    caught_up = news->count > 0 && news->count < WATCH_ENTRIES_MAX;
    told_at = GetCurrentTimestamp();
}

PG_FUNCTION_INFO_V1(streamhouse_server_started_at);

/* A crash of a backend sets up shared memory anew and leaves the postmaster's start time as it was. */
TimestampTz server_started_at(void)
{
    TimestampTz started = ring ? ring->origin : PgStartTime;

    return Max(started, promotion_time());
}

Datum streamhouse_server_started_at(PG_FUNCTION_ARGS)
{
    PG_RETURN_TIMESTAMPTZ(server_started_at());
}

/* ---- Notes of the current transaction, in the order of their nesting levels ---- */

typedef struct WatchPending {
    WatchEntry *entries;
    int *levels; /* of each entry: the subtransaction depth whose abort forgets it */
    int count;
    int capacity;
    WatchHome home; /* of all of them */
} WatchPending;

static WatchPending pending;

static void pending_grow(void)
{
    int capacity = pending.capacity == 0 ? PENDING_FIRST : pending.capacity * 2;
    MemoryContext context = TopTransactionContext;

    if (pending.capacity == 0) {
        pending.entries = MemoryContextAlloc(context, sizeof(WatchEntry) * capacity);
        pending.levels = MemoryContextAlloc(context, sizeof(int) * capacity);
    } else {
        pending.entries = repalloc_huge(pending.entries, sizeof(WatchEntry) * capacity);
        pending.levels = repalloc_huge(pending.levels, sizeof(int) * capacity);
    }
    pending.capacity = capacity;
}

void watch_note(int32 topic_id, int32 partition, int64 end_offset)
{
    if (ring == NULL)
        return;
    if (pending.count == 0)
        pending.home = home_current();
    if (pending.count == pending.capacity)
        pending_grow();
    pending.entries[pending.count] =
        (WatchEntry){ .topic_id = topic_id, .partition = partition, .end_offset = end_offset };
    pending.levels[pending.count] = GetCurrentTransactionNestLevel();
    pending.count++;
}

void watch_note_log_start(int32 topic_id, int32 partition, int64 log_start_offset)
{
    watch_note(topic_id, partition, WATCH_LOG_START(log_start_offset));
}

PG_FUNCTION_INFO_V1(streamhouse_watch_log_start);

Datum streamhouse_watch_log_start(PG_FUNCTION_ARGS)
{
    watch_note_log_start(PG_GETARG_INT32(0), PG_GETARG_INT32(1), PG_GETARG_INT64(2));
    PG_RETURN_VOID();
}

/* The memory goes with the transaction. */
static void pending_forget(void)
{
    pending = (WatchPending){ 0 };
}

static void transaction_ended(XactEvent event, void *argument)
{
    switch (event) {
    case XACT_EVENT_COMMIT:
        if (pending.count > 0)
            ring_publish(pending.entries, pending.count, pending.home);
        pending_forget();
        break;
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE:
        pending_forget();
        break;
    default:
        break;
    }
}

static void subtransaction_ended(SubXactEvent event, SubTransactionId subid, SubTransactionId parent,
                                 void *argument)
{
    int level = GetCurrentTransactionNestLevel();
    int kept = pending.count;

    while (kept > 0 && pending.levels[kept - 1] >= level)
        kept--;
    if (event == SUBXACT_EVENT_ABORT_SUB)
        pending.count = kept;
    else if (event == SUBXACT_EVENT_COMMIT_SUB)
        for (int i = kept; i < pending.count; i++)
            pending.levels[i] = level - 1;
}

void watch_init(void)
{
    if (!process_shared_preload_libraries_in_progress)
        return;
#ifdef COMPAT_SHMEM_REQUEST_HOOK
    shmem_request_next = shmem_request_hook;
    shmem_request_hook = ring_request;
#else
    ring_request();
#endif
    shmem_startup_next = shmem_startup_hook;
    shmem_startup_hook = ring_startup;
    RegisterXactCallback(transaction_ended, NULL);
    RegisterSubXactCallback(subtransaction_ended, NULL);
}

/* ---- The procedure ---- */

/* Keeps the last end and the last start of each partition; sorts. */
static void news_condense(WatchNews *news)
{
    int kept = 0;

    qsort(news->entries, news->count, sizeof(WatchEntry), watch_entry_compare);
    for (int i = 0; i < news->count; i++) {
        if (kept > 0 && watch_same_subject(&news->entries[kept - 1], &news->entries[i]))
            kept--;
        news->entries[kept++] = news->entries[i];
    }
    news->count = kept;
}

static Datum int4_array(Datum *values, int count)
{
    return PointerGetDatum(construct_array(values, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static Datum int8_array(Datum *values, int count)
{
    return PointerGetDatum(
        construct_array(values, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The procedure's INOUT parameters: cursor, topic_ids, partitions, end_offsets; arrays null when nothing
 * moved. */
static Datum news_row(const WatchNews *news, TupleDesc descriptor)
{
    Datum *topic_ids = palloc(sizeof(Datum) * (news->count + 1));
    Datum *partitions = palloc(sizeof(Datum) * (news->count + 1));
    Datum *end_offsets = palloc(sizeof(Datum) * (news->count + 1));
    bool nothing = news->count == 0;
    bool nulls[4] = { false, nothing, nothing, nothing };
    Datum values[4] = { Int64GetDatum(news->cursor) };

    for (int i = 0; i < news->count; i++) {
        topic_ids[i] = Int32GetDatum(news->entries[i].topic_id);
        partitions[i] = Int32GetDatum(news->entries[i].partition);
        end_offsets[i] = Int64GetDatum(news->entries[i].end_offset);
    }
    if (!nothing) {
        values[1] = int4_array(topic_ids, news->count);
        values[2] = int4_array(partitions, news->count);
        values[3] = int8_array(end_offsets, news->count);
    }
    return HeapTupleGetDatum(heap_form_tuple(descriptor, values, nulls));
}

static void watch_wait(WatchNews *news, TimestampTz deadline)
{
    if (watch_is_shared())
        ring_wait(news, deadline);
    else
        watch_poll_wait(news, deadline);
    if (news->lost) {
        news->entries[0] =
            (WatchEntry){ .topic_id = TOPIC_EVERYTHING, .partition = TOPIC_EVERYTHING, .end_offset = -1 };
        news->count = 1;
    }
    news_condense(news);
}

static bool call_is_atomic(FunctionCallInfo fcinfo)
{
    return !(fcinfo->context && IsA(fcinfo->context, CallContext)) ||
           castNode(CallContext, fcinfo->context)->atomic;
}

PG_FUNCTION_INFO_V1(sh_watch);

Datum sh_watch(PG_FUNCTION_ARGS)
{
    TupleDesc descriptor;
    WatchNews news = { 0 };
    TimestampTz deadline;
    MemoryContext caller = CurrentMemoryContext;

    if (PG_ARGISNULL(1) || PG_GETARG_INT32(1) < 0)
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout_ms must be 0 or more"));
    if (call_is_atomic(fcinfo))
        ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                errmsg("sh_watch cannot run in a transaction block or in a function"),
                errdetail("It would hold a snapshot, and so hold back vacuum, for as long as it waits."),
                errhint("CALL it by itself."));
    if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
        elog(ERROR, "sh_watch must have INOUT parameters");
    descriptor = BlessTupleDesc(descriptor);
    news.cursor = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
    deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), PG_GETARG_INT32(1));

    SPI_connect_ext(SPI_OPT_NONATOMIC);
    watch_release_snapshots();
    MemoryContextSwitchTo(caller);
    watch_wait(&news, deadline);
    SPI_finish();
    MemoryContextSwitchTo(caller);
    PG_RETURN_DATUM(news_row(&news, descriptor));
}
