/* store_key.h: what may be a key. Letters that need no escaping in URLs and none that mean something to a
 * file system. */
#ifndef STREAMHOUSE_STORE_KEY_H
#define STREAMHOUSE_STORE_KEY_H

#include <stdbool.h>

/* 1 to STORE_KEY_MAX bytes of [A-Za-z0-9._-] in parts joined by single '/', none beginning with '.'. */
bool store_key_is_valid(const char *key);

/* A prefix of such keys, or of their parts: the same letters, any shape but "." at the beginning of a part.
 */
bool store_prefix_is_valid(const char *prefix);

#endif
