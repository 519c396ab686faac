/* producer.c: producers as librdkafka and the Java client are: what fails is sent again in order, and nothing
 * more than five batches beyond the last acknowledged one. */
#include "test/sim/producer.h"

#include <string.h>

#include "test/sim/agent.h"

enum { BACKOFF_US = 20 * SIM_MS_US, PATIENCE_MS = 300 /* beyond the time that the agent has */ };

static void stream_reset(Sim *sim, SimStream *stream)
{
    bool wraps = sim->config.wraps && random_chance(&sim->random, 50);
    int64_t sequence = wraps ? INT32_MAX - random_below(&sim->random, 12) : 0;
    if (wraps) {
        sim_cover(sim, COVER_WRAP);
    }
    for (int i = 0; i < SIM_BATCHES; i++) {
        stream->states[i] = BATCH_UNSENT;
        stream->sequences[i] = (int32_t)sequence;
        stream->counts[i] = (int32_t)random_between(&sim->random, 1, 3);
        sequence = (sequence + stream->counts[i]) & INT32_MAX;
    }
    stream->first_open = 0;
    stream->leader = BRAIN_NOBODY;
}

void producer_reset(Sim *sim)
{
    for (int i = 0; i < sim->config.producers; i++) {
        SimProducer *producer = &sim->producers[i];
        producer->index = i;
        producer->drains_before_retry = random_chance(&sim->random, 50);
        producer->asking = false;
        producer->pause_until_us = 0;
        producer->timer_us = 0;
        for (int j = 0; j < SIM_AGENTS; j++) {
            producer->lines[j].count = 0;
            producer->lines[j].last_us = 0;
        }
        for (int j = 0; j < sim->config.partitions; j++) {
            stream_reset(sim, &producer->streams[j]);
        }
        sim_at(sim, random_below(&sim->random, 30 * SIM_MS_US), EVENT_PRODUCER, i, 0);
    }
}

static bool stream_has(const Sim *sim, const SimStream *stream, int from, StreamState state)
{
    for (int i = from; i < sim->config.batches; i++) {
        if (stream->states[i] == state) {
            return true;
        }
    }
    return false;
}

/* The batch to send next; BRAIN_NOBODY: none. The first one goes alone: of a producer that it knows nothing
 * of the brain takes any sequence, as Kafka does. */
static int stream_next(const Sim *sim, const SimStream *stream, bool drains_before_retry)
{
    if (stream->states[0] == BATCH_SENT) {
        return BRAIN_NOBODY;
    }
    if (stream->states[0] == BATCH_UNSENT && stream_has(sim, stream, 0, BATCH_SENT)) {
        return BRAIN_NOBODY;
    }
    for (int i = stream->first_open; i < sim->config.batches && i < stream->first_open + PRODUCER_IN_FLIGHT;
         i++) {
        if (stream->states[i] == BATCH_UNSENT) {
            return drains_before_retry && stream_has(sim, stream, i + 1, BATCH_SENT) ? BRAIN_NOBODY : i;
        }
    }
    return BRAIN_NOBODY;
}

static void producer_again(Sim *sim, SimProducer *producer, int64_t delay_us)
{
    int64_t at_us = sim_now(sim) + delay_us;
    if (producer->timer_us <= sim_now(sim) || at_us < producer->timer_us) {
        producer->timer_us = at_us;
        sim_at(sim, at_us, EVENT_PRODUCER, producer->index, 0);
    }
}

static void producer_ask_leaders(Sim *sim, SimProducer *producer)
{
    if (!producer->asking) {
        producer->asking = true;
        sim_after(sim, sim_way_us(sim) + random_below(&sim->random, BACKOFF_US), EVENT_PRODUCER_METADATA,
                  producer->index, 0);
    }
}

