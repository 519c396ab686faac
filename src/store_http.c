/* store_http.c: HTTP by curl within a backend. The connection is kept from request to request. A query that
 * is cancelled, or times out, ends the request within SLICE_MS.
 *
 * Whatever an ERROR could leave behind is in static variables and cleaned up by the next request. Name
 * look-ups run in a thread of curl's; it must not take the server's signals, so they are blocked while curl
 * may start one. */
#include "compat.h"
#include "store_http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <strings.h>

#include "setting.h"
#include "utils/timestamp.h"

enum {
    SLICE_MS = 10,
    CONNECT_MS = 5000,
    STALL_S = 10,
    DNS_CACHE_S = 30,
    CONNECTION_IDLE_S = 60,
    RECEIVE_BUFFER_BYTES = 256 * 1024,
    BODY_FIRST_BYTES = 4096
};

static const char *const header_names[STORE_HTTP_HEADER_COUNT] = {
    [STORE_HTTP_CONTENT_RANGE] = "content-range:",
    [STORE_HTTP_RETRY_AFTER] = "retry-after:",
    [STORE_HTTP_DATE] = "date:",
    [STORE_HTTP_BUCKET_REGION] = "x-amz-bucket-region:",
};

/* The one request, and what outlives it. */
static CURLM *multi;
static CURL *easy;
static bool is_sending; /* easy is with multi */
static struct curl_slist *header_lines;
static char curl_message[CURL_ERROR_SIZE];
static size_t response_max;
static StoreHttpAnswer answer;
static size_t received;
static const char *refusal; /* why we ended it ourselves */

Slice store_http_body(const StoreHttpAnswer *of)
{
    return of->body ? slice_of(of->body->bytes, of->body->size) : SLICE_LITERAL("");
}

static size_t header_read(char *data, size_t size, size_t count, void *arg)
{
    size_t total = size * count;
    if (total >= strlen("HTTP/") && memcmp(data, "HTTP/", strlen("HTTP/")) == 0) {
        memset(answer.headers, 0, sizeof(answer.headers));
    }
    for (int i = 0; i < STORE_HTTP_HEADER_COUNT; i++) {
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
        while (left > 0 && memchr("\r\n \t", value[left - 1], 4)) {
            left--;
        }
        if (left <= STORE_HTTP_HEADER_MAX) {
            memcpy(answer.headers[i], value, left);
            answer.headers[i][left] = '\0';
        }
    }
    return total;
}

/* Room for size more bytes: as announced at first, doubled after that. */
static bool body_grow(size_t size)
{
    curl_off_t announced = -1;
    size_t needed = received + size;
    size_t capacity = answer.body ? answer.body->size * 2 : BODY_FIRST_BYTES;
    if (answer.body && needed <= answer.body->size) {
        return true;
    }
    curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (!answer.body && announced > 0 && (uint64)announced <= response_max) {
        capacity = (size_t)announced;
    }
    capacity = Min(Max(capacity, needed), response_max);
    Block *grown = answer.body ? block_resize(answer.body, capacity) : block_new(capacity);
    if (!grown) {
        refusal = "no memory for the answer";
        return false;
    }
    answer.body = grown;
    return true;
}

static size_t body_write(char *data, size_t size, size_t count, void *arg)
{
    size_t total = size * count;
    if (total > response_max - received) {
        refusal = "the answer is larger than expected";
        return 0;
    }
    if (total > 0) {
        if (!body_grow(total)) {
            return 0;
        }
        memcpy(answer.body->bytes + received, data, total);
        received += total;
    }
    return total;
}

/* Forgets the request before, however it ended. */
static void http_clear(void)
{
    if (is_sending) {
        curl_multi_remove_handle(multi, easy);
        is_sending = false;
    }
    curl_slist_free_all(header_lines);
    header_lines = NULL;
    block_release(answer.body);
    answer = (StoreHttpAnswer){ 0 };
    received = 0;
    refusal = NULL;
    curl_message[0] = '\0';
}

static bool http_open(void)
{
    if (!easy) {
        curl_global_init(CURL_GLOBAL_DEFAULT);
        easy = curl_easy_init();
    }
    if (!multi) {
        multi = curl_multi_init();
    }
    return easy && multi;
}

static void easy_set_method(const StoreHttpRequest *request)
{
    if (strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.size);
        curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS,
                         request->body.data ? (const char *)request->body.data : "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static bool easy_set_headers(const StoreHttpRequest *request)
{
    for (size_t i = 0; i < request->header_count; i++) {
        struct curl_slist *longer = curl_slist_append(header_lines, request->headers[i]);
        if (!longer) {
            return false;
        }
        header_lines = longer;
    }
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, header_lines);
    return true;
}

static void easy_set(const StoreHttpRequest *request)
{
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_URL, request->url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, (long)DNS_CACHE_S);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)CONNECTION_IDLE_S);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER_BYTES);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    if (request->is_local) {
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
    if (setting_s3_ca_file && *setting_s3_ca_file) {
        curl_easy_setopt(easy, CURLOPT_CAINFO, setting_s3_ca_file);
    }
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, header_read);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, body_write);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, curl_message);
}

static CURLMcode perform(int *running)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    CURLMcode code = curl_multi_perform(multi, running);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

static const StoreHttpAnswer *http_failed(const char *why, bool timed_out)
{
    answer.status = 0;
    answer.timed_out = timed_out;
    strlcpy(answer.failure, why, sizeof(answer.failure));
    return &answer;
}

/* How the transfer ended, which has. */
static const StoreHttpAnswer *http_finish(CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK) {
        const char *why = refusal ? refusal : *curl_message ? curl_message : curl_easy_strerror(code);
        return http_failed(why, code == CURLE_OPERATION_TIMEDOUT);
    }
    answer.status = (int)status;
    if (answer.body && received < answer.body->size) {
        Block *fitting = block_resize(answer.body, received);
        if (!fitting) {
            return http_failed("no memory for the answer", false);
        }
        answer.body = fitting;
    }
    return &answer;
}

static const StoreHttpAnswer *http_run(TimestampTz deadline)
{
    int running = 1;
    int left;
    for (;;) {
        CURLMcode code = perform(&running);
        if (code != CURLM_OK) {
            return http_failed(curl_multi_strerror(code), false);
        }
        if (running == 0) {
            break;
        }
        if (GetCurrentTimestamp() >= deadline) {
            return http_failed("the time that streamhouse.fetch_timeout gives is over", true);
        }
        (void)curl_multi_poll(multi, NULL, 0, SLICE_MS, NULL);
        CHECK_FOR_INTERRUPTS();
    }
    CURLMsg *message = curl_multi_info_read(multi, &left);
    return http_finish(message ? message->data.result : CURLE_GOT_NOTHING);
}

const StoreHttpAnswer *store_http_send(const StoreHttpRequest *request)
{
    http_clear();
    if (!http_open()) {
        return http_failed("curl cannot be started", false);
    }
    easy_set(request);
    easy_set_method(request);
    response_max = request->response_max;
    if (!easy_set_headers(request) || curl_multi_add_handle(multi, easy) != CURLM_OK) {
        return http_failed("no memory for a request", false);
    }
    is_sending = true;
    const StoreHttpAnswer *ended = NULL;
    PG_TRY();
    {
        ended = http_run(request->deadline);
    }
    PG_CATCH();
    {
        http_clear(); /* closes the connection at once: the server need not go on sending */
        PG_RE_THROW();
    }
    PG_END_TRY();
    curl_multi_remove_handle(multi, easy);
    is_sending = false;
    return ended;
}
