/* journal.h: the agent's log: lines on standard error, as text or as JSON objects.
 *
 *   journal(JOURNAL_INFO, "kafka", "listening on %s:%d", host, port);
 *   journal_with(JOURNAL_WARN, "store", JOURNAL_FIELDS(FIELD_TEXT("key", key), FIELD_INT("bytes", size)),
 * "PUT failed"); journal_seldom(JOURNAL_WARN, "brain", "cannot reach PostgreSQL: %s", status.message);
 *
 * A line is one write(2), so threads may log. Control characters are escaped: a peer cannot forge a line.
 * Values given to journal_keep_secret() are shown as ***. */
#ifndef STREAMHOUSE_AGENT_JOURNAL_H
#define STREAMHOUSE_AGENT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of the setting log_level's choices. */
typedef enum JournalLevel { JOURNAL_DEBUG, JOURNAL_INFO, JOURNAL_WARN, JOURNAL_ERROR } JournalLevel;
/* In the order of the setting log_format's choices. */
typedef enum JournalFormat { JOURNAL_TEXT, JOURNAL_JSON } JournalFormat;

typedef enum JournalFieldType { JOURNAL_FIELD_TEXT, JOURNAL_FIELD_INT, JOURNAL_FIELD_REAL } JournalFieldType;

typedef struct JournalField {
    const char *name; /* snake_case, unit last; NULL ends a list */
    JournalFieldType type;
    const char *text; /* NULL is shown as null */
    int64_t integer;
    double real;
} JournalField;

#define FIELD_TEXT(name_, value_)                                                                            \
    {                                                                                                        \
        .name = (name_), .type = JOURNAL_FIELD_TEXT, .text = (value_)                                        \
    }
#define FIELD_INT(name_, value_)                                                                             \
    {                                                                                                        \
        .name = (name_), .type = JOURNAL_FIELD_INT, .integer = (int64_t)(value_)                             \
    }
#define FIELD_REAL(name_, value_)                                                                            \
    {                                                                                                        \
        .name = (name_), .type = JOURNAL_FIELD_REAL, .real = (value_)                                        \
    }
#define JOURNAL_FIELDS(...) ((const JournalField[]){ __VA_ARGS__, { .name = NULL } })

/* One call site's memory of when it last spoke. Loop thread only. */
typedef struct JournalBrake {
    int64_t next_ms;
    uint64_t held_back;
} JournalBrake;

/* Lines below level are dropped. */
void journal_configure(JournalLevel level, JournalFormat format);
/* Where lines go; standard error unless told otherwise. */
void journal_to(int descriptor);
bool journal_is_on(JournalLevel level);
const char *journal_level_name(JournalLevel level);

/* From now on, value is shown as *** wherever it appears. Values under JOURNAL_SECRET_MIN bytes are ignored.
 */
enum { JOURNAL_SECRET_MIN = 4, JOURNAL_SECRETS_MAX = 16 };
void journal_keep_secret(const char *value);
/* Forgets them all (tests). */
void journal_forget_secrets(void);

void journal(JournalLevel level, const char *component, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void journal_with(JournalLevel level, const char *component, const JournalField *fields, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));

/* For what may happen a thousand times a second: speaks at most once in JOURNAL_SELDOM_MS for each place in
 * the code, and says how many lines it held back (field "held_back"). */
enum { JOURNAL_SELDOM_MS = 10000 };
#define journal_seldom(level, component, ...)                                                                \
    do {                                                                                                     \
        static JournalBrake journal_brake_;                                                                  \
        journal_braked(&journal_brake_, (level), (component), __VA_ARGS__);                                  \
    } while (0)
void journal_braked(JournalBrake *brake, JournalLevel level, const char *component, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
