-- sh_poll() and what goes with it, as one session meets them: positions, transactions, savepoints, seeking, committing by
-- hand, resetting, limits, waiting, rights.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
\set VERBOSITY default
CREATE FUNCTION pg_temp.fill(topic text, partition int, records int) RETURNS int8 LANGUAGE sql AS $$
    SELECT count(p) FROM (SELECT sh_produce(topic, 'v' || n, 'k' || n, partition) AS p FROM generate_series(1, records) AS n) AS x $$;

-- the columns that the library reads are where it expects them
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'streamhouse.consumer_group'::regclass AND attnum > 0;
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'streamhouse.group_offset'::regclass AND attnum > 0;

SELECT (sh_create_topic('shop', 2)).partitions, (sh_create_topic('shop2', 1)).partitions;
SELECT pg_temp.fill('shop', 0, 3), pg_temp.fill('shop', 1, 2);

-- the first poll joins, gives records with all that they have, and the next one goes on after them
SELECT topic, partition, "offset", convert_from(key, 'UTF8') AS key, convert_from(value, 'UTF8') AS value, headers, "timestamp" > now() - interval '1 h' AS fresh FROM sh_poll('g', '{shop}');
SELECT count(*) FROM sh_poll('g');
SELECT pg_temp.fill('shop', 0, 1);
SELECT partition, "offset" FROM sh_poll('g', '{shop}');
SELECT "group", state, members, partitions, lag, group_epoch, assignor, protocol_type FROM sh_groups();
SELECT kind, client_host, instance_id, member_epoch, state, topics, regex, assigned, target, backend_pid = pg_backend_pid() AS own FROM sh_describe_group('g');
SELECT topic, partition, committed_offset, log_start_offset, high_watermark, lag, member_id IS NOT NULL AS has_member, metadata, committed_at IS NOT NULL AS committed FROM sh_group_lag('g');

-- a rollback puts the offsets back, and so does a savepoint's
SELECT pg_temp.fill('shop', 0, 4);
BEGIN;
SELECT "offset" FROM sh_poll('g', max_records => 2);
SAVEPOINT a;
SELECT "offset" FROM sh_poll('g', max_records => 1);
ROLLBACK TO a;
SELECT "offset" FROM sh_poll('g', max_records => 1);
RELEASE a;
SELECT "offset" FROM sh_poll('g', max_records => 1);
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT "offset" FROM sh_poll('g', max_records => 3);
ROLLBACK TO a;
SELECT "offset" FROM sh_poll('g', max_records => 3);
COMMIT;
SELECT "offset" FROM sh_poll('g');
SELECT committed_offset FROM sh_group_lag('g');

-- as many records and bytes as are asked for, turn by turn from all partitions
SELECT pg_temp.fill('shop', 0, 4), pg_temp.fill('shop', 1, 4);
SELECT partition, "offset" FROM sh_poll('g', max_records => 2);
SELECT partition, "offset" FROM sh_poll('g', max_records => 2);
SELECT partition, count(*) FROM sh_poll('g', max_bytes => 9) GROUP BY 1;
SELECT count(*) FROM sh_poll('g', max_bytes => 1);
SELECT count(*) FROM sh_poll('g');
SELECT count(*) FROM sh_poll('g', max_records => 0);
SELECT count(*) FROM sh_poll(NULL);
SELECT count(*) FROM sh_poll('g', wait => '-1 s');

-- other isolation levels; a transaction that only reads
SELECT pg_temp.fill('shop', 0, 2);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM sh_poll('g', max_records => 1);
SELECT count(*) FROM sh_poll('g');
SELECT count(*) FROM sh_poll('g');
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT count(*) FROM sh_poll('g');
COMMIT;
BEGIN READ ONLY;
SELECT count(*) FROM sh_poll('g');
ROLLBACK;

-- seeking, back and forth; a rollback undoes it
SELECT sh_seek('g', 'shop', 0, 1);
SELECT min("offset"), max("offset"), count(*) FROM sh_poll('g');
BEGIN;
SELECT sh_seek('g', 'shop', 0, 2);
SELECT min("offset") FROM sh_poll('g');
ROLLBACK;
SELECT count(*) FROM sh_poll('g');
SELECT sh_seek('g', 'shop', 9, 2);
SELECT sh_seek('g', 'shop', 0, -1);
SELECT sh_seek('g', 'nowhere', 0, 2);
SELECT sh_seek('g', 'shop2', 0, 0);
SELECT sh_seek('g-none', 'shop', 0, 0);

