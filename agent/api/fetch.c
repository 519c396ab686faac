/* fetch.c: Fetch. The request becomes items for the fetcher, whose answer becomes the reply; record batches
 * are referred to, not copied. Sessions (KIP-227) are not kept: every fetch is a full one and session id 0
 * says so. */
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/kafka/message.h"
#include "agent/read/fetcher.h"

enum { SESSION_NONE = 0, FETCH_LEADER_OLDEST = 12 /* the answer may name the leader */ };

typedef struct FetchState {
    KafkaRequest *request;
    FetchTask *task;
    FetchItem *items;
    int32_t item_count;
    int64_t wait_ms;
    bool refreshed; /* the catalog was read anew for topics it did not have */
} FetchState;

static void fetch_begin(FetchState *state);

static int32_t fetch_count_items(const KafkaFetchRequest *asked)
{
    int32_t count = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        int32_t partitions = asked->topics.items[i].partitions.count;
        count += partitions > 0 ? partitions : 0;
    }
    return count;
}

static void fetch_item(const KafkaFetchRequestPartition *asked, Topic *topic, KafkaError error,
                       FetchItem *item)
{
    Partition *partition = topic ? topic_partition(topic, asked->partition) : NULL;
    if (topic && !partition) {
        error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (partition) {
        error = api_check_epoch(partition, asked->current_leader_epoch);
    }
    *item = (FetchItem){
        .partition = partition,
        .offset = asked->fetch_offset,
        .bytes_max = asked->partition_max_bytes > 0 ? asked->partition_max_bytes : 0,
        .error = error,
        .high_watermark = OFFSET_UNKNOWN,
        .log_start_offset = OFFSET_UNKNOWN,
    };
}

/* True when everything asked for is known. */
static bool fetch_resolve(FetchState *state)
{
    const KafkaFetchRequest *asked = state->request->message;
    FetchItem *item = state->items;
    bool known = true;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const KafkaFetchRequestTopic *topic_asked = &asked->topics.items[i];
        KafkaError error;
        Topic *topic = api_topic(state->request, topic_asked->topic, &topic_asked->topic_id, &error);
        for (int32_t j = 0; j < topic_asked->partitions.count; j++, item++) {
            fetch_item(&topic_asked->partitions.items[j], topic, error, item);
            known =
                known && (item->error == KAFKA_ERROR_NONE || item->error == KAFKA_ERROR_FENCED_LEADER_EPOCH);
        }
    }
    return known;
}

static void fetch_fill_partition(const FetchState *state, const FetchItem *item, const Collection *records,
                                 KafkaFetchResponsePartition *answer)
{
    const KafkaFetchRequest *asked = state->request->message;
    answer->error_code = (int16_t)item->error;
    answer->high_watermark = item->high_watermark;
    answer->last_stable_offset = item->high_watermark;
    answer->log_start_offset = item->log_start_offset;
    answer->aborted_transactions.items = NULL;
    answer->aborted_transactions.count = asked->isolation_level == 1 ? 0 : -1;
    answer->records = (KafkaRecords){ NULL, 0, false };
    if (item->error == KAFKA_ERROR_NONE && item->slice_count > 0) {
        answer->records.slices = records->slices + item->first_slice;
        answer->records.count = (int32_t)item->slice_count;
    }
    if (item->partition && state->request->version >= FETCH_LEADER_OLDEST &&
        (item->error == KAFKA_ERROR_FENCED_LEADER_EPOCH || item->error == KAFKA_ERROR_UNKNOWN_LEADER_EPOCH)) {
        answer->current_leader.leader_id = item->partition->leader;
        answer->current_leader.leader_epoch = item->partition->epoch;
    }
}

