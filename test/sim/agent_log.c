/* agent_log.c: what the log asks of the world, carried over a simulation's network. The log's names for
 * answers are those of src/commit_decide.h too, so this is where the two are translated. */
#include <stdlib.h>
#include <string.h>

#include "test/sim/agent.h"

enum { INTENTS_MAX = 8 };

static void log_reserve(void *context, int count, IntentsReserved done, void *argument)
{
    SimAgent *agent = context;
    SimCall *call = network_call(agent->sim, agent, CONNECTION_READ, CALL_RESERVE);
    (void)count;
    call->heartbeat_answer.agent_id = agent->agent_id;
    call->done.reserved = done;
    call->argument = argument;
}

static void log_reserve_calls(void *context, CallsReserved done, void *argument)
{
    SimAgent *agent = context;
    SimCall *call = network_call(agent->sim, agent, CONNECTION_READ, CALL_RESERVE_IDS);
    call->heartbeat_answer.agent_id = agent->agent_id;
    call->done.ids = done;
    call->argument = argument;
}

/* Nobody may be about to ask, whatever became of the connections. */
static void log_forget_calls(void *context, int64_t first)
{
    SimAgent *agent = context;
    if (network_may_ask(agent->sim, first, first + BRAIN_CALL_IDS)) {
        sim_wrong(agent->sim, "answers were forgotten of calls that may yet come");
    }
    brain_forget_calls(agent->sim->brain, first);
}

/* A key is its object's id in 16 digits. */
static void key_write(char *key, int64_t id)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        key[i] = digits[((uint64_t)id >> (4 * (15 - i))) & 15];
    }
    key[16] = '\0';
}

static bool log_put(void *context, const char *key, const Slice *slices, size_t count, int deadline_ms,
                    PutFinished done, void *argument)
{
    SimAgent *agent = context;
    (void)slices;
    (void)count;
    if (sim_happens(agent->sim, agent->sim->config.put_fails / 2)) {
        return false; /* its queue is full */
    }
    network_put(agent->sim, agent, strtoll(key, NULL, 16), deadline_ms, done, argument);
    return true;
}

static void commit_check(Sim *sim, const CommitRequest *request)
{
    const BrainObject *object = brain_object(sim->brain, request->id);
    if (request->is_inline != object->is_inline) {
        sim_wrong(sim, "an inline call has an object's id, or the other way round");
    }
    if (object->forgotten) {
        sim_wrong(sim, "a call is made whose answer was forgotten");
    }
    if (!request->is_inline && object->state == OBJECT_INTENT && !object->stored) {
        sim_wrong(sim, "a commit of an object that is not in the store");
    }
    for (size_t i = 1; request->wait_ms > 0 && i < request->count; i++) {
        if (request->rows[i].partition != request->rows[0].partition) {
            sim_wrong(sim, "a call waits for a lock while it holds another");
        }
    }
}

static void log_commit(void *context, const CommitRequest *request, CommitFinished done, void *argument)
{
    SimAgent *agent = context;
    Sim *sim = agent->sim;
    Connection connection = request->wait_ms > 0 ? CONNECTION_CONTENDED : CONNECTION_COMMIT;
    if (request->count > BRAIN_ROWS) {
        sim_bail_out("more batches in a commit than a simulation can hold");
    }
    commit_check(sim, request);
    SimCall *call = network_call(sim, agent, connection, CALL_COMMIT);
    call->heartbeat_answer.agent_id = agent->agent_id;
    call->is_inline = request->is_inline;
    call->id = request->id;
    call->count = (int)request->count;
    memcpy(call->rows, request->rows, request->count * sizeof(CommitRow));
    call->give_up_us = request->wait_ms > 0 ? sim_now(sim) + request->wait_ms * (int64_t)SIM_MS_US : 0;
    call->done.committed = done;
    call->argument = argument;
}

static void log_wake(void *context)
{
    ((SimAgent *)context)->woken = true;
}

static void log_moved(void *context, Partition *partition)
{
    const SimAgent *agent = context;
    if (partition->high_watermark > brain_end_offset(agent->sim->brain, partition->index)) {
        sim_wrong(agent->sim, "a high watermark that PostgreSQL does not know of");
    }
}

static void log_fenced(void *context, Partition *partition)
{
    (void)partition;
    agent_catalog_refresh(context);
}

