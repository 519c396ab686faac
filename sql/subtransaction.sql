-- What transactions produce whose parts are rolled back: in exception blocks, in cursors, with locks taken inside.
SET client_min_messages = warning;
SELECT FROM sh_create_topic('part', 3);
CREATE FUNCTION part(partition int) RETURNS TABLE ("offset" int8, value text) LANGUAGE sql AS
$$ SELECT f."offset", convert_from(f.value, 'UTF8') FROM sh_fetch('part', partition) AS f $$;

-- a lock that was taken in a block that failed is gone, and so are offsets that it was told
DO $$
DECLARE
    said record;
BEGIN
    FOR i IN 1 .. 4 LOOP
        BEGIN
            SELECT * INTO said FROM sh_produce('part', 'kept ' || i, partition => 0);
            BEGIN
                PERFORM sh_produce('part', 'inner', partition => 1);
                PERFORM sh_enqueue('part', 'inner', partition => 0);
                RAISE 'inner';
            EXCEPTION WHEN raise_exception THEN
                NULL;
            END;
            IF i % 2 = 0 THEN
                RAISE 'outer';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            PERFORM sh_enqueue('part', format('%s would have been at %s', i, said."offset"), partition => 0);
        END;
    END LOOP;
END $$;
SELECT * FROM part(0);
SELECT count(*) FROM part(1);

-- a cursor goes on where a rollback left it, which is not where its records are
BEGIN;
DECLARE calls CURSOR FOR SELECT i, (sh_produce('part', 'call ' || i, partition => 1))."offset" FROM generate_series(1, 10) AS i;
FETCH 2 FROM calls;
SAVEPOINT a;
FETCH 2 FROM calls;
ROLLBACK TO a;
FETCH 2 FROM calls;
SAVEPOINT b;
FETCH 2 FROM calls;
RELEASE b;
COMMIT;
SELECT * FROM part(1);

-- a cursor that outlives its transaction is run at its end, before the outbox is written
BEGIN;
DECLARE later CURSOR WITH HOLD FOR SELECT i, (sh_produce('part', 'late ' || i, partition => 2))."offset" FROM generate_series(1, 2) AS i;
SELECT sh_enqueue('part', 'early', partition => 2);
COMMIT;
FETCH ALL FROM later;
CLOSE later;
SELECT * FROM part(2);

-- a procedure that commits: each time what was queued
CREATE PROCEDURE commit_each(times int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. times LOOP
        PERFORM sh_enqueue('part', 'round ' || i, partition => 2);
        IF i % 2 = 0 THEN
            ROLLBACK;
        ELSE
            COMMIT;
        END IF;
    END LOOP;
END $$;
CALL commit_each(5);
SELECT * FROM part(2) WHERE "offset" > 2;

-- the memory of a long transaction does not grow with what was rolled back in it
DO $$
BEGIN
    FOR i IN 1 .. 2000 LOOP
        BEGIN
            PERFORM sh_produce('part', 'gone', partition => 0);
            RAISE 'again';
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
    PERFORM sh_enqueue('part', (SELECT sum(total_bytes) < 1000000 FROM pg_backend_memory_contexts
                                WHERE name LIKE 'StreamHouse%' AND name NOT LIKE '%hints')::text, partition => 0);
END $$;
SELECT max(value) FROM part(0) WHERE value IN ('true', 'false');

-- a full temporary file fails the part of the transaction that filled it
BEGIN;
SET LOCAL streamhouse.outbox_memory = '64kB';
SET LOCAL temp_file_limit = '1MB';
SELECT sh_enqueue('part', 'before', partition => 0);
SAVEPOINT a;
\set VERBOSITY sqlstate
SELECT count(sh_enqueue('part', repeat(md5(i::text), 10), partition => i % 3)) FROM generate_series(1, 20000) AS i;
\set VERBOSITY default
ROLLBACK TO a;
SET LOCAL temp_file_limit = -1;
SELECT count(sh_enqueue('part', 'spilled ' || i, partition => 0)) FROM generate_series(1, 20000) AS i;
COMMIT;
SELECT count(*), min(value), max(value) FROM (SELECT convert_from(value, 'UTF8') AS value FROM sh_fetch('part', 0, 5, 100000, 100000000)) AS f;

DROP FUNCTION part;
DROP PROCEDURE commit_each;
SELECT sh_delete_topic('part');
