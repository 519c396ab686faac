/* sim.h: one schedule: a clock that only events move, the events, and everybody who lives by them. True time
 * is in microseconds; an agent knows only its own clock, which has another zero and perhaps another speed.
 *
 *   simulate.c  arguments, progress, coverage          producer.c  Kafka clients
 *   sim.c       events, the run                        agent.c     an agent's lease and log: the product's
 *   fault.c     what goes wrong and when               agent_log.c what the log asks of the world
 *   network.c   calls to PostgreSQL, PUTs              check.c     what must be true
 *   brain*.c    PostgreSQL
 */
#ifndef STREAMHOUSE_SIM_H
#define STREAMHOUSE_SIM_H

#include <stddef.h>

#include "test/sim/brain.h"
#include "test/sim/config.h"
#include "test/sim/coverage.h"
#include "test/sim/random.h"

enum {
    SIM_MS_US = 1000,
    SIM_SECOND_US = 1000000,
    SIM_EVENTS = 4096,
    SIM_CALLS = 512,
    SIM_REQUESTS = 4096,
    SIM_NEWS = 4096, /* under way at once, at most */
    SIM_STEPS_MAX = 200000,
    SIM_CALM_MS = 30000 /* when everything works, all is through within this time */
};

typedef struct SimAgent SimAgent;
typedef struct SimProducer SimProducer;
typedef struct SimRequest SimRequest;
typedef struct SimCall SimCall;

typedef enum EventKind {
    EVENT_FAULT,
    EVENT_CALM,
    EVENT_REAP,
    EVENT_BRAIN_UP,
    EVENT_SESSION_END,     /* index: transaction */
    EVENT_AGENT_START,     /* index: agent */
    EVENT_AGENT_RESUME,    /* index: agent */
    EVENT_AGENT_BEAT,      /* index: agent; life */
    EVENT_AGENT_TICK,      /* index: agent; life */
    EVENT_AGENT_NOTIFY,    /* index: agent; life: it listens again, after its connection died */
    EVENT_AGENT_NEWS,      /* index: news */
    EVENT_AGENT_HAND_OVER, /* index: agent; life: it is to hand over */
    EVENT_AGENT_ROUND,     /* index: agent; life: looks after its hand-over */
    EVENT_CALL_ARRIVE,     /* index: call; life: its generation, as for the next ones */
    EVENT_CALL_END,        /* its transaction's */
    EVENT_CALL_ANSWER,
    EVENT_CALL_LOST,
    EVENT_PUT_LATE,       /* index: object */
    EVENT_REQUEST_ARRIVE, /* index: request */
    EVENT_REQUEST_TIMEOUT,
    EVENT_PRODUCER, /* index: producer */
    EVENT_PRODUCER_METADATA
} EventKind;

typedef struct Event {
    int64_t at_us;
    uint32_t order; /* of those at the same time, the first made is the first */
    uint16_t kind;
    uint16_t index;
    uint32_t life;
} Event;

/* What one agent hears of one partition. */
typedef struct News {
    uint8_t agent;
    uint8_t partition;
    uint32_t life;
    int32_t leader;
    int32_t epoch;
} News;

struct Sim {
    uint64_t seed;
    SimConfig config;
    Random random;
    int64_t now_us;
    uint32_t event_order;
    int event_count;
    uint64_t steps;
    bool calm; /* no faults any more */
    bool traced;
    const char *wrong; /* the first thing that must not be */
    uint64_t covered;  /* a set of Cover */
    int64_t brain_down_until_us;
    int64_t store_down_until_us;
    int64_t disturbed_us; /* the last time that something went wrong, or an agent came */
    int request_count;
    int free_call;
    int call_count;
    int busy_calls;
    Brain *brain;
    SimAgent *agents;       /* SIM_AGENTS */
    SimProducer *producers; /* SIM_PRODUCERS */
    SimRequest *requests;   /* SIM_REQUESTS */
    SimCall *calls;         /* SIM_CALLS */
    uint32_t news_count;
    News news[SIM_NEWS];
    Event events[SIM_EVENTS];
};
_Static_assert((int)COVERS <= 64, "a schedule's coverage is a set in one number");

Sim *sim_new(void);
void sim_free(Sim *sim);
/* Runs the schedule; what went wrong is in sim->wrong. */
void sim_run(Sim *sim, uint64_t seed, const SimConfig *config);

_Noreturn void sim_bail_out(const char *why);
void sim_trace_line(const Sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
void sim_wrong(Sim *sim, const char *what);
void sim_at(Sim *sim, int64_t at_us, EventKind kind, int index, uint32_t life);

#define sim_trace(sim, ...)                                                                                  \
    do {                                                                                                     \
        if (__builtin_expect((sim)->traced, false)) {                                                        \
            sim_trace_line(sim, __VA_ARGS__);                                                                \
        }                                                                                                    \
    } while (0)

static inline int64_t sim_now(const Sim *sim)
{
    return sim->now_us;
}

static inline void sim_after(Sim *sim, int64_t delay_us, EventKind kind, int index, uint32_t life)
{
    sim_at(sim, sim->now_us + delay_us, kind, index, life);
}

static inline void sim_cover(Sim *sim, Cover cover)
{
    sim->covered |= UINT64_C(1) << cover;
}

static inline bool sim_happens(Sim *sim, int percent)
{
    return percent > 0 && !sim->calm && random_chance(&sim->random, percent);
}

/* One way through the network. */
static inline int64_t sim_way_us(Sim *sim)
{
    int64_t most_us = sim->calm && sim->config.network_us > SIM_MS_US ? SIM_MS_US : sim->config.network_us;
    return 20 + random_below(&sim->random, most_us);
}

/* agent_lease.c: all agents hear who leads a partition now; an agent hears that it is to hand over. */
void sim_tell_leader(Sim *sim, int partition, int32_t leader, int32_t epoch);
void sim_tell_hand_over(Sim *sim, int agent);

/* fault.c */
void fault_start(Sim *sim);
void fault_event(Sim *sim, const Event *event);

/* check.c */
/* No agent would take a batch for a partition that is another's by now. */
void check_leaders(Sim *sim);
/* The producer was told so. */
void check_acknowledged(Sim *sim, int producer, int partition, int batch);
void check_end(Sim *sim);

#endif
