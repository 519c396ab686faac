/* recompress.c: a list per partition. A worker touches its own element's batch and result alone. */
#include "agent/log/recompress.h"

#include <stdlib.h>

#include <utlist.h>

#include "agent/clock.h"
#include "agent/metrics.h"

/* What may be compressed on the loop: well below a millisecond. A level that was set may be a slow one. */
enum { AT_ONCE_BYTES_MAX = 16 * 1024, AT_ONCE_LEVEL_BYTES_MAX = 2 * 1024 };

struct Recompression {
    Recompression *prev; /* in Partition.recompressions */
    Recompression *next;
    uv_work_t work;
    RecompressRequest request;
    int64_t started_ns;
    bool finished;
    BatchError error;
    Block *result; /* NULL: the batch stays as it is */
    RecompressDone done;
    void *argument;
};

static size_t results_bytes; /* not settled yet */

static void results_move(int64_t change)
{
    results_bytes += (size_t)change;
    metric_set(METRIC_RECOMPRESS_BYTES, (double)results_bytes);
}

void recompress_settle(size_t size)
{
    results_move(-(int64_t)size);
}

static bool batch_has_other_codec(const Partition *partition, const BatchHeader *header)
{
    const TopicConfig *config = &partition->topic->config;
    return !config->keeps_codec && batch_codec(header) != config->codec;
}

bool recompress_is_due(const Partition *partition, const BatchHeader *header)
{
    return partition->recompressions || batch_has_other_codec(partition, header);
}

/* Gives away who is done, from the list's head. Whoever is told may add to the list. */
static void list_drain(Partition *partition)
{
    Topic *topic = topic_hold(partition->topic);
    Recompression *head;
    while ((head = partition->recompressions) != NULL && head->finished) {
        DL_DELETE(partition->recompressions, head);
        Block *frame = head->result ? head->result : head->request.frame;
        Slice batch = head->result ? slice_of(head->result->bytes, head->result->size) : head->request.batch;
        head->done(head->argument, &head->error, frame, (uint8_t *)(uintptr_t)batch.data, batch.size);
        block_release(head->result);
        block_release(head->request.frame);
        topic_release(partition->topic);
        free(head);
    }
    topic_release(topic);
}

static void run(Recompression *item)
{
    const RecompressRequest *request = &item->request;
    item->error = batch_recompress(request->batch, &request->header, &request->how, &item->result);
}

static void finish(Recompression *item)
{
    item->finished = true;
    metric_add(METRIC_RECOMPRESSED, 1);
    metric_observe_since(METRIC_RECOMPRESS_DURATION, item->started_ns);
    size_t size = item->result ? item->result->size : 0;
    if (size > 0 && size + results_bytes > item->request.bytes_max) {
        metric_add(METRIC_RECOMPRESS_REFUSED, 1);
        block_release(item->result);
        item->result = NULL;
        item->error = batch_error(BATCH_BUSY, "memory for batches compressed anew is short; try again");
    } else {
        results_move((int64_t)size);
    }
}

static void work_run(uv_work_t *work)
{
    run(work->data);
}

static void work_done(uv_work_t *work, int status)
{
    Recompression *item = work->data;
    if (status != 0) {
        item->error = batch_error(BATCH_BUSY, "the agent is stopping");
    }
    finish(item);
    list_drain(item->request.partition);
}

static bool is_quick(const RecompressRequest *request)
{
    size_t limit =
        request->how.level == COMPRESSION_LEVEL_DEFAULT ? AT_ONCE_BYTES_MAX : AT_ONCE_LEVEL_BYTES_MAX;
    return request->records_bytes > 0 && request->records_bytes <= limit;
}

bool recompress(uv_loop_t *loop, const RecompressRequest *request, RecompressDone done, void *argument)
{
    Recompression *item = calloc(1, sizeof(Recompression));
    if (!item) {
        return false;
    }
    item->request = *request;
    item->done = done;
    item->argument = argument;
    item->started_ns = time_ns();
    item->work.data = item;
    block_hold(request->frame);
    topic_hold(request->partition->topic);
    DL_APPEND(request->partition->recompressions, item);
    if (!batch_has_other_codec(request->partition, &request->header)) {
        item->finished = true;
    } else if (is_quick(request)) {
        run(item);
        finish(item);
    } else if (uv_queue_work(loop, &item->work, work_run, work_done) != 0) {
        item->error = batch_error(BATCH_BUSY, "no thread to compress the batch anew; try again");
        item->finished = true;
    }
    list_drain(request->partition);
    return true;
}
