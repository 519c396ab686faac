/* brain_lease.c: heartbeats, leaving, planning and hand-overs, as src/agent.sql and src/lease.sql have them,
 * around the product's lease planner. Plans are made by one transaction at a time. A partition without a
 * leader gets one at once; one that is led by somebody who lives is handed over by him, and taken from him
 * only when he does not. */
#include "common/lease_plan.h"
#include "test/sim/brain_internal.h"

enum { MOVES_MAX = 2, SLACK_PERCENT = 15, PATIENCE_US = 100 * SIM_MS_US };

static bool row_is_live(const Brain *brain, const AgentRow *row)
{
    int64_t now_us = sim_now(brain->sim);
    int64_t ttl_us = row->expires_us - row->heartbeat_us;
    return row->registered &&
           (row->expires_us > now_us || (ttl_us > 0 && brain->started_us + ttl_us > now_us));
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

static uint32_t tx_able(const Brain *brain, const BrainTx *tx, uint32_t live)
{
    for (int i = 0; i < SIM_AGENTS; i++) {
        if (tx_row(brain, tx, i)->draining) {
            live &= ~(1u << i);
        }
    }
    return live;
}

/* The agent's place when it is one of the set. */
static int place_in(const Brain *brain, const BrainTx *tx, int32_t agent_id, uint32_t set)
{
    for (int i = 0; i < SIM_AGENTS; i++) {
        if (set & 1u << i && tx_row(brain, tx, i)->agent_id == agent_id) {
            return i;
        }
    }
    return BRAIN_NOBODY;
}

static void tx_change(Brain *brain, int number, LeaseChange change)
{
    BrainTx *tx = &brain->txs[number];
    if (change.kind == CHANGE_MOVE) {
        brain_hold_partition(brain, number, change.partition);
    }
    tx->changes[tx->change_count++] = change;
}

static bool is_free(const Brain *brain, int number, int partition)
{
    int held_by = brain->partitions[partition].held_by;
    return held_by == 0 || held_by == number + 1;
}

/* The lease as this transaction sees it. */
static BrainLease tx_lease(const Brain *brain, const BrainTx *tx, int partition)
{
    const PartitionRow *row = &brain->partitions[partition];
    BrainLease lease = { row->leader, row->epoch, row->next };
    for (int i = 0; i < tx->change_count; i++) {
        const LeaseChange *change = &tx->changes[i];
        if (change->partition == partition) {
            lease.leader = change->kind == CHANGE_NEXT ? lease.leader : change->agent;
            lease.next = change->kind == CHANGE_NEXT ? change->agent : BRAIN_NOBODY;
        }
    }
    return lease;
}

/* Whose leader did not hand it over in time, or whose next leader died meanwhile. */
static void tx_end_hand_overs(Brain *brain, int number, uint32_t live)
{
    BrainTx *tx = &brain->txs[number];
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        BrainLease lease = tx_lease(brain, tx, i);
        if (lease.next == BRAIN_NOBODY) {
            continue;
        }
        if (place_in(brain, tx, lease.next, live) == BRAIN_NOBODY) {
            tx_change(brain, number, (LeaseChange){ CHANGE_NEXT, i, lease.leader, BRAIN_NOBODY, false });
        } else if (brain->partitions[i].hand_over_until_us < sim_now(brain->sim) &&
                   lease.leader != BRAIN_NOBODY && is_free(brain, number, i)) {
            bool lives = place_in(brain, tx, lease.leader, live) != BRAIN_NOBODY;
            sim_cover(brain->sim, COVER_OVERRULED);
            tx_change(brain, number, (LeaseChange){ CHANGE_MOVE, i, lease.leader, lease.next, lives });
        }
    }
}

static bool tx_has_orphans(const Brain *brain, const BrainTx *tx, uint32_t live, bool *pending)
{
    bool orphans = false;
    *pending = false;
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        BrainLease lease = tx_lease(brain, tx, i);
        orphans = orphans || place_in(brain, tx, lease.leader, live) == BRAIN_NOBODY;
        *pending = *pending || lease.next != BRAIN_NOBODY;
    }
    return orphans;
}

