/* setting_value.h: one setting's value, from text and to text. */
#ifndef STREAMHOUSE_AGENT_SETTING_VALUE_H
#define STREAMHOUSE_AGENT_SETTING_VALUE_H

#include "agent/settings.h"

/* Stored for "auto" in DURATION fields until settings_load() resolves it; PORT has 0 and TEXT the word
 * itself. */
enum { SETTING_AUTO = -1 };
#define SETTING_AUTO_WORD "auto"

/* Where a value was written. */
typedef struct SettingPlace {
    SettingOrigin origin;
    const char *file;
    int line;
} SettingPlace;

/* "flag --linger-ms", "STREAMHOUSE_LINGER_MS", "streamhouse.conf:12", "default". */
void setting_place(const SettingRow *row, const SettingPlace *place, char *out, size_t size);

/* Stores text's value in its field of settings, which keeps its old one on failure. */
MUST_CHECK Status setting_store(Settings *settings, SettingId id, const char *text,
                                const SettingPlace *place);

/* The value as one would write it, secrets included, cut to size. */
void setting_format(const Settings *settings, SettingId id, char *out, size_t size);
/* The value as Kafka writes it: numbers in bytes and milliseconds, true and false; cut to size. */
void setting_plain(const Settings *settings, SettingId id, char *out, size_t size);
/* A number of a row's type as one would write it: 8MiB, 250ms, 12. */
void setting_format_number(SettingType type, int64_t value, char *out, size_t size);
/* "yes or no", "0ms to 1min, like 250ms, 5s, 10min, or auto" … */
void setting_allowed(const SettingRow *row, char *out, size_t size);
/* Whether text is one of a BOOL's words. */
bool setting_is_bool(const char *text);

/* Swaps one field between two Settings. */
void setting_swap(Settings *a, Settings *b, SettingId id);

#endif
