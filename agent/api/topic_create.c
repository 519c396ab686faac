/* topic_create.c: CreateTopics, and the creation of a topic that Metadata was asked about. */
#include "agent/api/topic_create.h"

#include <stdlib.h>

#include <jansson.h>

#include "agent/api/replicas.h"
#include "agent/api/sequence.h"
#include "agent/journal.h"

enum { PARTITIONS_DEFAULT = -1, REPLICATION_DEFAULT = -1, REPLICATION_FACTOR = 1 };
enum { CONFIGS_OLDEST = 5 };
/* Kafka's ConfigSource. */
enum { SOURCE_TOPIC = 1, SOURCE_CLUSTER = 3, SOURCE_DEFAULT = 5 };

static const BrainStatement create_statement = {
    "create_topic",
    "SELECT (sh_create_topic($1, $2, $3)).topic_id" SEQUENCE_BOUNDED,
    3,
    { BRAIN_TEXT, BRAIN_INT4, BRAIN_JSONB }
};
/* The configs are told as they are in effect: [[name, value, source]]. */
static const BrainStatement create_and_tell_statement = {
    "create_topic_and_tell",
    "SELECT (sh_create_topic($1, $2, $3)).partitions, (SELECT jsonb_agg(jsonb_build_array(name, value, "
    "source)) "
    "FROM sh_topic_configs($3))" SEQUENCE_BOUNDED,
    3,
    { BRAIN_TEXT, BRAIN_INT4, BRAIN_JSONB }
};
static const BrainStatement check_statement = {
    "check_topic",
    "SELECT $2, (SELECT jsonb_agg(jsonb_build_array(name, value, source)) FROM sh_topic_configs($3)) "
    "FROM sh_check_topic($1, $2, $3)",
    3,
    { BRAIN_TEXT, BRAIN_INT4, BRAIN_JSONB }
};

typedef struct TopicCreation {
    TopicCreated done;
    void *argument;
} TopicCreation;

static void topic_create_answered(const BrainResult *result, void *argument)
{
    TopicCreation creation = *(TopicCreation *)argument;
    KafkaError error = api_brain_error(result);
    free(argument);
    creation.done(creation.argument, error, error == KAFKA_ERROR_NONE ? NULL : result->message);
}

void topic_create(Agent *agent, Slice name, int32_t partitions, Slice config, TopicCreated done,
                  void *argument)
{
    TopicCreation *creation = malloc(sizeof(TopicCreation));
    if (!creation) {
        done(argument, KAFKA_ERROR_REQUEST_TIMED_OUT, "memory is short");
        return;
    }
    *creation = (TopicCreation){ done, argument };
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, name);
    brain_put_int4(&parameters, partitions);
    brain_put_jsonb(&parameters, config);
    brain_send(agent->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = &create_statement, .parameters = &parameters },
               topic_create_answered, creation);
}

static void create_reply(Sequence *sequence)
{
    KafkaCreateTopicsResponse *response = sequence->response;
    for (int32_t i = 0; i < response->topics.count; i++) {
        KafkaCreateTopicsResponseTopic *answer = &response->topics.items[i];
        Topic *topic = catalog_topic(api_agent(sequence->request)->catalog, answer->name);
        if (answer->error_code == KAFKA_ERROR_NONE && topic) {
            memcpy(answer->topic_id.bytes, topic->uuid, sizeof(topic->uuid));
        }
    }
    kafka_request_reply(sequence->request, response);
}

/* The configs as a JSON object, in the arena; data NULL when memory is short or a value is null. */
static Slice create_config(KafkaRequest *request, const KafkaCreateTopicsRequestTopic *wanted)
{
    json_t *object = json_object();
    bool valid = true;
    for (int32_t i = 0; valid && i < wanted->configs.count; i++) {
        const KafkaCreateTopicsRequestConfig *config = &wanted->configs.items[i];
        char *name = arena_copy_text(&request->arena, config->name);
        json_t *value = slice_is_null(config->value)
                            ? NULL
                            : json_stringn((const char *)config->value.data, config->value.size);
        valid = name && value && json_object_set(object, name, value) == 0;
        json_decref(value);
    }
    char *text = valid ? json_dumps(object, JSON_COMPACT) : NULL;
    Slice copy = api_copy(request, slice_of_text(text));
    free(text);
    json_decref(object);
    return copy;
}

static int32_t create_partition_count(const KafkaRequest *request,
                                      const KafkaCreateTopicsRequestTopic *wanted)
{
    if (wanted->assignments.count > 0) {
        return wanted->assignments.count;
    }
    return wanted->num_partitions == PARTITIONS_DEFAULT ? api_agent(request)->settings.default_partitions
                                                        : wanted->num_partitions;
}

static int create_compare_names(const void *left, const void *right)
{
    const KafkaCreateTopicsRequestTopic *a = *(const KafkaCreateTopicsRequestTopic *const *)left;
    const KafkaCreateTopicsRequestTopic *b = *(const KafkaCreateTopicsRequestTopic *const *)right;
    if (a->name.size != b->name.size) {
        return a->name.size < b->name.size ? -1 : 1;
    }
    return a->name.size > 0 ? memcmp(a->name.data, b->name.data, a->name.size) : 0;
}

/* The first replica would be the preferred leader; here agents get their partitions by hashing, so an
 * assignment is checked and then only counted. */