static LogOptions options_draw(Sim *sim)
{
    Random *random = &sim->random;
    return (LogOptions){
        .flush_bytes = (size_t)random_between(random, 100, 600),
        .linger_ms = random_below(random, 15),
        .idle_flush_ms = random_below(random, 5),
        .put_parallel_max = (int)random_between(random, 1, 4),
        .put_timeout_ms = random_between(random, 50, 300),
        .intents_min = (int)random_between(random, 1, 3),
        .intent_fresh_ms = sim->config.short_intents ? 150 : 5000,
        .tail_bytes_max = 1,
        .inline_flush_bytes = random_chance(random, 20) ? 0 : (size_t)random_below(random, 600),
        .inline_commit_ms = random_chance(random, 30) ? random_below(random, 10) : 1000,
        .inline_rate_bytes = random_chance(random, 30) ? 1 + random_below(random, 20000) : 1 << 20,
        .inline_backlog_max = 1000,
        .contended_wait_ms = random_chance(random, 70) ? (int)random_between(random, 1, 100) : 0,
    };
}

Log *agent_log_new(SimAgent *agent)
{
    LogOptions options = options_draw(agent->sim);
    LogBackend backend = {
        .context = agent,
        .reserve = log_reserve,
        .put = log_put,
        .reserve_calls = log_reserve_calls,
        .forget_calls = log_forget_calls,
        .commit = log_commit,
        .wake = log_wake,
        .moved = log_moved,
        .fenced = log_fenced,
    };
    Log *log = log_new(&options, &backend);
    if (!log) {
        sim_bail_out("memory is short");
    }
    return log;
}

static void reserved(const SimCall *call, bool answered)
{
    Intent intents[INTENTS_MAX];
    int count = answered ? call->count : 0;
    for (int i = 0; i < count; i++) {
        intents[i].object_id = call->id + i;
        key_write(intents[i].key, call->id + i);
    }
    call->done.reserved(call->argument, intents, (size_t)count);
}

static CommitOutcome outcome_of(BrainOutcome outcome)
{
    switch (outcome) {
    case BRAIN_ANSWERED:
        return COMMIT_ANSWERED;
    case BRAIN_EXPIRED:
        return COMMIT_EXPIRED;
    case BRAIN_BUSY:
        return COMMIT_BUSY;
    case BRAIN_FULL:
        return COMMIT_FULL;
    case BRAIN_UNKNOWN:
        return COMMIT_UNKNOWN;
    default:
        return COMMIT_FAILED;
    }
}

static CommitAnswer answer_of(const BrainAnswer *answer)
{
    static const CommitStatus statuses[] = { [BRAIN_COMMITTED] = COMMIT_COMMITTED,
                                             [BRAIN_DUPLICATE] = COMMIT_DUPLICATE,
                                             [BRAIN_LOCKED] = COMMIT_LOCKED,
                                             [BRAIN_REFUSED] = COMMIT_REFUSED };
    return (CommitAnswer){ .batch = answer->batch,
                           .status = statuses[answer->status],
                           .error = (KafkaError)answer->error,
                           .base_offset = answer->base_offset,
                           .leader_epoch = answer->leader_epoch };
}

static void committed(Sim *sim, const SimCall *call, BrainOutcome outcome)
{
    CommitAnswer answers[BRAIN_ROWS];
    int count = outcome == BRAIN_ANSWERED ? call->count : 0;
    if (outcome == BRAIN_UNKNOWN) {
        sim_cover(sim, COVER_IN_DOUBT);
    }
    for (int i = 0; i < count; i++) {
        answers[i] = answer_of(&call->answers[i]);
        sim_trace(sim, "agent %d hears of partition %d, sequence %d: %s", call->agent,
                  call->rows[i].partition, call->rows[i].first_sequence,
                  (const char *[]){ "committed", "duplicate", "locked", "refused" }[answers[i].status]);
    }
    call->done.committed(call->argument, outcome_of(outcome), answers, (size_t)count);
}

void agent_log_call_ended(SimAgent *agent, SimCall *call, BrainOutcome outcome)
{
    bool answered = outcome == BRAIN_ANSWERED;
    Status status = answered ? status_ok() : status_error(STATUS_UNAVAILABLE, "simulated");
    switch (call->kind) {
    case CALL_RESERVE:
        reserved(call, answered);
        break;
    case CALL_RESERVE_IDS:
        call->done.ids(call->argument, call->id, answered ? call->count : 0);
        break;
    case CALL_COMMIT:
        committed(agent->sim, call, outcome);
        break;
    case CALL_PUT:
        call->done.put(call->argument, &status);
        break;
    default:
        break;
    }
}
