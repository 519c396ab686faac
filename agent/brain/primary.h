/* primary.h: which server is the primary: the hosts of the connection string in the order in which the next
 * attempt tries them, and the newest timeline that was seen. See primary.c. */
#ifndef STREAMHOUSE_BRAIN_PRIMARY_H
#define STREAMHOUSE_BRAIN_PRIMARY_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* What libpq takes as lists, one element a host. */
typedef enum HostList { HOST_NAMES, HOST_ADDRESSES, HOST_PORTS, HOST_LISTS } HostList;

typedef struct Primary {
    char *lists[HOST_LISTS]; /* as the connection string has them; NULL when it has none */
    int count;               /* of hosts, at least 1 */
    int first;               /* where the next attempt begins */
    int32_t timeline;        /* the newest that was seen; 0 none yet */
} Primary;

typedef enum PrimaryVerdict {
    PRIMARY_AS_BEFORE,
    PRIMARY_PROMOTED, /* a newer timeline than before: a failover */
    PRIMARY_OUTDATED  /* an older one: not to be used */
} PrimaryVerdict;

/* False when memory is short. */
bool primary_init(Primary *primary, const PQconninfoOption *options);
void primary_free(Primary *primary);

/* A list beginning with the host to be tried first; the caller's to free. NULL when there is nothing to turn,
 * or memory is short: then the connection string's own order counts. */
char *primary_turned(const Primary *primary, HostList which);
/* An attempt that began with that host failed, or its connection was lost: the next begins with another one.
 */
void primary_blame(Primary *primary, int first);
/* That host is the primary: attempts begin there. Gives back its number. */
int primary_found(Primary *primary, const char *host, const char *port);
/* What a connection says of its timeline; 0: a server in recovery, which somebody wanted. */
PrimaryVerdict primary_meet(Primary *primary, int32_t timeline);

#endif
