/* skew.c: a clock that can be set wrong while the process runs. Preloaded (LD_PRELOAD), it answers for the C
 * library's clocks by what the file CHAOS_CLOCK says, which clock.py writes: the wall clock is shifted, the
 * monotonic clock runs at another rate. Waits of the event loop are stretched alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { NS_PER_SECOND = 1000000000, NS_PER_US = 1000 };

/* What the file holds. The version is odd while it is written. */
typedef struct Skew {
    uint64_t version;
    int64_t wall_offset_ns;
    int64_t real_origin_ns; /* at this moment of the true monotonic clock … */
    int64_t told_origin_ns; /* … ours showed this, and runs at this rate since */
    double rate;
} Skew;

static const Skew *shared;

__attribute__((constructor)) static void skew_open(void)
{
    const char *path = getenv("CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) {
        return;
    }
    void *mapped = mmap(NULL, sizeof(Skew), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    shared = mapped == MAP_FAILED ? NULL : mapped;
}

/* What is in force; all as it is when nothing is. */
static Skew skew_now(void)
{
    Skew skew = { .rate = 1 };
    if (!shared) {
        return skew;
    }
    uint64_t before;
    uint64_t after;
    do {
        before = __atomic_load_n(&shared->version, __ATOMIC_ACQUIRE);
        skew = *(volatile const Skew *)shared;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&shared->version, __ATOMIC_RELAXED);
    } while (before != after || before % 2 != 0);
    return skew;
}

static int true_clock(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    if (!next) {
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    return next ? next(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
}

static int64_t to_ns(const struct timespec *time)
{
    return (int64_t)time->tv_sec * NS_PER_SECOND + time->tv_nsec;
}

static void from_ns(int64_t ns, struct timespec *time)
{
    time->tv_sec = ns / NS_PER_SECOND;
    time->tv_nsec = ns % NS_PER_SECOND;
}

static bool is_wall(clockid_t clock)
{
    return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE;
}

static bool is_monotonic(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW ||
           clock == CLOCK_BOOTTIME;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = true_clock(clock, now);
    if (failed) {
        return failed;
    }
    Skew skew = skew_now();
    if (is_wall(clock) && skew.wall_offset_ns != 0) {
        from_ns(to_ns(now) + skew.wall_offset_ns, now);
    } else if (is_monotonic(clock) && skew.real_origin_ns != 0) {
        int64_t passed = to_ns(now) - skew.real_origin_ns;
        from_ns(skew.told_origin_ns + (int64_t)((double)passed * skew.rate), now);
    }
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / NS_PER_US;
    return 0;
}

time_t time(time_t *where)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) {
        *where = now.tv_sec;
    }
    return now.tv_sec;
}

/* How long a wait is by the true clock; never shorter than asked for by ours. */
static int true_wait(int timeout_ms)
{
    double rate = skew_now().rate;
    return timeout_ms <= 0 || rate == 1 ? timeout_ms : (int)((double)timeout_ms / rate) + 1;
}

int epoll_pwait(int epoll, struct epoll_event *events, int max, int timeout_ms, const sigset_t *mask)
{
    static int (*next)(int, struct epoll_event *, int, int, const sigset_t *);
    if (!next) {
        next =
            (int (*)(int, struct epoll_event *, int, int, const sigset_t *))dlsym(RTLD_NEXT, "epoll_pwait");
    }
    return next(epoll, events, max, true_wait(timeout_ms), mask);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout_ms)
{
    return epoll_pwait(epoll, events, max, timeout_ms, NULL);
}

int poll(struct pollfd *files, nfds_t count, int timeout_ms)
{
    static int (*next)(struct pollfd *, nfds_t, int);
    if (!next) {
        next = (int (*)(struct pollfd *, nfds_t, int))dlsym(RTLD_NEXT, "poll");
    }
    return next(files, count, true_wait(timeout_ms));
}
