/* store_fixture.c: a store of a test's own, and the wire to the proxy's controls. */
#include "test/system/store_fixture.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *test_environment(const char *name, void *context)
{
    (void)context;
    static const char *const values[][2] = {
        { "AWS_ACCESS_KEY_ID", KEY_ID },
        { "AWS_SECRET_ACCESS_KEY", SECRET },
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        if (strcmp(name, values[i][0]) == 0) {
            return values[i][1];
        }
    }
    return NULL;
}

const char *from_environment(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

Status fixture_open_at(Fixture *f, const char *endpoint, StoreOptions options)
{
    static unsigned count;
    uv_loop_init(&f->loop);
    snprintf(f->key, sizeof(f->key), "o/%02x/%d-%llu-%u.sho", count % 7, getpid(),
             (unsigned long long)uv_hrtime(), count);
    count++;
    options.url = options.url ? options.url : "s3://streamhouse-test/some/prefix";
    options.endpoint = endpoint;
    options.environment = options.environment ? options.environment : test_environment;
    options.deadline_ms = options.deadline_ms ? options.deadline_ms : 10000;
    return store_open(&options, &f->loop, &f->store);
}

Status fixture_open_with(Fixture *f, StoreOptions options)
{
    return fixture_open_at(f, from_environment("STORE_TEST_PROXY"), options);
}

Status fixture_open(Fixture *f)
{
    return fixture_open_with(f, (StoreOptions){ 0 });
}

static size_t control_keep(char *data, size_t size, size_t count, void *arg)
{
    char *out = arg;
    size_t used = strlen(out);
    size_t total = size * count;
    size_t kept = total < 65535 - used ? total : 65535 - used;
    memcpy(out + used, data, kept);
    out[used + kept] = '\0';
    return total;
}

/* What the proxy said last. */
static char control_answer[65536];

bool control(const char *method, const char *path, const char *body)
{
    char url[300];
    long status = 0;
    CURL *easy = curl_easy_init();
    snprintf(url, sizeof(url), "%s%s", from_environment("STORE_TEST_CONTROL"), path);
    control_answer[0] = '\0';
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, control_keep);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, control_answer);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    CURLcode code = curl_easy_perform(easy);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(easy);
    return code == CURLE_OK && status == 200;
}

bool faults(const char *rules)
{
    return control("DELETE", "/log", "") && control("PUT", "/up", "") && control("PUT", "/rules", rules);
}

int logged(const char *text)
{
    int count = 0;
    if (!control("GET", "/log", "")) {
        return -1;
    }
    for (const char *found = control_answer; (found = strstr(found, text)); found++) {
        count++;
    }
    return count;
}

bool fixture_close(Fixture *f)
{
    return store_and_loop_close(f->store, &f->loop) && faults("[]");
}

bool object_is(Fixture *f, const char *text)
{
    Answer read = get_range(f->store, &f->loop, f->key, 0, 0);
    bool same =
        status_is_ok(&read.status) && slice_equals(slice_of(read.bytes, read.size), slice_of_text(text));
    answer_free(&read);
    return same;
}
