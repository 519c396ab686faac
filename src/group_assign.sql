-- group_assign.sql: who is in a group, which topics they want, and who is to have which partition.
-- What is called group_* here runs under the lock of the group's row.

CREATE FUNCTION streamhouse.group_assign(assignor text, members int, topic_ids int[], owners int[],
                                         subscribed_topics int[], subscribed_members int[]) RETURNS int[]
LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'streamhouse_group_assign';
COMMENT ON FUNCTION streamhouse.group_assign IS 'A target assignment: for each partition the number of the member (from 1) that is to have it, 0 for nobody. Partitions are given as the ids of their topics, sorted, with the members that were to have them before; subscriptions as pairs of topic and member, sorted. uniform moves as few as balance needs; range gives each topic''s partitions in runs. Raises SH112 for another assignor.';

CREATE FUNCTION streamhouse.member_require_topic(role regrole, topic_id int, topic text) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_member_require_topic';
COMMENT ON FUNCTION streamhouse.member_require_topic IS 'Raises 42501 unless the role may consume from the topic.';

CREATE FUNCTION streamhouse.member_may_consume(role regrole, topic_id int, topic text) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM streamhouse.member_require_topic(role, topic_id, topic);
    RETURN true;
EXCEPTION WHEN insufficient_privilege OR undefined_object THEN
    RETURN false; -- undefined: the role was dropped
END $$;
COMMENT ON FUNCTION streamhouse.member_may_consume IS 'Whether the role may consume from the topic.';

-- A name matches as a whole, as in Kafka. What was allowed once is not asked again: sh_poll() asks for what it reads.
CREATE FUNCTION streamhouse.member_topics(member streamhouse.group_member) RETURNS text[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(t.name ORDER BY t.name COLLATE "C"), '{}')
    FROM streamhouse.topic AS t
    WHERE t.deleted_at IS NULL AND t.name ~ ('^(?:' || member.subscribed_regex || ')$')
      AND (t.name = ANY (member.resolved_topics) OR streamhouse.member_may_consume(member.role, t.topic_id, t.name))
$$;
COMMENT ON FUNCTION streamhouse.member_topics IS 'Topics that the member''s regular expression stands for.';

CREATE FUNCTION streamhouse.member_seen_at(member streamhouse.group_member) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT greatest(member.last_seen, (SELECT max(s.seen_at) FROM streamhouse.group_seen AS s
                                       WHERE s.group_id = member.group_id AND s.member_id = member.member_id))
$$;
COMMENT ON FUNCTION streamhouse.member_seen_at IS 'When the member was last seen, to a quarter of its timeout.';

-- The time is extended by the quarter to which it is known, so that nobody is expired too early. After a start of the
-- server Kafka clients get one timeout to come back.
CREATE FUNCTION streamhouse.member_is_alive(member streamhouse.group_member) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (member.backend_pid IS NULL
            OR EXISTS (SELECT FROM pg_stat_get_activity(member.backend_pid) AS a WHERE a.backend_start = member.backend_start))
       AND clock_timestamp() < greatest(streamhouse.member_seen_at(member), streamhouse.server_started_at())
                               + make_interval(secs => member.session_timeout_ms * 1.25 / 1000)
       AND (member.revoking_since IS NULL
            OR clock_timestamp() < member.revoking_since + make_interval(secs => member.rebalance_timeout_ms / 1000.0))
$$;
COMMENT ON FUNCTION streamhouse.member_is_alive IS 'Whether a member still counts: it was seen within its timeout, lets go of partitions in time, and its session, if it is one, exists.';

