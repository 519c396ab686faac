/* gap.c: a hash by partition, producer id and epoch, in the order of opening. */
#include "agent/log/gap.h"

#include <stdlib.h>

#include <uthash.h>

typedef struct GapStream {
    int64_t producer_id;
    int32_t topic_id;
    int32_t partition;
    int32_t producer_epoch;
    int32_t zero; /* no padding: the bytes are the key */
} GapStream;

struct Gap {
    GapStream stream;
    int32_t sequence;    /* of the batch that is missing */
    int32_t lease_epoch; /* it was missed under */
    KafkaError error;
    int64_t opened_ms;
    int64_t until_ms;
    UT_hash_handle hh;
};

static GapStream gap_stream(const Partition *partition, const BatchHeader *header)
{
    return (GapStream){
        .producer_id = header->producer_id,
        .topic_id = partition->topic->topic_id,
        .partition = partition->index,
        .producer_epoch = header->producer_epoch,
    };
}

static void gap_close(Gaps *gaps, Gap *gap)
{
    HASH_DEL(gaps->by_stream, gap);
    gaps->count--;
    free(gap);
}

static Gap *gap_find(const Gaps *gaps, const GapStream *stream)
{
    Gap *gap;
    HASH_FIND(hh, gaps->by_stream, stream, sizeof(*stream), gap);
    return gap;
}

/* The gap: stream, sequence, error and until when it holds are given. */
static void gap_add(Gaps *gaps, const Gap *wanted, int64_t now_ms)
{
    const GapStream *stream = &wanted->stream;
    Gap *known = gap_find(gaps, stream);
    if (known && known->until_ms > now_ms) {
        return; /* of several failures the first is the one that is missing */
    }
    if (known) {
        gap_close(gaps, known);
    }
    /* uthash keeps the order of insertion: the first is the oldest. */
    while (gaps->by_stream && (gaps->count >= GAPS_MAX || gaps->by_stream->until_ms <= now_ms)) {
        gap_close(gaps, gaps->by_stream);
    }
    Gap *gap = calloc(1, sizeof(Gap));
    if (gap) {
        *gap = *wanted;
        gap->opened_ms = now_ms;
        HASH_ADD(hh, gaps->by_stream, stream, sizeof(gap->stream), gap);
        gaps->count++;
    }
}

void gap_open(Gaps *gaps, const Append *failed, KafkaError error, int64_t now_ms)
{
    const BatchHeader *header = &failed->header;
    if (header->producer_id >= 0 && kafka_error_is_retriable((int16_t)error)) {
        Gap gap = { .stream = gap_stream(failed->partition, header),
                    .sequence = header->base_sequence,
                    .lease_epoch = failed->lease_epoch,
                    .error = error,
                    .until_ms = now_ms + GAP_FORGET_MS };
        gap_add(gaps, &gap, now_ms);
    }
}

void gap_open_elsewhere(Gaps *gaps, const Partition *partition, const BatchHeader *header, int64_t now_ms)
{
    if (header->producer_id >= 0) {
        Gap gap = { .stream = gap_stream(partition, header),
                    .sequence = header->base_sequence,
                    .lease_epoch = partition->epoch,
                    .error = KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER,
                    .until_ms = now_ms + GAP_ELSEWHERE_MS };
        gap_add(gaps, &gap, now_ms);
    }
}

/* Under another epoch another agent may have led meanwhile, and have got what was missed here: then it will
 * not come again. */
static bool gap_is_over(const Gap *gap, const Partition *partition, int64_t now_ms)
{
    bool elsewhere = gap->lease_epoch != partition->epoch && gap->opened_ms + GAP_ELSEWHERE_MS <= now_ms;
    return elsewhere || gap->until_ms <= now_ms;
}

void gap_fill(Gaps *gaps, const Append *committed)
{
    if (committed->header.producer_id < 0 || !gaps->by_stream) {
        return;
    }
    GapStream stream = gap_stream(committed->partition, &committed->header);
    Gap *gap = gap_find(gaps, &stream);
    if (gap && gap->sequence == committed->header.base_sequence) {
        gap_close(gaps, gap);
    }
}

KafkaError gap_check(Gaps *gaps, const Partition *partition, const BatchHeader *header, int64_t now_ms)
{
    if (header->producer_id < 0 || !gaps->by_stream) {
        return KAFKA_ERROR_NONE;
    }
    GapStream stream = gap_stream(partition, header);
    Gap *gap = gap_find(gaps, &stream);
    if (!gap) {
        return KAFKA_ERROR_NONE;
    }
    if (gap->sequence == header->base_sequence || gap_is_over(gap, partition, now_ms)) {
        gap_close(gaps, gap);
        return KAFKA_ERROR_NONE;
    }
    return gap->error;
}

void gaps_free(Gaps *gaps)
{
    while (gaps->by_stream) {
        gap_close(gaps, gaps->by_stream);
    }
}