static const char *create_check_assignments(const Sequence *sequence,
                                            const KafkaCreateTopicsRequestTopic *wanted)
{
    KafkaRequest *request = sequence->request;
    int32_t count = wanted->assignments.count;
    bool *seen = arena_allocate_array(&request->arena, (size_t)count, sizeof(bool));
    for (int32_t i = 0; seen && i < count; i++) {
        const KafkaCreateTopicsRequestAssignment *assignment = &wanted->assignments.items[i];
        int32_t index = assignment->partition_index;
        if (index < 0 || index >= count || seen[index]) {
            return "replica assignments must name partitions from 0 on, each once";
        }
        seen[index] = true;
        if (assignment->broker_ids.count != wanted->assignments.items[0].broker_ids.count) {
            return "all partitions must have the same number of replicas";
        }
        const char *complaint = replicas_complaint(request, &assignment->broker_ids);
        if (complaint) {
            return complaint;
        }
    }
    return seen ? NULL : "memory is short";
}

/* What can be refused without asking the brain. */
static const char *create_complaint(const Sequence *sequence, int32_t index, KafkaError *error)
{
    const KafkaCreateTopicsRequest *asked = sequence->request->message;
    const KafkaCreateTopicsRequestTopic *wanted = &asked->topics.items[index];
    *error = KAFKA_ERROR_INVALID_REQUEST;
    if (sequence->repeated[index]) {
        return "the topic is named more than once in the request";
    }
    if (wanted->assignments.count > 0) {
        if (wanted->num_partitions != PARTITIONS_DEFAULT ||
            wanted->replication_factor != REPLICATION_DEFAULT) {
            return "with replica assignments, partitions and replication factor must be -1";
        }
        *error = KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT;
        return create_check_assignments(sequence, wanted);
    }
    *error = KAFKA_ERROR_INVALID_REPLICATION_FACTOR;
    return wanted->replication_factor == 0 || wanted->replication_factor < REPLICATION_DEFAULT
               ? "the replication factor must be at least 1, or -1 for the default; the object store keeps "
                 "the "
                 "copies"
               : NULL;
}

static void create_add_config(KafkaRequest *request, const json_t *row, KafkaCreateTopicsResponseTopic *out)
{
    const char *name = json_string_value(json_array_get(row, 0));
    const char *value = json_string_value(json_array_get(row, 1));
    const char *source = json_string_value(json_array_get(row, 2));
    if (!name || !source) {
        return;
    }
    KafkaCreateTopicsResponseConfig *config = &out->configs.items[out->configs.count++];
    config->name = api_copy(request, slice_of_text(name));
    config->value = api_copy(request, slice_of_text(value));
    config->config_source = strcmp(source, "topic") == 0     ? SOURCE_TOPIC
                            : strcmp(source, "cluster") == 0 ? SOURCE_CLUSTER
                                                             : SOURCE_DEFAULT;
}

static void create_told(Sequence *sequence, const BrainResult *result, void *argument)
{
    KafkaCreateTopicsResponseTopic *out = argument;
    out->num_partitions = brain_int4(result, 0, 0);
    out->replication_factor = REPLICATION_FACTOR;
    if (sequence->request->version < CONFIGS_OLDEST) {
        return;
    }
    Slice text = brain_text(result, 0, 1);
    json_t *rows = json_loadb((const char *)text.data, text.size, 0, NULL);
    size_t count = json_array_size(rows);
    out->configs.items =
        kafka_items_new(&sequence->request->arena, &KAFKA_CREATE_TOPICS_RESPONSE_CONFIG, count);
    for (size_t i = 0; out->configs.items && i < count; i++) {
        create_add_config(sequence->request, json_array_get(rows, i), out);
    }
    json_decref(rows);
}

static void create_one(Sequence *sequence, int32_t index)
{
    KafkaRequest *request = sequence->request;
    const KafkaCreateTopicsRequest *asked = request->message;
    const KafkaCreateTopicsRequestTopic *wanted = &asked->topics.items[index];
    KafkaCreateTopicsResponse *response = sequence->response;
    KafkaCreateTopicsResponseTopic *out = &response->topics.items[index];
    SequenceAnswer answer = { .error_code = &out->error_code,
                              .message = &out->error_message,
                              .reads_only = asked->validate_only,
                              .told = create_told,
                              .argument = out };
    KafkaError error;
    out->configs.count = 0;
    const char *complaint = create_complaint(sequence, index, &error);
    if (complaint) {
        sequence_refuse(sequence, &answer, error, complaint);
        return;
    }
    Slice config = create_config(request, wanted);
    if (slice_is_null(config)) {
        sequence_refuse(sequence, &answer, KAFKA_ERROR_INVALID_CONFIG,
                        "a config has no value, or is no UTF-8 text");
        return;
    }
    if (wanted->assignments.count > 0) {
        journal_seldom(JOURNAL_INFO, "topics",
                       "the replica assignment of a new topic is not kept: leaders are chosen by hashing");
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, wanted->name);
    brain_put_int4(&parameters, create_partition_count(request, wanted));
    brain_put_jsonb(&parameters, config);
    sequence_ask(sequence, &answer, asked->validate_only ? &check_statement : &create_and_tell_statement,
                 &parameters);
}

void create_topics_handle(KafkaRequest *request)
{
    const KafkaCreateTopicsRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    Sequence *sequence = sequence_new(request, &KAFKA_CREATE_TOPICS_RESPONSE.root, count, asked->timeout_ms,
                                      create_one, create_reply);
    if (!sequence) {
        return;
    }
    KafkaCreateTopicsResponse *response = sequence->response;
    response->topics.items =
        kafka_items_new(&request->arena, &KAFKA_CREATE_TOPICS_RESPONSE_TOPIC, (size_t)count);
    if (!response->topics.items ||
        !sequence_find_repeated(sequence, asked->topics.items, sizeof(*asked->topics.items),
                                create_compare_names)) {
        sequence_too_large(request);
        return;
    }
    response->topics.count = count;
    for (int32_t i = 0; i < count; i++) {
        response->topics.items[i].name = asked->topics.items[i].name;
    }
    sequence_run(sequence);
}
