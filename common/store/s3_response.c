/* s3_response.c: judges S3's answers. The error code decides where there is one, else the HTTP status. Codes
 * are those of "Error responses" in the S3 API reference, and those that Ceph, MinIO and Swift add. */
#include "common/store/s3_response.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/xml.h"

enum { ERROR_ARENA_BYTES = 16 * 1024 };

typedef struct CodeVerdict {
    const char *code;
    S3Verdict verdict;
} CodeVerdict;

static const CodeVerdict code_verdicts[] = {
    { "SlowDown", S3_SLOW_DOWN },
    { "ServiceUnavailable", S3_SLOW_DOWN },
    { "TooManyRequests", S3_SLOW_DOWN },
    { "Throttling", S3_SLOW_DOWN },
    { "ThrottlingException", S3_SLOW_DOWN },
    { "RequestLimitExceeded", S3_SLOW_DOWN },
    { "BandwidthLimitExceeded", S3_SLOW_DOWN },
    { "RequestTimeout", S3_RETRY },
    { "InternalError", S3_RETRY },
    { "OperationAborted", S3_RETRY },
    { "ConditionalRequestConflict", S3_RETRY },
    { "BadDigest", S3_RETRY },
    { "IncompleteBody", S3_RETRY },
    { "XAmzContentSHA256Mismatch", S3_RETRY },
    { "XAmzContentChecksumMismatch", S3_RETRY },
    { "ExpiredToken", S3_RENEW },
    { "TokenRefreshRequired", S3_RENEW },
    { "InvalidToken", S3_RENEW },
    { "InvalidAccessKeyId", S3_RENEW },
    { "RequestTimeTooSkewed", S3_SKEWED },
    { "RequestExpired", S3_SKEWED },
    { "PreconditionFailed", S3_TAKEN },
    { "NotImplemented", S3_UNCONDITIONAL },
    { "NoSuchKey", S3_MISSING },
    { "NoSuchBucket", S3_NO_BUCKET },
    { "InvalidRange", S3_NO_RANGE },
    { "PermanentRedirect", S3_ELSEWHERE },
    { "TemporaryRedirect", S3_ELSEWHERE },
    { "AuthorizationHeaderMalformed", S3_ELSEWHERE },
    { "IllegalLocationConstraintException", S3_ELSEWHERE },
    { "AccessDenied", S3_DENIED },
    { "AccountProblem", S3_DENIED },
    { "AllAccessDisabled", S3_DENIED },
    { "SignatureDoesNotMatch", S3_DENIED },
};

typedef struct HttpVerdict {
    int status;
    S3Verdict verdict;
} HttpVerdict;

static const HttpVerdict http_verdicts[] = {
    { 0, S3_RETRY },           { 301, S3_ELSEWHERE }, { 307, S3_ELSEWHERE }, { 401, S3_DENIED },
    { 403, S3_DENIED },        { 404, S3_MISSING },   { 408, S3_RETRY },     { 409, S3_RETRY },
    { 412, S3_TAKEN },         { 416, S3_NO_RANGE },  { 425, S3_RETRY },     { 429, S3_SLOW_DOWN },
    { 501, S3_UNCONDITIONAL }, { 503, S3_SLOW_DOWN }, { 509, S3_SLOW_DOWN },
};

static bool code_find(const char *code, S3Verdict *verdict)
{
    for (size_t i = 0; i < sizeof(code_verdicts) / sizeof(*code_verdicts); i++) {
        if (strcmp(code, code_verdicts[i].code) == 0) {
            *verdict = code_verdicts[i].verdict;
            return true;
        }
    }
    return false;
}

static S3Verdict http_find(int http_status)
{
    for (size_t i = 0; i < sizeof(http_verdicts) / sizeof(*http_verdicts); i++) {
        if (http_status == http_verdicts[i].status) {
            return http_verdicts[i].verdict;
        }
    }
    return http_status >= 500 || http_status < 200 ? S3_RETRY : S3_REFUSED;
}

