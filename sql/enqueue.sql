-- sh_enqueue(), the outbox: records that get their places when the transaction commits.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS streamhouse;
RESET client_min_messages;
\set SHOW_CONTEXT never
\set ECHO none
\i sql/records.psql
\set ECHO all
SELECT count(*) AS created FROM sh_create_topic('enqueue.one', 1, '{"compression.type": "uncompressed"}');
SELECT count(*) AS created FROM sh_create_topic('enqueue.four', 4);
-- What came since the last look.
CREATE TEMP SEQUENCE seen MINVALUE 0;
CREATE FUNCTION pg_temp.news() RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    found text[] := ARRAY(SELECT r.value FROM pg_temp.records('enqueue.one') AS r WHERE "offset" >= (SELECT last_value FROM seen) ORDER BY "offset");
BEGIN
    PERFORM setval('seen', (SELECT last_value FROM seen) + cardinality(found));
    RETURN found;
END $$;
SELECT setval('seen', 0);

-- It says the partition; values and keys are as in sh_produce().
SELECT sh_enqueue('enqueue.one', 'text'), sh_enqueue('enqueue.one', '{"json": true}'::jsonb), sh_enqueue('enqueue.one', '\x6279746573'::bytea, '\x00'::bytea),
       sh_enqueue('enqueue.one', NULL, 'key', headers => '{"a": "b"}', ts => '2020-01-01Z');
SELECT pg_temp.news();
-- Many calls make few rows: one segment a partition.
SELECT count(sh_enqueue('enqueue.four', n::text, n::text)) FROM generate_series(1, 10000) AS n;
SELECT partition, base_offset, batches, end_offset > 2000 AS is_a_share FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'enqueue.four' ORDER BY 1;
SELECT count(DISTINCT object_id) AS rows FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'enqueue.four';

-- A rollback leaves nothing, an error neither, nor does what a caught error undoes.
BEGIN; SELECT sh_enqueue('enqueue.one', 'undone'); ROLLBACK;
SELECT sh_enqueue('enqueue.one', 'undone'), 1 / (random() * 0)::int;
DO $$
BEGIN
    PERFORM sh_enqueue('enqueue.one', 'before');
    FOR n IN 1 .. 4 LOOP
        BEGIN
            PERFORM sh_enqueue('enqueue.one', 'try ' || n);
            PERFORM 1 / (n % 2);
        EXCEPTION WHEN division_by_zero THEN
            PERFORM sh_enqueue('enqueue.one', 'handled ' || n);
        END;
    END LOOP;
END $$;
SELECT pg_temp.news();
-- Savepoints within savepoints; a release does not keep what is rolled back around it.
BEGIN;
SELECT sh_enqueue('enqueue.one', 'a');
SAVEPOINT s1; SELECT sh_enqueue('enqueue.one', 'b');
SAVEPOINT s2; SELECT sh_enqueue('enqueue.one', 'c'); RELEASE s2;
SELECT sh_enqueue('enqueue.one', 'd');
ROLLBACK TO s1; SELECT sh_enqueue('enqueue.one', 'e');
SAVEPOINT s3; SELECT sh_enqueue('enqueue.one', 'f'); ROLLBACK TO s3; RELEASE s3;
RELEASE s1; SELECT sh_enqueue('enqueue.one', 'g');
COMMIT;
SELECT pg_temp.news();
-- A transaction of which everything was rolled back commits, and may be prepared as far as we care.
BEGIN; SAVEPOINT s; SELECT sh_enqueue('enqueue.one', 'undone'); ROLLBACK TO s; COMMIT;
SELECT pg_temp.news();

