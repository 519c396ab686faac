/* connection.c: one client's socket. Bytes become frames, frames become requests, requests are handed out as
 * their order allows, and replies leave in the order of the requests. A connection is open, then closing;
 * never back. */
#include "agent/kafka/connection.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/kafka/crowd.h"
#include "agent/metrics.h"

enum {
    UNSENT_MAX = 1024 * 1024, /* with more than this not written yet, no further request is begun */
    UNSENT_PATIENCE_MS =
        2000, /* for a client that takes nothing of its reply, when all together are too many */
    BUFFERS_ON_STACK = 64,
    FRAME_BYTES_PER_MS = 32, /* a request that is coming gets a millisecond more for each: 32 kB/s */
    SHORT_OF_MEMORY = 4 /* while others wait for memory, an incomplete request has so many times less time */
};

typedef struct CloseMeaning {
    const char *text;
    JournalLevel level;
} CloseMeaning;

static const CloseMeaning close_meanings[CLOSE_REASON_COUNT] = {
    [CLOSE_CLIENT] = { "the client hung up", JOURNAL_DEBUG },
    [CLOSE_LIMIT] = { "too many connections", JOURNAL_WARN },
    [CLOSE_DISPLACED] = { "made way for a new connection", JOURNAL_INFO },
    [CLOSE_FRAME_SIZE] = { "impossible request size", JOURNAL_WARN },
    [CLOSE_MALFORMED] = { "malformed request", JOURNAL_WARN },
    [CLOSE_UNSUPPORTED] = { "unsupported request", JOURNAL_WARN },
    [CLOSE_FRAME_TIMEOUT] = { "request incomplete for too long", JOURNAL_INFO },
    [CLOSE_IDLE] = { "idle", JOURNAL_DEBUG },
    [CLOSE_WRITE_TIMEOUT] = { "the client does not read", JOURNAL_WARN },
    [CLOSE_UNSENT] = { "too many replies that nobody reads", JOURNAL_WARN },
    [CLOSE_SOCKET] = { "socket error", JOURNAL_INFO },
    [CLOSE_HANDLER] = { "refused", JOURNAL_WARN },
    [CLOSE_MEMORY] = { "memory is short", JOURNAL_ERROR },
    [CLOSE_SHUTDOWN] = { "the agent is stopping", JOURNAL_DEBUG },
};

/* A write under way. */
typedef struct ReplyWrite {
    uv_write_t write;
    RequestList requests;
    size_t bytes;
} ReplyWrite;

static void list_append(RequestList *list, KafkaRequest *request)
{
    request->next = NULL;
    if (list->last) {
        list->last->next = request;
    } else {
        list->first = request;
    }
    list->last = request;
}

static KafkaRequest *list_take(RequestList *list)
{
    KafkaRequest *request = list->first;
    if (request) {
        list->first = request->next;
        list->last = list->first ? list->last : NULL;
    }
    return request;
}

static void connection_closed(uv_handle_t *handle)
{
    KafkaConnection *connection = (KafkaConnection *)handle;
    KafkaServer *server = connection->server;
    free(connection);
    server->handles--;
    server_soon(server);
}

static void connection_journal_close(const KafkaConnection *connection, CloseReason reason,
                                     const char *detail)
{
    static JournalBrake brakes[CLOSE_REASON_COUNT];
    const CloseMeaning *meaning = &close_meanings[reason];
    metric_add(METRIC_KAFKA_CLOSED_CLIENT + reason, 1);
    if (journal_is_on(meaning->level)) {
        journal_braked(&brakes[reason], meaning->level, "kafka", "closed the connection of %s: %s%s%s",
                       connection->peer, meaning->text, detail[0] ? ": " : "", detail);
    }
}

static void connection_drop_unserved(KafkaConnection *connection)
{
    frame_drop(connection);
    block_release(connection->stash);
    connection->stash = NULL;
    connection->input = SLICE_NULL;
    if (connection->waiting) {
        request_free(connection->waiting);
        connection->waiting = NULL;
    }
}

void connection_close(KafkaConnection *connection, CloseReason reason, const char *format, ...)
{
    char detail[STATUS_MESSAGE_MAX];
    va_list arguments;
    if (connection->closing) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(detail, sizeof(detail), format, arguments);
    va_end(arguments);
    connection->closing = true;
    connection_journal_close(connection, reason, detail);
    server_unpark(connection->server, connection);
    crowd_remove(connection->server, connection);
    connection_drop_unserved(connection);
    uv_close((uv_handle_t *)&connection->socket, connection_closed);
    RequestList abandoned = connection->requests;
    connection->requests = (RequestList){ 0 };
    for (KafkaRequest *request = list_take(&abandoned); request; request = list_take(&abandoned)) {
        request_abandon(request);
    }
}

