/* setting_source.c: reads settings from a file's text, the environment and the command line. An unknown name
 * is refused with the nearest known one. */
#include "agent/setting_source.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/setting_value.h"

#define ENVIRONMENT_PREFIX "STREAMHOUSE_"

enum { NAME_BYTES = 64, LINE_BYTES = 8192 };

/* Flags that are no settings. */
typedef struct Word {
    const char *name;
    SettingsAction action;
    bool has_value;
} Word;

static const Word words[] = {
    { "help", SETTINGS_HELP, false },          { "version", SETTINGS_VERSION, false },
    { "settings_docs", SETTINGS_DOCS, false }, { "show_settings", SETTINGS_SHOW, false },
    { "config", SETTINGS_RUN, true },
};
enum { WORD_COUNT = sizeof(words) / sizeof(words[0]) };

/* Variables that tell clients where the agent is (.streamhouse/env); they are not about the agent. */
static const char *const client_variables[] = { "config", "kafka", "http" };

/* name in lower case with '_' for '-'; false when it is too long to be one. */
static bool name_fold(const char *name, size_t size, char out[NAME_BYTES])
{
    if (size == 0 || size >= NAME_BYTES) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        out[i] = name[i] == '-' ? '_' : (char)tolower((unsigned char)name[i]);
    }
    out[size] = '\0';
    return true;
}

static int name_find(const char *name)
{
    for (int id = 0; id < SETTING_ID_COUNT; id++) {
        if (strcmp(setting_rows[id].name, name) == 0) {
            return id;
        }
    }
    return -1;
}

static const Word *word_find(const char *name)
{
    for (size_t i = 0; i < WORD_COUNT; i++) {
        if (strcmp(words[i].name, name) == 0) {
            return &words[i];
        }
    }
    return NULL;
}

/* Levenshtein's distance of two names. */
static size_t name_distance(const char *a, const char *b)
{
    size_t row[NAME_BYTES];
    size_t width = strlen(b);
    for (size_t j = 0; j <= width; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < width; j++) {
            size_t replaced = diagonal + (a[i] != b[j]);
            size_t shorter = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            diagonal = row[j + 1];
            row[j + 1] = replaced < shorter ? replaced : shorter;
        }
    }
    return row[width];
}

static const char *name_nearest(const char *name)
{
    const char *nearest = setting_rows[0].name;
    size_t best = SIZE_MAX;
    for (int id = 0; id < SETTING_ID_COUNT; id++) {
        size_t distance = name_distance(name, setting_rows[id].name);
        if (distance < best) {
            best = distance;
            nearest = setting_rows[id].name;
        }
    }
    for (size_t i = 0; i < WORD_COUNT; i++) {
        size_t distance = name_distance(name, words[i].name);
        if (distance < best) {
            best = distance;
            nearest = words[i].name;
        }
    }
    return nearest;
}

/* size bytes at name are no setting; place says where they stand. */
static Status name_refuse(const char *name, size_t size, const char *place)
{
    char folded[NAME_BYTES];
    if (!name_fold(name, size, folded)) {
        return status_error(STATUS_INVALID, "%s: a setting's name is missing or too long; --help lists them",
                            place);
    }
    return status_error(STATUS_INVALID,
                        "%s: there is no setting \"%s\"; the nearest is \"%s\", and --help lists all", place,
                        folded, name_nearest(folded));
}

