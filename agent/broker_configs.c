/* broker_configs.c: reads the broker configs that were set and lays them over the settings. */
#include "agent/broker_configs.h"

#include <stdio.h>

#include "agent/brain/brain.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"

const BrokerConfig broker_configs[] = {
    { "auto.create.topics.enable", SETTING_ID_auto_create_topics },
    { "fetch.max.bytes", SETTING_ID_fetch_bytes_max },
    { "group.initial.rebalance.delay.ms", SETTING_ID_group_initial_delay_ms },
    { "group.max.session.timeout.ms", SETTING_ID_group_session_max_ms },
    { "group.max.size", SETTING_ID_group_members_max },
    { "group.min.session.timeout.ms", SETTING_ID_group_session_min_ms },
    { "num.partitions", SETTING_ID_default_partitions },
    { NULL, SETTING_ID_COUNT },
};
_Static_assert(sizeof(broker_configs) / sizeof(broker_configs[0]) <= SETTING_OVERLAYS_MAX,
               "all of them may be set");

static const BrainStatement read_statement = {
    "broker_configs", "SELECT name, value FROM sh_broker_configs($1)", 1, { BRAIN_INT4 }
};

static const BrokerConfig *broker_config_find(Slice name)
{
    for (const BrokerConfig *config = broker_configs; config->name; config++) {
        if (slice_equals(name, slice_of_text(config->name))) {
            return config;
        }
    }
    return NULL; /* the brain's own affair */
}

static void broker_configs_told(const BrainResult *result, void *argument)
{
    Agent *agent = argument;
    SettingOverlay overlays[SETTING_OVERLAYS_MAX];
    int count = 0;
    if (!status_is_ok(&result->status)) {
        if (result->status.code != STATUS_CANCELLED) {
            journal_seldom(JOURNAL_WARN, "configs", "broker configs could not be read: %s", result->message);
        }
        return;
    }
    for (int row = 0; row < brain_row_count(result) && count < SETTING_OVERLAYS_MAX; row++) {
        const BrokerConfig *config = broker_config_find(brain_text(result, row, 0));
        Slice value = brain_text(result, row, 1);
        if (config) {
            SettingOverlay *overlay = &overlays[count++];
            *overlay = (SettingOverlay){ .id = config->id };
            snprintf(overlay->value, sizeof(overlay->value), "%.*s", (int)value.size, value.data);
        }
    }
    agent_overlay(agent, overlays, count);
}

void broker_configs_read(void *context)
{
    Agent *agent = context;
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(agent->lease));
    brain_send(agent->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &read_statement, .parameters = &parameters }, broker_configs_told,
               agent);
}
