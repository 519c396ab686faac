-- Who coordinates a group, and what coordinators write of classic groups.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
CREATE FUNCTION pg_temp.beat(agent text, ttl_ms int DEFAULT 600000) RETURNS int LANGUAGE sql AS $$
    SELECT agent_id FROM sh_agent_heartbeat(agent, md5(agent)::uuid, agent || '.example', 9092, NULL, NULL, NULL, NULL, ttl_ms, 0) $$;
CREATE FUNCTION pg_temp.coordinator(groups text[]) RETURNS TABLE (key text, agent text, kafka_host text, kafka_port int) LANGUAGE sql AS $$
    SELECT f.key, a.name, f.kafka_host, f.kafka_port FROM sh_find_coordinators(groups) AS f LEFT JOIN sh_agents() AS a USING (agent_id) $$;
-- one group, members as member ids; every member's assignment is its id backwards
CREATE FUNCTION pg_temp.store(agent int, group_name text, epoch int, generation int, members text[], instances text[] DEFAULT NULL) RETURNS int LANGUAGE sql AS $$
    SELECT s.error_code
    FROM streamhouse.consumer_group AS g,
         sh_store_classic_groups(agent, ARRAY[g.group_id], ARRAY[epoch], ARRAY[generation], '{consumer}', ARRAY[CASE WHEN cardinality(members) > 0 THEN 'range' ELSE '' END],
                                 ARRAY[coalesce(members[1], '')], ARRAY[cardinality(members)], members, coalesce(instances, array_fill(''::text, ARRAY[cardinality(members)])),
                                 array_fill('c'::text, ARRAY[cardinality(members)]), array_fill('/h'::text, ARRAY[cardinality(members)]),
                                 array_fill(10000, ARRAY[cardinality(members)]), array_fill(60000, ARRAY[cardinality(members)]),
                                 ARRAY(SELECT reverse(m)::bytea FROM unnest(members) WITH ORDINALITY AS m (m, n) ORDER BY n), array_fill(1, ARRAY[cardinality(members)]),
                                 array_fill('range'::text, ARRAY[cardinality(members)]), ARRAY(SELECT m::bytea FROM unnest(members) WITH ORDINALITY AS m (m, n) ORDER BY n)) AS s
    WHERE g.name = group_name $$;
CREATE FUNCTION pg_temp.state(group_name text) RETURNS TABLE (type text, epoch int, generation int, protocol text, leader text, empty bool, members text) LANGUAGE sql AS $$
    SELECT g.group_type, g.coordinator_epoch, g.group_epoch, g.protocol_name, g.leader_member, g.emptied_at IS NOT NULL,
           (SELECT string_agg(m.member_id || '=' || convert_from(m.assignment, 'UTF8'), ' ' ORDER BY m.member_id) FROM streamhouse.classic_member AS m WHERE m.group_id = g.group_id)
    FROM streamhouse.consumer_group AS g WHERE g.name = group_name $$;

-- nobody is alive
SELECT * FROM pg_temp.coordinator('{g}');
SELECT * FROM sh_claim_group('g', 1, true);
SELECT pg_temp.beat('one') AS one \gset
SELECT pg_temp.beat('two') AS two \gset
-- the same answer every time, for any number of names, in their order; a group need not exist
SELECT count(DISTINCT agent) AS agents, bool_and(kafka_host = agent || '.example') AS hosts FROM pg_temp.coordinator(ARRAY(SELECT 'group ' || n FROM generate_series(1, 100) AS n));
SELECT array_agg(key) FROM sh_find_coordinators('{b,a,b}');
SELECT (SELECT array_agg(agent_id) FROM sh_find_coordinators('{a,b,c,d}')) = (SELECT array_agg(agent_id) FROM sh_find_coordinators('{a,b,c,d}')) AS same;

-- claiming: who asks first has it, and keeps it while alive
SELECT count(*) FROM sh_claim_group('g', :one, false);
SELECT coordinator_epoch, is_consumer, generation, protocol_name, leader, member_id FROM sh_claim_group('g', :one, true);
SELECT agent FROM pg_temp.coordinator('{g}');
SELECT * FROM sh_claim_group('g', :two, true);
SELECT coordinator_epoch FROM sh_claim_group('g', :one, false);
SELECT * FROM sh_claim_group('g', 12345, true);
SELECT * FROM sh_claim_group('', :one, true);

