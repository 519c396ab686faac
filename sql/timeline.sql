-- A promotion begins a timeline; the first heartbeat after it raises all leader epochs.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE FUNCTION pg_temp.beat(agent text, known int8 DEFAULT 0, OUT agent_id int, OUT lease_version int8, OUT changed bool, OUT epochs int[])
LANGUAGE sql AS $$
    SELECT h.agent_id, h.lease_version, h.changed, h.epochs
    FROM sh_agent_heartbeat(agent, md5(agent)::uuid, 'h', 9092, 'h', 8080, NULL, '0', 600000, known) AS h
$$;
SELECT (sh_create_topic('orders', 3)).topic_id;
SELECT epochs FROM pg_temp.beat('one');
SELECT partition, "offset" FROM sh_produce('orders', 'x', partition => 1);
SELECT partition, "offset" FROM sh_produce('orders', 'y', partition => 1);

-- the server's timeline is known from the start
SELECT timeline = streamhouse.server_timeline() AND timeline > 0 AS known FROM streamhouse.cluster;
SELECT lease_version AS known FROM pg_temp.beat('one') \gset
SELECT changed, epochs FROM pg_temp.beat('one', :known);

-- after a promotion its first heartbeat raises every epoch where the log ends, and moves no lease
UPDATE streamhouse.cluster SET timeline = timeline - 1;
CREATE TEMP TABLE before AS SELECT * FROM streamhouse.lease;
SELECT changed, epochs FROM pg_temp.beat('one', :known);
SELECT l.partition, l.epoch - b.epoch AS raised, l.agent_id = b.agent_id AS led_as_before, e.start_offset
FROM streamhouse.lease AS l JOIN before AS b USING (topic_id, partition)
JOIN streamhouse.partition_epoch AS e ON (e.topic_id, e.partition, e.epoch) = (l.topic_id, l.partition, l.epoch)
ORDER BY l.partition;
SELECT timeline = streamhouse.server_timeline() AS noted, (SELECT count(*) FROM streamhouse.stale_epoch) AS stale FROM streamhouse.cluster;
SELECT * FROM sh_offsets_for_leader_epochs('{1}', '{1}', '{1}');

-- once
SELECT lease_version AS known FROM pg_temp.beat('one') \gset
SELECT changed, epochs FROM pg_temp.beat('one', :known);

-- what was accepted under the old epoch is fenced
SELECT batch, status FROM sh_commit_inline(1, (SELECT min(id) FROM sh_reserve_inline() AS id), '\x00', streamhouse.pack_commit_row(1, 1, 1, byte_length => 1));

-- a topic that went meanwhile is no obstacle
UPDATE streamhouse.cluster SET timeline = timeline - 1;
INSERT INTO streamhouse.stale_epoch VALUES (1000, 0);
SELECT changed, epochs FROM pg_temp.beat('one', :known);
SELECT count(*) FROM streamhouse.stale_epoch;
