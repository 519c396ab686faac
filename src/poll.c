/* poll.c: sh_poll(): the next records of a group for this session, and its offsets moved on, in one
 * transaction.
 *
 * A poll looks first, with a snapshot, which of the session's partitions have records; when none has, it has
 * locked nothing and may wait. Then it locks the offset rows of as many of them as will fill the answer,
 * passing over those that another transaction has: an earlier owner that has not committed. With a newer
 * snapshot it looks whether the group is still as it knows it. If so, the partitions are its own until the
 * transaction ends, whatever happens to the group meanwhile: whoever is to have them next needs the same
 * locks. If not, it reads its part again and starts over.
 *
 * Outside of a transaction block a poll also joins, and looks after the group once a second. Those write rows
 * of the group, and a poll that has written does not wait: it would hold their locks. */
#include "compat.h"

#include "access.h"
#include "access/xact.h"
#include "access/xlog.h"
#include <limits.h>

#include "catalog/pg_type.h"
#include "fetch.h"
#include "fetch_rows.h"
#include "fmgr.h"
#include "group_offset.h"
#include "group_session.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "wait.h"

PG_FUNCTION_INFO_V1(streamhouse_poll);
PG_FUNCTION_INFO_V1(streamhouse_join);
PG_FUNCTION_INFO_V1(streamhouse_leave);
PG_FUNCTION_INFO_V1(streamhouse_commit_polled);
PG_FUNCTION_INFO_V1(streamhouse_commit_position);

/* How long a wait may be before the group is looked at again, and a partition that another transaction had.
 */
enum { LOOK_AGAIN_MS = 1000, BUSY_AGAIN_MS = 20 };

#define ERRCODE_OFFSET_OUT_OF_RANGE MAKE_SQLSTATE('S', 'H', '0', '0', '1')
#define ERRCODE_NOT_ASSIGNED        MAKE_SQLSTATE('S', 'H', '1', '1', '0')

enum { POLL_GROUP, POLL_TOPICS, POLL_MAX_RECORDS, POLL_WAIT, POLL_MAX_BYTES, POLL_AUTO_COMMIT, POLL_RESET };

/* A partition with something to do. */
typedef struct Candidate {
    GroupPartition *partition;
    int64 position;
    bool is_reset; /* to a position that is not the committed one */
} Candidate;

typedef struct Poll {
    FunctionCallInfo fcinfo;
    GroupSession *session;
    bool owns_transaction;
    bool auto_commit;
    FetchLimits limits;
    int64 wait_ms;
    FetchRows rows;
    Candidate *candidates; /* locked, as many as the session has partitions at most */
    int candidate_count;
    WatchEntry *ends; /* of the partitions, when looked at */
    int end_count;
    bool was_busy;
} Poll;

static void argument_require(FunctionCallInfo fcinfo, int number, const char *name)
{
    if (PG_ARGISNULL(number)) {
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name));
    }
}

static int32 argument_positive(FunctionCallInfo fcinfo, int number, const char *name)
{
    argument_require(fcinfo, number, name);
    if (PG_GETARG_INT32(number) < 1) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be 1 or more", name));
    }
    return PG_GETARG_INT32(number);
}

static char *argument_text(FunctionCallInfo fcinfo, int number)
{
    return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static ArrayType *argument_texts(FunctionCallInfo fcinfo, int number)
{
    ArrayType *array = PG_ARGISNULL(number) ? NULL : PG_GETARG_ARRAYTYPE_P(number);
    if (array && (ARR_NDIM(array) > 1 || array_contains_nulls(array))) {
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                errmsg("topics must be a plain array without nulls"));
    }
    return array;
}

/* Finds or makes the membership. */
static GroupSession *poll_session(Poll *poll, const char *name, ArrayType *topics)
{
    GroupJoin join = { .topics = topics, .auto_offset_reset = argument_text(poll->fcinfo, POLL_RESET) };
    GroupSession *session = group_session_find(name);
    bool is_member = session && session->is_member;
    bool differs = is_member && group_session_differs(session, topics);
    if (poll->owns_transaction && (!is_member || differs)) {
        return group_session_join(name, &join);
    }
    if (!is_member) {
        group_session_require_block(name);
    }
    group_session_authorize(session);
    if (differs) {
        ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                errmsg("the subscription of group \"%s\" cannot be changed in a transaction block", name),
                errhint("Call sh_join() with the other topics outside of it, or leave topics out."));
    }
    if (join.auto_offset_reset) {
        session->reset = group_reset_named(join.auto_offset_reset);
    }
    if (poll->owns_transaction) {
        group_session_check(session);
    }
    group_session_seen(session);
    return session;
}

