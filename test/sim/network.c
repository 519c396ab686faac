/* network.c: the ways to PostgreSQL and the store, and what gets lost on them. */
#include "test/sim/network.h"

#include "test/sim/agent.h"

enum {
    NOTICE_US = 60 * SIM_MS_US, /* until an agent sees that its connection is dead, at most */
    LATE_US = 50 * SIM_MS_US,   /* by which a PUT that was given up may yet arrive */
    RESERVED_AT_ONCE = 4
};

static int call_place(const Sim *sim, const SimCall *call)
{
    return (int)(call - sim->calls);
}

/* Slots that this schedule has not used yet follow those that it has. */
void network_reset(Sim *sim)
{
    sim->call_count = 0;
    sim->free_call = BRAIN_NOBODY;
    sim->busy_calls = 0;
}

/* Of the log: heartbeats never end. */
static bool call_is_work(CallKind kind)
{
    return kind >= CALL_RESERVE;
}

static SimCall *call_new(Sim *sim, SimAgent *agent, CallKind kind)
{
    if (sim->free_call == BRAIN_NOBODY && sim->call_count == SIM_CALLS) {
        sim_bail_out("more calls at once than a simulation can hold");
    }
    SimCall *call = &sim->calls[sim->free_call == BRAIN_NOBODY ? sim->call_count++ : sim->free_call];
    sim->free_call = sim->free_call == BRAIN_NOBODY ? BRAIN_NOBODY : call->next_free;
    sim->busy_calls += call_is_work(kind);
    call->used = true;
    call->agent_waits = true;
    call->brain_waits = true;
    call->lost = false;
    call->is_inline = false;
    call->kind = kind;
    call->agent = (uint8_t)agent->index;
    call->agent_life = agent->life;
    call->tx = BRAIN_NOBODY;
    call->outcome = BRAIN_ANSWERED;
    call->give_up_us = 0;
    call->count = 0;
    call->sent_ms = agent_ms(agent);
    return call;
}

static void call_release_if_over(Sim *sim, SimCall *call)
{
    if (!call->agent_waits && !call->brain_waits) {
        sim->busy_calls -= call_is_work(call->kind);
        call->used = false;
        call->life++;
        call->next_free = sim->free_call;
        sim->free_call = call_place(sim, call);
    }
}

static void call_at(Sim *sim, const SimCall *call, int64_t at_us, EventKind kind)
{
    sim_at(sim, at_us, kind, call_place(sim, call), call->life);
}

/* The agent will learn that it learns nothing. */
static void call_lose(Sim *sim, SimCall *call)
{
    if (!call->lost) {
        call->lost = true;
        call_at(sim, call, sim->now_us + random_below(&sim->random, NOTICE_US), EVENT_CALL_LOST);
    }
}

static bool way_is_cut(const Sim *sim, const SimAgent *agent)
{
    return sim->brain_down_until_us > sim->now_us || agent->cut_off_until_us > sim->now_us;
}

SimCall *network_call(Sim *sim, SimAgent *agent, Connection connection, CallKind kind)
{
    SimCall *call = call_new(sim, agent, kind);
    call->connection = (uint8_t)connection;
    if (way_is_cut(sim, agent)) {
        call->brain_waits = false;
        call_lose(sim, call);
        return call;
    }
    int64_t arrive_us = sim->now_us + sim_way_us(sim);
    arrive_us = arrive_us > agent->arrive_us[connection] ? arrive_us : agent->arrive_us[connection];
    agent->arrive_us[connection] = arrive_us;
    call_at(sim, call, arrive_us, EVENT_CALL_ARRIVE);
    if (kind == CALL_COMMIT && sim_happens(sim, sim->config.answers_lost)) {
        call_lose(sim, call);
    }
    return call;
}

