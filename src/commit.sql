-- commit.sql: sh_commit_object(), which gives an object's batches their offsets.

CREATE FUNCTION sh_commit_object(agent_id int4, object_id int8, object_bytes int8, batches bytea, wait_ms int4 DEFAULT 0)
RETURNS TABLE (batch int4, status streamhouse.commit_status, error_code int2, base_offset int8, leader_epoch int4, log_start_offset int8)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'sh_commit_object';
COMMENT ON FUNCTION sh_commit_object IS
'Assigns offsets to batches of an object that an agent has written, and makes the object live. batches: rows of 64 bytes (streamhouse.pack_commit_rows() makes them), any subset of the object''s batches. One row per batch, in the same order: committed or duplicate (base_offset is that of its first record), fenced (error 6: the lease moved), invalid (error 45, 47 or 87: sequence, producer epoch, record), unknown (error 3: no such partition) are final and, but for unknown, kept for an hour and given again when asked again; locked means that somebody else commits to the partition: ask again. With wait_ms, for a single partition alone, its lock is waited for: 55P03 when that takes longer. SH056: the object is not this agent''s, or too old. Needs READ COMMITTED; the transaction is flushed and replicated whatever synchronous_commit says.';

CREATE FUNCTION sh_commit_inline(agent_id int4, call_id int8, bytes bytea, batches bytea, wait_ms int4 DEFAULT 0)
RETURNS TABLE (batch int4, status streamhouse.commit_status, error_code int2, base_offset int8, leader_epoch int4, log_start_offset int8)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'sh_commit_inline';
COMMENT ON FUNCTION sh_commit_inline IS
'Assigns offsets to batches and keeps their bytes in PostgreSQL, in the inline ring. call_id comes from sh_reserve_inline(); answers are kept under it, so that a call that is made again, with any subset of its batches, learns what became of each. bytes: the batches of this call, one after the other; byte_start in the rows of batches counts from its beginning. The rest is as in sh_commit_object().';

CREATE FUNCTION sh_reserve_inline() RETURNS int8
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT nextval('streamhouse.inline_call_seq') $$;
COMMENT ON FUNCTION sh_reserve_inline IS 'The first of 1024 consecutive ids that nobody else gets, for sh_commit_inline().';

CREATE FUNCTION sh_read_inline(object_ids int8[], slots int2[], starts int4[], lengths int4[])
RETURNS TABLE (request int4, bytes bytea)
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 100
AS 'MODULE_PATHNAME', 'sh_read_inline';
COMMENT ON FUNCTION sh_read_inline IS
'Bytes of segments that are in the inline ring, as sh_find_segments() names them: length bytes from start of the row object_id of a slot. Array elements at one place belong together, and request is that place, from 1. bytes is null when the row is gone: its records are in an object by now, so look the segment up again.';
