-- group_admin.sql: what groups there are, who is in them, how far behind they are, and how they end.

CREATE FUNCTION streamhouse.group_state(described streamhouse.consumer_group) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN described.group_type = 'classic'
                THEN CASE WHEN EXISTS (SELECT FROM streamhouse.classic_member AS c WHERE c.group_id = described.group_id) THEN 'stable' ELSE 'empty' END
                WHEN count(*) = 0 THEN 'empty'
                WHEN described.group_epoch > described.target_epoch THEN 'assigning'
                WHEN bool_or(m.backend_pid IS NULL AND m.member_epoch <> -2
                             AND (m.state <> 'stable' OR m.member_epoch <> described.target_epoch)) THEN 'reconciling'
                ELSE 'stable' END
    FROM streamhouse.group_member AS m WHERE m.group_id = described.group_id
$$;
COMMENT ON FUNCTION streamhouse.group_state IS 'Kafka''s state of a group: empty, assigning, reconciling or stable. A classic group is stable from its first generation on; whether it is about to have another one only its coordinator knows.';

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
               created_by text, created_at timestamptz, type text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT g.name, streamhouse.group_state(g),
           (SELECT count(*) FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id)
           + (SELECT count(*) FROM streamhouse.classic_member AS c WHERE c.group_id = g.group_id),
           l.partitions, l.lag, g.group_epoch, CASE WHEN g.group_type = 'classic' THEN g.protocol_name ELSE g.assignor END,
           g.protocol_type, g.role::text, g.created_at, g.group_type
    FROM streamhouse.consumer_group AS g
    CROSS JOIN LATERAL (SELECT count(*) AS partitions, coalesce(sum(l.lag), 0)::int8 AS lag
                        FROM streamhouse.group_lags(g.group_id) AS l) AS l
    WHERE streamhouse.group_may_use(g)
    ORDER BY g.name COLLATE "C"
$$;
COMMENT ON FUNCTION streamhouse.groups IS 'sh_groups() with the owner''s rights.';

CREATE FUNCTION sh_groups()
RETURNS TABLE ("group" text, state text, members int8, partitions int8, lag int8, group_epoch int, assignor text, protocol_type text,
               created_by text, created_at timestamptz, type text)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_groups IS 'Consumer groups that the caller may use, with their state (empty, assigning, reconciling, stable), members, partitions that have been assigned or have an offset, and how many records they are behind in all. type: consumer, whose partitions the brain assigns, or classic, where a member assigns (group_epoch is then the generation, assignor the protocol that the members agreed on, protocol_type empty for a group that only has offsets).';

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
    UNION ALL
    SELECT c.member_id, 'kafka', c.client_id, c.client_host, described.role::text, c.instance_id, described.group_epoch, 'stable',
           CASE WHEN described.protocol_type = 'consumer'
                THEN streamhouse.classic_topics(c.protocol_metadata[array_position(c.protocol_names, described.protocol_name)]) END,
           NULL, a.assigned, a.assigned, NULL, NULL, NULL
    FROM streamhouse.classic_member AS c
    CROSS JOIN LATERAL (SELECT array_agg(a.topic || '-' || a.partition ORDER BY a.topic COLLATE "C", a.partition) AS assigned
                        FROM streamhouse.classic_assigned(CASE WHEN described.protocol_type = 'consumer' THEN c.assignment END) AS a) AS a
    WHERE c.group_id = described.group_id
    ORDER BY 1;
END $$;
COMMENT ON FUNCTION streamhouse.describe_group IS 'sh_describe_group() with the owner''s rights.';

CREATE FUNCTION sh_describe_group("group" text)
RETURNS TABLE (member_id text, kind text, client_id text, client_host text, role text, instance_id text, member_epoch int, state text,
               topics text[], regex text, assigned text[], target text[], backend_pid int, joined_at timestamptz, seen_at timestamptz)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_describe_group IS 'Members of a consumer group, one row each: a session of PostgreSQL or a Kafka client, what it subscribed to, the partitions it has (assigned, as topic-number) and is to have (target), when it was last seen, to a quarter of its timeout. Of a classic group: its members as of the last generation that was assigned, whose number member_epoch is; what they are assigned is null unless they are consumers, and when they were last seen only the coordinator knows. Errors: SH069 no such group, 42501 may not use it.';

