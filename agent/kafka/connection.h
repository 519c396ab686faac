/* connection.h: one client: bytes in, requests out to their handlers, replies back in order. For server.c,
 * request.c, frame.c and tests only; handlers use request.h. */
#ifndef STREAMHOUSE_KAFKA_CONNECTION_H
#define STREAMHOUSE_KAFKA_CONNECTION_H

#include <stdint.h>
#include <uv.h>

#include "agent/kafka/request.h"
#include "agent/kafka/server.h"

enum {
    FRAME_LENGTH_BYTES = 4,
    FRAME_PREFIX_BYTES = 8, /* length, API key, version: what is known before memory is given */
    FRAME_BYTES_MIN = 8,    /* API key, version, correlation id */
    SCRATCH_BYTES = 32 * 1024,
    CONNECTION_PEER_MAX = 64
};

/* Why a connection ended; each has a metric and a level in the journal. */
typedef enum CloseReason {
    CLOSE_CLIENT,
    CLOSE_LIMIT,
    CLOSE_DISPLACED,
    CLOSE_FRAME_SIZE,
    CLOSE_MALFORMED,
    CLOSE_UNSUPPORTED,
    CLOSE_FRAME_TIMEOUT,
    CLOSE_IDLE,
    CLOSE_WRITE_TIMEOUT,
    CLOSE_UNSENT,
    CLOSE_SOCKET,
    CLOSE_HANDLER,
    CLOSE_MEMORY,
    CLOSE_SHUTDOWN,
    CLOSE_REASON_COUNT
} CloseReason;

/* A frame that is being received. */
typedef struct Frame {
    uint8_t prefix[FRAME_PREFIX_BYTES];
    uint8_t prefix_filled;
    bool counted;    /* against the server's memory */
    uint32_t size;   /* announced, the length field itself not included */
    uint32_t filled; /* of size */
    Block *block;    /* block->size is what there is room for now; NULL until the prefix is complete */
    int64_t started_ms;
} Frame;

typedef struct RequestList {
    KafkaRequest *first;
    KafkaRequest *last;
} RequestList;

typedef struct ConnectionList {
    KafkaConnection *first;
    KafkaConnection *last;
} ConnectionList;

struct KafkaConnection {
    uv_tcp_t socket; /* first: libuv's callbacks get it */
    KafkaServer *server;
    KafkaConnection *previous; /* in the list of crowd.c */
    KafkaConnection *next;
    KafkaConnection *next_parked;
    Frame frame;
    Slice input; /* received and not looked at yet: in the server's scratch while it is read, else in stash */
    Block *stash;
    KafkaRequest *waiting; /* complete, but earlier ones must be answered first */
    RequestList requests;  /* handed out and not yet given to the socket, in order */
    int in_flight;         /* handed out and not yet freed */
    int64_t active_ms;     /* when something last went well */
    uint64_t submitted;    /* bytes of replies given to libuv */
    uint64_t written;      /* of these, given to the kernel when last looked at */
    int64_t written_ms;    /* when that last grew */
    uint64_t served;       /* requests handed out since the beginning */
    bool exclusive;        /* the one in flight is not pipelined */
    bool reading;
    bool parked; /* waits for memory */
    bool advancing;
    bool closing;
    char peer[CONNECTION_PEER_MAX];
};

struct KafkaServer {
    uv_loop_t *loop;
    KafkaServerOptions options;
    uv_tcp_t listener;
    uv_timer_t sweep;
    uv_timer_t soon;
    ConnectionList strangers; /* that were never served, the latest first */
    ConnectionList clients;   /* the one that was served last first */
    KafkaConnection *parked_first;
    KafkaConnection **parked_last;
    KafkaConnection *overdrawn; /* may exceed the memory to complete its frame */
    size_t receiving_bytes;     /* counted frames that are incomplete */
    size_t handling_bytes;      /* counted frames that are complete */
    size_t unsent_bytes;        /* of replies that sockets have not taken yet */
    int connection_count;
    int parked_count;
    int request_count;
    bool resuming;            /* a parked connection is being tried */
    uint64_t resuming_served; /* what it had been served before */
    bool draining;
    bool closing;
    bool listening;
    int handles; /* open, sockets included */
    void (*drained)(void *arg);
    void *drained_arg;
    void (*closed)(void *arg);
    void *closed_arg;
    uint8_t scratch[SCRATCH_BYTES];
};

/* connection.c */
/* Takes a connected socket (already in connection->socket) into the server and begins to read. */
void connection_open(KafkaConnection *connection);
/* Looks at received bytes as far as possible now; keeps the rest. The bytes are only read during the call. */
void connection_feed(KafkaConnection *connection, Slice bytes);
/* Goes on with what was kept, after something that held it up has changed. */
void connection_advance(KafkaConnection *connection);
/* Gives finished replies to the socket, in order. */
void connection_flush(KafkaConnection *connection);
void connection_close(KafkaConnection *connection, CloseReason reason, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Closes it, the agent being about to go, if nothing was asked since before_ms and nothing is under way. */
void connection_shed(KafkaConnection *connection, int64_t before_ms);
/* Closes it if one of its timeouts has passed. */
void connection_check_time(KafkaConnection *connection, int64_t now_ms);

/* frame.c */
typedef enum FrameProgress {
    FRAME_HUNGRY,   /* needs more bytes */
    FRAME_COMPLETE, /* frame.block is the request */
    FRAME_PARKED,   /* needs memory that others hold */
    FRAME_REFUSED   /* the connection was closed */
} FrameProgress;
/* Whether the rest of the frame, whose size is known, has been received. */
bool frame_is_there(const KafkaConnection *connection);
/* Moves bytes from connection->input to the frame. */
FrameProgress frame_fill(KafkaConnection *connection);
/* Room for reading straight into the frame; SLICE_NULL when reading into scratch is better. */
uv_buf_t frame_room(const KafkaConnection *connection);
/* The complete frame, whose reference is the caller's; ready for the next one. */
Block *frame_take(KafkaConnection *connection);
/* Drops an incomplete frame. */
void frame_drop(KafkaConnection *connection);

/* request.c */
/* Reads header and body; takes the frame's reference. NULL: the connection was closed. */
KafkaRequest *request_read(KafkaConnection *connection, Block *frame);
/* Calls the handler. */
void request_dispatch(KafkaRequest *request);
/* The client is gone. */
void request_abandon(KafkaRequest *request);
void request_free(KafkaRequest *request);

/* server.c */
/* The handler of an API, NULL when it is not served. */
const ApiHandler *server_handler(const KafkaServer *server, int16_t key);
/* Whether the connection may have that many more bytes for its frame; the caller then counts them in
 * receiving_bytes. */
bool server_has_memory(KafkaServer *server, KafkaConnection *connection, size_t bytes);
/* Puts the connection last in the queue for memory. */
void server_park(KafkaServer *server, KafkaConnection *connection);
void server_unpark(KafkaServer *server, KafkaConnection *connection);
/* Looks at parked connections, draining and closing at the next turn of the loop. */
void server_soon(KafkaServer *server);

#endif
