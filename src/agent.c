/* agent.c: the heartbeat that brings no news, as nearly all are: the agent is as it was, and nothing waits
 * for it. All that is to be done then is to move the time at which the agent expires, and that is done here,
 * by index scans, since hundreds of sessions do it for ever. When anything else may have to be done, nothing
 * is, and sh_agent_heartbeat() takes the long way, in SQL.
 *
 * Such a heartbeat's commit need not wait for the disk. When the server crashes, the row may be as it was
 * some hundred milliseconds before, and say that the agent expires earlier than the agent was told. But what
 * is lost was answered before the crash, and no agent expires for one TTL after the start
 * (streamhouse.live_agent), which is the TTL of the heartbeat that was lost, too: another one goes the long
 * way. So the agent has stopped by itself before anybody else may begin. For this the start must be known:
 * without shared memory of ours, a server that begins anew when a backend has crashed keeps its start time,
 * and there the commit waits. A standby that is promoted was behind its primary before, and promotion is a
 * start. But a primary that has synchronous standbys must not renew a lease when they have gone on without
 * it, so there the commit waits for them, as for a disk. Whatever a transaction writes besides is waited for
 * in any case. */
#include "compat.h"
#include "agent.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "key_scan.h"
#include "marker.h"
#include "replication/syncrep.h"
#include "row_writer.h"
#include "tables.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(streamhouse_agent_renew_only);
PG_FUNCTION_INFO_V1(streamhouse_agent_renewed_only);
PG_FUNCTION_INFO_V1(streamhouse_agent_require);

enum Argument {
    NAME,
    INCARNATION,
    KAFKA_HOST,
    KAFKA_PORT,
    HTTP_HOST,
    HTTP_PORT,
    ZONE,
    AGENT_GROUP,
    LEASE_WEIGHT,
    DRAINING,
    VERSION,
    LEASE_VERSION,
    SAID_COUNT,
    TTL_MS = SAID_COUNT
};

/* What a heartbeat says, and the row has, too. */
static const AttrNumber said_columns[SAID_COUNT] = {
    [NAME] = Anum_agent_name,
    [INCARNATION] = Anum_agent_incarnation,
    [KAFKA_HOST] = Anum_agent_kafka_host,
    [KAFKA_PORT] = Anum_agent_kafka_port,
    [HTTP_HOST] = Anum_agent_http_host,
    [HTTP_PORT] = Anum_agent_http_port,
    [ZONE] = Anum_agent_zone,
    [AGENT_GROUP] = Anum_agent_agent_group,
    [LEASE_WEIGHT] = Anum_agent_lease_weight,
    [DRAINING] = Anum_agent_draining,
    [VERSION] = Anum_agent_version,
    [LEASE_VERSION] = Anum_agent_lease_version,
};

enum { US_PER_MS = 1000 };

static const KeyScanSpec agent_by_name = { "agent", "agent_name_key", 1, { KEY_TEXT_EQUAL } };
static const KeyScanSpec agent_by_id = { "agent", "agent_pkey", 1, { KEY_INT4_EQUAL } };
static const KeyScanSpec notice_by_agent = { "lease_notice", "lease_notice_agent", 1, { KEY_INT4_EQUAL } };
static const KeyScanSpec clusters = { "cluster", "cluster_pkey", 0 };
static const KeyScanSpec stale_epochs = { "stale_epoch", "stale_epoch_pkey", 0 };

/* ---- A commit that does not wait ---- */

/* Where the WAL of a heartbeat ends that is all of its transaction so far; 0: none is. */
static XLogRecPtr renewal_end = InvalidXLogRecPtr;

static bool commit_may_be_lost(void)
{
    return watch_is_shared() && (!SyncRepStandbyNames || !SyncRepStandbyNames[0]);
}

static void transaction_ends(XactEvent event, void *argument)
{
    if (event == XACT_EVENT_PRE_COMMIT && renewal_end != InvalidXLogRecPtr && renewal_end == XactLastRecEnd &&
        commit_may_be_lost()) {
        (void)set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL,
                                true, 0, false);
    }
    if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE) {
        renewal_end = InvalidXLogRecPtr;
    }
}

void agent_renewed_only(void)
{
    if (renewal_end != InvalidXLogRecPtr) {
        renewal_end = XactLastRecEnd;
    }
}

Datum streamhouse_agent_renewed_only(PG_FUNCTION_ARGS)
{
    agent_renewed_only();
    PG_RETURN_BOOL(renewal_end != InvalidXLogRecPtr && commit_may_be_lost());
}