static int32_t plan_agents(const Brain *brain, const BrainTx *tx, uint32_t able, LeaseAgent *agents)
{
    int32_t count = 0;
    for (int i = 0; i < SIM_AGENTS; i++) {
        if (able & 1u << i) {
            agents[count++] =
                (LeaseAgent){ .agent_id = tx_row(brain, tx, i)->agent_id, .weight = LEASE_WEIGHT_DEFAULT };
        }
    }
    return count;
}

static int32_t plan_index(const LeaseAgent *agents, int32_t count, int32_t agent_id)
{
    for (int32_t i = 0; i < count; i++) {
        if (agents[i].agent_id == agent_id) {
            return i;
        }
    }
    return LEASE_NOBODY;
}

/* What holds of every plan: shares within one of each other when nothing may stay uneven, bounded moves. */
static void plan_check(Sim *sim, const LeasePartition *partitions, int32_t agents, const LeaseBounds *bounds,
                       const LeasePlan *plan)
{
    int held[SIM_AGENTS] = { 0 };
    int least = SIM_PARTITIONS;
    int most = 0;
    for (int i = 0; i < sim->config.partitions; i++) {
        if (partitions[i].target != LEASE_NOBODY) {
            held[partitions[i].target]++;
        } else if (!partitions[i].has_leader) {
            sim_wrong(sim, "a plan leaves a partition without a leader");
        }
    }
    for (int i = 0; i < agents; i++) {
        least = held[i] < least ? held[i] : least;
        most = held[i] > most ? held[i] : most;
    }
    if (plan->moves > bounds->moves_max) {
        sim_wrong(sim, "a plan moves more than it may");
    }
    if (plan->moves == plan->wanted && bounds->slack_percent == 0 && most - least > 1) {
        sim_wrong(sim, "a plan without bounds is uneven");
    }
}

/* Carries a plan out; gives back how many hand-overs begin. */
static int tx_carry_out(Brain *brain, int number, const LeaseAgent *agents, const LeasePartition *partitions)
{
    BrainTx *tx = &brain->txs[number];
    int begun = 0;
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        const LeasePartition *planned = &partitions[i];
        BrainLease lease = tx_lease(brain, tx, i);
        if (planned->target == LEASE_NOBODY || agents[planned->target].agent_id == lease.leader) {
            continue;
        }
        int32_t target = agents[planned->target].agent_id;
        if (planned->has_leader) {
            begun++;
            sim_cover(brain->sim, COVER_HANDOVER);
            tx_change(brain, number, (LeaseChange){ CHANGE_NEXT, i, lease.leader, target, false });
        } else if (is_free(brain, number, i)) {
            sim_cover(brain->sim, lease.leader == BRAIN_NOBODY ? COVER_LEFT : COVER_EXPIRY);
            tx_change(brain, number, (LeaseChange){ CHANGE_MOVE, i, lease.leader, target, false });
        }
    }
    return begun;
}

static int tx_plan(Brain *brain, int number, uint32_t live, uint32_t able, const LeaseBounds *bounds)
{
    BrainTx *tx = &brain->txs[number];
    LeaseAgent agents[SIM_AGENTS];
    LeasePartition partitions[SIM_PARTITIONS];
    LeasePlan plan;
    int32_t agent_count = plan_agents(brain, tx, able, agents);
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        BrainLease lease = tx_lease(brain, tx, i);
        partitions[i] = (LeasePartition){ .topic_id = 1,
                                          .partition = i,
                                          .holder = plan_index(agents, agent_count, lease.leader),
                                          .has_leader = place_in(brain, tx, lease.leader, live) >= 0 };
    }
    if (!lease_plan(agents, agent_count, partitions, brain->sim->config.partitions, bounds, &plan)) {
        sim_bail_out("memory is short");
    }
    plan_check(brain->sim, partitions, agent_count, bounds, &plan);
    return tx_carry_out(brain, number, agents, partitions);
}

/* Who seems dead may be about to be renewed: only whose row can be locked is dead, and stays so until this
 * ends. */
