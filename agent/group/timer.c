/* timer.c: a binary heap whose members know their places, so that a deadline moves in a few steps. */
#include "agent/group/timer.h"

#include <stdlib.h>

enum { TIMERS_FIRST = 64 };

static void heap_put(TimerHeap *heap, size_t place, GroupTimer *timer)
{
    heap->timers[place] = timer;
    timer->place = place;
}

static void heap_rise(TimerHeap *heap, GroupTimer *timer)
{
    size_t place = timer->place;
    while (place > 1 && heap->timers[place / 2]->due_ms > timer->due_ms) {
        heap_put(heap, place, heap->timers[place / 2]);
        place /= 2;
    }
    heap_put(heap, place, timer);
}

static void heap_sink(TimerHeap *heap, GroupTimer *timer)
{
    size_t place = timer->place;
    while (place * 2 <= heap->count) {
        size_t child = place * 2;
        if (child < heap->count && heap->timers[child + 1]->due_ms < heap->timers[child]->due_ms) {
            child++;
        }
        if (heap->timers[child]->due_ms >= timer->due_ms) {
            break;
        }
        heap_put(heap, place, heap->timers[child]);
        place = child;
    }
    heap_put(heap, place, timer);
}

static void heap_grow(TimerHeap *heap)
{
    size_t capacity = heap->capacity ? heap->capacity * 2 : TIMERS_FIRST;
    GroupTimer **grown = realloc(heap->timers, (capacity + 1) * sizeof(GroupTimer *));
    if (!grown) {
        abort(); /* a deadline that is not kept would let members wait for ever */
    }
    heap->timers = grown;
    heap->capacity = capacity;
}

void timer_set(TimerHeap *heap, GroupTimer *timer, int64_t due_ms)
{
    timer->due_ms = due_ms;
    if (timer->place == 0) {
        if (heap->count == heap->capacity) {
            heap_grow(heap);
        }
        heap_put(heap, ++heap->count, timer);
    }
    heap_rise(heap, timer);
    heap_sink(heap, timer);
}

void timer_stop(TimerHeap *heap, GroupTimer *timer)
{
    size_t place = timer->place;
    if (place == 0) {
        return;
    }
    GroupTimer *last = heap->timers[heap->count--];
    timer->place = 0;
    if (last != timer) {
        heap_put(heap, place, last);
        heap_rise(heap, last);
        heap_sink(heap, last);
    }
}

void timers_run(TimerHeap *heap, int64_t now_ms)
{
    while (heap->count > 0 && heap->timers[1]->due_ms <= now_ms) {
        GroupTimer *timer = heap->timers[1];
        timer_stop(heap, timer);
        timer->expired(timer);
    }
}

int64_t timers_due(const TimerHeap *heap)
{
    return heap->count > 0 ? heap->timers[1]->due_ms : INT64_MAX;
}

void timers_free(TimerHeap *heap)
{
    free(heap->timers);
    *heap = (TimerHeap){ 0 };
}
