/* produce_topic.c: topics as the current transaction has found them, with the configs that bear on producing.
 * Looked up once per transaction, so a change is noticed by the next one; a partition that is gone by the end
 * of the transaction is noticed when its row is to be locked. */
#include "compat.h"
#include "produce_topic.h"

#include "access.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "key_scan.h"
#include "tables.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

static const KeyScanSpec topic_by_name = { "topic", "topic_name", 1, { KEY_TEXT_EQUAL } };
static const KeyScanSpec definition_by_name = {
    "config_definition", "config_definition_pkey", 1, { KEY_TEXT_EQUAL }
};
static const KeyScanSpec default_by_name = { "topic_default", "topic_default_pkey", 1, { KEY_TEXT_EQUAL } };

PG_FUNCTION_INFO_V1(streamhouse_topic_defaults_changed);

static HTAB *topics = NULL; /* of the current transaction */
static uint32 generation = 1;
static ProduceTopic *latest = NULL; /* the one asked for last */

static bool seek_name(KeyScan *scan, const char *name)
{
    key_scan_set_text(scan, 0, name);
    return key_scan_seek(scan, ForwardScanDirection);
}

/* NULL when the table has no row of the name. */
static char *config_look_up(const KeyScanSpec *by_name, const char *name, int column)
{
    KeyScan scan;
    char *value = NULL;
    key_scan_open(&scan, by_name, AccessShareLock);
    if (seek_name(&scan, name)) {
        value = TextDatumGetCString(key_scan_column(&scan, column));
    }
    key_scan_close(&scan);
    return value;
}

static char *config_default(const char *name)
{
    char *value = config_look_up(&default_by_name, name, Anum_topic_default_value);
    if (!value) {
        value = config_look_up(&definition_by_name, name, Anum_config_definition_default_value);
    }
    if (!value) {
        elog(ERROR, "config \"%s\" is not defined", name);
    }
    return value;
}

static char *config_set(Jsonb *config, const char *name)
{
    JsonbValue room;
    JsonbValue *value =
        config ? getKeyJsonValueFromContainer(&config->root, name, strlen(name), &room) : NULL;
    return value && value->type == jbvString ? pnstrdup(value->val.string.val, value->val.string.len) : NULL;
}

static char *config_value(Jsonb *config, const char *name)
{
    char *value = config_set(config, name);
    return value ? value : config_default(name);
}

static int64 config_int64(Jsonb *config, const char *name)
{
    return DatumGetInt64(DirectFunctionCall1(int8in, CStringGetDatum(config_value(config, name))));
}

/* "producer" leaves the choice to us: lz4 costs least. Levels count when they were set with the codec. */
static void config_read_codec(Jsonb *config, TopicConfig *out)
{
    char *name = config_value(config, "compression.type");
    char *level;
    out->level = COMPRESSION_LEVEL_DEFAULT;
    if (strcmp(name, "uncompressed") == 0) {
        out->codec = COMPRESSION_NONE;
    } else if (!compression_find(slice_of_text(name), &out->codec)) {
        out->codec = COMPRESSION_LZ4;
    } else {
        level = psprintf("compression.%s.level", name);
        level = config_set(config, level) ? config_set(config, level)
                                          : config_look_up(&default_by_name, level, Anum_topic_default_value);
        out->level = level ? pg_strtoint32(level) : COMPRESSION_LEVEL_DEFAULT;
    }
}

static TopicConfig config_read(Jsonb *config)
{
    TopicConfig out = { 0 };
    config_read_codec(config, &out);
    out.batch_bytes_max = (int32)config_int64(config, "max.message.bytes");
    out.is_append_time = strcmp(config_value(config, "message.timestamp.type"), "LogAppendTime") == 0;
    out.keys_required = strstr(config_value(config, "cleanup.policy"), "compact") != NULL;
    out.before_max_ms = config_int64(config, "message.timestamp.before.max.ms");
    out.after_max_ms = config_int64(config, "message.timestamp.after.max.ms");
    return out;
}

static bool defaults_are_known = false;

static void defaults_forget(Datum argument, Oid relation)
{
    defaults_are_known = false;
}

/* Rows have no invalidation of their own, so their table's is sent: every backend hears of it before its next
 * look at the catalog. */
Datum streamhouse_topic_defaults_changed(PG_FUNCTION_ARGS)
{
    CacheInvalidateRelcacheByRelid(
        get_relname_relid("topic_default", get_namespace_oid("streamhouse", false)));
    PG_RETURN_VOID();
}

/* A backend reads the defaults once, until they change. */
static TopicConfig config_of(Jsonb *config)
{
    static TopicConfig defaults;
    static bool is_listening = false;
    if (JB_ROOT_COUNT(config) > 0) {
        return config_read(config);
    }
    if (!is_listening) {
        CacheRegisterRelcacheCallback(defaults_forget, (Datum)0);
        is_listening = true;
    }
    if (!defaults_are_known) {
        /* Said first: what changes while it is read is read once more. */
        defaults_are_known = true;
        defaults = config_read(NULL);
    }
    return defaults;
}

static void topic_read(ProduceTopic *topic)
{
    KeyScan scan;
    PushActiveSnapshot(GetLatestSnapshot());
    key_scan_open(&scan, &topic_by_name, AccessShareLock);
    if (!seek_name(&scan, topic->name)) {
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("topic \"%s\" does not exist", topic->name),
                errhint("Create it with sh_create_topic()."));
    }
    int32 topic_id = key_scan_int32(&scan, Anum_topic_topic_id);
    if (topic->generation == 0 || topic->topic_id != topic_id) {
        topic->sticky = -1;
    }
    topic->topic_id = topic_id;
    topic->partitions = key_scan_int32(&scan, Anum_topic_partitions);
    topic->config = config_of(DatumGetJsonbP(key_scan_column(&scan, Anum_topic_config)));
    key_scan_close(&scan);
    PopActiveSnapshot();
    topic->generation = generation;
}

static void topics_open(void)
{
    HASHCTL control = { .keysize = TOPIC_NAME_MAX + 1,
                        .entrysize = sizeof(ProduceTopic),
                        .hcxt = TopTransactionContext };
    topics = hash_create("StreamHouse topics", 16, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static ProduceTopic *topic_find(Slice name)
{
    char key[TOPIC_NAME_MAX + 1] = { 0 };
    bool found;
    if (latest && strlen(latest->name) == name.size && memcmp(latest->name, name.data, name.size) == 0) {
        return latest;
    }
    if (name.size > TOPIC_NAME_MAX) {
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
                errmsg("a topic of such a long name does not exist"),
                errhint("Names have %d characters at most.", TOPIC_NAME_MAX));
    }
    if (!topics) {
        topics_open();
    }
    memcpy(key, name.data, name.size);
    ProduceTopic *topic = hash_search(topics, key, HASH_ENTER, &found);
    if (!found) {
        topic->generation = 0;
    }
    latest = topic;
    return topic;
}

ProduceTopic *produce_topic(Slice name)
{
    ProduceTopic *topic = topic_find(name);
    if (topic->generation != generation) {
        topic_read(topic);
    }
    access_require(topic->topic_id, topic->name, ACCESS_PRODUCE);
    return topic;
}

/* The table's memory is the transaction's. */
void produce_topics_end(void)
{
    topics = NULL;
    latest = NULL;
    generation++;
}

/* The topic may have been created in what was just rolled back. */
void produce_topics_doubt(void)
{
    generation++;
}
