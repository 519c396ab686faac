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
