/* s3_internal.h: what the S3 driver's files share: s3_driver.c (the course of an operation), s3_errand.c
 * (what its errands ask and make of the answers), s3_open.c (making and closing the driver). For nobody else.
 */
#ifndef STREAMHOUSE_S3_INTERNAL_H
#define STREAMHOUSE_S3_INTERNAL_H

#include "common/store/http.h"
#include "common/store/s3_keys.h"
#include "common/store/s3_request.h"
#include "common/store/s3_response.h"
#include "common/store/store_internal.h"

typedef enum S3Errand {
    ERRAND_OPERATION,
    ERRAND_LOOK,   /* HEAD before an unconditional PUT: is the key free? */
    ERRAND_COMPARE /* the key is taken: by our own bytes? */
} S3Errand;

/* READY is between the others. */
typedef enum S3State {
    S3_READY,
    S3_HASHING,
    S3_WAITING_FOR_KEYS,
    S3_SENDING,
    S3_PAUSED,
    S3_STATE_COUNT
} S3State;

typedef struct S3Call S3Call;

typedef struct S3Driver {
    Store *store;
    Http *http;
    S3Target target;
    S3Keys keys;
    StoreChecksum checksum;
    int64_t skew_s;   /* the server's clock less ours */
    S3Call *idle;     /* calls that are paused or wait for keys */
    uv_timer_t timer; /* to the first pause's end */
    uint64_t random;
} S3Driver;

struct S3Call {
    StoreCall *call;
    S3Driver *driver;
    S3Call *next; /* in driver->idle */
    S3State state;
    S3Errand errand;
    HttpCall *http;
    uv_work_t work; /* HASHING */
    Status hashed;
    char payload[S3_HEX_SIZE]; /* "", or what proves the body, by the checksum in use */
    char md5[S3_MD5_SIZE];
    char crc32c[S3_CRC32C_SIZE];
    Arena arena; /* of one request */
    bool was_looked;
    bool was_renewed;
    bool was_skewed;
    unsigned generation; /* of the keys the request was signed with */
    unsigned failures;
    uint64_t resume_at_ms;
    Status last; /* the last failure, for when the deadline comes */
};

/* The request that the errand at hand is. */
S3Order s3_errand_order(const S3Call *s3);

/* Bytes its answer may have. */
size_t s3_errand_answer_max(const S3Call *s3);

/* What a good answer to the operation itself makes of it; fills the call's result. */
Status s3_errand_finish(S3Call *s3, const HttpResponse *response);

/* Whether a good answer to ERRAND_COMPARE shows the object that was to be PUT. */
bool s3_errand_is_ours(const S3Call *s3, const HttpResponse *response);

Slice s3_response_bytes(const HttpResponse *response);

/* For s3_open.c. */
extern const StoreDriver s3_driver;
void s3_keys_settled(void *arg);

#endif
