/* fetch.c: Fetch. The request becomes items for the fetcher, whose answer becomes the reply (fetch_reply.c).
 * Without a session (KIP-227) these are the request's partitions; with one, they are the session's, those
 * that may have news. A session belongs to one fetch at a time: the next one ends an earlier one, which its
 * client no longer waits for. */
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/api/fetch_reply.h"
#include "agent/api/rack.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/kafka/message.h"
#include "agent/metrics.h"
#include "agent/read/session_cache.h"

enum { FETCH_TOPIC_ID_OLDEST = 13 };

typedef struct FetchState {
    KafkaRequest *request;
    FetchTask *task;
    FetchSession *session; /* held; NULL for a fetch without one */
    size_t reserved;       /* for what the request adds to it */
    bool all;              /* the answer has every partition, and begins the session */
    bool ended;            /* another fetch took the session over while the catalog was read */
    FetchItem *items;      /* without a session */
    int32_t item_count;
    int64_t wait_ms;
    bool refreshed; /* the catalog was read anew for topics it did not have */
} FetchState;

static void fetch_begin(FetchState *state);

static SessionCache *fetch_sessions(const KafkaRequest *request)
{
    return fetcher_sessions(api_agent(request)->fetcher);
}

static int32_t fetch_count_items(const KafkaFetchRequest *asked)
{
    int32_t count = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        int32_t partitions = asked->topics.items[i].partitions.count;
        count += partitions > 0 ? partitions : 0;
    }
    return count;
}

static int32_t fetch_elsewhere(const KafkaRequest *request, const Partition *partition)
{
    const KafkaFetchRequest *asked = request->message;
    const Agent *agent = api_agent(request);
    Slice zone = asked->rack_id.size > 0 ? asked->rack_id : rack_of_client(request->client_id);
    return rack_elsewhere(agent->catalog, partition, lease_agent_id(agent->lease), zone);
}

/* Any agent serves any partition, but one that is about to leave sends clients to the leader, so that they do
 * not find its door closed. */
static KafkaError fetch_check(const KafkaRequest *request, const Partition *partition, int32_t seen_epoch)
{
    const Agent *agent = api_agent(request);
    KafkaError error = api_check_epoch(partition, seen_epoch);
    if (error == KAFKA_ERROR_NONE && agent->state == AGENT_DRAINING && partition->leader != TOPIC_NO_LEADER &&
        partition->leader != lease_agent_id(agent->lease)) {
        return KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
    }
    return error;
}

/* Whether the catalog has what is asked for; a client with an old epoch learns it without a look at ours. */
static bool fetch_is_known(KafkaError error)
{
    return error == KAFKA_ERROR_NONE || error == KAFKA_ERROR_FENCED_LEADER_EPOCH ||
           error == KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER;
}

/* Without a session. */

static void fetch_item(const KafkaRequest *request, const KafkaFetchRequestPartition *asked, Topic *topic,
                       KafkaError error, FetchItem *item)
{
    Partition *partition = topic ? topic_partition(topic, asked->partition) : NULL;
    if (topic && !partition) {
        error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else if (partition) {
        error = fetch_check(request, partition, asked->current_leader_epoch);
    }
    *item = (FetchItem){
        .partition = partition,
        .offset = asked->fetch_offset,
        .bytes_max = asked->partition_max_bytes > 0 ? asked->partition_max_bytes : 0,
        .error = error,
        .elsewhere = partition ? fetch_elsewhere(request, partition) : RACK_NONE,
        .high_watermark = OFFSET_UNKNOWN,
        .log_start_offset = OFFSET_UNKNOWN,
    };
}

/* True when everything asked for is known. */
static bool fetch_resolve(FetchState *state)
{
    const KafkaFetchRequest *asked = state->request->message;
    FetchItem *item = state->items;
    bool known = true;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const KafkaFetchRequestTopic *topic_asked = &asked->topics.items[i];
        KafkaError error;
        Topic *topic = api_topic(state->request, topic_asked->topic, &topic_asked->topic_id, &error);
        for (int32_t j = 0; j < topic_asked->partitions.count; j++, item++) {
            fetch_item(state->request, &topic_asked->partitions.items[j], topic, error, item);
            known = known && fetch_is_known(item->error);
        }
    }
    return known;
}

