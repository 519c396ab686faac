/* store_read.c: reads objects of the store as the agents' settings name it: a folder by system calls, S3 by
 * store_s3.c.
 *
 * Bytes come in aligned blocks of 1 MiB and stay in the backend's cache. What is read on from where the last
 * read of the same object ended is read ahead, twice as far each time, up to READ_AHEAD_BLOCKS_MAX: a scan of
 * an object makes few requests, and a look at one record a small one. */
#include "compat.h"
#include "store_read.h"

#include <fcntl.h>

#include "common/store/folder.h"
#include "common/store/store_url.h"
#include "fmgr.h"
#include "relation.h"
#include "setting.h"
#include "store_cache.h"
#include "store_s3.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

enum { READ_AHEAD_BLOCKS_MAX = 8 };

StoreReadStats store_read_stats;

PG_FUNCTION_INFO_V1(streamhouse_store_has);

/* The store that is open, and by which setting. */
typedef struct OpenStore {
    char *setting;
    StoreUrl url;
    Folder folder;
    bool is_open;
} OpenStore;

/* Where the last read of the store ended, and how far it read ahead. */
typedef struct ReadAhead {
    int64 object_id;
    int64 next;
    int blocks;
} ReadAhead;

static OpenStore store;
static ReadAhead ahead;

static int status_sqlstate(StatusCode code)
{
    switch (code) {
    case STATUS_INVALID:
        return ERRCODE_INVALID_PARAMETER_VALUE;
    case STATUS_DENIED:
        return ERRCODE_INSUFFICIENT_PRIVILEGE;
    case STATUS_CORRUPT:
        return ERRCODE_DATA_CORRUPTED;
    case STATUS_NOT_FOUND:
        return ERRCODE_UNDEFINED_FILE;
    case STATUS_UNAVAILABLE:
    case STATUS_TIMEOUT:
        return ERRCODE_CONNECTION_FAILURE;
    default:
        return ERRCODE_IO_ERROR;
    }
}

static void store_fail(const char *what, const Status *status)
{
    const char *hint =
        store.url.is_folder
            ? "Agents make files that their group may read: let the folder belong to a group of this "
              "server's "
              "user and pass that on (chgrp, chmod g+s) before agents write to it."
            : "See the settings streamhouse.store and streamhouse.s3_*; credentials are looked for in the "
              "environment and the AWS files of this server's user.";
    ereport(ERROR, errcode(status_sqlstate(status->code)), errmsg("%s: %s", what, status->message),
            errhint("%s", hint));
}

static void store_shut(void)
{
    if (store.is_open && store.url.is_folder) {
        folder_close(&store.folder);
    }
    store.is_open = false;
    store_cache_trim(0);
}

/* Not folder_open(): that makes the folder and writes to it, which is not a reader's part. */
static Status folder_open_to_read(void)
{
    store.folder.root = open(store.url.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store.folder.root < 0) {
        return status_error(STATUS_INVALID, "folder %s cannot be read by this server: %s", store.url.path,
                            strerror(errno));
    }
    return status_ok();
}

static void store_open_setting(void)
{
    store_shut();
    if (store.setting) {
        pfree(store.setting);
    }
    store.setting = MemoryContextStrdup(TopMemoryContext, setting_store);
    Status status = store_url_parse(setting_store, &store.url);
    if (status_is_ok(&status) && store.url.is_folder) {
        status = folder_open_to_read();
    }
    if (!status_is_ok(&status)) {
        store_fail("the store cannot be opened", &status);
    }
    store.is_open = true;
}

static void store_require(void)
{
    if (!setting_store || !*setting_store) {
        ereport(
            ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
            errmsg("records are in the object store, and this server does not know which that is"),
            errhint("Set streamhouse.store to what the agents have, such as s3://bucket/prefix or "
                    "file:///folder: ALTER SYSTEM SET streamhouse.store = '…'; SELECT pg_reload_conf()."));
    }
    if (!store.is_open || strcmp(store.setting, setting_store) != 0) {
        store_open_setting();
    }
}

static Status store_get_bytes(const char *key, uint64 start, uint64 length, Block **block)
{
    uint64 object_bytes;
    *block = NULL;
    if (store.url.is_folder) {
        return folder_get(&store.folder, key, start, length, block, &object_bytes);
    }
    return store_s3_get(&store.url, key, start, length, block);
}

