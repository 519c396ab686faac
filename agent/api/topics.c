/* topics.c: CreateTopics, DeleteTopics, CreatePartitions. Each topic is a call of its own in the brain; the
 * reply leaves when all are answered and the catalog has been read anew, so that what it says can be seen at
 * once. */
#include <stdlib.h>

#include <jansson.h>

#include "agent/api/api.h"
#include "agent/api/topic_create.h"
#include "agent/brain/brain.h"

enum { PARTITIONS_DEFAULT = -1, REPLICATION_DEFAULT = -1, REPLICATION_FACTOR = 1 };
enum { DELETE_BY_ID_OLDEST = 6 };

static const BrainStatement create_statement = { "create_topic",
                                                 "SELECT (sh_create_topic($1, $2, $3)).topic_id",
                                                 3,
                                                 { BRAIN_TEXT, BRAIN_INT4, BRAIN_JSONB } };
static const BrainStatement check_statement = {
    "check_topic", "SELECT sh_check_topic($1, $2, $3)", 3, { BRAIN_TEXT, BRAIN_INT4, BRAIN_JSONB }
};
static const BrainStatement delete_statement = {
    "delete_topic", "SELECT sh_delete_topic($1)", 1, { BRAIN_TEXT }
};
static const BrainStatement widen_statement = {
    "add_partitions", "SELECT sh_add_partitions($1, $2)", 2, { BRAIN_TEXT, BRAIN_INT4 }
};

typedef struct TopicCreation {
    const BrainStatement *statement;
    TopicCreated done;
    void *argument;
} TopicCreation;

static void topic_create_answered(const BrainResult *result, void *argument)
{
    TopicCreation creation = *(TopicCreation *)argument;
    KafkaError error = api_brain_error(result);
    const char *message = error == KAFKA_ERROR_NONE ? NULL : result->message;
    free(argument);
    if (error == KAFKA_ERROR_NONE && creation.statement == &delete_statement && !brain_bool(result, 0, 0)) {
        error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
        message = "there is no such topic";
    }
    creation.done(creation.argument, error, message);
}

static void topic_ask(Agent *agent, const BrainStatement *statement, BrainParameters *parameters,
                      TopicCreated done, void *argument)
{
    TopicCreation *creation = malloc(sizeof(TopicCreation));
    if (!creation) {
        brain_parameters_free(parameters);
        done(argument, KAFKA_ERROR_REQUEST_TIMED_OUT, "memory is short");
        return;
    }
    *creation = (TopicCreation){ statement, done, argument };
    brain_send(agent->brain, BRAIN_CONTROL, &(BrainQuery){ .statement = statement, .parameters = parameters },
               topic_create_answered, creation);
}

void topic_create(Agent *agent, Slice name, int32_t partitions, Slice config, TopicCreated done,
                  void *argument)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, name);
    brain_put_int4(&parameters, partitions);
    brain_put_jsonb(&parameters, config);
    topic_ask(agent, &create_statement, &parameters, done, argument);
}

/* A request about several topics: one after the other, so that heartbeats, which take the same line, never
 * wait for more than one of them. Then it replies. */
typedef struct TopicsState {
    KafkaRequest *request;
    int32_t count;
    int32_t next;
    bool asking;    /* the brain has not answered yet */
    bool going;     /* topics_go_on() is on the stack */
    bool changed;   /* something succeeded: the catalog is to be read anew */
    bool *repeated; /* CreateTopics: which topics are named more than once */
    void (*one)(struct TopicsState *state, int32_t index);
    void (*reply)(struct TopicsState *state);
    union {
        KafkaCreateTopicsResponse created;
        KafkaDeleteTopicsResponse deleted;
        KafkaCreatePartitionsResponse widened;
    } response;
} TopicsState;

/* Where one topic's answer goes. */
typedef struct TopicAnswer {
    TopicsState *state;
    int16_t *error_code;
    Slice *message;
} TopicAnswer;

