/* group_session.c: a session of PostgreSQL as a member of groups.
 *
 * What is kept here is a copy: the member's row, its target and the offsets are rows, and the copy of the
 * target is good as long as the group's version is the one it was read with. So that an aborted transaction
 * leaves nothing behind that is not true, every copy is read again after one. The exception are the positions
 * of a session that commits offsets itself: those that an aborted (sub)transaction moved go back to what is
 * committed, so that the records come again. */
#include "compat.h"
#include "group_session.h"

#include "access.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "key_scan.h"
#include "storage/lmgr.h"
#include "tables.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(streamhouse_member_require_topic);

enum { CHECK_EVERY_MS = 1000, SEEN_PER_LIMIT = 4 };

/* Kafka's error codes as SQLSTATEs. */
#define ERRCODE_FENCED_MEMBER  MAKE_SQLSTATE('S', 'H', '1', '1', '0')
#define ERRCODE_UNKNOWN_MEMBER MAKE_SQLSTATE('S', 'H', '0', '2', '5')

static const KeyScanSpec group_by_id = { "consumer_group", "consumer_group_pkey", 1, { KEY_INT4_EQUAL } };

static GroupSession *sessions = NULL;

void group_position_forget(GroupPartition *partition)
{
    partition->position = -1;
    partition->moved_in = InvalidSubTransactionId;
}

/* Positions that the subtransaction or one within it moved: those have higher ids. */
static void sessions_undo(SubTransactionId aborted)
{
    for (GroupSession *session = sessions; session; session = session->next) {
        session->is_known = false;
        if (session->seen_in >= aborted) {
            session->seen_at = 0;
        }
        session->is_member = session->is_member && session->joined_in < aborted;
        for (int i = 0; i < session->partition_count; i++) {
            if (session->partitions[i].moved_in >= aborted) {
                group_position_forget(&session->partitions[i]);
            }
        }
    }
}

static void transaction_ended(XactEvent event, void *argument)
{
    if (event == XACT_EVENT_ABORT) {
        sessions_undo(TopSubTransactionId);
    }
    if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE) {
        for (GroupSession *session = sessions; session; session = session->next) {
            session->joined_in = session->seen_in = InvalidSubTransactionId;
            for (int i = 0; i < session->partition_count; i++) {
                session->partitions[i].moved_in = InvalidSubTransactionId;
            }
        }
    }
}

static void subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
                                 void *argument)
{
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        sessions_undo(id);
    }
}

void group_session_init(void)
{
    RegisterXactCallback(transaction_ended, NULL);
    RegisterSubXactCallback(subtransaction_ended, NULL);
}

GroupSession *group_session_find(const char *name)
{
    GroupSession *session = sessions;
    while (session && strcmp(session->name, name) != 0) {
        session = session->next;
    }
    return session;
}

static void member_id_make(char *member_id)
{
    Datum uuid = DirectFunctionCall1(gen_random_uuid, (Datum)0);
    strlcpy(member_id, DatumGetCString(DirectFunctionCall1(uuid_out, uuid)), MEMBER_ID_SIZE);
}

static GroupSession *session_make(const char *name)
{
    GroupSession *session = MemoryContextAllocZero(TopMemoryContext, sizeof(GroupSession));
    session->name = MemoryContextStrdup(TopMemoryContext, name);
    session->context = AllocSetContextCreate(TopMemoryContext, "StreamHouse group", ALLOCSET_SMALL_SIZES);
    session->next = sessions;
    sessions = session;
    return session;
}

static char *text_keep(char *old, const char *new)
{
    if (!new) {
        return old;
    }
    char *kept = MemoryContextStrdup(TopMemoryContext, new);
    if (old) {
        pfree(old);
    }
    return kept;
}

static void join_remember(GroupJoin *kept, const GroupJoin *join)
{
    if (join->topics) {
        MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
        ArrayType *topics = DatumGetArrayTypePCopy(PointerGetDatum(join->topics));
        MemoryContextSwitchTo(before);
        if (kept->topics) {
            pfree(kept->topics);
        }
        kept->topics = topics;
    }
    kept->regex = text_keep(kept->regex, join->regex);
    kept->assignor = text_keep(kept->assignor, join->assignor);
    kept->auto_offset_reset = text_keep(kept->auto_offset_reset, join->auto_offset_reset);
    if (join->poll_limit_ms > 0 || kept->poll_limit_ms == 0) {
        kept->poll_limit_ms = join->poll_limit_ms > 0 ? join->poll_limit_ms : POLL_LIMIT_MS;
    }
}

