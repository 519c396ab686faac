/* process.c: what the process uses of the machine, read when /metrics is asked for, and its limits. */
#include "agent/process.h"

#include <dirent.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/clock.h"
#include "agent/metrics.h"

enum {
    FILES_BESIDE_CONNECTIONS = 256,       /* that store, PostgreSQL, HTTP and libraries need */
    MEMORY_MAPPED_MIN = 32 * 1024 * 1024, /* allocations of this size on are mapped and unmapped singly */
    MEMORY_KEPT_MAX = 32 * 1024 * 1024    /* free memory at the heap's end beyond this goes back */
};

static double cpu_seconds(void *context)
{
    struct rusage usage;
    (void)context;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Fields of /proc/self/statm, in pages: 0 is virtual, 1 resident. */
static double memory_bytes(int field)
{
    long pages[2] = { 0, 0 };
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file) {
        return 0;
    }
    if (fscanf(file, "%ld %ld", &pages[0], &pages[1]) != 2) {
        pages[field] = 0;
    }
    fclose(file);
    return (double)pages[field] * (double)sysconf(_SC_PAGESIZE);
}

static double virtual_bytes(void *context)
{
    (void)context;
    return memory_bytes(0);
}

static double resident_bytes(void *context)
{
    (void)context;
    return memory_bytes(1);
}

static double open_files(void *context)
{
    /* ".", ".." and the folder's own descriptor do not count. */
    int count = -3;
    DIR *folder = opendir("/proc/self/fd");
    (void)context;
    if (!folder) {
        return 0;
    }
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}

static double files_limit(void *context)
{
    struct rlimit limit;
    (void)context;
    getrlimit(RLIMIT_NOFILE, &limit);
    return (double)limit.rlim_cur;
}

void process_measure(void)
{
    metric_from(METRIC_PROCESS_CPU, cpu_seconds, NULL);
    metric_from(METRIC_PROCESS_VIRTUAL, virtual_bytes, NULL);
    metric_from(METRIC_PROCESS_RESIDENT, resident_bytes, NULL);
    metric_from(METRIC_PROCESS_OPEN_FDS, open_files, NULL);
    metric_from(METRIC_PROCESS_MAX_FDS, files_limit, NULL);
    metric_set(METRIC_PROCESS_START, (double)time_wall_ms() / 1000);
    metric_set(METRIC_BUILD_INFO, 1);
}

int64_t process_raise_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return (int64_t)limit.rlim_cur;
}

int process_connections_max(int wanted)
{
    int64_t possible = process_raise_files() - FILES_BESIDE_CONNECTIONS;
    return possible >= wanted ? wanted : possible > 1 ? (int)possible : 1;
}

void process_keep_memory(void)
{
    mallopt(M_MMAP_THRESHOLD, MEMORY_MAPPED_MIN);
    mallopt(M_TRIM_THRESHOLD, MEMORY_KEPT_MAX);
}

void process_limit_cores(bool wanted)
{
    struct rlimit limit;
    getrlimit(RLIMIT_CORE, &limit);
    limit.rlim_cur = wanted ? limit.rlim_max : 0;
    setrlimit(RLIMIT_CORE, &limit);
}
