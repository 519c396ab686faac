/* setting_print.c: the settings table as --help, as docs/configuration.md and with its present values. */
#include <string.h>

#include "agent/setting_value.h"
#include "agent/settings.h"

enum { ALLOWED_BYTES = 160, VALUE_BYTES = 1024, PLACE_BYTES = 4200, HELP_WIDTH = 100, HELP_INDENT = 6 };

/* The table in its order: a title, or else a setting. */
typedef struct Entry {
    const char *title;
    SettingId id;
} Entry;

static const Entry entries[] = {
#define SECTION(title_)                                                       { title_, 0 },
#define SETTING(name, type, fallback, minimum, maximum, choices, flags, help) { NULL, SETTING_ID_##name },
#include "agent/setting_table.h"
#undef SECTION
#undef SETTING
};
enum { ENTRY_COUNT = sizeof(entries) / sizeof(entries[0]) };

/* text in lines of HELP_WIDTH, each indented. */
static void wrap(FILE *out, const char *text)
{
    size_t column = 0;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (column == 0 || column + 1 + word > HELP_WIDTH) {
            fprintf(out, "%s%*s", column ? "\n" : "", HELP_INDENT, "");
            column = HELP_INDENT;
        } else {
            fputc(' ', out);
            column++;
        }
        fprintf(out, "%.*s", (int)word, text);
        column += word;
        text += word + strspn(text + word, " ");
    }
    fputc('\n', out);
}

static void flag_name(const char *name, char *out, size_t size)
{
    snprintf(out, size, "--%s", name);
    for (char *at = out; *at; at++) {
        *at = *at == '_' ? '-' : *at;
    }
}

static void help_setting(FILE *out, const SettingRow *row)
{
    char flag[64];
    char allowed[ALLOWED_BYTES];
    char text[1200];
    flag_name(row->name, flag, sizeof(flag));
    setting_allowed(row, allowed, sizeof(allowed));
    snprintf(text, sizeof(text), "%s Allowed: %s. Default: %s.%s", row->help, allowed,
             row->fallback[0] ? row->fallback : "empty",
             row->flags & SETTING_RELOADABLE ? " SIGHUP reloads it." : "");
    fprintf(out, "  %s VALUE\n", flag);
    wrap(out, text);
}

void settings_print_help(FILE *out)
{
    fputs("streamhouse-agent " STREAMHOUSE_VERSION
          ": serves Kafka clients; its brain is PostgreSQL, its memory S3 or a folder.\n"
          "\n"
          "Usage: streamhouse-agent [--config FILE] [--name VALUE]...\n"
          "\n"
          "A setting may be given as a flag, as a variable (--linger-ms is STREAMHOUSE_LINGER_MS) or as a "
          "line\n"
          "\"name = value\" of FILE; the first of these wins. Signals: TERM and INT drain and exit, a second "
          "one exits\n"
          "at once, HUP reloads.\n"
          "\n"
          "  --config FILE      settings file; also STREAMHOUSE_CONFIG\n"
          "  --show-settings    print every setting's value and where it came from, then exit\n"
          "  --settings-docs    print docs/configuration.md, then exit\n"
          "  --version, --help\n",
          out);
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (entries[i].title) {
            fprintf(out, "\n%s:\n", entries[i].title);
        } else {
            help_setting(out, &setting_rows[entries[i].id]);
        }
    }
}

/* A table cell: '|' would end it. */
static void cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        fprintf(out, *text == '|' ? "\\|" : "%c", *text);
    }
}

static void docs_setting(FILE *out, const SettingRow *row)
{
    char allowed[ALLOWED_BYTES];
    setting_allowed(row, allowed, sizeof(allowed));
    fprintf(out, "| `%s` | ", row->name);
    if (row->fallback[0]) {
        fprintf(out, "`%s`", row->fallback);
    }
    fputs(" | ", out);
    cell(out, allowed);
    fprintf(out, " | %s | ", row->flags & SETTING_RELOADABLE ? "yes" : "");
    cell(out, row->help);
    fputs(" |\n", out);
}

void settings_print_docs(FILE *out)
{
    fputs("# Configuration of the agent\n"
          "\n"
          "Printed by `streamhouse-agent --settings-docs` from `agent/setting_table.h`; change it there.\n"
          "\n"
          "Every setting has one name and may be given in three places. The first that has it wins:\n"
          "\n"
          "1. a flag: `--linger-ms 20` or `--linger-ms=20` (a yes/no setting needs no value: "
          "`--auto-create-topics`),\n"
          "2. an environment variable: `STREAMHOUSE_LINGER_MS=20` (an empty one counts as absent),\n"
          "3. a line `linger_ms = 20` of the file that `--config FILE` or `STREAMHOUSE_CONFIG` names; lines "
          "that begin with `#`\n"
          "   are comments, and a value may stand in quotes.\n"
          "\n"
          "A wrong value is refused with what is allowed and where it was found; an unknown name with the "
          "nearest known\n"
          "one. `streamhouse-agent --show-settings` prints what holds and where each value came from, "
          "without secrets.\n"
          "`SIGHUP` reads the file again: settings marked under *reload* change at once, for others the log "
          "says that a\n"
          "restart is needed; a file with a mistake changes nothing.\n"
          "\n"
          "Sizes are bytes, with or without `KiB`, `MiB`, `GiB`, `TiB`; durations are milliseconds, or have "
          "`ms`, `s`, `min`\n"
          "or `h` behind them.\n",
          out);
    for (size_t i = 0; i < ENTRY_COUNT; i++) {
        if (entries[i].title) {
            fprintf(
                out,
                "\n## %s\n\n| name | default | allowed | reload | what it does |\n|---|---|---|---|---|\n",
                entries[i].title);
        } else {
            docs_setting(out, &setting_rows[entries[i].id]);
        }
    }
}

void settings_print_values(const Settings *settings, FILE *out)
{
    for (SettingId id = 0; id < SETTING_ID_COUNT; id++) {
        char value[VALUE_BYTES];
        char origin[PLACE_BYTES];
        settings_show(settings, id, value, sizeof(value));
        settings_origin(settings, id, origin, sizeof(origin));
        fprintf(out, "%s = %s  # %s\n", setting_rows[id].name, value, origin);
    }
}
