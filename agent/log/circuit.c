/* circuit.c: how the store is doing, as PUTs show it. It is well until a PUT fails or takes too long. Then it
 * is ill: what may go inline does, few PUTs are tried at a time, and a small one of our own is, now and then,
 * until several in a row were quick. The key of such a probe is an intent's, so that the reaper removes it.
 *
 * The durations of the last PUTs also say when one is so slow that it had better be written twice. */
#include "agent/log/log_internal.h"

#include <stdlib.h>

#include "agent/journal.h"
#include "agent/metrics.h"

enum {
    PROBE_MIN_MS = 250,       /* between two probes while they go well */
    PROBE_MAX_MS = 5000,      /* while they do not */
    PROBES_GOOD = 3,          /* in a row: the store is well */
    PARALLEL_MIN = 2,         /* PUTs at a time while none has gone well */
    BYTES_PER_MS = 16 * 1024, /* that a store is expected to take at least: larger objects take longer */
    HEDGE_FACTOR = 3,
    HEDGES_PART = 4 /* of the PUTs that may run at a time */
};

/* For each PUT, so that hedges cannot double the store's load; and the most that is saved up. */
static const double HEDGES_PER_PUT = 0.1;
static const double HEDGES_SAVED = 3;

static const Slice probe_body = { (const uint8_t *)"streamhouse", 11 };

void circuit_init(Circuit *circuit, uint32_t seed)
{
    circuit->hedges = HEDGES_SAVED;
    circuit->random = seed;
}

bool circuit_is_open(const Log *log)
{
    return log->circuit.ill;
}

bool circuit_prefers_inline(const Log *log)
{
    return log->circuit.ill && log->options.inline_flush_bytes > 0;
}

int64_t circuit_slow_ms(const Log *log, size_t bytes)
{
    return log->options.store_slow_ms + (int64_t)(bytes / BYTES_PER_MS);
}

int circuit_put_parallel(const Log *log)
{
    const Circuit *circuit = &log->circuit;
    int most = log->options.put_parallel_max;
    return circuit->ill && circuit->parallel < most ? circuit->parallel : most;
}

static void circuit_tell(Log *log, const char *why)
{
    metric_set(METRIC_LOG_STORE_ILL, log->circuit.ill);
    if (log->backend.store_state) {
        log->backend.store_state(log->backend.context, log->circuit.ill, why);
    }
}

static void circuit_open(Log *log, const char *why)
{
    Circuit *circuit = &log->circuit;
    if (circuit->ill || log->options.store_slow_ms == 0) {
        return;
    }
    circuit->ill = true;
    circuit->since_ms = log->now_ms;
    circuit->good = 0;
    circuit->bad = 0;
    circuit->parallel = PARALLEL_MIN;
    circuit->probe_at_ms = log->now_ms + PROBE_MIN_MS;
    metric_add(METRIC_LOG_STORE_OUTAGES, 1);
    journal_seldom(JOURNAL_WARN, "log", "the store fails or is slow (%s): %s", why,
                   log->options.inline_flush_bytes > 0
                       ? "records whose topics leave it open go into PostgreSQL"
                       : "records wait for it");
    circuit_tell(log, why);
}

static void circuit_close(Log *log)
{
    Circuit *circuit = &log->circuit;
    circuit->ill = false;
    journal_seldom(JOURNAL_INFO, "log", "the store is well again after %.1f s",
                   (double)(log->now_ms - circuit->since_ms) / 1000.0);
    circuit_tell(log, "");
}

/* Between half and all of so many ms, so that agents do not ask in step. */
static int64_t circuit_jitter(Log *log, int64_t ms)
{
    Circuit *circuit = &log->circuit;
    circuit->random = circuit->random * 1664525U + 1013904223U;
    return ms / 2 + (int64_t)(circuit->random >> 8) % (ms / 2 + 1);
}

int64_t circuit_pause_ms(Log *log, int64_t ms)
{
    return log->options.store_slow_ms > 0 ? circuit_jitter(log, ms) : ms;
}

static void circuit_judge(Log *log, bool good)
{
    Circuit *circuit = &log->circuit;
    if (!circuit->ill) {
        return;
    }
    circuit->good = good ? circuit->good + 1 : 0;
    circuit->bad = good ? 0 : circuit->bad + 1;
    if (circuit->good >= PROBES_GOOD && log->now_ms - circuit->since_ms >= log->options.store_slow_ms) {
        circuit_close(log);
    }
}

static int64_t circuit_probe_pause_ms(Log *log)
{
    int doublings = log->circuit.bad < 6 ? log->circuit.bad : 6;
    int64_t ms = (int64_t)PROBE_MIN_MS << doublings;
    return circuit_jitter(log, ms < PROBE_MAX_MS ? ms : PROBE_MAX_MS);
}

/* A duration is known only at the next tick: the log's time stood still since the last one. */
void circuit_put_ended(Log *log, const PutEnd *end)
{
    Circuit *circuit = &log->circuit;
    if (circuit->ended_count < LOG_PUT_ENDS_MAX) {
        circuit->ended[circuit->ended_count++] = *end;
    }
}

static void circuit_probed(void *argument, const Status *status)
{
    Log *log = argument;
    log->calls--;
    log->circuit.probing = false;
    circuit_put_ended(log, &(PutEnd){ .started_ms = log->circuit.probe_from_ms,
                                      .stored = status_is_ok(status),
                                      .is_probe = true });
    log->backend.wake(log->backend.context);
}

