/* lease_plan_test.c: what must hold of any plan of leases, over many sizes and histories. */
#include "common/lease_plan.h"

#include <stdlib.h>

#include "test/unit/test.h"

enum { AGENTS_MAX = 100, PARTITIONS_MAX = 10000, ALL = 1000000, ZONES = 3 };

typedef struct Cluster {
    LeaseAgent agents[AGENTS_MAX];
    int32_t agent_count;
    LeasePartition partitions[PARTITIONS_MAX];
    int32_t partition_count;
    LeasePlan plan;
} Cluster;

static Cluster cluster_of(int32_t agents, int32_t partitions)
{
    static Cluster cluster;
    cluster = (Cluster){ .agent_count = agents, .partition_count = partitions };
    for (int32_t i = 0; i < agents; i++) {
        cluster.agents[i] =
            (LeaseAgent){ .agent_id = i + 1, .weight = LEASE_WEIGHT_DEFAULT, .zone = 1 + i % ZONES };
    }
    for (int32_t i = 0; i < partitions; i++) {
        cluster.partitions[i] =
            (LeasePartition){ .topic_id = 1 + i / 100, .partition = i % 100, .holder = LEASE_NOBODY };
    }
    return cluster;
}

static const LeaseBounds UNBOUNDED = { .moves_max = ALL };

static void plan(Cluster *cluster, const LeaseBounds *bounds)
{
    CHECK(lease_plan(cluster->agents, cluster->agent_count, cluster->partitions, cluster->partition_count,
                     bounds, &cluster->plan));
}

/* The plan is carried out. */
static void carry_out(Cluster *cluster)
{
    for (int32_t i = 0; i < cluster->partition_count; i++) {
        LeasePartition *partition = &cluster->partitions[i];
        if (partition->target != LEASE_NOBODY) {
            partition->holder = partition->target;
            partition->has_leader = true;
        }
    }
}

static void settle(Cluster *cluster)
{
    plan(cluster, &UNBOUNDED);
    carry_out(cluster);
}

/* An agent goes, dead or about to leave; those after it move up. */
static void agent_go(Cluster *cluster, int32_t gone, bool dead)
{
    for (int32_t i = 0; i < cluster->partition_count; i++) {
        LeasePartition *partition = &cluster->partitions[i];
        if (partition->holder == gone) {
            partition->holder = LEASE_NOBODY;
            partition->has_leader = !dead;
        } else if (partition->holder > gone) {
            partition->holder--;
        }
    }
    for (int32_t i = gone; i + 1 < cluster->agent_count; i++) {
        cluster->agents[i] = cluster->agents[i + 1];
    }
    cluster->agent_count--;
}

static int32_t count_of(const Cluster *cluster, int32_t agent)
{
    int32_t count = 0;
    for (int32_t i = 0; i < cluster->partition_count; i++) {
        count += cluster->partitions[i].holder == agent;
    }
    return count;
}

static int32_t spread(const Cluster *cluster)
{
    int32_t least = ALL;
    int32_t most = 0;
    for (int32_t i = 0; i < cluster->agent_count; i++) {
        int32_t count = count_of(cluster, i);
        least = count < least ? count : least;
        most = count > most ? count : most;
    }
    return most - least;
}

TEST(everybody_gets_his_share_within_one)
{
    const int32_t sizes[] = { 1, 2, 3, 7, 12, 100, 1000 };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        for (int32_t agents = 1; agents <= 9; agents++) {
            Cluster cluster = cluster_of(agents, sizes[i]);
            settle(&cluster);
            CHECK_INT(cluster.plan.orphans, sizes[i]);
            CHECK_INT(cluster.plan.moves, 0);
            CHECK(spread(&cluster) <= 1);
        }
    }
}

TEST(a_plan_that_is_carried_out_leaves_nothing_to_do)
{
    Cluster cluster = cluster_of(7, 1000);
    settle(&cluster);
    plan(&cluster, &UNBOUNDED);
    CHECK_INT(cluster.plan.orphans, 0);
    CHECK_INT(cluster.plan.wanted, 0);
}

