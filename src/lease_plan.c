/* lease_plan.c: common/lease_plan.c for SQL: arrays in, a row for each partition that is to move. */
#include "compat.h"

#include "common/lease_plan.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "request_array.h"
#include "result_rows.h"

PG_FUNCTION_INFO_V1(streamhouse_lease_plan);

enum { AGENTS_MAX = 10000, PARTITIONS_MAX = 2000000 };

enum Argument {
    AGENT_IDS,
    AGENT_WEIGHTS,
    AGENT_ZONES,
    AGENT_GROUPS,
    TOPIC_IDS,
    PARTITIONS,
    HOLDERS,
    HOLDER_IS_ALIVE,
    WANTED_ZONES,
    WANTED_GROUPS,
    LOADS,
    MOVES_MAX,
    SLACK_PERCENT,
    SWAPS_MAX
};

typedef struct PlanCall {
    LeaseAgent *agents;
    int agent_count;
    LeasePartition *partitions;
    int partition_count;
} PlanCall;

/* One column of as many elements as there are rows. */
static const int32 *int4_column(FunctionCallInfo fcinfo, int argument, RequestArray rows, int most)
{
    RequestArray column = request_array(fcinfo, argument, most);
    request_arrays_check(rows, column);
    return column.data;
}

static void read_agents(FunctionCallInfo fcinfo, PlanCall *call)
{
    RequestArray ids = request_array(fcinfo, AGENT_IDS, AGENTS_MAX);
    const int32 *agent_ids = ids.data;
    const int32 *weights = int4_column(fcinfo, AGENT_WEIGHTS, ids, AGENTS_MAX);
    const int32 *zones = int4_column(fcinfo, AGENT_ZONES, ids, AGENTS_MAX);
    const int32 *groups = int4_column(fcinfo, AGENT_GROUPS, ids, AGENTS_MAX);
    call->agent_count = ids.count;
    call->agents = palloc0(sizeof(LeaseAgent) * (ids.count + 1));
    for (int i = 0; i < ids.count; i++) {
        call->agents[i] = (LeaseAgent){ .agent_id = agent_ids[i],
                                        .weight = Min(Max(weights[i], 1), LEASE_WEIGHT_MAX),
                                        .zone = zones[i],
                                        .group = groups[i] };
        if (i > 0 && agent_ids[i] <= agent_ids[i - 1]) {
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("the agents are not sorted"),
                    errhint("Order them by their ids, each once."));
        }
    }
}

/* The place of an agent among those that may lead. */
static int32 agent_find(const PlanCall *call, int32 agent_id)
{
    int low = 0;
    int high = call->agent_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (call->agents[middle].agent_id < agent_id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < call->agent_count && call->agents[low].agent_id == agent_id ? low : LEASE_NOBODY;
}

static void read_partitions(FunctionCallInfo fcinfo, PlanCall *call)
{
    RequestArray ids = request_array(fcinfo, TOPIC_IDS, PARTITIONS_MAX);
    const int32 *topic_ids = ids.data;
    const int32 *partitions = int4_column(fcinfo, PARTITIONS, ids, PARTITIONS_MAX);
    const int32 *holders = int4_column(fcinfo, HOLDERS, ids, PARTITIONS_MAX);
    const int32 *zones = int4_column(fcinfo, WANTED_ZONES, ids, PARTITIONS_MAX);
    const int32 *groups = int4_column(fcinfo, WANTED_GROUPS, ids, PARTITIONS_MAX);
    RequestArray alive = request_array(fcinfo, HOLDER_IS_ALIVE, PARTITIONS_MAX);
    RequestArray loads = request_array(fcinfo, LOADS, PARTITIONS_MAX);
    request_arrays_check(ids, alive);
    request_arrays_check(ids, loads);
    call->partition_count = ids.count;
    call->partitions = palloc_extended(sizeof(LeasePartition) * (ids.count + 1), MCXT_ALLOC_HUGE);
    for (int i = 0; i < ids.count; i++) {
        call->partitions[i] = (LeasePartition){ .topic_id = topic_ids[i],
                                                .partition = partitions[i],
                                                .holder = agent_find(call, holders[i]),
                                                .zone = zones[i],
                                                .group = groups[i],
                                                .load = ((const int64 *)loads.data)[i],
                                                .has_leader = ((const bool *)alive.data)[i] };
    }
}

static void write_moves(FunctionCallInfo fcinfo, const PlanCall *call)
{
    ResultRows rows = result_rows_open(fcinfo);
    const int32 *holders = request_array(fcinfo, HOLDERS, PARTITIONS_MAX).data;
    for (int i = 0; i < call->partition_count; i++) {
        const LeasePartition *partition = &call->partitions[i];
        if (partition->target == LEASE_NOBODY ||
            (partition->has_leader && partition->target == partition->holder)) {
            continue;
        }
        Datum values[] = { Int32GetDatum(partition->topic_id), Int32GetDatum(partition->partition),
                           Int32GetDatum(holders[i]), Int32GetDatum(call->agents[partition->target].agent_id),
                           BoolGetDatum(partition->has_leader) };
        result_rows_put(&rows, values, NULL);
    }
}

Datum streamhouse_lease_plan(PG_FUNCTION_ARGS)
{
    PlanCall call;
    LeasePlan made;
    LeaseBounds bounds = { .moves_max = PG_GETARG_INT32(MOVES_MAX),
                           .slack_percent = PG_GETARG_INT32(SLACK_PERCENT),
                           .swaps_max = PG_GETARG_INT32(SWAPS_MAX) };
    read_agents(fcinfo, &call);
    read_partitions(fcinfo, &call);
    if (!lease_plan(call.agents, call.agent_count, call.partitions, call.partition_count, &bounds, &made)) {
        ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY),
                errmsg("no memory to plan %d leases", call.partition_count));
    }
    write_moves(fcinfo, &call);
    return (Datum)0;
}
