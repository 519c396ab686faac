/* s3_keys.h: the credentials of an S3 store over time: found when first needed, renewed before they expire
 * and when the server knows them no more. Old ones serve while new ones are fetched, for as long as they are
 * good. */
#ifndef STREAMHOUSE_S3_KEYS_H
#define STREAMHOUSE_S3_KEYS_H

#include "common/store/credentials.h"
#include "common/store/http.h"
#include "common/store/store.h"

enum {
    KEYS_GRACE_S = 5,    /* keys that expire this soon are not signed with any more */
    KEYS_PAUSE_MS = 1000 /* between a failure to get new ones and the next try */
};

typedef enum KeysState {
    KEYS_READY,  /* keys->current may be signed with */
    KEYS_COMING, /* settled() will be called */
    KEYS_FAILED  /* keys->failure; ask again after a while */
} KeysState;

typedef struct S3Keys {
    Http *http;
    uv_loop_t *loop;
    CredentialsChain chain;
    Credentials current;
    unsigned generation; /* of current; 0: none were ever found */
    bool is_stale;       /* the server refused this generation */
    int64_t renew_at_s;
    uint64_t next_try_at_ms;
    Status failure;
    HttpCall *asking;
    Slice body; /* of the request under way */
    StoreMetrics *metrics;
    void (*settled)(void *arg); /* from the loop: a fetch ended, well or not */
    void *settled_arg;
} S3Keys;

void s3_keys_init(S3Keys *keys, Http *http, uv_loop_t *loop, const CredentialsOptions *options,
                  StoreMetrics *metrics);
void s3_keys_free(S3Keys *keys);

KeysState s3_keys_get(S3Keys *keys, int64_t now_s);

/* The server refused keys of this generation: fetch others. */
void s3_keys_refused(S3Keys *keys, unsigned generation);

#endif
