/* config_resource.h: what has configs, in Kafka's numbers and the brain's words. */
#ifndef STREAMHOUSE_CONFIG_RESOURCE_H
#define STREAMHOUSE_CONFIG_RESOURCE_H

#include <stddef.h>
#include <stdint.h>

/* Kafka's ConfigResource.Type. */
enum {
    CONFIG_OF_TOPIC = 2,
    CONFIG_OF_BROKER = 4,
    CONFIG_OF_BROKER_LOGGER = 8,
    CONFIG_OF_CLIENT_METRICS = 16,
    CONFIG_OF_GROUP = 32
};

/* As sh_alter_configs() calls it; NULL for what has no configs in the brain. */
static inline const char *config_resource_name(int8_t type)
{
    return type == CONFIG_OF_TOPIC    ? "topic"
           : type == CONFIG_OF_BROKER ? "broker"
           : type == CONFIG_OF_GROUP  ? "group"
                                      : NULL;
}

#endif
