/* campaign.h: many schedules one after the other, what they met, and what is told of one that failed. */
#ifndef STREAMHOUSE_SIM_CAMPAIGN_H
#define STREAMHOUSE_SIM_CAMPAIGN_H

#include "test/sim/sim.h"

typedef enum Layer {
    LAYER_MIXED,  /* the seed decides between the next two */
    LAYER_LEASES, /* agents, leases, clocks and PostgreSQL: no records */
    LAYER_LOG     /* and producers, the agents' log, the store */
} Layer;

typedef struct Campaign {
    uint64_t first_seed;
    uint64_t schedules;
    Layer layer;
    bool quiet; /* no progress */
    /* Filled by the run. */
    uint64_t done;
    uint64_t steps;
    int64_t took_ns;
    uint64_t met[COVERS]; /* schedules */
    uint64_t wrong_seed;
    const char *wrong; /* NULL: nothing */
} Campaign;

/* Until all is done, or the first schedule that goes wrong. */
void campaign_run(Campaign *campaign);
/* What was met, one line each; false when something was not that this many schedules should have met. */
bool campaign_print_coverage(const Campaign *campaign);
/* The schedule that went wrong, made smaller as far as that is possible, with everything that happened in it.
 */
void campaign_explain(const Campaign *campaign);

#endif
