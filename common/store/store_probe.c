/* store_probe.c: tries a store out: PUT, the same PUT with other bytes, GET, DELETE. The second PUT must be
 * turned away; a server that takes it does not honour If-None-Match. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/store_internal.h"

typedef enum ProbeStep { PROBE_WRITE, PROBE_OVERWRITE, PROBE_READ, PROBE_REMOVE, PROBE_END } ProbeStep;

typedef struct Probe {
    Store *store;
    StoreCallback callback;
    void *arg;
    int deadline_ms;
    ProbeStep step;
    char key[64];
    Slice body;
    uint64_t began_ns;
    Status status; /* the first failure */
} Probe;

static bool probe_step(Probe *probe);

static void probe_end(Probe *probe)
{
    StoreResult result = { .status = probe->status, .elapsed_us = (uv_hrtime() - probe->began_ns) / 1000 };
    probe->callback(&result, probe->arg);
    free(probe);
}

static Status overwrite_judge(Probe *probe, const StoreResult *result)
{
    if (result->status.code == STATUS_EXISTS) {
        return status_ok();
    }
    if (!status_is_ok(&result->status)) {
        return result->status;
    }
    probe->store->is_conditional = false;
    probe->body = SLICE_LITERAL("other");
    return probe->store->options.conditional == STORE_CONDITIONAL_ON
               ? status_error(STATUS_INVALID,
                              "the object store ignores If-None-Match: set store_conditional to off")
               : status_ok();
}

static Status read_judge(const Probe *probe, const StoreResult *result)
{
    if (status_is_ok(&result->status) &&
        !slice_equals(slice_of(result->block->bytes, result->block->size), probe->body)) {
        return status_error(STATUS_CORRUPT, "the object store gave other bytes than were written");
    }
    return result->status;
}

static void probe_done(const StoreResult *result, void *arg)
{
    Probe *probe = arg;
    Status status = probe->step == PROBE_OVERWRITE ? overwrite_judge(probe, result)
                    : probe->step == PROBE_READ    ? read_judge(probe, result)
                                                   : result->status;
    if (!status_is_ok(&status) && status_is_ok(&probe->status)) {
        probe->status = status;
    }
    /* What was written is removed even when a later step failed. */
    bool was_written = probe->step != PROBE_WRITE || status_is_ok(&status);
    probe->step =
        !status_is_ok(&status) && was_written && probe->step < PROBE_REMOVE ? PROBE_REMOVE : probe->step + 1;
    if (!was_written || probe->step == PROBE_END || !probe_step(probe)) {
        probe_end(probe);
    }
}

/* Starts the step at hand; false when the store takes nothing. */
static bool probe_step(Probe *probe)
{
    Slice other = SLICE_LITERAL("other");
    StorePut put = { .key = probe->key,
                     .slices = probe->step == PROBE_WRITE ? &probe->body : &other,
                     .slice_count = 1,
                     .deadline_ms = probe->deadline_ms,
                     .if_absent = true };
    StoreGet get = { .key = probe->key, .deadline_ms = probe->deadline_ms };
    StoreDelete remove = { .key = probe->key, .deadline_ms = probe->deadline_ms };
    StoreCall *call = probe->step == PROBE_READ     ? store_get(probe->store, &get, probe_done, probe)
                      : probe->step == PROBE_REMOVE ? store_delete(probe->store, &remove, probe_done, probe)
                                                    : store_put(probe->store, &put, probe_done, probe);
    if (!call && status_is_ok(&probe->status)) {
        probe->status = probe->store->refusal;
    }
    return call != NULL;
}

bool store_probe(Store *store, int deadline_ms, StoreCallback callback, void *arg)
{
    uint64_t random = 0;
    Probe *probe = calloc(1, sizeof(*probe));
    if (!probe || uv_random(NULL, NULL, &random, sizeof(random), 0, NULL) != 0) {
        free(probe);
        store->refusal =
            status_error(STATUS_INTERNAL, "no memory or no random numbers to probe the object store with");
        return false;
    }
    *probe = (Probe){ .store = store, .callback = callback, .arg = arg, .deadline_ms = deadline_ms };
    probe->body = SLICE_LITERAL("streamhouse");
    probe->began_ns = uv_hrtime();
    probe->status = status_ok();
    snprintf(probe->key, sizeof(probe->key), "probe/%016" PRIx64, random);
    if (!probe_step(probe)) {
        free(probe);
        return false;
    }
    return true;
}
