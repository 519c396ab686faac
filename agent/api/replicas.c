/* replicas.c: checks a partition's replicas as Kafka does, so that a mistake is told and not hidden. */
#include "agent/api/replicas.h"

/* Of one partition: more are not looked at one by one. */
enum { REPLICAS_MAX = 1000 };

const char *replicas_complaint(const KafkaRequest *request, const KafkaInt32Array *broker_ids)
{
    if (broker_ids->count <= 0) {
        return "a partition needs at least one replica";
    }
    if (broker_ids->count > REPLICAS_MAX) {
        return "a partition has far too many replicas";
    }
    for (int32_t i = 0; i < broker_ids->count; i++) {
        if (!catalog_agent(api_agent(request)->catalog, broker_ids->items[i])) {
            return "a replica is on a broker that does not exist";
        }
        for (int32_t j = 0; j < i; j++) {
            if (broker_ids->items[j] == broker_ids->items[i]) {
                return "a broker has two replicas of one partition";
            }
        }
    }
    return NULL;
}
