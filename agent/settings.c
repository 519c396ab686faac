/* settings.c: fills Settings from the places they may come from, resolves what is automatic, checks what only
 * holds between settings, and loads again. */
#include "agent/settings.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/setting_source.h"
#include "agent/setting_value.h"

enum {
    HOST_BYTES = 256,
    VALUE_BYTES = 4200, /* the longest TEXT and its NUL */
    FOLDER_LINGER_MS = 5,
    FOLDER_IDLE_MS = 0,
    S3_LINGER_MS = 100,
    S3_IDLE_MS = 20,
    FOLDER_PUTS = 3,
    FOLDER_GETS = 3,
    FOLDER_DELETES = 1,
    S3_PUTS = 8,
    S3_GETS = 16,
    S3_DELETES = 4,
    HEARTBEATS_PER_LEASE = 3,
    PUTS_PER_INTENT = 10
};

#define SETTING_TYPE_TEXT     SETTING_TEXT
#define SETTING_TYPE_CHOICE   SETTING_CHOICE
#define SETTING_TYPE_BOOL     SETTING_BOOL
#define SETTING_TYPE_COUNT    SETTING_COUNT_TYPE
#define SETTING_TYPE_PORT     SETTING_PORT
#define SETTING_TYPE_BYTES    SETTING_BYTES
#define SETTING_TYPE_DURATION SETTING_DURATION
#define SECRET                SETTING_SECRET
#define CONNINFO              SETTING_CONNINFO
#define RELOADABLE            SETTING_RELOADABLE
#define AUTOMATIC             SETTING_AUTOMATIC

const SettingRow setting_rows[SETTING_ID_COUNT] = {
#define SECTION(title_)
#define SETTING(name_, type_, fallback_, minimum_, maximum_, choices_, flags_, help_)                        \
    [SETTING_ID_##name_] = { .name = #name_,                                                                 \
                             .type = SETTING_TYPE_##type_,                                                   \
                             .fallback = fallback_,                                                          \
                             .minimum = minimum_,                                                            \
                             .maximum = maximum_,                                                            \
                             .choices = choices_,                                                            \
                             .flags = flags_,                                                                \
                             .help = help_,                                                                  \
                             .offset = offsetof(Settings, name_) },
#include "agent/setting_table.h"
#undef SETTING
#undef SECTION
};

static Status defaults_take(Settings *settings)
{
    SettingPlace place = { SETTING_FROM_DEFAULT, NULL, 0 };
    for (SettingId id = 0; id < SETTING_ID_COUNT; id++) {
        Status status = setting_store(settings, id, setting_rows[id].fallback, &place);
        if (!status_is_ok(&status)) {
            return status;
        }
    }
    return status_ok();
}

static bool host_is_every(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

/* Replaces a TEXT field. */
static Status text_replace(char **field, const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        return status_error(STATUS_LIMIT, "out of memory");
    }
    free(*field);
    *field = copy;
    return status_ok();
}

static bool text_is_auto(const char *text)
{
    return strcmp(text, SETTING_AUTO_WORD) == 0;
}

/* What is best for a folder on a disk and for S3 differs: latency, and how much goes on at a time. A folder's
 * reads and writes share the worker threads. */
static void settings_resolve_for_store(Settings *settings, bool is_s3)
{
    if (settings->linger_ms == SETTING_AUTO) {
        settings->linger_ms = is_s3 ? S3_LINGER_MS : FOLDER_LINGER_MS;
    }
    if (settings->idle_flush_ms == SETTING_AUTO) {
        settings->idle_flush_ms = is_s3 ? S3_IDLE_MS : FOLDER_IDLE_MS;
    }
    if (settings->put_parallel == SETTING_AUTO) {
        settings->put_parallel = is_s3 ? S3_PUTS : FOLDER_PUTS;
    }
    if (settings->get_parallel == SETTING_AUTO) {
        settings->get_parallel = is_s3 ? S3_GETS : FOLDER_GETS;
    }
    if (settings->delete_parallel == SETTING_AUTO) {
        settings->delete_parallel = is_s3 ? S3_DELETES : FOLDER_DELETES;
    }
}