TEST(an_agent_that_comes_takes_its_share_and_nothing_else_moves)
{
    Cluster cluster = cluster_of(4, 1000);
    settle(&cluster);
    cluster.agents[cluster.agent_count++] = (LeaseAgent){ .agent_id = 99, .weight = LEASE_WEIGHT_DEFAULT };
    plan(&cluster, &UNBOUNDED);
    CHECK_INT(cluster.plan.moves, 200);
    for (int32_t i = 0; i < cluster.partition_count; i++) {
        const LeasePartition *partition = &cluster.partitions[i];
        CHECK(partition->target == partition->holder || partition->target == 4);
    }
}

TEST(of_an_agent_that_dies_only_its_own_partitions_move)
{
    Cluster cluster = cluster_of(5, 1000);
    settle(&cluster);
    agent_go(&cluster, 2, true);
    plan(&cluster, &UNBOUNDED);
    CHECK_INT(cluster.plan.orphans, 200);
    CHECK_INT(cluster.plan.wanted, 0);
    carry_out(&cluster);
    CHECK(spread(&cluster) <= 1);
}

TEST(planned_moves_are_bounded_and_those_of_orphans_are_not)
{
    Cluster cluster = cluster_of(5, 1000);
    settle(&cluster);
    agent_go(&cluster, 4, true);
    agent_go(&cluster, 0, false);
    plan(&cluster, &(LeaseBounds){ .moves_max = 10 });
    CHECK_INT(cluster.plan.orphans, 200);
    CHECK_INT(cluster.plan.moves, 10);
    CHECK_INT(cluster.plan.wanted, 200);
    int32_t waiting = 0;
    for (int32_t i = 0; i < cluster.partition_count; i++) {
        waiting += cluster.partitions[i].target == LEASE_NOBODY;
    }
    CHECK_INT(waiting, 190);
}

TEST(weights_are_shares)
{
    Cluster cluster = cluster_of(3, 400);
    cluster.agents[1].weight = 2 * LEASE_WEIGHT_DEFAULT;
    settle(&cluster);
    CHECK_INT(count_of(&cluster, 0), 100);
    CHECK_INT(count_of(&cluster, 1), 200);
}

TEST(a_zone_that_is_wanted_is_had_where_somebody_lives_there)
{
    Cluster cluster = cluster_of(6, 300);
    for (int32_t i = 0; i < 100; i++) {
        cluster.partitions[i].zone = 2;
    }
    for (int32_t i = 100; i < 110; i++) {
        cluster.partitions[i].zone = 77; /* nobody lives there */
    }
    settle(&cluster);
    for (int32_t i = 0; i < 100; i++) {
        CHECK_INT(cluster.agents[cluster.partitions[i].holder].zone, 2);
    }
    CHECK(cluster.partitions[105].holder != LEASE_NOBODY);
    CHECK(spread(&cluster) <= 1); /* the others lead more of what may go anywhere */
}

TEST(a_partition_whose_zone_comes_back_goes_there)
{
    Cluster cluster = cluster_of(2, 10);
    cluster.partitions[3].zone = 3;
    settle(&cluster);
    cluster.agents[cluster.agent_count++] =
        (LeaseAgent){ .agent_id = 9, .weight = LEASE_WEIGHT_DEFAULT, .zone = 3 };
    cluster.partitions[3].zone = 3;
    settle(&cluster);
    CHECK_INT(cluster.partitions[3].holder, 2);
}

TEST(a_group_counts_more_than_a_zone)
{
    Cluster cluster = cluster_of(4, 8);
    cluster.agents[0].group = 5;
    for (int32_t i = 0; i < 8; i++) {
        cluster.partitions[i].group = 5;
        cluster.partitions[i].zone = 2;
    }
    settle(&cluster);
    CHECK_INT(count_of(&cluster, 0), 8);
}

TEST(busy_partitions_are_parted_when_it_pays)
{
    Cluster cluster = cluster_of(2, 4);
    settle(&cluster);
    for (int32_t i = 0; i < 4; i++) {
        cluster.partitions[i].load = cluster.partitions[i].holder == 0 ? 1000 : 1;
    }
    plan(&cluster, &(LeaseBounds){ .moves_max = ALL, .swaps_max = 2 });
    CHECK_INT(cluster.plan.moves, 2);
    carry_out(&cluster);
    CHECK_INT(count_of(&cluster, 0), 2);
    plan(&cluster, &(LeaseBounds){ .moves_max = ALL, .swaps_max = 2 });
    CHECK_INT(cluster.plan.wanted, 0);
}