static FetchNews *fetch_news_of_request(const FetchState *state)
{
    const KafkaFetchRequest *asked = state->request->message;
    FetchNews *news =
        arena_allocate_array(&state->request->arena, (size_t)state->item_count, sizeof(FetchNews));
    int32_t count = 0;
    for (int32_t i = 0; news && i < asked->topics.count; i++) {
        const KafkaFetchRequestTopic *topic = &asked->topics.items[i];
        for (int32_t j = 0; j < topic->partitions.count; j++, count++) {
            news[count] = (FetchNews){ topic->topic, topic->topic_id, topic->partitions.items[j].partition,
                                       &state->items[count] };
        }
    }
    return news;
}

/* With a session. */

static Topic *fetch_find_topic(void *context, const SessionTopic *topic)
{
    const KafkaRequest *request = context;
    const Catalog *catalog = api_agent(request)->catalog;
    return topic->name ? catalog_topic(catalog, slice_of_text(topic->name))
                       : catalog_topic_by_uuid(catalog, topic->uuid);
}

static void fetch_check_partition(void *context, SessionPartition *partition)
{
    FetchItem *item = &partition->item;
    if (item->partition) {
        item->error = fetch_check(context, item->partition, partition->leader_epoch);
        item->elsewhere = fetch_elsewhere(context, item->partition);
    } else if (partition->topic->name || partition->topic->topic) {
        item->error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    } else {
        item->error = KAFKA_ERROR_UNKNOWN_TOPIC_ID;
    }
}

static SessionLook fetch_look(const FetchState *state)
{
    return (SessionLook){
        .find = fetch_find_topic,
        .check = fetch_check_partition,
        .context = state->request,
        .generation = fetcher_generation(api_agent(state->request)->fetcher),
    };
}

/* True when all that the fetch will look at is known. */
static bool fetch_session_is_known(FetchState *state)
{
    SessionLook look = fetch_look(state);
    SessionPartition *partition;
    bool known = true;
    session_begin(state->session);
    while ((partition = session_next(state->session, &look)) != NULL) {
        known = known && fetch_is_known(partition->item.error);
    }
    session_begin(state->session);
    return known;
}

static void fetch_prepare(void *argument, FetchTask *task)
{
    FetchState *state = argument;
    SessionLook look = fetch_look(state);
    SessionPartition *partition;
    do {
        partition = session_next(state->session, &look);
    } while (partition && fetch_add(task, &partition->item));
}

static void fetch_session_moved(void *owner)
{
    FetchState *state = owner;
    if (state->task) {
        fetch_wake(state->task);
    }
}

static void fetch_own(FetchState *state, FetchSession *session)
{
    state->session = session_hold(session);
    session->owner = state;
    session->moved = fetch_session_moved;
}

static void fetch_give_back(FetchState *state)
{
    session_cache_give_back(fetch_sessions(state->request), state->reserved);
    state->reserved = 0;
}

static void fetch_disown(FetchState *state)
{
    fetch_give_back(state);
    if (state->session) {
        state->session->owner = NULL;
        session_release(state->session);
        state->session = NULL;
    }
}

/* Another fetch of the session has come. */
static void fetch_supersede(FetchState *state)
{
    fetch_disown(state);
    if (!state->task) {
        state->ended = true; /* its catalog is being read */
        return;
    }
    fetch_cancel(state->task);
    state->task = NULL;
    state->request->on_abandon = NULL;
    fetch_refuse(state->request, KAFKA_ERROR_INVALID_FETCH_SESSION_EPOCH);
}

static FetchNews *fetch_news_of_session(const FetchState *state, FetchItem *const *items, int32_t count,
                                        int32_t marked)
{
    FetchNews *news = arena_allocate_array(&state->request->arena, (size_t)marked, sizeof(FetchNews));
    FetchNews *next = news;
    for (int32_t i = 0; news && i < count; i++) {
        const SessionPartition *partition = (const SessionPartition *)items[i];
        if (partition->news) {
            const SessionTopic *topic = partition->topic;
            *next = (FetchNews){ .index = partition->index, .item = items[i] };
            next->topic = topic->name ? slice_of_text(topic->name) : SLICE_NULL;
            memcpy(next->topic_id.bytes, topic->uuid, sizeof(topic->uuid));
            next++;
        }
    }
    return news;
}

/* Both ways. */

