/* setting_value.c: turns text into a setting's value and back, a parser and a formatter for each type. */
#include "agent/setting_value.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "agent/journal.h"

enum { SHOWN_BYTES = 40, ALLOWED_BYTES = 140, PLACE_BYTES = 80 };

typedef struct Unit {
    const char *name;
    int64_t factor;
} Unit;

/* Largest first; the last is what a bare number means. */
static const Unit byte_units[] = {
    { "TiB", 1LL << 40 }, { "GiB", 1LL << 30 }, { "MiB", 1LL << 20 },
    { "KiB", 1LL << 10 }, { "B", 1 },           { NULL, 0 },
};
static const Unit time_units[] = {
    { "h", 3600000 }, { "min", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL, 0 },
};
static const Unit no_units[] = { { "", 1 }, { NULL, 0 } };

static const Unit *type_units(SettingType type)
{
    return type == SETTING_BYTES ? byte_units : type == SETTING_DURATION ? time_units : no_units;
}

static void *field_of(const Settings *settings, SettingId id)
{
    return (char *)(uintptr_t)settings + setting_rows[id].offset;
}

static bool row_is_wide(const SettingRow *row)
{
    return row->type == SETTING_BYTES || row->type == SETTING_DURATION;
}

void setting_place(const SettingRow *row, const SettingPlace *place, char *out, size_t size)
{
    char name[64];
    snprintf(name, sizeof(name), "%s", row->name);
    for (char *at = name; *at; at++) {
        *at = place->origin == SETTING_FROM_FLAG && *at == '_' ? '-' : *at;
        *at = place->origin == SETTING_FROM_ENVIRONMENT ? (char)toupper((unsigned char)*at) : *at;
    }
    switch (place->origin) {
    case SETTING_FROM_DEFAULT:
        snprintf(out, size, "default");
        break;
    case SETTING_FROM_FILE:
        snprintf(out, size, "%s:%d", place->file, place->line);
        break;
    case SETTING_FROM_ENVIRONMENT:
        snprintf(out, size, "STREAMHOUSE_%s", name);
        break;
    case SETTING_FROM_FLAG:
        snprintf(out, size, "flag --%s", name);
        break;
    case SETTING_FROM_BRAIN:
        snprintf(out, size, "broker config");
        break;
    }
}

const char *setting_choice(const SettingRow *row, int index)
{
    static char word[32];
    const char *at = row->choices;
    for (; index > 0; index--) {
        at = strchr(at, '|');
        if (!at) {
            return NULL;
        }
        at++;
    }
    snprintf(word, sizeof(word), "%.*s", (int)strcspn(at, "|"), at);
    return word;
}

void setting_format_number(SettingType type, int64_t value, char *out, size_t size)
{
    const Unit *unit = type_units(type);
    while (unit[1].name && (value == 0 || value % unit->factor != 0)) {
        unit++;
    }
    snprintf(out, size, "%" PRId64 "%s", value / unit->factor, unit->name);
}

static void choices_format(const SettingRow *row, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; setting_choice(row, i) && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "", setting_choice(row, i));
    }
}

void setting_allowed(const SettingRow *row, char *out, size_t size)
{
    static const char *const examples[] = {
        [SETTING_TEXT] = "",
        [SETTING_CHOICE] = "",
        [SETTING_BOOL] = "",
        [SETTING_COUNT_TYPE] = "",
        [SETTING_PORT] = "",
        [SETTING_BYTES] = ", like 64KiB or 8MiB",
        [SETTING_DURATION] = ", like 250ms, 5s or 10min",
    };
    const char *automatic = row->flags & SETTING_AUTOMATIC ? ", or auto" : "";
    char low[32];
    char high[32];
    setting_format_number(row->type, row->minimum, low, sizeof(low));
    setting_format_number(row->type, row->maximum, high, sizeof(high));
    if (row->type == SETTING_CHOICE) {
        choices_format(row, out, size);
    } else if (row->type == SETTING_BOOL) {
        snprintf(out, size, "yes, no, on, off, true, false, 1, 0");
    } else if (row->flags & SETTING_CONNINFO) {
        snprintf(out, size, "a libpq connection string");
    } else if (row->type == SETTING_TEXT) {
        snprintf(out, size, "text of %s to %s characters%s", low, high, automatic);
    } else {
        snprintf(out, size, "%s to %s%s%s", low, high, examples[row->type], automatic);
    }
}

