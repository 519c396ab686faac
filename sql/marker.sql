-- The owner marker: who may use the store, by what an agent writes there and finds there. The agent is played here.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
SELECT agent_id FROM sh_agent_heartbeat('b', md5('b')::uuid, 'h', 2, NULL, NULL, NULL, NULL, 600000, 0);

-- The store: what was written first stays.
CREATE TEMP TABLE store (number int8 PRIMARY KEY, body text);
-- A round of an agent; the clock is turned on by an interval before.
CREATE FUNCTION pg_temp.round(agent int DEFAULT 1, OUT task text, OUT holds bool, OUT reason text) LANGUAGE plpgsql AS $$
DECLARE
    told record;
    is_stored bool;
BEGIN
    UPDATE streamhouse.store_marker SET begun_at = begun_at - interval '1 hour';
    SELECT * INTO told FROM sh_marker_begin(agent);
    task := told.task;
    IF task = 'none' THEN
        holds := told.holds;
        reason := told.reason;
        RETURN;
    END IF;
    IF task = 'write' THEN
        INSERT INTO store SELECT told.number, told.body ON CONFLICT DO NOTHING;
        is_stored := (SELECT s.body = told.body FROM store AS s WHERE s.number = told.number);
    END IF;
    SELECT e.holds, e.reason INTO holds, reason
    FROM sh_marker_end(agent, told.begun_us, told.number, is_stored, ARRAY(SELECT number FROM store ORDER BY 1),
                       (SELECT body FROM store ORDER BY number DESC LIMIT 1)) AS e;
END $$;
CREATE FUNCTION pg_temp.stands() RETURNS TABLE (state streamhouse.ownership_state, number int8, era int, assigns bool, deletes bool) LANGUAGE sql AS
    'SELECT state, number, era, assigns, deletes FROM streamhouse.ownership';

-- before the first marker nothing is refused
SELECT (sh_create_topic('orders', 2)).partitions;
SELECT * FROM streamhouse.ownership;
SELECT sh_produce('orders', 'one', partition => 0);
SELECT count(*) FROM sh_reserve_objects(1, 3, 1);
SELECT pg_sleep(0.01);
SELECT count(*) FROM sh_reap(1, 100);
SELECT sh_adopt();
\echo :LAST_ERROR_SQLSTATE

-- a chain; one agent at a time writes it, and not more often than every interval
SELECT task, holds FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
SELECT task FROM sh_marker_begin(1);
SELECT task, holds FROM pg_temp.round(2);
SELECT task, holds FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
SELECT number, body::jsonb - '{token,incarnation,cluster,server,position,written_at}'::text[] AS body FROM store ORDER BY 1;
SELECT prefix = 'owner/' || (SELECT cluster_uuid FROM streamhouse.cluster) || '/' AS its_own FROM sh_marker_begin(1);

-- an answer that was lost: the same marker again
UPDATE streamhouse.store_marker SET begun_at = NULL;
SELECT number, body AS first_body FROM sh_marker_begin(1) \gset
INSERT INTO store VALUES (:number, :'first_body');
UPDATE streamhouse.store_marker SET begun_at = NULL;
SELECT number = :number AND body = :'first_body' AS same FROM sh_marker_begin(1);
SELECT task, holds FROM pg_temp.round();
SELECT * FROM pg_temp.stands();

-- without a recent proof nothing is deleted, and leases are still given
UPDATE streamhouse.store_marker SET proved_at = proved_at - interval '16 s';
SELECT * FROM pg_temp.stands();
SELECT count(*) FROM sh_reserve_objects(1, 1, 1);
SELECT pg_sleep(0.01);
SELECT count(*) FROM sh_reap(1, 100);
SELECT task, holds FROM pg_temp.round();
SELECT count(*) FROM sh_reap(1, 100);

-- a server that has started since is still the owner, and gives leases when that was proved once more
UPDATE streamhouse.store_marker SET proved_start = proved_start - interval '1 s';
SELECT * FROM pg_temp.stands();
SELECT sh_produce('orders', 'two', partition => 0);
SELECT (sh_create_topic('later')).partitions;
SELECT count(*) FROM streamhouse.lease WHERE agent_id IS NULL;
DELETE FROM streamhouse.job WHERE name = 'leases'; -- as if nobody had looked after the leases lately
SELECT changed FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 1);
SELECT count(*) FROM streamhouse.lease WHERE agent_id IS NULL;
SELECT task, holds FROM pg_temp.round();
DELETE FROM streamhouse.job WHERE name = 'leases'; -- as if nobody had looked after the leases lately
SELECT changed FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 1);
SELECT count(*) FROM streamhouse.lease WHERE agent_id IS NULL;

-- a store without our last marker is another one, or was emptied
CREATE TEMP TABLE emptied AS SELECT * FROM store;
DELETE FROM store;
SELECT task, holds, reason FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
DELETE FROM store;
INSERT INTO store SELECT * FROM emptied;
SELECT task, holds, reason FROM pg_temp.round();

