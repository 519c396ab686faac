/* settings_test.c: where settings come from, what they accept and what they say when they do not. */
#include "agent/broker_configs.h"
#include "agent/setting_value.h"
#include "agent/settings.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/journal.h"
#include "agent/setting_source.h"
#include "agent/setting_value.h"
#include "common/store/store.h"
#include "test/unit/test.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ARGUMENTS(...)                                                                                       \
    (char *[])                                                                                               \
    {                                                                                                        \
        "streamhouse-agent", __VA_ARGS__                                                                     \
    }
/* Flags and variables as lists. */
#define LOAD(out, flags, variables) settings_load((int)COUNT(flags), (flags), (variables), (out))

static char *no_variables[] = { NULL };
static char *no_flags[] = { "streamhouse-agent" };

/* A settings file with text; its path is good until the next call. */
static char *file_write(const char *text)
{
    static char path[64];
    snprintf(path, sizeof(path), "/tmp/settings_test.XXXXXX");
    int descriptor = mkstemp(path);
    bool written = descriptor >= 0 && write(descriptor, text, strlen(text)) == (ssize_t)strlen(text);
    close(descriptor);
    return written ? path : NULL;
}

/* The message of loading one flag; "" when it is accepted. */
static const char *refusal_of(const char *flag)
{
    static char message[STATUS_MESSAGE_MAX];
    char *flags[] = { "streamhouse-agent", (char *)(uintptr_t)flag };
    Settings settings;
    Status status = LOAD(&settings, flags, no_variables);
    if (status_is_ok(&status)) {
        settings_free(&settings);
    }
    snprintf(message, sizeof(message), "%s", status.message);
    return message;
}

/* What settings_show() gives after one flag. */
static const char *value_of(SettingId id, const char *flag)
{
    static char value[512];
    char *flags[] = { "streamhouse-agent", (char *)(uintptr_t)flag };
    Settings settings;
    Status status = LOAD(&settings, flags, no_variables);
    if (!status_is_ok(&status)) {
        snprintf(value, sizeof(value), "refused: %s", status.message);
        return value;
    }
    settings_show(&settings, id, value, sizeof(value));
    settings_free(&settings);
    return value;
}

