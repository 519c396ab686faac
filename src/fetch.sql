-- fetch.sql: records as rows: sh_fetch(). See fetch.c.

CREATE TYPE streamhouse.record AS (topic text, partition int, "offset" int8, "timestamp" timestamptz, key bytea, value bytea, headers jsonb);
COMMENT ON TYPE streamhouse.record IS 'A record. timestamp is null when it has none; key and value are null where Kafka''s are. headers: null without headers, else an object from names to strings; null for a null value, {"base64": "…"} for bytes that are not text, an array of these for a name that comes several times.';

CREATE TYPE streamhouse.record_text AS (topic text, partition int, "offset" int8, "timestamp" timestamptz, key text, value text, headers jsonb);
COMMENT ON TYPE streamhouse.record_text IS 'A record of sh_read_text(): like streamhouse.record, with key and value as text.';

CREATE TYPE streamhouse.record_json AS (topic text, partition int, "offset" int8, "timestamp" timestamptz, key text, value jsonb, headers jsonb);
COMMENT ON TYPE streamhouse.record_json IS 'A record of sh_read_json(): like streamhouse.record, with key as text and value as jsonb.';

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

CREATE FUNCTION sh_read(topic text, partitions int[] DEFAULT NULL, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL,
                        from_offset int8 DEFAULT NULL) RETURNS SETOF streamhouse.record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10000
AS 'MODULE_PATHNAME', 'sh_read';
COMMENT ON FUNCTION sh_read IS
'A topic as a table: the records that are there when it starts, of some partitions (null: all), with a timestamp from from_time on and before to_time (null: no bound; with either, records without a timestamp are left out), from an offset on in each partition. In order within a partition. Says with a NOTICE how far it is, every streamhouse.progress_interval. Errors: 42704 no such topic, SH003 no such partition, 42501 may not consume from the topic.';

CREATE FUNCTION sh_read_text(topic text, partitions int[] DEFAULT NULL, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL,
                             from_offset int8 DEFAULT NULL, invalid_as_null bool DEFAULT false)
RETURNS SETOF streamhouse.record_text
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10000
AS 'MODULE_PATHNAME', 'sh_read_text';
COMMENT ON FUNCTION sh_read_text IS
'Like sh_read(), with keys and values as text. A value that is not valid UTF-8 is an error that names the record (22P02), or with invalid_as_null null; such a key is given as \x and its hex digits.';

CREATE FUNCTION sh_read_json(topic text, partitions int[] DEFAULT NULL, from_time timestamptz DEFAULT NULL, to_time timestamptz DEFAULT NULL,
                             from_offset int8 DEFAULT NULL, invalid_as_null bool DEFAULT false)
RETURNS SETOF streamhouse.record_json
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10000
AS 'MODULE_PATHNAME', 'sh_read_json';
COMMENT ON FUNCTION sh_read_json IS
'Like sh_read(), with keys as text and values as jsonb. A value that is not JSON is an error that names the record (22P02), or with invalid_as_null null; a key that is not text is given as \x and its hex digits.';

-- No search_path of its own: the view belongs into the caller's schema, and types are the caller's.
CREATE FUNCTION sh_create_view(topic text, columns json DEFAULT '{}', name text DEFAULT NULL) RETURNS regclass
LANGUAGE plpgsql VOLATILE
AS $$
#variable_conflict use_variable
DECLARE
    functions CONSTANT text := (SELECT e.extnamespace::pg_catalog.regnamespace FROM pg_catalog.pg_extension AS e WHERE e.extname = 'streamhouse');
    view_name CONSTANT text := coalesce(name, topic);
    view_columns text := '';
    column_name text;
    column_type text;
BEGIN
    IF topic IS NULL OR pg_catalog.json_typeof(columns) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'columns must be a JSON object',
            HINT = 'Name each column''s type: {"Package": "text", "Installed-Size": "int"}.';
    END IF;
    FOR column_name, column_type IN SELECT c.key, c.value FROM pg_catalog.json_each_text(columns) AS c LOOP
        view_columns := view_columns || pg_catalog.format(
            CASE WHEN column_type::pg_catalog.regtype IN ('json'::pg_catalog.regtype, 'jsonb'::pg_catalog.regtype)
                 THEN ', (value -> %L)::%s AS %I' ELSE ', (value ->> %L)::%s AS %I' END,
            column_name, column_type::pg_catalog.regtype, column_name);
    END LOOP;
    EXECUTE pg_catalog.format('CREATE VIEW %I AS SELECT partition, "offset", "timestamp", key%s, %s FROM %s.sh_read_json(%L)',
                              view_name, view_columns, CASE WHEN view_columns = '' THEN 'value, headers' ELSE 'headers' END, functions, topic);
    EXECUTE pg_catalog.format('COMMENT ON VIEW %I IS %L', view_name, pg_catalog.format('Topic %s, by sh_create_view().', topic));
    RETURN pg_catalog.format('%I', view_name)::pg_catalog.regclass;
END $$;
COMMENT ON FUNCTION sh_create_view IS
'Makes a view of a topic whose values are JSON objects, in the current schema and as the caller''s own: columns partition, offset, timestamp and key, then those of columns, {"name": "type"} in their order, then headers. Without columns: value and headers. Whoever reads the view needs to be allowed to consume from the topic. name: default is the topic''s.';