static bool fetch_fill(const FetchState *state, const Collection *records, KafkaFetchResponse *response)
{
    KafkaRequest *request = state->request;
    const KafkaFetchRequest *asked = request->message;
    const FetchItem *item = state->items;
    int32_t topic_count = asked->topics.count > 0 ? asked->topics.count : 0;
    response->responses.items =
        kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_TOPIC, (size_t)topic_count);
    response->responses.count = topic_count;
    for (int32_t i = 0; response->responses.items && i < topic_count; i++) {
        KafkaFetchResponseTopic *topic = &response->responses.items[i];
        int32_t count = asked->topics.items[i].partitions.count;
        topic->topic = asked->topics.items[i].topic;
        topic->topic_id = asked->topics.items[i].topic_id;
        topic->partitions.count = count > 0 ? count : 0;
        topic->partitions.items = kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_PARTITION,
                                                  (size_t)topic->partitions.count);
        if (!topic->partitions.items) {
            return false;
        }
        for (int32_t j = 0; j < count; j++, item++) {
            topic->partitions.items[j].partition_index = asked->topics.items[i].partitions.items[j].partition;
            fetch_fill_partition(state, item, records, &topic->partitions.items[j]);
        }
    }
    for (size_t i = 0; i < records->block_count; i++) {
        if (!kafka_request_hold(request, records->blocks[i])) {
            return false;
        }
    }
    return response->responses.items != NULL;
}

static void fetch_answered(void *argument, FetchItem *items, int32_t count, const Collection *records)
{
    FetchState *state = argument;
    KafkaFetchResponse response;
    (void)items;
    (void)count;
    state->task = NULL;
    state->request->on_abandon = NULL;
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
    if (fetch_fill(state, records, &response)) {
        kafka_request_reply(state->request, &response);
    } else {
        kafka_request_disconnect(state->request, "memory for the reply is short");
    }
}

static void fetch_abandoned(KafkaRequest *request)
{
    FetchState *state = request->state;
    if (state->task) {
        fetch_cancel(state->task);
        state->task = NULL;
        kafka_request_finish_silently(request);
    }
}

static void fetch_refreshed(void *argument, const Status *status)
{
    FetchState *state = argument;
    (void)status;
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return;
    }
    fetch_begin(state);
}

static int64_t fetch_bytes_max(const KafkaRequest *request)
{
    const KafkaFetchRequest *asked = request->message;
    int64_t bytes_max = api_agent(request)->settings.fetch_bytes_max;
    return asked->max_bytes < bytes_max ? (asked->max_bytes > 0 ? asked->max_bytes : 0) : bytes_max;
}

static void fetch_begin(FetchState *state)
{
    const KafkaFetchRequest *asked = state->request->message;
    Agent *agent = api_agent(state->request);
    if (!fetch_resolve(state) && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(agent->catalog, fetch_refreshed, state);
        return;
    }
    int64_t bytes_max = fetch_bytes_max(state->request);
    FetchRequest fetch = {
        .items = state->items,
        .count = state->item_count,
        .bytes_min = asked->min_bytes < bytes_max ? asked->min_bytes : bytes_max, /* more never comes */
        .bytes_max = bytes_max,
        .wait_ms = state->item_count > 0 ? state->wait_ms : 0,
    };
    bool started;
    state->request->on_abandon = fetch_abandoned;
    FetchTask *task = fetch_start(agent->fetcher, &fetch, fetch_answered, state, &started);
    if (!started) {
        state->request->on_abandon = NULL;
        kafka_request_disconnect(state->request, "memory is short");
    } else if (task) {
        state->task = task; /* otherwise the answer was given, and state may be gone */
    }
}

static void fetch_refuse(KafkaRequest *request, KafkaError error)
{
    KafkaFetchResponse response;
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
    response.error_code = (int16_t)error;
    kafka_request_reply(request, &response);
}

void fetch_handle(KafkaRequest *request)
{
    const KafkaFetchRequest *asked = request->message;
    const Settings *settings = &api_agent(request)->settings;
    if (asked->session_id != SESSION_NONE) {
        fetch_refuse(request, KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND);
        return;
    }
    FetchState *state = arena_allocate(&request->arena, sizeof(FetchState));
    int32_t count = fetch_count_items(asked);
    FetchItem *items = arena_allocate_array(&request->arena, (size_t)count, sizeof(FetchItem));
    if (!state || !items) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
        return;
    }
    *state = (FetchState){
        .request = request,
        .items = items,
        .item_count = count,
        .wait_ms =
            asked->max_wait_ms < settings->fetch_wait_ms ? asked->max_wait_ms : settings->fetch_wait_ms,
    };
    request->state = state;
    fetch_begin(state);
}
