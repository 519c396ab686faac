/* session.c: topics and partitions of a session in hash tables, ready ones in a list. */
#include "agent/read/session.h"

#include <assert.h>
#include <stdlib.h>

enum { SESSION_NOT_SENT = -1 };
/* What uthash takes for its first item of a table. */
enum { SESSION_TABLE_BYTES = sizeof(UT_hash_table) + HASH_INITIAL_NUM_BUCKETS * sizeof(UT_hash_bucket) };
/* With its share of the table, and what malloc adds. */
enum { SESSION_PARTITION_BYTES = sizeof(SessionPartition) + sizeof(UT_hash_bucket) + 2 * sizeof(size_t) };

int32_t session_epoch_next(int32_t epoch)
{
    return epoch < 0 ? SESSION_EPOCH_FINAL : epoch == INT32_MAX ? 1 : epoch + 1;
}

FetchSession *session_new(bool by_id)
{
    FetchSession *session = calloc(1, sizeof(FetchSession));
    if (session) {
        session->by_id = by_id;
        session->references = 1;
        session->epoch = session_epoch_next(SESSION_EPOCH_FIRST);
        session->bytes = sizeof(FetchSession) + SESSION_TABLE_BYTES;
    }
    return session;
}

FetchSession *session_hold(FetchSession *session)
{
    session->references++;
    return session;
}

static void partition_unready(SessionPartition *partition)
{
    FetchSession *session = partition->session;
    if (!partition->ready) {
        return;
    }
    if (session->unjoined == partition) {
        session->unjoined = partition->next;
    }
    DL_DELETE(session->ready, partition);
    partition->ready = false;
}

/* At the end of the line, which a fetch under way has not reached. */
static void partition_ready(SessionPartition *partition)
{
    FetchSession *session = partition->session;
    if (partition->ready) {
        return;
    }
    partition->ready = true;
    DL_APPEND(session->ready, partition);
    session->unjoined = session->unjoined ? session->unjoined : partition;
}

static void partition_remove(SessionPartition *partition)
{
    FetchSession *session = partition->session;
    partition_unready(partition);
    fetch_wait_end(&partition->wait);
    HASH_DELETE(hh, partition->topic->partitions, partition);
    session->partition_count--;
    session->bytes -= SESSION_PARTITION_BYTES;
    free(partition);
}

static size_t topic_bytes(const SessionTopic *topic)
{
    return sizeof(SessionTopic) + SESSION_TABLE_BYTES + (topic->name ? strlen(topic->name) + 1 : 0);
}

/* Its partitions wait for nothing any more. */
static void topic_unbind(SessionTopic *topic)
{
    SessionPartition *partition;
    SessionPartition *next;
    HASH_ITER(hh, topic->partitions, partition, next)
    {
        fetch_wait_end(&partition->wait);
        partition->item.partition = NULL;
    }
    if (topic->topic) {
        topic_release(topic->topic);
        topic->topic = NULL;
    }
}

static void topic_remove(FetchSession *session, SessionTopic *topic)
{
    topic_unbind(topic);
    session->bytes -= topic_bytes(topic);
    HASH_DELETE(hh, session->topics, topic);
    free(topic->name);
    free(topic);
}

void session_release(FetchSession *session)
{
    assert(session->references > 0);
    if (--session->references > 0) {
        return;
    }
    SessionTopic *topic;
    SessionTopic *next_topic;
    HASH_ITER(hh, session->topics, topic, next_topic)
    {
        SessionPartition *partition;
        SessionPartition *next;
        HASH_ITER(hh, topic->partitions, partition, next)
        {
            partition_remove(partition);
        }
        topic_remove(session, topic);
    }
    free(session);
}

size_t session_estimate(int32_t partitions, int32_t topics)
{
    enum { NAME_BYTES = 256 };
    size_t topic = sizeof(SessionTopic) + SESSION_TABLE_BYTES + NAME_BYTES;
    return (size_t)partitions * SESSION_PARTITION_BYTES + (size_t)topics * topic;
}

static SessionTopic *topic_find(const FetchSession *session, const SessionTopicName *name)
{
    SessionTopic *topic = NULL;
    if (session->by_id) {
        HASH_FIND(hh, session->topics, name->uuid, sizeof(topic->uuid), topic);
    } else if (name->name.size > 0) {
        HASH_FIND(hh, session->topics, name->name.data, name->name.size, topic);
    }
    return topic;
}

static SessionTopic *topic_add(FetchSession *session, const SessionTopicName *name)
{
    SessionTopic *topic = calloc(1, sizeof(SessionTopic));
    if (!topic) {
        return NULL;
    }
    if (session->by_id) {
        memcpy(topic->uuid, name->uuid, sizeof(topic->uuid));
        HASH_ADD(hh, session->topics, uuid, sizeof(topic->uuid), topic);
    } else {
        bool named = name->name.size > 0;
        topic->name = named ? strndup((const char *)name->name.data, name->name.size) : strdup("");
        if (!topic->name) {
            free(topic);
            return NULL;
        }
        HASH_ADD_KEYPTR(hh, session->topics, topic->name, strlen(topic->name), topic);
    }
    session->bytes += topic_bytes(topic);
    return topic;
}

