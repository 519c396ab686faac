-- Agents: heartbeats, leases, epochs.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE FUNCTION pg_temp.uuid_of(process text) RETURNS uuid LANGUAGE sql AS $$ SELECT md5(process)::uuid $$;
CREATE FUNCTION pg_temp.beat(agent text, process text, known int8 DEFAULT 0, ttl_ms int DEFAULT 600000,
                             OUT agent_id int, OUT lease_version int8, OUT changed bool, OUT leases int, OUT lowest_epoch int, OUT highest_epoch int)
LANGUAGE sql AS $$
    -- (as if nobody had looked after the leases lately)
    UPDATE streamhouse.job SET expires_at = '-infinity' WHERE name = 'leases';
    SELECT h.agent_id, h.lease_version, h.changed, cardinality(h.topic_ids), (SELECT min(e) FROM unnest(h.epochs) AS e), (SELECT max(e) FROM unnest(h.epochs) AS e)
    FROM sh_agent_heartbeat(agent, pg_temp.uuid_of(process), agent || '.example', 9092, agent || '.example', 8080, NULL, '0', ttl_ms, known) AS h
$$;
-- An agent does what it was told to: it gives up what it is to hand over.
CREATE FUNCTION pg_temp.hand_over(agent text) RETURNS int LANGUAGE sql AS $$
    SELECT coalesce((SELECT sh_lease_hand_over(a.agent_id, a.incarnation, array_agg(h.topic_id), array_agg(h.partition))
                     FROM streamhouse.agent AS a, sh_lease_hand_overs(a.agent_id) AS h WHERE a.name = agent
                     GROUP BY a.agent_id, a.incarnation), 0)
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

-- a second agent is to have half of the partitions: the first is told to hand them over, and leads until it has
SELECT (sh_create_topic('many', 64)).topic_id;
SELECT lease_version AS known FROM pg_temp.beat('one', 'p1') \gset
SELECT agent_id, changed, leases FROM pg_temp.beat('two', 'q1');
SELECT changed, leases FROM pg_temp.beat('one', 'p1', :known);
SELECT count(*), count(DISTINCT next_agent_id), bool_and(hand_over_until > now()) AS bounded FROM streamhouse.lease WHERE next_agent_id IS NOT NULL;
SELECT pg_temp.hand_over('one');
SELECT changed, leases, lowest_epoch > 0 AS new_epochs FROM pg_temp.beat('two', 'q1', 1);
SELECT changed, leases FROM pg_temp.beat('one', 'p1', :known);
SELECT sum(leads) FROM streamhouse.agents;
SELECT * FROM pg_temp.broken();
-- once is enough, nobody else may, and what is not to be handed over stays
SELECT pg_temp.hand_over('one');
SELECT sh_lease_hand_over(1, pg_temp.uuid_of('q1'), '{1}', '{0}');
SELECT sh_lease_hand_over(1, pg_temp.uuid_of('p1'), '{1,1,1,2,2}', '{0,1,2,0,1}');

-- the plan is the same on every server and version
SELECT partition, old_agent_id, new_agent_id, is_planned
FROM streamhouse.lease_plan('{1,2,3}', '{100,100,100}', '{0,0,0}', '{0,0,0}', array_fill(1, ARRAY[9]), '{0,1,2,3,4,5,6,7,8}', array_fill(0, ARRAY[9]),
                            array_fill(false, ARRAY[9]), array_fill(0, ARRAY[9]), array_fill(0, ARRAY[9]), array_fill(0::int8, ARRAY[9]), 0, 0, 0);
SELECT count(*) FROM streamhouse.lease_plan('{}', '{}', '{}', '{}', '{1}', '{0}', '{0}', '{f}', '{0}', '{0}', '{0}', 0, 0, 0);
SELECT streamhouse.lease_plan('{2,1}', '{100,100}', '{0,0}', '{0,0}', '{1}', '{0}', '{0}', '{f}', '{0}', '{0}', '{0}', 0, 0, 0);
SELECT streamhouse.lease_plan('{1}', '{100}', '{0}', '{0}', '{1}', '{0,1}', '{0}', '{f}', '{0}', '{0}', '{0}', 0, 0, 0);

-- hand-overs are bounded: the next ones begin when those before them have ended; when all are done, nothing moves
SELECT sh_agent_leave(2, pg_temp.uuid_of('q1')) > 0 AS left;
SELECT max(agent_id), min(agent_id) FROM streamhouse.lease;
SET streamhouse.lease_moves_max = 3;
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT pg_temp.hand_over('one');
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT pg_temp.hand_over('one');
RESET streamhouse.lease_moves_max;
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT pg_temp.hand_over('one');
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT balanced_agents FROM streamhouse.cluster;
SELECT pg_temp.hand_over('one');
SELECT * FROM pg_temp.broken();

-- who drains gives up all it has, a holder that does not answer in time is overruled, and one that is gone already is not waited for
SELECT leases FROM sh_agent_heartbeat('two', pg_temp.uuid_of('q2'), 'two.example', 9092, 'two.example', 8080, NULL, '0', 600000, 0, draining => true), cardinality(topic_ids) AS leases;
SELECT count(*) FILTER (WHERE next_agent_id = 1) = count(*) AS all_of_them FROM streamhouse.lease WHERE agent_id = 2;
UPDATE streamhouse.lease SET hand_over_until = now() - interval '1 s' WHERE next_agent_id IS NOT NULL AND (topic_id, partition) > (3, 40);
SELECT changed FROM pg_temp.beat('one', 'p1');
SELECT count(*) FILTER (WHERE next_agent_id IS NULL) AS left_over, count(*) FILTER (WHERE partition > 40) AS overruled_too_few FROM streamhouse.lease WHERE agent_id = 2;
SELECT pg_temp.hand_over('two') > 0 AS handed_over;
SELECT leases FROM pg_temp.beat('one', 'p1');
SELECT sh_agent_leave(2, pg_temp.uuid_of('q2'));
SELECT leases FROM pg_temp.beat('two', 'q2');
SELECT pg_temp.hand_over('one') > 0 AS handed_over;
SELECT * FROM pg_temp.broken();

-- a topic may want its leaders in a zone or in a group of agents
SELECT agent_id FROM sh_agent_heartbeat('two', pg_temp.uuid_of('q2'), 'two.example', 9092, 'two.example', 8080, 'east', '0', 600000, 0, agent_group => 'blue');
SELECT (sh_create_topic('eastern', 4, '{"streamhouse.leader.zone": "east"}')).topic_id;
SELECT (sh_create_topic('western', 4, '{"streamhouse.leader.zone": "west"}')).topic_id;
SELECT (sh_create_topic('blue', 4, '{"streamhouse.agent.group": "blue"}')).topic_id;
SELECT name, leaders FROM sh_catalog('{eastern,blue}');
SELECT name, 1 = ANY (leaders) AND 2 = ANY (leaders) AS wherever FROM sh_catalog('{western}');
SELECT sh_delete_topic('eastern'), sh_delete_topic('western'), sh_delete_topic('blue');

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
SELECT pg_temp.hand_over('one') + pg_temp.hand_over('two') > 0 AS handed_over;
SELECT agent_id > 2 AS registered FROM pg_temp.beat('three', 'r1');
SELECT pg_temp.hand_over('one') + pg_temp.hand_over('two') > 0 AS handed_over;
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
UPDATE streamhouse.lease SET agent_id = NULL;
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
