/* chores.c: a table of statements with the time between two calls of each. One that answers true has more to
 * do and is made again at once; one that answers null has nothing to look after, and is made less often. */
#include "agent/jobs/chores.h"

#include <stdlib.h>

#include "agent/brain/brain.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum {
    CHORE_TICK_MS = 1000,
    CHORE_DEADLINE_MS = 30 * 1000,
    CHORE_AS_SET = -1 /* retention_interval_ms */,
    CHORE_REST = 5 /* intervals */
};

static const struct Chore {
    BrainStatement statement;
    int64_t interval_ms;
} chores_table[] = {
    { { "sample", "SELECT sh_sample() IS NULL", 0, { 0 } }, 10 * 1000 },
    { { "group_step", "SELECT sh_group_step()", 0, { 0 } }, 1000 },
    { { "prune", "SELECT sh_prune()", 0, { 0 } }, 5 * 1000 },
    { { "retention", "SELECT sh_retention()", 0, { 0 } }, CHORE_AS_SET },
};

enum { CHORE_COUNT = sizeof(chores_table) / sizeof(chores_table[0]) };

struct Chores {
    Agent *agent;
    uv_timer_t *timer;
    bool freed;
    bool busy;      /* one call at a time: they are all cheap */
    size_t current; /* the call under way */
    int64_t next_ms[CHORE_COUNT];
};

static void chores_next(Chores *chores);

static int64_t chore_interval_ms(const Chores *chores, size_t chore)
{
    int64_t interval_ms = chores_table[chore].interval_ms;
    return interval_ms == CHORE_AS_SET ? chores->agent->settings.retention_interval_ms : interval_ms;
}

static void chore_done(const BrainResult *result, void *argument)
{
    Chores *chores = argument;
    chores->busy = false;
    if (chores->freed) {
        free(chores);
        return;
    }
    if (!status_is_ok(&result->status)) {
        metric_add(METRIC_CHORES_FAILED, 1);
        journal_seldom(JOURNAL_WARN, "chores", "PostgreSQL could not be asked to tidy up: %s",
                       result->message);
    } else if (brain_bool(result, 0, 0)) {
        chores->next_ms[chores->current] = 0;
    } else if (brain_is_null(result, 0, 0)) {
        chores->next_ms[chores->current] += (CHORE_REST - 1) * chore_interval_ms(chores, chores->current);
    }
    chores_next(chores);
}

/* Starts what is due, if nothing is under way. */
static void chores_next(Chores *chores)
{
    int64_t now_ms = time_ms();
    for (size_t i = 0; i < CHORE_COUNT && !chores->busy; i++) {
        if (chores->next_ms[i] > now_ms) {
            continue;
        }
        chores->next_ms[i] = now_ms + chore_interval_ms(chores, i);
        chores->busy = true;
        chores->current = i;
        brain_send(chores->agent->brain, BRAIN_JOBS,
                   &(BrainQuery){ .statement = &chores_table[i].statement, .deadline_ms = CHORE_DEADLINE_MS },
                   chore_done, chores);
    }
}

static void chores_tick(uv_timer_t *timer)
{
    Chores *chores = timer->data;
    if (lease_agent_id(chores->agent->lease) != LEASE_NO_AGENT) {
        chores_next(chores);
    }
}

Chores *chores_new(Agent *agent)
{
    Chores *chores = calloc(1, sizeof(Chores));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!chores || !timer) {
        free(chores);
        free(timer);
        return NULL;
    }
    *chores = (Chores){ .agent = agent, .timer = timer };
    for (size_t i = 0; i < CHORE_COUNT; i++) {
        /* What an agent must not do the moment it starts: somebody may want to set a longer retention first.
         */
        bool waits = chores_table[i].interval_ms == CHORE_AS_SET;
        chores->next_ms[i] = waits ? time_ms() + chore_interval_ms(chores, i) : 0;
    }
    uv_timer_init(agent->loop, timer);
    timer->data = chores;
    uv_timer_start(timer, chores_tick, CHORE_TICK_MS, CHORE_TICK_MS);
    return chores;
}

static void chores_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void chores_free(Chores *chores)
{
    chores->freed = true;
    uv_close((uv_handle_t *)chores->timer, chores_timer_closed);
    if (!chores->busy) {
        free(chores);
    }
}