/* Requests whose replies are out, or that have none. */
static void connection_forget(KafkaConnection *connection, RequestList *sent)
{
    for (KafkaRequest *request = list_take(sent); request; request = list_take(sent)) {
        request_free(request);
        connection->in_flight--;
    }
    connection->exclusive = connection->exclusive && connection->in_flight > 0;
    connection->active_ms = time_ms();
    if (connection->server->draining) {
        server_soon(connection->server);
    }
}

static void connection_wrote(uv_write_t *write, int status)
{
    ReplyWrite *done = (ReplyWrite *)write;
    KafkaConnection *connection = (KafkaConnection *)write->handle;
    connection->server->unsent_bytes -= done->bytes;
    connection_forget(connection, &done->requests);
    free(done);
    if (status < 0) {
        connection_close(connection, CLOSE_SOCKET, "writing: %s", uv_strerror(status));
    }
    connection_advance(connection);
}

static size_t replies_slice_count(const RequestList *requests)
{
    size_t count = 0;
    for (const KafkaRequest *request = requests->first; request; request = request->next) {
        count += request->silent ? 0 : writer_slice_count(&request->reply);
    }
    return count;
}

static unsigned replies_collect(const RequestList *requests, Slice *slices, uv_buf_t *buffers, size_t *total)
{
    unsigned count = 0;
    *total = 0;
    for (const KafkaRequest *request = requests->first; request; request = request->next) {
        size_t added = request->silent ? 0 : writer_slices(&request->reply, slices);
        for (size_t i = 0; i < added; i++) {
            buffers[count++] = uv_buf_init((char *)slices[i].data, (unsigned)slices[i].size);
            *total += slices[i].size;
        }
    }
    return count;
}

/* Skips what was written already. */
static unsigned buffers_skip(uv_buf_t *buffers, unsigned count, size_t written)
{
    unsigned whole = 0;
    while (whole < count && written >= buffers[whole].len) {
        written -= buffers[whole++].len;
    }
    if (whole < count) {
        buffers[whole].base += written;
        buffers[whole].len -= written;
    }
    return whole;
}

/* Most replies fit into the socket's buffer and are done at once; what does not is left to libuv. */
static void connection_write_buffers(KafkaConnection *connection, RequestList *requests, uv_buf_t *buffers,
                                     unsigned count, size_t total)
{
    uv_stream_t *stream = (uv_stream_t *)&connection->socket;
    int written = uv_stream_get_write_queue_size(stream) == 0 ? uv_try_write(stream, buffers, count) : 0;
    if (written < 0 && written != UV_EAGAIN) {
        connection_forget(connection, requests);
        connection_close(connection, CLOSE_SOCKET, "writing: %s", uv_strerror(written));
        return;
    }
    size_t done = written > 0 ? (size_t)written : 0;
    if (done == total) {
        connection_forget(connection, requests);
        return;
    }
    KafkaServer *server = connection->server;
    if (server->unsent_bytes / 2 > server->options.unsent_bytes_max) {
        connection_forget(connection, requests);
        connection_close(connection, CLOSE_UNSENT, "%zu bytes of replies wait for their clients",
                         server->unsent_bytes);
        return;
    }
    ReplyWrite *write = malloc(sizeof(ReplyWrite));
    unsigned whole = buffers_skip(buffers, count, done);
    int status = UV_ENOMEM;
    if (write) {
        write->requests = *requests;
        write->bytes = total - done;
        status = uv_write(&write->write, stream, buffers + whole, count - whole, connection_wrote);
    }
    if (status == 0) {
        server->unsent_bytes += total - done;
    } else {
        free(write);
        connection_forget(connection, requests);
        connection_close(connection, CLOSE_SOCKET, "writing: %s", uv_strerror(status));
    }
}

static void connection_write(KafkaConnection *connection, RequestList *requests)
{
    Slice few_slices[BUFFERS_ON_STACK];
    uv_buf_t few_buffers[BUFFERS_ON_STACK];
    size_t most = replies_slice_count(requests);
    bool many = most > BUFFERS_ON_STACK;
    Slice *slices = many ? malloc(most * sizeof(Slice)) : few_slices;
    uv_buf_t *buffers = many ? malloc(most * sizeof(uv_buf_t)) : few_buffers;
    if (slices && buffers) {
        size_t total;
        unsigned count = replies_collect(requests, slices, buffers, &total);
        connection->submitted += total;
        metric_add(METRIC_KAFKA_SENT, total);
        if (total > 0) {
            connection_write_buffers(connection, requests, buffers, count, total);
        } else {
            connection_forget(connection, requests);
        }
    } else {
        connection_forget(connection, requests);
        connection_close(connection, CLOSE_MEMORY, "no memory to send replies");
    }
    if (many) {
        free(slices);
        free(buffers);
    }
}

