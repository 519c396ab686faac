/* utf8.h: text that comes from elsewhere (clients, PostgreSQL, the system) before it goes into a log line or
 * JSON. */
#ifndef STREAMHOUSE_AGENT_UTF8_H
#define STREAMHOUSE_AGENT_UTF8_H

#include <stdbool.h>
#include <stddef.h>

#include "common/slice.h"

/* Bytes of the UTF-8 character that NUL-terminated text begins with; 0 when it begins with none, or with one
 * of the control characters above ASCII, which terminals obey. */
size_t utf8_size(const unsigned char *text);

/* Whether PostgreSQL takes it as text: UTF-8 without NUL. Null is none. */
bool utf8_is_text(Slice text);

#endif
