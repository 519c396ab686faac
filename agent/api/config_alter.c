/* config_alter.c: AlterConfigs and IncrementalAlterConfigs. Each resource is one call of sh_alter_configs(),
 * which knows the rules; what is refused here is what has no configs at all. */
#include <stdlib.h>

#include <jansson.h>

#include "agent/api/config_resource.h"
#include "agent/api/sequence.h"

static const BrainStatement alter_statement = {
    "alter_configs",
    "SELECT sh_alter_configs($1, $2, $3, $4, $5)" SEQUENCE_BOUNDED,
    5,
    { BRAIN_TEXT, BRAIN_TEXT, BRAIN_JSONB, BRAIN_BOOL, BRAIN_BOOL }
};

/* Kafka's numbers (AlterConfigOp.OpType). */
static const char *const operation_names[] = { "set", "delete", "append", "subtract" };

/* What both requests name: a resource, in the words of either. */
typedef struct AlterAsked {
    int8_t type;
    Slice name;
    int32_t config_count;
    const KafkaAlterConfigsRequestConfig *configs;                /* AlterConfigs */
    const KafkaIncrementalAlterConfigsRequestConfig *incremental; /* the other one */
} AlterAsked;

static bool alter_is_incremental(const KafkaRequest *request)
{
    return request->api->key == KAFKA_INCREMENTAL_ALTER_CONFIGS;
}

static AlterAsked alter_asked(const KafkaRequest *request, int32_t index)
{
    if (alter_is_incremental(request)) {
        const KafkaIncrementalAlterConfigsRequest *asked = request->message;
        const KafkaIncrementalAlterConfigsRequestResource *resource = &asked->resources.items[index];
        return (AlterAsked){ .type = resource->resource_type,
                             .name = resource->resource_name,
                             .config_count = resource->configs.count,
                             .incremental = resource->configs.items };
    }
    const KafkaAlterConfigsRequest *asked = request->message;
    const KafkaAlterConfigsRequestResource *resource = &asked->resources.items[index];
    return (AlterAsked){ .type = resource->resource_type,
                         .name = resource->resource_name,
                         .config_count = resource->configs.count,
                         .configs = resource->configs.items };
}

/* [{"name", "operation", "value"}] as text to be freed; NULL with *complaint when it cannot be said. */
static char *alter_changes(const AlterAsked *asked, const char **complaint)
{
    json_t *changes = json_array();
    *complaint = NULL;
    for (int32_t i = 0; i < asked->config_count && !*complaint; i++) {
        const KafkaIncrementalAlterConfigsRequestConfig *change =
            asked->incremental ? asked->incremental + i : NULL;
        Slice name = change ? change->name : asked->configs[i].name;
        Slice value = change ? change->value : asked->configs[i].value;
        int operation = change ? change->config_operation : 0;
        if (operation < 0 || (size_t)operation >= sizeof(operation_names) / sizeof(operation_names[0])) {
            *complaint = "the operation is none of SET, DELETE, APPEND and SUBTRACT";
            break;
        }
        json_t *element = json_object();
        json_t *name_text = json_stringn((const char *)name.data, name.size);
        json_t *value_text =
            slice_is_null(value) ? json_null() : json_stringn((const char *)value.data, value.size);
        if (!name_text || !value_text || memchr(name.data, 0, name.size) ||
            (value.size > 0 && memchr(value.data, 0, value.size))) {
            *complaint = "a config is no UTF-8 text";
        }
        json_object_set_new(element, "name", name_text);
        json_object_set_new(element, "value", value_text);
        json_object_set_new(element, "operation", json_string(operation_names[operation]));
        json_array_append_new(changes, element);
    }
    char *text = *complaint ? NULL : json_dumps(changes, JSON_COMPACT);
    json_decref(changes);
    *complaint = text || *complaint ? *complaint : "memory is short";
    return text;
}

/* What has no configs that could be changed. */
static const char *alter_complaint(const Sequence *sequence, const AlterAsked *asked, int32_t index)
{
    if (sequence->repeated[index]) {
        return "each resource must appear at most once";
    }
    if (asked->type == CONFIG_OF_BROKER_LOGGER) {
        return "log levels cannot be changed this way; there is one for an agent, its setting log_level, "
               "which "
               "SIGHUP reloads";
    }
    if (asked->type == CONFIG_OF_CLIENT_METRICS) {
        return "no subscriptions to clients' metrics are kept here";
    }
    return config_resource_name(asked->type) ? NULL : "only topics, brokers and groups have configs here";
}