-- offsets that are committed by hand: the session goes on, the group does not, until they are
SELECT pg_temp.fill('shop', 0, 2), pg_temp.fill('shop', 1, 1);
SELECT partition, "offset" FROM sh_poll('g', auto_commit => false) ORDER BY 1, 2;
SELECT count(*) FROM sh_poll('g', auto_commit => false);
SELECT partition, lag FROM sh_group_lag('g');
SELECT sh_commit('g'), sh_commit('g');
SELECT partition, lag FROM sh_group_lag('g');
-- a failed transaction's records come again, and so do those whose commit is rolled back
SELECT pg_temp.fill('shop', 0, 2);
BEGIN;
SELECT "offset" FROM sh_poll('g', auto_commit => false, max_records => 1);
ROLLBACK;
SELECT "offset" FROM sh_poll('g', auto_commit => false, max_records => 1);
SELECT "offset" FROM sh_poll('g', auto_commit => false, max_records => 1);
BEGIN;
SELECT sh_commit('g');
ROLLBACK;
SELECT "offset" FROM sh_poll('g', auto_commit => false);
-- one record at a time, with a note
SELECT sh_commit('g', 'shop', 0, 15, 'half done');
SELECT partition, committed_offset, lag, metadata FROM sh_group_lag('g');
SELECT count(*) FROM sh_poll('g', auto_commit => false);
SELECT sh_commit('g');
SELECT sh_commit('g', 'shop', 0, 15, repeat('x', 4097));
SELECT sh_commit('g', 'shop', 7, 15);

-- what a session may not do in a transaction block, and what it must be a member for
BEGIN; SELECT sh_join('g', '{shop}'); ROLLBACK;
BEGIN; SELECT sh_leave('g'); ROLLBACK;
BEGIN; SELECT count(*) FROM sh_poll('other', '{shop}'); ROLLBACK;
BEGIN; SELECT count(*) FROM sh_poll('g', '{shop,shop2}'); ROLLBACK;
SELECT sh_commit('other');
SELECT sh_leave('other');
SELECT sh_describe_group('other');
SELECT sh_group_lag('other');
SELECT sh_delete_group('other');

-- another subscription: topics, a regular expression, which new topics match, too
SELECT pg_temp.fill('shop2', 0, 1);
SELECT topic, "offset" FROM sh_poll('g', '{shop2,shop}');
SELECT sh_join('g', '{}', regex => 'shop\d') IS NOT NULL AS joined;
SELECT topics, regex, assigned FROM sh_describe_group('g');
SELECT (sh_create_topic('shop3', 1)).name, (sh_create_topic('workshop4', 1)).name;
SELECT sh_group_tick();
SELECT topics, regex, assigned FROM sh_describe_group('g');
SELECT pg_temp.fill('shop3', 0, 1);
BEGIN;
SELECT topic, "offset" FROM sh_poll('g');
COMMIT;
-- new partitions
SELECT sh_add_partitions('shop3', 3), sh_group_tick(), sh_group_tick();
SELECT assigned FROM sh_describe_group('g');
-- a topic that is deleted goes, and its offsets do
SELECT sh_delete_topic('shop3'), sh_group_tick();
SELECT assigned FROM sh_describe_group('g');
SELECT topic, partition FROM sh_group_lag('g');
SELECT count(*) FROM streamhouse.group_offset AS o WHERE o.topic_id NOT IN (SELECT topic_id FROM streamhouse.topic WHERE deleted_at IS NULL);
SELECT count(*) FROM sh_poll('g');
SELECT sh_join('g', '{shop}', regex => '') IS NOT NULL AS joined;
SELECT topics, regex, assigned FROM sh_describe_group('g');

-- nonsense
SELECT sh_join('g', '{nowhere}');
SELECT sh_join('', '{shop}');
SELECT sh_join('g2');
SELECT sh_join('g', '{shop}', regex => '(');
SELECT sh_join('g', '{shop}', assignor => 'sticky');
SELECT sh_join('g', '{shop}', auto_offset_reset => 'newest');
SELECT sh_join('g', '{shop}', poll_limit => '0');
SELECT sh_join('g', ARRAY['shop', NULL]);
-- none of which has cost the session its membership
SELECT topics, assigned FROM sh_describe_group('g');

