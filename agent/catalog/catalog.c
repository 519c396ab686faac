/* catalog.c: one refresh at a time; those who ask while one runs wait for the next, which starts when it
 * ends. Leaders that change are told one by one between refreshes; a refresh that began before such news does
 * not undo it. */
#include "agent/catalog/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <utlist.h>

#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum { CLUSTER_ID_MAX = 64, PAYLOAD_MAX = 8192 /* of a notification: PostgreSQL's own limit is below */ };

static const BrainStatement catalog_statement = {
    "catalog", "SELECT topic_id, topic_uuid, name, config, leaders, epochs FROM sh_catalog()", 0, { 0 }
};
static const BrainStatement agents_statement = {
    "agents",
    "SELECT agent_id, kafka_host, kafka_port, coalesce(zone, ''), sh_cluster_id(), "
    "decode(translate(sh_cluster_id(), '-_', '+/') || '==', 'base64') FROM sh_agents() ORDER BY agent_id",
    0,
    { 0 }
};

typedef struct Waiter {
    struct Waiter *next;
    CatalogRefreshed done;
    void *argument;
} Waiter;

struct Catalog {
    Brain *brain;
    Topic *by_id;
    Topic *by_name;
    Topic *by_uuid;
    AgentNode *agents;
    size_t agent_count;
    char cluster_id[CLUSTER_ID_MAX];
    uint8_t cluster_uuid[16];
    bool loaded;
    bool fresh; /* the last refresh succeeded */
    bool refreshing;
    bool wanted; /* somebody waits for the next refresh */
    uint32_t refreshes;
    uint32_t refreshes_begun;
    int64_t begun_ms; /* the last one */
    int64_t tried_ms; /* when the last one that ended had begun, however it ended */
    Status status;    /* of the refresh that runs */
    Waiter *now;      /* waiting for the one that runs */
    Waiter *later;    /* waiting for the one after it */
    CatalogTopicEvent deleted;
    CatalogTopicEvent moved;
    void *context;
    void (*also)(void *context); /* what else is read with each refresh */
    void *also_context;
};

static void catalog_start(Catalog *catalog);

static void catalog_ignore(void *context, Topic *topic)
{
    (void)context;
    (void)topic;
}

static void catalog_notified(const char *channel, Slice payload, void *argument)
{
    (void)channel;
    (void)payload;
    catalog_refresh(argument, NULL, NULL);
}

/* One word of the news: topic:partition:agent:epoch. False when the copy has no such partition. */
static bool catalog_lead(Catalog *catalog, const char *word)
{
    int topic_id;
    int index;
    int leader;
    int epoch;
    if (sscanf(word, "%d:%d:%d:%d", &topic_id, &index, &leader, &epoch) != 4) {
        return false;
    }
    Topic *topic = catalog_topic_by_id(catalog, topic_id);
    Partition *partition = topic ? topic_partition(topic, index) : NULL;
    if (!partition) {
        return false;
    }
    if (epoch > partition->epoch) {
        partition->leader = leader;
        partition->epoch = epoch;
        partition->led_ms = time_ms();
        partition->led_age = catalog->refreshes_begun;
        catalog->moved(catalog->context, topic);
    }
    return true;
}

static void catalog_heard(const char *channel, Slice payload, void *argument)
{
    Catalog *catalog = argument;
    char text[PAYLOAD_MAX];
    size_t size = payload.size < sizeof(text) ? payload.size : sizeof(text) - 1;
    (void)channel;
    if (slice_is_null(payload)) {
        return; /* the other channel says so, too */
    }
    memcpy(text, payload.data, size);
    text[size] = '\0';
    bool known = true;
    char *rest = text;
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        known = catalog_lead(catalog, word) && known;
    }
    if (!known) {
        catalog_refresh(catalog, NULL, NULL);
    }
}

Catalog *catalog_new(Brain *brain)
{
    Catalog *catalog = calloc(1, sizeof(Catalog));
    if (!catalog) {
        return NULL;
    }
    catalog->brain = brain;
    catalog->deleted = catalog_ignore;
    catalog->moved = catalog_ignore;
    Status status = brain_listen(brain, "streamhouse_metadata", catalog_notified, catalog);
    if (status_is_ok(&status)) {
        status = brain_listen(brain, "streamhouse_lease", catalog_heard, catalog);
    }
    if (!status_is_ok(&status)) {
        journal(JOURNAL_ERROR, "catalog", "cannot listen for changes: %s", status.message);
    }
    return catalog;
}

static void agents_free(AgentNode *agents, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(agents[i].host);
        free(agents[i].zone);
    }
    free(agents);
}

static void topic_remove(Catalog *catalog, Topic *topic)
{
    topic->deleted = true;
    HASH_DELETE(by_id, catalog->by_id, topic);
    HASH_DELETE(by_name, catalog->by_name, topic);
    HASH_DELETE(by_uuid, catalog->by_uuid, topic);
    catalog->deleted(catalog->context, topic);
    topic_release(topic);
}

