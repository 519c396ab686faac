/* elect.c: ElectLeaders, which moves partitions to the agents that hashing chooses; and reassignments of
 * replicas, of which there are none: the object store keeps the copies. */
#include "agent/api/partition_list.h"

enum { ELECTION_PREFERRED = 0, ELECTION_TYPED_OLDEST = 1 };

static const BrainStatement elect_statement = { "elect_leaders",
                                                "SELECT request, error_code FROM sh_elect_leaders($1, $2)",
                                                2,
                                                { BRAIN_INT4S, BRAIN_INT4S } };

typedef struct ElectState {
    KafkaRequest *request;
    KafkaElectLeadersResponse response;
    PartitionList asked;
    bool all; /* no partitions were named: only those are told of where something was to be done */
} ElectState;

/* Of all partitions, leaves those that have or should have moved. */
static void elect_leave_out(ElectState *state)
{
    int32_t topics = 0;
    for (int32_t i = 0; i < state->response.replica_election_results.count; i++) {
        KafkaElectLeadersResponseReplicaElectionResult out =
            state->response.replica_election_results.items[i];
        int32_t kept = 0;
        for (int32_t j = 0; j < out.partition_result.count; j++) {
            if (out.partition_result.items[j].error_code != KAFKA_ERROR_ELECTION_NOT_NEEDED) {
                out.partition_result.items[kept++] = out.partition_result.items[j];
            }
        }
        out.partition_result.count = kept;
        if (kept > 0) {
            state->response.replica_election_results.items[topics++] = out;
        }
    }
    state->response.replica_election_results.count = topics;
}

static void elect_refreshed(void *argument, const Status *status)
{
    ElectState *state = argument;
    (void)status;
    kafka_request_reply(state->request, &state->response);
}

static void elect_told(const BrainResult *result, void *argument)
{
    ElectState *state = argument;
    KafkaError error = api_brain_error(result);
    state->response.error_code = (int16_t)error;
    for (size_t i = 0; i < state->asked.count; i++) {
        KafkaElectLeadersResponsePartitionResult *answer = state->asked.answers[i];
        answer->error_code = (int16_t)error;
    }
    for (int row = 0; error == KAFKA_ERROR_NONE && row < brain_row_count(result); row++) {
        KafkaElectLeadersResponsePartitionResult *answer = partition_list_answer(&state->asked, result, row);
        if (answer) {
            answer->error_code = (int16_t)brain_int4(result, row, 1);
            if (answer->error_code != KAFKA_ERROR_NONE) {
                answer->error_message = slice_of_text(kafka_error_text(answer->error_code));
            }
        }
    }
    if (state->all) {
        elect_leave_out(state);
    }
    catalog_refresh(api_agent(state->request)->catalog, elect_refreshed, state);
}

static void elect_partition(ElectState *state, const Topic *topic, int32_t index,
                            KafkaElectLeadersResponsePartitionResult *answer)
{
    const KafkaElectLeadersRequest *asked = state->request->message;
    Partition *partition = topic ? topic_partition(topic, index) : NULL;
    answer->partition_id = index;
    if (!partition) {
        answer->error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        answer->error_message = SLICE_LITERAL("there is no such topic or partition here");
    } else if (state->request->version >= ELECTION_TYPED_OLDEST &&
               asked->election_type != ELECTION_PREFERRED) {
        answer->error_code = KAFKA_ERROR_INVALID_REQUEST;
        answer->error_message =
            SLICE_LITERAL("there are no unclean elections: whoever becomes leader has every "
                          "acknowledged record");
    } else {
        partition_list_add(&state->asked, partition, 0, answer);
    }
}

static bool elect_topic(ElectState *state, Slice name, const Topic *topic, const int32_t *partitions,
                        int32_t count)
{
    KafkaElectLeadersResponseReplicaElectionResult *out =
        &state->response.replica_election_results.items[state->response.replica_election_results.count++];
    out->topic = name;
    out->partition_result.items = kafka_items_new(
        &state->request->arena, &KAFKA_ELECT_LEADERS_RESPONSE_PARTITION_RESULT, (size_t)count);
    for (int32_t i = 0; out->partition_result.items && i < count; i++) {
        elect_partition(state, topic, partitions ? partitions[i] : i, &out->partition_result.items[i]);
        out->partition_result.count++;
    }
    return out->partition_result.items != NULL;
}

static bool elect_all(ElectState *state, const Catalog *catalog)
{
    size_t partitions = 0;
    for (Topic *topic = catalog_first(catalog); topic; topic = catalog_next(topic)) {
        partitions += (size_t)topic->partition_count;
    }
    bool room = partition_list_init(&state->asked, state->request, partitions);
    state->response.replica_election_results.items =
        kafka_items_new(&state->request->arena, &KAFKA_ELECT_LEADERS_RESPONSE_REPLICA_ELECTION_RESULT,
                        catalog_topic_count(catalog));
    room = room && state->response.replica_election_results.items;
    for (Topic *topic = catalog_first(catalog); room && topic; topic = catalog_next(topic)) {
        /* The name is copied: the topic may be gone when the brain has answered. */
        Slice name = api_copy(state->request, slice_of_text(topic->name));
        room = elect_topic(state, name, topic, NULL, topic->partition_count);
    }
    return room;
}

