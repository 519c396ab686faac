/* clock.h: the agent's only source of time. Tests put their own source in and move it by hand. */
#ifndef STREAMHOUSE_AGENT_CLOCK_H
#define STREAMHOUSE_AGENT_CLOCK_H

#include <stdint.h>

typedef struct ClockSource {
    int64_t (*monotonic_ns)(void); /* never goes back; its zero means nothing */
    int64_t (*wall_ns)(void);      /* since 1970, UTC */
} ClockSource;

/* NULL brings the machine's clocks back. The source must outlive its use. */
void clock_use(const ClockSource *source);

/* Monotonic: for deadlines and durations. */
int64_t time_ns(void);
int64_t time_ms(void);
/* Since 1970: for what people and clients see. */
int64_t time_wall_ms(void);

#endif