OffsetReset group_reset_named(const char *name)
{
    static const char *const names[] = { "earliest", "latest", "none" };
    for (size_t i = 0; i < lengthof(names); i++) {
        if (!name || strcmp(names[i], name) == 0) {
            return (OffsetReset)i;
        }
    }
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("auto_offset_reset cannot be \"%s\"", name), errhint("It is earliest, latest or none."));
}

typedef struct Parameters {
    Oid types[8];
    Datum values[8];
    char nulls[8];
    int count;
} Parameters;

static void parameter_add(Parameters *parameters, Oid type, Datum value, bool is_null)
{
    parameters->types[parameters->count] = type;
    parameters->values[parameters->count] = value;
    parameters->nulls[parameters->count++] = is_null ? 'n' : ' ';
}

static void parameter_add_text(Parameters *parameters, const char *value)
{
    parameter_add(parameters, TEXTOID, value ? CStringGetTextDatum(value) : (Datum)0, !value);
}

/* Runs one statement and gives its only value. */
static Datum query_value(const char *query, Parameters *parameters, bool *is_null)
{
    SPI_connect();
    int result = SPI_execute_with_args(query, parameters->count, parameters->types, parameters->values,
                                       parameters->nulls, false, 0);
    if (result != SPI_OK_SELECT || SPI_processed != 1) {
        elog(ERROR, "\"%s\" gave no row: %s", query, SPI_result_code_string(result));
    }
    Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, is_null);
    SPI_finish(); /* the value is no pointer */
    return value;
}

/* What a join means: what it leaves out is as it was in the last one that succeeded. */
static GroupJoin join_complete(const GroupJoin *join, const GroupSession *session)
{
    GroupJoin before = session ? session->join : (GroupJoin){ 0 };
    int32 limit_ms = before.poll_limit_ms > 0 ? before.poll_limit_ms : POLL_LIMIT_MS;
    return (GroupJoin){ .topics = join->topics ? join->topics : before.topics,
                        .regex = join->regex ? join->regex : before.regex,
                        .assignor = join->assignor ? join->assignor : before.assignor,
                        .auto_offset_reset =
                            join->auto_offset_reset ? join->auto_offset_reset : before.auto_offset_reset,
                        .poll_limit_ms = join->poll_limit_ms > 0 ? join->poll_limit_ms : limit_ms };
}

static int32 join_run(const char *name, const char *member_id, const GroupJoin *join)
{
    Parameters parameters = { 0 };
    bool is_null;
    parameter_add_text(&parameters, name);
    parameter_add_text(&parameters, member_id);
    parameter_add(&parameters, TEXTARRAYOID, PointerGetDatum(join->topics), !join->topics);
    parameter_add_text(&parameters, join->regex);
    parameter_add_text(&parameters, join->assignor);
    parameter_add_text(&parameters, join->auto_offset_reset);
    parameter_add(&parameters, INT4OID, Int32GetDatum(join->poll_limit_ms), false);
    return DatumGetInt32(
        query_value("SELECT streamhouse.session_join($1, $2, $3, $4, $5, $6, $7)", &parameters, &is_null));
}

GroupSession *group_session_join(const char *name, const GroupJoin *join)
{
    GroupSession *session = group_session_find(name);
    GroupJoin complete = join_complete(join, session);
    OffsetReset reset = group_reset_named(complete.auto_offset_reset);
    char member_id[MEMBER_ID_SIZE];
    if (session && session->is_member) {
        strlcpy(member_id, session->member_id, MEMBER_ID_SIZE);
    } else {
        member_id_make(member_id);
    }
    int32 group_id = join_run(name, member_id, &complete);
    if (!session) {
        session = session_make(name);
    }
    strlcpy(session->member_id, member_id, MEMBER_ID_SIZE);
    join_remember(&session->join, join);
    session->group_id = group_id;
    session->reset = reset;
    session->is_member = true;
    session->joined_in = GetCurrentSubTransactionId();
    session->role = access_caller();
    session->is_known = false;
    session->checked_at = session->seen_at = GetCurrentTimestamp();
    return session;
}