static uint32_t tx_lock_dead(Brain *brain, int number, uint32_t live)
{
    BrainTx *tx = &brain->txs[number];
#ifdef MUTANT_TRUSTS_SNAPSHOT
    return live;
#endif
    for (int i = 0; i < SIM_AGENTS; i++) {
        AgentRow *row = &brain->agents[i];
        if (!row->registered || live & 1u << i || i == tx->agent) {
            continue;
        }
        if (row->held_by) {
            live |= 1u << i;
        } else {
            row->held_by = number + 1;
            tx->agents_held |= 1u << i;
        }
    }
    return live;
}

static void tx_assign(Brain *brain, int number)
{
    BrainTx *tx = &brain->txs[number];
    uint32_t live = tx_live(brain, tx);
    uint32_t able = tx_able(brain, tx, live);
    bool pending;
    if (!able || (brain->assigner && brain->assigner != number + 1)) {
        return;
    }
    brain->assigner = number + 1;
    tx->assigns = true;
    tx->able = able;
    live = tx_lock_dead(brain, number, live);
    tx_end_hand_overs(brain, number, live);
    bool orphans = tx_has_orphans(brain, tx, live, &pending);
    bool changed = !brain->was_balanced || brain->balanced != able;
    if (!orphans && (!changed || pending)) {
        return;
    }
    LeaseBounds bounds = { .moves_max = changed && !pending ? MOVES_MAX : 0,
                           .slack_percent = changed ? 0 : SLACK_PERCENT };
    int begun = tx_plan(brain, number, live, able, &bounds);
    tx->balanced = bounds.moves_max > 0 && begun == 0;
}

static bool change_touches(const LeaseChange *change, int32_t agent_id)
{
    return change->kind != CHANGE_NEXT && (change->agent == agent_id || change->before == agent_id);
}

static void tx_take_notices(const Brain *brain, BrainTx *tx)
{
    int noticed = brain->agents[tx->agent].notices;
    for (int i = 0; i < tx->change_count; i++) {
        noticed += change_touches(&tx->changes[i], tx->row.agent_id);
    }
    tx->notices_taken = brain->agents[tx->agent].notices;
    tx->row.version += noticed > 0;
}

/* Takes all leases from the agent; their epochs stay until they go to somebody. */
static void tx_release_leases(Brain *brain, int number)
{
    BrainTx *tx = &brain->txs[number];
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        if (brain->partitions[i].leader == tx->row.agent_id) {
            tx_change(brain, number,
                      (LeaseChange){ CHANGE_RELEASE, i, tx->row.agent_id, BRAIN_NOBODY, false });
        }
    }
}

static void tx_register(Brain *brain, int number, const BrainHeartbeat *heartbeat)
{
    AgentRow *row = &brain->txs[number].row;
    if (row->registered) {
        sim_cover(brain->sim, COVER_REPLACED);
    }
    row->agent_id = row->registered ? row->agent_id : brain->next_agent_id++;
    row->registered = true;
    row->previous_incarnation = row->incarnation;
    row->incarnation = heartbeat->incarnation;
    row->version++;
    tx_release_leases(brain, number);
}

static BrainBegun busy_with(const Brain *brain, int held_by)
{
    return (BrainBegun){ BRAIN_BUSY, BRAIN_NOBODY, brain->txs[held_by - 1].end_us };
}

static int tx_of_agent(Brain *brain, int agent)
{
    int number;
    BrainTx *tx = brain_tx_new(brain, TX_LEASES, &number);
    brain->agents[agent].held_by = number + 1;
    tx->agents_held = 1u << agent;
    tx->agent = agent;
    tx->row = brain->agents[agent];
    return number;
}

BrainBegun brain_begin_heartbeat(Brain *brain, const BrainHeartbeat *heartbeat, BrainHeartbeatAnswer *answer)
{
    const AgentRow *row = &brain->agents[heartbeat->agent];
    if (row->held_by) {
        return busy_with(brain, row->held_by);
    }
    bool renews = row->registered && row->incarnation == heartbeat->incarnation;
    /* A first heartbeat that is overtaken by a successor's would take its place; a real one is seconds apart.
     */
    if (!renews && row->registered && row->incarnation > heartbeat->incarnation) {
        return brain_refused(BRAIN_REPLACED);
    }
    if (!renews && brain->assigner) {
        return busy_with(brain, brain->assigner);
    }
    int number = tx_of_agent(brain, heartbeat->agent);
    BrainTx *tx = &brain->txs[number];
    if (!renews) {
        tx_register(brain, number, heartbeat);
    }
    tx->row.draining = heartbeat->draining;
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
    const AgentRow *row = &brain->agents[heartbeat->agent];
    if (row->held_by || brain->assigner) {
        return busy_with(brain, row->held_by ? row->held_by : brain->assigner);
    }
    int number = tx_of_agent(brain, heartbeat->agent);
    BrainTx *tx = &brain->txs[number];
    if (row->registered && row->incarnation == heartbeat->incarnation) {
        tx->row.heartbeat_us = sim_now(brain->sim);
        tx->row.expires_us = sim_now(brain->sim);
        tx->row.version++;
        tx_release_leases(brain, number);
        tx_assign(brain, number);
    }
    return brain_begun(number);
}

