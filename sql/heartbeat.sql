-- Heartbeats that bring no news (agent.c), and looks at the leases that find nothing to do (lease_look.c).
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;

-- The columns are where src/tables.h says.
SELECT c.relname, string_agg(a.attname, ' ' ORDER BY a.attnum) AS columns
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'streamhouse'::regnamespace AND c.relname IN ('agent', 'cluster', 'job', 'store_owner', 'store_marker', 'inline_slot')
GROUP BY c.relname ORDER BY c.relname;

CREATE FUNCTION pg_temp.beat(known int8, stats jsonb DEFAULT NULL, OUT agent_id int, OUT lease_version int8, OUT changed bool, OUT leases int) LANGUAGE sql AS $$
    SELECT h.agent_id, h.lease_version, h.changed, cardinality(h.topic_ids)
    FROM sh_agent_heartbeat('one', md5('p')::uuid, 'h', 9092, NULL, 8080, '', '1', 600000, known, stats) AS h
$$;
CREATE FUNCTION pg_temp.known() RETURNS int8 LANGUAGE sql AS $$ SELECT lease_version FROM streamhouse.agent WHERE name = 'one' $$;
-- What agent.c does of a heartbeat like the last one, but for what is named.
CREATE FUNCTION pg_temp.renew(name text DEFAULT 'one', process text DEFAULT 'p', kafka_host text DEFAULT 'h', kafka_port int DEFAULT 9092,
                              http_host text DEFAULT NULL, http_port int DEFAULT 8080, zone text DEFAULT '', agent_group text DEFAULT NULL,
                              lease_weight int DEFAULT 100, draining bool DEFAULT false, version text DEFAULT '1',
                              lease_version int8 DEFAULT pg_temp.known(), ttl_ms int DEFAULT 600000) RETURNS int LANGUAGE sql AS $$
    SELECT streamhouse.agent_renew_only(name, md5(process)::uuid, kafka_host, kafka_port, http_host, http_port, zone, agent_group, lease_weight, draining,
                                        version, lease_version, ttl_ms)
$$;
SELECT (sh_create_topic('t', 3)).topic_id;
SELECT pg_temp.renew(lease_version => 1) AS before_it_is_registered;
SELECT agent_id, leases FROM pg_temp.beat(0);
SELECT lease_version AS known FROM pg_temp.beat(0) \gset

-- it changes the times, and nothing else
CREATE TEMP TABLE before AS SELECT a.*, to_jsonb(a) - 'heartbeat_at' - 'expires_at' AS rest FROM streamhouse.agent AS a;
SELECT pg_temp.renew();
SELECT a.heartbeat_at > b.heartbeat_at AS later, a.expires_at - a.heartbeat_at AS ttl, to_jsonb(a) - 'heartbeat_at' - 'expires_at' = b.rest AS same FROM streamhouse.agent AS a, before AS b;
SELECT * FROM pg_temp.beat(:known);
-- often, so that a page of the table and its indexes fill up
DO $$ BEGIN FOR n IN 1 .. 300 LOOP PERFORM pg_temp.renew(); END LOOP; END $$;
SELECT count(*), min(agent_id) FROM streamhouse.agent;
SET enable_seqscan = off;
SELECT count(*) FROM streamhouse.agent WHERE name = 'one';
SELECT count(*) FROM streamhouse.agent WHERE agent_id = 1;
RESET enable_seqscan;

-- a report comes with it
SELECT * FROM pg_temp.beat(:known, '{"connections": 7, "name": "x", "list": [1, 2]}');
SELECT stats FROM streamhouse.agent_stats;
SELECT * FROM pg_temp.beat(:known, '{"connections": 8}');
SELECT stats, earlier_stats FROM streamhouse.agent_stats;

-- whatever is new is not for it, and leaves the row alone
CREATE TEMP TABLE untouched AS SELECT ctid AS place, expires_at FROM streamhouse.agent;
SELECT pg_temp.renew(name => 'two') AS name, pg_temp.renew(name => NULL) AS no_name, pg_temp.renew(process => 'q') AS process, pg_temp.renew(process => NULL) AS no_process,
       pg_temp.renew(kafka_host => 'i') AS host, pg_temp.renew(kafka_port => 9093) AS port, pg_temp.renew(http_host => 'h') AS http_host, pg_temp.renew(http_port => NULL) AS http_port;
SELECT pg_temp.renew(zone => NULL) AS no_zone, pg_temp.renew(zone => 'a') AS zone, pg_temp.renew(agent_group => 'g') AS agent_group, pg_temp.renew(lease_weight => 99) AS weight,
       pg_temp.renew(draining => true) AS draining, pg_temp.renew(draining => NULL) AS draining_or_not, pg_temp.renew(version => '2') AS version, pg_temp.renew(version => NULL) AS no_version,
       pg_temp.renew(lease_version => 0) AS leases_it_does_not_know, pg_temp.renew(lease_version => NULL) AS no_leases, pg_temp.renew(ttl_ms => 600001) AS ttl, pg_temp.renew(ttl_ms => NULL) AS no_ttl;
