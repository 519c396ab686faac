/* scale_line.c: see scale_line.h. Any answer that is an error ends the program: what is measured must have
 * been done. */
#include "bench/scale_line.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

int64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("scale_load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static int values_next(LineValues *values, const char *value, size_t length, int format)
{
    if (values->count == LINE_PARAMETERS_MAX) {
        die("a query has more than %d values", LINE_PARAMETERS_MAX);
    }
    values->values[values->count] = value;
    values->lengths[values->count] = (int)length;
    values->formats[values->count] = format;
    return values->count++;
}

static void values_number(LineValues *values, const void *number, size_t length)
{
    int at = values_next(values, NULL, length, 1);
    memcpy(values->numbers[at], number, length);
    values->values[at] = values->numbers[at];
}

void values_int4(LineValues *values, int32_t value)
{
    uint32_t number = htobe32((uint32_t)value);
    values_number(values, &number, sizeof(number));
}

void values_int8(LineValues *values, int64_t value)
{
    uint64_t number = htobe64((uint64_t)value);
    values_number(values, &number, sizeof(number));
}

void values_text(LineValues *values, const char *value)
{
    values_next(values, value, value ? strlen(value) : 0, 0);
}

void values_bytes(LineValues *values, const void *bytes, size_t length)
{
    values_next(values, bytes, length, 1);
}

Line *line_open(const char *conninfo, int poll, bool pipelined, void *owner)
{
    Line *line = calloc(1, sizeof(Line));
    if (!line) {
        die("out of memory");
    }
    line->connection = PQconnectdb(conninfo);
    line->owner = owner;
    line->pipelined = pipelined;
    if (PQstatus(line->connection) != CONNECTION_OK) {
        die("cannot connect: %s", PQerrorMessage(line->connection));
    }
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = line };
    epoll_ctl(poll, EPOLL_CTL_ADD, PQsocket(line->connection), &event);
    return line;
}

void line_prepare(Line *line, const char *name, const char *sql)
{
    PGresult *result = PQprepare(line->connection, name, sql, 0, NULL);
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        die("%s cannot be prepared: %s", name, PQerrorMessage(line->connection));
    }
    PQclear(result);
}

bool line_is_full(const Line *line)
{
    return line->count == (line->pipelined ? LINE_WAITING_MAX : 1);
}

void line_send(Line *line, const char *statement, const LineValues *values, LineAnswered answered,
               int64_t tag)
{
    if (line->pipelined && PQpipelineStatus(line->connection) == PQ_PIPELINE_OFF) {
        PQsetnonblocking(line->connection, 1);
        PQenterPipelineMode(line->connection);
    }
    line->waiting[(line->first + line->count++) % LINE_WAITING_MAX] =
        (LineWaiting){ answered, now_ns(), tag };
    bool sent = PQsendQueryPrepared(line->connection, statement, values->count, values->values,
                                    values->lengths, values->formats, 1) == 1;
    if (sent && line->pipelined) {
        sent = PQpipelineSync(line->connection) == 1;
    }
    if (!sent || PQflush(line->connection) < 0) {
        die("%s cannot be sent: %s", statement, PQerrorMessage(line->connection));
    }
}

static void line_answer(Line *line, const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_PIPELINE_SYNC) {
        return;
    }
    if (line->count == 0 || (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)) {
        die("a query failed: %s", PQresultErrorMessage(result));
    }
    LineWaiting waiting = line->waiting[line->first];
    line->first = (line->first + 1) % LINE_WAITING_MAX;
    line->count--;
    waiting.answered(line, result, now_ns() - waiting.sent_ns, waiting.tag);
}

/* The next query may be sent from the callback: the one before must have ended by then. */
static void line_receive_one(Line *line)
{
    PGresult *result = PQgetResult(line->connection);
    PGresult *end;
    while (result && (end = PQgetResult(line->connection))) {
        PQclear(end);
    }
    if (result) {
        line_answer(line, result);
        PQclear(result);
    }
}

/* A result, nothing, a synchronisation point, and so on; twice nothing when all was answered. */
static void line_receive_all(Line *line)
{
    bool was_empty = false;
    while (!PQisBusy(line->connection)) {
        PGresult *result = PQgetResult(line->connection);
        if (!result && was_empty) {
            return;
        }
        was_empty = !result;
        if (result) {
            line_answer(line, result);
            PQclear(result);
        }
    }
}

void line_received(Line *line)
{
    if (PQconsumeInput(line->connection) != 1) {
        die("a connection is lost: %s", PQerrorMessage(line->connection));
    }
    PQflush(line->connection);
    if (line->pipelined) {
        line_receive_all(line);
    } else if (!PQisBusy(line->connection)) {
        line_receive_one(line);
    }
}

void line_close(Line *line)
{
    PQfinish(line->connection);
    free(line);
}

int32_t line_int4(const PGresult *result, int row, int column)
{
    uint32_t number = 0;
    if (PQgetlength(result, row, column) == sizeof(number)) {
        memcpy(&number, PQgetvalue(result, row, column), sizeof(number));
    }
    return (int32_t)be32toh(number);
}

int64_t line_int8(const PGresult *result, int row, int column)
{
    uint64_t number = 0;
    if (PQgetlength(result, row, column) == sizeof(number)) {
        memcpy(&number, PQgetvalue(result, row, column), sizeof(number));
    }
    return (int64_t)be64toh(number);
}
