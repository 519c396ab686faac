/* connect.c: the connecting thread. It and the loop share an attempt under its mutex; who leaves last frees
 * it. */
#include "agent/brain/connect.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECT_OWNERS = 2 };

struct Connect {
    uv_async_t finished; /* first: its close callback gets the attempt */
    uv_mutex_t mutex;
    int owners; /* the thread, and the loop's handle */
    bool abandoned;
    PGconn *connection;
    char *conninfo;
    char *lists[HOST_LISTS];
    const char *application;
    int timeout_s;
    ConnectDone done;
    void *arg;
};

/* The process may exit while an abandoned attempt still authenticates in its thread, and would crash if
 * OpenSSL had been torn down under it. Whoever initialises OpenSSL first decides, hence before main(). */
__attribute__((constructor)) static void connect_keep_openssl(void)
{
    OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}

static void connect_free(Connect *attempt)
{
    for (HostList which = 0; which < HOST_LISTS; which++) {
        free(attempt->lists[which]);
    }
    free(attempt->conninfo);
    free(attempt);
}

static void connect_leave(Connect *attempt)
{
    uv_mutex_lock(&attempt->mutex);
    bool last = --attempt->owners == 0;
    uv_mutex_unlock(&attempt->mutex);
    if (!last) {
        return;
    }
    PQfinish(attempt->connection);
    uv_mutex_destroy(&attempt->mutex);
    connect_free(attempt);
}

/* What stands before dbname are defaults that the conninfo may override; what stands after it is not
 * negotiable. A machine that is gone is noticed after 5 s: by keepalives, or when bytes are not
 * acknowledged. */
static PGconn *connect_now(const Connect *attempt)
{
    char timeout[16];
    snprintf(timeout, sizeof(timeout), "%d", attempt->timeout_s);
    const char *keywords[] = { "keepalives_idle",
                               "keepalives_interval",
                               "keepalives_count",
                               "tcp_user_timeout",
                               "target_session_attrs",
                               "dbname",
                               "host",
                               "hostaddr",
                               "port",
                               "connect_timeout",
                               "client_encoding",
                               "fallback_application_name",
                               NULL };
    const char *values[] = { "3",
                             "1",
                             "2",
                             "5000",
                             "read-write",
                             attempt->conninfo,
                             attempt->lists[HOST_NAMES],
                             attempt->lists[HOST_ADDRESSES],
                             attempt->lists[HOST_PORTS],
                             timeout,
                             "UTF8",
                             attempt->application,
                             NULL };
    _Static_assert(sizeof(keywords) == sizeof(values), "every keyword has a value");
    return PQconnectdbParams(keywords, values, 1);
}

static void *connect_run(void *arg)
{
    Connect *attempt = arg;
    PGconn *connection = connect_now(attempt);
    uv_mutex_lock(&attempt->mutex);
    attempt->connection = connection;
    if (!attempt->abandoned) {
        uv_async_send(&attempt->finished);
    }
    uv_mutex_unlock(&attempt->mutex);
    connect_leave(attempt);
    return NULL;
}

static void connect_closed(uv_handle_t *handle)
{
    connect_leave((Connect *)handle);
}

static void connect_finished(uv_async_t *handle)
{
    Connect *attempt = (Connect *)handle;
    uv_mutex_lock(&attempt->mutex);
    PGconn *connection = attempt->connection;
    attempt->connection = NULL;
    uv_mutex_unlock(&attempt->mutex);
    uv_close((uv_handle_t *)handle, connect_closed);
    attempt->done(connection, attempt->arg);
}

void connect_abandon(Connect *attempt)
{
    uv_mutex_lock(&attempt->mutex);
    attempt->abandoned = true;
    uv_mutex_unlock(&attempt->mutex);
    uv_close((uv_handle_t *)&attempt->finished, connect_closed);
}

static bool connect_launch(Connect *attempt)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, connect_run, attempt) != 0) {
        return false;
    }
    pthread_detach(thread);
    return true;
}

static Connect *connect_new(const char *conninfo, const Primary *primary)
{
    Connect *attempt = calloc(1, sizeof(Connect));
    if (!attempt) {
        return NULL;
    }
    attempt->conninfo = strdup(conninfo);
    for (HostList which = 0; which < HOST_LISTS; which++) {
        attempt->lists[which] = primary_turned(primary, which);
    }
    if (!attempt->conninfo || uv_mutex_init(&attempt->mutex) != 0) {
        connect_free(attempt);
        return NULL;
    }
    attempt->owners = CONNECT_OWNERS;
    return attempt;
}

Connect *connect_start(uv_loop_t *loop, const char *conninfo, const Primary *primary, const char *application,
                       int timeout_s, ConnectDone done, void *arg)
{
    Connect *attempt = connect_new(conninfo, primary);
    if (!attempt) {
        return NULL;
    }
    attempt->application = application;
    attempt->timeout_s = timeout_s;
    attempt->done = done;
    attempt->arg = arg;
    if (uv_async_init(loop, &attempt->finished, connect_finished) != 0) {
        uv_mutex_destroy(&attempt->mutex);
        connect_free(attempt);
        return NULL;
    }
    if (!connect_launch(attempt)) {
        attempt->owners--;
        uv_close((uv_handle_t *)&attempt->finished, connect_closed);
        return NULL;
    }
    return attempt;
}