/* Any agent that answers. */
static void producer_learn_leaders(Sim *sim, SimProducer *producer)
{
    const SimAgent *agent = &sim->agents[random_below(&sim->random, sim->config.agents)];
    producer->asking = false;
    if (agent->state != AGENT_RUNNING || agent_is_paused(agent)) {
        producer_ask_leaders(sim, producer);
        return;
    }
    for (int i = 0; i < sim->config.partitions; i++) {
        SimStream *stream = &producer->streams[i];
        int32_t leader = agent->topic->partitions[i]->leader;
        stream->leader = BRAIN_NOBODY;
        for (int j = 0; j < sim->config.agents && leader != TOPIC_NO_LEADER; j++) {
            if (brain_agent_id(sim->brain, j) == leader) {
                stream->leader = j;
            }
        }
    }
    producer_again(sim, producer, 0);
}

static void producer_send(Sim *sim, SimProducer *producer, int partition, int batch)
{
    SimStream *stream = &producer->streams[partition];
    const SimAgent *agent = &sim->agents[stream->leader];
    SimLine *line = &producer->lines[stream->leader];
    if (sim->request_count == SIM_REQUESTS) {
        sim_wrong(sim, "a client sends again and again");
        return;
    }
    int number = sim->request_count++;
    SimRequest *request = &sim->requests[number];
    *request = (SimRequest){ .sim = sim,
                             .producer = (uint8_t)producer->index,
                             .partition = (uint8_t)partition,
                             .batch = (uint8_t)batch,
                             .agent = (uint8_t)stream->leader,
                             .agent_life = agent->life };
    int64_t at_us = sim_now(sim) + sim_way_us(sim);
    line->last_us = at_us > line->last_us ? at_us : line->last_us;
    line->requests[line->count++] = request;
    stream->states[batch] = BATCH_SENT;
    sim_at(sim, line->last_us, EVENT_REQUEST_ARRIVE, number, 0);
    sim_after(sim, (sim->config.timeout_ms + PATIENCE_MS) * (int64_t)SIM_MS_US, EVENT_REQUEST_TIMEOUT, number,
              0);
}

/* One batch to each partition at a time, now and then two. */
static void producer_send_some(Sim *sim, SimProducer *producer)
{
    bool more = false;
    for (int i = 0; i < sim->config.partitions; i++) {
        SimStream *stream = &producer->streams[i];
        int batch = stream_next(sim, stream, producer->drains_before_retry);
        if (batch < 0) {
            continue;
        }
        if (stream->leader == BRAIN_NOBODY) {
            producer_ask_leaders(sim, producer);
        } else if (producer->lines[stream->leader].count < PRODUCER_IN_FLIGHT) {
            producer_send(sim, producer, i, batch);
            more = more || stream_next(sim, stream, producer->drains_before_retry) >= 0;
        }
    }
    if (more) {
        producer_again(sim, producer,
                       random_below(&sim->random, 4) * random_below(&sim->random, 2 * SIM_MS_US));
    }
}

static bool error_is_retriable(KafkaError error)
{
    return error == KAFKA_ERROR_REQUEST_TIMED_OUT || error == KAFKA_ERROR_KAFKA_STORAGE_ERROR ||
           error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
}

static void producer_hear_failure(Sim *sim, SimProducer *producer, const SimRequest *request)
{
    SimStream *stream = &producer->streams[request->partition];
    stream->states[request->batch] = BATCH_UNSENT;
    producer->pause_until_us = sim_now(sim) + random_below(&sim->random, BACKOFF_US);
    if (request->error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER) {
        stream->leader = BRAIN_NOBODY;
    } else if (request->error == KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER) {
        if (request->batch == stream->first_open) {
            sim_wrong(sim, "the next batch in order was called out of order, which ends a producer");
        }
    } else if (!error_is_retriable(request->error)) {
        sim_wrong(sim, "an error that no fault explains");
    }
}

