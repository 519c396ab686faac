/* streamhouse.c: the library's start, and the brain's settings. A setting is one row of a table; SQL reads it
 * with streamhouse.setting(). */
#include "compat.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/builtins.h"

#include "agent.h"
#include "commit_timing.h"
#include "setting.h"
#include "group_session.h"
#include "watch.h"

PG_MODULE_MAGIC;

void _PG_init(void);

enum { MINUTE_S = 60, HOUR_S = 60 * MINUTE_S, DAY_S = 24 * HOUR_S };

int setting_object_grace_s;
int setting_intent_ttl_s;
int setting_reap_retry_s;
int setting_redelete_after_s;
int setting_reap_rows_max;
int setting_answer_ttl_s;
int setting_producer_ttl_s;
int setting_offsets_retention_s;
int setting_lease_moves_max;
int setting_marker_interval_s;
int setting_watch_ring_size;
int setting_inline_bytes_max_mb;
int setting_inline_slot_bytes_mb;
int setting_inline_slot_age_s;
int setting_inline_grace_s;
int setting_inline_move_bytes_mb;
int setting_inline_move_age_s;
int setting_slow_commit_min_ms;
int setting_outbox_memory_kb;
int setting_append_lock_timeout_ms;
int setting_fetch_cache_bytes;
int setting_fetch_timeout_ms;
int setting_progress_interval_ms;
int setting_consumer_session_timeout_ms;
int setting_consumer_session_timeout_min_ms;
int setting_consumer_session_timeout_max_ms;
int setting_consumer_heartbeat_interval_ms;
int setting_consumer_heartbeat_interval_min_ms;
int setting_consumer_heartbeat_interval_max_ms;

char *setting_store;
char *setting_s3_endpoint;
char *setting_s3_region;
char *setting_s3_profile;
char *setting_s3_ca_file;
int setting_s3_addressing;

typedef struct Setting {
    const char *name;
    int *value;
    int default_value;
    int minimum;
    int maximum;
    GucContext context;
    int flags;
    const char *help;
} Setting;

