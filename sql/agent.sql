-- Agents: heartbeats, leases, epochs.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE FUNCTION pg_temp.uuid_of(process text) RETURNS uuid LANGUAGE sql AS $$ SELECT md5(process)::uuid $$;
CREATE FUNCTION pg_temp.beat(agent text, process text, known int8 DEFAULT 0, ttl_ms int DEFAULT 600000,
                             OUT agent_id int, OUT lease_version int8, OUT changed bool, OUT leases int, OUT lowest_epoch int, OUT highest_epoch int)
LANGUAGE sql AS $$
    SELECT h.agent_id, h.lease_version, h.changed, cardinality(h.topic_ids), (SELECT min(e) FROM unnest(h.epochs) AS e), (SELECT max(e) FROM unnest(h.epochs) AS e)
    FROM sh_agent_heartbeat(agent, pg_temp.uuid_of(process), agent || '.example', 9092, agent || '.example', 8080, NULL, '0', ttl_ms, known) AS h
$$;
-- What must hold at any time: a lease per partition, whose epoch has its row, and epochs without gaps.
CREATE FUNCTION pg_temp.broken() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT format('%s/%s has no lease', topic_id, partition) FROM streamhouse.partition LEFT JOIN streamhouse.lease AS l USING (topic_id, partition) WHERE l.epoch IS NULL
    UNION ALL
    SELECT format('%s/%s: epoch %s has no row or is not the last', l.topic_id, l.partition, l.epoch) FROM streamhouse.lease AS l
    WHERE l.epoch IS DISTINCT FROM (SELECT max(e.epoch) FROM streamhouse.partition_epoch AS e WHERE (e.topic_id, e.partition) = (l.topic_id, l.partition))
       OR l.epoch + 1 <> (SELECT count(*) FROM streamhouse.partition_epoch AS e WHERE (e.topic_id, e.partition) = (l.topic_id, l.partition))
$$;

-- with one agent, it leads every partition, those that existed before it included
SELECT (sh_create_topic('early', 3)).topic_id;
SELECT * FROM pg_temp.beat('one', 'p1');
SELECT topic_ids, partitions, epochs, agent_id FROM sh_agent_heartbeat('one', pg_temp.uuid_of('p1'), 'one.example', 9092, 'one.example', 8080, NULL, '0', 600000, 0);

-- a topic that is created while an agent lives is led at once; its next heartbeat says so
SELECT lease_version AS known FROM pg_temp.beat('one', 'p1') \gset
SELECT (sh_create_topic('late', 2)).topic_id;
SELECT name, leaders, epochs FROM sh_catalog();
SELECT changed, leases FROM pg_temp.beat('one', 'p1', :known);

-- a heartbeat that knows the current version gets no lists and writes nothing but its own row
SELECT lease_version AS known FROM pg_temp.beat('one', 'p1') \gset
CREATE TEMP TABLE before AS SELECT (SELECT string_agg(xmin::text || ctid::text, ',' ORDER BY topic_id, partition) FROM streamhouse.lease) AS leases,
    (SELECT count(*) FROM streamhouse.partition_epoch) AS epochs, (SELECT xmin::text FROM streamhouse.cluster) AS cluster;
SELECT * FROM pg_temp.beat('one', 'p1', :known);
SELECT leases = (SELECT string_agg(xmin::text || ctid::text, ',' ORDER BY topic_id, partition) FROM streamhouse.lease) AS same_leases,
       epochs = (SELECT count(*) FROM streamhouse.partition_epoch) AS same_epochs, cluster = (SELECT xmin::text FROM streamhouse.cluster) AS same_cluster,
       (SELECT count(*) FROM streamhouse.lease_notice) AS notices FROM before;

-- agents that are alive are Kafka's brokers
SELECT * FROM sh_agents();

-- a second agent takes some of the partitions, with new epochs, and the first is told that it lost them
SELECT (sh_create_topic('many', 64)).topic_id;
SELECT lease_version AS known FROM pg_temp.beat('one', 'p1') \gset
SELECT agent_id, changed, leases BETWEEN 20 AND 49 AS a_fair_share, lowest_epoch > 0 AS new_epochs FROM pg_temp.beat('two', 'q1');
SELECT changed, leases BETWEEN 20 AND 49 AS a_fair_share FROM pg_temp.beat('one', 'p1', :known);
SELECT sum(leads) FROM streamhouse.agents;
SELECT * FROM pg_temp.broken();

