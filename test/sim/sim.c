/* sim.c: events in the order of their time, and the run of one schedule from empty tables to the last check.
 */
#include "test/sim/sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/clock.h"
#include "test/sim/agent.h"
#include "test/sim/network.h"
#include "test/sim/producer.h"

_Noreturn void sim_bail_out(const char *why)
{
    printf("Bail out! %s\n", why);
    exit(EXIT_FAILURE);
}

void sim_trace_line(const Sim *sim, const char *format, ...)
{
    va_list arguments;
    printf("# %6lld.%03lld ms  ", (long long)(sim->now_us / SIM_MS_US), (long long)(sim->now_us % SIM_MS_US));
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

void sim_wrong(Sim *sim, const char *what)
{
    sim_trace(sim, "WRONG: %s", what);
    if (!sim->wrong) {
        sim->wrong = what;
    }
}

static bool event_is_before(const Event *one, const Event *other)
{
    return one->at_us < other->at_us || (one->at_us == other->at_us && one->order < other->order);
}

void sim_at(Sim *sim, int64_t at_us, EventKind kind, int index, uint32_t life)
{
    if (sim->event_count == SIM_EVENTS) {
        sim_bail_out("more events than a simulation can hold");
    }
    Event event = { at_us < sim->now_us ? sim->now_us : at_us, sim->event_order++, (uint16_t)kind,
                    (uint16_t)index, life };
    int place = sim->event_count++;
    while (place > 0 && event_is_before(&event, &sim->events[(place - 1) / 2])) {
        sim->events[place] = sim->events[(place - 1) / 2];
        place = (place - 1) / 2;
    }
    sim->events[place] = event;
}

static Event sim_next_event(Sim *sim)
{
    Event first = sim->events[0];
    Event last = sim->events[--sim->event_count];
    int place = 0;
    for (;;) {
        int child = 2 * place + 1;
        if (child >= sim->event_count) {
            break;
        }
        if (child + 1 < sim->event_count && event_is_before(&sim->events[child + 1], &sim->events[child])) {
            child++;
        }
        if (!event_is_before(&sim->events[child], &last)) {
            break;
        }
        sim->events[place] = sim->events[child];
        place = child;
    }
    sim->events[place] = last;
    return first;
}

Sim *sim_new(void)
{
    Sim *sim = calloc(1, sizeof(Sim));
    if (sim) {
        sim->agents = calloc(SIM_AGENTS, sizeof(SimAgent));
        sim->producers = calloc(SIM_PRODUCERS, sizeof(SimProducer));
        sim->requests = calloc(SIM_REQUESTS, sizeof(SimRequest));
        sim->calls = calloc(SIM_CALLS, sizeof(SimCall));
    }
    if (!sim || !sim->agents || !sim->producers || !sim->requests || !sim->calls) {
        sim_bail_out("memory is short");
    }
    sim->brain = brain_new(sim);
    static const uint8_t uuid[16] = { 1 };
    for (int i = 0; i < SIM_AGENTS; i++) {
        SimAgent *agent = &sim->agents[i];
        agent->sim = sim;
        agent->index = i;
        agent->topic = topic_new(1, uuid, SLICE_LITERAL("simulated"));
        if (!agent->topic || !topic_grow(agent->topic, SIM_PARTITIONS)) {
            sim_bail_out("memory is short");
        }
    }
    return sim;
}

void sim_free(Sim *sim)
{
    for (int i = 0; i < SIM_AGENTS; i++) {
        topic_release(sim->agents[i].topic);
    }
    brain_free(sim->brain);
    free(sim->agents);
    free(sim->producers);
    free(sim->requests);
    free(sim->calls);
    free(sim);
}

static void sim_reset(Sim *sim, uint64_t seed, const SimConfig *config)
{
    sim->seed = seed;
    sim->config = *config;
    sim->random = random_from(seed, 2);
    sim->now_us = 0;
    sim->event_order = 0;
    sim->event_count = 0;
    sim->steps = 0;
    sim->calm = false;
    sim->wrong = NULL;
    sim->covered = 0;
    sim->brain_down_until_us = 0;
    sim->store_down_until_us = 0;
    sim->request_count = 0;
    sim->disturbed_us = config->faults_ms * (int64_t)SIM_MS_US;
    sim->news_count = 0;
    network_reset(sim);
    brain_reset(sim->brain);
    producer_reset(sim);
    for (int i = 0; i < config->agents; i++) {
        sim_at(sim, random_below(&sim->random, 20 * SIM_MS_US), EVENT_AGENT_START, i, 0);
    }
    if (config->clock_ppm > 0) {
        sim_cover(sim, COVER_SKEW);
    }
    fault_start(sim);
}

static void sim_dispatch(Sim *sim, const Event *event)
{
    switch ((EventKind)event->kind) {
    case EVENT_AGENT_START:
    case EVENT_AGENT_RESUME:
    case EVENT_AGENT_BEAT:
    case EVENT_AGENT_TICK:
    case EVENT_AGENT_NOTIFY:
    case EVENT_AGENT_NEWS:
    case EVENT_AGENT_HAND_OVER:
    case EVENT_AGENT_ROUND:
        agent_event(sim, event);
        break;
    case EVENT_CALL_ARRIVE:
    case EVENT_CALL_END:
    case EVENT_CALL_ANSWER:
    case EVENT_CALL_LOST:
    case EVENT_PUT_LATE:
        network_event(sim, event);
        break;
    case EVENT_REQUEST_ARRIVE:
    case EVENT_REQUEST_TIMEOUT:
    case EVENT_PRODUCER:
    case EVENT_PRODUCER_METADATA:
        producer_event(sim, event);
        break;
    default:
        fault_event(sim, event);
    }
}

static bool sim_is_over(const Sim *sim)
{
    if (!sim->calm || !producer_all_done(sim) || !network_is_idle(sim)) {
        return false;
    }
    for (int i = 0; i < sim->config.agents; i++) {
        if (sim->agents[i].state != AGENT_RUNNING || !log_is_idle(sim->agents[i].log)) {
            return false;
        }
    }
    return sim->now_us > sim->disturbed_us + 3 * sim->config.ttl_ms * (int64_t)SIM_MS_US;
}

static void sim_end(Sim *sim)
{
    if (!sim->wrong) {
        check_end(sim);
    }
    for (int i = 0; i < SIM_AGENTS; i++) {
        if (sim->agents[i].state != AGENT_DOWN) {
            agent_kill(&sim->agents[i]);
        }
    }
    clock_use(NULL);
}

void sim_run(Sim *sim, uint64_t seed, const SimConfig *config)
{
    sim_reset(sim, seed, config);
    int64_t give_up_us = (config->faults_ms + SIM_CALM_MS) * (int64_t)SIM_MS_US;
    while (!sim->wrong && !sim_is_over(sim)) {
        if (sim->event_count == 0) {
            sim_bail_out("nothing happens any more");
        }
        Event event = sim_next_event(sim);
        sim->now_us = event.at_us;
        sim->steps++;
        sim_dispatch(sim, &event);
        if (sim->now_us > give_up_us || sim->steps > SIM_STEPS_MAX) {
            sim_wrong(sim, "not everything is through long after everything works again");
        }
    }
    sim_end(sim);
}
