-- group_classic_member.sql: members that speak the classic protocol in a group that has members of the new one. Their agent
-- calls these in place of its own coordinator.

CREATE FUNCTION streamhouse.classic_check_protocols(joined streamhouse.consumer_group, said streamhouse.classic_member) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen text;
BEGIN
    SELECT p.name INTO chosen
    FROM unnest(said.protocol_names, said.protocol_metadata) WITH ORDINALITY AS p (name, metadata, n)
    WHERE streamhouse.consumer_subscription(p.metadata) IS NOT NULL
      AND NOT EXISTS (SELECT FROM streamhouse.classic_member AS m
                      WHERE m.group_id = joined.group_id AND m.member_id <> said.member_id AND p.name <> ALL (m.protocol_names))
    ORDER BY p.n LIMIT 1;
    IF chosen IS NULL THEN
        PERFORM streamhouse.group_fail(23, format('member "%s" speaks no protocol that the members of group "%s" share', said.member_id, joined.name));
    END IF;
    RETURN chosen;
END $$;
COMMENT ON FUNCTION streamhouse.classic_check_protocols IS 'The protocol that a classic member prefers of those that all classic members of the group speak; raises SH023 when there is none.';

-- A static member's new process takes the place of the one before at once, as in the classic protocol.
CREATE FUNCTION streamhouse.classic_take_place(group_id int, said streamhouse.classic_member) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    replaced streamhouse.group_member;
BEGIN
    SELECT * INTO replaced FROM streamhouse.group_member AS m
    WHERE m.group_id = classic_take_place.group_id AND m.instance_id = said.instance_id AND m.member_id <> said.member_id;
    IF FOUND THEN
        DELETE FROM streamhouse.classic_member AS c WHERE c.group_id = classic_take_place.group_id AND c.member_id = replaced.member_id;
        replaced.member_epoch := -2;
        PERFORM streamhouse.member_replace(replaced, said.member_id);
    END IF;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION streamhouse.classic_take_place IS 'Gives the place of a static member to the classic member that comes under its instance id; true when there was one.';

