/* session_test.c: what a fetch session remembers, who is ready in it and in which order, and which sessions
 * the cache keeps. */
#include "agent/read/session.h"

#include <stdlib.h>

#include "agent/metrics.h"
#include "agent/read/session_cache.h"
#include "test/unit/test.h"

enum { PARTITIONS = 8, GENERATION = 1 };

static const uint8_t uuid[16] = { 7 };
static const uint8_t other_uuid[16] = { 8 };

typedef struct World {
    Topic *topic; /* what the name "t" stands for; NULL for nothing */
    int finds;
    int wakes;
} World;

static Topic *find(void *context, const SessionTopic *topic)
{
    World *world = context;
    world->finds++;
    bool meant = topic->name ? strcmp(topic->name, "t") == 0 : memcmp(topic->uuid, uuid, sizeof(uuid)) == 0;
    return meant ? world->topic : NULL;
}

static void check(void *context, SessionPartition *partition)
{
    (void)context;
    if (!partition->item.partition) {
        partition->item.error = KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    }
}

static void wake(void *owner)
{
    ((World *)owner)->wakes++;
}

static Topic *topic_of(int32_t partitions)
{
    Topic *topic = topic_new(1, uuid, SLICE_LITERAL("t"));
    if (!topic || !topic_grow(topic, partitions)) {
        abort();
    }
    for (int32_t i = 0; i < partitions; i++) {
        topic->partitions[i]->high_watermark = 0;
        topic->partitions[i]->log_start_offset = 0;
        topic->partitions[i]->watermark_age = GENERATION;
    }
    return topic;
}

static SessionTopicName named(const char *name)
{
    return (SessionTopicName){ .name = slice_of_text(name) };
}

static void put(FetchSession *session, int32_t index, int64_t offset)
{
    SessionTopicName name = { .name = SLICE_LITERAL("t"), .uuid = uuid };
    SessionAsk ask = { .index = index, .leader_epoch = -1, .offset = offset, .bytes_max = 100 };
    CHECK(session_put(session, &name, &ask));
}

static FetchSession *session_of(int32_t partitions)
{
    FetchSession *session = session_new(false);
    for (int32_t i = 0; i < partitions; i++) {
        put(session, i, 0);
    }
    return session;
}

/* What a fetch that begins now looks at. */
typedef struct Seen {
    FetchItem *items[PARTITIONS * 2];
    int32_t count;
} Seen;

static Seen look(FetchSession *session, World *world, uint32_t generation)
{
    SessionLook how = { .find = find, .check = check, .context = world, .generation = generation };
    Seen seen = { .count = 0 };
    SessionPartition *partition;
    session_begin(session);
    while ((partition = session_next(session, &how)) != NULL && seen.count < PARTITIONS * 2) {
        FetchItem *item = &partition->item;
        item->high_watermark = item->partition ? item->partition->high_watermark : OFFSET_UNKNOWN;
        item->log_start_offset = item->partition ? item->partition->log_start_offset : OFFSET_UNKNOWN;
        seen.items[seen.count++] = item;
    }
    return seen;
}

static int32_t settle(const Seen *seen)
{
    return session_settle(seen->items, seen->count, false);
}

static int32_t index_of(const Seen *seen, int32_t place)
{
    return ((const SessionPartition *)seen->items[place])->index;
}

TEST(epochs_begin_anew_after_the_largest)
{
    CHECK_INT(session_epoch_next(0), 1);
    CHECK_INT(session_epoch_next(1), 2);
    CHECK_INT(session_epoch_next(INT32_MAX), 1);
    CHECK_INT(session_epoch_next(SESSION_EPOCH_FINAL), SESSION_EPOCH_FINAL);
}

TEST(who_has_read_everything_is_not_looked_at_again)
{
    World world = { .topic = topic_of(PARTITIONS) };
    FetchSession *session = session_of(PARTITIONS);
    Seen seen = look(session, &world, GENERATION);
    CHECK_INT(seen.count, PARTITIONS);
    CHECK_INT(settle(&seen), PARTITIONS); /* nothing was told before */
    seen = look(session, &world, GENERATION);
    CHECK_INT(seen.count, 0);
    session_release(session);
    topic_release(world.topic);
}

