/* service.c: binds the log to libuv, the brain and the store. */
#include "agent/log/service.h"

#include <stdio.h>
#include <stdlib.h>

#include <utlist.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/metrics.h"
#include "agent/read/fetcher.h"
#include "common/store/store.h"

static const BrainStatement reserve_statement = { "reserve",
                                                  "SELECT object_id, key FROM sh_reserve_objects($1, $2, $3)",
                                                  3,
                                                  { BRAIN_INT4, BRAIN_INT4, BRAIN_INT8 } };
static const BrainStatement commit_statement = {
    "commit",
    "SELECT batch, status::text, error_code, base_offset, leader_epoch, log_start_offset "
    "FROM sh_commit_object($1, $2, $3, $4, $5)",
    5,
    { BRAIN_INT4, BRAIN_INT8, BRAIN_INT8, BRAIN_BYTEA, BRAIN_INT4 },
};
static const BrainStatement commit_inline_statement = {
    "commit_inline",
    "SELECT batch, status::text, error_code, base_offset, leader_epoch, log_start_offset "
    "FROM sh_commit_inline($1, $2, $3, $4, $5)",
    5,
    { BRAIN_INT4, BRAIN_INT8, BRAIN_BYTEA, BRAIN_BYTEA, BRAIN_INT4 },
};
static const BrainStatement reserve_inline_statement = {
    "reserve_inline", "SELECT sh_reserve_inline()", 0, { 0 }
};
static const BrainStatement forget_inline_statement = {
    "forget_inline", "SELECT sh_forget_inline($1)", 1, { BRAIN_INT8 }
};

enum { INTENT_FRESH_PART = 4 /* an intent is used in the first quarter of its life */ };

/* What SQL calls them. */
static const char *const commit_status_names[] = {
    [COMMIT_COMMITTED] = "committed",
    [COMMIT_DUPLICATE] = "duplicate",
    [COMMIT_LOCKED] = "locked",
};

typedef struct ServiceCall ServiceCall;

struct LogService {
    ServiceCall *puts; /* under way */
    Agent *agent;
    Log *log;
    uv_timer_t *timer;
    Condition *condition;
    bool stopped;
    void (*drained)(void *argument);
    void *drained_argument;
};

/* A backend call under way: whom to tell. */
struct ServiceCall {
    union {
        IntentsReserved reserved;
        CallsReserved calls;
        PutFinished put;
        CommitFinished committed;
    } done;
    void *argument;
    StoreCall *store_call;    /* of a PUT */
    struct ServiceCall *prev; /* likewise: in LogService.puts */
    struct ServiceCall *next;
    LogService *service;
};

static ServiceCall *call_new(void *argument)
{
    ServiceCall *call = calloc(1, sizeof(ServiceCall));
    if (!call) {
        abort(); /* a call that is neither made nor answered would hold its batches for ever */
    }
    call->argument = argument;
    return call;
}

static void service_reserved(const BrainResult *result, void *argument)
{
    ServiceCall call = *(ServiceCall *)argument;
    free(argument);
    int count = status_is_ok(&result->status) ? brain_row_count(result) : 0;
    Intent *intents = calloc((size_t)count + 1, sizeof(Intent));
    if (!status_is_ok(&result->status)) {
        journal_seldom(JOURNAL_WARN, "log", "no object keys could be reserved: %s", result->message);
    }
    size_t usable = 0;
    for (int row = 0; intents && row < count; row++) {
        Slice key = brain_text(result, row, 1);
        if (key.size < sizeof(intents->key)) {
            intents[usable].object_id = brain_int8(result, row, 0);
            memcpy(intents[usable++].key, key.data, key.size); /* the rest is zeros */
        }
    }
    call.done.reserved(call.argument, intents, usable);
    free(intents);
}

