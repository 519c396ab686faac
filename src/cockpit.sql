-- cockpit.sql: how things go, in psql: speeds, sizes, costs, slow commits, and one page of everything.

CREATE VIEW streamhouse.throughput AS
WITH latest AS (
    SELECT sampled_at FROM streamhouse.sampling ORDER BY sampled_at DESC LIMIT 1
), spans AS (
    SELECT min(s.sampled_at) FILTER (WHERE s.sampled_at > l.sampled_at - interval '1 minute') AS minute_from,
           extract(epoch FROM sum(s.sampled_at - s.since) FILTER (WHERE s.sampled_at > l.sampled_at - interval '1 minute')) AS minute_s,
           min(s.since) AS since, l.sampled_at
    FROM streamhouse.sampling AS s, latest AS l GROUP BY l.sampled_at
)
SELECT t.name AS topic, round(m.minute_records / c.minute_s, 1) AS records_per_s, round(m.minute_bytes / c.minute_s) AS bytes_per_s,
       pg_size_pretty(round(m.minute_bytes / c.minute_s)) || '/s' AS speed,
       m.records, m.bytes, pg_size_pretty(m.bytes) AS size, c.since, c.sampled_at
FROM streamhouse.topic AS t
CROSS JOIN spans AS c
CROSS JOIN LATERAL (SELECT coalesce(sum(s.records) FILTER (WHERE s.sampled_at >= c.minute_from), 0) AS minute_records,
                           coalesce(sum(s.bytes) FILTER (WHERE s.sampled_at >= c.minute_from), 0) AS minute_bytes,
                           coalesce(sum(s.records), 0)::int8 AS records, coalesce(sum(s.bytes), 0)::int8 AS bytes
                    FROM streamhouse.sample AS s WHERE s.topic_id = t.topic_id) AS m
WHERE t.deleted_at IS NULL;
COMMENT ON VIEW streamhouse.throughput IS 'What is written to each topic: in the last minute, and altogether in the last hour. From samples that an agent takes every ten seconds or so (sh_sample()); empty when none did.';
COMMENT ON COLUMN streamhouse.throughput.topic IS 'Name of the topic.';
COMMENT ON COLUMN streamhouse.throughput.records_per_s IS 'Records a second, over the last minute; null before the second sample.';
COMMENT ON COLUMN streamhouse.throughput.bytes_per_s IS 'Bytes of record batches a second, as stored, over the last minute.';
COMMENT ON COLUMN streamhouse.throughput.speed IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.throughput.records IS 'Records from since to sampled_at.';
COMMENT ON COLUMN streamhouse.throughput.bytes IS 'Bytes from since to sampled_at.';
COMMENT ON COLUMN streamhouse.throughput.size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.throughput.since IS 'Begin of what is counted: up to an hour ago.';
COMMENT ON COLUMN streamhouse.throughput.sampled_at IS 'End of what is counted: the last sample.';

CREATE VIEW streamhouse.lag AS
SELECT g.name AS "group", t.name AS topic, o.partition, nullif(o.committed_offset, -1) AS committed_offset, e.log_start_offset,
       e.end_offset AS high_watermark, e.end_offset - least(greatest(o.committed_offset, e.log_start_offset), e.end_offset) AS lag,
       CASE WHEN o.committed_offset >= 0 THEN o.committed_at END AS committed_at
FROM streamhouse.group_offset AS o
JOIN streamhouse.consumer_group AS g USING (group_id)
JOIN streamhouse.topic AS t ON t.topic_id = o.topic_id AND t.deleted_at IS NULL
JOIN streamhouse.partition_end AS e ON e.topic_id = o.topic_id AND e.partition = o.partition;
COMMENT ON VIEW streamhouse.lag IS 'How far consumer groups are behind, per partition. One lookup by index for each partition of each group.';
COMMENT ON COLUMN streamhouse.lag."group" IS 'Name of the group.';
COMMENT ON COLUMN streamhouse.lag.topic IS 'Name of the topic.';
COMMENT ON COLUMN streamhouse.lag.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.lag.committed_offset IS 'Offset that the group goes on from; null when it has committed none.';
COMMENT ON COLUMN streamhouse.lag.log_start_offset IS 'First offset that can be read.';
COMMENT ON COLUMN streamhouse.lag.high_watermark IS 'Offset the next record gets.';
COMMENT ON COLUMN streamhouse.lag.lag IS 'Records that the group has still to read, gaps counted.';
COMMENT ON COLUMN streamhouse.lag.committed_at IS 'When the group last committed there.';

