/* config.h: the shape of one schedule: how many of everything, how slow, and which faults. Drawn from the
 * seed; made smaller when a schedule that failed is to be understood. */
#ifndef STREAMHOUSE_SIM_CONFIG_H
#define STREAMHOUSE_SIM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

enum {
    SIM_AGENTS = 4,
    SIM_PARTITIONS = 4,
    SIM_PRODUCERS = 3,
    SIM_BATCHES = 8, /* of one producer to one partition */
};

/* X(field, least): what there is less of in a smaller schedule. Faults are in percent, or how often in a
 * schedule. */
#define SIM_CONFIG(X)                                                                                        \
    X(agents, 1)                                                                                             \
    X(partitions, 1)                                                                                         \
    X(producers, 0)                                                                                          \
    X(batches, 1)                                                                                            \
    X(faults_ms, 50)     /* after that everything works */                                                   \
    X(fault_every_ms, 0) /* 0: no faults but those in percent */                                             \
    X(ttl_ms, 100)                                                                                           \
    X(network_us, 50) /* slowest way from an agent to PostgreSQL, or a client to an agent */                 \
    X(commit_us, 50)  /* longest transaction */                                                              \
    X(put_ms, 1)                                                                                             \
    X(timeout_ms, 20) /* of a Produce request */                                                             \
    X(clock_ppm, 0)   /* clocks run faster or slower by as much */                                           \
    X(kills, 0)                                                                                              \
    X(pauses, 0)                                                                                             \
    X(drains, 0)                                                                                             \
    X(cuts, 0)                                                                                               \
    X(blackouts, 0)                                                                                          \
    X(restarts, 0)                                                                                           \
    X(sessions, 0) /* of SQL that lock partitions, and append */                                             \
    X(disconnects, 0)                                                                                        \
    X(outages, 0)                                                                                            \
    X(put_fails, 0)                                                                                          \
    X(commit_fails, 0)                                                                                       \
    X(answers_lost, 0)                                                                                       \
    X(full, 0)                                                                                               \
    X(short_intents, 0)                                                                                      \
    X(wraps, 0)

typedef struct SimConfig {
#define SIM_FIELD(field, least) int field;
    SIM_CONFIG(SIM_FIELD)
#undef SIM_FIELD
} SimConfig;

typedef struct SimField {
    const char *name;
    int least;
} SimField;

enum { SIM_FIELDS = sizeof(SimConfig) / sizeof(int) };
extern const SimField sim_fields[SIM_FIELDS];

/* leases: no producers, but more agents and partitions. */
SimConfig config_draw(uint64_t seed, bool leases);

static inline int *config_field(SimConfig *config, int field)
{
    return (int *)config + field;
}

#endif
