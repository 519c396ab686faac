-- Objects: keys are reserved, expire, die with their last segment, and are reaped; deleted topics go bit by bit.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);

-- keys are random, spread over 256 prefixes, and registered before they are handed out
SELECT count(*), count(DISTINCT key), bool_and(key ~ '^o/([0-9a-f]{2})/\1[0-9a-f]{30}\.sho$') AS shaped, count(DISTINCT left(key, 4)) > 50 AS spread
FROM sh_reserve_objects(1, 200, 3600000);
SELECT state, count(*), bool_and(expires_at BETWEEN now() + interval '59 minutes' AND now() + interval '60 minutes') AS expiry, bool_and(agent_id = 1) AS owner
FROM streamhouse.object GROUP BY state;

-- without a time the setting counts
SET streamhouse.intent_ttl = '2h';
SELECT count(*) FROM sh_reserve_objects(1, 1);
SELECT expires_at > now() + interval '119 minutes' AS as_set FROM streamhouse.object ORDER BY object_id DESC LIMIT 1;

-- asking for none, too many, without time, or as nobody is an error
SELECT sh_reserve_objects(1, 0, 1000);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_reserve_objects(1, 10001, 1000);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_reserve_objects(1, 1, 0);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_reserve_objects(99, 1, 1000);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_reap(99, 1);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_reap(1, 0);
\echo :LAST_ERROR_SQLSTATE

-- an intent that has time left is not reaped; one that has none is, once, in portions
SELECT count(*) FROM sh_reap(1, 100);
UPDATE streamhouse.object SET expires_at = now() - interval '1 s' WHERE object_id <= 5;
SELECT object_id FROM sh_reap(1, 3) ORDER BY 1;
SELECT object_id FROM sh_reap(1, 3) ORDER BY 1;
SELECT object_id FROM sh_reap(1, 3) ORDER BY 1;
SELECT state, count(*) FROM streamhouse.object GROUP BY state ORDER BY state;

-- what nobody reports as deleted is handed out again
SET streamhouse.reap_retry = 0;
UPDATE streamhouse.object SET reap_after = now() WHERE object_id = 2;
SELECT object_id, key = (SELECT key FROM streamhouse.object AS o WHERE o.object_id = r.object_id) AS its_key FROM sh_reap(1, 3) AS r;
RESET streamhouse.reap_retry;

-- what was reported is gone, and reported twice is reported once
SELECT sh_reaped('{1,2,3,4,5,999}');
SELECT sh_reaped('{1,2}');
SELECT sh_reaped(NULL);
SELECT state, count(*) FROM streamhouse.object GROUP BY state ORDER BY state;
SELECT count(*) FROM sh_reap(1, 100);

-- a day later the key is deleted once more, against a PUT that came late; then it is forgotten
UPDATE streamhouse.object SET deleted_at = deleted_at - interval '25 hours', reap_after = reap_after - interval '25 hours' WHERE object_id <= 2;
SELECT object_id FROM sh_reap(1, 100) ORDER BY 1;
SELECT sh_reaped('{1,2,3}');
SELECT count(*) FROM streamhouse.object WHERE object_id <= 5;

-- a live object without a segment dies after the grace, which begins when it can no more be committed
UPDATE streamhouse.object SET state = 'live', bytes = 100 WHERE object_id BETWEEN 10 AND 14;
INSERT INTO streamhouse.segment SELECT 77, 0, n, n + 1, n, 0, 50, 1, 0, -1, -1 FROM generate_series(12, 14) AS n;
SELECT count(*) FROM sh_reap(1, 100);
SELECT object_id FROM streamhouse.object WHERE emptied_at IS NOT NULL ORDER BY 1;
UPDATE streamhouse.object SET expires_at = now() - interval '1 s' WHERE object_id BETWEEN 10 AND 14;
SELECT count(*) FROM sh_reap(1, 100);
SELECT object_id, state FROM streamhouse.object WHERE emptied_at IS NOT NULL ORDER BY 1;
SELECT count(*) FROM sh_reap(1, 100);
SET streamhouse.object_grace = 0;
-- one that has got a segment meanwhile is kept, and its grace forgotten
INSERT INTO streamhouse.segment VALUES (77, 0, 11, 12, 11, 0, 50, 1, 0, -1, -1);
SELECT object_id FROM sh_reap(1, 100) ORDER BY 1;
SELECT object_id, state, emptied_at IS NULL AS kept FROM streamhouse.object WHERE object_id BETWEEN 10 AND 14 ORDER BY 1;
RESET streamhouse.object_grace;

