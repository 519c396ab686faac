/* marker.c: which copy of a database this is, and the gate that every append passes.
 *
 * A database that was proved to be the store's owner has the identity of the server that it ran on in its
 * row; a copy of it has that row, too, but another identity: restored and promoted ones begin a timeline, and
 * in a copied folder the control file is another file. It is made once, by initdb, pg_basebackup or whatever
 * copied it, and from then on written in place, so its inode and its birth tell a copy from the original, and
 * a volume that moved to another machine is still the original. */
#include "compat.h"
#include "marker.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "enum.h"
#include "fmgr.h"
#include "key_scan.h"
#include "setting.h"
#include "tables.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(streamhouse_server_identity);
PG_FUNCTION_INFO_V1(streamhouse_marker_require_history);
PG_FUNCTION_INFO_V1(streamhouse_marker_is_elsewhere);
PG_FUNCTION_INFO_V1(streamhouse_marker_due_ms);

enum { IDENTITY_MAX = 128 };

#define CONTROL_FILE "global/pg_control" /* below the data folder, where every backend runs */

typedef struct ServerIdentity {
    TimeLineID timeline; /* it is of; 0: not known yet */
    char text[IDENTITY_MAX];
} ServerIdentity;

static const KeyScanSpec owner_by_key = { "store_owner", "store_owner_pkey", 1, { KEY_INT4_EQUAL } };

static const KeyScanSpec marker_by_key = { "store_marker", "store_marker_pkey", 1, { KEY_INT4_EQUAL } };

static ServerIdentity identity;

/* File systems that do not keep the time of birth give 0. */
static void control_file_identity(uint64 *inode, int64 *born_ns)
{
    struct statx file;
    if (statx(AT_FDCWD, CONTROL_FILE, 0, STATX_INO | STATX_BTIME, &file) != 0) {
        ereport(ERROR, errcode_for_file_access(), errmsg("could not stat file \"%s\": %m", CONTROL_FILE));
    }
    *inode = file.stx_ino;
    *born_ns = file.stx_mask & STATX_BTIME ? file.stx_btime.tv_sec * 1000000000 + file.stx_btime.tv_nsec : 0;
}

/* The timeline of one's own changes under a session that began before a promotion. */
static const char *server_identity(void)
{
    TimeLineID timeline = RecoveryInProgress() ? 0 : compat_timeline();
    if (identity.timeline == 0 || identity.timeline != timeline) {
        uint64 inode;
        int64 born_ns;
        control_file_identity(&inode, &born_ns);
        snprintf(identity.text, sizeof(identity.text), UINT64_FORMAT "/%u/" UINT64_FORMAT "/" INT64_FORMAT,
                 GetSystemIdentifier(), timeline, inode, born_ns);
        identity.timeline = timeline;
    }
    return identity.text;
}

Datum streamhouse_server_identity(PG_FUNCTION_ARGS)
{
    PG_RETURN_TEXT_P(cstring_to_text(server_identity()));
}

static bool owner_is_in_state(KeyScan *owner, const char *state)
{
    return DatumGetObjectId(key_scan_column(owner, Anum_store_owner_state)) ==
           enum_value("ownership_state", state);
}

static bool owner_server_is_this(KeyScan *owner)
{
    return strcmp(TextDatumGetCString(key_scan_column(owner, Anum_store_owner_server)), server_identity()) ==
           0;
}

static bool owner_is_here(KeyScan *owner)
{
    return owner_is_in_state(owner, "new") ||
           (owner_is_in_state(owner, "owner") && owner_server_is_this(owner));
}

static bool owner_is_elsewhere(KeyScan *owner)
{
    return owner_is_in_state(owner, "owner") && !owner_server_is_this(owner);
}

/* As the active snapshot sees it; otherwise while there is no row. */
static bool owner_check(bool (*check)(KeyScan *owner), bool otherwise)
{
    KeyScan scan;
    key_scan_open(&scan, &owner_by_key, AccessShareLock);
    key_scan_set(&scan, 0, Int32GetDatum(1));
    bool found = key_scan_seek(&scan, ForwardScanDirection);
    bool result = found ? check(&scan) : otherwise;
    key_scan_close(&scan);
    return result;
}

static bool marker_holds(void)
{
    return owner_check(owner_is_here, true);
}

bool marker_is_elsewhere(void)
{
    return owner_check(owner_is_elsewhere, false);
}

static bool owner_is_lost(KeyScan *owner)
{
    return owner_is_in_state(owner, "lost");
}

/* After a promotion it takes an agent seconds to prove who is the owner. Clients run a transaction again that
 * ends with 40001, and not one that ends with 55000. */
static int marker_sqlstate(void)
{
    return owner_check(owner_is_lost, false) ? ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
                                             : ERRCODE_T_R_SERIALIZATION_FAILURE;
}

void marker_require(void)
{
    PushActiveSnapshot(GetLatestSnapshot());
    if (!marker_holds()) {
        ereport(
            ERROR, errcode(marker_sqlstate()),
            errmsg("this database is not known to be the owner of its object store, so it gives no offsets"),
            errhint("SELECT * FROM streamhouse.ownership says why. After a start elsewhere or a promotion "
                    "an agent proves it within seconds: run the transaction again. If this is a copy or a "
                    "restored backup that is to go on in the place of the original, call sh_adopt()."));
    }
    PopActiveSnapshot();
}

void marker_require_history(void)
{
    if (!RecoveryInProgress() && !marker_holds()) {
        ereport(ERROR, errcode(marker_sqlstate()),
                errmsg("this database is not known to be the owner of its object store, so it does not know "
                       "where the log "
                       "ends"),
                errhint("SELECT * FROM streamhouse.ownership says why, and what to do."));
    }
}

Datum streamhouse_marker_require_history(PG_FUNCTION_ARGS)
{
    marker_require_history();
    PG_RETURN_VOID();
}

Datum streamhouse_marker_is_elsewhere(PG_FUNCTION_ARGS)
{
    PG_RETURN_BOOL(marker_is_elsewhere());
}

/* ---- When the next one is due ---- */

/* When an agent was last told to write or look; false: never. */
static bool marker_begun_at(TimestampTz *begun_at)
{
    KeyScan scan;
    bool never = true;
    key_scan_open(&scan, &marker_by_key, AccessShareLock);
    key_scan_set(&scan, 0, Int32GetDatum(1));
    if (key_scan_seek(&scan, ForwardScanDirection)) {
        Datum value = key_scan_nullable(&scan, Anum_store_marker_begun_at, &never);
        *begun_at = never ? 0 : DatumGetTimestampTz(value);
    }
    key_scan_close(&scan);
    return !never;
}

static bool owner_changed_after(TimestampTz begun_at)
{
    KeyScan scan;
    key_scan_open(&scan, &owner_by_key, AccessShareLock);
    key_scan_set(&scan, 0, Int32GetDatum(1));
    bool changed = !key_scan_seek(&scan, ForwardScanDirection) ||
                   DatumGetTimestampTz(key_scan_column(&scan, Anum_store_owner_changed_at)) > begun_at;
    key_scan_close(&scan);
    return changed;
}

Datum streamhouse_marker_due_ms(PG_FUNCTION_ARGS)
{
    TimestampTz begun_at;
    if (!marker_begun_at(&begun_at) || begun_at < server_started_at() || owner_changed_after(begun_at)) {
        PG_RETURN_INT32(0);
    }
    TimestampTz due_at = begun_at + setting_marker_interval_s * USECS_PER_SEC;
    PG_RETURN_INT32((int32)TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due_at));
}
