/* config_list.c: ListConfigResources: what has configs. Its version 0 is ListClientMetricsResources. */
#include <stdio.h>

#include "agent/api/api.h"
#include "agent/api/config_resource.h"
#include "agent/brain/brain.h"

enum { RESOURCE_NAME_MAX = 16 };

static const BrainStatement groups_statement = {
    "configured_groups", "SELECT name FROM sh_configured_groups() AS name", 0, { 0 }
};

/* What a request asks for; no types at all: everything. */
static bool list_wants(const KafkaRequest *request, int8_t type)
{
    const KafkaListConfigResourcesRequest *asked = request->message;
    for (int32_t i = 0; i < asked->resource_types.count; i++) {
        if (asked->resource_types.items[i] == type) {
            return true;
        }
    }
    return asked->resource_types.count <= 0;
}

static bool list_is_supported(const KafkaRequest *request)
{
    const KafkaListConfigResourcesRequest *asked = request->message;
    for (int32_t i = 0; i < asked->resource_types.count; i++) {
        int8_t type = asked->resource_types.items[i];
        if (!config_resource_name(type) && type != CONFIG_OF_BROKER_LOGGER &&
            type != CONFIG_OF_CLIENT_METRICS) {
            return false;
        }
    }
    return true;
}

static void list_add(KafkaListConfigResourcesResponse *response, int8_t type, Slice name)
{
    KafkaListConfigResourcesResponseConfigResource *out =
        &response->config_resources.items[response->config_resources.count++];
    out->resource_type = type;
    out->resource_name = name;
}

static void list_brokers(KafkaRequest *request, int8_t type, KafkaListConfigResourcesResponse *response)
{
    size_t count;
    const AgentNode *agents = catalog_agents(api_agent(request)->catalog, &count);
    for (size_t i = 0; list_wants(request, type) && i < count; i++) {
        char name[RESOURCE_NAME_MAX];
        snprintf(name, sizeof(name), "%d", agents[i].agent_id);
        list_add(response, type, api_copy(request, slice_of_text(name)));
    }
}

static void list_reply(KafkaRequest *request, const BrainResult *groups)
{
    const Catalog *catalog = api_agent(request)->catalog;
    KafkaListConfigResourcesResponse response;
    size_t agents;
    size_t rows = groups && status_is_ok(&groups->status) ? (size_t)brain_row_count(groups) : 0;
    (void)catalog_agents(catalog, &agents);
    kafka_defaults(&KAFKA_LIST_CONFIG_RESOURCES_RESPONSE.root, &response);
    response.config_resources.items =
        kafka_items_new(&request->arena, &KAFKA_LIST_CONFIG_RESOURCES_RESPONSE_CONFIG_RESOURCE,
                        catalog_topic_count(catalog) + 2 * agents + rows);
    if (!response.config_resources.items) {
        kafka_request_disconnect(request, "the topics do not fit in the request's memory");
        return;
    }
    if (groups && !status_is_ok(&groups->status)) {
        response.error_code = (int16_t)api_brain_error(groups);
        kafka_request_reply(request, &response);
        return;
    }
    list_brokers(request, CONFIG_OF_BROKER, &response);
    list_brokers(request, CONFIG_OF_BROKER_LOGGER, &response);
    for (Topic *topic = catalog_first(catalog); list_wants(request, CONFIG_OF_TOPIC) && topic;
         topic = catalog_next(topic)) {
        list_add(&response, CONFIG_OF_TOPIC, slice_of_text(topic->name));
    }
    for (int row = 0; row < (int)rows; row++) {
        list_add(&response, CONFIG_OF_GROUP, brain_text(groups, row, 0));
    }
    kafka_request_reply(request, &response);
}

static void list_groups_found(const BrainResult *result, void *argument)
{
    KafkaRequest *request = argument;
    if (request->abandoned) {
        kafka_request_finish_silently(request);
    } else {
        list_reply(request, result);
    }
}

/* No subscriptions to clients' metrics are kept, so version 0 finds none. Groups that only have defaults are
 * not told of. */
void list_config_resources_handle(KafkaRequest *request)
{
    KafkaListConfigResourcesResponse response;
    kafka_defaults(&KAFKA_LIST_CONFIG_RESOURCES_RESPONSE.root, &response);
    if (request->version == 0) {
        kafka_request_reply(request, &response);
    } else if (!list_is_supported(request)) {
        response.error_code = KAFKA_ERROR_UNSUPPORTED_VERSION;
        kafka_request_reply(request, &response);
    } else if (list_wants(request, CONFIG_OF_GROUP)) {
        brain_send(api_agent(request)->brain, BRAIN_READ, &(BrainQuery){ .statement = &groups_statement },
                   list_groups_found, request);
    } else {
        list_reply(request, NULL);
    }
}