void agent_init(void)
{
    RegisterXactCallback(transaction_ends, NULL);
}

/* ---- Is there anything else to do? ---- */

/* See streamhouse.timeline_follow(). */
static bool timeline_is_followed(void)
{
    KeyScan scan;
    key_scan_open(&scan, &clusters, AccessShareLock);
    bool followed = key_scan_seek(&scan, ForwardScanDirection) &&
                    key_scan_int32(&scan, Anum_cluster_timeline) == (int32)compat_timeline();
    key_scan_close(&scan);
    return followed && !key_scan_any(&stale_epochs, (Datum)0);
}

static bool row_says_the_same(FunctionCallInfo fcinfo, KeyScan *row)
{
    for (int i = 0; i < SAID_COUNT; i++) {
        bool is_null;
        Datum value = key_scan_nullable(row, said_columns[i], &is_null);
        Form_pg_attribute column = TupleDescAttr(row->slot->tts_tupleDescriptor, said_columns[i] - 1);
        if (is_null != PG_ARGISNULL(i) ||
            (!is_null && !datum_image_eq(value, PG_GETARG_DATUM(i), column->attbyval, column->attlen))) {
            return false;
        }
    }
    return true;
}

/* Whether it lives, and is to live for as long as after its last heartbeat. */
static bool row_goes_on(KeyScan *row, TimestampTz now, int64 ttl_us)
{
    TimestampTz expires_at = DatumGetTimestampTz(key_scan_column(row, Anum_agent_expires_at));
    TimestampTz heartbeat_at = DatumGetTimestampTz(key_scan_column(row, Anum_agent_heartbeat_at));
    return expires_at > now && expires_at - heartbeat_at == ttl_us;
}

static bool is_all(FunctionCallInfo fcinfo, KeyScan *row, TimestampTz now, int64 ttl_us)
{
    return row_says_the_same(fcinfo, row) && row_goes_on(row, now, ttl_us) &&
           !key_scan_any(&notice_by_agent, key_scan_column(row, Anum_agent_agent_id)) &&
           timeline_is_followed() && !marker_is_elsewhere();
}

/* ---- The renewal ---- */

static bool row_renew(KeyScan *row, TimestampTz now, int64 ttl_us)
{
    TupleTableSlot *renewed = row_copy(row->table, row->slot);
    row_set(renewed, Anum_agent_heartbeat_at, TimestampTzGetDatum(now));
    row_set(renewed, Anum_agent_expires_at, TimestampTzGetDatum(now + ttl_us));
    bool done = row_replace(row->table, row->slot, renewed);
    ExecDropSingleTupleTableSlot(renewed);
    return done;
}

/* The id of an agent that was renewed; NULL when there may be more to do, and nothing was done. */
Datum streamhouse_agent_renew_only(PG_FUNCTION_ARGS)
{
    KeyScan row;
    TimestampTz now = GetCurrentTimestamp();
    bool is_alone = XactLastRecEnd == InvalidXLogRecPtr;
    if (PG_ARGISNULL(NAME) || PG_ARGISNULL(TTL_MS) || PG_ARGISNULL(DRAINING) || PG_GETARG_BOOL(DRAINING) ||
        XactReadOnly || RecoveryInProgress()) {
        PG_RETURN_NULL();
    }
    int64 ttl_us = (int64)PG_GETARG_INT32(TTL_MS) * US_PER_MS;
    key_scan_open(&row, &agent_by_name, RowExclusiveLock);
    key_scan_set_text(&row, 0, text_to_cstring(PG_GETARG_TEXT_PP(NAME)));
    bool renewed = key_scan_seek(&row, ForwardScanDirection) && is_all(fcinfo, &row, now, ttl_us) &&
                   row_renew(&row, now, ttl_us);
    int32 agent_id = renewed ? key_scan_int32(&row, Anum_agent_agent_id) : 0;
    key_scan_close(&row);
    if (!renewed) {
        PG_RETURN_NULL();
    }
    renewal_end = is_alone ? XactLastRecEnd : InvalidXLogRecPtr;
    PG_RETURN_INT32(agent_id);
}

Datum streamhouse_agent_require(PG_FUNCTION_ARGS)
{
    if (PG_ARGISNULL(0) || !key_scan_any(&agent_by_id, PG_GETARG_DATUM(0))) {
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
                PG_ARGISNULL(0) ? errmsg("agent null does not exist")
                                : errmsg("agent %d does not exist", PG_GETARG_INT32(0)),
                errhint("Register with sh_agent_heartbeat()."));
    }
    PG_RETURN_BOOL(true);
}
