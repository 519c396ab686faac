/* http.c: joins curl's multi interface to a libuv loop. curl says which sockets to watch and when it wants to
 * be called; a slow tick ends calls that do not move, more exactly than curl's own low-speed limit can. */
#include "common/store/http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    TICK_MS = 50,
    EASY_KEPT_MAX = 64,
    RECEIVE_BUFFER_BYTES = 256 * 1024,
    SEND_BUFFER_BYTES = 512 * 1024,
    BODY_FIRST_BYTES = 4096,
    DNS_CACHE_S = 30,
    CONNECTION_IDLE_S = 60
};

struct Http {
    uv_loop_t *loop;
    CURLM *multi;
    uv_timer_t timer; /* curl's */
    uv_timer_t tick;  /* ours; runs while calls do */
    HttpCall *calls;
    CURL *easy[EASY_KEPT_MAX]; /* idle handles, to be used again */
    int easy_count;
    int connections_max;
    char *ca_file;
    uint64_t connections;
    int open_handles; /* of libuv */
    bool is_closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

typedef struct HttpSocket {
    uv_poll_t poll;
    curl_socket_t socket;
    Http *http;
} HttpSocket;

struct HttpCall {
    Http *http;
    HttpCall *next;
    HttpCall **link; /* what points here */
    CURL *easy;
    struct curl_slist *headers;
    HttpCallback *callback;
    void *arg;
    const Slice *slices;
    size_t slice_count;
    size_t slice;  /* being sent */
    size_t offset; /* in it */
    size_t response_max;
    size_t received;
    const char *failure; /* of ours, that curl only reports as an aborted transfer */
    uint64_t moved_ms;
    uint64_t stall_ms;
    uint64_t deadline_at_ms;
    char error[CURL_ERROR_SIZE];
    HttpResponse response;
};

static const char *const header_names[HTTP_HEADER_COUNT] = {
    [HTTP_CONTENT_RANGE] = "content-range:",       [HTTP_CONTENT_LENGTH] = "content-length:",
    [HTTP_RETRY_AFTER] = "retry-after:",           [HTTP_DATE] = "date:",
    [HTTP_BUCKET_REGION] = "x-amz-bucket-region:",
};

static void call_moved(HttpCall *call)
{
    call->moved_ms = uv_now(call->http->loop);
}

static size_t body_size(const Slice *slices, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size += slices[i].size;
    }
    return size;
}

static size_t body_read(char *out, size_t size, size_t count, void *arg)
{
    HttpCall *call = arg;
    size_t room = size * count;
    size_t used = 0;
    while (used < room && call->slice < call->slice_count) {
        Slice slice = call->slices[call->slice];
        size_t left = slice.size - call->offset;
        size_t taken = left < room - used ? left : room - used;
        if (taken > 0) {
            memcpy(out + used, slice.data + call->offset, taken);
        }
        used += taken;
        call->offset += taken;
        if (call->offset == slice.size) {
            call->slice++;
            call->offset = 0;
        }
    }
    call_moved(call);
    return used;
}

/* curl sends again from the start when a kept connection turns out to be dead. */
static int body_seek(void *arg, curl_off_t offset, int origin)
{
    HttpCall *call = arg;
    if (offset != 0 || origin != SEEK_SET) {
        return CURL_SEEKFUNC_CANTSEEK;
    }
    call->slice = 0;
    call->offset = 0;
    return CURL_SEEKFUNC_OK;
}

