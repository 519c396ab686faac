/* offsets.c: ListOffsets and OffsetForLeaderEpoch. The brain answers for all partitions of a request at once;
 * an offset by time is then found inside the segment that it names. */
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/brain/brain.h"
#include "agent/journal.h"
#include "agent/read/fetcher.h"
#include "common/record.h"

enum {
    EPOCH_OLDEST = 4, /* first version of ListOffsets with a leader epoch */
    TIMESTAMP_MAX = -3,
    TIMESTAMP_EARLIEST_LOCAL = -4,
    TIMESTAMP_LATEST_TIERED = -5,
    TIMESTAMP_EARLIEST_PENDING = -6,
    MOVED_AWAY_MAX = 3, /* times that a segment may be gone when it is read */
    DECOMPRESSED_BYTES_MAX = 64 * 1024 * 1024
};

static const BrainStatement list_statement = {
    "list_offsets",
    "SELECT request, \"offset\", \"timestamp\", leader_epoch, base_offset, end_offset, object_id, "
    "object_key, byte_start, "
    "byte_length, slot FROM sh_list_offsets($1, $2, $3)",
    3,
    { BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT8S },
};
static const BrainStatement epochs_statement = {
    "leader_epochs",
    "SELECT request, leader_epoch, end_offset FROM sh_offsets_for_leader_epochs($1, $2, $3)",
    3,
    { BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT4S }
};

typedef struct OffsetsState OffsetsState;

/* One partition that the brain is asked about. */
typedef struct OffsetsItem {
    OffsetsState *state;
    KafkaListOffsetsResponsePartition *answer;
    int32_t topic_id;
    int32_t partition;
    int64_t asked;      /* the client's timestamp */
    int64_t timestamp;  /* what to look for in the segment */
    SegmentRef segment; /* key NULL: no record is to be looked for */
    int moved_away;     /* times that its segment was gone */
} OffsetsItem;

struct OffsetsState {
    KafkaRequest *request;
    KafkaListOffsetsResponse response;
    OffsetsItem *items;
    size_t item_count;
    size_t waiting;
    size_t next_read; /* segments are read one at a time: each is memory of its size */
    bool reading;
    bool starting; /* offsets_read_all() is on the stack */
    bool refreshed;
};

static void list_offsets_begin(OffsetsState *state);
static void offsets_read_all(OffsetsState *state);
static void offsets_ask_again(OffsetsItem *item);

static void offsets_answered(OffsetsState *state)
{
    if (--state->waiting == 0) {
        kafka_request_reply(state->request, &state->response);
    }
}

/* The record in a segment: the first not older than the timestamp, or the first of the newest. */
static Status offsets_find(Slice batches, int64_t timestamp, RecordPosition *found)
{
    BatchIterator iterator = batch_iterate(batches);
    Status status = status_ok();
    *found = (RecordPosition){ OFFSET_UNKNOWN, -1 };
    while (batch_next(&iterator) && status_is_ok(&status)) {
        RecordPosition position = { OFFSET_UNKNOWN, -1 };
        if (timestamp == TIMESTAMP_MAX && iterator.header.max_timestamp > found->timestamp) {
            status = record_find_max_timestamp(iterator.bytes, &iterator.header, DECOMPRESSED_BYTES_MAX,
                                               &position);
            *found = position.timestamp > found->timestamp ? position : *found;
        } else if (timestamp != TIMESTAMP_MAX && iterator.header.max_timestamp >= timestamp) {
            status = record_find_timestamp(iterator.bytes, &iterator.header, timestamp,
                                           DECOMPRESSED_BYTES_MAX, &position);
            if (position.offset != OFFSET_UNKNOWN) {
                *found = position;
                break;
            }
        }
    }
    return status;
}

static void offsets_segment_read(void *argument, const Status *status, Slice batches)
{
    OffsetsItem *item = argument;
    RecordPosition position = { OFFSET_UNKNOWN, -1 };
    Status found = *status;
    if (status->code == STATUS_NOT_FOUND && item->moved_away++ < MOVED_AWAY_MAX) {
        offsets_ask_again(item);
        return;
    }
    if (status_is_ok(status)) {
        found = offsets_find(batches, item->timestamp, &position);
    }
    if (status_is_ok(&found)) {
        item->answer->offset = position.offset;
        item->answer->timestamp = position.timestamp;
    } else {
        journal_seldom(JOURNAL_WARN, "offsets", "an offset could not be found by time: %s", found.message);
        item->answer->error_code = KAFKA_ERROR_KAFKA_STORAGE_ERROR;
    }
    item->state->reading = false;
    if (!item->state->starting) {
        offsets_read_all(item->state);
    }
}

