/* offset_metadata.c: bytes as text that PostgreSQL keeps, and back. */
#include "agent/api/offset_metadata.h"

#include <string.h>

#include "agent/utf8.h"

static const char mark[] = "\\x";
enum { MARK_SIZE = sizeof(mark) - 1 };

static bool is_marked(Slice text)
{
    return text.size >= MARK_SIZE && memcmp(text.data, mark, MARK_SIZE) == 0;
}

bool offset_metadata_to_text(Arena *arena, Slice metadata, Slice *text)
{
    static const char digits[] = "0123456789abcdef";
    *text = metadata;
    if (slice_is_null(metadata) || (utf8_is_text(metadata) && !is_marked(metadata))) {
        return true;
    }
    uint8_t *out = arena_allocate_array(arena, metadata.size + 1, 2);
    if (!out) {
        return false;
    }
    memcpy(out, mark, MARK_SIZE);
    for (size_t i = 0; i < metadata.size; i++) {
        out[MARK_SIZE + 2 * i] = (uint8_t)digits[metadata.data[i] >> 4];
        out[MARK_SIZE + 2 * i + 1] = (uint8_t)digits[metadata.data[i] & 15];
    }
    *text = slice_of(out, MARK_SIZE + 2 * metadata.size);
    return true;
}

static int digit_value(uint8_t digit)
{
    return digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* What SQL wrote may begin with the mark and go on otherwise: that is given as it is. */
bool offset_metadata_of_text(Arena *arena, Slice text, Slice *metadata)
{
    *metadata = text;
    if (slice_is_null(text) || !is_marked(text) || text.size % 2 != 0) {
        return true;
    }
    size_t size = (text.size - MARK_SIZE) / 2;
    uint8_t *out = arena_allocate(arena, size + 1);
    if (!out) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        int high = digit_value(text.data[MARK_SIZE + 2 * i]);
        int low = digit_value(text.data[MARK_SIZE + 2 * i + 1]);
        if (high < 0 || low < 0) {
            return true;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    *metadata = slice_of(out, size);
    return true;
}
