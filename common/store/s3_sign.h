/* s3_sign.h: AWS Signature Version 4, as "Authenticating Requests (AWS Signature Version 4)" of the S3 API
 * reference describes it.
 *
 * Own code and not curl's CURLOPT_AWS_SIGV4, which differs between the versions that distributions ship (some
 * leave queries unsorted, some sign host and date alone), takes its time from the machine's clock, so that an
 * answer RequestTimeTooSkewed could not be obeyed, and is of no use to a caller without curl. */
#ifndef STREAMHOUSE_S3_SIGN_H
#define STREAMHOUSE_S3_SIGN_H

#include <stddef.h>
#include <stdint.h>

#include "common/slice.h"
#include "common/status.h"

#define S3_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
/* SHA-256 of nothing. */
#define S3_EMPTY_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

enum {
    S3_DATE_SIZE = 17,
    S3_AUTHORIZATION_MAX = 1024,
    S3_DIGEST_BYTES = 32,
    S3_HEX_SIZE = 2 * S3_DIGEST_BYTES + 1
};

typedef struct S3Header {
    const char *name; /* lower case */
    const char *value;
} S3Header;

typedef struct S3Signing {
    const char *method;
    const char *path;  /* encoded, beginning with '/' */
    const char *query; /* encoded, sorted by name, every name with '='; "" for none */
    const S3Header *headers;
    size_t header_count; /* sorted by name; all are signed; host and x-amz-date are among them */
    const char *payload; /* what x-amz-content-sha256 says */
    const char *date;    /* what x-amz-date says */
    const char *region;
    const char *service; /* "s3" */
    const char *access_key;
    const char *secret_key;
} S3Signing;

/* The Authorization header's value. INTERNAL when the library fails or a name is too long. */
MUST_CHECK Status s3_sign(const S3Signing *signing, char authorization[S3_AUTHORIZATION_MAX]);

/* 20130524T000000Z */
void s3_date(int64_t now_s, char date[S3_DATE_SIZE]);

/* SHA-256 over slices, in hex. */
MUST_CHECK Status s3_payload_hash(const Slice *slices, size_t count, char hex[S3_HEX_SIZE]);

/* MD5 over slices, in base64: Content-MD5. */
enum { S3_MD5_SIZE = 25 };
MUST_CHECK Status s3_payload_md5(const Slice *slices, size_t count, char base64[S3_MD5_SIZE]);

/* CRC-32C over slices, big-endian, in base64: x-amz-checksum-crc32c. */
enum { S3_CRC32C_SIZE = 9 };
void s3_payload_crc32c(const Slice *slices, size_t count, char base64[S3_CRC32C_SIZE]);

/* Percent-encodes all but unreserved letters (RFC 3986, 2.3), and '/' too unless keep_slash. Returns the size
 * that the whole text needs without its NUL; out is cut, and always ended, when that is not less than size.
 */
size_t s3_encode(const char *text, bool keep_slash, char *out, size_t size);

#endif
