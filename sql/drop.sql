-- A session that has worked with an extension which is then dropped and made again: what it remembers misleads nobody.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE FUNCTION public.append(call_id int8, producer_id int8, first_sequence int, text text) RETURNS TABLE (status text, base_offset int8) LANGUAGE sql AS $$
    SELECT c.status::text, c.base_offset
    FROM streamhouse.lease AS l,
         LATERAL sh_commit_inline(l.agent_id, call_id, convert_to(text, 'UTF8'),
                                  streamhouse.pack_commit_row(l.topic_id, l.partition, l.epoch, byte_length => octet_length(text), producer_id => producer_id,
                                                              producer_epoch => 0, first_sequence => first_sequence)) AS c
$$;
CREATE FUNCTION public.contents() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT convert_from(r.bytes, 'UTF8') FROM streamhouse.segment AS s,
        LATERAL sh_read_inline(ARRAY[s.object_id], ARRAY[s.slot], ARRAY[s.byte_start], ARRAY[s.byte_length]) AS r ORDER BY s.end_offset
$$;
PREPARE found AS SELECT base_offset, end_offset, high_watermark FROM sh_find_segments('{1}', '{0}', '{0}', '{100}', 100);
PREPARE granted AS SELECT sh_grant('orders', 'streamhouse_reader', 'consume');

SELECT (sh_create_topic('orders')).topic_id;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
SELECT * FROM public.append(1, 7, 0, 'one');
SELECT * FROM public.append(2, 7, 1, 'two');
SELECT * FROM public.contents();
EXECUTE found;
EXECUTE granted;
SELECT count(*) FROM sh_grants();
DO $$ BEGIN FOR n IN 1 .. 3 LOOP PERFORM sh_create_topic('t' || n); END LOOP; END $$;

DROP EXTENSION streamhouse;
SELECT * FROM public.append(3, 7, 2, 'three');
EXECUTE found;
\echo :LAST_ERROR_SQLSTATE
EXECUTE granted;
SELECT (sh_create_topic('orders')).topic_id;

-- the new one begins at nothing: offsets, producers, answers, grants, numbers
CREATE EXTENSION streamhouse;
SELECT (sh_create_topic('orders')).topic_id;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
EXECUTE found;
SELECT * FROM public.append(1, 7, 0, 'first');
SELECT * FROM public.append(2, 7, 1, 'second');
SELECT * FROM public.contents();
EXECUTE found;
SELECT count(*) FROM sh_grants();
EXECUTE granted;

-- it is in two schemas, so that it cannot be moved: it is made elsewhere instead
ALTER EXTENSION streamhouse SET SCHEMA pg_temp;
\echo :LAST_ERROR_SQLSTATE
DROP EXTENSION streamhouse;
CREATE SCHEMA elsewhere;
CREATE EXTENSION streamhouse SCHEMA elsewhere;
SELECT (elsewhere.sh_create_topic('orders')).topic_id;
SET search_path = elsewhere, public;
SELECT agent_id FROM sh_agent_heartbeat('a', md5('a')::uuid, 'h', 1, NULL, NULL, NULL, NULL, 600000, 0);
SELECT * FROM public.append(1, 7, 0, 'elsewhere');
SELECT * FROM public.contents();
EXECUTE found;
SELECT sh_sample(0);
SELECT count(*) > 5 AS overview FROM sh_overview();
SELECT sh_grant('orders', 'streamhouse_reader', 'consume');
SELECT sh_delete_topic('orders');
RESET search_path;
DROP FUNCTION public.append, public.contents;
DROP EXTENSION streamhouse;
DROP SCHEMA elsewhere;
CREATE EXTENSION streamhouse;
