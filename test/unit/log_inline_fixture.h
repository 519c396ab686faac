/* log_inline_fixture.h: a log among fakes whose small batches go inline. */
#ifndef STREAMHOUSE_LOG_INLINE_FIXTURE_H
#define STREAMHOUSE_LOG_INLINE_FIXTURE_H

#include "test/unit/log_fixture.h"

static const RawBatch plain = { .size = 100 };

/* As world_options, but up to 500 bytes go inline. */
static const LogOptions inline_options = {
    .flush_bytes = 1000,
    .linger_ms = 50,
    .idle_flush_ms = 10,
    .put_parallel_max = 4,
    .put_timeout_ms = 5000,
    .intents_min = 8,
    .intent_fresh_ms = 60000,
    .tail_bytes_max = 1 << 20,
    .inline_flush_bytes = 500,
    .inline_commit_ms = 20,
    .inline_rate_bytes = 10000,
    .inline_backlog_max = 5000,
    .contended_wait_ms = 300,
};

static inline World *world_inline(const LogOptions *options)
{
    World *world = world_ready(options);
    if (world->calls_asked) {
        world_give_calls(world, true);
    }
    return world;
}

static inline void set_path(World *world, WritePath path)
{
    world->topic->config.write_path = path;
}

static inline void append_and_tick(World *world, int32_t partition, Answer *answer)
{
    world_append(world, partition, &plain, 1000, answer);
    world_tick(world);
}

#endif
