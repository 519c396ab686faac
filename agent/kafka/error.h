/* error.h: Kafka's error codes: number, name, whether a client may simply try again, and what it means in a
 * few words. One table; the enum, the look-ups and whoever wants to list them read it. */
#ifndef STREAMHOUSE_KAFKA_ERROR_H
#define STREAMHOUSE_KAFKA_ERROR_H

#include <stdbool.h>
#include <stdint.h>

/* X(code, name, retriable, text) */
/* clang-format off */
#define KAFKA_ERRORS(X) \
    X(-1, UNKNOWN_SERVER_ERROR, false, "the server failed in a way that has no code of its own") \
    X(0, NONE, false, "no error") \
    X(1, OFFSET_OUT_OF_RANGE, false, "the offset is outside of what the partition holds") \
    X(2, CORRUPT_MESSAGE, true, "the record batch is damaged: checksum, size or format does not fit") \
    X(3, UNKNOWN_TOPIC_OR_PARTITION, true, "there is no such topic or partition here") \
    X(4, INVALID_FETCH_SIZE, false, "the fetch size is not valid") \
    X(5, LEADER_NOT_AVAILABLE, true, "the partition has no leader yet") \
    X(6, NOT_LEADER_OR_FOLLOWER, true, "another broker leads the partition") \
    X(7, REQUEST_TIMED_OUT, true, "the request was not done within its time") \
    X(8, BROKER_NOT_AVAILABLE, false, "the broker is not available") \
    X(9, REPLICA_NOT_AVAILABLE, true, "the replica is not available") \
    X(10, MESSAGE_TOO_LARGE, false, "the record batch is larger than the topic allows") \
    X(11, STALE_CONTROLLER_EPOCH, false, "the controller moved to another broker") \
    X(12, OFFSET_METADATA_TOO_LARGE, false, "the metadata of the committed offset is too long") \
    X(13, NETWORK_EXCEPTION, true, "the connection broke before the answer") \
    X(14, COORDINATOR_LOAD_IN_PROGRESS, true, "the coordinator is still loading") \
    X(15, COORDINATOR_NOT_AVAILABLE, true, "there is no coordinator at the moment") \
    X(16, NOT_COORDINATOR, true, "another broker coordinates this group or transaction") \
    X(17, INVALID_TOPIC_EXCEPTION, false, "the topic name is not valid, or the topic may not be used this way") \
    X(18, RECORD_LIST_TOO_LARGE, false, "the record batches are larger than a segment") \
    X(19, NOT_ENOUGH_REPLICAS, true, "too few replicas are in sync to accept the records") \
    X(20, NOT_ENOUGH_REPLICAS_AFTER_APPEND, true, "the records were written to fewer replicas than required") \
    X(21, INVALID_REQUIRED_ACKS, false, "acks is none of 0, 1 and -1") \
    X(22, ILLEGAL_GENERATION, false, "the group is in another generation") \
    X(23, INCONSISTENT_GROUP_PROTOCOL, false, "the group has another protocol type, or no protocol in common") \
    X(24, INVALID_GROUP_ID, false, "the group id is not valid") \
    X(25, UNKNOWN_MEMBER_ID, false, "the group does not know this member") \
    X(26, INVALID_SESSION_TIMEOUT, false, "the session timeout is outside of what the server allows") \
    X(27, REBALANCE_IN_PROGRESS, false, "the group is rebalancing; join again") \
    X(28, INVALID_COMMIT_OFFSET_SIZE, false, "the offset commit is too large") \
    X(29, TOPIC_AUTHORIZATION_FAILED, false, "not allowed on this topic") \
    X(30, GROUP_AUTHORIZATION_FAILED, false, "not allowed on this group") \
    X(31, CLUSTER_AUTHORIZATION_FAILED, false, "not allowed on this cluster") \
    X(32, INVALID_TIMESTAMP, false, "a record's timestamp is out of the accepted range") \
    X(33, UNSUPPORTED_SASL_MECHANISM, false, "the server does not offer this SASL mechanism") \
    X(34, ILLEGAL_SASL_STATE, false, "the request does not fit the state of the authentication") \
    X(35, UNSUPPORTED_VERSION, false, "the server does not speak this version of the API") \
    X(36, TOPIC_ALREADY_EXISTS, false, "there is a topic of that name already") \
    X(37, INVALID_PARTITIONS, false, "the number of partitions is not valid") \
    X(38, INVALID_REPLICATION_FACTOR, false, "the replication factor is not valid") \
    X(39, INVALID_REPLICA_ASSIGNMENT, false, "the replica assignment is not valid") \
    X(40, INVALID_CONFIG, false, "a setting is unknown or its value not valid") \
    X(41, NOT_CONTROLLER, true, "this broker is not the controller") \
    X(42, INVALID_REQUEST, false, "the request contradicts itself or the protocol") \
    X(43, UNSUPPORTED_FOR_MESSAGE_FORMAT, false, "the record format does not support this") \
    X(44, POLICY_VIOLATION, false, "the request violates a policy of the server") \
    X(45, OUT_OF_ORDER_SEQUENCE_NUMBER, false, "the batch does not follow the producer's last one") \
    X(46, DUPLICATE_SEQUENCE_NUMBER, false, "the batch was written before") \
    X(47, INVALID_PRODUCER_EPOCH, false, "a newer epoch of this producer is at work") \
    X(48, INVALID_TXN_STATE, false, "the transaction is not in a state for this") \
    X(49, INVALID_PRODUCER_ID_MAPPING, false, "the producer id is not that of the transactional id") \
    X(50, INVALID_TRANSACTION_TIMEOUT, false, "the transaction timeout is longer than the server allows") \
    X(51, CONCURRENT_TRANSACTIONS, true, "another operation on the transaction is under way") \
    X(52, TRANSACTION_COORDINATOR_FENCED, false, "a newer transaction coordinator is at work") \
    X(53, TRANSACTIONAL_ID_AUTHORIZATION_FAILED, false, "not allowed on this transactional id") \
    X(54, SECURITY_DISABLED, false, "security is not turned on") \
    X(55, OPERATION_NOT_ATTEMPTED, false, "not tried, because something before it failed") \
    X(56, KAFKA_STORAGE_ERROR, true, "the storage failed") \
    X(57, LOG_DIR_NOT_FOUND, false, "there is no such log directory") \
    X(58, SASL_AUTHENTICATION_FAILED, false, "the credentials were not accepted") \
    X(59, UNKNOWN_PRODUCER_ID, false, "the partition does not know this producer id") \
    X(60, REASSIGNMENT_IN_PROGRESS, false, "a reassignment of the partition is under way") \
    X(61, DELEGATION_TOKEN_AUTH_DISABLED, false, "delegation tokens are not turned on") \
    X(62, DELEGATION_TOKEN_NOT_FOUND, false, "there is no such delegation token") \
    X(63, DELEGATION_TOKEN_OWNER_MISMATCH, false, "the delegation token belongs to somebody else") \
    X(64, DELEGATION_TOKEN_REQUEST_NOT_ALLOWED, false, "delegation tokens cannot be handled over this connection") \
    X(65, DELEGATION_TOKEN_AUTHORIZATION_FAILED, false, "not allowed on this delegation token") \
    X(66, DELEGATION_TOKEN_EXPIRED, false, "the delegation token has expired") \
    X(67, INVALID_PRINCIPAL_TYPE, false, "the principal's type is not supported") \
    X(68, NON_EMPTY_GROUP, false, "the group has members") \
    X(69, GROUP_ID_NOT_FOUND, false, "there is no such group") \
    X(70, FETCH_SESSION_ID_NOT_FOUND, true, "the fetch session is gone; start a new one") \
    X(71, INVALID_FETCH_SESSION_EPOCH, true, "the fetch session is at another epoch") \
    X(72, LISTENER_NOT_FOUND, true, "the leader has no listener like the one asked on") \
    X(73, TOPIC_DELETION_DISABLED, false, "topics cannot be deleted here") \
    X(74, FENCED_LEADER_EPOCH, true, "the leader epoch is older than the server's") \
    X(75, UNKNOWN_LEADER_EPOCH, true, "the leader epoch is newer than the server's") \
    X(76, UNSUPPORTED_COMPRESSION_TYPE, false, "the client's version cannot read this compression") \
    X(77, STALE_BROKER_EPOCH, false, "the broker has registered again since") \
    X(78, OFFSET_NOT_AVAILABLE, true, "the new leader does not know its offsets yet") \
    X(79, MEMBER_ID_REQUIRED, false, "join again with the member id of this answer") \
    X(80, PREFERRED_LEADER_NOT_AVAILABLE, true, "the preferred leader is not available") \
    X(81, GROUP_MAX_SIZE_REACHED, false, "the group is full") \
    X(82, FENCED_INSTANCE_ID, false, "another member took over this static instance id") \
    X(83, ELIGIBLE_LEADERS_NOT_AVAILABLE, true, "no replica that may lead is available") \
    X(84, ELECTION_NOT_NEEDED, true, "the partition has the leader it should have") \
    X(85, NO_REASSIGNMENT_IN_PROGRESS, false, "no reassignment of the partition is under way") \
    X(86, GROUP_SUBSCRIBED_TO_TOPIC, false, "the group is subscribed to the topic") \
    X(87, INVALID_RECORD, false, "the record does not pass the server's checks") \
    X(88, UNSTABLE_OFFSET_COMMIT, true, "an open transaction may still change the committed offset") \
    X(89, THROTTLING_QUOTA_EXCEEDED, true, "the quota is used up; wait as long as the answer says") \
    X(90, PRODUCER_FENCED, false, "a newer producer has the same transactional id") \
    X(91, RESOURCE_NOT_FOUND, false, "there is no such resource") \
    X(92, DUPLICATE_RESOURCE, false, "the same resource is named twice") \
    X(93, UNACCEPTABLE_CREDENTIAL, false, "the credential is not good enough") \
    X(94, INCONSISTENT_VOTER_SET, false, "the voters do not agree on who they are") \
    X(95, INVALID_UPDATE_VERSION, false, "the version of the update is not valid") \
    X(96, FEATURE_UPDATE_FAILED, false, "the features could not be changed") \
    X(97, PRINCIPAL_DESERIALIZATION_FAILURE, false, "the forwarded principal could not be read") \
    X(98, SNAPSHOT_NOT_FOUND, false, "there is no such snapshot") \
    X(99, POSITION_OUT_OF_RANGE, false, "the position is outside of the snapshot") \
    X(100, UNKNOWN_TOPIC_ID, true, "there is no topic of that id here") \
    X(101, DUPLICATE_BROKER_REGISTRATION, false, "another broker holds that id") \
    X(102, BROKER_ID_NOT_REGISTERED, false, "no broker is registered under that id") \
    X(103, INCONSISTENT_TOPIC_ID, true, "the topic id does not belong to that topic") \
    X(104, INCONSISTENT_CLUSTER_ID, false, "the request is meant for another cluster") \
    X(105, TRANSACTIONAL_ID_NOT_FOUND, false, "there is no such transactional id") \
    X(106, FETCH_SESSION_TOPIC_ID_ERROR, true, "the fetch session mixes topic names and ids") \
    X(107, INELIGIBLE_REPLICA, false, "the replica may not join those in sync") \
    X(108, NEW_LEADER_ELECTED, false, "the request changed the partition's leader") \
    X(109, OFFSET_MOVED_TO_TIERED_STORAGE, false, "the offset is in remote storage by now") \
    X(110, FENCED_MEMBER_EPOCH, false, "the group expects another epoch of this member") \
    X(111, UNRELEASED_INSTANCE_ID, false, "another member holds this static instance id") \
    X(112, UNSUPPORTED_ASSIGNOR, false, "the server does not have that assignor") \
    X(113, STALE_MEMBER_EPOCH, false, "the member's epoch is behind; retry after the next heartbeat") \
    X(114, MISMATCHED_ENDPOINT_TYPE, false, "the request was sent to an endpoint of another type") \
    X(115, UNSUPPORTED_ENDPOINT_TYPE, false, "the server does not know this type of endpoint") \
    X(116, UNKNOWN_CONTROLLER_ID, false, "there is no controller of that id") \
    X(117, UNKNOWN_SUBSCRIPTION_ID, false, "the telemetry subscription has changed; ask for it again") \
    X(118, TELEMETRY_TOO_LARGE, false, "more telemetry than the server accepts") \
    X(119, INVALID_REGISTRATION, false, "the registration is not valid") \
    X(120, TRANSACTION_ABORTABLE, false, "the transaction cannot go on and has to be aborted") \
    X(121, INVALID_RECORD_STATE, false, "the record is not in a state to be acknowledged") \
    X(122, SHARE_SESSION_NOT_FOUND, true, "the share session is gone; start a new one") \
    X(123, INVALID_SHARE_SESSION_EPOCH, true, "the share session is at another epoch") \
    X(124, FENCED_STATE_EPOCH, false, "the share group's state is at a newer epoch") \
    X(125, INVALID_VOTER_KEY, false, "the voter's key is not that of the receiver") \
    X(126, DUPLICATE_VOTER, false, "the voter is a member already") \
    X(127, VOTER_NOT_FOUND, false, "there is no such voter") \
    X(128, INVALID_REGULAR_EXPRESSION, false, "the regular expression is not valid") \
    X(129, REBOOTSTRAP_REQUIRED, false, "the client has to start from its bootstrap servers again") \
    X(130, STREAMS_INVALID_TOPOLOGY, false, "the streams topology is not valid") \
    X(131, STREAMS_INVALID_TOPOLOGY_EPOCH, false, "the epoch of the streams topology is not valid") \
    X(132, STREAMS_TOPOLOGY_FENCED, false, "the streams topology is out of date") \
    X(133, SHARE_SESSION_LIMIT_REACHED, true, "the server holds as many share sessions as it may")
/* clang-format on */

#define KAFKA_ERROR_ENUM(code, name, retriable, text) KAFKA_ERROR_##name = (code),
typedef enum KafkaError { KAFKA_ERRORS(KAFKA_ERROR_ENUM) } KafkaError;
#undef KAFKA_ERROR_ENUM

/* "NOT_LEADER_OR_FOLLOWER"; a code that is not in the table has the name of UNKNOWN_SERVER_ERROR. */
const char *kafka_error_name(int16_t code);

/* The meaning in a few words, no capital, no full stop; fit for error_message fields. */
const char *kafka_error_text(int16_t code);

/* Whether clients take the error as passing and try again. */
bool kafka_error_is_retriable(int16_t code);

/* Whether the code is in the table. */
bool kafka_error_is_known(int16_t code);

#endif