-- Rows of group_seen may be locked by a transaction that has polled and rests: those stay for sh_group_tick().
CREATE FUNCTION streamhouse.group_forget_seen(group_id int) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM streamhouse.group_seen AS d
    USING (SELECT s.group_id, s.member_id, s.seen_at FROM streamhouse.group_seen AS s
           WHERE s.group_id = group_forget_seen.group_id
             AND (NOT EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = s.group_id AND m.member_id = s.member_id)
                  OR EXISTS (SELECT FROM streamhouse.group_seen AS n
                             WHERE n.group_id = s.group_id AND n.member_id = s.member_id AND n.seen_at > s.seen_at))
           FOR UPDATE SKIP LOCKED) AS f
    WHERE d.group_id = f.group_id AND d.member_id = f.member_id AND d.seen_at = f.seen_at
$$;
COMMENT ON FUNCTION streamhouse.group_forget_seen IS 'Removes what group_seen says of members that are gone, and all but the newest of the others.';

CREATE FUNCTION streamhouse.group_bump(group_id int) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE streamhouse.consumer_group AS g SET group_epoch = g.group_epoch + 1, version = streamhouse.group_version()
    WHERE g.group_id = group_bump.group_id
$$;
COMMENT ON FUNCTION streamhouse.group_bump IS 'Raises the group epoch: there is something to assign anew.';

