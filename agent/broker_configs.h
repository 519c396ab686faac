/* broker_configs.h: Kafka's broker configs that are settings of this agent. What the brain has of them, for
 * this agent or for all, lies over what file, environment and flags say; it is read with every refresh of the
 * catalog. */
#ifndef STREAMHOUSE_AGENT_BROKER_CONFIGS_H
#define STREAMHOUSE_AGENT_BROKER_CONFIGS_H

#include "agent/agent.h"

typedef struct BrokerConfig {
    const char *name; /* Kafka's */
    SettingId id;     /* reloadable, with bounds that hold the broker config's (src/broker_config.sql) */
} BrokerConfig;

/* Ends with a NULL name. */
extern const BrokerConfig broker_configs[];

/* context is the Agent: asks the brain, and takes the values when it answers. */
void broker_configs_read(void *context);

#endif