static void call_answer(Sim *sim, SimCall *call, BrainOutcome outcome)
{
    SimAgent *agent = &sim->agents[call->agent];
    call->outcome = outcome;
    int64_t at_us = sim->now_us + sim_way_us(sim);
    if (!call->lost && call->agent_life == agent->life) {
        at_us = at_us > agent->answer_us[call->connection] ? at_us : agent->answer_us[call->connection];
        agent->answer_us[call->connection] = at_us;
    }
    call_at(sim, call, at_us, EVENT_CALL_ANSWER);
}

static void call_run_until(Sim *sim, SimCall *call, int64_t end_us)
{
    SimAgent *agent = &sim->agents[call->agent];
    if (!call->lost && call->agent_life == agent->life) {
        agent->busy_us[call->connection] = end_us;
    }
}

static void call_begun(Sim *sim, SimCall *call, BrainBegun begun)
{
    if (begun.tx == BRAIN_NOBODY) {
        call_answer(sim, call, begun.outcome);
        return;
    }
    int64_t length_us = 20 + random_below(&sim->random, sim->calm ? SIM_MS_US : sim->config.commit_us);
    call->tx = begun.tx;
    call->outcome = begun.outcome;
    brain_set_end(sim->brain, begun.tx, sim->now_us + random_below(&sim->random, length_us),
                  sim->now_us + length_us);
    call_at(sim, call, sim->now_us + length_us, EVENT_CALL_END);
    call_run_until(sim, call, sim->now_us + length_us);
}

static void call_commit(Sim *sim, SimCall *call)
{
    if (sim_happens(sim, sim->config.commit_fails)) {
        call_answer(sim, call, BRAIN_FAILED);
        return;
    }
    BrainCommit commit = { .agent_id = (int32_t)call->heartbeat_answer.agent_id,
                           .is_inline = call->is_inline,
                           .waits = call->give_up_us > 0,
                           .id = call->id,
                           .rows = call->rows,
                           .count = call->count };
    BrainBegun begun = brain_begin_commit(sim->brain, &commit, call->answers);
    if (begun.outcome == BRAIN_BUSY && call->give_up_us > sim->now_us) {
        int64_t again_us =
            begun.busy_until_us + 1 < call->give_up_us ? begun.busy_until_us + 1 : call->give_up_us;
        sim_cover(sim, COVER_WAITED);
        call_run_until(sim, call, again_us);
        call_at(sim, call, again_us, EVENT_CALL_ARRIVE);
        return;
    }
    if (begun.outcome == BRAIN_BUSY) {
        sim_cover(sim, COVER_BUSY);
    }
    if (call->lost) {
        sim_cover(sim, COVER_LATE);
    }
    call_begun(sim, call, begun);
}

/* Locks on agents' rows are waited for. */
static void call_leases(Sim *sim, SimCall *call, BrainBegun begun)
{
    if (begun.outcome == BRAIN_BUSY) {
        call_run_until(sim, call, begun.busy_until_us + 1);
        call_at(sim, call, begun.busy_until_us + 1, EVENT_CALL_ARRIVE);
        return;
    }
    call_begun(sim, call, begun);
}

static void call_reserve(Sim *sim, SimCall *call)
{
    int64_t ttl_us = sim->config.short_intents ? 200 * SIM_MS_US : 20 * SIM_SECOND_US;
    call->count = sim_happens(sim, sim->config.commit_fails) ? 0 : RESERVED_AT_ONCE;
    for (int i = 0; i < call->count; i++) {
        int64_t id = brain_reserve_object(sim->brain, call->heartbeat_answer.agent_id, ttl_us);
        call->id = i == 0 ? id : call->id;
    }
    call_answer(sim, call, BRAIN_ANSWERED);
}

