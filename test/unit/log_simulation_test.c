/* log_simulation_test.c: the log between idempotent producers and a store and brain that misbehave, over
 * thousands of random schedules. Producers behave as librdkafka does: five requests in flight, replies in
 * order, failed batches sent again in order, connections that break. A schedule is repeated by its number:
 *     SIMULATION_SEED=123 build/asan/test/unit/log_simulation_test */
#include "agent/metrics.h"
#include "test/unit/log_model.h"
#include "test/unit/raw_batch.h"
#include "test/unit/test.h"

enum { SEEDS = TEST_SANITIZED ? 800 : 3000 };

enum {
    IN_FLIGHT_MAX = 5,
    REQUESTS_MAX = 256,
    STREAM_BATCHES = 12,
    FAULTS_MS = 2500,  /* after that everything works */
    GIVE_UP_MS = 60000 /* and by then everything must be through */
};

typedef enum BatchState { BATCH_UNSENT, BATCH_IN_FLIGHT, BATCH_ACKED } BatchState;

/* What one producer sends to one partition. */
typedef struct Stream {
    BatchState states[STREAM_BATCHES];
    int64_t offsets[STREAM_BATCHES];
    int32_t sequences[STREAM_BATCHES + 1];
    int unacked; /* the first one that is */
} Stream;

typedef struct Simulation Simulation;

/* A Produce request: on its way, in the log, answered, or of a connection that is gone. */
typedef struct Request {
    Simulation *simulation;
    int producer;
    int partition;
    int batch;
    int64_t arrives_ms;
    int64_t replied_ms; /* when the reply reaches the producer */
    bool arrived;
    bool answered;
    bool gone;
    int answers;
    KafkaError error;
    int64_t base_offset;
} Request;

typedef struct Producer {
    Stream streams[MODEL_PARTITIONS];
    Request *requests[IN_FLIGHT_MAX]; /* of the connection, in order */
    int in_flight;
    int64_t pause_until_ms;
    int32_t timeout_ms;
} Producer;

struct Simulation {
    Model *model;
    Log *log;
    Topic *topic;
    bool woken;
    bool drains_before_retry; /* as the Java client: a batch is not sent again beside later ones */
    int64_t tick_at_ms;
    int64_t lease_read_ms[MODEL_PARTITIONS];
    Producer producers[MODEL_PRODUCERS];
    Request *all; /* every request ever made; the log may answer old ones late */
    size_t all_count;
    size_t all_capacity;
    int frames; /* alive */
};

static void simulation_wake(void *context)
{
    ((Simulation *)context)->woken = true;
}

static void simulation_moved(void *context, Partition *partition)
{
    Simulation *simulation = context;
    if (partition->high_watermark > simulation->model->partitions[partition->index].next_offset) {
        model_wrong(simulation->model, "a high watermark that the brain does not know of");
    }
}

static void simulation_fenced(void *context, Partition *partition)
{
    Simulation *simulation = context;
    simulation->lease_read_ms[partition->index] = simulation->model->now_ms + 5;
}

/* LogBackend's context is the simulation; the model's functions want the model. */
static void simulation_reserve(void *context, int count, IntentsReserved done, void *argument)
{
    model_reserve(((Simulation *)context)->model, count, done, argument);
}

static bool simulation_put(void *context, const char *key, const Slice *slices, size_t count, int deadline_ms,
                           PutFinished done, void *argument)
{
    return model_put(((Simulation *)context)->model, key, slices, count, deadline_ms, done, argument);
}

static void simulation_put_stop(void *context, void *argument)
{
    model_put_stop(((Simulation *)context)->model, argument);
}

static void simulation_store_state(void *context, bool ill, const char *why)
{
    ModelSeen *seen = &((Simulation *)context)->model->seen;
    (void)why;
    seen->ill += ill;
    seen->well += !ill;
}

static void simulation_reserve_calls(void *context, CallsReserved done, void *argument)
{
    model_reserve_calls(((Simulation *)context)->model, done, argument);
}

static void simulation_forget_calls(void *context, int64_t first)
{
    model_forget_calls(((Simulation *)context)->model, first);
}

static void simulation_commit(void *context, const CommitRequest *request, CommitFinished done,
                              void *argument)
{
    model_commit(((Simulation *)context)->model, request, done, argument);
}

static void frame_freed(Block *block, void *context)
{
    (void)block;
    ((Simulation *)context)->frames--;
}

static void request_answered(void *argument, KafkaError error, int64_t base_offset)
{
    Request *request = argument;
    Model *model = request->simulation->model;
    if (request->answers++ > 0) {
        model_wrong(model, "a batch was answered twice");
    }
    request->answered = true;
    request->error = error;
    request->base_offset = base_offset;
    request->replied_ms = model->now_ms + random_below(&model->random, 8);
}

