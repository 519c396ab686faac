/* agent.c: an agent of a simulation: what agent/jobs/lease.c, agent/catalog and agent/api/produce.c do around
 * the product's lease clock and log. */
#include "test/sim/agent.h"

#include "agent/clock.h"
#include "test/sim/producer.h"
#include "test/unit/raw_batch.h"

enum { SECOND_PPM = 1000000 };

int64_t agent_ms(const SimAgent *agent)
{
    int64_t now_us = sim_now(agent->sim);
    return agent->clock_zero_ms + (now_us + now_us * agent->clock_ppm / SECOND_PPM) / SIM_MS_US;
}

int64_t agent_true_us(const SimAgent *agent, int64_t ms)
{
    int64_t own_us = (ms - agent->clock_zero_ms) * SIM_MS_US;
    return own_us - own_us * agent->clock_ppm / SECOND_PPM + 1;
}

static const SimAgent *entered;

static int64_t entered_ns(void)
{
    return agent_ms(entered) * SIM_SECOND_US;
}

void agent_enter(const SimAgent *agent)
{
    static const ClockSource source = { entered_ns, entered_ns };
    entered = agent;
    clock_use(&source);
}

bool agent_runs(const SimAgent *agent)
{
    return agent->state != AGENT_DOWN;
}

bool agent_is_paused(const SimAgent *agent)
{
    return agent->paused_until_us > sim_now(agent->sim);
}

bool agent_leads(const SimAgent *agent, int partition)
{
    bool serves = agent->state == AGENT_RUNNING || agent->state == AGENT_DRAINING;
    return serves && !(agent->closing & 1u << partition) && agent->agent_id != BRAIN_NOBODY &&
           lease_clock_holds(&agent->lease, agent_ms(agent)) &&
           agent->topic->partitions[partition]->leader == agent->agent_id;
}

void agent_start(Sim *sim, SimAgent *agent)
{
    Topic *topic = agent->topic;
    uint32_t life = agent->life + 1;
    *agent = (SimAgent){ .sim = sim, .index = agent->index, .topic = topic, .life = life };
    agent->state = AGENT_RUNNING;
    agent->incarnation = life;
    agent->agent_id = BRAIN_NOBODY;
    agent->version = -1;
    agent->tick_at_us = INT64_MAX;
    agent->clock_zero_ms = 1 + random_below(&sim->random, SIM_SECOND_US);
    agent->clock_ppm = random_between(&sim->random, -sim->config.clock_ppm, sim->config.clock_ppm);
    for (int i = 0; i < SIM_PARTITIONS; i++) {
        Partition *partition = topic->partitions[i];
        partition->leader = TOPIC_NO_LEADER;
        partition->epoch = 0;
        partition->high_watermark = OFFSET_UNKNOWN;
        partition->log_start_offset = OFFSET_UNKNOWN;
        partition->contended_until_ms = 0;
        partition->led_ms = -LOG_LED_LATELY_MS; /* a sequence that is called broken is to be seen at once */
        partition->appends = NULL;              /* the process that had them is gone */
    }
    topic->config.write_path = (WritePath)random_below(&sim->random, WRITE_PATHS);
    agent_enter(agent);
    agent->log = agent_log_new(agent);
    sim->disturbed_us = sim->disturbed_us > sim->now_us ? sim->disturbed_us : sim->now_us;
    sim_trace(sim, "agent %d starts", agent->index);
    agent_beat_after(agent, 0);
}

void agent_kill(SimAgent *agent)
{
    agent->state = AGENT_DOWN;
    sim_trace(agent->sim, "agent %d is gone", agent->index);
    agent_enter(agent);
    network_forget_agent(agent->sim, agent);
    log_free(agent->log);
    agent->log = NULL;
    agent->life++;
    producer_agent_died(agent->sim, agent->index);
}

void agent_pause(SimAgent *agent, int64_t until_us)
{
    agent->paused_until_us = until_us;
    sim_trace(agent->sim, "agent %d stands still", agent->index);
    sim_at(agent->sim, until_us, EVENT_AGENT_RESUME, agent->index, agent->life);
}

