/* lease_clock.h: how long an agent may rely on its lease: the arithmetic alone, on a clock that the caller
 * reads. Time runs from before the heartbeat was sent, whatever the way took. */
#ifndef STREAMHOUSE_LEASE_CLOCK_H
#define STREAMHOUSE_LEASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct LeaseClock {
    int64_t sent_ms;        /* of the last heartbeat */
    int64_t valid_until_ms; /* 0: it holds no lease */
    uint64_t lapses;        /* how often the lease was not certain to hold, for however short a time */
    uint64_t renewals;      /* heartbeats that were answered */
    uint64_t lapsed_at; /* renewals when it was found to have lapsed; leaders are to be learned anew since */
    bool learned;       /* … and were */
    bool asking;        /* a heartbeat is under way */
} LeaseClock;

/* A heartbeat leaves now. */
void lease_clock_sent(LeaseClock *clock, int64_t now_ms);
/* It was answered. True when the lease had lapsed meanwhile: what is known of leaders may not be true any
 * more, and must be asked for now. Until that is answered the lease does not hold. */
bool lease_clock_renewed(LeaseClock *clock, int64_t now_ms, int64_t ttl_ms);
/* Leaders were read, by a question that was asked when there were so many renewals. */
void lease_clock_learned(LeaseClock *clock, uint64_t renewals);
void lease_clock_failed(LeaseClock *clock);
/* The agent gives its leases up, or lost them. */
void lease_clock_end(LeaseClock *clock);
bool lease_clock_holds(const LeaseClock *clock, int64_t now_ms);

#endif
