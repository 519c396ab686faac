/* rack.h: who serves a partition to readers of which availability zone. Every agent can; one that is in the
 * reader's zone spares it the way between zones. A client says where it is in Fetch (client.rack), or, when
 * it cannot be told to, in its client.id; and only the leader sends it elsewhere, so that it is never sent in
 * circles. */
#ifndef STREAMHOUSE_RACK_H
#define STREAMHOUSE_RACK_H

#include "agent/catalog/catalog.h"

enum { RACK_NONE = -1, RACK_ZONES_MAX = 16 };

/* The zone in a client.id that has a part zone=… among others that semicolons separate, like
 * "billing;zone=eu-1a"; null when it has none. A view of client_id. */
Slice rack_of_client(Slice client_id);

/* The agent of that zone that readers of the partition share; RACK_NONE when no live agent is in it. */
int32_t rack_reader(const Catalog *catalog, const Partition *partition, Slice zone);

/* Where this agent sends a reader that is in a zone of its own: RACK_NONE for nowhere. */
int32_t rack_elsewhere(const Catalog *catalog, const Partition *partition, int32_t own_id, Slice reader_zone);

/* Distinct zones of live agents, RACK_ZONES_MAX at most. */
typedef struct RackZones {
    Slice zones[RACK_ZONES_MAX];
    size_t count;
} RackZones;

RackZones rack_zones(const Catalog *catalog);

/* What clients are told of as replicas: the leader, then the reader of each other zone. The Java client reads
 * from nobody else. Writes at most RACK_ZONES_MAX + 1 ids; returns how many. */
int32_t rack_replicas(const Catalog *catalog, const RackZones *zones, const Partition *partition,
                      int32_t *ids);

#endif
