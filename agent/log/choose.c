/* choose.c: inline or object, for batches whose topic leaves it open. Inline is answered sooner and costs
 * PostgreSQL work and disk: it is taken while little is pending and PostgreSQL keeps up, by four measures
 * that each have a setting. docs/write-path.md says how they were found. */
#include "agent/log/log_internal.h"

#include "agent/metrics.h"

/* Of a new commit's duration in the smoothed one; and for how long tokens may be saved up. */
static const double SMOOTHING = 0.2;
enum { MS_PER_SECOND = 1000, ILL_COMMIT_FACTOR = 20 };

static void choose_fill(Chooser *chooser, int64_t rate_bytes, int64_t now_ms)
{
    double most = (double)rate_bytes;
    if (chooser->filled_ms == 0) {
        chooser->tokens = most;
    } else {
        chooser->tokens += most * (double)(now_ms - chooser->filled_ms) / MS_PER_SECOND;
    }
    chooser->tokens = chooser->tokens < most ? chooser->tokens : most;
    chooser->filled_ms = now_ms;
}

void choose_tick(Log *log)
{
    Chooser *chooser = &log->chooser;
    if (chooser->ended_from_ms != 0) {
        double took_ms = (double)(log->now_ms - chooser->ended_from_ms);
        chooser->commit_ms += SMOOTHING * (took_ms - chooser->commit_ms);
        chooser->ended_from_ms = 0;
        metric_set(METRIC_LOG_INLINE_COMMIT_SMOOTHED, chooser->commit_ms / MS_PER_SECOND);
    }
    choose_fill(chooser, log->options.inline_rate_bytes, log->now_ms);
}

void choose_commit_ended(Log *log, int64_t started_ms)
{
    int64_t *from_ms = &log->chooser.ended_from_ms;
    *from_ms = *from_ms == 0 || started_ms < *from_ms ? started_ms : *from_ms;
}

Refusal choose_refusal(const Log *log)
{
    const Chooser *chooser = &log->chooser;
    if (log->call_id == log->call_id_end && !log->calls_reserving) {
        return REFUSAL_CALLS;
    }
    if (chooser->full_until_ms > log->now_ms) {
        return REFUSAL_FULL;
    }
    if (circuit_prefers_inline(log)) {
        /* An object would only wait. What PostgreSQL cannot keep up with waits in either case. */
        double most_ms = (double)log->options.inline_commit_ms * ILL_COMMIT_FACTOR;
        return chooser->commit_ms > most_ms ? REFUSAL_LATENCY : REFUSAL_NONE;
    }
    if (chooser->backlog_bytes > log->options.inline_backlog_max) {
        return REFUSAL_BACKLOG;
    }
    if (chooser->commit_ms > (double)log->options.inline_commit_ms) {
        return REFUSAL_LATENCY;
    }
    return chooser->tokens <= 0 ? REFUSAL_RATE : REFUSAL_NONE;
}

void choose_count(Refusal refusal)
{
    static const MetricId counters[] = {
        [REFUSAL_NONE] = METRIC_LOG_CHOICE_INLINE,     [REFUSAL_LARGE] = METRIC_LOG_CHOICE_LARGE,
        [REFUSAL_RATE] = METRIC_LOG_CHOICE_RATE,       [REFUSAL_LATENCY] = METRIC_LOG_CHOICE_LATENCY,
        [REFUSAL_BACKLOG] = METRIC_LOG_CHOICE_BACKLOG, [REFUSAL_FULL] = METRIC_LOG_CHOICE_FULL,
        [REFUSAL_CALLS] = METRIC_LOG_CHOICE_CALLS,
    };
    metric_add(counters[refusal], 1);
}

/* Debt is paid back for a second at most. */
void choose_spend(Log *log, size_t bytes)
{
    double *tokens = &log->chooser.tokens;
    double least = -(double)log->options.inline_rate_bytes;
    *tokens -= (double)bytes;
    *tokens = *tokens > least ? *tokens : least;
}

void choose_show_limits(const Log *log)
{
    metric_set(METRIC_LOG_INLINE_LIMIT_BYTES, (double)log->options.inline_flush_bytes);
    metric_set(METRIC_LOG_INLINE_LIMIT_COMMIT, (double)log->options.inline_commit_ms / MS_PER_SECOND);
    metric_set(METRIC_LOG_INLINE_LIMIT_RATE, (double)log->options.inline_rate_bytes);
    metric_set(METRIC_LOG_INLINE_LIMIT_BACKLOG, (double)log->options.inline_backlog_max);
}

void log_set_inline_backlog(Log *log, int64_t bytes)
{
    if (!log) {
        return; /* the agent is stopping */
    }
    log->chooser.backlog_bytes = bytes;
    metric_set(METRIC_LOG_INLINE_BACKLOG, (double)bytes);
}
