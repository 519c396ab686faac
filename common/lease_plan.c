/* lease_plan.c: shares first, then who keeps what, then who gets what is left over, then exchanges for load.
 */
#include "common/lease_plan.h"

#include <math.h>
#include <stdlib.h>

enum { PERCENT = 100 };

/* An exchange must take this much off the load of the busier agent. */
#define GAIN_MIN 0.2
/* In place of a score, which is above 0. */
#define NOT_HELD (-1.0)

typedef struct Plan {
    const LeaseAgent *agents;
    int32_t agent_count;
    LeasePartition *partitions;
    int32_t partition_count;
    int32_t *held;  /* per agent: partitions that it is to lead, of all kinds */
    int32_t *quota; /* per agent: how many of the present kind */
    int32_t *now;   /* per agent: how many of the present kind it leads */
    int64_t *load;  /* per agent */
    double *scores; /* per partition, at its holder */
    int32_t *order; /* per partition: indexes of those of the present kind, those to keep first */
} Plan;

static uint64_t mix(uint64_t value)
{
    value ^= value >> 33;
    value *= UINT64_C(0xff51afd7ed558ccd);
    value ^= value >> 33;
    value *= UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ (value >> 33);
}

double lease_score(const LeaseAgent *agent, int32_t topic_id, int32_t partition)
{
    uint64_t hash = mix((uint64_t)(uint32_t)topic_id << 32 | (uint32_t)partition);
    hash = mix(hash + UINT64_C(0x9e3779b97f4a7c15) * (uint64_t)(uint32_t)(agent->agent_id + 1));
    double share = ((double)(hash >> 11) + 0.5) / (double)(UINT64_C(1) << 53); /* between 0 and 1 */
    return -(double)agent->weight / log(share);
}

/* Does the agent live where the partition is wanted? Asked only when somebody does. */
static bool agent_suits(const LeaseAgent *agent, int32_t zone, int32_t group)
{
    return (zone == LEASE_ANYWHERE || agent->zone == zone) &&
           (group == LEASE_ANYWHERE || agent->group == group);
}

static bool anybody_suits(const Plan *plan, int32_t zone, int32_t group)
{
    for (int32_t i = 0; i < plan->agent_count; i++) {
        if (agent_suits(&plan->agents[i], zone, group)) {
            return true;
        }
    }
    return false;
}

/* What can be had of what is wanted: the group counts more than the zone. */
static void wish_settle(const Plan *plan, int32_t *zone, int32_t *group)
{
    if (anybody_suits(plan, *zone, *group)) {
        return;
    }
    if (anybody_suits(plan, LEASE_ANYWHERE, *group)) {
        *zone = LEASE_ANYWHERE;
    } else if (anybody_suits(plan, *zone, LEASE_ANYWHERE)) {
        *group = LEASE_ANYWHERE;
    } else {
        *zone = *group = LEASE_ANYWHERE;
    }
}

/* Is the one agent to get the next partition of a kind rather than the other? Who has least for its weight;
 * of equals, who leads more now, so that less moves; of those, who scores higher, so that topics with few
 * partitions do not all begin with the same agent. */
static bool comes_before(const Plan *plan, int32_t one, int32_t other, const LeasePartition *first)
{
    double level = (double)(plan->held[one] + plan->quota[one] + 1) / plan->agents[one].weight;
    double other_level = (double)(plan->held[other] + plan->quota[other] + 1) / plan->agents[other].weight;
    bool keeps = plan->now[one] > plan->quota[one];
    bool other_keeps = plan->now[other] > plan->quota[other];
    if (level != other_level || keeps != other_keeps) {
        return level != other_level ? level < other_level : keeps;
    }
    return lease_score(&plan->agents[one], first->topic_id, first->partition) >
           lease_score(&plan->agents[other], first->topic_id, first->partition);
}

static void quotas_fill(Plan *plan, int32_t zone, int32_t group, int32_t count)
{
    const LeasePartition *first = &plan->partitions[plan->order[0]];
    for (int32_t i = 0; i < plan->agent_count; i++) {
        plan->quota[i] = 0;
    }
    for (int32_t n = 0; n < count; n++) {
        int32_t best = LEASE_NOBODY;
        for (int32_t i = 0; i < plan->agent_count; i++) {
            if (agent_suits(&plan->agents[i], zone, group) &&
                (best == LEASE_NOBODY || comes_before(plan, i, best, first))) {
                best = i;
            }
        }
        plan->quota[best]++;
    }
}

static int keep_first(const void *a, const void *b, void *argument)
{
    const double *scores = argument;
    int32_t left = *(const int32_t *)a;
    int32_t right = *(const int32_t *)b;
    if (scores[left] != scores[right]) {
        return scores[left] < scores[right] ? 1 : -1;
    }
    return left < right ? -1 : left > right;
}

