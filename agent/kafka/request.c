/* request.c: reads a request's header and body, hands it to its handler, and encodes what the handler
 * answers. */
#include "agent/kafka/request.h"

#include <assert.h>
#include <stdlib.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/kafka/connection.h"
#include "agent/metrics.h"

enum {
    ARENA_DECODE_BASE = 64 * 1024,
    ARENA_DECODE_FACTOR = 64,            /* structs take more room than their bytes: at most so many times */
    ARENA_BYTES_MAX = 128 * 1024 * 1024, /* and for what handlers build */
    HEADER_FLEXIBLE = 2,
    UNSUPPORTED_VERSION = 35
};

/* Tagged fields of the header say nothing that we know of. */
static void header_skip_tags(Reader *in)
{
    uint32_t count = reader_uvarint(in);
    for (uint32_t i = 0; i < count && !reader_failed(in); i++) {
        reader_uvarint(in);
        reader_take(in, reader_uvarint(in));
    }
}

/* An int16 length even in flexible headers; -1 is null. */
static Slice header_client_id(Reader *in)
{
    int16_t length = reader_i16(in);
    if (length < -1) {
        reader_fail(in);
    }
    return length < 0 ? SLICE_NULL : reader_take(in, (size_t)length);
}

static bool request_read_body(KafkaConnection *connection, KafkaRequest *request, Reader *in)
{
    const KafkaMessage *schema = request->api->request;
    size_t limit = ARENA_DECODE_BASE + request->frame->size * ARENA_DECODE_FACTOR;
    arena_init(&request->arena, limit < ARENA_BYTES_MAX ? limit : ARENA_BYTES_MAX);
    void *message = arena_allocate(&request->arena, schema->root.size);
    Status status = message ? kafka_decode(schema, request->version, in, &request->arena, message)
                            : status_error(STATUS_LIMIT, "memory is short");
    request->arena.limit = ARENA_BYTES_MAX;
    request->message = message;
    if (!status_is_ok(&status)) {
        connection_close(connection, CLOSE_MALFORMED, "%s version %d cannot be read: %s", request->api->name,
                         request->version, status.message);
        return false;
    }
    return true;
}

static bool request_has_known_version(const KafkaRequest *request)
{
    return request->version >= request->handler->oldest && request->version <= request->handler->newest &&
           kafka_api_has_version(request->api, request->version);
}

static bool request_read_header(KafkaConnection *connection, KafkaRequest *request, Reader *in)
{
    int16_t key = reader_i16(in);
    request->version = reader_i16(in);
    request->correlation_id = reader_i32(in);
    request->api = kafka_api_find(key);
    request->handler = server_handler(connection->server, key);
    if (!request_has_known_version(request)) {
        return true; /* ApiVersions of the future: its header is not known beyond this */
    }
    request->client_id = header_client_id(in);
    if (kafka_request_header_version(request->api, request->version) >= HEADER_FLEXIBLE) {
        header_skip_tags(in);
    }
    if (reader_failed(in)) {
        connection_close(connection, CLOSE_MALFORMED, "%s version %d has a malformed header",
                         request->api->name, request->version);
        return false;
    }
    return request_read_body(connection, request, in);
}

KafkaRequest *request_read(KafkaConnection *connection, Block *frame)
{
    KafkaRequest *request = calloc(1, sizeof(KafkaRequest));
    if (!request) {
        kafka_frame_settle(frame);
        block_release(frame);
        connection_close(connection, CLOSE_MEMORY, "no memory for a request");
        return NULL;
    }
    Reader in = reader_of(slice_of(frame->bytes, frame->size));
    connection->server->request_count++;
    request->server = connection->server;
    request->context = connection->server->options.context;
    request->connection = connection;
    request->frame = frame;
    request->received_ns = time_ns();
    writer_init(&request->reply);
    if (!request_read_header(connection, request, &in)) {
        request_free(request);
        return NULL;
    }
    return request;
}

void request_free(KafkaRequest *request)
{
    KafkaServer *server = request->server;
    for (size_t i = 0; i < request->hold_count; i++) {
        block_release(i < KAFKA_REQUEST_HOLDS ? request->holds[i]
                                              : request->more_holds[i - KAFKA_REQUEST_HOLDS]);
    }
    free(request->more_holds);
    kafka_frame_settle(request->frame);
    block_release(request->frame);
    arena_reset(&request->arena);
    writer_free(&request->reply);
    free(request);
    server->request_count--;
    if (server->closing || server->draining) {
        server_soon(server);
    }
}