-- where to begin
SELECT sh_join('late', '{shop}', auto_offset_reset => 'latest') IS NOT NULL AS joined;
SELECT count(*) FROM sh_poll('late');
SELECT pg_temp.fill('shop', 0, 1);
SELECT count(*) FROM sh_poll('late');
SELECT sh_leave('late');
SELECT count(*) FROM sh_poll('strict', '{shop}', auto_offset_reset => 'none');
SELECT count(*) FROM sh_reset_offsets('strict', 'shop', 'latest', force => true);
SELECT count(*) FROM sh_poll('strict', '{shop}', auto_offset_reset => 'none');
-- an offset that is deleted by now
UPDATE streamhouse.partition SET log_start_offset = 5 WHERE topic_id = (SELECT topic_id FROM streamhouse.topic WHERE name = 'shop') AND partition = 0;
SELECT sh_seek('strict', 'shop', 0, 2);
SELECT count(*) FROM sh_poll('strict');
SELECT min("offset") FROM sh_poll('strict', auto_offset_reset => 'earliest');
SELECT sh_seek('strict', 'shop', 0, 1000000);
SELECT min("offset") FROM sh_poll('strict', auto_offset_reset => 'latest');
SELECT committed_offset = high_watermark AS at_end FROM sh_group_lag('strict') WHERE partition = 0;
SELECT sh_leave('strict');

-- resetting: earliest, latest, an offset, a time, some partitions; not under somebody's feet, unless forced
SELECT * FROM sh_reset_offsets('g', 'shop', 'earliest');
SELECT * FROM sh_reset_offsets('g', 'shop', 'earliest', force => true);
SELECT min("offset") FROM sh_poll('g') GROUP BY partition ORDER BY partition;
SELECT sh_leave('g');
SELECT sh_leave('g');
SELECT * FROM sh_reset_offsets('g', 'shop', 'latest');
SELECT * FROM sh_reset_offsets('g', 'shop', '7', partitions => '{0}');
SELECT * FROM sh_reset_offsets('g', 'shop', '0', partitions => '{0}');
SELECT * FROM sh_reset_offsets('g', 'shop', '99999');
SELECT r.partition, r."offset" - e.high_watermark AS from_end FROM sh_reset_offsets('g', 'shop', (now() + interval '1 day')::text) AS r, sh_describe_topic('shop') AS e WHERE e.partition = r.partition;
SELECT * FROM sh_reset_offsets('g', 'shop', '7', partitions => '{}');
SELECT * FROM sh_reset_offsets('g', 'shop', '2001-01-01 00:00:00+00');
SELECT sh_produce('shop2', 'old', ts => '2020-01-01 00:00:00+00', partition => 0), sh_produce('shop2', 'new', ts => '2020-01-01 00:00:01+00', partition => 0) FROM generate_series(1, 1);
SELECT * FROM sh_reset_offsets('g', 'shop', 'yesteryear');
SELECT * FROM sh_reset_offsets('g', 'shop', NULL);
SELECT * FROM sh_reset_offsets('g', 'shop', 'latest', partitions => '{5}');
SELECT * FROM sh_reset_offsets('g', 'nowhere', 'latest');
SELECT committed_offset FROM sh_group_lag('g');
-- in a transaction, like everything
BEGIN; SELECT count(*) FROM sh_reset_offsets('g', 'shop', 'latest'); ROLLBACK;
SELECT committed_offset FROM sh_group_lag('g');
-- a time within a batch of several records
SELECT (sh_create_topic('times', 1)).name;
SELECT records FROM sh_produce_batch('times', '{a,b,c,d}'::text[], ts => ARRAY['2020-01-01 00:00:01+00', '2020-01-01 00:00:02+00', '2020-01-01 00:00:03+00', '2020-01-01 00:00:04+00']::timestamptz[], partition => 0);
SELECT "offset" FROM sh_reset_offsets('g', 'times', '2020-01-01 00:00:03+00');
SELECT "offset" FROM sh_reset_offsets('g', 'times', '2020-01-01 00:00:02.5+00');
SELECT "offset" FROM sh_reset_offsets('g', 'times', '2020-01-01 00:00:04.001+00');

