-- Committed offsets as agents handle them: many requests in one call, each with its own answer; groups of either kind.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
SELECT (sh_create_topic('till', 3)).partitions, (sh_create_topic('shelf', 1)).partitions;
CREATE FUNCTION pg_temp.topic(wanted text) RETURNS int LANGUAGE sql AS $$ SELECT topic_id FROM streamhouse.topic WHERE name = wanted AND deleted_at IS NULL $$;
-- one request, of partitions 0, 1 … of a topic
CREATE FUNCTION pg_temp.put(named text, offsets int8[], epoch int DEFAULT -1, member text DEFAULT '', instance text DEFAULT '', version int DEFAULT 9, agent int DEFAULT NULL,
                            topic text DEFAULT 'till') RETURNS int[] LANGUAGE sql AS $$
    SELECT sh_offset_commit_many(agent, ARRAY[named], ARRAY[member], ARRAY[epoch], ARRAY[instance], ARRAY[version],
        array_fill(1, ARRAY[cardinality(offsets)]), array_fill(pg_temp.topic(topic), ARRAY[cardinality(offsets)]),
        ARRAY(SELECT n FROM generate_series(0, cardinality(offsets) - 1) AS n), offsets, array_fill(-1, ARRAY[cardinality(offsets)]), array_fill('m'::text, ARRAY[cardinality(offsets)])) $$;
CREATE FUNCTION pg_temp.classic(named text, generation int, metadata bytea, assignment bytea DEFAULT '\x', protocol text DEFAULT 'consumer') RETURNS void LANGUAGE sql AS $$
    WITH made AS (INSERT INTO streamhouse.consumer_group (name, group_type, protocol_type, protocol_name, leader_member, group_epoch, version, role, emptied_at)
                  VALUES (named, 'classic', protocol, 'range', 'a', generation, 1, current_user::regrole, NULL) RETURNING group_id)
    INSERT INTO streamhouse.classic_member SELECT group_id, m, CASE m WHEN 'a' THEN 'static' END, 'c', '/h', 1, 1, '{x,range}', ARRAY['\xff'::bytea, metadata], assignment
    FROM made, unnest('{a,b}'::text[]) AS m $$;

-- whoever commits without being a member makes a simple group
SELECT pg_temp.put('simple', '{5,6,7}'), pg_temp.put('simple', '{8}', member => 'any');
SELECT "group", type, protocol_type, state, members, partitions, assignor FROM sh_groups();
SELECT topic, partition, committed_offset, metadata FROM sh_group_lag('simple');

-- many requests, each as if it were alone: unknown partitions, a partition named twice (the last one counts), a group that has none
SELECT sh_offset_commit_many(NULL, '{simple,other,simple,""}', '{"","","",""}', '{-1,-1,-1,-1}', '{"","","",""}', '{9,9,9,9}', '{1,1,2,2,2,3,4}',
    ARRAY[pg_temp.topic('till'), pg_temp.topic('till'), pg_temp.topic('till'), 0, pg_temp.topic('till'), pg_temp.topic('till'), pg_temp.topic('till')],
    '{0,3,0,0,0,0,0}', '{10,10,20,20,21,11,0}', '{1,1,1,1,1,1,1}', '{"","",first,"",second,third,""}');
SELECT g.name, o.partition, o.committed_offset, o.leader_epoch, o.metadata FROM streamhouse.group_offset AS o JOIN streamhouse.consumer_group AS g USING (group_id)
WHERE o.partition = 0 ORDER BY 1;
SELECT sh_offset_commit_many(NULL, '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}');
SELECT pg_temp.put(repeat('x', 1001), '{1}'), pg_temp.put('simple', '{-1}');
SELECT sh_offset_commit_many(NULL, '{simple}', '{""}', '{-1}', '{""}', '{9}', '{1}', ARRAY[pg_temp.topic('till')], '{0}', '{1}', '{-1}', ARRAY[repeat('x', 4097)]);
-- requests that do not belong to each other's arrays
SELECT sh_offset_commit_many(NULL, '{simple}', '{""}', '{-1}', '{""}', '{9}', '{2}', ARRAY[pg_temp.topic('till')], '{0}', '{1}', '{-1}', '{""}');
SELECT sh_offset_commit_many(NULL, '{simple}', '{""}', '{-1}', '{""}', '{9}', '{1}', ARRAY[pg_temp.topic('till')], '{0}', '{1,2}', '{-1}', '{""}');

