/* fetch_reply.c: record batches are referred to, not copied. */
#include "agent/api/fetch_reply.h"

#include "agent/api/api.h"

enum {
    FETCH_LEADER_OLDEST = 12,    /* the answer may name the leader */
    FETCH_ENDPOINTS_OLDEST = 16, /* and say where it is (KIP-951) */
};

static bool fetch_names_leader(const KafkaRequest *request, const FetchItem *item)
{
    return item->partition && request->version >= FETCH_LEADER_OLDEST &&
           (item->error == KAFKA_ERROR_FENCED_LEADER_EPOCH ||
            item->error == KAFKA_ERROR_UNKNOWN_LEADER_EPOCH ||
            item->error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER);
}

static void fetch_fill_partition(const KafkaRequest *request, const FetchNews *news,
                                 const Collection *records, KafkaFetchResponsePartition *answer)
{
    const KafkaFetchRequest *asked = request->message;
    const FetchItem *item = news->item;
    answer->partition_index = news->index;
    answer->error_code = (int16_t)item->error;
    answer->high_watermark = item->high_watermark;
    answer->last_stable_offset = item->high_watermark;
    answer->log_start_offset = item->log_start_offset;
    answer->aborted_transactions.items = NULL;
    answer->aborted_transactions.count = asked->isolation_level == 1 ? 0 : -1;
    answer->records = (KafkaRecords){ NULL, 0, false };
    if (item->error == KAFKA_ERROR_NONE && item->elsewhere >= 0) {
        answer->preferred_read_replica = item->elsewhere;
    } else if (item->error == KAFKA_ERROR_NONE && item->slice_count > 0) {
        answer->records.slices = records->slices + item->first_slice;
        answer->records.count = (int32_t)item->slice_count;
    }
    if (fetch_names_leader(request, item)) {
        answer->current_leader.leader_id = item->partition->leader;
        answer->current_leader.leader_epoch = item->partition->epoch;
    }
}

static bool news_is_of_one_topic(const FetchNews *one, const FetchNews *other)
{
    return memcmp(&one->topic_id, &other->topic_id, sizeof(KafkaUuid)) == 0 &&
           slice_equals(one->topic, other->topic);
}

static int32_t news_count_topics(const FetchNews *news, int32_t count)
{
    int32_t topics = 0;
    for (int32_t i = 0; i < count; i++) {
        topics += i == 0 || !news_is_of_one_topic(&news[i - 1], &news[i]);
    }
    return topics;
}

/* The run of one topic's partitions at the front of news. */
static bool fetch_fill_topic(KafkaRequest *request, const FetchNews *news, int32_t run,
                             const Collection *records, KafkaFetchResponseTopic *topic)
{
    topic->topic = news->topic;
    topic->topic_id = news->topic_id;
    topic->partitions.items = kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_PARTITION, (size_t)run);
    for (int32_t i = 0; topic->partitions.items && i < run; i++) {
        fetch_fill_partition(request, &news[i], records, &topic->partitions.items[i]);
        topic->partitions.count++;
    }
    return topic->partitions.items != NULL;
}

static bool fetch_fill(KafkaRequest *request, const FetchNews *news, int32_t count, const Collection *records,
                       KafkaFetchResponse *response)
{
    int32_t topics = news_count_topics(news, count);
    response->responses.items = kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_TOPIC, (size_t)topics);
    for (int32_t start = 0, end; response->responses.items && start < count; start = end) {
        for (end = start + 1; end < count && news_is_of_one_topic(&news[start], &news[end]); end++) {
        }
        KafkaFetchResponseTopic *topic = &response->responses.items[response->responses.count++];
        if (!fetch_fill_topic(request, news + start, end - start, records, topic)) {
            return false;
        }
    }
    for (size_t i = 0; i < records->block_count; i++) {
        if (!kafka_request_hold(request, records->blocks[i])) {
            return false;
        }
    }
    return response->responses.items != NULL;
}

static bool news_name(const KafkaRequest *request, const FetchNews *news, int32_t count, int32_t agent_id)
{
    for (int32_t i = 0; i < count; i++) {
        if (fetch_names_leader(request, news[i].item) && news[i].item->partition->leader == agent_id) {
            return true;
        }
    }
    return false;
}

/* Where those live that partitions of the answer name as their leaders. */
static void fetch_name_endpoints(KafkaRequest *request, const FetchNews *news, int32_t count,
                                 KafkaFetchResponse *response)
{
    size_t agent_count;
    const AgentNode *agents = catalog_agents(api_agent(request)->catalog, &agent_count);
    KafkaFetchResponseNodeEndpoint *nodes = NULL;
    for (size_t i = 0; request->version >= FETCH_ENDPOINTS_OLDEST && i < agent_count; i++) {
        if (!news_name(request, news, count, agents[i].agent_id)) {
            continue;
        }
        if (!nodes) {
            nodes = kafka_items_new(&request->arena, &KAFKA_FETCH_RESPONSE_NODE_ENDPOINT, agent_count);
        }
        if (!nodes) {
            return; /* a hint, no more */
        }
        KafkaFetchResponseNodeEndpoint *node = &nodes[response->node_endpoints.count++];
        node->node_id = agents[i].agent_id;
        node->host = slice_of_text(agents[i].host);
        node->port = agents[i].port;
        node->rack = agents[i].zone[0] ? slice_of_text(agents[i].zone) : SLICE_NULL;
    }
    response->node_endpoints.items = nodes;
}

void fetch_reply(KafkaRequest *request, int32_t session_id, const FetchNews *news, int32_t count,
                 const Collection *records)
{
    KafkaFetchResponse response;
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
    response.session_id = session_id;
    fetch_name_endpoints(request, news, count, &response);
    if (fetch_fill(request, news, count, records, &response)) {
        kafka_request_reply(request, &response);
    } else {
        kafka_request_disconnect(request, "memory for the reply is short");
    }
}

void fetch_refuse(KafkaRequest *request, KafkaError error)
{
    KafkaFetchResponse response;
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
    response.error_code = (int16_t)error;
    kafka_request_reply(request, &response);
}
