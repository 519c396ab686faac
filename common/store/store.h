/* store.h: objects in an S3 bucket or in a folder, behind one interface. Objects are written once, read by
 * range, and never changed.
 *
 * Driven by a libuv loop; one thread owns a Store and everything here is called on it. Every operation ends
 * in exactly one callback, called from the loop and never from within the call that started it. What needs
 * neither libuv nor threads (signing, responses, credentials, the folder's system calls) lives in files of
 * its own beside this one, for callers that block: folder.h, s3_request.h, s3_response.h, credentials.h.
 *
 * URLs: s3://bucket/prefix and file:///absolute/folder. A key is relative to the prefix or the folder: 1 to
 * STORE_KEY_MAX bytes of [A-Za-z0-9._-] in parts joined by single '/', no part beginning
 * with '.'. */
#ifndef STREAMHOUSE_STORE_H
#define STREAMHOUSE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "common/block.h"
#include "common/slice.h"
#include "common/status.h"

typedef struct Store Store;

/* One operation under way. Valid from the call that started it until its callback returns. */
typedef struct StoreCall StoreCall;

enum {
    STORE_KEY_MAX = 512,
    STORE_LIST_MAX = 1000,              /* entries of one page */
    STORE_GET_MAX = 256 * 1024 * 1024,  /* bytes of one GET */
    STORE_PUT_MAX = 1024 * 1024 * 1024, /* bytes of one PUT; S3 itself stops at 5 GiB */
    STORE_TAIL_DEFAULT = 4096,          /* bytes compared when an object is there already */
    STORE_LATENCY_BUCKETS = 16
};

typedef enum StoreOperation {
    STORE_PUT,
    STORE_GET,
    STORE_HEAD,
    STORE_DELETE,
    STORE_LIST,
    STORE_OPERATION_COUNT
} StoreOperation;

/* How the bucket is named in a request. */
typedef enum StoreAddressing {
    STORE_ADDRESSING_AUTO, /* path with an endpoint of one's own or a bucket with a dot in its name, virtual
                              otherwise */
    STORE_ADDRESSING_PATH, /* https://endpoint/bucket/key */
    STORE_ADDRESSING_VIRTUAL, /* https://bucket.endpoint/key */
    STORE_ADDRESSING_COUNT
} StoreAddressing;

/* What proves to the server that a PUT's bytes arrived whole. CPU: crc32c is nearly free, sha256 0.6 s/GB,
 * md5 1.4 s/GB. */
typedef enum StoreChecksum {
    STORE_CHECKSUM_AUTO,   /* crc32c over https, sha256 over http: every S3 server checks that one */
    STORE_CHECKSUM_SHA256, /* the body's SHA-256 is signed (x-amz-content-sha256) */
    STORE_CHECKSUM_CRC32C, /* x-amz-checksum-crc32c, signed; some servers ignore it, then only TLS or TCP
                              protects the body */
    STORE_CHECKSUM_MD5,    /* Content-MD5 */
    STORE_CHECKSUM_NONE,   /* nothing but TLS or TCP */
    STORE_CHECKSUM_COUNT
} StoreChecksum;

/* Whether the server honours If-None-Match on PUT (AWS, Ceph, MinIO do; OpenStack Swift does not). */
typedef enum StoreConditional {
    STORE_CONDITIONAL_AUTO, /* believed until store_probe(), or a 501 to such a PUT, says otherwise */
    STORE_CONDITIONAL_ON,
    STORE_CONDITIONAL_OFF, /* if_absent becomes HEAD, then PUT: not atomic */
    STORE_CONDITIONAL_COUNT
} StoreConditional;

/* The enums' words ("auto", "path" …), indexed by value, for settings tables. */
extern const char *const store_addressing_names[STORE_ADDRESSING_COUNT];
extern const char *const store_checksum_names[STORE_CHECKSUM_COUNT];
extern const char *const store_conditional_names[STORE_CONDITIONAL_COUNT];

