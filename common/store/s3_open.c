/* s3_open.c: makes an S3 store's driver from options, environment and profile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/profile.h"
#include "common/store/s3_internal.h"

enum { CREDENTIAL_CONNECTIONS = 2 };

/* Where the region and the endpoint come from when the options are silent, in this order. */
static void options_complete(Store *store, const CredentialsOptions *environment)
{
    Arena arena;
    Profile profile;
    StoreOptions *options = &store->options;
    arena_init(&arena, PROFILE_ARENA_BYTES);
    profile_read(environment, &arena, &profile);
    const char *regions[] = { options->region, credentials_environment(environment, "AWS_REGION"),
                              credentials_environment(environment, "AWS_DEFAULT_REGION"), profile.region,
                              "us-east-1" };
    const char *endpoints[] = { options->endpoint,
                                credentials_environment(environment, "AWS_ENDPOINT_URL_S3"),
                                credentials_environment(environment, "AWS_ENDPOINT_URL"),
                                profile.endpoint_url };
    const char *region = NULL;
    const char *endpoint = NULL;
    for (size_t i = 0; i < sizeof(regions) / sizeof(*regions) && !region; i++) {
        region = regions[i];
    }
    for (size_t i = 0; i < sizeof(endpoints) / sizeof(*endpoints) && !endpoint; i++) {
        endpoint = endpoints[i];
    }
    options->region = arena_copy_text(&store->arena, slice_of_text(region));
    options->endpoint = endpoint ? arena_copy_text(&store->arena, slice_of_text(endpoint)) : NULL;
    arena_reset(&arena);
}

static Status target_open(Store *store, S3Driver *driver)
{
    Endpoint endpoint;
    const StoreOptions *options = &store->options;
    if (options->endpoint) {
        Status status = endpoint_parse(options->endpoint, &endpoint);
        if (!status_is_ok(&status)) {
            return status;
        }
    }
    bool by_path = options->addressing == STORE_ADDRESSING_PATH ||
                   (options->addressing == STORE_ADDRESSING_AUTO &&
                    (options->endpoint || strchr(store->url.bucket, '.')));
    Status status = s3_target_make(&store->url, options->endpoint ? &endpoint : NULL, options->region,
                                   by_path, &driver->target);
    bool is_secure = strcmp(driver->target.scheme, "https") == 0;
    driver->checksum = options->checksum != STORE_CHECKSUM_AUTO ? options->checksum
                       : is_secure                              ? STORE_CHECKSUM_CRC32C
                                                                : STORE_CHECKSUM_SHA256;
    return status;
}

Status s3_driver_open(Store *store)
{
    const StoreOptions *options = &store->options;
    CredentialsOptions environment = { options->environment, options->environment_context, options->profile,
                                       NULL };
    S3Driver *driver = calloc(1, sizeof(*driver));
    if (!driver) {
        return status_error(STATUS_INTERNAL, "no memory for the object store");
    }
    options_complete(store, &environment);
    int connections = options->put_parallel_max + options->get_parallel_max + options->job_parallel_max +
                      CREDENTIAL_CONNECTIONS;
    Status status =
        options->region ? target_open(store, driver) : status_error(STATUS_INVALID, "the region is too long");
    if (status_is_ok(&status)) {
        status = http_open(store->loop, connections, options->ca_file, &driver->http);
    }
    if (!status_is_ok(&status)) {
        free(driver);
        return status;
    }
    environment.region = options->region;
    driver->store = store;
    s3_keys_init(&driver->keys, driver->http, store->loop, &environment, &store->metrics);
    driver->keys.settled = s3_keys_settled;
    driver->keys.settled_arg = driver;
    driver->random = uv_hrtime() | 1;
    uv_timer_init(store->loop, &driver->timer);
    driver->timer.data = driver;
    store->driver = &s3_driver;
    store->driving = driver;
    size_t used = strlen(store->description);
    snprintf(store->description + used, STORE_DESCRIPTION_MAX - used, " at %s://%s", driver->target.scheme,
             driver->target.host);
    return status_ok();
}
