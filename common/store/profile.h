/* profile.h: what ~/.aws/credentials and ~/.aws/config say about one profile. */
#ifndef STREAMHOUSE_PROFILE_H
#define STREAMHOUSE_PROFILE_H

#include "common/arena.h"
#include "common/store/credentials.h"

/* Strings are in the arena; NULL: not set. */
typedef struct Profile {
    const char *access_key;
    const char *secret_key;
    const char *session_token;
    const char *region;
    const char *endpoint_url;
    const char *role_arn;
    const char *role_session_name;
    const char *token_file;  /* web_identity_token_file */
    const char *unsupported; /* the name of a setting that would be needed and is not understood */
    bool found;
} Profile;

enum { PROFILE_FILE_MAX = 256 * 1024, PROFILE_ARENA_BYTES = 2 * PROFILE_FILE_MAX + 64 * 1024 };

/* Reads both files (AWS_SHARED_CREDENTIALS_FILE, AWS_CONFIG_FILE, else below HOME); what the first says wins.
 * Missing files are no failure. */
void profile_read(const CredentialsOptions *options, Arena *arena, Profile *profile);

/* A whole file, cut of white space at its end, as text in the arena; NULL when it cannot be read or is larger
 * than max. */
const char *profile_read_file(const char *path, size_t max, Arena *arena);

#endif
