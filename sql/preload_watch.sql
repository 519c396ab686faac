-- Shared memory: only with shared_preload_libraries = 'streamhouse' (make installcheck-preload).
\set SHOW_CONTEXT never
SHOW shared_preload_libraries;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('watched', 1000)).partitions;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
CREATE FUNCTION pg_temp.append_all(partitions int) RETURNS int8 LANGUAGE sql AS $$
    SELECT count(*) FROM sh_reserve_objects(1, 1, 60000) AS o,
        LATERAL sh_commit_object(1, o.object_id, 100000,
            (SELECT string_agg(streamhouse.pack_commit_row(1, n, (SELECT epoch FROM streamhouse.lease AS l WHERE l.topic_id = 1 AND l.partition = n), batch => n), '' ORDER BY n)
             FROM generate_series(0, append_all.partitions - 1) AS n)) AS c
    WHERE c.status = 'committed'
$$;

-- a cursor is good in any session: history is in shared memory
CALL sh_watch(0, 0) \gset
SELECT pg_temp.append_all(3);
\c -
CALL sh_watch(:cursor, 5000) \gset
SELECT :'partitions' AS partitions, :'end_offsets' AS end_offsets;

-- a reader that was away for longer than the ring reaches is told to read everything again
SHOW streamhouse.watch_ring_size;
CREATE FUNCTION pg_temp.append_all(partitions int) RETURNS int8 LANGUAGE sql AS $$
    SELECT count(*) FROM sh_reserve_objects(1, 1, 60000) AS o,
        LATERAL sh_commit_object(1, o.object_id, 100000,
            (SELECT string_agg(streamhouse.pack_commit_row(1, n, (SELECT epoch FROM streamhouse.lease AS l WHERE l.topic_id = 1 AND l.partition = n), batch => n), '' ORDER BY n)
             FROM generate_series(0, append_all.partitions - 1) AS n)) AS c
    WHERE c.status = 'committed'
$$;
CALL sh_watch(0, 0) \gset
\set old :cursor
SELECT pg_temp.append_all(1000);
CALL sh_watch(:cursor, 5000) \gset
SELECT cardinality(:'partitions'::int[]) AS partitions;
DO $$ BEGIN FOR i IN 1 .. 2 + current_setting('streamhouse.watch_ring_size')::int / 1000 LOOP PERFORM pg_temp.append_all(1000); END LOOP; END $$;
CALL sh_watch(:old, 5000) \gset
SELECT :'topic_ids' AS topic_ids;

-- commits in another database, whose topics have the same numbers, are nobody's business here
CALL sh_watch(0, 0) \gset
SELECT current_database() AS here \gset
CREATE DATABASE regress_other;
\c regress_other
SET client_min_messages = error;
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('other')).topic_id;
SELECT "offset" FROM sh_produce('other', 'x');
\c :here
\unset topic_ids
SELECT clock_timestamp() AS began \gset
CALL sh_watch(:cursor, 300) \gset
SELECT :'cursor' <> '0' AS cursor, clock_timestamp() - :'began' >= '300 ms' AS slept;
\echo :{?topic_ids}
SELECT "offset" >= 0 AS produced FROM sh_produce('watched', 'x', partition => 3);
CALL sh_watch(:cursor, 300) \gset
SELECT :'topic_ids' AS topic_ids, :'partitions' AS partitions;
DROP DATABASE regress_other;

-- nor are those of an extension that was there before
CALL sh_watch(0, 0) \gset
SELECT "offset" >= 0 AS produced FROM sh_produce('watched', 'x', partition => 3);
SET client_min_messages = error;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('watched', 10)).topic_id;
\unset topic_ids
CALL sh_watch(:cursor, 0) \gset
\echo :{?topic_ids}