CREATE VIEW streamhouse.storage AS
SELECT 'objects' AS kind, o.state::text AS name, count(*) AS rows, coalesce(sum(o.bytes), 0)::int8 AS bytes,
       pg_size_pretty(coalesce(sum(o.bytes), 0)::int8) AS size, NULL::text AS state, min(o.created_at) AS since
FROM streamhouse.object AS o WHERE o.state <> 'gone' GROUP BY o.state
UNION ALL
SELECT 'inline', r.name, (SELECT count(*) FROM streamhouse.segment AS g WHERE g.slot = r.slot), r.bytes, pg_size_pretty(r.bytes),
       coalesce(s.state::text, CASE r.slot WHEN 1 THEN 'filling' ELSE 'empty' END), s.changed_at
FROM (SELECT n AS slot, 'inline_' || n AS name, pg_total_relation_size(('streamhouse.inline_' || n)::regclass) AS bytes
      FROM generate_series(1, 8) AS n) AS r
LEFT JOIN streamhouse.inline_slot AS s USING (slot)
UNION ALL
SELECT k.kind, c.relname::text, c.reltuples::int8, k.bytes, pg_size_pretty(k.bytes), NULL, NULL
FROM pg_catalog.pg_class AS c
CROSS JOIN LATERAL (VALUES ('table', pg_table_size(c.oid)), ('indexes', pg_indexes_size(c.oid))) AS k (kind, bytes)
WHERE c.relnamespace = 'streamhouse'::regnamespace AND c.relkind = 'r' AND c.relname !~ '^inline_[0-9]$';
COMMENT ON VIEW streamhouse.storage IS 'What takes room: objects in the store by their state, the slots of the inline ring, the extension''s tables and indexes. Counts every object and every inline segment: for people, not for every second.';
COMMENT ON COLUMN streamhouse.storage.kind IS 'objects (in the store), inline (a slot of the ring, in PostgreSQL), table, or indexes (of a table).';
COMMENT ON COLUMN streamhouse.storage.name IS 'State of the objects, or name of the table.';
COMMENT ON COLUMN streamhouse.storage.rows IS 'How many objects; inline segments whose bytes are still needed; rows, as the planner estimates (-1: never counted).';
COMMENT ON COLUMN streamhouse.storage.bytes IS 'Bytes in the store, or on PostgreSQL''s disk.';
COMMENT ON COLUMN streamhouse.storage.size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.storage.state IS 'Where a slot stands in its circle.';
COMMENT ON COLUMN streamhouse.storage.since IS 'When the oldest object''s key was registered; since when a slot is in its state.';

CREATE FUNCTION streamhouse.slow_commit_rows()
RETURNS TABLE (started_at timestamptz, duration_ms float8, kind text, partitions int, batches int, bytes int8, role oid, pid int)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_slow_commit_rows';
COMMENT ON FUNCTION streamhouse.slow_commit_rows IS 'The slowest commits of this database in the last hour, from shared memory.';

CREATE VIEW streamhouse.slow_commits AS
SELECT c.started_at, round(c.duration_ms::numeric, 1) AS duration_ms, c.kind, c.partitions, c.batches, c.bytes,
       pg_size_pretty(c.bytes) AS size, pg_get_userbyid(c.role) AS role, c.pid
FROM streamhouse.slow_commit_rows() AS c
ORDER BY c.duration_ms DESC;
COMMENT ON VIEW streamhouse.slow_commits IS 'The slowest commits that appended records in the last hour, slowest first: at most 64 of all databases, those of this one, none below streamhouse.slow_commit_min_ms. Empty without shared_preload_libraries = ''streamhouse'', and after a restart.';
COMMENT ON COLUMN streamhouse.slow_commits.started_at IS 'When the transaction''s first append began.';
COMMENT ON COLUMN streamhouse.slow_commits.duration_ms IS 'From then until the commit was durable and visible: locks, the work, the flush, synchronous standbys, and whatever else the transaction did meanwhile.';
COMMENT ON COLUMN streamhouse.slow_commits.kind IS 'What appended: object (sh_commit_object()), inline (sh_commit_inline()), sql (sh_produce() and its kin).';
COMMENT ON COLUMN streamhouse.slow_commits.partitions IS 'Partitions that were asked for, all calls added up.';
COMMENT ON COLUMN streamhouse.slow_commits.batches IS 'Record batches, likewise.';
COMMENT ON COLUMN streamhouse.slow_commits.bytes IS 'Their bytes, likewise.';
COMMENT ON COLUMN streamhouse.slow_commits.size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.slow_commits.role IS 'Who did it.';
COMMENT ON COLUMN streamhouse.slow_commits.pid IS 'Process id of the backend.';

