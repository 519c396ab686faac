/* s3_errand.c: what the errands of an operation ask of S3, and what their answers mean for it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/s3_internal.h"

enum { ERROR_BYTES_MAX = 64 * 1024, LIST_BYTES_MAX = 4 * 1024 * 1024 };

static const char *text_or_null(const char *text)
{
    return *text ? text : NULL;
}

static S3Order order_of_put(const S3Call *s3)
{
    bool is_signed = s3->driver->checksum == STORE_CHECKSUM_SHA256;
    return (S3Order){ .method = "PUT",
                      .key = s3->call->key,
                      .if_absent = s3->call->if_absent && s3->driver->store->is_conditional,
                      .payload = is_signed ? s3->payload : S3_UNSIGNED_PAYLOAD,
                      .content_md5 = text_or_null(s3->md5),
                      .checksum_crc32c = text_or_null(s3->crc32c) };
}

static S3Order order_of_get(const S3Call *s3)
{
    const StoreCall *call = s3->call;
    uint64_t length = call->length == 0 && call->start > 0 ? STORE_GET_MAX : call->length;
    return (S3Order){ .method = "GET", .key = call->key, .range_start = call->start, .range_length = length };
}

static S3Order order_of_head(const S3Call *s3)
{
    return (S3Order){ .method = "HEAD", .key = s3->call->key };
}

static S3Order order_of_delete(const S3Call *s3)
{
    return (S3Order){ .method = "DELETE", .key = s3->call->key };
}

static S3Order order_of_list(const S3Call *s3)
{
    StoreCall *call = s3->call;
    return (S3Order){ .method = "GET",
                      .query = s3_list_query(&s3->driver->target, call->key, call->start_after, call->max,
                                             &call->arena) };
}

static size_t compare_bytes(const StoreCall *call)
{
    return call->bytes < call->tail_bytes ? (size_t)call->bytes : call->tail_bytes;
}

/* The tail, and with it the size of the whole; an empty object has no tail to ask for. */
static S3Order order_of_compare(const S3Call *s3)
{
    size_t tail = compare_bytes(s3->call);
    return (S3Order){ .method = tail ? "GET" : "HEAD",
                      .key = s3->call->key,
                      .range_start = s3->call->bytes - tail,
                      .range_length = tail };
}

S3Order s3_errand_order(const S3Call *s3)
{
    static S3Order (*const orders[STORE_OPERATION_COUNT])(const S3Call *) = {
        [STORE_PUT] = order_of_put,       [STORE_GET] = order_of_get,   [STORE_HEAD] = order_of_head,
        [STORE_DELETE] = order_of_delete, [STORE_LIST] = order_of_list,
    };
    return s3->errand == ERRAND_LOOK      ? order_of_head(s3)
           : s3->errand == ERRAND_COMPARE ? order_of_compare(s3)
                                          : orders[s3->call->operation](s3);
}

size_t s3_errand_answer_max(const S3Call *s3)
{
    const StoreCall *call = s3->call;
    if (call->operation == STORE_LIST) {
        return LIST_BYTES_MAX;
    }
    if (call->operation != STORE_GET) {
        return ERROR_BYTES_MAX;
    }
    uint64_t wanted = call->length ? call->length : STORE_GET_MAX;
    return wanted > ERROR_BYTES_MAX ? wanted : ERROR_BYTES_MAX;
}

Slice s3_response_bytes(const HttpResponse *response)
{
    return response->body ? slice_of(response->body->bytes, response->body->size) : SLICE_LITERAL("");
}

static Status broken_answer(const S3Call *s3, const char *what)
{
    return status_error(STATUS_CORRUPT, "%s: the object store %s", s3->call->key, what);
}

/* The body becomes the result; a server that ignores Range, or answers another one, is found out. */
static Status get_done(S3Call *s3, const HttpResponse *response)
{
    StoreCall *call = s3->call;
    StoreResult *result = &call->result;
    uint64_t start, end;
    size_t size = response->body ? response->body->size : 0;
    if (response->status == 206) {
        if (!s3_content_range_parse(response->headers[HTTP_CONTENT_RANGE], &start, &end,
                                    &result->object_bytes) ||
            start != call->start || end - start + 1 != size) {
            return broken_answer(s3, "answered another range than was asked for");
        }
    } else if (call->start > 0) {
        return broken_answer(s3, "ignores ranges");
    } else {
        result->object_bytes = size;
    }
    if (call->length > 0 && size > call->length) {
        return broken_answer(s3, "answered more bytes than were asked for");
    }
    result->block = response->body ? block_hold(response->body) : block_new(0);
    return result->block ? status_ok() : status_error(STATUS_INTERNAL, "no memory for an empty object");
}

static Status head_done(S3Call *s3, const HttpResponse *response)
{
    s3->call->result.object_bytes = strtoull(response->headers[HTTP_CONTENT_LENGTH], NULL, 10);
    return status_ok();
}

static Status list_done(S3Call *s3, const HttpResponse *response)
{
    StoreCall *call = s3->call;
    S3Listing listing;
    Status status =
        s3_listing_parse(s3_response_bytes(response), s3->driver->target.prefix, &call->arena, &listing);
    call->result.entries = listing.entries;
    call->result.entry_count = status_is_ok(&status) ? listing.count : 0;
    call->result.more = listing.more;
    return status;
}

static Status nothing_done(S3Call *s3, const HttpResponse *response)
{
    (void)s3, (void)response;
    return status_ok();
}

/* Whether the tail that came is the tail of our slices. */
static bool tail_equals(const StoreCall *call, Slice tail)
{
    for (size_t i = call->slice_count; i > 0 && tail.size > 0; i--) {
        Slice ours = call->slices[i - 1];
        size_t size = ours.size < tail.size ? ours.size : tail.size;
        if (size > 0 && memcmp(ours.data + ours.size - size, tail.data + tail.size - size, size) != 0) {
            return false;
        }
        tail.size -= size;
    }
    return tail.size == 0;
}

bool s3_errand_is_ours(const S3Call *s3, const HttpResponse *response)
{
    const StoreCall *call = s3->call;
    uint64_t start, end, bytes;
    Slice tail = s3_response_bytes(response);
    if (compare_bytes(call) == 0) {
        return strcmp(response->headers[HTTP_CONTENT_LENGTH], "0") == 0;
    }
    if (response->status == 206) {
        return s3_content_range_parse(response->headers[HTTP_CONTENT_RANGE], &start, &end, &bytes) &&
               bytes == call->bytes && tail.size == compare_bytes(call) && tail_equals(call, tail);
    }
    return tail.size == call->bytes && tail_equals(call, tail);
}

Status s3_errand_finish(S3Call *s3, const HttpResponse *response)
{
    static Status (*const dones[STORE_OPERATION_COUNT])(S3Call *, const HttpResponse *) = {
        [STORE_PUT] = nothing_done,    [STORE_GET] = get_done,   [STORE_HEAD] = head_done,
        [STORE_DELETE] = nothing_done, [STORE_LIST] = list_done,
    };
    return dones[s3->call->operation](s3, response);
}