static void topics_refreshed(void *argument, const Status *status)
{
    TopicsState *state = argument;
    (void)status;
    state->reply(state);
}

static void topics_go_on(TopicsState *state)
{
    state->going = true;
    while (!state->asking && state->next < state->count && !state->request->abandoned) {
        state->one(state, state->next++);
    }
    state->going = false;
    if (state->asking) {
        return;
    }
    if (state->changed && !state->request->abandoned) {
        catalog_refresh(api_agent(state->request)->catalog, topics_refreshed, state);
    } else {
        state->reply(state);
    }
}

static void topic_refuse(TopicAnswer answer, KafkaError error, const char *why)
{
    *answer.error_code = (int16_t)error;
    if (answer.message) {
        *answer.message = slice_of_text(arena_copy_text(&answer.state->request->arena, slice_of_text(why)));
    }
}

static void topic_answered(void *argument, KafkaError error, const char *message)
{
    TopicAnswer *answer = argument;
    if (error != KAFKA_ERROR_NONE) {
        topic_refuse(*answer, error, message);
    }
    answer->state->changed = answer->state->changed || error == KAFKA_ERROR_NONE;
    answer->state->asking = false;
    if (!answer->state->going) {
        topics_go_on(answer->state);
    }
}

static TopicAnswer *topic_answer_keep(TopicAnswer answer)
{
    TopicAnswer *kept = arena_allocate(&answer.state->request->arena, sizeof(TopicAnswer));
    if (kept) {
        *kept = answer;
        answer.state->asking = true;
    } else {
        topic_refuse(answer, KAFKA_ERROR_REQUEST_TIMED_OUT, "memory is short");
    }
    return kept;
}

static TopicsState *topics_begin(KafkaRequest *request, void (*one)(TopicsState *state, int32_t index),
                                 void (*reply)(TopicsState *state))
{
    TopicsState *state = arena_allocate(&request->arena, sizeof(TopicsState));
    if (state) {
        *state = (TopicsState){ .request = request, .one = one, .reply = reply };
    } else {
        kafka_request_disconnect(request, "the request is too large to be handled");
    }
    return state;
}

/* CreateTopics. */