void connection_flush(KafkaConnection *connection)
{
    RequestList finished = { 0 };
    while (connection->requests.first && connection->requests.first->finished) {
        list_append(&finished, list_take(&connection->requests));
    }
    if (finished.first) {
        connection_write(connection, &finished);
    }
}

static bool connection_is_between_frames(const KafkaConnection *connection)
{
    return !connection->frame.block && connection->frame.prefix_filled == 0;
}

static bool server_has_too_much_unsent(const KafkaServer *server)
{
    return server->unsent_bytes > server->options.unsent_bytes_max;
}

static bool connection_may_begin_frame(const KafkaConnection *connection)
{
    const KafkaServer *server = connection->server;
    size_t unsent_max = server_has_too_much_unsent(server) ? 0 : UNSENT_MAX;
    return connection->input.size > 0 && !server->draining && !connection->exclusive &&
           connection->in_flight < server->options.in_flight_max &&
           uv_stream_get_write_queue_size((const uv_stream_t *)&connection->socket) <= unsent_max;
}

static bool connection_may_dispatch(const KafkaConnection *connection, const KafkaRequest *request)
{
    bool in_turn = connection->in_flight == 0 || (request->handler->pipelined && !connection->exclusive);
    return in_turn && !connection->server->draining;
}

static void connection_dispatch(KafkaConnection *connection)
{
    KafkaRequest *request = connection->waiting;
    connection->waiting = NULL;
    connection->exclusive = !request->handler->pipelined;
    connection->in_flight++;
    crowd_served(connection->server, connection);
    connection->active_ms = time_ms();
    list_append(&connection->requests, request);
    request_dispatch(request);
}

/* One thing that can be done now; false when there is none. */
static bool connection_step(KafkaConnection *connection)
{
    if (connection->closing) {
        return false;
    }
    if (connection->waiting) {
        bool may = connection_may_dispatch(connection, connection->waiting);
        if (may) {
            connection_dispatch(connection);
        }
        return may;
    }
    if (connection_is_between_frames(connection) && !connection_may_begin_frame(connection)) {
        return false;
    }
    FrameProgress progress = frame_fill(connection);
    if (progress == FRAME_PARKED) {
        server_park(connection->server, connection);
    } else if (progress == FRAME_COMPLETE) {
        connection->waiting = request_read(connection, frame_take(connection));
    }
    return progress == FRAME_COMPLETE;
}

/* What cannot be looked at yet leaves the scratch, which other connections use too. */
static void connection_keep_input(KafkaConnection *connection)
{
    Slice input = connection->input;
    if (input.size == 0) {
        block_release(connection->stash);
        connection->stash = NULL;
        connection->input = SLICE_NULL;
    } else if (!connection->stash) {
        connection->stash = block_new(input.size);
        if (!connection->stash) {
            connection_close(connection, CLOSE_MEMORY, "no memory for %zu bytes", input.size);
            return;
        }
        memcpy(connection->stash->bytes, input.data, input.size);
        connection->input = slice_of(connection->stash->bytes, input.size);
    }
}

static void connection_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    KafkaConnection *connection = (KafkaConnection *)handle;
    (void)suggested;
    *buffer = frame_room(connection);
    if (!buffer->base) {
        *buffer = uv_buf_init((char *)connection->server->scratch, SCRATCH_BYTES);
    }
}

static void connection_received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    KafkaConnection *connection = (KafkaConnection *)stream;
    if (size == UV_EOF || size == UV_ECONNRESET) {
        connection_close(connection, CLOSE_CLIENT, "%s", "");
        return;
    }
    if (size < 0) {
        connection_close(connection, CLOSE_SOCKET, "reading: %s", uv_strerror((int)size));
        return;
    }
    metric_add(METRIC_KAFKA_RECEIVED, (uint64_t)size);
    if (buffer->base == (const char *)connection->server->scratch) {
        connection_feed(connection, slice_of(buffer->base, (size_t)size));
    } else {
        connection->frame.filled += (uint32_t)size;
        connection_advance(connection);
    }
}

/* Read as long as there is nothing unread: also while requests are handled, to notice that the client is
 * gone. */
static void connection_adjust_reading(KafkaConnection *connection)
{
    bool wanted = !connection->stash && !connection->parked;
    if (wanted == connection->reading) {
        return;
    }
    connection->reading = wanted;
    uv_stream_t *stream = (uv_stream_t *)&connection->socket;
    int status = wanted ? uv_read_start(stream, connection_room, connection_received) : uv_read_stop(stream);
    if (status != 0) {
        connection_close(connection, CLOSE_SOCKET, "reading: %s", uv_strerror(status));
    }
}

