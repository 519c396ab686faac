/* configs.c: DescribeConfigs: a topic's configs from the brain's one table, a broker's from the agent's
 * settings. */
#include <stdio.h>
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/brain/brain.h"
#include "agent/jobs/lease.h"

/* Kafka's numbers (ConfigResource, ConfigSource, ConfigType). */
enum { RESOURCE_TOPIC = 2, RESOURCE_BROKER = 4 };
enum { SOURCE_TOPIC = 1, SOURCE_STATIC_BROKER = 4, SOURCE_DEFAULT = 5 };
enum { TYPE_UNKNOWN, TYPE_BOOLEAN, TYPE_STRING, TYPE_INT, TYPE_SHORT, TYPE_LONG, TYPE_DOUBLE, TYPE_LIST };

/* Topics asked about at the same time: the brain's queue is for others too. */
enum { SETTING_TEXT_MAX = 1024, CONFIGS_ASKED_MAX = 32 };
/* What one resource's configs may need. */
enum { CONFIGS_ROOM_MIN = 1024 * 1024 };

static const BrainStatement describe_statement = {
    "describe_configs",
    "SELECT name, value, is_default, type, documentation, default_value FROM sh_describe_configs($1)",
    1,
    { BRAIN_TEXT }
};

typedef struct ConfigsState {
    KafkaRequest *request;
    KafkaDescribeConfigsResponse response;
    int32_t next; /* resource to look at */
    int asked;    /* answers to come */
} ConfigsState;

typedef struct ConfigsOfTopic {
    ConfigsState *state;
    int32_t index;
} ConfigsOfTopic;

static void configs_go_on(ConfigsState *state);

static int8_t config_type(Slice name)
{
    static const char *const names[] = {
        [TYPE_BOOLEAN] = "boolean", [TYPE_STRING] = "string", [TYPE_INT] = "int",   [TYPE_SHORT] = "short",
        [TYPE_LONG] = "long",       [TYPE_DOUBLE] = "double", [TYPE_LIST] = "list",
    };
    for (int8_t type = TYPE_BOOLEAN; type <= TYPE_LIST; type++) {
        if (slice_equals(name, slice_of_text(names[type]))) {
            return type;
        }
    }
    return TYPE_UNKNOWN;
}

static bool config_is_wanted(const KafkaDescribeConfigsRequestResource *resource, Slice name)
{
    for (int32_t i = 0; i < resource->configuration_keys.count; i++) {
        if (slice_equals(resource->configuration_keys.items[i], name)) {
            return true;
        }
    }
    return resource->configuration_keys.count < 0;
}

static Slice config_copy(ConfigsState *state, Slice text)
{
    return slice_is_null(text) ? SLICE_NULL : slice_of_text(arena_copy_text(&state->request->arena, text));
}

static void config_add_synonym(ConfigsState *state, KafkaDescribeConfigsResponseConfig *config, Slice value,
                               int8_t source)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    if (!asked->include_synonyms || !config->synonyms.items) {
        return;
    }
    config->synonyms.items[config->synonyms.count++] = (KafkaDescribeConfigsResponseSynonym){
        .name = config->name,
        .value = value,
        .source = source,
    };
}

static void config_of_topic(ConfigsState *state, const BrainResult *result, int row,
                            KafkaDescribeConfigsResponseConfig *config)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    bool is_default = brain_bool(result, row, 2);
    config->name = config_copy(state, brain_text(result, row, 0));
    config->value = config_copy(state, brain_text(result, row, 1));
    config->config_source = is_default ? SOURCE_DEFAULT : SOURCE_TOPIC;
    config->config_type = config_type(brain_text(result, row, 3));
    config->documentation =
        asked->include_documentation ? config_copy(state, brain_text(result, row, 4)) : SLICE_NULL;
    config->synonyms.items =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_CONFIGS_RESPONSE_SYNONYM, 2);
    if (!is_default) {
        config_add_synonym(state, config, config->value, SOURCE_TOPIC);
    }
    config_add_synonym(state, config, config_copy(state, brain_text(result, row, 5)), SOURCE_DEFAULT);
}

/* Past the request's memory values would be missing: rather none at all, and said so. */
static void configs_check_room(const ConfigsState *state, KafkaDescribeConfigsResponseResult *out)
{
    const Arena *arena = &state->request->arena;
    if (!out->configs.items || arena->limit - arena->used < CONFIGS_ROOM_MIN) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = SLICE_LITERAL("the configs do not fit in the request's memory; ask for fewer");
        out->configs.count = 0;
    }
}

static void configs_of_topic(const BrainResult *result, void *argument)
{
    ConfigsOfTopic *waiting = argument;
    ConfigsState *state = waiting->state;
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[waiting->index];
    int rows = status_is_ok(&result->status) ? brain_row_count(result) : 0;
    out->error_code = (int16_t)api_brain_error(result);
    if (!status_is_ok(&result->status)) {
        out->error_message = config_copy(state, slice_of_text(result->message));
    }
    out->configs.items =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_CONFIGS_RESPONSE_CONFIG, (size_t)rows);
    for (int row = 0; out->configs.items && row < rows; row++) {
        if (config_is_wanted(&asked->resources.items[waiting->index], brain_text(result, row, 0))) {
            config_of_topic(state, result, row, &out->configs.items[out->configs.count++]);
        }
    }
    configs_check_room(state, out);
    state->asked--;
    configs_go_on(state);
}

