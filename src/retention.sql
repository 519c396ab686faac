-- retention.sql: what retention.ms and retention.bytes let go. Agents call sh_retention() by the clock; what goes is found
-- without a lock, oldest segments first, and the partition's log begins after it from then on (delete_records.sql).

-- Segments go as wholes, in their order: one that has not expired keeps those after it. Records without a time keep
-- their segment. One probe for a partition where nothing is due.
CREATE FUNCTION streamhouse.retention_by_time(topic_id int, partition int, log_start_offset int8, expired_before int8) RETURNS int8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT max(s.end_offset) FILTER (WHERE s.expired)
    FROM (SELECT g.end_offset, bool_and(g.max_timestamp >= 0 AND g.max_timestamp < expired_before) OVER (ORDER BY g.end_offset) AS expired
          FROM streamhouse.segment AS g
          WHERE g.topic_id = retention_by_time.topic_id AND g.partition = retention_by_time.partition AND g.end_offset > log_start_offset
          ORDER BY g.end_offset LIMIT 1000) AS s
$$;
COMMENT ON FUNCTION streamhouse.retention_by_time IS 'Where a partition''s log may begin because all before it is older than a time, in ms since 1970; some segments at a time. Null when nothing is.';

CREATE FUNCTION streamhouse.retention_by_size(topic_id int, partition int, log_start_offset int8, bytes int8) RETURNS int8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT max(s.end_offset)
    FROM (SELECT g.end_offset, sum(g.byte_length) OVER (ORDER BY g.end_offset DESC) - g.byte_length AS newer_bytes
          FROM streamhouse.segment AS g
          WHERE g.topic_id = retention_by_size.topic_id AND g.partition = retention_by_size.partition AND g.end_offset > log_start_offset) AS s
    WHERE s.newer_bytes >= bytes
$$;
COMMENT ON FUNCTION streamhouse.retention_by_size IS 'Where a partition''s log may begin because the segments after that have so many bytes already. Null when they all together have fewer.';

CREATE FUNCTION streamhouse.retention_wanted() RETURNS TABLE (topic_id int, expired_before int8, bytes int8)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.topic_id,
           CASE WHEN c.ms >= 0 THEN extract(epoch FROM clock_timestamp())::numeric * 1000 - c.ms END::int8,
           CASE WHEN c.bytes >= 0 THEN c.bytes END
    FROM streamhouse.topic AS t,
         (SELECT jsonb_object_agg(d.name, d.default_value) || streamhouse.topic_defaults() AS config FROM streamhouse.config_definition AS d
          WHERE d.name IN ('cleanup.policy', 'retention.ms', 'retention.bytes')) AS fallback,
         LATERAL (SELECT e.config ->> 'cleanup.policy' AS policy, (e.config ->> 'retention.ms')::int8 AS ms, (e.config ->> 'retention.bytes')::int8 AS bytes
                  FROM (SELECT fallback.config || t.config AS config) AS e) AS c
    WHERE t.deleted_at IS NULL AND c.policy LIKE '%delete%' AND (c.ms >= 0 OR c.bytes >= 0);
END $$;
COMMENT ON FUNCTION streamhouse.retention_wanted IS 'Topics that let old records go: those before a time, in ms since 1970, and those beyond a size of a partition; null for no such limit.';

-- How many it may give does not change the plan.
CREATE FUNCTION streamhouse.retention_due(partitions_max int) RETURNS TABLE (topic_id int, partition int, before_offset int8)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT p.topic_id, p.partition, greatest(by_time.before_offset, by_size.before_offset)
    FROM streamhouse.retention_wanted() AS w
    JOIN streamhouse.partition AS p ON p.topic_id = w.topic_id
    JOIN LATERAL (SELECT g.max_timestamp FROM streamhouse.segment AS g
                  WHERE g.topic_id = p.topic_id AND g.partition = p.partition AND g.end_offset > p.log_start_offset
                  ORDER BY g.end_offset LIMIT 1) AS oldest ON true
    LEFT JOIN LATERAL (SELECT streamhouse.retention_by_time(p.topic_id, p.partition, p.log_start_offset, w.expired_before) AS before_offset
                       WHERE oldest.max_timestamp < w.expired_before) AS by_time ON true
    LEFT JOIN LATERAL (SELECT streamhouse.retention_by_size(p.topic_id, p.partition, p.log_start_offset, w.bytes) AS before_offset
                       WHERE w.bytes IS NOT NULL) AS by_size ON true
    WHERE greatest(by_time.before_offset, by_size.before_offset) > p.log_start_offset
    LIMIT partitions_max;
END $$;
COMMENT ON FUNCTION streamhouse.retention_due IS 'Some partitions whose log is to begin later, and where.';

CREATE FUNCTION sh_retention() RETURNS bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    partitions_max CONSTANT int := 20; -- their locks are held to the end
    due record;
    trimmed int := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' OR NOT pg_try_advisory_xact_lock(7310590, 6) THEN
        RETURN false;
    END IF;
    PERFORM @extschema@.sh_cluster_id();
    FOR due IN SELECT d.* FROM streamhouse.retention_due(partitions_max) AS d ORDER BY d.topic_id, d.partition LOOP
        PERFORM FROM streamhouse.partition AS p WHERE (p.topic_id, p.partition) = (due.topic_id, due.partition) FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            PERFORM streamhouse.trim_partition(due.topic_id, due.partition, due.before_offset);
            trimmed := trimmed + 1;
        END IF;
    END LOOP;
    RETURN trimmed > partitions_max / 2;
END $$;
COMMENT ON FUNCTION sh_retention IS 'Lets go of the oldest records of some partitions as their topics'' retention.ms and retention.bytes say, whole segments at a time; a partition that is locked waits for the next call. True when there was so much that it should be called again at once.';
