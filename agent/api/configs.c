/* configs.c: DescribeConfigs: what the brain has of topics, brokers and groups, and for a broker the agent's
 * own settings, which can be read only. */
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "agent/api/api.h"
#include "agent/api/config_resource.h"
#include "agent/brain/brain.h"
#include "agent/broker_configs.h"
#include "agent/jobs/lease.h"
#include "agent/setting_value.h"

/* Kafka's numbers (ConfigSource, ConfigType). */
enum {
    SOURCE_TOPIC = 1,
    SOURCE_BROKER = 2,
    SOURCE_CLUSTER = 3,
    SOURCE_STATIC = 4,
    SOURCE_DEFAULT = 5,
    SOURCE_GROUP = 8
};
enum { TYPE_UNKNOWN, TYPE_BOOLEAN, TYPE_STRING, TYPE_INT, TYPE_SHORT, TYPE_LONG, TYPE_DOUBLE, TYPE_LIST };

/* Resources asked about at the same time: the brain's queue is for others too. */
enum { SETTING_TEXT_MAX = 1024, CONFIGS_ASKED_MAX = 32 };
/* What one resource's configs may need. */
enum { CONFIGS_ROOM_MIN = 1024 * 1024 };

/* Columns: name, value, source, type, documentation, synonyms. */
static const BrainStatement topic_statement = {
    "describe_configs",
    "SELECT name, value, source, type, documentation, synonyms FROM sh_describe_configs($1)",
    1,
    { BRAIN_TEXT }
};
static const BrainStatement broker_statement = {
    "describe_broker_configs",
    "SELECT name, value, source, type, documentation, synonyms FROM sh_describe_broker_configs($1, $2)",
    2,
    { BRAIN_INT4, BRAIN_JSONB }
};
static const BrainStatement group_statement = {
    "describe_group_configs",
    "SELECT name, value, CASE WHEN is_default THEN 'default' ELSE 'group' END, type, documentation, "
    "CASE WHEN is_default THEN '[]' ELSE jsonb_build_array(jsonb_build_object('name', name, 'value', value, "
    "'source', 'group')) END || jsonb_build_array(jsonb_build_object('name', name, 'value', default_value, "
    "'source', 'default')) FROM sh_describe_group_configs($1)",
    1,
    { BRAIN_TEXT }
};

typedef struct ConfigsState {
    KafkaRequest *request;
    KafkaDescribeConfigsResponse response;
    int32_t next; /* resource to look at */
    int asked;    /* answers to come */
} ConfigsState;

typedef struct ConfigsOfResource {
    ConfigsState *state;
    int32_t index;
} ConfigsOfResource;

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

static int8_t config_source(Slice word)
{
    static const struct {
        const char *word;
        int8_t source;
    } sources[] = {
        { "topic", SOURCE_TOPIC },   { "broker", SOURCE_BROKER },   { "cluster", SOURCE_CLUSTER },
        { "static", SOURCE_STATIC }, { "default", SOURCE_DEFAULT }, { "group", SOURCE_GROUP },
    };
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        if (slice_equals(word, slice_of_text(sources[i].word))) {
            return sources[i].source;
        }
    }
    return 0;
}

static Slice config_copy_json(ConfigsState *state, const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? api_copy(state->request, slice_of_text(json_string_value(value)))
                                 : SLICE_NULL;
}

/* json: [{"name", "value", "source"}]. */
static void config_add_synonyms(ConfigsState *state, Slice json, KafkaDescribeConfigsResponseConfig *config)
{
    json_t *synonyms = json_loadb((const char *)json.data, json.size, 0, NULL);
    size_t count = json_array_size(synonyms);
    config->synonyms.items =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_CONFIGS_RESPONSE_SYNONYM, count);
    for (size_t i = 0; config->synonyms.items && i < count; i++) {
        const json_t *synonym = json_array_get(synonyms, i);
        const char *source = json_string_value(json_object_get(synonym, "source"));
        config->synonyms.items[config->synonyms.count++] = (KafkaDescribeConfigsResponseSynonym){
            .name = config_copy_json(state, synonym, "name"),
            .value = config_copy_json(state, synonym, "value"),
            .source = config_source(slice_of_text(source ? source : "")),
        };
    }
    json_decref(synonyms);
}

