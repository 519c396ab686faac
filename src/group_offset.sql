-- group_offset.sql: committed offsets from outside of sh_poll(): Kafka's OffsetCommit and OffsetFetch, and resetting.

CREATE FUNCTION streamhouse.group_offset_write(group_id int, topic_ids int[], partitions int[], offsets int8[], leader_epochs int[],
                                               metadata text[], member_id text, wait_ms int) RETURNS bool[]
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_group_offset_write';
COMMENT ON FUNCTION streamhouse.group_offset_write IS 'Commits offsets, each if it gets the lock of its partition''s row within wait_ms; true where it did. Rows that are missing are not made.';

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

-- The member's row is locked, so that nobody is removed, and none of its partitions given away, before this commits.
CREATE FUNCTION streamhouse.offset_check_member(committed streamhouse.consumer_group, member_id text, member_epoch int, instance_id text,
                                                lock_it bool) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    member streamhouse.group_member;
BEGIN
    IF coalesce(member_epoch, -1) < 0 AND coalesce(member_id, '') = '' THEN
        RETURN CASE WHEN lock_it AND EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = committed.group_id) THEN 25 ELSE 0 END;
    END IF;
    IF lock_it THEN
        SELECT * INTO member FROM streamhouse.group_member AS m WHERE m.group_id = committed.group_id AND m.member_id = member_id FOR SHARE;
    ELSE
        SELECT * INTO member FROM streamhouse.group_member AS m WHERE m.group_id = committed.group_id AND m.member_id = member_id;
    END IF;
    RETURN CASE WHEN member.member_id IS NULL OR member.backend_pid IS NOT NULL
                THEN CASE WHEN EXISTS (SELECT FROM streamhouse.group_member AS m
                                       WHERE m.group_id = committed.group_id AND m.instance_id = instance_id) THEN 82 ELSE 25 END
                WHEN member.member_epoch <> member_epoch THEN 113
                ELSE 0 END;
END $$;
COMMENT ON FUNCTION streamhouse.offset_check_member IS 'Kafka''s error code for who commits or reads offsets: 0, 25 UNKNOWN_MEMBER_ID, 82 FENCED_INSTANCE_ID, 113 STALE_MEMBER_EPOCH. Without a member id: 0 for a group that has no members, and for whoever only reads.';

CREATE FUNCTION streamhouse.offset_error(topic_id int, partition int, "offset" int8, metadata text) RETURNS int
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT CASE WHEN NOT streamhouse.member_may_consume(streamhouse.caller(), t.topic_id, t.name) THEN 29
                                 WHEN octet_length(metadata) > 4096 THEN 12
                                 WHEN "offset" < 0 THEN 42
                                 ELSE 0 END
                     FROM streamhouse.partition AS p JOIN streamhouse.topic AS t USING (topic_id)
                     WHERE p.topic_id = offset_error.topic_id AND p.partition = offset_error.partition), 3)
$$;
COMMENT ON FUNCTION streamhouse.offset_error IS 'Kafka''s error code for an offset to be committed: 0, 3 UNKNOWN_TOPIC_OR_PARTITION, 12 OFFSET_METADATA_TOO_LARGE, 29 TOPIC_AUTHORIZATION_FAILED, 42 INVALID_REQUEST.';

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

CREATE FUNCTION streamhouse.offset_commit("group" text, member_id text, member_epoch int, topic_ids int[], partitions int[], offsets int8[],
                                          leader_epochs int[], metadata text[], instance_id text)
RETURNS TABLE (request int, error_code int2)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    busy_wait_ms CONSTANT int := 50;
    committed streamhouse.consumer_group;
    errors int[];
    taken int[];
    written bool[];
    whole int;
BEGIN
    SELECT * INTO committed FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    -- The group's lock before the member's. It is rarely needed: for the first offset of a partition.
    IF committed.group_id IS NULL AND coalesce(member_epoch, -1) < 0
       OR streamhouse.offset_rows_missing(committed.group_id, topic_ids, partitions) THEN
        committed := streamhouse.group_lock("group", coalesce(member_epoch, -1) < 0);
    END IF;
    IF committed.group_id IS NULL THEN
        whole := 69;
    ELSE
        PERFORM streamhouse.group_require(committed);
        whole := streamhouse.offset_check_member(committed, member_id, member_epoch, instance_id, true);
    END IF;
    SELECT array_agg(CASE WHEN whole <> 0 THEN whole ELSE streamhouse.offset_error(topic_ids[i], partitions[i], offsets[i], metadata[i]) END ORDER BY i)
    INTO errors FROM generate_subscripts(topic_ids, 1) AS i;
    SELECT array_agg(i ORDER BY i) INTO taken FROM generate_subscripts(errors, 1) AS i WHERE errors[i] = 0;
    IF taken IS NOT NULL THEN
        PERFORM streamhouse.offset_rows_make(committed, array_agg(topic_ids[i]), array_agg(partitions[i])) FROM unnest(taken) AS i;
        SELECT streamhouse.group_offset_write(committed.group_id, array_agg(topic_ids[i] ORDER BY i), array_agg(partitions[i] ORDER BY i),
                   array_agg(offsets[i] ORDER BY i), array_agg(coalesce(leader_epochs[i], -1) ORDER BY i), array_agg(coalesce(metadata[i], '') ORDER BY i),
                   nullif(member_id, ''), busy_wait_ms)
        INTO written FROM unnest(taken) AS i;
    END IF;
    RETURN QUERY
    SELECT i, CASE WHEN errors[i] = 0 AND NOT written[array_position(taken, i)] THEN 14 ELSE errors[i] END::int2
    FROM generate_subscripts(errors, 1) AS i ORDER BY i;
