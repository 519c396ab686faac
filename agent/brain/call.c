/* call.c: one query on its way: lists of them, and how each ends in its callback. */
#include "agent/brain/link.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/clock.h"
#include "agent/metrics.h"

enum { CALL_MESSAGE_MAX = 1024 };

void call_append(CallList *list, BrainCall *call)
{
    call->next = NULL;
    if (!list->first) {
        list->last = &list->first;
    }
    *list->last = call;
    list->last = &call->next;
    list->count++;
}

BrainCall *call_take(CallList *list)
{
    BrainCall *call = list->first;
    if (call) {
        list->first = call->next;
        list->count--;
    }
    return call;
}

void call_free(BrainCall *call)
{
    PQclear(call->rows);
    PQclear(call->error);
    brain_parameters_free(&call->parameters);
    free(call);
}

static void call_count(const BrainResult *result)
{
    if (result->in_doubt) {
        metric_add(METRIC_BRAIN_QUERIES_IN_DOUBT, 1);
    } else if (status_is_ok(&result->status)) {
        metric_add(METRIC_BRAIN_QUERIES_OK, 1);
    } else if (result->sqlstate[0] != '\0') {
        metric_add(METRIC_BRAIN_QUERIES_FAILED, 1);
    } else {
        metric_add(METRIC_BRAIN_QUERIES_UNSENT, 1);
    }
}

static void call_end(BrainCall *call, BrainResult *result)
{
    call_count(result);
    call->callback(result, call->arg);
    call_free(call);
}

static void call_end_unanswered(BrainCall *call, Status status, bool in_doubt)
{
    BrainResult result = { .status = status, .in_doubt = in_doubt };
    result.message = result.status.message;
    call_end(call, &result);
}

void call_fail(BrainCall *call, Status status)
{
    call_end_unanswered(call, status, false);
}

/* What a failure means for the caller, by the longest prefix of the SQLSTATE. */
typedef struct StateMeaning {
    const char *prefix;
    StatusCode code;
} StateMeaning;

static const StateMeaning state_meanings[] = {
    { "08", STATUS_UNAVAILABLE },    /* connection exception */
    { "22", STATUS_INVALID },        /* data exception */
    { "23505", STATUS_EXISTS },      /* unique_violation */
    { "23", STATUS_INVALID },        /* integrity constraint violation */
    { "25006", STATUS_UNAVAILABLE }, /* read_only_sql_transaction: a standby, soon not ours */
    { "28", STATUS_DENIED },         /* invalid authorization */
    { "3F000", STATUS_NOT_FOUND },   /* invalid_schema_name */
    { "40", STATUS_UNAVAILABLE },    /* transaction rollback: serialisation, deadlock */
    { "42501", STATUS_DENIED },      /* insufficient_privilege */
    { "42704", STATUS_NOT_FOUND },   /* undefined_object */
    { "42710", STATUS_EXISTS },      /* duplicate_object */
    { "53", STATUS_UNAVAILABLE },    /* insufficient resources */
    { "55P03", STATUS_UNAVAILABLE }, /* lock_not_available */
    { "57", STATUS_UNAVAILABLE },    /* operator intervention: shutdown, crash, cancel */
    { "58", STATUS_INTERNAL },       /* system error */
    { "SH", STATUS_INVALID },        /* ours: a Kafka error code */
    { "XX001", STATUS_CORRUPT },     /* data_corrupted */
    { "XX002", STATUS_CORRUPT },     /* index_corrupted */
};

static StatusCode state_meaning(const char *state)
{
    for (size_t i = 0; i < sizeof(state_meanings) / sizeof(state_meanings[0]); i++) {
        if (strncmp(state, state_meanings[i].prefix, strlen(state_meanings[i].prefix)) == 0) {
            return state_meanings[i].code;
        }
    }
    return STATUS_INTERNAL;
}

/* Nothing was carried out: the statement is gone, or its plan has another shape since the extension was
 * updated. */
bool call_is_stale(const BrainCall *call)
{
    const char *state = PQresultErrorField(call->error, PG_DIAG_SQLSTATE);
    const char *function = PQresultErrorField(call->error, PG_DIAG_SOURCE_FUNCTION);
    if (!state) {
        return false;
    }
    return strcmp(state, "26000") == 0 ||
           (strcmp(state, "0A000") == 0 && function && strcmp(function, "RevalidateCachedQuery") == 0);
}

static void call_answer_error(BrainCall *call, bool in_doubt)
{
    char message[CALL_MESSAGE_MAX];
    BrainResult result = { .message = message, .in_doubt = in_doubt };
    const char *state = PQresultErrorField(call->error, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(call->error, PG_DIAG_MESSAGE_PRIMARY);
    const char *hint = PQresultErrorField(call->error, PG_DIAG_MESSAGE_HINT);
    snprintf(result.sqlstate, sizeof(result.sqlstate), "%s", state ? state : "");
    snprintf(message, sizeof(message), "%s%s%s", primary ? primary : "the server gave no reason",
             hint ? ". " : "", hint ? hint : "");
    StatusCode code = in_doubt || call_is_stale(call) ? STATUS_UNAVAILABLE : state_meaning(result.sqlstate);
    result.status = status_error(code, "%s: %s", call->statement->name, message);
    call_end(call, &result);
}

static void call_answer_rows(BrainCall *call)
{
    BrainResult result = { .status = status_ok(), .message = "", .rows = call->rows };
    call_end(call, &result);
}

void call_answer(BrainCall *call, BrainLine line)
{
    metric_observe_since(METRIC_BRAIN_QUERY_COMMIT + line, call->started_ns);
    if (call->error) {
        call_answer_error(call, false);
    } else if (call->rows) {
        call_answer_rows(call);
    } else {
        call_fail(call,
                  status_error(STATUS_INTERNAL, "%s: the server gave no result", call->statement->name));
    }
}

void call_doubt(BrainCall *call, int64_t now_ms, const char *why)
{
    if (call->error) {
        call_answer_error(call, true);
    } else if (call->deadline_ms <= now_ms) {
        call_end_unanswered(
            call, status_error(STATUS_TIMEOUT, "%s: no answer in time", call->statement->name), true);
    } else {
        call_end_unanswered(call, status_error(STATUS_UNAVAILABLE, "%s: %s", call->statement->name, why),
                            true);
    }
}
