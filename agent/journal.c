/* journal.c: formats a line of the log and writes it in one call. A line is built in a fixed buffer on the
 * stack; what does not fit is cut, and the line stays well-formed. */
#include "agent/journal.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/utf8.h"

enum {
    LINE_BYTES = 4096,
    MESSAGE_BYTES = 2048,
    VALUE_BYTES = 1024,
    /* Kept free for what must come after a text that was cut: quote, brace, newline. */
    LINE_RESERVE = 8,
    SECRET_BYTES = 256
};

typedef struct Line {
    size_t used;
    char bytes[LINE_BYTES];
} Line;

static JournalLevel least_level = JOURNAL_INFO;
static JournalFormat line_format = JOURNAL_TEXT;
static int line_descriptor = STDERR_FILENO;
static char secrets[JOURNAL_SECRETS_MAX][SECRET_BYTES];
static size_t secret_count;

static const char *const level_names[] = {
    [JOURNAL_DEBUG] = "debug",
    [JOURNAL_INFO] = "info",
    [JOURNAL_WARN] = "warn",
    [JOURNAL_ERROR] = "error",
};

void journal_configure(JournalLevel level, JournalFormat format)
{
    least_level = level;
    line_format = format;
}

void journal_to(int descriptor)
{
    line_descriptor = descriptor;
}

bool journal_is_on(JournalLevel level)
{
    return level >= least_level;
}

const char *journal_level_name(JournalLevel level)
{
    return level_names[level];
}

void journal_keep_secret(const char *value)
{
    size_t size = value ? strlen(value) : 0;
    if (size < JOURNAL_SECRET_MIN || size >= SECRET_BYTES) {
        return;
    }
    for (size_t i = 0; i < secret_count; i++) {
        if (strcmp(secrets[i], value) == 0) {
            return;
        }
    }
    /* When full, the oldest goes: secrets that rotate are the ones that come often. */
    if (secret_count == JOURNAL_SECRETS_MAX) {
        memmove(secrets[0], secrets[1], sizeof(secrets) - sizeof(secrets[0]));
        secret_count--;
    }
    memcpy(secrets[secret_count++], value, size + 1);
}

void journal_forget_secrets(void)
{
    explicit_bzero(secrets, sizeof(secrets));
    secret_count = 0;
}

/* Overwrites every secret in text with ***, closing the gap. When the text that was wanted did not fit in
 * size bytes, its end goes too: a secret may have been cut there. */
static void secrets_hide(char *text, size_t size, int wanted)
{
    static const char mask[] = "***";
    const size_t mask_size = sizeof(mask) - 1;
    for (size_t i = 0; i < secret_count; i++) {
        size_t gap = strlen(secrets[i]) - mask_size;
        for (char *at = strstr(text, secrets[i]); at; at = strstr(at, secrets[i])) {
            memcpy(at, mask, mask_size);
            at += mask_size;
            memmove(at, at + gap, strlen(at + gap) + 1);
        }
    }
    size_t left = strlen(text);
    if (wanted < 0 || (size_t)wanted >= size) {
        text[left > SECRET_BYTES ? left - SECRET_BYTES : 0] = '\0';
    }
}

static void line_add(Line *line, const char *bytes, size_t size)
{
    size_t left = LINE_BYTES - LINE_RESERVE - line->used;
    size_t taken = size < left ? size : left;
    memcpy(line->bytes + line->used, bytes, taken);
    line->used += taken;
}

static void line_add_text(Line *line, const char *text)
{
    line_add(line, text, strlen(text));
}

/* Room that line_add() leaves; never refused. */
static void line_close(Line *line, const char *text)
{
    size_t size = strlen(text);
    if (size <= LINE_BYTES - line->used) {
        memcpy(line->bytes + line->used, text, size);
        line->used += size;
    }
}

static bool line_has_room(const Line *line, size_t size)
{
    return LINE_BYTES - LINE_RESERVE - line->used >= size;
}

/* One character, control characters escaped as JSON has them; quotes too when it stands between quotes. */
static void line_add_escaped(Line *line, unsigned char byte, bool quoted)
{
    static const char *const named[256] = { ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t" };
    char code[8];
    if (named[byte]) {
        snprintf(code, sizeof(code), "%s", named[byte]);
    } else if (byte < 0x20 || byte == 0x7f) {
        snprintf(code, sizeof(code), "\\u%04x", byte);
    } else if (quoted && (byte == '"' || byte == '\\')) {
        snprintf(code, sizeof(code), "\\%c", byte);
    } else {
        snprintf(code, sizeof(code), "%c", byte);
    }
    /* Never half an escape. */
    if (line_has_room(line, strlen(code))) {
        line_add_text(line, code);
    }
}

/* Text that may hold anything; what is not UTF-8 becomes '?'. */
static void line_add_foreign(Line *line, const char *text, bool quoted)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at) {
        size_t size = utf8_size(at);
        if (size <= 1) {
            line_add_escaped(line, size ? *at : '?', quoted);
        } else if (line_has_room(line, size)) {
            line_add(line, (const char *)at, size);
        }
        at += size ? size : 1;
    }
}

static void line_add_time(Line *line)
{
    int64_t now_ms = time_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm parts;
    char text[48];
    gmtime_r(&seconds, &parts);
    size_t size = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof(text) - size, ".%03dZ", (int)(now_ms % 1000));
    line_add_text(line, text);
}

