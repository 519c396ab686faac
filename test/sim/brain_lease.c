/* brain_lease.c: sh_agent_heartbeat() and sh_agent_leave(), step by step as src/agent.sql has them. */
#include "test/sim/brain_internal.h"

static bool row_is_live(const Brain *brain, const AgentRow *row)
{
    int64_t now_us = sim_now(brain->sim);
    int64_t ttl_us = row->expires_us - row->heartbeat_us;
    return row->registered && (row->expires_us > now_us || (ttl_us > 0 && brain->started_us + ttl_us > now_us));
}

static const AgentRow *tx_row(const Brain *brain, const BrainTx *tx, int agent)
{
    return tx && tx->agent == agent ? &tx->row : &brain->agents[agent];
}

static uint32_t tx_live(const Brain *brain, const BrainTx *tx)
{
    uint32_t live = 0;
    for (int i = 0; i < SIM_AGENTS; i++) {
        live |= row_is_live(brain, tx_row(brain, tx, i)) ? 1u << i : 0;
    }
    return live;
}

uint32_t brain_live_agents(const Brain *brain)
{
    return tx_live(brain, NULL);
}

static int agent_place(const Brain *brain, const BrainTx *tx, int32_t agent_id)
{
    for (int i = 0; i < SIM_AGENTS; i++) {
        const AgentRow *row = tx_row(brain, tx, i);
        if (row->registered && row->agent_id == agent_id) {
            return i;
        }
    }
    return BRAIN_NOBODY;
}

static bool leader_is_live(const Brain *brain, const BrainTx *tx, int32_t leader, uint32_t live)
{
    int place = agent_place(brain, tx, leader);
    return place != BRAIN_NOBODY && live & 1u << place;
}

static int32_t lease_choose(const Brain *brain, const BrainTx *tx, int partition, uint32_t live)
{
    int32_t chosen = BRAIN_NOBODY;
    uint64_t best = 0;
    for (int i = 0; i < SIM_AGENTS; i++) {
        int32_t agent_id = tx_row(brain, tx, i)->agent_id;
        Random hash = random_from((uint64_t)agent_id, (uint64_t)partition + 77);
        uint64_t weight = random_next(&hash);
        if (live & 1u << i && weight >= best) {
            best = weight;
            chosen = agent_id;
        }
    }
    return chosen;
}

static void tx_move(Brain *brain, int number, int partition, int32_t leader, int32_t before)
{
    BrainTx *tx = &brain->txs[number];
    brain_hold_partition(brain, number, partition);
    tx->moves[tx->move_count++] = (LeaseMove){ partition, leader, before };
}

static void tx_assign(Brain *brain, int number)
{
    BrainTx *tx = &brain->txs[number];
    uint32_t live = tx_live(brain, tx);
    if (!live || (brain->assigner && brain->assigner != number + 1)) {
        return;
    }
    brain->assigner = number + 1;
    tx->assigns = true;
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        const PartitionRow *row = &brain->partitions[i];
        int32_t chosen = lease_choose(brain, tx, i, live);
        if (!row->held_by && row->leader != chosen) {
            tx_move(brain, number, i, chosen, row->leader);
            bool orphan = !leader_is_live(brain, tx, row->leader, live);
            sim_cover(brain->sim, orphan ? row->leader == BRAIN_NOBODY ? COVER_LEFT : COVER_EXPIRY
                                         : COVER_HANDOVER);
        }
    }
}

static void tx_take_notices(const Brain *brain, BrainTx *tx)
{
    int noticed = brain->agents[tx->agent].notices;
    for (int i = 0; i < tx->move_count; i++) {
        noticed += tx->moves[i].leader == tx->row.agent_id || tx->moves[i].before == tx->row.agent_id;
    }
    tx->notices_taken = brain->agents[tx->agent].notices;
    tx->row.version += noticed > 0;
    tx->row.notices = 0;
}

static void tx_register(Brain *brain, BrainTx *tx, const BrainHeartbeat *heartbeat)
{
    AgentRow *row = &tx->row;
    if (row->registered) {
        sim_cover(brain->sim, COVER_REPLACED);
    }
    row->agent_id = row->registered ? row->agent_id : brain->next_agent_id++;
    row->registered = true;
    row->previous_incarnation = row->incarnation;
    row->incarnation = heartbeat->incarnation;
    row->version++;
}

BrainBegun brain_begin_heartbeat(Brain *brain, const BrainHeartbeat *heartbeat, BrainHeartbeatAnswer *answer)
{
    int number;
    const AgentRow *row = &brain->agents[heartbeat->agent];
    if (row->held_by) {
        return (BrainBegun){ BRAIN_BUSY, BRAIN_NOBODY, brain->txs[row->held_by - 1].end_us };
    }
    bool renews = row->registered && row->incarnation == heartbeat->incarnation;
    if (!renews && row->registered && row->previous_incarnation == heartbeat->incarnation) {
        return brain_refused(BRAIN_REPLACED);
    }
    BrainTx *tx = brain_tx_new(brain, TX_LEASES, &number);
    brain->agents[heartbeat->agent].held_by = number + 1;
    tx->agents_held = 1u << heartbeat->agent;
    tx->agent = heartbeat->agent;
    tx->row = *row;
    if (!renews) {
        tx_register(brain, tx, heartbeat);
    }
    tx->row.heartbeat_us = sim_now(brain->sim);
    tx->row.expires_us = sim_now(brain->sim) + heartbeat->ttl_us;
    tx_assign(brain, number);
    tx_take_notices(brain, tx);
    *answer = (BrainHeartbeatAnswer){ tx->row.agent_id, tx->row.version,
                                      tx->row.version != heartbeat->known_version };
    return brain_begun(number);
}

BrainBegun brain_begin_leave(Brain *brain, const BrainHeartbeat *heartbeat)
{
    int number;
    const AgentRow *row = &brain->agents[heartbeat->agent];
    if (row->held_by) {
        return (BrainBegun){ BRAIN_BUSY, BRAIN_NOBODY, brain->txs[row->held_by - 1].end_us };
    }
    BrainTx *tx = brain_tx_new(brain, TX_LEASES, &number);
    brain->agents[heartbeat->agent].held_by = number + 1;
    tx->agents_held = 1u << heartbeat->agent;
    tx->agent = heartbeat->agent;
    tx->row = *row;
    if (row->registered && row->incarnation == heartbeat->incarnation) {
        tx->row.heartbeat_us = sim_now(brain->sim);
        tx->row.expires_us = sim_now(brain->sim);
        tx->row.version++;
        tx_assign(brain, number);
    }
    return brain_begun(number);
}

void brain_apply_leases(Brain *brain, BrainTx *tx)
{
    AgentRow *row = &brain->agents[tx->agent];
    int newer_notices = row->notices - tx->notices_taken;
    *row = tx->row;
    row->held_by = 0;
    row->notices = newer_notices;
    for (int i = 0; i < tx->move_count; i++) {
        const LeaseMove *move = &tx->moves[i];
        PartitionRow *partition = &brain->partitions[move->partition];
        partition->leader = move->leader;
        partition->epoch++;
        for (int j = 0; j < SIM_AGENTS; j++) {
            bool touched = brain->agents[j].agent_id == move->leader || brain->agents[j].agent_id == move->before;
            brain->agents[j].notices += touched && j != tx->agent;
        }
        sim_trace(brain->sim, "partition %d is agent id %d's, epoch %d", move->partition, move->leader,
                  partition->epoch);
    }
    if (tx->move_count > 0) {
        sim_notify(brain->sim);
    }
}
