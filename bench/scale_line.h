/* scale_line.h: one connection of a simulated agent, which never waits: queries go out, answers come by a
 * callback. For scale_load.c. */
#ifndef STREAMHOUSE_BENCH_SCALE_LINE_H
#define STREAMHOUSE_BENCH_SCALE_LINE_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINE_WAITING_MAX = 128, LINE_PARAMETERS_MAX = 12 };

typedef struct Line Line;

/* Of one query, the only result that it has. */
typedef void (*LineAnswered)(Line *line, const PGresult *result, int64_t took_ns, int64_t tag);

typedef struct LineWaiting {
    LineAnswered answered;
    int64_t sent_ns;
    int64_t tag;
} LineWaiting;

struct Line {
    PGconn *connection;
    void *owner;
    bool pipelined;
    LineWaiting waiting[LINE_WAITING_MAX]; /* a ring, in the order in which they were sent */
    int first;
    int count;
};

/* The values of a query, big-endian as PostgreSQL has them. */
typedef struct LineValues {
    int count;
    const char *values[LINE_PARAMETERS_MAX];
    int lengths[LINE_PARAMETERS_MAX];
    int formats[LINE_PARAMETERS_MAX];
    char numbers[LINE_PARAMETERS_MAX][8];
} LineValues;

void values_int4(LineValues *values, int32_t value);
void values_int8(LineValues *values, int64_t value);
void values_text(LineValues *values, const char *value); /* NULL is null */
void values_bytes(LineValues *values, const void *bytes, size_t length);

/* Connects, waits for that, and is watched by the epoll descriptor under its own address. */
Line *line_open(const char *conninfo, int poll, bool pipelined, void *owner);
void line_prepare(Line *line, const char *name, const char *sql);
bool line_is_full(const Line *line);
void line_send(Line *line, const char *statement, const LineValues *values, LineAnswered answered,
               int64_t tag);
/* Reads what has come. */
void line_received(Line *line);
void line_close(Line *line);

int32_t line_int4(const PGresult *result, int row, int column);
int64_t line_int8(const PGresult *result, int row, int column);

int64_t now_ns(void);
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