static void line_add_quoted(Line *line, const char *text)
{
    line_add_text(line, "\"");
    line_add_foreign(line, text, true);
    line_close(line, "\"");
}

static void field_number(const JournalField *field, char *out, size_t size)
{
    if (field->type == JOURNAL_FIELD_INT) {
        snprintf(out, size, "%" PRId64, field->integer);
    } else if (field->type == JOURNAL_FIELD_REAL && isfinite(field->real)) {
        snprintf(out, size, "%.9g", field->real);
    } else {
        snprintf(out, size, "null");
    }
}

static bool text_is_plain(const char *text)
{
    return *text && text[strcspn(text, " \"=\\\t\r\n")] == '\0';
}

static void line_add_field(Line *line, const JournalField *field)
{
    char value[VALUE_BYTES];
    if (field->type != JOURNAL_FIELD_TEXT || !field->text) {
        field_number(field, value, sizeof(value));
        line_add_text(line, value);
        return;
    }
    secrets_hide(value, sizeof(value), snprintf(value, sizeof(value), "%s", field->text));
    if (line_format == JOURNAL_JSON || !text_is_plain(value)) {
        line_add_quoted(line, value);
    } else {
        line_add_foreign(line, value, false);
    }
}

/* A field in JSON is left out whole when it might be cut: half of one would not parse. Six bytes an escaped
 * one. */
static bool line_fits_field(const Line *line, const JournalField *field)
{
    size_t text = field->type == JOURNAL_FIELD_TEXT && field->text ? strlen(field->text) : 32;
    size_t most = text < VALUE_BYTES ? text : VALUE_BYTES;
    return line_has_room(line, strlen(field->name) + 6 * most + 8);
}

static void line_format_text(Line *line, JournalLevel level, const char *component,
                             const JournalField *fields, const char *message)
{
    char head[64];
    line_add_time(line);
    snprintf(head, sizeof(head), " %-5s %-7s ", level_names[level], component);
    line_add_text(line, head);
    line_add_foreign(line, message, false);
    for (const JournalField *field = fields; field && field->name; field++) {
        if (line_fits_field(line, field)) {
            line_add_text(line, field == fields ? "  " : " ");
            line_add_text(line, field->name);
            line_add_text(line, "=");
            line_add_field(line, field);
        }
    }
    line_close(line, "\n");
}

static void line_format_json(Line *line, JournalLevel level, const char *component,
                             const JournalField *fields, const char *message)
{
    line_add_text(line, "{\"time\":\"");
    line_add_time(line);
    line_add_text(line, "\",\"level\":\"");
    line_add_text(line, level_names[level]);
    line_add_text(line, "\",\"component\":");
    line_add_quoted(line, component);
    line_add_text(line, ",\"message\":");
    line_add_quoted(line, message);
    for (const JournalField *field = fields; field && field->name; field++) {
        if (line_fits_field(line, field)) {
            line_add_text(line, ",");
            line_add_quoted(line, field->name);
            line_add_text(line, ":");
            line_add_field(line, field);
        }
    }
    line_close(line, "}\n");
}

static void line_write(const Line *line)
{
    size_t written = 0;
    while (written < line->used) {
        ssize_t size = write(line_descriptor, line->bytes + written, line->used - written);
        /* A log that cannot be written must not stop the agent. */
        if (size <= 0) {
            return;
        }
        written += (size_t)size;
    }
}

__attribute__((format(printf, 4, 0))) static void journal_write(JournalLevel level, const char *component,
                                                                const JournalField *fields,
                                                                const char *format, va_list arguments)
{
    char message[MESSAGE_BYTES];
    Line line = { .used = 0 };
    int wanted = vsnprintf(message, sizeof(message), format, arguments);
    secrets_hide(message, sizeof(message), wanted);
    if (line_format == JOURNAL_JSON) {
        line_format_json(&line, level, component, fields, message);
    } else {
        line_format_text(&line, level, component, fields, message);
    }
    line_write(&line);
}

void journal(JournalLevel level, const char *component, const char *format, ...)
{
    va_list arguments;
    if (!journal_is_on(level)) {
        return;
    }
    va_start(arguments, format);
    journal_write(level, component, NULL, format, arguments);
    va_end(arguments);
}

void journal_with(JournalLevel level, const char *component, const JournalField *fields, const char *format,
                  ...)
{
    va_list arguments;
    if (!journal_is_on(level)) {
        return;
    }
    va_start(arguments, format);
    journal_write(level, component, fields, format, arguments);
    va_end(arguments);
}

void journal_braked(JournalBrake *brake, JournalLevel level, const char *component, const char *format, ...)
{
    int64_t now_ms = time_ms();
    va_list arguments;
    if (!journal_is_on(level)) {
        return;
    }
    if (now_ms < brake->next_ms) {
        brake->held_back++;
        return;
    }
    const JournalField *held = JOURNAL_FIELDS(FIELD_INT("held_back", brake->held_back));
    va_start(arguments, format);
    journal_write(level, component, brake->held_back ? held : NULL, format, arguments);
    va_end(arguments);
    brake->next_ms = now_ms + JOURNAL_SELDOM_MS;
    brake->held_back = 0;
}