static void config_of_row(ConfigsState *state, const BrainResult *result, int row,
                          KafkaDescribeConfigsResponseConfig *config)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    config->name = api_copy(state->request, brain_text(result, row, 0));
    config->value = api_copy(state->request, brain_text(result, row, 1));
    config->config_source = config_source(brain_text(result, row, 2));
    config->config_type = config_type(brain_text(result, row, 3));
    config->documentation =
        asked->include_documentation ? api_copy(state->request, brain_text(result, row, 4)) : SLICE_NULL;
    if (asked->include_synonyms) {
        config_add_synonyms(state, brain_text(result, row, 5), config);
    }
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

static void config_of_setting(ConfigsState *state, SettingId id, KafkaDescribeConfigsResponseConfig *config)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    const Settings *settings = &api_agent(state->request)->settings;
    bool is_default = settings->origins[id] == SETTING_FROM_DEFAULT;
    char text[SETTING_TEXT_MAX];
    settings_show(settings, id, text, sizeof(text));
    config->name = slice_of_text(setting_rows[id].name);
    config->is_sensitive = (setting_rows[id].flags & (SETTING_SECRET | SETTING_CONNINFO)) != 0;
    config->value = config->is_sensitive ? SLICE_NULL : api_copy(state->request, slice_of_text(text));
    config->read_only = true;
    config->config_source = is_default ? SOURCE_DEFAULT : SOURCE_STATIC;
    config->config_type = config_type_of_setting(&setting_rows[id]);
    config->documentation = asked->include_documentation ? slice_of_text(setting_rows[id].help) : SLICE_NULL;
}

static bool resource_is_all_brokers(const KafkaDescribeConfigsRequestResource *resource)
{
    return resource->resource_type == CONFIG_OF_BROKER && resource->resource_name.size == 0;
}

static void configs_add_settings(ConfigsState *state, const KafkaDescribeConfigsRequestResource *resource,
                                 KafkaDescribeConfigsResponseResult *out)
{
    for (int id = 0; id < SETTING_ID_COUNT; id++) {
        if (config_is_wanted(resource, slice_of_text(setting_rows[id].name))) {
            config_of_setting(state, (SettingId)id, &out->configs.items[out->configs.count++]);
        }
    }
}

/* Of all brokers together only what was set for them is told, as Kafka does. */
static void configs_take(ConfigsState *state, const BrainResult *result, int32_t index)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    const KafkaDescribeConfigsRequestResource *resource = &asked->resources.items[index];
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[index];
    bool of_all = resource_is_all_brokers(resource);
    bool of_one = resource->resource_type == CONFIG_OF_BROKER && !of_all;
    int rows = brain_row_count(result);
    out->configs.items = kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_CONFIGS_RESPONSE_CONFIG,
                                         (size_t)rows + (of_one ? SETTING_ID_COUNT : 0));
    for (int row = 0; out->configs.items && row < rows; row++) {
        bool told = !of_all || config_source(brain_text(result, row, 2)) == SOURCE_CLUSTER;
        if (told && config_is_wanted(resource, brain_text(result, row, 0))) {
            config_of_row(state, result, row, &out->configs.items[out->configs.count++]);
        }
    }
    if (out->configs.items && of_one) {
        configs_add_settings(state, resource, out);
    }
    configs_check_room(state, out);
}

static void configs_told(const BrainResult *result, void *argument)
{
    ConfigsOfResource *waiting = argument;
    ConfigsState *state = waiting->state;
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[waiting->index];
    out->error_code = (int16_t)api_brain_error(result);
    if (status_is_ok(&result->status)) {
        configs_take(state, result, waiting->index);
    } else {
        out->error_message = api_copy(state->request, slice_of_text(result->message));
    }
    state->asked--;
    configs_go_on(state);
}

