/* topics.c: DeleteTopics and CreatePartitions. */
#include "agent/api/replicas.h"
#include "agent/api/sequence.h"

enum { DELETE_BY_ID_OLDEST = 6 };

static const BrainStatement delete_statement = {
    "delete_topic", "SELECT sh_delete_topic($1)" SEQUENCE_BOUNDED, 1, { BRAIN_TEXT }
};
static const BrainStatement delete_by_id_statement = {
    "delete_topic_by_id", "SELECT sh_delete_topic_by_id($1)" SEQUENCE_BOUNDED, 1, { BRAIN_UUID }
};
static const BrainStatement widen_statement = { "add_partitions",
                                                "SELECT sh_add_partitions($1, $2, $3)" SEQUENCE_BOUNDED,
                                                3,
                                                { BRAIN_TEXT, BRAIN_INT4, BRAIN_BOOL } };

static int topics_compare(Slice a, Slice b)
{
    if (a.size != b.size) {
        return a.size < b.size ? -1 : 1;
    }
    return a.size > 0 ? memcmp(a.data, b.data, a.size) : 0;
}

/* DeleteTopics. */

static void delete_reply(Sequence *sequence)
{
    kafka_request_reply(sequence->request, sequence->response);
}

static int delete_compare_names(const void *left, const void *right)
{
    return topics_compare(**(const Slice *const *)left, **(const Slice *const *)right);
}

/* Those without a name differ by their id. */
static int delete_compare(const void *left, const void *right)
{
    const KafkaDeleteTopicsRequestTopic *a = *(const KafkaDeleteTopicsRequestTopic *const *)left;
    const KafkaDeleteTopicsRequestTopic *b = *(const KafkaDeleteTopicsRequestTopic *const *)right;
    int order = topics_compare(a->name, b->name);
    return order != 0 ? order : memcmp(a->topic_id.bytes, b->topic_id.bytes, sizeof(a->topic_id.bytes));
}

static void delete_by_id(Sequence *sequence, SequenceAnswer answer, KafkaDeleteTopicsResponseResponse *out)
{
    Topic *topic = catalog_topic_by_uuid(api_agent(sequence->request)->catalog, out->topic_id.bytes);
    BrainParameters parameters;
    if (topic) {
        out->name = api_copy(sequence->request, slice_of_text(topic->name));
    }
    answer.when_false = KAFKA_ERROR_UNKNOWN_TOPIC_ID;
    brain_parameters_init(&parameters);
    brain_put_uuid(&parameters, out->topic_id.bytes);
    sequence_ask(sequence, &answer, &delete_by_id_statement, &parameters);
}

static void delete_one(Sequence *sequence, int32_t index)
{
    static const KafkaUuid no_id;
    const KafkaDeleteTopicsRequest *asked = sequence->request->message;
    bool by_state = sequence->request->version >= DELETE_BY_ID_OLDEST;
    KafkaDeleteTopicsResponse *response = sequence->response;
    KafkaDeleteTopicsResponseResponse *out = &response->responses.items[index];
    SequenceAnswer answer = { .error_code = &out->error_code,
                              .message = &out->error_message,
                              .when_false = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION };
    out->name = by_state ? asked->topics.items[index].name : asked->topic_names.items[index];
    out->topic_id = by_state ? asked->topics.items[index].topic_id : no_id;
    if (sequence->repeated[index]) {
        sequence_refuse(sequence, &answer, KAFKA_ERROR_INVALID_REQUEST,
                        "the topic is named more than once in the request");
        return;
    }
    if (!slice_is_null(out->name) && !api_uuid_is_zero(&out->topic_id)) {
        sequence_refuse(sequence, &answer, KAFKA_ERROR_INVALID_REQUEST, "name the topic or its id, not both");
        return;
    }
    if (slice_is_null(out->name)) {
        delete_by_id(sequence, answer, out);
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, out->name);
    sequence_ask(sequence, &answer, &delete_statement, &parameters);
}