TEST(a_little_more_load_moves_nothing)
{
    Cluster cluster = cluster_of(2, 4);
    settle(&cluster);
    for (int32_t i = 0; i < 4; i++) {
        cluster.partitions[i].load = cluster.partitions[i].holder == 0 ? 110 : 100;
    }
    plan(&cluster, &(LeaseBounds){ .moves_max = ALL, .swaps_max = 2 });
    CHECK_INT(cluster.plan.wanted, 0);
}

TEST(slack_leaves_small_differences_alone)
{
    Cluster cluster = cluster_of(2, 100);
    for (int32_t i = 0; i < 100; i++) {
        cluster.partitions[i].holder = i < 55 ? 0 : 1;
        cluster.partitions[i].has_leader = true;
    }
    plan(&cluster, &(LeaseBounds){ .moves_max = ALL, .slack_percent = 15 });
    CHECK_INT(cluster.plan.wanted, 0);
    plan(&cluster, &UNBOUNDED);
    CHECK_INT(cluster.plan.wanted, 5);
}

TEST(without_agents_nobody_leads)
{
    Cluster cluster = cluster_of(0, 3);
    plan(&cluster, &UNBOUNDED);
    CHECK_INT(cluster.partitions[2].target, LEASE_NOBODY);
}

TEST(any_history_ends_even_and_at_rest)
{
    srand(7);
    Cluster cluster = cluster_of(1, 137);
    int32_t next_id = 100;
    for (int round = 0; round < 300; round++) {
        if (cluster.agent_count > 1 && rand() % 2) {
            agent_go(&cluster, rand() % cluster.agent_count, rand() % 2);
        } else if (cluster.agent_count < 20) {
            cluster.agents[cluster.agent_count++] = (LeaseAgent){ .agent_id = next_id++,
                                                                  .weight = LEASE_WEIGHT_DEFAULT,
                                                                  .zone = 1 + rand() % ZONES };
        }
        LeaseBounds some = { .moves_max = 1 + rand() % 20 };
        do {
            plan(&cluster, &some);
            carry_out(&cluster);
        } while (cluster.plan.moves + cluster.plan.orphans > 0);
        CHECK(spread(&cluster) <= 1);
        CHECK_INT(cluster.plan.orphans, 0);
    }
}

TEST(the_plan_is_the_same_whatever_the_order_of_agents)
{
    Cluster cluster = cluster_of(5, 100);
    settle(&cluster);
    static int32_t leaders[100];
    for (int32_t i = 0; i < 100; i++) {
        leaders[i] = cluster.agents[cluster.partitions[i].holder].agent_id;
    }
    cluster = cluster_of(5, 100);
    LeaseAgent first = cluster.agents[0];
    cluster.agents[0] = cluster.agents[4];
    cluster.agents[4] = first;
    settle(&cluster);
    int32_t differs = 0;
    for (int32_t i = 0; i < 100; i++) {
        differs += leaders[i] != cluster.agents[cluster.partitions[i].holder].agent_id;
    }
    CHECK_INT(differs, 0);
}

TEST(a_hundred_agents_and_ten_thousand_partitions_are_planned)
{
    Cluster cluster = cluster_of(AGENTS_MAX, PARTITIONS_MAX);
    settle(&cluster);
    CHECK_INT(spread(&cluster), 0);
    agent_go(&cluster, 50, true);
    settle(&cluster);
    CHECK(spread(&cluster) <= 2);
}

TEST(topics_with_one_partition_that_are_planned_alone_do_not_all_go_to_one_agent)
{
    int32_t counts[3] = { 0 };
    for (int32_t topic = 1; topic <= 300; topic++) {
        Cluster cluster = cluster_of(3, 1);
        cluster.partitions[0].topic_id = topic;
        settle(&cluster);
        counts[cluster.partitions[0].holder]++;
    }
    for (int32_t i = 0; i < 3; i++) {
        CHECK(counts[i] > 70 && counts[i] < 130);
    }
}
