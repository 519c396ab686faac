/* key_scan.h: looks rows up by the leading columns of a primary key, again and again, without planner and
 * executor. Open, then for every key: set, seek, maybe next; close. */
#ifndef STREAMHOUSE_KEY_SCAN_H
#define STREAMHOUSE_KEY_SCAN_H

#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "nodes/lockoptions.h"
#include "relation.h"
#include "utils/fmgroids.h"

enum { KEY_SCAN_KEYS_MAX = 4 };

/* How a key compares with its column. */
#define KEY_INT4_EQUAL                                                                                       \
    {                                                                                                        \
        BTEqualStrategyNumber, F_INT4EQ                                                                      \
    }
#define KEY_INT4_FROM                                                                                        \
    {                                                                                                        \
        BTGreaterEqualStrategyNumber, F_INT4GE                                                               \
    }
#define KEY_INT4_TO                                                                                          \
    {                                                                                                        \
        BTLessEqualStrategyNumber, F_INT4LE                                                                  \
    }
#define KEY_INT8_EQUAL                                                                                       \
    {                                                                                                        \
        BTEqualStrategyNumber, F_INT8EQ                                                                      \
    }
#define KEY_INT8_FROM                                                                                        \
    {                                                                                                        \
        BTGreaterEqualStrategyNumber, F_INT8GE                                                               \
    }
#define KEY_INT8_BEYOND                                                                                      \
    {                                                                                                        \
        BTGreaterStrategyNumber, F_INT8GT                                                                    \
    }

#define KEY_TEXT_EQUAL                                                                                       \
    {                                                                                                        \
        BTEqualStrategyNumber, F_TEXTEQ                                                                      \
    }

/* What is compared with what: columns of the index, from the first on, each with a btree strategy. */
typedef struct KeyScanSpec {
    const char *table; /* in schema streamhouse */
    const char *index;
    int key_count;
    struct {
        StrategyNumber strategy;
        RegProcedure compare;
    } keys[KEY_SCAN_KEYS_MAX];
    AttrNumber columns[KEY_SCAN_KEYS_MAX]; /* of the index; zeros: the first key_count ones */
} KeyScanSpec;

typedef struct KeyScan {
    Relation table;
    Relation index;
    IndexScanDesc scan;
    TupleTableSlot *slot; /* the row found */
    int key_count;
    ScanKeyData keys[KEY_SCAN_KEYS_MAX];
} KeyScan;

/* Takes the lock and keeps it to the transaction's end. Sees what the active snapshot sees. */
extern void key_scan_open(KeyScan *scan, const KeyScanSpec *spec, LOCKMODE lock);
extern void key_scan_close(KeyScan *scan);
/* Likewise, and gives the lock back that key_scan_open() took. */
extern void key_scan_release(KeyScan *scan, LOCKMODE lock);

static inline void key_scan_set(KeyScan *scan, int key, Datum value)
{
    scan->keys[key].sk_argument = value;
}

/* A key of KEY_TEXT_EQUAL, under the collation that the index was built with. */
extern void key_scan_set_text(KeyScan *scan, int key, const char *text);

/* Starts over with the keys as they are set; false when no row matches. */
extern bool key_scan_seek(KeyScan *scan, ScanDirection direction);
extern bool key_scan_next(KeyScan *scan, ScanDirection direction);

/* Whether there is any row: with this key, or at all when spec has none. */
extern bool key_scan_any(const KeyScanSpec *spec, Datum key);

/* Locks the row found as FOR UPDATE does, SKIP LOCKED with LockWaitSkip; the slot then has its latest
 * version. TM_Ok, TM_WouldBlock (somebody has it) or TM_Deleted. */
extern TM_Result key_scan_lock(KeyScan *scan, LockWaitPolicy wait);

/* A column that is never null, and one that may be. */
extern Datum key_scan_column(KeyScan *scan, AttrNumber column);
extern Datum key_scan_nullable(KeyScan *scan, AttrNumber column, bool *is_null);

static inline int64 key_scan_int64(KeyScan *scan, AttrNumber column)
{
    return DatumGetInt64(key_scan_column(scan, column));
}

static inline int32 key_scan_int32(KeyScan *scan, AttrNumber column)
{
    return DatumGetInt32(key_scan_column(scan, column));
}

#endif