-- a classic group: its subscription is version 1 of the consumer protocol, topics till and né; its assignment till 0 and 2
SELECT pg_temp.classic('classic', 5, decode('000100000002000474696c6c00036ec3a9ffffffff00000000', 'hex'), decode('000100000001000474696c6c000000020000000000000002ffffffff', 'hex'));
SELECT pg_temp.put('classic', '{1}', 5, 'a') AS good, pg_temp.put('classic', '{1}', 5, 'a', 'static') AS static, pg_temp.put('classic', '{1}', 5, 'b', 'static') AS fenced,
       pg_temp.put('classic', '{1}', 5, 'a', 'no such') AS instance, pg_temp.put('classic', '{1}', 5, 'c') AS stranger, pg_temp.put('classic', '{1}', 4, 'a') AS earlier,
       pg_temp.put('classic', '{1}', 6, 'c') AS next, pg_temp.put('classic', '{1}', 7, 'c') AS later, pg_temp.put('classic', '{1}') AS nobody, pg_temp.put('classic', '{1}', -1, 'a') AS none;
SELECT "group", type, protocol_type, state, members, group_epoch, assignor FROM sh_groups() WHERE "group" = 'classic';
SELECT member_id, kind, instance_id, member_epoch, state, topics, assigned, joined_at FROM sh_describe_group('classic');
SELECT partition, committed_offset, member_id FROM sh_group_lag('classic');
-- an empty one: whoever comes from a generation is a stranger, but from the next one
DELETE FROM streamhouse.classic_member WHERE group_id = (SELECT group_id FROM streamhouse.consumer_group WHERE name = 'classic') AND member_id = 'b';
SELECT pg_temp.classic('left', 5, '\x');
DELETE FROM streamhouse.classic_member WHERE group_id = (SELECT group_id FROM streamhouse.consumer_group WHERE name = 'left');
SELECT pg_temp.put('left', '{1}', 5, 'a'), pg_temp.put('left', '{1}', 6, 'a'), pg_temp.put('left', '{1}', 7, 'a'), pg_temp.put('left', '{1}', -1, 'a');

