/* credentials.c: the chain of sources. Each source is a first step; a step finds credentials, asks for a
 * request to be sent and names the step that gets the answer, or says that its source is not set up here, and
 * the next source begins. A source that is set up and fails ends the chain: credentials of another account
 * would be worse than none. */
#include "common/store/credentials.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/store/profile.h"
#include "common/store/s3_sign.h"
#include "common/store/store_url.h"

#define INSTANCE_ENDPOINT  "http://169.254.169.254"
#define INSTANCE_KEYS_PATH "/latest/meta-data/iam/security-credentials/"
#define CONTAINER_ENDPOINT "http://169.254.170.2"

enum {
    ARENA_BYTES = 1024 * 1024,
    TOKEN_FILE_MAX = 32 * 1024,
    ROLE_NAME_MAX = 128,
    METADATA_TIMEOUT_MS = 2000,
    STS_TIMEOUT_MS = 10000
};
_Static_assert(ARENA_BYTES > PROFILE_ARENA_BYTES + 8 * TOKEN_FILE_MAX, "a profile and an encoded token fit");

static const char *chain_environment(const CredentialsChain *chain, const char *name)
{
    return credentials_environment(&chain->options, name);
}

const char *credentials_environment(const CredentialsOptions *options, const char *name)
{
    const char *value = options->environment ? options->environment(name, options->context) : getenv(name);
    return value && *value ? value : NULL;
}

int64_t credentials_renew_at(const Credentials *credentials, int64_t got_at_s)
{
    if (credentials->expires_at_s == 0) {
        return INT64_MAX;
    }
    int64_t life = credentials->expires_at_s - got_at_s;
    int64_t early = life / 4 < CREDENTIALS_RENEW_S ? life / 4 : CREDENTIALS_RENEW_S;
    return credentials->expires_at_s - (early > 0 ? early : 0);
}

