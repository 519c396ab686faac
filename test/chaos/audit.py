"""audit.py: what must hold of the brain and the store at the end of a run, which no client could see: no object without its row, no pointer
without its object, and every record in the time of the lease under which it was written.
"""

# Each gives sentences. Pointers: of any two segments of a partition one ends before the other begins.
RULES = {
    "overlap": """
        SELECT format('segments of %s/%s overlap at offset %s', topic_id, partition, base_offset)
        FROM (SELECT topic_id, partition, base_offset, lag(end_offset) OVER (PARTITION BY topic_id, partition ORDER BY base_offset) AS before
              FROM streamhouse.segment) AS s
        WHERE base_offset < before""",
    # An epoch's records lie between where it began and where the next one began: a batch beyond that was committed under a lease
    # that somebody else had by then.
    "epoch": """
        SELECT format('segment %s/%s [%s, %s) has epoch %s, which began at %s and ended at %s', s.topic_id, s.partition, s.base_offset,
                      s.end_offset, s.leader_epoch, e.start_offset, e.next_start)
        FROM streamhouse.segment AS s
        LEFT JOIN (SELECT topic_id, partition, epoch, start_offset,
                          lead(start_offset) OVER (PARTITION BY topic_id, partition ORDER BY epoch) AS next_start
                   FROM streamhouse.partition_epoch) AS e
          ON (e.topic_id, e.partition, e.epoch) = (s.topic_id, s.partition, s.leader_epoch)
        WHERE s.base_offset < e.start_offset OR s.end_offset > e.next_start OR e.epoch IS NULL""",
    "dangling": """
        SELECT format('segment %s/%s [%s, %s) is in object %s, which is %s', s.topic_id, s.partition, s.base_offset, s.end_offset,
                      s.object_id, coalesce(o.state::text, 'unknown'))
        FROM streamhouse.segment AS s LEFT JOIN streamhouse.object AS o USING (object_id)
        WHERE s.slot = 0 AND o.state IS DISTINCT FROM 'live'""",
}
SHOWN = 5


def violations(postgres, store):
    """Sentences, each beginning with the rule's name."""
    found = [f"{rule}: {line}" for rule, query in RULES.items() for line in postgres.run(query)[:SHOWN]]
    # The brain first: a key that is registered in between is no leak. What it has let go of meanwhile is looked for again.
    rows = [line.split("|") for line in postgres.run("SELECT key, state FROM streamhouse.object;")]
    there = store.keys()
    known = {key for key, _ in rows} | set(postgres.run("SELECT key FROM streamhouse.object;"))
    found += [f"leak: the brain knows nothing of the object {key}" for key in sorted(there - known)[:SHOWN]]
    needed = {line for line in postgres.run("SELECT DISTINCT key FROM streamhouse.segment JOIN streamhouse.object USING (object_id) WHERE slot = 0")}
    missing = needed - store.keys()
    if missing:
        needed &= {line for line in postgres.run("SELECT DISTINCT key FROM streamhouse.segment JOIN streamhouse.object USING (object_id) WHERE slot = 0")}
    found += [f"missing: records are in the object {key}, which is not there" for key in sorted(missing & needed)[:SHOWN]]
    return found
