/* brain.c: tables, the life of transactions, objects and their reaper. */
#include <stdlib.h>
#include <string.h>

#include "test/sim/brain_internal.h"

Brain *brain_new(Sim *sim)
{
    Brain *brain = calloc(1, sizeof(Brain));
    if (!brain) {
        abort();
    }
    brain->sim = sim;
    return brain;
}

void brain_free(Brain *brain)
{
    free(brain);
}

/* Only what the last schedule used: the tables are far larger. */
void brain_reset(Brain *brain)
{
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        PartitionRow *row = &brain->partitions[i];
        row->leader = BRAIN_NOBODY;
        row->epoch = 0;
        row->next = BRAIN_NOBODY;
        row->overruled_epoch = 0;
        row->end_offset = 0;
        row->held_by = 0;
        row->entry_count = 0;
        memset(row->rings, 0, sizeof(row->rings));
    }
    for (int i = 0; i < BRAIN_TXS; i++) {
        brain->txs[i].open = false;
    }
    memset(brain->agents, 0, sizeof(brain->agents));
    brain->started_us = -SIM_SECOND_US * 1000;
    brain->next_object_id = 1;
    brain->answer_count = 0;
    brain->next_agent_id = 1;
    brain->assigner = 0;
    brain->balanced = 0;
    brain->was_balanced = false;
}

BrainTx *brain_tx_new(Brain *brain, TxKind kind, int *number)
{
    for (int i = 0; i < BRAIN_TXS; i++) {
        BrainTx *tx = &brain->txs[i];
        if (!tx->open) {
            tx->open = true;
            tx->number = ++brain->tx_count;
            tx->kind = kind;
            tx->partitions_held = 0;
            tx->agents_held = 0;
            tx->assigns = false;
            tx->object_id = 0;
            tx->partition_count = 0;
            tx->batch_count = 0;
            tx->agent = BRAIN_NOBODY;
            tx->change_count = 0;
            tx->balanced = false;
            tx->notices_taken = 0;
            *number = i;
            return tx;
        }
    }
    sim_bail_out("more transactions than a simulation can hold");
}

BrainBegun brain_begun(int tx)
{
    return (BrainBegun){ BRAIN_ANSWERED, tx, 0 };
}

BrainBegun brain_refused(BrainOutcome outcome)
{
    return (BrainBegun){ outcome, BRAIN_NOBODY, 0 };
}

void brain_hold_partition(Brain *brain, int tx, int partition)
{
    brain->partitions[partition].held_by = tx + 1;
    brain->txs[tx].partitions_held |= 1u << partition;
}

void brain_release(Brain *brain, int number)
{
    BrainTx *tx = &brain->txs[number];
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        if (tx->partitions_held & 1u << i) {
            brain->partitions[i].held_by = 0;
        }
    }
    for (int i = 0; i < SIM_AGENTS; i++) {
        if (tx->agents_held & 1u << i) {
            brain->agents[i].held_by = 0;
        }
    }
    if (tx->assigns) {
        brain->assigner = 0;
    }
    tx->open = false;
}

uint32_t brain_tx_number(const Brain *brain, int tx)
{
    return brain->txs[tx].open ? brain->txs[tx].number : 0;
}

bool brain_object_is_held(const Brain *brain, int64_t object_id)
{
    for (int i = 0; i < BRAIN_TXS; i++) {
        const BrainTx *tx = &brain->txs[i];
        if (tx->open && tx->kind == TX_COMMIT && tx->object_id == object_id) {
            return true;
        }
    }
    return false;
}

void brain_set_end(Brain *brain, int tx, int64_t durable_us, int64_t end_us)
{
    brain->txs[tx].durable_us = durable_us;
    brain->txs[tx].end_us = end_us;
}

/* What must be true of every append, whoever decided it. */
static void entry_check(const Brain *brain, const PartitionRow *row, const BrainEntry *entry)
{
    if (entry->base_offset < row->end_offset) {
        sim_wrong(brain->sim, "an offset was handed out twice");
    }
    if (entry->epoch != row->epoch) {
        sim_wrong(brain->sim, "a batch was committed under an old epoch after a newer one began");
    }
}

void brain_append_entry(Brain *brain, int partition, const BrainEntry *entry)
{
    PartitionRow *row = &brain->partitions[partition];
    if (row->entry_count == BRAIN_ENTRIES) {
        sim_bail_out("more batches than a partition of a simulation can hold");
    }
    entry_check(brain, row, entry);
    row->entries[row->entry_count++] = *entry;
    row->end_offset = entry->base_offset + entry->count;
}

static void brain_apply_session(Brain *brain, const BrainTx *tx)
{
    const PartitionRow *row = &brain->partitions[tx->session_partition];
    if (tx->session_records > 0) {
        BrainEntry entry = { .base_offset = row->end_offset,
                             .count = tx->session_records,
                             .epoch = row->epoch,
                             .producer = BRAIN_NOBODY };
        brain_append_entry(brain, tx->session_partition, &entry);
        sim_cover(brain->sim, COVER_SQL_APPEND);
    }
}

