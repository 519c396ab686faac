/* store_url.c: parses the URLs of stores and endpoints, strictly: a typing error must not become another
 * bucket. */
#include "common/store/store_url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "common/store/store_key.h"

enum { HTTP_PORT = 80, HTTPS_PORT = 443, BUCKET_MIN = 3 };

static bool text_begins(const char **text, const char *beginning)
{
    size_t size = strlen(beginning);
    if (strncmp(*text, beginning, size) != 0) {
        return false;
    }
    *text += size;
    return true;
}

static Status bucket_parse(const char *text, size_t size, StoreUrl *url)
{
    if (size < BUCKET_MIN || size > STORE_BUCKET_MAX) {
        return status_error(STATUS_INVALID,
                            "the bucket's name must have %d to %d letters: s3://bucket/prefix", BUCKET_MIN,
                            STORE_BUCKET_MAX);
    }
    for (size_t i = 0; i < size; i++) {
        if (!isalnum((unsigned char)text[i]) && !strchr("._-", text[i])) {
            return status_error(STATUS_INVALID, "a bucket's name has letters, digits, '.', '_' and '-' only");
        }
    }
    memcpy(url->bucket, text, size);
    return status_ok();
}

static Status prefix_parse(const char *text, StoreUrl *url)
{
    size_t size = strlen(text);
    if (size > 0 && text[size - 1] == '/') {
        size--;
    }
    if (size > STORE_PREFIX_MAX) {
        return status_error(STATUS_INVALID, "the prefix in the store's URL is longer than %d",
                            STORE_PREFIX_MAX);
    }
    memcpy(url->prefix, text, size);
    if (*text && !store_key_is_valid(url->prefix)) {
        return status_error(STATUS_INVALID,
                            "the prefix in the store's URL has letters other than A-Z a-z 0-9 . _ - /, "
                            "an empty part, or a part that begins with '.'");
    }
    return status_ok();
}

static Status bucket_url_parse(const char *text, StoreUrl *url)
{
    const char *slash = strchr(text, '/');
    size_t size = slash ? (size_t)(slash - text) : strlen(text);
    Status status = bucket_parse(text, size, url);
    return status_is_ok(&status) && slash ? prefix_parse(slash + 1, url) : status;
}

static Status folder_url_parse(const char *text, StoreUrl *url)
{
    size_t size = strlen(text);
    if (text[0] != '/' || size < 2) {
        return status_error(STATUS_INVALID,
                            "a folder's URL is file:// and an absolute path: file:///var/lib/streamhouse");
    }
    if (size >= STORE_PATH_MAX || strchr(text, '%') || strchr(text, '?') || strchr(text, '#')) {
        return status_error(STATUS_INVALID, "a folder's path has less than %d letters and none of %% ? #",
                            STORE_PATH_MAX);
    }
    memcpy(url->path, text, size + 1);
    while (size > 1 && url->path[size - 1] == '/') {
        url->path[--size] = '\0';
    }
    return status_ok();
}

Status store_url_parse(const char *text, StoreUrl *url)
{
    memset(url, 0, sizeof(*url));
    if (text && text_begins(&text, "file://")) {
        url->is_folder = true;
        return folder_url_parse(text, url);
    }
    if (text && text_begins(&text, "s3://")) {
        return bucket_url_parse(text, url);
    }
    return status_error(STATUS_INVALID, "the store's URL must be s3://bucket/prefix or file:///folder");
}

static Status endpoint_refuse(void)
{
    return status_error(STATUS_INVALID, "an endpoint is http[s]://host[:port], without user, path or query");
}

/* The host's letters, up to the port, the path or the end; 0 when malformed. */
static size_t host_size(const char *text)
{
    size_t size;
    if (text[0] == '[') {
        size = 1 + strspn(text + 1, "0123456789abcdefABCDEF:.");
        return text[size] == ']' && size > 1 ? size + 1 : 0;
    }
    for (size = 0; isalnum((unsigned char)text[size]) || (text[size] && strchr("._-", text[size])); size++) {
    }
    return size;
}

static bool port_parse(const char **text, uint16_t *port)
{
    unsigned value = 0;
    int digits = 0;
    for (; isdigit((unsigned char)**text) && digits < 6; digits++, ++*text) {
        value = value * 10 + (unsigned)(**text - '0');
    }
    *port = (uint16_t)value;
    return digits > 0 && value > 0 && value <= UINT16_MAX;
}

Status endpoint_parse(const char *text, Endpoint *endpoint)
{
    memset(endpoint, 0, sizeof(*endpoint));
    endpoint->is_secure = text_begins(&text, "https://");
    if (!endpoint->is_secure && !text_begins(&text, "http://")) {
        return endpoint_refuse();
    }
    size_t size = host_size(text);
    if (size == 0 || size > ENDPOINT_HOST_MAX) {
        return endpoint_refuse();
    }
    for (size_t i = 0; i < size; i++) {
        endpoint->host[i] = (char)tolower((unsigned char)text[i]);
    }
    text += size;
    endpoint->port = endpoint->is_secure ? HTTPS_PORT : HTTP_PORT;
    if (*text == ':') {
        text++;
        if (!port_parse(&text, &endpoint->port)) {
            return endpoint_refuse();
        }
    }
    return strcmp(text, "") == 0 || strcmp(text, "/") == 0 ? status_ok() : endpoint_refuse();
}

void endpoint_host(const Endpoint *endpoint, char *out, size_t size)
{
    if (endpoint->port == (endpoint->is_secure ? HTTPS_PORT : HTTP_PORT)) {
        snprintf(out, size, "%s", endpoint->host);
    } else {
        snprintf(out, size, "%s:%u", endpoint->host, endpoint->port);
    }
}