/* Gives automatic settings the values that their help promises. */
static Status settings_resolve(Settings *settings)
{
    char host[HOST_BYTES] = "localhost";
    char name[HOST_BYTES + 16];
    Status status = status_ok();
    gethostname(host, sizeof(host) - 1);
    if (text_is_auto(settings->agent_name)) {
        snprintf(name, sizeof(name), "%s-%d", host, settings->kafka_port);
        status = text_replace(&settings->agent_name, name);
    }
    if (status_is_ok(&status) && text_is_auto(settings->advertised_host)) {
        status = text_replace(&settings->advertised_host,
                              host_is_every(settings->kafka_host) ? host : settings->kafka_host);
    }
    if (settings->advertised_port == 0) {
        settings->advertised_port = settings->kafka_port;
    }
    settings_resolve_for_store(settings, strncmp(settings->store, "s3://", 5) == 0);
    return status;
}

/* value of id is too small beside another setting: says both and what would do. */
static Status too_small(const Settings *settings, SettingId id, const char *rule, int64_t least)
{
    char value[32];
    char wanted[32];
    char where[96];
    setting_format(settings, id, value, sizeof(value));
    setting_format_number(setting_rows[id].type, least, wanted, sizeof(wanted));
    settings_origin(settings, id, where, sizeof(where));
    return status_error(STATUS_INVALID, "%s: %s is less than %s; allowed: %s or more (from %s)",
                        setting_rows[id].name, value, rule, wanted, where);
}

static bool store_is_known(const char *url)
{
    return strncmp(url, "file:///", 8) == 0 ||
           (strncmp(url, "s3://", 5) == 0 && url[5] != '\0' && url[5] != '/');
}

/* What holds between settings, and what a type cannot say. */
static Status settings_check(const Settings *settings)
{
    char where[96];
    if (!store_is_known(settings->store)) {
        settings_origin(settings, SETTING_ID_store, where, sizeof(where));
        return status_error(
            STATUS_INVALID,
            "store: \"%.60s\" is no store; allowed: file:///folder or s3://bucket/prefix (from %s)",
            settings->store, where);
    }
    if (settings->lease_ttl_ms < HEARTBEATS_PER_LEASE * settings->heartbeat_ms) {
        return too_small(settings, SETTING_ID_lease_ttl_ms, "three times heartbeat_ms",
                         HEARTBEATS_PER_LEASE * settings->heartbeat_ms);
    }
    if (settings->intent_ttl_ms < PUTS_PER_INTENT * settings->put_timeout_ms) {
        return too_small(settings, SETTING_ID_intent_ttl_ms, "ten times put_timeout_ms",
                         PUTS_PER_INTENT * settings->put_timeout_ms);
    }
    if (settings->produce_bytes_max < settings->frame_bytes_max) {
        return too_small(settings, SETTING_ID_produce_bytes_max, "frame_bytes_max",
                         settings->frame_bytes_max);
    }
    if (settings->group_session_max_ms < settings->group_session_min_ms) {
        return too_small(settings, SETTING_ID_group_session_max_ms, "group_session_min_ms",
                         settings->group_session_min_ms);
    }
    return status_ok();
}

/* What is beneath is kept: it is shown beside the value. */
static Status settings_take_overlays(Settings *out)
{
    SettingPlace place = { SETTING_FROM_BRAIN, NULL, 0 };
    Status status = status_ok();
    for (int i = 0; i < out->overlay_count && status_is_ok(&status); i++) {
        SettingOverlay *overlay = &out->overlays[i];
        setting_plain(out, overlay->id, overlay->beneath, sizeof(overlay->beneath));
        overlay->beneath_origin = out->origins[overlay->id];
        status = setting_store(out, overlay->id, overlay->value, &place);
    }
    return status;
}

static Status settings_take_all(Settings *out)
{
    Status status = out->file ? settings_take_file(out) : status_ok();
    if (status_is_ok(&status)) {
        status = settings_take_environment(out, out->environment);
    }
    if (status_is_ok(&status)) {
        status = settings_take_flags(out, out->argument_count, out->arguments);
    }
    if (status_is_ok(&status)) {
        status = settings_take_overlays(out);
    }
    if (status_is_ok(&status)) {
        status = settings_resolve(out);
    }
    return status_is_ok(&status) ? settings_check(out) : status;
}

