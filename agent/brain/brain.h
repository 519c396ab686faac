/* brain.h: talks to PostgreSQL without ever waiting for it: seven connections on the loop, each with a
 * bounded queue.
 *
 *     static const BrainStatement find = { "find_segments", "select * from sh_find_segments($1, $2)", 2, {
 * BRAIN_INT4S, BRAIN_INT8S } };
 *
 *     BrainParameters parameters;
 *     brain_parameters_init(&parameters);
 *     brain_put_int4s(&parameters, partitions, count);
 *     brain_put_int8s(&parameters, offsets, count);
 *     brain_send(brain, BRAIN_READ, &(BrainQuery){ .statement = &find, .parameters = &parameters,
 * .deadline_ms = 5000 }, found, request);
 *
 * Each query is a transaction of its own. Queries of one line run in the order they were sent. Values travel
 * in PostgreSQL's binary formats; a statement is prepared when a connection first needs it.
 *
 * A lost connection is tried again for ever, with jittered back-off, on all hosts of the connection string;
 * while no server can be written to, one connection looks for it and the others wait. Once a promoted standby
 * was seen (its timeline is newer), what is still connected to an older primary is lost, and such a one is
 * refused. A query that was sent and whose answer
 * never came fails with in_doubt: it may have been carried out, or may be carried out a little later; ask
 * again. No query is ever cancelled: libpq may report a cancelled commit that the primary has kept. */
#ifndef STREAMHOUSE_BRAIN_H
#define STREAMHOUSE_BRAIN_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/slice.h"
#include "common/status.h"
#include "common/writer.h"

typedef struct Brain Brain;

typedef enum BrainLine {
    BRAIN_COMMIT,    /* pipelined: sh_commit_object, sh_commit_inline and nothing slower */
    BRAIN_CONTROL,   /* one query at a time: heartbeats, topics; LISTENs */
    BRAIN_READ,      /* pipelined: lookups, records that PostgreSQL holds */
    BRAIN_WATCH,     /* one query at a time: sh_watch, which waits in the server */
    BRAIN_CONTENDED, /* one query at a time: commits that wait for a partition's lock */
    BRAIN_JOBS,      /* one query at a time: background jobs */
    BRAIN_GROUPS,    /* pipelined: consumer groups; a lock is waited for 100 ms, then the query fails */
    BRAIN_LINE_COUNT
} BrainLine;

/* Parameter types are PostgreSQL's OIDs, which never change for built-in types (pg_type.dat). */
enum {
    BRAIN_BOOL = 16,
    BRAIN_BYTEA = 17,
    BRAIN_INT8 = 20,
    BRAIN_INT2 = 21,
    BRAIN_INT4 = 23,
    BRAIN_TEXT = 25,
    BRAIN_BYTEAS = 1001,
    BRAIN_INT2S = 1005,
    BRAIN_INT4S = 1007,
    BRAIN_TEXTS = 1009,
    BRAIN_INT8S = 1016,
    BRAIN_UUID = 2950,
    BRAIN_UUIDS = 2951,
    BRAIN_JSONB = 3802
};

enum { BRAIN_PARAMETERS_MAX = 20, BRAIN_STATEMENTS_MAX = 128 };

/* Declared as a constant; known by its address. */
typedef struct BrainStatement {
    const char *name; /* for logs and metrics, unique */
    const char *sql;
    int parameter_count;
    Oid parameter_types[BRAIN_PARAMETERS_MAX];
} BrainStatement;

/* The values of a query, in order. After a failed allocation, or more than BRAIN_PARAMETERS_MAX, brain_send()
 * fails. */
typedef struct BrainParameters {
    Writer bytes;
    int count;
    bool failed;
    size_t starts[BRAIN_PARAMETERS_MAX];
    int lengths[BRAIN_PARAMETERS_MAX]; /* -1 null */
} BrainParameters;

void brain_parameters_init(BrainParameters *parameters);
void brain_parameters_free(BrainParameters *parameters);
void brain_put_null(BrainParameters *parameters);
void brain_put_bool(BrainParameters *parameters, bool value);
void brain_put_int2(BrainParameters *parameters, int16_t value);
void brain_put_int4(BrainParameters *parameters, int32_t value);
void brain_put_int8(BrainParameters *parameters, int64_t value);
/* SLICE_NULL is null. Text must be UTF-8 without NUL; the server refuses anything else. */
void brain_put_text(BrainParameters *parameters, Slice text);
void brain_put_bytea(BrainParameters *parameters, Slice bytes);
/* One value, of pieces one after the other. */
void brain_put_pieces(BrainParameters *parameters, const Slice *pieces, size_t count);
void brain_put_jsonb(BrainParameters *parameters, Slice json);
/* 16 bytes; NULL is null. */
void brain_put_uuid(BrainParameters *parameters, const uint8_t *uuid);
/* Arrays of one dimension without null elements; values NULL is a null array, count 0 an empty one. */
void brain_put_int2s(BrainParameters *parameters, const int16_t *values, size_t count);
void brain_put_int4s(BrainParameters *parameters, const int32_t *values, size_t count);
void brain_put_int8s(BrainParameters *parameters, const int64_t *values, size_t count);
void brain_put_texts(BrainParameters *parameters, const Slice *values, size_t count);
void brain_put_byteas(BrainParameters *parameters, const Slice *values, size_t count);
/* count times 16 bytes, one after the other. */
void brain_put_uuids(BrainParameters *parameters, const uint8_t *values, size_t count);

