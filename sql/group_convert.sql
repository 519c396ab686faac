-- Groups change between the classic protocol and KIP-848's while their members go on.
\set ECHO queries
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT (sh_create_topic('conv', 6)).partitions;
-- what a Java client says in JoinGroup: topics, and the partitions that it owns
CREATE FUNCTION name_bytes(name text) RETURNS bytea LANGUAGE sql AS $$ SELECT int2send(octet_length(name)::int2) || convert_to(name, 'UTF8') $$;
CREATE FUNCTION subscription(topic text, owned int[] DEFAULT '{}') RETURNS bytea LANGUAGE sql AS $$
    SELECT int2send(1::int2) || int4send(1) || name_bytes(topic) || int4send(-1)
        || CASE WHEN owned = '{}' THEN int4send(0)
                ELSE int4send(1) || name_bytes(topic) || int4send(cardinality(owned)) || (SELECT string_agg(int4send(p), '' ORDER BY p) FROM unnest(owned) AS p) END $$;
CREATE FUNCTION assigned(bytes bytea) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(t || '-' || p, ' ' ORDER BY t, p) FROM streamhouse.consumer_assignment(bytes) AS a, unnest(a.topics, a.partitions) AS u (t, p) $$;
CREATE FUNCTION rejoin(member text, owned int[]) RETURNS text LANGUAGE sql AS $$
    SELECT error_code || ' generation ' || coalesce(generation::text, '-') || ' ' || coalesce(protocol_name, '-')
    FROM sh_classic_member_join('g', member, NULL, 'client', 'here', 45000, 60000, '{cooperative-sticky,range}', ARRAY[subscription('conv', owned), subscription('conv', owned)]) $$;