static void producer_hear(Sim *sim, SimProducer *producer, const SimRequest *request)
{
    SimStream *stream = &producer->streams[request->partition];
    sim_trace(sim, "producer %d hears of batch %d to partition %d from agent %d: error %d, offset %lld",
              producer->index, request->batch, request->partition, request->agent, request->error,
              (long long)request->base_offset);
    if (request->error != KAFKA_ERROR_NONE) {
        producer_hear_failure(sim, producer, request);
        return;
    }
    stream->states[request->batch] = BATCH_ACKED;
    stream->offsets[request->batch] = request->base_offset;
    check_acknowledged(sim, request->producer, request->partition, request->batch);
    while (stream->first_open < sim->config.batches && stream->states[stream->first_open] == BATCH_ACKED) {
        stream->first_open++;
    }
}

/* Replies come in the order of the requests. */
static void producer_receive(Sim *sim, SimProducer *producer, int agent)
{
    SimLine *line = &producer->lines[agent];
    while (line->count > 0) {
        SimRequest *request = line->requests[0];
        if (request->answers == 0 || request->replied_us > sim_now(sim)) {
            return;
        }
        memmove(line->requests, line->requests + 1, (size_t)--line->count * sizeof(SimRequest *));
        request->gone = true;
        producer_hear(sim, producer, request);
    }
}

void producer_answered(SimRequest *request)
{
    Sim *sim = request->sim;
    request->replied_us = sim_now(sim) + sim_way_us(sim);
    if (!request->gone) {
        sim_at(sim, request->replied_us, EVENT_PRODUCER, request->producer, 0);
    }
}

/* Nothing is known of what was in flight: it is sent again. */
void producer_disconnect(Sim *sim, SimProducer *producer, int agent)
{
    SimLine *line = &producer->lines[agent];
    for (int i = 0; i < line->count; i++) {
        SimRequest *request = line->requests[i];
        SimStream *stream = &producer->streams[request->partition];
        request->gone = true;
        stream->states[request->batch] = BATCH_UNSENT;
        stream->leader = BRAIN_NOBODY;
    }
    line->count = 0;
    producer->pause_until_us = sim_now(sim) + random_below(&sim->random, BACKOFF_US);
    producer_again(sim, producer, BACKOFF_US);
}

void producer_agent_died(Sim *sim, int agent)
{
    for (int i = 0; i < sim->config.producers; i++) {
        producer_disconnect(sim, &sim->producers[i], agent);
    }
}

bool producer_all_done(const Sim *sim)
{
    for (int i = 0; i < sim->config.producers; i++) {
        for (int j = 0; j < sim->config.partitions; j++) {
            if (sim->producers[i].streams[j].first_open < sim->config.batches) {
                return false;
            }
        }
    }
    return true;
}

static void request_arrived(Sim *sim, const Event *event)
{
    SimRequest *request = &sim->requests[event->index];
    SimAgent *agent = &sim->agents[request->agent];
    if (request->agent_life != agent->life || !agent_runs(agent)) {
        if (!request->gone) {
            producer_disconnect(sim, &sim->producers[request->producer], request->agent);
        }
    } else if (agent_is_paused(agent)) {
        sim_at(sim, agent->paused_until_us, EVENT_REQUEST_ARRIVE, event->index, 0);
    } else {
        agent_produce(agent, request);
    }
}

static void producer_run(Sim *sim, SimProducer *producer)
{
    for (int i = 0; i < sim->config.agents; i++) {
        producer_receive(sim, producer, i);
    }
    if (producer->pause_until_us > sim_now(sim)) {
        producer_again(sim, producer, producer->pause_until_us - sim_now(sim));
    } else {
        producer_send_some(sim, producer);
    }
}

void producer_event(Sim *sim, const Event *event)
{
    switch ((EventKind)event->kind) {
    case EVENT_REQUEST_ARRIVE:
        request_arrived(sim, event);
        break;
    case EVENT_REQUEST_TIMEOUT: {
        const SimRequest *request = &sim->requests[event->index];
        if (!request->gone) {
            sim_cover(sim, COVER_DISCONNECT);
            producer_disconnect(sim, &sim->producers[request->producer], request->agent);
        }
        break;
    }
    case EVENT_PRODUCER_METADATA:
        producer_learn_leaders(sim, &sim->producers[event->index]);
        break;
    default:
        producer_run(sim, &sim->producers[event->index]);
    }
}
