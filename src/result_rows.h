/* result_rows.h: the rows that a set-returning C function gives, gathered in a tuplestore. */
#ifndef STREAMHOUSE_RESULT_ROWS_H
#define STREAMHOUSE_RESULT_ROWS_H

#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/tuplestore.h"

typedef struct ResultRows {
    Tuplestorestate *store;
    TupleDesc row_type;
} ResultRows;

/* Declares that the running function gives its rows at once. */
extern ResultRows result_rows_open(FunctionCallInfo fcinfo);

/* nulls is NULL when no column is null. */
extern void result_rows_put(ResultRows *rows, Datum *values, const bool *nulls);

#endif
