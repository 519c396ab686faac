/* folder.c: writes, reads and removes objects that are files. The order of a PUT's steps is what makes it
 * safe: the bytes are durable before they have a name, and the name is durable before the caller hears of it.
 */
#include "common/store/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/store/store.h"

#define PART_FOLDER ".part"

enum { PART_NAME_MAX = 64, VECTOR_MAX = 64, FILE_MODE = 0640, FOLDER_MODE = 0750 };
_Static_assert(FOLDER_BUFFER_BYTES % FOLDER_ALIGNMENT == 0, "direct writes are whole blocks");

static Status folder_failure(const char *what, const char *name)
{
    int cause = errno;
    StatusCode code = cause == ENOENT                     ? STATUS_NOT_FOUND
                      : cause == EACCES || cause == EPERM ? STATUS_DENIED
                                                          : STATUS_INTERNAL;
    return status_error(code, "cannot %s %s: %s", what, name, strerror(cause));
}

/* Makes one folder durable, by path below the root. */
static Status folder_sync(const Folder *folder, const char *path, unsigned *syncs)
{
    int fd = openat(folder->root, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return folder_failure("open folder", path);
    }
    ++*syncs;
    Status status = fsync(fd) == 0 ? status_ok() : folder_failure("sync folder", path);
    close(fd);
    return status;
}

/* The path's parent, "" for one at the root. */
static void path_parent(const char *path, char parent[STORE_KEY_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 0;
    memcpy(parent, path, size);
    parent[size] = '\0';
}

/* Makes the folder at path; the name of a new one is durable. */
static Status folder_make(const char *path)
{
    char parent[PATH_MAX];
    if (mkdir(path, FOLDER_MODE) != 0) {
        return errno == EEXIST ? status_ok() : folder_failure("make folder", path);
    }
    snprintf(parent, sizeof(parent), "%s/..", path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        Status status = folder_failure("sync folder", parent);
        if (fd >= 0) {
            close(fd);
        }
        return status;
    }
    close(fd);
    return status_ok();
}

/* The same for it and every missing folder above it. */
static Status path_make(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        Status status = folder_make(path);
        *slash = '/';
        if (!status_is_ok(&status)) {
            return status;
        }
    }
    return folder_make(path);
}

Status folder_open(const char *path, Folder *folder)
{
    char copy[PATH_MAX - 4];
    if (path[0] != '/' || (size_t)snprintf(copy, sizeof(copy), "%s", path) >= sizeof(copy)) {
        return status_error(STATUS_INVALID, "the folder's path must be absolute and shorter than %d bytes",
                            PATH_MAX);
    }
    Status status = path_make(copy);
    if (!status_is_ok(&status)) {
        return status;
    }
    folder->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder->root < 0) {
        return folder_failure("open folder", path);
    }
    if (mkdirat(folder->root, PART_FOLDER, FOLDER_MODE) != 0 && errno != EEXIST) {
        status = folder_failure("make a folder for unfinished objects in", path);
        folder_close(folder);
    }
    return status;
}

void folder_close(Folder *folder)
{
    close(folder->root);
    folder->root = -1;
}

/* A name no other process or thread has; unguessable, so that a leftover never meets a new one. */
static void part_name(char name[PART_NAME_MAX])
{
    static _Atomic uint64_t count;
    uint64_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random)) {
        random = (uint64_t)getpid();
    }
    snprintf(name, PART_NAME_MAX, PART_FOLDER "/%016" PRIx64 "-%" PRIu64, random,
             atomic_fetch_add(&count, 1));
}

