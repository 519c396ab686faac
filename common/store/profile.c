/* profile.c: reads one profile from AWS's files. */
#include "common/store/profile.h"

#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/store/ini.h"

typedef struct ProfileField {
    const char *name;
    size_t offset; /* of a const char * in Profile */
} ProfileField;

static const ProfileField profile_fields[] = {
    { "aws_access_key_id", offsetof(Profile, access_key) },
    { "aws_secret_access_key", offsetof(Profile, secret_key) },
    { "aws_session_token", offsetof(Profile, session_token) },
    { "region", offsetof(Profile, region) },
    { "endpoint_url", offsetof(Profile, endpoint_url) },
    { "role_arn", offsetof(Profile, role_arn) },
    { "role_session_name", offsetof(Profile, role_session_name) },
    { "web_identity_token_file", offsetof(Profile, token_file) },
};

static const char *const unsupported_names[] = { "credential_process", "source_profile", "credential_source",
                                                 "sso_session", "sso_start_url" };

const char *profile_read_file(const char *path, size_t max, Arena *arena)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd < 0 ? NULL : malloc(max + 1);
    size_t used = 0;
    ssize_t got = 0;
    while (text && used <= max && (got = read(fd, text + used, max + 1 - used)) > 0) {
        used += (size_t)got;
    }
    if (fd >= 0) {
        close(fd);
    }
    const char *copy = NULL;
    if (text && got >= 0 && used <= max) {
        while (used > 0 && strchr(" \t\r\n", text[used - 1])) {
            used--;
        }
        copy = arena_copy_text(arena, slice_of(text, used));
    }
    if (text) {
        explicit_bzero(text, max + 1);
        free(text);
    }
    return copy;
}

typedef struct ProfileTarget {
    Profile *profile;
    Arena *arena;
    bool has_pair; /* keys come from one file, never an id of one and a secret of the other */
} ProfileTarget;

static bool is_key_field(size_t offset)
{
    return offset <= offsetof(Profile, session_token);
}

static void profile_take(Slice name, Slice value, void *arg)
{
    ProfileTarget *target = arg;
    for (size_t i = 0; i < sizeof(profile_fields) / sizeof(*profile_fields); i++) {
        const char **field = (const char **)((char *)target->profile + profile_fields[i].offset);
        bool is_taken = *field || (target->has_pair && is_key_field(profile_fields[i].offset));
        if (slice_equals(name, slice_of_text(profile_fields[i].name)) && !is_taken && value.size > 0) {
            *field = arena_copy_text(target->arena, value);
        }
    }
    for (size_t i = 0; i < sizeof(unsupported_names) / sizeof(*unsupported_names); i++) {
        if (slice_equals(name, slice_of_text(unsupported_names[i]))) {
            target->profile->unsupported = unsupported_names[i];
        }
    }
}

static const char *file_path(const CredentialsOptions *options, const char *variable, const char *name,
                             char path[PATH_MAX])
{
    const char *set = credentials_environment(options, variable);
    const char *home = credentials_environment(options, "HOME");
    if (!set && !home) {
        return NULL;
    }
    int size = set ? snprintf(path, PATH_MAX, "%s", set) : snprintf(path, PATH_MAX, "%s/.aws/%s", home, name);
    return size > 0 && size < PATH_MAX ? path : NULL;
}

static void file_take(const char *path, const char *section, ProfileTarget *target)
{
    const char *text = path ? profile_read_file(path, PROFILE_FILE_MAX, target->arena) : NULL;
    if (text && ini_section_walk(slice_of_text(text), section, profile_take, target)) {
        target->profile->found = true;
    }
    target->has_pair = target->has_pair || target->profile->access_key;
}

void profile_read(const CredentialsOptions *options, Arena *arena, Profile *profile)
{
    char path[PATH_MAX];
    char section[256];
    const char *name = options->profile ? options->profile : credentials_environment(options, "AWS_PROFILE");
    name = name && *name ? name : "default";
    ProfileTarget target = { .profile = profile, .arena = arena };
    *profile = (Profile){ 0 };
    file_take(file_path(options, "AWS_SHARED_CREDENTIALS_FILE", "credentials", path), name, &target);
    bool is_default = strcmp(name, "default") == 0;
    int size = snprintf(section, sizeof(section), "%s%s", is_default ? "" : "profile ", name);
    if (size > 0 && (size_t)size < sizeof(section)) {
        file_take(file_path(options, "AWS_CONFIG_FILE", "config", path), section, &target);
    }
}