static void service_reserve(void *context, int count, IntentsReserved done, void *argument)
{
    LogService *service = context;
    ServiceCall *call = call_new(argument);
    call->done.reserved = done;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(service->agent->lease));
    brain_put_int4(&parameters, count);
    brain_put_int8(&parameters, service->agent->settings.intent_ttl_ms);
    brain_send(service->agent->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &reserve_statement, .parameters = &parameters }, service_reserved,
               call);
}

static void service_reserved_calls(const BrainResult *result, void *argument)
{
    ServiceCall call = *(ServiceCall *)argument;
    free(argument);
    if (!status_is_ok(&result->status)) {
        journal_seldom(JOURNAL_WARN, "log", "no ids of inline commits could be reserved: %s",
                       result->message);
    }
    int64_t first = brain_int8(result, 0, 0);
    call.done.calls(call.argument, first, first != 0 ? LOG_CALL_IDS : 0);
}

static void service_reserve_calls(void *context, CallsReserved done, void *argument)
{
    LogService *service = context;
    ServiceCall *call = call_new(argument);
    call->done.calls = done;
    brain_send(service->agent->brain, BRAIN_READ, &(BrainQuery){ .statement = &reserve_inline_statement },
               service_reserved_calls, call);
}

static void service_forgotten(const BrainResult *result, void *argument)
{
    (void)argument;
    metric_add(status_is_ok(&result->status) ? METRIC_LOG_CALLS_FORGOTTEN : METRIC_LOG_CALLS_NOT_FORGOTTEN,
               1);
}

/* Whatever comes of it: the brain forgets by the clock, too. */
static void service_forget_calls(void *context, int64_t first)
{
    LogService *service = context;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int8(&parameters, first);
    brain_send(service->agent->brain, BRAIN_JOBS,
               &(BrainQuery){ .statement = &forget_inline_statement, .parameters = &parameters },
               service_forgotten, NULL);
}

static void service_stored(const StoreResult *result, void *argument)
{
    ServiceCall call = *(ServiceCall *)argument;
    DL_DELETE(call.service->puts, (ServiceCall *)argument);
    free(argument);
    call.done.put(call.argument, &result->status);
}

static bool service_put(void *context, const char *key, const Slice *slices, size_t count, int deadline_ms,
                        PutFinished done, void *argument)
{
    LogService *service = context;
    ServiceCall *call = call_new(argument);
    call->done.put = done;
    StorePut put = {
        .key = key,
        .slices = slices,
        .slice_count = count,
        .deadline_ms = deadline_ms,
        .if_absent = true,
        .key_is_unique = true,
    };
    call->service = service;
    call->store_call = store_put(service->agent->store, &put, service_stored, call);
    if (!call->store_call) {
        free(call);
        return false;
    }
    DL_APPEND(service->puts, call);
    return true;
}

static void service_put_stop(void *context, void *argument)
{
    LogService *service = context;
    ServiceCall *call;
    DL_FOREACH(service->puts, call)
    {
        if (call->argument == argument) {
            store_cancel(call->store_call);
            return;
        }
    }
}

static bool service_store_slowed(void *context)
{
    const LogService *service = context;
    const StoreMetrics *metrics = store_metrics(service->agent->store);
    return metrics->put_parallel < service->agent->settings.put_parallel;
}

static void service_store_state(void *context, bool ill, const char *why)
{
    LogService *service = context;
    if (ill) {
        condition_degrade(service->condition,
                          "%s: objects are waited for; topics that leave it open are written inline", why);
    } else {
        condition_hold(service->condition);
    }
}

static CommitStatus service_commit_status(Slice name)
{
    for (int status = COMMIT_COMMITTED; status <= COMMIT_LOCKED; status++) {
        if (slice_equals(name, slice_of_text(commit_status_names[status]))) {
            return (CommitStatus)status;
        }
    }
    return COMMIT_REFUSED;
}