/* Reads what is to be read, one segment after the other; a read that ends at once does not deepen the stack.
 */
static void offsets_read_all(OffsetsState *state)
{
    Fetcher *fetcher = api_agent(state->request)->fetcher;
    state->starting = true;
    while (!state->reading && state->next_read < state->item_count && !state->request->abandoned) {
        OffsetsItem *item = &state->items[state->next_read++];
        if (item->segment.key) {
            state->reading = true;
            fetcher_read_segment(fetcher, &item->segment, offsets_segment_read, item);
        }
    }
    state->starting = false;
    if (!state->reading) {
        offsets_answered(state);
    }
}

static void offsets_apply(OffsetsItem *item, const BrainResult *result, int row)
{
    item->answer->error_code = KAFKA_ERROR_NONE;
    if (item->state->request->version >= EPOCH_OLDEST && !brain_is_null(result, row, 3)) {
        item->answer->leader_epoch = brain_int4(result, row, 3);
    }
    if (brain_is_null(result, row, 1)) {
        return; /* no record is that young: offset and timestamp stay -1 */
    }
    if (brain_is_null(result, row, 6)) {
        item->answer->offset = brain_int8(result, row, 1);
        return;
    }
    Slice key = brain_text(result, row, 7);
    item->segment = (SegmentRef){
        .base_offset = brain_int8(result, row, 4),
        .end_offset = brain_int8(result, row, 5),
        .object_id = brain_int8(result, row, 6),
        .slot = brain_int2(result, row, 10),
        .key = arena_copy_text(&item->state->request->arena, slice_is_null(key) ? SLICE_LITERAL("") : key),
        .byte_start = brain_int4(result, row, 8),
        .byte_length = brain_int4(result, row, 9),
        .leader_epoch = brain_int4(result, row, 3),
    };
    if (!item->segment.key) {
        item->answer->error_code = KAFKA_ERROR_REQUEST_TIMED_OUT;
        return;
    }
    if (item->timestamp != TIMESTAMP_MAX && !brain_is_null(result, row, 2)) {
        item->timestamp = brain_int8(result, row, 2);
    }
}

static void offsets_told(const BrainResult *result, void *argument)
{
    OffsetsState *state = argument;
    int rows = status_is_ok(&result->status) ? brain_row_count(result) : 0;
    KafkaError error = status_is_ok(&result->status) ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION
                                                     : KAFKA_ERROR_LEADER_NOT_AVAILABLE;
    for (size_t i = 0; i < state->item_count; i++) {
        state->items[i].answer->error_code = (int16_t)error;
    }
    for (int row = 0; row < rows; row++) {
        int32_t request = brain_int4(result, row, 0);
        if (request >= 1 && (size_t)request <= state->item_count) {
            offsets_apply(&state->items[request - 1], result, row);
        }
    }
    offsets_read_all(state);
}

static void offsets_ask(OffsetsState *state)
{
    size_t count = state->item_count;
    Arena *arena = &state->request->arena;
    int32_t *numbers = arena_allocate_array(arena, 2 * count, sizeof(int32_t));
    int64_t *timestamps = arena_allocate_array(arena, count, sizeof(int64_t));
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    for (size_t i = 0; numbers && timestamps && i < count; i++) {
        numbers[i] = state->items[i].topic_id;
        numbers[count + i] = state->items[i].partition;
        timestamps[i] = state->items[i].timestamp;
    }
    brain_put_int4s(&parameters, numbers, count);
    brain_put_int4s(&parameters, numbers ? numbers + count : NULL, count);
    brain_put_int8s(&parameters, timestamps, count);
    state->waiting++;
    brain_send(api_agent(state->request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &list_statement, .parameters = &parameters }, offsets_told, state);
}

/* The segment's new place is known. */
static void offsets_told_again(const BrainResult *result, void *argument)
{
    OffsetsItem *item = argument;
    OffsetsState *state = item->state;
    item->segment.key = NULL;
    item->answer->error_code = KAFKA_ERROR_LEADER_NOT_AVAILABLE;
    if (status_is_ok(&result->status) && brain_row_count(result) == 1) {
        item->timestamp = item->asked;
        offsets_apply(item, result, 0);
    }
    state->reading = false;
    if (item->segment.key) {
        state->next_read = (size_t)(item - state->items);
    }
    offsets_read_all(state);
}

/* The segment was moved between being named and being read. */
static void offsets_ask_again(OffsetsItem *item)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4s(&parameters, &item->topic_id, 1);
    brain_put_int4s(&parameters, &item->partition, 1);
    brain_put_int8s(&parameters, &item->asked, 1);
    brain_send(api_agent(item->state->request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &list_statement, .parameters = &parameters }, offsets_told_again,
               item);
}

