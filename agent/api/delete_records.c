/* delete_records.c: DeleteRecords. The brain makes the partitions' logs begin later, some at a time, since
 * heartbeats take the same line and producers wait for the partitions' locks; this agent's readers know when
 * the answer comes, those of the others when their watch tells them. */
#include "agent/api/partition_list.h"
#include "agent/read/fetcher.h"

enum { DELETE_AT_ONCE = 50 };

static const BrainStatement delete_statement = {
    "delete_records",
    "SELECT request, log_start_offset, error_code FROM sh_delete_records_of($1, $2, $3)",
    3,
    { BRAIN_INT4S, BRAIN_INT4S, BRAIN_INT8S }
};

typedef struct DeleteState {
    KafkaRequest *request;
    KafkaDeleteRecordsResponse response;
    PartitionList asked;
    size_t done; /* of them are answered */
    bool refreshed;
} DeleteState;

static void delete_begin(DeleteState *state);
static void delete_ask(DeleteState *state);

/* Those that are the brain's to answer now. */
static PartitionList delete_turn(const DeleteState *state)
{
    const PartitionList *all = &state->asked;
    size_t left = all->count - state->done;
    return (PartitionList){
        .count = left < DELETE_AT_ONCE ? left : DELETE_AT_ONCE,
        .topic_ids = all->topic_ids + state->done,
        .partitions = all->partitions + state->done,
        .numbers = all->numbers + state->done,
        .answers = all->answers + state->done,
    };
}

static void delete_told(const BrainResult *result, void *argument)
{
    DeleteState *state = argument;
    Agent *agent = api_agent(state->request);
    KafkaError error = api_brain_error(result);
    PartitionList turn = delete_turn(state);
    for (size_t i = 0; i < turn.count; i++) {
        KafkaDeleteRecordsResponsePartition *answer = turn.answers[i];
        answer->error_code = (int16_t)(error != KAFKA_ERROR_NONE ? error : KAFKA_ERROR_UNKNOWN_SERVER_ERROR);
    }
    for (int row = 0; error == KAFKA_ERROR_NONE && row < brain_row_count(result); row++) {
        KafkaDeleteRecordsResponsePartition *answer = partition_list_answer(&turn, result, row);
        if (!answer) {
            continue;
        }
        answer->error_code = (int16_t)brain_int4(result, row, 2);
        if (answer->error_code == KAFKA_ERROR_NONE) {
            int32_t place = brain_int4(result, row, 0) - 1;
            Topic *topic = catalog_topic_by_id(agent->catalog, turn.topic_ids[place]);
            Partition *partition = topic ? topic_partition(topic, answer->partition_index) : NULL;
            answer->low_watermark = brain_int8(result, row, 1);
            if (partition) {
                fetcher_trimmed(agent->fetcher, partition, answer->low_watermark);
            }
        }
    }
    state->done += turn.count;
    if (state->done < state->asked.count && !state->request->abandoned) {
        delete_ask(state);
    } else {
        kafka_request_reply(state->request, &state->response);
    }
}

static void delete_ask(DeleteState *state)
{
    BrainParameters parameters;
    PartitionList turn = delete_turn(state);
    brain_parameters_init(&parameters);
    partition_list_put(&turn, &parameters);
    brain_put_int8s(&parameters, turn.numbers, turn.count);
    brain_send(api_agent(state->request)->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &delete_statement, .parameters = &parameters }, delete_told,
               state);
}

/* False when something is not in the catalog. */
static bool delete_resolve(DeleteState *state)
{
    const KafkaDeleteRecordsRequest *asked = state->request->message;
    bool known = true;
    state->asked.count = 0;
    for (int32_t i = 0; i < state->response.topics.count; i++) {
        const KafkaDeleteRecordsRequestTopic *wanted = &asked->topics.items[i];
        KafkaDeleteRecordsResponseTopic *out = &state->response.topics.items[i];
        Topic *topic = catalog_topic(api_agent(state->request)->catalog, wanted->name);
        out->name = wanted->name;
        for (int32_t j = 0; j < out->partitions.count; j++) {
            KafkaDeleteRecordsResponsePartition *answer = &out->partitions.items[j];
            Partition *partition =
                topic ? topic_partition(topic, wanted->partitions.items[j].partition_index) : NULL;
            answer->partition_index = wanted->partitions.items[j].partition_index;
            answer->low_watermark = OFFSET_UNKNOWN;
            answer->error_code = partition ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
            known = known && partition;
            if (partition) {
                partition_list_add(&state->asked, partition, wanted->partitions.items[j].offset, answer);
            }
        }
    }
    return known;
}

static void delete_refreshed(void *argument, const Status *status)
{
    (void)status;
    delete_begin(argument);
}

static void delete_begin(DeleteState *state)
{
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
    } else if (!delete_resolve(state) && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(api_agent(state->request)->catalog, delete_refreshed, state);
    } else if (state->asked.count > 0) {
        delete_ask(state);
    } else {
        kafka_request_reply(state->request, &state->response);
    }
}

static bool delete_allocate(DeleteState *state)
{
    KafkaRequest *request = state->request;
    const KafkaDeleteRecordsRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    size_t partitions = 0;
    state->response.topics.items =
        kafka_items_new(&request->arena, &KAFKA_DELETE_RECORDS_RESPONSE_TOPIC, (size_t)count);
    for (int32_t i = 0; state->response.topics.items && i < count; i++) {
        KafkaDeleteRecordsResponseTopic *out = &state->response.topics.items[i];
        int32_t named = asked->topics.items[i].partitions.count;
        out->partitions.count = named > 0 ? named : 0;
        out->partitions.items = kafka_items_new(&request->arena, &KAFKA_DELETE_RECORDS_RESPONSE_PARTITION,
                                                (size_t)out->partitions.count);
        if (!out->partitions.items) {
            return false;
        }
        partitions += (size_t)out->partitions.count;
        state->response.topics.count++;
    }
    return state->response.topics.items && partition_list_init(&state->asked, request, partitions);
}

void delete_records_handle(KafkaRequest *request)
{
    DeleteState *state = arena_allocate(&request->arena, sizeof(DeleteState));
    if (state) {
        *state = (DeleteState){ .request = request };
        kafka_defaults(&KAFKA_DELETE_RECORDS_RESPONSE.root, &state->response);
    }
    if (!state || !delete_allocate(state)) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
        return;
    }
    delete_begin(state);
}
