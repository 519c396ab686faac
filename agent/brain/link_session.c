/* link_session.c: a connection's life: it is made in a thread, greets the server with the session's settings,
 * works, is lost, and is tried again after a back-off, for ever. */
#include "agent/brain/link.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum {
    MS_PER_SECOND = 1000,
    BACKOFF_DOUBLINGS_MAX = 16,
    CONNECT_TIMEOUT_MIN_S = 2,
    /* While a failover may be under way, a standby may become the primary any moment. */
    FAILOVER_MS = 60000,
    FAILOVER_RETRY_MAX_MS = 1000
};

/* Whatever the role or the database says: the server never gives up on a query of ours (we hang up instead,
 * and ask again), and the commit's reasoning needs READ COMMITTED. One group whose lock somebody keeps
 * must not hold up the others: on their line a lock is not waited for. Names the server does not know are
 * skipped. The server says its timeline, which a promotion raises. */
static const BrainStatement greeting = {
    "greeting",
    "select case when pg_catalog.current_setting(v.name, true) is not null"
    "            then pg_catalog.set_config(v.name, v.value, false) end,"
    " (select case when pg_catalog.pg_is_in_recovery() then 0 else"
    "  ('x' || pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, "
    "8))::bit(32)::int4 end)"
    " from (values ('statement_timeout', '0'), ('transaction_timeout', '0'),"
    "              ('lock_timeout', case pg_catalog.current_setting('application_name')"
    "                               when 'streamhouse-agent groups' then '100ms' else '0' end),"
    "              ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),"
    "              ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', "
    "'off'),"
    "              ('jit', 'off')) as v(name, value)",
    0,
    { 0 },
};

static const bool link_moves[LINK_STATE_COUNT][LINK_STATE_COUNT] = {
    [LINK_WAITING] = { [LINK_CONNECTING] = true, [LINK_CLOSED] = true },
    [LINK_CONNECTING] = { [LINK_WAITING] = true, [LINK_GREETING] = true, [LINK_CLOSED] = true },
    [LINK_GREETING] = { [LINK_WAITING] = true, [LINK_READY] = true, [LINK_CLOSED] = true },
    [LINK_READY] = { [LINK_WAITING] = true, [LINK_CLOSED] = true },
};

static void link_enter(Link *link, LinkState state)
{
    assert(link_moves[link->state][state]);
    link->state = state;
    brain_link_changed(link->brain, link);
}

/* libpq's messages end in, and may contain, newlines. */
static void reason_tidy(char *reason)
{
    size_t length = strlen(reason);
    while (length > 0 && reason[length - 1] == '\n') {
        reason[--length] = '\0';
    }
    for (char *next = reason; *next; next++) {
        if (*next == '\n' || *next == '\t') {
            *next = ' ';
        }
    }
}

static void link_poll_closed(uv_handle_t *handle)
{
    free(handle);
}

static void link_drop_connection(Link *link)
{
    if (link->poll) {
        uv_close((uv_handle_t *)link->poll, link_poll_closed);
        link->poll = NULL;
    }
    PQfinish(link->connection);
    link->connection = NULL;
    for (int i = 0; i < link->statement_count; i++) {
        link->statements[i].prepared = false;
    }
}

/* The one that looks for a server wakes the others; that they look themselves is for the case that it cannot.
 */
static void link_retry(uv_timer_t *timer)
{
    Link *link = timer->data;
    if (brain_may_connect(link->brain, link)) {
        link_connect(link);
    } else {
        uv_timer_start(timer, link_retry, FAILOVER_RETRY_MAX_MS, 0);
    }
}

void link_hurry(Link *link)
{
    if (link->state == LINK_WAITING) {
        uv_timer_start(&link->retry, link_retry, 0, 0);
    }
}

static int64_t link_back_off_max_ms(const Link *link)
{
    int64_t max_ms = brain_options(link->brain)->reconnect_max_ms;
    bool is_failover = time_ms() - link->lost_ms < FAILOVER_MS;
    return is_failover && max_ms > FAILOVER_RETRY_MAX_MS ? FAILOVER_RETRY_MAX_MS : max_ms;
}

/* Doubles with every attempt in vain up to the setting; half of it is random, so that agents do not come back
 * in step. */
static void link_back_off(Link *link)
{
    const BrainOptions *options = brain_options(link->brain);
    int doublings = link->attempts < BACKOFF_DOUBLINGS_MAX ? link->attempts : BACKOFF_DOUBLINGS_MAX;
    int64_t delay_ms = (int64_t)options->reconnect_base_ms << doublings;
    int64_t max_ms = link_back_off_max_ms(link);
    if (delay_ms > max_ms) {
        delay_ms = max_ms;
    }
    uint32_t random = 0;
    uv_random(NULL, NULL, &random, sizeof(random), 0, NULL);
    uint64_t wait_ms = (uint64_t)(delay_ms / 2) + random % (uint64_t)(delay_ms / 2 + 1);
    link->attempts++;
    uv_timer_start(&link->retry, link_retry, wait_ms, 0);
}

static void link_journal_loss(Link *link, bool was_ready)
{
    if (was_ready) {
        metric_add(METRIC_BRAIN_LOSSES, 1);
        journal(JOURNAL_WARN, "brain", "lost the %s connection to PostgreSQL, %d queries in doubt: %s",
                link_name(link), link->sent.count, link->reason);
    } else {
        metric_add(METRIC_BRAIN_CONNECT_FAILURES, 1);
        journal_seldom(JOURNAL_WARN, "brain", "cannot connect to PostgreSQL (%s), will keep trying: %s",
                       link_name(link), link->reason);
    }
    link->missed = true;
}

