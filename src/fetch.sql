-- fetch.sql: records as rows: sh_fetch(). See fetch.c.

CREATE TYPE streamhouse.record AS (topic text, partition int, "offset" int8, "timestamp" timestamptz, key bytea, value bytea, headers jsonb);
COMMENT ON TYPE streamhouse.record IS 'A record. timestamp is null when it has none; key and value are null where Kafka''s are. headers: null without headers, else an object from names to strings; null for a null value, {"base64": "…"} for bytes that are not text, an array of these for a name that comes several times.';

CREATE FUNCTION sh_fetch(topic text, partition int, from_offset int8 DEFAULT NULL, max_records int DEFAULT 500,
                         max_bytes int DEFAULT 1048576, wait interval DEFAULT '0') RETURNS SETOF streamhouse.record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'sh_fetch';
COMMENT ON FUNCTION sh_fetch IS
'Records of a partition from from_offset on (null: from the first that there is), in order: at most max_records, with at most max_bytes in keys, values and headers, but at least one. At the end of the partition it gives no row, after waiting for up to wait. Next time begin at the last offset + 1. Waiting in a statement by itself that reads no table holds back no vacuum; elsewhere it keeps the statement''s snapshot. Errors: 42704 no such topic, SH003 no such partition, SH001 from_offset is before the first or after the next record, 42501 may not consume from the topic.';

CREATE FUNCTION streamhouse.fetch_many(topic_ids int4[], partitions int4[], from_offsets int8[], max_records int4, max_bytes int4)
RETURNS SETOF streamhouse.record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 500
AS 'MODULE_PATHNAME', 'streamhouse_fetch_many';
COMMENT ON FUNCTION streamhouse.fetch_many IS
'Records of several partitions, in the order of the arrays, until max_records or max_bytes are reached; the first record of all is given whatever its size. Positions outside of their partition give nothing. Checks no rights.';

CREATE FUNCTION sh_fetch_stats(OUT hits int8, OUT misses int8, OUT requests int8, OUT bytes_read int8, OUT evictions int8, OUT bytes_held int8)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'sh_fetch_stats';
COMMENT ON FUNCTION sh_fetch_stats IS
'What this session read from the object store: blocks of 1 MiB found in its cache (hits) and not (misses), requests to the store, bytes they brought, blocks that left the cache for others (evictions), bytes it holds now. See streamhouse.fetch_cache_bytes.';
