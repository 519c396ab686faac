/* metadata.c: Metadata: brokers, topics, leaders. Unknown topics are looked for once more in the brain, and
 * created there when the client allows it and the agent is set to. An agent whose lease has lapsed asks the
 * brain first who leads. */
#include "agent/api/api.h"
#include "agent/api/operations.h"
#include "agent/api/rack.h"
#include "agent/api/topic_create.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"

enum {
    NAMELESS_OLDEST = 12, /* first version whose answer may name a topic by its id alone */
    OUTDATED_MS = 500     /* what was read so long ago, and by an agent without a lease, is read again */
};

typedef struct MetadataState {
    KafkaRequest *request;
    bool refreshed;
    bool failed; /* to refresh: what is not in the catalog may exist all the same */
    bool created;
    int32_t next_create; /* topics are created one after the other: heartbeats take the same line */
    KafkaError create_error;
} MetadataState;

static void metadata_begin(MetadataState *state);

static bool metadata_wants_all(const KafkaRequest *request)
{
    const KafkaMetadataRequest *asked = request->message;
    return asked->topics.count < 0 || (request->version == 0 && asked->topics.count == 0);
}

/* What all partitions of a reply have in common. */
typedef struct MetadataContext {
    KafkaRequest *request;
    const Catalog *catalog;
    RackZones zones;
    int32_t leader; /* looked up last, and whether it is alive */
    bool leader_lives;
} MetadataContext;

static bool metadata_leader_lives(MetadataContext *context, int32_t leader)
{
    if (leader != context->leader) {
        context->leader = leader;
        context->leader_lives = catalog_agent(context->catalog, leader) != NULL;
    }
    return context->leader_lives;
}

static void metadata_fill_partition(MetadataContext *context, const Partition *partition, int32_t *replicas,
                                    KafkaMetadataResponsePartition *out)
{
    out->partition_index = partition->index;
    out->leader_id = partition->leader;
    out->leader_epoch = partition->epoch;
    if (partition->leader == TOPIC_NO_LEADER || !metadata_leader_lives(context, partition->leader)) {
        out->leader_id = TOPIC_NO_LEADER;
        out->error_code = KAFKA_ERROR_LEADER_NOT_AVAILABLE;
        return;
    }
    /* The store holds the copies; to a client the replicas are those who serve it. */
    out->replica_nodes.items = replicas;
    out->replica_nodes.count = rack_replicas(context->catalog, &context->zones, partition, replicas);
    out->isr_nodes = out->replica_nodes;
}

static bool metadata_fill_topic(MetadataContext *context, const Topic *topic, KafkaMetadataResponseTopic *out)
{
    Arena *arena = &context->request->arena;
    const KafkaMetadataRequest *asked = context->request->message;
    size_t count = (size_t)topic->partition_count;
    size_t width = context->zones.count + 1; /* replicas of one partition at most */
    out->name = slice_of_text(topic->name);
    memcpy(out->topic_id.bytes, topic->uuid, sizeof(topic->uuid));
    if (asked->include_topic_authorized_operations) {
        out->topic_authorized_operations = TOPIC_OPERATIONS;
    }
    out->partitions.items = kafka_items_new(arena, &KAFKA_METADATA_RESPONSE_PARTITION, count);
    int32_t *replicas = arena_allocate_array(arena, count, width * sizeof(int32_t));
    if (!out->partitions.items || !replicas) {
        return false;
    }
    out->partitions.count = topic->partition_count;
    for (size_t i = 0; i < count; i++) {
        metadata_fill_partition(context, topic->partitions[i], replicas + i * width,
                                &out->partitions.items[i]);
    }
    return true;
}