static void create_reply(TopicsState *state)
{
    KafkaCreateTopicsResponse *response = &state->response.created;
    for (int32_t i = 0; i < response->topics.count; i++) {
        KafkaCreateTopicsResponseTopic *answer = &response->topics.items[i];
        Topic *topic = catalog_topic(api_agent(state->request)->catalog, answer->name);
        if (answer->error_code == KAFKA_ERROR_NONE && topic) {
            memcpy(answer->topic_id.bytes, topic->uuid, sizeof(topic->uuid));
            answer->num_partitions = topic->partition_count;
            answer->replication_factor = REPLICATION_FACTOR;
        }
    }
    kafka_request_reply(state->request, response);
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
    Slice copy = text ? slice_of_text(arena_copy_text(&request->arena, slice_of_text(text))) : SLICE_NULL;
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

/* Sorted, not each compared with each: there may be a hundred thousand. False when memory is short. */
static bool create_find_repeated(TopicsState *state)
{
    const KafkaCreateTopicsRequest *asked = state->request->message;
    size_t count = (size_t)state->count;
    state->repeated = arena_allocate_array(&state->request->arena, count, sizeof(bool));
    const KafkaCreateTopicsRequestTopic **sorted = malloc(count * sizeof(void *) + 1);
    if (!state->repeated || !sorted) {
        free(sorted);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = &asked->topics.items[i];
    }
    qsort(sorted, count, sizeof(void *), create_compare_names);
    for (size_t i = 1; i < count; i++) {
        if (create_compare_names(&sorted[i - 1], &sorted[i]) == 0) {
            state->repeated[sorted[i - 1] - asked->topics.items] = true;
            state->repeated[sorted[i] - asked->topics.items] = true;
        }
    }
    free(sorted);
    return true;
}

/* What can be refused without asking the brain. */
static const char *create_complaint(const TopicsState *state, int32_t index, KafkaError *error)
{
    const KafkaCreateTopicsRequest *asked = state->request->message;
    const KafkaCreateTopicsRequestTopic *wanted = &asked->topics.items[index];
    if (state->repeated[index]) {
        *error = KAFKA_ERROR_INVALID_REQUEST;
        return "the topic is named more than once in the request";
    }
    if (wanted->assignments.count > 0 &&
        (wanted->num_partitions != PARTITIONS_DEFAULT || wanted->replication_factor != REPLICATION_DEFAULT)) {
        *error = KAFKA_ERROR_INVALID_REQUEST;
        return "with replica assignments, partitions and replication factor must be -1";
    }
    if (wanted->replication_factor == 0 || wanted->replication_factor < REPLICATION_DEFAULT) {
        *error = KAFKA_ERROR_INVALID_REPLICATION_FACTOR;
        return "the replication factor must be at least 1, or -1 for the default; the object store keeps the "
               "copies";
    }
    for (int32_t i = 0; i < wanted->assignments.count; i++) {
        if (wanted->assignments.items[i].partition_index != i) {
            *error = KAFKA_ERROR_INVALID_REPLICA_ASSIGNMENT;
            return "replica assignments must name partitions 0, 1, 2 … in order";
        }
    }
    return NULL;
}

static void create_one(TopicsState *state, int32_t index)
{
    KafkaRequest *request = state->request;
    const KafkaCreateTopicsRequest *asked = request->message;
    const KafkaCreateTopicsRequestTopic *wanted = &asked->topics.items[index];
    KafkaCreateTopicsResponseTopic *out = &state->response.created.topics.items[index];
    TopicAnswer answer = { state, &out->error_code, &out->error_message };
    KafkaError error;
    out->configs.count = 0;
    const char *complaint = create_complaint(state, index, &error);
    if (complaint) {
        topic_refuse(answer, error, complaint);
        return;
    }
    Slice config = create_config(request, wanted);
    if (slice_is_null(config)) {
        topic_refuse(answer, KAFKA_ERROR_INVALID_CONFIG, "a config has no value, or is no UTF-8 text");
        return;
    }
    TopicAnswer *kept = topic_answer_keep(answer);
    if (!kept) {
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, wanted->name);
    brain_put_int4(&parameters, create_partition_count(request, wanted));
    brain_put_jsonb(&parameters, config);
    topic_ask(api_agent(request), asked->validate_only ? &check_statement : &create_statement, &parameters,
              topic_answered, kept);
}

void create_topics_handle(KafkaRequest *request)
{
    const KafkaCreateTopicsRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    TopicsState *state = topics_begin(request, create_one, create_reply);
    if (!state) {
        return;
    }
    kafka_defaults(&KAFKA_CREATE_TOPICS_RESPONSE.root, &state->response.created);
    state->response.created.topics.items =
        kafka_items_new(&request->arena, &KAFKA_CREATE_TOPICS_RESPONSE_TOPIC, (size_t)count);
    state->count = count;
    if (!state->response.created.topics.items || !create_find_repeated(state)) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    state->response.created.topics.count = count;
    for (int32_t i = 0; i < count; i++) {
        state->response.created.topics.items[i].name = asked->topics.items[i].name;
    }
    topics_go_on(state);
}

/* DeleteTopics. */

static void delete_reply(TopicsState *state)
{
    kafka_request_reply(state->request, &state->response.deleted);
}

static void delete_one(TopicsState *state, int32_t index)
{
    static const KafkaUuid no_id;
    KafkaRequest *request = state->request;
    const KafkaDeleteTopicsRequest *asked = request->message;
    bool by_state = request->version >= DELETE_BY_ID_OLDEST;
    Slice name = by_state ? asked->topics.items[index].name : asked->topic_names.items[index];
    const KafkaUuid *topic_id = by_state ? &asked->topics.items[index].topic_id : &no_id;
    KafkaDeleteTopicsResponseResponse *out = &state->response.deleted.responses.items[index];
    TopicAnswer answer = { state, &out->error_code, &out->error_message };
    out->name = name;
    out->topic_id = *topic_id;
    if (slice_is_null(name)) {
        KafkaError error;
        Topic *topic = api_topic(request, name, topic_id, &error);
        if (!topic) {
            topic_refuse(answer, KAFKA_ERROR_UNKNOWN_TOPIC_ID, "no topic has this id");
            return;
        }
        out->name = slice_of_text(arena_copy_text(&request->arena, slice_of_text(topic->name)));
    }
    TopicAnswer *kept = topic_answer_keep(answer);
    if (!kept) {
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, out->name);
    topic_ask(api_agent(request), &delete_statement, &parameters, topic_answered, kept);
}

void delete_topics_handle(KafkaRequest *request)
{
    const KafkaDeleteTopicsRequest *asked = request->message;
    bool by_state = request->version >= DELETE_BY_ID_OLDEST;
    int32_t count = by_state ? asked->topics.count : asked->topic_names.count;
    TopicsState *state = topics_begin(request, delete_one, delete_reply);
    if (!state) {
        return;
    }
    count = count > 0 ? count : 0;
    kafka_defaults(&KAFKA_DELETE_TOPICS_RESPONSE.root, &state->response.deleted);
    state->response.deleted.responses.items =
        kafka_items_new(&request->arena, &KAFKA_DELETE_TOPICS_RESPONSE_RESPONSE, (size_t)count);
    if (!state->response.deleted.responses.items) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    state->response.deleted.responses.count = count;
    state->count = count;
    topics_go_on(state);
}

/* CreatePartitions. */

static void widen_reply(TopicsState *state)
{
    kafka_request_reply(state->request, &state->response.widened);
}

static void widen_one(TopicsState *state, int32_t index)
{
    const KafkaCreatePartitionsRequest *asked = state->request->message;
    const KafkaCreatePartitionsRequestTopic *wanted = &asked->topics.items[index];
    KafkaCreatePartitionsResponseResult *out = &state->response.widened.results.items[index];
    TopicAnswer answer = { state, &out->error_code, &out->error_message };
    out->name = wanted->name;
    if (asked->validate_only) {
        Topic *topic = catalog_topic(api_agent(state->request)->catalog, wanted->name);
        if (!topic) {
            topic_refuse(answer, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION, "there is no such topic");
        } else if (wanted->count <= topic->partition_count) {
            topic_refuse(answer, KAFKA_ERROR_INVALID_PARTITIONS,
                         "the topic has that many partitions already");
        }
        return;
    }
    TopicAnswer *kept = topic_answer_keep(answer);
    if (!kept) {
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, wanted->name);
    brain_put_int4(&parameters, wanted->count);
    topic_ask(api_agent(state->request), &widen_statement, &parameters, topic_answered, kept);
}

void create_partitions_handle(KafkaRequest *request)
{
    const KafkaCreatePartitionsRequest *asked = request->message;
    int32_t count = asked->topics.count > 0 ? asked->topics.count : 0;
    TopicsState *state = topics_begin(request, widen_one, widen_reply);
    if (!state) {
        return;
    }
    kafka_defaults(&KAFKA_CREATE_PARTITIONS_RESPONSE.root, &state->response.widened);
    state->response.widened.results.items =
        kafka_items_new(&request->arena, &KAFKA_CREATE_PARTITIONS_RESPONSE_RESULT, (size_t)count);
    if (!state->response.widened.results.items) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    state->response.widened.results.count = count;
    state->count = count;
    topics_go_on(state);
}
