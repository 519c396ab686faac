/* utf8.c: tells UTF-8 from bytes that only look like text. */
#include "agent/utf8.h"

size_t utf8_size(const unsigned char *text)
{
    /* By first byte: the size, and what the second byte may be (Unicode standard, table 3-7). */
    static const struct {
        unsigned char from, to, size, second, second_to;
    } forms[] = {
        { 0x01, 0x7f, 1, 0, 0xff },    { 0xc2, 0xc2, 2, 0xa0, 0xbf }, { 0xc3, 0xdf, 2, 0x80, 0xbf },
        { 0xe0, 0xe0, 3, 0xa0, 0xbf }, { 0xe1, 0xec, 3, 0x80, 0xbf }, { 0xed, 0xed, 3, 0x80, 0x9f },
        { 0xee, 0xef, 3, 0x80, 0xbf }, { 0xf0, 0xf0, 4, 0x90, 0xbf }, { 0xf1, 0xf3, 4, 0x80, 0xbf },
        { 0xf4, 0xf4, 4, 0x80, 0x8f },
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text[0] < forms[i].from || text[0] > forms[i].to) {
            continue;
        }
        if (forms[i].size > 1 && (text[1] < forms[i].second || text[1] > forms[i].second_to)) {
            return 0;
        }
        for (size_t at = 2; at < forms[i].size; at++) {
            if ((text[at] & 0xc0) != 0x80) {
                return 0;
            }
        }
        return forms[i].size;
    }
    return 0;
}

/* The bytes of a well-formed character, as the Unicode standard's table 3-7 has them; 0: it is not. */
static size_t utf8_well_formed(const uint8_t *text, size_t left)
{
    static const struct {
        uint8_t first, last, low, high, size;
    } forms[] = {
        { 0x01, 0x7f, 0, 0, 1 },       { 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 },
        { 0xe1, 0xec, 0x80, 0xbf, 3 }, { 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 },
        { 0xf0, 0xf0, 0x90, 0xbf, 4 }, { 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text[0] < forms[i].first || text[0] > forms[i].last) {
            continue;
        }
        bool good = forms[i].size <= left &&
                    (forms[i].size == 1 || (text[1] >= forms[i].low && text[1] <= forms[i].high));
        for (size_t byte = 2; good && byte < forms[i].size; byte++) {
            good = (text[byte] & 0xc0) == 0x80;
        }
        return good ? forms[i].size : 0;
    }
    return 0;
}

bool utf8_is_text(Slice text)
{
    size_t position = 0;
    while (position < text.size) {
        size_t size = utf8_well_formed(text.data + position, text.size - position);
        if (size == 0) {
            return false;
        }
        position += size;
    }
    return !slice_is_null(text);
}
