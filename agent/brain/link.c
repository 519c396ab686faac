/* link.c: sends queries down one connection in pipeline mode and hands out the answers. Each query is
 * followed by a Sync, so each is a transaction of its own, and its callback comes only after the Sync's
 * answer: a commit may still fail after the rows came. */
#include "agent/brain/link.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/clock.h"
#include "agent/metrics.h"

enum { BINARY_FORMAT = 1, STATEMENT_NAME_MAX = 64, SILENCE_MAX = 3, PUSHED_DEADLINE_MS = 10000 };

static const char *const link_names[BRAIN_LINE_COUNT] = {
    [BRAIN_COMMIT] = "commit", [BRAIN_CONTROL] = "control",     [BRAIN_READ] = "read",
    [BRAIN_WATCH] = "watch",   [BRAIN_CONTENDED] = "contended", [BRAIN_JOBS] = "jobs",
    [BRAIN_GROUPS] = "groups",
};

const char *link_name(const Link *link)
{
    return link_names[link->line];
}

void link_init(Link *link, Brain *brain, BrainLine line, int pipeline)
{
    *link = (Link){ .brain = brain, .line = line, .pipeline = pipeline, .state = LINK_WAITING };
    link->lost_ms = time_ms();
    snprintf(link->reason, sizeof(link->reason), "not connected yet");
    uv_timer_init(brain_loop(brain), &link->retry);
    link->retry.data = link;
}

static LinkStatement *link_statement(Link *link, const BrainStatement *statement)
{
    for (int i = 0; i < link->statement_count; i++) {
        if (link->statements[i].statement == statement) {
            return &link->statements[i];
        }
    }
    if (link->statement_count == BRAIN_STATEMENTS_MAX) {
        return NULL;
    }
    LinkStatement *added = &link->statements[link->statement_count++];
    *added = (LinkStatement){ .statement = statement };
    return added;
}

/* libpq wants an array of pointers: NULL for null, anything else for an empty value. */
static void parameter_pointers(const BrainParameters *parameters, const char **values, int *formats)
{
    for (int i = 0; i < parameters->count; i++) {
        const char *bytes =
            parameters->lengths[i] > 0 ? (const char *)parameters->bytes.bytes + parameters->starts[i] : "";
        values[i] = parameters->lengths[i] < 0 ? NULL : bytes;
        formats[i] = BINARY_FORMAT;
    }
}

static bool link_send_prepared(Link *link, BrainCall *call, LinkStatement *slot, const char *const *values,
                               const int *formats)
{
    char name[STATEMENT_NAME_MAX];
    const BrainStatement *statement = call->statement;
    const BrainParameters *parameters = &call->parameters;
    snprintf(name, sizeof(name), "%u_%s", slot->generation, statement->name);
    if (!slot->prepared) {
        if (!PQsendPrepare(link->connection, name, statement->sql, statement->parameter_count,
                           statement->parameter_types)) {
            return false;
        }
        slot->prepared = true;
        call->preparing = true;
    }
    return PQsendQueryPrepared(link->connection, name, parameters->count, values, parameters->lengths,
                               formats, BINARY_FORMAT);
}

static bool link_transmit(Link *link, BrainCall *call)
{
    const char *values[BRAIN_PARAMETERS_MAX];
    int formats[BRAIN_PARAMETERS_MAX];
    const BrainStatement *statement = call->statement;
    LinkStatement *slot = link_statement(link, statement);
    parameter_pointers(&call->parameters, values, formats);
    bool sent = slot ? link_send_prepared(link, call, slot, values, formats)
                     : PQsendQueryParams(link->connection, statement->sql, call->parameters.count,
                                         statement->parameter_types, values, call->parameters.lengths,
                                         formats, BINARY_FORMAT);
    return sent && PQpipelineSync(link->connection);
}

static void link_poll_for(Link *link, int events);

static void link_flush(Link *link)
{
    int left = PQflush(link->connection);
    if (left < 0) {
        link_lose(link, "%s", PQerrorMessage(link->connection));
        return;
    }
    link_poll_for(link, left > 0 ? UV_READABLE | UV_WRITABLE : UV_READABLE);
}

/* False when the connection was lost over it. */
static bool link_send(Link *link, BrainCall *call)
{
    call_append(&link->sent, call);
    if (!link_transmit(link, call)) {
        link_lose(link, "%s", PQerrorMessage(link->connection));
        return false;
    }
    return true;
}

void link_pump(Link *link)
{
    bool sent = false;
    while (link->state == LINK_READY && link->queued.first && link->sent.count < link->pipeline) {
        if (!link_send(link, call_take(&link->queued))) {
            return;
        }
        sent = true;
    }
    if (sent) {
        link_flush(link);
    }
}

/* Goes out at once, beyond the pipeline's depth: the line has just come up, or has one query at a time. */
bool link_push(Link *link, const BrainStatement *statement, BrainCallback callback, void *arg)
{
    BrainCall *call = calloc(1, sizeof(BrainCall));
    if (!call) {
        return false;
    }
    brain_parameters_init(&call->parameters);
    call->statement = statement;
    call->callback = callback;
    call->arg = arg;
    call->started_ns = time_ns();
    call->deadline_ms = time_ms() + PUSHED_DEADLINE_MS;
    if (link_send(link, call)) {
        link_flush(link);
    }
    return true;
}

/* A statement that could not be prepared, is gone, or whose plan has another shape now, is prepared anew next
 * time. */