-- so is what waits for it
CREATE FUNCTION pg_temp.renew_after(change text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
    renewed int;
BEGIN
    EXECUTE change;
    renewed := pg_temp.renew();
    RAISE EXCEPTION 'undo' USING DETAIL = coalesce(renewed, 0);
EXCEPTION WHEN raise_exception THEN
    GET STACKED DIAGNOSTICS change = PG_EXCEPTION_DETAIL;
    RETURN change::int;
END $$;
SELECT pg_temp.renew_after('INSERT INTO streamhouse.lease_notice (agent_id) VALUES (1)') AS notice,
       pg_temp.renew_after('INSERT INTO streamhouse.lease_notice (agent_id) VALUES (2)') AS notice_for_another,
       pg_temp.renew_after('UPDATE streamhouse.agent SET expires_at = now(), heartbeat_at = now() - interval ''10 min''') AS expired,
       pg_temp.renew_after('UPDATE streamhouse.cluster SET timeline = timeline + 1') AS timeline,
       pg_temp.renew_after('DELETE FROM streamhouse.cluster') AS no_timeline,
       pg_temp.renew_after('INSERT INTO streamhouse.stale_epoch VALUES (1, 0)') AS stale_epoch,
       pg_temp.renew_after('INSERT INTO streamhouse.store_owner (state, server, changed_at, incarnation) VALUES (''owner'', ''elsewhere'', now(), gen_random_uuid())') AS elsewhere,
       pg_temp.renew_after('INSERT INTO streamhouse.store_owner (state, server, changed_at, incarnation) VALUES (''owner'', streamhouse.server_identity(), now(), gen_random_uuid())') AS owner,
       pg_temp.renew_after('INSERT INTO streamhouse.store_owner (state, server, changed_at, incarnation) VALUES (''lost'', ''elsewhere'', now(), gen_random_uuid())') AS lost_and_known;
SELECT a.ctid = u.place AND a.expires_at = u.expires_at AS untouched FROM streamhouse.agent AS a, untouched AS u;

-- A look at the leases is due 0.3 s after the last one; it finds whatever there is to do.
CREATE FUNCTION pg_temp.look(change text DEFAULT 'SELECT') RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    found bool;
BEGIN
    DELETE FROM streamhouse.job WHERE name = 'leases';
    EXECUTE change;
    found := streamhouse.lease_look_after(1);
    RAISE EXCEPTION 'undo' USING DETAIL = found;
EXCEPTION WHEN raise_exception THEN
    GET STACKED DIAGNOSTICS change = PG_EXCEPTION_DETAIL;
    RETURN change::bool;
END $$;
SELECT streamhouse.lease_assign();
SELECT pg_temp.look() AS nothing,
       pg_temp.look('UPDATE streamhouse.cluster SET balanced_at = clock_timestamp() - interval ''29 s''') AS evened_out_lately,
       pg_temp.look('UPDATE streamhouse.cluster SET balanced_at = clock_timestamp() - interval ''30.1 s''') AS long_ago,
       pg_temp.look('UPDATE streamhouse.cluster SET balanced_at = NULL') AS never,
       pg_temp.look('DELETE FROM streamhouse.cluster') AS no_cluster,
       pg_temp.look('UPDATE streamhouse.cluster SET balanced_agents = ''{1,2}''') AS one_has_gone,
       pg_temp.look('UPDATE streamhouse.cluster SET balanced_agents = ''{}''') AS one_has_come;
SELECT pg_temp.look('UPDATE streamhouse.lease SET agent_id = NULL WHERE partition = 1') AS without_a_leader,
       pg_temp.look('UPDATE streamhouse.lease SET next_agent_id = 1 WHERE partition = 1') AS handed_over,
       pg_temp.look('UPDATE streamhouse.agent SET draining = true') AS draining,
       pg_temp.look('UPDATE streamhouse.agent SET heartbeat_at = ''2000-01-01'', expires_at = ''2000-01-01 00:00:00.001''; UPDATE streamhouse.cluster SET balanced_agents = ''{}''') AS dead_and_leads,
       pg_temp.look('UPDATE streamhouse.agent SET heartbeat_at = ''2000-01-01'', expires_at = ''2000-01-01 00:00:00.001''; UPDATE streamhouse.cluster SET balanced_agents = ''{}''; UPDATE streamhouse.lease SET agent_id = 2') AS dead,
       pg_temp.look('UPDATE streamhouse.agent SET heartbeat_at = now() - interval ''200 years'', expires_at = now() - interval ''100 years''') AS dead_but_for_the_start;
-- and is taken once
SELECT pg_temp.look('INSERT INTO streamhouse.job VALUES (''leases'', 2, clock_timestamp() + interval ''1 s''); UPDATE streamhouse.lease SET agent_id = NULL') AS not_due,
       pg_temp.look('INSERT INTO streamhouse.job VALUES (''leases'', 2, clock_timestamp()); UPDATE streamhouse.lease SET agent_id = NULL') AS due;
DELETE FROM streamhouse.job WHERE name = 'leases';
SELECT streamhouse.lease_look_after(1);
SELECT agent_id, expires_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '0.3 s' AS taken FROM streamhouse.job WHERE name = 'leases';
UPDATE streamhouse.job SET agent_id = 2, expires_at = clock_timestamp();
SELECT streamhouse.lease_look_after(1);
SELECT agent_id, expires_at BETWEEN clock_timestamp() AND clock_timestamp() + interval '0.3 s' AS taken FROM streamhouse.job WHERE name = 'leases';