typedef struct BrainQuery {
    const BrainStatement *statement;
    BrainParameters *parameters; /* taken over and emptied, whatever happens; NULL: none */
    int64_t deadline_ms;         /* from now, waiting included; 0: the line's default */
} BrainQuery;

typedef struct BrainResult {
    /* OK; TIMEOUT (the deadline passed); UNAVAILABLE (the server is away, busy or shutting down, or a
     * deadlock or serialisation failure: try again); LIMIT (the queue is full); CANCELLED (the brain is
     * closing); INVALID, NOT_FOUND, EXISTS, DENIED, CORRUPT, INTERNAL by SQLSTATE. */
    Status status;
    char sqlstate[6];    /* "" when no server said it */
    const char *message; /* the server's primary message and hint, or the status's; never NULL */
    PGresult *rows;      /* NULL unless OK; valid until the callback returns */
    bool in_doubt;       /* sent, and no answer: it may have been, or may yet be, carried out */
} BrainResult;

typedef void (*BrainCallback)(const BrainResult *result, void *arg);

/* The Kafka error code of an SQLSTATE of class SH ("SH017" -> 17), -1 for others. */
int brain_kafka_error(const BrainResult *result);

/* Always ends in one callback, from the loop and never from within this call. */
void brain_send(Brain *brain, BrainLine line, const BrainQuery *query, BrainCallback callback, void *arg);

/* Columns of a result, by position. A value of another type than asked for, a null, or a cell that is not
 * there gives 0, false or SLICE_NULL. */
int brain_row_count(const BrainResult *result);
bool brain_is_null(const BrainResult *result, int row, int column);
bool brain_bool(const BrainResult *result, int row, int column);
int16_t brain_int2(const BrainResult *result, int row, int column);
int32_t brain_int4(const BrainResult *result, int row, int column);
int64_t brain_int8(const BrainResult *result, int row, int column);
/* A view of the result: text, name, enum, json, jsonb (its text) and bytea. */
Slice brain_text(const BrainResult *result, int row, int column);
Slice brain_bytes(const BrainResult *result, int row, int column);
/* 16 bytes, or NULL. */
const uint8_t *brain_uuid(const BrainResult *result, int row, int column);

/* An array column of one dimension. */
typedef struct BrainArray {
    Slice elements; /* the wire form: per element a length of 4 bytes (-1 null) and its bytes */
    int32_t count;  /* -1: null or not such an array */
    size_t size;    /* of an element: 4, 8, 16; 0 when it varies */
} BrainArray;

BrainArray brain_int4s(const BrainResult *result, int row, int column);
BrainArray brain_int8s(const BrainResult *result, int row, int column);
BrainArray brain_texts(const BrainResult *result, int row, int column);
BrainArray brain_byteas(const BrainResult *result, int row, int column);
/* Copies at most max elements to out and returns how many; nulls become null_value. */
int32_t brain_array_int4(const BrainArray *array, int32_t null_value, int32_t *out, int32_t max);
int32_t brain_array_int8(const BrainArray *array, int64_t null_value, int64_t *out, int32_t max);
/* Of bytea, too. */
int32_t brain_array_text(const BrainArray *array, Slice *out, int32_t max);

/* 0 means the default. */
typedef struct BrainOptions {
    const char
        *conninfo; /* libpq's, several hosts and URIs included; what it leaves out comes from PG* variables */
    int connect_timeout_ms; /* per host; default 3 s, rounded up to seconds, at least 2 */
    int deadline_ms;        /* of queries that name none; default 30 s */
    int reconnect_base_ms;  /* first back-off, doubled up to reconnect_max_ms, half of it random; default 100
                               ms */
    int reconnect_max_ms;   /* default 5 s; in the first minute 1 s at most */
    int queue_queries_max;  /* per line, unanswered; default 4096 */
    size_t queue_bytes_max; /* per line, of parameters; default 64 MiB */
    int pipeline_queries_max; /* sent and unanswered on a pipelined line; default 64 */
} BrainOptions;

/* Checks the conninfo and starts to connect; does not wait. */
MUST_CHECK Status brain_open(uv_loop_t *loop, const BrainOptions *options, Brain **brain);

/* Whether all lines are connected. reason, if not NULL, is set to what is missing ("" when nothing),
 * without secrets. */
bool brain_is_ready(const Brain *brain, const char **reason);
/* For how long that was not so; 0 while it is. */
int64_t brain_away_ms(const Brain *brain);
/* Called from the loop each time brain_is_ready() changes, and after each attempt in vain. */
void brain_on_ready(Brain *brain, void (*changed)(Brain *brain, bool ready, void *arg), void *arg);

/* Called from the loop when a standby was promoted and is followed: what was read from the server before may
 * not be there. */
void brain_on_failover(Brain *brain, void (*followed)(void *arg), void *arg);

/* payload SLICE_NULL: notifications may have been missed (each time the control line has connected and
 * listens), so assume that everything changed. Names are literals; at most BRAIN_CHANNELS_MAX. */
typedef void (*BrainNotified)(const char *channel, Slice payload, void *arg);
enum { BRAIN_CHANNELS_MAX = 8 };
MUST_CHECK Status brain_listen(Brain *brain, const char *channel, BrainNotified callback, void *arg);

/* "postgresql at host:port, database x, user y": never a password. */
const char *brain_describe(const Brain *brain);

/* Ends every query with CANCELLED, then closed(arg) from the loop, when the brain is gone. closed may be
 * NULL. */
void brain_close(Brain *brain, void (*closed)(void *arg), void *arg);

#endif