static void link_doubt_statement(Link *link, const BrainCall *call)
{
    LinkStatement *slot = link_statement(link, call->statement);
    if (slot && (call->preparing || call_is_stale(call))) {
        slot->prepared = false;
        slot->generation++;
    }
}

static void link_complete(Link *link)
{
    BrainCall *call = call_take(&link->sent);
    link->bytes -= call->parameters.bytes.used;
    if (call->error) {
        link_doubt_statement(link, call);
    }
    call_answer(call, link->line);
}

static void keep_first(PGresult **kept, PGresult *result)
{
    if (*kept) {
        PQclear(result);
    } else {
        *kept = result;
    }
}

/* Takes the result over. False when the connection is of no use any more. */
static bool link_take(Link *link, PGresult *result)
{
    BrainCall *call = link->sent.first;
    switch (PQresultStatus(result)) {
    case PGRES_PIPELINE_SYNC:
        PQclear(result);
        link_complete(link);
        return true;
    case PGRES_TUPLES_OK:
        keep_first(&call->rows, result);
        return true;
    case PGRES_COMMAND_OK:
        if (call->preparing) {
            call->preparing = false;
            PQclear(result);
        } else {
            keep_first(&call->rows, result);
        }
        return true;
    case PGRES_FATAL_ERROR:
        keep_first(&call->error, result);
        return PQstatus(link->connection) == CONNECTION_OK;
    case PGRES_PIPELINE_ABORTED:
        PQclear(result);
        return true;
    default:
        PQclear(result);
        link_lose(link, "%s: a result of a kind that no query here has", call->statement->name);
        return false;
    }
}

/* Hands out every complete answer. A callback may close the brain, so the connection is looked at anew each
 * time. */
static void link_read_results(Link *link)
{
    PGconn *connection = link->connection;
    link->silence = 0;
    while (link->connection == connection && link->sent.first && !PQisBusy(connection)) {
        PGresult *result = PQgetResult(connection);
        if (result) {
            link->silence = 0;
            if (!link_take(link, result)) {
                break;
            }
        } else if (++link->silence > SILENCE_MAX) {
            link_lose(link, "the protocol is out of step");
        }
    }
}

static void link_notifications(Link *link)
{
    PGconn *connection = link->connection;
    PGnotify *notification;
    while (link->connection == connection && (notification = PQnotifies(connection))) {
        brain_notify(link->brain, notification->relname, slice_of_text(notification->extra));
        PQfreemem(notification);
    }
}

/* Leaves libpq idle when nothing is under way, since only then it reads what comes unasked. */
static void link_settle(Link *link)
{
    if (!link->sent.first && !PQisBusy(link->connection)) {
        PQclear(PQgetResult(link->connection));
        PQisBusy(link->connection);
    }
}

static void link_read(Link *link)
{
    PGconn *connection = link->connection;
    bool alive = PQconsumeInput(connection) && PQstatus(connection) == CONNECTION_OK;
    link_read_results(link);
    if (link->connection != connection) {
        return;
    }
    link_settle(link);
    link_notifications(link);
    if (link->connection == connection && (!alive || PQstatus(connection) != CONNECTION_OK)) {
        link_lose(link, "%s", link->farewell[0] ? link->farewell : PQerrorMessage(connection));
    }
}

static void link_polled(uv_poll_t *poll, int status, int events)
{
    Link *link = poll->data;
    if (status < 0) {
        link_lose(link, "%s", uv_strerror(status));
        return;
    }
    if (events & UV_READABLE) {
        link_read(link);
    }
    if (link->poll == poll && (events & UV_WRITABLE)) {
        link_flush(link);
    }
    if (link->poll == poll) {
        link_pump(link);
    }
}

static void link_poll_for(Link *link, int events)
{
    if (link->poll_events != events) {
        link->poll_events = events;
        uv_poll_start(link->poll, events, link_polled);
    }
}

bool link_watch_socket(Link *link)
{
    uv_poll_t *poll = calloc(1, sizeof(uv_poll_t));
    if (!poll || uv_poll_init(brain_loop(link->brain), poll, PQsocket(link->connection)) != 0) {
        free(poll);
        return false;
    }
    poll->data = link;
    link->poll = poll;
    link->poll_events = 0;
    link_poll_for(link, UV_READABLE);
    return true;
}

/* Ends what waits in the queue longer than it may; what was sent costs the connection. */
void link_sweep(Link *link, int64_t now_ms)
{
    for (const BrainCall *call = link->sent.first; call; call = call->next) {
        if (call->deadline_ms <= now_ms) {
            /* It may be frozen, or cut off from its standbys: another host may have what it has not. */
            primary_blame(brain_primary(link->brain), link->first_host);
            link_lose(link, "%s has no answer within its time", call->statement->name);
            break;
        }
    }
    CallList queued = link->queued;
    CallList late = { 0 };
    link->queued = (CallList){ 0 };
    for (BrainCall *call = call_take(&queued); call; call = call_take(&queued)) {
        call_append(call->deadline_ms <= now_ms ? &late : &link->queued, call);
    }
    for (BrainCall *call = call_take(&late); call; call = call_take(&late)) {
        link->bytes -= call->parameters.bytes.used;
        call_fail(call, status_error(STATUS_TIMEOUT, "%s: not sent in time: %s", call->statement->name,
                                     link->state == LINK_READY ? "others are waited for" : link->reason));
    }
}
