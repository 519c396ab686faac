/* store_wait.h: for tests of stores: starts an operation, runs the loop until its callback, and keeps what it
 * said. */
#ifndef STREAMHOUSE_TEST_STORE_WAIT_H
#define STREAMHOUSE_TEST_STORE_WAIT_H

#include <stdlib.h>
#include <string.h>

#include "common/store/store.h"

typedef struct Answer {
    bool done;
    Status status;
    uint8_t *bytes;
    size_t size;
    uint64_t object_bytes;
    bool was_there;
    char keys[4096]; /* "key:bytes key:bytes" */
    bool more;
    unsigned attempts;
    uint64_t elapsed_us;
} Answer;

static inline void answer_keep(const StoreResult *result, void *arg)
{
    Answer *answer = arg;
    answer->done = true;
    answer->status = result->status;
    answer->object_bytes = result->object_bytes;
    answer->was_there = result->was_there;
    answer->more = result->more;
    answer->attempts = result->attempts;
    answer->elapsed_us = result->elapsed_us;
    if (result->block) {
        answer->size = result->block->size;
        answer->bytes = malloc(answer->size + 1);
        memcpy(answer->bytes, result->block->bytes, answer->size);
    }
    for (size_t i = 0; i < result->entry_count; i++) {
        size_t used = strlen(answer->keys);
        snprintf(answer->keys + used, sizeof(answer->keys) - used, "%s%s:%llu", used ? " " : "",
                 result->entries[i].key, (unsigned long long)result->entries[i].bytes);
    }
}

static inline void answer_await(uv_loop_t *loop, Answer *answer)
{
    while (!answer->done) {
        uv_run(loop, UV_RUN_ONCE);
    }
}

static inline void answer_free(Answer *answer)
{
    free(answer->bytes);
    *answer = (Answer){ 0 };
}

/* A refusal looks like an answer that came at once. */
static inline Answer answer_of(Store *store, uv_loop_t *loop, StoreCall *call, Answer *answer)
{
    if (!call) {
        answer->done = true;
        answer->status = *store_refusal(store);
    }
    answer_await(loop, answer);
    return *answer;
}

static inline Answer put_slices(Store *store, uv_loop_t *loop, const char *key, const Slice *slices,
                                size_t count, bool if_absent)
{
    Answer answer = { 0 };
    StorePut put = { .key = key, .slices = slices, .slice_count = count, .if_absent = if_absent };
    return answer_of(store, loop, store_put(store, &put, answer_keep, &answer), &answer);
}

static inline Answer put_text(Store *store, uv_loop_t *loop, const char *key, const char *text)
{
    Slice slice = slice_of_text(text);
    return put_slices(store, loop, key, &slice, 1, true);
}

static inline Answer get_range(Store *store, uv_loop_t *loop, const char *key, uint64_t start,
                               uint64_t length)
{
    Answer answer = { 0 };
    StoreGet get = { .key = key, .start = start, .length = length };
    return answer_of(store, loop, store_get(store, &get, answer_keep, &answer), &answer);
}

static inline Answer head_key(Store *store, uv_loop_t *loop, const char *key)
{
    Answer answer = { 0 };
    return answer_of(store, loop, store_head(store, &(StoreHead){ .key = key }, answer_keep, &answer),
                     &answer);
}

static inline Answer delete_key(Store *store, uv_loop_t *loop, const char *key)
{
    Answer answer = { 0 };
    return answer_of(store, loop, store_delete(store, &(StoreDelete){ .key = key }, answer_keep, &answer),
                     &answer);
}

static inline Answer list_keys(Store *store, uv_loop_t *loop, const char *prefix, const char *after, int max)
{
    Answer answer = { 0 };
    StoreList list = { .prefix = prefix, .start_after = after, .max = max };
    return answer_of(store, loop, store_list(store, &list, answer_keep, &answer), &answer);
}

static inline void closed_note(void *arg)
{
    *(bool *)arg = true;
}

/* Closes the store and the loop; false when anything of the store is left in the loop. */
static inline bool store_and_loop_close(Store *store, uv_loop_t *loop)
{
    bool closed = false;
    store_close(store, closed_note, &closed);
    uv_run(loop, UV_RUN_DEFAULT);
    return closed && uv_loop_close(loop) == 0;
}

#endif
