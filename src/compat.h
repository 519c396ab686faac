/* compat.h: what differs between PostgreSQL 14 and 18. The only file that names PG_VERSION_NUM. */
#ifndef STREAMHOUSE_COMPAT_H
#define STREAMHOUSE_COMPAT_H

#include "postgres.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/guc.h"

/* The server's macro of that name, which its backends do not need, would break our enum in common/status.h.
 */
#undef STATUS_OK

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

/* From 15 on, there is a generator of random numbers to share; before, POSIX's. At least 0, less than 1. */
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#define compat_random_fraction() pg_prng_double(&pg_global_prng_state)
#else
#define compat_random_fraction() ((double)random() / ((double)MAX_RANDOM_VALUE + 1))
#endif

/* From 17 on, a JSON lexer may be in the caller's memory. */
#if PG_VERSION_NUM >= 170000
#define compat_json_lexer(text, size) makeJsonLexContextCstringLen(NULL, (text), (size), PG_UTF8, true)
#else
#define compat_json_lexer(text, size) makeJsonLexContextCstringLen((text), (size), PG_UTF8, true)
#endif

/* From 18 on, base64 takes bytes; before, char. */
#if PG_VERSION_NUM >= 180000
#define compat_b64_source(bytes) (bytes)
#else
#define compat_b64_source(bytes) ((const char *)(bytes))
#endif

/* From 16 on, summarizing indexes (BRIN) can be told apart. */
#if PG_VERSION_NUM >= 160000
#define compat_insert_index_tuples(result, slot, estate)                                                     \
    ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL, false)
#else
#define compat_insert_index_tuples(result, slot, estate)                                                     \
    ExecInsertIndexTuples((result), (slot), (estate), false, false, NULL, NIL)
#endif

/* From 16 on, a table can be made longer by many pages at once, and its file's number has another place. */
#if PG_VERSION_NUM >= 160000
#define COMPAT_SMGR_ZEROEXTEND    1
#define compat_file_number(table) ((table)->rd_locator.relNumber)
#else
#define compat_file_number(table) ((table)->rd_node.relNode)
#endif

/* From 15 on, a function opens what a table's files are written through; before, a macro that is a statement.
 */
#if PG_VERSION_NUM >= 150000
#define compat_smgr(table) RelationGetSmgr(table)
#else
#include "storage/smgr.h"
#include "utils/rel.h"
static inline SMgrRelation compat_smgr(Relation table)
{
    RelationOpenSmgr(table);
    return table->rd_smgr;
}
#endif

/* From 16 on, table_tuple_update() says which indexes need an entry for the new version of a row; before,
 * whether they do. Zero for none either way. */
#if PG_VERSION_NUM >= 160000
#define compat_index_update_t TU_UpdateIndexes
#else
#define compat_index_update_t bool
#endif

/* As libpq/libpq.h declares it, which cannot be included without GSSAPI's headers where PostgreSQL was built
 * with it. */
extern bool pq_check_connection(void);

#endif
