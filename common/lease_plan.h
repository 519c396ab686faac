/* lease_plan.h: which agent is to lead which partition. Pure: no PostgreSQL, no clock, no randomness, so that
 * every server comes to the same plan and a simulation can drive it.
 *
 * Everybody gets his share, weighted, within one partition; who leads goes on leading as long as that allows,
 * so that an agent that comes or goes moves about its share and nothing else. Which partition goes where is
 * rendezvous hashing: the agent with the highest score of those that have room. A partition whose topic wants
 * a zone or a group of agents goes there, if an agent lives there. Partitions that are written to much are
 * exchanged against quiet ones, a few at a time, when that takes a fifth off the busier agent's load. */
#ifndef STREAMHOUSE_LEASE_PLAN_H
#define STREAMHOUSE_LEASE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    LEASE_NOBODY = -1,          /* in place of an agent's index */
    LEASE_ANYWHERE = 0,         /* in place of a zone's or a group's number */
    LEASE_WEIGHT_DEFAULT = 100, /* of an agent */
    LEASE_WEIGHT_MAX = 10000,
};

/* Only agents that may lead: alive, and not about to leave. */
typedef struct LeaseAgent {
    int32_t agent_id;
    int32_t weight; /* 1 to LEASE_WEIGHT_MAX: its share of the partitions, compared with the others' */
    int32_t zone;   /* a number for each zone, LEASE_ANYWHERE: none */
    int32_t group;  /* likewise */
} LeaseAgent;

typedef struct LeasePartition {
    int32_t topic_id;
    int32_t partition;
    int32_t holder;  /* index of the agent that leads it, LEASE_NOBODY when none of them does */
    int32_t zone;    /* where its leader is to be, LEASE_ANYWHERE */
    int32_t group;   /* likewise */
    int64_t load;    /* bytes a second that are written to it, 0 when not known */
    bool has_leader; /* somebody that is alive leads it, if only until it leaves: moving it is a planned move
                      */
    int32_t target;  /* out: index of the agent that is to lead it */
} LeasePartition;

typedef struct LeaseBounds {
    int32_t moves_max;     /* planned moves; a partition without a leader gets one in any case */
    int32_t slack_percent; /* how much more than its share an agent may keep; 0 after agents came or went */
    int32_t swaps_max;     /* exchanges for the sake of load */
} LeaseBounds;

typedef struct LeasePlan {
    int32_t orphans; /* partitions without a leader that get one */
    int32_t moves;   /* planned moves */
    int32_t wanted;  /* planned moves that would be made without moves_max */
} LeasePlan;

/* A partition's score at an agent: the highest leads. */
double lease_score(const LeaseAgent *agent, int32_t topic_id, int32_t partition);

/* Fills target of every partition: LEASE_NOBODY when there is no agent, and for one that is led by somebody
 * who is to leave and whose move has to wait. zone and group become what could be had. False when memory is
 * short; nothing is filled then. Takes time in proportion to partitions × agents, memory in proportion to
 * partitions + agents. */
bool lease_plan(const LeaseAgent *agents, int32_t agent_count, LeasePartition *partitions,
                int32_t partition_count, const LeaseBounds *bounds, LeasePlan *plan);

#endif