static size_t header_read(char *data, size_t size, size_t count, void *arg)
{
    HttpCall *call = arg;
    size_t total = size * count;
    if (total >= 5 && memcmp(data, "HTTP/", 5) == 0) {
        memset(call->response.headers, 0, sizeof(call->response.headers));
    }
    for (size_t i = 0; i < HTTP_HEADER_COUNT; i++) {
        size_t name = strlen(header_names[i]);
        if (total <= name || strncasecmp(data, header_names[i], name) != 0) {
            continue;
        }
        const char *value = data + name;
        size_t left = total - name;
        while (left > 0 && (*value == ' ' || *value == '\t')) {
            value++;
            left--;
        }
        while (left > 0 && strchr("\r\n \t", value[left - 1])) {
            left--;
        }
        if (left <= HTTP_HEADER_VALUE_MAX) {
            memcpy(call->response.headers[i], value, left);
            call->response.headers[i][left] = '\0';
        }
    }
    call_moved(call);
    return total;
}

/* Room for size more bytes: as announced at first, doubled after that. */
static bool body_grow(HttpCall *call, size_t size)
{
    Block *old = call->response.body;
    size_t needed = call->received + size;
    if (old && needed <= old->size) {
        return true;
    }
    curl_off_t announced = -1;
    size_t capacity = old ? old->size * 2 : BODY_FIRST_BYTES;
    curl_easy_getinfo(call->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (!old && announced > 0 && (uint64_t)announced <= call->response_max) {
        capacity = (size_t)announced;
    }
    capacity = capacity < needed ? needed : capacity;
    Block *grown = block_new(capacity < call->response_max ? capacity : call->response_max);
    if (!grown) {
        call->failure = "no memory for the answer";
        return false;
    }
    if (old) {
        memcpy(grown->bytes, old->bytes, call->received);
        block_release(old);
    }
    call->response.body = grown;
    return true;
}

static size_t body_write(char *data, size_t size, size_t count, void *arg)
{
    HttpCall *call = arg;
    size_t total = size * count;
    if (total > call->response_max - call->received) {
        call->failure = "the answer is larger than expected";
        return 0;
    }
    if (total > 0 && !body_grow(call, total)) {
        return 0;
    }
    if (total > 0) {
        memcpy(call->response.body->bytes + call->received, data, total);
        call->received += total;
    }
    call_moved(call);
    return total;
}

static void handle_closed(Http *http)
{
    if (--http->open_handles > 0 || !http->is_closing) {
        return;
    }
    void (*closed)(void *arg) = http->closed;
    void *arg = http->closed_arg;
    free(http->ca_file);
    free(http);
    closed(arg);
}

static void socket_closed(uv_handle_t *handle)
{
    HttpSocket *socket = handle->data;
    Http *http = socket->http;
    free(socket);
    handle_closed(http);
}

static void multi_reap(Http *http);

static void socket_ready(uv_poll_t *poll, int status, int events)
{
    HttpSocket *socket = poll->data;
    Http *http = socket->http;
    int running;
    int mask = status < 0 ? CURL_CSELECT_ERR
                          : (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                                (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0);
    /* The socket may be gone after this. */
    curl_multi_socket_action(http->multi, socket->socket, mask, &running);
    multi_reap(http);
}

static HttpSocket *socket_watch(Http *http, curl_socket_t fd)
{
    HttpSocket *socket = calloc(1, sizeof(*socket));
    if (!socket) {
        return NULL;
    }
    if (uv_poll_init_socket(http->loop, &socket->poll, fd) != 0) {
        free(socket);
        return NULL;
    }
    socket->poll.data = socket;
    socket->socket = fd;
    socket->http = http;
    http->open_handles++;
    curl_multi_assign(http->multi, fd, socket);
    return socket;
}

static int socket_wanted(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    (void)easy;
    Http *http = arg;
    HttpSocket *socket = socket_arg;
    if (what == CURL_POLL_REMOVE) {
        if (socket) {
            uv_poll_stop(&socket->poll);
            uv_close((uv_handle_t *)&socket->poll, socket_closed);
            curl_multi_assign(http->multi, fd, NULL);
        }
        return 0;
    }
    socket = socket ? socket : socket_watch(http, fd);
    if (!socket) {
        return -1;
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&socket->poll, events, socket_ready) == 0 ? 0 : -1;
}

static void timer_fired(uv_timer_t *timer)
{
    Http *http = timer->data;
    int running;
    curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    multi_reap(http);
}

static int timer_wanted(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    Http *http = arg;
    if (timeout_ms < 0 || http->is_closing) {
        uv_timer_stop(&http->timer);
    } else {
        uv_timer_start(&http->timer, timer_fired, (uint64_t)timeout_ms, 0);
    }
    return 0;
}

static void call_free(HttpCall *call)
{
    curl_slist_free_all(call->headers);
    block_release(call->response.body);
    free(call);
}

/* Takes the call off curl and the list; its easy handle is kept for the next one. */
static void call_remove(HttpCall *call)
{
    Http *http = call->http;
    long connects = 0;
    curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &connects);
    http->connections += (uint64_t)connects;
    curl_multi_remove_handle(http->multi, call->easy);
    if (http->easy_count < EASY_KEPT_MAX && !http->is_closing) {
        curl_easy_reset(call->easy);
        http->easy[http->easy_count++] = call->easy;
    } else {
        curl_easy_cleanup(call->easy);
    }
    *call->link = call->next;
    if (call->next) {
        call->next->link = call->link;
    }
    if (!http->calls) {
        uv_timer_stop(&http->tick);
    }
}

static void call_fail(HttpCall *call, const char *failure, bool timed_out)
{
    call->response.status = 0;
    call->response.failure = failure;
    call->response.timed_out = timed_out;
}

static void call_finish(HttpCall *call)
{
    call_remove(call);
    if (call->response.body) {
        call->response.body->size = call->received;
    }
    call->callback(&call->response, call->arg);
    call_free(call);
}

static void call_done(HttpCall *call, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status > 0) {
        call->response.status = (int)status;
    } else {
        const char *failure = call->failure    ? call->failure
                              : call->error[0] ? call->error
                                               : curl_easy_strerror(code);
        call_fail(call, failure, code == CURLE_OPERATION_TIMEDOUT);
    }
    call_finish(call);
}

