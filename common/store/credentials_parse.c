/* credentials_parse.c: what metadata services and STS answer. */
#include "common/store/credentials.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/store/xml.h"

enum { XML_ARENA_BYTES = 64 * 1024 };

/* Takes count digits. */
static bool digits_take(const char **text, int count, int *value)
{
    *value = 0;
    for (; count > 0; count--, ++*text) {
        if (**text < '0' || **text > '9') {
            return false;
        }
        *value = *value * 10 + (**text - '0');
    }
    return true;
}

static bool letter_take(const char **text, char letter)
{
    return **text == letter && *(*text)++ == letter;
}

bool credentials_parse_time(const char *text, int64_t *unix_s)
{
    int year, month, day, hour, minute, second;
    if (!digits_take(&text, 4, &year) || !letter_take(&text, '-') || !digits_take(&text, 2, &month) ||
        !letter_take(&text, '-') || !digits_take(&text, 2, &day) || !letter_take(&text, 'T') ||
        !digits_take(&text, 2, &hour) || !letter_take(&text, ':') || !digits_take(&text, 2, &minute) ||
        !letter_take(&text, ':') || !digits_take(&text, 2, &second)) {
        return false;
    }
    if (letter_take(&text, '.')) {
        text += strspn(text, "0123456789");
    }
    if (strcmp(text, "Z") != 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 ||
        minute > 59 || second > 60) {
        return false;
    }
    struct tm parts = { .tm_year = year - 1900,
                        .tm_mon = month - 1,
                        .tm_mday = day,
                        .tm_hour = hour,
                        .tm_min = minute,
                        .tm_sec = second };
    *unix_s = (int64_t)timegm(&parts);
    return true;
}

/* Keys and tokens go into headers: printable letters without spaces only. */
static bool field_copy(const char *from, char *out, size_t size)
{
    size_t used = 0;
    for (; from && from[used] > ' ' && from[used] < 127 && used + 1 < size; used++) {
        out[used] = from[used];
    }
    out[used] = '\0';
    return from && from[used] == '\0';
}

Status credentials_set(Credentials *credentials, const char *key, const char *secret, const char *token,
                       const char *expiration)
{
    memset(credentials, 0, sizeof(*credentials));
    if (!key || !*key || !secret || !*secret) {
        return status_error(STATUS_DENIED, "there is no access key, or no secret for it");
    }
    if (!field_copy(key, credentials->access_key, sizeof(credentials->access_key)) ||
        !field_copy(secret, credentials->secret_key, sizeof(credentials->secret_key)) ||
        (token && !field_copy(token, credentials->session_token, sizeof(credentials->session_token)))) {
        return status_error(STATUS_DENIED, "a key or token is too long or has letters that none has");
    }
    if (expiration && !credentials_parse_time(expiration, &credentials->expires_at_s)) {
        return status_error(STATUS_DENIED, "the time of expiration is malformed");
    }
    return status_ok();
}

/* Temporary ones have a token and an end. */
static Status temporary_set(Credentials *credentials, const char *key, const char *secret, const char *token,
                            const char *expiration)
{
    if (!token || !*token || !expiration) {
        return status_error(STATUS_DENIED, "the answer lacks a token or the time it expires");
    }
    return credentials_set(credentials, key, secret, token, expiration);
}

static const char *json_text(const json_t *root, const char *name)
{
    return json_string_value(json_object_get(root, name));
}

Status credentials_parse_json(Slice json, Credentials *credentials)
{
    json_error_t error;
    json_t *root = json_loadb(slice_is_null(json) ? "" : (const char *)json.data, json.size, 0, &error);
    if (!json_is_object(root)) {
        json_decref(root);
        return status_error(STATUS_DENIED, "the answer is no JSON object");
    }
    Status status =
        temporary_set(credentials, json_text(root, "AccessKeyId"), json_text(root, "SecretAccessKey"),
                      json_text(root, "Token"), json_text(root, "Expiration"));
    json_decref(root);
    return status;
}

Status credentials_parse_xml(Slice xml, Credentials *credentials)
{
    Arena arena;
    arena_init(&arena, XML_ARENA_BYTES);
    Status status = temporary_set(credentials, xml_find(xml, "AccessKeyId", &arena),
                                  xml_find(xml, "SecretAccessKey", &arena),
                                  xml_find(xml, "SessionToken", &arena), xml_find(xml, "Expiration", &arena));
    arena_reset(&arena);
    return status;
}