static Status settings_load_with(int argument_count, char **arguments, char **environment,
                                 const SettingOverlay *overlays, int overlay_count, Settings *out)
{
    const char *file = NULL;
    memset(out, 0, sizeof(*out));
    out->overlay_count = overlay_count;
    if (overlay_count > 0) {
        memcpy(out->overlays, overlays, (size_t)overlay_count * sizeof(SettingOverlay));
    }
    out->argument_count = argument_count;
    out->arguments = arguments;
    out->environment = environment;
    Status status = settings_find_action(argument_count, arguments, environment, &out->action, &file);
    if (status_is_ok(&status)) {
        status = defaults_take(out);
    }
    if (status_is_ok(&status) && file && !(out->file = strdup(file))) {
        status = status_error(STATUS_LIMIT, "out of memory");
    }
    /* Help must be had even where a value is wrong. */
    bool needs_values = out->action == SETTINGS_RUN || out->action == SETTINGS_SHOW;
    if (status_is_ok(&status) && needs_values) {
        status = settings_take_all(out);
    }
    if (!status_is_ok(&status)) {
        settings_free(out);
    }
    return status;
}

Status settings_load(int argument_count, char **arguments, char **environment, Settings *out)
{
    return settings_load_with(argument_count, arguments, environment, NULL, 0, out);
}

void settings_free(Settings *settings)
{
    for (SettingId id = 0; id < SETTING_ID_COUNT; id++) {
        if (setting_rows[id].type == SETTING_TEXT) {
            char **field = (char **)((char *)settings + setting_rows[id].offset);
            if (*field) {
                explicit_bzero(*field, strlen(*field));
            }
            free(*field);
        }
    }
    free(settings->file);
    memset(settings, 0, sizeof(*settings));
}

static bool setting_differs(const Settings *a, const Settings *b, SettingId id)
{
    char before[VALUE_BYTES];
    char after[VALUE_BYTES];
    setting_format(a, id, before, sizeof(before));
    setting_format(b, id, after, sizeof(after));
    return strcmp(before, after) != 0;
}

Status settings_overlay(Settings *settings, const SettingOverlay *overlays, int count,
                        SettingChanged *changed, void *context)
{
    Settings fresh;
    Status status = settings_load_with(settings->argument_count, settings->arguments, settings->environment,
                                       overlays, count, &fresh);
    if (!status_is_ok(&status)) {
        return status;
    }
    for (SettingId id = 0; id < SETTING_ID_COUNT; id++) {
        char before[256];
        char after[256];
        bool reloadable = setting_rows[id].flags & SETTING_RELOADABLE;
        bool differs = setting_differs(settings, &fresh, id);
        settings_show(settings, id, before, sizeof(before));
        settings_show(&fresh, id, after, sizeof(after));
        if (reloadable) {
            setting_swap(settings, &fresh, id);
        }
        if (differs && changed) {
            changed(&setting_rows[id], before, after, reloadable, context);
        }
    }
    memcpy(settings->overlays, fresh.overlays, sizeof(settings->overlays));
    settings->overlay_count = fresh.overlay_count;
    settings_free(&fresh);
    return status;
}

Status settings_reload(Settings *settings, SettingChanged *changed, void *context)
{
    return settings_overlay(settings, settings->overlays, settings->overlay_count, changed, context);
}

/* keyword=value for what libpq would not hide itself. */
static void conninfo_show(const char *conninfo, char *out, size_t size)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    size_t used = 0;
    out[0] = '\0';
    for (PQconninfoOption *option = options; option && option->keyword && used < size; option++) {
        if (option->val) {
            bool secret = option->dispchar[0] == '*';
            used += (size_t)snprintf(out + used, size - used, "%s%s=%s", used ? " " : "", option->keyword,
                                     secret ? "***" : option->val);
        }
    }
    PQconninfoFree(options);
}

void settings_show(const Settings *settings, SettingId id, char *out, size_t size)
{
    char value[VALUE_BYTES];
    setting_format(settings, id, value, sizeof(value));
    if (setting_rows[id].flags & SETTING_CONNINFO) {
        conninfo_show(value, out, size);
    } else if (setting_rows[id].flags & SETTING_SECRET) {
        snprintf(out, size, "%s", value[0] ? "***" : "");
    } else {
        snprintf(out, size, "%s", value);
    }
    explicit_bzero(value, sizeof(value));
}

void settings_origin(const Settings *settings, SettingId id, char *out, size_t size)
{
    SettingPlace place = { settings->origins[id], settings->file, settings->lines[id] };
    setting_place(&setting_rows[id], &place, out, size);
}