static const Setting settings[] = {
    { "streamhouse.object_grace", &setting_object_grace_s, 7 * DAY_S, 0, INT_MAX, PGC_SUSET, GUC_UNIT_S,
      "How long an object without any segment is kept; longer than the oldest backup that may be restored." },
    { "streamhouse.intent_ttl", &setting_intent_ttl_s, HOUR_S, 1, 30 * DAY_S, PGC_SUSET, GUC_UNIT_S,
      "How long a reserved key may be committed when the agent names no time; far longer than a PUT takes." },
    { "streamhouse.reap_retry", &setting_reap_retry_s, 10 * MINUTE_S, 0, DAY_S, PGC_SUSET, GUC_UNIT_S,
      "After how long sh_reap() hands out an object again that nobody reported as deleted." },
    { "streamhouse.redelete_after", &setting_redelete_after_s, DAY_S, 0, 30 * DAY_S, PGC_SUSET, GUC_UNIT_S,
      "After how long a deleted key is deleted once more, against a PUT that arrived late." },
    { "streamhouse.reap_rows_max", &setting_reap_rows_max, 10000, 1, 1000000, PGC_SUSET, 0,
      "How many rows of each table one sh_reap() removes or looks at, at most." },
    { "streamhouse.answer_ttl", &setting_answer_ttl_s, HOUR_S, 1, 30 * DAY_S, PGC_SUSET, GUC_UNIT_S,
      "How long the answers of a commit can be asked for again." },
    { "streamhouse.producer_ttl", &setting_producer_ttl_s, DAY_S, 1, 365 * DAY_S, PGC_SUSET, GUC_UNIT_S,
      "How long an idle idempotent producer is remembered (Kafka: producer.id.expiration.ms)." },
    { "streamhouse.offsets_retention", &setting_offsets_retention_s, 7 * DAY_S, 1, INT_MAX, PGC_SUSET,
      GUC_UNIT_S,
      "How long offsets of a consumer group that has no members are kept (Kafka: "
      "offsets.retention.minutes)." },
    { "streamhouse.lease_moves_max", &setting_lease_moves_max, 256, 1, 1000000, PGC_SUSET, 0,
      "How many partitions are handed over from one agent to another at a time, at most." },
    { "streamhouse.marker_interval", &setting_marker_interval_s, 3, 1, HOUR_S, PGC_SUSET, GUC_UNIT_S,
      "How often agents write the object store's owner marker; objects are deleted only if one was written "
      "within five times that." },
    { "streamhouse.watch_ring_size", &setting_watch_ring_size, 65536, 64, 16777216, PGC_POSTMASTER, 0,
      "How many appends to partitions sh_watch() can look back on; 24 bytes of shared memory each." },
    { "streamhouse.inline_bytes_max", &setting_inline_bytes_max_mb, 10 * 1024, 1, INT_MAX, PGC_SUSET,
      GUC_UNIT_MB, "How large the inline ring may grow; beyond that nothing is written to it." },
    { "streamhouse.inline_slot_bytes", &setting_inline_slot_bytes_mb, 128, 1, INT_MAX, PGC_SUSET, GUC_UNIT_MB,
      "From which size on the next slot of the inline ring is filled." },
    { "streamhouse.inline_slot_age", &setting_inline_slot_age_s, 10 * MINUTE_S, 1, DAY_S, PGC_SUSET,
      GUC_UNIT_S, "After which time the next slot of the inline ring is filled." },
    { "streamhouse.inline_grace", &setting_inline_grace_s, 30, 0, DAY_S, PGC_SUSET, GUC_UNIT_S,
      "How long the bytes of a slot stay when all of them have moved, for readers that are on their way." },
    { "streamhouse.inline_move_bytes", &setting_inline_move_bytes_mb, 32, 1, 1024, PGC_SUSET, GUC_UNIT_MB,
      "How many inline bytes make an object that is worth writing." },
    { "streamhouse.inline_move_age", &setting_inline_move_age_s, 3 * MINUTE_S, 0, DAY_S, PGC_SUSET,
      GUC_UNIT_S, "After which time inline bytes move to an object, however few they are." },
    { "streamhouse.slow_commit_min_ms", &setting_slow_commit_min_ms, 20, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MS,
      "From which duration on a commit that appends records can be among streamhouse.slow_commits." },
    { "streamhouse.outbox_memory", &setting_outbox_memory_kb, 64 * 1024, 64, MAX_KILOBYTES, PGC_USERSET,
      GUC_UNIT_KB,
      "How much memory the records that a transaction produces may take before they go to a temporary "
      "file." },
    { "streamhouse.append_lock_timeout", &setting_append_lock_timeout_ms, 10000, 0, INT_MAX, PGC_USERSET,
      GUC_UNIT_MS,
      "How long producing in SQL waits for a partition that another transaction appends to; 0 is for ever." },
    { "streamhouse.fetch_cache_bytes", &setting_fetch_cache_bytes, 64 * 1024 * 1024, 0, INT_MAX, PGC_USERSET,
      GUC_UNIT_BYTE, "How many bytes of objects a session keeps in memory for the reads to come." },
    { "streamhouse.fetch_timeout", &setting_fetch_timeout_ms, 30 * 1000, 1, DAY_S * 1000, PGC_USERSET,
      GUC_UNIT_MS, "How long one read from the store may take, attempts that fail included." },
    { "streamhouse.progress_interval", &setting_progress_interval_ms, 2000, 0, DAY_S * 1000, PGC_USERSET,
      GUC_UNIT_MS, "How often a long sh_read() says how far it is; 0: never." },
    { "streamhouse.consumer_session_timeout", &setting_consumer_session_timeout_ms, 45 * 1000, 1,
      DAY_S * 1000, PGC_SUSET, GUC_UNIT_MS,
      "After what silence a member of a group that does not say it is removed (Kafka: "
      "group.consumer.session.timeout.ms)." },
    { "streamhouse.consumer_session_timeout_min", &setting_consumer_session_timeout_min_ms, 45 * 1000, 1,
      DAY_S * 1000, PGC_SUSET, GUC_UNIT_MS, "Shortest session timeout that a group's config may ask for." },
    { "streamhouse.consumer_session_timeout_max", &setting_consumer_session_timeout_max_ms, 60 * 1000, 1,
      DAY_S * 1000, PGC_SUSET, GUC_UNIT_MS, "Longest session timeout that a group's config may ask for." },
    { "streamhouse.consumer_heartbeat_interval", &setting_consumer_heartbeat_interval_ms, 5 * 1000, 1,
      DAY_S * 1000, PGC_SUSET, GUC_UNIT_MS,
      "How often members of a group that does not say it send heartbeats (Kafka: "
      "group.consumer.heartbeat.interval.ms)." },
    { "streamhouse.consumer_heartbeat_interval_min", &setting_consumer_heartbeat_interval_min_ms, 5 * 1000, 1,
      DAY_S * 1000, PGC_SUSET, GUC_UNIT_MS,
      "Shortest heartbeat interval that a group's config may ask for." },
    { "streamhouse.consumer_heartbeat_interval_max", &setting_consumer_heartbeat_interval_max_ms, 15 * 1000,
      1, DAY_S * 1000, PGC_SUSET, GUC_UNIT_MS,
      "Longest heartbeat interval that a group's config may ask for." },
};