static void alter_one(Sequence *sequence, int32_t index)
{
    KafkaRequest *request = sequence->request;
    const AlterAsked asked = alter_asked(request, index);
    bool incremental = alter_is_incremental(request);
    KafkaAlterConfigsResponse *legacy = sequence->response;
    KafkaIncrementalAlterConfigsResponse *modern = sequence->response;
    SequenceAnswer answer =
        incremental ? (SequenceAnswer){ .error_code = &modern->responses.items[index].error_code,
                                        .message = &modern->responses.items[index].error_message }
                    : (SequenceAnswer){ .error_code = &legacy->responses.items[index].error_code,
                                        .message = &legacy->responses.items[index].error_message };
    const char *complaint = alter_complaint(sequence, &asked, index);
    char *changes = complaint ? NULL : alter_changes(&asked, &complaint);
    if (complaint) {
        sequence_refuse(sequence, &answer, KAFKA_ERROR_INVALID_REQUEST, complaint);
        return;
    }
    bool validate_only = incremental
                             ? ((const KafkaIncrementalAlterConfigsRequest *)request->message)->validate_only
                             : ((const KafkaAlterConfigsRequest *)request->message)->validate_only;
    answer.reads_only = validate_only;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, slice_of_text(config_resource_name(asked.type)));
    brain_put_text(&parameters, asked.name);
    brain_put_jsonb(&parameters, slice_of_text(changes));
    brain_put_bool(&parameters, !incremental);
    brain_put_bool(&parameters, validate_only);
    free(changes);
    sequence_ask(sequence, &answer, &alter_statement, &parameters);
}

static int alter_compare(int8_t left_type, Slice left, int8_t right_type, Slice right)
{
    if (left_type != right_type) {
        return left_type < right_type ? -1 : 1;
    }
    if (left.size != right.size) {
        return left.size < right.size ? -1 : 1;
    }
    return left.size > 0 ? memcmp(left.data, right.data, left.size) : 0;
}

static int alter_compare_legacy(const void *left, const void *right)
{
    const KafkaAlterConfigsRequestResource *a = *(const KafkaAlterConfigsRequestResource *const *)left;
    const KafkaAlterConfigsRequestResource *b = *(const KafkaAlterConfigsRequestResource *const *)right;
    return alter_compare(a->resource_type, a->resource_name, b->resource_type, b->resource_name);
}

static int alter_compare_modern(const void *left, const void *right)
{
    const KafkaIncrementalAlterConfigsRequestResource *a =
        *(const KafkaIncrementalAlterConfigsRequestResource *const *)left;
    const KafkaIncrementalAlterConfigsRequestResource *b =
        *(const KafkaIncrementalAlterConfigsRequestResource *const *)right;
    return alter_compare(a->resource_type, a->resource_name, b->resource_type, b->resource_name);
}

static void alter_reply(Sequence *sequence)
{
    kafka_request_reply(sequence->request, sequence->response);
}

void alter_configs_handle(KafkaRequest *request)
{
    const KafkaAlterConfigsRequest *asked = request->message;
    int32_t count = asked->resources.count > 0 ? asked->resources.count : 0;
    Sequence *sequence =
        sequence_new(request, &KAFKA_ALTER_CONFIGS_RESPONSE.root, count, 0, alter_one, alter_reply);
    if (!sequence) {
        return;
    }
    KafkaAlterConfigsResponse *response = sequence->response;
    response->responses.items =
        kafka_items_new(&request->arena, &KAFKA_ALTER_CONFIGS_RESPONSE_RESPONSE, (size_t)count);
    if (!response->responses.items ||
        !sequence_find_repeated(sequence, asked->resources.items, sizeof(*asked->resources.items),
                                alter_compare_legacy)) {
        sequence_too_large(request);
        return;
    }
    response->responses.count = count;
    for (int32_t i = 0; i < count; i++) {
        response->responses.items[i].resource_type = asked->resources.items[i].resource_type;
        response->responses.items[i].resource_name = asked->resources.items[i].resource_name;
    }
    sequence_run(sequence);
}

void incremental_alter_configs_handle(KafkaRequest *request)
{
    const KafkaIncrementalAlterConfigsRequest *asked = request->message;
    int32_t count = asked->resources.count > 0 ? asked->resources.count : 0;
    Sequence *sequence = sequence_new(request, &KAFKA_INCREMENTAL_ALTER_CONFIGS_RESPONSE.root, count, 0,
                                      alter_one, alter_reply);
    if (!sequence) {
        return;
    }
    KafkaIncrementalAlterConfigsResponse *response = sequence->response;
    response->responses.items =
        kafka_items_new(&request->arena, &KAFKA_INCREMENTAL_ALTER_CONFIGS_RESPONSE_RESPONSE, (size_t)count);
    if (!response->responses.items ||
        !sequence_find_repeated(sequence, asked->resources.items, sizeof(*asked->resources.items),
                                alter_compare_modern)) {
        sequence_too_large(request);
        return;
    }
    response->responses.count = count;
    for (int32_t i = 0; i < count; i++) {
        response->responses.items[i].resource_type = asked->resources.items[i].resource_type;
        response->responses.items[i].resource_name = asked->resources.items[i].resource_name;
    }
    sequence_run(sequence);
}