static void poll_open(Poll *poll, FunctionCallInfo fcinfo)
{
    *poll = (Poll){ .fcinfo = fcinfo, .owns_transaction = !IsTransactionBlock() };
    argument_require(fcinfo, POLL_GROUP, "group");
    argument_require(fcinfo, POLL_WAIT, "wait");
    argument_require(fcinfo, POLL_AUTO_COMMIT, "auto_commit");
    poll->limits.records = argument_positive(fcinfo, POLL_MAX_RECORDS, "max_records");
    poll->limits.bytes = argument_positive(fcinfo, POLL_MAX_BYTES, "max_bytes");
    poll->wait_ms = wait_ms(PG_GETARG_INTERVAL_P(POLL_WAIT));
    poll->auto_commit = PG_GETARG_BOOL(POLL_AUTO_COMMIT);
    PreventCommandIfReadOnly("sh_poll()");
    PreventCommandDuringRecovery("sh_poll()");
    poll->session =
        poll_session(poll, argument_text(fcinfo, POLL_GROUP), argument_texts(fcinfo, POLL_TOPICS));
    fetch_rows_open(&poll->rows, fcinfo, ROWS_BYTES);
}

static _Noreturn void no_position(const GroupSession *session, const GroupPartition *partition,
                                  int64 committed)
{
    if (committed == OFFSET_NONE) {
        ereport(
            ERROR, errcode(ERRCODE_OFFSET_OUT_OF_RANGE),
            errmsg("group \"%s\" has no committed offset for partition %d of topic \"%s\"", session->name,
                   partition->partition, partition->topic),
            errhint("Set one with sh_reset_offsets(), or poll with auto_offset_reset earliest or latest."));
    }
    ereport(
        ERROR, errcode(ERRCODE_OFFSET_OUT_OF_RANGE),
        errmsg("offset " INT64_FORMAT " of group \"%s\" is out of range in partition %d of topic \"%s\"",
               committed, session->name, partition->partition, partition->topic),
        errhint("Set another with sh_reset_offsets(), or poll with auto_offset_reset earliest or latest."));
    pg_unreachable();
}

/* Where to go on from, by the row in offsets and the partition's ends in finder. */
static Candidate candidate_of(const Poll *poll, GroupPartition *partition, const GroupOffsets *offsets,
                              const Finder *finder)
{
    int64 position =
        !poll->auto_commit && partition->position >= 0 ? partition->position : offsets->committed_offset;
    Candidate candidate = { .partition = partition, .position = position };
    if (position < finder->log_start_offset || position > finder->high_watermark) {
        switch (poll->session->reset) {
        case RESET_NONE:
            no_position(poll->session, partition, position);
        case RESET_LATEST:
            candidate.position = finder->high_watermark;
            candidate.is_reset = true;
            break;
        default:
            candidate.position = finder->log_start_offset;
            candidate.is_reset = position != OFFSET_NONE;
        }
    }
    return candidate;
}

static void poll_note_end(Poll *poll, const GroupPartition *partition, const Finder *finder)
{
    poll->ends[poll->end_count++] =
        (WatchEntry){ finder->high_watermark, partition->topic_id, partition->partition };
}

/* The partition was another member's meanwhile, or its offset was reset: the session's own position is one of
 * the past, and would put the offset back. */
static bool position_is_overtaken(const GroupPartition *partition, const GroupOffsets *offsets)
{
    return partition->position >= 0 && partition->position_of != offsets->commit_id;
}

/* Locks the partition if it has something; gives how many offsets it has to read. */
static int64 poll_consider(Poll *poll, GroupPartition *partition, GroupOffsets *offsets, Finder *finder)
{
    if (!finder_turn(finder, Int32GetDatum(partition->topic_id), Int32GetDatum(partition->partition)) ||
        !group_offsets_turn(offsets, partition->topic_id, partition->partition, partition->commit_id)) {
        return 0; /* the topic is being deleted */
    }
    access_require(partition->topic_id, partition->topic, ACCESS_CONSUME);
    if (position_is_overtaken(partition, offsets)) {
        group_position_forget(partition);
    }
    partition->commit_id = offsets->commit_id;
    poll_note_end(poll, partition, finder);
    Candidate candidate = candidate_of(poll, partition, offsets, finder);
    if (candidate.position == finder->high_watermark && !candidate.is_reset) {
        return 0;
    }
    if (group_offsets_lock(offsets) != OFFSET_LOCKED) {
        poll->was_busy = true;
        return 0;
    }
    poll->candidates[poll->candidate_count++] = candidate;
    return finder->high_watermark - candidate.position;
}

