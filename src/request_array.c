/* request_array.c: array arguments, checked before anything is read from them. */
#include "compat.h"
#include "request_array.h"

#include "utils/array.h"

RequestArray request_array(FunctionCallInfo fcinfo, int argument, int most)
{
    ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
    int count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    if (ARR_NDIM(array) > 1 || array_contains_nulls(array)) {
        ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                errmsg("argument %d must be a plain array without nulls", argument + 1));
    }
    if (count > most) {
        ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("%d requests at once", count),
                errhint("Ask for at most %d.", most));
    }
    return (RequestArray){ ARR_DATA_PTR(array), count };
}

void request_arrays_check(RequestArray a, RequestArray b)
{
    if (a.count != b.count) {
        ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                errmsg("arrays have %d and %d elements", a.count, b.count),
                errhint("Elements at one place belong together, so the arrays are equally long."));
    }
}
