/* cluster.c: DescribeCluster. */
#include "agent/api/api.h"
#include "agent/jobs/lease.h"

enum { ENDPOINT_BROKERS = 1 };

void describe_cluster_handle(KafkaRequest *request)
{
    const KafkaDescribeClusterRequest *asked = request->message;
    Agent *agent = api_agent(request);
    KafkaDescribeClusterResponse response;
    size_t count;
    const AgentNode *agents = catalog_agents(agent->catalog, &count);
    kafka_defaults(&KAFKA_DESCRIBE_CLUSTER_RESPONSE.root, &response);
    response.endpoint_type = asked->endpoint_type;
    response.cluster_id = slice_of_text(catalog_cluster_id(agent->catalog));
    response.controller_id = lease_agent_id(agent->lease);
    if (asked->endpoint_type != ENDPOINT_BROKERS) {
        response.error_code = KAFKA_ERROR_UNSUPPORTED_ENDPOINT_TYPE;
        kafka_request_reply(request, &response);
        return;
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
