-- An extension that is dropped and created anew begins with nothing, though ids begin again and sessions go on.
SET client_min_messages = warning;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT 'file://' || current_setting('data_directory') || '/pg_stat_tmp' AS store \gset
SET streamhouse.store = :'store';

-- as if the mover had put all that is inline into the object of a key
CREATE FUNCTION public.to_object(key text) RETURNS int8 LANGUAGE plpgsql AS $$
DECLARE
    large oid := (SELECT lo_from_bytea(0, bytes) FROM streamhouse.inline_1);
BEGIN
    PERFORM lo_export(large, current_setting('data_directory') || '/pg_stat_tmp/' || key);
    PERFORM lo_unlink(large);
    INSERT INTO streamhouse.object (object_id, key, state, agent_id, expires_at) OVERRIDING SYSTEM VALUE
    SELECT object_id, key, 'live', 1, now() FROM streamhouse.segment;
    UPDATE streamhouse.segment SET slot = 0;
    RETURN object_id FROM streamhouse.object;
END $$;

SELECT topic_id FROM sh_create_topic('again', 1);
SELECT count(sh_produce('again', 'old ' || i)) FROM generate_series(1, 5) AS i;
SELECT convert_from(value, 'UTF8') FROM sh_fetch('again', 0, 4);
BEGIN;
SELECT sh_produce('again', 'old and rolled back');
ROLLBACK;
TRUNCATE streamhouse.inline_1;
DELETE FROM streamhouse.segment;
SELECT sh_produce('again', 'old object');
SELECT public.to_object('one');
SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('again', 0, 0);

DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT topic_id FROM sh_create_topic('again', 2);
-- the first offset again, and not where the session last saw this topic's id end
SELECT sh_produce('again', 'new', partition => 0);
SELECT sh_enqueue('again', 'new, too', partition => 1);
SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('again', 1);
DELETE FROM streamhouse.segment;
TRUNCATE streamhouse.inline_1;
ALTER SEQUENCE streamhouse.object_object_id_seq RESTART;
SELECT nextval('streamhouse.object_object_id_seq');
SELECT sh_produce('again', 'new object', partition => 0);
SELECT public.to_object('two');
-- not the bytes that the session has of another object with this id
SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('again', 0);
DROP FUNCTION public.to_object;
SELECT sh_delete_topic('again');

-- nor the records of a batch that it has begun
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT topic_id FROM sh_create_topic('again', 1);
SELECT count(sh_produce('again', 'old ' || i)) FROM generate_series(1, 3) AS i;
SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('again', 0, 0, max_records => 1);
SELECT object_id FROM streamhouse.segment;
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT topic_id FROM sh_create_topic('again', 1);
SELECT count(sh_produce('again', 'new ' || i)) FROM generate_series(1, 3) AS i;
SELECT object_id FROM streamhouse.segment;
SELECT "offset", convert_from(value, 'UTF8') FROM sh_fetch('again', 0, 1);
SELECT sh_delete_topic('again');