TEST(a_partition_that_moves_wakes_its_fetch_and_is_looked_at)
{
    World world = { .topic = topic_of(PARTITIONS) };
    FetchSession *session = session_of(PARTITIONS);
    Seen seen = look(session, &world, GENERATION);
    settle(&seen);
    session->owner = &world;
    session->moved = wake;
    world.topic->partitions[5]->high_watermark = 1;
    fetch_wait_tell(world.topic->partitions[5]);
    CHECK_INT(world.wakes, 1);
    session->owner = NULL;
    fetch_wait_tell(world.topic->partitions[5]);
    CHECK_INT(world.wakes, 1);
    seen = look(session, &world, GENERATION);
    CHECK_INT(seen.count, 1);
    CHECK_INT(index_of(&seen, 0), 5);
    CHECK_INT(settle(&seen), 1); /* its high watermark is news, with records or without */
    CHECK_INT(look(session, &world, GENERATION).count, 1); /* its reader is not at the end */
    session_release(session);
    topic_release(world.topic);
}

TEST(one_that_moves_during_a_fetch_joins_it)
{
    World world = { .topic = topic_of(2) };
    FetchSession *session = session_of(2);
    Seen seen = look(session, &world, GENERATION);
    settle(&seen);
    SessionLook how = { .find = find, .check = check, .context = &world, .generation = GENERATION };
    session_begin(session);
    CHECK(session_next(session, &how) == NULL);
    fetch_wait_tell(world.topic->partitions[1]);
    SessionPartition *joined = session_next(session, &how);
    CHECK(joined && joined->index == 1);
    CHECK(session_next(session, &how) == NULL);
    session_release(session);
    topic_release(world.topic);
}

TEST(who_gave_records_goes_to_the_end_of_the_line)
{
    World world = { .topic = topic_of(3) };
    FetchSession *session = session_of(3);
    for (int i = 0; i < 3; i++) {
        world.topic->partitions[i]->high_watermark = 100;
    }
    for (int32_t round = 0; round < 7; round++) {
        Seen seen = look(session, &world, GENERATION);
        CHECK_INT(seen.count, 3);
        CHECK_INT(index_of(&seen, 0), round % 3);
        seen.items[0]->slice_count = 1; /* and the reply is full */
        settle(&seen);
    }
    session_release(session);
    topic_release(world.topic);
}

TEST(an_error_is_news_until_it_has_gone_and_then_the_rest_is)
{
    World world = { .topic = topic_of(1) };
    FetchSession *session = session_of(1);
    for (int i = 0; i < 3; i++) {
        Seen seen = look(session, &world, GENERATION);
        CHECK_INT(seen.count, 1);
        seen.items[0]->error = KAFKA_ERROR_OFFSET_OUT_OF_RANGE;
        CHECK_INT(settle(&seen), 1);
    }
    Seen seen = look(session, &world, GENERATION);
    CHECK_INT(settle(&seen), 1);
    CHECK_INT(look(session, &world, GENERATION).count, 0);
    session_release(session);
    topic_release(world.topic);
}

TEST(after_a_doubt_everybody_is_looked_at_and_nothing_is_news)
{
    World world = { .topic = topic_of(PARTITIONS) };
    FetchSession *session = session_of(PARTITIONS);
    Seen seen = look(session, &world, GENERATION);
    settle(&seen);
    seen = look(session, &world, GENERATION + 1);
    CHECK_INT(seen.count, PARTITIONS);
    CHECK_INT(settle(&seen), 0);
    CHECK_INT(look(session, &world, GENERATION + 1).count, PARTITIONS); /* nobody asked the brain yet */
    for (int i = 0; i < PARTITIONS; i++) {
        world.topic->partitions[i]->watermark_age = GENERATION + 1;
    }
    seen = look(session, &world, GENERATION + 1);
    settle(&seen);
    CHECK_INT(look(session, &world, GENERATION + 1).count, 0);
    session_release(session);
    topic_release(world.topic);
}

