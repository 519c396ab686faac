/* gather.c: gathers batches of many partitions into open uploads, one for each way their topics may ask for,
 * and seals them. What goes to an object is sealed by bytes, by age, or because the store has nothing else to
 * do. What goes inline is sealed at once, or, while an inline commit is under way, when that is answered; but
 * only batches with nothing before them in their partition's order: others go on gathering, so that a
 * partition's next commit has all of them. What may go either way is looked at each time, and moved to the
 * object's upload when choose.c says so. */
#include "agent/log/log_internal.h"

#include <stdlib.h>

#include <utlist.h>

#include "agent/metrics.h"

enum { UPLOAD_APPENDS_MIN = 16 };

static Upload *gather_new(Log *log, WritePath path, int64_t now_ms)
{
    Upload *upload = calloc(1, sizeof(Upload));
    if (!upload) {
        return NULL;
    }
    upload->path = path;
    upload->opened_ms = now_ms;
    upload->newest_ms = now_ms;
    upload->earliest_deadline_ms = INT64_MAX;
    object_writer_init(&upload->object);
    DL_APPEND(log->uploads, upload);
    return upload;
}

static Upload *gather_open(Log *log, WritePath path, int64_t now_ms)
{
    if (!log->open[path]) {
        log->open[path] = gather_new(log, path, now_ms);
    }
    return log->open[path];
}

static bool gather_reserve(Upload *upload, size_t count)
{
    size_t capacity = upload->append_capacity > 0 ? upload->append_capacity : UPLOAD_APPENDS_MIN;
    while (capacity < upload->append_count + count) {
        capacity *= 2;
    }
    if (capacity == upload->append_capacity) {
        return true;
    }
    Append **appends = realloc(upload->appends, capacity * sizeof(Append *));
    if (!appends) {
        return false;
    }
    upload->appends = appends;
    upload->append_capacity = capacity;
    return true;
}

static void gather_seal_object(Log *log)
{
    Upload *upload = log->open[WRITE_OBJECT];
    upload_enter(upload, UPLOAD_SEALED);
    log->open[WRITE_OBJECT] = NULL;
    metric_observe(METRIC_LOG_OBJECT_BYTES, (double)upload->bytes);
    metric_add(METRIC_LOG_FLUSHES_OBJECT, 1);
    metric_add(METRIC_LOG_PATH_BYTES_OBJECT, upload->bytes);
}

static void gather_seal_full(Log *log)
{
    const Upload *upload = log->open[WRITE_OBJECT];
    if (upload &&
        (upload->bytes >= log->options.flush_bytes || upload->append_count >= LOG_UPLOAD_BATCHES_MAX)) {
        gather_seal_object(log);
    }
}

static Append *append_new(const LogAppend *from, AppendAnswered done, void *argument)
{
    Append *append = calloc(1, sizeof(Append));
    if (!append) {
        return NULL;
    }
    *append = (Append){
        .partition = from->partition,
        .frame = block_hold(from->frame),
        .bytes = from->bytes,
        .size = from->size,
        .header = from->header,
        .lease_epoch = from->partition->epoch,
        .deadline_ms = from->deadline_ms,
        .done = done,
        .argument = argument,
    };
    topic_hold(from->partition->topic);
    return append;
}

/* There is room. */
static void gather_put(Upload *upload, Append *append)
{
    append->upload = upload;
    upload->appends[upload->append_count++] = append;
    upload->bytes += (size_t)append->size;
    if (append->state != APPEND_FINAL) {
        upload->unfinished++;
    }
    if (append->deadline_ms < upload->earliest_deadline_ms) {
        upload->earliest_deadline_ms = append->deadline_ms;
    }
    if (append->deadline_ms > upload->latest_deadline_ms) {
        upload->latest_deadline_ms = append->deadline_ms;
    }
}

static WritePath gather_path(const Log *log, const LogAppend *from)
{
    WritePath path = from->partition->topic->config.write_path;
    size_t limit = path == WRITE_INLINE ? (size_t)LOG_INLINE_CALL_BYTES_MAX : log->options.inline_flush_bytes;
    return path != WRITE_OBJECT && (size_t)from->size > limit ? WRITE_OBJECT : path;
}

bool log_append(Log *log, const LogAppend *from, int64_t now_ms, AppendAnswered done, void *argument)
{
    WritePath path = gather_path(log, from);
    Upload *upload = gather_open(log, path, now_ms);
    if (!upload || !gather_reserve(upload, 1)) {
        return false;
    }
    Append *append = append_new(from, done, argument);
    if (!append) {
        return false;
    }
    gather_put(upload, append);
    upload->newest_ms = now_ms;
    order_join(append);
    if (path == WRITE_OBJECT && from->partition->topic->config.write_path == WRITE_AUTO) {
        choose_count(REFUSAL_LARGE); /* alone */
    }
    log->waiting++;
    metric_add(METRIC_LOG_BATCHES, 1);
    metric_add(METRIC_LOG_BATCH_BYTES, (uint64_t)append->size);
    from->partition->appended_bytes += (uint64_t)append->size;
    gather_seal_full(log);
    log->backend.wake(log->backend.context);
    return true;
}

static const Upload *append_head_upload(const Append *append)
{
    return append->partition->appends->upload;
}

/* Moves an append to another open upload, which has room. The caller takes it out of the first one's array.
 */
static void gather_move(Append *append, Upload *to)
{
    Upload *from = append->upload;
    from->bytes -= (size_t)append->size;
    from->unfinished -= append->state != APPEND_FINAL;
    gather_put(to, append);
}

