/* report_test.c: how often an agent reports on itself. */
#include "agent/jobs/report.h"

#include <string.h>

#include "test/unit/test.h"

TEST(the_first_heartbeat_reports_and_then_one_every_five_seconds)
{
    Report report = { 0 };
    CHECK(report_is_due(&report, 1));
    report.hot_ms = 1000;
    CHECK(!report_is_due(&report, 2000));
    CHECK(!report_is_due(&report, 5999));
    CHECK(report_is_due(&report, 6000));
    CHECK(report_is_due(&report, 60000));
}

TEST(a_report_is_an_object_of_numbers)
{
    Report report = { 0 };
    const char *text = report_write(&report, 1000);
    CHECK(text[0] == '{' && text[strlen(text) - 1] == '}');
    CHECK(strstr(text, "\"produce_bytes\":") != NULL && strstr(text, "\"commit_p99_ms\":") != NULL);
}
