/* compat.h: what differs between PostgreSQL 14 and 18. The only file that names PG_VERSION_NUM. */
#ifndef STREAMHOUSE_COMPAT_H
#define STREAMHOUSE_COMPAT_H

#include "postgres.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#if PG_VERSION_NUM < 140000 || PG_VERSION_NUM >= 190000
#error "StreamHouse needs PostgreSQL 14 to 18"
#endif

#if PG_VERSION_NUM < 150000
#define MarkGUCPrefixReserved(prefix) EmitWarningsOnPlaceholders(prefix)
#endif

/* From 15 on, shared memory is asked for in a hook; before, _PG_init asks. */
#if PG_VERSION_NUM >= 150000
#define COMPAT_SHMEM_REQUEST_HOOK 1
#endif

/* From 15 on, the timeline that is written to is asked for; before, it is a variable that
 * RecoveryInProgress() sets. */
#if PG_VERSION_NUM >= 150000
#define compat_timeline() GetWALInsertionTimeLine()
#else
#define compat_timeline() ThisTimeLineID
#endif

/* From 18 on, an index scan can count for EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#define compat_index_beginscan(table, index, snapshot, keys)                                                 \
    index_beginscan((table), (index), (snapshot), NULL, (keys), 0)
#else
#define compat_index_beginscan(table, index, snapshot, keys)                                                 \
    index_beginscan((table), (index), (snapshot), (keys), 0)
#endif

/* From 16 on, summarizing indexes (BRIN) can be told apart. */
#if PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(result, slot, estate)                                                     \
    ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL, false)
#else
#define compat_insert_index_tuples(result, slot, estate)                                                     \
    ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL)
#endif

#endif