/* The request reaches the agent. */
static void request_arrive(Request *request)
{
    Simulation *simulation = request->simulation;
    const Producer *producer = &simulation->producers[request->producer];
    const Stream *stream = &producer->streams[request->partition];
    RawBatch batch = {
        .producer_id = request->producer + 1,
        .sequence = stream->sequences[request->batch],
        .records = stream->sequences[request->batch + 1] - stream->sequences[request->batch],
        .size = BATCH_HEADER_SIZE + random_below(&simulation->model->random, 300),
    };
    Block *frame = raw_batch_block(&batch);
    frame->released = frame_freed;
    frame->context = simulation;
    simulation->frames++;
    request->arrived = true;
    LogAppend append = {
        .partition = topic_partition(simulation->topic, request->partition),
        .frame = frame,
        .bytes = frame->bytes,
        .size = (int32_t)frame->size,
        .header = raw_batch_header(frame),
        .deadline_ms = simulation->model->now_ms + producer->timeout_ms,
    };
    if (!log_append(simulation->log, &append, simulation->model->now_ms, request_answered, request)) {
        abort();
    }
    block_release(frame);
}

static bool stream_has(const Stream *stream, BatchState state)
{
    for (int i = 0; i < STREAM_BATCHES; i++) {
        if (stream->states[i] == state) {
            return true;
        }
    }
    return false;
}

/* The batch to send next; -1 none. The first one goes alone: of a producer it knows nothing of the brain
 * takes any sequence, as Kafka does. None goes that is more than five away from the last acknowledged one:
 * that many the brain remembers. */
static int stream_next(const Simulation *simulation, const Stream *stream)
{
    bool in_flight = stream_has(stream, BATCH_IN_FLIGHT);
    if (in_flight && stream->states[0] != BATCH_ACKED) {
        return -1;
    }
    for (int i = stream->unacked; i < STREAM_BATCHES && i < stream->unacked + IN_FLIGHT_MAX; i++) {
        if (stream->states[i] == BATCH_UNSENT) {
            bool again = false;
            for (int later = i + 1; later < STREAM_BATCHES; later++) {
                again = again || stream->states[later] == BATCH_IN_FLIGHT;
            }
            return again && simulation->drains_before_retry ? -1 : i;
        }
    }
    return -1;
}

static Request *request_new(Simulation *simulation)
{
    if (simulation->all_count == simulation->all_capacity) {
        printf("Bail out! a simulation has too many requests\n");
        exit(EXIT_FAILURE);
    }
    return &simulation->all[simulation->all_count++];
}

static void producer_send(Simulation *simulation, int index)
{
    Producer *producer = &simulation->producers[index];
    Model *model = simulation->model;
    int partition = random_below(&model->random, MODEL_PARTITIONS);
    int batch = stream_next(simulation, &producer->streams[partition]);
    if (batch < 0 || producer->in_flight == IN_FLIGHT_MAX || producer->pause_until_ms > model->now_ms) {
        return;
    }
    int64_t last_ms = producer->in_flight > 0 ? producer->requests[producer->in_flight - 1]->arrives_ms : 0;
    Request *request = request_new(simulation);
    *request = (Request){
        .simulation = simulation,
        .producer = index,
        .partition = partition,
        .batch = batch,
        .arrives_ms = model->now_ms + random_below(&model->random, 4),
    };
    request->arrives_ms = request->arrives_ms > last_ms ? request->arrives_ms : last_ms;
    producer->streams[partition].states[batch] = BATCH_IN_FLIGHT;
    producer->requests[producer->in_flight++] = request;
}

static bool error_is_retriable(KafkaError error)
{
    return error == KAFKA_ERROR_REQUEST_TIMED_OUT || error == KAFKA_ERROR_KAFKA_STORAGE_ERROR ||
           error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
}

static void producer_hear(Simulation *simulation, Producer *producer, const Request *request)
{
    Stream *stream = &producer->streams[request->partition];
    if (request->error == KAFKA_ERROR_NONE) {
        stream->states[request->batch] = BATCH_ACKED;
        stream->offsets[request->batch] = request->base_offset;
        while (stream->unacked < STREAM_BATCHES && stream->states[stream->unacked] == BATCH_ACKED) {
            stream->unacked++;
        }
        return;
    }
    stream->states[request->batch] = BATCH_UNSENT;
    producer->pause_until_ms = simulation->model->now_ms + random_below(&simulation->model->random, 20);
    if (request->error == KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER) {
        if (request->batch == stream->unacked) {
            model_wrong(simulation->model,
                        "the next batch in order was called out of order, which ends a producer");
        }
    } else if (!error_is_retriable(request->error)) {
        model_wrong(simulation->model, "an error that no fault explains");
    }
}

