/* rack.c: rendezvous hashing over the agents of a zone: every agent comes to the same answer, and one that
 * leaves moves only its own partitions. */
#include "agent/api/rack.h"

#include <string.h>

Slice rack_of_client(Slice client_id)
{
    static const char tag[] = "zone=";
    const size_t tag_size = sizeof(tag) - 1;
    for (size_t start = 0; start < client_id.size;) {
        const uint8_t *part = client_id.data + start;
        size_t left = client_id.size - start;
        const uint8_t *end = memchr(part, ';', left);
        size_t size = end ? (size_t)(end - part) : left;
        if (size > tag_size && memcmp(part, tag, tag_size) == 0) {
            return slice_of(part + tag_size, size - tag_size);
        }
        start += size + 1;
    }
    return SLICE_NULL;
}

static uint64_t mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static uint64_t rack_weight(const Partition *partition, int32_t agent_id)
{
    uint64_t place = (uint64_t)(uint32_t)partition->topic->topic_id << 32 | (uint32_t)partition->index;
    return mix(mix(place) + (uint64_t)(uint32_t)agent_id);
}

int32_t rack_reader(const Catalog *catalog, const Partition *partition, Slice zone)
{
    size_t count;
    const AgentNode *agents = catalog_agents(catalog, &count);
    int32_t reader = RACK_NONE;
    uint64_t heaviest = 0;
    for (size_t i = 0; i < count; i++) {
        if (!slice_equals(slice_of_text(agents[i].zone), zone)) {
            continue;
        }
        uint64_t weight = rack_weight(partition, agents[i].agent_id);
        if (reader == RACK_NONE || weight > heaviest) {
            reader = agents[i].agent_id;
            heaviest = weight;
        }
    }
    return reader;
}

int32_t rack_elsewhere(const Catalog *catalog, const Partition *partition, int32_t own_id, Slice reader_zone)
{
    const AgentNode *self = catalog_agent(catalog, own_id);
    if (reader_zone.size == 0 || partition->leader != own_id || !self ||
        slice_equals(slice_of_text(self->zone), reader_zone)) {
        return RACK_NONE;
    }
    return rack_reader(catalog, partition, reader_zone);
}

RackZones rack_zones(const Catalog *catalog)
{
    size_t count;
    const AgentNode *agents = catalog_agents(catalog, &count);
    RackZones zones = { .count = 0 };
    for (size_t i = 0; i < count && zones.count < RACK_ZONES_MAX; i++) {
        Slice zone = slice_of_text(agents[i].zone);
        bool known = zone.size == 0;
        for (size_t j = 0; j < zones.count; j++) {
            known = known || slice_equals(zones.zones[j], zone);
        }
        if (!known) {
            zones.zones[zones.count++] = zone;
        }
    }
    return zones;
}

int32_t rack_replicas(const Catalog *catalog, const RackZones *zones, const Partition *partition,
                      int32_t *ids)
{
    int32_t count = 0;
    const AgentNode *leader = catalog_agent(catalog, partition->leader);
    if (!leader) {
        return 0;
    }
    ids[count++] = partition->leader;
    for (size_t i = 0; i < zones->count; i++) {
        if (!slice_equals(zones->zones[i], slice_of_text(leader->zone))) {
            ids[count++] = rack_reader(catalog, partition, zones->zones[i]);
        }
    }
    return count;
}
