-- produce.sql: SQL as producer. A record is queued in its transaction and written when that commits; see outbox.c.
-- Values are text, bytea or jsonb and keys text or bytea. The forms with a key of bytea have no default for it, so that
-- a call without a key, or with a key that is a literal, means text.

CREATE FUNCTION sh_produce(topic text, value text, key text DEFAULT NULL, INOUT partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, OUT "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_produce';
CREATE FUNCTION sh_produce(topic text, value text, key bytea, INOUT partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, OUT "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_produce';
CREATE FUNCTION sh_produce(topic text, value bytea, key text DEFAULT NULL, INOUT partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, OUT "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_produce';
CREATE FUNCTION sh_produce(topic text, value bytea, key bytea, INOUT partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, OUT "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_produce';
CREATE FUNCTION sh_produce(topic text, value jsonb, key text DEFAULT NULL, INOUT partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, OUT "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_produce_jsonb';
CREATE FUNCTION sh_produce(topic text, value jsonb, key bytea, INOUT partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL, OUT "offset" int8)
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_produce_jsonb';

CREATE FUNCTION sh_enqueue(topic text, value text, key text DEFAULT NULL, partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_enqueue';
CREATE FUNCTION sh_enqueue(topic text, value text, key bytea, partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_enqueue';
CREATE FUNCTION sh_enqueue(topic text, value bytea, key text DEFAULT NULL, partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_enqueue';
CREATE FUNCTION sh_enqueue(topic text, value bytea, key bytea, partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_enqueue';
CREATE FUNCTION sh_enqueue(topic text, value jsonb, key text DEFAULT NULL, partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_enqueue_jsonb';
CREATE FUNCTION sh_enqueue(topic text, value jsonb, key bytea, partition int DEFAULT NULL, headers jsonb DEFAULT NULL, ts timestamptz DEFAULT NULL) RETURNS int
LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sh_enqueue_jsonb';

CREATE FUNCTION sh_produce_batch(topic text, "values" text[], keys text[] DEFAULT NULL, partition int DEFAULT NULL, headers jsonb[] DEFAULT NULL, ts timestamptz[] DEFAULT NULL)
RETURNS TABLE (partition int, first_offset int8, records int)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'sh_produce_batch';
CREATE FUNCTION sh_produce_batch(topic text, "values" text[], keys bytea[], partition int DEFAULT NULL, headers jsonb[] DEFAULT NULL, ts timestamptz[] DEFAULT NULL)
RETURNS TABLE (partition int, first_offset int8, records int)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'sh_produce_batch';
CREATE FUNCTION sh_produce_batch(topic text, "values" bytea[], keys text[] DEFAULT NULL, partition int DEFAULT NULL, headers jsonb[] DEFAULT NULL, ts timestamptz[] DEFAULT NULL)
RETURNS TABLE (partition int, first_offset int8, records int)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'sh_produce_batch';
CREATE FUNCTION sh_produce_batch(topic text, "values" bytea[], keys bytea[], partition int DEFAULT NULL, headers jsonb[] DEFAULT NULL, ts timestamptz[] DEFAULT NULL)
RETURNS TABLE (partition int, first_offset int8, records int)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'sh_produce_batch';
CREATE FUNCTION sh_produce_batch(topic text, "values" jsonb[], keys text[] DEFAULT NULL, partition int DEFAULT NULL, headers jsonb[] DEFAULT NULL, ts timestamptz[] DEFAULT NULL)
RETURNS TABLE (partition int, first_offset int8, records int)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'sh_produce_batch';
CREATE FUNCTION sh_produce_batch(topic text, "values" jsonb[], keys bytea[], partition int DEFAULT NULL, headers jsonb[] DEFAULT NULL, ts timestamptz[] DEFAULT NULL)
RETURNS TABLE (partition int, first_offset int8, records int)
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'sh_produce_batch';

-- Forms that differ in types alone have one comment.
DO $$
DECLARE
    form regprocedure;
    comment text;
BEGIN
    FOR form, comment IN
        SELECT p.oid, c.comment
        FROM pg_catalog.pg_proc AS p
        JOIN (VALUES
            ('sh_produce',
             'Appends a record and says where: (partition, offset). It takes the partition''s append lock and keeps it until the transaction ends, so that nobody else appends there meanwhile; sh_enqueue() does without. Nothing is left of a rollback, to a savepoint too. value: text, bytea or jsonb; null is a tombstone. key: text or bytea; it decides the partition, as in Kafka''s Java client (murmur2). Without key and partition, a transaction''s records go to one partition, of those that are free. headers: {"name": "value"}, {"name": null} or {"name": ["value", ...]}. ts: the current time when null. Errors: 42704 no such topic, 42501 no right to produce to it, 22023 no such partition, no key where the topic is compacted, or wrong headers, 22008 timestamp too far from now, 54000 larger than max.message.bytes, 55P03 locked for longer than streamhouse.append_lock_timeout, 40P01 two transactions wait for each other: produce in the same order of partitions everywhere. PREPARE TRANSACTION is refused.'),
            ('sh_enqueue',
             'Appends a record when the transaction commits, and says to which partition. Records wait in the transaction, beyond streamhouse.outbox_memory in a temporary file, and get their offsets at its end, after deferred triggers, so that a long transaction blocks nobody; the order within a partition is that of the calls. In a trigger it makes a topic of a table''s changes; for many records: SELECT count(sh_enqueue(''topic'', value)) FROM table. Arguments, and errors, are those of sh_produce(); but 55P03 and 42704 for a topic that was deleted meanwhile come from COMMIT. PREPARE TRANSACTION is refused.'),
            ('sh_produce_batch',
             'sh_produce() for arrays: appends all values and gives a row for each partition, with the offset of the first and the number of the records that went there; they follow each other, in the order of the arrays. keys, headers and ts are as long as values, or null. Partitions are locked in order, so that two such calls do not wait for each other.')
        ) AS c (name, comment) ON c.name = p.proname
        JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_catalog.pg_extension AS e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
        WHERE e.extname = 'streamhouse'
    LOOP
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', form, comment);
    END LOOP;
END $$;
