/* reaper.c: a round: ask the brain which objects are to go (sh_reap), delete them, and report those that are
 * gone (sh_reaped). What could not be deleted is handed out again in a later round. */
#include "agent/jobs/reaper.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "common/store/store.h"

static const BrainStatement reap_statement = {
    "reap", "SELECT object_id, key FROM sh_reap($1, $2)", 2, { BRAIN_INT4, BRAIN_INT4 }
};
static const BrainStatement reaped_statement = { "reaped", "SELECT sh_reaped($1)", 1, { BRAIN_INT8S } };

enum { REAP_DEADLINE_MS = 60 * 1000, DELETE_DEADLINE_MS = 30 * 1000 };

struct Reaper {
    Agent *agent;
    uv_timer_t *timer;
    bool busy; /* a round is under way */
    bool freed;
    size_t deleting; /* deletions under way, plus one while they are started */
    int64_t *gone;   /* object ids whose bytes are deleted */
    size_t gone_count;
};

typedef struct Deletion {
    Reaper *reaper;
    int64_t object_id;
} Deletion;

static void reaper_end_round(Reaper *reaper)
{
    free(reaper->gone);
    reaper->gone = NULL;
    reaper->gone_count = 0;
    reaper->busy = false;
    if (reaper->freed) {
        free(reaper);
    }
}

static void reaper_reported(const BrainResult *result, void *argument)
{
    if (!status_is_ok(&result->status)) {
        journal_seldom(JOURNAL_WARN, "reaper", "deletions could not be reported, they are made again: %s",
                       result->message);
    }
    reaper_end_round(argument);
}

static void reaper_deleted_one(Reaper *reaper)
{
    if (--reaper->deleting > 0) {
        return;
    }
    if (reaper->gone_count == 0 || reaper->freed) {
        reaper_end_round(reaper);
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int8s(&parameters, reaper->gone, reaper->gone_count);
    brain_send(reaper->agent->brain, BRAIN_JOBS,
               &(BrainQuery){ .statement = &reaped_statement,
                              .parameters = &parameters,
                              .deadline_ms = REAP_DEADLINE_MS },
               reaper_reported, reaper);
}

static void reaper_deleted(const StoreResult *result, void *argument)
{
    Deletion deletion = *(Deletion *)argument;
    free(argument);
    if (status_is_ok(&result->status) || result->status.code == STATUS_NOT_FOUND) {
        metric_add(METRIC_REAPER_DELETED, 1);
        deletion.reaper->gone[deletion.reaper->gone_count++] = deletion.object_id;
    } else {
        metric_add(METRIC_REAPER_FAILURES, 1);
        journal_seldom(JOURNAL_WARN, "reaper", "an object could not be deleted: %s", result->status.message);
    }
    reaper_deleted_one(deletion.reaper);
}

static void reaper_delete(Reaper *reaper, int64_t object_id, Slice key)
{
    char name[STORE_KEY_MAX + 1];
    Deletion *deletion = malloc(sizeof(Deletion));
    if (!deletion || key.size >= sizeof(name)) {
        free(deletion);
        return;
    }
    memcpy(name, key.data, key.size);
    name[key.size] = '\0';
    *deletion = (Deletion){ reaper, object_id };
    StoreDelete remove = { .key = name, .deadline_ms = DELETE_DEADLINE_MS };
    if (store_delete(reaper->agent->store, &remove, reaper_deleted, deletion)) {
        reaper->deleting++;
    } else {
        free(deletion);
    }
}

static void reaper_told(const BrainResult *result, void *argument)
{
    Reaper *reaper = argument;
    int count = status_is_ok(&result->status) ? brain_row_count(result) : 0;
    if (!status_is_ok(&result->status)) {
        journal_seldom(JOURNAL_WARN, "reaper", "PostgreSQL could not be asked what to delete: %s",
                       result->message);
    }
    reaper->gone = malloc((size_t)count * sizeof(int64_t) + 1);
    reaper->deleting = 1;
    for (int row = 0; reaper->gone && !reaper->freed && row < count; row++) {
        reaper_delete(reaper, brain_int8(result, row, 0), brain_text(result, row, 1));
    }
    reaper_deleted_one(reaper);
}

static void reaper_round(uv_timer_t *timer)
{
    Reaper *reaper = timer->data;
    const Settings *settings = &reaper->agent->settings;
    int32_t agent_id = lease_agent_id(reaper->agent->lease);
    uv_timer_set_repeat(timer, (uint64_t)settings->reap_interval_ms);
    if (reaper->busy || agent_id == LEASE_NO_AGENT) {
        return;
    }
    reaper->busy = true;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, agent_id);
    brain_put_int4(&parameters, settings->reap_objects_max);
    brain_send(reaper->agent->brain, BRAIN_JOBS,
               &(BrainQuery){
                   .statement = &reap_statement, .parameters = &parameters, .deadline_ms = REAP_DEADLINE_MS },
               reaper_told, reaper);
}

Reaper *reaper_new(Agent *agent)
{
    Reaper *reaper = calloc(1, sizeof(Reaper));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!reaper || !timer) {
        free(reaper);
        free(timer);
        return NULL;
    }
    *reaper = (Reaper){ .agent = agent, .timer = timer };
    uv_timer_init(agent->loop, timer);
    timer->data = reaper;
    uv_timer_start(timer, reaper_round, (uint64_t)agent->settings.reap_interval_ms,
                   (uint64_t)agent->settings.reap_interval_ms);
    return reaper;
}

static void reaper_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void reaper_free(Reaper *reaper)
{
    reaper->freed = true;
    uv_close((uv_handle_t *)reaper->timer, reaper_timer_closed);
    if (!reaper->busy) {
        free(reaper);
    }
}
