/* fetch_rows.h: records as rows of streamhouse.record. See fetch_rows.c. */
#ifndef STREAMHOUSE_FETCH_ROWS_H
#define STREAMHOUSE_FETCH_ROWS_H

#include "postgres.h"

#include "common/record.h"
#include "result_rows.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

enum {
    RECORD_TOPIC,
    RECORD_PARTITION,
    RECORD_OFFSET,
    RECORD_TIMESTAMP,
    RECORD_KEY,
    RECORD_VALUE,
    RECORD_HEADERS,
    RECORD_COLUMNS
};

/* A varlena value that is built again and again in the same memory. */
typedef struct RowBytes {
    struct varlena *value;
    size_t capacity;
} RowBytes;

typedef struct FetchRows {
    ResultRows rows;
    Datum values[RECORD_COLUMNS];
    bool nulls[RECORD_COLUMNS];
    RowBytes key;
    RowBytes value;
    MemoryContext context; /* of the two above */
    MemoryContext headers; /* reset after each record that has some */
    int64 count;
} FetchRows;

extern void fetch_rows_open(FetchRows *rows, FunctionCallInfo fcinfo);

/* Whose records follow. */
extern void fetch_rows_turn(FetchRows *rows, const char *topic, int32 partition);

/* A FetchPut; argument is the FetchRows. */
extern bool fetch_rows_put(void *argument, const Record *record);

/* Milliseconds since 1970 as a timestamptz; beyond its range, an infinity. */
extern TimestampTz timestamp_of_ms(int64 ms);

/* A record's headers: an object, each name with a string, null, {"base64": …} for bytes that are no text, or
 * an array of these where a name comes several times. NULL: there are none. */
extern Jsonb *headers_jsonb(const Record *record);

#endif