static void configs_ask(ConfigsState *state, int32_t index, const BrainStatement *statement,
                        BrainParameters *parameters)
{
    ConfigsOfResource *waiting = arena_allocate(&state->request->arena, sizeof(ConfigsOfResource));
    if (!waiting) {
        brain_parameters_free(parameters);
        state->response.results.items[index].error_code = KAFKA_ERROR_REQUEST_TIMED_OUT;
        return;
    }
    *waiting = (ConfigsOfResource){ state, index };
    state->asked++;
    brain_send(api_agent(state->request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = statement, .parameters = parameters }, configs_told, waiting);
}

/* Broker configs that this agent was started with: {"num.partitions": "3"}, to be freed. */
static char *configs_static(const Settings *settings)
{
    json_t *object = json_object();
    for (const BrokerConfig *config = broker_configs; config->name; config++) {
        char text[SETTING_OVERLAY_BYTES];
        SettingOrigin origin = settings->origins[config->id];
        setting_plain(settings, config->id, text, sizeof(text));
        for (int i = 0; i < settings->overlay_count; i++) {
            if (settings->overlays[i].id == config->id) {
                origin = settings->overlays[i].beneath_origin;
                snprintf(text, sizeof(text), "%s", settings->overlays[i].beneath);
            }
        }
        if (origin != SETTING_FROM_DEFAULT) {
            json_object_set_new(object, config->name, json_string(text));
        }
    }
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

static void configs_of_broker(ConfigsState *state, int32_t index)
{
    const KafkaDescribeConfigsRequest *asked = state->request->message;
    const KafkaDescribeConfigsRequestResource *resource = &asked->resources.items[index];
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[index];
    bool of_all = resource_is_all_brokers(resource);
    int32_t own_id = lease_agent_id(api_agent(state->request)->lease);
    char own_name[16];
    snprintf(own_name, sizeof(own_name), "%d", own_id);
    if (!of_all && !slice_equals(resource->resource_name, slice_of_text(own_name))) {
        out->error_code = KAFKA_ERROR_INVALID_REQUEST;
        out->error_message = SLICE_LITERAL("ask the broker itself for its configs");
        return;
    }
    char *settings = configs_static(&api_agent(state->request)->settings);
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, of_all ? 0 : own_id);
    brain_put_jsonb(&parameters, slice_of_text(settings && !of_all ? settings : "{}"));
    free(settings);
    configs_ask(state, index, &broker_statement, &parameters);
}

static void configs_of_named(ConfigsState *state, int32_t index, const BrainStatement *statement)
{
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_text(&parameters, state->response.results.items[index].resource_name);
    configs_ask(state, index, statement, &parameters);
}

static void configs_refuse(KafkaDescribeConfigsResponseResult *out, const char *why)
{
    out->error_code = KAFKA_ERROR_INVALID_REQUEST;
    out->error_message = slice_of_text(why);
}

static void configs_of_resource(ConfigsState *state, int32_t index)
{
    KafkaDescribeConfigsResponseResult *out = &state->response.results.items[index];
    switch (out->resource_type) {
    case CONFIG_OF_TOPIC:
        configs_of_named(state, index, &topic_statement);
        break;
    case CONFIG_OF_BROKER:
        configs_of_broker(state, index);
        break;
    case CONFIG_OF_GROUP:
        configs_of_named(state, index, &group_statement);
        break;
    case CONFIG_OF_CLIENT_METRICS:
        break; /* no subscriptions are kept, so there is nothing to tell */
    case CONFIG_OF_BROKER_LOGGER:
        configs_refuse(
            out, "loggers have no levels of their own; an agent has one for all, its setting log_level");
        break;
    default:
        configs_refuse(out, "only topics, brokers and groups have configs here");
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