S3Verdict s3_response_judge(int http_status, Slice body, char code[S3_CODE_MAX + 1])
{
    Arena arena;
    S3Verdict verdict;
    code[0] = '\0';
    if (http_status >= 200 && http_status < 300) {
        return S3_DONE;
    }
    arena_init(&arena, ERROR_ARENA_BYTES);
    const char *found = xml_find(body, "Code", &arena);
    if (found) {
        /* Codes are words; anything else is not repeated in logs. */
        size_t size = strspn(found, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.");
        snprintf(code, S3_CODE_MAX + 1, "%.*s", (int)(size < S3_CODE_MAX ? size : S3_CODE_MAX), found);
    }
    arena_reset(&arena);
    return code_find(code, &verdict) ? verdict : http_find(http_status);
}

typedef struct VerdictText {
    StatusCode status;
    const char *text; /* %s: subject */
} VerdictText;

static const VerdictText verdict_texts[] = {
    [S3_RETRY] = { STATUS_UNAVAILABLE, "the object store failed" },
    [S3_SLOW_DOWN] = { STATUS_UNAVAILABLE, "the object store asks for fewer requests" },
    [S3_RENEW] = { STATUS_DENIED, "the object store knows these credentials no more or not at all" },
    [S3_SKEWED] = { STATUS_DENIED, "the object store's clock and ours differ too much" },
    [S3_UNCONDITIONAL] = { STATUS_INVALID, "the object store has not implemented what was asked" },
    [S3_TAKEN] = { STATUS_EXISTS, "another object has the key" },
    [S3_MISSING] = { STATUS_NOT_FOUND, "there is no object" },
    [S3_NO_BUCKET] = { STATUS_NOT_FOUND, "the bucket does not exist: create it" },
    [S3_NO_RANGE] = { STATUS_INVALID, "the object has no bytes at the position asked for" },
    [S3_ELSEWHERE] = { STATUS_INVALID, "the bucket is in another region than the one set" },
    [S3_DENIED] = { STATUS_DENIED, "the object store denies access: check keys and policy" },
    [S3_REFUSED] = { STATUS_INVALID, "the object store refused the request" },
};

Status s3_verdict_status(S3Verdict verdict, int http_status, const char *code, const char *subject,
                         const char *region)
{
    if (verdict == S3_DONE) {
        return status_ok();
    }
    const VerdictText *text = &verdict_texts[verdict];
    if (verdict == S3_ELSEWHERE && region && *region) {
        return status_error(text->status, "%s: %s (set the region to %s)", subject, text->text, region);
    }
    return status_error(text->status, "%s: %s (HTTP %d%s%s)", subject, text->text, http_status,
                        *code ? " " : "", code);
}

static bool number_parse(const char **text, uint64_t *value)
{
    char *end;
    if (**text < '0' || **text > '9') {
        return false;
    }
    errno = 0;
    *value = strtoull(*text, &end, 10);
    *text = end;
    return errno == 0;
}

static bool letter_take(const char **text, char letter)
{
    return **text == letter && *(*text)++ == letter;
}

bool s3_content_range_parse(const char *text, uint64_t *start, uint64_t *end, uint64_t *object_bytes)
{
    static const char unit[] = "bytes ";
    if (strncmp(text, unit, sizeof(unit) - 1) != 0) {
        return false;
    }
    text += sizeof(unit) - 1;
    return number_parse(&text, start) && letter_take(&text, '-') && number_parse(&text, end) &&
           letter_take(&text, '/') && number_parse(&text, object_bytes) && *text == '\0' && *start <= *end &&
           *end < *object_bytes;
}

static Status listing_full(void)
{
    return status_error(STATUS_INTERNAL, "no memory for a list of objects");
}

static Status listing_broken(void)
{
    return status_error(STATUS_CORRUPT, "the object store's list of objects is malformed");
}

/* Keeps the entry whose last element just ended. */
static Status listing_add(S3Listing *listing, const char *key, uint64_t bytes, const char *prefix,
                          Arena *arena)
{
    size_t prefix_size = strlen(prefix);
    if (strncmp(key, prefix, prefix_size) != 0) {
        return status_ok();
    }
    if (listing->count == STORE_LIST_MAX) {
        return listing_broken();
    }
    if (!listing->entries) {
        listing->entries = arena_allocate_array(arena, STORE_LIST_MAX, sizeof(StoreEntry));
        if (!listing->entries) {
            return listing_full();
        }
    }
    listing->entries[listing->count++] = (StoreEntry){ key + prefix_size, bytes };
    return status_ok();
}

typedef struct ListingEntry {
    const char *key;
    uint64_t bytes;
    bool has_bytes;
} ListingEntry;

/* An element ended: part of an entry, an entry, or the word about more. */
static Status listing_close(const Xml *xml, ListingEntry *entry, const char *prefix, Arena *arena,
                            S3Listing *listing)
{
    if (xml_is(xml, "ListBucketResult", "Contents")) {
        Status status = entry->key && entry->has_bytes
                            ? listing_add(listing, entry->key, entry->bytes, prefix, arena)
                            : listing_broken();
        *entry = (ListingEntry){ 0 };
        return status;
    }
    bool is_key = xml_is(xml, "Contents", "Key");
    bool is_bytes = xml_is(xml, "Contents", "Size");
    bool is_more = xml_is(xml, "ListBucketResult", "IsTruncated");
    if (!is_key && !is_bytes && !is_more) {
        return status_ok();
    }
    const char *text = xml_text(xml, arena);
    if (!text) {
        return listing_broken();
    }
    if (is_key) {
        entry->key = text;
    } else if (is_bytes) {
        entry->has_bytes = number_parse(&text, &entry->bytes) && *text == '\0';
    } else {
        listing->more = strcmp(text, "true") == 0;
    }
    return status_ok();
}

Status s3_listing_parse(Slice body, const char *prefix, Arena *arena, S3Listing *listing)
{
    Xml xml;
    ListingEntry entry = { 0 };
    bool is_listing = false;
    *listing = (S3Listing){ 0 };
    xml_begin(&xml, body);
    for (;;) {
        XmlEvent event = xml_next(&xml);
        if (event == XML_BROKEN || (event == XML_END && !is_listing)) {
            return listing_broken();
        }
        if (event == XML_END) {
            return status_ok();
        }
        is_listing = is_listing || xml_is(&xml, NULL, "ListBucketResult");
        Status status =
            event == XML_CLOSE ? listing_close(&xml, &entry, prefix, arena, listing) : status_ok();
        if (!status_is_ok(&status)) {
            return status;
        }
    }
}