-- hashing is the same on every server and version
SELECT n AS partition, streamhouse.lease_choose(1, n, '{1,2,3}') AS agent_id FROM generate_series(0, 9) AS n;
SELECT streamhouse.lease_choose(1, 0, '{}') AS nobody;

-- when an agent goes, only its own partitions move; when it comes, only those that it gets
SELECT count(*) FILTER (WHERE with_three <> with_two AND with_three <> 3) AS needless_moves
FROM (SELECT streamhouse.lease_choose(t, n, '{1,2,3}') AS with_three, streamhouse.lease_choose(t, n, '{1,2}') AS with_two
      FROM generate_series(1, 5) AS t, generate_series(0, 99) AS n) AS c;

-- live moves are bounded per heartbeat; when all are done, a heartbeat moves nothing
SELECT sh_agent_leave(2, pg_temp.uuid_of('q1')) > 0 AS left;
SELECT max(agent_id), min(agent_id) FROM streamhouse.lease;
SET streamhouse.lease_moves_max = 3;
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT leases FROM pg_temp.beat('one', 'p1') \gset
SELECT 69 - :leases AS moved;
RESET streamhouse.lease_moves_max;
SELECT leases BETWEEN 20 AND 49 AS a_fair_share FROM pg_temp.beat('two', 'q2');
SELECT balanced_agents FROM streamhouse.cluster;
SELECT leases BETWEEN 20 AND 49 AS a_fair_share FROM pg_temp.beat('two', 'q2');
SELECT balanced_agents FROM streamhouse.cluster;
SELECT * FROM pg_temp.broken();

-- a restart under the same name keeps the id, the number of leases, and gets a new epoch for each
SELECT max(epoch) AS highest FROM streamhouse.lease WHERE agent_id = 2 \gset
CREATE TEMP TABLE held AS SELECT * FROM streamhouse.lease WHERE agent_id = 2;
SELECT agent_id, changed FROM pg_temp.beat('two', 'q3');
SELECT count(*) FILTER (WHERE l.agent_id = 2 AND l.epoch = h.epoch + 1) = count(*) AS all_kept_with_the_next_epoch FROM held AS h JOIN streamhouse.lease AS l USING (topic_id, partition);
SELECT * FROM pg_temp.broken();

-- the process that was replaced is refused, and takes nothing back
SELECT * FROM pg_temp.beat('two', 'q2');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_leave(2, pg_temp.uuid_of('q2'));
SELECT count(*) FROM streamhouse.agents WHERE alive;

-- an epoch's row has the next offset at which it began
UPDATE streamhouse.partition SET floor_offset = 40 WHERE (topic_id, partition) = (1, 0);
INSERT INTO streamhouse.segment VALUES (1, 0, 40, 55, 1, 0, 10, 1, 0, -1, -1);
SELECT agent_id AS leader FROM streamhouse.lease WHERE (topic_id, partition) = (1, 0) \gset
SELECT count(*) FROM streamhouse.agent AS a, sh_agent_leave(a.agent_id, a.incarnation) WHERE a.agent_id = :leader;
SELECT start_offset FROM streamhouse.partition_epoch WHERE (topic_id, partition) = (1, 0) ORDER BY epoch DESC LIMIT 1;

