-- Agents: heartbeats, leases, epochs.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE FUNCTION pg_temp.uuid_of(process text) RETURNS uuid LANGUAGE sql AS $$ SELECT md5(process)::uuid $$;
CREATE FUNCTION pg_temp.beat(agent text, process text, known int8 DEFAULT 0, ttl_ms int DEFAULT 600000,
                             OUT agent_id int, OUT lease_version int8, OUT changed bool, OUT leases int, OUT lowest_epoch int, OUT highest_epoch int)
LANGUAGE sql AS $$
    DELETE FROM streamhouse.job WHERE name = 'leases'; -- as if nobody had looked after the leases lately
    SELECT h.agent_id, h.lease_version, h.changed, cardinality(h.topic_ids), (SELECT min(e) FROM unnest(h.epochs) AS e), (SELECT max(e) FROM unnest(h.epochs) AS e)
    FROM sh_agent_heartbeat(agent, pg_temp.uuid_of(process), agent || '.example', 9092, agent || '.example', 8080, NULL, '0', ttl_ms, known) AS h
$$;
-- A process does what it was told: hands over what it is to give up.
CREATE FUNCTION pg_temp.hand_over(agent int, process text) RETURNS int LANGUAGE sql AS $$
    SELECT sh_lease_hand_over(agent, pg_temp.uuid_of(process), array_agg(topic_id), array_agg(partition)) FROM sh_lease_hand_overs(agent)
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

-- a second agent is to lead half of the partitions; the first leads them until it hands them over, with new epochs
SELECT (sh_create_topic('many', 64)).topic_id;
SELECT lease_version AS known FROM pg_temp.beat('one', 'p1') \gset
SELECT agent_id, changed, leases FROM pg_temp.beat('two', 'q1');
SELECT count(*) AS to_hand_over, min(next_agent_id) AS least, max(next_agent_id) AS most FROM sh_lease_hand_overs(1);
SELECT count(*) FROM sh_lease_hand_overs(2);
SELECT pg_temp.hand_over(1, 'another process');
SELECT pg_temp.hand_over(1, 'p1');
SELECT pg_temp.hand_over(1, 'p1') AS once_more;
SELECT changed, leases, lowest_epoch > 0 AS new_epochs FROM pg_temp.beat('two', 'q1');
SELECT changed, leases FROM pg_temp.beat('one', 'p1', :known);
SELECT sum(leads) FROM streamhouse.agents;
SELECT * FROM pg_temp.broken();

-- with a third, each gives up its part and nothing else moves; then there is nothing to do
CREATE TEMP TABLE led AS SELECT * FROM streamhouse.lease;
SELECT agent_id, leases FROM pg_temp.beat('three', 'r1');
SELECT pg_temp.hand_over(1, 'p1') + pg_temp.hand_over(2, 'q1') AS moved;
SELECT count(*) FILTER (WHERE l.agent_id <> o.agent_id AND l.agent_id <> 3) AS needless_moves FROM streamhouse.lease AS l JOIN led AS o USING (topic_id, partition);
SELECT agent_id, count(*) FROM streamhouse.lease GROUP BY 1 ORDER BY 1;
SELECT changed FROM pg_temp.beat('one', 'p1');
SELECT count(*) FROM streamhouse.lease WHERE next_agent_id IS NOT NULL;
SELECT balanced_agents FROM streamhouse.cluster;

-- one that drains leads until others do, and gets nothing new; moves are bounded
SET streamhouse.lease_moves_max = 3;
CREATE FUNCTION pg_temp.drain() RETURNS TABLE (leases int, handed_over int) LANGUAGE sql AS $$
    SELECT cardinality(h.topic_ids), pg_temp.hand_over(3, 'r1')
    FROM sh_agent_heartbeat('three', pg_temp.uuid_of('r1'), 'h', 9092, NULL, NULL, NULL, '0', 600000, 0, draining => true) AS h
$$;
SELECT * FROM pg_temp.drain();
SELECT * FROM pg_temp.drain();
RESET streamhouse.lease_moves_max;
SELECT * FROM pg_temp.drain();
SELECT (sh_create_topic('meanwhile', 9)).topic_id;
SELECT leases FROM pg_temp.drain();
SELECT sh_delete_topic('meanwhile');
SELECT sh_agent_leave(3, pg_temp.uuid_of('r1')) AS left_with;
SELECT * FROM pg_temp.broken();

-- who does not hand over is overruled after a while; a next leader that dies is forgotten
SELECT agent_id FROM pg_temp.beat('four', 's1');
SELECT count(*) > 0 AS to_hand_over FROM sh_lease_hand_overs(1);
UPDATE streamhouse.lease SET hand_over_until = now() - interval '1 s' WHERE next_agent_id IS NOT NULL;
SELECT leases > 10 AS has_them FROM pg_temp.beat('four', 's1');
SELECT agent_id FROM pg_temp.beat('five', 't1');
SELECT count(*) > 0 AS to_hand_over FROM sh_lease_hand_overs(1);
SELECT sh_agent_leave(5, pg_temp.uuid_of('t1')), sh_agent_leave(4, pg_temp.uuid_of('s1')) > 10 AS left;
SELECT changed FROM pg_temp.beat('one', 'p1');
SELECT count(*) FROM streamhouse.lease WHERE next_agent_id NOT IN (1, 2);
SELECT pg_temp.hand_over(1, 'p1') IS NULL, pg_temp.hand_over(2, 'q1') IS NULL;
SELECT max(agent_id), min(agent_id) FROM streamhouse.lease;
SELECT * FROM pg_temp.broken();