/* Takes replies in the order of the requests, as they come over a connection. */
static void producer_receive(Simulation *simulation, Producer *producer)
{
    while (producer->in_flight > 0) {
        Request *request = producer->requests[0];
        if (!request->answered || request->replied_ms > simulation->model->now_ms) {
            return;
        }
        memmove(producer->requests, producer->requests + 1,
                (size_t)--producer->in_flight * sizeof(Request *));
        producer_hear(simulation, producer, request);
    }
}

/* Nothing is known of what was in flight: it is sent again. */
static void producer_disconnect(Simulation *simulation, Producer *producer)
{
    for (int i = 0; i < producer->in_flight; i++) {
        Request *request = producer->requests[i];
        request->gone = true;
        producer->streams[request->partition].states[request->batch] = BATCH_UNSENT;
    }
    producer->in_flight = 0;
    producer->pause_until_ms = simulation->model->now_ms + random_below(&simulation->model->random, 30);
}

static void producer_run(Simulation *simulation, int index)
{
    Producer *producer = &simulation->producers[index];
    for (int i = 0; i < producer->in_flight; i++) {
        Request *request = producer->requests[i];
        if (!request->arrived && request->arrives_ms <= simulation->model->now_ms) {
            request_arrive(request);
        }
    }
    producer_receive(simulation, producer);
    if (!simulation->model->calm && random_below(&simulation->model->random, 400) == 0) {
        producer_disconnect(simulation, producer);
    }
    producer_send(simulation, index);
}

/* Somebody changes the topic's config now and then; the brain says now and then how full the ring is. */
static void path_run(Simulation *simulation)
{
    Random *random = &simulation->model->random;
    if (random_below(random, 300) == 0) {
        simulation->topic->config.write_path = (WritePath)random_below(random, WRITE_PATHS);
    }
    if (random_below(random, 300) == 0) {
        log_set_inline_backlog(simulation->log, random_below(random, 1100));
    }
}

static void leases_run(Simulation *simulation)
{
    for (int i = 0; i < MODEL_PARTITIONS; i++) {
        if (simulation->lease_read_ms[i] <= simulation->model->now_ms) {
            topic_partition(simulation->topic, i)->epoch = simulation->model->partitions[i].epoch;
            simulation->lease_read_ms[i] = MODEL_NEVER;
        }
    }
}

static bool simulation_is_over(const Simulation *simulation)
{
    for (int i = 0; i < MODEL_PRODUCERS; i++) {
        for (int j = 0; j < MODEL_PARTITIONS; j++) {
            if (simulation->producers[i].streams[j].unacked < STREAM_BATCHES) {
                return false;
            }
        }
    }
    return log_is_idle(simulation->log) && model_is_idle(simulation->model);
}

static void simulation_run(Simulation *simulation)
{
    Model *model = simulation->model;
    while (!model->wrong && !simulation_is_over(simulation)) {
        model->now_ms++;
        model->calm = model->now_ms >= FAULTS_MS;
        model_run(model);
        leases_run(simulation);
        path_run(simulation);
        for (int i = 0; i < MODEL_PRODUCERS; i++) {
            producer_run(simulation, i);
        }
        /* Only when it asked for it: a wake-up that is missing must show. */
        if (simulation->woken || simulation->tick_at_ms <= model->now_ms) {
            simulation->woken = false;
            int64_t due_ms = log_tick(simulation->log, model->now_ms);
            simulation->tick_at_ms = due_ms == LOG_NEVER_MS ? INT64_MAX : model->now_ms + due_ms;
        }
        if (model->now_ms > GIVE_UP_MS) {
            model_wrong(model, "batches are not through long after everything works again");
        }
    }
}

/* Every batch of the stream is in the partition once, in order, where its answer said. */
static void stream_check(Model *model, const Stream *stream, int producer, int partition)
{
    const ModelPartition *log = &model->partitions[partition];
    int found = 0;
    for (int i = 0; i < log->log_count; i++) {
        const ModelBatch *batch = &log->log[i];
        if (batch->producer_id != producer + 1) {
            continue;
        }
        if (found == STREAM_BATCHES || batch->sequence != stream->sequences[found]) {
            model_wrong(model, "a batch is twice in the log, or out of its producer's order");
            return;
        }
        if (batch->base_offset != stream->offsets[found]) {
            model_wrong(model, "a batch is not where its answer said");
        }
        found++;
    }
    if (found != STREAM_BATCHES) {
        model_wrong(model, "an acknowledged batch is lost");
    }
}

