/* check.c: the invariants, as the checker of real runs has them. What concerns a single append is checked
 * where it is made, in brain.c. */
#include "test/sim/agent.h"
#include "test/sim/producer.h"

/* Not when it was overruled: an agent that does not do what it was told may not have heard it. It is fenced.
 */
static void check_leader(Sim *sim, const SimAgent *agent, int partition, const BrainLease *lease)
{
    int32_t known = agent->topic->partitions[partition]->epoch;
    bool stale = known < lease->epoch && known >= brain_overruled_epoch(sim->brain, partition);
    if (stale && agent_leads(agent, partition)) {
        sim_trace(sim, "agent %d would accept for partition %d under epoch %d", agent->index, partition,
                  agent->topic->partitions[partition]->epoch);
        sim_wrong(sim, "an agent would accept for a partition after its lease went to another one");
    }
}

void check_leaders(Sim *sim)
{
    BrainLease leases[SIM_PARTITIONS];
    brain_read_leases(sim->brain, leases);
    for (int partition = 0; partition < sim->config.partitions; partition++) {
        for (int i = 0; i < sim->config.agents; i++) {
            const SimAgent *agent = &sim->agents[i];
            if (agent_runs(agent) && !agent_is_paused(agent)) {
                check_leader(sim, agent, partition, &leases[partition]);
            }
        }
    }
}

static const BrainEntry *entry_find(const Sim *sim, int partition, int producer, int32_t sequence)
{
    int count;
    const BrainEntry *entries = brain_entries(sim->brain, partition, &count);
    for (int i = 0; i < count; i++) {
        if (entries[i].producer == producer && entries[i].first_sequence == sequence) {
            return &entries[i];
        }
    }
    return NULL;
}

void check_acknowledged(Sim *sim, int producer, int partition, int batch)
{
    const SimStream *stream = &sim->producers[producer].streams[partition];
    const BrainEntry *entry = entry_find(sim, partition, producer, stream->sequences[batch]);
    if (!entry) {
        sim_wrong(sim, "a batch was acknowledged before it was committed");
    } else if (entry->base_offset != stream->offsets[batch]) {
        sim_wrong(sim, "a batch is not where its answer said");
    }
}

/* Every batch of the stream is in the partition once, in order, where its answer said. */
static void check_stream(Sim *sim, int producer, int partition)
{
    int count;
    int found = 0;
    const SimStream *stream = &sim->producers[producer].streams[partition];
    const BrainEntry *entries = brain_entries(sim->brain, partition, &count);
    for (int i = 0; i < count; i++) {
        if (entries[i].producer != producer) {
            continue;
        }
        if (found == sim->config.batches || entries[i].first_sequence != stream->sequences[found] ||
            entries[i].count != stream->counts[found]) {
            sim_wrong(sim, "a batch is twice in the log, or out of its producer's order");
            return;
        }
        if (entries[i].base_offset != stream->offsets[found]) {
            sim_wrong(sim, "a batch is not where its answer said");
        }
        found++;
    }
    if (found != sim->config.batches) {
        sim_wrong(sim, "an acknowledged batch is lost");
    }
}

/* Offsets and epochs only rise; what a segment points at is there. */
static void check_partition(Sim *sim, int partition)
{
    int count;
    const BrainEntry *entries = brain_entries(sim->brain, partition, &count);
    for (int i = 0; i < count; i++) {
        if (i > 0 && entries[i].base_offset < entries[i - 1].base_offset + entries[i - 1].count) {
            sim_wrong(sim, "two batches have one offset");
        }
        if (i > 0 && entries[i].epoch < entries[i - 1].epoch) {
            sim_wrong(sim, "an older epoch's batch follows a newer one's");
        }
        if (entries[i].object_id > 0) {
            const BrainObject *object = brain_object(sim->brain, entries[i].object_id);
            if (!object->is_inline && (object->state != OBJECT_LIVE || !object->stored)) {
                sim_wrong(sim, "the bytes of a committed batch are gone");
            }
        }
    }
}

/* After the reaper has had its time. */
static void check_objects(Sim *sim)
{
    for (int round = 0; round < 4; round++) {
        brain_reap(sim->brain, true);
    }
    int64_t count = brain_object_count(sim->brain);
    for (int64_t id = 1; id < count; id++) {
        const BrainObject *object = brain_object(sim->brain, id);
        if (!object->is_inline && object->stored && object->state != OBJECT_LIVE) {
            sim_wrong(sim, "an object that nothing refers to is never deleted");
        }
    }
}

static void check_requests(Sim *sim)
{
    for (int i = 0; i < sim->request_count; i++) {
        const SimRequest *request = &sim->requests[i];
        const SimAgent *agent = &sim->agents[request->agent];
        if (request->accepted && request->agent_life == agent->life && request->answers != 1) {
            sim_wrong(sim, "an accepted batch was never answered");
        }
    }
}

/* Everything worked for several TTLs. */
static void check_leases(Sim *sim)
{
    BrainLease leases[SIM_PARTITIONS];
    brain_read_leases(sim->brain, leases);
    for (int i = 0; i < sim->config.partitions; i++) {
        bool led = false;
        for (int j = 0; j < sim->config.agents; j++) {
            led = led || (agent_leads(&sim->agents[j], i) && sim->agents[j].agent_id == leases[i].leader);
        }
        if (!led) {
            sim_wrong(sim, "a partition has no leader long after everything works again");
        }
    }
    if (!brain_is_balanced(sim->brain)) {
        sim_wrong(sim, "leases still move long after everything works again");
    }
}

void check_end(Sim *sim)
{
    check_leases(sim);
    for (int i = 0; i < sim->config.producers; i++) {
        for (int j = 0; j < sim->config.partitions; j++) {
            check_stream(sim, i, j);
        }
    }
    for (int i = 0; i < sim->config.partitions; i++) {
        check_partition(sim, i);
    }
    check_requests(sim);
    check_objects(sim);
    sim_cover(sim, COVER_ACKED);
}
