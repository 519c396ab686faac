-- group_admin.sql: what groups there are, who is in them, how far behind they are.

CREATE FUNCTION streamhouse.group_state(described streamhouse.consumer_group) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN count(*) = 0 THEN 'empty'
                WHEN described.group_epoch > described.target_epoch THEN 'assigning'
                WHEN bool_or(m.backend_pid IS NULL AND m.member_epoch <> -2
                             AND (m.state <> 'stable' OR m.member_epoch <> described.target_epoch)) THEN 'reconciling'
                ELSE 'stable' END
    FROM streamhouse.group_member AS m WHERE m.group_id = described.group_id
$$;
COMMENT ON FUNCTION streamhouse.group_state IS 'Kafka''s state of a group: empty, assigning, reconciling or stable.';

CREATE FUNCTION streamhouse.group_lags(group_id int)
RETURNS TABLE (topic text, partition int, committed_offset int8, log_start_offset int8, high_watermark int8, lag int8,
               member_id text, metadata text, committed_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.name, o.partition, nullif(o.committed_offset, -1), e.log_start_offset, e.end_offset,
           e.end_offset - least(greatest(o.committed_offset, e.log_start_offset), e.end_offset),
           coalesce(p.owner_member, (SELECT m.member_id FROM streamhouse.group_member AS m
                                     WHERE m.group_id = p.group_id AND m.member_id = p.target_member AND m.backend_pid IS NOT NULL)),
           o.metadata, CASE WHEN o.committed_offset >= 0 THEN o.committed_at END
    FROM streamhouse.group_offset AS o
    JOIN streamhouse.topic AS t ON t.topic_id = o.topic_id AND t.deleted_at IS NULL
    JOIN streamhouse.partition_end AS e ON e.topic_id = o.topic_id AND e.partition = o.partition
    LEFT JOIN streamhouse.group_partition AS p ON p.group_id = o.group_id AND p.topic_id = o.topic_id AND p.partition = o.partition
    WHERE o.group_id = group_lags.group_id
$$;
COMMENT ON FUNCTION streamhouse.group_lags IS 'What sh_group_lag() gives.';

CREATE FUNCTION streamhouse.groups()
RETURNS TABLE ("group" text, state text, members int8, partitions int8, lag int8, group_epoch int, assignor text, protocol_type text,
               created_by text, created_at timestamptz)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT g.name, streamhouse.group_state(g),
           (SELECT count(*) FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id),
           l.partitions, l.lag, g.group_epoch, g.assignor, g.protocol_type, g.role::text, g.created_at
    FROM streamhouse.consumer_group AS g
    CROSS JOIN LATERAL (SELECT count(*) AS partitions, coalesce(sum(l.lag), 0)::int8 AS lag
                        FROM streamhouse.group_lags(g.group_id) AS l) AS l
    WHERE streamhouse.group_may_use(g)
    ORDER BY g.name COLLATE "C"
$$;
COMMENT ON FUNCTION streamhouse.groups IS 'sh_groups() with the owner''s rights.';

CREATE FUNCTION sh_groups()
RETURNS TABLE ("group" text, state text, members int8, partitions int8, lag int8, group_epoch int, assignor text, protocol_type text,
               created_by text, created_at timestamptz)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_groups IS 'Consumer groups that the caller may use, with their state (empty, assigning, reconciling, stable), members, partitions that have been assigned or have an offset, and how many records they are behind in all.';

CREATE FUNCTION streamhouse.describe_group("group" text)
RETURNS TABLE (member_id text, kind text, client_id text, client_host text, role text, instance_id text, member_epoch int, state text,
               topics text[], regex text, assigned text[], target text[], backend_pid int, joined_at timestamptz, seen_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    described CONSTANT streamhouse.consumer_group := streamhouse.group_find("group");
BEGIN
    RETURN QUERY
    SELECT m.member_id, CASE WHEN m.backend_pid IS NULL THEN 'kafka' ELSE 'session' END, m.client_id, m.client_host, m.role::text, m.instance_id,
           CASE WHEN m.backend_pid IS NULL THEN m.member_epoch ELSE described.target_epoch END, m.state::text,
           m.subscribed_topics, m.subscribed_regex, p.assigned, p.target, m.backend_pid, m.joined_at, streamhouse.member_seen_at(m)
    FROM streamhouse.group_member AS m
    CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(t.name || '-' || p.partition ORDER BY t.name COLLATE "C", p.partition)
                        FILTER (WHERE p.owner_member = m.member_id OR m.backend_pid IS NOT NULL AND p.owner_member IS NULL), '{}') AS assigned,
               coalesce(array_agg(t.name || '-' || p.partition ORDER BY t.name COLLATE "C", p.partition)
                        FILTER (WHERE p.target_member = m.member_id), '{}') AS target
        FROM streamhouse.group_partition AS p JOIN streamhouse.topic AS t USING (topic_id)
        WHERE p.group_id = m.group_id AND m.member_id IN (p.target_member, p.owner_member)) AS p
    WHERE m.group_id = described.group_id
    ORDER BY m.member_id;