CREATE FUNCTION streamhouse.group_remove(group_id int, member_ids text[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    removed int;
BEGIN
    DELETE FROM streamhouse.group_member AS m WHERE m.group_id = group_id AND m.member_id = ANY (member_ids);
    GET DIAGNOSTICS removed = ROW_COUNT;
    IF removed > 0 THEN
        DELETE FROM streamhouse.classic_member AS c WHERE c.group_id = group_id AND c.member_id = ANY (member_ids);
        UPDATE streamhouse.group_partition AS p SET owner_member = NULL, is_revoking = false
        WHERE p.group_id = group_id AND p.owner_member = ANY (member_ids);
        PERFORM streamhouse.group_forget_seen(group_id);
        PERFORM streamhouse.group_bump(group_id);
        PERFORM streamhouse.group_downgrade(group_id);
    END IF;
    RETURN removed;
END $$;
COMMENT ON FUNCTION streamhouse.group_remove IS 'Removes members from a group; what they owned is free. Gives back how many there were.';

CREATE FUNCTION streamhouse.group_topics_hash(group_id int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(md5(string_agg(t.topic_id || ':' || t.partitions, ',' ORDER BY t.topic_id)), '')
    FROM streamhouse.topic AS t
    WHERE t.deleted_at IS NULL
      AND t.name IN (SELECT unnest(m.subscribed_topics || m.resolved_topics) FROM streamhouse.group_member AS m
                     WHERE m.group_id = group_topics_hash.group_id)
$$;
COMMENT ON FUNCTION streamhouse.group_topics_hash IS 'What consumer_group.topics_hash is to be: it differs when a topic came, went or grew.';

-- Without a lock, so that nothing is locked when there is nothing to do.
CREATE FUNCTION streamhouse.group_is_due(checked streamhouse.consumer_group) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT checked.group_type = 'consumer' AND (checked.group_epoch > checked.target_epoch
        OR checked.topics_hash <> streamhouse.group_topics_hash(checked.group_id)
        OR EXISTS (SELECT FROM streamhouse.group_member AS m
                   WHERE m.group_id = checked.group_id
                     AND (NOT streamhouse.member_is_alive(m)
                          OR m.subscribed_regex IS NOT NULL AND streamhouse.member_topics(m) <> m.resolved_topics)))
$$;
COMMENT ON FUNCTION streamhouse.group_is_due IS 'Whether group_refresh() would do something: a member is gone, topics changed, or the target is not computed yet.';

CREATE FUNCTION streamhouse.group_assignor(group_id int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT m.assignor FROM streamhouse.group_member AS m
                     WHERE m.group_id = group_assignor.group_id AND m.assignor IS NOT NULL
                     GROUP BY m.assignor ORDER BY count(*) DESC, m.assignor DESC LIMIT 1), 'uniform')
$$;
COMMENT ON FUNCTION streamhouse.group_assignor IS 'The assignor that most members ask for, uniform when none does.';

CREATE FUNCTION streamhouse.group_compute_target(group_id int, assignor text,
                                                 OUT topic_ids int[], OUT partitions int[], OUT members text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    ranked text[];
    subscribed_topics int[];
    subscribed_members int[];
    owners int[];
BEGIN
    -- As Kafka ranks its members; sessions have no names, so those that came first are first.
    SELECT array_agg(m.member_id ORDER BY coalesce(m.instance_id, CASE WHEN m.backend_pid IS NULL THEN m.member_id END) COLLATE "C" NULLS LAST,
                                          m.joined_at, m.member_id) INTO ranked
    FROM streamhouse.group_member AS m WHERE m.group_id = group_id;
    SELECT array_agg(s.topic_id ORDER BY s.topic_id, s.rank), array_agg(s.rank ORDER BY s.topic_id, s.rank)
    INTO subscribed_topics, subscribed_members
    FROM (SELECT DISTINCT t.topic_id, r.rank::int AS rank
          FROM unnest(ranked) WITH ORDINALITY AS r (member_id, rank)
          JOIN streamhouse.group_member AS m ON m.group_id = group_id AND m.member_id = r.member_id
          CROSS JOIN LATERAL unnest(m.subscribed_topics || m.resolved_topics) AS n (name)
          JOIN streamhouse.topic AS t ON t.name = n.name AND t.deleted_at IS NULL) AS s;
    SELECT array_agg(p.topic_id ORDER BY p.topic_id, p.partition), array_agg(p.partition ORDER BY p.topic_id, p.partition),
           array_agg(coalesce(r.rank, 0)::int ORDER BY p.topic_id, p.partition)
    INTO topic_ids, partitions, owners
    FROM streamhouse.partition AS p
    LEFT JOIN streamhouse.group_partition AS g ON g.group_id = group_id AND g.topic_id = p.topic_id AND g.partition = p.partition
    LEFT JOIN unnest(ranked) WITH ORDINALITY AS r (member_id, rank) ON r.member_id = g.target_member
    WHERE p.topic_id IN (SELECT unnest(subscribed_topics));
    owners := streamhouse.group_assign(assignor, cardinality(ranked), topic_ids, owners, subscribed_topics, subscribed_members);
    SELECT array_agg(ranked[nullif(o.rank, 0)] ORDER BY o.n) INTO members FROM unnest(owners) WITH ORDINALITY AS o (rank, n);
END $$;
COMMENT ON FUNCTION streamhouse.group_compute_target IS 'The target assignment of a group as it is now: partitions of the topics that its members subscribe to, and the members that are to have them. Null when there are none.';

CREATE FUNCTION streamhouse.group_make_offsets(group_id int, topic_ids int[], partitions int[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO streamhouse.group_offset (group_id, topic_id, partition, commit_id, committed_offset, leader_epoch, metadata, committed_at)
    SELECT DISTINCT group_make_offsets.group_id, w.topic_id, w.partition, 0, -1, -1, '', clock_timestamp()
    FROM unnest(topic_ids, partitions) AS w (topic_id, partition)
    WHERE NOT EXISTS (SELECT FROM streamhouse.group_offset AS o
                      WHERE o.group_id = group_make_offsets.group_id AND o.topic_id = w.topic_id AND o.partition = w.partition)
$$;
COMMENT ON FUNCTION streamhouse.group_make_offsets IS 'Makes the rows of group_offset that are missing, without a committed offset.';

CREATE FUNCTION streamhouse.group_retarget(group_id int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    chosen CONSTANT text := streamhouse.group_assignor(group_id);
    target record;
BEGIN
    target := streamhouse.group_compute_target(group_id, chosen);
    INSERT INTO streamhouse.group_partition AS p (group_id, topic_id, partition, target_member)
    SELECT group_id, w.topic_id, w.partition, w.member_id
    FROM unnest(target.topic_ids, target.partitions, target.members) AS w (topic_id, partition, member_id)
    ON CONFLICT ON CONSTRAINT group_partition_pkey DO UPDATE SET target_member = excluded.target_member
    WHERE p.target_member IS DISTINCT FROM excluded.target_member;
    -- Of topics that nobody wants any more, what has an owner stays until that one lets go.
    DELETE FROM streamhouse.group_partition AS p
    WHERE p.group_id = group_id AND p.owner_member IS NULL
      AND (p.topic_id, p.partition) NOT IN (SELECT * FROM unnest(target.topic_ids, target.partitions));
    UPDATE streamhouse.group_partition AS p SET target_member = NULL
    WHERE p.group_id = group_id AND p.target_member IS NOT NULL
      AND (p.topic_id, p.partition) NOT IN (SELECT * FROM unnest(target.topic_ids, target.partitions));
    PERFORM streamhouse.group_make_offsets(group_id, target.topic_ids, target.partitions);
    UPDATE streamhouse.consumer_group AS g
    SET target_epoch = g.group_epoch, assignor = chosen, version = streamhouse.group_version()
    WHERE g.group_id = group_id;
END $$;
COMMENT ON FUNCTION streamhouse.group_retarget IS 'Computes and writes the target assignment for the current group epoch.';

CREATE FUNCTION streamhouse.group_refresh(group_id int) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    current streamhouse.consumer_group;
    hash text;
BEGIN
    PERFORM streamhouse.group_remove(group_id, (SELECT array_agg(m.member_id) FROM streamhouse.group_member AS m
                                                WHERE m.group_id = group_id AND NOT streamhouse.member_is_alive(m)));
    SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    IF current.group_type = 'classic' THEN
        RETURN current; -- its coordinator looks after it
    END IF;
    UPDATE streamhouse.group_member AS m SET resolved_topics = streamhouse.member_topics(m)
    WHERE m.group_id = group_id AND m.subscribed_regex IS NOT NULL AND streamhouse.member_topics(m) <> m.resolved_topics;
    hash := streamhouse.group_topics_hash(group_id);
    UPDATE streamhouse.consumer_group AS g SET topics_hash = hash, group_epoch = greatest(g.group_epoch, g.target_epoch + 1)
    WHERE g.group_id = group_id AND g.topics_hash <> hash;
    SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    IF current.group_epoch > current.target_epoch THEN
        PERFORM streamhouse.group_retarget(group_id);
        SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    END IF;
    RETURN current;
END $$;
COMMENT ON FUNCTION streamhouse.group_refresh IS 'Removes members that are gone, sees which topics there are, and computes the target assignment when something changed. Gives back the group''s row.';

-- Groups that somebody has locked are being looked after.
CREATE FUNCTION sh_group_tick() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    due int;
    refreshed int := 0;
BEGIN
    FOR due IN SELECT g.group_id FROM streamhouse.consumer_group AS g WHERE streamhouse.group_is_due(g) LOOP
        PERFORM FROM streamhouse.consumer_group AS g WHERE g.group_id = due FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            PERFORM streamhouse.group_refresh(due);
            refreshed := refreshed + 1;
        END IF;
    END LOOP;
    DELETE FROM streamhouse.group_offset AS d
    USING (SELECT o.group_id, o.topic_id, o.partition, o.commit_id
           FROM streamhouse.topic AS t CROSS JOIN streamhouse.consumer_group AS g
           JOIN streamhouse.group_offset AS o USING (group_id, topic_id)
           WHERE t.deleted_at IS NOT NULL
           FOR UPDATE OF o SKIP LOCKED) AS f
    WHERE (d.group_id, d.topic_id, d.partition, d.commit_id) = (f.group_id, f.topic_id, f.partition, f.commit_id);
    RETURN refreshed;
END $$;
COMMENT ON FUNCTION sh_group_tick IS 'Looks after all consumer groups: removes members that are gone, assigns what topics'' changes call for, forgets offsets of deleted topics. To be called about once a second, by an agent or by whoever has no agents; sessions that poll outside of a transaction block do it for their own group. Gives back how many groups changed.';