static void multi_reap(Http *http)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left))) {
        HttpCall *call = NULL;
        if (message->msg == CURLMSG_DONE) {
            CURLcode code = message->data.result;
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &call);
            call_done(call, code);
        }
    }
}

/* Ends at most one call, since its callback may end others; the next tick finds the rest. */
static void tick_fired(uv_timer_t *timer)
{
    Http *http = timer->data;
    uint64_t now = uv_now(http->loop);
    for (HttpCall *call = http->calls; call; call = call->next) {
        bool is_late = now >= call->deadline_at_ms;
        if (is_late || now - call->moved_ms >= call->stall_ms) {
            call_fail(call, is_late ? "the deadline passed" : "no byte moved for too long", true);
            uv_timer_start(&http->tick, tick_fired, 0, TICK_MS);
            call_finish(call);
            return;
        }
    }
}

static Status multi_make(Http *http)
{
    http->multi = curl_multi_init();
    if (!http->multi) {
        return status_error(STATUS_INTERNAL, "curl cannot be started");
    }
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, socket_wanted);
    curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, timer_wanted);
    curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)http->connections_max);
    return status_ok();
}

Status http_open(uv_loop_t *loop, int connections_max, const char *ca_file, Http **out)
{
    Http *http = calloc(1, sizeof(*http));
    if (!http || curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        free(http);
        return status_error(STATUS_INTERNAL, "no memory for HTTP");
    }
    http->loop = loop;
    http->connections_max = connections_max;
    http->ca_file = ca_file ? strdup(ca_file) : NULL;
    Status status = multi_make(http);
    if (!status_is_ok(&status)) {
        free(http->ca_file);
        free(http);
        return status;
    }
    uv_timer_init(loop, &http->timer);
    uv_timer_init(loop, &http->tick);
    http->timer.data = http;
    http->tick.data = http;
    http->open_handles = 2;
    *out = http;
    return status_ok();
}