/* Locks what will fill the answer, as the active snapshot sees it. */
static void poll_lock(Poll *poll)
{
    GroupSession *session = poll->session;
    GroupOffsets offsets;
    Finder finder;
    int64 wanted = poll->limits.records;
    size_t room = Max(session->partition_count, 1);
    poll->candidates = palloc(room * sizeof(Candidate));
    poll->ends = palloc(room * sizeof(WatchEntry));
    poll->candidate_count = poll->end_count = 0;
    poll->was_busy = false;
    group_offsets_open(&offsets, session->group_id);
    finder_open(&finder);
    for (int i = 0; i < session->partition_count && wanted > 0; i++) {
        int place = (session->turn + i) % session->partition_count;
        wanted -= poll_consider(poll, &session->partitions[place], &offsets, &finder);
        CHECK_FOR_INTERRUPTS();
    }
    finder_close(&finder);
    group_offsets_close(&offsets);
}

/* Moves on to next: the committed offset, or the session's own. */
static void candidate_advance(Poll *poll, const Candidate *candidate, GroupOffsets *offsets, int64 next,
                              Datum no_metadata)
{
    GroupPartition *partition = candidate->partition;
    if (next == candidate->position && !candidate->is_reset) {
        return;
    }
    if (!poll->auto_commit) {
        partition->position = next;
        partition->position_of = partition->commit_id;
        partition->moved_in = GetCurrentSubTransactionId();
        return;
    }
    if (!group_offsets_turn(offsets, partition->topic_id, partition->partition, partition->commit_id)) {
        elog(ERROR, "the offset of partition %d of topic \"%s\" is gone while it is locked",
             partition->partition, partition->topic);
    }
    OffsetCommit commit = { next, -1, no_metadata, poll->session->member_id };
    group_offsets_commit(offsets, &commit);
    partition->commit_id = offsets->commit_id;
    partition->position = -1;
}

/* Reads the candidates, as the active snapshot sees them. */
static void poll_fetch(Poll *poll)
{
    GroupOffsets offsets;
    Fetch fetch;
    Datum no_metadata = CStringGetTextDatum("");
    group_offsets_open(&offsets, poll->session->group_id);
    fetch_open(&fetch, poll->limits, fetch_rows_put, &poll->rows);
    for (int i = 0; i < poll->candidate_count && !fetch.is_full; i++) {
        Candidate *candidate = &poll->candidates[i];
        const GroupPartition *partition = candidate->partition;
        fetch_rows_turn(&poll->rows, partition->topic, partition->partition);
        FetchedPartition fetched = fetch_partition(&fetch, partition->topic_id, partition->partition,
                                                   candidate->position, PG_INT64_MAX);
        candidate_advance(poll, candidate, &offsets, fetched.next_offset, no_metadata);
        poll->session->turn = (int)(partition - poll->session->partitions) + 1;
        CHECK_FOR_INTERRUPTS();
    }
    fetch_close(&fetch);
    group_offsets_close(&offsets);
    CommandCounterIncrement();
}

/* One look, and what it finds. Over again when the group changes between the look and the locks. */
static void poll_look(Poll *poll)
{
    for (bool done = false; !done;) {
        PushActiveSnapshot(GetLatestSnapshot());
        group_session_refresh(poll->session);
        poll_lock(poll);
        PopActiveSnapshot();
        if (poll->candidate_count == 0) {
            return;
        }
        PushActiveSnapshot(GetLatestSnapshot());
        done = group_session_is_current(poll->session);
        if (done) {
            poll_fetch(poll);
        }
        PopActiveSnapshot();
    }
}

static bool has_written(void)
{
    return TransactionIdIsValid(GetTopTransactionIdIfAny());
}

/* A client that is gone must not be given records, nor keep its partitions for as long as it wanted to wait.
 */
