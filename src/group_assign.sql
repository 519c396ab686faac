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

CREATE FUNCTION streamhouse.regex_translate(regex text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'streamhouse_regex_translate';
COMMENT ON FUNCTION streamhouse.regex_translate IS 'A regular expression for whole names of topics, in RE2''s syntax as Kafka has it, in PostgreSQL''s. Raises SH128 for one that RE2 does not know or that is too large.';

-- What was allowed once is not asked again: sh_poll() asks for what it reads.
CREATE FUNCTION streamhouse.member_topics(member streamhouse.group_member) RETURNS text[]
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(t.name ORDER BY t.name COLLATE "C"), '{}')
    FROM streamhouse.topic AS t
    WHERE t.deleted_at IS NULL AND t.name ~ (SELECT streamhouse.regex_translate(member.subscribed_regex))
      AND (t.name = ANY (member.resolved_topics) OR streamhouse.member_may_consume(member.role, t.topic_id, t.name))
$$;
COMMENT ON FUNCTION streamhouse.member_topics IS 'Topics that the member''s regular expression stands for.';

CREATE FUNCTION streamhouse.member_seen_at(member streamhouse.group_member) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN greatest(member.last_seen, (SELECT max(s.seen_at) FROM streamhouse.group_seen AS s
                                       WHERE s.group_id = member.group_id AND s.member_id = member.member_id));
END $$;
COMMENT ON FUNCTION streamhouse.member_seen_at IS 'When the member was last seen, to a quarter of its timeout.';

-- The time is extended by the quarter to which it is known, so that nobody is expired too early. After a start of the
-- server Kafka clients get one timeout to come back.
CREATE FUNCTION streamhouse.member_is_alive(member streamhouse.group_member) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (member.backend_pid IS NULL
            OR EXISTS (SELECT FROM pg_stat_get_activity(member.backend_pid) AS a WHERE a.backend_start = member.backend_start))
       AND clock_timestamp() < greatest(streamhouse.member_seen_at(member), streamhouse.server_started_at())
                               + make_interval(secs => member.session_timeout_ms * 1.25 / 1000)
       AND (member.revoking_since IS NULL
            OR clock_timestamp() < member.revoking_since + make_interval(secs => member.rebalance_timeout_ms / 1000.0));
END $$;
COMMENT ON FUNCTION streamhouse.member_is_alive IS 'Whether a member still counts: it was seen within its timeout, lets go of partitions in time, and its session, if it is one, exists.';

-- Without a function's call for the many that are in time.
CREATE FUNCTION streamhouse.groups_with_lost(only_group int DEFAULT NULL) RETURNS TABLE (group_id int, member_ids text[])
LANGUAGE plpgsql VOLATILE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT m.group_id, array_agg(m.member_id) FROM streamhouse.group_member AS m
    WHERE (only_group IS NULL OR m.group_id = only_group)
      AND (m.backend_pid IS NOT NULL OR m.revoking_since IS NOT NULL
           OR m.last_seen + m.session_timeout_ms * interval '0.00125 s' <= clock_timestamp())
      AND NOT streamhouse.member_is_alive(m)
    GROUP BY m.group_id;
END $$;
COMMENT ON FUNCTION streamhouse.groups_with_lost IS 'Members that do not count any more, of one group or (null) of all.';

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
    END IF;
    RETURN removed;
END $$;
COMMENT ON FUNCTION streamhouse.group_remove IS 'Removes members from a group; what they owned is free. group_settle() has to follow. Gives back how many there were.';

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

CREATE FUNCTION streamhouse.topics_signature() RETURNS int8
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce((SELECT bit_xor(hashint8extended(t.topic_id::int8 << 32 | t.partitions, 1))
                             FROM streamhouse.topic AS t WHERE t.deleted_at IS NULL), 0)
                 # coalesce((SELECT bit_xor(hashtextextended(concat_ws(',', g.topic_id, g.prefix, g.role::oid), 2))
                             FROM streamhouse.topic_grant AS g WHERE g.privilege = 'consume'), 0)
                 # coalesce((SELECT bit_xor(hashint8extended(a.roleid::int8 << 32 | a.member::int8, 3)) FROM pg_auth_members AS a), 0));
