/* error.c: looks up Kafka's error codes. */
#include "agent/kafka/error.h"

#include <stddef.h>

typedef struct ErrorRow {
    const char *name;
    const char *text;
    bool retriable;
} ErrorRow;

/* Codes start at -1. */
enum { ERROR_CODE_FIRST = KAFKA_ERROR_UNKNOWN_SERVER_ERROR };

#define ERROR_ROW(code, name, retriable, text) [(code)-ERROR_CODE_FIRST] = { #name, text, retriable },
static const ErrorRow error_rows[] = { KAFKA_ERRORS(ERROR_ROW) };
#undef ERROR_ROW

bool kafka_error_is_known(int16_t code)
{
    return code >= ERROR_CODE_FIRST &&
           (size_t)(code - ERROR_CODE_FIRST) < sizeof(error_rows) / sizeof(error_rows[0]);
}

static const ErrorRow *error_row(int16_t code)
{
    return &error_rows[kafka_error_is_known(code) ? code - ERROR_CODE_FIRST : 0];
}

const char *kafka_error_name(int16_t code)
{
    return error_row(code)->name;
}

const char *kafka_error_text(int16_t code)
{
    return error_row(code)->text;
}

bool kafka_error_is_retriable(int16_t code)
{
    return error_row(code)->retriable;
}