/* Who has room and scores highest; LEASE_NOBODY when nobody has room. */
static int32_t choose(const Plan *plan, const LeasePartition *partition, int32_t zone, int32_t group)
{
    int32_t best = LEASE_NOBODY;
    double best_score = 0;
    for (int32_t i = 0; i < plan->agent_count; i++) {
        if (plan->quota[i] <= 0 || !agent_suits(&plan->agents[i], zone, group)) {
            continue;
        }
        double score = lease_score(&plan->agents[i], partition->topic_id, partition->partition);
        if (best == LEASE_NOBODY || score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

static void give(Plan *plan, LeasePartition *partition, int32_t agent)
{
    partition->target = agent;
    plan->held[agent]++;
    plan->load[agent] += partition->load;
}

/* How many a holder may keep: its share, and some more where it does not matter much. */
static int32_t keeps_max(const Plan *plan, int32_t agent, int32_t slack_percent)
{
    int64_t quota = plan->quota[agent];
    return (int32_t)(quota + (quota * slack_percent + PERCENT - 1) / PERCENT);
}

/* Who leads how many of the kind, and how much each holder is liked: -1 where it cannot stay. */
static void holders_count(Plan *plan, int32_t zone, int32_t group, int32_t count)
{
    for (int32_t i = 0; i < plan->agent_count; i++) {
        plan->now[i] = 0;
    }
    for (int32_t n = 0; n < count; n++) {
        const LeasePartition *partition = &plan->partitions[plan->order[n]];
        int32_t holder = partition->holder;
        plan->scores[plan->order[n]] = NOT_HELD;
        if (holder != LEASE_NOBODY && agent_suits(&plan->agents[holder], zone, group)) {
            plan->scores[plan->order[n]] =
                lease_score(&plan->agents[holder], partition->topic_id, partition->partition);
            plan->now[holder]++;
        }
    }
}

/* Lets holders keep what they may, what they score highest for first. Leaves the others in order[] and says
 * how many those are. */
static int32_t kind_keep(Plan *plan, int32_t count, int32_t slack_percent)
{
    int32_t left = 0;
    qsort_r(plan->order, (size_t)count, sizeof(*plan->order), keep_first, plan->scores);
    for (int32_t i = 0; i < plan->agent_count; i++) {
        plan->now[i] = keeps_max(plan, i, slack_percent);
    }
    for (int32_t n = 0; n < count; n++) {
        int32_t index = plan->order[n];
        LeasePartition *partition = &plan->partitions[index];
        if (plan->scores[index] != NOT_HELD && plan->now[partition->holder] > 0) {
            plan->now[partition->holder]--;
            plan->quota[partition->holder]--;
            give(plan, partition, partition->holder);
        } else {
            plan->order[left++] = index;
        }
    }
    return left;
}

/* The partitions in order[0 .. count) are of one kind. */
static void kind_plan(Plan *plan, int32_t zone, int32_t group, int32_t count, int32_t slack_percent)
{
    holders_count(plan, zone, group, count);
    quotas_fill(plan, zone, group, count);
    int32_t left = kind_keep(plan, count, slack_percent);
    for (int32_t n = 0; n < left; n++) {
        LeasePartition *partition = &plan->partitions[plan->order[n]];
        int32_t agent = choose(plan, partition, zone, group);
        plan->quota[agent]--;
        give(plan, partition, agent);
    }
}

/* Kinds with a wish come first, so that what goes anywhere evens out what they leave uneven. */
static void kinds_plan(Plan *plan, const LeaseBounds *bounds)
{
    int32_t done = 0;
    for (int32_t i = 0; i < plan->partition_count; i++) {
        wish_settle(plan, &plan->partitions[i].zone, &plan->partitions[i].group);
        plan->partitions[i].target = LEASE_NOBODY;
    }
    for (int32_t i = 0; i < plan->partition_count && done < plan->partition_count; i++) {
        const LeasePartition *first = &plan->partitions[i];
        bool is_free = first->zone == LEASE_ANYWHERE && first->group == LEASE_ANYWHERE;
        if (is_free || first->target != LEASE_NOBODY) {
            continue;
        }
        int32_t count = 0;
        for (int32_t n = i; n < plan->partition_count; n++) {
            if (plan->partitions[n].zone == first->zone && plan->partitions[n].group == first->group) {
                plan->order[count++] = n;
            }
        }
        kind_plan(plan, first->zone, first->group, count, bounds->slack_percent);
        done += count;
    }
    int32_t count = 0;
    for (int32_t n = 0; n < plan->partition_count; n++) {
        if (plan->partitions[n].target == LEASE_NOBODY) {
            plan->order[count++] = n;
        }
    }
    kind_plan(plan, LEASE_ANYWHERE, LEASE_ANYWHERE, count, bounds->slack_percent);
}

static double level(const Plan *plan, int32_t agent)
{
    return (double)plan->load[agent] / plan->agents[agent].weight;
}

/* Of the partitions of one agent, the one whose exchange against another of the second agent helps most: hot
 * is LEASE_NOBODY when none does enough. */
static void swap_find(const Plan *plan, int32_t from, int32_t to, int32_t *hot, int32_t *cold)
{
    double best = level(plan, from) * (1 - GAIN_MIN);
    *hot = LEASE_NOBODY;
    *cold = LEASE_NOBODY;
    for (int32_t i = 0; i < plan->partition_count; i++) {
        const LeasePartition *quiet = &plan->partitions[i];
        if (quiet->target == to && quiet->holder == to &&
            (*cold == LEASE_NOBODY || quiet->load < plan->partitions[*cold].load)) {
            *cold = i;
        }
    }
    for (int32_t i = 0; *cold != LEASE_NOBODY && i < plan->partition_count; i++) {
        const LeasePartition *busy = &plan->partitions[i];
        const LeasePartition *quiet = &plan->partitions[*cold];
        if (busy->target != from || busy->holder != from || busy->load <= quiet->load ||
            busy->zone != quiet->zone || busy->group != quiet->group) {
            continue;
        }
        double moved = (double)(busy->load - quiet->load);
        double after = fmax(((double)plan->load[from] - moved) / plan->agents[from].weight,
                            ((double)plan->load[to] + moved) / plan->agents[to].weight);
        if (after < best) {
            best = after;
            *hot = i;
        }
    }
}

/* Numbers stay as they are, so that the next plan does not undo it. */
static bool swap(Plan *plan)
{
    int32_t from = 0;
    int32_t to = 0;
    int32_t hot;
    int32_t cold;
    for (int32_t i = 1; i < plan->agent_count; i++) {
        from = level(plan, i) > level(plan, from) ? i : from;
        to = level(plan, i) < level(plan, to) ? i : to;
    }
    if (from == to) {
        return false;
    }
    swap_find(plan, from, to, &hot, &cold);
    if (hot == LEASE_NOBODY) {
        return false;
    }
    int64_t moved = plan->partitions[hot].load - plan->partitions[cold].load;
    plan->partitions[hot].target = to;
    plan->partitions[cold].target = from;
    plan->load[from] -= moved;
    plan->load[to] += moved;
    return true;
}

/* Planned moves beyond the bound are left for the next plan, which finds them again. */
static void moves_bound(Plan *plan, const LeaseBounds *bounds, LeasePlan *made)
{
    for (int32_t i = 0; i < plan->partition_count; i++) {
        LeasePartition *partition = &plan->partitions[i];
        if (!partition->has_leader) {
            made->orphans++;
        } else if (partition->target != partition->holder) {
            made->wanted++;
            if (made->moves < bounds->moves_max) {
                made->moves++;
            } else {
                partition->target = partition->holder;
            }
        }
    }
}

bool lease_plan(const LeaseAgent *agents, int32_t agent_count, LeasePartition *partitions,
                int32_t partition_count, const LeaseBounds *bounds, LeasePlan *made)
{
    *made = (LeasePlan){ 0 };
    size_t by_agent = (size_t)agent_count * (3 * sizeof(int32_t) + sizeof(int64_t));
    size_t by_partition = (size_t)partition_count * (sizeof(double) + sizeof(int32_t));
    char *memory = calloc(1, by_agent + by_partition + 1);
    if (!memory) {
        return false;
    }
    Plan plan = { .agents = agents,
                  .agent_count = agent_count,
                  .partitions = partitions,
                  .partition_count = partition_count };
    plan.scores = (double *)(void *)memory;
    plan.load = (int64_t *)(void *)(plan.scores + partition_count);
    plan.held = (int32_t *)(void *)(plan.load + agent_count);
    plan.quota = plan.held + agent_count;
    plan.now = plan.quota + agent_count;
    plan.order = plan.now + agent_count;
    if (agent_count == 0) {
        for (int32_t i = 0; i < partition_count; i++) {
            partitions[i].target = LEASE_NOBODY;
        }
    } else {
        kinds_plan(&plan, bounds);
        for (int32_t n = 0; n < bounds->swaps_max && swap(&plan); n++) {
        }
        moves_bound(&plan, bounds, made);
    }
    free(memory);
    return true;
}
