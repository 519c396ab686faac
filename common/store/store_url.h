/* store_url.h: what a store's URL and an endpoint's URL say. */
#ifndef STREAMHOUSE_STORE_URL_H
#define STREAMHOUSE_STORE_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/status.h"

enum { STORE_BUCKET_MAX = 63, STORE_PREFIX_MAX = 200, STORE_PATH_MAX = 1024, ENDPOINT_HOST_MAX = 253 };

typedef struct StoreUrl {
    bool is_folder;
    char path[STORE_PATH_MAX];         /* folder: absolute */
    char bucket[STORE_BUCKET_MAX + 1]; /* S3 */
    char prefix[STORE_PREFIX_MAX + 1]; /* S3: "" or a key's parts without slashes at the ends */
} StoreUrl;

/* s3://bucket[/prefix] or file:///folder. */
MUST_CHECK Status store_url_parse(const char *text, StoreUrl *url);

typedef struct Endpoint {
    bool is_secure;
    char host[ENDPOINT_HOST_MAX + 1]; /* lower case; an IPv6 address in brackets */
    uint16_t port;                    /* the scheme's own when none was given */
} Endpoint;

/* http[s]://host[:port][/]; user names, paths and queries are refused. */
MUST_CHECK Status endpoint_parse(const char *text, Endpoint *endpoint);

/* "host" or, with a port that is not the scheme's own, "host:port": the Host header's form. */
void endpoint_host(const Endpoint *endpoint, char *out, size_t size);

#endif