static void fetch_answered(void *argument, FetchItem *const *items, int32_t count, const Collection *records)
{
    FetchState *state = argument;
    KafkaRequest *request = state->request;
    FetchSession *session = state->session;
    FetchNews *news;
    int32_t session_id = SESSION_ID_NONE;
    state->task = NULL;
    request->on_abandon = NULL;
    if (session) {
        session_hold(session);
        fetch_disown(state);
        int32_t marked = session_settle(items, count, state->all);
        news = fetch_news_of_session(state, items, count, marked);
        count = marked;
        if (state->all) {
            (void)session_cache_add(fetch_sessions(request), session, time_ms());
        }
        session_id = session->id;
    } else {
        news = fetch_news_of_request(state);
    }
    if (news) {
        fetch_reply(request, session_id, news, count, records);
    } else {
        kafka_request_disconnect(request, "memory for the reply is short");
    }
    if (session) {
        session_release(session);
    }
}

static void fetch_abandoned(KafkaRequest *request)
{
    FetchState *state = request->state;
    if (state->task) {
        fetch_cancel(state->task);
        state->task = NULL;
        fetch_disown(state);
        kafka_request_finish_silently(request);
    }
}

static void fetch_refreshed(void *argument, const Status *status)
{
    FetchState *state = argument;
    (void)status;
    if (state->request->abandoned) {
        fetch_disown(state);
        kafka_request_finish_silently(state->request);
    } else if (state->ended) {
        fetch_refuse(state->request, KAFKA_ERROR_INVALID_FETCH_SESSION_EPOCH);
    } else {
        fetch_begin(state);
    }
}

static int64_t fetch_bytes_max(const KafkaRequest *request)
{
    const KafkaFetchRequest *asked = request->message;
    int64_t bytes_max = api_agent(request)->settings.fetch_bytes_max;
    return asked->max_bytes < bytes_max ? (asked->max_bytes > 0 ? asked->max_bytes : 0) : bytes_max;
}

static void fetch_begin(FetchState *state)
{
    const KafkaFetchRequest *asked = state->request->message;
    Agent *agent = api_agent(state->request);
    bool known = state->session ? fetch_session_is_known(state) : fetch_resolve(state);
    if (!known && !state->refreshed) {
        state->refreshed = true;
        catalog_refresh(agent->catalog, fetch_refreshed, state);
        return;
    }
    int64_t bytes_max = fetch_bytes_max(state->request);
    bool empty = state->session ? state->session->partition_count == 0 : state->item_count == 0;
    FetchRequest fetch = {
        .items = state->items,
        .count = state->item_count,
        .prepare = state->session ? fetch_prepare : NULL,
        .bytes_min = asked->min_bytes < bytes_max ? asked->min_bytes : bytes_max, /* more never comes */
        .bytes_max = bytes_max,
        .wait_ms = empty ? 0 : state->wait_ms,
    };
    bool started;
    state->request->on_abandon = fetch_abandoned;
    FetchTask *task = fetch_start(agent->fetcher, &fetch, fetch_answered, state, &started);
    if (!started) {
        state->request->on_abandon = NULL;
        fetch_disown(state);
        kafka_request_disconnect(state->request, "memory is short");
    } else if (task) {
        state->task = task; /* otherwise the answer was given, and state may be gone */
    }
}

static SessionTopicName fetch_topic_name(Slice name, const KafkaUuid *topic_id)
{
    return (SessionTopicName){ .name = name, .uuid = topic_id->bytes };
}

/* Takes what the request asks for into the session. False when memory is short. */
static bool fetch_update(FetchSession *session, const KafkaFetchRequest *asked)
{
    for (int32_t i = 0; i < asked->topics.count; i++) {
        const KafkaFetchRequestTopic *topic = &asked->topics.items[i];
        SessionTopicName name = fetch_topic_name(topic->topic, &topic->topic_id);
        for (int32_t j = 0; j < topic->partitions.count; j++) {
            const KafkaFetchRequestPartition *partition = &topic->partitions.items[j];
            SessionAsk ask = {
                .index = partition->partition,
                .leader_epoch = partition->current_leader_epoch,
                .offset = partition->fetch_offset,
                .bytes_max = partition->partition_max_bytes > 0 ? partition->partition_max_bytes : 0,
            };
            if (!session_put(session, &name, &ask)) {
                return false;
            }
        }
    }
    return true;
}

static void fetch_forget(FetchSession *session, const KafkaFetchRequest *asked)
{
    for (int32_t i = 0; i < asked->forgotten_topics_data.count; i++) {
        const KafkaFetchRequestForgottenTopic *topic = &asked->forgotten_topics_data.items[i];
        SessionTopicName name = fetch_topic_name(topic->topic, &topic->topic_id);
        for (int32_t j = 0; j < topic->partitions.count; j++) {
            session_forget(session, &name, topic->partitions.items[j]);
        }
    }
}

