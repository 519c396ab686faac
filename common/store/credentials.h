/* credentials.h: finds AWS credentials where AWS's own tools look, in the same order: environment, web
 * identity, profile files, container metadata, instance metadata (version 2).
 *
 * A chain sends nothing itself. It says which HTTP request to send and is told the answer, so that an event
 * loop, a blocking caller and a test drive the same code:
 *
 *   for (next = credentials_begin(chain, now); next == CREDENTIALS_ASK; next = credentials_answer(chain,
 * status, body, now)) send chain->request;
 *
 * Secrets never enter a Status. Sources not known: credential_process, SSO, source_profile; the failure says
 * so. */
#ifndef STREAMHOUSE_CREDENTIALS_H
#define STREAMHOUSE_CREDENTIALS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "common/slice.h"
#include "common/status.h"

enum {
    CREDENTIALS_KEY_MAX = 128,
    CREDENTIALS_SECRET_MAX = 255,
    CREDENTIALS_TOKEN_MAX = 8192,
    CREDENTIALS_HEADERS_MAX = 2,
    CREDENTIALS_ANSWER_MAX = 64 * 1024, /* bytes of an answer worth reading */
    CREDENTIALS_RENEW_S = 300           /* this long before they expire, new ones are asked for */
};

typedef struct Credentials {
    char access_key[CREDENTIALS_KEY_MAX + 1];
    char secret_key[CREDENTIALS_SECRET_MAX + 1];
    char session_token[CREDENTIALS_TOKEN_MAX + 1]; /* "": none */
    int64_t expires_at_s;                          /* Unix time; 0: never */
} Credentials;

/* When to ask for new ones: CREDENTIALS_RENEW_S before the end, or after three quarters of a shorter life. */
int64_t credentials_renew_at(const Credentials *credentials, int64_t got_at_s);

typedef struct CredentialsOptions {
    const char *(*environment)(const char *name, void *context); /* NULL: getenv */
    void *context;
    const char *profile; /* NULL: AWS_PROFILE, then "default" */
    const char *region;  /* of the STS endpoint */
} CredentialsOptions;

typedef struct CredentialsRequest {
    const char *method;
    const char *url;
    const char *headers[CREDENTIALS_HEADERS_MAX]; /* "Name: value" */
    size_t header_count;
    Slice body;
    bool is_local; /* a metadata service of this machine: never through a proxy */
    int timeout_ms;
} CredentialsRequest;

typedef enum CredentialsNext {
    CREDENTIALS_FOUND,   /* chain->credentials */
    CREDENTIALS_ASK,     /* send chain->request, then credentials_answer() */
    CREDENTIALS_NONE,    /* chain->status says why */
    CREDENTIALS_NOT_HERE /* between sources only: this one is not set up here */
} CredentialsNext;

typedef struct CredentialsChain CredentialsChain;
typedef CredentialsNext CredentialsStep(CredentialsChain *chain, int http_status, Slice body);

struct CredentialsChain {
    CredentialsOptions options; /* strings are borrowed */
    Credentials credentials;
    CredentialsRequest request; /* valid until the next call */
    Status status;
    const char *source; /* "environment", "profile" … of what was found or is being asked */
    /* Private. */
    CredentialsStep *step;
    Arena arena;
    int64_t now_s;
    const char *metadata_token;
};

void credentials_chain_init(CredentialsChain *chain, const CredentialsOptions *options);
void credentials_chain_free(CredentialsChain *chain);

CredentialsNext credentials_begin(CredentialsChain *chain, int64_t now_s);

/* http_status 0: no answer. */
CredentialsNext credentials_answer(CredentialsChain *chain, int http_status, Slice body, int64_t now_s);

/* The value, or NULL when unset or empty. */
const char *credentials_environment(const CredentialsOptions *options, const char *name);

/* Checks and copies; token NULL: none; expiration NULL: never. DENIED when something is missing or malformed.
 */
MUST_CHECK Status credentials_set(Credentials *credentials, const char *key, const char *secret,
                                  const char *token, const char *expiration);

/* {"AccessKeyId": …, "SecretAccessKey": …, "Token": …, "Expiration": …}, as both kinds of metadata service
 * give it. */
MUST_CHECK Status credentials_parse_json(Slice json, Credentials *credentials);

/* The answer of STS to AssumeRoleWithWebIdentity. */
MUST_CHECK Status credentials_parse_xml(Slice xml, Credentials *credentials);

/* 2013-05-24T00:00:00[.123]Z; false when it is something else. */
bool credentials_parse_time(const char *text, int64_t *unix_s);

#endif