/* What the loop does when it has nothing else to do. */
void agent_run_tick(SimAgent *agent)
{
    Sim *sim = agent->sim;
    if (!agent->woken && agent->tick_at_us > sim_now(sim)) {
        return;
    }
    agent->woken = false;
    agent_enter(agent);
    int64_t due_ms = log_tick(agent->log, agent_ms(agent));
    if (agent->woken) {
        due_ms = 0;
    }
    agent->tick_at_us = INT64_MAX;
    if (due_ms != LOG_NEVER_MS) {
        agent->tick_at_us = agent_true_us(agent, agent_ms(agent) + due_ms);
        sim_at(sim, agent->tick_at_us, EVENT_AGENT_TICK, agent->index, agent->life);
    }
}

void agent_call_ended(SimAgent *agent, SimCall *call)
{
    switch (call->kind) {
    case CALL_HEARTBEAT:
        agent_heartbeat_ended(agent, call);
        break;
    case CALL_LEAVE:
        agent_kill(agent);
        sim_after(agent->sim,
                  random_below(&agent->sim->random, agent->sim->config.ttl_ms * (int64_t)SIM_MS_US),
                  EVENT_AGENT_START, agent->index, 0);
        break;
    case CALL_CATALOG:
        agent_catalog_read(agent, call, call->outcome == BRAIN_ANSWERED);
        break;
    case CALL_LIST:
        agent_round_listed(agent, call);
        break;
    case CALL_HAND_OVER:
        agent_round_given(agent);
        break;
    default:
        agent_enter(agent);
        agent_log_call_ended(agent, call, call->outcome);
        agent_run_tick(agent);
        agent_look_after_drain(agent);
    }
}

static void request_answered(void *argument, KafkaError error, int64_t base_offset)
{
    SimRequest *request = argument;
    const SimAgent *agent = &request->sim->agents[request->agent];
    if (request->agent_life != agent->life || agent->state == AGENT_DOWN) {
        return; /* nobody hears it */
    }
    if (++request->answers > 1) {
        sim_wrong(request->sim, "a batch was answered twice");
    }
    if (agent_ms(agent) > request->deadline_ms + 2 && request->deadline_ms > agent->resumed_ms) {
        sim_wrong(request->sim, "a batch was not answered within its time");
    }
    request->error = error;
    request->base_offset = base_offset;
    if (error == KAFKA_ERROR_REQUEST_TIMED_OUT) {
        sim_cover(request->sim, COVER_EXPIRED_BATCH);
    }
    producer_answered(request);
}

static void agent_append(SimAgent *agent, SimRequest *request)
{
    Sim *sim = agent->sim;
    Partition *partition = agent->topic->partitions[request->partition];
    const SimStream *stream = &sim->producers[request->producer].streams[request->partition];
    RawBatch batch = { .producer_id = request->producer + 1,
                       .sequence = stream->sequences[request->batch],
                       .records = stream->counts[request->batch],
                       .size = BATCH_HEADER_SIZE + (int32_t)random_below(&sim->random, 60) };
    Block *frame = raw_batch_block(&batch);
    LogAppend append = { .partition = partition,
                         .frame = frame,
                         .bytes = frame->bytes,
                         .size = (int32_t)frame->size,
                         .header = raw_batch_header(frame),
                         .deadline_ms = agent_ms(agent) + sim->config.timeout_ms };
    request->deadline_ms = append.deadline_ms;
    KafkaError early = log_check_order(agent->log, partition, &append.header, agent_ms(agent));
    if (early != KAFKA_ERROR_NONE) {
        sim_cover(sim, COVER_GAP);
        request_answered(request, early, OFFSET_UNKNOWN);
    } else if (!log_append(agent->log, &append, agent_ms(agent), request_answered, request)) {
        sim_bail_out("memory is short");
    } else {
        request->accepted = true;
        sim_trace(sim, "agent %d accepts batch %d of producer %d for partition %d under epoch %d",
                  agent->index, request->batch, request->producer, request->partition, partition->epoch);
    }
    block_release(frame);
}