static bool elect_named(ElectState *state, const Catalog *catalog)
{
    const KafkaElectLeadersRequest *asked = state->request->message;
    size_t partitions = 0;
    for (int32_t i = 0; i < asked->topic_partitions.count; i++) {
        int32_t count = asked->topic_partitions.items[i].partitions.count;
        partitions += count > 0 ? (size_t)count : 0;
    }
    bool room = partition_list_init(&state->asked, state->request, partitions);
    state->response.replica_election_results.items =
        kafka_items_new(&state->request->arena, &KAFKA_ELECT_LEADERS_RESPONSE_REPLICA_ELECTION_RESULT,
                        (size_t)asked->topic_partitions.count);
    room = room && state->response.replica_election_results.items;
    for (int32_t i = 0; room && i < asked->topic_partitions.count; i++) {
        const KafkaElectLeadersRequestTopicPartition *wanted = &asked->topic_partitions.items[i];
        int32_t count = wanted->partitions.count > 0 ? wanted->partitions.count : 0;
        room = elect_topic(state, wanted->topic, catalog_topic(catalog, wanted->topic),
                           wanted->partitions.items, count);
    }
    return room;
}

void elect_leaders_handle(KafkaRequest *request)
{
    const KafkaElectLeadersRequest *asked = request->message;
    const Catalog *catalog = api_agent(request)->catalog;
    ElectState *state = arena_allocate(&request->arena, sizeof(ElectState));
    bool room = state != NULL;
    if (state) {
        *state = (ElectState){ .request = request, .all = asked->topic_partitions.count < 0 };
        kafka_defaults(&KAFKA_ELECT_LEADERS_RESPONSE.root, &state->response);
        room = state->all ? elect_all(state, catalog) : elect_named(state, catalog);
    }
    if (!room) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    } else if (state->asked.count == 0) {
        kafka_request_reply(request, &state->response);
    } else {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        partition_list_put(&state->asked, &parameters);
        brain_send(api_agent(request)->brain, BRAIN_CONTROL,
                   &(BrainQuery){ .statement = &elect_statement, .parameters = &parameters }, elect_told,
                   state);
    }
}

/* Reassignments. */

static bool reassign_topic(KafkaRequest *request, const KafkaAlterPartitionReassignmentsRequestTopic *wanted,
                           KafkaAlterPartitionReassignmentsResponseResponse *out)
{
    Topic *topic = catalog_topic(api_agent(request)->catalog, wanted->name);
    int32_t count = wanted->partitions.count > 0 ? wanted->partitions.count : 0;
    out->name = wanted->name;
    out->partitions.items = kafka_items_new(
        &request->arena, &KAFKA_ALTER_PARTITION_REASSIGNMENTS_RESPONSE_PARTITION, (size_t)count);
    for (int32_t i = 0; out->partitions.items && i < count; i++) {
        KafkaAlterPartitionReassignmentsResponsePartition *answer = &out->partitions.items[i];
        const KafkaAlterPartitionReassignmentsRequestPartition *asked = &wanted->partitions.items[i];
        answer->partition_index = asked->partition_index;
        out->partitions.count++;
        if (!topic || !topic_partition(topic, asked->partition_index)) {
            answer->error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
            answer->error_message = SLICE_LITERAL("there is no such topic or partition here");
        } else if (asked->replicas.count < 0) {
            answer->error_code = KAFKA_ERROR_NO_REASSIGNMENT_IN_PROGRESS;
            answer->error_message = SLICE_LITERAL("no reassignment of the partition is under way");
        } else {
            answer->error_code = KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT;
            answer->error_message = SLICE_LITERAL(
                "there are no replicas to move: the object store keeps the copies, and which agent "
                "leads a partition is chosen by hashing");
        }
    }
    return out->partitions.items != NULL;
}

void alter_reassignments_handle(KafkaRequest *request)
{
    const KafkaAlterPartitionReassignmentsRequest *asked = request->message;
    KafkaAlterPartitionReassignmentsResponse response;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    kafka_defaults(&KAFKA_ALTER_PARTITION_REASSIGNMENTS_RESPONSE.root, &response);
    response.responses.items = kafka_items_new(
        &request->arena, &KAFKA_ALTER_PARTITION_REASSIGNMENTS_RESPONSE_RESPONSE, (size_t)count);
    bool room = response.responses.items != NULL;
    for (int32_t i = 0; room && i < count; i++) {
        room = reassign_topic(request, &asked->topics.items[i], &response.responses.items[i]);
        response.responses.count++;
    }
    if (room) {
        kafka_request_reply(request, &response);
    } else {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    }
}

void list_reassignments_handle(KafkaRequest *request)
{
    KafkaListPartitionReassignmentsResponse response;
    kafka_defaults(&KAFKA_LIST_PARTITION_REASSIGNMENTS_RESPONSE.root, &response);
    kafka_request_reply(request, &response); /* none is ever under way */
}
