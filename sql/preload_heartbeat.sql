-- A heartbeat that brings no news does not wait for the disk; whatever else its transaction writes does, and everything does
-- when there are synchronous standbys.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE TABLE mark (n int);
CREATE PROCEDURE pg_temp.heartbeats(what text, extra text, INOUT waited bool DEFAULT true) LANGUAGE plpgsql AS $$
DECLARE
    known CONSTANT int8 := (SELECT lease_version FROM streamhouse.agent);
    written pg_lsn;
BEGIN
    FOR n IN 1 .. 30 LOOP
        COMMIT;
        IF what <> 'after' THEN
            PERFORM h.agent_id FROM sh_agent_heartbeat('one', md5('p')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, known,
                                                       CASE WHEN what = 'with a report' THEN '{"connections": 1}'::jsonb END) AS h;
        END IF;
        EXECUTE extra;
        IF what = 'after' THEN
            PERFORM h.agent_id FROM sh_agent_heartbeat('one', md5('p')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, known) AS h;
        END IF;
        written := pg_current_wal_insert_lsn();
        COMMIT;
        waited := waited AND pg_current_wal_flush_lsn() >= written;
    END LOOP;
END $$;
SELECT (sh_create_topic('t', 1)).topic_id;
SELECT agent_id FROM sh_agent_heartbeat('one', md5('p')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
CALL pg_temp.heartbeats('alone', 'SELECT');
CALL pg_temp.heartbeats('with a report', 'SELECT');
-- (each of thirty must have been written out when its commit is through)
CALL pg_temp.heartbeats('before', 'INSERT INTO mark VALUES (1)');
CALL pg_temp.heartbeats('after', 'INSERT INTO mark VALUES (1)');
CALL pg_temp.heartbeats('before', 'INSERT INTO streamhouse.lease_notice (agent_id) VALUES (1)');
-- nor does a setting stay behind
SHOW synchronous_commit;

-- with a standby that is never there, a commit that asked for it would wait for ever
ALTER SYSTEM SET synchronous_standby_names = 'never';
SELECT pg_reload_conf(), pg_sleep(0.5) IS NULL AS slept;
\c
SET synchronous_commit = local;
SHOW synchronous_standby_names;
CREATE PROCEDURE pg_temp.heartbeats(INOUT waited bool DEFAULT true) LANGUAGE plpgsql AS $$
DECLARE
    known CONSTANT int8 := (SELECT lease_version FROM streamhouse.agent);
    written pg_lsn;
BEGIN
    FOR n IN 1 .. 30 LOOP
        COMMIT;
        PERFORM h.agent_id FROM sh_agent_heartbeat('one', md5('p')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, known) AS h;
        written := pg_current_wal_insert_lsn();
        COMMIT;
        waited := waited AND pg_current_wal_flush_lsn() >= written;
    END LOOP;
END $$;
CALL pg_temp.heartbeats();
ALTER SYSTEM RESET synchronous_standby_names;
SELECT pg_reload_conf();
DROP TABLE mark;