static Slice slice_trim(Slice text)
{
    while (text.size && isspace(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size && isspace(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

static Slice slice_unquote(Slice text)
{
    bool quoted = text.size >= 2 && (text.data[0] == '"' || text.data[0] == '\'') &&
                  text.data[text.size - 1] == text.data[0];
    return quoted ? slice_of(text.data + 1, text.size - 2) : text;
}

/* Stores name = value of one line. */
static Status line_take(Settings *settings, Slice name, Slice value, int line)
{
    char folded[NAME_BYTES];
    char text[LINE_BYTES];
    char place[96];
    SettingPlace from = { SETTING_FROM_FILE, settings->file, line };
    int id = name_fold((const char *)name.data, name.size, folded) ? name_find(folded) : -1;
    snprintf(place, sizeof(place), "%s:%d", settings->file, line);
    if (id < 0) {
        return name_refuse((const char *)name.data, name.size, place);
    }
    if (settings->origins[id] == SETTING_FROM_FILE) {
        return status_error(STATUS_INVALID, "%s: %s stands on line %d already", place, setting_rows[id].name,
                            settings->lines[id]);
    }
    if (value.size >= sizeof(text) || memchr(value.data, '\0', value.size)) {
        return status_error(STATUS_INVALID, "%s: the value is too long or binary", place);
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    return setting_store(settings, (SettingId)id, text, &from);
}

Status settings_take_text(Settings *settings, Slice text)
{
    for (int line = 1; text.size > 0; line++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        Slice content = slice_trim(slice_of(text.data, size));
        text = slice_of(text.data + size + (end != NULL), text.size - size - (end != NULL));
        if (content.size == 0 || content.data[0] == '#') {
            continue;
        }
        const uint8_t *equals = memchr(content.data, '=', content.size);
        if (!equals) {
            return status_error(STATUS_INVALID,
                                "%s:%d: a line is name = value, or a comment that begins with #",
                                settings->file, line);
        }
        size_t name_size = (size_t)(equals - content.data);
        Slice value = slice_trim(slice_of(equals + 1, content.size - name_size - 1));
        Status status =
            line_take(settings, slice_trim(slice_of(content.data, name_size)), slice_unquote(value), line);
        if (!status_is_ok(&status)) {
            return status;
        }
    }
    return status_ok();
}

Status settings_take_file(Settings *settings)
{
    FILE *file = fopen(settings->file, "re");
    if (!file) {
        return status_error(STATUS_NOT_FOUND, "cannot read the settings file %s: %s", settings->file,
                            strerror(errno));
    }
    char *bytes = malloc(SETTING_FILE_MAX + 1);
    size_t size = bytes ? fread(bytes, 1, SETTING_FILE_MAX + 1, file) : 0;
    Status status;
    if (!bytes || ferror(file)) {
        status = status_error(STATUS_INTERNAL, "cannot read the settings file %s: %s", settings->file,
                              strerror(errno));
    } else if (size > SETTING_FILE_MAX) {
        status = status_error(STATUS_LIMIT, "the settings file %s is larger than 1MiB", settings->file);
    } else {
        status = settings_take_text(settings, slice_of(bytes, size));
    }
    if (bytes) {
        explicit_bzero(bytes, size);
    }
    free(bytes);
    fclose(file);
    return status;
}

/* Kubernetes gives every container variables of each service (STREAMHOUSE_SERVICE_HOST,
 * STREAMHOUSE_PORT=tcp://…), which must not keep an agent beside a service of that name from starting. */
static bool variable_is_foreign(const char *name, const char *value)
{
    for (size_t i = 0; i < sizeof(client_variables) / sizeof(client_variables[0]); i++) {
        if (strcmp(name, client_variables[i]) == 0) {
            return true;
        }
    }
    return strncmp(value, "tcp://", 6) == 0 || strncmp(value, "udp://", 6) == 0 ||
           strstr(name, "service_host") || strstr(name, "service_port") || strstr(name, "_tcp") ||
           strstr(name, "_udp");
}

static Status variable_take(Settings *settings, const char *name, size_t name_size, const char *value)
{
    char folded[NAME_BYTES];
    char place[96];
    SettingPlace from = { SETTING_FROM_ENVIRONMENT, NULL, 0 };
    bool named = name_fold(name, name_size, folded);
    if (*value == '\0' || (named && variable_is_foreign(folded, value))) {
        return status_ok();
    }
    int id = named ? name_find(folded) : -1;
    if (id < 0) {
        snprintf(place, sizeof(place), ENVIRONMENT_PREFIX "%.*s",
                 name_size < NAME_BYTES ? (int)name_size : NAME_BYTES, name);
        return name_refuse(name, name_size, place);
    }
    return setting_store(settings, (SettingId)id, value, &from);
}

Status settings_take_environment(Settings *settings, char **environment)
{
    const size_t prefix_size = sizeof(ENVIRONMENT_PREFIX) - 1;
    for (; environment && *environment; environment++) {
        const char *name = *environment + prefix_size;
        if (strncmp(*environment, ENVIRONMENT_PREFIX, prefix_size) != 0) {
            continue;
        }
        size_t name_size = strcspn(name, "=");
        Status status = variable_take(settings, name, name_size, name[name_size] ? name + name_size + 1 : "");
        if (!status_is_ok(&status)) {
            return status;
        }
    }
    return status_ok();
}

/* One flag of the command line: its folded name and where its value is. */
typedef struct Flag {
    char name[NAME_BYTES];
    const char *value; /* NULL when there is none */
    const Word *word;  /* one that is no setting */
    int id;            /* a setting */
    int used;          /* arguments taken */
} Flag;

static Status flag_read(int left, char **arguments, Flag *flag)
{
    const char *argument = arguments[0];
    if (strcmp(argument, "-h") == 0) {
        argument = "--help";
    }
    size_t size = strncmp(argument, "--", 2) == 0 ? strcspn(argument + 2, "=") : 0;
    if (size == 0) {
        /* What follows '=' may be a password that a missing quote cut off. */
        return status_error(STATUS_INVALID, "\"%.*s\" is no flag; settings are given as --name value",
                            (int)strcspn(argument, "="), argument);
    }
    bool named = name_fold(argument + 2, size, flag->name);
    flag->id = named ? name_find(flag->name) : -1;
    flag->word = named ? word_find(flag->name) : NULL;
    if (flag->id < 0 && !flag->word) {
        return name_refuse(argument + 2, size, "command line");
    }
    bool is_switch = flag->id >= 0 ? setting_rows[flag->id].type == SETTING_BOOL : !flag->word->has_value;
    flag->value = argument[2 + size] == '=' ? argument + 2 + size + 1 : NULL;
    flag->used = 1;
    if (flag->value) {
        return status_ok();
    }
    bool follows = left > 1 && (!is_switch || (flag->id >= 0 && setting_is_bool(arguments[1])));
    if (!follows && !is_switch) {
        return status_error(STATUS_INVALID, "flag --%.*s needs a value", (int)size, argument + 2);
    }
    flag->value = follows ? arguments[1] : flag->id >= 0 ? "yes" : NULL;
    flag->used += follows;
    return status_ok();
}

Status settings_take_flags(Settings *settings, int count, char **arguments)
{
    SettingPlace from = { SETTING_FROM_FLAG, NULL, 0 };
    for (int i = 1; i < count;) {
        Flag flag = { .used = 0 };
        Status status = flag_read(count - i, arguments + i, &flag);
        if (status_is_ok(&status) && flag.id >= 0) {
            status = setting_store(settings, (SettingId)flag.id, flag.value, &from);
        }
        if (!status_is_ok(&status)) {
            return status;
        }
        i += flag.used;
    }
    return status_ok();
}

Status settings_find_action(int count, char **arguments, char **environment, SettingsAction *action,
                            const char **file)
{
    static const char variable[] = ENVIRONMENT_PREFIX "CONFIG=";
    *action = SETTINGS_RUN;
    *file = NULL;
    for (; environment && *environment; environment++) {
        if (strncmp(*environment, variable, sizeof(variable) - 1) == 0) {
            *file = *environment + sizeof(variable) - 1;
        }
    }
    for (int i = 1; i < count;) {
        Flag flag = { .used = 0 };
        Status status = flag_read(count - i, arguments + i, &flag);
        if (!status_is_ok(&status)) {
            return status;
        }
        if (flag.word && flag.word->has_value) {
            *file = flag.value;
        } else if (flag.word && *action == SETTINGS_RUN) {
            *action = flag.word->action;
        }
        i += flag.used;
    }
    *file = *file && **file ? *file : NULL;
    return status_ok();
}
