/* request_array.h: array arguments whose elements at one place belong together: one request each. */
#ifndef STREAMHOUSE_REQUEST_ARRAY_H
#define STREAMHOUSE_REQUEST_ARRAY_H

#include "postgres.h"

#include "fmgr.h"

typedef struct RequestArray {
    const void *data; /* elements of a fixed-width type, one after the other */
    int count;
} RequestArray;

/* An argument; ERROR when it has several dimensions, nulls, or more than most elements. */
extern RequestArray request_array(FunctionCallInfo fcinfo, int argument, int most);

/* ERROR unless both have as many elements. */
extern void request_arrays_check(RequestArray a, RequestArray b);

#endif
