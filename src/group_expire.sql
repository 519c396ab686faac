-- group_expire.sql: committed offsets expire, and groups with them.
--
-- A group without members keeps its offsets for streamhouse.offsets_retention, from when it was left or
-- from the commit, whatever came later; one with members, those of topics that nobody in it subscribes to, from the commit.

CREATE FUNCTION streamhouse.offset_is_expired(emptied_at timestamptz, committed_at timestamptz, expired_before timestamptz) RETURNS bool
LANGUAGE sql IMMUTABLE
RETURN greatest(emptied_at, committed_at) < expired_before;
COMMENT ON FUNCTION streamhouse.offset_is_expired IS 'Whether both times are past, or the one that is not null.';

CREATE FUNCTION streamhouse.group_note_emptied(noted streamhouse.consumer_group) RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    has_members CONSTANT bool := streamhouse.group_has_members(noted.group_id);
BEGIN
    IF has_members = (noted.emptied_at IS NULL) THEN
        RETURN noted.emptied_at;
    END IF;
    noted.emptied_at := CASE WHEN NOT has_members THEN clock_timestamp() END;
    UPDATE streamhouse.consumer_group AS g SET emptied_at = noted.emptied_at WHERE g.group_id = noted.group_id;
    RETURN noted.emptied_at;
END $$;
COMMENT ON FUNCTION streamhouse.group_note_emptied IS 'Sets since when a group has no members, if it is not set as it should be, and gives it back. Under the group''s lock.';

-- At most rows_max offsets of one group, under its lock.
CREATE FUNCTION streamhouse.group_expire(expired streamhouse.consumer_group, expired_before timestamptz, rows_max int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    removed int;
    kept int[] := '{}';
BEGIN
    expired.emptied_at := streamhouse.group_note_emptied(expired);
    IF expired.emptied_at IS NULL THEN
        IF expired.group_type = 'classic' AND expired.protocol_type <> 'consumer' THEN
            RETURN 0;
        END IF;
        kept := ARRAY(SELECT t.topic_id FROM streamhouse.topic AS t
                      WHERE t.topic_id IN (SELECT o.topic_id FROM streamhouse.group_offset AS o WHERE o.group_id = expired.group_id)
                        AND streamhouse.group_subscribed(expired, t.name))
                || ARRAY(SELECT DISTINCT p.topic_id FROM streamhouse.group_partition AS p WHERE p.group_id = expired.group_id);
    END IF;
    DELETE FROM streamhouse.group_offset AS d
    USING (SELECT o.topic_id, o.partition, o.commit_id FROM streamhouse.group_offset AS o
           WHERE o.group_id = expired.group_id AND NOT o.topic_id = ANY (kept)
             AND streamhouse.offset_is_expired(expired.emptied_at, o.committed_at, expired_before)
           LIMIT rows_max FOR UPDATE SKIP LOCKED) AS f
    WHERE d.group_id = expired.group_id AND d.topic_id = f.topic_id AND d.partition = f.partition AND d.commit_id = f.commit_id;
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF expired.emptied_at < expired_before AND NOT EXISTS (SELECT FROM streamhouse.group_offset AS o WHERE o.group_id = expired.group_id) THEN
        PERFORM streamhouse.group_erase(expired.group_id);
    END IF;
    RETURN removed;
END $$;
COMMENT ON FUNCTION streamhouse.group_expire IS 'Removes a group''s expired offsets, and the group when it has neither members nor offsets. Gives back how many offsets.';

-- Some groups a call, by the order of their ids; a round begins ten minutes after the last one, sooner when offsets are
-- kept for a short time.
CREATE FUNCTION streamhouse.prune_offsets() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    groups_max CONSTANT int := 500;
    rows_max CONSTANT int := streamhouse.reap_rows_max();
    retention CONSTANT interval := make_interval(secs => coalesce(streamhouse.broker_config_set('offsets.retention.minutes')::float8 * 60,
                                                                streamhouse.setting('streamhouse.offsets_retention')));
    expired_before CONSTANT timestamptz := clock_timestamp() - retention;
    swept streamhouse.cluster;
    seen int[];
    due int;
    locked streamhouse.consumer_group;
    removed int := 0;
BEGIN
    SELECT * INTO swept FROM streamhouse.cluster;
    IF swept.swept_group_id = 0 AND swept.swept_groups_at + least(interval '10 min', retention / 8) > clock_timestamp() THEN
        RETURN 0;
    END IF;
    seen := ARRAY(SELECT g.group_id FROM streamhouse.consumer_group AS g WHERE g.group_id > swept.swept_group_id ORDER BY g.group_id LIMIT groups_max);
    FOR due IN SELECT g.group_id FROM streamhouse.consumer_group AS g
               WHERE g.group_id = ANY (seen)
                 AND (streamhouse.group_has_members(g.group_id) <> (g.emptied_at IS NULL)
                      OR EXISTS (SELECT FROM streamhouse.group_offset AS o
                                 WHERE o.group_id = g.group_id AND streamhouse.offset_is_expired(g.emptied_at, o.committed_at, expired_before))
                      OR g.emptied_at < expired_before AND NOT EXISTS (SELECT FROM streamhouse.group_offset AS o WHERE o.group_id = g.group_id))
               ORDER BY g.group_id LOOP
        SELECT g.* INTO locked FROM streamhouse.consumer_group AS g WHERE g.group_id = due FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            removed := removed + streamhouse.group_expire(locked, expired_before, rows_max - removed);
        END IF;
        IF removed >= rows_max THEN
            UPDATE streamhouse.cluster SET swept_group_id = due - 1;
            RETURN removed;
        END IF;
    END LOOP;
    UPDATE streamhouse.cluster
    SET swept_group_id = CASE WHEN cardinality(seen) = groups_max THEN seen[groups_max] ELSE 0 END,
        swept_groups_at = CASE WHEN cardinality(seen) = groups_max THEN swept_groups_at ELSE clock_timestamp() END;
    RETURN removed;
END $$;
COMMENT ON FUNCTION streamhouse.prune_offsets IS 'Removes committed offsets that have expired, of the next groups of its round, and says how many.';