void group_session_authorize(GroupSession *session)
{
    Parameters parameters = { 0 };
    bool is_null;
    if (session->role == access_caller()) {
        return;
    }
    parameter_add(&parameters, INT4OID, Int32GetDatum(session->group_id), false);
    (void)query_value("SELECT streamhouse.session_authorize($1)", &parameters, &is_null);
    session->role = access_caller();
}

bool group_session_differs(const GroupSession *session, ArrayType *topics)
{
    return topics &&
           (!session->join.topics ||
            !datumIsEqual(PointerGetDatum(topics), PointerGetDatum(session->join.topics), false, -1));
}

static bool is_over(TimestampTz since, int64 ms)
{
    return TimestampDifferenceExceeds(since, GetCurrentTimestamp(), ms);
}

void group_session_check(GroupSession *session)
{
    Parameters parameters = { 0 };
    bool is_null;
    if (!is_over(session->checked_at, CHECK_EVERY_MS)) {
        return;
    }
    parameter_add(&parameters, INT4OID, Int32GetDatum(session->group_id), false);
    (void)query_value("SELECT streamhouse.session_check($1)", &parameters, &is_null);
    session->checked_at = GetCurrentTimestamp();
}

void group_session_seen(GroupSession *session)
{
    Parameters parameters = { 0 };
    bool is_null;
    if (!is_over(session->seen_at, session->join.poll_limit_ms / SEEN_PER_LIMIT)) {
        return;
    }
    parameter_add(&parameters, INT4OID, Int32GetDatum(session->group_id), false);
    parameter_add_text(&parameters, session->member_id);
    (void)query_value("SELECT streamhouse.session_seen($1, $2)", &parameters, &is_null);
    session->seen_at = GetCurrentTimestamp();
    session->seen_in = GetCurrentSubTransactionId();
}

/* False when the group is gone. */
static bool group_version(int32 group_id, int64 *version)
{
    KeyScan scan;
    key_scan_open(&scan, &group_by_id, AccessShareLock);
    key_scan_set(&scan, 0, Int32GetDatum(group_id));
    bool found = key_scan_seek(&scan, ForwardScanDirection);
    if (found) {
        *version = key_scan_int64(&scan, Anum_consumer_group_version);
    }
    key_scan_close(&scan);
    return found;
}

bool group_session_is_current(const GroupSession *session)
{
    int64 version;
    return session->is_known && group_version(session->group_id, &version) && version == session->version;
}

static _Noreturn void session_fence(GroupSession *session)
{
    group_session_forget(session);
    ereport(ERROR, errcode(ERRCODE_FENCED_MEMBER),
            errmsg("this session is no longer a member of group \"%s\"", session->name),
            errdetail("It was removed, or had not polled for longer than its poll limit of %d s.",
                      session->join.poll_limit_ms / 1000),
            errhint("The next sh_poll() outside of a transaction block joins again, as does sh_join()."));
    pg_unreachable();
}

static bool partition_is_before(const GroupPartition *a, const GroupPartition *b)
{
    return a->topic_id != b->topic_id ? a->topic_id < b->topic_id : a->partition < b->partition;
}

/* What the session knew about a partition that it had before. Both lists are in order: *place is where the
 * last one left off. */
static void partition_inherit(GroupPartition *partition, const GroupSession *session, int *place)
{
    while (*place < session->partition_count &&
           partition_is_before(&session->partitions[*place], partition)) {
        ++*place;
    }
    if (*place < session->partition_count && !partition_is_before(partition, &session->partitions[*place])) {
        partition->commit_id = session->partitions[*place].commit_id;
        partition->position = session->partitions[*place].position;
        partition->position_of = session->partitions[*place].position_of;
        partition->moved_in = session->partitions[*place].moved_in;
    }
}

