/* api.h: what the handlers of Kafka's APIs share. Each handler is in the file of its subject: produce.c,
 * fetch.c, metadata.c, topics.c, configs.c, offsets.c, offset_commit.c, offset_fetch.c, coordinator.c,
 * groups.c, group_admin.c, consumer_groups.c, consumer_describe.c, cluster.c, producers.c, telemetry.c;
 * apis.c is the table of all. */
#ifndef STREAMHOUSE_API_H
#define STREAMHOUSE_API_H

#include "agent/agent.h"
#include "agent/catalog/catalog.h"
#include "agent/kafka/error.h"
#include "agent/kafka/request.h"

/* KafkaServerOptions.handlers and .handler_count. */
extern const ApiHandler api_handlers[];
extern const size_t api_handler_count;

void api_versions_handle(KafkaRequest *request);
void produce_handle(KafkaRequest *request);
void fetch_handle(KafkaRequest *request);
void list_offsets_handle(KafkaRequest *request);
void leader_epoch_handle(KafkaRequest *request);
void metadata_handle(KafkaRequest *request);
void describe_cluster_handle(KafkaRequest *request);
void find_coordinator_handle(KafkaRequest *request);
void join_group_handle(KafkaRequest *request);
void heartbeat_handle(KafkaRequest *request);
void leave_group_handle(KafkaRequest *request);
void sync_group_handle(KafkaRequest *request);
void create_topics_handle(KafkaRequest *request);
void delete_topics_handle(KafkaRequest *request);
void create_partitions_handle(KafkaRequest *request);
void describe_configs_handle(KafkaRequest *request);
void alter_configs_handle(KafkaRequest *request);
void incremental_alter_configs_handle(KafkaRequest *request);
void delete_records_handle(KafkaRequest *request);
void elect_leaders_handle(KafkaRequest *request);
void alter_reassignments_handle(KafkaRequest *request);
void list_reassignments_handle(KafkaRequest *request);
void describe_log_dirs_handle(KafkaRequest *request);
void describe_producers_handle(KafkaRequest *request);
void list_config_resources_handle(KafkaRequest *request);
void describe_topic_partitions_handle(KafkaRequest *request);
void init_producer_id_handle(KafkaRequest *request);
void telemetry_subscriptions_handle(KafkaRequest *request);
void push_telemetry_handle(KafkaRequest *request);
void offset_commit_handle(KafkaRequest *request);
void offset_fetch_handle(KafkaRequest *request);
void offset_delete_handle(KafkaRequest *request);
void describe_groups_handle(KafkaRequest *request);
void list_groups_handle(KafkaRequest *request);
void delete_groups_handle(KafkaRequest *request);
void consumer_group_heartbeat_handle(KafkaRequest *request);
void consumer_group_describe_handle(KafkaRequest *request);

static inline Agent *api_agent(const KafkaRequest *request)
{
    return request->context;
}

/* The topic a request means: by name, or by id where the version has ids (name is then null or empty). NULL
 * when unknown; error then says what to answer. */
Topic *api_topic(const KafkaRequest *request, Slice name, const KafkaUuid *topic_id, KafkaError *error);

/* Who does what Kafka has a controller for: this agent, or another one when it is about to leave. */
int32_t api_controller(const Agent *agent);

/* Compares the leader epoch a client has seen (-1: it does not say) with the partition's. */
KafkaError api_check_epoch(const Partition *partition, int32_t seen_epoch);

static inline bool api_uuid_is_zero(const KafkaUuid *uuid)
{
    static const KafkaUuid zero;
    return memcmp(uuid, &zero, sizeof(zero)) == 0;
}

/* The Kafka error of a brain's answer that is not OK: SQLSTATE SHnnn is error nnn, others by their class. */
struct BrainResult;
KafkaError api_brain_error(const struct BrainResult *result);
/* Likewise of a question about groups, whose clients look for the coordinator again when the brain is away.
 */
KafkaError api_group_error(const struct BrainResult *result);

/* Whether PostgreSQL can keep the text: UTF-8 without NUL. Null is. */
bool api_text_is_storable(Slice text);

/* A copy in the request's memory; null stays null, and is what a copy becomes when that memory is short. */
Slice api_copy(KafkaRequest *request, Slice text);

/* Where the client connects from, as Kafka writes it: a slash and the address. */
Slice api_client_host(KafkaRequest *request);

#endif