void connection_advance(KafkaConnection *connection)
{
    if (connection->advancing || connection->parked) {
        return;
    }
    connection->advancing = true;
    while (connection_step(connection)) {
    }
    connection->advancing = false;
    if (!connection->closing) {
        connection_keep_input(connection);
    }
    if (!connection->closing) {
        connection_adjust_reading(connection);
    }
}

void connection_feed(KafkaConnection *connection, Slice bytes)
{
    assert(!connection->stash && !connection->advancing);
    connection->input = bytes;
    connection_advance(connection);
}

static void connection_name_peer(KafkaConnection *connection)
{
    struct sockaddr_storage address;
    int size = sizeof(address);
    char host[INET6_ADDRSTRLEN] = "unknown";
    int port = 0;
    if (uv_tcp_getpeername(&connection->socket, (struct sockaddr *)&address, &size) == 0) {
        const struct sockaddr_in6 *wide = (const struct sockaddr_in6 *)&address;
        const struct sockaddr_in *narrow = (const struct sockaddr_in *)&address;
        bool is_wide = address.ss_family == AF_INET6;
        port = ntohs(is_wide ? wide->sin6_port : narrow->sin_port);
        if (is_wide) {
            uv_ip6_name(wide, host, sizeof(host));
        } else if (address.ss_family == AF_INET) {
            uv_ip4_name(narrow, host, sizeof(host));
        }
    }
    snprintf(connection->peer, sizeof(connection->peer), strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

void connection_open(KafkaConnection *connection)
{
    int64_t now_ms = time_ms();
    connection->active_ms = now_ms;
    connection->written_ms = now_ms;
    connection_name_peer(connection);
    crowd_add(connection->server, connection);
    connection_adjust_reading(connection);
}

/* How long the client has taken nothing of what is there for it. */
static int64_t connection_stalled_ms(KafkaConnection *connection, int64_t now_ms)
{
    size_t unsent = uv_stream_get_write_queue_size((const uv_stream_t *)&connection->socket);
    uint64_t written = connection->submitted - unsent;
    if (unsent == 0 || written != connection->written) {
        connection->written = written;
        connection->written_ms = now_ms;
    }
    return now_ms - connection->written_ms;
}

/* Counted from what has come, not from what is announced: whoever only announces has no more time than
 * others. */
static int64_t frame_allowed_ms(const KafkaConnection *connection)
{
    const KafkaServer *server = connection->server;
    int64_t first_ms = server->options.frame_timeout_ms / (server->parked_first ? SHORT_OF_MEMORY : 1);
    return first_ms + connection->frame.filled / FRAME_BYTES_PER_MS;
}

void connection_shed(KafkaConnection *connection, int64_t before_ms)
{
    if (connection_is_between_frames(connection) && connection->in_flight == 0 && !connection->waiting &&
        connection->active_ms <= before_ms) {
        connection_close(connection, CLOSE_SHUTDOWN, "%s", "");
    }
}

void connection_check_time(KafkaConnection *connection, int64_t now_ms)
{
    const KafkaServerOptions *options = &connection->server->options;
    Frame *frame = &connection->frame;
    int64_t stalled_ms = connection_stalled_ms(connection, now_ms);
    if (server_has_too_much_unsent(connection->server) && stalled_ms >= UNSENT_PATIENCE_MS) {
        connection_close(connection, CLOSE_UNSENT, "no byte of a reply could be sent for %lld ms",
                         (long long)stalled_ms);
    } else if (stalled_ms >= options->write_timeout_ms) {
        connection_close(connection, CLOSE_WRITE_TIMEOUT, "no byte of a reply could be sent for %lld ms",
                         (long long)options->write_timeout_ms);
    } else if (connection->parked) {
        frame->started_ms = now_ms; /* the delay is ours */
    } else if (!connection_is_between_frames(connection)) {
        int64_t allowed_ms = frame_allowed_ms(connection);
        if (now_ms - frame->started_ms >= allowed_ms) {
            connection_close(connection, CLOSE_FRAME_TIMEOUT, "%u of %u bytes after %lld ms", frame->filled,
                             frame->size, (long long)allowed_ms);
        }
    } else if (connection->in_flight == 0 && !connection->waiting) {
        int64_t allowed_ms = connection->served > 0 ? options->idle_timeout_ms : options->frame_timeout_ms;
        if (now_ms - connection->active_ms >= allowed_ms) {
            connection_close(connection, CLOSE_IDLE, "no request for %lld ms", (long long)allowed_ms);
        }
    }
}
