/* scale_agent.h: an agent as PostgreSQL knows it: heartbeats, watches, commits. For scale_load.c. */
#ifndef STREAMHOUSE_BENCH_SCALE_AGENT_H
#define STREAMHOUSE_BENCH_SCALE_AGENT_H

#include "bench/samples.h"
#include "bench/scale_line.h"

#define HEARTBEAT_NS 1000000000LL

/* One heartbeat in so many brings a report, as agent/jobs/report.c does it. */
enum { HEARTBEATS_A_REPORT = 5 };

enum { AGENTS_MAX = 200, ROWS_MAX = 1000, DEPTH_MAX = 64, KEYS_MAX = 256 };

typedef struct Scale Scale;

typedef struct Led {
    int32_t topic_id;
    int32_t partition;
    int32_t epoch;
    int32_t sequence; /* of its producer's next batch */
} Led;

typedef struct Agent {
    Scale *scale;
    int number;
    int32_t id; /* 0: not registered yet */
    int64_t lease_version;
    int64_t due_ns; /* the next heartbeat */
    int64_t beats;  /* sent so far */
    int64_t cursor; /* of the watch; 0: none yet */
    Line *control;
    Line *watch;
    Line *committing; /* NULL until it commits */
    Led *led;
    int led_count;
    int led_next;
    int64_t keys[KEYS_MAX]; /* of objects that it may write */
    int key_count;
    bool reserving;
} Agent;

struct Scale {
    const char *conninfo;
    int poll;
    Agent agents[AGENTS_MAX];
    int agent_count;
    Samples heartbeats;
    Samples commits;
    int64_t watches; /* answers of sh_watch() */
    int64_t moves;   /* partitions that they named */
};

void agent_open(Scale *scale, int number);
/* Heartbeat and watch, when they are due. */
void agent_turn(Agent *agent, int64_t now);
void agent_prepare_commits(Agent *agent);
/* One commit of a batch each for so many of its partitions; false when it has depth under way. */
bool agent_commit(Agent *agent, int rows, int depth);

#endif
