-- Topics: create, describe, grow, alter, delete.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;

-- a topic is one partition unless told otherwise, and each partition has its rows
SELECT (t).topic_id, (t).name, (t).partitions, (t).config, (t).deleted_at FROM sh_create_topic('orders') AS t;
SELECT (t).topic_id, (t).name, (t).partitions FROM sh_create_topic('clicks', 3, '{"cleanup.policy": "compact"}') AS t;
SELECT * FROM streamhouse.partition ORDER BY 1, 2;
SELECT * FROM streamhouse.partition_epoch ORDER BY 1, 2, 3;
SELECT * FROM streamhouse.lease ORDER BY 1, 2;

-- names are Kafka's: 1 to 249 of letters, digits, dots, underscores, hyphens
SELECT length((sh_create_topic(repeat('x', 249))).name);
SELECT (sh_create_topic('A-z_0.9')).name;
SELECT sh_create_topic(repeat('x', 250));
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('.');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('..');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('a b');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic(E'a\n');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('größe');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('a/b');
\echo :LAST_ERROR_SQLSTATE

-- names that differ only in dots and underscores collide
SELECT (sh_create_topic('a.b_c')).name;
SELECT sh_create_topic('a_b.c');
\echo :LAST_ERROR_SQLSTATE

-- a topic that exists is not created again
SELECT sh_create_topic('orders', 7);
\echo :LAST_ERROR_SQLSTATE

-- the number of partitions has bounds
SELECT sh_create_topic('p', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('p', -1);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('p', 100001);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('p', NULL);
\echo :LAST_ERROR_SQLSTATE

-- partitions are added, never removed
SELECT sh_add_partitions('orders', 4);
SELECT partitions FROM streamhouse.topic WHERE name = 'orders';
SELECT partition, leader, leader_epoch, log_start_offset, high_watermark, segments, bytes, size FROM sh_describe_topic('orders');
SELECT sh_add_partitions('orders', 4);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_add_partitions('orders', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_add_partitions('nothing', 4);
\echo :LAST_ERROR_SQLSTATE

-- what does not exist is said not to
SELECT sh_alter_topic('nothing', '{}');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sh_describe_topic('nothing');
\echo :LAST_ERROR_SQLSTATE

-- the catalog has all topics, or those named, or those with an id; a name that does not exist has no row
SELECT topic_id, left(name, 10) AS name, config, leaders, epochs FROM sh_catalog();
SELECT name FROM sh_catalog('{orders,nothing}');
SELECT name FROM sh_catalog(topic_uuids => (SELECT array_agg(topic_uuid) FROM streamhouse.topic WHERE name = 'clicks'));
SELECT name FROM sh_catalog('{orders}', (SELECT array_agg(topic_uuid) FROM streamhouse.topic WHERE name IN ('orders', 'clicks')));
SELECT name FROM sh_catalog('{}');

-- a name is free at once after deletion; the new topic is another one
SELECT sh_delete_topic('clicks');
SELECT sh_delete_topic('clicks');
SELECT sh_delete_topic(NULL);
SELECT (t).topic_id > 2 AS another, (t).config FROM sh_create_topic('clicks', 1) AS t;
SELECT name, partitions, deleted_at IS NOT NULL AS deleted FROM streamhouse.topic WHERE name = 'clicks' ORDER BY topic_id;

-- of the deleted one no partition and no lease is left; the rest is the reaper's
SELECT (SELECT count(*) FROM streamhouse.partition WHERE topic_id = 2) AS partitions, (SELECT count(*) FROM streamhouse.lease WHERE topic_id = 2) AS leases,
       (SELECT count(*) FROM streamhouse.partition_epoch WHERE topic_id = 2) AS epochs;

-- a deletion that is rolled back did not happen
BEGIN;
SELECT sh_delete_topic('orders');
ROLLBACK;
SELECT count(*) FROM sh_describe_topic('orders');

-- the cluster has one id: 22 characters of base64url, the same each time
SELECT sh_cluster_id() ~ '^[A-Za-z0-9_-]{22}$' AS shaped, sh_cluster_id() = sh_cluster_id() AS stable;

-- the views show what there is
SELECT topic, partitions, offsets, segments, bytes, size, config FROM streamhouse.topics WHERE topic IN ('orders', 'clicks') ORDER BY topic;
SELECT * FROM streamhouse.partitions WHERE topic = 'orders' ORDER BY partition;

-- rights: readers read, admins change topics too, nobody else does anything
CREATE ROLE streamhouse_regress_nobody;
SET ROLE streamhouse_regress_nobody;
SELECT sh_create_topic('mine');
SELECT * FROM sh_catalog();
SELECT * FROM streamhouse.topics;
RESET ROLE;
SET ROLE streamhouse_reader;
SELECT count(*) > 0 AS seen FROM streamhouse.topics;
SELECT count(*) > 0 AS seen FROM streamhouse.partitions;
SELECT count(*) AS agents FROM streamhouse.agents;
SELECT count(*) AS objects FROM streamhouse.objects;
SELECT count(*) > 0 AS seen FROM sh_describe_configs('orders');
SELECT count(*) > 0 AS seen FROM sh_catalog();
SELECT length(sh_cluster_id());
SELECT sh_create_topic('mine');
SELECT * FROM streamhouse.topic;
RESET ROLE;
SET ROLE streamhouse_admin;
SELECT (sh_create_topic('mine')).name;
SELECT sh_add_partitions('mine', 2);
SELECT (sh_alter_topic('mine', '{"retention.ms": "1"}')).config;
SELECT sh_delete_topic('mine');
SELECT * FROM sh_reap(1, 1);
INSERT INTO streamhouse.topic (name, partitions) VALUES ('forged', 1);
RESET ROLE;
DROP ROLE streamhouse_regress_nobody;

-- a topic can be checked without being created
SELECT sh_check_topic('checked', 3, '{"retention.ms": "1000"}');
SELECT count(*) FROM streamhouse.topic WHERE name = 'checked';
SELECT sh_check_topic('a b');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_check_topic('checked', 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_check_topic('checked', 1, '{"retention.mss": "1"}');
\echo :LAST_ERROR_SQLSTATE
SELECT (sh_create_topic('checked.twice')).name;
SELECT sh_check_topic('checked.twice');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_check_topic('checked_twice');
\echo :LAST_ERROR_SQLSTATE
