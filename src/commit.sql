-- commit.sql: sh_commit_object(), which gives an object's batches their offsets.

CREATE FUNCTION sh_commit_object(agent_id int4, object_id int8, object_bytes int8, batches bytea)
RETURNS TABLE (batch int4, status streamhouse.commit_status, error_code int2, base_offset int8, leader_epoch int4, log_start_offset int8)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'sh_commit_object';
COMMENT ON FUNCTION sh_commit_object(int4, int8, int8, bytea) IS
'Assigns offsets to batches of an object that an agent has written, and makes the object live. batches: rows of 64 bytes (streamhouse.pack_commit_rows() makes them), any subset of the object''s batches. One row per batch, in the same order: committed or duplicate (base_offset is that of its first record), fenced (error 6: the lease moved), invalid (error 45, 47 or 87: sequence, producer epoch, record), unknown (error 3: no such partition) are final and, but for unknown, kept for an hour and given again when asked again; locked means that somebody else commits to the partition: ask again. SH056: the object is not this agent''s, or too old. Needs READ COMMITTED; the transaction is flushed and replicated whatever synchronous_commit says.';