CREATE FUNCTION streamhouse.classic_said(said streamhouse.classic_member, chosen text, OUT member streamhouse.group_member,
                                         OUT owned_topic_ids int[], OUT owned_partitions int[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    subscription CONSTANT record := streamhouse.consumer_subscription(said.protocol_metadata[array_position(said.protocol_names, chosen)]);
BEGIN
    member.group_id := said.group_id;
    member.member_id := said.member_id;
    member.instance_id := said.instance_id;
    member.client_id := said.client_id;
    member.client_host := said.client_host;
    member.session_timeout_ms := said.session_timeout_ms;
    member.rebalance_timeout_ms := said.rebalance_timeout_ms;
    member.subscribed_topics := (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') FROM unnest(subscription.topics) AS t);
    member.member_epoch := coalesce((SELECT m.member_epoch FROM streamhouse.group_member AS m
                                     WHERE m.group_id = said.group_id AND m.member_id = said.member_id), 0);
    SELECT coalesce(array_agg(t.topic_id ORDER BY o.n), '{}'), coalesce(array_agg(o.partition ORDER BY o.n), '{}')
    INTO owned_topic_ids, owned_partitions
    FROM unnest(subscription.owned_topics, subscription.owned_partitions) WITH ORDINALITY AS o (topic, partition, n)
    JOIN streamhouse.topic AS t ON t.name = o.topic AND t.deleted_at IS NULL;
END $$;
COMMENT ON FUNCTION streamhouse.classic_said IS 'What a classic member''s JoinGroup means as a heartbeat of the new protocol. A member that says nothing of what it owns has let go of everything, as eager consumers do before they join.';

-- Members that are lost may have been the last ones of the new protocol, and so may be the one whose place this one takes. Then
-- the group is classic, and the member comes again, to its coordinator. An error would undo it.
CREATE FUNCTION streamhouse.classic_join_left_alone(group_id int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    PERFORM streamhouse.group_remove(l.group_id, l.member_ids) FROM streamhouse.groups_with_lost(group_id) AS l;
    RETURN NOT EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = group_id) OR streamhouse.group_downgrade(group_id);
END $$;
COMMENT ON FUNCTION streamhouse.classic_join_left_alone IS 'Whether a consumer group that a classic member joins has no members of the new protocol any more; it is classic then, or empty.';

CREATE FUNCTION streamhouse.classic_write(said streamhouse.classic_member) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO streamhouse.classic_member SELECT said.*
    ON CONFLICT ON CONSTRAINT classic_member_pkey DO UPDATE
    SET instance_id = excluded.instance_id, client_id = excluded.client_id, client_host = excluded.client_host,
        session_timeout_ms = excluded.session_timeout_ms, rebalance_timeout_ms = excluded.rebalance_timeout_ms,
        protocol_names = excluded.protocol_names, protocol_metadata = excluded.protocol_metadata
$$;
COMMENT ON FUNCTION streamhouse.classic_write IS 'Keeps what a classic member says about itself.';

CREATE FUNCTION streamhouse.classic_join_answer("group" text, said streamhouse.classic_member,
                                                OUT error_code int2, OUT generation int, OUT protocol_name text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    joined streamhouse.consumer_group := streamhouse.group_lock("group", false);
    heard record;
BEGIN
    IF joined.group_id IS NULL OR joined.group_type <> 'consumer' THEN
        PERFORM streamhouse.group_fail(16, format('group "%s" is a classic one', "group"), 'Find its coordinator again.');
    END IF;
    said.group_id := joined.group_id;
    error_code := 16;
    IF streamhouse.classic_join_left_alone(joined.group_id) THEN
        RETURN;
    END IF;
    protocol_name := streamhouse.classic_check_protocols(joined, said);
    IF streamhouse.classic_take_place(joined.group_id, said) THEN
        PERFORM streamhouse.classic_write(said);
        IF streamhouse.group_downgrade(joined.group_id) THEN
            RETURN;
        END IF;
    END IF;
    error_code := 0;
    heard := streamhouse.classic_said(said, protocol_name);
    PERFORM streamhouse.classic_write(said);
    SELECT h.member_epoch INTO generation
    FROM streamhouse.heartbeat_answer("group", heard.member, heard.owned_topic_ids, heard.owned_partitions) AS h;
END $$;
COMMENT ON FUNCTION streamhouse.classic_join_answer IS 'A classic member joins a consumer group, or joins again, under the group''s lock. error_code is 0, or 16 when the group became a classic one by that.';

CREATE FUNCTION streamhouse.classic_member_join("group" text, member_id text, instance_id text, client_id text, client_host text,
    session_timeout_ms int, rebalance_timeout_ms int, protocol_names text[], protocol_metadata bytea[],
    OUT error_code int2, OUT error_message text, OUT generation int, OUT protocol_name text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    said streamhouse.classic_member;
BEGIN
    said.member_id := member_id;
    said.instance_id := instance_id;
    said.client_id := coalesce(client_id, '');
    said.client_host := coalesce(client_host, '');
    said.session_timeout_ms := session_timeout_ms;
    said.rebalance_timeout_ms := rebalance_timeout_ms;
    said.protocol_names := protocol_names;
    said.protocol_metadata := protocol_metadata;
    said.assignment := '';
    error_code := 0;
    BEGIN
        SELECT a.error_code, a.generation, a.protocol_name INTO error_code, generation, protocol_name FROM streamhouse.classic_join_answer("group", said) AS a;
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE !~ '^SH\d{3}$' THEN
            RAISE;
        END IF;
        error_code := substr(SQLSTATE, 3)::int2;
        error_message := SQLERRM;
    END;
END $$;
COMMENT ON FUNCTION streamhouse.classic_member_join IS 'sh_classic_member_join() with the owner''s rights.';

CREATE FUNCTION sh_classic_member_join("group" text, member_id text, instance_id text, client_id text, client_host text,
    session_timeout_ms int, rebalance_timeout_ms int, protocol_names text[], protocol_metadata bytea[],
    OUT error_code int2, OUT error_message text, OUT generation int, OUT protocol_name text)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_classic_member_join IS 'Kafka''s JoinGroup for a consumer that speaks the classic protocol in a group of type consumer: takes it one step towards its target, which the brain assigns; the generation is its epoch. error_code is Kafka''s: 0, 16 NOT_COORDINATOR (the group is a classic one), 23 INCONSISTENT_GROUP_PROTOCOL, 25 UNKNOWN_MEMBER_ID.';

CREATE FUNCTION streamhouse.classic_member_find("group" text, member_id text, instance_id text, generation int,
                                                OUT error_code int2, OUT current streamhouse.consumer_group, OUT member streamhouse.group_member)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    IF current.group_type IS DISTINCT FROM 'consumer' THEN
        error_code := 16;
        RETURN;
    END IF;
    PERFORM streamhouse.group_require(current);
    SELECT * INTO member FROM streamhouse.group_member AS m WHERE m.group_id = current.group_id AND m.member_id = member_id;
    error_code := CASE WHEN instance_id IS NOT NULL
                            AND EXISTS (SELECT FROM streamhouse.group_member AS m
                                        WHERE m.group_id = current.group_id AND m.instance_id = instance_id AND m.member_id <> member_id) THEN 82
                       WHEN member.member_id IS NULL
                            OR NOT EXISTS (SELECT FROM streamhouse.classic_member AS c
                                           WHERE c.group_id = current.group_id AND c.member_id = member_id) THEN 25
                       WHEN member.member_epoch <> generation THEN 22
                       ELSE 0 END;
END $$;
COMMENT ON FUNCTION streamhouse.classic_member_find IS 'A classic member of a group of type consumer, with its group, and Kafka''s error code for what it asks in a generation: 0, 16 NOT_COORDINATOR (there is no such group of that type), 22 ILLEGAL_GENERATION, 25 UNKNOWN_MEMBER_ID, 82 FENCED_INSTANCE_ID. 42501: the caller may not use the group.';

-- There is something to do for the member: a new target, partitions to let go, or partitions that have become free.
CREATE FUNCTION streamhouse.classic_must_join(current streamhouse.consumer_group, member streamhouse.group_member) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT member.member_epoch < current.group_epoch
        OR member.state = 'unrevoked_partitions'
        OR member.state = 'unreleased_partitions'
           AND EXISTS (SELECT FROM streamhouse.group_partition AS p
                       WHERE p.group_id = member.group_id AND p.target_member = member.member_id AND p.owner_member IS NULL)
$$;
COMMENT ON FUNCTION streamhouse.classic_must_join IS 'Whether a classic member has to join again to come nearer to its target.';

CREATE FUNCTION streamhouse.classic_member_sync("group" text, member_id text, instance_id text, generation int,
                                                OUT error_code int2, OUT assignment bytea)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    asking CONSTANT record := streamhouse.classic_member_find("group", member_id, instance_id, generation);
BEGIN
    error_code := asking.error_code;
    IF error_code = 0 THEN
        SELECT streamhouse.consumer_assignment_bytes(coalesce(array_agg(t.name ORDER BY t.name, a.partition), '{}'),
                                                     coalesce(array_agg(a.partition ORDER BY t.name, a.partition), '{}')) INTO assignment
        FROM streamhouse.member_assigned(asking.member) AS m, unnest(m.topic_ids, m.partitions) AS a (topic_id, partition)
        JOIN streamhouse.topic AS t ON t.topic_id = a.topic_id AND t.deleted_at IS NULL;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.classic_member_sync IS 'sh_classic_member_sync() with the owner''s rights.';

CREATE FUNCTION sh_classic_member_sync("group" text, member_id text, instance_id text, generation int,
                                       OUT error_code int2, OUT assignment bytea)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_classic_member_sync IS 'Kafka''s SyncGroup for a classic member of a group of type consumer: what it has now, as the consumer protocol writes it. error_code is Kafka''s: 0, 16 NOT_COORDINATOR, 22 ILLEGAL_GENERATION, 25 UNKNOWN_MEMBER_ID, 82 FENCED_INSTANCE_ID.';

CREATE FUNCTION streamhouse.classic_member_heartbeat("group" text, member_id text, instance_id text, generation int) RETURNS int2
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    asking CONSTANT record := streamhouse.classic_member_find("group", member_id, instance_id, generation);
BEGIN
    IF asking.error_code <> 0 THEN
        RETURN asking.error_code;
    END IF;
    UPDATE streamhouse.group_member AS m SET last_seen = clock_timestamp()
    WHERE m.group_id = (asking.current).group_id AND m.member_id = member_id
      AND clock_timestamp() >= m.last_seen + make_interval(secs => m.session_timeout_ms / 4000.0);
    RETURN CASE WHEN streamhouse.classic_must_join(asking.current, asking.member) THEN 27 ELSE 0 END;
END $$;
COMMENT ON FUNCTION streamhouse.classic_member_heartbeat IS 'sh_classic_member_heartbeat() with the owner''s rights.';

CREATE FUNCTION sh_classic_member_heartbeat("group" text, member_id text, instance_id text, generation int) RETURNS int2
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_classic_member_heartbeat IS 'Kafka''s Heartbeat for a classic member of a group of type consumer. Gives Kafka''s error code: 0, 16 NOT_COORDINATOR (the group is a classic one), 22 ILLEGAL_GENERATION, 25 UNKNOWN_MEMBER_ID, 27 REBALANCE_IN_PROGRESS (it has to join again), 82 FENCED_INSTANCE_ID.';

CREATE FUNCTION streamhouse.classic_member_leave("group" text, member_ids text[], instance_ids text[]) RETURNS int2[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    current CONSTANT streamhouse.consumer_group := streamhouse.group_lock("group", false);
    errors int2[] := '{}';
    found_member streamhouse.group_member;
BEGIN
    IF current.group_type IS DISTINCT FROM 'consumer' THEN
        RETURN array_fill(16::int2, ARRAY[cardinality(member_ids)]);
    END IF;
    FOR i IN 1 .. cardinality(member_ids) LOOP
        SELECT * INTO found_member FROM streamhouse.group_member AS m
        WHERE m.group_id = current.group_id AND m.backend_pid IS NULL
          AND CASE WHEN instance_ids[i] = '' THEN m.member_id = member_ids[i] ELSE m.instance_id = instance_ids[i] END;
        errors := errors || CASE WHEN found_member.member_id IS NULL THEN 25
                                 WHEN coalesce(member_ids[i], '') NOT IN ('', found_member.member_id) THEN 82
                                 ELSE 0 END::int2;
        IF errors[i] = 0 THEN
            PERFORM streamhouse.group_remove(current.group_id, ARRAY[found_member.member_id]);
        END IF;
    END LOOP;
    PERFORM streamhouse.group_refresh(current.group_id);
    RETURN errors;
END $$;
COMMENT ON FUNCTION streamhouse.classic_member_leave IS 'sh_classic_member_leave() with the owner''s rights.';

CREATE FUNCTION sh_classic_member_leave("group" text, member_ids text[], instance_ids text[]) RETURNS int2[]
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_classic_member_leave IS 'Kafka''s LeaveGroup in a group of type consumer: removes members, of either protocol, by id, or by instance id, which is empty for the others. Gives Kafka''s error code for each: 0, 16 NOT_COORDINATOR, 25 UNKNOWN_MEMBER_ID, 82 FENCED_INSTANCE_ID.';
