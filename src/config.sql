-- config.sql: the one table of topic configs, and what reads it: validation, description, a topic's effective value.
-- Types, bounds and defaults are those of Apache Kafka 4; the documentation says what each does here.

INSERT INTO streamhouse.config_definition (name, type, default_value, minimum, maximum, allowed, documentation) VALUES
('cleanup.policy', 'list', 'delete', NULL, NULL, '{delete,compact}',
 'What becomes of old records: delete removes them by age or size; compact needs a key in every record and is to keep the last record of each key. Compaction itself does not run yet: such a topic keeps every record. Both may be given.'),
('compression.gzip.level', 'int', '-1', -1, 9, NULL,
 'Level for gzip where compression.type is gzip; -1 is the codec''s own default. 0 is refused.'),
('compression.lz4.level', 'int', '9', 1, 17, NULL,
 'Level for lz4 where compression.type is lz4. Not set: liblz4''s own default, which is faster.'),
('compression.type', 'string', 'producer', NULL, NULL, '{uncompressed,zstd,lz4,snappy,gzip,producer}',
 'Codec that stored batches have: a batch that comes with another one is compressed anew. producer keeps what each producer chose; records produced in SQL then get lz4.'),
('compression.zstd.level', 'int', '3', -131072, 22, NULL,
 'Level for zstd where compression.type is zstd.'),
('delete.retention.ms', 'long', '86400000', 0, NULL, NULL,
 'How long a compacted topic keeps a tombstone (a key with a null value) at least. Compaction does not run yet, so all are kept.'),
('file.delete.delay.ms', 'long', '60000', 0, NULL, NULL,
 'Kept for compatibility: objects are removed after the setting streamhouse.object_grace.'),
('flush.messages', 'long', '9223372036854775807', 1, NULL, NULL,
 'Kept for compatibility: every acknowledged record is durable already.'),
('flush.ms', 'long', '9223372036854775807', 0, NULL, NULL,
 'Kept for compatibility: every acknowledged record is durable already.'),
('follower.replication.throttled.replicas', 'list', '', NULL, NULL, NULL,
 'Kept for compatibility: there are no replicas to throttle.'),
('index.interval.bytes', 'int', '4096', 0, NULL, NULL,
 'Kept for compatibility: segments are indexed in PostgreSQL.'),
('leader.replication.throttled.replicas', 'list', '', NULL, NULL, NULL,
 'Kept for compatibility: there are no replicas to throttle.'),
('local.retention.bytes', 'long', '-2', -2, NULL, NULL,
 'Kept for compatibility: all of a log is in the object store.'),
('local.retention.ms', 'long', '-2', -2, NULL, NULL,
 'Kept for compatibility: all of a log is in the object store.'),
('max.compaction.lag.ms', 'long', '9223372036854775807', 1, NULL, NULL,
 'A record of a compacted topic is compacted at the latest this long after it was written. Compaction does not run yet, so nothing but the default is taken.'),
('max.message.bytes', 'int', '1048588', 0, NULL, NULL,
 'Largest record batch that is taken, compressed, with its header.'),
('message.timestamp.after.max.ms', 'long', '3600000', 0, NULL, NULL,
 'How far a record''s timestamp may be ahead of our clock, with message.timestamp.type CreateTime.'),
('message.timestamp.before.max.ms', 'long', '9223372036854775807', 0, NULL, NULL,
 'How far a record''s timestamp may be behind our clock, with message.timestamp.type CreateTime.'),
('message.timestamp.type', 'string', 'CreateTime', NULL, NULL, '{CreateTime,LogAppendTime}',
 'Whether a record keeps its producer''s timestamp or gets the time at which it was appended.'),
('min.cleanable.dirty.ratio', 'double', '0.5', 0, 1, NULL,
 'Share of a compacted log that must be uncompacted before it is compacted again. Compaction does not run yet, so it has no effect.'),
('min.compaction.lag.ms', 'long', '0', 0, NULL, NULL,
 'A record of a compacted topic stays at least this long. Compaction does not run yet, so all stay.'),
('min.insync.replicas', 'int', '1', 1, NULL, NULL,
 'Any value is taken and true: what is acknowledged is durable in PostgreSQL or the object store, with as many copies as those keep. acks=1 and acks=all both mean that.'),
('preallocate', 'boolean', 'false', NULL, NULL, NULL,
 'Kept for compatibility: there are no log files.'),
