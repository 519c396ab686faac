-- Waiting for partitions to move: the same with and without shared memory.
\set SHOW_CONTEXT never
\setenv PGDATABASE :DBNAME
\setenv PGUSER :USER
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('watched', 4)).topic_id;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
CREATE FUNCTION pg_temp.append(partition int, records int) RETURNS void LANGUAGE sql AS $$
    SELECT FROM sh_reserve_objects(1, 1, 60000) AS o,
        LATERAL sh_commit_object(1, o.object_id, 100, streamhouse.pack_commit_row(1, append.partition,
            (SELECT epoch FROM streamhouse.lease AS l WHERE l.topic_id = 1 AND l.partition = append.partition), offset_count => records)) AS c
$$;
-- (the cursor differs from run to run and stays in its variable; psql leaves the name of a variable that is null)

-- nothing moves: the arrays are null after the timeout, and the cursor is good for the next call
CALL sh_watch(0, 0) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
CALL sh_watch(:cursor, 150) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets

-- what moved is told once, with its end
SELECT pg_temp.append(2, 5);
CALL sh_watch(:cursor, 5000) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
CALL sh_watch(:cursor, 0) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets

-- several moves of a partition are one, with the last end; partitions come in order
SELECT pg_temp.append(3, 1), pg_temp.append(1, 1);
SELECT pg_temp.append(3, 4);
CALL sh_watch(:cursor, 5000) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets

-- what was rolled back did not move, in a subtransaction or a transaction; what was released did
BEGIN;
SELECT pg_temp.append(0, 1);
ROLLBACK;
BEGIN;
SAVEPOINT kept;
SELECT pg_temp.append(0, 7);
SAVEPOINT inner_kept;
SELECT pg_temp.append(1, 1);
RELEASE inner_kept;
SAVEPOINT lost;
SELECT pg_temp.append(2, 90);
SAVEPOINT lost_inner;
SELECT pg_temp.append(3, 90);
RELEASE lost_inner;
ROLLBACK TO lost;
COMMIT;
CALL sh_watch(:cursor, 5000) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
CALL sh_watch(:cursor, 0) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets

-- a cursor that is not known is told to read everything again
CALL sh_watch(1, 5000) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
CALL sh_watch(9223372036854775807, 5000) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
CALL sh_watch(-1, 5000) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
CALL sh_watch(:cursor, 0) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets

-- it waits alone: a transaction around it would hold a snapshot
BEGIN;
CALL sh_watch(0, 1000);
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
CREATE FUNCTION pg_temp.wrapped() RETURNS void LANGUAGE plpgsql AS $$ DECLARE c int8 := 0; t int[]; p int[]; e int8[]; BEGIN CALL sh_watch(c, 1000, t, p, e); END $$;
SELECT pg_temp.wrapped();
\echo :LAST_ERROR_SQLSTATE

-- a timeout is 0 or more
CALL sh_watch(0, -1);
\echo :LAST_ERROR_SQLSTATE
CALL sh_watch(0, NULL);
\echo :LAST_ERROR_SQLSTATE

-- a statement's timeout ends it, and the session goes on
SET statement_timeout = 200;
CALL sh_watch(0, 600000);
\echo :LAST_ERROR_SQLSTATE
RESET statement_timeout;
CALL sh_watch(0, 0) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets

-- while another session waits it holds no snapshot and no transaction id; a cancel ends it
\! psql -Xq -c 'SET application_name = waits' -c 'SET default_transaction_isolation = "repeatable read"' -c 'CALL sh_watch(0, 600000)' >/dev/null 2>&1 &
CREATE TEMP VIEW waiting AS SELECT * FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'waits';
CREATE FUNCTION pg_temp.await(condition text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    holds bool;
BEGIN
    FOR attempt IN 1 .. 600 LOOP
        PERFORM pg_stat_clear_snapshot();
        EXECUTE 'SELECT ' || condition INTO holds;
        EXIT WHEN holds;
        PERFORM pg_sleep(0.05);
    END LOOP;
    RETURN holds;
END $$;
SELECT pg_temp.await('EXISTS (SELECT FROM waiting WHERE wait_event_type = ''Extension'')') AS it_waits;
SELECT count(*) AS sessions, count(backend_xmin) AS snapshots, count(backend_xid) AS transactions
FROM waiting WHERE wait_event_type = 'Extension' AND query LIKE 'CALL sh_watch%';
SELECT pg_cancel_backend(pid) FROM waiting;
SELECT pg_temp.await('NOT EXISTS (SELECT FROM waiting)') AS it_ended;

-- another session's wait ends when we append: long before its timeout
CREATE TABLE woken (at timestamptz);
\! psql -Xq -c 'SET application_name = waits' -c 'CALL sh_watch(0, 600000)' -c 'INSERT INTO woken VALUES (clock_timestamp())' >/dev/null 2>&1 &
SELECT pg_temp.await('EXISTS (SELECT FROM waiting WHERE wait_event_type = ''Extension'')') AS it_waits;
SELECT pg_sleep(0.3);
SELECT count(*) AS woken_too_early FROM woken;
SELECT pg_temp.append(0, 1);
SELECT pg_temp.await('EXISTS (SELECT FROM woken)') AS woken;
DROP TABLE woken;

-- the agents' role may wait, others may not
SET ROLE streamhouse_agent;
CALL sh_watch(0, 0) \gset
\echo topics :topic_ids partitions :partitions ends :end_offsets
RESET ROLE;
SET ROLE streamhouse_admin;
CALL sh_watch(0, 0);
RESET ROLE;
