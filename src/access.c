/* access.c: what a role may do with a topic.
 *
 * Roles with the right to every topic are asked for first, then the rows of streamhouse.topic_grant, which
 * speak of one topic by its id, or of all whose names begin with a prefix under topic_id 0. A grant counts
 * for everybody who has the privileges of its role. What was allowed is remembered until the transaction
 * ends, since a call per record asks; it is forgotten early when this transaction revokes, or when a part of
 * it that may have granted is rolled back. */
#include "compat.h"
#include "access.h"

#include "access/xact.h"
#include "commands/user.h"
#include "enum.h"
#include "fmgr.h"
#include "key_scan.h"
#include "owner.h"
#include "tables.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(streamhouse_access_require);
PG_FUNCTION_INFO_V1(streamhouse_access_forget);

/* In the place of a topic's id: a prefix of names; in that of a role: everybody. */
enum { GRANT_PREFIX_TOPIC = 0, GRANT_EVERYBODY = InvalidOid };

static const struct {
    const char *name; /* in topic_privilege, and in errors */
    const char *role; /* has it on every topic */
    const char *what;
} privileges[] = {
    [ACCESS_PRODUCE] = { "produce", "streamhouse_producer", "produce to" },
    [ACCESS_CONSUME] = { "consume", "streamhouse_consumer", "consume from" },
};

static const char *const roles_of_everything[] = { "streamhouse_admin", "streamhouse_agent" };

typedef struct AccessKey {
    Oid role;
    int32 topic_id;
    int32 privilege;
} AccessKey;
StaticAssertDecl(sizeof(AccessKey) == 12, "a key without padding can be hashed as bytes");

/* Of this transaction, and in its memory. */
static HTAB *allowed = NULL;
static AccessKey last_allowed = { InvalidOid, 0, 0 };

static void access_forget(void)
{
    if (allowed) {
        hash_destroy(allowed);
    }
    allowed = NULL;
    last_allowed.role = InvalidOid;
}

/* The table's memory goes with the transaction. */
static void transaction_ended(XactEvent event, void *argument)
{
    allowed = NULL;
    access_forget();
}

static void subtransaction_ended(SubXactEvent event, SubTransactionId id, SubTransactionId parent,
                                 void *argument)
{
    if (event == SUBXACT_EVENT_ABORT_SUB) {
        access_forget();
    }
}

static void access_remember(const AccessKey *key)
{
    static bool registered = false;
    if (!registered) {
        RegisterXactCallback(transaction_ended, NULL);
        RegisterSubXactCallback(subtransaction_ended, NULL);
        registered = true;
    }
    if (!allowed) {
        HASHCTL control = { .keysize = sizeof(AccessKey),
                            .entrysize = sizeof(AccessKey),
                            .hcxt = TopTransactionContext };
        allowed = hash_create("StreamHouse rights", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
    }
    (void)hash_search(allowed, key, HASH_ENTER, NULL);
    last_allowed = *key;
}

static bool access_is_remembered(const AccessKey *key)
{
    if (memcmp(key, &last_allowed, sizeof(*key)) == 0 && OidIsValid(key->role)) {
        return true;
    }
    return allowed && hash_search(allowed, key, HASH_FIND, NULL);
}

/* Somebody may have dropped or renamed the role: then nobody has its rights. */
static bool has_rights_of(Oid role, const char *of)
{
    Oid of_id = get_role_oid(of, true);
    return OidIsValid(of_id) && has_privs_of_role(role, of_id);
}

static bool role_may_everywhere(Oid role, AccessPrivilege privilege)
{
    if (superuser_arg(role) || has_privs_of_role(role, owner_id())) {
        return true;
    }
    for (size_t i = 0; i < lengthof(roles_of_everything); i++) {
        if (has_rights_of(role, roles_of_everything[i])) {
            return true;
        }
    }
    return has_rights_of(role, privileges[privilege].role);
}

/* A role that was dropped leaves its grants behind: nobody has its rights. */
static bool grant_is_for(KeyScan *scan, Oid role)
{
    Oid grantee = DatumGetObjectId(key_scan_column(scan, Anum_topic_grant_role));
    if (grantee == GRANT_EVERYBODY) {
        return true;
    }
    return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(grantee)) && has_privs_of_role(role, grantee);
}

static bool grant_covers(KeyScan *scan, const char *topic)
{
    char *prefix = TextDatumGetCString(key_scan_column(scan, Anum_topic_grant_prefix));
    bool covers = topic && strncmp(topic, prefix, strlen(prefix)) == 0;
    pfree(prefix);
    return covers;
}

static bool grant_found(KeyScan *scan, int32 topic_id, const char *topic, Oid role, Oid privilege)
{
    key_scan_set(scan, 0, Int32GetDatum(topic_id));
    for (bool found = key_scan_seek(scan, ForwardScanDirection); found;
         found = key_scan_next(scan, ForwardScanDirection)) {
        if (DatumGetObjectId(key_scan_column(scan, Anum_topic_grant_privilege)) == privilege &&
            (topic_id != GRANT_PREFIX_TOPIC || grant_covers(scan, topic)) && grant_is_for(scan, role)) {
            return true;
        }
    }
    return false;
}

/* Under a snapshot of its own: a grant is for now, not for when a long transaction began. */
static bool role_was_granted(Oid role, int32 topic_id, const char *topic, AccessPrivilege privilege)
{
    static const KeyScanSpec by_topic = { "topic_grant", "topic_grant_pkey", 1, { KEY_INT4_EQUAL } };
    Oid value = enum_value("topic_privilege", privileges[privilege].name);
    KeyScan scan;
    PushActiveSnapshot(IsInParallelMode() ? GetActiveSnapshot() : GetLatestSnapshot());
    key_scan_open(&scan, &by_topic, AccessShareLock);
    bool found = grant_found(&scan, topic_id, topic, role, value) ||
                 grant_found(&scan, GRANT_PREFIX_TOPIC, topic, role, value);
    key_scan_release(&scan, AccessShareLock);
    PopActiveSnapshot();
    return found;
}

void access_require(int32 topic_id, const char *topic, AccessPrivilege privilege)
{
    AccessKey key = { access_caller(), topic_id, privilege };
    if (access_is_remembered(&key)) {
        return;
    }
    if (!role_may_everywhere(key.role, privilege) &&
        !role_was_granted(key.role, topic_id, topic, privilege)) {
        const char *name = topic ? topic : "";
        const char *role = GetUserNameFromId(key.role, false);
        ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                errmsg("role \"%s\" may not %s topic \"%s\"", role, privileges[privilege].what, name),
                errhint("An administrator can allow it: SELECT sh_grant(%s, %s, '%s');",
                        quote_literal_cstr(name), quote_literal_cstr(role), privileges[privilege].name));
    }
    access_remember(&key);
}

static AccessPrivilege privilege_named(const char *name)
{
    for (size_t i = 0; i < lengthof(privileges); i++) {
        if (strcmp(privileges[i].name, name) == 0) {
            return (AccessPrivilege)i;
        }
    }
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no privilege \"%s\"", name),
            errhint("Privileges on topics are produce and consume."));
}

/* streamhouse.access_require(): for functions in SQL that run within streamhouse_as_owner. */
Datum streamhouse_access_require(PG_FUNCTION_ARGS)
{
    access_require(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)),
                   privilege_named(text_to_cstring(PG_GETARG_TEXT_PP(2))));
    PG_RETURN_VOID();
}

/* streamhouse.access_forget(): after a revoke. */
Datum streamhouse_access_forget(PG_FUNCTION_ARGS)
{
    access_forget();
    PG_RETURN_VOID();
}
