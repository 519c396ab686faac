/* store_credentials_test.c: the chain of credentials, step by step, and over HTTP against a metadata service
 * that this test is. */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/store/s3_keys.h"
#include "common/store/s3_sign.h"
#include "common/store/store.h"
#include "test/unit/test.h"

enum { VARIABLES_MAX = 12, NOW_S = 1369353600 };

/* What the environment says, as pairs of name and value. */
typedef struct Variables {
    const char *pairs[VARIABLES_MAX][2];
} Variables;

static const char *variable(const char *name, void *context)
{
    const Variables *variables = context;
    for (int i = 0; i < VARIABLES_MAX && variables->pairs[i][0]; i++) {
        if (strcmp(variables->pairs[i][0], name) == 0) {
            return variables->pairs[i][1];
        }
    }
    return NULL;
}

static CredentialsNext chain_begin(CredentialsChain *chain, Variables *variables, const char *profile)
{
    CredentialsOptions options = { variable, variables, profile, "eu-west-1" };
    credentials_chain_init(chain, &options);
    return credentials_begin(chain, NOW_S);
}

static CredentialsNext chain_answer(CredentialsChain *chain, int http_status, const char *body)
{
    return credentials_answer(chain, http_status, slice_of_text(body), NOW_S);
}

/* A file of its own for the test; the caller unlinks it. */
static char *file_with(const char *text)
{
    static char paths[4][64];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "/tmp/store-credentials-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || close(fd) != 0) {
        test_fail(__FILE__, __LINE__, "cannot write %s", path);
    }
    return path;
}

#define KEYS_JSON                                                                                            \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"AKID\",\"SecretAccessKey\":\"SECRET\",\"Token\":\"TOKEN\","     \
    "\"Expiration\":\"2013-05-24T01:00:00Z\"}"

static void check_temporary(const CredentialsChain *chain)
{
    CHECK_STR(chain->credentials.access_key, "AKID");
    CHECK_STR(chain->credentials.secret_key, "SECRET");
    CHECK_STR(chain->credentials.session_token, "TOKEN");
    CHECK_INT(chain->credentials.expires_at_s, NOW_S + 3600);
}

