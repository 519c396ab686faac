/* samples.c: see samples.h. */
#include "bench/samples.h"

#include <stdio.h>
#include <stdlib.h>

enum { SAMPLES_FIRST = 1024 };

void samples_add(Samples *samples, int64_t ns)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? samples->capacity * 2 : SAMPLES_FIRST;
        samples->ns = realloc(samples->ns, samples->capacity * sizeof(int64_t));
        if (!samples->ns) {
            fprintf(stderr, "memory is short\n");
            exit(1);
        }
    }
    samples->ns[samples->count++] = ns;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void samples_sort(Samples *samples)
{
    if (samples->count > 0) {
        qsort(samples->ns, samples->count, sizeof(int64_t), compare);
    }
}

double samples_quantile_ms(const Samples *samples, double part)
{
    size_t at = (size_t)((double)samples->count * part);
    return samples->count == 0 ? 0 : (double)samples->ns[at < samples->count ? at : samples->count - 1] / 1e6;
}
