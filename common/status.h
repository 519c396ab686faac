/* status.h: failures as values. The message is made where the cause is known and says what to do. */
#ifndef STREAMHOUSE_STATUS_H
#define STREAMHOUSE_STATUS_H

#include <stdbool.h>

#define MUST_CHECK         __attribute__((warn_unused_result))
#define STATUS_MESSAGE_MAX 240

typedef enum StatusCode {
    STATUS_OK = 0,
    STATUS_INVALID,     /* the input is wrong; the same call fails again */
    STATUS_NOT_FOUND,   /* the thing named is not there */
    STATUS_EXISTS,      /* the thing named is there already */
    STATUS_UNAVAILABLE, /* a peer is away, slow or overloaded; try again */
    STATUS_TIMEOUT,     /* the deadline passed; the outcome may be unknown */
    STATUS_DENIED,      /* credentials or rights are missing */
    STATUS_CORRUPT,     /* bytes do not match their checksum or format */
    STATUS_LIMIT,       /* a configured limit was reached */
    STATUS_CANCELLED,   /* the caller went away */
    STATUS_INTERNAL     /* a defect of ours, or the machine's (disk full) */
} StatusCode;

typedef struct Status {
    StatusCode code;
    char message[STATUS_MESSAGE_MAX];
} Status;

static inline bool status_is_ok(const Status *status)
{
    return status->code == STATUS_OK;
}

Status status_ok(void);

/* Builds a failure; the text is cut at STATUS_MESSAGE_MAX - 1 bytes. */
Status status_error(StatusCode code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
