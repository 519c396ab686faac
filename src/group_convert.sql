-- group_convert.sql: a group changes online between the classic protocol and KIP-848's, as in Apache Kafka 4.
--
-- A group of classic members becomes a consumer group when the first member joins that speaks the new protocol, or that is a
-- session of PostgreSQL. Its classic members stay: each has a row in group_member, as everybody, and one in classic_member,
-- which says what it speaks. They go on calling JoinGroup, SyncGroup and Heartbeat, which then work on the rows of the new
-- protocol: a generation is the member's epoch, a rebalance is one member's step to its target, and the brain assigns. When
-- the last of the others is gone, the group becomes classic again, and its coordinator lets the members elect a leader.
-- The coordinator's epoch rises with every change of type, so that an agent that has not heard of it is refused.

CREATE FUNCTION streamhouse.classic_member_topics(member streamhouse.classic_member) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT streamhouse.classic_topics(m.metadata)
    FROM unnest(member.protocol_metadata) WITH ORDINALITY AS m (metadata, n) ORDER BY m.n LIMIT 1
$$;
COMMENT ON FUNCTION streamhouse.classic_member_topics IS 'Topics that a member of a classic group subscribed to, by the protocol it prefers; null when that is no consumer''s.';

-- A partition that two were given, by a leader that erred, is nobody's.
CREATE FUNCTION streamhouse.group_upgrade_owners(group_id int) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO streamhouse.group_partition (group_id, topic_id, partition, target_member, owner_member)
    SELECT group_upgrade_owners.group_id, p.topic_id, p.partition, min(m.member_id), min(m.member_id)
    FROM streamhouse.classic_member AS m
    CROSS JOIN LATERAL streamhouse.consumer_assignment(m.assignment) AS a
    CROSS JOIN LATERAL unnest(a.topics, a.partitions) AS g (topic, partition)
    JOIN streamhouse.topic AS t ON t.name = g.topic AND t.deleted_at IS NULL
    JOIN streamhouse.partition AS p ON p.topic_id = t.topic_id AND p.partition = g.partition
    WHERE m.group_id = group_upgrade_owners.group_id
    GROUP BY p.topic_id, p.partition
    HAVING count(*) = 1
    ON CONFLICT DO NOTHING
$$;
COMMENT ON FUNCTION streamhouse.group_upgrade_owners IS 'Writes what a classic group''s leader assigned as what members own and are to have.';

CREATE FUNCTION streamhouse.group_upgrade(upgraded streamhouse.consumer_group) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF upgraded.protocol_type <> 'consumer'
       OR EXISTS (SELECT FROM streamhouse.classic_member AS m
                  WHERE m.group_id = upgraded.group_id AND streamhouse.classic_member_topics(m) IS NULL) THEN
        PERFORM streamhouse.group_fail(69, format('group "%s" has members that are no consumers, or of an assignor that is not known', upgraded.name),
                                       'Wait until they have left, or take another group.');
    END IF;
    INSERT INTO streamhouse.group_member (group_id, member_id, instance_id, member_epoch, previous_epoch, subscribed_topics, client_id, client_host,
                                          role, session_timeout_ms, rebalance_timeout_ms, joined_at, last_seen)
    SELECT m.group_id, m.member_id, m.instance_id, upgraded.group_epoch, upgraded.group_epoch,
           (SELECT coalesce(array_agg(DISTINCT t ORDER BY t), '{}') FROM unnest(streamhouse.classic_member_topics(m)) AS t),
           m.client_id, m.client_host, upgraded.role, m.session_timeout_ms, m.rebalance_timeout_ms, clock_timestamp(), clock_timestamp()
    FROM streamhouse.classic_member AS m WHERE m.group_id = upgraded.group_id;
    PERFORM streamhouse.group_upgrade_owners(upgraded.group_id);
    UPDATE streamhouse.consumer_group AS g
    SET group_type = 'consumer', protocol_name = NULL, leader_member = NULL, coordinator_epoch = g.coordinator_epoch + 1,
        target_epoch = g.group_epoch, topics_hash = streamhouse.group_topics_hash(g.group_id)
    WHERE g.group_id = upgraded.group_id;
    -- What the leader left to nobody is assigned with the next change, which the member that joins makes.
    PERFORM streamhouse.group_make_offsets(upgraded.group_id, array_agg(p.topic_id), array_agg(p.partition))
    FROM streamhouse.group_partition AS p WHERE p.group_id = upgraded.group_id;
    PERFORM streamhouse.group_touch(upgraded.group_id);
    PERFORM pg_notify('streamhouse_group', upgraded.name);
    SELECT * INTO upgraded FROM streamhouse.consumer_group AS g WHERE g.group_id = upgraded.group_id;
    RETURN upgraded;
END $$;
COMMENT ON FUNCTION streamhouse.group_upgrade IS 'Makes a consumer group of a classic group, whose members stay with what they have. Raises SH069 when a member is no consumer.';