static CommitOutcome service_outcome(const BrainResult *result)
{
    if (status_is_ok(&result->status)) {
        return COMMIT_ANSWERED;
    }
    if (!result->in_doubt && strcmp(result->sqlstate, "55P03") == 0) {
        return COMMIT_BUSY;
    }
    if (!result->in_doubt && strcmp(result->sqlstate, "53100") == 0) {
        return COMMIT_FULL;
    }
    journal_seldom(JOURNAL_WARN, "log", "a commit has to be asked for again: %s", result->message);
    if (result->in_doubt || result->sqlstate[0] == '\0') {
        return COMMIT_UNKNOWN;
    }
    return brain_kafka_error(result) == KAFKA_ERROR_KAFKA_STORAGE_ERROR ? COMMIT_EXPIRED : COMMIT_FAILED;
}

static void service_committed(const BrainResult *result, void *argument)
{
    ServiceCall call = *(ServiceCall *)argument;
    free(argument);
    CommitOutcome outcome = service_outcome(result);
    int count = outcome == COMMIT_ANSWERED ? brain_row_count(result) : 0;
    CommitAnswer *answers = calloc((size_t)count + 1, sizeof(CommitAnswer));
    for (int row = 0; answers && row < count; row++) {
        answers[row] = (CommitAnswer){
            .batch = brain_int4(result, row, 0),
            .status = service_commit_status(brain_text(result, row, 1)),
            .error = (KafkaError)brain_int2(result, row, 2),
            .base_offset = brain_int8(result, row, 3),
            .leader_epoch = brain_int4(result, row, 4),
            .log_start_offset = brain_int8(result, row, 5),
        };
    }
    call.done.committed(call.argument, answers ? outcome : COMMIT_UNKNOWN, answers, (size_t)count);
    free(answers);
}

static void service_pack(uint8_t *out, const CommitRow *row)
{
    const struct {
        uint64_t value;
        size_t size;
    } fields[] = {
        { (uint32_t)row->batch, 4 },          { (uint32_t)row->topic_id, 4 },
        { (uint32_t)row->partition, 4 },      { (uint32_t)row->lease_epoch, 4 },
        { (uint64_t)row->byte_start, 8 },     { (uint32_t)row->byte_length, 4 },
        { (uint32_t)row->offset_count, 4 },   { (uint64_t)row->base_timestamp, 8 },
        { (uint64_t)row->max_timestamp, 8 },  { (uint64_t)row->producer_id, 8 },
        { (uint16_t)row->producer_epoch, 2 }, { (uint16_t)row->attributes, 2 },
        { (uint32_t)row->first_sequence, 4 },
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        for (size_t byte = fields[i].size; byte > 0; byte--) {
            *out++ = (uint8_t)(fields[i].value >> (8 * (byte - 1)));
        }
    }
}

static void service_put_rows(BrainParameters *parameters, const CommitRequest *request)
{
    uint8_t *packed = malloc(request->count * COMMIT_ROW_SIZE);
    if (!packed) {
        abort();
    }
    for (size_t i = 0; i < request->count; i++) {
        service_pack(packed + i * COMMIT_ROW_SIZE, &request->rows[i]);
    }
    brain_put_bytea(parameters, slice_of(packed, request->count * COMMIT_ROW_SIZE));
    free(packed);
}

static void service_commit(void *context, const CommitRequest *request, CommitFinished done, void *argument)
{
    LogService *service = context;
    ServiceCall *call = call_new(argument);
    call->done.committed = done;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(service->agent->lease));
    brain_put_int8(&parameters, request->id);
    if (request->is_inline) {
        brain_put_pieces(&parameters, request->bytes, request->count);
    } else {
        brain_put_int8(&parameters, request->object_bytes);
    }
    service_put_rows(&parameters, request);
    brain_put_int4(&parameters, request->wait_ms);
    const BrainStatement *statement = request->is_inline ? &commit_inline_statement : &commit_statement;
    brain_send(service->agent->brain, request->wait_ms > 0 ? BRAIN_CONTENDED : BRAIN_COMMIT,
               &(BrainQuery){ .statement = statement, .parameters = &parameters }, service_committed, call);
}