END $$;
COMMENT ON FUNCTION streamhouse.describe_group IS 'sh_describe_group() with the owner''s rights.';

CREATE FUNCTION sh_describe_group("group" text)
RETURNS TABLE (member_id text, kind text, client_id text, client_host text, role text, instance_id text, member_epoch int, state text,
               topics text[], regex text, assigned text[], target text[], backend_pid int, joined_at timestamptz, seen_at timestamptz)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_describe_group IS 'Members of a consumer group, one row each: a session of PostgreSQL or a Kafka client, what it subscribed to, the partitions it has (assigned, as topic-number) and is to have (target), when it was last seen, to a quarter of its timeout. Errors: SH069 no such group, 42501 may not use it.';

CREATE FUNCTION streamhouse.group_lag("group" text)
RETURNS TABLE (topic text, partition int, committed_offset int8, log_start_offset int8, high_watermark int8, lag int8,
               member_id text, metadata text, committed_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    described CONSTANT streamhouse.consumer_group := streamhouse.group_find("group");
BEGIN
    RETURN QUERY SELECT l.* FROM streamhouse.group_lags(described.group_id) AS l ORDER BY l.topic COLLATE "C", l.partition;
END $$;
COMMENT ON FUNCTION streamhouse.group_lag IS 'sh_group_lag() with the owner''s rights.';

CREATE FUNCTION sh_group_lag("group" text)
RETURNS TABLE (topic text, partition int, committed_offset int8, log_start_offset int8, high_watermark int8, lag int8,
               member_id text, metadata text, committed_at timestamptz)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_group_lag IS 'How far a consumer group is, per partition: the offset it goes on from (null: none committed), the offsets that can be read, how many are left, and which member has the partition. Errors: SH069 no such group, 42501 may not use it.';

CREATE FUNCTION streamhouse.delete_group("group" text) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    deleted CONSTANT streamhouse.consumer_group := streamhouse.group_lock("group", false);
BEGIN
    IF deleted.group_id IS NULL THEN
        RETURN false;
    END IF;
    IF streamhouse.group_has_active(deleted.group_id, NULL) THEN
        PERFORM streamhouse.group_fail(68, format('group "%s" has members', "group"),
                                       'They leave with sh_leave(), or when they end; sh_describe_group() shows them.');
    END IF;
    -- A member that is gone may have left a transaction that has polled.
    PERFORM FROM streamhouse.group_offset AS o WHERE o.group_id = deleted.group_id FOR UPDATE NOWAIT;
    DELETE FROM streamhouse.group_member AS m WHERE m.group_id = deleted.group_id;
    DELETE FROM streamhouse.group_seen AS s WHERE s.group_id = deleted.group_id;
    DELETE FROM streamhouse.group_partition AS p WHERE p.group_id = deleted.group_id;
    DELETE FROM streamhouse.group_offset AS o WHERE o.group_id = deleted.group_id;
    DELETE FROM streamhouse.consumer_group AS g WHERE g.group_id = deleted.group_id;
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.delete_group IS 'sh_delete_group() with the owner''s rights.';

CREATE FUNCTION sh_delete_group("group" text) RETURNS bool
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_delete_group IS 'Deletes a consumer group with its committed offsets: true when there was one. Errors: SH068 it has members, 55P03 an open transaction has records of it, 42501 may not use it.';
