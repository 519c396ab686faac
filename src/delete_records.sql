-- delete_records.sql: a partition's log begins at a later offset: what is below cannot be read from then on. Under the
-- partition's lock its row alone is changed; segments go then and later, some at a time (sh_prune()), and the reaper
-- removes objects that have none left. The floor is raised, since the last segment may be among those that go.

CREATE FUNCTION streamhouse.trim_is_due(topic_id int, partition int, log_start_offset int8) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM streamhouse.segment AS g
                   WHERE g.topic_id = trim_is_due.topic_id AND g.partition = trim_is_due.partition AND g.end_offset <= log_start_offset)
$$;
COMMENT ON FUNCTION streamhouse.trim_is_due IS 'Whether a partition has segments before an offset.';

CREATE FUNCTION streamhouse.trim_segments(topic_id int, partition int, log_start_offset int8, rows_max int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    object_ids int8[];
    removed_rows int;
BEGIN
    WITH removed AS (
        DELETE FROM streamhouse.segment AS g
        WHERE g.topic_id = trim_segments.topic_id AND g.partition = trim_segments.partition
          AND g.end_offset = ANY (ARRAY(SELECT o.end_offset FROM streamhouse.segment AS o
                                        WHERE o.topic_id = trim_segments.topic_id AND o.partition = trim_segments.partition
                                          AND o.end_offset <= log_start_offset
                                        ORDER BY o.end_offset LIMIT greatest(rows_max, 0)))
        RETURNING g.object_id, g.slot
    )
    SELECT array_agg(DISTINCT r.object_id) FILTER (WHERE r.slot = 0), count(*) INTO object_ids, removed_rows FROM removed AS r;
    PERFORM streamhouse.reap_mark_emptied(object_ids);
    RETURN removed_rows;
END $$;
COMMENT ON FUNCTION streamhouse.trim_segments IS 'Removes at most rows_max segments of a partition that end at or before an offset, and says how many.';

-- The caller has the partition's lock, and no snapshot from before it.
CREATE FUNCTION streamhouse.trim_partition(topic_id int, partition int, before_offset int8, OUT log_start_offset int8, OUT error_code int)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    ends CONSTANT streamhouse.partition_end := e FROM streamhouse.partition_end AS e WHERE (e.topic_id, e.partition) = (topic_id, partition);
    wanted CONSTANT int8 := CASE before_offset WHEN -1 THEN ends.end_offset ELSE before_offset END;
    segments_at_once CONSTANT int := 100;
BEGIN
    log_start_offset := coalesce(ends.log_start_offset, -1);
    error_code := CASE WHEN ends.end_offset IS NULL THEN 3 WHEN wanted < 0 OR wanted > ends.end_offset THEN 1 ELSE 0 END;
    IF error_code <> 0 OR wanted <= ends.log_start_offset THEN
        RETURN;
    END IF;
    UPDATE streamhouse.partition AS p SET log_start_offset = wanted, floor_offset = ends.end_offset
    WHERE (p.topic_id, p.partition) = (topic_id, partition);
    INSERT INTO streamhouse.partition_trim AS r VALUES (topic_id, partition) ON CONFLICT DO NOTHING;
    PERFORM streamhouse.trim_segments(topic_id, partition, wanted, segments_at_once);
    PERFORM streamhouse.watch_log_start(topic_id, partition, wanted);
    log_start_offset := wanted;
END $$;
COMMENT ON FUNCTION streamhouse.trim_partition IS 'Makes a partition''s log begin at before_offset (-1: at its end) unless it begins later already. error_code: 0, 1 beyond its end, 3 no such partition.';

CREATE FUNCTION streamhouse.trim_is_allowed(topic_id int) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((streamhouse.topic_defaults() || t.config) ->> 'cleanup.policy', 'delete') LIKE '%delete%'
    FROM streamhouse.topic AS t WHERE t.topic_id = trim_is_allowed.topic_id AND t.deleted_at IS NULL
$$;
COMMENT ON FUNCTION streamhouse.trim_is_allowed IS 'Whether the cleanup.policy of a topic lets old records be deleted; null: no such topic.';

-- Locks are awaited in the order of partitions, for a short time in all: heartbeats take the same line.
CREATE FUNCTION sh_delete_records_of(topic_ids int[], partitions int[], before_offsets int8[])
RETURNS TABLE (request int, log_start_offset int8, error_code int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wait_max CONSTANT interval := '500 ms';
    began CONSTANT timestamptz := clock_timestamp();
    asked record;
    left_ms int;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'records can be deleted under READ COMMITTED only',
            HINT = 'An older snapshot would not see what was appended while a partition''s lock was awaited.';
    END IF;
    FOR asked IN SELECT a.topic_id, a.partition, a.before_offset, a.request::int AS request
                 FROM unnest(topic_ids, partitions, before_offsets) WITH ORDINALITY AS a (topic_id, partition, before_offset, request)
                 ORDER BY a.topic_id, a.partition, a.request LOOP
        request := asked.request;
        log_start_offset := -1;
        error_code := CASE streamhouse.trim_is_allowed(asked.topic_id) WHEN true THEN 0 WHEN false THEN 44 ELSE 3 END;
        IF error_code = 0 THEN
            left_ms := extract(epoch FROM began + wait_max - clock_timestamp()) * 1000;
            IF streamhouse.lease_await(asked.topic_id, asked.partition, left_ms) THEN
                SELECT t.log_start_offset, t.error_code INTO log_start_offset, error_code
                FROM streamhouse.trim_partition(asked.topic_id, asked.partition, asked.before_offset) AS t;
            ELSE
                error_code := 7;
            END IF;
        END IF;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION sh_delete_records_of IS 'sh_delete_records() for several partitions at once, for Kafka''s DeleteRecords; request is the place in the arrays, from 1. error_code is Kafka''s: 1 beyond the end, 3 no such partition, 7 its lock was not to be had in time, 44 its topic''s cleanup.policy does not delete.';

CREATE FUNCTION sh_delete_records(topic text, partition int, before_offset int8 DEFAULT -1) RETURNS int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_topic CONSTANT streamhouse.topic := streamhouse.topic_find(topic);
    deleted record;
BEGIN
    SELECT * INTO deleted FROM @extschema@.sh_delete_records_of(ARRAY[found_topic.topic_id], ARRAY[partition], ARRAY[before_offset]);
    IF deleted.error_code = 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'SH001', MESSAGE = format('partition %s of topic "%s" does not reach to offset %s', partition, topic, before_offset),
            HINT = 'sh_describe_topic() shows its high watermark; -1 stands for that.';
    ELSIF deleted.error_code = 3 THEN
        RAISE EXCEPTION USING ERRCODE = 'SH003', MESSAGE = format('topic "%s" has no partition %s', topic, coalesce(partition::text, 'null')),
            HINT = format('Its partitions are 0 to %s.', found_topic.partitions - 1);
    ELSIF deleted.error_code = 7 THEN
        RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = format('partition %s of topic "%s" is busy', partition, topic),
            HINT = 'A transaction that produces to it is still open. Try again.';
    ELSIF deleted.error_code = 44 THEN
        RAISE EXCEPTION USING ERRCODE = 'SH044', MESSAGE = format('records of topic "%s" cannot be deleted', topic),
            HINT = 'Its cleanup.policy has no delete: see sh_alter_topic().';
    END IF;
    RETURN deleted.log_start_offset;
END $$;
COMMENT ON FUNCTION sh_delete_records IS 'Deletes a partition''s records before an offset; -1: all there are. From then on its log begins there, for every reader; their bytes go bit by bit. Gives back where it begins. Errors: 42704 no such topic, SH003 no such partition, SH001 beyond the end, SH044 the cleanup.policy does not delete, 55P03 a producer has the partition locked.';