-- leases of an agent whose time has run out go to those that live, and it is told when it comes back
SELECT agent_id FROM pg_temp.beat('one', 'p1');
SELECT agent_id FROM pg_temp.beat('two', 'q3');
SELECT agent_id > 2 AS registered FROM pg_temp.beat('three', 'r1');
SELECT agent_id > 0 AS renewed FROM pg_temp.beat('three', 'r1');
SELECT lease_version AS known, leases > 5 AS has_leases FROM pg_temp.beat('three', 'r1') \gset
SELECT :'has_leases';
-- (as if its heartbeats had stopped an hour ago)
UPDATE streamhouse.agent SET heartbeat_at = '2000-01-01', expires_at = '2000-01-01 00:00:00.001' WHERE name = 'three';
SELECT name FROM sh_agents();
SELECT count(*) FILTER (WHERE -1 = ANY (leaders)) > 0 AS leaderless_until_assigned FROM sh_catalog();
SELECT changed FROM pg_temp.beat('one', 'p1');
SELECT leads FROM streamhouse.agents WHERE agent = 'three';
SELECT count(*) FILTER (WHERE -1 = ANY (leaders)) AS leaderless FROM sh_catalog();
SELECT changed FROM pg_temp.beat('three', 'r1', :known);
SELECT * FROM pg_temp.broken();

-- within one TTL of the server's start nobody expires
UPDATE streamhouse.agent SET heartbeat_at = now() - interval '200 years', expires_at = now() - interval '100 years' WHERE name = 'three';
SELECT name FROM sh_agents();
-- but who has left has left
SELECT sh_agent_leave(agent_id, incarnation) >= 0 AS left FROM streamhouse.agent WHERE name = 'three';
SELECT name FROM sh_agents();

-- an agent alone that leaves, leaves its partitions to nobody; they keep their epochs until someone comes
SELECT count(*) FROM streamhouse.agent AS a, sh_agent_leave(a.agent_id, a.incarnation);
SELECT count(*) FILTER (WHERE agent_id IS NULL) = count(*) AS nobody_leads FROM streamhouse.lease;
SELECT leaders FROM sh_catalog('{early}');
SELECT * FROM sh_agents();
SELECT * FROM pg_temp.broken();

-- it may come back with the process that left
SELECT changed, leases FROM pg_temp.beat('one', 'p1');
SELECT * FROM pg_temp.broken();

-- deleting a topic takes its leases from the agent
SELECT lease_version AS known FROM pg_temp.beat('one', 'p1') \gset
SELECT sh_delete_topic('many');
SELECT changed, leases FROM pg_temp.beat('one', 'p1', :known);
SELECT sh_add_partitions('early', 5);
SELECT changed, leases FROM pg_temp.beat('one', 'p1', :known);

-- a heartbeat says who it is, and for how long
SELECT sh_agent_heartbeat(NULL, pg_temp.uuid_of('x'), 'h', 1, NULL, NULL, NULL, NULL, 1000, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_heartbeat('x', NULL, 'h', 1, NULL, NULL, NULL, NULL, 1000, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_heartbeat('x', pg_temp.uuid_of('x'), '', 1, NULL, NULL, NULL, NULL, 1000, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_heartbeat('x', pg_temp.uuid_of('x'), 'h', 65536, NULL, NULL, NULL, NULL, 1000, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_heartbeat('x', pg_temp.uuid_of('x'), 'h', 1, NULL, NULL, NULL, NULL, 0, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_heartbeat('x', pg_temp.uuid_of('x'), 'h', 1, NULL, NULL, NULL, NULL, NULL, NULL);
\echo :LAST_ERROR_SQLSTATE

-- leases do not move under a snapshot that may be older than a partition's last append
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.beat('four', 's1');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;

-- the agents' role may do all this, and nothing to the tables
SET ROLE streamhouse_agent;
SELECT count(*) FROM sh_agent_heartbeat('one', md5('p1')::uuid, 'one.example', 9092, NULL, NULL, NULL, NULL, 60000, 0);
SELECT count(*) FROM sh_agents();
SELECT (sh_create_topic('auto')).name;
SELECT sh_agent_leave(1, md5('p1')::uuid) > 0 AS left;
SELECT * FROM streamhouse.lease;
SELECT streamhouse.lease_move('{1}', '{0}', '{1}');
RESET ROLE;
SET ROLE streamhouse_admin;
SELECT sh_agent_leave(1, md5('p1')::uuid);
RESET ROLE;

-- a process that was registered elsewhere is not taken in: what it remembers is of another cluster
SELECT agent_id FROM sh_agent_heartbeat('stray', md5('stray')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 60000, 3);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM streamhouse.agent WHERE name = 'stray';
