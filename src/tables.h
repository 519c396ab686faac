/* tables.h: the numbers of the columns that C code reads and writes, as schema.sql declares them. The
 * regression test "commit" compares them with the catalog's. */
#ifndef STREAMHOUSE_TABLES_H
#define STREAMHOUSE_TABLES_H

enum {
    Anum_topic_topic_id = 1,
    Anum_topic_topic_uuid,
    Anum_topic_name,
    Anum_topic_partitions,
    Anum_topic_config,
    Anum_topic_created_at,
    Anum_topic_deleted_at,
    Natts_topic = Anum_topic_deleted_at
};

enum {
    Anum_partition_topic_id = 1,
    Anum_partition_partition,
    Anum_partition_floor_offset,
    Anum_partition_log_start_offset,
    Natts_partition = Anum_partition_log_start_offset
};

enum {
    Anum_lease_topic_id = 1,
    Anum_lease_partition,
    Anum_lease_agent_id,
    Anum_lease_epoch,
    Anum_lease_next_agent_id,
    Anum_lease_hand_over_until,
    Natts_lease = Anum_lease_hand_over_until
};

_Static_assert((int)Anum_lease_topic_id == Anum_partition_topic_id &&
                   (int)Anum_lease_partition == Anum_partition_partition,
               "one walk over partitions reads both tables");

enum {
    Anum_object_object_id = 1,
    Anum_object_key,
    Anum_object_state,
    Anum_object_bytes,
    Anum_object_agent_id,
    Anum_object_created_at,
    Anum_object_expires_at,
    Anum_object_emptied_at,
    Anum_object_deleted_at,
    Anum_object_reap_after,
    Natts_object = Anum_object_reap_after
};

enum {
    Anum_segment_topic_id = 1,
    Anum_segment_partition,
    Anum_segment_base_offset,
    Anum_segment_end_offset,
    Anum_segment_object_id,
    Anum_segment_byte_start,
    Anum_segment_byte_length,
    Anum_segment_batches,
    Anum_segment_leader_epoch,
    Anum_segment_max_timestamp,
    Anum_segment_running_max_timestamp,
    Anum_segment_slot,
    Natts_segment = Anum_segment_slot
};

enum {
    Anum_topic_grant_topic_id = 1,
    Anum_topic_grant_prefix,
    Anum_topic_grant_role,
    Anum_topic_grant_privilege,
    Anum_topic_grant_granted_by,
    Anum_topic_grant_granted_at,
    Natts_topic_grant = Anum_topic_grant_granted_at
};

enum {
    Anum_inline_slot_slot = 1,
    Anum_inline_slot_state,
    Anum_inline_slot_changed_at,
    Natts_inline_slot = Anum_inline_slot_changed_at
};

/* inline_1 to inline_8 */
enum {
    Anum_inline_object_id = 1,
    Anum_inline_written_at,
    Anum_inline_byte_start,
    Anum_inline_bytes,
    Natts_inline = Anum_inline_bytes
};

enum {
    Anum_producer_topic_id = 1,
    Anum_producer_partition,
    Anum_producer_producer_id,
    Anum_producer_end_offset,
    Anum_producer_producer_epoch,
    Anum_producer_first_sequences,
    Anum_producer_last_sequences,
    Anum_producer_base_offsets,
    Anum_producer_written_at,
    Natts_producer = Anum_producer_written_at
};

enum { Anum_config_definition_name = 1, Anum_config_definition_type, Anum_config_definition_default_value };

enum { Anum_topic_default_name = 1, Anum_topic_default_value };

enum {
    Anum_commit_answer_object_id = 1,
    Anum_commit_answer_batch,
    Anum_commit_answer_batches,
    Anum_commit_answer_statuses,
    Anum_commit_answer_error_codes,
    Anum_commit_answer_base_offsets,
    Anum_commit_answer_answered_at,
    Natts_commit_answer = Anum_commit_answer_answered_at
};

enum {
    Anum_consumer_group_group_id = 1,
    Anum_consumer_group_name,
    Anum_consumer_group_protocol_type,
    Anum_consumer_group_group_epoch,
    Anum_consumer_group_target_epoch,
    Anum_consumer_group_assignor,
    Anum_consumer_group_topics_hash,
    Anum_consumer_group_version,
    Anum_consumer_group_role,
    Anum_consumer_group_created_at,
    Anum_consumer_group_group_type,
    Anum_consumer_group_protocol_name,
    Anum_consumer_group_leader_member,
    Anum_consumer_group_coordinator_id,
    Anum_consumer_group_coordinator_epoch,
    Anum_consumer_group_emptied_at,
    Natts_consumer_group = Anum_consumer_group_emptied_at
};

enum {
    Anum_group_offset_group_id = 1,
    Anum_group_offset_topic_id,
    Anum_group_offset_partition,
    Anum_group_offset_commit_id,
    Anum_group_offset_committed_offset,
    Anum_group_offset_leader_epoch,
    Anum_group_offset_metadata,
    Anum_group_offset_member_id,
    Anum_group_offset_committed_at,
    Natts_group_offset = Anum_group_offset_committed_at
};

enum {
    Anum_agent_agent_id = 1,
    Anum_agent_name,
    Anum_agent_incarnation,
    Anum_agent_previous_incarnation,
    Anum_agent_kafka_host,
    Anum_agent_kafka_port,
    Anum_agent_http_host,
    Anum_agent_http_port,
    Anum_agent_zone,
    Anum_agent_agent_group,
    Anum_agent_lease_weight,
    Anum_agent_draining,
    Anum_agent_version,
    Anum_agent_started_at,
    Anum_agent_heartbeat_at,
    Anum_agent_expires_at,
    Anum_agent_lease_version,
    Natts_agent = Anum_agent_lease_version
};

enum { Anum_job_name = 1, Anum_job_agent_id, Anum_job_expires_at };

enum {
    Anum_cluster_singleton = 1,
    Anum_cluster_cluster_uuid,
    Anum_cluster_balanced_agents,
    Anum_cluster_balanced_at,
    Anum_cluster_swept_object_id,
    Anum_cluster_swept_topic_id,
    Anum_cluster_swept_partition,
    Anum_cluster_swept_producer_id,
    Anum_cluster_swept_end_offset,
    Anum_cluster_swept_group_id,
    Anum_cluster_swept_groups_at,
    Anum_cluster_timeline,
};

enum {
    Anum_store_owner_singleton = 1,
    Anum_store_owner_state,
    Anum_store_owner_server,
    Anum_store_owner_reason,
    Anum_store_owner_changed_at,
};

enum {
    Anum_store_marker_singleton = 1,
    Anum_store_marker_number,
    Anum_store_marker_next_number,
    Anum_store_marker_next_body,
    Anum_store_marker_begun_at,
};

#endif
