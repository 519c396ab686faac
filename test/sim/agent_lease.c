/* agent_lease.c: an agent's membership: heartbeats over the product's lease clock, the catalog, news of
 * leaders, and hand-overs, as agent/jobs/lease.c, agent/jobs/hand_over.c and agent/catalog do it. */
#include "test/sim/agent.h"
#include "test/sim/producer.h"

enum { BEATS_A_TTL = 5, FINISH_MS = 40, ROUND_LOOK_MS = 2 };

void agent_beat_after(SimAgent *agent, int64_t delay_ms)
{
    sim_at(agent->sim, agent_true_us(agent, agent_ms(agent) + delay_ms), EVENT_AGENT_BEAT, agent->index,
           agent->life);
}

static void agent_fill_heartbeat(const SimAgent *agent, SimCall *call)
{
    call->heartbeat = (BrainHeartbeat){ .agent = agent->index,
                                        .incarnation = agent->incarnation,
                                        .known_version = agent->version,
                                        .draining = agent->state != AGENT_RUNNING,
                                        .partitions = agent->closing,
                                        .ttl_us = agent->sim->config.ttl_ms * (int64_t)SIM_MS_US };
}

static void agent_leave(SimAgent *agent)
{
    agent->state = AGENT_LEAVING;
    if (agent->lease.asking) {
        return; /* when that is answered */
    }
    lease_clock_end(&agent->lease);
    agent->lease.asking = true;
    agent_fill_heartbeat(agent, network_call(agent->sim, agent, CONNECTION_CONTROL, CALL_LEAVE));
}

static bool agent_holds_any(const SimAgent *agent)
{
    for (int i = 0; i < agent->sim->config.partitions; i++) {
        if (agent->topic->partitions[i]->leader == agent->agent_id) {
            return true;
        }
    }
    return false;
}

/* It serves until others have its leases, then ends what is under way, then leaves. */
void agent_look_after_drain(SimAgent *agent)
{
    if (agent->state == AGENT_DRAINING &&
        (!agent_holds_any(agent) || agent_ms(agent) > agent->drain_until_ms)) {
        agent->state = AGENT_FINISHING;
        agent_enter(agent);
        log_flush(agent->log);
        agent_run_tick(agent);
    }
    if (agent->state == AGENT_FINISHING && log_is_idle(agent->log)) {
        agent_leave(agent);
    }
}

static void agent_send_heartbeat(SimAgent *agent)
{
    lease_clock_sent(&agent->lease, agent_ms(agent));
    agent_fill_heartbeat(agent, network_call(agent->sim, agent, CONNECTION_CONTROL, CALL_HEARTBEAT));
}

void agent_beat(SimAgent *agent)
{
    agent_beat_after(agent, agent->sim->config.ttl_ms / BEATS_A_TTL);
    if (!agent->lease.asking && agent->state != AGENT_LEAVING) {
        agent_send_heartbeat(agent);
    }
    agent_look_after_drain(agent);
}

void agent_drain(SimAgent *agent)
{
    sim_trace(agent->sim, "agent %d drains", agent->index);
    agent->state = AGENT_DRAINING;
    agent->drain_until_ms = agent_ms(agent) + 2 * agent->sim->config.ttl_ms;
    if (!agent->lease.asking) {
        agent_send_heartbeat(agent);
    }
    agent_look_after_drain(agent);
}

void agent_catalog_refresh(SimAgent *agent)
{
    agent->catalog_wanted = true;
    if (!agent->catalog_reading) {
        agent->catalog_wanted = false;
        agent->catalog_reading = true;
        SimCall *call = network_call(agent->sim, agent, CONNECTION_READ, CALL_CATALOG);
        call->id = (int64_t)agent->lease.renewals;
    }
}

static void agent_lead(SimAgent *agent, int partition, int32_t leader, int32_t epoch)
{
    agent->topic->partitions[partition]->leader = leader;
    agent->topic->partitions[partition]->epoch = epoch;
}

/* A refresh that began before news of a partition does not undo it: epochs only rise. */
void agent_catalog_read(SimAgent *agent, const SimCall *call, bool answered)
{
    for (int i = 0; answered && i < SIM_PARTITIONS; i++) {
        if (call->leases[i].epoch >= agent->topic->partitions[i]->epoch) {
            agent_lead(agent, i, call->leases[i].leader, call->leases[i].epoch);
        }
    }
    agent->catalog_fresh = answered;
    agent->catalog_reading = false;
    if (answered) {
        lease_clock_learned(&agent->lease, (uint64_t)call->id);
    }
    if (agent->catalog_wanted) {
        agent_catalog_refresh(agent);
    }
    agent_resume_parked(agent);
    check_leaders(agent->sim);
}

static void agent_renewed(SimAgent *agent, const SimCall *call)
{
    const BrainHeartbeatAnswer *answer = &call->heartbeat_answer;
    bool first = agent->agent_id == BRAIN_NOBODY;
    agent->agent_id = answer->agent_id;
    agent->version = answer->version;
    bool lapsed = lease_clock_renewed(&agent->lease, agent_ms(agent), agent->sim->config.ttl_ms);
    if (lapsed && !first) {
        sim_cover(agent->sim, COVER_LAPSE);
        sim_trace(agent->sim, "agent %d's lease had lapsed", agent->index);
    }
    if (lapsed || answer->changed || (!agent->catalog_fresh && !agent->catalog_reading)) {
        agent_catalog_refresh(agent);
    }
    check_leaders(agent->sim);
}

