/* xml.c: a pull parser for small, machine-made XML. */
#include "common/store/xml.h"

#include <stdlib.h>
#include <string.h>

enum { ENTITY_MAX = 10, CODE_POINT_MAX = 0x10ffff };

void xml_begin(Xml *xml, Slice document)
{
    memset(xml, 0, sizeof(*xml));
    xml->in = reader_of(document);
}

/* Up to the delimiter, which is taken too. */
static bool take_until(Reader *in, const char *delimiter, Slice *taken)
{
    size_t size = strlen(delimiter);
    const uint8_t *found = reader_left(in) ? memmem(in->next, reader_left(in), delimiter, size) : NULL;
    if (!found) {
        return reader_fail(in);
    }
    *taken = reader_take(in, (size_t)(found - in->next));
    reader_take(in, size);
    return true;
}

static bool text_is(Slice text, const char *expected)
{
    return slice_equals(text, slice_of_text(expected));
}

/* "Name attribute='x'" gives "Name". */
static Slice tag_name(Slice tag)
{
    size_t size = 0;
    while (size < tag.size && !memchr(" \t\r\n", tag.data[size], 4)) {
        size++;
    }
    return slice_of(tag.data, size);
}

static XmlEvent element_open(Xml *xml, Slice tag)
{
    xml->is_empty_element = tag.size > 0 && tag.data[tag.size - 1] == '/';
    tag.size -= xml->is_empty_element;
    Slice name = tag_name(tag);
    if (name.size == 0 || xml->depth == XML_DEPTH_MAX) {
        return XML_BROKEN;
    }
    xml->path[xml->depth++] = name;
    xml->text = SLICE_LITERAL("");
    return XML_OPEN;
}

static XmlEvent element_close(Xml *xml, Slice tag)
{
    if (xml->depth == 0 ||
        !slice_equals(tag_name(slice_of(tag.data + 1, tag.size - 1)), xml->path[xml->depth - 1])) {
        return XML_BROKEN;
    }
    xml->closing = true;
    return XML_CLOSE;
}

static bool tag_begins(const Slice *tag, const char *beginning)
{
    size_t size = strlen(beginning);
    return tag->size >= size && memcmp(tag->data, beginning, size) == 0;
}

/* Skips declarations, comments; gives elements. XML_END: skipped something. */
static XmlEvent tag_next(Xml *xml)
{
    Slice tag;
    if (reader_left(&xml->in) >= 3 && memcmp(xml->in.next, "!--", 3) == 0) {
        return take_until(&xml->in, "-->", &tag) ? XML_END : XML_BROKEN;
    }
    if (!take_until(&xml->in, ">", &tag)) {
        return XML_BROKEN;
    }
    if (tag_begins(&tag, "?")) {
        return XML_END;
    }
    if (tag_begins(&tag, "!")) {
        return XML_BROKEN;
    }
    return tag_begins(&tag, "/") ? element_close(xml, tag) : element_open(xml, tag);
}

XmlEvent xml_next(Xml *xml)
{
    if (xml->closing) {
        xml->closing = false;
        xml->depth--;
        xml->text = SLICE_NULL;
    }
    if (xml->is_empty_element) {
        xml->is_empty_element = false;
        xml->closing = true;
        return XML_CLOSE;
    }
    while (reader_left(&xml->in) > 0) {
        Slice text;
        const uint8_t *tag = memchr(xml->in.next, '<', reader_left(&xml->in));
        if (!tag) {
            return xml->depth == 0 ? XML_END : XML_BROKEN;
        }
        text = reader_take(&xml->in, (size_t)(tag - xml->in.next));
        reader_take(&xml->in, 1);
        if (text.size > 0) {
            xml->text = text;
        }
        XmlEvent event = tag_next(xml);
        if (event != XML_END) {
            return event;
        }
    }
    return xml->depth == 0 && !reader_failed(&xml->in) ? XML_END : XML_BROKEN;
}

bool xml_is(const Xml *xml, const char *parent, const char *name)
{
    if (xml->depth == 0 || !text_is(xml->path[xml->depth - 1], name)) {
        return false;
    }
    return !parent || (xml->depth > 1 && text_is(xml->path[xml->depth - 2], parent));
}

/* UTF-8; 0 when it is no character. */
static size_t code_point_write(uint32_t code, char *out)
{
    if (code == 0 || code > CODE_POINT_MAX || (code >= 0xd800 && code < 0xe000)) {
        return 0;
    }
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    out[0] = (char)(lead[extra] | code >> (6 * extra));
    for (size_t i = 1; i <= extra; i++) {
        out[i] = (char)(0x80 | (code >> (6 * (extra - i)) & 0x3f));
    }
    return extra + 1;
}

/* The entity's name without & and ; — writes what it stands for, never more than its own letters. */
static size_t entity_write(Slice name, char *out)
{
    static const struct {
        const char *name;
        char letter;
    } known[] = { { "amp", '&' }, { "lt", '<' }, { "gt", '>' }, { "quot", '"' }, { "apos", '\'' } };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (text_is(name, known[i].name)) {
            *out = known[i].letter;
            return 1;
        }
    }
    char digits[ENTITY_MAX + 1] = { 0 };
    if (name.size < 2 || name.size > ENTITY_MAX || name.data[0] != '#') {
        return 0;
    }
    bool is_hex = name.data[1] == 'x';
    memcpy(digits, name.data + 1 + is_hex, name.size - 1 - is_hex);
    size_t valid = strspn(digits, is_hex ? "0123456789abcdefABCDEF" : "0123456789");
    if (valid == 0 || digits[valid] != '\0') {
        return 0;
    }
    unsigned long code = strtoul(digits, NULL, is_hex ? 16 : 10);
    return code_point_write(code > CODE_POINT_MAX ? 0 : (uint32_t)code, out);
}

char *xml_text(const Xml *xml, Arena *arena)
{
    Reader in = reader_of(xml->text);
    char *out = arena_allocate(arena, xml->text.size + 1);
    size_t used = 0;
    while (out && reader_left(&in) > 0) {
        uint8_t letter = reader_u8(&in);
        if (letter != '&') {
            out[used++] = (char)letter;
            continue;
        }
        Slice name;
        size_t size = take_until(&in, ";", &name) ? entity_write(name, out + used) : 0;
        if (size == 0) {
            return NULL;
        }
        used += size;
    }
    if (out) {
        out[used] = '\0';
    }
    return out;
}

char *xml_find(Slice document, const char *name, Arena *arena)
{
    Xml xml;
    xml_begin(&xml, document);
    for (XmlEvent event = xml_next(&xml); event != XML_END && event != XML_BROKEN; event = xml_next(&xml)) {
        if (event == XML_CLOSE && xml_is(&xml, NULL, name)) {
            return xml_text(&xml, arena);
        }
    }
    return NULL;
}