void delete_topics_handle(KafkaRequest *request)
{
    const KafkaDeleteTopicsRequest *asked = request->message;
    bool by_state = request->version >= DELETE_BY_ID_OLDEST;
    int32_t count = by_state ? asked->topics.count : asked->topic_names.count;
    count = count > 0 ? count : 0;
    Sequence *sequence = sequence_new(request, &KAFKA_DELETE_TOPICS_RESPONSE.root, count, asked->timeout_ms,
                                      delete_one, delete_reply);
    if (!sequence) {
        return;
    }
    KafkaDeleteTopicsResponse *response = sequence->response;
    response->responses.items =
        kafka_items_new(&request->arena, &KAFKA_DELETE_TOPICS_RESPONSE_RESPONSE, (size_t)count);
    bool found = by_state ? sequence_find_repeated(sequence, asked->topics.items,
                                                   sizeof(*asked->topics.items), delete_compare)
                          : sequence_find_repeated(sequence, asked->topic_names.items, sizeof(Slice),
                                                   delete_compare_names);
    if (!response->responses.items || !found) {
        sequence_too_large(request);
        return;
    }
    response->responses.count = count;
    sequence_run(sequence);
}

/* CreatePartitions. */

static void widen_reply(Sequence *sequence)
{
    kafka_request_reply(sequence->request, sequence->response);
}

/* As Kafka checks it; which agent leads is chosen by hashing all the same. */
static const char *widen_complaint(const KafkaRequest *request,
                                   const KafkaCreatePartitionsRequestTopic *wanted)
{
    const Topic *topic = catalog_topic(api_agent(request)->catalog, wanted->name);
    if (wanted->assignments.count < 0) {
        return NULL;
    }
    if (topic && wanted->count - topic->partition_count != wanted->assignments.count &&
        wanted->count > topic->partition_count) {
        return "there must be one replica assignment for each partition that is added";
    }
    for (int32_t i = 0; i < wanted->assignments.count; i++) {
        const char *complaint = replicas_complaint(request, &wanted->assignments.items[i].broker_ids);
        if (complaint) {
            return complaint;
        }
    }
    return NULL;
}

static int widen_compare(const void *left, const void *right)
{
    return topics_compare((*(const KafkaCreatePartitionsRequestTopic *const *)left)->name,
                          (*(const KafkaCreatePartitionsRequestTopic *const *)right)->name);
}

static void widen_one(Sequence *sequence, int32_t index)
{
    const KafkaCreatePartitionsRequest *asked = sequence->request->message;
    const KafkaCreatePartitionsRequestTopic *wanted = &asked->topics.items[index];
    KafkaCreatePartitionsResponse *response = sequence->response;
    KafkaCreatePartitionsResponseResult *out = &response->results.items[index];
    SequenceAnswer answer = { .error_code = &out->error_code,
                              .message = &out->error_message,
                              .reads_only = asked->validate_only };
    out->name = wanted->name;
    if (sequence->repeated[index]) {
        sequence_refuse(sequence, &answer, KAFKA_ERROR_INVALID_REQUEST,
                        "the topic is named more than once in the request");
        return;
    }
    const char *complaint = widen_complaint(sequence->request, wanted);
    if (complaint) {
        sequence_refuse(sequence, &answer, KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT, complaint);
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, wanted->name);
    brain_put_int4(&parameters, wanted->count);
    brain_put_bool(&parameters, asked->validate_only);
    sequence_ask(sequence, &answer, &widen_statement, &parameters);
}

void create_partitions_handle(KafkaRequest *request)
{
    const KafkaCreatePartitionsRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    Sequence *sequence = sequence_new(request, &KAFKA_CREATE_PARTITIONS_RESPONSE.root, count,
                                      asked->timeout_ms, widen_one, widen_reply);
    if (!sequence) {
        return;
    }
    KafkaCreatePartitionsResponse *response = sequence->response;
    response->results.items =
        kafka_items_new(&request->arena, &KAFKA_CREATE_PARTITIONS_RESPONSE_RESULT, (size_t)count);
    if (!response->results.items ||
        !sequence_find_repeated(sequence, asked->topics.items, sizeof(*asked->topics.items), widen_compare)) {
        sequence_too_large(request);
        return;
    }
    response->results.count = count;
    sequence_run(sequence);
}
