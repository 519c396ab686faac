/* journal_test.c: what log lines look like, and what they never hold. Lines are read back from a pipe. */
#include "agent/journal.h"

#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/clock.h"
#include "test/unit/test.h"

static int64_t now_ns;

static int64_t clock_now(void)
{
    return now_ns;
}

static const ClockSource clock_of_test = { clock_now, clock_now };
static int pipe_ends[2];
static char line[8192];

/* 2026-01-02T03:04:05.678Z, lines to a pipe. */
static void journal_begin(JournalLevel level, JournalFormat format)
{
    now_ns = 1767323045678LL * 1000000;
    clock_use(&clock_of_test);
    journal_forget_secrets();
    journal_configure(level, format);
    if (pipe(pipe_ends) != 0) {
        abort();
    }
    journal_to(pipe_ends[1]);
}

/* What was logged since journal_begin(). */
static const char *journal_end(void)
{
    journal_to(STDERR_FILENO);
    clock_use(NULL);
    journal_configure(JOURNAL_INFO, JOURNAL_TEXT);
    close(pipe_ends[1]);
    ssize_t size = read(pipe_ends[0], line, sizeof(line) - 1);
    close(pipe_ends[0]);
    line[size > 0 ? size : 0] = '\0';
    return line;
}

TEST(a_text_line_has_time_level_component_message_and_fields)
{
    journal_begin(JOURNAL_INFO, JOURNAL_TEXT);
    journal_with(JOURNAL_WARN, "store",
                 JOURNAL_FIELDS(FIELD_TEXT("key", "o/3f"), FIELD_INT("bytes", -5), FIELD_REAL("wait_s", 0.25),
                                FIELD_TEXT("why", "no space"), FIELD_TEXT("none", NULL)),
                 "PUT %d failed", 7);
    CHECK_STR(journal_end(),
              "2026-01-02T03:04:05.678Z warn  store   PUT 7 failed  key=o/3f bytes=-5 wait_s=0.25 "
              "why=\"no space\" none=null\n");
}

TEST(a_json_line_is_one_object)
{
    journal_begin(JOURNAL_INFO, JOURNAL_JSON);
    journal_with(JOURNAL_ERROR, "kafka",
                 JOURNAL_FIELDS(FIELD_TEXT("client", "a\"b\\\x01é\xff"), FIELD_INT("id", 3)),
                 "bad \"frame\"\n");
    json_t *object = json_loads(journal_end(), 0, NULL);
    CHECK(object != NULL);
    CHECK_STR(json_string_value(json_object_get(object, "time")), "2026-01-02T03:04:05.678Z");
    CHECK_STR(json_string_value(json_object_get(object, "level")), "error");
    CHECK_STR(json_string_value(json_object_get(object, "component")), "kafka");
    CHECK_STR(json_string_value(json_object_get(object, "message")), "bad \"frame\"\n");
    CHECK_STR(json_string_value(json_object_get(object, "client")), "a\"b\\\x01é?");
    CHECK_INT(json_integer_value(json_object_get(object, "id")), 3);
    json_decref(object);
}

TEST(lines_below_the_level_are_dropped)
{
    journal_begin(JOURNAL_WARN, JOURNAL_TEXT);
    journal(JOURNAL_INFO, "agent", "unheard");
    journal(JOURNAL_DEBUG, "agent", "unheard");
    journal(JOURNAL_ERROR, "agent", "heard");
    CHECK_STR(journal_end(), "2026-01-02T03:04:05.678Z error agent   heard\n");
}

TEST(a_peer_cannot_forge_a_line)
{
    journal_begin(JOURNAL_INFO, JOURNAL_TEXT);
    journal(JOURNAL_INFO, "kafka", "client %s", "x\n2026 error agent gone\x1b[2J\xc2\x9b");
    const char *text = journal_end();
    CHECK(strchr(text, '\n') == text + strlen(text) - 1);
    CHECK(strchr(text, '\x1b') == NULL && strstr(text, "\xc2") == NULL);
    CHECK(strstr(text, "client x\\n2026 error agent gone\\u001b[2J??") != NULL);
}

TEST(a_kept_secret_becomes_three_stars_everywhere)
{
    journal_begin(JOURNAL_INFO, JOURNAL_TEXT);
    journal_keep_secret("sesame99");
    journal_with(JOURNAL_INFO, "brain", JOURNAL_FIELDS(FIELD_TEXT("conninfo", "password=sesame99")),
                 "open sesame99, sesame99!");
    const char *text = journal_end();
    CHECK(strstr(text, "sesame") == NULL);
    CHECK(strstr(text, "open ***, ***!") != NULL && strstr(text, "conninfo=\"password=***\"") != NULL);
}

TEST(a_secret_that_is_cut_at_the_end_of_a_line_stays_hidden)
{
    static char message[4096];
    journal_begin(JOURNAL_INFO, JOURNAL_TEXT);
    journal_keep_secret("sesame99");
    memset(message, 'a', sizeof(message) - 1);
    /* The message buffer holds 2047 characters: only "sesa" fits. */
    memcpy(message + 2043, "sesame99", 8);
    journal(JOURNAL_INFO, "brain", "%s", message);
    CHECK(strstr(journal_end(), "ses") == NULL);
}

TEST(secrets_shorter_than_a_word_are_not_kept)
{
    journal_begin(JOURNAL_INFO, JOURNAL_TEXT);
    journal_keep_secret("a");
    journal_keep_secret(NULL);
    journal(JOURNAL_INFO, "agent", "banana");
    CHECK(strstr(journal_end(), "banana") != NULL);
}

TEST(a_line_too_long_is_cut_and_still_an_object)
{
    static char message[8000];
    journal_begin(JOURNAL_INFO, JOURNAL_JSON);
    memset(message, '\x02', sizeof(message) - 1);
    journal_with(JOURNAL_INFO, "kafka", JOURNAL_FIELDS(FIELD_TEXT("left_out", message), FIELD_INT("id", 3)),
                 "%s", message);
    json_error_t error;
    const char *text = journal_end();
    json_t *object = json_loads(text, 0, &error);
    CHECK(strlen(text) > 4000 && strlen(text) <= 4096);
    CHECK(object != NULL);
    CHECK(json_object_get(object, "left_out") == NULL);
    json_decref(object);
}

TEST(a_braked_line_speaks_once_and_then_says_how_often_it_was_silent)
{
    JournalBrake brake = { 0 };
    journal_begin(JOURNAL_INFO, JOURNAL_TEXT);
    for (int i = 0; i < 5; i++) {
        journal_braked(&brake, JOURNAL_WARN, "brain", "away %d", i);
    }
    now_ns += (int64_t)JOURNAL_SELDOM_MS * 1000000;
    journal_braked(&brake, JOURNAL_WARN, "brain", "away %d", 5);
    CHECK_STR(journal_end(), "2026-01-02T03:04:05.678Z warn  brain   away 0\n"
                             "2026-01-02T03:04:15.678Z warn  brain   away 5  held_back=4\n");
}