static void check_client(void)
{
    if (MyProcPort && !pq_check_connection()) {
        ClientConnectionLost = true;
        InterruptPending = true;
    }
    CHECK_FOR_INTERRUPTS();
}

/* Waits for records, or until it is time to look at the group again. */
static void poll_wait(Poll *poll, Wait *wait, TimestampTz deadline)
{
    TimestampTz again =
        TimestampTzPlusMilliseconds(GetCurrentTimestamp(), poll->was_busy ? BUSY_AGAIN_MS : LOOK_AGAIN_MS);
    wait->deadline = Min(deadline, again);
    (void)wait_for_partitions(wait, poll->fcinfo, poll->ends, poll->end_count);
    check_client();
}

Datum streamhouse_poll(PG_FUNCTION_ARGS)
{
    Poll poll;
    poll_open(&poll, fcinfo);
    TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), poll.wait_ms);
    for (;;) {
        Wait wait = wait_begin(poll.wait_ms);
        poll_look(&poll);
        if (poll.rows.count > 0 || poll.wait_ms == 0 || GetCurrentTimestamp() >= deadline ||
            (poll.owns_transaction && has_written())) {
            break;
        }
        poll_wait(&poll, &wait, deadline);
        if (poll.owns_transaction) {
            group_session_check(poll.session);
        }
    }
    return (Datum)0;
}

static void require_own_transaction(const char *function)
{
    PreventCommandIfReadOnly(function);
    PreventCommandDuringRecovery(function);
    if (IsTransactionBlock()) {
        ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
                errmsg("%s cannot run in a transaction block", function),
                errhint("It rearranges the group, whose other members would wait for the end of the block. "
                        "Call it before BEGIN "
                        "or after COMMIT."));
    }
}

/* join(group, topics, regex, assignor, poll_limit, auto_offset_reset) */
Datum streamhouse_join(PG_FUNCTION_ARGS)
{
    argument_require(fcinfo, 0, "group");
    GroupJoin join = { .topics = argument_texts(fcinfo, 1),
                       .regex = argument_text(fcinfo, 2),
                       .assignor = argument_text(fcinfo, 3),
                       .auto_offset_reset = argument_text(fcinfo, 5) };
    int64 limit_ms = PG_ARGISNULL(4) ? 0 : wait_ms(PG_GETARG_INTERVAL_P(4));
    if (limit_ms > INT_MAX / 2 || (limit_ms == 0 && !PG_ARGISNULL(4))) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                errmsg("poll_limit must be more than nothing and less than 12 days"));
    }
    join.poll_limit_ms = (int32)limit_ms;
    require_own_transaction("sh_join()");
    GroupSession *session = group_session_join(argument_text(fcinfo, 0), &join);
    PG_RETURN_TEXT_P(cstring_to_text(session->member_id));
}

/* The member id of the session in a group, which it forgets; NULL when it is no member. */
Datum streamhouse_leave(PG_FUNCTION_ARGS)
{
    argument_require(fcinfo, 0, "group");
    GroupSession *session = group_session_find(argument_text(fcinfo, 0));
    require_own_transaction("sh_leave()");
    if (!session || !session->is_member) {
        PG_RETURN_NULL();
    }
    group_session_authorize(session);
    group_session_forget(session);
    PG_RETURN_TEXT_P(cstring_to_text(session->member_id));
}

static GroupSession *session_require(FunctionCallInfo fcinfo)
{
    char *name = argument_text(fcinfo, 0);
    GroupSession *session = name ? group_session_find(name) : NULL;
    if (!session || !session->is_member) {
        group_session_require_block(name ? name : "");
    }
    PreventCommandIfReadOnly("sh_commit()");
    group_session_authorize(session);
    return session;
}

static _Noreturn void not_assigned(const GroupSession *session, const char *topic, int32 partition)
{
    ereport(ERROR, errcode(ERRCODE_NOT_ASSIGNED),
            errmsg("partition %d of topic \"%s\" is not this session's in group \"%s\"", partition, topic,
                   session->name),
            errdetail("It was given to another member, or that one is still at work on it."),
            errhint("Nothing was committed; its records come again, to whoever has it."));
    pg_unreachable();
}

