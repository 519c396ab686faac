/* producers.c: InitProducerId, which hands out producer ids for idempotent producers, and DescribeProducers,
 * which tells whom a partition remembers. */
#include "agent/api/partition_list.h"
#include "agent/jobs/lease.h"

static const BrainStatement init_producer_statement = {
    "init_producer", "SELECT producer_id, producer_epoch FROM sh_init_producer()", 0, { 0 }
};

static void init_producer_id_answered(const BrainResult *result, void *argument)
{
    KafkaRequest *request = argument;
    KafkaInitProducerIdResponse response;
    kafka_defaults(&KAFKA_INIT_PRODUCER_ID_RESPONSE.root, &response);
    response.producer_epoch = -1;
    if (status_is_ok(&result->status) && brain_row_count(result) == 1) {
        response.producer_id = brain_int8(result, 0, 0);
        response.producer_epoch = brain_int2(result, 0, 1);
    } else {
        /* The clients' one retriable answer to this request, whatever the cause. */
        response.error_code = KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
    }
    kafka_request_reply(request, &response);
}

void init_producer_id_handle(KafkaRequest *request)
{
    const KafkaInitProducerIdRequest *asked = request->message;
    if (!slice_is_null(asked->transactional_id)) {
        KafkaInitProducerIdResponse response;
        kafka_defaults(&KAFKA_INIT_PRODUCER_ID_RESPONSE.root, &response);
        response.producer_epoch = -1;
        response.error_code = KAFKA_ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        kafka_request_reply(request, &response);
        return;
    }
    brain_send(api_agent(request)->brain, BRAIN_READ, &(BrainQuery){ .statement = &init_producer_statement },
               init_producer_id_answered, request);
}

/* DescribeProducers. */

static const BrainStatement describe_producers_statement = {
    "describe_producers",
    "SELECT request, producer_id, producer_epoch, last_sequence, last_timestamp FROM "
    "sh_describe_producers($1, $2)",
    2,
    { BRAIN_INT4S, BRAIN_INT4S }
};

typedef struct ProducersState {
    KafkaRequest *request;
    KafkaDescribeProducersResponse response;
    PartitionList asked;
} ProducersState;

/* Rows come in the order of the request: those from row on that are of one partition. */
static int producers_take(ProducersState *state, const BrainResult *result, int row)
{
    KafkaDescribeProducersResponsePartition *out = partition_list_answer(&state->asked, result, row);
    int32_t request = brain_int4(result, row, 0);
    int end = row;
    while (end < brain_row_count(result) && brain_int4(result, end, 0) == request) {
        end++;
    }
    if (!out) {
        return end;
    }
    out->active_producers.items = kafka_items_new(
        &state->request->arena, &KAFKA_DESCRIBE_PRODUCERS_RESPONSE_ACTIVE_PRODUCER, (size_t)(end - row));
    for (; out->active_producers.items && row < end; row++) {
        KafkaDescribeProducersResponseActiveProducer *producer =
            &out->active_producers.items[out->active_producers.count++];
        producer->producer_id = brain_int8(result, row, 1);
        producer->producer_epoch = brain_int4(result, row, 2);
        producer->last_sequence = brain_int4(result, row, 3);
        producer->last_timestamp = brain_int8(result, row, 4);
        producer->coordinator_epoch = -1;
    }
    return end;
}

static void producers_told(const BrainResult *result, void *argument)
{
    ProducersState *state = argument;
    KafkaError error = api_brain_error(result);
    for (size_t i = 0; i < state->asked.count; i++) {
        KafkaDescribeProducersResponsePartition *out = state->asked.answers[i];
        out->error_code = (int16_t)error;
    }
    for (int row = 0; error == KAFKA_ERROR_NONE && row < brain_row_count(result);) {
        row = producers_take(state, result, row);
    }
    kafka_request_reply(state->request, &state->response);
}

static void producers_partition(ProducersState *state, const Topic *topic, int32_t index,
                                KafkaDescribeProducersResponsePartition *out)
{
    Partition *partition = topic ? topic_partition(topic, index) : NULL;
    out->partition_index = index;
    if (!partition) {
        out->error_code = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (partition->leader != lease_agent_id(api_agent(state->request)->lease)) {
        out->error_code = KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
    } else {
        partition_list_add(&state->asked, partition, 0, out);
    }
}

static bool producers_resolve(ProducersState *state)
{
    KafkaRequest *request = state->request;
    const KafkaDescribeProducersRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    size_t partitions = 0;
    for (int32_t i = 0; i < count; i++) {
        int32_t named = asked->topics.items[i].partition_indexes.count;
        partitions += named > 0 ? (size_t)named : 0;
    }
    state->response.topics.items =
        kafka_items_new(&request->arena, &KAFKA_DESCRIBE_PRODUCERS_RESPONSE_TOPIC, (size_t)count);
    bool room = state->response.topics.items && partition_list_init(&state->asked, request, partitions);
    for (int32_t i = 0; room && i < count; i++) {
        const KafkaDescribeProducersRequestTopic *wanted = &asked->topics.items[i];
        KafkaDescribeProducersResponseTopic *out = &state->response.topics.items[i];
        int32_t named = wanted->partition_indexes.count > 0 ? wanted->partition_indexes.count : 0;
        Topic *topic = catalog_topic(api_agent(request)->catalog, wanted->name);
        out->name = wanted->name;
        out->partitions.items =
            kafka_items_new(&request->arena, &KAFKA_DESCRIBE_PRODUCERS_RESPONSE_PARTITION, (size_t)named);
        room = out->partitions.items != NULL;
        out->partitions.count = room ? named : 0;
        for (int32_t j = 0; room && j < named; j++) {
            producers_partition(state, topic, wanted->partition_indexes.items[j], &out->partitions.items[j]);
        }
        state->response.topics.count++;
    }
    return room;
}

void describe_producers_handle(KafkaRequest *request)
{
    ProducersState *state = arena_allocate(&request->arena, sizeof(ProducersState));
    if (state) {
        *state = (ProducersState){ .request = request };
        kafka_defaults(&KAFKA_DESCRIBE_PRODUCERS_RESPONSE.root, &state->response);
    }
    if (!state || !producers_resolve(state)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    } else if (state->asked.count == 0) {
        kafka_request_reply(request, &state->response);
    } else {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        partition_list_put(&state->asked, &parameters);
        brain_send(api_agent(request)->brain, BRAIN_READ,
                   &(BrainQuery){ .statement = &describe_producers_statement, .parameters = &parameters },
                   producers_told, state);
    }
}
