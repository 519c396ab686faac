-- Topic configs: one table of what is known, which validation and description read.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;

-- every definition has a default that its own rules accept
SELECT d.name, d.default_value, streamhouse.config_complaint(d, d.default_value)
FROM streamhouse.config_definition AS d
WHERE d.default_value IS NULL OR (streamhouse.config_complaint(d, d.default_value) IS NOT NULL);

-- every string has its allowed values, but for names that people choose, every number none
SELECT name FROM streamhouse.config_definition WHERE (type = 'string' AND name NOT IN ('streamhouse.agent.group', 'streamhouse.leader.zone')) AND allowed IS NULL OR type IN ('int', 'long', 'double', 'boolean') AND allowed IS NOT NULL;

-- the known configs
SELECT name, type, default_value, minimum, maximum, allowed FROM streamhouse.config_definition ORDER BY name COLLATE "C";

-- a value in bounds has no complaint, one outside has
SELECT name, value, streamhouse.config_complaint(d, value)
FROM (VALUES ('retention.ms', '-1'), ('retention.ms', '-2'), ('retention.ms', '9223372036854775807'), ('retention.ms', '9223372036854775808'),
             ('retention.ms', ''), ('retention.ms', '1.5'), ('retention.ms', ' 1'), ('retention.ms', '1e3'), ('retention.ms', '0x10'), ('retention.ms', '+7'),
             ('max.message.bytes', '2147483647'), ('max.message.bytes', '2147483648'), ('max.message.bytes', '-1'),
             ('min.cleanable.dirty.ratio', '0'), ('min.cleanable.dirty.ratio', '.5'), ('min.cleanable.dirty.ratio', '1e-1'), ('min.cleanable.dirty.ratio', '1.01'),
             ('min.cleanable.dirty.ratio', 'NaN'), ('compression.gzip.level', '0'), ('compression.gzip.level', '-1'), ('compression.gzip.level', '9'),
             ('cleanup.policy', 'compact'), ('cleanup.policy', 'delete , compact'), ('cleanup.policy', 'delete,'), ('cleanup.policy', ''), ('cleanup.policy', 'purge'),
             ('compression.type', 'zstd'), ('compression.type', 'ZSTD'), ('preallocate', 'TRUE'), ('preallocate', 'yes'),
             ('message.timestamp.type', 'LogAppendTime'), ('follower.replication.throttled.replicas', '0:1,1:2'),
             ('streamhouse.write.path', 'auto'), ('streamhouse.write.path', 'inline'), ('streamhouse.write.path', 'object'), ('streamhouse.write.path', 'none')) AS v (name, value)
JOIN streamhouse.config_definition AS d USING (name);

-- an unknown name and a wrong value are refused with what is allowed
SELECT sh_create_topic('c', 1, '{"retention": "1"}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('c', 1, '{"retention.ms": "soon"}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('c', 1, '{"streamhouse.write.path": "tape"}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('c', 1, '{"retention.ms": [1]}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('c', 1, '["retention.ms"]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_create_topic('c', 1, NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM streamhouse.topic;

-- values may be JSON numbers and booleans; they are kept as text, nulls are not kept
SELECT (sh_create_topic('c', 1, '{"retention.ms": 60000, "preallocate": true, "segment.ms": null, "cleanup.policy": "compact"}')).config;
SELECT name, value, is_default FROM sh_describe_configs('c') WHERE NOT is_default OR name = 'segment.ms' ORDER BY name;

-- altering sets some and leaves the others; null goes back to the default
SELECT (sh_alter_topic('c', '{"retention.ms": null, "max.message.bytes": "1000"}')).config;
SELECT name, value, is_default FROM sh_describe_configs('c') WHERE name IN ('retention.ms', 'max.message.bytes', 'cleanup.policy') ORDER BY name;

-- a wrong value leaves everything as it was, the right ones beside it too
SELECT sh_alter_topic('c', '{"retention.ms": "5", "max.message.bytes": "-5"}');
\echo :LAST_ERROR_SQLSTATE
SELECT config FROM streamhouse.topic;

-- every known config is described, with documentation
SELECT count(*) = (SELECT count(*) FROM streamhouse.config_definition) AS all_described, bool_and(documentation <> '') AS documented FROM sh_describe_configs('c');
SELECT * FROM sh_describe_configs('nothing');
\echo :LAST_ERROR_SQLSTATE
