-- group_session.sql: sessions of PostgreSQL as members of groups. See group_session.c and poll.c.

CREATE FUNCTION streamhouse.session_check_topics(topics text[], regex text, assignor text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    name text;
BEGIN
    IF coalesce(cardinality(topics), 0) = 0 AND coalesce(regex, '') = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'there is nothing to subscribe to',
            HINT = 'Name topics: sh_poll(''group'', ''{topic}''), or a regular expression: sh_join(''group'', regex => ''…'').';
    ELSIF assignor NOT IN ('uniform', 'range') THEN
        PERFORM streamhouse.group_fail(112, format('there is no assignor "%s"', assignor), 'The assignors are uniform and range.');
    END IF;
    PERFORM streamhouse.group_check_regex(regex);
    FOREACH name IN ARRAY coalesce(topics, '{}') LOOP
        PERFORM streamhouse.member_require_topic(streamhouse.caller(), t.topic_id, t.name) FROM streamhouse.topic_find(name) AS t;
    END LOOP;
END $$;
COMMENT ON FUNCTION streamhouse.session_check_topics IS 'Raises an error for a subscription that a session cannot have: 22023, 42704, 42501, SH112 or SH128.';

CREATE FUNCTION streamhouse.session_member(group_id int, member_id text, topics text[], regex text, assignor text,
                                           auto_offset_reset text, session_timeout_ms int) RETURNS streamhouse.group_member
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said streamhouse.group_member;
BEGIN
    said.group_id := group_id;
    said.member_id := member_id;
    said.member_epoch := 0;
    said.subscribed_topics := (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') FROM unnest(topics) AS t);
    said.subscribed_regex := coalesce(regex, '');
    said.assignor := assignor;
    said.client_id := nullif(current_setting('application_name'), '');
    said.client_host := coalesce(host(inet_client_addr()), 'local');
    said.role := streamhouse.caller();
    said.backend_pid := pg_backend_pid();
    said.backend_start := (SELECT a.backend_start FROM pg_stat_get_activity(pg_backend_pid()) AS a);
    said.auto_offset_reset := coalesce(auto_offset_reset, 'earliest');
    said.session_timeout_ms := session_timeout_ms;
    said.rebalance_timeout_ms := session_timeout_ms;
    RETURN said;
END $$;
COMMENT ON FUNCTION streamhouse.session_member IS 'What this session says about itself when it joins.';

CREATE FUNCTION streamhouse.session_join("group" text, member_id text, topics text[], regex text, assignor text,
                                         auto_offset_reset text, session_timeout_ms int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    joined streamhouse.consumer_group;
    said streamhouse.group_member;
    member streamhouse.group_member;
BEGIN
    PERFORM streamhouse.session_check_topics(topics, regex, assignor);
    joined := streamhouse.group_as_consumer(streamhouse.group_lock("group", true), true);
    said := streamhouse.session_member(joined.group_id, member_id, topics, regex, assignor, auto_offset_reset, session_timeout_ms);
    -- A session is one member: what it forgot, after an aborted transaction, goes.
    PERFORM streamhouse.group_remove(joined.group_id, ARRAY[m.member_id]) FROM streamhouse.group_member AS m
    WHERE m.group_id = joined.group_id AND m.backend_pid = said.backend_pid AND m.member_id <> member_id;
    SELECT * INTO member FROM streamhouse.group_member AS m WHERE m.group_id = joined.group_id AND m.member_id = member_id;
    member := streamhouse.member_update(member, said);
    member.role := said.role;
    member.backend_pid := said.backend_pid;
    member.backend_start := said.backend_start;
    member.auto_offset_reset := said.auto_offset_reset;
    member.member_epoch := joined.group_epoch + 1;
    PERFORM streamhouse.member_write(member);
    PERFORM streamhouse.group_refresh(joined.group_id);
    RETURN joined.group_id;
END $$;
COMMENT ON FUNCTION streamhouse.session_join IS 'Makes the session a member of the group, or changes its subscription. Gives the group''s id.';

CREATE FUNCTION streamhouse.session_check(group_id int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id AND streamhouse.group_is_due(g)) THEN
        RETURN false;
    END IF;
    PERFORM FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM streamhouse.group_refresh(group_id);
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.session_check IS 'Does for one group what sh_group_tick() does for all, unless somebody is at it.';

CREATE FUNCTION streamhouse.session_authorize(group_id int) RETURNS bool
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    PERFORM streamhouse.group_require(g) FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION streamhouse.session_authorize IS 'Raises 42501 unless the caller may use the group of which the session is a member.';

CREATE FUNCTION streamhouse.session_seen(group_id int, member_id text) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO streamhouse.group_seen (group_id, member_id, seen_at) VALUES (session_seen.group_id, session_seen.member_id, clock_timestamp())
    ON CONFLICT DO NOTHING
    RETURNING true
$$;
COMMENT ON FUNCTION streamhouse.session_seen IS 'Notes that the session polls.';

CREATE FUNCTION streamhouse.join("group" text, topics text[], regex text, assignor text, poll_limit interval, auto_offset_reset text)
RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_join';
COMMENT ON FUNCTION streamhouse.join IS 'sh_join() with the owner''s rights.';

CREATE FUNCTION sh_join("group" text, topics text[] DEFAULT NULL, regex text DEFAULT NULL, assignor text DEFAULT NULL,
                        poll_limit interval DEFAULT NULL, auto_offset_reset text DEFAULT NULL) RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_join IS 'Makes this session a member of a consumer group, which is created by its first member, or changes its subscription: topics, and those whose whole name matches regex (RE2''s syntax, as for Kafka''s clients) and that the role may consume from, now and later. assignor: uniform (even, and moves few partitions) or range; most votes win. poll_limit: who has not polled for longer is removed (default 5 min). auto_offset_reset: where to begin without a committed offset, or when it is out of range: earliest (default), latest, or none (an error). What is null is as before. A session is one member of a group, until it leaves or ends. sh_poll() outside of a transaction block joins by itself. Gives the member id. Errors: 25001 in a transaction block, 42704 no such topic, 42501 may not consume from the topic or use the group, SH024 invalid group, SH112 no such assignor, SH128 invalid regular expression.';

CREATE FUNCTION streamhouse.poll("group" text, topics text[], max_records int, wait interval, max_bytes int, auto_commit bool,
                                 auto_offset_reset text) RETURNS SETOF streamhouse.record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_poll';
COMMENT ON FUNCTION streamhouse.poll IS 'sh_poll() with the owner''s rights.';

CREATE FUNCTION sh_poll("group" text, topics text[] DEFAULT NULL, max_records int DEFAULT 500, wait interval DEFAULT '0',
                        max_bytes int DEFAULT 1048576, auto_commit bool DEFAULT true, auto_offset_reset text DEFAULT NULL)
RETURNS SETOF streamhouse.record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 500 AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_poll IS
'The next records of a consumer group for this session, of the partitions that are its share, and moves the group''s offsets past them in this transaction. In BEGIN; … sh_poll() … COMMIT, what is written there and the offsets are one: each record is processed exactly once, and after a rollback it comes again. As a statement by itself it commits its own offsets: a client that dies before it has dealt with the records does not get them again (at most once). With auto_commit false offsets stay until sh_commit(): records may come twice (at least once).
At most max_records, with at most max_bytes in keys, values and headers, but at least one; when there are none, waits for up to wait. Outside of a transaction block it joins the group with the topics (null: those it joined with before) and takes part in its changes; a call that has done so does not wait. Within one it touches nothing but its own offsets, so that nobody waits for the block''s end but those who are to have its partitions next; the session must have joined before. Partitions of which another transaction has read records that it has not committed are left out for now.
Errors: SH025 not a member, in a transaction block; SH110 no longer a member (poll limit), joins again with the next call outside of a block; SH001 no position, with auto_offset_reset none; 25001 other topics in a block; and those of sh_join().';

CREATE FUNCTION streamhouse.session_leave("group" text) RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_leave';
COMMENT ON FUNCTION streamhouse.session_leave IS 'The session''s member id in a group, which it forgets; null when it is no member.';

CREATE FUNCTION streamhouse.leave("group" text) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    member CONSTANT text := streamhouse.session_leave("group");
    left_group streamhouse.consumer_group;
    removed int;
BEGIN
    IF member IS NULL THEN
        RETURN false;
    END IF;
    left_group := streamhouse.group_lock("group", false);
    removed := streamhouse.group_remove(left_group.group_id, ARRAY[member]);
    IF removed > 0 THEN
        PERFORM streamhouse.group_refresh(left_group.group_id);
    END IF;
    RETURN removed > 0;
END $$;
COMMENT ON FUNCTION streamhouse.leave IS 'sh_leave() with the owner''s rights.';

CREATE FUNCTION sh_leave("group" text) RETURNS bool
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_leave IS 'This session leaves the group: its partitions go to the other members at once. True when it was a member. The end of the session does the same, when somebody notices. Error: 25001 in a transaction block.';

CREATE FUNCTION streamhouse.commit("group" text) RETURNS int
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_commit_polled';
COMMENT ON FUNCTION streamhouse.commit(text) IS 'sh_commit(group) with the owner''s rights.';

CREATE FUNCTION sh_commit("group" text) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_commit(text) IS 'Commits what this session got from sh_poll(…, auto_commit => false), with this transaction. Gives the number of partitions whose offset it moved. Errors: SH025 not a member, SH110 a partition went to another member meanwhile: nothing is committed, its records come again.';

CREATE FUNCTION streamhouse.commit_position("group" text, topic_id int, topic text, partition int, "offset" int8, metadata text, seek bool) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_commit_position';
COMMENT ON FUNCTION streamhouse.commit_position IS 'Commits an offset of a partition that is the session''s; seek: from there the session goes on.';

CREATE FUNCTION streamhouse.commit("group" text, topic text, partition int, "offset" int8, metadata text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted CONSTANT streamhouse.topic := streamhouse.topic_find(topic);
BEGIN
    PERFORM streamhouse.offset_check(wanted, partition, "offset", metadata);
    PERFORM streamhouse.commit_position("group", wanted.topic_id, topic, partition, "offset", coalesce(metadata, ''), false);
END $$;
COMMENT ON FUNCTION streamhouse.commit(text, text, int, int8, text) IS 'sh_commit() with the owner''s rights.';

CREATE FUNCTION sh_commit("group" text, topic text, partition int, "offset" int8, metadata text DEFAULT '') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_commit(text, text, int, int8, text) IS 'Commits an offset of a partition that is this session''s, with this transaction: the offset to go on from, one more than that of the last record that is done. Errors: SH025 not a member, SH110 the partition is not this session''s, SH003 no such partition, SH012 metadata of more than 4096 bytes, 42704 no such topic.';

CREATE FUNCTION streamhouse.seek("group" text, topic text, partition int, "offset" int8) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted CONSTANT streamhouse.topic := streamhouse.topic_find(topic);
BEGIN
    PERFORM streamhouse.offset_check(wanted, partition, "offset", '');
    PERFORM streamhouse.commit_position("group", wanted.topic_id, topic, partition, "offset", '', true);
END $$;
COMMENT ON FUNCTION streamhouse.seek IS 'sh_seek() with the owner''s rights.';

CREATE FUNCTION sh_seek("group" text, topic text, partition int, "offset" int8) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_seek IS 'From this offset on sh_poll() reads a partition that is this session''s next: forwards or back. It is the committed offset, too, with this transaction. Errors as of sh_commit().';