static bool call_set_headers(HttpCall *call, const HttpRequest *request)
{
    /* Empty values take curl's own headers away: no waiting for "100 Continue", no guessed content type. */
    static const char *const none[] = { "Expect:", "Accept:", "Content-Type:" };
    bool has_type = false;
    for (size_t i = 0; i < request->header_count; i++) {
        struct curl_slist *grown = curl_slist_append(call->headers, request->headers[i]);
        if (!grown) {
            return false;
        }
        has_type = has_type || strncasecmp(request->headers[i], none[2], strlen(none[2])) == 0;
        call->headers = grown;
    }
    for (size_t i = 0; i < sizeof(none) / sizeof(*none) - has_type; i++) {
        struct curl_slist *grown = curl_slist_append(call->headers, none[i]);
        if (!grown) {
            return false;
        }
        call->headers = grown;
    }
    return true;
}

static void call_set_method(HttpCall *call, const HttpRequest *request)
{
    CURL *easy = call->easy;
    curl_off_t size = (curl_off_t)body_size(request->slices, request->slice_count);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, body_read);
    curl_easy_setopt(easy, CURLOPT_READDATA, call);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, body_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, call);
    if (strcmp(request->method, "PUT") == 0) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, size);
    } else if (strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POST, 1L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else {
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
    }
}

static void call_set_network(HttpCall *call, const HttpRequest *request)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)request->connect_ms);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, (long)DNS_CACHE_S);
    curl_easy_setopt(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)CONNECTION_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER_BYTES);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    if (request->is_local) {
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    if (call->http->ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, call->http->ca_file);
    }
}

static void call_set_answer(HttpCall *call)
{
    CURL *easy = call->easy;
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_read);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
}

static void call_insert(Http *http, HttpCall *call)
{
    call->next = http->calls;
    call->link = &http->calls;
    if (call->next) {
        call->next->link = &call->next;
    }
    http->calls = call;
    if (!uv_is_active((uv_handle_t *)&http->tick)) {
        uv_timer_start(&http->tick, tick_fired, TICK_MS, TICK_MS);
    }
}

HttpCall *http_send(Http *http, const HttpRequest *request, HttpCallback *callback, void *arg)
{
    HttpCall *call = http->is_closing ? NULL : calloc(1, sizeof(*call));
    if (!call) {
        return NULL;
    }
    call->http = http;
    call->callback = callback;
    call->arg = arg;
    call->slices = request->slices;
    call->slice_count = request->slice_count;
    call->response_max = request->response_max;
    call->stall_ms = (uint64_t)request->stall_ms;
    call->deadline_at_ms = uv_now(http->loop) + (uint64_t)request->deadline_ms;
    call_moved(call);
    call->easy = http->easy_count > 0 ? http->easy[--http->easy_count] : curl_easy_init();
    if (!call->easy || !call_set_headers(call, request)) {
        if (call->easy) {
            curl_easy_cleanup(call->easy);
        }
        call_free(call);
        return NULL;
    }
    call_set_method(call, request);
    call_set_network(call, request);
    call_set_answer(call);
    if (curl_multi_add_handle(http->multi, call->easy) != CURLM_OK) {
        curl_easy_cleanup(call->easy);
        call_free(call);
        return NULL;
    }
    call_insert(http, call);
    return call;
}

void http_cancel(HttpCall *call)
{
    call_remove(call);
    call_free(call);
}

uint64_t http_connections(const Http *http)
{
    return http->connections;
}

static void timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void http_close(Http *http, void (*closed)(void *arg), void *arg)
{
    http->is_closing = true;
    http->closed = closed;
    http->closed_arg = arg;
    while (http->calls) {
        http_cancel(http->calls);
    }
    while (http->easy_count > 0) {
        curl_easy_cleanup(http->easy[--http->easy_count]);
    }
    curl_multi_cleanup(http->multi);
    uv_close((uv_handle_t *)&http->timer, timer_closed);
    uv_close((uv_handle_t *)&http->tick, timer_closed);
}