static Status refuse(const SettingRow *row, const char *text, const char *why, const SettingPlace *place)
{
    char allowed[ALLOWED_BYTES];
    char where[PLACE_BYTES];
    bool hidden = row->flags & (SETTING_SECRET | SETTING_CONNINFO);
    setting_allowed(row, allowed, sizeof(allowed));
    setting_place(row, place, where, sizeof(where));
    if (hidden) {
        return status_error(STATUS_INVALID, "%s: the value (not shown) %s; allowed: %s (from %s)", row->name,
                            why, allowed, where);
    }
    return status_error(STATUS_INVALID, "%s: \"%.*s%s\" %s; allowed: %s (from %s)", row->name, SHOWN_BYTES,
                        text, strlen(text) > SHOWN_BYTES ? "…" : "", why, allowed, where);
}

/* A number of digits with a unit; false when it is none or does not fit. */
static bool number_parse(const Unit *units, const char *text, int64_t *out)
{
    char *end;
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    errno = 0;
    int64_t number = strtoll(text, &end, 10);
    if (errno) {
        return false;
    }
    end += strspn(end, " ");
    for (const Unit *unit = units; unit->name; unit++) {
        bool bare = *end == '\0' && !unit[1].name;
        if (bare || strcasecmp(end, unit->name) == 0) {
            return !__builtin_mul_overflow(number, unit->factor, out);
        }
    }
    return false;
}

static Status number_store(Settings *settings, SettingId id, const char *text, const SettingPlace *place)
{
    const SettingRow *row = &setting_rows[id];
    int64_t value;
    if (row->flags & SETTING_AUTOMATIC && strcasecmp(text, SETTING_AUTO_WORD) == 0) {
        value = row->type == SETTING_PORT ? 0 : SETTING_AUTO;
    } else if (!number_parse(type_units(row->type), text, &value)) {
        return refuse(row, text,
                      row->type == SETTING_DURATION ? "is not a duration"
                      : row->type == SETTING_BYTES  ? "is not a size"
                                                    : "is not a number",
                      place);
    } else if (value < row->minimum || value > row->maximum) {
        return refuse(row, text, "is out of range", place);
    }
    if (row_is_wide(row)) {
        *(int64_t *)field_of(settings, id) = value;
    } else {
        *(int *)field_of(settings, id) = (int)value;
    }
    return status_ok();
}

static Status choice_store(Settings *settings, SettingId id, const char *text, const SettingPlace *place)
{
    const SettingRow *row = &setting_rows[id];
    for (int i = 0; setting_choice(row, i); i++) {
        if (strcasecmp(setting_choice(row, i), text) == 0) {
            *(int *)field_of(settings, id) = i;
            return status_ok();
        }
    }
    return refuse(row, text, "is unknown", place);
}

/* Odd ones are true. */
static const char *const bool_words[] = { "no", "yes", "off", "on", "false", "true", "0", "1" };

static int bool_word(const char *text)
{
    for (int i = 0; i < (int)(sizeof(bool_words) / sizeof(bool_words[0])); i++) {
        if (strcasecmp(bool_words[i], text) == 0) {
            return i;
        }
    }
    return -1;
}

bool setting_is_bool(const char *text)
{
    return bool_word(text) >= 0;
}

static Status bool_store(Settings *settings, SettingId id, const char *text, const SettingPlace *place)
{
    int word = bool_word(text);
    if (word < 0) {
        return refuse(&setting_rows[id], text, "is neither yes nor no", place);
    }
    *(bool *)field_of(settings, id) = word % 2 == 1;
    return status_ok();
}

/* libpq's own message may quote a piece of a password, so it is passed on only when there can be none. */
static Status conninfo_check(const SettingRow *row, const char *text, const SettingPlace *place)
{
    char *why = NULL;
    char reason[STATUS_MESSAGE_MAX] = "is malformed";
    PQconninfoOption *options = PQconninfoParse(text, &why);
    for (PQconninfoOption *option = options; option && option->keyword; option++) {
        if (option->dispchar[0] == '*' && option->val) {
            journal_keep_secret(option->val);
        }
    }
    if (why && !strstr(text, "pass") && !strchr(text, '@')) {
        snprintf(reason, sizeof(reason), "is malformed (%.*s)", (int)strcspn(why, "\n"), why);
    }
    bool valid = options != NULL;
    PQfreemem(why);
    PQconninfoFree(options);
    return valid ? status_ok() : refuse(row, text, reason, place);
}

