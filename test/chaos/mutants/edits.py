"""edits.py: the ways in which the product is broken on purpose. Each mutant is a row: a name, what it breaks, and edits: (file, text as it
is, text as it becomes). A text that is not there exactly once has moved on without its mutant, which is an error.
"""
from typing import NamedTuple, Tuple


class Mutant(NamedTuple):
    name: str
    breaks: str
    edits: Tuple


FENCE = """    if (partition->leader_id != agent_id || partition->lease_epoch != batch->row.lease_epoch) {
        return fenced;
    }
"""
NO_FENCE = "    (void)agent_id;\n"
SEGMENT_EPOCH = "                                .leader_epoch = partition->lease_epoch,\n"

SEND = "    log->backend.commit(log->backend.context, &request, commit_finished, call);\n"
ANSWER = """    for (size_t i = 0; i < call->count; i++) {
        Append *append = call->appends[i];
        if (!append->answered) {
            append->answered = true;
            append->done(append->argument, KAFKA_ERROR_NONE, OFFSET_UNKNOWN);
        }
    }
"""

RESERVE = "sh_reserve_objects($1, $2, $3)"
LATE_KEYS = """
CREATE FUNCTION sh_reserve_nothing(agent_id int, count int, ttl_ms int8) RETURNS TABLE (object_id int8, key text)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n, 'o/' || left(md5(n::text), 2) || '/' || md5(n::text) || '.sho'
    FROM (SELECT nextval(pg_get_serial_sequence('streamhouse.object', 'object_id')) AS n FROM generate_series(1, count)) AS n
$$;
COMMENT ON FUNCTION sh_reserve_nothing IS 'Keys that nobody has registered.';

CREATE FUNCTION sh_register_late(agent_id int, object_id int8) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO streamhouse.object (object_id, key, agent_id, created_at, expires_at) OVERRIDING SYSTEM VALUE
    VALUES ($2, 'o/' || left(md5($2::text), 2) || '/' || md5($2::text) || '.sho', $1, clock_timestamp(), clock_timestamp() + interval '1 hour')
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION sh_register_late IS 'Registers a key when its object is there already.';

"""
REAP_ROWS = "CREATE FUNCTION streamhouse.reap_rows_max() RETURNS int\n"
COMMIT_FRAME = "static void service_commit(void *context, const CommitRequest *request, CommitFinished done, void *argument)\n{\n"
LATE_STATEMENT = """static const BrainStatement late_statement = {
    "register_late", "SELECT sh_register_late($1, $2)", 2, { BRAIN_INT4, BRAIN_INT8 }
};

static void service_registered(const BrainResult *result, void *argument)
{
    (void)result;
    (void)argument;
}

"""
LATE_CALL = """    if (!request->is_inline) {
        LogService *own = context;
        BrainParameters late;
        brain_parameters_init(&late);
        brain_put_int4(&late, lease_agent_id(own->agent->lease));
        brain_put_int8(&late, request->id);
        brain_send(own->agent->brain, request->wait_ms > 0 ? BRAIN_CONTENDED : BRAIN_COMMIT,
                   &(BrainQuery){ .statement = &late_statement, .parameters = &late }, service_registered, NULL);
    }
"""

MOVED = """    ), recorded AS (
        INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset)
"""
FORGOTTEN = """    ), forgotten AS (
        DELETE FROM streamhouse.producer AS p USING changed AS c WHERE (p.topic_id, p.partition) = (c.topic_id, c.partition)
"""

VALID = "lease && lease->agent_id != LEASE_NO_AGENT && lease_clock_holds(&lease->clock, time_ms());"

DEADLINE = "        if (call->deadline_ms <= now_ms) {\n            /* It may be frozen"
CANCEL = """        if (strncmp(call->statement->name, "commit", 6) == 0 && now_ms > call->started_ns / 1000000 + 1000) {
            char trouble[256];
            PGcancel *cancel = PQgetCancel(link->connection);
            PQcancel(cancel, trouble, sizeof(trouble));
            PQfreeCancel(cancel);
        }
"""

MUTANTS = (
    Mutant("no-fence", "the commit accepts batches of leases that are over, and stores them with their old epoch", (
        ("src/commit_decide.c", FENCE, NO_FENCE),
        ("src/commit_decide.c", SEGMENT_EPOCH, SEGMENT_EPOCH.replace("partition->", "row->")))),
    Mutant("answer-before-commit", "producers are answered when the commit is sent", (("agent/log/commit.c", SEND, SEND + ANSWER),)),
    Mutant("no-intent", "objects are stored under keys that are registered with their commit", (
        ("agent/log/service.c", RESERVE, "sh_reserve_nothing($1, $2, $3)"),
        ("agent/log/service.c", COMMIT_FRAME, LATE_STATEMENT + COMMIT_FRAME + LATE_CALL),
        ("src/object.sql", REAP_ROWS, LATE_KEYS + REAP_ROWS))),
    Mutant("forgotten-producers", "a partition that changes hands forgets its producers' last batches", (("src/lease.sql", MOVED, FORGOTTEN + MOVED),)),
    Mutant("cancelled-commit", "a commit that takes longer than a second is cancelled; what PostgreSQL then calls success no standby has", (
        ("agent/brain/link.c", DEADLINE, CANCEL + DEADLINE),)),
    Mutant("expired-lease", "an agent goes on when its lease is over; the commit still fences it", (
        ("agent/jobs/lease.c", VALID, VALID.replace(" && lease_clock_holds(&lease->clock, time_ms())", "")),)),
    Mutant("expired-lease-no-fence", "the last and the first together", (
        ("agent/jobs/lease.c", VALID, VALID.replace(" && lease_clock_holds(&lease->clock, time_ms())", "")),
        ("src/commit_decide.c", FENCE, NO_FENCE),
        ("src/commit_decide.c", SEGMENT_EPOCH, SEGMENT_EPOCH.replace("partition->", "row->")))),
)