/* Settings that are text; empty means not set. */
typedef struct TextSetting {
    const char *name;
    char **value;
    const char *help;
} TextSetting;

static const TextSetting text_settings[] = {
    { "streamhouse.store", &setting_store,
      "Where the agents' objects are, as the agents name it: s3://bucket/prefix or file:///folder." },
    { "streamhouse.s3_endpoint", &setting_s3_endpoint,
      "http[s]://host[:port] of an S3 server that is not AWS's; empty: as the server's environment says." },
    { "streamhouse.s3_region", &setting_s3_region,
      "Region of the bucket; empty: as the server's environment says." },
    { "streamhouse.s3_profile", &setting_s3_profile,
      "Profile in the AWS files of the server's user that has the credentials; empty: AWS_PROFILE, then "
      "default." },
    { "streamhouse.s3_ca_file", &setting_s3_ca_file,
      "PEM file with the certificates to trust for https; empty: the system's." },
};

static const struct config_enum_entry s3_addressings[] = {
    { "auto", SETTING_ADDRESSING_AUTO, false },
    { "path", SETTING_ADDRESSING_PATH, false },
    { "virtual", SETTING_ADDRESSING_VIRTUAL, false },
    { NULL, 0, false },
};

/* A setting of the postmaster can be defined only while it starts; without preload nobody reads it. */
static bool setting_applies(const Setting *setting)
{
    return setting->context != PGC_POSTMASTER || process_shared_preload_libraries_in_progress;
}

static void settings_define(void)
{
    for (size_t i = 0; i < lengthof(settings); i++) {
        const Setting *setting = &settings[i];

        *setting->value = setting->default_value;
        if (setting_applies(setting))
            DefineCustomIntVariable(setting->name, setting->help, NULL, setting->value,
                                    setting->default_value, setting->minimum, setting->maximum,
                                    setting->context, setting->flags, NULL, NULL, NULL);
    }
    for (size_t i = 0; i < lengthof(text_settings); i++) {
        const TextSetting *setting = &text_settings[i];

        DefineCustomStringVariable(setting->name, setting->help, NULL, setting->value, "", PGC_SUSET, 0, NULL,
                                   NULL, NULL);
    }
    DefineCustomEnumVariable("streamhouse.s3_addressing", "How the bucket is named in requests.", NULL,
                             &setting_s3_addressing, SETTING_ADDRESSING_AUTO, s3_addressings, PGC_SUSET, 0,
                             NULL, NULL, NULL);
    MarkGUCPrefixReserved("streamhouse");
}

void _PG_init(void)
{
    settings_define();
    watch_init();
    group_session_init();
    commit_timing_init();
    agent_init();
}

PG_FUNCTION_INFO_V1(streamhouse_setting);

/* The value of a setting in its own unit: seconds or rows. Calling it loads the library, which defines them
 * all. */
Datum streamhouse_setting(PG_FUNCTION_ARGS)
{
    char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

    for (size_t i = 0; i < lengthof(settings); i++)
        if (strcmp(settings[i].name, name) == 0)
            PG_RETURN_INT32(*settings[i].value);
    ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("setting \"%s\" does not exist", name));
}
