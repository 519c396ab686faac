/* api.c: helpers of the handlers. */
#include "agent/api/api.h"

#include "agent/jobs/lease.h"

#include <stdio.h>

#include "agent/brain/brain.h"
#include "agent/utf8.h"

enum { CLIENT_HOST_MAX = 64 };

Topic *api_topic(const KafkaRequest *request, Slice name, const KafkaUuid *topic_id, KafkaError *error)
{
    const Catalog *catalog = api_agent(request)->catalog;
    *error = KAFKA_ERROR_NONE;
    if (topic_id && !api_uuid_is_zero(topic_id)) {
        Topic *topic = catalog_topic_by_uuid(catalog, topic_id->bytes);
        *error = topic ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_ID;
        return topic;
    }
    Topic *topic = catalog_topic(catalog, name);
    *error = topic ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    return topic;
}

int32_t api_controller(const Agent *agent)
{
    size_t count;
    int32_t own_id = lease_agent_id(agent->lease);
    const AgentNode *agents = catalog_agents(agent->catalog, &count);
    for (size_t i = 0; agent->state == AGENT_DRAINING && i < count; i++) {
        if (agents[i].agent_id != own_id) {
            return agents[i].agent_id;
        }
    }
    return own_id;
}

KafkaError api_check_epoch(const Partition *partition, int32_t seen_epoch)
{
    if (seen_epoch < 0 || seen_epoch == partition->epoch) {
        return KAFKA_ERROR_NONE;
    }
    return seen_epoch < partition->epoch ? KAFKA_ERROR_FENCED_LEADER_EPOCH : KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
}

KafkaError api_brain_error(const BrainResult *result)
{
    static const struct {
        StatusCode code;
        KafkaError error;
    } errors[] = {
        { STATUS_OK, KAFKA_ERROR_NONE },
        { STATUS_NOT_FOUND, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION },
        { STATUS_EXISTS, KAFKA_ERROR_TOPIC_ALREADY_EXISTS },
        { STATUS_INVALID, KAFKA_ERROR_INVALID_REQUEST },
        { STATUS_DENIED, KAFKA_ERROR_CLUSTER_AUTHORIZATION_FAILED },
        { STATUS_UNAVAILABLE, KAFKA_ERROR_REQUEST_TIMED_OUT },
        { STATUS_TIMEOUT, KAFKA_ERROR_REQUEST_TIMED_OUT },
        { STATUS_LIMIT, KAFKA_ERROR_REQUEST_TIMED_OUT },
    };
    int named = brain_kafka_error(result);
    if (named >= 0) {
        return (KafkaError)named;
    }
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].code == result->status.code) {
            return errors[i].error;
        }
    }
    return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
}

KafkaError api_group_error(const BrainResult *result)
{
    int named = brain_kafka_error(result);
    if (named >= 0) {
        return (KafkaError)named;
    }
    return result->status.code == STATUS_DENIED ? KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED
                                                : KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
}

Slice api_copy(KafkaRequest *request, Slice text)
{
    Slice copy = SLICE_NULL;
    (void)arena_copy(&request->arena, text, &copy);
    return copy;
}

Slice api_client_host(KafkaRequest *request)
{
    const char *peer = kafka_request_peer(request);
    const char *port = strrchr(peer, ':');
    int size = port ? (int)(port - peer) : (int)strlen(peer);
    bool brackets = size >= 2 && peer[0] == '[' && peer[size - 1] == ']';
    char *host = arena_allocate(&request->arena, CLIENT_HOST_MAX);
    if (!host) {
        return SLICE_LITERAL("");
    }
    snprintf(host, CLIENT_HOST_MAX, "/%.*s", brackets ? size - 2 : size, brackets ? peer + 1 : peer);
    return slice_of_text(host);
}

bool api_text_is_storable(Slice text)
{
    return slice_is_null(text) || utf8_is_text(text);
}