/* Memory for what the request names. */
static bool fetch_reserve(FetchState *state)
{
    const KafkaFetchRequest *asked = state->request->message;
    int32_t topics = asked->topics.count > 0 ? asked->topics.count : 0;
    size_t bytes = session_estimate(fetch_count_items(asked), topics);
    if (!session_cache_reserve(fetch_sessions(state->request), bytes)) {
        return false;
    }
    state->reserved = bytes;
    return true;
}

static void fetch_begin_session(FetchState *state)
{
    FetchSession *session = session_new(state->request->version >= FETCH_TOPIC_ID_OLDEST);
    if (session && fetch_update(session, state->request->message)) {
        fetch_own(state, session);
        state->all = true;
    } else {
        fetch_give_back(state);
    }
    if (session) {
        session_release(session);
    }
}

/* Every partition is in the request. A session that it names ends; it may begin another. */
static void fetch_full(FetchState *state)
{
    KafkaRequest *request = state->request;
    const KafkaFetchRequest *asked = request->message;
    SessionCache *sessions = fetch_sessions(request);
    FetchSession *old = session_cache_find(sessions, asked->session_id);
    metric_add(METRIC_FETCHES_FULL, 1);
    if (old) {
        session_cache_remove(sessions, old);
    }
    if (asked->session_epoch == SESSION_EPOCH_FIRST && sessions->count_max > 0 && fetch_reserve(state)) {
        fetch_begin_session(state);
    }
    if (!state->session) {
        state->item_count = fetch_count_items(asked);
        state->items = arena_allocate_array(&request->arena, (size_t)state->item_count, sizeof(FetchItem));
    }
    if (state->session || state->items) {
        fetch_begin(state);
    } else {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
    }
}

/* What is wrong with the session that the request names. */
static KafkaError fetch_check_session(const KafkaRequest *request, const FetchSession *session)
{
    const KafkaFetchRequest *asked = request->message;
    if (!session) {
        return KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND;
    }
    if (session->epoch != asked->session_epoch) {
        return KAFKA_ERROR_INVALID_FETCH_SESSION_EPOCH;
    }
    if (session->by_id != (request->version >= FETCH_TOPIC_ID_OLDEST)) {
        return KAFKA_ERROR_FETCH_SESSION_TOPIC_ID_ERROR;
    }
    return KAFKA_ERROR_NONE;
}

/* What changed is in the request; the rest is as it was. */
static void fetch_incremental(FetchState *state)
{
    KafkaRequest *request = state->request;
    const KafkaFetchRequest *asked = request->message;
    SessionCache *sessions = fetch_sessions(request);
    FetchSession *session = session_cache_find(sessions, asked->session_id);
    KafkaError error = fetch_check_session(request, session);
    metric_add(METRIC_FETCHES_INCREMENTAL, 1);
    if (error != KAFKA_ERROR_NONE) {
        fetch_refuse(request, error);
        return;
    }
    if (session->owner) {
        fetch_supersede(session->owner);
    }
    if (!fetch_reserve(state) || !fetch_update(session, asked)) {
        fetch_give_back(state);
        session_cache_remove(sessions, session);
        fetch_refuse(request, KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND);
        return;
    }
    fetch_forget(session, asked);
    session->epoch = session_epoch_next(session->epoch);
    if (session->partition_count == 0) {
        fetch_give_back(state);
        session_cache_remove(sessions, session);
        fetch_reply(request, SESSION_ID_NONE, NULL, 0, &(Collection){ 0 });
    } else if (!session_cache_touch(sessions, session, time_ms())) {
        fetch_give_back(state);
        fetch_refuse(request, KAFKA_ERROR_FETCH_SESSION_ID_NOT_FOUND);
    } else {
        fetch_own(state, session);
        fetch_begin(state);
    }
}

void fetch_handle(KafkaRequest *request)
{
    const KafkaFetchRequest *asked = request->message;
    const Settings *settings = &api_agent(request)->settings;
    FetchState *state = arena_allocate(&request->arena, sizeof(FetchState));
    if (!state) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    *state = (FetchState){
        .request = request,
        .wait_ms =
            asked->max_wait_ms < settings->fetch_wait_ms ? asked->max_wait_ms : settings->fetch_wait_ms,
    };
    request->state = state;
    bool full = asked->session_epoch == SESSION_EPOCH_FIRST || asked->session_epoch == SESSION_EPOCH_FINAL;
    if (full) {
        fetch_full(state);
    } else {
        fetch_incremental(state);
    }
}