-- generations
SELECT pg_temp.store(:one, 'g', 2, 1, '{m1,m2}', '{"",i2}');
SELECT * FROM pg_temp.state('g');
-- the same again is the same; an earlier epoch, an earlier generation and another agent's are refused
SELECT pg_temp.store(:one, 'g', 2, 1, '{m1,m2}', '{"",i2}');
SELECT pg_temp.store(:one, 'g', 1, 2, '{m1}');
SELECT pg_temp.store(:two, 'g', 2, 2, '{m1}');
SELECT pg_temp.store(:one, 'g', 2, 0, '{m1}');
SELECT * FROM pg_temp.state('g');
-- a static member's place goes to another id
SELECT pg_temp.store(:one, 'g', 2, 1, '{m1,m3}', '{"",i2}');
SELECT member_id, instance_id, client_id, client_host, session_timeout_ms, rebalance_timeout_ms, protocol_names, protocol_metadata, assignment, leader
FROM sh_claim_group('g', :one, false);
-- what an earlier call of the same agent may yet do is refused
SELECT pg_temp.store(:one, 'g', 2, 2, '{m1}');
-- empty
SELECT pg_temp.store(:one, 'g', 3, 2, '{}');
SELECT * FROM pg_temp.state('g');
SELECT pg_temp.store(:one, 'g', 3, 3, '{m1}');
SELECT * FROM pg_temp.state('g');

-- many groups in one call, each judged for itself; members have any number of protocols
SELECT (SELECT count(*) FROM sh_claim_group('h', :one, true)) + (SELECT count(*) FROM sh_claim_group('i', :one, true)) AS claimed;
SELECT g.name, s.error_code
FROM sh_store_classic_groups(:one, (SELECT array_agg(group_id ORDER BY name) || 0 FROM streamhouse.consumer_group WHERE name IN ('g', 'h', 'i')), '{3,9,1,1}', '{4,1,1,1}',
                             '{consumer,consumer,connect,consumer}', '{range,range,sessioned,x}', '{g1,h1,i1,x1}', '{2,1,1,1}', '{g1,g2,h1,i1,x1}',
                             '{"","","","",""}', '{c,c,c,c,c}', '{h,h,h,h,h}', '{1,2,3,4,5}', '{6,7,8,9,10}', '{a,b,c,d,e}', '{2,0,1,3,0}', '{p1,p2,q1,r1,r2,r3}', '{1,2,3,4,5,6}') AS s
LEFT JOIN streamhouse.consumer_group AS g USING (group_id);
SELECT g.name, g.protocol_type, m.member_id, m.protocol_names, m.protocol_metadata, m.assignment, m.session_timeout_ms
FROM streamhouse.classic_member AS m JOIN streamhouse.consumer_group AS g USING (group_id) ORDER BY 1, 3;
SELECT * FROM pg_temp.state('h');

-- a coordinator that leaves or dies: another one claims, and finds what was stored
SELECT sh_orphan_groups(:two, false, '', 10);
SELECT array_agg(n ORDER BY n) FROM sh_orphan_groups(:one, true, '', 10) AS n;
SELECT sh_agent_leave(:one, md5('one')::uuid) >= 0 AS left;
SELECT array_agg(n ORDER BY n) FROM sh_orphan_groups(:two, false, '', 10) AS n;
SELECT sh_orphan_groups(:two, false, '', 1);
SELECT sh_orphan_groups(:two, false, 'g', 1);
SELECT agent FROM pg_temp.coordinator('{g,h}');
SELECT * FROM sh_claim_group('i', :one, false);
SELECT coordinator_epoch, generation, protocol_name, leader, member_id FROM sh_claim_group('g', :two, false);
SELECT pg_temp.store(:one, 'g', 3, 5, '{m1}');
SELECT pg_temp.store(:two, 'g', 4, 5, '{m1}');

-- a group whose first members left before there was a generation
SELECT count(*) FROM sh_claim_group('early', :two, true);
SELECT pg_temp.store(:two, 'early', 1, 1, '{}');
SELECT * FROM pg_temp.state('early');

-- members of KIP-848 and of classic groups do not mix unseen
SELECT FROM sh_create_topic('t', 1);
SELECT error_code FROM sh_group_heartbeat('k', 'm', 0, rebalance_timeout_ms => 60000, subscribed_topics => '{t}', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT is_consumer, member_id FROM sh_claim_group('k', :two, true);
SELECT pg_temp.store(:two, 'k', (SELECT coordinator_epoch FROM streamhouse.consumer_group WHERE name = 'k'), 100, '{m1}');
SELECT error_code FROM sh_group_heartbeat('k', 'm', -1);
SELECT is_consumer, member_id FROM sh_claim_group('k', :two, true);
SELECT pg_temp.store(:two, 'k', (SELECT coordinator_epoch FROM streamhouse.consumer_group WHERE name = 'k'), 100, '{m1}');
SELECT type, generation, members FROM pg_temp.state('k');

SELECT sh_agent_leave(:two, md5('two')::uuid) >= 0 AS left;
DELETE FROM streamhouse.classic_member;
DELETE FROM streamhouse.group_partition;
DELETE FROM streamhouse.group_offset;
DELETE FROM streamhouse.consumer_group;
SELECT sh_delete_topic('t');
