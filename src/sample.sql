-- sample.sql: how much is written to each topic, measured from the segments by a job of the agents, and what agents
-- report of themselves. What is measured here is kept for an hour and is not dumped: it says how things go, not what is.

CREATE TABLE streamhouse.sampling (
    sampled_at timestamptz PRIMARY KEY,
    since timestamptz
);
COMMENT ON TABLE streamhouse.sampling IS 'Runs of sh_sample() in the last hour.';
COMMENT ON COLUMN streamhouse.sampling.sampled_at IS 'When it ran.';
COMMENT ON COLUMN streamhouse.sampling.since IS 'When the run before it was: what it found was written after that. Null for the first.';

CREATE TABLE streamhouse.sample (
    topic_id int NOT NULL,
    sampled_at timestamptz NOT NULL,
    records int8 NOT NULL,
    bytes int8 NOT NULL,
    PRIMARY KEY (topic_id, sampled_at)
);
COMMENT ON TABLE streamhouse.sample IS 'What runs of sh_sample() found new in topics. A topic to which nothing was written has no row.';
COMMENT ON COLUMN streamhouse.sample.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.sample.sampled_at IS 'The run.';
COMMENT ON COLUMN streamhouse.sample.records IS 'Records written since the run before.';
COMMENT ON COLUMN streamhouse.sample.bytes IS 'Bytes of their batches, as stored.';