TEST(a_forgotten_partition_is_not_told_of_moves)
{
    World world = { .topic = topic_of(2) };
    FetchSession *session = session_of(2);
    Seen seen = look(session, &world, GENERATION);
    settle(&seen);
    size_t bytes = session->bytes;
    SessionTopicName name = named("t");
    SessionTopicName nobody = named("nobody");
    session_forget(session, &name, 1);
    session_forget(session, &name, 1);
    session_forget(session, &nobody, 0);
    CHECK_INT(session->partition_count, 1);
    CHECK(session->bytes < bytes);
    CHECK(world.topic->partitions[1]->waits == NULL);
    fetch_wait_tell(world.topic->partitions[1]);
    CHECK_INT(look(session, &world, GENERATION).count, 0);
    session_forget(session, &name, 0);
    CHECK_INT(session->partition_count, 0);
    CHECK(session->topics == NULL);
    session_release(session);
    topic_release(world.topic);
}

TEST(a_partition_asked_for_twice_is_one)
{
    FetchSession *session = session_of(1);
    put(session, 0, 5);
    CHECK_INT(session->partition_count, 1);
    CHECK_INT(session->ready->item.offset, 5);
    session_release(session);
}

TEST(a_name_may_come_to_mean_another_topic)
{
    World world = { .topic = topic_of(1) };
    FetchSession *session = session_of(1);
    Seen seen = look(session, &world, GENERATION);
    settle(&seen);
    Topic *old = world.topic;
    old->deleted = true;
    fetch_wait_tell(old->partitions[0]);
    world.topic = NULL;
    topic_release(old); /* the session held it */
    seen = look(session, &world, GENERATION);
    CHECK_INT(seen.count, 1);
    CHECK_INT(seen.items[0]->error, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    CHECK_INT(settle(&seen), 1);
    world.topic = topic_of(1);
    seen = look(session, &world, GENERATION);
    CHECK(seen.items[0]->partition == world.topic->partitions[0]);
    CHECK_INT(settle(&seen), 1);
    session_release(session);
    CHECK(world.topic->partitions[0]->waits == NULL);
    topic_release(world.topic);
}

TEST(by_id_another_topic_is_another)
{
    World world = { .topic = topic_of(1) };
    FetchSession *session = session_new(true);
    SessionTopicName other = { .uuid = other_uuid };
    SessionAsk ask = { .index = 0 };
    put(session, 0, 0);
    CHECK(session_put(session, &other, &ask));
    Seen seen = look(session, &world, GENERATION);
    CHECK_INT(seen.count, 2);
    CHECK_INT(seen.items[0]->error, KAFKA_ERROR_NONE);
    CHECK_INT(seen.items[1]->error, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION);
    session_release(session);
    topic_release(world.topic);
}

static bool add(SessionCache *cache, int32_t partitions, int64_t now_ms, int32_t *id)
{
    FetchSession *session = session_of(partitions);
    bool added = session_cache_add(cache, session, now_ms);
    *id = session->id;
    session_release(session);
    return added;
}

TEST(a_session_is_found_by_its_id_until_it_is_removed)
{
    SessionCache cache;
    int32_t one;
    int32_t two;
    session_cache_init(&cache, 10, 1 << 20);
    CHECK(add(&cache, 1, 0, &one) && add(&cache, 2, 0, &two));
    CHECK(one > 0 && two > 0 && one != two);
    CHECK_INT(session_cache_find(&cache, two)->partition_count, 2);
    CHECK_INT(cache.partitions, 3);
    session_cache_remove(&cache, session_cache_find(&cache, one));
    CHECK(session_cache_find(&cache, one) == NULL);
    CHECK_INT(cache.count, 1);
    session_cache_free(&cache);
    CHECK_INT(cache.bytes, 0);
    CHECK_INT(cache.partitions, 0);
}

TEST(a_full_cache_takes_one_more_for_one_long_unused)
{
    SessionCache cache;
    int32_t ids[4];
    session_cache_init(&cache, 2, 1 << 20);
    CHECK(add(&cache, 5, 0, &ids[0]) && add(&cache, 5, 0, &ids[1]));
    CHECK(session_cache_touch(&cache, session_cache_find(&cache, ids[0]), 1000));
    CHECK(!add(&cache, 5, SESSION_EVICTION_MS, &ids[2]));
    CHECK(add(&cache, 5, SESSION_EVICTION_MS + 1, &ids[2]));
    CHECK(session_cache_find(&cache, ids[0]) && !session_cache_find(&cache, ids[1]));
    session_cache_free(&cache);
}

TEST(a_full_cache_takes_a_larger_one_for_the_smallest_that_had_its_time)
{
    SessionCache cache;
    int32_t ids[5];
    int64_t late = SESSION_EVICTION_MS + 1;
    session_cache_init(&cache, 3, 1 << 20);
    CHECK(add(&cache, 3, 0, &ids[0]) && add(&cache, 2, 0, &ids[1]) && add(&cache, 1, late, &ids[2]));
    for (int i = 0; i < 3; i++) {
        CHECK(session_cache_touch(&cache, session_cache_find(&cache, ids[i]), late));
    }
    CHECK(!add(&cache, 2, late, &ids[3])); /* not larger than the smallest; the one of 1 is too young */
    CHECK(add(&cache, 3, late, &ids[3]));
    CHECK(!session_cache_find(&cache, ids[1]) && session_cache_find(&cache, ids[2]));
    session_cache_free(&cache);
}

TEST(bytes_are_bounded_when_sessions_come_and_when_they_grow)
{
    SessionCache cache;
    int32_t one;
    int32_t two;
    FetchSession *probe = session_of(4);
    size_t size = probe->bytes;
    session_release(probe);
    session_cache_init(&cache, 10, size + size / 2);
    CHECK(add(&cache, 4, 0, &one));
    CHECK(!add(&cache, 4, 0, &two));
    FetchSession *session = session_cache_find(&cache, one);
    for (int32_t i = 0; i < 100; i++) {
        put(session, i, 0);
    }
    CHECK(!session_cache_touch(&cache, session, 0));
    CHECK(session_cache_find(&cache, one) == NULL);
    CHECK_INT(cache.bytes, 0);
    session_cache_free(&cache);
}

TEST(what_requests_bring_is_bounded_before_it_is_kept)
{
    SessionCache cache;
    FetchSession *session = session_of(PARTITIONS);
    CHECK(session_estimate(PARTITIONS, 1) >= session->bytes - session_estimate(0, 1));
    session_release(session);
    session_cache_init(&cache, 10, 1000);
    CHECK(session_cache_reserve(&cache, 600));
    CHECK(!session_cache_reserve(&cache, 401));
    CHECK(session_cache_reserve(&cache, 400));
    session_cache_limit(&cache, 10, 500);
    CHECK(!session_cache_reserve(&cache, 1));
    session_cache_give_back(&cache, 1000);
    CHECK(session_cache_reserve(&cache, 500));
    CHECK(!session_cache_reserve(&cache, SIZE_MAX));
    session_cache_free(&cache);
}

TEST(a_session_without_room_for_any_is_refused)
{
    SessionCache cache;
    int32_t id;
    session_cache_init(&cache, 0, 1 << 20);
    CHECK(!add(&cache, 1, 0, &id));
    CHECK_INT(id, SESSION_ID_NONE);
    session_cache_limit(&cache, 2, 1 << 20);
    CHECK(add(&cache, 1, 0, &id) && add(&cache, 1, 0, &id));
    session_cache_limit(&cache, 1, 1 << 20);
    CHECK_INT(cache.count, 1);
    CHECK(session_cache_find(&cache, id) != NULL);
    session_cache_free(&cache);
}
