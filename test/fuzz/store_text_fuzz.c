/* store_text_fuzz.c: URLs of stores and endpoints, keys, ranges, times and profile files. The first byte says
 * which. */
#include <stdlib.h>

#include "common/store/credentials.h"
#include "common/store/ini.h"
#include "common/store/s3_response.h"
#include "common/store/s3_sign.h"
#include "common/store/store_key.h"
#include "common/store/store_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void setting_check(Slice name, Slice value, void *arg)
{
    const Slice *whole = arg;
    if (name.data < whole->data || value.data + value.size > whole->data + whole->size) {
        abort();
    }
}

static void url_check(const char *text)
{
    StoreUrl url;
    Status status = store_url_parse(text, &url);
    if (status_is_ok(&status) && !url.is_folder && *url.prefix && !store_key_is_valid(url.prefix)) {
        abort();
    }
}

static void endpoint_check(const char *text)
{
    Endpoint endpoint;
    Status status = endpoint_parse(text, &endpoint);
    if (status_is_ok(&status) && (endpoint.port == 0 || strpbrk(endpoint.host, "@/?# \r\n"))) {
        abort();
    }
}

static void key_check(const char *text)
{
    char encoded[256];
    if (store_key_is_valid(text) && (*text == '/' || strstr(text, "..") == text || strstr(text, "/.."))) {
        abort();
    }
    size_t size = s3_encode(text, true, encoded, sizeof(encoded));
    if (strlen(encoded) > size || strlen(encoded) >= sizeof(encoded)) {
        abort();
    }
}

static void range_check(const char *text)
{
    uint64_t start, end, bytes;
    if (s3_content_range_parse(text, &start, &end, &bytes) && (start > end || end >= bytes)) {
        abort();
    }
}

static void time_check(const char *text)
{
    int64_t unix_s;
    credentials_parse_time(text, &unix_s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(const char *) = { url_check, endpoint_check, key_check, range_check,
                                                    time_check };
    enum { CHECKS = sizeof(checks) / sizeof(*checks) };
    if (size == 0) {
        return 0;
    }
    char *text = calloc(1, size);
    memcpy(text, data + 1, size - 1);
    Slice whole = slice_of(text, size - 1);
    if (data[0] % (CHECKS + 1) == CHECKS) {
        ini_section_walk(whole, "profile work", setting_check, &whole);
    } else {
        checks[data[0] % (CHECKS + 1)](text);
    }
    free(text);
    return 0;
}
