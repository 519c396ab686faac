-- producer.sql: ids for idempotent producers. Their state is written by sh_commit_object().

CREATE FUNCTION sh_init_producer()
RETURNS TABLE (producer_id int8, producer_epoch int2)
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT nextval('streamhouse.producer_id_seq'), 0::int2 $$;
COMMENT ON FUNCTION sh_init_producer() IS 'A producer id that nobody had before, with epoch 0, for Kafka''s InitProducerId without a transactional id.';
