/* fault.c: what goes wrong, when, and until when. Each schedule has its own mixture; after a while there is
 * calm, and everything has to come right. */
#include "test/sim/agent.h"
#include "test/sim/producer.h"

enum { REAP_EVERY_MS = 100 };

void fault_start(Sim *sim)
{
    const SimConfig *config = &sim->config;
    sim_at(sim, config->faults_ms * (int64_t)SIM_MS_US, EVENT_CALM, 0, 0);
    if (config->producers > 0) {
        sim_at(sim, REAP_EVERY_MS * (int64_t)SIM_MS_US, EVENT_REAP, 0, 0);
    }
    if (config->fault_every_ms > 0) {
        sim_at(sim, random_below(&sim->random, 2 * config->fault_every_ms * (int64_t)SIM_MS_US), EVENT_FAULT,
               0, 0);
    }
}

static int64_t fault_ms(Sim *sim, int64_t most_ms)
{
    return (1 + random_below(&sim->random, most_ms)) * SIM_MS_US;
}

/* A running agent, perhaps a paused one; NULL when the one that was looked at is not. */
static SimAgent *fault_agent(Sim *sim)
{
    SimAgent *agent = &sim->agents[random_below(&sim->random, sim->config.agents)];
    return agent_runs(agent) ? agent : NULL;
}

static void fault_restart_agent(Sim *sim, const SimAgent *agent)
{
    sim_after(sim, fault_ms(sim, 2 * sim->config.ttl_ms), EVENT_AGENT_START, agent->index, 0);
}

static void fault_kill(Sim *sim)
{
    SimAgent *agent = fault_agent(sim);
    if (agent) {
        sim_cover(sim, COVER_KILL);
        agent_kill(agent);
        fault_restart_agent(sim, agent);
    }
}

static void fault_pause(Sim *sim)
{
    SimAgent *agent = fault_agent(sim);
    int64_t length_us = fault_ms(sim, 3 * sim->config.ttl_ms);
    if (agent && !agent_is_paused(agent)) {
        sim_cover(sim, length_us > sim->config.ttl_ms * (int64_t)SIM_MS_US ? COVER_PAUSE_LONG : COVER_PAUSE);
        agent_pause(agent, sim_now(sim) + length_us);
    }
}

static void fault_drain(Sim *sim)
{
    SimAgent *agent = fault_agent(sim);
    if (agent && agent->state == AGENT_RUNNING && !agent_is_paused(agent)) {
        sim_cover(sim, COVER_DRAIN);
        agent_drain(agent);
    }
}

static void fault_cut(Sim *sim)
{
    SimAgent *agent = fault_agent(sim);
    if (agent) {
        sim_cover(sim, COVER_CUT);
        sim_trace(sim, "agent %d's connections die", agent->index);
        network_cut(sim, agent);
    }
}

static void fault_blackout(Sim *sim)
{
    SimAgent *agent = fault_agent(sim);
    if (agent) {
        sim_cover(sim, COVER_BLACKOUT);
        sim_trace(sim, "agent %d is cut off", agent->index);
        agent->cut_off_until_us = sim_now(sim) + fault_ms(sim, 2 * sim->config.ttl_ms);
        network_cut(sim, agent);
    }
}

static void fault_restart(Sim *sim)
{
    bool fails_over = random_chance(&sim->random, 50);
    int64_t until_us = sim_now(sim) + fault_ms(sim, fails_over ? sim->config.ttl_ms : 100);
    sim_cover(sim, fails_over ? COVER_FAILOVER : COVER_RESTART);
    sim_trace(sim, "PostgreSQL %s", fails_over ? "fails over" : "restarts");
    network_brain_down(sim, until_us);
}

static void fault_session(Sim *sim)
{
    int partition = (int)random_below(&sim->random, sim->config.partitions);
    int32_t records = random_chance(&sim->random, 50) ? (int32_t)random_between(&sim->random, 1, 3) : 0;
    BrainBegun begun = brain_begin_session(sim->brain, partition, records);
    if (begun.tx != BRAIN_NOBODY) {
        int64_t end_us = sim_now(sim) + fault_ms(sim, 100);
        brain_set_end(sim->brain, begun.tx, end_us, end_us);
        sim_at(sim, end_us, EVENT_SESSION_END, begun.tx, brain_tx_number(sim->brain, begun.tx));
    }
}

static void fault_disconnect(Sim *sim)
{
    if (sim->config.producers > 0) {
        SimProducer *producer = &sim->producers[random_below(&sim->random, sim->config.producers)];
        sim_cover(sim, COVER_DISCONNECT);
        producer_disconnect(sim, producer, (int)random_below(&sim->random, sim->config.agents));
    }
}

static void fault_outage(Sim *sim)
{
    sim_cover(sim, COVER_OUTAGE);
    sim->store_down_until_us = sim_now(sim) + fault_ms(sim, 300);
}

typedef struct FaultKind {
    int weight; /* place in SimConfig's */
    void (*happens)(Sim *sim);
} FaultKind;

static void fault_happens(Sim *sim)
{
    const SimConfig *config = &sim->config;
    const FaultKind kinds[] = {
        { config->kills, fault_kill },         { config->pauses, fault_pause },
        { config->drains, fault_drain },       { config->cuts, fault_cut },
        { config->blackouts, fault_blackout }, { config->restarts, fault_restart },
        { config->sessions, fault_session },   { config->disconnects, fault_disconnect },
        { config->outages, fault_outage },
    };
    int total = 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        total += kinds[i].weight;
    }
    int64_t drawn = random_below(&sim->random, total);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && total > 0; i++) {
        if (drawn < kinds[i].weight) {
            kinds[i].happens(sim);
            break;
        }
        drawn -= kinds[i].weight;
    }
    sim_after(sim, random_below(&sim->random, 2 * config->fault_every_ms * (int64_t)SIM_MS_US), EVENT_FAULT,
              0, 0);
}

/* Who is down comes back, who stands still goes on, whatever is cut is whole again. */
static void fault_calm(Sim *sim)
{
    sim->calm = true;
    sim->store_down_until_us = 0;
    sim_trace(sim, "everything works again");
    for (int i = 0; i < sim->config.agents; i++) {
        SimAgent *agent = &sim->agents[i];
        agent->cut_off_until_us = 0;
        if (!agent_runs(agent)) {
            sim_after(sim, fault_ms(sim, 20), EVENT_AGENT_START, i, 0);
        }
    }
}

void fault_event(Sim *sim, const Event *event)
{
    switch ((EventKind)event->kind) {
    case EVENT_CALM:
        fault_calm(sim);
        break;
    case EVENT_REAP:
        brain_reap(sim->brain, false);
        sim_after(sim, REAP_EVERY_MS * (int64_t)SIM_MS_US, EVENT_REAP, 0, 0);
        break;
    case EVENT_SESSION_END:
        if (brain_tx_number(sim->brain, event->index) == event->life) {
            brain_end(sim->brain, event->index);
        }
        break;
    default:
        if (!sim->calm) {
            fault_happens(sim);
        }
    }
}