static void call_carry_out(Sim *sim, SimCall *call)
{
    switch (call->kind) {
    case CALL_HEARTBEAT:
        call_leases(sim, call, brain_begin_heartbeat(sim->brain, &call->heartbeat, &call->heartbeat_answer));
        break;
    case CALL_LEAVE:
        call_leases(sim, call, brain_begin_leave(sim->brain, &call->heartbeat));
        break;
    case CALL_HAND_OVER:
        call_begun(sim, call, brain_begin_hand_over(sim->brain, &call->heartbeat));
        break;
    case CALL_LIST:
    case CALL_CATALOG:
        brain_read_leases(sim->brain, call->leases);
        call_answer(sim, call, BRAIN_ANSWERED);
        break;
    case CALL_RESERVE:
        call_reserve(sim, call);
        break;
    case CALL_RESERVE_IDS:
        call->id = brain_reserve_calls(sim->brain, call->heartbeat_answer.agent_id);
        call->count = BRAIN_CALL_IDS;
        call_answer(sim, call, BRAIN_ANSWERED);
        break;
    case CALL_COMMIT:
        call_commit(sim, call);
        break;
    case CALL_PUT:
        break;
    }
}

static void call_arrived(Sim *sim, SimCall *call)
{
    const SimAgent *agent = &sim->agents[call->agent];
    if (!call->brain_waits) {
        return;
    }
    if (sim->brain_down_until_us > sim->now_us) {
        call->brain_waits = false;
        call_lose(sim, call);
        return;
    }
    bool is_current = !call->lost && call->agent_life == agent->life;
    if (is_current && agent->busy_us[call->connection] > sim->now_us) {
        call_at(sim, call, agent->busy_us[call->connection], EVENT_CALL_ARRIVE);
        return;
    }
    call_carry_out(sim, call);
}

static void call_ended(Sim *sim, SimCall *call)
{
    if (call->tx == BRAIN_NOBODY) {
        return; /* a restart was first */
    }
    int tx = call->tx;
    call->tx = BRAIN_NOBODY;
    brain_end(sim->brain, tx);
    call_answer(sim, call, call->outcome);
}

static void call_to_agent(Sim *sim, SimCall *call, BrainOutcome outcome)
{
    SimAgent *agent = &sim->agents[call->agent];
    if (call->agent_waits && call->agent_life == agent->life) {
        call->agent_waits = false;
        call->outcome = outcome;
        agent_call_ended(agent, call);
    }
    call->agent_waits = false;
}

static void call_answered(Sim *sim, SimCall *call)
{
    call->brain_waits = false;
    if (!call->lost) {
        call_to_agent(sim, call, call->outcome);
    }
}

static void put_finish(Sim *sim, const SimCall *call)
{
    BrainObject *object = brain_object(sim->brain, call->id);
    if (call->stored) {
        object->stored = true;
    }
    sim_cover(sim, call->outcome == BRAIN_ANSWERED ? COVER_OBJECT
                   : call->stored                  ? COVER_PUT_LOST
                                                   : COVER_PUT_FAILED);
}

void network_put(Sim *sim, SimAgent *agent, int64_t object_id, int deadline_ms, PutFinished done,
                 void *argument)
{
    SimCall *call = call_new(sim, agent, CALL_PUT);
    BrainObject *object = brain_object(sim->brain, object_id);
    if (object->put) {
        sim_wrong(sim, "a key was used twice");
    }
    object->put = true;
    call->id = object_id;
    call->done.put = done;
    call->argument = argument;
    int64_t longest_us = (int64_t)(sim->calm ? 5 : sim->config.put_ms) * SIM_MS_US;
    int64_t length_us = SIM_MS_US / 2 + random_below(&sim->random, longest_us);
    bool fails = sim->store_down_until_us > sim->now_us || sim_happens(sim, sim->config.put_fails) ||
                 length_us > deadline_ms * (int64_t)SIM_MS_US;
    length_us = length_us > deadline_ms * (int64_t)SIM_MS_US ? deadline_ms * (int64_t)SIM_MS_US : length_us;
    int what = (int)random_below(&sim->random, 3);
    call->stored = !fails || what == 0;
    call->outcome = fails ? BRAIN_FAILED : BRAIN_ANSWERED;
    if (fails && what == 1) {
        sim_after(sim, length_us + random_below(&sim->random, LATE_US), EVENT_PUT_LATE, (int)object_id, 0);
    }
    call_at(sim, call, sim->now_us + length_us, EVENT_CALL_ANSWER);
}

