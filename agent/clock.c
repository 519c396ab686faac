/* clock.c: time from the machine, or from a test. */
#include "agent/clock.h"

#include <stddef.h>
#include <time.h>

enum { NS_PER_MS = 1000000, NS_PER_SECOND = 1000000000 };

static int64_t machine_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static int64_t machine_monotonic_ns(void)
{
    return machine_ns(CLOCK_MONOTONIC);
}

static int64_t machine_wall_ns(void)
{
    return machine_ns(CLOCK_REALTIME);
}

static const ClockSource machine = { machine_monotonic_ns, machine_wall_ns };
static const ClockSource *current = &machine;

void clock_use(const ClockSource *source)
{
    current = source ? source : &machine;
}

int64_t time_ns(void)
{
    return current->monotonic_ns();
}

int64_t time_ms(void)
{
    return current->monotonic_ns() / NS_PER_MS;
}

int64_t time_wall_ms(void)
{
    return current->wall_ns() / NS_PER_MS;
}
