/* cluster.c: DescribeCluster. */
#include "agent/api/api.h"
#include "agent/api/operations.h"
#include "agent/jobs/lease.h"

enum { ENDPOINT_BROKERS = 1, ENDPOINT_CONTROLLERS = 2 };

static void describe_cluster_reply(KafkaRequest *request)
{
    const KafkaDescribeClusterRequest *asked = request->message;
    Agent *agent = api_agent(request);
    KafkaDescribeClusterResponse response;
    size_t count;
    const AgentNode *agents = catalog_agents(agent->catalog, &count);
    kafka_defaults(&KAFKA_DESCRIBE_CLUSTER_RESPONSE.root, &response);
    response.endpoint_type = asked->endpoint_type;
    response.cluster_id = slice_of_text(catalog_cluster_id(agent->catalog));
    response.controller_id = api_controller(agent);
    if (asked->endpoint_type != ENDPOINT_BROKERS) {
        bool known = asked->endpoint_type == ENDPOINT_CONTROLLERS;
        response.error_code =
            known ? KAFKA_ERROR_MISMATCHED_ENDPOINT_TYPE : KAFKA_ERROR_UNSUPPORTED_ENDPOINT_TYPE;
        response.error_message = known ? SLICE_LITERAL("this is a broker, not a controller")
                                       : SLICE_LITERAL("there is no such type of endpoint");
        kafka_request_reply(request, &response);
        return;
    }
    if (asked->include_cluster_authorized_operations) {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    response.brokers.items = kafka_items_new(&request->arena, &KAFKA_DESCRIBE_CLUSTER_RESPONSE_BROKER, count);
    for (size_t i = 0; response.brokers.items && i < count; i++) {
        KafkaDescribeClusterResponseBroker *broker = &response.brokers.items[i];
        broker->broker_id = agents[i].agent_id;
        broker->host = slice_of_text(agents[i].host);
        broker->port = agents[i].port;
        broker->rack = agents[i].zone[0] ? slice_of_text(agents[i].zone) : SLICE_NULL;
        response.brokers.count++;
    }
    kafka_request_reply(request, &response);
}

static void describe_cluster_refreshed(void *argument, const Status *status)
{
    (void)status;
    describe_cluster_reply(argument);
}

void describe_cluster_handle(KafkaRequest *request)
{
    if (catalog_is_loaded(api_agent(request)->catalog)) {
        describe_cluster_reply(request);
    } else {
        catalog_refresh(api_agent(request)->catalog, describe_cluster_refreshed, request);
    }
}
