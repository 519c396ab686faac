/* result_rows.c: rows of a set-returning function; spills to disk beyond work_mem. */
#include "compat.h"
#include "result_rows.h"

#include "miscadmin.h"
#include "utils/memutils.h"

enum { RESULT_COLUMNS_MAX = 16 };

static void check_caller(ReturnSetInfo *caller)
{
    if (!caller || !IsA(caller, ReturnSetInfo) || !(caller->allowedModes & SFRM_Materialize)) {
        ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                errmsg("a set of rows was given where none is accepted"),
                errhint("Call the function in FROM: SELECT * FROM sh_…(…)."));
    }
}

ResultRows result_rows_open(FunctionCallInfo fcinfo)
{
    ReturnSetInfo *caller = (ReturnSetInfo *)fcinfo->resultinfo;
    ResultRows rows;
    check_caller(caller);
    MemoryContext before = MemoryContextSwitchTo(caller->econtext->ecxt_per_query_memory);
    if (get_call_result_type(fcinfo, NULL, &rows.row_type) != TYPEFUNC_COMPOSITE ||
        rows.row_type->natts > RESULT_COLUMNS_MAX) {
        elog(ERROR, "the function's result is not the row type that the library knows");
    }
    rows.row_type = BlessTupleDesc(rows.row_type);
    bool goes_back = (caller->allowedModes & SFRM_Materialize_Random) != 0;
    rows.store = tuplestore_begin_heap(goes_back, false, work_mem);
    caller->returnMode = SFRM_Materialize;
    caller->setResult = rows.store;
    caller->setDesc = rows.row_type;
    MemoryContextSwitchTo(before);
    return rows;
}

void result_rows_put(ResultRows *rows, Datum *values, const bool *nulls)
{
    static const bool none[RESULT_COLUMNS_MAX] = { false };
    tuplestore_putvalues(rows->store, rows->row_type, values, (bool *)(nulls ? nulls : none));
}