-- the view shows what of an object is in use
SELECT object_id, state, bytes, size, segments, used_bytes, used_size, agent FROM streamhouse.objects WHERE object_id BETWEEN 10 AND 14 ORDER BY 1;

-- a deleted topic's segments, producers, epochs and row go in portions; then its objects are dead
SELECT (sh_create_topic('doomed', 2)).topic_id AS doomed \gset
SELECT (sh_create_topic('kept', 2)).topic_id AS kept \gset
INSERT INTO streamhouse.segment SELECT :doomed, 0, n, n + 1, 20 + n % 3, 0, 50, 1, 0, -1, -1 FROM generate_series(0, 9) AS n;
INSERT INTO streamhouse.segment SELECT :kept, 0, 0, 1, 22, 0, 50, 1, 0, -1, -1;
INSERT INTO streamhouse.producer SELECT :doomed, 1, 5, n, 0, '{0}', '{0}', '{0}', now() FROM generate_series(0, 9) AS n;
UPDATE streamhouse.object SET state = 'live', bytes = 100, expires_at = now() - interval '1 s' WHERE object_id BETWEEN 20 AND 22;
SELECT sh_delete_topic('doomed');
SET streamhouse.reap_rows_max = 4;
SET streamhouse.object_grace = 0;
CREATE FUNCTION pg_temp.left_over(id int8, OUT segments int8, OUT producers int8, OUT epochs int8, OUT topics int8) LANGUAGE sql AS $$
    SELECT (SELECT count(*) FROM streamhouse.segment WHERE topic_id = id), (SELECT count(*) FROM streamhouse.producer WHERE topic_id = id),
           (SELECT count(*) FROM streamhouse.partition_epoch WHERE topic_id = id), (SELECT count(*) FROM streamhouse.topic WHERE topic_id = id)
$$;
SELECT count(*) FROM sh_reap(1, 100);
SELECT segments, producers <= 6 AS fewer_producers, topics FROM pg_temp.left_over(:doomed);
SELECT count(*) FROM sh_reap(1, 100);
SELECT segments FROM pg_temp.left_over(:doomed);
SELECT object_id FROM sh_reap(1, 100) ORDER BY 1;
SELECT * FROM pg_temp.left_over(:doomed);
SELECT object_id, state FROM streamhouse.object WHERE object_id BETWEEN 20 AND 22 ORDER BY 1;
SELECT segments, epochs, topics FROM pg_temp.left_over(:kept);

RESET streamhouse.reap_rows_max;

-- the sweep finds what was committed without any segment, however many objects there are
SET streamhouse.reap_rows_max = 50;
UPDATE streamhouse.object SET state = 'live', bytes = 1, expires_at = now() - interval '1 s' WHERE state = 'intent';
DO $$ BEGIN FOR i IN 1 .. 10 LOOP PERFORM sh_reap(1, 100); END LOOP; END $$;
SELECT count(*) AS live_without_segment FROM streamhouse.objects WHERE state = 'live' AND segments = 0;
SELECT count(*) > 0 AS live_with_segment FROM streamhouse.objects WHERE state = 'live' AND segments > 0;
RESET streamhouse.reap_rows_max;
RESET streamhouse.object_grace;

-- the agents' role reserves and reaps; it cannot change the settings that protect objects
SET ROLE streamhouse_agent;
SELECT count(*) FROM sh_reserve_objects(1, 2, 1000);
SELECT count(*) >= 0 AS reaped FROM sh_reap(1, 1);
SELECT sh_reaped('{}');
SET streamhouse.object_grace = 0;
RESET ROLE;
SET ROLE streamhouse_admin;
SELECT sh_reserve_objects(1, 2, 1000);
SELECT sh_reaped('{}');
RESET ROLE;

-- an old snapshot would not see what keeps an object alive
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM sh_reap((SELECT min(agent_id) FROM streamhouse.agent), 10);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