static bool metadata_fill_all(MetadataContext *context, KafkaMetadataResponse *response)
{
    const Catalog *catalog = context->catalog;
    size_t count = catalog_topic_count(catalog);
    response->topics.items = kafka_items_new(&context->request->arena, &KAFKA_METADATA_RESPONSE_TOPIC, count);
    for (Topic *topic = catalog_first(catalog); response->topics.items && topic;
         topic = catalog_next(topic)) {
        if (!metadata_fill_topic(context, topic, &response->topics.items[response->topics.count++])) {
            return false;
        }
    }
    return response->topics.items != NULL;
}

/* Versions 10 and 11 can ask without a name, but cannot answer without one. */
static void metadata_fill_missing(const MetadataState *state, const KafkaMetadataRequestTopic *wanted,
                                  KafkaError error, KafkaMetadataResponseTopic *out)
{
    bool nameless = slice_is_null(wanted->name) && state->request->version < NAMELESS_OLDEST;
    bool refused = state->create_error != KAFKA_ERROR_NONE && !slice_is_null(wanted->name);
    error = nameless        ? KAFKA_ERROR_INVALID_REQUEST
            : refused       ? state->create_error
            : state->failed ? KAFKA_ERROR_LEADER_NOT_AVAILABLE
                            : error;
    out->error_code = (int16_t)error;
    out->name = nameless ? SLICE_LITERAL("") : wanted->name;
    out->topic_id = wanted->topic_id;
}

static bool metadata_fill_asked(const MetadataState *state, MetadataContext *context,
                                KafkaMetadataResponse *response)
{
    KafkaRequest *request = state->request;
    const KafkaMetadataRequest *asked = request->message;
    response->topics.items =
        kafka_items_new(&request->arena, &KAFKA_METADATA_RESPONSE_TOPIC, (size_t)asked->topics.count);
    for (int32_t i = 0; response->topics.items && i < asked->topics.count; i++) {
        const KafkaMetadataRequestTopic *wanted = &asked->topics.items[i];
        KafkaMetadataResponseTopic *out = &response->topics.items[response->topics.count++];
        KafkaError error;
        Topic *topic = api_topic(request, wanted->name, &wanted->topic_id, &error);
        if (!topic) {
            metadata_fill_missing(state, wanted, error, out);
        } else if (!metadata_fill_topic(context, topic, out)) {
            return false;
        }
    }
    return response->topics.items != NULL;
}

static void metadata_fill_broker(const AgentNode *node, KafkaMetadataResponseBroker *broker)
{
    broker->node_id = node->agent_id;
    broker->host = slice_of_text(node->host);
    broker->port = node->port;
    broker->rack = node->zone[0] ? slice_of_text(node->zone) : SLICE_NULL;
}

/* To a client that says where it is, those in its zone come first. */
static bool metadata_fill_brokers(KafkaRequest *request, KafkaMetadataResponse *response)
{
    size_t count;
    const AgentNode *agents = catalog_agents(api_agent(request)->catalog, &count);
    Slice zone = rack_of_client(request->client_id);
    response->brokers.items = kafka_items_new(&request->arena, &KAFKA_METADATA_RESPONSE_BROKER, count);
    for (int near = 1; response->brokers.items && near >= 0; near--) {
        for (size_t i = 0; i < count; i++) {
            if (slice_equals(slice_of_text(agents[i].zone), zone) == (near == 1)) {
                metadata_fill_broker(&agents[i], &response->brokers.items[response->brokers.count++]);
            }
        }
    }
    return response->brokers.items != NULL;
}

