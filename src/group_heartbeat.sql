-- group_heartbeat.sql: KIP-848's heartbeat, as Apache Kafka 4 answers it. A member goes from its epoch to the target's in
-- steps: it lets go of what it is not to have, and says so; then it is given what is free. Kafka keeps a coordinator in
-- memory; here it is rows, so a heartbeat that has nothing to say must not write: when a member was last seen is written
-- once in a quarter of its session timeout.

CREATE FUNCTION streamhouse.heartbeat_check("group" text, member_id text, member_epoch int, instance_id text, rack text, rebalance_timeout_ms int,
                                            subscribed_topics text[], subscribed_regex text, assignor text,
                                            owned_topic_ids int[], owned_partitions int[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(member_epoch, -3) < -2 OR coalesce(member_id, '') = '' THEN
        PERFORM streamhouse.group_fail(42, 'a heartbeat needs a member id, and an epoch that is not below -2');
    ELSIF "group" = '' OR rack = '' THEN
        PERFORM streamhouse.group_fail(42, 'neither group nor rack may be empty');
    ELSIF greatest(length(member_id), length(instance_id), length(rack)) > 1000 OR cardinality(subscribed_topics) > 10000 THEN
        PERFORM streamhouse.group_fail(42, 'a member, an instance and a rack have names of 1000 characters at most, a subscription 10000 topics');
    ELSIF instance_id = '' OR (member_epoch = -2 AND instance_id IS NULL) THEN
        PERFORM streamhouse.group_fail(42, 'only a static member, which has an instance id, can leave for a while');
    ELSIF cardinality(owned_topic_ids) IS DISTINCT FROM cardinality(owned_partitions) THEN
        PERFORM streamhouse.group_fail(42, 'owned partitions are pairs of a topic id and a number');
    ELSIF member_epoch = 0 AND (coalesce(rebalance_timeout_ms, -1) < 0 OR owned_topic_ids IS NULL OR cardinality(owned_topic_ids) > 0
                                OR coalesce(cardinality(subscribed_topics), 0) = 0 AND coalesce(subscribed_regex, '') = '') THEN
        PERFORM streamhouse.group_fail(42, 'who joins names a rebalance timeout and topics, and owns no partitions');
    ELSIF assignor NOT IN ('uniform', 'range') THEN
        PERFORM streamhouse.group_fail(112, format('there is no assignor "%s"', assignor), 'The assignors are uniform and range.');
    END IF;
    PERFORM streamhouse.group_check_regex(subscribed_regex);
END $$;
COMMENT ON FUNCTION streamhouse.heartbeat_check IS 'Raises SH042 (invalid request), SH112 (unsupported assignor) or SH128 (invalid regular expression) for a heartbeat that no group would accept.';

CREATE FUNCTION streamhouse.group_check_regex(regex text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM '' ~ streamhouse.regex_translate(nullif(regex, ''));
EXCEPTION WHEN invalid_regular_expression THEN -- one that is too large is left to PostgreSQL to find
    PERFORM streamhouse.group_fail(128, format('invalid regular expression "%s": %s', regex, SQLERRM));
END $$;
COMMENT ON FUNCTION streamhouse.group_check_regex IS 'Raises SH128 for what is no regular expression, or too large a one.';

CREATE FUNCTION streamhouse.member_check_epoch(member streamhouse.group_member, member_epoch int,
                                               owned_topic_ids int[], owned_partitions int[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF member_epoch = member.member_epoch OR member_epoch < 0 THEN
        RETURN;
    END IF;
    -- A member that missed the answer with its new epoch comes with the one before, and what it had been given.
    IF member_epoch = member.previous_epoch AND member_epoch < member.member_epoch AND owned_topic_ids IS NOT NULL
       AND NOT EXISTS (SELECT FROM unnest(owned_topic_ids, owned_partitions) AS o (topic_id, partition)
                       WHERE NOT EXISTS (SELECT FROM streamhouse.group_partition AS p
                                         WHERE p.group_id = member.group_id AND p.topic_id = o.topic_id AND p.partition = o.partition
                                           AND p.owner_member = member.member_id AND NOT p.is_revoking)) THEN
        RETURN;
    END IF;
    PERFORM streamhouse.group_fail(110, format('member "%s" is in epoch %s, not %s', member.member_id, member.member_epoch, member_epoch),
                                   'It must give up its partitions and join again, with epoch 0.');
END $$;
COMMENT ON FUNCTION streamhouse.member_check_epoch IS 'Raises SH110 for a member that comes with another epoch than its own, or than the one before when it may have missed the answer.';

-- The row of a static member that comes back under another id becomes that one's, with its place in the target.
CREATE FUNCTION streamhouse.member_replace(replaced streamhouse.group_member, member_id text) RETURNS streamhouse.group_member
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    member streamhouse.group_member;
BEGIN
    IF replaced.member_epoch <> -2 THEN
        PERFORM streamhouse.group_fail(111, format('instance "%s" is in use by member "%s"', replaced.instance_id, replaced.member_id),
                                       'It is free when that one leaves or its session times out.');
    END IF;
    UPDATE streamhouse.group_member AS m SET member_id = member_id, member_epoch = 0, previous_epoch = 0
    WHERE m.group_id = replaced.group_id AND m.member_id = replaced.member_id RETURNING m.* INTO member;
    UPDATE streamhouse.group_partition AS p
    SET target_member = CASE WHEN p.target_member = replaced.member_id THEN member_id ELSE p.target_member END,
        owner_member = CASE WHEN p.owner_member = replaced.member_id THEN NULL ELSE p.owner_member END,
        is_revoking = is_revoking AND p.owner_member <> replaced.member_id
    WHERE p.group_id = replaced.group_id AND replaced.member_id IN (p.target_member, p.owner_member);
    PERFORM streamhouse.group_touch(replaced.group_id);
    RETURN member;
END $$;
COMMENT ON FUNCTION streamhouse.member_replace IS 'Gives a static member''s place to its successor; raises SH111 while the member is not away.';

CREATE FUNCTION streamhouse.member_find(group_id int, member_id text, member_epoch int, instance_id text) RETURNS streamhouse.group_member
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    member streamhouse.group_member;
BEGIN
    IF instance_id IS NOT NULL THEN
        SELECT * INTO member FROM streamhouse.group_member AS m WHERE m.group_id = group_id AND m.instance_id = instance_id;
    ELSE
        SELECT * INTO member FROM streamhouse.group_member AS m WHERE m.group_id = group_id AND m.member_id = member_id;
    END IF;
    IF member.member_id IS NULL AND member_epoch <> 0 THEN
        PERFORM streamhouse.group_fail(25, format('member "%s" is not in the group', member_id), 'It must join, with epoch 0.');
    ELSIF member.member_id <> member_id AND member_epoch <> 0 THEN
        PERFORM streamhouse.group_fail(82, format('instance "%s" belongs to another member by now', instance_id));
    ELSIF member.backend_pid IS NOT NULL THEN
        PERFORM streamhouse.group_fail(25, format('member "%s" is a session of PostgreSQL', member_id), 'Take another member id.');
    ELSIF member.member_id <> member_id THEN
        -- Who speaks the classic protocol does not say that it leaves.
        DELETE FROM streamhouse.classic_member AS c WHERE c.group_id = group_id AND c.member_id = member.member_id;
        IF FOUND THEN
            member.member_epoch := -2;
        END IF;
        RETURN streamhouse.member_replace(member, member_id);
    END IF;
    RETURN member;
END $$;
COMMENT ON FUNCTION streamhouse.member_find IS 'The member of that id, or of that instance id; null when it is new and joins. Raises SH025 for one that is not there, SH082 and SH111 for one whose instance is another member''s.';

-- Arguments that are null, or -1, are as before.
CREATE FUNCTION streamhouse.member_write(written streamhouse.group_member) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM streamhouse.group_member AS m
    WHERE m.group_id = written.group_id AND m.member_id = written.member_id AND m.* IS DISTINCT FROM written;
    INSERT INTO streamhouse.group_member SELECT written.* ON CONFLICT ON CONSTRAINT group_member_pkey DO NOTHING;
END $$;
COMMENT ON FUNCTION streamhouse.member_write IS 'Writes a member''s row as it is to be, if it is not so.';

-- Takes what the member is to have and nobody has. A session that has it at this moment holds the row in group_offset;
-- then the member gets it with a later heartbeat.
CREATE FUNCTION streamhouse.member_take(member streamhouse.group_member) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH free AS MATERIALIZED (
        SELECT o.topic_id, o.partition
        FROM streamhouse.group_offset AS o
        JOIN streamhouse.group_partition AS p USING (group_id, topic_id, partition)
        WHERE p.group_id = member.group_id AND p.target_member = member.member_id AND p.owner_member IS NULL
        FOR UPDATE OF o SKIP LOCKED
    )
    UPDATE streamhouse.group_partition AS p SET owner_member = member.member_id
    FROM free AS f WHERE p.group_id = member.group_id AND p.topic_id = f.topic_id AND p.partition = f.partition
$$;
COMMENT ON FUNCTION streamhouse.member_take IS 'Makes a member the owner of partitions that it is to have and that are free.';

CREATE FUNCTION streamhouse.member_enter(member streamhouse.group_member, epoch int, state streamhouse.member_state)
RETURNS streamhouse.group_member
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF epoch <> member.member_epoch THEN
        member.previous_epoch := member.member_epoch;
        member.member_epoch := epoch;
    END IF;
    IF state <> 'unrevoked_partitions' THEN
        member.revoking_since := NULL;
    ELSIF state <> member.state OR member.revoking_since IS NULL THEN
        member.revoking_since := clock_timestamp();
    END IF;
    member.state := state;
    RETURN member;
END $$;
COMMENT ON FUNCTION streamhouse.member_enter IS 'The member in another epoch and state.';

CREATE FUNCTION streamhouse.member_owns_revoked(member streamhouse.group_member, owned_topic_ids int[], owned_partitions int[]) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM streamhouse.group_partition AS p
                   WHERE p.group_id = member.group_id AND p.owner_member = member.member_id
                     AND p.target_member IS DISTINCT FROM member.member_id
                     AND (owned_topic_ids IS NULL
                          OR (p.topic_id, p.partition) IN (SELECT * FROM unnest(owned_topic_ids, owned_partitions))))
$$;
COMMENT ON FUNCTION streamhouse.member_owns_revoked IS 'Whether a member still has partitions that it is not to have; it has, unless it says what it owns and they are not among it.';

-- The step before this one may have been: waiting for the member to let go of what was marked then.
CREATE FUNCTION streamhouse.member_has_revoked(member streamhouse.group_member, owned_topic_ids int[], owned_partitions int[]) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT owned_topic_ids IS NOT NULL
       AND NOT EXISTS (SELECT FROM streamhouse.group_partition AS p
                       WHERE p.group_id = member.group_id AND p.owner_member = member.member_id AND p.is_revoking
                         AND (p.topic_id, p.partition) IN (SELECT * FROM unnest(owned_topic_ids, owned_partitions)))
$$;
COMMENT ON FUNCTION streamhouse.member_has_revoked IS 'Whether a member says that it has none any more of the partitions that it was asked to let go.';

CREATE FUNCTION streamhouse.member_release(member streamhouse.group_member, only_revoking bool) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE streamhouse.group_partition AS p SET owner_member = NULL, is_revoking = false
    WHERE p.group_id = member.group_id AND p.owner_member = member.member_id
      AND CASE WHEN only_revoking THEN p.is_revoking ELSE p.target_member IS DISTINCT FROM member.member_id END;
    IF FOUND THEN
        DELETE FROM streamhouse.group_partition AS p
        WHERE p.group_id = member.group_id AND p.owner_member IS NULL AND p.target_member IS NULL;
        PERFORM streamhouse.group_touch(member.group_id);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.member_release IS 'Frees a member''s partitions: those that it was asked to let go, or all that it is not to have.';

CREATE FUNCTION streamhouse.member_reconcile(member streamhouse.group_member, target_epoch int,
                                             owned_topic_ids int[], owned_partitions int[]) RETURNS streamhouse.group_member
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    next_epoch int := member.member_epoch;
    waits bool;
BEGIN
    IF member.state = 'unrevoked_partitions' THEN
        IF NOT streamhouse.member_has_revoked(member, owned_topic_ids, owned_partitions) THEN
            RETURN member;
        END IF;
        PERFORM streamhouse.member_release(member, true);
        next_epoch := next_epoch + 1;
    ELSIF member.state = 'stable' AND member.member_epoch = target_epoch THEN
        RETURN member;
    END IF;
    IF streamhouse.member_owns_revoked(member, owned_topic_ids, owned_partitions) THEN
        UPDATE streamhouse.group_partition AS p SET is_revoking = true
        WHERE p.group_id = member.group_id AND p.owner_member = member.member_id
          AND p.target_member IS DISTINCT FROM member.member_id AND NOT p.is_revoking;
        member.revoking_since := NULL;
        RETURN streamhouse.member_enter(member, next_epoch, 'unrevoked_partitions');
    END IF;
    PERFORM streamhouse.member_release(member, false);
    PERFORM streamhouse.member_take(member);
    waits := EXISTS (SELECT FROM streamhouse.group_partition AS p
                     WHERE p.group_id = member.group_id AND p.target_member = member.member_id
                       AND p.owner_member IS DISTINCT FROM member.member_id);
    RETURN streamhouse.member_enter(member, target_epoch,
                                    CASE WHEN waits THEN 'unreleased_partitions' ELSE 'stable' END::streamhouse.member_state);
END $$;
COMMENT ON FUNCTION streamhouse.member_reconcile IS 'Takes a member one step towards its target assignment, as far as what it says it owns allows.';

CREATE FUNCTION streamhouse.member_assigned(member streamhouse.group_member, OUT topic_ids int[], OUT partitions int[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(p.topic_id ORDER BY p.topic_id, p.partition), '{}'),
           coalesce(array_agg(p.partition ORDER BY p.topic_id, p.partition), '{}')
    FROM streamhouse.group_partition AS p
    WHERE p.group_id = member.group_id AND p.owner_member = member.member_id AND NOT p.is_revoking
$$;
COMMENT ON FUNCTION streamhouse.member_assigned IS 'Partitions that a member has and may keep.';

CREATE FUNCTION streamhouse.heartbeat_leave(left_group streamhouse.consumer_group, member streamhouse.group_member, member_epoch int)
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF member_epoch = -1 THEN
        PERFORM streamhouse.group_remove(left_group.group_id, ARRAY[member.member_id]);
        PERFORM streamhouse.group_settle(left_group.group_id, true);
        RETURN;
    END IF;
    UPDATE streamhouse.group_partition AS p SET owner_member = NULL, is_revoking = false
    WHERE p.group_id = member.group_id AND p.owner_member = member.member_id;
    member := streamhouse.member_enter(member, -2, 'stable');
    member.last_seen := clock_timestamp();
    PERFORM streamhouse.member_write(member);
    PERFORM streamhouse.group_touch(left_group.group_id);
    PERFORM streamhouse.group_settle(left_group.group_id, true);
END $$;
COMMENT ON FUNCTION streamhouse.heartbeat_leave IS 'Takes leave of a member: for good (epoch -1), or of a static one for a while, whose target stays (-2).';

-- What a member waits for makes another version of the group: a new target, or that another member lets partitions go. Not
-- so those that a session has, whose lock is gone when its transaction ends.
CREATE FUNCTION streamhouse.member_is_settled(heard streamhouse.consumer_group, member streamhouse.group_member) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE member.state
           WHEN 'stable' THEN member.member_epoch = heard.target_epoch
           WHEN 'unrevoked_partitions' THEN true
           ELSE member.member_epoch = heard.target_epoch
                AND NOT EXISTS (SELECT FROM streamhouse.group_partition AS p
                                WHERE p.group_id = member.group_id AND p.target_member = member.member_id AND p.owner_member IS NULL) END
$$;
COMMENT ON FUNCTION streamhouse.member_is_settled IS 'Whether a Kafka client''s heartbeat without news has the same answer as long as the group has this version.';

CREATE FUNCTION streamhouse.heartbeat_is_quiet(heard streamhouse.consumer_group, member streamhouse.group_member, member_epoch int) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(member_epoch > 0 AND member.member_epoch = member_epoch AND member.backend_pid IS NULL
                    AND heard.group_type = 'consumer' AND heard.group_epoch = heard.target_epoch
                    AND clock_timestamp() < member.last_seen + make_interval(secs => member.session_timeout_ms / 4000.0)
                    AND streamhouse.member_is_settled(heard, member), false)
$$;
COMMENT ON FUNCTION streamhouse.heartbeat_is_quiet IS 'Whether a heartbeat without news finds no news.';

-- Another member of the group with the same expression and role may know already.
CREATE FUNCTION streamhouse.member_resolve(member streamhouse.group_member) RETURNS text[]
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known text[];
BEGIN
    IF member.subscribed_regex IS NULL THEN
        RETURN '{}';
    END IF;
    SELECT m.resolved_topics INTO known
    FROM streamhouse.group_member AS m JOIN streamhouse.consumer_group AS g USING (group_id)
    WHERE m.group_id = member.group_id AND m.subscribed_regex = member.subscribed_regex AND m.role = member.role
      AND m.member_id <> member.member_id AND g.topics_seen IS NOT DISTINCT FROM streamhouse.topics_signature()
    LIMIT 1;
    IF NOT FOUND THEN
        member.resolved_topics := '{}';
        known := streamhouse.member_topics(member);
        IF NOT EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = member.group_id AND m.subscribed_regex IS NOT NULL) THEN
            UPDATE streamhouse.consumer_group AS g SET topics_seen = streamhouse.topics_signature() WHERE g.group_id = member.group_id;
        END IF;
    END IF;
    RETURN known;
END $$;
COMMENT ON FUNCTION streamhouse.member_resolve IS 'Topics that a member''s regular expression stands for.';

-- The subscription and the rest of what a heartbeat says about its member; the group epoch rises when that matters.
CREATE FUNCTION streamhouse.member_update(INOUT member streamhouse.group_member, said streamhouse.group_member)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before CONSTANT streamhouse.group_member := member;
BEGIN
    IF member.member_id IS NULL OR said.member_epoch = 0 THEN
        member.member_epoch := 0;
        member.previous_epoch := 0;
        member.state := 'stable';
        member.revoking_since := NULL;
        member.joined_at := coalesce(member.joined_at, clock_timestamp());
    END IF;
    member.group_id := said.group_id;
    member.member_id := said.member_id;
    member.role := coalesce(member.role, streamhouse.caller());
    member.instance_id := coalesce(said.instance_id, member.instance_id);
    member.rack := coalesce(said.rack, member.rack);
    member.client_id := coalesce(said.client_id, member.client_id);
    member.client_host := coalesce(said.client_host, member.client_host);
    member.assignor := coalesce(said.assignor, member.assignor);
    member.session_timeout_ms := coalesce(said.session_timeout_ms, member.session_timeout_ms);
    member.rebalance_timeout_ms := coalesce(nullif(said.rebalance_timeout_ms, -1), member.rebalance_timeout_ms);
    member.subscribed_topics := coalesce(said.subscribed_topics, member.subscribed_topics, '{}');
    -- An empty one takes it back.
    member.subscribed_regex := nullif(coalesce(said.subscribed_regex, member.subscribed_regex), '');
    IF member.subscribed_regex IS DISTINCT FROM before.subscribed_regex OR member.resolved_topics IS NULL THEN
        member.resolved_topics := streamhouse.member_resolve(member);
    END IF;
    member.last_seen := clock_timestamp();
    IF (before.subscribed_topics, before.resolved_topics, before.subscribed_regex, before.assignor, before.instance_id)
       IS DISTINCT FROM (member.subscribed_topics, member.resolved_topics, member.subscribed_regex, member.assignor, member.instance_id) THEN
        PERFORM streamhouse.group_bump(member.group_id);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.member_update IS 'A member with what its heartbeat says about it; raises the group epoch when what is to be assigned may differ.';

CREATE FUNCTION streamhouse.heartbeat_answer(name text, said streamhouse.group_member, owned_topic_ids int[], owned_partitions int[],
                                      OUT member_epoch int, OUT topic_ids int[], OUT partitions int[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    heard streamhouse.consumer_group;
    member streamhouse.group_member;
    assigned_before record;
    assigned record;
BEGIN
    heard := streamhouse.group_lock(name, said.member_epoch = 0);
    IF heard.group_id IS NULL THEN
        PERFORM streamhouse.group_fail(25, format('member "%s" is not in group "%s", which does not exist', said.member_id, name),
                                       'It must join, with epoch 0.');
    END IF;
    heard := streamhouse.group_as_consumer(heard, said.member_epoch = 0);
    PERFORM streamhouse.group_remove(l.group_id, l.member_ids) FROM streamhouse.groups_with_lost(heard.group_id) AS l;
    member := streamhouse.member_find(heard.group_id, said.member_id, said.member_epoch, said.instance_id);
    member_epoch := said.member_epoch;
    IF said.member_epoch < 0 THEN
        PERFORM streamhouse.heartbeat_leave(heard, member, said.member_epoch);
        RETURN;
    END IF;
    IF said.member_epoch > 0 THEN
        PERFORM streamhouse.member_check_epoch(member, said.member_epoch, owned_topic_ids, owned_partitions);
    END IF;
    said.group_id := heard.group_id;
    member := streamhouse.member_update(member, said);
    PERFORM streamhouse.member_write(member);
    heard := streamhouse.group_settle(heard.group_id, true);
    assigned_before := streamhouse.member_assigned(member);
    IF said.member_epoch = 0 THEN -- whatever it owned, it has nothing now
        UPDATE streamhouse.group_partition AS p SET owner_member = NULL, is_revoking = false
        WHERE p.group_id = member.group_id AND p.owner_member = member.member_id;
        IF FOUND THEN -- a session may be waiting for it
            PERFORM streamhouse.group_touch(member.group_id);
        END IF;
    END IF;
    member := streamhouse.member_reconcile(member, heard.target_epoch, owned_topic_ids, owned_partitions);
    PERFORM streamhouse.member_write(member);
    member_epoch := member.member_epoch;
    assigned := streamhouse.member_assigned(member);
    -- Kafka tells the assignment when it changed, and to a member that says everything about itself.
    IF said.member_epoch = 0 OR assigned IS DISTINCT FROM assigned_before
       OR (said.rebalance_timeout_ms >= 0 AND owned_topic_ids IS NOT NULL
           AND (said.subscribed_topics IS NOT NULL OR said.subscribed_regex IS NOT NULL)) THEN
        topic_ids := assigned.topic_ids;
        partitions := assigned.partitions;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.heartbeat_answer IS 'A heartbeat that may change something, under the group''s lock.';

CREATE FUNCTION streamhouse.group_heartbeat("group" text, INOUT member_id text, INOUT member_epoch int,
    instance_id text, rack text, rebalance_timeout_ms int, subscribed_topics text[], subscribed_regex text, assignor text,
    owned_topic_ids int[], owned_partitions int[], client_id text, client_host text, session_timeout_ms int,
    OUT error_code int2, OUT error_message text, OUT topic_ids int[], OUT partitions int[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    heard streamhouse.consumer_group;
    said streamhouse.group_member;
BEGIN
    error_code := 0;
    SELECT * INTO heard FROM streamhouse.consumer_group AS g WHERE g.name = "group";
    SELECT * INTO said FROM streamhouse.group_member AS m WHERE m.group_id = heard.group_id AND m.member_id = member_id;
    IF coalesce(rebalance_timeout_ms, -1) = -1 AND subscribed_topics IS NULL AND subscribed_regex IS NULL AND assignor IS NULL
       AND owned_topic_ids IS NULL AND instance_id IS NOT DISTINCT FROM said.instance_id
       AND streamhouse.heartbeat_is_quiet(heard, said, member_epoch) THEN
        PERFORM streamhouse.group_require(heard);
        RETURN;
    END IF;
    said := NULL;
    said.member_id := member_id;
    said.member_epoch := member_epoch;
    said.instance_id := instance_id;
    said.rack := rack;
    said.rebalance_timeout_ms := rebalance_timeout_ms;
    said.session_timeout_ms := coalesce(session_timeout_ms, (streamhouse.group_timing("group")).session_timeout_ms);
    said.subscribed_topics := (SELECT array_agg(DISTINCT t ORDER BY t) FROM unnest(subscribed_topics) AS t);
    IF subscribed_topics = '{}' THEN
        said.subscribed_topics := '{}';
    END IF;
    said.subscribed_regex := subscribed_regex;
    said.assignor := assignor;
    said.client_id := client_id;
    said.client_host := client_host;
    BEGIN
        PERFORM streamhouse.heartbeat_check("group", member_id, member_epoch, instance_id, rack, rebalance_timeout_ms, subscribed_topics,
                                            subscribed_regex, assignor, owned_topic_ids, owned_partitions);
        SELECT h.member_epoch, h.topic_ids, h.partitions INTO member_epoch, topic_ids, partitions
        FROM streamhouse.heartbeat_answer("group", said, owned_topic_ids, owned_partitions) AS h;
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE !~ '^SH\d{3}$' THEN
            RAISE;
        END IF;
        error_code := substr(SQLSTATE, 3)::int2;
        error_message := SQLERRM;
    END;
END $$;
COMMENT ON FUNCTION streamhouse.group_heartbeat IS 'sh_group_heartbeat() with the owner''s rights.';

CREATE FUNCTION sh_group_heartbeat("group" text, INOUT member_id text, INOUT member_epoch int,
    instance_id text DEFAULT NULL, rack text DEFAULT NULL, rebalance_timeout_ms int DEFAULT -1,
    subscribed_topics text[] DEFAULT NULL, subscribed_regex text DEFAULT NULL, assignor text DEFAULT NULL,
    owned_topic_ids int[] DEFAULT NULL, owned_partitions int[] DEFAULT NULL,
    client_id text DEFAULT NULL, client_host text DEFAULT NULL, session_timeout_ms int DEFAULT NULL,
    OUT error_code int2, OUT error_message text, OUT topic_ids int[], OUT partitions int[])
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_group_heartbeat IS 'Kafka''s ConsumerGroupHeartbeat (KIP-848), to be called in a transaction of its own. member_epoch 0 joins, -1 leaves, -2 leaves for a while (static members, which have an instance_id). Arguments that are null, or -1, are as they were. Gives the member''s epoch, and the partitions that it is to have from now on, null when they are as before; it answers by owned partitions without those that are gone. error_code is Kafka''s: 0, 24 INVALID_GROUP_ID, 25 UNKNOWN_MEMBER_ID, 42 INVALID_REQUEST, 82 FENCED_INSTANCE_ID, 110 FENCED_MEMBER_EPOCH, 69 GROUP_ID_NOT_FOUND (a classic group), 111 UNRELEASED_INSTANCE_ID, 112 UNSUPPORTED_ASSIGNOR, 128 INVALID_REGULAR_EXPRESSION. 42501: the caller may not use the group.';

-- What an agent needs besides to answer the next heartbeats by itself.
CREATE FUNCTION streamhouse.member_heartbeat("group" text, member_id text, member_epoch int,
    instance_id text, rack text, rebalance_timeout_ms int, subscribed_topics text[], subscribed_regex text, assignor text,
    owned_topic_uuids uuid[], owned_partitions int[], client_id text, client_host text,
    OUT error_code int2, OUT error_message text, OUT epoch int, OUT topic_uuids bytea, OUT partitions int[],
    OUT group_id int, OUT version int8, OUT settled bool, OUT heartbeat_interval_ms int, OUT session_timeout_ms int)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    owned_topic_ids int[];
    topic_ids int[];
BEGIN
    SELECT t.session_timeout_ms, t.heartbeat_interval_ms INTO session_timeout_ms, heartbeat_interval_ms FROM streamhouse.group_timing("group") AS t;
    IF owned_topic_uuids IS NOT NULL THEN -- 0: a topic that is no more
        owned_topic_ids := ARRAY(SELECT coalesce(t.topic_id, 0) FROM unnest(owned_topic_uuids) WITH ORDINALITY AS o (topic_uuid, n)
                                 LEFT JOIN streamhouse.topic AS t USING (topic_uuid) ORDER BY o.n);
    END IF;
    SELECT h.error_code, h.error_message, h.member_epoch, h.topic_ids, h.partitions
    INTO error_code, error_message, epoch, topic_ids, partitions
    FROM streamhouse.group_heartbeat("group", member_id, member_epoch, instance_id, rack, rebalance_timeout_ms, subscribed_topics,
                                     subscribed_regex, assignor, owned_topic_ids, owned_partitions, client_id, client_host, session_timeout_ms) AS h;
    IF error_code <> 0 OR member_epoch < 0 THEN
        RETURN;
    END IF;
    topic_uuids := (SELECT string_agg(uuid_send(t.topic_uuid), '' ORDER BY i.n)
                    FROM unnest(topic_ids) WITH ORDINALITY AS i (topic_id, n) JOIN streamhouse.topic AS t USING (topic_id));
    SELECT g.group_id, g.version, streamhouse.member_is_settled(g, m)
    INTO group_id, version, settled
    FROM streamhouse.consumer_group AS g JOIN streamhouse.group_member AS m USING (group_id)
    WHERE g.name = "group" AND m.member_id = member_id;
END $$;
COMMENT ON FUNCTION streamhouse.member_heartbeat IS 'sh_member_heartbeat() with the owner''s rights.';

CREATE FUNCTION sh_member_heartbeat("group" text, member_id text, member_epoch int,
    instance_id text, rack text, rebalance_timeout_ms int, subscribed_topics text[], subscribed_regex text, assignor text,
    owned_topic_uuids uuid[], owned_partitions int[], client_id text, client_host text,
    OUT error_code int2, OUT error_message text, OUT epoch int, OUT topic_uuids bytea, OUT partitions int[],
    OUT group_id int, OUT version int8, OUT settled bool, OUT heartbeat_interval_ms int, OUT session_timeout_ms int)
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_member_heartbeat IS 'sh_group_heartbeat() for agents: by Kafka''s topic ids (in the answer 16 bytes each, one a partition), and with what an agent needs to answer the member''s next heartbeats by itself: as long as the group has this version (sh_group_versions()), a settled member''s heartbeat without news has no news for it either.';

CREATE FUNCTION sh_group_versions(group_ids int[]) RETURNS TABLE (group_id int, version int8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT g.group_id, g.version FROM unnest(group_ids) AS i (group_id) JOIN streamhouse.consumer_group AS g USING (group_id)
$$;
COMMENT ON FUNCTION sh_group_versions IS 'Versions of groups: another one whenever targets, owners or configs changed. Groups that are gone have no row.';

-- A row that is locked is being written, with the time.
CREATE FUNCTION sh_group_seen(group_ids int[], member_ids text[], ages_ms int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    noted int;
BEGIN
    UPDATE streamhouse.group_member AS u SET last_seen = s.seen_at
    FROM (SELECT m.group_id, m.member_id, clock_timestamp() - w.age_ms * interval '1 ms' AS seen_at
          FROM unnest(group_ids, member_ids, ages_ms) AS w (group_id, member_id, age_ms)
          JOIN streamhouse.group_member AS m ON m.group_id = w.group_id AND m.member_id = w.member_id COLLATE "C"
          WHERE m.backend_pid IS NULL
          FOR UPDATE OF m SKIP LOCKED) AS s
    WHERE u.group_id = s.group_id AND u.member_id = s.member_id AND u.last_seen < s.seen_at;
    GET DIAGNOSTICS noted = ROW_COUNT;
    RETURN noted;
END $$;
COMMENT ON FUNCTION sh_group_seen IS 'Notes when Kafka clients were last heard of whose heartbeats an agent answered by itself: pairs of group and member, and how long ago. Gives back how many are later than was known.';

-- Runs of a member's partitions: topic ids, 16 bytes each, names and numbers, side by side.
CREATE FUNCTION streamhouse.member_partitions(member streamhouse.group_member, is_target bool,
                                              OUT topic_uuids bytea, OUT topics text[], OUT partitions int[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(uuid_send(t.topic_uuid), '' ORDER BY t.name COLLATE "C", p.partition),
           array_agg(t.name ORDER BY t.name COLLATE "C", p.partition), array_agg(p.partition ORDER BY t.name COLLATE "C", p.partition)
    FROM streamhouse.group_partition AS p JOIN streamhouse.topic AS t USING (topic_id)
    WHERE p.group_id = member.group_id
      AND CASE WHEN is_target THEN p.target_member = member.member_id
               ELSE coalesce(p.owner_member, CASE WHEN member.backend_pid IS NOT NULL THEN p.target_member END) = member.member_id END
$$;
COMMENT ON FUNCTION streamhouse.member_partitions IS 'What a member is to have, or has.';

CREATE FUNCTION sh_describe_consumer_groups(names text[])
RETURNS TABLE (name text, error_code int2, state text, group_epoch int, target_epoch int, assignor text,
               member_id text, instance_id text, rack text, member_epoch int, client_id text, client_host text,
               subscribed_topics text[], subscribed_regex text,
               assigned_uuids bytea, assigned_topics text[], assigned_partitions int[],
               target_uuids bytea, target_topics text[], target_partitions int[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n.name, CASE WHEN n.name = '' THEN 24 WHEN g.group_id IS NULL THEN 69 ELSE 0 END::int2,
           CASE WHEN g.group_id IS NULL THEN 'dead' ELSE streamhouse.group_state(g) END, g.group_epoch, g.target_epoch, g.assignor,
           m.member_id, m.instance_id, m.rack, CASE WHEN m.backend_pid IS NULL THEN m.member_epoch ELSE g.target_epoch END,
           coalesce(m.client_id, ''), coalesce(m.client_host, ''), m.subscribed_topics, m.subscribed_regex,
           a.topic_uuids, a.topics, a.partitions, t.topic_uuids, t.topics, t.partitions
    -- What is named twice would be told twice, however large it is.
    FROM (SELECT u.name, min(u.n) AS n FROM unnest(names) WITH ORDINALITY AS u (name, n) GROUP BY u.name) AS n
    LEFT JOIN streamhouse.consumer_group AS g ON g.name = n.name AND g.group_type = 'consumer'
    LEFT JOIN streamhouse.group_member AS m USING (group_id)
    LEFT JOIN LATERAL streamhouse.member_partitions(m, false) AS a ON m.member_id IS NOT NULL
    LEFT JOIN LATERAL streamhouse.member_partitions(m, true) AS t ON m.member_id IS NOT NULL
    ORDER BY n.n, m.member_id
$$;
COMMENT ON FUNCTION sh_describe_consumer_groups IS 'Kafka''s ConsumerGroupDescribe: a row for each member of each group, in the order of the names, each once; of a group without members one row without a member. error_code 69: there is no such group, or it is a classic one; 24: invalid name. Partitions are arrays side by side, with topic ids of 16 bytes each.';