/* Rows of (topic_id, partition, topic), in that order, in memory of their own. */
static void session_take_rows(GroupSession *session, SPITupleTable *rows, uint64 count)
{
    MemoryContext context =
        AllocSetContextCreate(TopMemoryContext, "StreamHouse group", ALLOCSET_SMALL_SIZES);
    GroupPartition *partitions = MemoryContextAllocExtended(context, Max(count, 1) * sizeof(GroupPartition),
                                                            MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
    int kept = 0;
    int place = 0;
    for (uint64 i = 0; i < count; i++) {
        bool is_null;
        Datum topic_id = SPI_getbinval(rows->vals[i], rows->tupdesc, 1, &is_null);
        if (is_null) {
            continue; /* a member without a partition */
        }
        GroupPartition *partition = &partitions[kept++];
        partition->topic_id = DatumGetInt32(topic_id);
        partition->partition = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc, 2, &is_null));
        partition->topic = MemoryContextStrdup(context, SPI_getvalue(rows->vals[i], rows->tupdesc, 3));
        group_position_forget(partition);
        partition_inherit(partition, session, &place);
    }
    MemoryContextDelete(session->context);
    session->context = context;
    session->partitions = partitions;
    session->partition_count = kept;
}

static const char partitions_query[] =
    "SELECT p.topic_id, p.partition, p.name FROM streamhouse.group_member AS m LEFT JOIN "
    "(SELECT g.group_id, g.target_member, g.topic_id, g.partition, t.name FROM streamhouse.group_partition "
    "AS g "
    "JOIN streamhouse.topic AS t USING (topic_id) WHERE g.owner_member IS NULL AND t.deleted_at IS NULL) AS "
    "p "
    "ON p.group_id = m.group_id AND p.target_member = m.member_id "
    "WHERE m.group_id = $1 AND m.member_id = $2 ORDER BY 1, 2";

static void session_read(GroupSession *session)
{
    static SPIPlanPtr plan = NULL;
    Datum values[] = { Int32GetDatum(session->group_id), CStringGetTextDatum(session->member_id) };
    Oid types[] = { INT4OID, TEXTOID };
    SPI_connect();
    if (!plan) {
        plan = SPI_prepare(partitions_query, lengthof(types), types);
        SPI_keepplan(plan);
    }
    int result =
        SPI_execute_snapshot(plan, values, NULL, GetActiveSnapshot(), InvalidSnapshot, true, false, 0);
    if (result != SPI_OK_SELECT) {
        elog(ERROR, "could not read a group's partitions: %s", SPI_result_code_string(result));
    }
    if (SPI_processed == 0) {
        session_fence(session);
    }
    session_take_rows(session, SPI_tuptable, SPI_processed);
    SPI_finish();
}

void group_session_refresh(GroupSession *session)
{
    int64 version;
    if (!group_version(session->group_id, &version)) {
        session_fence(session);
    }
    if (session->is_known && version == session->version) {
        return;
    }
    session->is_known = false;
    session_read(session);
    session->version = version;
    session->is_known = true;
}

void group_session_require_block(const char *name)
{
    ereport(
        ERROR, errcode(ERRCODE_UNKNOWN_MEMBER), errmsg("this session is not a member of group \"%s\"", name),
        errhint(
            "Call sh_join() first, outside of the transaction block: joining rearranges the group, which is "
            "done by calls that own their transaction."));
}

void group_session_forget(GroupSession *session)
{
    session->is_member = false;
    session->is_known = false;
    session->partition_count = 0;
}

/* member_require_topic(role, topic_id, topic): whether somebody else may. */
Datum streamhouse_member_require_topic(PG_FUNCTION_ARGS)
{
    Oid user;
    int security;
    Oid role = PG_GETARG_OID(0);
    char *topic = text_to_cstring(PG_GETARG_TEXT_PP(2));
    (void)GetUserNameFromId(role, false);
    GetUserIdAndSecContext(&user, &security);
    PG_TRY();
    {
        SetUserIdAndSecContext(role, security | SECURITY_LOCAL_USERID_CHANGE);
        access_require(PG_GETARG_INT32(1), topic, ACCESS_CONSUME);
    }
    PG_FINALLY();
    {
        SetUserIdAndSecContext(user, security);
    }
    PG_END_TRY();
    PG_RETURN_VOID();
}
