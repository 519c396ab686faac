/* samples.h: durations, gathered one by one, then sorted and asked for quantiles. For the loads of bench/. */
#ifndef STREAMHOUSE_BENCH_SAMPLES_H
#define STREAMHOUSE_BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct Samples {
    int64_t *ns;
    size_t count;
    size_t capacity;
    uint64_t failed; /* answers that were errors */
} Samples;

/* Ends the program when memory is short. */
void samples_add(Samples *samples, int64_t ns);
void samples_sort(Samples *samples);
/* Of sorted ones; part 1 is the longest. 0 when there are none. */
double samples_quantile_ms(const Samples *samples, double part);

#endif