/* The tail holds what the brain committed, and nothing else. */
static void tail_check(Model *model, const Partition *partition)
{
    const ModelPartition *log = &model->partitions[partition->index];
    const TailBatch *tail;
    int64_t end_offset = OFFSET_UNKNOWN;
    for (int64_t place = 0; (tail = tail_at(partition, place)) != NULL; place++) {
        if (place > 0 && tail->base_offset != end_offset) {
            model_wrong(model, "the tail has a gap");
        }
        end_offset = tail->end_offset;
        BatchHeader header;
        bool found = false;
        BatchError error = batch_header_read(slice_of(tail->bytes, (size_t)tail->size), &header);
        for (int i = 0; i < log->log_count; i++) {
            const ModelBatch *batch = &log->log[i];
            found = found ||
                    (batch->base_offset == tail->base_offset && batch->sequence == header.base_sequence &&
                     batch->producer_id == header.producer_id && header.base_offset == tail->base_offset);
        }
        if (error.code != BATCH_OK || !found) {
            model_wrong(model, "the tail holds what was not committed");
        }
    }
}

static void simulation_check(Simulation *simulation)
{
    Model *model = simulation->model;
    for (int i = 0; i < MODEL_PRODUCERS && !model->wrong; i++) {
        for (int j = 0; j < MODEL_PARTITIONS; j++) {
            stream_check(model, &simulation->producers[i].streams[j], i, j);
        }
    }
    for (int i = 0; i < MODEL_PARTITIONS; i++) {
        tail_check(model, topic_partition(simulation->topic, i));
    }
    for (size_t i = 0; i < simulation->all_count; i++) {
        const Request *request = &simulation->all[i];
        if (request->arrived && request->answers != 1) {
            model_wrong(model, "a request has not exactly one answer");
        }
    }
}

static ModelFaults faults_random(Random *random)
{
    return (ModelFaults){
        .store_busy = random_below(random, 3) * 20,
        .put_fails = random_below(random, 3) * 10,
        .put_ms_max = random_chance(random, 20) ? 600 : 60,
        .commit_fails = random_below(random, 3) * 10,
        .commit_lost = random_below(random, 3) * 15,
        .commit_ms_max = random_chance(random, 20) ? 300 : 20,
        .object_expires = random_below(random, 2) * 5,
        .partition_locks = random_below(random, 3) * 3,
        .epoch_moves = random_below(random, 2) * 5,
        .reserve_fails = random_below(random, 2) * 30,
        .ring_full = random_below(random, 3) * 10,
    };
}

static LogOptions options_random(Random *random)
{
    return (LogOptions){
        .flush_bytes = (size_t)random_below(random, 3000) + 100,
        .linger_ms = random_below(random, 30),
        .idle_flush_ms = random_below(random, 10),
        .put_parallel_max = 1 + random_below(random, 6),
        .put_timeout_ms = 100 + random_below(random, 400),
        .intents_min = 1 + random_below(random, 32),
        .intent_fresh_ms = 100 + random_below(random, 1000),
        .tail_bytes_max = random_chance(random, 30) ? 3000 : 1 << 20,
        .inline_flush_bytes = random_chance(random, 20) ? 0 : (size_t)random_below(random, 2000),
        .inline_commit_ms = random_chance(random, 30) ? random_below(random, 10) : 1000,
        .inline_rate_bytes = random_chance(random, 30) ? 1 + random_below(random, 20000) : 1 << 20,
        .inline_backlog_max = 1000,
        .store_slow_ms = random_chance(random, 60) ? 10 + random_below(random, 300) : 0,
        .put_hedge_ms = random_chance(random, 60) ? 1 + random_below(random, 60) : 0,
        .contended_wait_ms = random_chance(random, 70) ? 1 + random_below(random, 100) : 0,
    };
}

static void producer_init(Simulation *simulation, Producer *producer)
{
    Random *random = &simulation->model->random;
    producer->timeout_ms =
        random_chance(random, 30) ? 40 + random_below(random, 100) : 500 + random_below(random, 1000);
    for (int i = 0; i < MODEL_PARTITIONS; i++) {
        for (int j = 0; j < STREAM_BATCHES; j++) {
            producer->streams[i].sequences[j + 1] =
                producer->streams[i].sequences[j] + 1 + random_below(random, 3);
        }
    }
}

