/* store_fixture.h: what the tests of the S3 store share: a store that is opened straight to a real server or
 * through fault_proxy.py, and that proxy's controls. test/system/store_faults starts both and says where they
 * are: STORE_TEST_UPSTREAM, STORE_TEST_PROXY, STORE_TEST_CONTROL, STORE_TEST_TLS (URLs), STORE_TEST_CA (a
 * file). */
#ifndef STREAMHOUSE_TEST_STORE_FIXTURE_H
#define STREAMHOUSE_TEST_STORE_FIXTURE_H

#include "test/unit/store_wait.h"
#include "test/unit/test.h"

#define KEY_ID "STREAMHOUSE"
#define SECRET "streamhouse-secret"

typedef struct Fixture {
    uv_loop_t loop;
    Store *store;
    char key[64]; /* a new one for every test */
} Fixture;

/* The store's environment: the machine's own settings stay out of it. */
const char *test_environment(const char *name, void *context);
/* A variable that the launcher set; empty when it did not. */
const char *from_environment(const char *name);

/* Open a store at an endpoint, or through the proxy; what the options leave open is the fixture's. */
Status fixture_open_at(Fixture *f, const char *endpoint, StoreOptions options);
Status fixture_open_with(Fixture *f, StoreOptions options);
Status fixture_open(Fixture *f);
/* False when the store left something behind in the loop. The proxy does no more harm afterwards. */
bool fixture_close(Fixture *f);

#define OPEN(...)                                                                                            \
    Fixture f;                                                                                               \
    Status status = __VA_ARGS__;                                                                             \
    CHECK_STR(status.message, "")

/* Sends a command to the proxy. */
bool control(const char *method, const char *path, const char *body);
/* Empties the proxy's log and has it do this harm from now on: a JSON array of rules. */
bool faults(const char *rules);
/* How often a text is in the proxy's log of requests; -1 when it does not answer. */
int logged(const char *text);
/* Whether the fixture's own object is this text. */
bool object_is(Fixture *f, const char *text);

#endif