/* Cuts what was read into the cache's blocks. */
static void blocks_keep(int64 object_id, int64 number, Block *bytes)
{
    if (bytes->size <= STORE_READ_BLOCK_BYTES) {
        store_cache_put(object_id, number, bytes);
        return;
    }
    for (size_t start = 0; start < bytes->size; start += STORE_READ_BLOCK_BYTES) {
        size_t size = Min(bytes->size - start, STORE_READ_BLOCK_BYTES);
        Block *block = block_new(size);
        if (!block) {
            break; /* what is missing is read again */
        }
        memcpy(block->bytes, bytes->bytes + start, size);
        store_cache_put(object_id, number + start / STORE_READ_BLOCK_BYTES, block);
    }
    block_release(bytes);
}

/* How many blocks to read from number on, of which wanted are needed now. */
static int blocks_ahead(int64 object_id, int64 number, int64 wanted)
{
    bool goes_on = ahead.object_id == object_id && ahead.next == number;
    int most = Max(1, Min(READ_AHEAD_BLOCKS_MAX, setting_fetch_cache_bytes / STORE_READ_BLOCK_BYTES));
    int blocks = goes_on ? Min(ahead.blocks * 2, most) : 1;
    return Max(blocks, Min(wanted, most));
}

/* False when there is no such object. */
static bool blocks_load(int64 object_id, const char *key, int64 number, int64 wanted)
{
    Block *bytes;
    int count = blocks_ahead(object_id, number, wanted);
    store_require();
    Status status = store_get_bytes(key, (uint64)number * STORE_READ_BLOCK_BYTES,
                                    (uint64)count * STORE_READ_BLOCK_BYTES, &bytes);
    store_read_stats.reads++;
    if (!status_is_ok(&status)) {
        block_release(bytes);
        if (status.code == STATUS_NOT_FOUND) {
            return false;
        }
        store_fail("records cannot be read from the store", &status);
    }
    store_read_stats.bytes_read += bytes->size;
    ahead = (ReadAhead){ object_id, number + count, count };
    blocks_keep(object_id, number, bytes);
    return true;
}

/* What is remembered goes by ids of objects, and those begin anew when the extension is created anew. */
static void forget_other_extension(void)
{
    static Oid objects = InvalidOid;
    Oid now = streamhouse_relation("object");
    if (now != objects) {
        store_cache_trim(0);
        ahead = (ReadAhead){ 0 };
        objects = now;
    }
}

bool store_read(int64 object_id, const char *key, uint64 start, size_t length, uint8 *out)
{
    size_t copied = 0;
    forget_other_extension();
    while (copied < length) {
        int64 number = (start + copied) / STORE_READ_BLOCK_BYTES;
        size_t within = (start + copied) % STORE_READ_BLOCK_BYTES;
        Block *block = store_cache_find(object_id, number);
        store_read_stats.hits += block != NULL;
        if (!block) {
            CHECK_FOR_INTERRUPTS();
            store_read_stats.misses++;
            int64 last = (start + length - 1) / STORE_READ_BLOCK_BYTES;
            if (!blocks_load(object_id, key, number, last - number + 1)) {
                return false;
            }
            block = store_cache_find(object_id, number);
        }
        if (!block || block->size <= within) {
            ereport(
                ERROR, errcode(ERRCODE_DATA_CORRUPTED), errmsg("object %s ends too early", key),
                errhint("Its segment reaches farther: was it changed by something that is not an agent?"));
        }
        size_t size = Min(block->size - within, length - copied);
        memcpy(out + copied, block->bytes + within, size);
        copied += size;
        store_cache_trim(setting_fetch_cache_bytes);
    }
    return true;
}

bool store_has(const char *key)
{
    Block *byte;
    store_require();
    Status status = store_get_bytes(key, 0, 1, &byte);
    block_release(byte);
    if (!status_is_ok(&status) && status.code != STATUS_NOT_FOUND) {
        store_fail("the store cannot be asked for an object", &status);
    }
    return status_is_ok(&status);
}

Datum streamhouse_store_has(PG_FUNCTION_ARGS)
{
    CHECK_FOR_INTERRUPTS();
    PG_RETURN_BOOL(store_has(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