TEST(keys_in_the_environment_come_first)
{
    CredentialsChain chain;
    Variables variables = { { { "AWS_ACCESS_KEY_ID", "A" },
                              { "AWS_SECRET_ACCESS_KEY", "B" },
                              { "AWS_SESSION_TOKEN", "C" },
                              { "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/x" } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_FOUND);
    CHECK_STR(chain.source, "environment");
    CHECK_STR(chain.credentials.access_key, "A");
    CHECK_STR(chain.credentials.secret_key, "B");
    CHECK_STR(chain.credentials.session_token, "C");
    CHECK_INT(chain.credentials.expires_at_s, 0);
    credentials_chain_free(&chain);
}

TEST(half_a_pair_in_the_environment_is_a_failure_and_not_another_account)
{
    CredentialsChain chain;
    Variables variables = { { { "AWS_ACCESS_KEY_ID", "A" },
                              { "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x" } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_NONE);
    CHECK_INT(chain.status.code, STATUS_DENIED);
    credentials_chain_free(&chain);
}

TEST(a_profile_is_read_from_the_credentials_file_and_the_config_file)
{
    CredentialsChain chain;
    char *credentials =
        file_with("[default]\naws_access_key_id=D\naws_secret_access_key=E\n[work]\naws_access_key_id = W\n"
                  "aws_secret_access_key = X\naws_session_token = Y\n");
    char *config = file_with("[profile work]\nregion = eu-north-1\n[profile "
                             "other]\naws_access_key_id=O\naws_secret_access_key=P\n");
    Variables variables = { { { "AWS_SHARED_CREDENTIALS_FILE", credentials },
                              { "AWS_CONFIG_FILE", config } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_FOUND);
    CHECK_STR(chain.credentials.access_key, "D");
    credentials_chain_free(&chain);
    CHECK_INT(chain_begin(&chain, &variables, "work"), CREDENTIALS_FOUND);
    CHECK_STR(chain.credentials.access_key, "W");
    CHECK_STR(chain.credentials.session_token, "Y");
    CHECK_STR(chain.source, "profile");
    credentials_chain_free(&chain);
    variables.pairs[2][0] = "AWS_PROFILE";
    variables.pairs[2][1] = "other";
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_FOUND);
    CHECK_STR(chain.credentials.secret_key, "P");
    credentials_chain_free(&chain);
    CHECK_INT(chain_begin(&chain, &variables, "missing"), CREDENTIALS_NONE);
    credentials_chain_free(&chain);
    unlink(credentials);
    unlink(config);
}

TEST(a_profile_that_needs_what_is_not_understood_says_so)
{
    CredentialsChain chain;
    char *config = file_with("[default]\ncredential_process = /bin/secret-tool\n");
    Variables variables = { { { "AWS_CONFIG_FILE", config } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_NONE);
    CHECK(strstr(chain.status.message, "credential_process"));
    CHECK(!strstr(chain.status.message, "secret-tool"));
    credentials_chain_free(&chain);
    unlink(config);
}

TEST(web_identity_sends_its_token_to_sts_encoded)
{
    CredentialsChain chain;
    char *token = file_with("head.pay+load/sig=\n");
    Variables variables = { { { "AWS_WEB_IDENTITY_TOKEN_FILE", token },
                              { "AWS_ROLE_ARN", "arn:aws:iam::1:role/r" },
                              { "AWS_ROLE_SESSION_NAME", "me" } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_ASK);
    CHECK_STR(chain.request.method, "POST");
    CHECK_STR(chain.request.url, "https://sts.eu-west-1.amazonaws.com/");
    CHECK(!chain.request.is_local);
    CHECK_BYTES(
        chain.request.body,
        slice_of_text(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
            "&RoleSessionName=me&WebIdentityToken=head.pay%2Bload%2Fsig%3D"));
    CHECK_INT(chain_answer(
                  &chain, 200,
                  "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>"
                  "<SessionToken>TOKEN</SessionToken><SecretAccessKey>SECRET</SecretAccessKey>"
                  "<Expiration>2013-05-24T01:00:00Z</Expiration><AccessKeyId>AKID</AccessKeyId></Credentials>"
                  "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"),
              CREDENTIALS_FOUND);
    check_temporary(&chain);
    credentials_chain_free(&chain);
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_ASK);
    CHECK_INT(chain_answer(&chain, 403, "<Error/>"), CREDENTIALS_NONE);
    CHECK(!strstr(chain.status.message, "pay"));
    credentials_chain_free(&chain);
    unlink(token);
}

TEST(container_metadata_is_asked_with_its_token)
{
    CredentialsChain chain;
    Variables variables = { { { "AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:8080/keys?a=1" },
                              { "AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc" } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_ASK);
    CHECK_STR(chain.request.url, "http://127.0.0.1:8080/keys?a=1");
    CHECK_STR(chain.request.headers[0], "Authorization: Basic abc");
    CHECK(chain.request.is_local);
    CHECK_INT(chain_answer(&chain, 200, KEYS_JSON), CREDENTIALS_FOUND);
    check_temporary(&chain);
    credentials_chain_free(&chain);
    Variables relative = { { { "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/keys" } } };
    CHECK_INT(chain_begin(&chain, &relative, NULL), CREDENTIALS_ASK);
    CHECK_STR(chain.request.url, "http://169.254.170.2/v2/keys");
    CHECK_INT(chain_answer(&chain, 0, ""), CREDENTIALS_NONE);
    credentials_chain_free(&chain);
}

TEST(a_container_token_is_never_sent_in_the_clear_to_another_machine)
{
    static const char *const unsafe[] = { "http://example.org/x",
                                          "http://10.0.0.1/x",
                                          "http://127.0.0.1.example.org/x",
                                          "http://127.evil.org/",
                                          "http://169.254.170.2@evil.org/",
                                          "file:///etc/passwd",
                                          "x" };
    for (size_t i = 0; i < sizeof(unsafe) / sizeof(*unsafe); i++) {
        CredentialsChain chain;
        Variables variables = { { { "AWS_CONTAINER_CREDENTIALS_FULL_URI", unsafe[i] } } };
        if (chain_begin(&chain, &variables, NULL) != CREDENTIALS_NONE) {
            test_fail(__FILE__, __LINE__, "%s would be asked", unsafe[i]);
        }
        credentials_chain_free(&chain);
    }
    CredentialsChain chain;
    Variables secure = { { { "AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://example.org/x" } } };
    CHECK_INT(chain_begin(&chain, &secure, NULL), CREDENTIALS_ASK);
    credentials_chain_free(&chain);
}

TEST(instance_metadata_is_asked_in_three_steps)
{
    CredentialsChain chain;
    Variables variables = { { { NULL, NULL } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_ASK);
    CHECK_STR(chain.request.method, "PUT");
    CHECK_STR(chain.request.url, "http://169.254.169.254/latest/api/token");
    CHECK_STR(chain.request.headers[0], "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    CHECK_INT(chain_answer(&chain, 200, "SESSION=="), CREDENTIALS_ASK);
    CHECK_STR(chain.request.method, "GET");
    CHECK_STR(chain.request.url, "http://169.254.169.254/latest/meta-data/iam/security-credentials/");
    CHECK_STR(chain.request.headers[0], "X-aws-ec2-metadata-token: SESSION==");
    CHECK_INT(chain_answer(&chain, 200, "my-role\nother"), CREDENTIALS_ASK);
    CHECK_STR(chain.request.url, "http://169.254.169.254/latest/meta-data/iam/security-credentials/my-role");
    CHECK_STR(chain.request.headers[0], "X-aws-ec2-metadata-token: SESSION==");
    CHECK_INT(chain_answer(&chain, 200, KEYS_JSON), CREDENTIALS_FOUND);
    check_temporary(&chain);
    credentials_chain_free(&chain);
}

TEST(a_role_with_odd_letters_or_a_token_with_a_line_end_is_refused)
{
    CredentialsChain chain;
    Variables variables = { { { NULL, NULL } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_ASK);
    CHECK_INT(chain_answer(&chain, 200, "bad\r\nHeader: x"), CREDENTIALS_NONE);
    credentials_chain_free(&chain);
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_ASK);
    CHECK_INT(chain_answer(&chain, 200, "good"), CREDENTIALS_ASK);
    CHECK_INT(chain_answer(&chain, 200, "../../other?x"), CREDENTIALS_NONE);
    credentials_chain_free(&chain);
}

TEST(instance_metadata_may_be_switched_off)
{
    CredentialsChain chain;
    Variables variables = { { { "AWS_EC2_METADATA_DISABLED", "true" } } };
    CHECK_INT(chain_begin(&chain, &variables, NULL), CREDENTIALS_NONE);
    CHECK(strstr(chain.status.message, "AWS_ACCESS_KEY_ID"));
    credentials_chain_free(&chain);
}

/* A metadata service: one connection at a time, keys that live for life_s. */
typedef struct Service {
    int listener;
    char url[64];
    pthread_t thread;
    int life_s;
    int fail_after; /* answers 500 from this many sets of keys on; 0: never */
    int tokens;     /* how often each was asked for, for the test to read after service_stop() */
    int roles;
    int keys;
    int refused; /* requests without the session token */
} Service;

static void service_reply(int fd, int status, const char *body)
{
    char text[1024];
    int size =
        snprintf(text, sizeof(text), "HTTP/1.1 %d -\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 status, strlen(body), body);
    if (write(fd, text, (size_t)size) != size) {
        test_fail(__FILE__, __LINE__, "the service cannot answer");
    }
}

static void service_reply_keys(Service *service, int fd)
{
    char body[300];
    char expires[32];
    time_t end = time(NULL) + service->life_s;
    service->keys++;
    strftime(expires, sizeof(expires), "%Y-%m-%dT%H:%M:%SZ", gmtime(&end));
    snprintf(body, sizeof(body),
             "{\"AccessKeyId\":\"AKID%d\",\"SecretAccessKey\":\"SECRET\",\"Token\":\"TOKEN\",\"Expiration\":"
             "\"%s\"}",
             service->keys, expires);
    bool fails = service->fail_after && service->keys > service->fail_after;
    service_reply(fd, fails ? 500 : 200, fails ? "" : body);
}

static void service_answer(Service *service, int fd)
{
    char request[2048] = "";
    size_t used = 0;
    while (!strstr(request, "\r\n\r\n") && used < sizeof(request) - 1) {
        ssize_t got = read(fd, request + used, sizeof(request) - 1 - used);
        if (got <= 0) {
            return;
        }
        used += (size_t)got;
        request[used] = '\0';
    }
    if (strncmp(request, "PUT /latest/api/token ", 22) == 0) {
        service->tokens++;
        service_reply(fd, 200, "SESSION");
    } else if (!strstr(request, "X-aws-ec2-metadata-token: SESSION\r\n")) {
        service->refused++;
        service_reply(fd, 401, "");
    } else if (strstr(request, "/security-credentials/ ")) {
        service->roles++;
        service_reply(fd, 200, "role");
    } else {
        service_reply_keys(service, fd);
    }
}

static void *service_run(void *arg)
{
    Service *service = arg;
    for (;;) {
        int fd = accept(service->listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        service_answer(service, fd);
        close(fd);
    }
}

static bool service_start(Service *service)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    service->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(service->listener, (struct sockaddr *)&address, size) != 0 ||
        listen(service->listener, 8) != 0 ||
        getsockname(service->listener, (struct sockaddr *)&address, &size) != 0) {
        return false;
    }
    snprintf(service->url, sizeof(service->url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    return pthread_create(&service->thread, NULL, service_run, service) == 0;
}

static void service_stop(Service *service)
{
    shutdown(service->listener, SHUT_RDWR);
    pthread_join(service->thread, NULL);
    close(service->listener);
}

typedef struct Fetch {
    uv_loop_t loop;
    Http *http;
    S3Keys keys;
    StoreMetrics metrics;
    Variables variables;
    int settled;
} Fetch;

static void fetch_settled(void *arg)
{
    ((Fetch *)arg)->settled++;
}

static bool fetch_open(Fetch *fetch, const char *url)
{
    *fetch = (Fetch){ .variables = { { { "AWS_EC2_METADATA_SERVICE_ENDPOINT", url } } } };
    uv_loop_init(&fetch->loop);
    Status status = http_open(&fetch->loop, 4, NULL, &fetch->http);
    CredentialsOptions options = { variable, &fetch->variables, NULL, "us-east-1" };
    s3_keys_init(&fetch->keys, fetch->http, &fetch->loop, &options, &fetch->metrics);
    fetch->keys.settled = fetch_settled;
    fetch->keys.settled_arg = fetch;
    return status_is_ok(&status);
}

static KeysState fetch_await(Fetch *fetch, int64_t now_s)
{
    int settled = fetch->settled;
    KeysState state = s3_keys_get(&fetch->keys, now_s);
    while (fetch->keys.asking && settled == fetch->settled) {
        uv_run(&fetch->loop, UV_RUN_ONCE);
    }
    return state;
}

static void fetch_closed(void *arg)
{
    (void)arg;
}

static bool fetch_close(Fetch *fetch)
{
    s3_keys_free(&fetch->keys);
    http_close(fetch->http, fetch_closed, NULL);
    uv_run(&fetch->loop, UV_RUN_DEFAULT);
    return uv_loop_close(&fetch->loop) == 0;
}

TEST(keys_are_fetched_from_instance_metadata_over_http)
{
    Service service = { .life_s = 3600 };
    Fetch fetch;
    CHECK(service_start(&service));
    CHECK(fetch_open(&fetch, service.url));
    CHECK_INT(fetch_await(&fetch, time(NULL)), KEYS_COMING);
    CHECK_INT(s3_keys_get(&fetch.keys, time(NULL)), KEYS_READY);
    CHECK_STR(fetch.keys.current.access_key, "AKID1");
    CHECK_INT(fetch.metrics.credential_refreshes, 1);
    CHECK(fetch.metrics.credentials_expire_at_s > time(NULL));
    CHECK(fetch_close(&fetch));
    service_stop(&service);
    CHECK_INT(service.tokens, 1);
    CHECK_INT(service.roles, 1);
    CHECK_INT(service.keys, 1);
    CHECK_INT(service.refused, 0);
}

/* Lets the pause between two tries pass without sleeping through it. */
static void pause_skip(Fetch *fetch)
{
    fetch->keys.next_try_at_ms = 0;
}

TEST(keys_are_renewed_before_they_expire_while_the_old_ones_serve)
{
    Service service = { .life_s = 3600 };
    Fetch fetch;
    CHECK(service_start(&service));
    CHECK(fetch_open(&fetch, service.url));
    CHECK_INT(fetch_await(&fetch, time(NULL)), KEYS_COMING);
    pause_skip(&fetch);
    CHECK_INT(fetch_await(&fetch, time(NULL) + 3600 - CREDENTIALS_RENEW_S - 60), KEYS_READY);
    CHECK_STR(fetch.keys.current.access_key, "AKID1");
    CHECK_INT(fetch_await(&fetch, time(NULL) + 3600 - CREDENTIALS_RENEW_S + 60), KEYS_READY);
    CHECK_STR(fetch.keys.current.access_key, "AKID2");
    CHECK_INT(fetch.keys.generation, 2);
    CHECK(fetch_close(&fetch));
    service_stop(&service);
    CHECK_INT(service.keys, 2);
}

TEST(keys_the_server_refused_are_replaced_once)
{
    Service service = { .life_s = 3600 };
    Fetch fetch;
    CHECK(service_start(&service));
    CHECK(fetch_open(&fetch, service.url));
    CHECK_INT(fetch_await(&fetch, time(NULL)), KEYS_COMING);
    s3_keys_refused(&fetch.keys, 1);
    CHECK_INT(fetch_await(&fetch, time(NULL)), KEYS_COMING);
    CHECK_STR(fetch.keys.current.access_key, "AKID2");
    s3_keys_refused(&fetch.keys, 1);
    CHECK_INT(s3_keys_get(&fetch.keys, time(NULL)), KEYS_READY);
    CHECK(fetch_close(&fetch));
    service_stop(&service);
    CHECK_INT(service.keys, 2);
}

TEST(a_failed_renewal_keeps_the_old_keys_until_they_expire)
{
    Service service = { .life_s = 3600, .fail_after = 1 };
    Fetch fetch;
    CHECK(service_start(&service));
    CHECK(fetch_open(&fetch, service.url));
    CHECK_INT(fetch_await(&fetch, time(NULL)), KEYS_COMING);
    pause_skip(&fetch);
    CHECK_INT(fetch_await(&fetch, time(NULL) + 3590), KEYS_READY);
    CHECK_INT(fetch.metrics.credential_failures, 1);
    CHECK_INT(s3_keys_get(&fetch.keys, time(NULL) + 3590), KEYS_READY);
    CHECK_INT(s3_keys_get(&fetch.keys, time(NULL) + 3600), KEYS_FAILED);
    CHECK_INT(fetch.keys.failure.code, STATUS_DENIED);
    CHECK(fetch_close(&fetch));
    service_stop(&service);
    /* The pause after a failure was kept: nobody asked a third time. */
    CHECK_INT(service.keys, 2);
}

TEST(without_any_metadata_service_the_failure_says_what_to_set)
{
    Fetch fetch;
    CHECK(fetch_open(&fetch, "http://127.0.0.1:1"));
    CHECK_INT(fetch_await(&fetch, time(NULL)), KEYS_COMING);
    CHECK_INT(s3_keys_get(&fetch.keys, time(NULL)), KEYS_FAILED);
    CHECK(strstr(fetch.keys.failure.message, "AWS_ACCESS_KEY_ID"));
    CHECK(fetch_close(&fetch));
}