void agent_heartbeat_ended(SimAgent *agent, const SimCall *call)
{
    if (call->outcome == BRAIN_REPLACED) {
        agent_kill(agent);
        return;
    }
    if (call->outcome == BRAIN_ANSWERED) {
        agent_renewed(agent, call);
    } else {
        lease_clock_failed(&agent->lease);
    }
    if (agent->state == AGENT_LEAVING) {
        agent_leave(agent);
    }
}

static void round_look_after(SimAgent *agent)
{
    sim_after(agent->sim, ROUND_LOOK_MS * (int64_t)SIM_MS_US, EVENT_AGENT_ROUND, agent->index, agent->life);
}

static void round_end(SimAgent *agent)
{
    agent->round = ROUND_NONE;
    agent->closing = 0;
    agent_resume_parked(agent);
    check_leaders(agent->sim);
}

/* Asks which partitions it is to give up. */
void agent_hand_over(SimAgent *agent)
{
    bool runs = agent->state == AGENT_RUNNING || agent->state == AGENT_DRAINING;
    if (!runs || agent->round != ROUND_NONE || !lease_clock_holds(&agent->lease, agent_ms(agent))) {
        return;
    }
    agent->round = ROUND_LISTING;
    (void)network_call(agent->sim, agent, CONNECTION_CONTROL, CALL_LIST);
}

/* What it gave, or may have given, stays closed until it is certain who leads: a call that was not answered
 * may yet be carried out, as long as the lease names a next leader. */
void agent_round_listed(SimAgent *agent, const SimCall *call)
{
    uint32_t before = agent->closing;
    if (call->outcome != BRAIN_ANSWERED) {
        agent->round = before ? ROUND_ASKING : ROUND_NONE;
        round_look_after(agent);
        return;
    }
    agent->closing = 0;
    for (int i = 0; i < agent->sim->config.partitions; i++) {
        bool is_asked = call->leases[i].leader == agent->agent_id && call->leases[i].next != BRAIN_NOBODY &&
                        call->leases[i].epoch == agent->topic->partitions[i]->epoch;
        if (is_asked && (before & 1u << i || agent_leads(agent, i))) {
            agent->closing |= 1u << i;
        }
        if (call->leases[i].epoch > agent->topic->partitions[i]->epoch) {
            agent_lead(agent, i, call->leases[i].leader, call->leases[i].epoch);
        }
    }
    if (!agent->closing) {
        round_end(agent);
        agent_look_after_drain(agent);
        return;
    }
    agent->round = ROUND_FINISHING;
    agent->round_until_ms = agent_ms(agent) + FINISH_MS;
    agent_enter(agent);
    log_flush(agent->log);
    agent_run_tick(agent);
    round_look_after(agent);
}

void agent_round_given(SimAgent *agent)
{
    agent->round = ROUND_ASKING;
    round_look_after(agent);
}

static bool round_is_finished(const SimAgent *agent)
{
    for (int i = 0; i < agent->sim->config.partitions; i++) {
        if (agent->closing & 1u << i && agent->topic->partitions[i]->appends) {
            return false;
        }
    }
    return true;
}

void agent_round_tick(SimAgent *agent)
{
    bool late = agent_ms(agent) >= agent->round_until_ms;
    if (agent->round == ROUND_FINISHING && (late || round_is_finished(agent))) {
        agent->round = ROUND_GIVING;
        agent_fill_heartbeat(agent, network_call(agent->sim, agent, CONNECTION_CONTROL, CALL_HAND_OVER));
    } else if (agent->round == ROUND_ASKING) {
        agent->round = ROUND_LISTING;
        (void)network_call(agent->sim, agent, CONNECTION_CONTROL, CALL_LIST);
    } else if (agent->round == ROUND_FINISHING) {
        round_look_after(agent);
    }
}

void agent_news(SimAgent *agent, const News *news)
{
    if (news->epoch > agent->topic->partitions[news->partition]->epoch) {
        agent_lead(agent, news->partition, news->leader, news->epoch);
        agent_resume_parked(agent);
        check_leaders(agent->sim);
    }
    agent_look_after_drain(agent);
}

void sim_tell_leader(Sim *sim, int partition, int32_t leader, int32_t epoch)
{
    for (int i = 0; i < sim->config.agents; i++) {
        const SimAgent *agent = &sim->agents[i];
        if (agent->state != AGENT_DOWN && agent->cut_off_until_us <= sim->now_us) {
            uint32_t number = sim->news_count++ % SIM_NEWS;
            sim->news[number] = (News){ (uint8_t)i, (uint8_t)partition, agent->life, leader, epoch };
            sim_after(sim, sim_way_us(sim), EVENT_AGENT_NEWS, (int)number, 0);
        }
    }
}

void sim_tell_hand_over(Sim *sim, int agent)
{
    if (sim->agents[agent].cut_off_until_us <= sim->now_us) {
        sim_after(sim, sim_way_us(sim), EVENT_AGENT_HAND_OVER, agent, sim->agents[agent].life);
    }
}