END $$;
COMMENT ON FUNCTION streamhouse.offset_commit IS 'sh_offset_commit() with the owner''s rights.';

CREATE FUNCTION sh_offset_commit("group" text, member_id text, member_epoch int, topic_ids int[], partitions int[], offsets int8[],
                                 leader_epochs int[] DEFAULT NULL, metadata text[] DEFAULT NULL, instance_id text DEFAULT NULL)
RETURNS TABLE (request int, error_code int2)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_offset_commit IS 'Kafka''s OffsetCommit: commits offsets of a group; request is the place in the arrays, from 1. A member commits in its epoch; with member_epoch -1 and no member id, whoever may use the group does as long as it has no members, and creates it. error_code is Kafka''s: 0, 3 UNKNOWN_TOPIC_OR_PARTITION, 12 OFFSET_METADATA_TOO_LARGE, 14 COORDINATOR_LOAD_IN_PROGRESS (an open transaction has the partition: try again), 25 UNKNOWN_MEMBER_ID, 29 TOPIC_AUTHORIZATION_FAILED, 42 INVALID_REQUEST, 69 GROUP_ID_NOT_FOUND, 82 FENCED_INSTANCE_ID, 113 STALE_MEMBER_EPOCH. 42501: the caller may not use the group.';

CREATE FUNCTION streamhouse.offset_fetch("group" text, member_id text, member_epoch int, topic_ids int[], partitions int[])
RETURNS TABLE (topic_id int, partition int, "offset" int8, leader_epoch int, metadata text, error_code int2)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    fetched streamhouse.consumer_group;
    whole int := 0;
BEGIN
    SELECT * INTO fetched FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    IF fetched.group_id IS NOT NULL THEN
        PERFORM streamhouse.group_require(fetched);
        whole := streamhouse.offset_check_member(fetched, offset_fetch.member_id, offset_fetch.member_epoch, NULL, false);
    ELSIF offset_fetch.member_epoch >= 0 THEN
        whole := 69;
    END IF;
    IF whole <> 0 THEN
        RETURN QUERY SELECT NULL::int, NULL::int, -1::int8, -1, '', whole::int2;
    ELSIF topic_ids IS NULL THEN
        RETURN QUERY
        SELECT o.topic_id, o.partition, o.committed_offset, o.leader_epoch, o.metadata, 0::int2
        FROM streamhouse.group_offset AS o JOIN streamhouse.topic AS t USING (topic_id)
        WHERE o.group_id = fetched.group_id AND o.committed_offset >= 0 AND t.deleted_at IS NULL
          AND streamhouse.member_may_consume(streamhouse.caller(), t.topic_id, t.name)
        ORDER BY 1, 2;
    ELSE
        RETURN QUERY
        SELECT w.topic_id, w.partition, coalesce(o.committed_offset, -1), coalesce(o.leader_epoch, -1), coalesce(o.metadata, ''), e.error_code::int2
        FROM unnest(topic_ids, partitions) WITH ORDINALITY AS w (topic_id, partition, n)
        CROSS JOIN LATERAL (SELECT CASE streamhouse.offset_error(w.topic_id, w.partition, 0, '') WHEN 29 THEN 29 ELSE 0 END AS error_code) AS e
        LEFT JOIN streamhouse.group_offset AS o
        ON e.error_code = 0 AND o.group_id = fetched.group_id AND o.topic_id = w.topic_id AND o.partition = w.partition
        ORDER BY w.n;
    END IF;
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
    written bool[];
BEGIN
    PERFORM streamhouse.member_require_topic(streamhouse.caller(), wanted.topic_id, wanted.name);
    IF start IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'start must not be null', HINT = 'It is earliest, latest, a timestamp, or an offset.';
    END IF;
    SELECT * INTO changed FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    IF changed.group_id IS NULL THEN
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
    written := streamhouse.group_offset_write(changed.group_id, topic_ids, numbers, offsets, array_fill(-1, ARRAY[cardinality(numbers)]),
                                              array_fill(''::text, ARRAY[cardinality(numbers)]), NULL, busy_wait_ms);
    IF false = ANY (written) THEN
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