static void configs_ask_topic(ConfigsState *state, int32_t index)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    ConfigsOfTopic *waiting = arena_allocate(&state->request->arena, sizeof(ConfigsOfTopic));
    if (!waiting) {
        state->response.results.items[index].error_code = KAFKA_ERROR_REQUEST_TIMED_OUT;
        return;
    }
    *waiting = (ConfigsOfTopic){ state, index };
    state->asked++;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, asked->resources.items[index].resource_name);
    brain_send(api_agent(state->request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &describe_statement, .parameters = &parameters }, configs_of_topic,
               waiting);
}

static int8_t config_type_of_setting(const SettingRow *row)
{
    switch (row->type) {
    case SETTING_BOOL:
        return TYPE_BOOLEAN;
    case SETTING_COUNT_TYPE:
    case SETTING_PORT:
        return TYPE_INT;
    default:
        return TYPE_STRING; /* sizes and durations are written with units */
    }
}

static void config_of_broker(ConfigsState *state, SettingId id, KafkaDescribeConfigsResponseConfig *config)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    const Settings *settings = &api_agent(state->request)->settings;
    bool is_default = settings->origins[id] == SETTING_FROM_DEFAULT;
    char text[SETTING_TEXT_MAX];
    settings_show(settings, id, text, sizeof(text));
    config->name = slice_of_text(setting_rows[id].name);
    config->is_sensitive = (setting_rows[id].flags & (SETTING_SECRET | SETTING_CONNINFO)) != 0;
    config->value = config->is_sensitive ? SLICE_NULL : config_copy(state, slice_of_text(text));
    config->read_only = true;
    config->config_source = is_default ? SOURCE_DEFAULT : SOURCE_STATIC_BROKER;
    config->config_type = config_type_of_setting(&setting_rows[id]);
    config->documentation = asked->include_documentation ? slice_of_text(setting_rows[id].help) : SLICE_NULL;
}

static void configs_of_broker(ConfigsState *state, int32_t index)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    const KafkaDescribeConfigsRequestResource *resource = &asked->resources.items[index];
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[index];
    char own_id[16];
    snprintf(own_id, sizeof(own_id), "%d", lease_agent_id(api_agent(state->request)->lease));
    if (resource->resource_name.size > 0 && !slice_equals(resource->resource_name, slice_of_text(own_id))) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = SLICE_LITERAL("ask the broker itself for its configs");
        return;
    }
    out->configs.items =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_CONFIGS_RESPONSE_CONFIG, SETTING_ID_COUNT);
    for (int id = 0; out->configs.items && id < SETTING_ID_COUNT; id++) {
        if (config_is_wanted(resource, slice_of_text(setting_rows[id].name))) {
            config_of_broker(state, (SettingId)id, &out->configs.items[out->configs.count++]);
        }
    }
    configs_check_room(state, out);
}

static void configs_of_resource(ConfigsState *state, int32_t index)
{
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[index];
    if (out->resource_type == RESOURCE_TOPIC) {
        configs_ask_topic(state, index);
    } else if (out->resource_type == RESOURCE_BROKER) {
        configs_of_broker(state, index);
    } else {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = SLICE_LITERAL("only topics and brokers have configs here");
    }
}

static void configs_go_on(ConfigsState *state)
{
    int32_t count = state->response.results.count;
    while (state->asked < CONFIGS_ASKED_MAX && state->next < count && !state->request->abandoned) {
        configs_of_resource(state, state->next++);
    }
    if (state->asked == 0) {
        kafka_request_reply(state->request, &state->response);
    }
}

void describe_configs_handle(KafkaRequest *request)
{
    const KafkaDescribeConfigsRequest *asked = request->message;
    int32_t count = asked->resources.count > 0 ? asked->resources.count : 0;
    ConfigsState *state = arena_allocate(&request->arena, sizeof(ConfigsState));
    void *results = kafka_items_new(&request->arena, &KAFKA_DESCRIBE_CONFIGS_RESPONSE_RESULT, (size_t)count);
    if (!state || !results) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    *state = (ConfigsState){ .request = request };
    kafka_defaults(&KAFKA_DESCRIBE_CONFIGS_RESPONSE.root, &state->response);
    state->response.results.items = results;
    state->response.results.count = count;
    for (int32_t i = 0; i < count; i++) {
        KafkaDescribeConfigsResponseResult *out = &state->response.results.items[i];
        out->resource_type = asked->resources.items[i].resource_type;
        out->resource_name = asked->resources.items[i].resource_name;
    }
    configs_go_on(state);
}