BrainBegun brain_begin_hand_over(Brain *brain, const BrainHeartbeat *heartbeat)
{
    int number;
    const AgentRow *row = &brain->agents[heartbeat->agent];
    BrainTx *tx = brain_tx_new(brain, TX_LEASES, &number);
    uint32_t live = tx_live(brain, NULL);
    for (int i = 0; i < brain->sim->config.partitions; i++) {
        BrainLease lease = tx_lease(brain, tx, i);
        bool is_its = row->incarnation == heartbeat->incarnation && lease.leader == row->agent_id;
        if (heartbeat->partitions & 1u << i && is_its && place_in(brain, NULL, lease.next, live) >= 0 &&
            is_free(brain, number, i)) {
            sim_cover(brain->sim, COVER_HANDED);
            tx_change(brain, number, (LeaseChange){ CHANGE_MOVE, i, lease.leader, lease.next, false });
        }
    }
    return brain_begun(number);
}

static void apply_change(Brain *brain, const BrainTx *tx, const LeaseChange *change)
{
    PartitionRow *row = &brain->partitions[change->partition];
    if (row->leader != change->before) {
        return;
    }
    row->next = change->kind == CHANGE_NEXT ? change->agent : BRAIN_NOBODY;
    if (change->kind == CHANGE_NEXT) {
        row->hand_over_until_us = sim_now(brain->sim) + PATIENCE_US;
        for (int i = 0; i < SIM_AGENTS && change->agent != BRAIN_NOBODY; i++) {
            if (brain->agents[i].agent_id == change->before) {
                sim_tell_hand_over(brain->sim, i);
            }
        }
        return;
    }
    row->leader = change->agent;
    row->overruled_epoch = change->overruled ? row->epoch + 1 : row->overruled_epoch;
    for (int i = 0; i < SIM_AGENTS; i++) {
        brain->agents[i].notices += change_touches(change, brain->agents[i].agent_id) && i != tx->agent;
    }
    if (change->kind == CHANGE_MOVE) {
        row->epoch++;
        sim_trace(brain->sim, "partition %d is agent id %d's, epoch %d%s", change->partition, change->agent,
                  row->epoch, change->overruled ? ": overruled" : "");
        sim_tell_leader(brain->sim, change->partition, row->leader, row->epoch);
    }
}

/* What a transaction changed twice was released first. */
void brain_apply_leases(Brain *brain, BrainTx *tx)
{
    if (tx->agent != BRAIN_NOBODY) {
        AgentRow *row = &brain->agents[tx->agent];
        int newer_notices = row->notices - tx->notices_taken;
        *row = tx->row;
        row->held_by = 0;
        row->notices = newer_notices;
    }
    for (int i = 0; i < tx->change_count; i++) {
        apply_change(brain, tx, &tx->changes[i]);
    }
    if (tx->balanced) {
        brain->was_balanced = true;
        brain->balanced = tx->able;
    }
    check_leaders(brain->sim);
}

int32_t brain_overruled_epoch(const Brain *brain, int partition)
{
    return brain->partitions[partition].overruled_epoch;
}

bool brain_is_balanced(const Brain *brain)
{
    bool pending;
    uint32_t live = tx_live(brain, NULL);
    static const BrainTx nothing = { .agent = BRAIN_NOBODY };
    return !tx_has_orphans(brain, &nothing, live, &pending) && !pending && brain->was_balanced &&
           brain->balanced == tx_able(brain, NULL, live);
}