BrainBegun brain_begin_session(Brain *brain, int partition, int32_t records)
{
    int number;
    if (brain->partitions[partition].held_by) {
        return brain_refused(BRAIN_BUSY);
    }
    BrainTx *tx = brain_tx_new(brain, TX_SESSION, &number);
    tx->session_partition = partition;
    tx->session_records = records;
    brain_hold_partition(brain, number, partition);
    return brain_begun(number);
}

void brain_end(Brain *brain, int number)
{
    BrainTx *tx = &brain->txs[number];
    switch (tx->kind) {
    case TX_COMMIT:
        brain_apply_commit(brain, tx);
        break;
    case TX_LEASES:
        brain_apply_leases(brain, tx);
        break;
    case TX_SESSION:
        brain_apply_session(brain, tx);
        break;
    }
    brain_release(brain, number);
}

/* The log of PostgreSQL is one: what was durable first is kept first. Open transactions hold what they
 * changed, so the order in which they are ended does not matter. */
void brain_restart(Brain *brain)
{
    for (int i = 0; i < BRAIN_TXS; i++) {
        BrainTx *tx = &brain->txs[i];
        if (!tx->open) {
            continue;
        }
        if (tx->durable_us <= sim_now(brain->sim)) {
            sim_cover(brain->sim, COVER_KEPT_OPEN);
            brain_end(brain, i);
        } else {
            sim_cover(brain->sim, COVER_ROLLED_BACK);
            brain_release(brain, i);
        }
    }
#ifdef MUTANT_FORGETS_RINGS
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        memset(brain->partitions[i].rings, 0, sizeof(brain->partitions[i].rings));
    }
#endif
    brain->started_us = sim_now(brain->sim);
}

static int64_t brain_object_new(Brain *brain, bool is_inline, int32_t agent_id, int64_t expires_us)
{
    if (brain->next_object_id == BRAIN_OBJECTS) {
        sim_bail_out("more objects than a simulation can hold");
    }
    brain->objects[brain->next_object_id] = (BrainObject){
        .state = OBJECT_INTENT, .is_inline = is_inline, .agent_id = agent_id, .expires_us = expires_us
    };
    return brain->next_object_id++;
}

int64_t brain_reserve_object(Brain *brain, int32_t agent_id, int64_t ttl_us)
{
    return brain_object_new(brain, false, agent_id, sim_now(brain->sim) + ttl_us);
}

int64_t brain_reserve_calls(Brain *brain, int32_t agent_id)
{
    int64_t first = brain_object_new(brain, true, agent_id, INT64_MAX);
    for (int i = 1; i < BRAIN_CALL_IDS; i++) {
        (void)brain_object_new(brain, true, agent_id, INT64_MAX);
    }
    return first;
}

void brain_forget_calls(Brain *brain, int64_t first)
{
    for (int i = 0; i < BRAIN_CALL_IDS; i++) {
        BrainObject *object = brain_object(brain, first + i);
        object->answers = 0;
        object->forgotten = true;
    }
}

BrainObject *brain_object(Brain *brain, int64_t id)
{
    if (id < 1 || id >= brain->next_object_id) {
        sim_bail_out("an object that nobody reserved");
    }
    return &brain->objects[id];
}

int64_t brain_object_count(const Brain *brain)
{
    return brain->next_object_id;
}

int64_t brain_end_offset(const Brain *brain, int partition)
{
    return brain->partitions[partition].end_offset;
}

const BrainEntry *brain_entries(const Brain *brain, int partition, int *count)
{
    *count = brain->partitions[partition].entry_count;
    return brain->partitions[partition].entries;
}

void brain_read_leases(const Brain *brain, BrainLease *leases)
{
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        leases[i] = (BrainLease){ brain->partitions[i].leader, brain->partitions[i].epoch,
                                  brain->partitions[i].next };
    }
}

int32_t brain_agent_id(const Brain *brain, int agent)
{
    return brain->agents[agent].registered ? brain->agents[agent].agent_id : BRAIN_NOBODY;
}

static void object_reap(Brain *brain, int64_t id, bool last)
{
    BrainObject *object = &brain->objects[id];
    if (object->state == OBJECT_DELETING || (object->state == OBJECT_GONE && last)) {
        object->state = OBJECT_GONE;
        object->stored = false;
    }
    bool is_over = object->expires_us < sim_now(brain->sim) || last;
    bool is_empty = object->state == OBJECT_INTENT || (object->state == OBJECT_LIVE && object->segments == 0);
    if (is_over && is_empty && !brain_object_is_held(brain, id)) {
        object->state = OBJECT_DELETING;
        sim_cover(brain->sim, COVER_REAPED);
    }
}

void brain_reap(Brain *brain, bool last)
{
    for (int64_t id = 1; id < brain->next_object_id; id++) {
        if (!brain->objects[id].is_inline) {
            object_reap(brain, id, last);
        }
    }
}