TEST(every_row_of_the_table_is_sound)
{
    for (SettingId id = 0; id < SETTING_ID_COUNT; id++) {
        const SettingRow *row = &setting_rows[id];
        size_t size = strlen(row->name);
        bool ends_in_ms = size > 3 && strcmp(row->name + size - 3, "_ms") == 0;
        CHECK(row->name[strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_")] == '\0');
        CHECK_INT(ends_in_ms, row->type == SETTING_DURATION);
        CHECK(strlen(row->help) > 20 && row->help[strlen(row->help) - 1] == '.');
        CHECK(strlen(row->help) < 700);
        CHECK_INT(row->choices[0] != '\0', row->type == SETTING_CHOICE);
        CHECK(row->minimum <= row->maximum);
        CHECK(row->type == SETTING_BYTES || row->type == SETTING_DURATION || row->maximum <= INT_MAX);
        /* A module may keep a text's pointer, so texts do not change. */
        CHECK(row->type != SETTING_TEXT || !(row->flags & SETTING_RELOADABLE));
        for (SettingId other = 0; other < id; other++) {
            CHECK(strcmp(setting_rows[other].name, row->name) != 0);
        }
    }
}

static bool words_are(SettingId id, const char *const *words, int count)
{
    bool same = setting_choice(&setting_rows[id], count) == NULL;
    for (int i = 0; i < count && same; i++) {
        const char *word = setting_choice(&setting_rows[id], i);
        same = word && strcmp(word, words[i]) == 0;
    }
    return same;
}

TEST(choices_stand_in_the_order_of_the_enum_they_are_for)
{
    static const char *const levels[] = { "debug", "info", "warn", "error" };
    CHECK(words_are(SETTING_ID_log_level, levels, JOURNAL_ERROR + 1));
    CHECK_STR(journal_level_name(JOURNAL_WARN), levels[JOURNAL_WARN]);
    CHECK(words_are(SETTING_ID_s3_addressing, store_addressing_names, STORE_ADDRESSING_COUNT));
    CHECK(words_are(SETTING_ID_s3_checksum, store_checksum_names, STORE_CHECKSUM_COUNT));
    CHECK(words_are(SETTING_ID_s3_conditional, store_conditional_names, STORE_CONDITIONAL_COUNT));
}

TEST(defaults_are_what_the_table_says)
{
    Settings settings;
    Status status = LOAD(&settings, no_flags, no_variables);
    CHECK_STR(status.message, "");
    CHECK_STR(settings.kafka_host, "127.0.0.1");
    CHECK_INT(settings.kafka_port, 9092);
    CHECK_INT(settings.flush_bytes, 8388608);
    CHECK_INT(settings.drain_timeout_ms, 30000);
    CHECK(settings.auto_create_topics && settings.validate_compressed);
    CHECK_INT(settings.log_level, JOURNAL_INFO);
    CHECK_INT(settings.origins[SETTING_ID_kafka_port], SETTING_FROM_DEFAULT);
    settings_free(&settings);
}

TEST(a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default)
{
    char *path = file_write("put_parallel = 3\nget_parallel = 3\nintent_pool = 3\n");
    char *flags[] = { "x", "--config", path, "--put-parallel=5" };
    char *variables[] = { "STREAMHOUSE_PUT_PARALLEL=4", "STREAMHOUSE_GET_PARALLEL=4", NULL };
    Settings settings;
    Status status = LOAD(&settings, flags, variables);
    unlink(path);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.put_parallel, 5);
    CHECK_INT(settings.get_parallel, 4);
    CHECK_INT(settings.intent_pool, 3);
    CHECK_INT(settings.delete_parallel, 1);
    settings_free(&settings);
}

TEST(what_the_brain_says_lies_over_everything_and_goes_again)
{
    char *flags[] = { "x", "--default-partitions=5" };
    Settings settings;
    SettingOverlay overlays[] = { { .id = SETTING_ID_default_partitions, .value = "7" },
                                  { .id = SETTING_ID_auto_create_topics, .value = "false" } };
    Status status = LOAD(&settings, flags, no_variables);
    CHECK_STR(status.message, "");
    status = settings_overlay(&settings, overlays, 2, NULL, NULL);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.default_partitions, 7);
    CHECK(!settings.auto_create_topics);
    CHECK_INT(settings.origins[SETTING_ID_default_partitions], SETTING_FROM_BRAIN);
    CHECK_STR(settings.overlays[0].beneath, "5");
    CHECK_INT(settings.overlays[0].beneath_origin, SETTING_FROM_FLAG);
    CHECK_STR(settings.overlays[1].beneath, "true");
    status = settings_reload(&settings, NULL, NULL);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.default_partitions, 7);
    status = settings_overlay(&settings, NULL, 0, NULL, NULL);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.default_partitions, 5);
    CHECK(settings.auto_create_topics);
    settings_free(&settings);
}

TEST(a_value_of_the_brain_that_is_not_allowed_changes_nothing)
{
    Settings settings;
    SettingOverlay overlays[] = { { .id = SETTING_ID_auto_create_topics, .value = "false" },
                                  { .id = SETTING_ID_default_partitions, .value = "0" } };
    Status status = LOAD(&settings, no_flags, no_variables);
    CHECK_STR(status.message, "");
    status = settings_overlay(&settings, overlays, 2, NULL, NULL);
    CHECK(strstr(status.message, "default_partitions") && strstr(status.message, "broker config"));
    CHECK(settings.auto_create_topics);
    CHECK_INT(settings.overlay_count, 0);
    settings_free(&settings);
}

