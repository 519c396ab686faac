/* config.c: draws the shape of a schedule. Most are small: two agents that fight about a partition find more
 * in a microsecond than ten that do not meet. */
#include "test/sim/config.h"

#include "test/sim/random.h"

const SimField sim_fields[SIM_FIELDS] = {
#define SIM_FIELD(field, least) { #field, least },
    SIM_CONFIG(SIM_FIELD)
#undef SIM_FIELD
};

/* A kind of fault that some schedules have. */
static int config_some(Random *random, int percent, int most)
{
    return random_chance(random, percent) ? (int)random_between(random, 1, most) : 0;
}

static void config_draw_faults(SimConfig *config, Random *random)
{
    config->fault_every_ms = (int)random_between(random, 30, 400);
    config->kills = config_some(random, 35, 3);
    config->pauses = config_some(random, 45, 3);
    config->drains = config_some(random, 30, 3);
    config->cuts = config_some(random, 35, 3);
    config->blackouts = config_some(random, 25, 2);
    config->restarts = config_some(random, 25, 2);
    config->sessions = config_some(random, 35, 4);
    config->disconnects = config_some(random, 40, 3);
    config->outages = config_some(random, 15, 2);
    config->put_fails = config_some(random, 30, 25);
    config->commit_fails = config_some(random, 20, 15);
    config->answers_lost = config_some(random, 40, 20);
    config->full = config_some(random, 20, 30);
    config->short_intents = config_some(random, 15, 1);
    config->wraps = config_some(random, 30, 1);
}

SimConfig config_draw(uint64_t seed, bool leases)
{
    Random random = random_from(seed, 1);
    bool slow = random_chance(&random, 15);
    SimConfig config = {
        .agents = (int)random_between(&random, 1, leases ? SIM_AGENTS : 3),
        .partitions = (int)random_between(&random, 1, leases ? SIM_PARTITIONS : 2),
        .producers = leases ? 0 : (int)random_between(&random, 1, 2),
        .batches = (int)random_between(&random, 2, 5),
        .faults_ms = (int)random_between(&random, 30, leases ? 500 : 250),
        .ttl_ms = (int)random_between(&random, 50, 160),
        .network_us = (int)random_between(&random, 100, slow ? 8000 : 2000),
        .commit_us = (int)random_between(&random, 100, slow ? 15000 : 3000),
        .put_ms = (int)random_between(&random, 2, slow ? 120 : 15),
        .timeout_ms = (int)(random_chance(&random, 30) ? random_between(&random, 20, 80)
                                                       : random_between(&random, 150, 600)),
        .clock_ppm = config_some(&random, 40, 1000),
    };
    config_draw_faults(&config, &random);
    return config;
}
