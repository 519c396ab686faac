/* ini.c: reads sections of name = value lines. */
#include "common/store/ini.h"

#include "common/reader.h"

static bool is_space(uint8_t letter)
{
    return letter == ' ' || letter == '\t' || letter == '\r';
}

static Slice slice_trim(Slice text)
{
    while (text.size > 0 && is_space(text.data[0])) {
        text = slice_of(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && is_space(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

static Slice line_take(Reader *in)
{
    const uint8_t *end = memchr(in->next, '\n', reader_left(in));
    Slice line = reader_take(in, end ? (size_t)(end - in->next) : reader_left(in));
    if (end) {
        reader_take(in, 1);
    }
    return line;
}

/* "[profile  name]" is "profile name" with any run of spaces as one. */
static bool heading_is(Slice heading, const char *section)
{
    size_t at = 0;
    for (; *section; section++) {
        if (at >= heading.size ||
            (is_space(heading.data[at]) ? ' ' : heading.data[at]) != (uint8_t)*section) {
            return false;
        }
        at++;
        while (*section == ' ' && at < heading.size && is_space(heading.data[at])) {
            at++;
        }
    }
    return at == heading.size;
}

/* The line's heading without brackets, or null. */
static Slice line_heading(Slice line)
{
    const uint8_t *end = line.size > 1 && line.data[0] == '[' ? memchr(line.data, ']', line.size) : NULL;
    return end ? slice_trim(slice_of(line.data + 1, (size_t)(end - line.data) - 1)) : SLICE_NULL;
}

static void line_give(Slice line, IniSetting *setting, void *arg)
{
    const uint8_t *equals = memchr(line.data, '=', line.size);
    if (equals) {
        size_t size = (size_t)(equals - line.data);
        setting(slice_trim(slice_of(line.data, size)), slice_trim(slice_of(equals + 1, line.size - size - 1)),
                arg);
    }
}

bool ini_section_walk(Slice text, const char *section, IniSetting *setting, void *arg)
{
    Reader in = reader_of(text);
    bool found = false;
    bool inside = false;
    while (reader_left(&in) > 0) {
        Slice raw = line_take(&in);
        Slice line = slice_trim(raw);
        if (line.size == 0 || is_space(raw.data[0]) || line.data[0] == '#' || line.data[0] == ';') {
            continue;
        }
        if (line.data[0] == '[') {
            Slice heading = line_heading(line);
            inside = !slice_is_null(heading) && heading_is(heading, section);
            found = found || inside;
        } else if (inside) {
            line_give(line, setting, arg);
        }
    }
    return found;
}