('remote.log.copy.disable', 'boolean', 'false', NULL, NULL, NULL,
 'Kept for compatibility: all of a log is in the object store.'),
('remote.log.delete.on.disable', 'boolean', 'false', NULL, NULL, NULL,
 'Kept for compatibility: all of a log is in the object store.'),
('remote.storage.enable', 'boolean', 'false', NULL, NULL, NULL,
 'Kept for compatibility: all of a log is in the object store, whatever it says.'),
('retention.bytes', 'long', '-1', NULL, NULL, NULL,
 'Size of a partition above which its oldest records are removed, with cleanup.policy delete; -1 is no limit. Whole segments go, as long as so many bytes stay.'),
('retention.ms', 'long', '604800000', -1, NULL, NULL,
 'How long records are kept at least, by their timestamps, with cleanup.policy delete; -1 is for ever. Whole segments go, oldest first, every few minutes (agents'' retention_interval_ms).'),
('segment.bytes', 'int', '1073741824', 1048576, NULL, NULL,
 'Kept for compatibility: agents choose the sizes of objects.'),
('segment.index.bytes', 'int', '10485760', 4, NULL, NULL,
 'Kept for compatibility: segments are indexed in PostgreSQL.'),
('segment.jitter.ms', 'long', '0', 0, NULL, NULL,
 'Kept for compatibility: agents choose the sizes of objects.'),
('segment.ms', 'long', '604800000', 1, NULL, NULL,
 'Kept for compatibility: agents choose the sizes of objects.'),
('unclean.leader.election.enable', 'boolean', 'false', NULL, NULL, NULL,
 'Kept for compatibility: a new leader always has every acknowledged record.'),
('streamhouse.agent.group', 'string', '', NULL, NULL, NULL,
 'Group of agents (their setting agent_group) whose members are to lead the partitions, as long as one is alive. Empty: any agent.'),
('streamhouse.leader.zone', 'string', '', NULL, NULL, NULL,
 'Availability zone (agents'' setting zone) whose agents are to lead the partitions, as long as one is alive. Empty: any zone.'),
('streamhouse.write.path', 'string', 'auto', NULL, NULL, '{auto,inline,object}',
 'Where a batch is written first: inline (into PostgreSQL), object (into the store), or auto (by size and age).');

