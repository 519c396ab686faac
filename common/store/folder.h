/* folder.h: objects as files below a folder, with plain system calls. Knows neither loop nor threads; a
 * Folder is not changed after folder_open(), so that several threads may use one.
 *
 * A PUT writes a file in the folder's own .part/, makes it durable, links it to its key without overwriting,
 * and makes the name durable. A crash leaves a whole object or none, and perhaps a file in .part/ for
 * folder_sweep(). */
#ifndef STREAMHOUSE_FOLDER_H
#define STREAMHOUSE_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/block.h"
#include "common/slice.h"
#include "common/status.h"

enum {
    FOLDER_BUFFER_BYTES = 1024 * 1024, /* what one direct write carries */
    FOLDER_ALIGNMENT = 4096,           /* of memory, file positions and sizes in direct writes */
    FOLDER_DIRECT_MIN = 512 * 1024, /* objects from this size on bypass the page cache: a fifth of the CPU */
    FOLDER_DIRECT_READ_MIN = 64 * 1024, /* reads of this size on from such objects bypass it, too */
    FOLDER_DEPTH_MAX = 16               /* folders below folders that folder_list() descends */
};

typedef struct Folder {
    int root; /* file descriptor of the folder */
} Folder;

/* Opens the folder, making it and its parents when missing. */
MUST_CHECK Status folder_open(const char *path, Folder *folder);
void folder_close(Folder *folder);

typedef struct FolderPut {
    const char *key; /* store_key_is_valid() */
    const Slice *slices;
    size_t slice_count;
    size_t tail_bytes; /* compared when the key is taken */
    bool if_absent;
    bool sync_parents; /* also make the key's folders durable: needed once per folder and process */
    uint8_t *buffer;   /* FOLDER_BUFFER_BYTES at FOLDER_ALIGNMENT, for direct writes; NULL: never direct */
    bool was_there;    /* out: the key had these bytes already */
    unsigned syncs;    /* out: fsyncs of folders */
} FolderPut;

/* OK: durable. EXISTS: another object has the key. INTERNAL: the disk is full or broken. */
MUST_CHECK Status folder_put(const Folder *folder, FolderPut *put);

/* Reads length bytes (0: all) from start; fewer when the object ends. *block is a block of length bytes to
 * fill (block_new_aligned() for large ones), or NULL for a new one to be made; it is the caller's in any
 * case. NOT_FOUND; INVALID: nothing there.
 */
MUST_CHECK Status folder_get(const Folder *folder, const char *key, uint64_t start, uint64_t length,
                             Block **block, uint64_t *object_bytes);
MUST_CHECK Status folder_head(const Folder *folder, const char *key, uint64_t *object_bytes);

/* OK also when there is no such object. */
MUST_CHECK Status folder_delete(const Folder *folder, const char *key);

/* Called with keys in byte order; false ends the walk. */
typedef bool FolderVisit(const char *key, uint64_t bytes, void *arg);
MUST_CHECK Status folder_list(const Folder *folder, const char *prefix, const char *start_after,
                              FolderVisit *visit, void *arg);

/* Removes what crashes left in .part/ before the Unix time given. Returns how many files. */
int folder_sweep(const Folder *folder, int64_t before_s);

#endif