-- Against a model: hundreds of steps in random nesting, the survivors in a table that is rolled back with them. So small a
-- memory that everything goes through the temporary file.
CREATE TEMP TABLE survivor (n int PRIMARY KEY);
CREATE FUNCTION pg_temp.nest(depth int, INOUT n int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 3 LOOP
        n := n + 1;
        INSERT INTO survivor VALUES (n);
        PERFORM sh_enqueue('enqueue.one', rpad(n::text, 2000));
        CONTINUE WHEN depth = 0;
        BEGIN
            n := pg_temp.nest(depth - 1, n);
            IF hashint4(n) % 3 = 0 THEN RAISE EXCEPTION 'undo'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL;
        END;
    END LOOP;
END $$;
BEGIN;
SET LOCAL streamhouse.outbox_memory = '64kB';
SELECT n > 300 AS many FROM pg_temp.nest(4, 0) AS n;
COMMIT;
SELECT count(*) BETWEEN 50 AND 300 AS some_were_undone FROM survivor;
SELECT ARRAY(SELECT n FROM survivor ORDER BY n) = ARRAY(SELECT r.value::int FROM unnest(pg_temp.news()) AS r (value)) AS same;
-- The same in memory.
TRUNCATE survivor;
SELECT n > 300 AS many FROM pg_temp.nest(4, 0) AS n;
SELECT ARRAY(SELECT n FROM survivor ORDER BY n) = ARRAY(SELECT r.value::int FROM unnest(pg_temp.news()) AS r (value)) AS same;

-- Table to topic: change capture.
CREATE TABLE account (id int PRIMARY KEY, balance numeric NOT NULL);
CREATE FUNCTION capture() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM sh_enqueue('enqueue.one', jsonb_build_object('op', TG_OP, 'row', to_jsonb(coalesce(NEW, OLD))), (coalesce(NEW, OLD)).id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE ON account FOR EACH ROW EXECUTE FUNCTION capture();
BEGIN;
INSERT INTO account VALUES (1, 10), (2, 20);
UPDATE account SET balance = balance - 5 WHERE id = 1;
DELETE FROM account WHERE id = 2;
COMMIT;
SELECT unnest(pg_temp.news());
-- The row and its record stay or go together.
INSERT INTO account VALUES (3, 1), (1, 1);
SELECT pg_temp.news();
-- A replica's session fires triggers only that are ALWAYS; what is enqueued is written all the same.
SET session_replication_role = replica;
INSERT INTO account VALUES (4, 1);
SELECT sh_enqueue('enqueue.one', 'by a replica');
SELECT pg_temp.news();
RESET session_replication_role;
-- Deferred triggers come before the outbox is written; SET CONSTRAINTS does not write it early.
DROP TRIGGER capture ON account;
CREATE CONSTRAINT TRIGGER capture AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION capture();
BEGIN;
INSERT INTO account VALUES (5, 5);
SELECT sh_enqueue('enqueue.one', 'before the deferred');
COMMIT;
SELECT unnest(pg_temp.news());
BEGIN;
INSERT INTO account VALUES (6, 6);
SET CONSTRAINTS ALL IMMEDIATE;
SELECT sh_enqueue('enqueue.one', 'after the deferred');
SELECT pg_temp.news() AS nothing_yet;
ROLLBACK;
SELECT pg_temp.news() AS nothing_at_all;
-- A deferred trigger that fails takes the records with it.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON account DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
BEGIN; INSERT INTO account VALUES (7, 7); SELECT sh_enqueue('enqueue.one', 'undone'); COMMIT;
SELECT pg_temp.news() AS nothing_at_all;
DROP TABLE account;

-- In a procedure that commits; in a cursor, when it is fetched; WITH HOLD, when it is held.
DO $$ BEGIN FOR n IN 1 .. 2 LOOP PERFORM sh_enqueue('enqueue.one', 'part ' || n); COMMIT; PERFORM sh_enqueue('enqueue.one', 'gone'); ROLLBACK; END LOOP; END $$;
SELECT pg_temp.news();
BEGIN;
DECLARE few CURSOR FOR SELECT sh_enqueue('enqueue.one', 'fetched ' || n) FROM generate_series(1, 5) AS n;
FETCH 2 FROM few;
COMMIT;
SELECT pg_temp.news();
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT sh_enqueue('enqueue.one', 'held ' || n) FROM generate_series(1, 2) AS n;
COMMIT;
SELECT pg_temp.news();
CLOSE held;
-- Many statements in one: an implicit transaction.
SELECT sh_enqueue('enqueue.one', 'of two')\; SELECT sh_enqueue('enqueue.one', 'statements');
SELECT pg_temp.news();

-- Every isolation level.
BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT sh_enqueue('enqueue.one', 'repeatable'); COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT sh_enqueue('enqueue.one', 'serializable'); COMMIT;
SELECT pg_temp.news();
-- Refused: a transaction that reads only, is to be prepared, or whose topic is gone at its end.
BEGIN READ ONLY; SELECT sh_enqueue('enqueue.one', 'x'); ROLLBACK;
BEGIN; SELECT sh_enqueue('enqueue.one', 'x'); PREPARE TRANSACTION 'enqueue';
SELECT count(*) AS created FROM sh_create_topic('enqueue.gone', 1);
BEGIN; SELECT sh_enqueue('enqueue.gone', 'x'); SELECT sh_delete_topic('enqueue.gone'); COMMIT;
SELECT count(*) AS still_there FROM streamhouse.topic WHERE name = 'enqueue.gone' AND deleted_at IS NULL;
SELECT sh_delete_topic('enqueue.gone');
SELECT pg_temp.news() AS nothing_at_all;
-- The commit is flushed whatever synchronous_commit says, as it was at the transaction's end.
SET synchronous_commit = off;
BEGIN; SELECT sh_enqueue('enqueue.one', 'flushed'); SELECT pg_current_wal_insert_lsn() AS written \gset
COMMIT;
SELECT pg_current_wal_flush_lsn() > :'written'::pg_lsn AS is_flushed;
RESET synchronous_commit;
SELECT pg_temp.news();

-- A role without any right to a table, in a function of its own, with a search_path that finds nothing.
CREATE ROLE enqueue_nobody;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'streamhouse_producer') THEN
        GRANT streamhouse_producer TO enqueue_nobody;
    END IF;
END $$;
SET ROLE enqueue_nobody;
BEGIN; SELECT sh_enqueue('enqueue.one', 'from nobody'); SET LOCAL search_path = pg_catalog; COMMIT;
RESET ROLE;
SELECT pg_temp.news();
DROP OWNED BY enqueue_nobody;
DROP ROLE enqueue_nobody;

-- Without keys a large transaction fills one partition after the other, a batch at a time.
SELECT count(sh_enqueue('enqueue.four', rpad(n::text, 100))) FROM generate_series(1, 200000) AS n;
SELECT count(DISTINCT partition) > 1 AS spread FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'enqueue.four' AND base_offset > 0;
SELECT sum(end_offset - base_offset) AS records FROM streamhouse.segment JOIN streamhouse.topic USING (topic_id) WHERE name = 'enqueue.four';

DROP FUNCTION capture, refuse;
SELECT sh_delete_topic('enqueue.one'), sh_delete_topic('enqueue.four');