END $$;
COMMENT ON FUNCTION streamhouse.topics_signature IS 'A number that differs when topics came, went or grew, or somebody else may consume from them: only then can members'' subscriptions stand for other partitions.';

CREATE FUNCTION streamhouse.group_has_regex(group_id int) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = group_has_regex.group_id AND m.subscribed_regex IS NOT NULL)
$$;
COMMENT ON FUNCTION streamhouse.group_has_regex IS 'Whether a member of the group subscribed by a regular expression.';

-- Each expression is looked at once for each role that has it, and only when there is something new to match.
CREATE FUNCTION streamhouse.group_resolve(group_id int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    signature CONSTANT int8 := streamhouse.topics_signature();
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id AND g.topics_seen IS DISTINCT FROM signature) THEN
        RETURN;
    END IF;
    UPDATE streamhouse.group_member AS m SET resolved_topics = r.topics
    FROM (SELECT d.subscribed_regex, d.role, streamhouse.member_topics(d.one) AS topics
          FROM (SELECT DISTINCT ON (o.subscribed_regex, o.role) o.subscribed_regex, o.role, o AS one FROM streamhouse.group_member AS o
                WHERE o.group_id = group_id AND o.subscribed_regex IS NOT NULL) AS d
          OFFSET 0) AS r
    WHERE m.group_id = group_id AND m.subscribed_regex = r.subscribed_regex AND m.role = r.role AND m.resolved_topics <> r.topics;
    UPDATE streamhouse.consumer_group AS g SET topics_seen = signature WHERE g.group_id = group_id;
END $$;
COMMENT ON FUNCTION streamhouse.group_resolve IS 'Finds out anew, when topics changed, which ones the members'' regular expressions stand for.';

-- Without a lock, so that nothing is locked when there is nothing to do.
CREATE FUNCTION streamhouse.group_is_due(checked streamhouse.consumer_group) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT checked.group_type = 'consumer' AND (checked.group_epoch > checked.target_epoch
        OR checked.topics_hash <> streamhouse.group_topics_hash(checked.group_id)
        OR EXISTS (SELECT FROM streamhouse.groups_with_lost(checked.group_id))
        OR streamhouse.group_has_regex(checked.group_id) AND checked.topics_seen IS DISTINCT FROM streamhouse.topics_signature())
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

-- The planner knows little of what is in arrays; nested loops over two of a thousand would be slow.
CREATE FUNCTION streamhouse.group_compute_target(group_id int, assignor text,
    OUT topics int[], OUT topic_ids int[], OUT partitions int[], OUT had text[], OUT are_known bool[], OUT members text[])
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off
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
    SELECT array_agg(s.topic_id ORDER BY s.topic_id, s.rank), array_agg(s.rank ORDER BY s.topic_id, s.rank), array_agg(DISTINCT s.topic_id)
    INTO subscribed_topics, subscribed_members, topics
    FROM (SELECT DISTINCT t.topic_id, r.rank::int AS rank
          FROM unnest(ranked) WITH ORDINALITY AS r (member_id, rank)
          JOIN streamhouse.group_member AS m ON m.group_id = group_id AND m.member_id = r.member_id
          CROSS JOIN LATERAL unnest(m.subscribed_topics || m.resolved_topics) AS n (name)
          JOIN streamhouse.topic AS t ON t.name = n.name AND t.deleted_at IS NULL) AS s;
    SELECT array_agg(p.topic_id ORDER BY p.topic_id, p.partition), array_agg(p.partition ORDER BY p.topic_id, p.partition),
           array_agg(g.target_member ORDER BY p.topic_id, p.partition), array_agg(g.partition IS NOT NULL ORDER BY p.topic_id, p.partition),
           array_agg(coalesce(r.rank, 0)::int ORDER BY p.topic_id, p.partition)
    INTO topic_ids, partitions, had, are_known, owners
    FROM streamhouse.partition AS p
    LEFT JOIN streamhouse.group_partition AS g ON g.group_id = group_id AND g.topic_id = p.topic_id AND g.partition = p.partition
    LEFT JOIN unnest(ranked) WITH ORDINALITY AS r (member_id, rank) ON r.member_id = g.target_member
    WHERE p.topic_id = ANY (topics);
    owners := streamhouse.group_assign(assignor, cardinality(ranked), topic_ids, owners, subscribed_topics, subscribed_members);
    SELECT array_agg(ranked[nullif(o.rank, 0)] ORDER BY o.n) INTO members FROM unnest(owners) WITH ORDINALITY AS o (rank, n);
