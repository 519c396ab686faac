/* timer.h: many deadlines in one heap, each inside what it is a deadline of. */
#ifndef STREAMHOUSE_GROUP_TIMER_H
#define STREAMHOUSE_GROUP_TIMER_H

#include <stddef.h>
#include <stdint.h>

typedef struct GroupTimer GroupTimer;

struct GroupTimer {
    int64_t due_ms;
    size_t place; /* in the heap, from 1 on; 0: not set */
    void (*expired)(GroupTimer *timer);
};

typedef struct TimerHeap {
    GroupTimer **timers; /* from 1 on */
    size_t count;
    size_t capacity;
} TimerHeap;

/* Sets it, or moves it. */
void timer_set(TimerHeap *heap, GroupTimer *timer, int64_t due_ms);
void timer_stop(TimerHeap *heap, GroupTimer *timer);
/* Calls what is due, the earliest first; each is stopped before it is called. */
void timers_run(TimerHeap *heap, int64_t now_ms);
/* When the next one is due; INT64_MAX: never. */
int64_t timers_due(const TimerHeap *heap);
void timers_free(TimerHeap *heap);

#endif