static void circuit_probe(Log *log)
{
    Circuit *circuit = &log->circuit;
    if (circuit->probing || log->now_ms < circuit->probe_at_ms || log->intent_count == 0) {
        return;
    }
    int64_t deadline_ms = log->options.store_slow_ms;
    circuit->probe_at_ms = log->now_ms + circuit_probe_pause_ms(log);
    if (log->backend.put(log->backend.context, log->intents[log->intent_count - 1].key, &probe_body, 1,
                         (int)deadline_ms, circuit_probed, log)) {
        log->intent_count--;
        log->calls++;
        circuit->probing = true;
        circuit->probe_from_ms = log->now_ms;
        metric_add(METRIC_LOG_STORE_PROBES, 1);
    }
}

static void circuit_remember(Circuit *circuit, int64_t took_ms)
{
    circuit->recent_ms[circuit->recent_next++ % LOG_PUTS_RECENT] = took_ms;
    circuit->hedges += HEDGES_PER_PUT;
    circuit->hedges = circuit->hedges < HEDGES_SAVED ? circuit->hedges : HEDGES_SAVED;
}

static void circuit_take(Log *log, const PutEnd *end)
{
    Circuit *circuit = &log->circuit;
    int64_t took_ms = log->now_ms - end->started_ms;
    bool quick = took_ms <= circuit_slow_ms(log, end->bytes);
    if (end->stored) {
        if (!end->is_probe) {
            circuit_remember(circuit, took_ms - (int64_t)(end->bytes / BYTES_PER_MS));
            circuit->parallel++;
        }
        circuit_judge(log, quick);
    } else {
        circuit->parallel = PARALLEL_MIN;
        circuit_open(log, "an object could not be written");
        circuit_judge(log, false);
    }
    if (end->is_probe) {
        circuit->probe_at_ms = log->now_ms + circuit_probe_pause_ms(log);
    }
}

static int compare_ms(const void *one, const void *other)
{
    int64_t a = *(const int64_t *)one;
    int64_t b = *(const int64_t *)other;
    return a < b ? -1 : a > b;
}

/* What nearly all of the last PUTs were quicker than, times a factor. */
static void circuit_measure(Log *log)
{
    Circuit *circuit = &log->circuit;
    int64_t sorted[LOG_PUTS_RECENT];
    size_t count = circuit->recent_next < LOG_PUTS_RECENT ? circuit->recent_next : LOG_PUTS_RECENT;
    if (count == 0) {
        return;
    }
    memcpy(sorted, circuit->recent_ms, count * sizeof(int64_t));
    qsort(sorted, count, sizeof(int64_t), compare_ms);
    circuit->usual_ms = sorted[(count - 1) * 95 / 100];
}

void circuit_tick(Log *log)
{
    Circuit *circuit = &log->circuit;
    if (circuit->ill && log->now_ms > circuit->seen_ms) {
        circuit->ill_ms += log->now_ms - circuit->seen_ms;
        metric_set(METRIC_LOG_STORE_ILL_SECONDS, (double)circuit->ill_ms / 1000.0);
    }
    circuit->seen_ms = log->now_ms;
    for (size_t i = 0; i < circuit->ended_count; i++) {
        circuit_take(log, &circuit->ended[i]);
    }
    if (circuit->ended_count > 0) {
        circuit_measure(log);
    }
    circuit->ended_count = 0;
    if (circuit->ill) {
        circuit_probe(log);
    }
}

void circuit_found_slow(Log *log)
{
    circuit_open(log, "an object takes too long to be written");
}

int64_t circuit_next_due_ms(const Log *log)
{
    const Circuit *circuit = &log->circuit;
    if (!circuit->ill || circuit->probing || log->intent_count == 0) {
        return INT64_MAX;
    }
    return circuit->probe_at_ms;
}

int64_t circuit_hedge_ms(const Log *log, size_t bytes)
{
    int64_t usual_ms = HEDGE_FACTOR * log->circuit.usual_ms;
    int64_t ms = usual_ms > log->options.put_hedge_ms ? usual_ms : log->options.put_hedge_ms;
    return ms + (int64_t)(bytes / BYTES_PER_MS);
}

bool circuit_may_hedge(const Log *log)
{
    int most =
        log->options.put_parallel_max / HEDGES_PART > 1 ? log->options.put_parallel_max / HEDGES_PART : 1;
    return log->options.put_hedge_ms > 0 && !log->circuit.ill && log->circuit.hedges >= 1 &&
           log->hedging < most && log->putting < log->options.put_parallel_max && log->intent_count > 0 &&
           !(log->backend.store_slowed && log->backend.store_slowed(log->backend.context));
}

void circuit_hedged(Log *log)
{
    log->circuit.hedges -= 1;
    metric_add(METRIC_LOG_PUTS_HEDGED, 1);
}

void log_note_store(Log *log, bool stored)
{
    if (log) {
        circuit_put_ended(log, &(PutEnd){ .started_ms = log->now_ms, .stored = stored, .is_probe = true });
        log->backend.wake(log->backend.context);
    }
}

bool log_store_is_ill(const Log *log)
{
    return log && log->circuit.ill;
}