-- zones and groups that a topic wants, as long as somebody lives there; weights
SELECT agent_id AS far FROM sh_agent_heartbeat('far', pg_temp.uuid_of('f1'), 'h', 1, NULL, NULL, 'far', NULL, 600000, 0, NULL, 'team', 400) \gset
SELECT topic_id AS wished FROM sh_create_topic('wished', 6, '{"streamhouse.leader.zone": "far"}') \gset
SELECT topic_id AS teams FROM sh_create_topic('teams', 6, '{"streamhouse.agent.group": "team", "streamhouse.leader.zone": "nowhere"}') \gset
SELECT count(*) FILTER (WHERE agent_id = :far) AS there FROM streamhouse.lease WHERE topic_id IN (:wished, :teams);
SELECT sh_agent_leave(:far, pg_temp.uuid_of('f1')) >= 12 AS left;
SELECT count(*) FILTER (WHERE agent_id IN (1, 2)) AS elsewhere_then FROM streamhouse.lease WHERE topic_id IN (:wished, :teams);
SELECT sh_delete_topic('wished'), sh_delete_topic('teams');
SELECT changed FROM pg_temp.beat('one', 'p1');
SELECT pg_temp.hand_over(1, 'p1') IS NULL, pg_temp.hand_over(2, 'q1') IS NULL;

-- of two busy partitions of one agent, one changes places with a quiet one of the other
SELECT topic_id AS hot, (SELECT array_agg(partition) FROM (SELECT partition FROM streamhouse.lease AS l WHERE l.topic_id = t.topic_id AND agent_id = 1 ORDER BY 1 LIMIT 2) AS p) AS busy
FROM streamhouse.topic AS t WHERE name = 'many' AND deleted_at IS NULL \gset
SELECT count(*) FROM sh_agent_heartbeat('one', pg_temp.uuid_of('p1'), 'h', 1, NULL, NULL, NULL, NULL, 600000, 0, '{}',
    hot_topic_ids => ARRAY[:hot, :hot], hot_partitions => :'busy', hot_loads => '{1000000,1000000}');
UPDATE streamhouse.cluster SET balanced_at = '2000-01-01';
SELECT changed FROM pg_temp.beat('two', 'q1');
SELECT agent_id, next_agent_id, count(*), count(*) FILTER (WHERE partition = ANY (:'busy'::int[]) AND topic_id = :hot) AS busy FROM streamhouse.lease WHERE next_agent_id IS NOT NULL GROUP BY 1, 2 ORDER BY 1;
SELECT pg_temp.hand_over(1, 'p1'), pg_temp.hand_over(2, 'q1');

-- a restart under the same name keeps the id, the number of leases, and gets a new epoch for each
SELECT max(epoch) AS highest FROM streamhouse.lease WHERE agent_id = 2 \gset
CREATE TEMP TABLE held AS SELECT * FROM streamhouse.lease WHERE agent_id = 2;
SELECT agent_id, changed FROM pg_temp.beat('two', 'q3');
SELECT coalesce(pg_temp.hand_over(1, 'p1'), 0) AS handed_over;
SELECT count(*) FILTER (WHERE l.agent_id = 2 AND l.epoch = h.epoch + 1) = count(*) AS all_kept_with_the_next_epoch FROM held AS h JOIN streamhouse.lease AS l USING (topic_id, partition);
SELECT * FROM pg_temp.broken();

-- the process that was replaced is refused, and takes nothing back
SELECT * FROM pg_temp.beat('two', 'q1');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_agent_leave(2, pg_temp.uuid_of('q1'));
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
SELECT agent_id > 2 AS registered FROM pg_temp.beat('three', 'r2');
SELECT pg_temp.hand_over(1, 'p1') + pg_temp.hand_over(2, 'q3') > 5 AS handed_over;
SELECT agent_id > 0 AS renewed FROM pg_temp.beat('three', 'r2');
SELECT lease_version AS known, leases > 5 AS has_leases FROM pg_temp.beat('three', 'r2') \gset
SELECT :'has_leases';
-- (as if its heartbeats had stopped an hour ago)
UPDATE streamhouse.agent SET heartbeat_at = '2000-01-01', expires_at = '2000-01-01 00:00:00.001' WHERE name = 'three';
SELECT name FROM sh_agents();
SELECT count(*) FILTER (WHERE -1 = ANY (leaders)) > 0 AS leaderless_until_assigned FROM sh_catalog();
SELECT changed FROM pg_temp.beat('one', 'p1');
SELECT leads FROM streamhouse.agents WHERE agent = 'three';
SELECT count(*) FILTER (WHERE -1 = ANY (leaders)) AS leaderless FROM sh_catalog();
SELECT changed FROM pg_temp.beat('three', 'r2', :known);
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
SELECT streamhouse.lease_move('{1}', '{0}', '{1}', '{2}');
RESET ROLE;
SET ROLE streamhouse_admin;
SELECT sh_agent_leave(1, md5('p1')::uuid);
RESET ROLE;

-- a process that was registered elsewhere is not taken in: what it remembers is of another cluster
SELECT agent_id FROM sh_agent_heartbeat('stray', md5('stray')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 60000, 3);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM streamhouse.agent WHERE name = 'stray';