static Status text_store(Settings *settings, SettingId id, const char *text, const SettingPlace *place)
{
    const SettingRow *row = &setting_rows[id];
    char **field = field_of(settings, id);
    Status status = status_ok();
    int64_t size = (int64_t)strlen(text);
    if (size < row->minimum || size > row->maximum) {
        return refuse(row, text, size ? "is too short or too long" : "is empty", place);
    }
    for (const char *at = text; *at; at++) {
        if (iscntrl((unsigned char)*at)) {
            return refuse(row, "", "has a control character", place);
        }
    }
    if (row->flags & SETTING_CONNINFO) {
        status = conninfo_check(row, text, place);
    }
    char *copy = status_is_ok(&status) ? strdup(text) : NULL;
    if (copy) {
        free(*field);
        *field = copy;
    }
    return status_is_ok(&status) && !copy ? status_error(STATUS_LIMIT, "out of memory") : status;
}

typedef Status SettingStore(Settings *settings, SettingId id, const char *text, const SettingPlace *place);

static SettingStore *const stores[] = {
    [SETTING_TEXT] = text_store,         [SETTING_CHOICE] = choice_store, [SETTING_BOOL] = bool_store,
    [SETTING_COUNT_TYPE] = number_store, [SETTING_PORT] = number_store,   [SETTING_BYTES] = number_store,
    [SETTING_DURATION] = number_store,
};

Status setting_store(Settings *settings, SettingId id, const char *text, const SettingPlace *place)
{
    Status status = stores[setting_rows[id].type](settings, id, text, place);
    if (status_is_ok(&status)) {
        settings->origins[id] = place->origin;
        settings->lines[id] = place->line;
    }
    return status;
}

void setting_format(const Settings *settings, SettingId id, char *out, size_t size)
{
    const SettingRow *row = &setting_rows[id];
    const void *field = field_of(settings, id);
    switch (row->type) {
    case SETTING_TEXT:
        snprintf(out, size, "%s", *(char *const *)field);
        break;
    case SETTING_CHOICE:
        snprintf(out, size, "%s", setting_choice(row, *(const int *)field));
        break;
    case SETTING_BOOL:
        snprintf(out, size, "%s", *(const bool *)field ? "yes" : "no");
        break;
    default:
        setting_format_number(row->type, row_is_wide(row) ? *(const int64_t *)field : *(const int *)field,
                              out, size);
    }
}

void setting_plain(const Settings *settings, SettingId id, char *out, size_t size)
{
    const SettingRow *row = &setting_rows[id];
    const void *field = field_of(settings, id);
    switch (row->type) {
    case SETTING_TEXT:
    case SETTING_CHOICE:
        setting_format(settings, id, out, size);
        break;
    case SETTING_BOOL:
        snprintf(out, size, "%s", *(const bool *)field ? "true" : "false");
        break;
    default:
        snprintf(out, size, "%" PRId64, row_is_wide(row) ? *(const int64_t *)field : *(const int *)field);
    }
}

void setting_swap(Settings *a, Settings *b, SettingId id)
{
    static const size_t sizes[] = {
        [SETTING_TEXT] = sizeof(char *),      [SETTING_CHOICE] = sizeof(int),
        [SETTING_BOOL] = sizeof(bool),        [SETTING_COUNT_TYPE] = sizeof(int),
        [SETTING_PORT] = sizeof(int),         [SETTING_BYTES] = sizeof(int64_t),
        [SETTING_DURATION] = sizeof(int64_t),
    };
    char kept[sizeof(int64_t)];
    size_t size = sizes[setting_rows[id].type];
    memcpy(kept, field_of(a, id), size);
    memcpy(field_of(a, id), field_of(b, id), size);
    memcpy(field_of(b, id), kept, size);
    SettingOrigin origin = a->origins[id];
    a->origins[id] = b->origins[id];
    b->origins[id] = origin;
    int line = a->lines[id];
    a->lines[id] = b->lines[id];
    b->lines[id] = line;
}