static Simulation *simulation_new(uint64_t seed)
{
    Simulation *simulation = calloc(1, sizeof(Simulation));
    Model *model = calloc(1, sizeof(Model));
    static const uint8_t uuid[16] = { 1 };
    model->random.state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    model->next_object_id = 1;
    model->next_call_id = MODEL_INLINE_FIRST;
    model->faults = faults_random(&model->random);
    simulation->model = model;
    simulation->topic = topic_new(1, uuid, SLICE_LITERAL("simulated"));
    if (!topic_grow(simulation->topic, MODEL_PARTITIONS)) {
        abort();
    }
    simulation->all_capacity = 100000;
    simulation->all = malloc(simulation->all_capacity * sizeof(Request));
    simulation->drains_before_retry = random_chance(&model->random, 50);
    LogOptions options = options_random(&model->random);
    LogBackend backend = {
        .context = simulation,
        .reserve = simulation_reserve,
        .reserve_calls = simulation_reserve_calls,
        .forget_calls = simulation_forget_calls,
        .put = simulation_put,
        .commit = simulation_commit,
        .wake = simulation_wake,
        .moved = simulation_moved,
        .fenced = simulation_fenced,
        .put_stop = simulation_put_stop,
        .store_state = simulation_store_state,
    };
    simulation->log = log_new(&options, &backend);
    for (int i = 0; i < MODEL_PRODUCERS; i++) {
        producer_init(simulation, &simulation->producers[i]);
    }
    return simulation;
}

static void simulation_free(Simulation *simulation)
{
    Model *model = simulation->model;
    while (!model_is_idle(model)) {
        model->now_ms++;
        model_run(model);
    }
    log_free(simulation->log);
    if (simulation->frames != 0) {
        model_wrong(model, "frames are never freed");
    }
    topic_release(simulation->topic);
    free(simulation->all);
    free(simulation);
}

/* What went wrong, NULL when nothing. */
static const char *simulate(uint64_t seed, ModelSeen *seen)
{
    Simulation *simulation = simulation_new(seed);
    Model *model = simulation->model;
    simulation_run(simulation);
    simulation_check(simulation);
    simulation_free(simulation);
    const char *wrong = model->wrong;
    const long *counts = (const long *)&model->seen;
    for (size_t i = 0; i < sizeof(ModelSeen) / sizeof(long); i++) {
        ((long *)seen)[i] += counts[i];
    }
    model_free(model);
    return wrong;
}

TEST(whatever_store_and_brain_do_each_batch_is_committed_once_and_in_its_producers_order)
{
    const char *chosen = getenv("SIMULATION_SEED");
    uint64_t first = chosen ? strtoull(chosen, NULL, 10) : 1;
    uint64_t last = chosen ? first : SEEDS;
    int failed = 0;
    ModelSeen seen = { 0 };
    for (uint64_t seed = first; seed <= last && failed < 5; seed++) {
        const char *wrong = simulate(seed, &seen);
        if (wrong) {
            printf("# SIMULATION_SEED=%llu: %s\n", (unsigned long long)seed, wrong);
            failed++;
        }
    }
    long rerouted = (long)metric_value(METRIC_LOG_REROUTED_BYTES);
    long hedged = (long)metric_value(METRIC_LOG_PUTS_HEDGED);
    printf("# seeds %llu to %llu\n", (unsigned long long)first, (unsigned long long)last);
    printf("# %ld duplicates, %ld fenced, %ld out of order, %ld locked, %ld answers lost, %ld commits after "
           "that, "
           "%ld objects expired, %ld PUTs failed, %ld inline commits, %ld found the ring full, "
           "%ld waits for a lock, %ld of them in vain, %ld blocks of answers forgotten, %ld PUTs stopped, "
           "the store ill %ld times, well again %ld times, %ld bytes rerouted, %ld PUTs hedged\n",
           seen.duplicates, seen.fenced, seen.out_of_order, seen.locked, seen.lost, seen.late, seen.expired,
           seen.put_failures, seen.inline_commits, seen.full, seen.waits, seen.busy, seen.forgotten,
           seen.stopped, seen.ill, seen.well, rerouted, hedged);
    CHECK_INT(failed, 0);
    CHECK(chosen || (seen.stopped > 0 && seen.ill > 0 && seen.well > 0 && rerouted > 0 && hedged > 0));
    CHECK(chosen || (seen.duplicates > 0 && seen.fenced > 0 && seen.out_of_order > 0 && seen.locked > 0));
    CHECK(chosen || (seen.lost > 0 && seen.late > 0 && seen.expired > 0 && seen.put_failures > 0));
    CHECK(chosen || (seen.inline_commits > 0 && seen.full > 0 && seen.waits > 0 && seen.busy > 0));
    CHECK(chosen || seen.forgotten > 0);
}
