/* connect.h: one attempt to connect to PostgreSQL, in a thread of its own: libpq resolves names, walks hosts
 * and authenticates synchronously, and neither the loop nor its pool should wait for that. */
#ifndef STREAMHOUSE_BRAIN_CONNECT_H
#define STREAMHOUSE_BRAIN_CONNECT_H

#include <libpq-fe.h>
#include <uv.h>

#include "agent/brain/primary.h"

typedef struct Connect Connect;

/* Called on the loop thread, once. The connection, good or bad, belongs to the callee; NULL when memory was
 * short. The attempt is over: it must not be abandoned any more. */
typedef void (*ConnectDone)(PGconn *connection, void *arg);

/* The attempt takes at most timeout_s per host, and begins with the host that primary says. NULL when no
 * thread can be had. */
Connect *connect_start(uv_loop_t *loop, const char *conninfo, const Primary *primary, const char *application,
                       int timeout_s, ConnectDone done, void *arg);

/* The result is not wanted any more; done will not be called. */
void connect_abandon(Connect *attempt);

#endif
