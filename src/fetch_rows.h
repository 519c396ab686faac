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

/* What the columns key and value are: both bytea; both text; text and jsonb. */
typedef enum RowsKind { ROWS_BYTES, ROWS_TEXT, ROWS_JSON } RowsKind;

/* A varlena value that is built again and again in the same memory. */
typedef struct RowBytes {
    struct varlena *value;
    size_t capacity;
} RowBytes;

typedef struct FetchRows {
    ResultRows rows;
    RowsKind kind;
    bool invalid_as_null; /* a value that is no text or no JSON becomes null; else it is an ERROR */
    const char *topic;
    int32 partition;
    Datum values[RECORD_COLUMNS];
    bool nulls[RECORD_COLUMNS];
    RowBytes key;
    RowBytes value;
    MemoryContext context; /* of the two above */
    MemoryContext record;  /* for the values of one */
    int64 count;
} FetchRows;

extern void fetch_rows_open(FetchRows *rows, FunctionCallInfo fcinfo, RowsKind kind);

/* Whose records follow. */
extern void fetch_rows_turn(FetchRows *rows, const char *topic, int32 partition);

/* A FetchPut; argument is the FetchRows. */
extern bool fetch_rows_put(void *argument, const Record *record);

/* Milliseconds since 1970 as a timestamptz; beyond its range, an infinity. */
extern TimestampTz timestamp_of_ms(int64 ms);

/* Key and value as text or JSON, for the other two kinds, in the current memory context. */
extern void row_texts_set(FetchRows *rows, const Record *record);

/* Whether a jsonb or a text may have these bytes: UTF-8 without a zero byte; in a database that is not UTF-8,
 * ASCII. */
extern bool is_text(Slice bytes);

/* A record's headers: an object, each name with a string, null, {"base64": …} for bytes that are no text, or
 * an array of these where a name comes several times. NULL: there are none. */
extern Jsonb *headers_jsonb(const Record *record);

#endif
