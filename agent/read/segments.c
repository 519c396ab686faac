/* segments.c: windows in two lists: a partition's own, most recently used first, and all of them by last use.
 */
#include "agent/read/segments.h"

#include <stdlib.h>

#include <utlist.h>

#include "agent/metrics.h"

void segments_init(Segments *segments, size_t bytes_max)
{
    *segments = (Segments){ .bytes_max = bytes_max };
}

static size_t window_cost(const SegmentWindow *window)
{
    size_t cost = sizeof(SegmentWindow) + (size_t)window->count * sizeof(SegmentRef);
    for (int32_t i = 0; i < window->count; i++) {
        cost += strlen(window->refs[i].key) + 1;
    }
    return cost;
}

static void window_free(SegmentWindow *window)
{
    for (int32_t i = 0; i < window->count; i++) {
        free(window->refs[i].key);
    }
    free(window);
}

static void window_remove(Segments *segments, SegmentWindow *window)
{
    DL_DELETE(window->partition->segments, window);
    DL_DELETE2(segments->oldest, window, older, newer);
    segments->bytes -= window_cost(window);
    metric_set(METRIC_SEGMENT_CACHE_BYTES, (double)segments->bytes);
    window_free(window);
}

void segments_free(Segments *segments)
{
    while (segments->oldest) {
        window_remove(segments, segments->oldest);
    }
}

void segments_drop(Segments *segments, Partition *partition)
{
    while (partition->segments) {
        window_remove(segments, partition->segments);
    }
}

static SegmentWindow *window_new(Partition *partition, int64_t from_offset, const SegmentRef *refs,
                                 int32_t count)
{
    SegmentWindow *window = calloc(1, sizeof(SegmentWindow) + (size_t)count * sizeof(SegmentRef));
    if (!window) {
        return NULL;
    }
    window->partition = partition;
    window->from_offset = from_offset;
    window->to_offset = refs[count - 1].end_offset;
    for (int32_t i = 0; i < count; i++) {
        window->refs[i] = refs[i];
        window->refs[i].key = strdup(refs[i].key);
        window->refs[i].hint_offset = refs[i].base_offset;
        window->refs[i].hint_position = 0;
        if (!window->refs[i].key) {
            window->count = i;
            window_free(window);
            return NULL;
        }
    }
    window->count = count;
    return window;
}

void segments_keep(Segments *segments, Partition *partition, int64_t from_offset, const SegmentRef *refs,
                   int32_t count)
{
    if (count <= 0 || partition->topic->deleted) {
        return; /* nobody would drop the window before the partition goes */
    }
    SegmentWindow *window = window_new(partition, from_offset, refs, count);
    if (!window) {
        return;
    }
    SegmentWindow *last;
    int windows;
    DL_COUNT(partition->segments, last, windows);
    if (windows >= SEGMENT_WINDOWS_MAX) {
        window_remove(segments, partition->segments->prev);
    }
    DL_PREPEND(partition->segments, window);
    DL_APPEND2(segments->oldest, window, older, newer);
    segments->bytes += window_cost(window);
    while (segments->bytes > segments->bytes_max && segments->oldest != window) {
        window_remove(segments, segments->oldest);
    }
    metric_set(METRIC_SEGMENT_CACHE_BYTES, (double)segments->bytes);
}

static SegmentRef *window_find(SegmentWindow *window, int64_t offset)
{
    int32_t low = 0;
    int32_t high = window->count - 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;
        if (window->refs[middle].end_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return &window->refs[low];
}

SegmentRef *segments_find(Segments *segments, Partition *partition, int64_t offset)
{
    SegmentWindow *window;
    DL_FOREACH(partition->segments, window)
    {
        if (window->from_offset <= offset && offset < window->to_offset) {
            DL_DELETE(partition->segments, window);
            DL_PREPEND(partition->segments, window);
            DL_DELETE2(segments->oldest, window, older, newer);
            DL_APPEND2(segments->oldest, window, older, newer);
            return window_find(window, offset);
        }
    }
    return NULL;
}