TEST(values_are_told_as_kafka_writes_them)
{
    Settings settings;
    char text[SETTING_OVERLAY_BYTES];
    Status status = LOAD(&settings, no_flags, no_variables);
    CHECK_STR(status.message, "");
    setting_plain(&settings, SETTING_ID_fetch_bytes_max, text, sizeof(text));
    CHECK_STR(text, "57671680");
    setting_plain(&settings, SETTING_ID_auto_create_topics, text, sizeof(text));
    CHECK_STR(text, "true");
    setting_plain(&settings, SETTING_ID_lease_ttl_ms, text, sizeof(text));
    CHECK_STR(text, "5000");
    settings_free(&settings);
}

TEST(a_broker_config_is_a_setting_that_can_be_reloaded)
{
    for (const BrokerConfig *config = broker_configs; config->name; config++) {
        CHECK(setting_rows[config->id].flags & SETTING_RELOADABLE);
    }
}

TEST(each_value_remembers_where_it_came_from)
{
    char *path = file_write("# pools\n\nintent_pool = 3\n");
    char *flags[] = { "x", "--put-parallel", "5" };
    char named[96];
    char expected[96];
    char origin[96];
    snprintf(named, sizeof(named), "STREAMHOUSE_CONFIG=%s", path);
    char *variables[] = { "STREAMHOUSE_GET_PARALLEL=4", named, NULL };
    Settings settings;
    Status status = LOAD(&settings, flags, variables);
    unlink(path);
    CHECK_STR(status.message, "");
    settings_origin(&settings, SETTING_ID_put_parallel, origin, sizeof(origin));
    CHECK_STR(origin, "flag --put-parallel");
    settings_origin(&settings, SETTING_ID_get_parallel, origin, sizeof(origin));
    CHECK_STR(origin, "STREAMHOUSE_GET_PARALLEL");
    settings_origin(&settings, SETTING_ID_intent_pool, origin, sizeof(origin));
    snprintf(expected, sizeof(expected), "%s:3", path);
    CHECK_STR(origin, expected);
    settings_origin(&settings, SETTING_ID_zone, origin, sizeof(origin));
    CHECK_STR(origin, "default");
    settings_free(&settings);
}

TEST(a_flag_is_written_in_four_ways)
{
    char *flags[] = { "x", "--linger_ms", "20", "--idle-flush-ms=2s", "--validate-compressed", "--core-dumps",
                      "on" };
    Settings settings;
    Status status = LOAD(&settings, flags, no_variables);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.linger_ms, 20);
    CHECK_INT(settings.idle_flush_ms, 2000);
    CHECK(settings.validate_compressed && settings.core_dumps);
    settings_free(&settings);
}

