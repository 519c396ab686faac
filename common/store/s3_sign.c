/* s3_sign.c: AWS Signature Version 4. The canonical request is hashed piece by piece and never put together.
 */
#include "common/store/s3_sign.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/crc32c.h"

enum { SECRET_MAX = 256, SCOPE_MAX = 160, SIGNED_NAMES_MAX = 512, TEXT_MAX = 512, DAY_LETTERS = 8 };

static void hex_write(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * size] = '\0';
}

static Status library_failure(void)
{
    return status_error(STATUS_INTERNAL, "the cryptographic library failed to sign or to hash");
}

/* Hashes slices with the named algorithm. */
static bool slices_digest(const char *algorithm, const Slice *slices, size_t count, uint8_t *out,
                          unsigned *size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_get_digestbyname(algorithm), NULL);
    for (size_t i = 0; i < count && done; i++) {
        done = slices[i].size == 0 || EVP_DigestUpdate(context, slices[i].data, slices[i].size);
    }
    done = done && EVP_DigestFinal_ex(context, out, size);
    EVP_MD_CTX_free(context);
    return done;
}

Status s3_payload_hash(const Slice *slices, size_t count, char hex[S3_HEX_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!slices_digest("SHA256", slices, count, digest, &size)) {
        return library_failure();
    }
    hex_write(digest, size, hex);
    return status_ok();
}

Status s3_payload_md5(const Slice *slices, size_t count, char base64[S3_MD5_SIZE])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!slices_digest("MD5", slices, count, digest, &size)) {
        return library_failure();
    }
    EVP_EncodeBlock((unsigned char *)base64, digest, (int)size);
    return status_ok();
}

void s3_payload_crc32c(const Slice *slices, size_t count, char base64[S3_CRC32C_SIZE])
{
    uint32_t crc = 0;
    for (size_t i = 0; i < count; i++) {
        crc = crc32c_extend(crc, slices[i]);
    }
    uint8_t bytes[4] = { (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc };
    EVP_EncodeBlock((unsigned char *)base64, bytes, sizeof(bytes));
}

size_t s3_encode(const char *text, bool keep_slash, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    for (const unsigned char *letter = (const unsigned char *)text; *letter; letter++) {
        bool plain = isalnum(*letter) || strchr("-._~", *letter) || (keep_slash && *letter == '/');
        char encoded[3] = { '%', digits[*letter >> 4], digits[*letter & 15] };
        const char *piece = plain ? (const char *)letter : encoded;
        for (size_t i = 0; i < (plain ? 1u : 3u); i++, used++) {
            if (used + 1 < size) {
                out[used] = piece[i];
            }
        }
    }
    if (size > 0) {
        out[used < size ? used : size - 1] = '\0';
    }
    return used;
}

void s3_date(int64_t now_s, char date[S3_DATE_SIZE])
{
    struct tm parts;
    time_t seconds = (time_t)now_s;
    gmtime_r(&seconds, &parts);
    if (strftime(date, S3_DATE_SIZE, "%Y%m%dT%H%M%SZ", &parts) == 0) {
        memcpy(date, "19700101T000000Z", S3_DATE_SIZE);
    }
}

static bool digest_text(EVP_MD_CTX *context, const char *text)
{
    return EVP_DigestUpdate(context, text, strlen(text));
}

static bool digest_headers(EVP_MD_CTX *context, const S3Signing *signing)
{
    bool done = true;
    for (size_t i = 0; i < signing->header_count && done; i++) {
        done = digest_text(context, signing->headers[i].name) && digest_text(context, ":") &&
               digest_text(context, signing->headers[i].value) && digest_text(context, "\n");
    }
    return done;
}

/* "host;range;x-amz-date" */
static bool signed_names(const S3Signing *signing, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < signing->header_count; i++) {
        int written = snprintf(out + used, size - used, "%s%s", i ? ";" : "", signing->headers[i].name);
        if (written < 0 || (size_t)written >= size - used) {
            return false;
        }
        used += (size_t)written;
    }
    return true;
}

static bool canonical_hash(const S3Signing *signing, const char *names, char hex[S3_HEX_SIZE])
{
    const char *const before[] = { signing->method, "\n", signing->path, "\n", signing->query, "\n" };
    const char *const after[] = { "\n", names, "\n", signing->payload };
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL);
    for (size_t i = 0; i < sizeof(before) / sizeof(*before) && done; i++) {
        done = digest_text(context, before[i]);
    }
    done = done && digest_headers(context, signing);
    for (size_t i = 0; i < sizeof(after) / sizeof(*after) && done; i++) {
        done = digest_text(context, after[i]);
    }
    done = done && EVP_DigestFinal_ex(context, digest, &size);
    EVP_MD_CTX_free(context);
    if (done) {
        hex_write(digest, size, hex);
    }
    return done;
}

static bool key_step(uint8_t key[S3_DIGEST_BYTES], const char *text)
{
    unsigned size = 0;
    uint8_t next[EVP_MAX_MD_SIZE];
    if (!HMAC(EVP_sha256(), key, S3_DIGEST_BYTES, (const uint8_t *)text, strlen(text), next, &size)) {
        return false;
    }
    memcpy(key, next, S3_DIGEST_BYTES);
    return true;
}

/* The signature is the last of a chain of keyed hashes: secret, day, region, service, "aws4_request", text.
 */
static bool text_sign(const S3Signing *signing, const char *text, char hex[S3_HEX_SIZE])
{
    char secret[SECRET_MAX + 4];
    char day[DAY_LETTERS + 1];
    uint8_t key[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    int letters = snprintf(secret, sizeof(secret), "AWS4%s", signing->secret_key);
    memcpy(day, signing->date, DAY_LETTERS);
    day[DAY_LETTERS] = '\0';
    bool done = letters > 0 && (size_t)letters < sizeof(secret) &&
                HMAC(EVP_sha256(), secret, letters, (const uint8_t *)day, DAY_LETTERS, key, &size) &&
                key_step(key, signing->region) && key_step(key, signing->service) &&
                key_step(key, "aws4_request") && key_step(key, text);
    if (done) {
        hex_write(key, S3_DIGEST_BYTES, hex);
    }
    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(key, sizeof(key));
    return done;
}

Status s3_sign(const S3Signing *signing, char authorization[S3_AUTHORIZATION_MAX])
{
    char names[SIGNED_NAMES_MAX];
    char scope[SCOPE_MAX];
    char text[TEXT_MAX];
    char hex[S3_HEX_SIZE];
    if (!signed_names(signing, names, sizeof(names)) || !canonical_hash(signing, names, hex)) {
        return library_failure();
    }
    int scope_size = snprintf(scope, sizeof(scope), "%.8s/%s/%s/aws4_request", signing->date, signing->region,
                              signing->service);
    int text_size = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", signing->date, scope, hex);
    if (scope_size < 0 || scope_size >= SCOPE_MAX || text_size < 0 || text_size >= TEXT_MAX) {
        return status_error(STATUS_INTERNAL, "the region's name is too long to sign with");
    }
    if (!text_sign(signing, text, hex)) {
        return library_failure();
    }
    int size = snprintf(authorization, S3_AUTHORIZATION_MAX,
                        "AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s",
                        signing->access_key, scope, names, hex);
    return size > 0 && size < S3_AUTHORIZATION_MAX
               ? status_ok()
               : status_error(STATUS_INTERNAL, "the access key is too long");
}