/* NULL and 0 mean the default. Strings are copied. Credentials are no option: they come from the chain in
 * credentials.h (environment, web identity, profile file, container metadata, instance metadata) and are
 * renewed before they expire. */
typedef struct StoreOptions {
    const char *url;      /* required */
    const char *endpoint; /* http[s]://host[:port]; default AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the
                             profile's, then AWS's */
    const char *region;   /* default AWS_REGION, AWS_DEFAULT_REGION, the profile's, then us-east-1 */
    const char *profile;  /* default AWS_PROFILE, then "default" */
    const char *ca_file;  /* PEM file for https; default the system's */
    StoreAddressing addressing;
    StoreChecksum checksum;
    StoreConditional conditional;
    int put_parallel_max;   /* PUTs under way at once; default 8 */
    int get_parallel_max;   /* GETs and HEADs under way at once; default 16 */
    int job_parallel_max;   /* DELETEs and LISTs under way at once; default 4 */
    int queue_max;          /* operations waiting for a turn, of each of these three kinds; default 1024 */
    int deadline_ms;        /* of an operation that names none; default 30000 */
    int attempt_timeout_ms; /* S3: of one attempt without progress, connecting included; default 10000 */
    int retry_base_ms; /* S3: the first retry waits 0 to this long, then doubling up to 5 s; default 50 */
    const char *(*environment)(const char *name, void *context); /* default getenv */
    void *environment_context;
} StoreOptions;

typedef struct StoreEntry {
    const char *key;
    uint64_t bytes;
} StoreEntry;

/* What a callback learns. Borrowed: valid until the callback returns (block_hold() keeps the block). */
typedef struct StoreResult {
    Status status;
    Block *block; /* GET: the bytes, block->size of them; NULL otherwise */
    uint64_t
        object_bytes; /* GET, HEAD: size of the whole object (GET of a folder or S3 object; 0 if unknown) */
    bool was_there;   /* PUT: the object was stored before this answer, by a try whose reply was lost */
    const StoreEntry *entries; /* LIST: in byte order of keys */
    size_t entry_count;
    bool more;           /* LIST: ask again with start_after = the last key */
    unsigned attempts;   /* S3: requests sent; folder: 1 */
    uint64_t elapsed_us; /* since the call, waiting included */
} StoreResult;

typedef void (*StoreCallback)(const StoreResult *result, void *arg);

/* Writes an object. The bytes behind the slices stay untouched until the callback (not copied; the array
 * itself is). OK: every byte is durable. EXISTS: if_absent, and another object has the key. UNAVAILABLE,
 * TIMEOUT, CANCELLED: it may or may not be stored, now or a little later. DENIED, NOT_FOUND (no such bucket),
 * INVALID, INTERNAL: not stored. */
typedef struct StorePut {
    const char *key;
    const Slice *slices;
    size_t slice_count;
    int deadline_ms; /* from now */
    bool if_absent;  /* never overwrite; an object that is there counts as ours when its size and tail are the
                        same */
    bool key_is_unique; /* nobody else ever writes this key: without conditional PUT, skip the HEAD before the
                           PUT */
    size_t tail_bytes;  /* how much of the tail is compared; default STORE_TAIL_DEFAULT, at most that */
} StorePut;

/* Reads bytes start .. start + length - 1. An object that ends earlier gives fewer, or STATUS_INVALID when it
 * has none of them. NOT_FOUND: no such object. length 0: to the end, at most STORE_GET_MAX. */
typedef struct StoreGet {
    const char *key;
    uint64_t start;
    uint64_t length;
    int deadline_ms;
} StoreGet;

/* OK or NOT_FOUND, and object_bytes. */
typedef struct StoreHead {
    const char *key;
    int deadline_ms;
} StoreHead;

/* OK whether the object was there or not. */
typedef struct StoreDelete {
    const char *key;
    int deadline_ms;
} StoreDelete;

/* One page of keys that begin with prefix and come after start_after. */
typedef struct StoreList {
    const char *prefix;      /* NULL: all */
    const char *start_after; /* NULL: from the first */
    int max;                 /* entries wanted; default and most STORE_LIST_MAX */
    int deadline_ms;
} StoreList;

