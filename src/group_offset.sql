-- group_offset.sql: committed offsets from outside of sh_poll(): Kafka's OffsetCommit and OffsetFetch, and resetting.

CREATE FUNCTION streamhouse.group_offset_write(states int[], requests int[], group_ids int[], member_ids text[], topic_ids int[], partitions int[],
                                               offsets int8[], leader_epochs int[], metadata text[], wait_ms int) RETURNS int[]
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_group_offset_write';
COMMENT ON FUNCTION streamhouse.group_offset_write IS 'Commits those of the offsets whose state is 0, each if it gets the lock of its partition''s row within wait_ms, and gives the states back: 0 committed, 14 busy, -1 there is no row; others stay as they are. A request is the place of its group and member in group_ids and member_ids, from 1; member id empty: none. Of a partition that is named several times the last one counts.';

CREATE FUNCTION streamhouse.offset_at(topic_id int, partition int, "timestamp" int8) RETURNS int8
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_offset_at';
COMMENT ON FUNCTION streamhouse.offset_at IS 'Offset of the first record that is not older than the timestamp, ms since 1970; the next offset when there is none.';

CREATE FUNCTION streamhouse.offset_check(wanted streamhouse.topic, partition int, "offset" int8, metadata text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(partition, -1) NOT BETWEEN 0 AND wanted.partitions - 1 THEN
        PERFORM streamhouse.group_fail(3, format('topic "%s" has no partition %s', wanted.name, coalesce(partition::text, 'null')),
                                       format('Its partitions are 0 to %s.', wanted.partitions - 1));
    ELSIF coalesce("offset", -1) < 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an offset is 0 or more';
    ELSIF octet_length(metadata) > 4096 THEN
        PERFORM streamhouse.group_fail(12, format('metadata of %s bytes', octet_length(metadata)), 'At most 4096 bytes are kept.');
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.offset_check IS 'Raises SH003, 22023 or SH012 for an offset that cannot be committed.';

-- Whoever makes a group of the same name in an open transaction is hardly waited for.
CREATE FUNCTION streamhouse.offset_create_group(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET lock_timeout = '10ms'
AS $$
BEGIN
    INSERT INTO streamhouse.consumer_group (name, group_type, protocol_type, version, role)
    VALUES (name, 'classic', '', streamhouse.group_version(), streamhouse.caller())
    ON CONFLICT DO NOTHING;
EXCEPTION WHEN lock_not_available THEN
    RETURN;
END $$;
COMMENT ON FUNCTION streamhouse.offset_create_group IS 'Creates Kafka''s simple group, classic and without a protocol type, unless there is one or somebody is making one.';

CREATE FUNCTION streamhouse.offset_create_groups(names text[], member_epochs int[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT streamhouse.offset_create_group(w.name)
    FROM (SELECT DISTINCT r.name FROM unnest(names, member_epochs) AS r (name, member_epoch)
          WHERE r.member_epoch < 0 AND length(r.name) BETWEEN 1 AND 1000
            AND NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.name = r.name)
          ORDER BY r.name) AS w -- two that make the same ones do not wait for each other in a circle
$$;
COMMENT ON FUNCTION streamhouse.offset_create_groups IS 'Creates the groups that are missing, for those who commit without being a member.';

CREATE FUNCTION streamhouse.group_has_members(group_id int) RETURNS bool
LANGUAGE sql STABLE
RETURN EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = group_has_members.group_id)
    OR EXISTS (SELECT FROM streamhouse.classic_member AS c WHERE c.group_id = group_has_members.group_id);
COMMENT ON FUNCTION streamhouse.group_has_members IS 'Whether a group has members, of either kind.';

-- Who asks the wrong agent does no harm, and is told to go elsewhere so that clients settle on one. Written as RETURN, so
-- that it becomes part of the query that calls it.
CREATE FUNCTION streamhouse.group_is_elsewhere(coordinator_id int, agent_id int, live int[]) RETURNS bool
LANGUAGE sql IMMUTABLE
RETURN coalesce(coordinator_id <> agent_id AND coordinator_id = ANY (live), false);
COMMENT ON FUNCTION streamhouse.group_is_elsewhere IS 'Whether another agent, which is alive, coordinates the group; never for an agent_id of null, which is SQL''s.';

CREATE FUNCTION streamhouse.coordinator_agents(agent_id int) RETURNS int[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN agent_id IS NULL THEN '{}' ELSE streamhouse.coordinating_agent_ids() END
$$;
COMMENT ON FUNCTION streamhouse.coordinator_agents IS 'Agents that may coordinate; none when SQL asks, which goes to no other agent.';

CREATE FUNCTION streamhouse.groups_not_usable(group_ids int[]) RETURNS int[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(g.group_id), '{}')
    FROM streamhouse.consumer_group AS g
    WHERE g.group_id = ANY (group_ids) AND g.role <> streamhouse.caller() AND NOT streamhouse.group_may_use(g)
$$;
COMMENT ON FUNCTION streamhouse.groups_not_usable IS 'Those of the groups that the caller may not use.';

-- One statement for all requests of a call, under a snapshot that is newer than the groups' locks. Whoever changes members
-- or generations holds a group's lock, so what is found here stays true until the transaction ends. A classic member
-- that is ahead of the group's row has joined a generation that its leader has not assigned yet.
CREATE FUNCTION streamhouse.offset_check_commits(agent_id int, group_ids int[], locked int[], names text[], member_ids text[], member_epochs int[],
                                                 instance_ids text[], versions int[]) RETURNS int[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live CONSTANT int[] := streamhouse.coordinator_agents(agent_id);
    denied CONSTANT int[] := streamhouse.groups_not_usable(locked);
    errors int[];
BEGIN
    SELECT array_agg(
        CASE WHEN r.group_id = 0 THEN CASE WHEN length(r.name) NOT BETWEEN 1 AND 1000 THEN 24 WHEN r.epoch < 0 THEN 14 WHEN r.version BETWEEN 1 AND 8 THEN 22 ELSE 69 END
             WHEN g.group_id IS NULL OR NOT g.group_id = ANY (locked) THEN 14
             WHEN streamhouse.group_is_elsewhere(g.coordinator_id, offset_check_commits.agent_id, live) THEN 16
             WHEN g.group_id = ANY (denied) THEN 30
             WHEN r.epoch < 0 AND NOT h.has_members THEN 0
             WHEN r.epoch < 0 AND r.member_id = '' AND r.instance_id = '' THEN 25
             WHEN g.group_type = 'classic' OR NOT h.has_members THEN -- an empty group may be becoming a classic one
                 CASE WHEN r.epoch > g.group_epoch AND (r.epoch = g.group_epoch + 1 OR h.has_members) THEN 27
                      WHEN r.instance_id <> '' AND r.member_id <> (SELECT c.member_id FROM streamhouse.classic_member AS c
                                                                   WHERE c.group_id = g.group_id AND c.instance_id = r.instance_id) THEN 82
                      WHEN NOT EXISTS (SELECT FROM streamhouse.classic_member AS c
                                       WHERE c.group_id = g.group_id AND c.member_id = r.member_id
                                         AND (r.instance_id = '' OR c.instance_id = r.instance_id)) THEN 25
                      WHEN r.epoch <> g.group_epoch THEN 22
                      ELSE 0 END
             ELSE coalesce((SELECT CASE WHEN EXISTS (SELECT FROM streamhouse.classic_member AS c WHERE c.group_id = m.group_id AND c.member_id = m.member_id)
                                        THEN CASE WHEN m.member_epoch <> r.epoch THEN 22 ELSE 0 END
                                        WHEN r.version BETWEEN 1 AND 8 THEN 35 WHEN m.member_epoch <> r.epoch THEN 113 ELSE 0 END
                            FROM streamhouse.group_member AS m
                            WHERE m.group_id = g.group_id AND m.member_id = r.member_id AND m.backend_pid IS NULL),
                           CASE WHEN r.instance_id <> '' AND EXISTS (SELECT FROM streamhouse.group_member AS m
                                                                     WHERE m.group_id = g.group_id AND m.instance_id = r.instance_id) THEN 82
                                ELSE 25 END)
        END ORDER BY r.n)
    INTO errors
    FROM unnest(group_ids, names, member_ids, member_epochs, instance_ids, versions) WITH ORDINALITY
         AS r (group_id, name, member_id, epoch, instance_id, version, n)
    LEFT JOIN streamhouse.consumer_group AS g ON g.group_id = r.group_id
    -- group_has_members(), which would be a call for each
    CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM streamhouse.classic_member AS c WHERE c.group_id = g.group_id)
                               OR EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id) AS has_members) AS h;
    RETURN errors;
END $$;
COMMENT ON FUNCTION streamhouse.offset_check_commits IS 'Kafka''s error code for each request to commit offsets, whose groups are locked; group id 0: there is none. Version is OffsetCommit''s, 0 for SQL: older ones know fewer errors.';

CREATE FUNCTION streamhouse.topics_not_consumable(topic_ids int[]) RETURNS int[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles AS r
               WHERE r.rolname IN ('streamhouse_consumer', 'streamhouse_admin', 'streamhouse_agent') AND pg_has_role(streamhouse.caller(), r.oid, 'USAGE')) THEN
        RETURN '{}'; -- all of them
    END IF;
    RETURN ARRAY(SELECT t.topic_id FROM streamhouse.topic AS t
                 WHERE (topic_ids IS NULL OR t.topic_id = ANY (topic_ids)) AND t.deleted_at IS NULL
                   AND NOT streamhouse.member_may_consume(streamhouse.caller(), t.topic_id, t.name));
END $$;
COMMENT ON FUNCTION streamhouse.topics_not_consumable IS 'Those of the topics, or of all when null, that the caller may not consume from.';

CREATE FUNCTION streamhouse.offset_check_partitions(errors int[], requests int[], topic_ids int[], partitions int[], offsets int8[], metadata text[]) RETURNS int[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    denied CONSTANT int[] := streamhouse.topics_not_consumable(ARRAY(SELECT DISTINCT unnest(topic_ids)));
    checked int[];
BEGIN
    SELECT array_agg(CASE WHEN errors[w.request] <> 0 THEN errors[w.request]
                          WHEN w.partition < 0 OR w.partition >= coalesce(t.partitions, 0) THEN 3
                          WHEN w.topic_id = ANY (denied) THEN 29
                          WHEN octet_length(w.metadata) > CASE WHEN w.metadata LIKE '\\x%' THEN 2 + 2 * 4096 ELSE 4096 END THEN 12 -- in hex, it is bytes
                          WHEN w."offset" < 0 THEN 42
                          ELSE 0 END ORDER BY w.n)
    INTO checked
    FROM unnest(requests, topic_ids, partitions, offsets, metadata) WITH ORDINALITY AS w (request, topic_id, partition, "offset", metadata, n)
    LEFT JOIN streamhouse.topic AS t ON t.topic_id = w.topic_id AND t.deleted_at IS NULL;
    RETURN checked;
END $$;
COMMENT ON FUNCTION streamhouse.offset_check_partitions IS 'Kafka''s error code for each offset to be committed: its request''s, or 3 UNKNOWN_TOPIC_OR_PARTITION, 12 OFFSET_METADATA_TOO_LARGE, 29 TOPIC_AUTHORIZATION_FAILED, 42 INVALID_REQUEST.';

CREATE FUNCTION streamhouse.offset_rows_missing(group_id int, topic_ids int[], partitions int[]) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM unnest(topic_ids, partitions) AS w (topic_id, partition)
                   WHERE NOT EXISTS (SELECT FROM streamhouse.group_offset AS o
                                     WHERE o.group_id = offset_rows_missing.group_id AND o.topic_id = w.topic_id AND o.partition = w.partition))
$$;
COMMENT ON FUNCTION streamhouse.offset_rows_missing IS 'Whether group_offset has no row for some of the partitions.';

-- The group's lock keeps two from making the same row.
CREATE FUNCTION streamhouse.offset_rows_make(changed streamhouse.consumer_group, topic_ids int[], partitions int[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF streamhouse.offset_rows_missing(changed.group_id, topic_ids, partitions) THEN
        PERFORM streamhouse.group_touch(changed.group_id);
        PERFORM streamhouse.group_make_offsets(changed.group_id, topic_ids, partitions);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.offset_rows_make IS 'Makes rows of group_offset that are missing.';

-- A partition's first offset needs the group's lock for itself. Those whose lock is not free stay busy.
CREATE FUNCTION streamhouse.offset_commit_first(states int[], requests int[], group_ids int[], topic_ids int[], partitions int[]) RETURNS int[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    alone int[];
BEGIN
    SELECT array_agg(l.group_id) INTO alone
    FROM (SELECT g.group_id FROM streamhouse.consumer_group AS g
          WHERE g.group_id IN (SELECT group_ids[w.request] FROM unnest(states, requests) AS w (state, request) WHERE w.state = -1)
          FOR UPDATE SKIP LOCKED) AS l;
    UPDATE streamhouse.consumer_group AS g SET version = streamhouse.group_version() WHERE g.group_id = ANY (alone); -- as group_touch()
    INSERT INTO streamhouse.group_offset (group_id, topic_id, partition, commit_id, committed_offset, leader_epoch, metadata, committed_at)
    SELECT w.group_id, w.topic_id, w.partition, 0, -1, -1, '', clock_timestamp()
    FROM (SELECT DISTINCT group_ids[w.request] AS group_id, w.topic_id, w.partition
          FROM unnest(states, requests, topic_ids, partitions) AS w (state, request, topic_id, partition)
          WHERE w.state = -1 AND group_ids[w.request] = ANY (alone)) AS w
    WHERE NOT EXISTS (SELECT FROM streamhouse.group_offset AS o
                      WHERE o.group_id = w.group_id AND o.topic_id = w.topic_id AND o.partition = w.partition);
    RETURN ARRAY(SELECT CASE WHEN w.state = 0 THEN -2 WHEN w.state <> -1 THEN w.state
                             WHEN group_ids[w.request] = ANY (alone) THEN 0 ELSE 14 END
                 FROM unnest(states, requests) WITH ORDINALITY AS w (state, request, n) ORDER BY w.n);
END $$;
COMMENT ON FUNCTION streamhouse.offset_commit_first IS 'Makes the rows for states of -1. Gives the states for the next group_offset_write(): 0 for what it is to write now, -2 for what is written.';

CREATE FUNCTION streamhouse.offset_commit_many(agent_id int, groups text[], member_ids text[], member_epochs int[], instance_ids text[], versions int[],
                                               requests int[], topic_ids int[], partitions int[], offsets int8[], leader_epochs int[], metadata text[])
RETURNS int[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    group_ids int[];
    locked int[];
    states int[];
BEGIN
    IF coalesce(cardinality(requests), 0) = 0 THEN
        RETURN '{}';
    END IF;
    SELECT array_agg(coalesce(g.group_id, 0) ORDER BY r.n) INTO group_ids
    FROM unnest(groups) WITH ORDINALITY AS r (name, n) LEFT JOIN streamhouse.consumer_group AS g ON g.name = r.name;
    IF 0 = ANY (group_ids) THEN
        PERFORM streamhouse.offset_create_groups(groups, member_epochs);
        SELECT array_agg(coalesce(g.group_id, 0) ORDER BY r.n) INTO group_ids
        FROM unnest(groups) WITH ORDINALITY AS r (name, n) LEFT JOIN streamhouse.consumer_group AS g ON g.name = r.name;
    END IF;
    SELECT array_agg(l.group_id) INTO locked
    FROM (SELECT g.group_id FROM streamhouse.consumer_group AS g WHERE g.group_id = ANY (group_ids) FOR SHARE SKIP LOCKED) AS l;
    states := streamhouse.offset_check_commits(agent_id, group_ids, coalesce(locked, '{}'), groups, member_ids, member_epochs, instance_ids, versions);
    states := streamhouse.offset_check_partitions(states, requests, topic_ids, partitions, offsets, metadata);
    states := streamhouse.group_offset_write(states, requests, group_ids, member_ids, topic_ids, partitions, offsets, leader_epochs, metadata, 0);
    IF -1 = ANY (states) THEN
        states := streamhouse.offset_commit_first(states, requests, group_ids, topic_ids, partitions);
        states := streamhouse.group_offset_write(states, requests, group_ids, member_ids, topic_ids, partitions, offsets, leader_epochs, metadata, 0);
        states := ARRAY(SELECT CASE s.state WHEN -2 THEN 0 WHEN -1 THEN 14 ELSE s.state END
                        FROM unnest(states) WITH ORDINALITY AS s (state, n) ORDER BY s.n);
    END IF;
    RETURN states;
END $$;
COMMENT ON FUNCTION streamhouse.offset_commit_many IS 'sh_offset_commit_many() with the owner''s rights.';

CREATE FUNCTION sh_offset_commit_many(agent_id int, groups text[], member_ids text[], member_epochs int[], instance_ids text[], versions int[],
                                      requests int[], topic_ids int[], partitions int[], offsets int8[], leader_epochs int[], metadata text[])
RETURNS int[]
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_offset_commit_many IS 'Many of Kafka''s OffsetCommits at once, each as if it were alone. The first arrays have an element for each request: its group, member and instance (empty: none), generation or member epoch (below 0: not a member), and the version of the API. The others have an element for each partition; requests says whose it is, from 1. Gives an error code for each partition: those of sh_offset_commit(), and 16 NOT_COORDINATOR (another agent''s, which is alive), 22 ILLEGAL_GENERATION, 24 INVALID_GROUP_ID, 27 REBALANCE_IN_PROGRESS, 30 GROUP_AUTHORIZATION_FAILED, 35 UNSUPPORTED_VERSION. Nothing is waited for: what somebody has locked is 14 COORDINATOR_LOAD_IN_PROGRESS, to be tried again.';

CREATE FUNCTION streamhouse.offset_commit("group" text, member_id text, member_epoch int, topic_ids int[], partitions int[], offsets int8[],
                                          leader_epochs int[], metadata text[], instance_id text)
RETURNS TABLE (request int, error_code int2)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    retry_s CONSTANT float8 := 0.002;
    deadline CONSTANT timestamptz := clock_timestamp() + interval '50 ms';
    places CONSTANT int := coalesce(cardinality(topic_ids), 0);
    states int[];
BEGIN
    IF coalesce("group", '') = '' OR length("group") > 1000 THEN
        PERFORM streamhouse.group_fail(24, format('invalid group "%s"', left("group", 100)), 'A group''s name has 1 to 1000 characters.');
    END IF;
    LOOP
        states := streamhouse.offset_commit_many(NULL, ARRAY["group"], ARRAY[coalesce(member_id, '')], ARRAY[coalesce(member_epoch, -1)],
            ARRAY[coalesce(instance_id, '')], ARRAY[0], array_fill(1, ARRAY[places]), topic_ids, partitions, offsets,
            ARRAY(SELECT coalesce(leader_epochs[i], -1) FROM generate_series(1, places) AS i ORDER BY i),
            ARRAY(SELECT coalesce(metadata[i], '') FROM generate_series(1, places) AS i ORDER BY i));
        EXIT WHEN 14 <> ALL (states) OR clock_timestamp() >= deadline;
        PERFORM pg_sleep(retry_s);
    END LOOP;
    IF 30 = ANY (states) THEN
        PERFORM streamhouse.group_find("group"); -- raises the error, which says more
    END IF;
    RETURN QUERY SELECT s.n::int, s.state::int2 FROM unnest(states) WITH ORDINALITY AS s (state, n) ORDER BY s.n;
END $$;
COMMENT ON FUNCTION streamhouse.offset_commit IS 'sh_offset_commit() with the owner''s rights.';

CREATE FUNCTION sh_offset_commit("group" text, member_id text, member_epoch int, topic_ids int[], partitions int[], offsets int8[],
                                 leader_epochs int[] DEFAULT NULL, metadata text[] DEFAULT NULL, instance_id text DEFAULT NULL)
RETURNS TABLE (request int, error_code int2)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_offset_commit IS 'Kafka''s OffsetCommit: commits offsets of a group; request is the place in the arrays, from 1. A member commits in its epoch (of a classic group: in its generation); with member_epoch -1, whoever may use the group does as long as it has no members, and creates it. error_code is Kafka''s: 0, 3 UNKNOWN_TOPIC_OR_PARTITION, 12 OFFSET_METADATA_TOO_LARGE, 14 COORDINATOR_LOAD_IN_PROGRESS (an open transaction has the partition or the group: try again), 22 ILLEGAL_GENERATION and 27 REBALANCE_IN_PROGRESS (classic groups), 25 UNKNOWN_MEMBER_ID, 29 TOPIC_AUTHORIZATION_FAILED, 42 INVALID_REQUEST, 69 GROUP_ID_NOT_FOUND, 82 FENCED_INSTANCE_ID, 113 STALE_MEMBER_EPOCH. 42501: the caller may not use the group.';

CREATE FUNCTION streamhouse.offset_check_fetches(agent_id int, groups text[], member_ids text[], member_epochs int[], OUT group_ids int[], OUT errors int[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live CONSTANT int[] := streamhouse.coordinator_agents(agent_id);
    denied CONSTANT int[] := streamhouse.groups_not_usable(ARRAY(SELECT g.group_id FROM streamhouse.consumer_group AS g WHERE g.name = ANY (groups)));
BEGIN
    SELECT array_agg(coalesce(g.group_id, 0) ORDER BY r.n), array_agg(
        CASE WHEN g.group_id IS NULL THEN 0
             WHEN streamhouse.group_is_elsewhere(g.coordinator_id, offset_check_fetches.agent_id, live) THEN 16
             WHEN g.group_id = ANY (denied) THEN 30
             WHEN g.group_type = 'classic' OR r.epoch < 0 AND r.member_id = '' THEN 0
             ELSE coalesce((SELECT CASE WHEN m.member_epoch <> r.epoch THEN 113 ELSE 0 END FROM streamhouse.group_member AS m
                            WHERE m.group_id = g.group_id AND m.member_id = r.member_id AND m.backend_pid IS NULL), 25)
        END ORDER BY r.n)
    INTO group_ids, errors
    FROM unnest(groups, member_ids, member_epochs) WITH ORDINALITY AS r (name, member_id, epoch, n)
    LEFT JOIN streamhouse.consumer_group AS g ON g.name = r.name;
END $$;
COMMENT ON FUNCTION streamhouse.offset_check_fetches IS 'The group of each request to fetch offsets, 0 when there is none, and Kafka''s error code for the request.';

CREATE FUNCTION streamhouse.offset_fetch_many(agent_id int, groups text[], member_ids text[], member_epochs int[], wants_all int[],
                                              requests int[], topic_ids int[], partitions int[])
RETURNS TABLE (request int, place int, topic_id int, partition int, "offset" int8, leader_epoch int, metadata text, error_code int2)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    denied CONSTANT int[] := streamhouse.topics_not_consumable(
        CASE WHEN 1 = ANY (wants_all) THEN NULL ELSE ARRAY(SELECT DISTINCT unnest(topic_ids)) END);
    checked record;
    group_ids int[];
    errors int[];
BEGIN
    checked := streamhouse.offset_check_fetches(agent_id, groups, member_ids, member_epochs);
    group_ids := checked.group_ids;
    -- What is asked for twice would be answered twice, however large it is.
    errors := ARRAY(SELECT CASE WHEN e.error = 0 AND e.group_id <> 0 AND row_number() OVER (PARTITION BY e.group_id ORDER BY e.n) > 1 THEN 42 ELSE e.error END
                    FROM unnest(group_ids, checked.errors) WITH ORDINALITY AS e (group_id, error, n) ORDER BY e.n);
    RETURN QUERY
    SELECT e.n::int, NULL::int, NULL::int, NULL::int, -1::int8, -1, '', e.error::int2
    FROM unnest(errors) WITH ORDINALITY AS e (error, n) WHERE e.error <> 0
    UNION ALL
    SELECT w.request, w.place::int, w.topic_id, w.partition, coalesce(o.committed_offset, -1), coalesce(o.leader_epoch, -1), coalesce(o.metadata, ''),
           CASE WHEN w.times > 1 THEN 42 WHEN w.topic_id = ANY (denied) THEN 29 ELSE 0 END::int2
    FROM (SELECT w.*, row_number() OVER (PARTITION BY w.request, w.topic_id, w.partition ORDER BY w.place) AS times
          FROM unnest(requests, topic_ids, partitions) WITH ORDINALITY AS w (request, topic_id, partition, place)) AS w
    LEFT JOIN LATERAL (SELECT o.* FROM streamhouse.group_offset AS o
                       WHERE o.group_id = group_ids[w.request] AND o.topic_id = w.topic_id AND o.partition = w.partition
                         AND w.times = 1 AND NOT w.topic_id = ANY (denied)
                       ORDER BY o.commit_id DESC LIMIT 1) AS o ON true
    WHERE errors[w.request] = 0
    UNION ALL
    (SELECT a.n::int, NULL, o.topic_id, o.partition, o.committed_offset, o.leader_epoch, o.metadata, 0::int2
     FROM unnest(wants_all) WITH ORDINALITY AS a (wanted, n)
     JOIN streamhouse.group_offset AS o ON o.group_id = group_ids[a.n] AND o.committed_offset >= 0
     JOIN streamhouse.topic AS t ON t.topic_id = o.topic_id AND t.deleted_at IS NULL AND NOT t.topic_id = ANY (denied)
     WHERE a.wanted = 1 AND errors[a.n] = 0
     ORDER BY a.n, o.topic_id, o.partition);
END $$;
COMMENT ON FUNCTION streamhouse.offset_fetch_many IS 'sh_offset_fetch_many() with the owner''s rights.';

CREATE FUNCTION sh_offset_fetch_many(agent_id int, groups text[], member_ids text[], member_epochs int[], wants_all int[],
                                     requests int[], topic_ids int[], partitions int[])
RETURNS TABLE (request int, place int, topic_id int, partition int, "offset" int8, leader_epoch int, metadata text, error_code int2)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_offset_fetch_many IS 'Kafka''s OffsetFetch for several groups at once. The first arrays have an element for each group: its name, the member that asks (empty: none) with its epoch, and 1 in wants_all for all its offsets. The others have an element for each partition that is named; requests says of which group, from 1, and place is its place. Of all offsets only those come that were committed, by group, topic and partition. An error of a whole request is a row without a partition: 16 NOT_COORDINATOR, 25 UNKNOWN_MEMBER_ID, 30 GROUP_AUTHORIZATION_FAILED, 42 INVALID_REQUEST (named twice), 113 STALE_MEMBER_EPOCH; of a partition: 29 TOPIC_AUTHORIZATION_FAILED, 42 INVALID_REQUEST (named twice). A group that does not exist has no offsets.';

CREATE FUNCTION streamhouse.offset_fetch("group" text, member_id text, member_epoch int, topic_ids int[], partitions int[])
RETURNS TABLE (topic_id int, partition int, "offset" int8, leader_epoch int, metadata text, error_code int2)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.name = "group") AND offset_fetch.member_epoch >= 0 THEN
        RETURN QUERY SELECT NULL::int, NULL::int, -1::int8, -1, '', 69::int2;
        RETURN;
    END IF;
    PERFORM streamhouse.group_require(g) FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    RETURN QUERY
    SELECT f.topic_id, f.partition, f."offset", f.leader_epoch, f.metadata, f.error_code
    FROM streamhouse.offset_fetch_many(NULL, ARRAY["group"], ARRAY[coalesce(member_id, '')], ARRAY[coalesce(member_epoch, -1)],
             ARRAY[CASE WHEN topic_ids IS NULL THEN 1 ELSE 0 END], array_fill(1, ARRAY[coalesce(cardinality(topic_ids), 0)]), topic_ids, partitions) AS f
    ORDER BY f.place, f.topic_id, f.partition;
END $$;
COMMENT ON FUNCTION streamhouse.offset_fetch IS 'sh_offset_fetch() with the owner''s rights.';

CREATE FUNCTION sh_offset_fetch("group" text, member_id text DEFAULT NULL, member_epoch int DEFAULT -1,
                                topic_ids int[] DEFAULT NULL, partitions int[] DEFAULT NULL)
RETURNS TABLE (topic_id int, partition int, "offset" int8, leader_epoch int, metadata text, error_code int2)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_offset_fetch IS 'Kafka''s OffsetFetch: committed offsets of a group, for the partitions named, or for all that have one. offset -1: none was committed. An error of the whole request is one row without a partition: 25 UNKNOWN_MEMBER_ID, 69 GROUP_ID_NOT_FOUND, 113 STALE_MEMBER_EPOCH; of a partition: 29 TOPIC_AUTHORIZATION_FAILED. 42501: the caller may not use the group.';

CREATE FUNCTION streamhouse.reset_target(topic_id int, partition int, start text) RETURNS int8
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    ends streamhouse.partition_end;
BEGIN
    SELECT * INTO ends FROM streamhouse.partition_end AS e WHERE e.topic_id = topic_id AND e.partition = partition;
    RETURN CASE WHEN start = 'earliest' THEN ends.log_start_offset
                WHEN start = 'latest' THEN ends.end_offset
                WHEN start ~ '^\d{1,18}$' THEN least(greatest(start::int8, ends.log_start_offset), ends.end_offset)
                ELSE streamhouse.offset_at(topic_id, partition, ceil(extract(epoch FROM start::timestamptz) * 1000)::int8) END;
EXCEPTION WHEN invalid_datetime_format OR datetime_field_overflow OR numeric_value_out_of_range THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = format('offsets cannot be reset to "%s"', start),
        HINT = 'It is earliest, latest, a timestamp, or an offset.';
END $$;
COMMENT ON FUNCTION streamhouse.reset_target IS 'The offset that sh_reset_offsets() means, within what can be read.';

CREATE FUNCTION streamhouse.group_has_active(group_id int, topic text) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM streamhouse.group_member AS m
                   WHERE m.group_id = group_has_active.group_id
                     AND (group_has_active.topic IS NULL OR group_has_active.topic = ANY (m.subscribed_topics || m.resolved_topics))
                     AND streamhouse.member_is_alive(m))
        OR EXISTS (SELECT FROM streamhouse.consumer_group AS g
                   WHERE g.group_id = group_has_active.group_id AND g.group_type = 'classic' AND streamhouse.group_has_members(g.group_id)
                     AND (group_has_active.topic IS NULL OR streamhouse.group_subscribed(g, group_has_active.topic)))
$$;
COMMENT ON FUNCTION streamhouse.group_has_active IS 'Whether a group has members that are alive, and subscribed to the topic.';

CREATE FUNCTION streamhouse.reset_offsets("group" text, topic text, start text, partitions int[], force bool)
RETURNS TABLE (partition int, "offset" int8)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    busy_wait_ms CONSTANT int := 1000;
    wanted CONSTANT streamhouse.topic := streamhouse.topic_find(topic);
    changed streamhouse.consumer_group;
    numbers int[];
    topic_ids int[];
    offsets int8[];
    states int[];
BEGIN
    PERFORM streamhouse.member_require_topic(streamhouse.caller(), wanted.topic_id, wanted.name);
    IF start IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'start must not be null', HINT = 'It is earliest, latest, a timestamp, or an offset.';
    END IF;
    SELECT * INTO changed FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    IF changed.group_id IS NULL THEN
        PERFORM streamhouse.offset_create_groups(ARRAY["group"], ARRAY[-1]);
        changed := streamhouse.group_lock("group", true);
    END IF;
    PERFORM streamhouse.group_require(changed);
    IF NOT coalesce(force, false) AND streamhouse.group_has_active(changed.group_id, topic) THEN
        PERFORM streamhouse.group_fail(68, format('group "%s" has members that consume from topic "%s"', "group", topic),
                                       'Stop them first, move one partition with sh_seek() in its session, or reset with force => true.');
    END IF;
    SELECT array_agg(n ORDER BY n), array_agg(wanted.topic_id) INTO numbers, topic_ids
    FROM (SELECT DISTINCT n FROM unnest(coalesce(partitions, (SELECT array_agg(g) FROM generate_series(0, wanted.partitions - 1) AS g))) AS n) AS n;
    IF numbers IS NULL THEN
        RETURN; -- none was asked for
    END IF;
    PERFORM streamhouse.offset_check(wanted, n, 0, '') FROM unnest(numbers) AS n;
    IF streamhouse.offset_rows_missing(changed.group_id, topic_ids, numbers) THEN
        changed := streamhouse.group_lock("group", true);
        PERFORM streamhouse.offset_rows_make(changed, topic_ids, numbers);
    END IF;
    SELECT array_agg(streamhouse.reset_target(wanted.topic_id, n, start) ORDER BY n) INTO offsets FROM unnest(numbers) AS n;
    states := streamhouse.group_offset_write(array_fill(0, ARRAY[cardinality(numbers)]), array_fill(1, ARRAY[cardinality(numbers)]),
                                             ARRAY[changed.group_id], ARRAY[''], topic_ids, numbers, offsets, array_fill(-1, ARRAY[cardinality(numbers)]),
                                             array_fill(''::text, ARRAY[cardinality(numbers)]), busy_wait_ms);
    IF 0 <> ANY (states) THEN
        RAISE EXCEPTION USING ERRCODE = 'lock_not_available', MESSAGE = format('an open transaction has read from topic "%s" for group "%s"', topic, "group"),
            HINT = 'Try again when it has ended; sh_describe_group() shows the sessions.';
    END IF;
    RETURN QUERY SELECT w.partition, w.new_offset FROM unnest(numbers, offsets) AS w (partition, new_offset);
END $$;
COMMENT ON FUNCTION streamhouse.reset_offsets IS 'sh_reset_offsets() with the owner''s rights.';

CREATE FUNCTION sh_reset_offsets("group" text, topic text, start text, partitions int[] DEFAULT NULL, force bool DEFAULT false)
RETURNS TABLE (partition int, "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_reset_offsets IS 'Lets a group go on elsewhere, with this transaction (one that is the first to give the group an offset of the topic keeps members from joining and leaving until it ends): start is earliest, latest, an offset, or a timestamp (the first record that is not older). partitions null: all. An offset that cannot be read becomes the nearest that can. The group is created when there is none. Gives the new offsets. Errors: SH068 it has members that consume from the topic (force => true resets under their feet), 55P03 an open transaction has records of it, 42704 no such topic, SH003 no such partition, 42501 may not consume from the topic or use the group.';