-- another copy wrote the next one: this one leads nothing, gives no offset, deletes nothing
INSERT INTO store SELECT max(number) + 1, 'somebody else''s, "era": 6' FROM store;
SELECT task, holds, reason FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
SELECT count(*) FILTER (WHERE agent_id IS NULL) = count(*) AS none_led FROM streamhouse.lease;
SELECT count(*) FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 1);
SELECT count(*) FILTER (WHERE agent_id IS NULL) = count(*) AS none_led FROM streamhouse.lease;
SELECT sh_produce('orders', 'three', partition => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sh_offsets_for_leader_epochs('{1}', '{0}', '{0}');
\echo :LAST_ERROR_SQLSTATE
SELECT base_offset, end_offset FROM sh_find_segments('{1}', '{0}', '{0}', '{1000}', 1000);
SELECT base_offset, end_offset FROM sh_find_segments('{1}', '{0}', '{99}', '{1000}', 1000);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM sh_reap(1, 100);
SELECT count(*) FROM sh_inline_plan(1, whatever => true);
SELECT value FROM sh_overview() WHERE what = 'warning' AND value LIKE '%owner%';
SELECT task, holds FROM pg_temp.round();

-- sh_adopt() needs a look that is recent, and a person
UPDATE streamhouse.store_marker SET looked_at = looked_at - interval '2 minutes';
SELECT sh_adopt();
\echo :LAST_ERROR_SQLSTATE
SET ROLE streamhouse_reader;
SELECT state FROM streamhouse.ownership;
SELECT sh_adopt();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
SELECT task, holds FROM pg_temp.round();
SELECT producer_id FROM sh_init_producer();
SELECT count(*) FROM sh_reserve_objects(1, 1, 1);
SET ROLE streamhouse_admin;
SELECT * FROM sh_adopt();
SELECT * FROM sh_adopt();
RESET ROLE;
SELECT * FROM pg_temp.stands();
SELECT sh_produce('orders', 'three', partition => 0);
\echo :LAST_ERROR_SQLSTATE

-- the owner wrote one more meanwhile: the one after it, then
INSERT INTO store SELECT max(number) + 1, 'still somebody else''s, "era": 6' FROM store;
SELECT task, holds FROM pg_temp.round();
SELECT task, holds FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
DELETE FROM streamhouse.job WHERE name = 'leases'; -- as if nobody had looked after the leases lately
SELECT changed FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 1);
SELECT count(*) FILTER (WHERE agent_id IS NULL) AS not_led, min(epoch) >= 8 << 16 AS raised FROM streamhouse.lease;
SELECT sh_produce('orders', 'three', partition => 0);
SELECT "offset", convert_from(value, 'UTF8') AS value FROM sh_fetch('orders', 0, 0);
SELECT count(*) FROM streamhouse.producer;
SELECT producer_id >= 8::int8 << 40 AS raised FROM sh_init_producer();
SELECT object_id >= 8::int8 << 40 AS raised FROM sh_reserve_objects(1, 1, 1000000);
SELECT sh_reserve_inline() >= 8::int8 << 40 AS raised;
-- who has read further than this history goes learns that the next record is at the new era's beginning
SELECT leader_epoch < 8 << 16 AS old, end_offset FROM sh_offsets_for_leader_epochs('{1}', '{0}', '{5}');
SELECT base_offset, high_watermark FROM sh_find_segments('{1}', '{0}', '{99}', '{1000}', 1000);

-- what an older intent left in the store may have records: it is kept for the grace
SELECT pg_sleep(0.01);
SELECT count(*) FROM sh_reap(1, 100);
UPDATE streamhouse.store_owner SET era_began_at = era_began_at - interval '8 days';
UPDATE streamhouse.object SET created_at = created_at - interval '8 days', expires_at = expires_at - interval '8 days' WHERE state = 'intent' AND expires_at < now();
SELECT count(*) FROM sh_reap(1, 100);

-- another server: wait and look; an agent's process that remembers ends; then a new era
UPDATE streamhouse.store_owner SET server = '1/1/1/1';
SELECT sh_produce('orders', 'four', partition => 0);
\echo :LAST_ERROR_SQLSTATE
DELETE FROM streamhouse.job WHERE name = 'leases'; -- as if nobody had looked after the leases lately
SELECT changed FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a, again')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
SELECT task, holds, reason FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
UPDATE streamhouse.store_owner SET noticed_at = noticed_at - interval '12 s';
SELECT task, holds FROM pg_temp.round();
SELECT * FROM pg_temp.stands();
-- what it has begun stays when it is asked again, and an adoption in between is as good
UPDATE streamhouse.store_owner SET server = '1/1/1/1';
SELECT task, holds FROM pg_temp.round();
SELECT era FROM sh_adopt();
SELECT task, holds FROM pg_temp.round();
SELECT * FROM pg_temp.stands();

-- a name alone makes no synchronous standby: this server never asked a primary for anything
UPDATE streamhouse.store_owner SET server = regexp_replace(server, '/1/', '/0/');
UPDATE streamhouse.store_marker SET synchronous_names = '{other,walreceiver}';
SELECT streamhouse.marker_was_synchronous();
UPDATE streamhouse.store_owner SET server = streamhouse.server_identity();

-- nonsense
SELECT * FROM sh_marker_begin(99);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM sh_marker_end(1, 0, 1, true, NULL, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT streamhouse.marker_era(e) FROM unnest(ARRAY[NULL, '', 'x', '{"era": 3}', '{"era":12, "x": 1}', '{"era": 123456}']) AS e;

-- eras end
UPDATE streamhouse.store_marker SET found_era = 32766, looked_at = now();
UPDATE streamhouse.store_owner SET state = 'lost', noticed_at = NULL;
SELECT sh_adopt();
\echo :LAST_ERROR_SQLSTATE
DROP FUNCTION pg_temp.stands;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