CREATE FUNCTION sh_cost(put_dollars_per_1000 numeric DEFAULT 0.005, get_dollars_per_1000 numeric DEFAULT 0.0004,
                        store_dollars_per_gb_month numeric DEFAULT 0.023, postgres_dollars_per_gb_month numeric DEFAULT 0.115,
                        bytes_per_get int DEFAULT 1048576)
RETURNS TABLE (item text, amount_per_month numeric, unit text, dollars_per_month numeric)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH span AS (
        SELECT greatest(extract(epoch FROM now() - greatest(now() - interval '1 hour', min(o.created_at))), 1) AS seconds,
               count(*) FILTER (WHERE o.state <> 'intent' AND o.created_at > now() - interval '1 hour') AS puts
        FROM streamhouse.object AS o
    ), held AS (
        SELECT (SELECT coalesce(sum(o.bytes), 0) FROM streamhouse.object AS o WHERE o.state IN ('live', 'deleting')) AS store_bytes,
               (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c
                WHERE c.relnamespace = 'streamhouse'::regnamespace AND c.relkind = 'r') AS postgres_bytes,
               (SELECT coalesce(sum(a.fetch_bytes_per_s), 0) FROM streamhouse.agents AS a WHERE a.alive) AS fetch_bytes_per_s
    ), month AS (
        SELECT 30.44 * 86400 AS seconds
    ), items AS (
        SELECT 1 AS place, 'PUT requests' AS item, span.puts / span.seconds * month.seconds AS amount, 'requests' AS unit,
               put_dollars_per_1000 / 1000 AS dollars FROM span, month
        UNION ALL
        SELECT 2, 'GET requests, at most', held.fetch_bytes_per_s / bytes_per_get * month.seconds, 'requests',
               get_dollars_per_1000 / 1000 FROM held, month
        UNION ALL
        SELECT 3, 'object storage', held.store_bytes / 1e9, 'GB', store_dollars_per_gb_month FROM held
        UNION ALL
        SELECT 4, 'PostgreSQL storage', held.postgres_bytes / 1e9, 'GB', postgres_dollars_per_gb_month FROM held
    )
    SELECT coalesce(items.item, 'total'), CASE grouping(items.item) WHEN 0 THEN round(max(items.amount), 3) END,
           CASE grouping(items.item) WHEN 0 THEN max(items.unit) END, round(sum(items.amount * items.dollars), 2)
    FROM items GROUP BY GROUPING SETS ((items.item, items.place), ()) ORDER BY items.place NULLS LAST
$$;
COMMENT ON FUNCTION sh_cost IS 'An estimate of what a month costs in dollars if all months were as the last hour (PUTs: objects written) and the last seconds (GETs: what agents gave to consumers, as if nothing came from memory and bytes_per_get with each request), with what is stored now. Defaults are list prices of S3 and of a gp3-like disk; servers, their WAL and network traffic are not in it. Reads every object''s row: for people.';

CREATE FUNCTION streamhouse.overview_warnings() RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'no agent is alive: Kafka clients cannot connect, and nothing moves to the store'
    WHERE NOT EXISTS (SELECT FROM streamhouse.live_agent)
    UNION ALL
    SELECT 'the library is not in shared_preload_libraries: waiting readers poll, slow commits are not kept'
    WHERE current_setting('shared_preload_libraries') !~ '\mstreamhouse\M'
    UNION ALL
    SELECT format('%s partitions have no leader', count(*)) FROM streamhouse.lease AS l
    WHERE NOT EXISTS (SELECT FROM streamhouse.live_agent AS a WHERE a.agent_id = l.agent_id) AND EXISTS (SELECT FROM streamhouse.live_agent)
    HAVING count(*) > 0
    UNION ALL
    SELECT format('inline records wait for %s to move to the store', justify_interval(date_trunc('second', now() - min(s.changed_at))))
    FROM streamhouse.inline_slot AS s WHERE s.state IN ('draining', 'sealed')
    HAVING min(s.changed_at) < now() - interval '30 minutes'
    UNION ALL
    SELECT 'this database may not be the owner of its object store: ' || coalesce(o.reason, 'it runs on another server than when that was last proved')
    FROM streamhouse.ownership AS o WHERE (o.reason IS NOT NULL OR NOT o.same_server AND o.state <> 'new') AND NOT pg_is_in_recovery()
    UNION ALL
    SELECT 'this server is a standby: it answers reads only' WHERE pg_is_in_recovery()
