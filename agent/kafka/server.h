/* server.h: the TCP server of the Kafka protocol: accepts connections, bounds their number, their memory and
 * their patience.
 *
 * Memory: bytes of frames, from their first piece until their request ends, are counted against
 * buffered_bytes_max. When it is used up, sockets with large or pipelined (Produce) frames are not read;
 * small other requests always are. A frame grows with the bytes that arrived, and one connection at a time
 * may go beyond the budget, so that some frame always completes. A frame has frame_timeout_ms and then has to
 * come at 32 kB/s; while others wait for memory, that patience is a quarter. Whole frames need not wait for
 * memory that dribbled ones hold: for them there is half as much again.
 *
 * Replies that clients do not read are counted against unsent_bytes_max. Beyond it, a connection with an
 * unsent reply begins no further request, and two seconds in which its client takes nothing end it; beyond
 * twice as much, so does any reply that its socket does not take whole. */
#ifndef STREAMHOUSE_KAFKA_SERVER_H
#define STREAMHOUSE_KAFKA_SERVER_H

#include <stdint.h>
#include <uv.h>

#include "agent/kafka/request.h"
#include "common/status.h"

typedef struct KafkaServer KafkaServer;

/* 0 means the default. */
typedef struct KafkaServerOptions {
    const ApiHandler *handlers; /* by API key; outlives the server */
    size_t handler_count;
    void *context;             /* for handlers */
    const char *host;          /* to listen on; default 127.0.0.1; a name is resolved once, blocking */
    uint16_t port;             /* 0: any free one, see kafka_server_port() */
    size_t frame_bytes_max;    /* largest request; default 100 MiB */
    size_t buffered_bytes_max; /* all unfinished requests; default 256 MiB */
    size_t unsent_bytes_max;   /* replies that sockets have not taken yet; default 256 MiB */
    int connections_max;       /* default 10,000; for one more another makes way, or it is closed at once */
    int in_flight_max;         /* unanswered requests per connection; default 64 */
    int64_t frame_timeout_ms;  /* from connect to the first request, and for an incomplete one (large ones get
                                  longer);  default 30 s */
    int64_t idle_timeout_ms;   /* without any request; default 10 min */
    int64_t idle_kept_ms;      /* a client that was served within this long makes no way; default 10 s */
    int64_t write_timeout_ms;  /* a reply of which no byte can be sent; default 60 s */
} KafkaServerOptions;

typedef struct KafkaServerStats {
    int connections;
    size_t buffered_bytes; /* counted against buffered_bytes_max */
    size_t unsent_bytes;   /* counted against unsent_bytes_max */
    int parked;            /* connections not read because the memory is used up */
    int requests;          /* in flight */
} KafkaServerStats;

/* Binds and listens. The process must ignore SIGPIPE. NOT_FOUND, DENIED, EXISTS or UNAVAILABLE say why an
 * address cannot be had. */
MUST_CHECK Status kafka_server_start(uv_loop_t *loop, const KafkaServerOptions *options,
                                     KafkaServer **server);

/* The port that is listened on. */
int kafka_server_port(const KafkaServer *server);

KafkaServerStats kafka_server_stats(const KafkaServer *server);

/* Closes connections that have asked for nothing for so long; new ones are taken as before. */
void kafka_server_shed(KafkaServer *server, int64_t idle_ms);

/* Takes no new connections and no new requests; every connection is closed when its replies are out; then
 * drained(arg), from the loop. Has no limit of its own: kafka_server_close() ends it. */
void kafka_server_drain(KafkaServer *server, void (*drained)(void *arg), void *arg);

/* Closes everything at once. Requests in flight are abandoned; the server is freed, and closed(arg) called
 * from the loop, when the last of them has ended. closed may be NULL. */
void kafka_server_close(KafkaServer *server, void (*closed)(void *arg), void *arg);

#endif
