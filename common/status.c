/* status.c: builds Status values. */
#include "common/status.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const code_names[] = {
    [STATUS_OK] = "ok",
    [STATUS_INVALID] = "invalid",
    [STATUS_NOT_FOUND] = "not_found",
    [STATUS_EXISTS] = "exists",
    [STATUS_UNAVAILABLE] = "unavailable",
    [STATUS_TIMEOUT] = "timeout",
    [STATUS_DENIED] = "denied",
    [STATUS_CORRUPT] = "corrupt",
    [STATUS_LIMIT] = "limit",
    [STATUS_CANCELLED] = "cancelled",
    [STATUS_INTERNAL] = "internal",
};

Status status_ok(void)
{
    Status status;
    status.code = STATUS_OK;
    status.message[0] = '\0';
    return status;
}

Status status_error(StatusCode code, const char *format, ...)
{
    Status status;
    va_list arguments;
    status.code = code;
    va_start(arguments, format);
    vsnprintf(status.message, sizeof(status.message), format, arguments);
    va_end(arguments);
    return status;
}

const char *status_code_name(StatusCode code)
{
    return code_names[code];
}