/* Which version brought which question (KIP-405 and later). */
static bool offsets_version_lacks(int16_t version, int64_t timestamp)
{
    return (timestamp == TIMESTAMP_EARLIEST_LOCAL && version < 8) ||
           (timestamp == TIMESTAMP_LATEST_TIERED && version < 9) ||
           (timestamp == TIMESTAMP_EARLIEST_PENDING && version < 11);
}

/* True when the partition is known. */
static bool offsets_item(OffsetsState *state, Topic *topic, const KafkaListOffsetsRequestPartition *asked,
                         KafkaListOffsetsResponsePartition *answer)
{
    Partition *partition = topic ? topic_partition(topic, asked->partition_index) : NULL;
    answer->partition_index = asked->partition_index;
    answer->error_code = KAFKA_ERROR_NONE;
    answer->offset = OFFSET_UNKNOWN;
    if (!partition) {
        answer->error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        return false;
    }
    if (offsets_version_lacks(state->request->version, asked->timestamp)) {
        answer->error_code = KAFKA_ERROR_UNSUPPORTED_VERSION;
        return true;
    }
    answer->error_code = (int16_t)api_check_epoch(partition, asked->current_leader_epoch);
    if (answer->error_code != KAFKA_ERROR_NONE) {
        return answer->error_code != KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
    }
    if (asked->timestamp < TIMESTAMP_EARLIEST_LOCAL) {
        return true; /* nothing is in another tier: -1 */
    }
    state->items[state->item_count++] = (OffsetsItem){
        .state = state,
        .answer = answer,
        .topic_id = topic->topic_id,
        .partition = partition->index,
        .asked = asked->timestamp,
        .timestamp = asked->timestamp,
    };
    return true;
}

/* False when something was unknown. */
static bool offsets_resolve(OffsetsState *state)
{
    const KafkaListOffsetsRequest *asked = state->request->message;
    bool known = true;
    state->item_count = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const KafkaListOffsetsRequestTopic *wanted = &asked->topics.items[i];
        KafkaListOffsetsResponseTopic *out = &state->response.topics.items[i];
        Topic *topic = catalog_topic(api_agent(state->request)->catalog, wanted->name);
        out->name = wanted->name;
        for (int32_t j = 0; j < out->partitions.count; j++) {
            known =
                offsets_item(state, topic, &wanted->partitions.items[j], &out->partitions.items[j]) && known;
        }
    }
    return known;
}

static void list_offsets_refreshed(void *argument, const Status *status)
{
    OffsetsState *state = argument;
    (void)status;
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return;
    }
    list_offsets_begin(state);
}

static void list_offsets_begin(OffsetsState *state)
{
    if (!offsets_resolve(state) && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(api_agent(state->request)->catalog, list_offsets_refreshed, state);
        return;
    }
    state->waiting = 1;
    if (state->item_count > 0) {
        offsets_ask(state);
    }
    offsets_answered(state);
}

static bool list_offsets_allocate(OffsetsState *state)
{
    KafkaRequest *request = state->request;
    const KafkaListOffsetsRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    size_t items = 0;
    state->response.topics.items =
        kafka_items_new(&request->arena, &KAFKA_LIST_OFFSETS_RESPONSE_TOPIC, (size_t)count);
    state->response.topics.count = count;
    for (int32_t i = 0; state->response.topics.items && i < count; i++) {
        KafkaListOffsetsResponseTopic *out = &state->response.topics.items[i];
        int32_t partitions =
            asked->topics.items[i].partitions.count > 0 ? asked->topics.items[i].partitions.count : 0;
        out->partitions.items =
            kafka_items_new(&request->arena, &KAFKA_LIST_OFFSETS_RESPONSE_PARTITION, (size_t)partitions);
        out->partitions.count = partitions;
        items += (size_t)partitions;
        if (!out->partitions.items) {
            return false;
        }
    }
    state->items = arena_allocate_array(&request->arena, items, sizeof(OffsetsItem));
    return state->response.topics.items && state->items;
}

void list_offsets_handle(KafkaRequest *request)
{
    OffsetsState *state = arena_allocate(&request->arena, sizeof(OffsetsState));
    if (state) {
        *state = (OffsetsState){ .request = request };
        kafka_defaults(&KAFKA_LIST_OFFSETS_RESPONSE.root, &state->response);
    }
    if (!state || !list_offsets_allocate(state)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
        return;
    }
    list_offsets_begin(state);
}

/* OffsetForLeaderEpoch. */

typedef struct EpochsState {
    KafkaRequest *request;
    KafkaOffsetForLeaderEpochResponse response;
    KafkaOffsetForLeaderEpochResponsePartition **answers; /* by place in the question to the brain */
    int32_t *numbers;                                     /* topic ids, partitions, epochs: count of each */
    size_t count;
} EpochsState;