static Status write_all(int fd, const uint8_t *data, size_t size, const char *key)
{
    while (size > 0) {
        ssize_t written = write(fd, data, size);
        if (written < 0 && errno != EINTR) {
            return folder_failure("write", key);
        }
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
    return status_ok();
}

/* Gathers the slices into whole buffers; the last is filled up with zeros, which the caller cuts off. */
static Status write_direct(int fd, const FolderPut *put)
{
    size_t used = 0;
    for (size_t i = 0; i < put->slice_count; i++) {
        Slice rest = put->slices[i];
        while (rest.size > 0) {
            size_t room = FOLDER_BUFFER_BYTES - used;
            size_t size = rest.size < room ? rest.size : room;
            memcpy(put->buffer + used, rest.data, size);
            used += size;
            rest = slice_of(rest.data + size, rest.size - size);
            if (used == FOLDER_BUFFER_BYTES) {
                Status status = write_all(fd, put->buffer, used, put->key);
                if (!status_is_ok(&status)) {
                    return status;
                }
                used = 0;
            }
        }
    }
    size_t padded = (used + FOLDER_ALIGNMENT - 1) / FOLDER_ALIGNMENT * FOLDER_ALIGNMENT;
    memset(put->buffer + used, 0, padded - used);
    return write_all(fd, put->buffer, padded, put->key);
}

/* After a short write: finishes the vector's slices one by one. */
static Status write_rest(int fd, const struct iovec *vector, int count, size_t written, const char *key)
{
    for (int i = 0; i < count; i++) {
        if (written >= vector[i].iov_len) {
            written -= vector[i].iov_len;
            continue;
        }
        Status status =
            write_all(fd, (const uint8_t *)vector[i].iov_base + written, vector[i].iov_len - written, key);
        if (!status_is_ok(&status)) {
            return status;
        }
        written = 0;
    }
    return status_ok();
}

static Status write_buffered(int fd, const FolderPut *put)
{
    for (size_t i = 0; i < put->slice_count;) {
        struct iovec vector[VECTOR_MAX];
        int count = 0;
        for (; count < VECTOR_MAX && i < put->slice_count; count++, i++) {
            vector[count] = (struct iovec){ (void *)put->slices[i].data, put->slices[i].size };
        }
        ssize_t written = writev(fd, vector, count);
        if (written < 0 && errno != EINTR) {
            return folder_failure("write", put->key);
        }
        Status status = write_rest(fd, vector, count, written > 0 ? (size_t)written : 0, put->key);
        if (!status_is_ok(&status)) {
            return status;
        }
    }
    return status_ok();
}

static size_t put_bytes(const FolderPut *put)
{
    size_t bytes = 0;
    for (size_t i = 0; i < put->slice_count; i++) {
        bytes += put->slices[i].size;
    }
    return bytes;
}

static Status part_fill(int fd, const FolderPut *put, size_t bytes, bool direct)
{
    /* Extents laid out at once; also tells of a full disk before anything is written. */
    if (bytes >= FOLDER_DIRECT_MIN && fallocate(fd, 0, 0, (off_t)bytes) != 0 && errno == ENOSPC) {
        return folder_failure("write", put->key);
    }
    Status status = direct ? write_direct(fd, put) : write_buffered(fd, put);
    if (status_is_ok(&status) && direct && ftruncate(fd, (off_t)bytes) != 0) {
        status = folder_failure("cut", put->key);
    }
    if (status_is_ok(&status) && fdatasync(fd) != 0) {
        status = folder_failure("sync", put->key);
    }
    return status;
}

/* A durable file without its final name. */
static Status part_write(const Folder *folder, const FolderPut *put, const char *part)
{
    size_t bytes = put_bytes(put);
    bool direct = put->buffer && bytes >= FOLDER_DIRECT_MIN;
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd = openat(folder->root, part, flags | (direct ? O_DIRECT : 0), FILE_MODE);
    if (fd < 0 && direct && errno == EINVAL) {
        /* A file system without direct I/O, like tmpfs, may have made the file before it said so. */
        direct = false;
        unlinkat(folder->root, part, 0);
        fd = openat(folder->root, part, flags, FILE_MODE);
    }
    if (fd < 0) {
        return folder_failure("make a file for", put->key);
    }
    Status status = part_fill(fd, put, bytes, direct);
    if (close(fd) != 0 && status_is_ok(&status)) {
        status = folder_failure("close", put->key);
    }
    return status;
}

/* The last size bytes of what is to be PUT. */
static void put_tail(const FolderPut *put, uint8_t *out, size_t size)
{
    for (size_t i = put->slice_count; i > 0 && size > 0; i--) {
        Slice slice = put->slices[i - 1];
        size_t taken = slice.size < size ? slice.size : size;
        if (taken > 0) {
            memcpy(out + size - taken, slice.data + slice.size - taken, taken);
        }
        size -= taken;
    }
}

/* Whether the object that has the key is the one that was to be PUT: by its size and its tail. */
static Status put_compare(const Folder *folder, FolderPut *put)
{
    uint8_t ours[STORE_TAIL_DEFAULT];
    uint64_t theirs = 0;
    size_t bytes = put_bytes(put);
    size_t tail = bytes < put->tail_bytes ? bytes : put->tail_bytes;
    Status status = folder_head(folder, put->key, &theirs);
    if (!status_is_ok(&status)) {
        return status;
    }
    bool same = theirs == bytes;
    if (same && tail > 0) {
        Block *block = NULL;
        status = folder_get(folder, put->key, bytes - tail, tail, &block, &theirs);
        if (!status_is_ok(&status)) {
            block_release(block);
            return status;
        }
        put_tail(put, ours, tail);
        same = block->size == tail && memcmp(block->bytes, ours, tail) == 0;
        block_release(block);
    }
    put->was_there = same;
    return same ? status_ok() : status_error(STATUS_EXISTS, "another object has the key %s", put->key);
}

/* Makes the folders of a key that are missing. */
static Status key_make_folders(const Folder *folder, const char *key)
{
    char path[STORE_KEY_MAX + 1];
    for (const char *slash = strchr(key, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t size = (size_t)(slash - key);
        memcpy(path, key, size);
        path[size] = '\0';
        if (mkdirat(folder->root, path, FOLDER_MODE) != 0 && errno != EEXIST) {
            return folder_failure("make folder", path);
        }
    }
    return status_ok();
}

static int part_name_it(const Folder *folder, const FolderPut *put, const char *part)
{
    return put->if_absent ? linkat(folder->root, part, folder->root, put->key, 0)
                          : renameat(folder->root, part, folder->root, put->key);
}

/* Gives the durable file its name; a name that is taken is compared. */
static Status part_link(const Folder *folder, FolderPut *put, const char *part)
{
    int failed = part_name_it(folder, put, part);
    if (failed && errno == ENOENT) {
        Status status = key_make_folders(folder, put->key);
        if (!status_is_ok(&status)) {
            return status;
        }
        put->sync_parents = true;
        failed = part_name_it(folder, put, part);
    }
    if (failed && errno == EEXIST && put->if_absent) {
        return put_compare(folder, put);
    }
    return failed ? folder_failure("name", put->key) : status_ok();
}

/* The key's folder, and with sync_parents every folder above it, up to the root. */
static Status key_sync(const Folder *folder, FolderPut *put)
{
    char path[STORE_KEY_MAX + 1];
    char parent[STORE_KEY_MAX + 1];
    path_parent(put->key, path);
    Status status = folder_sync(folder, path, &put->syncs);
    while (status_is_ok(&status) && put->sync_parents && *path) {
        path_parent(path, parent);
        memcpy(path, parent, sizeof(path));
        status = folder_sync(folder, path, &put->syncs);
    }
    return status;
}

Status folder_put(const Folder *folder, FolderPut *put)
{
    char part[PART_NAME_MAX];
    part_name(part);
    put->was_there = false;
    put->syncs = 0;
    Status status = part_write(folder, put, part);
    if (status_is_ok(&status)) {
        status = part_link(folder, put, part);
    }
    /* Gone already when it was renamed. */
    unlinkat(folder->root, part, 0);
    if (status_is_ok(&status)) {
        status = key_sync(folder, put);
    }
    return status;
}

static Status key_open(const Folder *folder, const char *key, int *fd, uint64_t *object_bytes)
{
    struct stat found;
    *fd = openat(folder->root, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (*fd < 0) {
        return folder_failure("open", key);
    }
    if (fstat(*fd, &found) != 0 || !S_ISREG(found.st_mode)) {
        close(*fd);
        return status_error(STATUS_NOT_FOUND, "%s is no object", key);
    }
    *object_bytes = (uint64_t)found.st_size;
    return status_ok();
}

/* Past the page cache: a large object was written past it too, and filling it costs more than reading. False
 * when this range, file system or block does not allow it. */
static bool block_fill_direct(int root, const char *key, uint64_t start, Block *block)
{
    size_t rounded = (block->size + FOLDER_ALIGNMENT - 1) / FOLDER_ALIGNMENT * FOLDER_ALIGNMENT;
    bool aligned = start % FOLDER_ALIGNMENT == 0 && (uintptr_t)block->bytes % FOLDER_ALIGNMENT == 0;
    int fd = aligned ? openat(root, key, O_RDONLY | O_DIRECT | O_CLOEXEC | O_NOFOLLOW) : -1;
    if (fd < 0) {
        return false;
    }
    ssize_t got = pread(fd, block->bytes, rounded, (off_t)start);
    close(fd);
    return got >= 0 && (size_t)got >= block->size;
}

/* Reads until the block is full or the file ends. */
static Status block_fill(int fd, uint64_t start, Block *block, const char *key)
{
    size_t done = 0;
    while (done < block->size) {
        ssize_t got = pread(fd, block->bytes + done, block->size - done, (off_t)(start + done));
        if (got < 0 && errno != EINTR) {
            return folder_failure("read", key);
        }
        if (got == 0) {
            return status_error(STATUS_CORRUPT, "%s became shorter while it was read", key);
        }
        done += got > 0 ? (size_t)got : 0;
    }
    return status_ok();
}

Status folder_get(const Folder *folder, const char *key, uint64_t start, uint64_t length, Block **block,
                  uint64_t *object_bytes)
{
    int fd;
    Status status = key_open(folder, key, &fd, object_bytes);
    if (!status_is_ok(&status)) {
        return status;
    }
    uint64_t left = start < *object_bytes ? *object_bytes - start : 0;
    uint64_t size = length == 0 || left < length ? left : length;
    if (size == 0 && (start > 0 || length > 0)) {
        status = status_error(STATUS_INVALID, "%s has %" PRIu64 " bytes, none at %" PRIu64, key,
                              *object_bytes, start);
    } else if (size > STORE_GET_MAX) {
        status = status_error(STATUS_LIMIT, "%s is too large to be read at once", key);
    } else if (!*block && !(*block = block_new_aligned(size))) {
        status = status_error(STATUS_INTERNAL, "no memory to read %" PRIu64 " bytes of %s", size, key);
    } else {
        (*block)->size = size;
        bool large = *object_bytes >= FOLDER_DIRECT_MIN && size >= FOLDER_DIRECT_READ_MIN;
        if (!large || !block_fill_direct(folder->root, key, start, *block)) {
            status = block_fill(fd, start, *block, key);
        }
    }
    close(fd);
    return status;
}

Status folder_head(const Folder *folder, const char *key, uint64_t *object_bytes)
{
    struct stat found;
    if (fstatat(folder->root, key, &found, AT_SYMLINK_NOFOLLOW) != 0) {
        return folder_failure("find", key);
    }
    if (!S_ISREG(found.st_mode)) {
        return status_error(STATUS_NOT_FOUND, "%s is no object", key);
    }
    *object_bytes = (uint64_t)found.st_size;
    return status_ok();
}

Status folder_delete(const Folder *folder, const char *key)
{
    char path[STORE_KEY_MAX + 1];
    unsigned syncs = 0;
    if (unlinkat(folder->root, key, 0) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? status_ok() : folder_failure("remove", key);
    }
    path_parent(key, path);
    return folder_sync(folder, path, &syncs);
}
