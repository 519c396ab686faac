-- prune.sql: what commits leave behind, since they insert and never update, is removed by the clock: agents call sh_prune().

-- Commits insert a row per producer and partition and never update one: all but the newest are waste. A window moves
-- over the key; its last row stays, since its successor is not in sight, and is the first of the next window.
CREATE FUNCTION streamhouse.prune_producers() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_max CONSTANT int := streamhouse.reap_rows_max();
    expired_before CONSTANT timestamptz := clock_timestamp() - make_interval(secs => streamhouse.setting('streamhouse.producer_ttl'));
    last_seen record;
BEGIN
    WITH seen AS MATERIALIZED (
        SELECT p.ctid AS row_id, p.topic_id, p.partition, p.producer_id, p.end_offset, p.written_at
        FROM streamhouse.producer AS p
        WHERE (p.topic_id, p.partition, p.producer_id, p.end_offset)
              >= (SELECT c.swept_topic_id, c.swept_partition, c.swept_producer_id, c.swept_end_offset FROM streamhouse.cluster AS c)
        ORDER BY p.topic_id, p.partition, p.producer_id, p.end_offset
        LIMIT rows_max
    ), ranked AS (
        SELECT s.row_id, s.written_at < expired_before OR lead(true, 1, false) OVER following AS useless
        FROM seen AS s
        WINDOW following AS (PARTITION BY s.topic_id, s.partition, s.producer_id ORDER BY s.end_offset)
    ), removed AS (
        DELETE FROM streamhouse.producer WHERE ctid = ANY (ARRAY(SELECT r.row_id FROM ranked AS r WHERE r.useless))
        RETURNING 1
    )
    SELECT s.*, count(*) OVER () = rows_max AS more, (SELECT count(*) FROM removed) AS removed INTO last_seen
    FROM seen AS s ORDER BY s.topic_id DESC, s.partition DESC, s.producer_id DESC, s.end_offset DESC LIMIT 1;
    UPDATE streamhouse.cluster AS c
    SET swept_topic_id = CASE WHEN last_seen.more THEN last_seen.topic_id ELSE 0 END,
        swept_partition = CASE WHEN last_seen.more THEN last_seen.partition ELSE 0 END,
        swept_producer_id = CASE WHEN last_seen.more THEN last_seen.producer_id ELSE 0 END,
        swept_end_offset = CASE WHEN last_seen.more THEN last_seen.end_offset ELSE 0 END
    WHERE last_seen.more OR c.swept_topic_id <> 0;
    RETURN coalesce(last_seen.removed, 0);
END $$;
COMMENT ON FUNCTION streamhouse.prune_producers IS 'Removes the next superseded and expired rows of producers, and says how many; begins again after the last.';

-- The oldest come first: objects' ids rise, and those of inline commits, which are negative, fall.
CREATE FUNCTION streamhouse.prune_answers() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_max CONSTANT int := streamhouse.reap_rows_max();
    expired_before CONSTANT timestamptz := clock_timestamp() - make_interval(secs => streamhouse.setting('streamhouse.answer_ttl'));
    pruned int;
BEGIN
    DELETE FROM streamhouse.commit_answer
    WHERE ctid = ANY (ARRAY(SELECT o.row_id
                            FROM ((SELECT ctid AS row_id, answered_at FROM streamhouse.commit_answer
                                   WHERE object_id > 0 ORDER BY object_id, batch LIMIT rows_max)
                                  UNION ALL
                                  (SELECT ctid, answered_at FROM streamhouse.commit_answer
                                   WHERE object_id < 0 ORDER BY object_id DESC, batch DESC LIMIT rows_max)) AS o
                            WHERE o.answered_at < expired_before));
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;
COMMENT ON FUNCTION streamhouse.prune_answers IS 'Removes the oldest answers of commits that have expired, and says how many.';

CREATE FUNCTION streamhouse.prune_notices() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pruned int;
BEGIN
    DELETE FROM streamhouse.lease_notice AS n
    WHERE EXISTS (SELECT FROM streamhouse.lease_notice AS o WHERE o.agent_id = n.agent_id AND o.notice_id < n.notice_id);
    GET DIAGNOSTICS pruned = ROW_COUNT;
    RETURN pruned;