static void agent_refuse(SimAgent *agent, SimRequest *request)
{
    const SimStream *stream = &agent->sim->producers[request->producer].streams[request->partition];
    BatchHeader header = { .producer_id = request->producer + 1,
                           .base_sequence = stream->sequences[request->batch] };
    log_refused_elsewhere(agent->log, agent->topic->partitions[request->partition], &header, agent_ms(agent));
    sim_cover(agent->sim, COVER_NOT_LEADER);
    request->deadline_ms = agent_ms(agent);
    request_answered(request, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER, OFFSET_UNKNOWN);
}

/* Its partition is changing hands: it waits, and all that come after it. */
static bool agent_park(SimAgent *agent, SimRequest *request)
{
    bool waits = agent->closing & 1u << request->partition;
    for (int i = 0; i < agent->parked_count; i++) {
        waits = waits || agent->parked[i]->partition == request->partition;
    }
    if (waits) {
        if (agent->parked_count == AGENT_PARKED) {
            sim_bail_out("more parked batches than a simulation can hold");
        }
        agent->parked[agent->parked_count++] = request;
        sim_cover(agent->sim, COVER_PARKED);
    }
    return waits;
}

static void agent_decide(SimAgent *agent, SimRequest *request);

/* In the order in which they came. */
void agent_resume_parked(SimAgent *agent)
{
    int kept = 0;
    for (int i = 0; i < agent->parked_count; i++) {
        SimRequest *request = agent->parked[i];
        if (agent->closing & 1u << request->partition &&
            agent->topic->partitions[request->partition]->leader == agent->agent_id) {
            agent->parked[kept++] = request;
        } else {
            agent_decide(agent, request);
        }
    }
    agent->parked_count = kept;
}

void agent_produce(SimAgent *agent, SimRequest *request)
{
    if (!agent_park(agent, request)) {
        agent_decide(agent, request);
    }
}

static void agent_decide(SimAgent *agent, SimRequest *request)
{
    agent_enter(agent);
    if (agent_leads(agent, request->partition)) {
        check_leaders(agent->sim);
        agent_append(agent, request);
        agent_run_tick(agent);
    } else {
        agent_refuse(agent, request);
    }
}

static void agent_event_of(SimAgent *agent, const Event *event)
{
    switch ((EventKind)event->kind) {
    case EVENT_AGENT_BEAT:
        agent_beat(agent);
        break;
    case EVENT_AGENT_TICK:
        agent_run_tick(agent);
        agent_look_after_drain(agent);
        break;
    case EVENT_AGENT_NOTIFY:
        agent_catalog_refresh(agent);
        agent_hand_over(agent);
        break;
    case EVENT_AGENT_NEWS:
        agent_news(agent, &agent->sim->news[event->index]);
        break;
    case EVENT_AGENT_HAND_OVER:
        agent_hand_over(agent);
        break;
    case EVENT_AGENT_ROUND:
        agent_round_tick(agent);
        break;
    default: /* resumed */
        agent->resumed_ms = agent_ms(agent);
        agent->sim->disturbed_us =
            agent->sim->now_us > agent->sim->disturbed_us ? agent->sim->now_us : agent->sim->disturbed_us;
        sim_trace(agent->sim, "agent %d goes on", agent->index);
        check_leaders(agent->sim);
    }
}

void agent_event(Sim *sim, const Event *event)
{
    bool is_news = event->kind == EVENT_AGENT_NEWS;
    SimAgent *agent = &sim->agents[is_news ? sim->news[event->index].agent : event->index];
    if (event->kind == EVENT_AGENT_START) {
        if (agent->state == AGENT_DOWN) {
            agent_start(sim, agent);
        }
        return;
    }
    uint32_t life = is_news ? sim->news[event->index].life : event->life;
    if (agent->life != life || agent->state == AGENT_DOWN) {
        return;
    }
    if (agent_is_paused(agent)) {
        sim_at(sim, agent->paused_until_us, (EventKind)event->kind, event->index, event->life);
        return;
    }
    agent_event_of(agent, event);
}
