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