/* KIP-511: the client learns our versions of ApiVersions from a reply that it understands in any case. */
static void request_answer_version(KafkaRequest *request)
{
    KafkaApiVersionsResponse response;
    KafkaApiVersionsResponseApiKey offered;
    kafka_defaults(&KAFKA_API_VERSIONS_RESPONSE.root, &response);
    kafka_defaults(&KAFKA_API_VERSIONS_RESPONSE_API_KEY, &offered);
    offered.api_key = KAFKA_API_VERSIONS;
    offered.min_version = request->handler->oldest;
    offered.max_version = request->handler->newest;
    response.error_code = UNSUPPORTED_VERSION;
    response.api_keys.items = &offered;
    response.api_keys.count = 1;
    request->version = 0;
    kafka_request_reply(request, &response);
}

void request_dispatch(KafkaRequest *request)
{
    metric_add(METRIC_KAFKA_REQUESTS, 1);
    if (request_has_known_version(request)) {
        request->handler->handle(request);
    } else {
        request_answer_version(request);
    }
}

static void request_measure(const KafkaRequest *request)
{
    MetricId duration = request->api->key == KAFKA_PRODUCE ? METRIC_KAFKA_DURATION_PRODUCE
                        : request->api->key == KAFKA_FETCH ? METRIC_KAFKA_DURATION_FETCH
                                                           : METRIC_KAFKA_DURATION_OTHER;
    metric_observe_since(duration, request->received_ns);
}

/* The one way in which a request ends. */
static void request_finish(KafkaRequest *request)
{
    assert(!request->finished);
    request->finished = true;
    if (request->abandoned) {
        request_free(request);
        return;
    }
    KafkaConnection *connection = request->connection;
    kafka_frame_settle(request->frame);
    request_measure(request);
    connection_flush(connection);
    connection_advance(connection);
}

static Status request_encode(KafkaRequest *request, const void *response)
{
    Writer *reply = &request->reply;
    writer_i32(reply, 0);
    writer_i32(reply, request->correlation_id);
    if (kafka_response_header_version(request->api, request->version) > 0) {
        writer_uvarint(reply, 0); /* no tagged fields */
    }
    Status status = kafka_encode(request->api->response, request->version, response, reply);
    size_t size = writer_size(reply) - FRAME_LENGTH_BYTES;
    if (status_is_ok(&status) && (writer_failed(reply) || size > INT32_MAX)) {
        status = status_error(STATUS_LIMIT, "memory is short for a reply of %zu bytes", size);
    }
    if (status_is_ok(&status)) {
        writer_patch_i32(reply, 0, (int32_t)size);
    }
    return status;
}

void kafka_request_reply(KafkaRequest *request, const void *response)
{
    if (request->abandoned) {
        request_finish(request);
        return;
    }
    Status status = request_encode(request, response);
    if (status_is_ok(&status)) {
        request_finish(request);
        return;
    }
    journal(JOURNAL_ERROR, "kafka", "the reply to %s version %d cannot be encoded: %s", request->api->name,
            request->version, status.message);
    kafka_request_disconnect(request, "its reply cannot be encoded");
}

void kafka_request_finish_silently(KafkaRequest *request)
{
    request->silent = true;
    request_finish(request);
}

void kafka_request_disconnect(KafkaRequest *request, const char *why)
{
    request->on_abandon = NULL;
    if (!request->abandoned) {
        connection_close(request->connection, CLOSE_HANDLER, "%s version %d: %s", request->api->name,
                         request->version, why);
    }
    request_finish(request);
}

void request_abandon(KafkaRequest *request)
{
    request->connection = NULL;
    if (request->finished) {
        request_free(request);
        return;
    }
    request->abandoned = true;
    if (request->on_abandon) {
        request->on_abandon(request);
    }
}

static bool request_grow_holds(KafkaRequest *request)
{
    size_t capacity = request->hold_capacity ? request->hold_capacity * 2 : 16;
    Block **grown = realloc(request->more_holds, capacity * sizeof(Block *));
    if (!grown) {
        return false;
    }
    request->more_holds = grown;
    request->hold_capacity = capacity;
    return true;
}

bool kafka_request_hold(KafkaRequest *request, Block *block)
{
    if (request->hold_count < KAFKA_REQUEST_HOLDS) {
        request->holds[request->hold_count++] = block_hold(block);
        return true;
    }
    size_t more = request->hold_count - KAFKA_REQUEST_HOLDS;
    if (more == request->hold_capacity && !request_grow_holds(request)) {
        return false;
    }
    request->more_holds[more] = block_hold(block);
    request->hold_count++;
    return true;
}

const char *kafka_request_peer(const KafkaRequest *request)
{
    return request->connection ? request->connection->peer : "gone";
}
