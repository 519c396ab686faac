/* slice.h: a borrowed view of bytes. Whoever hands out a Slice says how long it stays valid. */
#ifndef STREAMHOUSE_SLICE_H
#define STREAMHOUSE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* data == NULL means null, which Kafka tells apart from empty. */
typedef struct Slice {
    const uint8_t *data;
    size_t size;
} Slice;

#define SLICE_NULL          ((Slice){ NULL, 0 })
#define SLICE_LITERAL(text) ((Slice){ (const uint8_t *)(text), sizeof(text) - 1 })

static inline Slice slice_of(const void *data, size_t size)
{
    return (Slice){ data, size };
}

static inline Slice slice_of_text(const char *text)
{
    return (Slice){ (const uint8_t *)text, text ? strlen(text) : 0 };
}

static inline bool slice_is_null(Slice slice)
{
    return slice.data == NULL;
}

static inline bool slice_equals(Slice a, Slice b)
{
    if (slice_is_null(a) || slice_is_null(b)) {
        return slice_is_null(a) && slice_is_null(b);
    }
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
