/* store_key.c: what may be a key. */
#include "common/store/store_key.h"

#include <string.h>

#include "common/store/store.h"

static bool letter_is_valid(char letter)
{
    return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') ||
           (letter >= '0' && letter <= '9') || letter == '.' || letter == '_' || letter == '-';
}

/* Walks parts and slashes; strict refuses empty parts and ends. */
static bool letters_are_valid(const char *text, bool strict)
{
    size_t size = strnlen(text, STORE_KEY_MAX + 1);
    if (size > STORE_KEY_MAX || (strict && (size == 0 || text[size - 1] == '/'))) {
        return false;
    }
    bool part_begins = true;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '/') {
            if (part_begins) {
                return false;
            }
            part_begins = true;
            continue;
        }
        if (!letter_is_valid(text[i]) || (part_begins && text[i] == '.')) {
            return false;
        }
        part_begins = false;
    }
    return true;
}

bool store_key_is_valid(const char *key)
{
    return key && letters_are_valid(key, true);
}

bool store_prefix_is_valid(const char *prefix)
{
    return letters_are_valid(prefix, false);
}
