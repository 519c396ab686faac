/* offset_metadata.c: metadata of committed offsets, from bytes to PostgreSQL's text and back. */
#include "agent/api/offset_metadata.h"

#include <string.h>

#include "agent/utf8.h"

enum { MARK_SIZE = 2 };

static const char mark[MARK_SIZE] = { '\\', 'x' };
static const char digits[] = "0123456789abcdef";

static bool is_marked(Slice text)
{
    return text.size >= MARK_SIZE && memcmp(text.data, mark, MARK_SIZE) == 0;
}

Slice offset_metadata_to_text(Arena *arena, Slice bytes)
{
    if (slice_is_null(bytes) || (utf8_is_text(bytes) && !is_marked(bytes))) {
        return bytes;
    }
    uint8_t *text =
        bytes.size <= OFFSET_METADATA_MAX ? arena_allocate(arena, MARK_SIZE + 2 * bytes.size) : NULL;
    if (!text) {
        return SLICE_NULL;
    }
    memcpy(text, mark, MARK_SIZE);
    for (size_t i = 0; i < bytes.size; i++) {
        text[MARK_SIZE + 2 * i] = (uint8_t)digits[bytes.data[i] >> 4];
        text[MARK_SIZE + 2 * i + 1] = (uint8_t)digits[bytes.data[i] & 15];
    }
    return slice_of(text, MARK_SIZE + 2 * bytes.size);
}

/* -1: no digit. */
static int digit_value(uint8_t octet)
{
    const char *found = octet ? strchr(digits, octet) : NULL;
    return found ? (int)(found - digits) : -1;
}

Slice offset_metadata_of_text(Arena *arena, Slice text)
{
    if (!is_marked(text) || text.size % 2 != 0) {
        return text;
    }
    size_t size = (text.size - MARK_SIZE) / 2;
    uint8_t *bytes = arena_allocate(arena, size > 0 ? size : 1);
    for (size_t i = 0; bytes && i < size; i++) {
        int high = digit_value(text.data[MARK_SIZE + 2 * i]);
        int low = digit_value(text.data[MARK_SIZE + 2 * i + 1]);
        if (high < 0 || low < 0) {
            return text;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return bytes ? slice_of(bytes, size) : text;
}