static void link_doubt_sent(Link *link)
{
    CallList sent = link->sent;
    int64_t now_ms = time_ms();
    link->sent = (CallList){ 0 };
    for (BrainCall *call = call_take(&sent); call; call = call_take(&sent)) {
        link->bytes -= call->parameters.bytes.used;
        call_doubt(call, now_ms, link->reason);
    }
}

void link_lose(Link *link, const char *format, ...)
{
    if (link->state == LINK_WAITING || link->state == LINK_CLOSED) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(link->reason, sizeof(link->reason), format, arguments);
    va_end(arguments);
    reason_tidy(link->reason);
    link_journal_loss(link, link->state == LINK_READY);
    if (link->state == LINK_READY) {
        link->lost_ms = time_ms();
    } else {
        primary_blame(brain_primary(link->brain), link->first_host);
    }
    link_drop_connection(link);
    link_enter(link, LINK_WAITING);
    link_back_off(link);
    link_doubt_sent(link);
}

static void link_greeted(const BrainResult *result, void *arg)
{
    Link *link = arg;
    if (link->state != LINK_GREETING) {
        return;
    }
    if (!status_is_ok(&result->status)) {
        link_lose(link, "%s", result->message);
        return;
    }
    link->first_host =
        primary_found(brain_primary(link->brain), PQhost(link->connection), PQport(link->connection));
    if (!brain_meet(link->brain, link, brain_int4(result, 0, 1))) {
        return;
    }
    if (link->missed) {
        journal(JOURNAL_INFO, "brain", "the %s connection to PostgreSQL is back", link_name(link));
    }
    link->missed = false;
    link->attempts = 0;
    link->reason[0] = '\0';
    link_enter(link, LINK_READY);
    link_pump(link);
}

/* Warnings go to the journal; what ends the connection is kept as the reason. */
static void link_noticed(void *arg, const PGresult *notice)
{
    Link *link = arg;
    const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
    const char *message = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
    if (!severity || !message) {
        return;
    }
    if (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0) {
        snprintf(link->farewell, sizeof(link->farewell), "%s", message);
    } else if (strcmp(severity, "WARNING") == 0) {
        journal_seldom(JOURNAL_WARN, "brain", "PostgreSQL warns (%s): %s", link_name(link), message);
    } else {
        journal(JOURNAL_DEBUG, "brain", "PostgreSQL says (%s): %s", link_name(link), message);
    }
}

static void link_connected(PGconn *connection, void *arg)
{
    Link *link = arg;
    link->attempt = NULL;
    link->connection = connection;
    link->farewell[0] = '\0';
    if (!connection || PQstatus(connection) != CONNECTION_OK) {
        link_lose(link, "%s", connection ? PQerrorMessage(connection) : "memory is short");
        return;
    }
    PQsetNoticeReceiver(connection, link_noticed, link);
    link_enter(link, LINK_GREETING);
    if (PQsetnonblocking(connection, 1) != 0 || !PQenterPipelineMode(connection) ||
        !link_watch_socket(link)) {
        link_lose(link, "the connection cannot be watched: %s", PQerrorMessage(connection));
    } else if (!link_push(link, &greeting, link_greeted, link)) {
        link_lose(link, "memory is short");
    }
}

void link_connect(Link *link)
{
    static const char *const applications[BRAIN_LINE_COUNT] = {
        [BRAIN_COMMIT] = "streamhouse-agent commit",       [BRAIN_CONTROL] = "streamhouse-agent control",
        [BRAIN_READ] = "streamhouse-agent read",           [BRAIN_WATCH] = "streamhouse-agent watch",
        [BRAIN_CONTENDED] = "streamhouse-agent contended", [BRAIN_JOBS] = "streamhouse-agent jobs",
        [BRAIN_GROUPS] = "streamhouse-agent groups",
    };
    const BrainOptions *options = brain_options(link->brain);
    int timeout_s = (options->connect_timeout_ms + MS_PER_SECOND - 1) / MS_PER_SECOND;
    link_enter(link, LINK_CONNECTING);
    const Primary *primary = brain_primary(link->brain);
    link->first_host = primary->first;
    link->attempt = connect_start(
        brain_loop(link->brain), options->conninfo, primary, applications[link->line],
        timeout_s < CONNECT_TIMEOUT_MIN_S ? CONNECT_TIMEOUT_MIN_S : timeout_s, link_connected, link);
    if (!link->attempt) {
        link_lose(link, "no thread can be had to connect");
    }
}

static void link_retry_closed(uv_handle_t *handle)
{
    brain_handle_closed(((Link *)handle->data)->brain);
}

void link_close(Link *link)
{
    if (link->attempt) {
        connect_abandon(link->attempt);
        link->attempt = NULL;
    }
    link_drop_connection(link);
    link_enter(link, LINK_CLOSED);
    uv_close((uv_handle_t *)&link->retry, link_retry_closed);
    snprintf(link->reason, sizeof(link->reason), "the agent is stopping");
    link_doubt_sent(link);
    for (BrainCall *call = call_take(&link->queued); call; call = call_take(&link->queued)) {
        link->bytes -= call->parameters.bytes.used;
        call_fail(call, status_error(STATUS_CANCELLED, "%s: %s", call->statement->name, link->reason));
    }
}