static void metadata_reply(const MetadataState *state)
{
    KafkaRequest *request = state->request;
    Agent *agent = api_agent(request);
    const KafkaMetadataRequest *asked = request->message;
    KafkaMetadataResponse response;
    kafka_defaults(&KAFKA_METADATA_RESPONSE.root, &response);
    if (asked->include_cluster_authorized_operations) {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response.cluster_id = slice_of_text(catalog_cluster_id(agent->catalog));
    response.controller_id = api_controller(agent);
    MetadataContext context = {
        .request = request,
        .catalog = agent->catalog,
        .zones = rack_zones(agent->catalog),
        .leader = TOPIC_NO_LEADER,
    };
    bool filled = metadata_fill_brokers(request, &response) &&
                  (metadata_wants_all(request) ? metadata_fill_all(&context, &response)
                                               : metadata_fill_asked(state, &context, &response));
    if (filled) {
        kafka_request_reply(request, &response);
    } else {
        kafka_request_disconnect(request, "the topics do not fit in the request's memory; ask for fewer");
    }
}

/* A topic that is not in the catalog. */
static bool metadata_misses(const MetadataState *state, const KafkaMetadataRequestTopic *wanted)
{
    KafkaError error;
    return !api_topic(state->request, wanted->name, &wanted->topic_id, &error);
}

static bool metadata_misses_any(const MetadataState *state)
{
    const KafkaMetadataRequest *asked = state->request->message;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        if (metadata_misses(state, &asked->topics.items[i])) {
            return true;
        }
    }
    return false;
}

static void metadata_refreshed(void *argument, const Status *status)
{
    MetadataState *state = argument;
    state->failed = !status_is_ok(status);
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return;
    }
    metadata_begin(state);
}

static void metadata_refresh(MetadataState *state)
{
    catalog_refresh(api_agent(state->request)->catalog, metadata_refreshed, state);
}

static void metadata_create_next(MetadataState *state);

static void metadata_created(void *argument, KafkaError error, const char *message)
{
    MetadataState *state = argument;
    (void)message;
    if (error != KAFKA_ERROR_NONE && error != KAFKA_ERROR_TOPIC_ALREADY_EXISTS) {
        state->create_error = error;
    }
    metadata_create_next(state);
}

static bool metadata_may_create(const KafkaRequest *request)
{
    const KafkaMetadataRequest *asked = request->message;
    return asked->allow_auto_topic_creation && api_agent(request)->settings.auto_create_topics;
}

static void metadata_create_next(MetadataState *state)
{
    const KafkaMetadataRequest *asked = state->request->message;
    Agent *agent = api_agent(state->request);
    while (state->next_create < asked->topics.count && !state->request->abandoned) {
        const KafkaMetadataRequestTopic *wanted = &asked->topics.items[state->next_create++];
        if (!slice_is_null(wanted->name) && api_uuid_is_zero(&wanted->topic_id) &&
            metadata_misses(state, wanted)) {
            topic_create(agent, wanted->name, agent->settings.default_partitions, SLICE_LITERAL("{}"),
                         metadata_created, state);
            return;
        }
    }
    metadata_refresh(state);
}

/* After a time in which this agent was asleep or cut off, leaders may have moved, and a client that is told
 * of old ones and of new ones in one breath may stay with the old (librdkafka does). Without PostgreSQL the
 * old ones are all there is to tell. */
static bool metadata_is_stale(const Agent *agent)
{
    return lease_agent_id(agent->lease) != LEASE_NO_AGENT && !lease_is_valid(agent->lease) &&
           brain_is_ready(agent->brain, NULL) && time_ms() > catalog_tried_ms(agent->catalog) + OUTDATED_MS;
}

static void metadata_begin(MetadataState *state)
{
    const Agent *agent = api_agent(state->request);
    bool missing = !metadata_wants_all(state->request) && metadata_misses_any(state);
    bool outdated = !catalog_is_loaded(agent->catalog) || metadata_is_stale(agent);
    if ((missing || outdated) && !state->refreshed) {
        state->refreshed = true;
        metadata_refresh(state);
    } else if (missing && !state->created && metadata_may_create(state->request)) {
        state->created = true;
        metadata_create_next(state);
    } else {
        metadata_reply(state);
    }
}

void metadata_handle(KafkaRequest *request)
{
    MetadataState *state = arena_allocate(&request->arena, sizeof(MetadataState));
    if (!state) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    *state = (MetadataState){ .request = request };
    metadata_begin(state);
}