-- a poll limit, past which the member is gone: an error says so, and the next poll joins again
SELECT sh_join('limited', '{shop}', poll_limit => '4 s') IS NOT NULL AS joined;
UPDATE streamhouse.group_member SET last_seen = '-infinity' WHERE backend_pid = pg_backend_pid();
UPDATE streamhouse.group_member SET session_timeout_ms = 1 WHERE backend_pid = pg_backend_pid();
SELECT sh_group_tick() > 0 AS ticked;
BEGIN; SELECT count(*) > 0 FROM sh_poll('limited'); ROLLBACK;
SELECT count(*) > 0 AS joined_again FROM sh_poll('limited');
SELECT count(*) FROM sh_describe_group('limited');
-- a session's end is the member's end: somebody else's row with a process that is no more
UPDATE streamhouse.group_member SET backend_start = backend_start - interval '1 s' WHERE group_id = (SELECT group_id FROM streamhouse.consumer_group WHERE name = 'limited');
SELECT sh_group_tick();
SELECT count(*) FROM sh_describe_group('limited');
SELECT count(*) FROM sh_poll('limited');

-- a poll in a block leaves a trace of its own when a quarter of the limit has passed, which goes with the member
SELECT sh_join('traced', '{shop}', poll_limit => '400 ms') IS NOT NULL AS joined, pg_sleep(0.15);
BEGIN; SELECT count(*) > 0 AS polled FROM sh_poll('traced'); SELECT count(*) > 0 AS polled FROM sh_poll('traced'); COMMIT;
SELECT count(*), min(s.seen_at) > min(m.last_seen) AS later, min(d.seen_at) = min(s.seen_at) AS told
FROM streamhouse.group_seen AS s JOIN streamhouse.group_member AS m USING (group_id, member_id) JOIN sh_describe_group('traced') AS d USING (member_id);
SELECT pg_sleep(0.15);
BEGIN; SELECT count(*) FROM sh_poll('traced'); ROLLBACK;
SELECT count(*) FROM streamhouse.group_seen;
SELECT sh_leave('traced'), (SELECT count(*) FROM streamhouse.group_seen);
SELECT count(*) FROM streamhouse.group_seen;

-- an aborted join leaves no member
SELECT 1 / count(*) FROM sh_poll('abort', '{shop2}', 1) WHERE "offset" < 0;
SELECT count(*) FROM sh_poll('abort', '{shop2}', 1);
SELECT count(*) FROM sh_describe_group('abort');
SELECT sh_leave('abort');

-- waiting: for nothing, and with records there
SELECT count(*) FROM sh_poll('w', '{times}');
SELECT clock_timestamp() AS begun \gset
SELECT count(*) FROM sh_poll('w', wait => '300 ms');
SELECT clock_timestamp() - :'begun' BETWEEN interval '290 ms' AND interval '10 s' AS waited;
SELECT count(*) FROM (SELECT sh_produce('times', 'x')) AS x;
SELECT count(*) FROM sh_poll('w', wait => '1 h');
SELECT sh_leave('w');

-- many positions in one transaction, and a poll of two groups
SELECT count(*) FROM sh_poll('w1', '{shop}', 1) AS a, sh_poll('w2', '{shop}', 1) AS b;
BEGIN; SELECT count(*) FROM generate_series(1, 3) AS n, LATERAL (SELECT * FROM sh_poll('w1', max_records => n)) AS p; ROLLBACK;
SELECT sh_leave('w1'), sh_leave('w2');