static SessionPartition *partition_add(FetchSession *session, SessionTopic *topic, int32_t index)
{
    SessionPartition *partition = calloc(1, sizeof(SessionPartition));
    if (!partition) {
        return NULL;
    }
    partition->session = session;
    partition->topic = topic;
    partition->index = index;
    partition->sent_high_watermark = SESSION_NOT_SENT;
    partition->sent_log_start_offset = SESSION_NOT_SENT;
    HASH_ADD(hh, topic->partitions, index, sizeof(partition->index), partition);
    session->partition_count++;
    session->bytes += SESSION_PARTITION_BYTES;
    return partition;
}

bool session_put(FetchSession *session, const SessionTopicName *name, const SessionAsk *ask)
{
    SessionTopic *topic = topic_find(session, name);
    topic = topic ? topic : topic_add(session, name);
    if (!topic) {
        return false;
    }
    SessionPartition *partition;
    HASH_FIND(hh, topic->partitions, &ask->index, sizeof(ask->index), partition);
    partition = partition ? partition : partition_add(session, topic, ask->index);
    if (!partition) {
        return false;
    }
    partition->leader_epoch = ask->leader_epoch;
    partition->item.offset = ask->offset;
    partition->item.bytes_max = ask->bytes_max;
    partition_ready(partition);
    return true;
}

void session_forget(FetchSession *session, const SessionTopicName *name, int32_t index)
{
    SessionTopic *topic = topic_find(session, name);
    SessionPartition *partition = NULL;
    if (topic) {
        HASH_FIND(hh, topic->partitions, &index, sizeof(index), partition);
    }
    if (!partition) {
        return;
    }
    partition_remove(partition);
    if (!topic->partitions) {
        topic_remove(session, topic);
    }
}

static void partition_moved(FetchWait *wait)
{
    SessionPartition *partition = (SessionPartition *)((char *)wait - offsetof(SessionPartition, wait));
    FetchSession *session = partition->session;
    partition_ready(partition);
    if (session->owner) {
        session->moved(session->owner);
    }
}

/* What the topic's name or id stands for may have gone, come, or be another one. */
static void topic_resolve(SessionTopic *topic, const SessionLook *look)
{
    if (topic->topic && !topic->topic->deleted) {
        return;
    }
    topic_unbind(topic);
    Topic *found = look->find(look->context, topic);
    if (found && !found->deleted) {
        topic->topic = topic_hold(found);
    }
}

static void partition_resolve(SessionPartition *partition, const SessionLook *look)
{
    SessionTopic *topic = partition->topic;
    FetchItem *item = &partition->item;
    topic_resolve(topic, look);
    if (!item->partition && topic->topic) {
        item->partition = topic_partition(topic->topic, partition->index);
        if (item->partition) {
            fetch_wait_begin(&partition->wait, item->partition, partition_moved);
        }
    }
    item->error = KAFKA_ERROR_NONE;
    item->elsewhere = -1;
    item->high_watermark = OFFSET_UNKNOWN;
    item->log_start_offset = OFFSET_UNKNOWN;
    item->slice_count = 0;
    item->verified = false;
    item->lookups = 0;
    look->check(look->context, partition);
}

void session_begin(FetchSession *session)
{
    session->unjoined = session->ready;
}

/* Nobody knows any more which partitions have moved. */
static void session_doubt(FetchSession *session)
{
    SessionTopic *topic;
    SessionTopic *next_topic;
    HASH_ITER(hh, session->topics, topic, next_topic)
    {
        SessionPartition *partition;
        SessionPartition *next;
        HASH_ITER(hh, topic->partitions, partition, next)
        {
            partition_ready(partition);
        }
    }
}

SessionPartition *session_next(FetchSession *session, const SessionLook *look)
{
    if (session->generation != look->generation) {
        session->generation = look->generation;
        session_doubt(session);
    }
    SessionPartition *partition = session->unjoined;
    if (partition) {
        session->unjoined = partition->next;
        partition_resolve(partition, look);
    }
    return partition;
}

/* An error is told again as long as it lasts; what was told before it, after it. */
static bool partition_has_news(SessionPartition *partition)
{
    const FetchItem *item = &partition->item;
    bool news = item->slice_count > 0 || item->error != KAFKA_ERROR_NONE || item->elsewhere >= 0 ||
                item->high_watermark != partition->sent_high_watermark ||
                item->log_start_offset != partition->sent_log_start_offset;
    bool failed = item->error != KAFKA_ERROR_NONE;
    partition->sent_high_watermark = failed ? SESSION_NOT_SENT : item->high_watermark;
    partition->sent_log_start_offset = item->log_start_offset;
    return news;
}

/* Nothing is to be looked at before the partition moves. */
static bool partition_is_quiet(const SessionPartition *partition)
{
    const FetchItem *item = &partition->item;
    return item->error == KAFKA_ERROR_NONE && item->elsewhere < 0 && item->partition &&
           item->partition->watermark_age == partition->session->generation &&
           item->offset == item->partition->high_watermark && !item->partition->topic->deleted;
}

int32_t session_settle(FetchItem *const *items, int32_t count, bool all)
{
    int32_t marked = 0;
    for (int32_t i = 0; i < count; i++) {
        SessionPartition *partition = (SessionPartition *)items[i];
        partition->news = partition_has_news(partition) || all;
        marked += partition->news;
        if (partition->item.slice_count > 0) {
            partition_unready(partition);
            partition_ready(partition);
        } else if (partition_is_quiet(partition)) {
            partition_unready(partition);
        }
    }
    return marked;
}