TEST(sizes_and_durations_take_units_and_are_shown_in_the_largest_that_fits)
{
    static const struct {
        SettingId id;
        const char *flag;
        const char *shown;
    } cases[] = {
        { SETTING_ID_flush_bytes, "--flush-bytes=65536", "64KiB" },
        { SETTING_ID_flush_bytes, "--flush-bytes=64KiB", "64KiB" },
        { SETTING_ID_flush_bytes, "--flush-bytes=3 mib", "3MiB" },
        { SETTING_ID_flush_bytes, "--flush-bytes=1GiB", "1GiB" },
        { SETTING_ID_flush_bytes, "--flush-bytes=1025B", "1025B" },
        { SETTING_ID_tail_bytes_max, "--tail-bytes-max=0", "0B" },
        { SETTING_ID_linger_ms, "--linger-ms=0", "0ms" },
        { SETTING_ID_linger_ms, "--linger-ms=1500", "1500ms" },
        { SETTING_ID_reap_interval_ms, "--reap-interval-ms=120s", "2min" },
        { SETTING_ID_reap_interval_ms, "--reap-interval-ms=2h", "2h" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        CHECK_STR(value_of(cases[i].id, cases[i].flag), cases[i].shown);
    }
}

TEST(a_wrong_value_is_refused_with_the_allowed_ones_and_its_origin)
{
    static const struct {
        const char *flag;
        const char *message;
    } cases[] = {
        { "--log-level=loud",
          "log_level: \"loud\" is unknown; allowed: debug, info, warn, error (from flag --log-level)" },
        { "--http-port=99999",
          "http_port: \"99999\" is out of range; allowed: 0 to 65535 (from flag --http-port)" },
        { "--http-port=http",
          "http_port: \"http\" is not a number; allowed: 0 to 65535 (from flag --http-port)" },
        { "--put-parallel=-1",
          "put_parallel: \"-1\" is not a number; allowed: 1 to 1024, or auto (from flag --put-parallel)" },
        { "--put-parallel=",
          "put_parallel: \"\" is not a number; allowed: 1 to 1024, or auto (from flag --put-parallel)" },
        { "--core-dumps=maybe",
          "core_dumps: \"maybe\" is neither yes nor no; allowed: yes, no, on, off, true, false, 1, 0 "
          "(from flag --core-dumps)" },
        { "--linger-ms=3x",
          "linger_ms: \"3x\" is not a duration; allowed: 0ms to 1min, like 250ms, 5s or 10min, or auto "
          "(from flag --linger-ms)" },
        { "--flush-bytes=99999999999999999999",
          "flush_bytes: \"99999999999999999999\" is not a size; allowed: 1KiB to 1GiB, "
          "like 64KiB or 8MiB (from flag --flush-bytes)" },
        { "--flush-bytes=9999999999TiB",
          "flush_bytes: \"9999999999TiB\" is not a size; allowed: 1KiB to 1GiB, like 64KiB or "
          "8MiB (from flag --flush-bytes)" },
        { "--kafka-host=",
          "kafka_host: \"\" is empty; allowed: text of 1 to 255 characters (from flag --kafka-host)" },
        { "--zone=a\nb",
          "zone: \"\" has a control character; allowed: text of 0 to 249 characters (from flag --zone)" },
        { "--store=s4://x", "store: \"s4://x\" is no store; allowed: file:///folder or s3://bucket/prefix "
                            "(from flag --store)" },
        { "--linger-ms", "flag --linger-ms needs a value" },
        { "linger_ms=3", "\"linger_ms\" is no flag; settings are given as --name value" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        CHECK_STR(refusal_of(cases[i].flag), cases[i].message);
    }
}

TEST(an_unknown_name_is_refused_with_the_nearest_known_one)
{
    Settings settings;
    char *variables[] = { "STREAMHOUSE_LOGLEVEL=info", NULL };
    CHECK_STR(
        refusal_of("--lingerms=3"),
        "command line: there is no setting \"lingerms\"; the nearest is \"linger_ms\", and --help lists all");
    CHECK_STR(refusal_of("--halp"),
              "command line: there is no setting \"halp\"; the nearest is \"help\", and --help lists all");
    Status status = LOAD(&settings, no_flags, variables);
    CHECK_STR(status.message, "STREAMHOUSE_LOGLEVEL: there is no setting \"loglevel\"; the nearest is "
                              "\"log_level\", and --help lists all");
}

TEST(variables_for_clients_and_of_kubernetes_are_left_alone)
{
    char *variables[] = { "STREAMHOUSE_KAFKA=127.0.0.1:9092",
                          "STREAMHOUSE_HTTP=http://127.0.0.1:8080",
                          "STREAMHOUSE_SERVICE_HOST=10.0.0.1",
                          "STREAMHOUSE_PORT=tcp://10.0.0.1:9092",
                          "STREAMHOUSE_PORT_9092_TCP_ADDR=10.0.0.1",
                          "STREAMHOUSE_KAFKA_PORT=tcp://10.0.0.1:9092",
                          "STREAMHOUSE_LOG_LEVEL=",
                          "PATH=/bin",
                          NULL };
    Settings settings;
    Status status = LOAD(&settings, no_flags, variables);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.kafka_port, 9092);
    CHECK_INT(settings.log_level, JOURNAL_INFO);
    settings_free(&settings);
}

TEST(a_file_has_names_values_comments_and_quotes)
{
    Settings settings;
    Status status = LOAD(&settings, no_flags, no_variables);
    CHECK_STR(status.message, "");
    settings.file = strdup("conf");
    status = settings_take_text(&settings,
                                SLICE_LITERAL("# a comment\r\n\r\n  zone=a = b # c \r\nagent-name = \" x \"\n"
                                              "auto_create_topics = off"));
    CHECK_STR(status.message, "");
    CHECK_STR(settings.zone, "a = b # c");
    CHECK_STR(settings.agent_name, " x ");
    CHECK(!settings.auto_create_topics);
    settings_free(&settings);
}

TEST(a_mistake_in_a_file_is_named_with_its_line)
{
    static const struct {
        Slice text;
        const char *message;
    } cases[] = {
        { SLICE_LITERAL("\nzone\n"), "conf:2: a line is name = value, or a comment that begins with #" },
        { SLICE_LITERAL("zone = a\nzone = b\n"), "conf:2: zone stands on line 1 already" },
        { SLICE_LITERAL("zome = a\n"),
          "conf:1: there is no setting \"zome\"; the nearest is \"zone\", and --help lists all" },
        { SLICE_LITERAL(" = a\n"), "conf:1: a setting's name is missing or too long; --help lists them" },
        { SLICE_LITERAL("zone = a\0b\n"), "conf:1: the value is too long or binary" },
        { SLICE_LITERAL("log_format = xml"),
          "log_format: \"xml\" is unknown; allowed: text, json (from conf:1)" },
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        Settings settings;
        Status status = LOAD(&settings, no_flags, no_variables);
        CHECK_STR(status.message, "");
        settings.file = strdup("conf");
        status = settings_take_text(&settings, cases[i].text);
        settings_free(&settings);
        CHECK_STR(status.message, cases[i].message);
    }
}

TEST(a_file_that_is_not_there_is_an_error)
{
    CHECK_STR(refusal_of("--config=/nonexistent/conf"),
              "cannot read the settings file /nonexistent/conf: No such file or directory");
}

TEST(automatic_settings_follow_the_store_and_the_host)
{
    CHECK_STR(value_of(SETTING_ID_linger_ms, "--store=file:///tmp/x"), "5ms");
    CHECK_STR(value_of(SETTING_ID_linger_ms, "--store=s3://bucket/x"), "100ms");
    CHECK_STR(value_of(SETTING_ID_idle_flush_ms, "--store=s3://bucket"), "20ms");
    CHECK_STR(value_of(SETTING_ID_advertised_port, "--kafka-port=1234"), "1234");
    CHECK_STR(value_of(SETTING_ID_advertised_host, "--kafka-host=10.1.2.3"), "10.1.2.3");
    CHECK(strcmp(value_of(SETTING_ID_advertised_host, "--kafka-host=0.0.0.0"), "0.0.0.0") != 0);
    CHECK(strstr(value_of(SETTING_ID_agent_name, "--kafka-port=1234"), "-1234") != NULL);
}

TEST(settings_that_contradict_each_other_are_refused)
{
    CHECK_STR(refusal_of("--lease-ttl-ms=2s"),
              "lease_ttl_ms: 2s is less than three times heartbeat_ms; allowed: 3s or more "
              "(from flag --lease-ttl-ms)");
    CHECK_STR(refusal_of("--put-timeout-ms=10min"),
              "intent_ttl_ms: 1h is less than ten times put_timeout_ms; allowed: 100min "
              "or more (from default)");
    CHECK_STR(refusal_of("--frame-bytes-max=1GiB"),
              "produce_bytes_max: 256MiB is less than frame_bytes_max; allowed: 1GiB or "
              "more (from default)");
}

TEST(a_password_is_shown_nowhere)
{
    char shown[256];
    Settings settings;
    char *flags[] = { "x", "--database", "host=db user=u password=sesame99" };
    Status status = LOAD(&settings, flags, no_variables);
    CHECK_STR(status.message, "");
    settings_show(&settings, SETTING_ID_database, shown, sizeof(shown));
    CHECK_STR(shown, "user=u password=*** host=db");
    settings_free(&settings);
    CHECK(strstr(value_of(SETTING_ID_database, "--database=postgresql://u:sesame99@db/x"), "sesame99") ==
          NULL);
    CHECK(strstr(value_of(SETTING_ID_database, "--database=postgresql://u:sesame99@db/x"), "host=db") !=
          NULL);
    CHECK(strstr(refusal_of("--database=host=db password=open sesame99"), "sesame99") == NULL);
    CHECK(strstr(refusal_of("--database=host=db password=open sesame99"), "malformed") != NULL);
    CHECK(strstr(refusal_of("password=sesame99"), "sesame99") == NULL);
    CHECK(strstr(refusal_of("--database=hots=db"), "invalid connection option \"hots\"") != NULL);
}

typedef struct Change {
    int applied;
    int kept;
    char last[160];
} Change;

static void change_note(const SettingRow *row, const char *before, const char *after, bool applied,
                        void *context)
{
    Change *change = context;
    change->applied += applied;
    change->kept += !applied;
    snprintf(change->last, sizeof(change->last), "%s %s %s", row->name, before, after);
}

static bool file_rewrite(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    return file && fputs(text, file) >= 0 && fclose(file) == 0;
}

TEST(reloading_takes_what_may_change_and_reports_what_may_not)
{
    char *path = file_write("linger_ms = 7\nhttp_port = 8081\n");
    char *flags[] = { "x", "--config", path };
    Change change = { 0 };
    Settings settings;
    Status status = LOAD(&settings, flags, no_variables);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.linger_ms, 7);

    CHECK(file_rewrite(path, "linger_ms = 9ms\nhttp_port = 8081\n"));
    status = settings_reload(&settings, change_note, &change);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.linger_ms, 9);
    CHECK_STR(change.last, "linger_ms 7ms 9ms");
    CHECK(change.applied == 1 && change.kept == 0);

    CHECK(file_rewrite(path, "\nlinger_ms = 9ms\nhttp_port = 8082\n"));
    status = settings_reload(&settings, change_note, &change);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.http_port, 8081);
    CHECK_INT(settings.lines[SETTING_ID_linger_ms], 2);
    CHECK_STR(change.last, "http_port 8081 8082");
    CHECK(change.applied == 1 && change.kept == 1);

    CHECK(file_rewrite(path, "linger_ms = 11\nhttp_port = many\n"));
    status = settings_reload(&settings, change_note, &change);
    CHECK_INT(status.code, STATUS_INVALID);
    CHECK_INT(settings.linger_ms, 9);
    unlink(path);
    settings_free(&settings);
}

