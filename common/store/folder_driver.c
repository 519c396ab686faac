/* folder_driver.c: runs folder.c's blocking calls in libuv's thread pool. A worker touches its FolderWork,
 * the call's bytes and the Folder, and nothing else of the store. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/store/folder.h"
#include "common/store/store_internal.h"

enum { SYNCED_FOLDERS = 4096, LEFTOVER_AGE_S = 3600 };

typedef struct FolderDriver {
    Folder folder;
    uint8_t **buffers; /* idle ones, put_parallel_max at most */
    int buffer_count;
    uint64_t *synced; /* hashes of folders whose own names are durable, SYNCED_FOLDERS slots */
    uv_work_t sweep;
    bool is_sweeping;
    bool is_closing;
} FolderDriver;

typedef struct FolderWork {
    uv_work_t work;
    StoreCall *call;
    FolderPut put;
    Status status;
} FolderWork;

static uint64_t folder_hash(const char *key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    const char *end = strrchr(key, '/');
    for (const char *letter = key; end && letter < end; letter++) {
        hash = (hash ^ (uint8_t)*letter) * 1099511628211u;
    }
    return hash | 1;
}

static uint64_t *synced_slot(FolderDriver *driver, const char *key)
{
    return &driver->synced[folder_hash(key) % SYNCED_FOLDERS];
}

static uint8_t *buffer_take(FolderDriver *driver)
{
    return driver->buffer_count > 0 ? driver->buffers[--driver->buffer_count]
                                    : aligned_alloc(FOLDER_ALIGNMENT, FOLDER_BUFFER_BYTES);
}

static void buffer_give(Store *store, uint8_t *buffer)
{
    FolderDriver *driver = store->driving;
    if (buffer && driver->buffer_count < store->options.put_parallel_max) {
        driver->buffers[driver->buffer_count++] = buffer;
    } else {
        free(buffer);
    }
}

static void work_put(FolderDriver *driver, FolderWork *work)
{
    work->status = folder_put(&driver->folder, &work->put);
    work->call->result.was_there = work->put.was_there;
}

static void work_get(FolderDriver *driver, FolderWork *work)
{
    StoreCall *call = work->call;
    work->status = folder_get(&driver->folder, call->key, call->start, call->length, &call->result.block,
                              &call->result.object_bytes);
    if (!status_is_ok(&work->status)) {
        block_release(call->result.block);
        call->result.block = NULL;
    }
}

static void work_head(FolderDriver *driver, FolderWork *work)
{
    work->status = folder_head(&driver->folder, work->call->key, &work->call->result.object_bytes);
}

static void work_delete(FolderDriver *driver, FolderWork *work)
{
    work->status = folder_delete(&driver->folder, work->call->key);
}

typedef struct Page {
    StoreCall *call;
    StoreEntry *entries;
    size_t count;
    bool more;
    bool is_full; /* of memory */
} Page;

static bool page_add(const char *key, uint64_t bytes, void *arg)
{
    Page *page = arg;
    page->more = page->count == (size_t)page->call->max;
    char *copy = page->more ? NULL : arena_copy_text(&page->call->arena, slice_of_text(key));
    if (!copy) {
        page->is_full = !page->more;
        return false;
    }
    page->entries[page->count++] = (StoreEntry){ copy, bytes };
    return true;
}

static void work_list(FolderDriver *driver, FolderWork *work)
{
    StoreCall *call = work->call;
    Page page = { .call = call };
    page.entries = arena_allocate_array(&call->arena, (size_t)call->max, sizeof(StoreEntry));
    page.is_full = page.entries == NULL;
    work->status = page.is_full ? status_ok()
                                : folder_list(&driver->folder, call->key, call->start_after, page_add, &page);
    if (status_is_ok(&work->status) && page.is_full) {
        work->status = status_error(STATUS_INTERNAL, "no memory for a list of objects");
    }
    call->result.entries = page.entries;
    call->result.entry_count = page.count;
    call->result.more = page.more;
}

static void (*const works[STORE_OPERATION_COUNT])(FolderDriver *, FolderWork *) = {
    [STORE_PUT] = work_put,       [STORE_GET] = work_get,   [STORE_HEAD] = work_head,
    [STORE_DELETE] = work_delete, [STORE_LIST] = work_list,
};

static void work_run(uv_work_t *work)
{
    FolderWork *mine = work->data;
    works[mine->call->operation](mine->call->store->driving, mine);
}