END $$;
COMMENT ON FUNCTION streamhouse.group_compute_target IS 'The target assignment of a group as it is now: the topics that its members subscribe to, their partitions, the members that were to have them, whether there is a row of group_partition, and the members that are to have them. Null when there are none.';

CREATE FUNCTION streamhouse.group_make_offsets(group_id int, topic_ids int[], partitions int[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off
AS $$
    INSERT INTO streamhouse.group_offset (group_id, topic_id, partition, commit_id, committed_offset, leader_epoch, metadata, committed_at)
    SELECT DISTINCT group_make_offsets.group_id, w.topic_id, w.partition, 0, -1, -1, '', clock_timestamp()
    FROM unnest(topic_ids, partitions) AS w (topic_id, partition)
    LEFT JOIN streamhouse.group_offset AS o ON o.group_id = group_make_offsets.group_id AND o.topic_id = w.topic_id AND o.partition = w.partition
    WHERE o.group_id IS NULL
$$;
COMMENT ON FUNCTION streamhouse.group_make_offsets IS 'Makes the rows of group_offset that are missing, without a committed offset.';

-- A topic keeps its partitions, so of the topics that are subscribed to no row is too many.
CREATE FUNCTION streamhouse.group_write_target(group_id int, topics int[], topic_ids int[], partitions int[], had text[], are_known bool[], members text[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    -- Of topics that nobody wants any more, what has an owner stays until that one lets go.
    DELETE FROM streamhouse.group_partition AS p
    WHERE p.group_id = group_id AND p.owner_member IS NULL AND p.topic_id <> ALL (coalesce(topics, '{}'));
    UPDATE streamhouse.group_partition AS p SET target_member = NULL
    WHERE p.group_id = group_id AND p.target_member IS NOT NULL AND p.topic_id <> ALL (coalesce(topics, '{}'));
    UPDATE streamhouse.group_partition AS p SET target_member = w.member_id
    FROM unnest(topic_ids, partitions, had, are_known, members) AS w (topic_id, partition, had, is_known, member_id)
    WHERE w.is_known AND w.had IS DISTINCT FROM w.member_id
      AND p.group_id = group_id AND p.topic_id = w.topic_id AND p.partition = w.partition;
    INSERT INTO streamhouse.group_partition (group_id, topic_id, partition, target_member)
    SELECT group_id, w.topic_id, w.partition, w.member_id
    FROM unnest(topic_ids, partitions, are_known, members) AS w (topic_id, partition, is_known, member_id)
    WHERE NOT w.is_known;
END $$;
COMMENT ON FUNCTION streamhouse.group_write_target IS 'Makes this the target assignment of a group; writes the rows that differ.';

CREATE FUNCTION streamhouse.group_retarget(group_id int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    chosen CONSTANT text := streamhouse.group_assignor(group_id);
    target record;
BEGIN
    target := streamhouse.group_compute_target(group_id, chosen);
    PERFORM streamhouse.group_write_target(group_id, target.topics, target.topic_ids, target.partitions, target.had, target.are_known, target.members);
    IF (SELECT count(*) FROM streamhouse.group_offset AS o WHERE o.group_id = group_id AND o.topic_id = ANY (target.topics))
       < cardinality(target.partitions) THEN
        PERFORM streamhouse.group_make_offsets(group_id, target.topic_ids, target.partitions);
    END IF;
    UPDATE streamhouse.consumer_group AS g
    SET target_epoch = g.group_epoch, assignor = chosen, targeted_at = clock_timestamp(), version = streamhouse.group_version(),
        emptied_at = CASE WHEN NOT EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id)
                          THEN coalesce(g.emptied_at, clock_timestamp()) END
    WHERE g.group_id = group_id;
END $$;
COMMENT ON FUNCTION streamhouse.group_retarget IS 'Computes and writes the target assignment for the current group epoch.';

-- When hundreds join or leave at once, the target is computed a few times a second and not for each; the later ones get
-- their share with a later heartbeat, as they do when others have to let go first. sh_group_step() comes if nobody else does.
CREATE FUNCTION streamhouse.group_may_wait(settled streamhouse.consumer_group) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(settled.targeted_at > clock_timestamp() - interval '200 ms', false)
       AND (SELECT count(*) FROM streamhouse.group_member AS m WHERE m.group_id = settled.group_id) > 20
$$;
COMMENT ON FUNCTION streamhouse.group_may_wait IS 'Whether the target assignment of a large group was computed just now.';

CREATE FUNCTION streamhouse.group_settle(group_id int, may_wait bool DEFAULT false) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    current streamhouse.consumer_group;
    hash CONSTANT text := streamhouse.group_topics_hash(group_id);
BEGIN
    PERFORM streamhouse.group_downgrade(group_id);
    SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    IF current.group_type = 'classic' THEN
        RETURN current; -- its coordinator looks after it
    END IF;
    UPDATE streamhouse.consumer_group AS g SET topics_hash = hash, group_epoch = greatest(g.group_epoch, g.target_epoch + 1)
    WHERE g.group_id = group_id AND g.topics_hash <> hash;
    SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    IF current.group_epoch > current.target_epoch AND NOT (may_wait AND streamhouse.group_may_wait(current)) THEN
        PERFORM streamhouse.group_retarget(group_id);
        SELECT * INTO current FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    END IF;
    RETURN current;
END $$;
COMMENT ON FUNCTION streamhouse.group_settle IS 'Computes a group''s target assignment when members, subscriptions or topics changed, or makes it a classic group when only members of those are left; may_wait: not more often than a few times a second. Gives back the group''s row.';

CREATE FUNCTION streamhouse.group_refresh(group_id int) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    PERFORM streamhouse.group_remove(l.group_id, l.member_ids) FROM streamhouse.groups_with_lost(group_id) AS l;
    IF streamhouse.group_has_regex(group_id) THEN
        PERFORM streamhouse.group_resolve(group_id);
    END IF;
    RETURN streamhouse.group_settle(group_id);
END $$;
COMMENT ON FUNCTION streamhouse.group_refresh IS 'Removes members that are gone, sees which topics there are, and computes the target assignment when something changed. Gives back the group''s row.';

-- Whose topics are as they were is found out for all groups together.
CREATE FUNCTION streamhouse.groups_with_news(signature int8) RETURNS int[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (WITH doubted AS MATERIALIZED (
                SELECT g.group_id, g.topics_hash FROM streamhouse.consumer_group AS g
                WHERE g.group_type = 'consumer' AND g.topics_seen IS DISTINCT FROM signature
            ), subscribed AS (
                SELECT DISTINCT d.group_id, n.name FROM doubted AS d
                JOIN streamhouse.group_member AS m USING (group_id)
                CROSS JOIN LATERAL unnest(m.subscribed_topics || m.resolved_topics) AS n (name)
            ), hashed AS (
                SELECT s.group_id, md5(string_agg(t.topic_id || ':' || t.partitions, ',' ORDER BY t.topic_id)) AS topics_hash
                FROM subscribed AS s JOIN streamhouse.topic AS t ON t.name = s.name AND t.deleted_at IS NULL
                GROUP BY s.group_id
            )
            SELECT coalesce(array_agg(d.group_id), '{}') FROM doubted AS d LEFT JOIN hashed AS h USING (group_id)
            WHERE coalesce(h.topics_hash, '') <> d.topics_hash OR streamhouse.group_has_regex(d.group_id));
END $$;
COMMENT ON FUNCTION streamhouse.groups_with_news IS 'Groups that may have other partitions, as topics changed since topics_seen, and those with a regular expression.';

CREATE FUNCTION streamhouse.group_refresh_counted(group_id int, has_news bool) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    before CONSTANT int8 := (SELECT g.version FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id);
    refreshed streamhouse.consumer_group;
BEGIN
    IF has_news THEN
        PERFORM streamhouse.group_resolve(group_id);
    END IF;
    refreshed := streamhouse.group_refresh(group_id);
    RETURN (refreshed.version <> before)::int;
END $$;
COMMENT ON FUNCTION streamhouse.group_refresh_counted IS 'group_refresh(), also of what regular expressions stand for; 1 when it changed something, else 0.';

-- Locks of groups are held to the end of the transaction, and heartbeats are refused meanwhile: so it must not be long.
-- Groups that somebody has locked are being looked after.
CREATE FUNCTION streamhouse.groups_refresh(budget interval, OUT refreshed int, OUT more bool)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    began CONSTANT timestamptz := clock_timestamp();
    signature CONSTANT int8 := streamhouse.topics_signature();
    lost CONSTANT int[] := ARRAY(SELECT l.group_id FROM streamhouse.groups_with_lost() AS l);
    news int[];
    due record;
BEGIN
    refreshed := 0;
    more := false;
    IF lost = '{}' AND NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g
                                   WHERE g.group_type = 'consumer' AND (g.group_epoch > g.target_epoch OR g.topics_seen IS DISTINCT FROM signature)) THEN
        RETURN; -- as nearly always
    END IF;
    news := streamhouse.groups_with_news(signature);
    FOR due IN SELECT g.group_id, g.group_id = ANY (news) AS has_news FROM streamhouse.consumer_group AS g
               WHERE g.group_type = 'consumer'
                 AND (g.group_epoch > g.target_epoch OR g.group_id = ANY (lost) OR g.group_id = ANY (news)) LOOP
        more := clock_timestamp() > began + budget;
        EXIT WHEN more;
        PERFORM FROM streamhouse.consumer_group AS g WHERE g.group_id = due.group_id FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            refreshed := refreshed + streamhouse.group_refresh_counted(due.group_id, due.has_news);
        END IF;
    END LOOP;
    UPDATE streamhouse.consumer_group AS g SET topics_seen = signature
    FROM (SELECT l.group_id FROM streamhouse.consumer_group AS l
          WHERE l.group_type = 'consumer' AND l.topics_seen IS DISTINCT FROM signature AND l.group_id <> ALL (news)
          FOR UPDATE SKIP LOCKED) AS s
    WHERE g.group_id = s.group_id;
END $$;
COMMENT ON FUNCTION streamhouse.groups_refresh IS 'Looks after the groups that it is due for, until it took as long as budget; more: some are left. Says how many changed.';

CREATE FUNCTION streamhouse.group_forget_deleted() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM streamhouse.group_offset AS d
    USING (SELECT o.group_id, o.topic_id, o.partition, o.commit_id
           FROM streamhouse.topic AS t CROSS JOIN streamhouse.consumer_group AS g
           JOIN streamhouse.group_offset AS o USING (group_id, topic_id)
           WHERE t.deleted_at IS NOT NULL
           FOR UPDATE OF o SKIP LOCKED) AS f
    WHERE (d.group_id, d.topic_id, d.partition, d.commit_id) = (f.group_id, f.topic_id, f.partition, f.commit_id);
END $$;
COMMENT ON FUNCTION streamhouse.group_forget_deleted IS 'Removes committed offsets of topics that were deleted.';

CREATE FUNCTION sh_group_tick() RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    refreshed CONSTANT int := (streamhouse.groups_refresh('1 day')).refreshed;
BEGIN
    PERFORM streamhouse.group_forget_deleted();
    RETURN refreshed;
END $$;
COMMENT ON FUNCTION sh_group_tick IS 'Looks after all consumer groups: removes members that are gone, assigns what topics'' changes call for, forgets offsets of deleted topics. To be called about once a second by whoever has no agents, which call sh_group_step(); sessions that poll outside of a transaction block do it for their own group. Gives back how many groups changed.';

CREATE FUNCTION sh_group_step() RETURNS bool
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    look CONSTANT record := streamhouse.prune_look();
    more bool;
BEGIN
    IF NOT look.groups THEN
        RETURN NULL;
    END IF;
    more := (streamhouse.groups_refresh('50 ms')).more;
    IF NOT more AND look.deleted_topics THEN
        PERFORM streamhouse.group_forget_deleted();
    END IF;
    RETURN more;
END $$;
COMMENT ON FUNCTION sh_group_step IS 'What sh_group_tick() does, for about 50 ms at a time, so that no group is locked for long: true when there is more to do, and it should be called again at once; null when there are no groups, and it may be called less often.';