void catalog_free(Catalog *catalog)
{
    Topic *topic;
    Topic *next;
    HASH_ITER(by_id, catalog->by_id, topic, next)
    {
        topic_remove(catalog, topic);
    }
    agents_free(catalog->agents, catalog->agent_count);
    free(catalog);
}

void catalog_on_change(Catalog *catalog, CatalogTopicEvent deleted, CatalogTopicEvent moved, void *context)
{
    catalog->deleted = deleted;
    catalog->moved = moved;
    catalog->context = context;
}

void catalog_on_refresh(Catalog *catalog, void (*also)(void *context), void *context)
{
    catalog->also = also;
    catalog->also_context = context;
}

static Topic *topic_add(Catalog *catalog, int32_t topic_id, const uint8_t *uuid, Slice name)
{
    Topic *topic = topic_new(topic_id, uuid, name);
    if (topic) {
        HASH_ADD(by_id, catalog->by_id, topic_id, sizeof(topic->topic_id), topic);
        HASH_ADD_KEYPTR(by_name, catalog->by_name, topic->name, name.size, topic);
        HASH_ADD(by_uuid, catalog->by_uuid, uuid, sizeof(topic->uuid), topic);
    }
    return topic;
}

/* True when a partition has a new leader or epoch. What was heard since the refresh began is newer. */
static bool topic_lead(const Catalog *catalog, Topic *topic, const int32_t *leaders, const int32_t *epochs,
                       int32_t count)
{
    bool moved = false;
    int64_t now_ms = time_ms();
    for (int32_t i = 0; i < topic->partition_count && i < count; i++) {
        Partition *partition = topic->partitions[i];
        if (partition->led_age == catalog->refreshes_begun && epochs[i] < partition->epoch) {
            continue;
        }
        moved = moved || partition->leader != leaders[i] || partition->epoch != epochs[i];
        partition->led_ms = partition->epoch != epochs[i] ? now_ms : partition->led_ms;
        partition->leader = leaders[i];
        partition->epoch = epochs[i];
    }
    return moved;
}

static void catalog_row(Catalog *catalog, const BrainResult *result, int row)
{
    int32_t topic_id = brain_int4(result, row, 0);
    const uint8_t *uuid = brain_uuid(result, row, 1);
    BrainArray leaders = brain_int4s(result, row, 4);
    BrainArray epochs = brain_int4s(result, row, 5);
    int32_t count = leaders.count;
    if (!uuid || count < 0 || epochs.count != count) {
        journal_seldom(JOURNAL_ERROR, "catalog", "the brain's row of topic id %d is malformed", topic_id);
        return;
    }
    Topic *topic = catalog_topic_by_id(catalog, topic_id);
    if (!topic) {
        topic = topic_add(catalog, topic_id, uuid, brain_text(result, row, 2));
    }
    int32_t *numbers = malloc(2 * (size_t)count * sizeof(int32_t) + 1);
    if (!topic || !numbers || !topic_grow(topic, count)) {
        free(numbers);
        return;
    }
    topic->seen = catalog->refreshes;
    topic_config_read(&topic->config, brain_text(result, row, 3));
    brain_array_int4(&leaders, TOPIC_NO_LEADER, numbers, count);
    brain_array_int4(&epochs, 0, numbers + count, count);
    if (topic_lead(catalog, topic, numbers, numbers + count, count)) {
        catalog->moved(catalog->context, topic);
    }
    free(numbers);
}

static void catalog_read(const BrainResult *result, void *argument)
{
    Catalog *catalog = argument;
    catalog->status = result->status;
    if (!status_is_ok(&result->status)) {
        if (result->status.code != STATUS_CANCELLED) {
            journal_seldom(JOURNAL_WARN, "catalog", "topics could not be read: %s", result->message);
        }
        return;
    }
    catalog->refreshes++;
    for (int row = 0; row < brain_row_count(result); row++) {
        catalog_row(catalog, result, row);
    }
    Topic *topic;
    Topic *next;
    HASH_ITER(by_id, catalog->by_id, topic, next)
    {
        if (topic->seen != catalog->refreshes) {
            topic_remove(catalog, topic);
        }
    }
    metric_set(METRIC_CATALOG_TOPICS, (double)HASH_CNT(by_id, catalog->by_id));
}

