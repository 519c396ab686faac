/* prune_look.c: whether there is anything at all in the tables that sh_prune() and its kin tidy up: agents
 * call them every few seconds, for ever, also where nothing is written. */
#include "compat.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "key_scan.h"

PG_FUNCTION_INFO_V1(streamhouse_prune_look);

/* In the order of streamhouse.prune_look()'s columns. */
static const KeyScanSpec looks[] = {
    { "topic", "topic_deleted", 0 },
    { "partition_trim", "partition_trim_pkey", 0 },
    { "producer", "producer_pkey", 0 },
    { "commit_answer", "commit_answer_pkey", 0 },
    { "lease_notice", "lease_notice_pkey", 0 },
    { "consumer_group", "consumer_group_pkey", 0 },
};

Datum streamhouse_prune_look(PG_FUNCTION_ARGS)
{
    TupleDesc columns;
    Datum values[lengthof(looks)];
    bool nulls[lengthof(looks)] = { false };
    if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE ||
        columns->natts != lengthof(looks)) {
        elog(ERROR, "streamhouse_prune_look gives back a row of %zu columns", lengthof(looks));
    }
    for (size_t i = 0; i < lengthof(looks); i++) {
        values[i] = BoolGetDatum(key_scan_any(&looks[i], (Datum)0));
    }
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), values, nulls));
}
