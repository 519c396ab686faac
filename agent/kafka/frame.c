/* frame.c: gathers one request's bytes in one Block, whose memory follows what arrives and is counted. A
 * frame is a big-endian int32 length and that many bytes, which begin with API key and version. */
#include "agent/kafka/connection.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/clock.h"

enum {
    FRAME_STEP_BYTES = 16 * 1024, /* room given before anything but the prefix is there */
    FRAME_GROWTH = 4,             /* otherwise room for so many times what is there */
    FRAME_UNCOUNTED_MAX =
        64 * 1024, /* a request this small, one at a time per connection, is not held up for memory */
    DIRECT_READ_MIN = 8 * 1024
};

static uint32_t prefix_u32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static int16_t prefix_i16(const uint8_t *bytes)
{
    return (int16_t)(bytes[0] << 8 | bytes[1]);
}

static Slice input_take(KafkaConnection *connection, size_t size)
{
    if (size == 0) {
        return SLICE_NULL;
    }
    Slice taken = slice_of(connection->input.data, size);
    connection->input.data += size;
    connection->input.size -= size;
    return taken;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The last reference went, or the request ended. */
static void frame_released(Block *block, void *context)
{
    KafkaServer *server = context;
    server->handling_bytes -= block->size;
    server_soon(server);
}

void kafka_frame_settle(Block *frame)
{
    if (frame->released == frame_released) {
        frame->released(frame, frame->context);
        frame->released = NULL;
    }
}

/* The length alone can tell that no request follows. */
static bool frame_size_is_possible(KafkaConnection *connection)
{
    const KafkaServer *server = connection->server;
    int32_t size = (int32_t)prefix_u32(connection->frame.prefix);
    if (size >= FRAME_BYTES_MIN && (size_t)size <= server->options.frame_bytes_max) {
        return true;
    }
    connection_close(connection, CLOSE_FRAME_SIZE, "a request of %d bytes; %d to %zu are allowed", size,
                     FRAME_BYTES_MIN, server->options.frame_bytes_max);
    return false;
}

/* Refuses what could not be served before memory is spent on it. */
static bool frame_is_welcome(KafkaConnection *connection)
{
    const Frame *frame = &connection->frame;
    const KafkaServer *server = connection->server;
    int16_t key = prefix_i16(frame->prefix + FRAME_LENGTH_BYTES);
    int16_t version = prefix_i16(frame->prefix + FRAME_LENGTH_BYTES + 2);
    const ApiHandler *handler = server_handler(server, key);
    const KafkaApi *api = handler ? kafka_api_find(key) : NULL;
    if (!api) {
        connection_close(connection, CLOSE_UNSUPPORTED, "API key %d, version %d is not served", key, version);
        return false;
    }
    bool known =
        version >= handler->oldest && version <= handler->newest && kafka_api_has_version(api, version);
    if (!known && key != KAFKA_API_VERSIONS) {
        connection_close(connection, CLOSE_UNSUPPORTED, "%s version %d is not served, %d to %d are",
                         api->name, version, handler->oldest, handler->newest);
        return false;
    }
    return true;
}

/* False while the prefix is incomplete. */
static bool frame_fill_prefix(KafkaConnection *connection)
{
    Frame *frame = &connection->frame;
    size_t missing = FRAME_PREFIX_BYTES - frame->prefix_filled;
    Slice taken = input_take(connection, smaller(missing, connection->input.size));
    if (frame->prefix_filled == 0 && taken.size > 0) {
        frame->started_ms = time_ms();
    }
    if (taken.size > 0) {
        memcpy(frame->prefix + frame->prefix_filled, taken.data, taken.size);
    }
    frame->prefix_filled = (uint8_t)(frame->prefix_filled + taken.size);
    return frame->prefix_filled == FRAME_PREFIX_BYTES;
}

bool frame_is_there(const KafkaConnection *connection)
{
    const Frame *frame = &connection->frame;
    size_t filled = frame->block ? frame->filled : FRAME_PREFIX_BYTES - FRAME_LENGTH_BYTES;
    return frame->size - filled <= connection->input.size;
}

/* Memory for the frame's first bytes; needs a welcome prefix. */
static FrameProgress frame_begin(KafkaConnection *connection)
{
    Frame *frame = &connection->frame;
    KafkaServer *server = connection->server;
    const ApiHandler *handler = server_handler(server, prefix_i16(frame->prefix + FRAME_LENGTH_BYTES));
    frame->size = prefix_u32(frame->prefix);
    size_t there = connection->input.size * FRAME_GROWTH;
    size_t room = smaller(frame->size, there > FRAME_STEP_BYTES ? there : FRAME_STEP_BYTES);
    frame->counted = handler->pipelined || frame->size > FRAME_UNCOUNTED_MAX;
    if (frame->counted && !server_has_memory(server, connection, room)) {
        return FRAME_PARKED;
    }
    frame->block = block_new(room);
    if (!frame->block) {
        connection_close(connection, CLOSE_MEMORY, "no memory for a request of %u bytes", frame->size);
        return FRAME_REFUSED;
    }
    if (frame->counted) {
        server->receiving_bytes += room;
    }
    frame->filled = FRAME_PREFIX_BYTES - FRAME_LENGTH_BYTES;
    memcpy(frame->block->bytes, frame->prefix + FRAME_LENGTH_BYTES, frame->filled);
    return FRAME_HUNGRY;
}

static FrameProgress frame_grow(KafkaConnection *connection)
{
    Frame *frame = &connection->frame;
    KafkaServer *server = connection->server;
    size_t room = smaller(frame->size, (size_t)frame->filled * FRAME_GROWTH);
    size_t more = room - frame->block->size;
    if (frame->counted && !server_has_memory(server, connection, more)) {
        return FRAME_PARKED;
    }
    Block *grown = block_resize(frame->block, room);
    if (!grown) {
        connection_close(connection, CLOSE_MEMORY, "no memory for a request of %u bytes", frame->size);
        return FRAME_REFUSED;
    }
    frame->block = grown;
    if (frame->counted) {
        server->receiving_bytes += more;
    }
    return FRAME_HUNGRY;
}

FrameProgress frame_fill(KafkaConnection *connection)
{
    Frame *frame = &connection->frame;
    if (!frame->block) {
        bool was_complete = frame->prefix_filled == FRAME_PREFIX_BYTES;
        bool is_complete = was_complete || frame_fill_prefix(connection);
        if (!was_complete && frame->prefix_filled >= FRAME_LENGTH_BYTES &&
            !frame_size_is_possible(connection)) {
            return FRAME_REFUSED;
        }
        if (!is_complete) {
            return FRAME_HUNGRY;
        }
        if (!was_complete && !frame_is_welcome(connection)) {
            return FRAME_REFUSED;
        }
        FrameProgress begun = frame_begin(connection);
        if (begun != FRAME_HUNGRY) {
            return begun;
        }
    }
    while (frame->filled < frame->size) {
        Slice taken =
            input_take(connection, smaller(frame->block->size - frame->filled, connection->input.size));
        if (taken.size > 0) {
            memcpy(frame->block->bytes + frame->filled, taken.data, taken.size);
        }
        frame->filled += (uint32_t)taken.size;
        if (frame->filled < frame->block->size) {
            return FRAME_HUNGRY;
        }
        FrameProgress grown = frame->filled < frame->size ? frame_grow(connection) : FRAME_HUNGRY;
        if (grown != FRAME_HUNGRY) {
            return grown;
        }
    }
    return FRAME_COMPLETE;
}

uv_buf_t frame_room(const KafkaConnection *connection)
{
    const Frame *frame = &connection->frame;
    size_t room = frame->block ? frame->block->size - frame->filled : 0;
    if (room < DIRECT_READ_MIN) {
        return uv_buf_init(NULL, 0);
    }
    return uv_buf_init((char *)frame->block->bytes + frame->filled, (unsigned)room);
}

Block *frame_take(KafkaConnection *connection)
{
    Frame *frame = &connection->frame;
    KafkaServer *server = connection->server;
    Block *block = frame->block;
    assert(block && frame->filled == frame->size && block->size == frame->size);
    if (frame->counted) {
        server->receiving_bytes -= block->size;
        server->handling_bytes += block->size;
        block->released = frame_released;
        block->context = server;
    }
    if (server->overdrawn == connection) {
        server->overdrawn = NULL;
        server_soon(server);
    }
    *frame = (Frame){ 0 };
    return block;
}

void frame_drop(KafkaConnection *connection)
{
    Frame *frame = &connection->frame;
    KafkaServer *server = connection->server;
    if (frame->block && frame->counted) {
        server->receiving_bytes -= frame->block->size;
    }
    if (server->overdrawn == connection) {
        server->overdrawn = NULL;
    }
    block_release(frame->block);
    *frame = (Frame){ 0 };
    server_soon(server);
}
