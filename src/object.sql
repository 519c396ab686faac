-- object.sql: the life of objects: keys are registered before their PUT, so that no crash can leak one, and removed by
-- the reaper. Nothing is deleted on an error path: sh_reap() alone decides, under the object's row lock, which a commit
-- takes too. It runs in one transaction at a time and does a bounded amount of work, so it is called again and again.

CREATE FUNCTION streamhouse.agent_require(agent_id int) RETURNS bool
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_agent_require';
COMMENT ON FUNCTION streamhouse.agent_require IS 'Raises 42704 when no agent has that id; else true.';

CREATE FUNCTION sh_reserve_objects(agent_id int, count int, ttl_ms int8 DEFAULT NULL) RETURNS TABLE (object_id int8, key text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    count_max CONSTANT int := 10000;
    ttl_max_ms CONSTANT int8 := 30 * 86400000::int8;
    ttl interval := make_interval(secs => streamhouse.setting('streamhouse.intent_ttl'));
BEGIN
    IF count IS NULL OR count NOT BETWEEN 1 AND count_max THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('count must be from 1 to %s', count_max);
    END IF;
    IF ttl_ms NOT BETWEEN 1 AND ttl_max_ms THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('ttl_ms must be from 1 to %s', ttl_max_ms),
            HINT = 'Far longer than a PUT may take; null is the setting streamhouse.intent_ttl.';
    END IF;
    PERFORM streamhouse.agent_require(agent_id);
    RETURN QUERY
    INSERT INTO streamhouse.object AS o (key, agent_id, created_at, expires_at)
    SELECT 'o/' || left(r.random, 2) || '/' || r.random || '.sho', agent_id, clock_timestamp(),
           clock_timestamp() + coalesce(make_interval(secs => ttl_ms / 1000.0), ttl)
    FROM (SELECT replace(gen_random_uuid()::text, '-', '') AS random FROM generate_series(1, count)) AS r
    RETURNING o.object_id, o.key;
END $$;
COMMENT ON FUNCTION sh_reserve_objects IS 'Registers count random keys, each good for one PUT and its commit within ttl_ms. What is not committed by then is deleted by the reaper.';

CREATE FUNCTION streamhouse.reap_rows_max() RETURNS int
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN streamhouse.setting('streamhouse.reap_rows_max');
END $$;
COMMENT ON FUNCTION streamhouse.reap_rows_max IS 'How many rows of each table one sh_reap() removes or looks at.';

-- The grace begins. Before expires_at another part of the same object may still be committed.
CREATE FUNCTION streamhouse.reap_mark_emptied(object_ids int8[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE streamhouse.object AS o SET emptied_at = clock_timestamp()
    WHERE o.object_id IN (SELECT c.object_id FROM streamhouse.object AS c
                          WHERE c.object_id = ANY (object_ids) AND c.state = 'live' AND c.emptied_at IS NULL
                            AND c.expires_at < clock_timestamp()
                            AND NOT EXISTS (SELECT FROM streamhouse.segment AS g WHERE g.object_id = c.object_id AND g.slot = 0)
                          FOR UPDATE SKIP LOCKED);
END $$;
COMMENT ON FUNCTION streamhouse.reap_mark_emptied IS 'Notes of the named live objects which have no segment any more.';

CREATE FUNCTION streamhouse.reap_topics() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_max CONSTANT int := streamhouse.reap_rows_max();
    dead CONSTANT int[] := ARRAY(SELECT t.topic_id FROM streamhouse.topic AS t WHERE t.deleted_at IS NOT NULL ORDER BY t.topic_id LIMIT rows_max);
    object_ids int8[];
    rows_removed int;
    more_removed int;
BEGIN
    IF dead = '{}' THEN
        RETURN 0;
    END IF;
    WITH removed AS (
        DELETE FROM streamhouse.segment WHERE ctid = ANY (ARRAY(SELECT ctid FROM streamhouse.segment WHERE topic_id = ANY (dead) LIMIT rows_max))
        RETURNING object_id, slot
    )
    SELECT array_agg(DISTINCT object_id) FILTER (WHERE slot = 0), count(*) INTO object_ids, rows_removed FROM removed;
    PERFORM streamhouse.reap_mark_emptied(object_ids);
    DELETE FROM streamhouse.producer WHERE ctid = ANY (ARRAY(SELECT ctid FROM streamhouse.producer WHERE topic_id = ANY (dead) LIMIT rows_max));
    GET DIAGNOSTICS more_removed = ROW_COUNT;
    DELETE FROM streamhouse.partition_epoch WHERE ctid = ANY (ARRAY(SELECT ctid FROM streamhouse.partition_epoch WHERE topic_id = ANY (dead) LIMIT rows_max));
    DELETE FROM streamhouse.topic AS t
    WHERE t.topic_id = ANY (dead)
      AND NOT EXISTS (SELECT FROM streamhouse.segment AS g WHERE g.topic_id = t.topic_id)
      AND NOT EXISTS (SELECT FROM streamhouse.producer AS p WHERE p.topic_id = t.topic_id)
      AND NOT EXISTS (SELECT FROM streamhouse.partition_epoch AS e WHERE e.topic_id = t.topic_id);
    RETURN rows_removed + more_removed;
END $$;
COMMENT ON FUNCTION streamhouse.reap_topics IS 'Removes some rows of deleted topics, and the topics that have none left. Gives back how many segments and producers'' rows that were.';

-- What reap_topics() and retention cannot see: objects that were committed without a segment, or emptied too early.
CREATE FUNCTION streamhouse.reap_sweep_objects() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rows_max CONSTANT int := streamhouse.reap_rows_max();
    position_now CONSTANT int8 := (SELECT swept_object_id FROM streamhouse.cluster);
    object_ids int8[];
    seen int;
    last_seen int8;
BEGIN
    SELECT count(*), max(o.object_id), array_agg(o.object_id) FILTER (WHERE o.state = 'live' AND o.emptied_at IS NULL)
    INTO seen, last_seen, object_ids
    FROM (SELECT object_id, state, emptied_at FROM streamhouse.object WHERE object_id > position_now ORDER BY object_id LIMIT rows_max) AS o;
    IF object_ids IS NOT NULL THEN
        PERFORM streamhouse.reap_mark_emptied(object_ids);
    END IF;
    UPDATE streamhouse.cluster SET swept_object_id = CASE WHEN seen < rows_max THEN 0 ELSE last_seen END
    WHERE swept_object_id <> CASE WHEN seen < rows_max THEN 0 ELSE last_seen END;
END $$;
COMMENT ON FUNCTION streamhouse.reap_sweep_objects IS 'Looks at the next live objects for those without a segment; begins again after the last.';

-- An intent of before the era may be an object with records: its commit may be what a restored backup lacks.
CREATE FUNCTION streamhouse.reap_intents(max_objects int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE streamhouse.object AS o SET state = 'deleting', reap_after = clock_timestamp()
    WHERE o.object_id IN (SELECT i.object_id FROM streamhouse.object AS i
                          WHERE i.state = 'intent' AND i.expires_at < clock_timestamp()
                            AND NOT EXISTS (SELECT FROM streamhouse.store_owner AS e
                                            WHERE i.created_at < e.era_began_at
                                              AND e.era_began_at + make_interval(secs => streamhouse.setting('streamhouse.object_grace')) > clock_timestamp())
                          ORDER BY i.expires_at LIMIT max_objects
                          FOR UPDATE SKIP LOCKED);
END $$;
COMMENT ON FUNCTION streamhouse.reap_intents IS 'Moves expired intents to deleting; those from before the era after streamhouse.object_grace.';

-- Locks first, then looks again with a newer snapshot: a commit that held the lock may have added a segment.
CREATE FUNCTION streamhouse.reap_emptied(max_objects int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grace CONSTANT interval := make_interval(secs => streamhouse.setting('streamhouse.object_grace'));
    object_ids int8[];
BEGIN
    SELECT array_agg(o.object_id) INTO object_ids
    FROM (SELECT object_id FROM streamhouse.object
          WHERE state = 'live' AND emptied_at <= clock_timestamp() - grace
          ORDER BY emptied_at LIMIT max_objects
          FOR UPDATE SKIP LOCKED) AS o;
    IF object_ids IS NULL THEN
        RETURN;
    END IF;
    UPDATE streamhouse.object AS o SET emptied_at = NULL
    WHERE o.object_id = ANY (object_ids) AND EXISTS (SELECT FROM streamhouse.segment AS g WHERE g.object_id = o.object_id AND g.slot = 0);
    UPDATE streamhouse.object AS o SET state = 'deleting', reap_after = clock_timestamp()
    WHERE o.object_id = ANY (object_ids) AND o.state = 'live' AND o.emptied_at IS NOT NULL;
END $$;
COMMENT ON FUNCTION streamhouse.reap_emptied IS 'Moves objects that have had no segment for the grace to deleting.';

CREATE FUNCTION sh_reap(agent_id int, max_objects int) RETURNS TABLE (object_id int8, key text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    retry CONSTANT interval := make_interval(secs => streamhouse.setting('streamhouse.reap_retry'));
    max_objects_max CONSTANT int := 10000;
BEGIN
    PERFORM streamhouse.agent_require(sh_reap.agent_id);
    IF max_objects IS NULL OR max_objects NOT BETWEEN 1 AND max_objects_max THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('max_objects must be from 1 to %s', max_objects_max);
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        -- An older snapshot does not see the segment that keeps an object alive.
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'objects can be reaped under READ COMMITTED only',
            HINT = 'Call sh_reap() outside a transaction block, or in one of READ COMMITTED.';
    END IF;
    IF NOT streamhouse.marker_may_reap() OR NOT pg_try_advisory_xact_lock(7310590, 2) THEN
        RETURN;
    END IF;
    PERFORM @extschema@.sh_cluster_id();
    PERFORM streamhouse.reap_topics();
    PERFORM streamhouse.reap_sweep_objects();
    PERFORM streamhouse.reap_intents(max_objects);
    PERFORM streamhouse.reap_emptied(max_objects);
    RETURN QUERY
    UPDATE streamhouse.object AS o SET reap_after = clock_timestamp() + retry
    WHERE o.object_id IN (SELECT d.object_id FROM streamhouse.object AS d
                          WHERE d.state IN ('deleting', 'gone') AND d.reap_after <= clock_timestamp()
                          ORDER BY d.reap_after LIMIT max_objects
                          FOR UPDATE SKIP LOCKED)
    RETURNING o.object_id, o.key;
END $$;
COMMENT ON FUNCTION sh_reap IS 'Does some of the cleaning, if this database has just been proved to be the owner of its store, and gives back objects whose bytes the caller must now delete and report with sh_reaped(): expired intents, objects without a segment for streamhouse.object_grace, and deleted keys a second time after streamhouse.redelete_after. What is not reported is given again after streamhouse.reap_retry. Call it again while it gives max_objects rows.';

-- The first report leaves the row, for the second deletion; the second removes it.
CREATE FUNCTION sh_reaped(object_ids int8[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    redelete_after CONSTANT interval := make_interval(secs => streamhouse.setting('streamhouse.redelete_after'));
    forgotten int;
    deleted int;
BEGIN
    DELETE FROM streamhouse.object AS o
    WHERE o.object_id = ANY (object_ids) AND o.state = 'gone' AND o.deleted_at + redelete_after <= clock_timestamp();
    GET DIAGNOSTICS forgotten = ROW_COUNT;
    UPDATE streamhouse.object AS o
    SET state = 'gone', deleted_at = clock_timestamp(), reap_after = clock_timestamp() + redelete_after
    WHERE o.object_id = ANY (object_ids) AND o.state = 'deleting';
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN forgotten + deleted;
END $$;
COMMENT ON FUNCTION sh_reaped IS 'Reports that the bytes of objects from sh_reap() are gone from the store. Gives back how many were awaited.';
