/* settings_fuzz.c: any bytes as a settings file, as an environment and as a command line. Whatever is
 * accepted must be shown and taken again with the same result. */
#include <stdlib.h>
#include <string.h>

#include "agent/journal.h"
#include "agent/setting_source.h"
#include "agent/setting_value.h"

enum { WORDS_MAX = 32, WORD_BYTES = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char words[WORDS_MAX][WORD_BYTES];
static char *pointers[WORDS_MAX + 2];

/* Lines of data as words with a prefix; returns how many. No word may name a file to open. */
static int words_split(const uint8_t *data, size_t size, const char *prefix)
{
    int count = 0;
    memset(pointers, 0, sizeof(pointers));
    while (size > 0 && count < WORDS_MAX) {
        const uint8_t *end = memchr(data, '\n', size);
        size_t length = end ? (size_t)(end - data) : size;
        snprintf(words[count], WORD_BYTES, "%s%.*s", prefix, length < WORD_BYTES ? (int)length : WORD_BYTES,
                 (const char *)data);
        if (!strcasestr(words[count], "config")) {
            pointers[count + 1] = words[count];
            count++;
        }
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
    return count;
}

/* What is shown of an accepted value must be accepted again. */
static void check_shown(const Settings *settings, SettingId id)
{
    char shown[512];
    char again[512];
    SettingPlace place = { SETTING_FROM_FLAG, NULL, 0 };
    Settings copy;
    char *no_words[] = { NULL };
    setting_format(settings, id, shown, sizeof(shown));
    if (setting_rows[id].type == SETTING_TEXT || setting_rows[id].flags & SETTING_AUTOMATIC) {
        return;
    }
    Status status = settings_load(0, no_words, no_words, &copy);
    if (status_is_ok(&status)) {
        status = setting_store(&copy, id, shown, &place);
    }
    if (!status_is_ok(&status)) {
        abort();
    }
    setting_format(&copy, id, again, sizeof(again));
    if (strcmp(shown, again) != 0) {
        abort();
    }
    settings_free(&copy);
}

static void settings_end(Settings *settings, const Status *status)
{
    if (!status_is_ok(status)) {
        return;
    }
    for (SettingId id = 0; id < SETTING_ID_COUNT && settings->action == SETTINGS_RUN; id++) {
        if (settings->origins[id] != SETTING_FROM_DEFAULT) {
            check_shown(settings, id);
        }
    }
    settings_free(settings);
}

static void try_file(const uint8_t *data, size_t size)
{
    Settings settings;
    Status status = settings_load(0, (char *[]){ NULL }, (char *[]){ NULL }, &settings);
    if (!status_is_ok(&status)) {
        abort();
    }
    settings.file = strdup("conf");
    status = settings_take_text(&settings, slice_of(data, size));
    status = status_ok();
    settings_end(&settings, &status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Settings settings;
    if (size == 0) {
        return 0;
    }
    if (data[0] == 'f') {
        try_file(data + 1, size - 1);
    } else if (data[0] == 'e') {
        words_split(data + 1, size - 1, "STREAMHOUSE_");
        Status status = settings_load(0, (char *[]){ NULL }, pointers + 1, &settings);
        settings_end(&settings, &status);
    } else {
        int count = words_split(data + 1, size - 1, "");
        pointers[0] = "x";
        Status status = settings_load(count + 1, pointers, (char *[]){ NULL }, &settings);
        settings_end(&settings, &status);
    }
    return 0;
}
