-- Kafka's side of groups: KIP-848's heartbeat step by step, and OffsetCommit and OffsetFetch.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
SELECT (sh_create_topic('beat', 4)).topic_id AS topic \gset
SELECT (sh_create_topic('beat2', 2)).topic_id AS topic2 \gset
CREATE FUNCTION pg_temp.join_as(member text, topics text[] DEFAULT '{beat}', instance text DEFAULT NULL, assignor text DEFAULT NULL, regex text DEFAULT NULL,
                                OUT error int2, OUT epoch int, OUT partitions int[]) LANGUAGE sql AS $$
    SELECT error_code, member_epoch, partitions
    FROM sh_group_heartbeat('kb', member, 0, instance_id => instance, rebalance_timeout_ms => 60000, subscribed_topics => topics, subscribed_regex => regex,
                            assignor => assignor, owned_topic_ids => '{}', owned_partitions => '{}') $$;
-- owned: partitions of the topic beat
CREATE FUNCTION pg_temp.beat(member text, epoch int, owned int[] DEFAULT NULL, instance text DEFAULT NULL, OUT error int2, OUT epoch_now int, OUT partitions int[]) LANGUAGE sql AS $$
    SELECT error_code, member_epoch, partitions
    FROM sh_group_heartbeat('kb', member, epoch, instance_id => instance,
                            owned_topic_ids => (SELECT coalesce(array_agg(t.topic_id), '{}') FROM streamhouse.topic AS t, unnest(owned) WHERE t.name = 'beat' AND t.deleted_at IS NULL AND owned IS NOT NULL HAVING owned IS NOT NULL),
                            owned_partitions => owned) $$;

-- the first has all
SELECT * FROM pg_temp.join_as('a');
SELECT * FROM pg_temp.beat('a', 1);
-- the second waits for what the first has to let go
SELECT error, epoch, partitions FROM pg_temp.join_as('b');
SELECT * FROM pg_temp.beat('b', 2);
SELECT member_id, member_epoch, state, assigned, target FROM sh_describe_group('kb');
SELECT "group", state, members FROM sh_groups();
-- the first is told, stays in its epoch, and is asked until it says that it has let go
SELECT * FROM pg_temp.beat('a', 1);
SELECT * FROM pg_temp.beat('a', 1, '{0,1,2,3}');
SELECT * FROM pg_temp.beat('b', 2);
SELECT * FROM pg_temp.beat('a', 1, '{2,3}');
-- now the second gets them
SELECT * FROM pg_temp.beat('b', 2);
SELECT * FROM pg_temp.beat('b', 2);
SELECT member_id, member_epoch, state, assigned, target FROM sh_describe_group('kb');
SELECT "group", state FROM sh_groups();
-- what is as before is not told; who says everything is told everything
SELECT * FROM pg_temp.beat('a', 2, '{2,3}');
SELECT error_code, member_epoch, partitions FROM sh_group_heartbeat('kb', 'a', 2, rebalance_timeout_ms => 60000, subscribed_topics => '{beat}', owned_topic_ids => ARRAY[:topic, :topic], owned_partitions => '{2,3}');