-- a group is its creator's, and of those who may use any
CREATE ROLE test_group_ann;
CREATE ROLE test_group_bob;
CREATE ROLE test_group_team ROLE test_group_ann, test_group_bob;
SELECT (sh_create_topic('desk', 1)).name;
GRANT USAGE ON SCHEMA public TO test_group_ann, test_group_bob;
SELECT sh_grant('desk', role, 'consume') FROM unnest('{test_group_ann,test_group_team}'::name[]) AS role;
SET ROLE test_group_ann;
SELECT count(*) FROM sh_poll('anns', '{desk}');
SELECT "group", members, created_by FROM sh_groups();
SET ROLE test_group_team;
SELECT sh_join('teams', '{desk}') IS NOT NULL AS joined, sh_leave('teams');
SET ROLE test_group_bob;
SELECT "group", created_by FROM sh_groups();
SELECT count(*) FROM sh_poll('teams', '{desk}');
SELECT sh_leave('teams');
SELECT count(*) FROM sh_poll('anns', '{desk}');
SELECT sh_join('anns', '{desk}');
SELECT * FROM sh_describe_group('anns');
SELECT * FROM sh_group_lag('anns');
SELECT * FROM sh_reset_offsets('anns', 'desk', 'latest', force => true);
SELECT sh_delete_group('anns');
SELECT sh_group_tick();
SELECT * FROM sh_group_heartbeat('anns', 'm', 0);
SELECT * FROM streamhouse.poll('anns', '{desk}', 1, '0', 1, true, NULL);
RESET ROLE;
SELECT sh_leave('anns'), sh_delete_group('anns'), sh_delete_group('teams'), sh_delete_topic('desk');
-- a role with a right to one topic and nothing else: that one, by name or by a regular expression, and no other
CREATE ROLE test_group_cat;
GRANT USAGE ON SCHEMA public TO test_group_cat;
SELECT (sh_create_topic('cats-in', 1)).name, (sh_create_topic('cats-out', 1)).name, pg_temp.fill('cats-in', 0, 2), pg_temp.fill('cats-out', 0, 2);
SELECT sh_grant('cats-in', 'test_group_cat', 'consume');
SET ROLE test_group_cat;
SELECT topic, "offset" FROM sh_poll('cats', '{cats-in}', 1);
SELECT count(*) FROM sh_poll('cats', '{cats-in,cats-out}');
SELECT sh_join('cats', '{}', regex => 'cats-.*') IS NOT NULL AS joined;
BEGIN; SELECT topic, "offset" FROM sh_poll('cats'); COMMIT;
SELECT sh_seek('cats', 'cats-in', 0, 0);
SELECT * FROM sh_reset_offsets('cats', 'cats-out', 'latest');
SELECT assigned FROM sh_describe_group('cats');
-- what is revoked is not read any more, by whoever joined before; what is granted comes to a regular expression
RESET ROLE;
SELECT sh_revoke('cats-in', 'test_group_cat', 'consume'), sh_grant('cats-out', 'test_group_cat', 'consume'), sh_group_tick() > 0 AS ticked;
SET ROLE test_group_cat;
SELECT count(*) FROM sh_poll('cats');
SELECT sh_join('cats', '{}', regex => '.*-(in|out)') IS NOT NULL AS joined;
SELECT topic, count(*) FROM sh_poll('cats') GROUP BY topic;
RESET ROLE;
SELECT sh_leave('cats'), sh_delete_group('cats'), sh_delete_topic('cats-in'), sh_delete_topic('cats-out');
REVOKE USAGE ON SCHEMA public FROM test_group_cat;
DROP ROLE test_group_cat;

REVOKE USAGE ON SCHEMA public FROM test_group_ann, test_group_bob;
DROP ROLE test_group_ann, test_group_bob, test_group_team;

-- groups that have members are not deleted
SELECT count(*) FROM sh_poll('w1', '{shop}', 1);
SELECT sh_delete_group('w1');
SELECT sh_leave('w1'), sh_delete_group('w1'), sh_delete_group('w1');
SELECT "group", state FROM sh_groups();
SELECT sh_delete_group("group") FROM sh_groups();
SELECT count(*) FROM streamhouse.group_offset;
SELECT sh_delete_topic(name) FROM streamhouse.topic WHERE name IN ('shop', 'shop2', 'workshop4', 'times') AND deleted_at IS NULL;

-- what a session knew of a group does not outlive the extension
SELECT (sh_create_topic('before', 1)).name;
SELECT count(*) FROM sh_poll('g', '{before}');
SET client_min_messages = warning;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('after', 1)).name, pg_temp.fill('after', 0, 2);
SELECT sh_join('other', '{after}') IS NOT NULL AS joined;
SELECT count(*) FROM sh_poll('g', '{after}');
SELECT count(*) FROM sh_poll('g', '{after}');
SELECT topics FROM sh_describe_group('g');
SELECT sh_leave('g'), sh_leave('other'), sh_delete_group('g'), sh_delete_group('other'), sh_delete_topic('after');
