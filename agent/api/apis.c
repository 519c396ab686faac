/* apis.c: which APIs are served, in which versions, by whom; and ApiVersions, which says so. */
#include "agent/api/api.h"

const ApiHandler api_handlers[] = {
    /* Produce is advertised from 0: librdkafka takes a broker that starts later for one without message
       format 2. */
    [KAFKA_PRODUCE] = { .handle = produce_handle, .oldest = 0, .newest = 13, .pipelined = true },
    [KAFKA_FETCH] = { .handle = fetch_handle, .oldest = 4, .newest = 18 },
    [KAFKA_LIST_OFFSETS] = { .handle = list_offsets_handle, .oldest = 1, .newest = 11 },
    [KAFKA_METADATA] = { .handle = metadata_handle, .oldest = 0, .newest = 13 },
    [KAFKA_OFFSET_COMMIT] = { .handle = offset_commit_handle, .oldest = 2, .newest = 10 },
    [KAFKA_OFFSET_FETCH] = { .handle = offset_fetch_handle, .oldest = 1, .newest = 10 },
    [KAFKA_FIND_COORDINATOR] = { .handle = find_coordinator_handle, .oldest = 0, .newest = 6 },
    [KAFKA_JOIN_GROUP] = { .handle = join_group_handle, .oldest = 0, .newest = 9 },
    [KAFKA_HEARTBEAT] = { .handle = heartbeat_handle, .oldest = 0, .newest = 4 },
    [KAFKA_LEAVE_GROUP] = { .handle = leave_group_handle, .oldest = 0, .newest = 5 },
    [KAFKA_SYNC_GROUP] = { .handle = sync_group_handle, .oldest = 0, .newest = 5 },
    [KAFKA_DESCRIBE_GROUPS] = { .handle = describe_groups_handle, .oldest = 0, .newest = 6 },
    [KAFKA_LIST_GROUPS] = { .handle = list_groups_handle, .oldest = 0, .newest = 5 },
    [KAFKA_API_VERSIONS] = { .handle = api_versions_handle, .oldest = 0, .newest = 4 },
    [KAFKA_CREATE_TOPICS] = { .handle = create_topics_handle, .oldest = 2, .newest = 7 },
    [KAFKA_DELETE_TOPICS] = { .handle = delete_topics_handle, .oldest = 1, .newest = 6 },
    [KAFKA_DELETE_RECORDS] = { .handle = delete_records_handle, .oldest = 0, .newest = 2 },
    [KAFKA_INIT_PRODUCER_ID] = { .handle = init_producer_id_handle, .oldest = 0, .newest = 5 },
    [KAFKA_OFFSET_FOR_LEADER_EPOCH] = { .handle = leader_epoch_handle, .oldest = 2, .newest = 4 },
    [KAFKA_DESCRIBE_CONFIGS] = { .handle = describe_configs_handle, .oldest = 1, .newest = 4 },
    [KAFKA_ALTER_CONFIGS] = { .handle = alter_configs_handle, .oldest = 0, .newest = 2 },
    [KAFKA_DESCRIBE_LOG_DIRS] = { .handle = describe_log_dirs_handle, .oldest = 1, .newest = 4 },
    [KAFKA_CREATE_PARTITIONS] = { .handle = create_partitions_handle, .oldest = 0, .newest = 3 },
    [KAFKA_DELETE_GROUPS] = { .handle = delete_groups_handle, .oldest = 0, .newest = 2 },
    [KAFKA_OFFSET_DELETE] = { .handle = offset_delete_handle, .oldest = 0, .newest = 0 },
    [KAFKA_ELECT_LEADERS] = { .handle = elect_leaders_handle, .oldest = 0, .newest = 2 },
    [KAFKA_INCREMENTAL_ALTER_CONFIGS] = { .handle = incremental_alter_configs_handle,
                                          .oldest = 0,
                                          .newest = 1 },
    [KAFKA_ALTER_PARTITION_REASSIGNMENTS] = { .handle = alter_reassignments_handle,
                                              .oldest = 0,
                                              .newest = 1 },
    [KAFKA_LIST_PARTITION_REASSIGNMENTS] = { .handle = list_reassignments_handle, .oldest = 0, .newest = 0 },
    [KAFKA_DESCRIBE_CLUSTER] = { .handle = describe_cluster_handle, .oldest = 0, .newest = 2 },
    [KAFKA_DESCRIBE_PRODUCERS] = { .handle = describe_producers_handle, .oldest = 0, .newest = 0 },
    [KAFKA_CONSUMER_GROUP_HEARTBEAT] = { .handle = consumer_group_heartbeat_handle,
                                         .oldest = 0,
                                         .newest = 1 },
    [KAFKA_CONSUMER_GROUP_DESCRIBE] = { .handle = consumer_group_describe_handle, .oldest = 0, .newest = 1 },
    [KAFKA_GET_TELEMETRY_SUBSCRIPTIONS] = { .handle = telemetry_subscriptions_handle,
                                            .oldest = 0,
                                            .newest = 0 },
    [KAFKA_PUSH_TELEMETRY] = { .handle = push_telemetry_handle, .oldest = 0, .newest = 0 },
    [KAFKA_LIST_CONFIG_RESOURCES] = { .handle = list_config_resources_handle, .oldest = 0, .newest = 1 },
    [KAFKA_DESCRIBE_TOPIC_PARTITIONS] = { .handle = describe_topic_partitions_handle,
                                          .oldest = 0,
                                          .newest = 0 },
};

const size_t api_handler_count = sizeof(api_handlers) / sizeof(api_handlers[0]);

void api_versions_handle(KafkaRequest *request)
{
    KafkaApiVersionsResponse response;
    kafka_defaults(&KAFKA_API_VERSIONS_RESPONSE.root, &response);
    KafkaApiVersionsResponseApiKey *keys =
        kafka_items_new(&request->arena, &KAFKA_API_VERSIONS_RESPONSE_API_KEY, api_handler_count);
    for (size_t key = 0; keys && key < api_handler_count; key++) {
        if (api_handlers[key].handle) {
            keys[response.api_keys.count++] = (KafkaApiVersionsResponseApiKey){
                .api_key = (int16_t)key,
                .min_version = api_handlers[key].oldest,
                .max_version = api_handlers[key].newest,
            };
        }
    }
    response.api_keys.items = keys;
    kafka_request_reply(request, &response);
}
