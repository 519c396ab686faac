/* folder_list.c: walks a folder in the byte order of its keys, as S3 lists a bucket, and clears away what
 * crashes left.
 *
 * Within one folder, entries are ordered with a '/' behind the names of folders: "a-b" comes before "a/c",
 * since '-' is less than '/'. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store/folder.h"
#include "common/store/store.h"

typedef struct Walk {
    const Folder *folder;
    const char *prefix;
    const char *start_after;
    FolderVisit *visit;
    void *arg;
    bool ended;
    char key[STORE_KEY_MAX + 2]; /* of the entry at hand; of a folder with its slash */
} Walk;

typedef struct Names {
    char **names; /* those of folders end in '/' */
    size_t count;
    size_t capacity;
} Names;

static bool names_add(Names *names, const char *name, bool is_folder)
{
    if (names->count == names->capacity) {
        size_t capacity = names->capacity ? names->capacity * 2 : 64;
        char **grown = realloc(names->names, capacity * sizeof(char *));
        if (!grown) {
            return false;
        }
        names->names = grown;
        names->capacity = capacity;
    }
    size_t size = strlen(name);
    char *copy = malloc(size + 2);
    if (!copy) {
        return false;
    }
    memcpy(copy, name, size);
    copy[size] = is_folder ? '/' : '\0';
    copy[size + 1] = '\0';
    names->names[names->count++] = copy;
    return true;
}

static void names_free(Names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->names[i]);
    }
    free(names->names);
}

static int names_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool entry_is_folder(int fd, const struct dirent *entry)
{
    struct stat found;
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_DIR;
    }
    return fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(found.st_mode);
}

/* Whether keys that begin with key may be asked for. */
static bool walk_wants(const Walk *walk, const char *key, bool is_folder)
{
    size_t size = strlen(key);
    size_t prefix_size = strlen(walk->prefix);
    size_t shared = size < prefix_size ? size : prefix_size;
    if (memcmp(key, walk->prefix, shared) != 0 || (!is_folder && size < prefix_size)) {
        return false;
    }
    int order = strncmp(key, walk->start_after, is_folder ? size : STORE_KEY_MAX);
    return order > 0 || (is_folder && order == 0);
}

static Status names_read(Walk *walk, int fd, size_t depth_size, Names *names)
{
    DIR *stream = fdopendir(fd);
    if (!stream) {
        close(fd);
        return status_error(STATUS_INTERNAL, "cannot read a folder: %s", strerror(errno));
    }
    Status status = status_ok();
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        size_t size = strlen(entry->d_name);
        if (entry->d_name[0] == '.' || size > STORE_KEY_MAX - depth_size) {
            continue;
        }
        bool is_folder = entry_is_folder(dirfd(stream), entry);
        memcpy(walk->key + depth_size, entry->d_name, size + 1);
        if (is_folder) {
            memcpy(walk->key + depth_size + size, "/", 2);
        }
        if (walk_wants(walk, walk->key, is_folder) && !names_add(names, entry->d_name, is_folder)) {
            status = status_error(STATUS_INTERNAL, "no memory to list a folder");
            break;
        }
    }
    closedir(stream);
    return status;
}

static Status walk_folder(Walk *walk, size_t size, int depth);

static Status walk_name(Walk *walk, const char *name, size_t size, int depth)
{
    size_t name_size = strlen(name);
    uint64_t bytes = 0;
    memcpy(walk->key + size, name, name_size + 1);
    if (name[name_size - 1] == '/') {
        return walk_folder(walk, size + name_size, depth + 1);
    }
    Status status = folder_head(walk->folder, walk->key, &bytes);
    if (status_is_ok(&status)) {
        walk->ended = !walk->visit(walk->key, bytes, walk->arg);
    }
    /* Removed since the folder was read, or no file at all. */
    return status.code == STATUS_NOT_FOUND ? status_ok() : status;
}

/* walk->key[0 .. size) is the folder, with its slash. */
static Status walk_folder(Walk *walk, size_t size, int depth)
{
    Names names = { 0 };
    if (depth > FOLDER_DEPTH_MAX || size >= STORE_KEY_MAX) {
        return status_ok();
    }
    walk->key[size] = '\0';
    int fd =
        openat(walk->folder->root, size ? walk->key : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return errno == ENOENT ? status_ok()
                               : status_error(STATUS_INTERNAL, "cannot open a folder: %s", strerror(errno));
    }
    Status status = names_read(walk, fd, size, &names);
    if (names.count > 1) {
        qsort(names.names, names.count, sizeof(char *), names_compare);
    }
    for (size_t i = 0; i < names.count && status_is_ok(&status) && !walk->ended; i++) {
        status = walk_name(walk, names.names[i], size, depth);
    }
    names_free(&names);
    return status;
}

Status folder_list(const Folder *folder, const char *prefix, const char *start_after, FolderVisit *visit,
                   void *arg)
{
    Walk walk = {
        .folder = folder, .prefix = prefix, .start_after = start_after, .visit = visit, .arg = arg
    };
    return walk_folder(&walk, 0, 0);
}

int folder_sweep(const Folder *folder, int64_t before_s)
{
    int swept = 0;
    int fd = openat(folder->root, ".part", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *entry = stream ? readdir(stream) : NULL; entry; entry = readdir(stream)) {
        struct stat found;
        if (entry->d_name[0] != '.' && fstatat(fd, entry->d_name, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
            found.st_mtime < before_s && unlinkat(fd, entry->d_name, 0) == 0) {
            swept++;
        }
    }
    if (stream) {
        closedir(stream);
    }
    return swept;
}
