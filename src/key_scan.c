/* key_scan.c: index scans by primary key, opened once per call and moved from key to key. */
#include "compat.h"
#include "key_scan.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* A call opens a dozen tables and indexes: what the catalog said of them is kept until it changes. */
enum { KNOWN_RELATIONS = 64 };

typedef struct KnownRelation {
    NameData
        name; /* in the place that the address of its literal has; another name may come to that address */
    Oid relation;
} KnownRelation;

static KnownRelation known[KNOWN_RELATIONS];

static void known_forget(Datum argument, int cache, uint32 hash)
{
    memset(known, 0, sizeof(known));
}

static KnownRelation *known_place(const char *name)
{
    static bool is_listening = false;
    if (!is_listening) {
        CacheRegisterSyscacheCallback(RELNAMENSP, known_forget, (Datum)0);
        CacheRegisterSyscacheCallback(NAMESPACENAME, known_forget, (Datum)0);
        is_listening = true;
    }
    return &known[(uintptr_t)name / sizeof(void *) % KNOWN_RELATIONS];
}

Oid streamhouse_relation(const char *name)
{
    KnownRelation *place = known_place(name);
    if (strcmp(NameStr(place->name), name) == 0) {
        return place->relation;
    }
    Oid relation = get_relname_relid(name, get_namespace_oid("streamhouse", false));
    if (!OidIsValid(relation)) {
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
                errmsg("relation \"streamhouse.%s\" does not exist", name),
                errhint("Is the extension's version the library's? See ALTER EXTENSION streamhouse UPDATE."));
    }
    namestrcpy(&place->name, name);
    place->relation = relation;
    return relation;
}

void key_scan_open(KeyScan *scan, const KeyScanSpec *spec, LOCKMODE lock)
{
    scan->table = table_open(streamhouse_relation(spec->table), lock);
    scan->index = index_open(streamhouse_relation(spec->index), lock);
    scan->key_count = spec->key_count;
    for (int i = 0; i < spec->key_count; i++) {
        AttrNumber column = spec->columns[i] ? spec->columns[i] : i + 1;
        ScanKeyInit(&scan->keys[i], column, spec->keys[i].strategy, spec->keys[i].compare, (Datum)0);
    }
    scan->slot = table_slot_create(scan->table, NULL);
    scan->scan = compat_index_beginscan(scan->table, scan->index, GetActiveSnapshot(), spec->key_count);
}

void key_scan_close(KeyScan *scan)
{
    index_endscan(scan->scan);
    ExecDropSingleTupleTableSlot(scan->slot);
    index_close(scan->index, NoLock);
    table_close(scan->table, NoLock);
}

void key_scan_release(KeyScan *scan, LOCKMODE lock)
{
    index_endscan(scan->scan);
    ExecDropSingleTupleTableSlot(scan->slot);
    index_close(scan->index, lock);
    table_close(scan->table, lock);
}

void key_scan_set_text(KeyScan *scan, int key, const char *text)
{
    scan->keys[key].sk_collation = scan->index->rd_indcollation[scan->keys[key].sk_attno - 1];
    key_scan_set(scan, key, CStringGetTextDatum(text));
}

bool key_scan_seek(KeyScan *scan, ScanDirection direction)
{
    index_rescan(scan->scan, scan->keys, scan->key_count, NULL, 0);
    return index_getnext_slot(scan->scan, direction, scan->slot);
}

bool key_scan_next(KeyScan *scan, ScanDirection direction)
{
    return index_getnext_slot(scan->scan, direction, scan->slot);
}

bool key_scan_any(const KeyScanSpec *spec, Datum key)
{
    KeyScan scan;
    key_scan_open(&scan, spec, AccessShareLock);
    if (spec->key_count > 0) {
        key_scan_set(&scan, 0, key);
    }
    bool found = key_scan_seek(&scan, ForwardScanDirection);
    key_scan_close(&scan);
    return found;
}

TM_Result key_scan_lock(KeyScan *scan, LockWaitPolicy wait)
{
    TM_FailureData failure;
    ItemPointerData found = scan->slot->tts_tid;
    TM_Result result =
        table_tuple_lock(scan->table, &found, GetActiveSnapshot(), scan->slot, GetCurrentCommandId(false),
                         LockTupleExclusive, wait, TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
    if (result != TM_Ok && result != TM_WouldBlock && result != TM_Deleted) {
        elog(ERROR, "could not lock a row of \"%s\": %d", RelationGetRelationName(scan->table), result);
    }
    return result;
}

Datum key_scan_nullable(KeyScan *scan, AttrNumber column, bool *is_null)
{
    return slot_getattr(scan->slot, column, is_null);
}

Datum key_scan_column(KeyScan *scan, AttrNumber column)
{
    bool is_null;
    Datum value = slot_getattr(scan->slot, column, &is_null);
    if (is_null) {
        elog(ERROR, "column %d of \"%s\" is null", column, RelationGetRelationName(scan->table));
    }
    return value;
}
