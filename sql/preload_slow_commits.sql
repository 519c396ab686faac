-- The slowest commits, in shared memory: only with shared_preload_libraries = 'streamhouse' (make installcheck-preload).
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('timed', 3)).topic_id;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
-- Appends to the first partitions, a hundred bytes to each, then rests.
CREATE PROCEDURE public.append(call_id int8, partitions int, rest_s float8) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM sh_commit_inline(1, call_id, decode(repeat('00', 100 * partitions), 'hex'),
        (SELECT string_agg(streamhouse.pack_commit_row(1, n, (SELECT epoch FROM streamhouse.lease AS l WHERE l.topic_id = 1 AND l.partition = n),
                                                       batch => n, byte_start => n * 100, byte_length => 100), '' ORDER BY n)
         FROM generate_series(0, partitions - 1) AS n)) AS c WHERE c.status = 'committed';
    PERFORM pg_sleep(rest_s);
END $$;

-- what is fast is not kept
SET streamhouse.slow_commit_min_ms = '1min';
CALL append(1, 1, 0);
SELECT count(*) FROM streamhouse.slow_commits;

-- the rest is, slowest first, with the time from the append to the end of the transaction
SET streamhouse.slow_commit_min_ms = 0;
CALL append(2, 1, 0);
CALL append(3, 3, 0.3);
SELECT duration_ms >= 300 AS slow, kind, partitions, batches, bytes, size, role = current_user AS mine, pid = pg_backend_pid() AS here,
       started_at BETWEEN now() - interval '10 s' AND now() AS now
FROM streamhouse.slow_commits;

-- calls of one transaction count together; what is rolled back is not kept
BEGIN;
CALL append(4, 2, 0);
CALL append(5, 1, 0.4);
COMMIT;
BEGIN;
CALL append(6, 1, 0.5);
ROLLBACK;
CALL append(7, 1, 0);
SELECT kind, partitions, batches, bytes, duration_ms BETWEEN 300 AND 4000 AS slow FROM streamhouse.slow_commits;

-- there are 64 of them, and the slowest stay
DO $$ BEGIN FOR n IN 100 .. 200 LOOP CALL append(n, 1, 0); COMMIT; END LOOP; END $$;
SELECT count(*) <= 64 AS bounded, count(*) FILTER (WHERE duration_ms >= 300) AS slow FROM streamhouse.slow_commits;

-- objects are told from inline commits, and the overview names the slowest
SELECT object_id FROM sh_reserve_objects(1, 1, 60000) \gset
BEGIN;
SELECT status FROM sh_commit_object(1, :object_id, 1000, streamhouse.pack_commit_row(1, 0, (SELECT epoch FROM streamhouse.lease WHERE partition = 0), byte_length => 1000));
SELECT FROM pg_sleep(0.6);
COMMIT;
SELECT kind, bytes FROM streamhouse.slow_commits LIMIT 1;
SELECT value ~ '^[0-9]{3,}\..*object, 1 batches' AS slowest FROM sh_overview() WHERE what = 'slowest commit';

-- what SQL produces counts from its first lock, for whoever called
CREATE ROLE regress_slow IN ROLE streamhouse_producer;
SET ROLE regress_slow;
BEGIN;
SELECT "offset" IS NOT NULL AS produced FROM sh_produce('timed', 'one', partition => 1);
SELECT FROM sh_enqueue('timed', 'two', partition => 2);
SELECT FROM pg_sleep(0.7);
COMMIT;
RESET ROLE;
SELECT kind, partitions, batches, bytes > 100 AS bytes, role FROM streamhouse.slow_commits LIMIT 1;
DROP ROLE regress_slow;

-- an extension that is made again has none of the old one's
DROP PROCEDURE public.append;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT count(*) FROM streamhouse.slow_commits;