-- A number's text as Java reads it: digits with a sign, no blanks, no fraction for int and long.
CREATE FUNCTION streamhouse.config_number(type text, value text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN type IN ('int', 'long') AND value ~ '^[+-]?[0-9]{1,30}$' THEN value::numeric
                WHEN type = 'double' AND value ~ '^[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?$' THEN value::numeric
           END
$$;
COMMENT ON FUNCTION streamhouse.config_number IS 'The number that a config''s text stands for; null when it stands for none.';

-- What is wrong with a value, in words that complete "must be …"; null when it is right.
CREATE FUNCTION streamhouse.config_complaint(definition streamhouse.config_definition, value text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE definition.type
        WHEN 'boolean' THEN CASE WHEN lower(value) NOT IN ('true', 'false') THEN 'true or false' END
        WHEN 'string' THEN CASE WHEN value <> ALL (definition.allowed) THEN 'one of ' || array_to_string(definition.allowed, ', ') END
        WHEN 'list' THEN CASE WHEN definition.allowed IS NOT NULL
                               AND NOT regexp_split_to_array(btrim(value), '\s*,\s*') <@ definition.allowed
                              THEN 'a list of ' || array_to_string(definition.allowed, ', ') END
        ELSE CASE WHEN definition.name IN ('max.compaction.lag.ms', 'log.cleaner.max.compaction.lag.ms') AND n.number <> 9223372036854775807 THEN 'left at its default, since compaction does not run yet'
                  WHEN n.number IS NULL OR n.number < b.minimum OR n.number > b.maximum OR (definition.name = 'compression.gzip.level' AND n.number = 0)
                  THEN format('%s from %s to %s', CASE definition.type WHEN 'double' THEN 'a number' ELSE 'a whole number' END, b.minimum, b.maximum)
                       || CASE definition.name WHEN 'compression.gzip.level' THEN ', except 0' ELSE '' END END
    END
    FROM (SELECT streamhouse.config_number(definition.type, value) AS number) AS n,
         (SELECT coalesce(definition.minimum, CASE definition.type WHEN 'int' THEN -2147483648 ELSE -9223372036854775808 END) AS minimum,
                 coalesce(definition.maximum, CASE definition.type WHEN 'int' THEN 2147483647 ELSE 9223372036854775807 END) AS maximum) AS b
$$;
COMMENT ON FUNCTION streamhouse.config_complaint IS 'What a config''s value must be, when it is not that; null when the value is right.';

-- Topic configs and broker configs have tables of their own and one set of rules.
CREATE FUNCTION streamhouse.config_definition_of(kind text, name text) RETURNS streamhouse.config_definition
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    definition streamhouse.config_definition;
BEGIN
    IF kind = 'topic' THEN
        SELECT * INTO definition FROM streamhouse.config_definition AS d WHERE d.name = config_definition_of.name;
    ELSE
        SELECT d.name, d.type, d.default_value, d.minimum, d.maximum, d.allowed, d.documentation INTO definition
        FROM streamhouse.broker_config_definition AS d WHERE d.name = config_definition_of.name;
    END IF;
    RETURN definition;
END $$;
COMMENT ON FUNCTION streamhouse.config_definition_of IS 'The definition of a topic''s or a broker''s config; null when there is none of the name.';

CREATE FUNCTION streamhouse.config_names(kind text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF kind = 'topic' THEN
        RETURN (SELECT string_agg(d.name, ', ' ORDER BY d.name) FROM streamhouse.config_definition AS d);
    END IF;
    RETURN (SELECT string_agg(d.name, ', ' ORDER BY d.name) FROM streamhouse.broker_config_definition AS d);
END $$;
COMMENT ON FUNCTION streamhouse.config_names IS 'Names of all configs of topics, or of brokers, for a hint.';

CREATE FUNCTION streamhouse.config_check(config jsonb, kind text DEFAULT 'topic') RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    setting record;
    definition streamhouse.config_definition;
    complaint text;
BEGIN
    IF jsonb_typeof(config) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION USING ERRCODE = 'SH040', MESSAGE = format('a %s''s config must be a JSON object', kind),
            HINT = CASE kind WHEN 'topic' THEN 'For example {"retention.ms": "86400000"}.' ELSE 'For example {"log.retention.ms": "86400000"}.' END;
    END IF;
    FOR setting IN SELECT key, value, jsonb_typeof(config -> key) AS json_type FROM jsonb_each_text(config) WHERE value IS NOT NULL LOOP
        definition := streamhouse.config_definition_of(kind, setting.key);
        IF definition.name IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'SH040', MESSAGE = format('unknown %s config "%s"', kind, left(setting.key, 300)),
                HINT = 'Known are ' || streamhouse.config_names(kind) || '.';
        END IF;
        complaint := CASE WHEN setting.json_type IN ('object', 'array') THEN 'a string, a number or a boolean'
                          ELSE streamhouse.config_complaint(definition, setting.value) END;
        IF complaint IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'SH040',
                MESSAGE = format('invalid value "%s" for %s config "%s"', left(setting.value, 300), kind, setting.key),
                HINT = 'It must be ' || complaint || '.';
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION streamhouse.config_check IS 'Raises SH040 unless every name is a known config of topics (or of brokers) and every value is in its bounds; null values pass.';

-- Values are kept as text, as Kafka gives them back.
CREATE FUNCTION streamhouse.config_as_text(config jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(key, to_jsonb(value)), '{}') FROM jsonb_each_text(config) WHERE value IS NOT NULL
$$;
COMMENT ON FUNCTION streamhouse.config_as_text IS 'A config with every value as text and without nulls.';

CREATE FUNCTION streamhouse.topic_defaults() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(d.name, to_jsonb(d.value)), '{}') FROM streamhouse.topic_default AS d
$$;
COMMENT ON FUNCTION streamhouse.topic_defaults IS 'Topic configs whose default is another one in this cluster, name to value.';

CREATE FUNCTION streamhouse.topic_defaults_changed() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_topic_defaults_changed';
COMMENT ON FUNCTION streamhouse.topic_defaults_changed IS 'Tells every session, when this transaction commits, that streamhouse.topic_default has changed.';

-- What Kafka's clients are shown beside a value: every place it may come from, the one that counts first.
CREATE FUNCTION streamhouse.config_synonym(name text, value text, source text) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN value IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('name', name, 'value', value, 'source', source)) END
$$;
COMMENT ON FUNCTION streamhouse.config_synonym IS 'An array of one synonym, or of none when there is no value.';
