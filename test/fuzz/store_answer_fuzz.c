/* store_answer_fuzz.c: whatever an object store or a security token service may answer: error documents,
 * lists, keys. */
#include <stdlib.h>

#include "common/store/credentials.h"
#include "common/store/s3_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena;
    S3Listing listing;
    Credentials credentials;
    char code[S3_CODE_MAX + 1];
    Slice body = slice_of(data, size);
    arena_init(&arena, 1 << 22);
    s3_response_judge(400, body, code);
    Status status = s3_listing_parse(body, "p/", &arena, &listing);
    for (size_t i = 0; status_is_ok(&status) && i < listing.count; i++) {
        if (strlen(listing.entries[i].key) > size) {
            abort();
        }
    }
    arena_reset(&arena);
    status = credentials_parse_xml(body, &credentials);
    if (status_is_ok(&status) && credentials.access_key[0] == '\0') {
        abort();
    }
    status = credentials_parse_json(body, &credentials);
    if (status_is_ok(&status) && strpbrk(credentials.session_token, "\r\n")) {
        abort();
    }
    return 0;
}