TEST(help_is_given_even_when_a_value_is_wrong)
{
    char *flags[] = { "x", "--help", "--http-port=many" };
    Settings settings;
    Status status = LOAD(&settings, flags, no_variables);
    CHECK_STR(status.message, "");
    CHECK_INT(settings.action, SETTINGS_HELP);
    settings_free(&settings);
}

/* Everything print gives, NUL-terminated; the caller frees it. */
static char *printed_by(void (*print)(FILE *out))
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    print(file);
    fclose(file);
    return text;
}

TEST(help_and_docs_name_every_setting)
{
    char *help = printed_by(settings_print_help);
    char *docs = printed_by(settings_print_docs);
    const char *missing = NULL;
    for (SettingId id = 0; id < SETTING_ID_COUNT; id++) {
        char flag[80];
        char cell[80];
        snprintf(cell, sizeof(cell), "| `%s` |", setting_rows[id].name);
        snprintf(flag, sizeof(flag), "  --%s VALUE\n", setting_rows[id].name);
        for (char *at = flag; *at; at++) {
            *at = *at == '_' ? '-' : *at;
        }
        missing = strstr(docs, cell) && strstr(help, flag) ? missing : setting_rows[id].name;
    }
    free(help);
    free(docs);
    CHECK(missing == NULL);
}

TEST(the_committed_document_is_what_the_table_gives)
{
    char *docs = printed_by(settings_print_docs);
    char committed[64 * 1024] = "";
    FILE *file = fopen("docs/configuration.md", "r");
    CHECK(file != NULL);
    size_t size = fread(committed, 1, sizeof(committed) - 1, file);
    fclose(file);
    CHECK_BYTES(slice_of(committed, size), slice_of_text(docs));
    free(docs);
}