CREATE FUNCTION streamhouse.group_lag("group" text)
RETURNS TABLE (topic text, partition int, committed_offset int8, log_start_offset int8, high_watermark int8, lag int8,
               member_id text, metadata text, committed_at timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    described CONSTANT streamhouse.consumer_group := streamhouse.group_find("group");
BEGIN
    RETURN QUERY
    SELECT l.topic, l.partition, l.committed_offset, l.log_start_offset, l.high_watermark, l.lag, coalesce(l.member_id, c.member_id), l.metadata, l.committed_at
    FROM streamhouse.group_lags(described.group_id) AS l
    LEFT JOIN (SELECT a.topic, a.partition, min(c.member_id COLLATE "C") AS member_id
               FROM streamhouse.classic_member AS c CROSS JOIN LATERAL streamhouse.classic_assigned(c.assignment) AS a
               WHERE c.group_id = described.group_id AND described.protocol_type = 'consumer'
               GROUP BY a.topic, a.partition) AS c ON c.topic = l.topic AND c.partition = l.partition
    ORDER BY l.topic COLLATE "C", l.partition;
END $$;
COMMENT ON FUNCTION streamhouse.group_lag IS 'sh_group_lag() with the owner''s rights.';

CREATE FUNCTION sh_group_lag("group" text)
RETURNS TABLE (topic text, partition int, committed_offset int8, log_start_offset int8, high_watermark int8, lag int8,
               member_id text, metadata text, committed_at timestamptz)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_group_lag IS 'How far a consumer group is, per partition: the offset it goes on from (null: none committed), the offsets that can be read, how many are left, and which member has the partition. Errors: SH069 no such group, 42501 may not use it.';

-- Under the group's lock. A member that is gone may have left a transaction that has polled, and that holds rows.
CREATE FUNCTION streamhouse.group_erase(group_id int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF (SELECT count(*) FROM (SELECT FROM streamhouse.group_offset AS o WHERE o.group_id = group_id FOR UPDATE SKIP LOCKED) AS l)
       < (SELECT count(*) FROM streamhouse.group_offset AS o WHERE o.group_id = group_id) THEN
        RETURN false;
    END IF;
    DELETE FROM streamhouse.group_member AS m WHERE m.group_id = group_id;
    DELETE FROM streamhouse.classic_member AS c WHERE c.group_id = group_id;
    DELETE FROM streamhouse.group_seen AS s WHERE s.group_id = group_id;
    DELETE FROM streamhouse.group_partition AS p WHERE p.group_id = group_id;
    DELETE FROM streamhouse.group_offset AS o WHERE o.group_id = group_id;
    DELETE FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.group_erase IS 'Removes a group and all that it has; false, and nothing is removed, when an open transaction has polled from it.';

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
    IF NOT streamhouse.group_erase(deleted.group_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = format('an open transaction has records of group "%s"', "group"),
            HINT = 'Try again when it has ended; sh_describe_group() shows the sessions.';
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.delete_group IS 'sh_delete_group() with the owner''s rights.';

CREATE FUNCTION sh_delete_group("group" text) RETURNS bool
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_delete_group IS 'Deletes a consumer group with its committed offsets: true when there was one. Errors: SH068 it has members, 55P03 an open transaction has records of it, 42501 may not use it.';

-- What follows is for agents, which ask for many groups at once. error_code is Kafka's.

CREATE FUNCTION streamhouse.delete_groups(agent_id int, groups text[]) RETURNS int[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live CONSTANT int[] := streamhouse.coordinator_agents(agent_id);
    errors int[] := '{}';
    named text;
    deleted streamhouse.consumer_group;
BEGIN
    FOREACH named IN ARRAY groups LOOP
        SELECT g.* INTO deleted FROM streamhouse.consumer_group AS g WHERE g.name = named FOR UPDATE SKIP LOCKED;
        errors := errors || CASE
            WHEN named = '' THEN 24
            WHEN deleted.group_id IS NULL THEN CASE WHEN EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.name = named) THEN 14 ELSE 69 END
            WHEN streamhouse.group_is_elsewhere(deleted.coordinator_id, delete_groups.agent_id, live) THEN 16
            WHEN NOT streamhouse.group_may_use(deleted) THEN 30
            WHEN streamhouse.group_has_active(deleted.group_id, NULL) THEN 68
            WHEN NOT streamhouse.group_erase(deleted.group_id) THEN 14
            ELSE 0 END;
    END LOOP;
    RETURN errors;
END $$;
COMMENT ON FUNCTION streamhouse.delete_groups IS 'sh_delete_groups() with the owner''s rights.';

CREATE FUNCTION sh_delete_groups(agent_id int, groups text[]) RETURNS int[]
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_delete_groups IS 'Kafka''s DeleteGroups: deletes groups with their offsets, each if it can, and gives an error code for each: 0, 14 COORDINATOR_LOAD_IN_PROGRESS (somebody has it locked: try again), 16 NOT_COORDINATOR, 24 INVALID_GROUP_ID, 30 GROUP_AUTHORIZATION_FAILED, 68 NON_EMPTY_GROUP, 69 GROUP_ID_NOT_FOUND.';

-- The row of a partition that is still somebody's stays, since it is the partition's fence, and forgets its offset.
CREATE FUNCTION streamhouse.offset_forget(group_id int, topic_ids int[], partitions int[]) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    all_locked bool;
BEGIN
    WITH named AS MATERIALIZED (
        SELECT o.topic_id, o.partition, o.commit_id FROM streamhouse.group_offset AS o
        WHERE o.group_id = group_id AND (o.topic_id, o.partition) IN (SELECT * FROM unnest(topic_ids, partitions))
    ), locked AS MATERIALIZED (
        SELECT o.topic_id, o.partition, o.commit_id
        FROM streamhouse.group_offset AS o JOIN named AS n ON n.topic_id = o.topic_id AND n.partition = o.partition AND n.commit_id = o.commit_id
        WHERE o.group_id = group_id FOR UPDATE OF o SKIP LOCKED
    ), removed AS (
        DELETE FROM streamhouse.group_offset AS d USING locked AS l
        WHERE d.group_id = group_id AND d.topic_id = l.topic_id AND d.partition = l.partition AND d.commit_id = l.commit_id
    ), kept AS (
        INSERT INTO streamhouse.group_offset (group_id, topic_id, partition, commit_id, committed_offset, leader_epoch, metadata, committed_at)
        SELECT group_id, l.topic_id, l.partition, l.commit_id + 1, -1, -1, '', clock_timestamp() FROM locked AS l
        WHERE EXISTS (SELECT FROM streamhouse.group_partition AS p WHERE p.group_id = group_id AND p.topic_id = l.topic_id AND p.partition = l.partition)
    )
    SELECT (SELECT count(*) FROM locked) = (SELECT count(*) FROM named) INTO all_locked;
    RETURN all_locked;
END $$;
COMMENT ON FUNCTION streamhouse.offset_forget IS 'Removes committed offsets, under the group''s lock; false when an open transaction has some of the partitions: those stay.';

CREATE FUNCTION streamhouse.offset_delete(agent_id int, "group" text, topic_ids int[], partitions int[], OUT error_code int, OUT errors int[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    changed streamhouse.consumer_group;
    denied int[];
    subscribed int[];
    busy int[];
BEGIN
    SELECT g.* INTO changed FROM streamhouse.consumer_group AS g WHERE g.name = "group" FOR UPDATE SKIP LOCKED;
    error_code := CASE
        WHEN "group" = '' THEN 24
        WHEN changed.group_id IS NULL THEN CASE WHEN EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.name = "group") THEN 14 ELSE 69 END
        WHEN streamhouse.group_is_elsewhere(changed.coordinator_id, agent_id, streamhouse.coordinator_agents(agent_id)) THEN 16
        WHEN NOT streamhouse.group_may_use(changed) THEN 30
        WHEN changed.group_type = 'classic' AND changed.protocol_type <> 'consumer' AND streamhouse.group_has_members(changed.group_id) THEN 68
        ELSE 0 END;
    IF error_code <> 0 THEN
        RETURN;
    END IF;
    denied := streamhouse.topics_not_consumable(ARRAY(SELECT DISTINCT unnest(topic_ids)));
    subscribed := ARRAY(SELECT t.topic_id FROM streamhouse.topic AS t
                        WHERE t.topic_id = ANY (topic_ids) AND t.deleted_at IS NULL AND streamhouse.group_has_members(changed.group_id)
                          AND streamhouse.group_subscribed(changed, t.name));
    SELECT array_agg(CASE WHEN w.partition < 0 OR w.partition >= coalesce(t.partitions, 0) THEN 3 WHEN w.topic_id = ANY (denied) THEN 29
                          WHEN w.topic_id = ANY (subscribed) THEN 86 ELSE 0 END ORDER BY w.n)
    INTO errors
    FROM unnest(topic_ids, partitions) WITH ORDINALITY AS w (topic_id, partition, n)
    LEFT JOIN streamhouse.topic AS t ON t.topic_id = w.topic_id AND t.deleted_at IS NULL;
    IF NOT streamhouse.offset_forget(changed.group_id, array_agg(w.topic_id), array_agg(w.partition))
       FROM unnest(errors, topic_ids, partitions) AS w (error, topic_id, partition) WHERE w.error = 0 THEN
        error_code := 14;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.offset_delete IS 'sh_offset_delete() with the owner''s rights.';

CREATE FUNCTION sh_offset_delete(agent_id int, "group" text, topic_ids int[], partitions int[], OUT error_code int, OUT errors int[])
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_offset_delete IS 'Kafka''s OffsetDelete: removes committed offsets of topics that no member subscribes to. error_code is the whole request''s: 0, 14 COORDINATOR_LOAD_IN_PROGRESS (somebody has the group or one of the partitions locked: try again), 16 NOT_COORDINATOR, 24 INVALID_GROUP_ID, 30 GROUP_AUTHORIZATION_FAILED, 68 NON_EMPTY_GROUP (members that are no consumers), 69 GROUP_ID_NOT_FOUND; errors has one for each partition: 0, 3 UNKNOWN_TOPIC_OR_PARTITION, 29 TOPIC_AUTHORIZATION_FAILED, 86 GROUP_SUBSCRIBED_TO_TOPIC.';

CREATE FUNCTION streamhouse.list_groups(agent_id int, states text[], types text[])
RETURNS TABLE ("group" text, protocol_type text, state text, type text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH cluster AS MATERIALIZED (SELECT streamhouse.coordinator_agents(agent_id) AS live)
    SELECT g.name, g.protocol_type, initcap(s.state), g.group_type
    FROM cluster AS c
    CROSS JOIN streamhouse.consumer_group AS g
    CROSS JOIN LATERAL (SELECT streamhouse.group_state(g) AS state) AS s
    -- Clients ask every agent. A group without a coordinator is said by the one that FindCoordinator names.
    WHERE (agent_id IS NULL OR cardinality(c.live) = 0
           OR agent_id = streamhouse.coordinator_of(g.coordinator_id, g.name, c.live))
      AND (cardinality(types) = 0 OR g.group_type IN (SELECT lower(t) FROM unnest(types) AS t))
      AND (cardinality(states) = 0 OR s.state IN (SELECT lower(trim(t)) FROM unnest(states) AS t))
      AND streamhouse.group_may_use(g)
    ORDER BY g.name COLLATE "C"
$$;
COMMENT ON FUNCTION streamhouse.list_groups IS 'sh_list_groups() with the owner''s rights.';

CREATE FUNCTION sh_list_groups(agent_id int, states text[] DEFAULT '{}', types text[] DEFAULT '{}')
RETURNS TABLE ("group" text, protocol_type text, state text, type text)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_list_groups IS 'Kafka''s ListGroups: the groups that this agent coordinates, in one of the states, of one of the types (empty: any; in capitals or not).';

CREATE FUNCTION streamhouse.describe_groups(agent_id int, groups text[])
RETURNS TABLE (request int, error_code int, error_message text, state text, protocol_type text, protocol_name text,
               member_id text, instance_id text, client_id text, client_host text, metadata bytea, assignment bytea)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live CONSTANT int[] := streamhouse.coordinator_agents(agent_id);
BEGIN
    RETURN QUERY
    SELECT r.n::int, e.error_code,
           CASE WHEN e.error_code <> 69 THEN NULL
                WHEN g.group_id IS NULL THEN format('Group %s not found.', r.name) ELSE format('Group %s is not a classic group.', r.name) END,
           CASE WHEN e.error_code = 69 THEN 'Dead' WHEN e.error_code <> 0 THEN '' ELSE initcap(streamhouse.group_state(g)) END,
           CASE WHEN e.error_code = 0 THEN g.protocol_type ELSE '' END, CASE WHEN e.error_code = 0 THEN coalesce(g.protocol_name, '') ELSE '' END,
           c.member_id, c.instance_id, c.client_id, c.client_host,
           c.protocol_metadata[array_position(c.protocol_names, g.protocol_name)], c.assignment
    FROM unnest(groups) WITH ORDINALITY AS r (name, n)
    LEFT JOIN streamhouse.consumer_group AS g ON g.name = r.name
    CROSS JOIN LATERAL (SELECT CASE WHEN g.group_id IS NULL THEN 69
                                    WHEN streamhouse.group_is_elsewhere(g.coordinator_id, describe_groups.agent_id, live) THEN 16
                                    WHEN NOT streamhouse.group_may_use(g) THEN 30
                                    WHEN g.group_type <> 'classic' THEN 69
                                    ELSE 0 END AS error_code) AS e
    LEFT JOIN streamhouse.classic_member AS c ON c.group_id = g.group_id AND e.error_code = 0
    ORDER BY r.n, c.member_id;
END $$;
COMMENT ON FUNCTION streamhouse.describe_groups IS 'sh_describe_groups() with the owner''s rights.';

CREATE FUNCTION sh_describe_groups(agent_id int, groups text[])
RETURNS TABLE (request int, error_code int, error_message text, state text, protocol_type text, protocol_name text,
               member_id text, instance_id text, client_id text, client_host text, metadata bytea, assignment bytea)
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_describe_groups IS 'Kafka''s DescribeGroups, of classic groups: a row for each member, or one without a member. request is the place in groups, from 1. error_code: 0, 16 NOT_COORDINATOR, 30 GROUP_AUTHORIZATION_FAILED, 69 GROUP_ID_NOT_FOUND, also for a group that is not classic.';
