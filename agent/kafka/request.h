/* request.h: one Kafka request, from its frame to the last byte of its reply, and the table of who handles
 * what.
 *
 * A handler gets a KafkaRequest and owns it until it calls exactly one of kafka_request_reply(),
 * kafka_request_finish_silently() and kafka_request_disconnect(), now or later, once. After that the request
 * may be gone.
 *
 *     void metadata_handle(KafkaRequest *request)
 *     {
 *         const KafkaMetadataRequest *asked = request->message;
 *         KafkaMetadataResponse answer;
 *         ...
 *         kafka_request_reply(request, &answer);
 *     }
 *
 * The client may go away first. Then request->abandoned is true and on_abandon, if the handler set it, is
 * called once; the handler still ends the request with one of the three calls (they then send nothing), from
 * on_abandon or later. A handler that waits (Fetch) sets on_abandon and ends the request in it. */
#ifndef STREAMHOUSE_KAFKA_REQUEST_H
#define STREAMHOUSE_KAFKA_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/kafka/message.h"
#include "common/arena.h"
#include "common/block.h"
#include "common/slice.h"
#include "common/status.h"
#include "common/writer.h"

typedef struct KafkaConnection KafkaConnection;
typedef struct KafkaRequest KafkaRequest;

/* One row per API key: ApiHandler api_handlers[] = { [KAFKA_PRODUCE] = { produce_handle, .newest = 12,
 * .pipelined = true }, … }. A request outside oldest..newest, or in a version the codec does not have, closes
 * the connection, as in Kafka; ApiVersions alone is answered (error 35, version 0). oldest and newest are
 * what ApiVersions should advertise. */
typedef struct ApiHandler {
    void (*handle)(KafkaRequest *request); /* NULL: this API is not served */
    int16_t oldest;
    int16_t newest;
    /* Consecutive requests of pipelined handlers are handled at the same time, up to in_flight_max per
     * connection. Any other request waits for all earlier ones of its connection, and later ones wait for it.
     * Replies always leave in order. Frames of pipelined handlers are what back-pressure holds up first. */
    bool pipelined;
} ApiHandler;

enum { KAFKA_REQUEST_HOLDS = 4 };

struct KafkaRequest {
    /* For handlers to read. */
    void *context;               /* KafkaServerOptions.context */
    KafkaConnection *connection; /* NULL once abandoned */
    const KafkaApi *api;
    const ApiHandler *handler;
    int16_t version;
    int32_t correlation_id;
    Slice client_id;     /* a view of frame; data NULL when the client gave none */
    const void *message; /* the decoded Kafka<Api>Request; a view of frame and arena */
    Block *frame;        /* the request's bytes; block_hold() keeps slices of it alive beyond the request */
    int64_t received_ns; /* time_ns() when the frame was complete */
    bool abandoned;
    Arena arena; /* bounded; for the decoded message and for building the reply */

    /* For handlers to set. */
    void *state;
    void (*on_abandon)(KafkaRequest *request);

    /* request.c's and connection.c's own. */
    struct KafkaServer *server;
    KafkaRequest *next;
    bool finished; /* one of the three endings was called */
    bool silent;   /* nothing is sent */
    Writer reply;
    Block *holds[KAFKA_REQUEST_HOLDS]; /* the first ones; more are in more_holds */
    Block **more_holds;
    size_t hold_count;
    size_t hold_capacity; /* of more_holds */
};

/* Encodes a Kafka<Api>Response in the request's version and queues it. The response may be freed on return,
 * but slices of record batches are referred to until the bytes are written: hold their blocks first. A
 * response that cannot be encoded closes the connection with a journal line. */
void kafka_request_reply(KafkaRequest *request, const void *response);

/* The request has no reply (Produce with acks=0). Call it when the work is done, not when it begins: until
 * then the frame counts against the server's memory, and the connection's requests in flight are bounded. */
void kafka_request_finish_silently(KafkaRequest *request);

/* Closes the connection, with a journal line that says why, and ends the request. */
void kafka_request_disconnect(KafkaRequest *request, const char *why);

/* Takes a reference of its own to the block until the reply's bytes were written or the request is freed.
 * False when memory is short. */
MUST_CHECK bool kafka_request_hold(KafkaRequest *request, Block *block);

/* "ip:port" of the client, for logs; "gone" when abandoned. */
const char *kafka_request_peer(const KafkaRequest *request);

/* Takes a frame's bytes out of the server's memory budget before its last reference goes. Done by the server
 * when the request ends, so that whoever keeps a frame longer (the tail cache) accounts for it;
 * block->released is free from then on. */
void kafka_frame_settle(Block *frame);

#endif