static bool gather_to_object(Log *log, Append *append)
{
    Upload *from = append->upload;
    Upload *object = gather_open(log, WRITE_OBJECT, from->opened_ms);
    if (!object || !gather_reserve(object, 1)) {
        return false;
    }
    object->opened_ms = from->opened_ms < object->opened_ms ? from->opened_ms : object->opened_ms;
    object->newest_ms = from->newest_ms > object->newest_ms ? from->newest_ms : object->newest_ms;
    gather_move(append, object);
    gather_seal_full(log);
    return true;
}

/* Moves what may go either way to the object's upload: all of it, or just batches of partitions that have
 * something in an object already. */
static void gather_divert(Log *log, bool all, Refusal why)
{
    Upload *from = log->open[WRITE_AUTO];
    size_t count = from->append_count;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        Append *append = from->appends[i];
        bool goes = all || append->state == APPEND_FINAL || append_head_upload(append)->path == WRITE_OBJECT;
        if (!goes || !gather_to_object(log, append)) {
            from->appends[kept++] = append;
        }
    }
    if (kept < count) {
        choose_count(why);
    }
    from->append_count = kept;
    if (kept == 0) {
        upload_free(log, from);
    }
}

static bool gather_is_large(const Log *log)
{
    return log->open[WRITE_AUTO] && log->open[WRITE_AUTO]->bytes > log->options.inline_flush_bytes;
}

static void gather_choose(Log *log)
{
    if (!log->open[WRITE_AUTO]) {
        return;
    }
    Refusal refusal = choose_refusal(log);
    if (refusal != REFUSAL_NONE) {
        gather_divert(log, true, refusal);
        return;
    }
    if (gather_is_large(log)) {
        gather_divert(log, false, REFUSAL_LARGE);
    }
    if (gather_is_large(log)) {
        gather_divert(log, true, REFUSAL_LARGE);
    }
}

/* Batches that could be committed now, the first ones if all would be too many. */
static bool gather_is_ready(const Upload *upload, const Append *append, size_t batches, size_t bytes)
{
    return append->state != APPEND_FINAL && append_head_upload(append) == upload &&
           batches < LOG_INLINE_CALL_BATCHES_MAX &&
           (batches == 0 || bytes + (size_t)append->size <= LOG_INLINE_CALL_BYTES_MAX);
}

/* What failed while it waited is not kept for what waits longer. */
static void gather_drop_final(Upload *upload)
{
    size_t kept = 0;
    for (size_t i = 0; i < upload->append_count; i++) {
        Append *append = upload->appends[i];
        if (append->state == APPEND_FINAL) {
            upload->bytes -= (size_t)append->size;
            append_free(append);
        } else {
            upload->appends[kept++] = append;
        }
    }
    upload->append_count = kept;
}

/* Takes what is not ready out of the upload, into the next one. False when that cannot be done. */
static bool gather_split(Log *log, Upload *upload)
{
    Upload *rest = gather_new(log, upload->path, upload->opened_ms);
    if (!rest || !gather_reserve(rest, upload->append_count)) {
        if (rest) {
            upload_free(log, rest);
        }
        return false;
    }
    size_t count = upload->append_count;
    size_t bytes = 0;
    upload->append_count = 0;
    rest->newest_ms = upload->newest_ms;
    for (size_t i = 0; i < count; i++) {
        Append *append = upload->appends[i];
        if (gather_is_ready(upload, append, upload->append_count, bytes)) {
            upload->appends[upload->append_count++] = append;
            bytes += (size_t)append->size;
        } else {
            gather_move(append, rest);
        }
    }
    log->open[upload->path] = rest;
    return true;
}

static bool gather_has_ready(const Upload *upload, bool *all)
{
    size_t ready = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < upload->append_count; i++) {
        if (gather_is_ready(upload, upload->appends[i], ready, bytes)) {
            ready++;
            bytes += (size_t)upload->appends[i]->size;
        }
    }
    *all = ready == upload->append_count;
    return ready > 0;
}

/* True when an inline upload was sealed. */
static bool gather_seal_inline(Log *log, WritePath path)
{
    Upload *upload = log->open[path];
    bool all;
    if (!upload || log->call_id == log->call_id_end) {
        return false;
    }
    gather_drop_final(upload);
    if (!gather_has_ready(upload, &all)) {
        return false;
    }
    if (all) {
        log->open[path] = NULL;
    } else if (!gather_split(log, upload)) {
        return false;
    }
    upload_enter(upload, UPLOAD_SEALED);
    inline_start(log, upload);
    return true;
}

/* When the object's open upload is to be sealed for its age; INT64_MAX when there is none. */
static int64_t gather_due_ms(const Log *log)
{
    const Upload *upload = log->open[WRITE_OBJECT];
    if (!upload) {
        return INT64_MAX;
    }
    int64_t aged_ms = upload->opened_ms + log->options.linger_ms;
    int64_t idle_ms = upload->newest_ms + log->options.idle_flush_ms;
    return log->putting == 0 && idle_ms < aged_ms ? idle_ms : aged_ms;
}

void gather_seal_due(Log *log)
{
    gather_choose(log);
    size_t calls = log->inline_calls;
    for (WritePath path = WRITE_AUTO; path <= WRITE_INLINE && calls < LOG_INLINE_CALLS_MAX; path++) {
        calls += gather_seal_inline(log, path);
    }
    if (gather_due_ms(log) <= log->now_ms) {
        gather_seal_object(log);
    }
}

int64_t gather_next_due_ms(const Log *log)
{
    return gather_due_ms(log);
}

void log_flush(Log *log)
{
    if (log->open[WRITE_OBJECT]) {
        gather_seal_object(log);
        log->backend.wake(log->backend.context);
    }
}