-- a KIP-848 group, and what versions before it are told
SELECT member_epoch FROM sh_group_heartbeat('modern', 'k', 0, rebalance_timeout_ms => 60000, subscribed_topics => '{till}', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT pg_temp.put('modern', '{1}', 1, 'k') AS good, pg_temp.put('modern', '{1}', 2, 'k') AS stale, pg_temp.put('modern', '{1}', 1, 'l') AS stranger,
       pg_temp.put('modern', '{1}', 1, 'k', version => 8) AS old, pg_temp.put('modern', '{1}') AS nobody,
       pg_temp.put('none', '{1}', 1, 'k') AS missing, pg_temp.put('none', '{1}', 1, 'k', version => 8) AS missing_old, pg_temp.put('none', '{1}', 1, 'k', version => 0) AS missing_sql;

-- bytes of clients may be anything
SELECT streamhouse.classic_topics('\x'), streamhouse.classic_topics('\x00017fffffff'), streamhouse.classic_topics('\x0000000000010001feffffffff');
SELECT count(*) FROM streamhouse.classic_assigned('\x0001000000010001617fffffff');

-- fetching: named and all, groups that are not there, what is named twice
SELECT request, place, (SELECT name FROM streamhouse.topic AS t WHERE t.topic_id = f.topic_id) AS topic, partition, "offset", metadata, error_code
FROM sh_offset_fetch_many(NULL, '{simple,simple,none,modern,other,modern}', '{"","","",k,"",l}', '{-1,-1,-1,2,-1,1}', '{0,1,1,1,1,1}', '{1,1,1,1,3}',
                          ARRAY[pg_temp.topic('till'), pg_temp.topic('till'), pg_temp.topic('shelf'), pg_temp.topic('till'), pg_temp.topic('till')], '{1,9,0,1,0}') AS f;
SELECT * FROM sh_offset_fetch_many(NULL, '{}', '{}', '{}', '{}', '{}', '{}', '{}');

-- who coordinates, as long as it is alive
INSERT INTO streamhouse.agent (name, incarnation, kafka_host, kafka_port, started_at, heartbeat_at, expires_at)
SELECT n, gen_random_uuid(), 'h', 1, now(), now(), now() + interval '1 h' FROM unnest('{offsets1,offsets2}'::text[]) AS n;
CREATE FUNCTION pg_temp.agent(wanted text) RETURNS int LANGUAGE sql AS $$ SELECT agent_id FROM streamhouse.agent WHERE name = wanted $$;
UPDATE streamhouse.consumer_group SET coordinator_id = pg_temp.agent('offsets1') WHERE name = 'simple';
SELECT pg_temp.put('simple', '{1}', agent => pg_temp.agent('offsets1')), pg_temp.put('simple', '{1}', agent => pg_temp.agent('offsets2')), pg_temp.put('simple', '{1}');
SELECT error_code FROM sh_offset_fetch_many(pg_temp.agent('offsets2'), '{simple}', '{""}', '{-1}', '{1}', '{}', '{}', '{}');
SELECT error_code, errors FROM sh_offset_delete(pg_temp.agent('offsets2'), 'simple', '{}', '{}');
SELECT sh_delete_groups(pg_temp.agent('offsets2'), '{simple}'), (SELECT error_code FROM sh_describe_groups(pg_temp.agent('offsets2'), '{simple}'));
-- every group is listed by one agent; those of other tests are gone
DELETE FROM streamhouse.agent WHERE name NOT LIKE 'offsets_';
SELECT (SELECT count(*) FROM sh_list_groups(NULL)) = (SELECT count(*) FROM sh_list_groups(pg_temp.agent('offsets1'))) + (SELECT count(*) FROM sh_list_groups(pg_temp.agent('offsets2'))) AS whole,
       EXISTS (SELECT FROM sh_list_groups(pg_temp.agent('offsets1')) WHERE "group" = 'simple') AS by_its_own;
DELETE FROM streamhouse.agent WHERE name LIKE 'offsets_';
SELECT pg_temp.put('simple', '{1}', agent => 1000000);
SELECT * FROM sh_list_groups(NULL);
SELECT "group" FROM sh_list_groups(NULL, '{" STABLE","nonsense"}', '{Classic}');
SELECT request, error_code, error_message, state, protocol_type, protocol_name, member_id, metadata IS NOT NULL AS metadata FROM sh_describe_groups(NULL, '{classic,none,modern,left}');

-- deleting offsets
SELECT pg_temp.put('classic', '{1}', 5, 'a', topic => 'shelf'), pg_temp.put('modern', '{1}', 1, 'k', topic => 'shelf');
SELECT d.* FROM unnest('{classic,modern,none,""}'::text[]) AS g, LATERAL sh_offset_delete(NULL, g, ARRAY[pg_temp.topic('till'), pg_temp.topic('shelf'), pg_temp.topic('shelf'), 0], '{0,0,1,0}') AS d;
SELECT error_code, errors FROM sh_offset_delete(NULL, 'simple', ARRAY[pg_temp.topic('till'), pg_temp.topic('till')], '{1,1}');
SELECT topic, partition FROM sh_group_lag('classic') UNION ALL SELECT topic, partition FROM sh_group_lag('simple') ORDER BY 1, 2;
-- members whose subscription cannot be read may have any topic; those that are no consumers are nobody's business
SELECT pg_temp.classic('odd', 1, '\xff'), pg_temp.classic('connect', 1, '\xff', protocol => 'connect');
SELECT d.* FROM unnest('{odd,connect}'::text[]) AS g, LATERAL sh_offset_delete(NULL, g, ARRAY[pg_temp.topic('shelf')], '{0}') AS d;
SELECT sh_delete_groups(NULL, '{other,other,odd,modern,none}');
SELECT sh_delete_group('odd');

-- rights: to the group, and to the topic
CREATE ROLE offset_zoe;
GRANT EXECUTE ON FUNCTION sh_offset_commit_many, sh_offset_fetch_many, sh_offset_delete, sh_delete_groups TO offset_zoe;
SELECT pg_temp.topic('till') AS till \gset
SELECT pg_temp.topic('shelf') AS shelf \gset
SELECT sh_grant('shelf', 'offset_zoe', 'consume') IS NOT NULL AS granted;
SET ROLE offset_zoe;
SELECT sh_offset_commit_many(NULL, '{simple,zoes,zoes}', '{"","",""}', '{-1,-1,-1}', '{"","",""}', '{9,9,9}', '{1,2,3}', ARRAY[:till, :till, :shelf], '{0,0,0}', '{1,1,1}', '{-1,-1,-1}', '{"","",""}');
SELECT request, place, error_code FROM sh_offset_fetch_many(NULL, '{simple,zoes}', '{"",""}', '{-1,-1}', '{1,0}', '{2,2}', ARRAY[:till, :shelf], '{0,0}');
SELECT error_code FROM sh_offset_delete(NULL, 'simple', '{}', '{}');
SELECT sh_delete_groups(NULL, '{simple,zoes}');
RESET ROLE;
SELECT sh_revoke('shelf', 'offset_zoe', 'consume') IS NOT NULL AS revoked;
DROP OWNED BY offset_zoe;
DROP ROLE offset_zoe;

-- offsets expire: of groups without members, from when they were left or from the commit; else those of topics that nobody wants
SELECT sh_cluster_id() IS NOT NULL AS cluster;
SELECT pg_temp.put('fresh', '{1}'), pg_temp.put('old', '{1,1}'), pg_temp.put('part', '{1,1}'), pg_temp.put('classic', '{1}', 5, 'a', topic => 'shelf');
UPDATE streamhouse.group_offset AS o SET committed_at = now() - interval '8 days'
FROM streamhouse.consumer_group AS g WHERE g.group_id = o.group_id AND (g.name IN ('old', 'classic', 'left', 'modern') OR g.name = 'part' AND o.partition = 0);
UPDATE streamhouse.consumer_group SET emptied_at = now() - interval '8 days' WHERE name IN ('old', 'part', 'fresh', 'connect');
UPDATE streamhouse.consumer_group SET emptied_at = NULL WHERE name = 'left';
UPDATE streamhouse.consumer_group SET emptied_at = now() WHERE name = 'modern'; -- it has a member
UPDATE streamhouse.cluster SET swept_groups_at = '-infinity';
SELECT streamhouse.prune_offsets() AS removed, streamhouse.prune_offsets() AS removed_again;
SELECT g.name, g.emptied_at < now() - interval '7 days' AS emptied_long_ago, g.emptied_at IS NULL AS has_members,
       (SELECT string_agg(t.name || '-' || o.partition, ' ' ORDER BY t.name, o.partition) FROM streamhouse.group_offset AS o JOIN streamhouse.topic AS t USING (topic_id) WHERE o.group_id = g.group_id) AS offsets
FROM streamhouse.consumer_group AS g ORDER BY 1;
-- a group that was left just now keeps its offsets, however old they are; a round has its time
SELECT swept_group_id, swept_groups_at > now() - interval '1 min' AS swept FROM streamhouse.cluster;
UPDATE streamhouse.group_offset SET committed_at = now() - interval '8 days';
SELECT sh_prune() IS NOT NULL AS pruned, (SELECT count(*) FROM streamhouse.group_offset) > 0 AS kept;
SET streamhouse.offsets_retention = '1s';
UPDATE streamhouse.cluster SET swept_groups_at = '-infinity';
UPDATE streamhouse.consumer_group SET emptied_at = emptied_at - interval '8 days';
UPDATE streamhouse.group_offset SET committed_at = committed_at - interval '8 days';
SET streamhouse.reap_rows_max = 1;
SELECT streamhouse.prune_offsets() AS removed;
SELECT streamhouse.prune_offsets() AS removed_next;
RESET streamhouse.reap_rows_max;
SELECT streamhouse.prune_offsets() >= 0 AS removed;
SELECT g.name FROM streamhouse.consumer_group AS g ORDER BY 1;
RESET streamhouse.offsets_retention;

DELETE FROM streamhouse.classic_member;
DELETE FROM streamhouse.group_member;
SELECT count(sh_delete_group("group")) > 0 AS deleted FROM sh_groups();
SELECT count(*) FROM streamhouse.group_offset;
SELECT sh_delete_topic('till'), sh_delete_topic('shelf');
