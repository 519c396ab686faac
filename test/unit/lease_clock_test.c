/* lease_clock_test.c: how long a lease may be relied on. */
#include "agent/jobs/lease_clock.h"

#include "test/unit/test.h"

TEST(a_lease_runs_from_when_its_heartbeat_was_sent)
{
    LeaseClock clock = { 0 };
    lease_clock_sent(&clock, 1000);
    CHECK(lease_clock_renewed(&clock, 1900, 1000));
    lease_clock_learned(&clock, clock.renewals);
    CHECK(lease_clock_holds(&clock, 1990));
    CHECK(!lease_clock_holds(&clock, 2000));
}

TEST(after_a_lapse_the_lease_holds_when_leaders_were_read_anew)
{
    LeaseClock clock = { 0 };
    lease_clock_sent(&clock, 1000);
    CHECK(lease_clock_renewed(&clock, 1001, 1000));
    lease_clock_learned(&clock, clock.renewals);
    lease_clock_sent(&clock, 1200);
    CHECK(!lease_clock_renewed(&clock, 1201, 1000));
    uint64_t before = clock.renewals;
    lease_clock_sent(&clock, 5000);
    CHECK(lease_clock_renewed(&clock, 5001, 1000));
    lease_clock_learned(&clock, before);
    CHECK(!lease_clock_holds(&clock, 5002));
    lease_clock_learned(&clock, clock.renewals);
    CHECK(lease_clock_holds(&clock, 5002));
    CHECK_INT(clock.lapses, 2);
}