CREATE TABLE streamhouse.sample_position (
    topic_id int PRIMARY KEY,
    end_offsets int8[] NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.sample_position IS 'How far sh_sample() has counted.';
COMMENT ON COLUMN streamhouse.sample_position.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.sample_position.end_offsets IS 'Offsets after the last record that is counted, of partitions 0, 1 and so on.';

-- Only segments that are new are read: an index range for each partition that has moved. The next offset of each
-- partition is one index lookup, which makes up most of the cost.
CREATE FUNCTION streamhouse.sample_topics(now_at timestamptz, since timestamptz) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    written int;
BEGIN
    WITH ends AS MATERIALIZED (
        SELECT t.topic_id, t.created_at, e.end_offsets, p.end_offsets AS counted
        FROM streamhouse.topic AS t
        JOIN (SELECT topic_id, array_agg(end_offset ORDER BY partition) AS end_offsets
              FROM streamhouse.partition_end GROUP BY topic_id) AS e USING (topic_id)
        LEFT JOIN streamhouse.sample_position AS p USING (topic_id)
        WHERE t.deleted_at IS NULL AND p.end_offsets IS DISTINCT FROM e.end_offsets
    ), positions AS (
        INSERT INTO streamhouse.sample_position AS p (topic_id, end_offsets)
        SELECT topic_id, end_offsets FROM ends
        ON CONFLICT (topic_id) DO UPDATE SET end_offsets = excluded.end_offsets
    ), found AS (
        SELECT ends.topic_id, sum(new.records)::int8 AS records, sum(new.bytes)::int8 AS bytes
        FROM ends
        CROSS JOIN LATERAL unnest(ends.end_offsets, ends.counted) WITH ORDINALITY AS e (end_offset, counted, ordinal)
        CROSS JOIN LATERAL (SELECT sum(g.end_offset - greatest(g.base_offset, e.counted)) AS records, sum(g.byte_length) AS bytes
                            FROM streamhouse.segment AS g
                            WHERE g.topic_id = ends.topic_id AND g.partition = e.ordinal - 1
                              AND g.end_offset > coalesce(e.counted, 0) AND g.end_offset <= e.end_offset) AS new
        -- What a topic had before anybody counted is nothing new.
        WHERE e.end_offset > coalesce(e.counted, 0) AND (ends.counted IS NOT NULL OR ends.created_at > since)
        GROUP BY ends.topic_id
    ), kept AS (
        INSERT INTO streamhouse.sample (topic_id, sampled_at, records, bytes)
        SELECT topic_id, now_at, records, bytes FROM found WHERE records > 0
        RETURNING topic_id
    )
    SELECT count(*) INTO written FROM kept;
    RETURN written;
END $$;
COMMENT ON FUNCTION streamhouse.sample_topics IS 'Counts what is new in every topic; gives back in how many something is.';

CREATE FUNCTION sh_sample(interval_ms int DEFAULT 10000) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kept CONSTANT interval := '1 hour';
    now_at CONSTANT timestamptz := clock_timestamp();
    last_at CONSTANT timestamptz := (SELECT max(sampled_at) FROM streamhouse.sampling);
    written int;
BEGIN
    IF interval_ms IS NULL OR interval_ms NOT BETWEEN 0 AND 3600000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'interval_ms must be from 0 to 3600000',
            HINT = 'It is the least time between two samples.';
    END IF;
    IF last_at > now_at - make_interval(secs => interval_ms / 1000.0) OR NOT pg_try_advisory_xact_lock(7310590, 5) THEN
        RETURN 0;
    END IF;
    IF EXISTS (SELECT FROM streamhouse.sampling AS s WHERE s.sampled_at > last_at) THEN
        RETURN 0; -- somebody did it just before the lock was had
    END IF;
    written := streamhouse.sample_topics(now_at, last_at);
    INSERT INTO streamhouse.sampling (sampled_at, since) VALUES (now_at, last_at) ON CONFLICT DO NOTHING;
    DELETE FROM streamhouse.sampling AS s WHERE s.sampled_at < now_at - kept;
    DELETE FROM streamhouse.sample AS s WHERE s.sampled_at < now_at - kept;
    DELETE FROM streamhouse.sample_position AS p WHERE NOT EXISTS (SELECT FROM streamhouse.topic AS t WHERE t.topic_id = p.topic_id AND t.deleted_at IS NULL);
    RETURN written;
END $$;
COMMENT ON FUNCTION sh_sample IS 'Measures what was written to each topic since the last time, for streamhouse.throughput. Agents call it every few seconds: it does nothing when the last time was less than interval_ms ago or somebody else is at it. Keeps an hour. Gives back to how many topics something was written.';

CREATE TABLE streamhouse.agent_stats (
    agent_id int PRIMARY KEY,
    reported_at timestamptz NOT NULL,
    stats jsonb NOT NULL,
    hot_topic_ids int[] NOT NULL DEFAULT '{}',
    hot_partitions int[] NOT NULL DEFAULT '{}',
    hot_loads int8[] NOT NULL DEFAULT '{}',
    earlier_at timestamptz,
    earlier_stats jsonb
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.agent_stats IS 'What agents report of themselves with their heartbeats. Counters run since the process began.';
COMMENT ON COLUMN streamhouse.agent_stats.agent_id IS 'The agent.';
COMMENT ON COLUMN streamhouse.agent_stats.reported_at IS 'When it last reported.';
COMMENT ON COLUMN streamhouse.agent_stats.stats IS 'Names to numbers: produce_bytes, produce_batches, fetch_bytes, flushes_inline, flushes_object (counters), commit_p99_ms, connections, memory_bytes (as they are).';
COMMENT ON COLUMN streamhouse.agent_stats.hot_topic_ids IS 'Partitions that most is written to through it: their topics.';
COMMENT ON COLUMN streamhouse.agent_stats.hot_partitions IS 'Likewise: their numbers.';
COMMENT ON COLUMN streamhouse.agent_stats.hot_loads IS 'Likewise: bytes a second.';
COMMENT ON COLUMN streamhouse.agent_stats.earlier_at IS 'When it reported earlier_stats; null when there is only one report.';
COMMENT ON COLUMN streamhouse.agent_stats.earlier_stats IS 'A report of up to 20 s before, so that speeds can be told from counters.';

-- A report that is no object of numbers must not cost an agent its leases: what is not a number is left out. The plan does
-- not depend on what is reported, and need not be made several times to find that out. Nobody else writes the row: the
-- agent's is locked.
CREATE FUNCTION streamhouse.agent_report(agent_id int, stats jsonb, now_at timestamptz, hot_topic_ids int[], hot_partitions int[], hot_loads int8[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    hot_max CONSTANT int := 256;
BEGIN
    IF cardinality(hot_topic_ids) > hot_max OR cardinality(hot_topic_ids) IS DISTINCT FROM cardinality(hot_partitions)
       OR cardinality(hot_topic_ids) IS DISTINCT FROM cardinality(hot_loads) THEN
        hot_topic_ids := '{}';
        hot_partitions := '{}';
        hot_loads := '{}';
    END IF;
    IF jsonb_typeof(stats) <> 'object' THEN
        stats := '{}';
    ELSIF stats @? 'strict $.* ? (@.type() != "number")' THEN
        stats := (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(stats) WHERE jsonb_typeof(value) = 'number');
    END IF;
    UPDATE streamhouse.agent_stats AS s
    SET reported_at = now_at, stats = agent_report.stats,
        hot_topic_ids = agent_report.hot_topic_ids, hot_partitions = agent_report.hot_partitions, hot_loads = agent_report.hot_loads,
        earlier_at = CASE WHEN s.earlier_at > now_at - interval '10 s' THEN s.earlier_at ELSE s.reported_at END,
        earlier_stats = CASE WHEN s.earlier_at > now_at - interval '10 s' THEN s.earlier_stats ELSE s.stats END
    WHERE s.agent_id = agent_report.agent_id;
    IF NOT FOUND THEN
        INSERT INTO streamhouse.agent_stats (agent_id, reported_at, stats, hot_topic_ids, hot_partitions, hot_loads)
        VALUES (agent_report.agent_id, now_at, agent_report.stats, agent_report.hot_topic_ids, agent_report.hot_partitions, agent_report.hot_loads);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.agent_report IS 'Keeps what an agent reports of itself.';