static void work_done(uv_work_t *work, int status)
{
    FolderWork *mine = work->data;
    StoreCall *call = mine->call;
    Store *store = call->store;
    if (status != 0) {
        mine->status = call->is_cancelled
                           ? status_error(STATUS_CANCELLED, "cancelled before it began")
                           : status_error(STATUS_TIMEOUT, "no thread got to it before the deadline");
    } else if (call->operation == STORE_PUT && status_is_ok(&mine->status)) {
        *synced_slot(store->driving, call->key) = folder_hash(call->key);
    }
    store->metrics.folder_syncs += mine->put.syncs;
    call->result.attempts = 1;
    call->driving = NULL;
    buffer_give(store, mine->put.buffer);
    store_call_end(call, mine->status);
    free(mine);
}

static void work_prepare_put(FolderWork *work, StoreCall *call)
{
    FolderDriver *driver = call->store->driving;
    work->put = (FolderPut){ .key = call->key,
                             .slices = call->slices,
                             .slice_count = call->slice_count,
                             .tail_bytes = call->tail_bytes,
                             .if_absent = call->if_absent,
                             .sync_parents = *synced_slot(driver, call->key) != folder_hash(call->key),
                             .buffer = call->bytes >= FOLDER_DIRECT_MIN ? buffer_take(driver) : NULL };
}

static void folder_start(StoreCall *call)
{
    FolderWork *work = calloc(1, sizeof(*work));
    if (!work) {
        store_call_end(call, status_error(STATUS_INTERNAL, "no memory for an operation of the object store"));
        return;
    }
    work->work.data = work;
    work->call = call;
    if (call->operation == STORE_PUT) {
        work_prepare_put(work, call);
    }
    if (call->operation == STORE_GET && call->length > 0) {
        /* Here and not by the worker: what one thread allocates and another frees, glibc returns to the
         * system and maps again each time, which costs more than the reading. */
        call->result.block = block_new_aligned(call->length);
    }
    call->driving = work;
    uv_queue_work(call->store->loop, &work->work, work_run, work_done);
}

/* A worker that has begun is waited for: it reads the caller's bytes. */
static void folder_stop(StoreCall *call)
{
    FolderWork *work = call->driving;
    uv_cancel((uv_req_t *)&work->work);
}

static void driver_free(Store *store)
{
    FolderDriver *driver = store->driving;
    while (driver->buffer_count > 0) {
        free(driver->buffers[--driver->buffer_count]);
    }
    free(driver->buffers);
    free(driver->synced);
    folder_close(&driver->folder);
    free(driver);
}

static void driver_finish(Store *store)
{
    driver_free(store);
    store_driver_closed(store);
}

static void folder_stop_all(Store *store)
{
    FolderDriver *driver = store->driving;
    driver->is_closing = true;
    if (driver->is_sweeping) {
        uv_cancel((uv_req_t *)&driver->sweep);
    } else {
        driver_finish(store);
    }
}

static void sweep_run(uv_work_t *work)
{
    Store *store = work->data;
    FolderDriver *driver = store->driving;
    folder_sweep(&driver->folder, (int64_t)time(NULL) - LEFTOVER_AGE_S);
}

static void sweep_done(uv_work_t *work, int status)
{
    (void)status;
    Store *store = work->data;
    FolderDriver *driver = store->driving;
    driver->is_sweeping = false;
    if (driver->is_closing) {
        driver_finish(store);
    }
}

static const StoreDriver folder_driver = { folder_start, folder_stop, folder_stop_all };

Status folder_driver_open(Store *store)
{
    FolderDriver *driver = calloc(1, sizeof(*driver));
    if (!driver) {
        return status_error(STATUS_INTERNAL, "no memory for the object store");
    }
    driver->buffers = calloc((size_t)store->options.put_parallel_max, sizeof(*driver->buffers));
    driver->synced = calloc(SYNCED_FOLDERS, sizeof(*driver->synced));
    Status status = driver->buffers && driver->synced
                        ? folder_open(store->url.path, &driver->folder)
                        : status_error(STATUS_INTERNAL, "no memory for the object store");
    if (!status_is_ok(&status)) {
        free(driver->buffers);
        free(driver->synced);
        free(driver);
        return status;
    }
    store->driver = &folder_driver;
    store->driving = driver;
    driver->sweep.data = store;
    driver->is_sweeping = true;
    uv_queue_work(store->loop, &driver->sweep, sweep_run, sweep_done);
    return status_ok();
}