static void service_tick(uv_timer_t *timer)
{
    LogService *service = timer->data;
    log_set_cluster(service->log, catalog_cluster_uuid(service->agent->catalog));
    int64_t due_ms = log_tick(service->log, time_ms());
    if (due_ms != LOG_NEVER_MS && !(uv_is_active((uv_handle_t *)timer) && uv_timer_get_due_in(timer) == 0)) {
        uv_timer_start(timer, service_tick, (uint64_t)due_ms, 0);
    }
    if (service->drained && log_is_idle(service->log)) {
        void (*drained)(void *) = service->drained;
        service->drained = NULL;
        drained(service->drained_argument);
    }
}

static void service_wake(void *context)
{
    LogService *service = context;
    if (!service->stopped) {
        uv_timer_start(service->timer, service_tick, 0, 0);
    }
}

static void service_moved(void *context, Partition *partition)
{
    LogService *service = context;
    if (partition->watched_end > partition->high_watermark) {
        partition->high_watermark = partition->watched_end;
    }
    fetcher_moved(service->agent->fetcher, partition);
}

static void service_fenced(void *context, Partition *partition)
{
    LogService *service = context;
    (void)partition;
    catalog_refresh(service->agent->catalog, NULL, NULL);
}

static LogOptions service_options(const Settings *settings)
{
    return (LogOptions){
        .flush_bytes = (size_t)settings->flush_bytes,
        .linger_ms = settings->linger_ms,
        .idle_flush_ms = settings->idle_flush_ms,
        .put_parallel_max = settings->put_parallel,
        .put_timeout_ms = settings->put_timeout_ms,
        .intents_min = settings->intent_pool,
        .intent_fresh_ms = settings->intent_ttl_ms / INTENT_FRESH_PART,
        .tail_bytes_max = (size_t)settings->tail_bytes_max,
        .inline_flush_bytes = (size_t)settings->inline_flush_bytes,
        .inline_commit_ms = settings->inline_commit_ms,
        .inline_rate_bytes = settings->inline_rate_bytes,
        .inline_backlog_max = settings->inline_backlog_max,
        .jitter_seed = (uint32_t)time_ns(),
        .store_slow_ms = settings->store_slow_ms,
        .put_hedge_ms = settings->put_hedge_ms,
        .contended_wait_ms = (int)settings->contended_wait_ms,
    };
}

LogService *log_service_new(Agent *agent)
{
    LogService *service = calloc(1, sizeof(LogService));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    LogOptions options = service_options(&agent->settings);
    LogBackend backend = {
        .context = service,
        .reserve = service_reserve,
        .reserve_calls = service_reserve_calls,
        .forget_calls = service_forget_calls,
        .put = service_put,
        .commit = service_commit,
        .wake = service_wake,
        .moved = service_moved,
        .fenced = service_fenced,
        .put_stop = service_put_stop,
        .store_slowed = service_store_slowed,
        .store_state = service_store_state,
    };
    Log *log = service && timer ? log_new(&options, &backend) : NULL;
    if (!log) {
        free(service);
        free(timer);
        return NULL;
    }
    *service = (LogService){ .agent = agent, .log = log, .timer = timer };
    uv_timer_init(agent->loop, timer);
    timer->data = service;
    service->condition = readiness_add(&agent->readiness, "writes", "");
    condition_hold(service->condition);
    agent->log = log;
    return service;
}

void log_service_reload(LogService *service)
{
    LogOptions options = service_options(&service->agent->settings);
    log_configure(service->log, &options);
}

void log_service_drain(LogService *service, void (*done)(void *argument), void *argument)
{
    service->drained = done;
    service->drained_argument = argument;
    log_flush(service->log);
    service_wake(service);
}

void log_service_stop(LogService *service)
{
    service->stopped = true;
    service->drained = NULL;
    uv_timer_stop(service->timer);
}

static void service_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void log_service_free(LogService *service)
{
    service->stopped = true;
    uv_close((uv_handle_t *)service->timer, service_timer_closed);
    log_free(service->log);
    service->agent->log = NULL;
    free(service);
}
