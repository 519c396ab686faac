/* lease_clock.c: the lease ends one TTL after its heartbeat was sent, less what two clocks may differ by
 * meanwhile. */
#include "agent/jobs/lease_clock.h"

/* Of the TTL; quartz is off by a ten thousandth at worst, and clocks are slewed by half a thousandth. */
enum { DRIFT_PART = 400 };

void lease_clock_sent(LeaseClock *clock, int64_t now_ms)
{
    clock->sent_ms = now_ms;
    clock->asking = true;
}

bool lease_clock_renewed(LeaseClock *clock, int64_t now_ms, int64_t ttl_ms)
{
    bool lapsed = now_ms >= clock->valid_until_ms;
    clock->asking = false;
    clock->renewals++;
    if (lapsed) {
        clock->lapses++;
        clock->lapsed_at = clock->renewals;
        clock->learned = false;
    }
    clock->valid_until_ms = clock->sent_ms + ttl_ms - (ttl_ms / DRIFT_PART + 1);
    return lapsed;
}

void lease_clock_learned(LeaseClock *clock, uint64_t renewals)
{
    clock->learned = clock->learned || renewals >= clock->lapsed_at;
}

void lease_clock_failed(LeaseClock *clock)
{
    clock->asking = false;
}

void lease_clock_end(LeaseClock *clock)
{
    clock->valid_until_ms = 0;
}

bool lease_clock_holds(const LeaseClock *clock, int64_t now_ms)
{
    return clock->learned && now_ms < clock->valid_until_ms;
}