static char *chain_print(CredentialsChain *chain, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static char *chain_print(CredentialsChain *chain, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *out = size < 0 ? NULL : arena_allocate(&chain->arena, (size_t)size + 1);
    if (out) {
        va_start(arguments, format);
        vsnprintf(out, (size_t)size + 1, format, arguments);
        va_end(arguments);
    }
    return out;
}

static CredentialsNext chain_fail(CredentialsChain *chain, const char *why)
{
    chain->step = NULL;
    chain->status = status_error(STATUS_DENIED, "no credentials: %s: %s", chain->source, why);
    return CREDENTIALS_NONE;
}

static CredentialsNext chain_found(CredentialsChain *chain, Status status)
{
    if (!status_is_ok(&status)) {
        return chain_fail(chain, status.message);
    }
    chain->step = NULL;
    chain->status = status;
    return CREDENTIALS_FOUND;
}

static CredentialsNext chain_ask(CredentialsChain *chain, CredentialsRequest request, CredentialsStep *step)
{
    if (!request.url) {
        return chain_fail(chain, "out of memory");
    }
    for (size_t i = 0; i < CREDENTIALS_HEADERS_MAX && request.headers[i]; i++) {
        request.header_count++;
    }
    chain->request = request;
    chain->step = step;
    return CREDENTIALS_ASK;
}

static CredentialsNext environment_try(CredentialsChain *chain, int http_status, Slice body)
{
    (void)http_status, (void)body;
    const char *key = chain_environment(chain, "AWS_ACCESS_KEY_ID");
    const char *secret = chain_environment(chain, "AWS_SECRET_ACCESS_KEY");
    if (!key && !secret) {
        return CREDENTIALS_NOT_HERE;
    }
    return chain_found(chain, credentials_set(&chain->credentials, key, secret,
                                              chain_environment(chain, "AWS_SESSION_TOKEN"), NULL));
}

static CredentialsNext web_identity_answer(CredentialsChain *chain, int http_status, Slice body)
{
    if (http_status != 200) {
        return chain_fail(chain, http_status ? "the security token service refused"
                                             : "the security token service is away");
    }
    return chain_found(chain, credentials_parse_xml(body, &chain->credentials));
}

/* A time in it keeps session names apart; AWS wants 2 to 64 letters. */
static const char *session_name(CredentialsChain *chain, const char *set)
{
    return set ? set : chain_print(chain, "streamhouse-%lld", (long long)chain->now_s);
}

static char *chain_encode(CredentialsChain *chain, const char *text)
{
    size_t size = s3_encode(text, false, NULL, 0);
    char *out = arena_allocate(&chain->arena, size + 1);
    if (out) {
        s3_encode(text, false, out, size + 1);
    }
    return out;
}

static const char *sts_url(CredentialsChain *chain)
{
    const char *set = chain_environment(chain, "AWS_ENDPOINT_URL_STS");
    const char *region = chain->options.region;
    if (set) {
        return chain_print(chain, "%s%s", set, set[strlen(set) - 1] == '/' ? "" : "/");
    }
    return chain_print(chain, "https://sts.%s.amazonaws.com%s/", region,
                       strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}

static CredentialsNext web_identity_ask(CredentialsChain *chain, const char *file, const char *role,
                                        const char *session)
{
    const char *token = profile_read_file(file, TOKEN_FILE_MAX, &chain->arena);
    if (!token || !*token) {
        return chain_fail(chain, "the token file cannot be read, is empty or is too large");
    }
    char *token_encoded = chain_encode(chain, token);
    char *role_encoded = chain_encode(chain, role);
    const char *name = session_name(chain, session);
    char *name_encoded = name ? chain_encode(chain, name) : NULL;
    char *body =
        token_encoded && role_encoded && name_encoded
            ? chain_print(chain,
                          "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=%s&RoleSessionName=%s"
                          "&WebIdentityToken=%s",
                          role_encoded, name_encoded, token_encoded)
            : NULL;
    CredentialsRequest request = { .method = "POST",
                                   .url = body ? sts_url(chain) : NULL,
                                   .headers = { "Content-Type: application/x-www-form-urlencoded" },
                                   .body = slice_of_text(body),
                                   .timeout_ms = STS_TIMEOUT_MS };
    return chain_ask(chain, request, web_identity_answer);
}

static CredentialsNext web_identity_try(CredentialsChain *chain, int http_status, Slice body)
{
    (void)http_status, (void)body;
    const char *file = chain_environment(chain, "AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *role = chain_environment(chain, "AWS_ROLE_ARN");
    if (!file || !role) {
        return CREDENTIALS_NOT_HERE;
    }
    return web_identity_ask(chain, file, role, chain_environment(chain, "AWS_ROLE_SESSION_NAME"));
}

static CredentialsNext profile_try(CredentialsChain *chain, int http_status, Slice body)
{
    (void)http_status, (void)body;
    Profile profile;
    profile_read(&chain->options, &chain->arena, &profile);
    if (profile.token_file && profile.role_arn) {
        return web_identity_ask(chain, profile.token_file, profile.role_arn, profile.role_session_name);
    }
    if (profile.access_key || profile.secret_key) {
        return chain_found(chain, credentials_set(&chain->credentials, profile.access_key, profile.secret_key,
                                                  profile.session_token, NULL));
    }
    if (profile.unsupported) {
        return chain_fail(
            chain, chain_print(chain, "%s is not understood; use keys or web identity", profile.unsupported));
    }
    bool was_named = chain->options.profile || chain_environment(chain, "AWS_PROFILE");
    return was_named && !profile.found ? chain_fail(chain, "the profile that was asked for does not exist")
                                       : CREDENTIALS_NOT_HERE;
}

static CredentialsNext container_answer(CredentialsChain *chain, int http_status, Slice body)
{
    if (http_status != 200) {
        return chain_fail(chain,
                          http_status ? "the metadata service refused" : "the metadata service is away");
    }
    return chain_found(chain, credentials_parse_json(body, &chain->credentials));
}

/* Without TLS, a token goes to this machine or to the addresses AWS reserves for metadata, and nowhere else.
 */
static bool container_url_is_safe(const char *url)
{
    static const char *const hosts[] = { "localhost", "[::1]", "169.254.170.2", "169.254.170.23",
                                         "[fd00:ec2::23]" };
    char origin[ENDPOINT_HOST_MAX + 16];
    Endpoint endpoint;
    const char *host = strstr(url, "://");
    size_t size = host ? (size_t)(host - url) + 3 + strcspn(host + 3, "/?#") : 0;
    if (size == 0 || size >= sizeof(origin)) {
        return false;
    }
    memcpy(origin, url, size);
    origin[size] = '\0';
    Status status = endpoint_parse(origin, &endpoint);
    if (!status_is_ok(&status)) {
        return false;
    }
    for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++) {
        if (strcmp(endpoint.host, hosts[i]) == 0) {
            return true;
        }
    }
    size_t numeric = strspn(endpoint.host, "0123456789.");
    return endpoint.is_secure || (strncmp(endpoint.host, "127.", 4) == 0 && endpoint.host[numeric] == '\0');
}

/* "Authorization: …", NULL when none is set; malformed is set when it could not be sent. */
static const char *container_authorization(CredentialsChain *chain, bool *malformed)
{
    const char *file = chain_environment(chain, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = file ? profile_read_file(file, TOKEN_FILE_MAX, &chain->arena)
                             : chain_environment(chain, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    *malformed = (file && !token) || (token && strpbrk(token, "\r\n"));
    return token && !*malformed ? chain_print(chain, "Authorization: %s", token) : NULL;
}

static CredentialsNext container_try(CredentialsChain *chain, int http_status, Slice body)
{
    (void)http_status, (void)body;
    bool malformed;
    const char *relative = chain_environment(chain, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = chain_environment(chain, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative && !full) {
        return CREDENTIALS_NOT_HERE;
    }
    const char *url =
        relative ? chain_print(chain, "%s%s%s", CONTAINER_ENDPOINT, *relative == '/' ? "" : "/", relative)
                 : full;
    if (!url || !container_url_is_safe(url)) {
        return chain_fail(chain, "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or name this machine");
    }
    const char *authorization = container_authorization(chain, &malformed);
    if (malformed) {
        return chain_fail(chain, "the authorization token cannot be read or is malformed");
    }
    CredentialsRequest request = { .method = "GET",
                                   .url = url,
                                   .headers = { authorization },
                                   .is_local = true,
                                   .timeout_ms = METADATA_TIMEOUT_MS };
    return chain_ask(chain, request, container_answer);
}

static CredentialsNext instance_answer(CredentialsChain *chain, int http_status, Slice body)
{
    if (http_status != 200) {
        return chain_fail(chain, "instance metadata gave no keys for the role");
    }
    return chain_found(chain, credentials_parse_json(body, &chain->credentials));
}

static CredentialsNext instance_get(CredentialsChain *chain, const char *role, CredentialsStep *step)
{
    const char *endpoint = chain_environment(chain, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    endpoint = endpoint ? endpoint : INSTANCE_ENDPOINT;
    size_t size = strlen(endpoint);
    size -= endpoint[size - 1] == '/';
    CredentialsRequest request = { .method = "GET",
                                   .url = chain_print(chain, "%.*s%s%s", (int)size, endpoint,
                                                      INSTANCE_KEYS_PATH, role),
                                   .headers = { chain->metadata_token },
                                   .is_local = true,
                                   .timeout_ms = METADATA_TIMEOUT_MS };
    return chain_ask(chain, request, step);
}

/* The answer lists role names, a line each; the first counts. */
static CredentialsNext instance_role(CredentialsChain *chain, int http_status, Slice body)
{
    char role[ROLE_NAME_MAX + 1];
    size_t size = 0;
    while (size < body.size && (isalnum(body.data[size]) || strchr("+=,.@_-", body.data[size])) &&
           body.data[size]) {
        size++;
    }
    bool ends_well = size == body.size || body.data[size] == '\n' || body.data[size] == '\r';
    if (http_status != 200 || size == 0 || size > ROLE_NAME_MAX || !ends_well) {
        return chain_fail(chain, "this instance has no role");
    }
    memcpy(role, body.data, size);
    role[size] = '\0';
    return instance_get(chain, role, instance_answer);
}

static CredentialsNext instance_token(CredentialsChain *chain, int http_status, Slice body)
{
    char *token = arena_copy_text(&chain->arena, body);
    if (http_status != 200 || !token || !*token || strpbrk(token, " \r\n")) {
        return chain_fail(chain,
                          "none in environment and profile files, and no instance metadata (version 2) here; "
                          "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    }
    chain->metadata_token = chain_print(chain, "X-aws-ec2-metadata-token: %s", token);
    return instance_get(chain, "", instance_role);
}

static CredentialsNext instance_try(CredentialsChain *chain, int http_status, Slice body)
{
    (void)http_status, (void)body;
    const char *disabled = chain_environment(chain, "AWS_EC2_METADATA_DISABLED");
    const char *endpoint = chain_environment(chain, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (disabled && strcasecmp(disabled, "true") == 0) {
        return CREDENTIALS_NOT_HERE;
    }
    endpoint = endpoint ? endpoint : INSTANCE_ENDPOINT;
    size_t size = strlen(endpoint);
    size -= endpoint[size - 1] == '/';
    CredentialsRequest request = { .method = "PUT",
                                   .url = chain_print(chain, "%.*s/latest/api/token", (int)size, endpoint),
                                   .headers = { "X-aws-ec2-metadata-token-ttl-seconds: 21600" },
                                   .body = SLICE_LITERAL(""),
                                   .is_local = true,
                                   .timeout_ms = METADATA_TIMEOUT_MS };
    return chain_ask(chain, request, instance_token);
}

typedef struct CredentialsSource {
    const char *name;
    CredentialsStep *first;
} CredentialsSource;

static const CredentialsSource sources[] = {
    { "environment", environment_try },
    { "web identity", web_identity_try },
    { "profile", profile_try },
    { "container metadata", container_try },
    { "instance metadata", instance_try },
};

void credentials_chain_init(CredentialsChain *chain, const CredentialsOptions *options)
{
    memset(chain, 0, sizeof(*chain));
    chain->options = *options;
    chain->source = "";
    arena_init(&chain->arena, ARENA_BYTES);
}

void credentials_chain_free(CredentialsChain *chain)
{
    arena_reset(&chain->arena);
    explicit_bzero(&chain->credentials, sizeof(chain->credentials));
}

CredentialsNext credentials_begin(CredentialsChain *chain, int64_t now_s)
{
    arena_reset(&chain->arena);
    chain->now_s = now_s;
    for (size_t i = 0; i < sizeof(sources) / sizeof(*sources); i++) {
        chain->source = sources[i].name;
        CredentialsNext next = sources[i].first(chain, 0, SLICE_NULL);
        if (next != CREDENTIALS_NOT_HERE) {
            return next;
        }
    }
    chain->source = "every source";
    return chain_fail(chain, "nothing set; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
}

CredentialsNext credentials_answer(CredentialsChain *chain, int http_status, Slice body, int64_t now_s)
{
    chain->now_s = now_s;
    return chain->step(chain, http_status, body);
}