-- epochs: from the future, from the past, the one before with what was given, and with more
SELECT * FROM pg_temp.beat('a', 9);
SELECT * FROM pg_temp.beat('a', 0 + 1);
SELECT * FROM pg_temp.beat('a', 1, '{2}');
SELECT * FROM pg_temp.beat('a', 1, '{0,2}');
SELECT error_message FROM sh_group_heartbeat('kb', 'a', 9);
-- unknown members and groups
SELECT * FROM pg_temp.beat('nobody', 1);
SELECT error_code, error_message FROM sh_group_heartbeat('no group', 'a', 1);
SELECT error_code FROM sh_group_heartbeat('no group', 'a', -1);
-- nonsense
SELECT error_code, error_message FROM sh_group_heartbeat('kb', 'c', 0, rebalance_timeout_ms => 1, subscribed_topics => '{beat}', owned_topic_ids => '{}', owned_partitions => '{}', assignor => 'sticky');
SELECT error_code, error_message FROM sh_group_heartbeat('kb', 'c', 0, rebalance_timeout_ms => 1, subscribed_regex => '(', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT error_code, error_message FROM sh_group_heartbeat('kb', 'c', 0, subscribed_topics => '{beat}', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT error_code FROM sh_group_heartbeat('kb', 'c', 0, rebalance_timeout_ms => 1, owned_topic_ids => '{}', owned_partitions => '{}');
SELECT error_code FROM sh_group_heartbeat('kb', 'c', 0, rebalance_timeout_ms => 1, subscribed_topics => '{beat}', owned_topic_ids => '{1}', owned_partitions => '{1}');
SELECT error_code FROM sh_group_heartbeat('kb', 'c', 0, rebalance_timeout_ms => 1, subscribed_topics => '{beat}', owned_topic_ids => '{1}', owned_partitions => '{}');
SELECT error_code FROM sh_group_heartbeat('kb', '', 0);
SELECT error_code FROM sh_group_heartbeat('kb', 'c', -3);
SELECT error_code, error_message FROM sh_group_heartbeat('kb', 'c', -2);
SELECT error_code FROM sh_group_heartbeat('', 'c', 0, rebalance_timeout_ms => 1, subscribed_topics => '{beat}', owned_topic_ids => '{}', owned_partitions => '{}');
-- none of which left anything
SELECT member_id FROM sh_describe_group('kb');

-- a member leaves: the other gets all with its next heartbeat
SELECT * FROM pg_temp.beat('b', -1);
SELECT * FROM pg_temp.beat('a', 2);
SELECT * FROM pg_temp.beat('b', 2);

-- static members: away and back under another id, with what they had; nobody else moves
SELECT error, epoch FROM pg_temp.join_as('s1', instance => 'one');
SELECT error, epoch_now FROM pg_temp.beat('a', 3);
SELECT error, epoch_now FROM pg_temp.beat('a', 3, '{2,3}');
SELECT * FROM pg_temp.beat('s1', 4, instance => 'one');
SELECT error, epoch FROM pg_temp.join_as('s2', instance => 'one');
SELECT * FROM pg_temp.beat('s1', -2, instance => 'one');
SELECT member_id, instance_id, member_epoch, assigned, target FROM sh_describe_group('kb') ORDER BY 1;
SELECT * FROM pg_temp.beat('a', 4);
SELECT error, epoch FROM pg_temp.join_as('s2', instance => 'one');
SELECT member_id, instance_id, member_epoch, assigned, target FROM sh_describe_group('kb') ORDER BY 1;
SELECT * FROM pg_temp.beat('s1', 4, instance => 'one');
SELECT * FROM pg_temp.beat('s2', 4, instance => 'two');
SELECT group_epoch FROM sh_groups();
SELECT * FROM pg_temp.beat('s2', -1, instance => 'one');

-- subscriptions: another topic, a regular expression, assignors by majority
SELECT error_code, member_epoch FROM sh_group_heartbeat('kb', 'a', 4, subscribed_topics => '{beat2}');
SELECT member_id, topics, assigned, target FROM sh_describe_group('kb');
SELECT error_code, partitions FROM sh_group_heartbeat('kb', 'a', 4, owned_topic_ids => '{}', owned_partitions => '{}');
SELECT error_code FROM sh_group_heartbeat('kb', 'a', 6, subscribed_topics => '{}', subscribed_regex => 'beat.*', assignor => 'range');
SELECT member_id, topics, regex, assigned, target FROM sh_describe_group('kb');
SELECT assignor FROM sh_groups();
SELECT (sh_create_topic('beat3', 1)).name, sh_group_tick();
SELECT sh_group_tick();
SELECT error_code, cardinality(partitions) FROM sh_group_heartbeat('kb', 'a', (SELECT member_epoch FROM sh_describe_group('kb')));
SELECT assigned FROM sh_describe_group('kb');

-- a quiet heartbeat writes nothing; a silent member is removed, one that does not let go likewise
SELECT pg_current_xact_id_if_assigned() IS NULL AS unwritten FROM sh_group_heartbeat('kb', 'a', (SELECT member_epoch FROM sh_describe_group('kb')));
SELECT error, epoch FROM pg_temp.join_as('c');
SELECT error_code FROM sh_group_heartbeat('kb', 'a', (SELECT member_epoch FROM sh_describe_group('kb') WHERE member_id = 'a'));
SELECT member_id, state FROM sh_describe_group('kb');
UPDATE streamhouse.group_member SET revoking_since = revoking_since - interval '61 s';
SELECT sh_group_tick();
SELECT member_id, assigned, target FROM sh_describe_group('kb');
SELECT error, epoch_now, partitions FROM pg_temp.beat('c', 12);
UPDATE streamhouse.group_member SET last_seen = '-infinity', session_timeout_ms = 1;
SELECT pg_sleep(0.01) IS NOT NULL AS slept, sh_group_tick();
SELECT count(*) FROM sh_describe_group('kb');
SELECT state FROM sh_groups();

-- committed offsets: of nobody while there are no members, then of members in their epoch
SELECT sh_offset_commit('kb', '', -1, ARRAY[:topic, :topic, :topic, 0, :topic], '{0,1,9,0,2}', '{5,6,7,8,-1}', '{1,2,3,4,5}', ARRAY['m', NULL, 'n', 'o', 'p']);
SELECT t.name, partition, "offset", leader_epoch, metadata, error_code FROM sh_offset_fetch('kb') LEFT JOIN streamhouse.topic AS t USING (topic_id) ORDER BY partition;
SELECT partition, "offset", leader_epoch, metadata, error_code FROM sh_offset_fetch('kb', topic_ids => ARRAY[:topic, :topic, 0], partitions => '{1,3,7}');
SELECT error, epoch AS epoch FROM pg_temp.join_as('d') \gset
SELECT error_code FROM sh_offset_commit('kb', '', -1, ARRAY[:topic], '{0}', '{9}');
SELECT error_code FROM sh_offset_commit('kb', 'nobody', 1, ARRAY[:topic], '{0}', '{9}');
SELECT error_code FROM sh_offset_commit('kb', 'd', :epoch - 1, ARRAY[:topic], '{0}', '{9}');
SELECT error_code FROM sh_offset_commit('kb', 'd', :epoch, ARRAY[:topic], '{0}', '{9}', metadata => ARRAY[repeat('x', 4097)]);
SELECT error_code FROM sh_offset_commit('kb', 'd', :epoch, ARRAY[:topic, :topic], '{0,0}', '{9,10}');
SELECT partition, "offset", error_code FROM sh_offset_fetch('kb', 'd', :epoch) ORDER BY 1;
SELECT partition, "offset", error_code FROM sh_offset_fetch('kb', 'd', :epoch + 1);
SELECT partition, "offset", error_code FROM sh_offset_fetch('kb', 'nobody', :epoch);
SELECT partition, "offset", error_code FROM sh_offset_fetch('no group');
SELECT partition, "offset", error_code FROM sh_offset_fetch('no group', 'm', 1);
SELECT error_code FROM sh_offset_commit('no group', 'm', 1, ARRAY[:topic], '{0}', '{9}');
SELECT error_code FROM sh_offset_commit('simple', NULL, -1, ARRAY[:topic], '{0}', '{9}');
SELECT "group", state, partitions FROM sh_groups();
-- offsets go on from what Kafka committed, for sessions, too; a session's offsets are not a Kafka client's to commit
SELECT error_code FROM sh_group_heartbeat('kb', 'd', -1);
SELECT sh_join('kb', '{beat}') AS me \gset
SELECT error_code FROM sh_offset_commit('kb', :'me', :epoch, ARRAY[:topic], '{0}', '{9}');
SELECT error_code FROM sh_group_heartbeat('kb', :'me', 1);
SELECT sh_produce('beat', 'x', partition => 0) IS NOT NULL FROM generate_series(1, 12);
SELECT "offset" FROM sh_poll('kb');
-- sessions and Kafka clients in one group
SELECT * FROM pg_temp.join_as('e');
SELECT kind, assigned FROM sh_describe_group('kb') ORDER BY kind;
SELECT error_code FROM sh_offset_commit('kb', 'e', (SELECT member_epoch FROM sh_describe_group('kb') WHERE kind = 'kafka'), ARRAY[:topic], '{0}', '{4}');
SELECT count(*) FROM sh_poll('kb');
SELECT error_code FROM sh_group_heartbeat('kb', 'e', -1);
SELECT min("offset") FROM sh_poll('kb');
SELECT sh_leave('kb');
-- a client that comes back under its id has let go of everything: the session that waits for some of it learns that
SELECT error, partitions FROM pg_temp.join_as('f', '{beat2}');
SELECT sh_produce('beat2', 'x', partition => p) IS NOT NULL FROM generate_series(0, 1) AS p;
SELECT count(*) FROM sh_poll('kb', '{beat2}');
SELECT error, partitions FROM pg_temp.join_as('f', '{beat2}');
SELECT count(*) FROM sh_poll('kb');
SELECT sh_leave('kb');
SELECT error_code FROM sh_group_heartbeat('kb', 'f', -1);

-- what an agent is told: topic ids, a version, and whether the member has to be asked for again before that is another one
SELECT error_code, epoch, length(topic_uuids), partitions, settled, group_id = (SELECT group_id FROM streamhouse.consumer_group WHERE name = 'ka') AS found, heartbeat_interval_ms, session_timeout_ms
FROM sh_member_heartbeat('ka', 'a', 0, NULL, 'r1', 60000, '{beat2}', NULL, NULL, '{}', '{}', 'client', '/host');
SELECT version, group_id FROM streamhouse.consumer_group WHERE name = 'ka' \gset
SELECT error_code, epoch, topic_uuids, partitions, settled, version = :version AS same FROM sh_member_heartbeat('ka', 'a', 1, NULL, NULL, -1, NULL, NULL, NULL, NULL, NULL, 'client', '/host');
SELECT version = :version AS same FROM sh_group_versions(ARRAY[:group_id, 0]);
-- the next one has to wait for the first, and only for it
SELECT error_code, epoch, length(topic_uuids), partitions, settled FROM sh_member_heartbeat('ka', 'b', 0, NULL, NULL, 60000, '{beat2}', NULL, NULL, '{}', '{}', 'client', '/host');
SELECT version = :version AS same FROM sh_group_versions(ARRAY[:group_id]);
SELECT error_code, epoch, partitions, settled FROM sh_member_heartbeat('ka', 'a', 1, NULL, NULL, -1, NULL, NULL, NULL, NULL, NULL, 'client', '/host');
SELECT version FROM streamhouse.consumer_group WHERE name = 'ka' \gset
SELECT error_code, epoch, settled FROM sh_member_heartbeat('ka', 'a', 1, NULL, NULL, -1, NULL, NULL, NULL, ARRAY[(SELECT topic_uuid FROM streamhouse.topic WHERE topic_id = :topic2)], '{1}', 'client', '/host');
SELECT version = :version AS same FROM sh_group_versions(ARRAY[:group_id]);
SELECT error_code, epoch, partitions, settled FROM sh_member_heartbeat('ka', 'b', 2, NULL, NULL, -1, NULL, NULL, NULL, NULL, NULL, 'client', '/host');
SELECT error_code, error_message FROM sh_member_heartbeat('ka', 'a', 9, NULL, NULL, -1, NULL, NULL, NULL, NULL, NULL, 'client', '/host');
SELECT error_code, settled IS NULL AS unknown FROM sh_member_heartbeat('ka', 'b', -1, NULL, NULL, -1, NULL, NULL, NULL, NULL, NULL, 'client', '/host');
-- as Kafka describes it
SELECT name, error_code, state, group_epoch, target_epoch, assignor, member_id, rack, member_epoch, client_id, client_host, subscribed_topics, length(assigned_uuids), assigned_topics, assigned_partitions, target_topics, target_partitions
FROM sh_describe_consumer_groups('{ka,nobody,""}');
-- an agent notes who was heard of; later than it was, and only of Kafka's clients
UPDATE streamhouse.group_member SET last_seen = clock_timestamp() - interval '20 s';
SELECT sh_group_seen(ARRAY[:group_id, :group_id, 0], '{a,nobody,a}', '{5000,0,0}');
SELECT clock_timestamp() - last_seen BETWEEN '5 s' AND '8 s' AS noted FROM streamhouse.group_member;
SELECT sh_group_seen(ARRAY[:group_id], '{a}', '{15000}');
-- names that are too long, or empty
SELECT error_code FROM sh_group_heartbeat('ka', repeat('m', 1001), 1);
SELECT error_code FROM sh_group_heartbeat('ka', 'a', 1, rack => '');
SELECT error_code FROM sh_group_heartbeat('ka', 'z', 0, rebalance_timeout_ms => 1, subscribed_topics => '{}', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT error_code FROM sh_group_heartbeat('ka', 'a', -1);

-- a classic group stays one as long as it has members; without any it becomes a consumer group with its first one
UPDATE streamhouse.consumer_group SET group_type = 'classic', protocol_type = 'consumer', protocol_name = 'range', leader_member = 'l' WHERE name = 'ka';
INSERT INTO streamhouse.classic_member VALUES (:group_id, 'l', NULL, 'c', '/h', 10000, 10000, '{range}', '{""}', '');
SELECT error_code, error_message FROM sh_group_heartbeat('ka', 'a', 0, rebalance_timeout_ms => 1, subscribed_topics => '{beat2}', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT sh_join('ka', '{beat2}');
SELECT error_code FROM sh_group_heartbeat('ka', 'l', 1);
SELECT error_code, state FROM sh_describe_consumer_groups('{ka}');
DELETE FROM streamhouse.classic_member;
SELECT error_code FROM sh_group_heartbeat('ka', 'a', 1);
SELECT group_epoch FROM streamhouse.consumer_group WHERE name = 'ka' \gset
SELECT error_code, member_epoch > :group_epoch AS rises FROM sh_group_heartbeat('ka', 'a', 0, rebalance_timeout_ms => 1, subscribed_topics => '{beat2}', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT group_type, protocol_type, protocol_name, leader_member, emptied_at FROM streamhouse.consumer_group WHERE name = 'ka';
SELECT error_code FROM sh_group_heartbeat('ka', 'a', -1);
SELECT emptied_at IS NOT NULL AS is_empty FROM streamhouse.consumer_group WHERE name = 'ka';

-- hundreds join: the target is computed now and then, and after the last
SELECT count(*), count(DISTINCT h.error_code) FROM generate_series(1, 60) AS n CROSS JOIN LATERAL sh_group_heartbeat('kmany', 'm' || n, 0, rebalance_timeout_ms => 60000, subscribed_topics => '{beat2}', owned_topic_ids => '{}', owned_partitions => '{}') AS h;
SELECT pg_sleep(0.25) IS NOT NULL AS slept, sh_group_step();
SELECT group_epoch = target_epoch AS settled FROM streamhouse.consumer_group WHERE name = 'kmany';
SELECT count(DISTINCT target_member) FROM streamhouse.group_partition AS p JOIN streamhouse.consumer_group AS g USING (group_id) WHERE g.name = 'kmany';
SELECT count(h.error_code) FROM generate_series(1, 60) AS n CROSS JOIN LATERAL sh_group_heartbeat('kmany', 'm' || n, -1) AS h;

SELECT sh_delete_group("group") FROM sh_groups();
SELECT sh_delete_topic(name) FROM streamhouse.topic WHERE name LIKE 'beat%' AND deleted_at IS NULL;