void network_cut(Sim *sim, SimAgent *agent)
{
    for (int i = 0; i < sim->call_count; i++) {
        SimCall *call = &sim->calls[i];
        bool is_its = call->used && call->agent == agent->index && call->agent_life == agent->life;
        if (!is_its || call->kind == CALL_PUT) {
            continue;
        }
        if (call->brain_waits && call->tx == BRAIN_NOBODY && random_chance(&sim->random, 50)) {
            call->brain_waits = false;
        }
        if (call->agent_waits) {
            call_lose(sim, call);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        agent->busy_us[i] = 0;
    }
    sim_at(sim, (agent->cut_off_until_us > sim->now_us ? agent->cut_off_until_us : sim->now_us) + NOTICE_US,
           EVENT_AGENT_NOTIFY, agent->index, agent->life);
}

void network_brain_down(Sim *sim, int64_t until_us)
{
    brain_restart(sim->brain);
    sim->brain_down_until_us = until_us;
    for (int i = 0; i < sim->config.agents; i++) {
        sim_at(sim, until_us + NOTICE_US, EVENT_AGENT_NOTIFY, i, sim->agents[i].life);
    }
    for (int i = 0; i < sim->call_count; i++) {
        SimCall *call = &sim->calls[i];
        if (!call->used || call->kind == CALL_PUT) {
            continue;
        }
        if (call->agent_waits) {
            call_lose(sim, call);
        }
        call->brain_waits = false;
        call->tx = BRAIN_NOBODY;
        call_release_if_over(sim, call);
    }
}

void network_forget_agent(Sim *sim, SimAgent *agent)
{
    for (int i = 0; i < sim->call_count; i++) {
        SimCall *call = &sim->calls[i];
        if (call->used && call->agent == agent->index && call->agent_life == agent->life &&
            call->agent_waits) {
            call->agent_waits = false;
            agent_log_call_ended(agent, call, BRAIN_UNKNOWN);
            call_release_if_over(sim, call);
        }
    }
}

bool network_may_ask(const Sim *sim, int64_t first, int64_t end)
{
    for (int i = 0; i < sim->call_count; i++) {
        const SimCall *call = &sim->calls[i];
        if (call->used && call->kind == CALL_COMMIT && call->brain_waits && call->id >= first &&
            call->id < end) {
            return true;
        }
    }
    return false;
}

bool network_is_idle(const Sim *sim)
{
    return sim->busy_calls == 0;
}

static bool call_is_postponed(Sim *sim, const SimCall *call, const Event *event)
{
    SimAgent *agent = &sim->agents[call->agent];
    bool is_for_agent = event->kind == EVENT_CALL_ANSWER || event->kind == EVENT_CALL_LOST;
    if (!is_for_agent || call->agent_life != agent->life || !agent_is_paused(agent)) {
        return false;
    }
    sim_at(sim, agent->paused_until_us, (EventKind)event->kind, event->index, event->life);
    return true;
}

void network_event(Sim *sim, const Event *event)
{
    if (event->kind == EVENT_PUT_LATE) {
        brain_object(sim->brain, event->index)->stored = true;
        sim_cover(sim, COVER_PUT_LATE);
        return;
    }
    SimCall *call = &sim->calls[event->index];
    if (!call->used || call->life != event->life || call_is_postponed(sim, call, event)) {
        return;
    }
    switch ((EventKind)event->kind) {
    case EVENT_CALL_ARRIVE:
        call_arrived(sim, call);
        break;
    case EVENT_CALL_END:
        call_ended(sim, call);
        break;
    case EVENT_CALL_ANSWER:
        if (call->kind == CALL_PUT) {
            put_finish(sim, call);
        }
        call_answered(sim, call);
        break;
    default:
        call_to_agent(sim, call, BRAIN_UNKNOWN);
    }
    call_release_if_over(sim, call);
}