CREATE FUNCTION streamhouse.group_as_consumer(joined streamhouse.consumer_group, joins bool) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF joined.group_id IS NULL OR joined.group_type = 'consumer' THEN
        RETURN joined;
    ELSIF NOT joins THEN
        PERFORM streamhouse.group_fail(69, format('group "%s" is a classic one', joined.name), 'The member must join, with epoch 0.');
    ELSIF EXISTS (SELECT FROM streamhouse.classic_member AS m WHERE m.group_id = joined.group_id) THEN
        RETURN streamhouse.group_upgrade(joined);
    END IF;
    UPDATE streamhouse.consumer_group AS g
    SET group_type = 'consumer', protocol_type = 'consumer', protocol_name = NULL, leader_member = NULL,
        coordinator_epoch = g.coordinator_epoch + 1, target_epoch = least(g.target_epoch, g.group_epoch), version = streamhouse.group_version()
    WHERE g.group_id = joined.group_id
    RETURNING g.* INTO joined;
    RETURN joined;
END $$;
COMMENT ON FUNCTION streamhouse.group_as_consumer IS 'The group, locked by the caller, as a consumer group, which somebody is about to join. Raises SH069 when it cannot become one.';

-- Votes, as in Kafka: of the protocols that all speak, the one that most prefer.
CREATE FUNCTION streamhouse.classic_protocol(group_id int) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH spoken AS (
        SELECT n.name FROM streamhouse.classic_member AS m CROSS JOIN LATERAL (SELECT DISTINCT unnest(m.protocol_names) AS name) AS n
        WHERE m.group_id = classic_protocol.group_id
        GROUP BY n.name
        HAVING count(*) = (SELECT count(*) FROM streamhouse.classic_member AS m WHERE m.group_id = classic_protocol.group_id)
    ), votes AS (
        SELECT (SELECT p.name FROM unnest(m.protocol_names) WITH ORDINALITY AS p (name, n)
                WHERE p.name IN (SELECT s.name FROM spoken AS s) ORDER BY p.n LIMIT 1) AS name
        FROM streamhouse.classic_member AS m WHERE m.group_id = classic_protocol.group_id
    )
    SELECT v.name FROM votes AS v GROUP BY v.name ORDER BY count(*) DESC, v.name LIMIT 1
$$;
COMMENT ON FUNCTION streamhouse.classic_protocol IS 'The protocol that a classic group''s members agree on; null when they do not.';

-- leader_member stays null: the coordinator knows by that that the members have to join again. Until they do, they commit in the
-- generation that they have reached, which is the target's epoch: the one that the last change of members has begun, nobody has heard of.
CREATE FUNCTION streamhouse.group_downgrade(group_id int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.classic_member AS c WHERE c.group_id = group_id)
       OR NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.group_id = group_id AND g.group_type = 'consumer')
       OR EXISTS (SELECT FROM streamhouse.group_member AS m
                  WHERE m.group_id = group_id
                    AND NOT EXISTS (SELECT FROM streamhouse.classic_member AS c WHERE c.group_id = m.group_id AND c.member_id = m.member_id)) THEN
        RETURN false;
    END IF;
    UPDATE streamhouse.classic_member AS c
    SET assignment = streamhouse.consumer_assignment_bytes(a.topics, a.partitions)
    FROM (SELECT m.member_id, coalesce(array_agg(t.name ORDER BY t.name, p.partition) FILTER (WHERE t.name IS NOT NULL), '{}') AS topics,
                 coalesce(array_agg(p.partition ORDER BY t.name, p.partition) FILTER (WHERE t.name IS NOT NULL), '{}') AS partitions
          FROM streamhouse.group_member AS m
          LEFT JOIN streamhouse.group_partition AS p ON p.group_id = m.group_id AND p.owner_member = m.member_id
          LEFT JOIN streamhouse.topic AS t ON t.topic_id = p.topic_id AND t.deleted_at IS NULL
          WHERE m.group_id = group_id
          GROUP BY m.member_id) AS a
    WHERE c.group_id = group_id AND c.member_id = a.member_id;
    DELETE FROM streamhouse.group_member AS m WHERE m.group_id = group_id;
    DELETE FROM streamhouse.group_partition AS p WHERE p.group_id = group_id;
    PERFORM streamhouse.group_forget_seen(group_id);
    UPDATE streamhouse.consumer_group AS g
    SET group_type = 'classic', protocol_name = streamhouse.classic_protocol(group_id), leader_member = NULL, group_epoch = g.target_epoch,
        coordinator_epoch = g.coordinator_epoch + 1, topics_hash = ''
    WHERE g.group_id = group_id;
    PERFORM streamhouse.group_touch(group_id);
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.group_downgrade IS 'Makes a classic group of a consumer group whose members all speak the classic protocol; true when it did.';