$$;
COMMENT ON FUNCTION streamhouse.overview_warnings IS 'What somebody should look after, a sentence each.';

-- sh_cost() with all its arguments: one that somebody else made in that schema, with fewer, would be preferred, and run
-- as the owner.
CREATE FUNCTION sh_overview() RETURNS TABLE (what text, value text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'warning', w FROM streamhouse.overview_warnings() AS w
    UNION ALL
    SELECT 'version', e.extversion FROM pg_extension AS e WHERE e.extname = 'streamhouse'
    UNION ALL
    SELECT 'cluster since', date_trunc('second', c.created_at)::text FROM streamhouse.cluster AS c
    UNION ALL
    SELECT 'agents', format('%s alive of %s', count(*) FILTER (WHERE a.alive), count(*)) FROM streamhouse.agents AS a
    UNION ALL
    SELECT 'topics', format('%s with %s partitions', count(*), coalesce(sum(t.partitions), 0)) FROM streamhouse.topic AS t WHERE t.deleted_at IS NULL
    UNION ALL
    SELECT 'written', format('%s records/s, %s/s in the last minute', coalesce(sum(t.records_per_s), 0), pg_size_pretty(coalesce(sum(t.bytes_per_s), 0)))
    FROM streamhouse.throughput AS t HAVING count(t.records_per_s) > 0
    UNION ALL
    SELECT 'busiest topic', format('%s with %s records/s, %s', t.topic, t.records_per_s, t.speed)
    FROM (SELECT * FROM streamhouse.throughput AS t WHERE t.records_per_s > 0 ORDER BY t.bytes_per_s DESC, t.topic LIMIT 1) AS t
    UNION ALL
    SELECT 'fetched', format('%s/s by Kafka clients', pg_size_pretty(sum(a.fetch_bytes_per_s)))
    FROM streamhouse.agents AS a WHERE a.alive HAVING count(a.fetch_bytes_per_s) > 0
    UNION ALL
    SELECT 'groups', format('%s, %s records behind in all', (SELECT count(*) FROM streamhouse.consumer_group), coalesce(sum(l.lag), 0))
    FROM streamhouse.lag AS l
    UNION ALL
    SELECT 'furthest behind', format('%s in %s by %s records', l."group", l.topic, l.lag)
    FROM (SELECT l."group", l.topic, sum(l.lag) AS lag FROM streamhouse.lag AS l GROUP BY 1, 2 HAVING sum(l.lag) > 0
          ORDER BY 3 DESC, 1, 2 LIMIT 1) AS l
    UNION ALL
    SELECT 'in the store', format('%s in %s live objects', pg_size_pretty(coalesce(sum(s.bytes), 0)), coalesce(sum(s.rows), 0))
    FROM streamhouse.storage AS s WHERE s.kind = 'objects' AND s.name = 'live'
    UNION ALL
    SELECT 'inline', format('%s, %s segments still to move', pg_size_pretty(sum(s.bytes)), sum(s.rows)) FROM streamhouse.storage AS s WHERE s.kind = 'inline'
    UNION ALL
    SELECT 'metadata', pg_size_pretty(sum(s.bytes)) FROM streamhouse.storage AS s WHERE s.kind IN ('table', 'indexes')
    UNION ALL
    SELECT 'slowest commit', format('%s ms at %s (%s, %s batches)', c.duration_ms, date_trunc('second', c.started_at), c.kind, c.batches)
    FROM (SELECT * FROM streamhouse.slow_commits ORDER BY duration_ms DESC LIMIT 1) AS c
    UNION ALL
    SELECT 'cost', format('about $%s a month, see sh_cost()', c.dollars_per_month) FROM @extschema@.sh_cost(0.005, 0.0004, 0.023, 0.115, 1048576) AS c WHERE c.item = 'total'
$$;
COMMENT ON FUNCTION sh_overview IS 'One page of how things are: what to look after first, then what there is, what it does and what it costs. More is in streamhouse.topics, partitions, agents, throughput, lag, storage, objects, slow_commits. Reads every object''s row: for people.';