/* With the lock of the partition's row. The position follows what is committed, until that is rolled back. */
static void position_write(GroupPartition *partition, GroupOffsets *offsets, const OffsetCommit *commit)
{
    group_offsets_commit(offsets, commit);
    partition->commit_id = offsets->commit_id;
    if (partition->position >= 0) {
        partition->position_of = offsets->commit_id;
        partition->moved_in = GetCurrentSubTransactionId();
    }
}

/* Locks the partition's row and looks, with a newer snapshot, whether the partition is still the session's;
 * and was all the time, for what was polled. */
static void position_commit(GroupSession *session, GroupPartition *partition, const OffsetCommit *commit,
                            bool is_polled)
{
    OffsetLock lock = OFFSET_MOVED;
    while (lock == OFFSET_MOVED) {
        GroupOffsets offsets;
        PushActiveSnapshot(GetLatestSnapshot());
        group_offsets_open(&offsets, session->group_id);
        lock = group_offsets_turn(&offsets, partition->topic_id, partition->partition, partition->commit_id)
                   ? group_offsets_lock(&offsets)
                   : OFFSET_BUSY;
        if (lock == OFFSET_LOCKED) {
            PushActiveSnapshot(GetLatestSnapshot());
            bool is_own = group_session_is_current(session);
            PopActiveSnapshot();
            lock = is_own ? OFFSET_LOCKED : OFFSET_BUSY;
        }
        if (lock == OFFSET_LOCKED && position_is_overtaken(partition, &offsets)) {
            group_position_forget(partition);
            lock = is_polled ? OFFSET_BUSY : OFFSET_LOCKED;
        }
        if (lock == OFFSET_LOCKED) {
            position_write(partition, &offsets, commit);
        }
        group_offsets_close(&offsets);
        PopActiveSnapshot();
        CHECK_FOR_INTERRUPTS();
    }
    if (lock != OFFSET_LOCKED) {
        not_assigned(session, partition->topic, partition->partition);
    }
    CommandCounterIncrement();
}

static void session_refresh_now(GroupSession *session)
{
    PushActiveSnapshot(GetLatestSnapshot());
    group_session_refresh(session);
    PopActiveSnapshot();
}

/* Positions that are not committed, of partitions that are the session's no more, must not be forgotten
 * unsaid. */
static int positions_count(const GroupSession *session)
{
    int count = 0;
    for (int i = 0; i < session->partition_count; i++) {
        count += session->partitions[i].position >= 0;
    }
    return count;
}

/* commit_polled(group): what polls without auto_commit gave; gives how many partitions' offsets it committed.
 */
Datum streamhouse_commit_polled(PG_FUNCTION_ARGS)
{
    GroupSession *session = session_require(fcinfo);
    int before = positions_count(session);
    session_refresh_now(session);
    if (positions_count(session) != before) {
        ereport(ERROR, errcode(ERRCODE_NOT_ASSIGNED),
                errmsg("partitions that were polled are not this session's in group \"%s\" any more",
                       session->name),
                errhint("Nothing was committed. Their records come again, to whoever has them; sh_commit() "
                        "again commits "
                        "the rest."));
    }
    for (int i = 0; i < session->partition_count; i++) {
        GroupPartition *partition = &session->partitions[i];
        if (partition->position >= 0) {
            OffsetCommit commit = { partition->position, -1, CStringGetTextDatum(""), session->member_id };
            position_commit(session, partition, &commit, true);
            partition->position =
                -1; /* what is committed, unless that is rolled back: then its records come again */
        }
    }
    PG_RETURN_INT32(before);
}

/* commit_position(group, topic_id, topic, partition, offset, metadata): also where the session goes on from.
 */
Datum streamhouse_commit_position(PG_FUNCTION_ARGS)
{
    GroupSession *session = session_require(fcinfo);
    int32 topic_id = PG_GETARG_INT32(1);
    int32 number = PG_GETARG_INT32(3);
    session_refresh_now(session);
    for (int i = 0; i < session->partition_count; i++) {
        GroupPartition *partition = &session->partitions[i];
        if (partition->topic_id == topic_id && partition->partition == number) {
            OffsetCommit commit = { PG_GETARG_INT64(4), -1, PointerGetDatum(PG_GETARG_TEXT_PP(5)),
                                    session->member_id };
            position_commit(session, partition, &commit, false);
            if (PG_GETARG_BOOL(6)) {
                partition->position = -1;
            }
            PG_RETURN_VOID();
        }
    }
    not_assigned(session, argument_text(fcinfo, 2), number);
}