static void epochs_told(const BrainResult *result, void *argument)
{
    EpochsState *state = argument;
    bool answered = status_is_ok(&result->status);
    for (size_t i = 0; i < state->count; i++) {
        state->answers[i]->error_code =
            answered ? KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_ERROR_LEADER_NOT_AVAILABLE;
    }
    for (int row = 0; answered && row < brain_row_count(result); row++) {
        int32_t request = brain_int4(result, row, 0);
        if (request >= 1 && (size_t)request <= state->count) {
            state->answers[request - 1]->error_code = KAFKA_ERROR_NONE;
            state->answers[request - 1]->leader_epoch = brain_int4(result, row, 1);
            state->answers[request - 1]->end_offset = brain_int8(result, row, 2);
        }
    }
    kafka_request_reply(state->request, &state->response);
}

static void epochs_ask(EpochsState *state, size_t capacity)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4s(&parameters, state->numbers, state->count);
    brain_put_int4s(&parameters, state->numbers + capacity, state->count);
    brain_put_int4s(&parameters, state->numbers + 2 * capacity, state->count);
    brain_send(api_agent(state->request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &epochs_statement, .parameters = &parameters }, epochs_told,
               state);
}

static void epochs_item(EpochsState *state, size_t capacity, Topic *topic,
                        const KafkaOffsetForLeaderEpochRequestPartition *asked,
                        KafkaOffsetForLeaderEpochResponsePartition *answer)
{
    Partition *partition = topic ? topic_partition(topic, asked->partition) : NULL;
    answer->partition = asked->partition;
    answer->end_offset = OFFSET_UNKNOWN;
    answer->error_code = partition ? (int16_t)api_check_epoch(partition, asked->current_leader_epoch)
                                   : (int16_t)KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    if (answer->error_code == KAFKA_ERROR_NONE) {
        state->answers[state->count] = answer;
        state->numbers[state->count] = topic->topic_id;
        state->numbers[capacity + state->count] = partition->index;
        state->numbers[2 * capacity + state->count] = asked->leader_epoch;
        state->count++;
    }
}

static size_t epochs_count(const KafkaOffsetForLeaderEpochRequest *asked)
{
    size_t count = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        count +=
            asked->topics.items[i].partitions.count > 0 ? (size_t)asked->topics.items[i].partitions.count : 0;
    }
    return count;
}

static bool epochs_resolve(EpochsState *state, size_t capacity)
{
    KafkaRequest *request = state->request;
    const KafkaOffsetForLeaderEpochRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    state->response.topics.items =
        kafka_items_new(&request->arena, &KAFKA_OFFSET_FOR_LEADER_EPOCH_RESPONSE_TOPIC, (size_t)count);
    state->response.topics.count = count;
    for (int32_t i = 0; state->response.topics.items && i < count; i++) {
        const KafkaOffsetForLeaderEpochRequestTopic *wanted = &asked->topics.items[i];
        KafkaOffsetForLeaderEpochResponseTopic *out = &state->response.topics.items[i];
        int32_t partitions = wanted->partitions.count > 0 ? wanted->partitions.count : 0;
        out->topic = wanted->topic;
        out->partitions.items = kafka_items_new(
            &request->arena, &KAFKA_OFFSET_FOR_LEADER_EPOCH_RESPONSE_PARTITION, (size_t)partitions);
        out->partitions.count = partitions;
        if (!out->partitions.items) {
            return false;
        }
        for (int32_t j = 0; j < partitions; j++) {
            epochs_item(state, capacity, catalog_topic(api_agent(request)->catalog, wanted->topic),
                        &wanted->partitions.items[j], &out->partitions.items[j]);
        }
    }
    return state->response.topics.items != NULL;
}

void leader_epoch_handle(KafkaRequest *request)
{
    size_t capacity = epochs_count(request->message);
    EpochsState *state = arena_allocate(&request->arena, sizeof(EpochsState));
    if (state) {
        *state = (EpochsState){ .request = request };
        kafka_defaults(&KAFKA_OFFSET_FOR_LEADER_EPOCH_RESPONSE.root, &state->response);
        state->answers = arena_allocate_array(&request->arena, capacity, sizeof(*state->answers));
        state->numbers = arena_allocate_array(&request->arena, 3 * capacity, sizeof(int32_t));
    }
    if (!state || !state->answers || !state->numbers || !epochs_resolve(state, capacity)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    } else if (state->count > 0) {
        epochs_ask(state, capacity);
    } else {
        kafka_request_reply(request, &state->response);
    }
}