static void catalog_take_agents(Catalog *catalog, const BrainResult *result)
{
    int count = brain_row_count(result);
    AgentNode *agents = calloc((size_t)count + 1, sizeof(AgentNode));
    if (!agents) {
        return;
    }
    for (int row = 0; row < count; row++) {
        Slice host = brain_text(result, row, 1);
        Slice zone = brain_text(result, row, 3);
        agents[row] = (AgentNode){
            .agent_id = brain_int4(result, row, 0),
            .host = strndup((const char *)host.data, host.size),
            .port = brain_int4(result, row, 2),
            .zone = strndup((const char *)zone.data, zone.size),
        };
        Slice cluster = brain_text(result, row, 4);
        Slice cluster_uuid = brain_bytes(result, row, 5);
        snprintf(catalog->cluster_id, sizeof(catalog->cluster_id), "%.*s", (int)cluster.size, cluster.data);
        if (cluster_uuid.size == sizeof(catalog->cluster_uuid)) {
            memcpy(catalog->cluster_uuid, cluster_uuid.data, cluster_uuid.size);
        }
    }
    agents_free(catalog->agents, catalog->agent_count);
    catalog->agents = agents;
    catalog->agent_count = (size_t)count;
    metric_set(METRIC_CATALOG_AGENTS, count);
}

static void agents_read(const BrainResult *result, void *argument)
{
    Catalog *catalog = argument;
    Status status = status_is_ok(&catalog->status) ? result->status : catalog->status;
    if (status_is_ok(&result->status)) {
        catalog_take_agents(catalog, result);
    }
    catalog->fresh = status_is_ok(&status);
    catalog->loaded = catalog->loaded || catalog->fresh;
    catalog->tried_ms = catalog->begun_ms;
    metric_add(METRIC_CATALOG_REFRESHES, 1);
    Waiter *waiters = catalog->now;
    catalog->now = NULL;
    catalog->refreshing = false;
    if (catalog->wanted) {
        catalog_start(catalog);
    }
    while (waiters) {
        Waiter *waiter = waiters;
        waiters = waiter->next;
        waiter->done(waiter->argument, &status);
        free(waiter);
    }
}

static void catalog_start(Catalog *catalog)
{
    catalog->now = catalog->later;
    catalog->later = NULL;
    catalog->refreshing = true;
    catalog->refreshes_begun++;
    catalog->begun_ms = time_ms();
    catalog->wanted = false;
    brain_send(catalog->brain, BRAIN_READ, &(BrainQuery){ .statement = &catalog_statement }, catalog_read,
               catalog);
    if (catalog->also) {
        catalog->also(catalog->also_context);
    }
    brain_send(catalog->brain, BRAIN_READ, &(BrainQuery){ .statement = &agents_statement }, agents_read,
               catalog);
}

void catalog_refresh(Catalog *catalog, CatalogRefreshed done, void *argument)
{
    if (done) {
        Waiter *waiter = malloc(sizeof(Waiter));
        if (!waiter) {
            Status status = status_error(STATUS_LIMIT, "memory is short");
            done(argument, &status);
            return;
        }
        *waiter = (Waiter){ catalog->later, done, argument };
        catalog->later = waiter;
    }
    catalog->wanted = true;
    if (!catalog->refreshing) {
        catalog_start(catalog);
    }
}

bool catalog_is_fresh(const Catalog *catalog)
{
    return catalog->fresh || catalog->refreshing;
}

bool catalog_is_loaded(const Catalog *catalog)
{
    return catalog->loaded;
}

int64_t catalog_tried_ms(const Catalog *catalog)
{
    return catalog->tried_ms;
}

Topic *catalog_topic(const Catalog *catalog, Slice name)
{
    Topic *topic = NULL;
    if (name.size > 0) {
        HASH_FIND(by_name, catalog->by_name, name.data, name.size, topic);
    }
    return topic;
}

Topic *catalog_topic_by_id(const Catalog *catalog, int32_t topic_id)
{
    Topic *topic;
    HASH_FIND(by_id, catalog->by_id, &topic_id, sizeof(topic_id), topic);
    return topic;
}

Topic *catalog_topic_by_uuid(const Catalog *catalog, const uint8_t uuid[16])
{
    Topic *topic;
    HASH_FIND(by_uuid, catalog->by_uuid, uuid, 16, topic);
    return topic;
}

Topic *catalog_first(const Catalog *catalog)
{
    return catalog->by_id;
}

Topic *catalog_next(const Topic *topic)
{
    return topic->by_id.next;
}

size_t catalog_topic_count(const Catalog *catalog)
{
    return HASH_CNT(by_id, catalog->by_id);
}

const AgentNode *catalog_agents(const Catalog *catalog, size_t *count)
{
    *count = catalog->agent_count;
    return catalog->agents;
}

const AgentNode *catalog_agent(const Catalog *catalog, int32_t agent_id)
{
    for (size_t i = 0; i < catalog->agent_count; i++) {
        if (catalog->agents[i].agent_id == agent_id) {
            return &catalog->agents[i];
        }
    }
    return NULL;
}

const char *catalog_cluster_id(const Catalog *catalog)
{
    return catalog->cluster_id;
}

const uint8_t *catalog_cluster_uuid(const Catalog *catalog)
{
    return catalog->cluster_uuid;
}