END $$;
COMMENT ON FUNCTION streamhouse.prune_notices IS 'Leaves one notice of those that an agent has not taken, and says how many went.';

-- A partition stays noted until a look finds nothing: a segment that the mover replaced a moment ago comes to light with
-- the next one. Segments go under their partition's lock, a few at a time, and none that is busy is waited for.
CREATE FUNCTION streamhouse.prune_trimmed() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_max CONSTANT int := streamhouse.reap_rows_max();
    partitions_max CONSTANT int := 100;
    trimmed record;
    pruned int;
    pruned_all int := 0;
BEGIN
    FOR trimmed IN SELECT r.topic_id, r.partition, p.log_start_offset
                   FROM streamhouse.partition_trim AS r JOIN streamhouse.partition AS p USING (topic_id, partition)
                   ORDER BY r.topic_id, r.partition LIMIT partitions_max FOR UPDATE OF r, p SKIP LOCKED LOOP
        pruned := streamhouse.trim_segments(trimmed.topic_id, trimmed.partition, trimmed.log_start_offset, rows_max - pruned_all);
        pruned_all := pruned_all + pruned;
        IF pruned = 0 AND NOT streamhouse.trim_is_due(trimmed.topic_id, trimmed.partition, trimmed.log_start_offset) THEN
            DELETE FROM streamhouse.partition_trim AS r WHERE (r.topic_id, r.partition) = (trimmed.topic_id, trimmed.partition);
        END IF;
        EXIT WHEN pruned_all >= rows_max;
    END LOOP;
    DELETE FROM streamhouse.partition_trim AS r
    WHERE NOT EXISTS (SELECT FROM streamhouse.partition AS p WHERE (p.topic_id, p.partition) = (r.topic_id, r.partition));
    RETURN pruned_all;
END $$;
COMMENT ON FUNCTION streamhouse.prune_trimmed IS 'Removes some segments before the beginning of their partition''s log, and says how many.';

CREATE FUNCTION streamhouse.prune_look(OUT deleted_topics bool, OUT trims bool, OUT producers bool, OUT answers bool, OUT notices bool, OUT groups bool)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_prune_look';
COMMENT ON FUNCTION streamhouse.prune_look IS 'Which of the tables that are tidied up have a row.';

CREATE FUNCTION sh_prune() RETURNS bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    has record := streamhouse.prune_look();
    pruned int := 0;
BEGIN
    IF NOT (has.deleted_topics OR has.trims OR has.producers OR has.answers OR has.notices OR has.groups) OR NOT pg_try_advisory_xact_lock(7310590, 4) THEN
        RETURN false;
    END IF;
    PERFORM @extschema@.sh_cluster_id();
    IF (has.deleted_topics OR has.trims)
       AND current_setting('transaction_isolation') = 'read committed' AND pg_try_advisory_xact_lock(7310590, 2) THEN -- sh_reap()'s, too
        pruned := streamhouse.reap_topics() + streamhouse.prune_trimmed();
    END IF;
    IF has.producers THEN
        pruned := pruned + streamhouse.prune_producers();
    END IF;
    IF has.answers THEN
        pruned := pruned + streamhouse.prune_answers();
    END IF;
    IF has.notices THEN
        pruned := pruned + streamhouse.prune_notices();
    END IF;
    IF has.groups THEN
        pruned := pruned + streamhouse.prune_offsets();
    END IF;
    RETURN pruned > streamhouse.reap_rows_max() / 2;
END $$;
COMMENT ON FUNCTION sh_prune IS 'Removes some of what nobody needs any more: producers'' superseded rows, expired answers of commits, the rows of deleted topics, segments of deleted records, groups'' offsets that have expired. True when there was so much that it should be called again at once.';

CREATE FUNCTION sh_forget_inline(first_call_id int8) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    calls CONSTANT int8 := 1024; -- of one sh_reserve_inline()
    forgotten int;
BEGIN
    DELETE FROM streamhouse.commit_answer AS a WHERE a.object_id BETWEEN 1 - first_call_id - calls AND -first_call_id AND a.object_id < 0;
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    RETURN forgotten;
END $$;
COMMENT ON FUNCTION sh_forget_inline IS 'Removes the answers of a block of inline commits from sh_reserve_inline(): for an agent that had an answer to each call when it first asked, so that none of them can come again. Gives back how many rows there were.';