/* Checks the options and makes the store; no request is sent, no folder read (the folder is created when it
 * is missing). */
MUST_CHECK Status store_open(const StoreOptions *options, uv_loop_t *loop, Store **store);

/* Each returns NULL, and calls nothing back, when the queue is full, memory is short, the store is closing,
 * or an argument is malformed; store_refusal() says which. */
StoreCall *store_put(Store *store, const StorePut *put, StoreCallback callback, void *arg);
StoreCall *store_get(Store *store, const StoreGet *get, StoreCallback callback, void *arg);
StoreCall *store_head(Store *store, const StoreHead *head, StoreCallback callback, void *arg);
StoreCall *store_delete(Store *store, const StoreDelete *remove, StoreCallback callback, void *arg);
StoreCall *store_list(Store *store, const StoreList *list, StoreCallback callback, void *arg);

/* Why the last call returned NULL: LIMIT, INVALID, CANCELLED or INTERNAL. */
const Status *store_refusal(const Store *store);

/* Hastens the end of an operation: its callback comes soon, with CANCELLED unless it had ended already. A
 * folder's system call under way is not interrupted, neither by this nor by a deadline, and its callback
 * waits for it, because it uses the caller's bytes. */
void store_cancel(StoreCall *call);

/* Writes, reads, and removes a small object, and learns whether conditional PUT holds. For readiness: the
 * callback's status is OK, or says what is wrong and what to do. False, and no callback, when it cannot
 * begin: store_refusal(). */
MUST_CHECK bool store_probe(Store *store, int deadline_ms, StoreCallback callback, void *arg);

/* False once the server was seen to ignore or refuse If-None-Match (always true of a folder). */
bool store_is_conditional(const Store *store);

/* Cancels everything, calls every callback, then closed(arg), after which the store is gone and the loop
 * holds nothing of it. */
void store_close(Store *store, void (*closed)(void *arg), void *arg);

/* "s3://bucket/prefix at https://host" or "file:///dir"; never a secret. */
const char *store_describe(const Store *store);

typedef struct StoreLatency {
    uint64_t count;
    uint64_t sum_us;
    uint64_t buckets[STORE_LATENCY_BUCKETS]; /* not cumulative; the last has no bound */
} StoreLatency;

/* Upper bounds of the first STORE_LATENCY_BUCKETS - 1 buckets, in microseconds. */
extern const uint64_t store_latency_bounds_us[STORE_LATENCY_BUCKETS - 1];

/* Counters only rise; the last five are gauges. */
typedef struct StoreMetrics {
    uint64_t requests[STORE_OPERATION_COUNT][STATUS_INTERNAL + 1]; /* ended operations, by status */
    uint64_t retries[STORE_OPERATION_COUNT];                       /* attempts beyond the first */
    StoreLatency latency[STORE_OPERATION_COUNT];                   /* of whole operations */
    uint64_t bytes_put;                                            /* object bytes of PUTs that ended well */
    uint64_t bytes_got;                                            /* object bytes of GETs that ended well */
    uint64_t slowdowns;                                            /* answers that asked for fewer requests */
    uint64_t lost_replies;                                         /* PUTs found stored by an earlier try */
    uint64_t refused; /* calls turned away because a queue was full */
    uint64_t credential_refreshes;
    uint64_t credential_failures;
    uint64_t connections;  /* S3: opened */
    uint64_t folder_syncs; /* folder: fsyncs of folders */
    int running[STORE_OPERATION_COUNT];
    int queued[STORE_OPERATION_COUNT];
    int put_parallel; /* PUTs now allowed at once: below put_parallel_max while the server says SlowDown */
    int get_parallel; /* GETs and HEADs likewise: the caller's sign to ask for less */
    int64_t credentials_expire_at_s; /* Unix time; 0: never or unknown */
} StoreMetrics;

/* Up to date; borrowed. */
const StoreMetrics *store_metrics(const Store *store);

#endif
