/* settings.h: what an operator may choose. One table (setting_table.h) gives the fields of Settings, the
 * parser, --help, docs/configuration.md and the rules; the precedence is flag, environment, file, default:
 *
 *   --linger-ms 20   --linger-ms=20      '-' and '_' are the same in flags; a BOOL flag needs no value
 *   STREAMHOUSE_LINGER_MS=20
 *   linger_ms = 20                       in the file of --config FILE or STREAMHOUSE_CONFIG; # begins a
 * comment line
 *
 * A wrong value is refused with what is allowed and where it came from, an unknown name with the nearest
 * known one. */
#ifndef STREAMHOUSE_AGENT_SETTINGS_H
#define STREAMHOUSE_AGENT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/status.h"

typedef enum SettingType {
    SETTING_TEXT,
    SETTING_CHOICE,
    SETTING_BOOL,
    SETTING_COUNT_TYPE,
    SETTING_PORT,
    SETTING_BYTES,
    SETTING_DURATION
} SettingType;

enum { SETTING_SECRET = 1, SETTING_CONNINFO = 2, SETTING_RELOADABLE = 4, SETTING_AUTOMATIC = 8 };

typedef enum SettingId {
#define SECTION(title)
#define SETTING(name, type, fallback, minimum, maximum, choices, flags, help) SETTING_ID_##name,
#include "agent/setting_table.h"
#undef SETTING
    SETTING_ID_COUNT
} SettingId;

typedef struct SettingRow {
    const char *name; /* linger_ms */
    SettingType type;
    const char *fallback; /* the default, as one would write it */
    int64_t minimum;      /* of the value; of the length for TEXT */
    int64_t maximum;
    const char *choices; /* "a|b|c" for CHOICE */
    unsigned flags;
    const char *help;
    size_t offset; /* of the field in Settings */
} SettingRow;

extern const SettingRow setting_rows[SETTING_ID_COUNT];

typedef enum SettingOrigin {
    SETTING_FROM_DEFAULT,
    SETTING_FROM_FILE,
    SETTING_FROM_ENVIRONMENT,
    SETTING_FROM_FLAG,
    SETTING_FROM_BRAIN /* a Kafka broker config: goes before all others */
} SettingOrigin;

enum { SETTING_OVERLAYS_MAX = 64, SETTING_OVERLAY_BYTES = 64 };

/* A reloadable setting's value from the brain, and what it lies over. */
typedef struct SettingOverlay {
    SettingId id;
    char value[SETTING_OVERLAY_BYTES];
    char beneath[SETTING_OVERLAY_BYTES]; /* as setting_plain() writes it */
    SettingOrigin beneath_origin;
} SettingOverlay;

/* What the command line asks for. */
typedef enum SettingsAction {
    SETTINGS_RUN,
    SETTINGS_HELP,    /* --help */
    SETTINGS_VERSION, /* --version */
    SETTINGS_DOCS,    /* --settings-docs: docs/configuration.md */
    SETTINGS_SHOW     /* --show-settings: values and where they came from, secrets hidden */
} SettingsAction;

/* A CHOICE field is the index of its word; the order of the words is that of the enum it is for:
 * JournalLevel, JournalFormat, and StoreAddressing, StoreChecksum, StoreConditional of common/store/store.h.
 */
#define SETTING_C_TEXT     char *
#define SETTING_C_CHOICE   int
#define SETTING_C_BOOL     bool
#define SETTING_C_COUNT    int
#define SETTING_C_PORT     int
#define SETTING_C_BYTES    int64_t
#define SETTING_C_DURATION int64_t

typedef struct Settings {
#define SETTING(name, type, fallback, minimum, maximum, choices, flags, help) SETTING_C_##type name;
#include "agent/setting_table.h"
#undef SETTING
#undef SECTION
    /* Where each came from. */
    SettingOrigin origins[SETTING_ID_COUNT];
    int lines[SETTING_ID_COUNT]; /* in the file, for SETTING_FROM_FILE */
    char *file;                  /* NULL when none was named */
    SettingOverlay overlays[SETTING_OVERLAYS_MAX];
    int overlay_count;
    SettingsAction action;
    /* Kept for reloading; not owned. */
    int argument_count;
    char **arguments;
    char **environment;
} Settings;

/* Fills out from defaults, the file, the environment and the flags. On failure out needs no freeing.
 * arguments and environment must outlive out. argument 0 is skipped. */
MUST_CHECK Status settings_load(int argument_count, char **arguments, char **environment, Settings *out);
void settings_free(Settings *settings);

/* Loads again, in the same way. Reloadable fields take their new values; changed is called for every
 * difference, with applied false for one that needs a restart. before and after are as settings_show() gives
 * them. On failure nothing changes. */
typedef void SettingChanged(const SettingRow *row, const char *before, const char *after, bool applied,
                            void *context);
MUST_CHECK Status settings_reload(Settings *settings, SettingChanged *changed, void *context);

/* Puts these values over those from elsewhere, in place of the earlier ones, and loads again. Each id once.
 */
MUST_CHECK Status settings_overlay(Settings *settings, const SettingOverlay *overlays, int count,
                                   SettingChanged *changed, void *context);

/* One value as text, secrets hidden, cut to size. */
void settings_show(const Settings *settings, SettingId id, char *out, size_t size);
/* "default", "flag --linger-ms", "STREAMHOUSE_LINGER_MS", "streamhouse.conf:12". */
void settings_origin(const Settings *settings, SettingId id, char *out, size_t size);

/* --help, docs/configuration.md, --show-settings. */
void settings_print_help(FILE *out);
void settings_print_docs(FILE *out);
void settings_print_values(const Settings *settings, FILE *out);

/* The words of a CHOICE; NULL past the last. The text is shared and overwritten by the next call. */
const char *setting_choice(const SettingRow *row, int index);

#endif
