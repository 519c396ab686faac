/* catalog.h: the agent's copy of the brain's topics, leaders and agents. Read anew whenever the brain says
 * that something changed, and when somebody asks for what the copy does not have; never guessed. */
#ifndef STREAMHOUSE_CATALOG_H
#define STREAMHOUSE_CATALOG_H

#include "agent/brain/brain.h"
#include "agent/catalog/topic.h"
#include "common/status.h"

typedef struct Catalog Catalog;

/* A live agent, as Kafka clients see a broker. */
typedef struct AgentNode {
    int32_t agent_id;
    char *host;
    int32_t port;
    char *zone; /* "" for none */
} AgentNode;

/* status: whether the refresh that the caller waited for succeeded. */
typedef void (*CatalogRefreshed)(void *argument, const Status *status);
/* A topic was deleted, or partitions changed their leader: whoever keeps something on them lets go of it. */
typedef void (*CatalogTopicEvent)(void *context, Topic *topic);

Catalog *catalog_new(Brain *brain);
void catalog_free(Catalog *catalog);

/* Called for each deleted topic, before the catalog's reference goes, and for each topic with a new leader.
 */
void catalog_on_change(Catalog *catalog, CatalogTopicEvent deleted, CatalogTopicEvent moved, void *context);

/* Called as each refresh begins: what it sends on BRAIN_READ is answered before the refresh ends. */
void catalog_on_refresh(Catalog *catalog, void (*also)(void *context), void *context);

/* Reads everything anew, then calls done (NULL is allowed) from the loop. A refresh that began before the
 * call does not count: what was true at the time of the call is in the copy when done is called. */
void catalog_refresh(Catalog *catalog, CatalogRefreshed done, void *argument);

/* Did the last refresh succeed, or is one under way? Otherwise somebody should ask for another before long.
 */
bool catalog_is_fresh(const Catalog *catalog);
/* Has it been read at all? */
bool catalog_is_loaded(const Catalog *catalog);
/* When the last refresh that has ended was begun, whether it was answered or not. */
int64_t catalog_tried_ms(const Catalog *catalog);

Topic *catalog_topic(const Catalog *catalog, Slice name);
Topic *catalog_topic_by_id(const Catalog *catalog, int32_t topic_id);
Topic *catalog_topic_by_uuid(const Catalog *catalog, const uint8_t uuid[16]);
/* All topics, in no order: for (Topic *topic = catalog_first(c); topic; topic = catalog_next(topic)). */
Topic *catalog_first(const Catalog *catalog);
Topic *catalog_next(const Topic *topic);
size_t catalog_topic_count(const Catalog *catalog);

/* Live agents, by id. */
const AgentNode *catalog_agents(const Catalog *catalog, size_t *count);
/* NULL when it is not alive. */
const AgentNode *catalog_agent(const Catalog *catalog, int32_t agent_id);

/* 22 characters; "" until known. */
const char *catalog_cluster_id(const Catalog *catalog);
/* The same as 16 bytes; zeros until known. */
const uint8_t *catalog_cluster_uuid(const Catalog *catalog);

#endif