CREATE FUNCTION beat(member text, epoch int, owned int[] DEFAULT NULL, topics text[] DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
    SELECT error_code || ' epoch ' || member_epoch || ' has ' || coalesce(array_to_string(partitions, ','), '-')
    FROM sh_group_heartbeat('g', member, epoch, subscribed_topics => topics, rebalance_timeout_ms => CASE WHEN topics IS NULL THEN -1 ELSE 60000 END,
                            owned_topic_ids => (SELECT array_agg(t.topic_id) FROM streamhouse.topic AS t, unnest(owned) WHERE t.name = 'conv' HAVING owned IS NOT NULL) || CASE WHEN owned = '{}' THEN '{}'::int[] END, owned_partitions => owned) $$;
CREATE VIEW members AS
    SELECT g.group_type, g.group_epoch, m.member_id, m.member_epoch, m.state,
           (SELECT string_agg(p.partition::text, ',' ORDER BY p.partition) FROM streamhouse.group_partition AS p WHERE p.group_id = g.group_id AND p.owner_member = m.member_id) AS owns
    FROM streamhouse.consumer_group AS g JOIN streamhouse.group_member AS m USING (group_id) ORDER BY m.member_id;

-- the bytes of the consumer protocol
SELECT * FROM streamhouse.consumer_subscription(subscription('conv', '{1,3}'));
SELECT streamhouse.consumer_subscription('\x00000000') IS NULL AS cut_off, streamhouse.consumer_subscription('') IS NULL AS nothing,
       streamhouse.consumer_assignment('') AS assignment_of_nothing;
SELECT assigned(streamhouse.consumer_assignment_bytes('{a,a,b}', '{3,4,0}'));
SELECT streamhouse.consumer_assignment_bytes('{a}', '{1,2}');
SELECT streamhouse.consumer_assignment_bytes('{a,NULL}', '{1,2}');

-- a classic group of two, as its coordinator has stored it, in generation 7
INSERT INTO streamhouse.consumer_group (name, version, role, group_type, group_epoch, protocol_name, leader_member)
VALUES ('g', 1, 'streamhouse_agent', 'classic', 7, 'cooperative-sticky', 'c1');
INSERT INTO streamhouse.classic_member
SELECT g.group_id, m.member, NULL, 'client', 'here', 45000, 60000, '{cooperative-sticky,range}', ARRAY[subscription('conv'), subscription('conv')],
       streamhouse.consumer_assignment_bytes(array_fill('conv'::text, ARRAY[3]), m.partitions)
FROM streamhouse.consumer_group AS g, (VALUES ('c1', '{0,1,2}'::int[]), ('c2', '{3,4,5}')) AS m (member, partitions) WHERE g.name = 'g';
INSERT INTO streamhouse.group_offset VALUES ((SELECT group_id FROM streamhouse.consumer_group WHERE name = 'g'),
    (SELECT topic_id FROM streamhouse.topic WHERE name = 'conv'), 0, 1, 42, -1, '', 'c1', now());
-- who knows only the new protocol is not a member yet, and changes nothing by saying so
SELECT beat('n1', 3);
SELECT group_type FROM streamhouse.consumer_group WHERE name = 'g';
-- the first member of the new protocol makes it a consumer group; nobody loses anything before he lets go of it
SELECT beat('n1', 0, '{}', '{conv}');
SELECT * FROM members;
SELECT sh_classic_member_heartbeat('g', 'c1', NULL, 7) AS must_join, sh_classic_member_heartbeat('g', 'c1', NULL, 6) AS old_generation,
       sh_classic_member_heartbeat('g', 'nobody', NULL, 7) AS unknown, sh_classic_member_heartbeat('g', 'n1', NULL, 8) AS of_the_new_protocol;
-- c1 joins, keeping what it has: it is told what to let go of, then joins again without it
SELECT rejoin('c1', '{0,1,2}');
SELECT error_code, assigned(assignment) FROM sh_classic_member_sync('g', 'c1', NULL, 7);
SELECT rejoin('c1', '{1,2}');
SELECT error_code, assigned(assignment) FROM sh_classic_member_sync('g', 'c1', NULL, 8);
SELECT error_code, assigned(assignment) FROM sh_classic_member_sync('g', 'c1', NULL, 7);
SELECT rejoin('c2', '{}');
SELECT error_code, assigned(assignment) FROM sh_classic_member_sync('g', 'c2', NULL, 8);
SELECT beat('n1', 8, '{}');
SELECT * FROM members;
SELECT sh_classic_member_heartbeat('g', 'c1', NULL, 8) AS c1, sh_classic_member_heartbeat('g', 'c2', NULL, 8) AS c2;
-- the committed offset is where it was
SELECT "offset" FROM sh_offset_fetch('g', NULL, -1, ARRAY[(SELECT topic_id FROM streamhouse.topic WHERE name = 'conv')], '{0}');
-- a classic member that no member could talk to is refused
SELECT error_code FROM sh_classic_member_join('g', 'c3', NULL, '', '', 45000, 60000, '{other}', ARRAY[subscription('conv')]);
SELECT error_code FROM sh_classic_member_join('g', 'c3', NULL, '', '', 45000, 60000, '{range}', ARRAY['\x0000'::bytea]);
-- a third classic member joins, static; its next process takes its place at once, and the first is fenced
SELECT error_code, generation FROM sh_classic_member_join('g', 's1', 'static', '', '', 45000, 60000, '{range}', ARRAY[subscription('conv')]);
SELECT error_code, generation FROM sh_classic_member_join('g', 's2', 'static', '', '', 45000, 60000, '{range}', ARRAY[subscription('conv')]);
SELECT sh_classic_member_heartbeat('g', 's1', 'static', 9) AS fenced;
SELECT sh_classic_member_leave('g', '{s1,"",nobody}', '{static,static,""}');
SELECT member_id FROM members;
-- the last of the new protocol leaves: the group is classic again, its members are told to join
SELECT beat('n1', -1);
SELECT group_type, group_epoch, protocol_name, leader_member IS NULL AS must_rebalance, coordinator_epoch FROM streamhouse.consumer_group WHERE name = 'g';
SELECT member_id, assigned(assignment) FROM streamhouse.classic_member ORDER BY 1;
SELECT count(*) FROM members;
SELECT rejoin('c1', '{}');
SELECT sh_classic_member_heartbeat('g', 'c1', NULL, 8);
SELECT sh_group_tick() AS groups_changed;
-- a group whose members are no consumers stays as it is
INSERT INTO streamhouse.consumer_group (name, version, role, group_type, group_epoch, protocol_type) VALUES ('connect', 1, 'streamhouse_agent', 'classic', 1, 'connect');
INSERT INTO streamhouse.classic_member SELECT group_id, 'w', NULL, '', '', 1, 1, '{default}', '{"\\x00"}', '' FROM streamhouse.consumer_group WHERE name = 'connect';
SELECT error_code FROM sh_group_heartbeat('connect', 'm', 0, subscribed_topics => '{conv}', rebalance_timeout_ms => 1000, owned_topic_ids => '{}', owned_partitions => '{}');
SELECT sh_join('connect', '{conv}');
-- an empty one is whatever its next member is: here a session
INSERT INTO streamhouse.consumer_group (name, version, role, group_type, group_epoch, protocol_type) VALUES ('empty', 1, 'streamhouse_agent', 'classic', 4, '');
SELECT sh_join('empty', '{conv}') IS NOT NULL AS joined;
SELECT group_type, protocol_type, group_epoch, target_epoch FROM streamhouse.consumer_group WHERE name = 'empty';
SELECT sh_leave('empty');
DROP VIEW members;
DELETE FROM streamhouse.classic_member;
SELECT sh_delete_group(g) FROM unnest('{g,connect,empty}'::text[]) AS g;
DROP FUNCTION rejoin, beat, assigned, subscription, name_bytes;
SELECT sh_delete_topic('conv');
