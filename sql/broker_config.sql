-- Broker configs: set for all agents or for one, defaults of topic configs among them; and Kafka's operations on configs.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT agent_id FROM sh_agent_heartbeat('a', '00000000-0000-0000-0000-00000000000a', 'localhost', 9092, NULL, NULL, NULL, '1', 600000, 0);

-- every definition has a default that its own rules accept, or leaves it to another one
SELECT d.name, d.default_value FROM streamhouse.broker_config_definition AS d
WHERE d.default_value IS NOT NULL AND streamhouse.config_complaint(streamhouse.config_definition_of('broker', d.name), d.default_value) IS NOT NULL;
-- a default of a topic config says the same as the topic config's own
SELECT b.name, b.default_value, b.factor, d.default_value AS of_topic FROM streamhouse.broker_config_definition AS b
JOIN streamhouse.config_definition AS d ON d.name = b.topic_config
WHERE CASE b.factor WHEN 1 THEN b.default_value ELSE (b.default_value::numeric * b.factor)::text END <> d.default_value;
SELECT name, type, default_value, minimum, maximum, topic_config, factor, per_agent FROM streamhouse.broker_config_definition ORDER BY name COLLATE "C";

-- a default of topic configs counts where the topic sets none
SELECT topic_id FROM sh_create_topic('c', 1, '{"max.message.bytes": "5000"}');
SELECT sh_alter_broker_config('{"log.retention.hours": 2, "message.max.bytes": 7000, "num.partitions": 3}');
SELECT name, value, is_default, source, synonyms FROM sh_describe_configs('c') WHERE name IN ('retention.ms', 'max.message.bytes', 'segment.ms') ORDER BY name;
SELECT config FROM sh_catalog('{c}');
SELECT config FROM streamhouse.topic;
-- milliseconds go before minutes, minutes before hours
SELECT sh_alter_broker_config('{"log.retention.minutes": "5"}');
SELECT value, synonyms FROM sh_describe_configs('c') WHERE name = 'retention.ms';
SELECT sh_alter_broker_config('{"log.retention.ms": "-1"}');
SELECT value FROM sh_describe_configs('c') WHERE name = 'retention.ms';
-- -1 is no limit in hours, too
SELECT sh_alter_broker_config('{"log.retention.ms": null, "log.retention.minutes": null, "log.retention.hours": "-1"}');
SELECT value FROM sh_describe_configs('c') WHERE name = 'retention.ms';

-- an agent's own value goes before that of all
SELECT sh_alter_broker_config('{"num.partitions": "4"}', 1);
SELECT * FROM sh_broker_configs(1);
SELECT * FROM sh_broker_configs(2);
SELECT name, value, source, synonyms FROM sh_describe_broker_configs(1, '{"num.partitions": "9", "fetch.max.bytes": "2048"}')
WHERE name IN ('num.partitions', 'fetch.max.bytes', 'auto.create.topics.enable');
SELECT name, value, source FROM sh_describe_broker_configs() WHERE source <> 'default';
SELECT sh_alter_broker_config('{"num.partitions": null}', 1);

-- what is wrong is refused, and nothing of it is kept
SELECT sh_alter_broker_config('{"num.partitions": "8", "no.such.config": "1"}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"num.partitions": "0"}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"log.retention.ms": "1"}', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"num.partitions": "1"}', 77);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('7');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"num.partitions": "1"}', NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"group.min.session.timeout.ms": "2000000"}');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"group.max.session.timeout.ms": "10"}', 1);
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM streamhouse.broker_config ORDER BY agent_id, name;

-- SQL producers obey the new default at once, and the old one when it is gone
SELECT topic_id FROM sh_create_topic('plain');
SELECT sh_produce('plain', repeat('x', 300));
SELECT sh_alter_broker_config('{"message.max.bytes": "200", "compression.type": "uncompressed"}');
SELECT sh_produce('plain', repeat('x', 300));
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_broker_config('{"message.max.bytes": null, "compression.type": null}');
SELECT sh_produce('plain', repeat('x', 300));

-- Kafka's operations: set, delete, append, subtract
SELECT sh_alter_configs('topic', 'c', '[{"name": "cleanup.policy", "operation": "append", "value": "compact"}, {"name": "retention.ms", "operation": "set", "value": "77"}]');
SELECT config FROM streamhouse.topic WHERE name = 'c';
SELECT sh_alter_configs('topic', 'c', '[{"name": "cleanup.policy", "operation": "append", "value": "compact,delete"}]');
SELECT sh_alter_configs('topic', 'c', '[{"name": "cleanup.policy", "operation": "subtract", "value": "delete"}, {"name": "max.message.bytes", "operation": "delete"}]');
SELECT config FROM streamhouse.topic WHERE name = 'c';
-- append begins with the cluster's default, not with the definition's
SELECT sh_alter_broker_config('{"log.cleanup.policy": "compact"}');
SELECT sh_alter_configs('topic', 'plain', '[{"name": "cleanup.policy", "operation": "append", "value": "delete"}]');
SELECT config FROM streamhouse.topic WHERE name = 'plain';
SELECT sh_alter_broker_config('{"log.cleanup.policy": null}');
-- replace leaves nothing of what was set
SELECT sh_alter_configs('topic', 'c', '[{"name": "retention.bytes", "operation": "set", "value": "1000"}]', replace => true);
SELECT config FROM streamhouse.topic WHERE name = 'c';
-- validate_only changes nothing, and checks
SELECT sh_alter_configs('topic', 'c', '[{"name": "retention.bytes", "operation": "set", "value": "2"}]', validate_only => true);
SELECT sh_alter_configs('topic', 'c', '[{"name": "retention.bytes", "operation": "set", "value": "two"}]', validate_only => true);
\echo :LAST_ERROR_SQLSTATE
SELECT config FROM streamhouse.topic WHERE name = 'c';
-- deleting what is not set, or not known, does nothing
SELECT sh_alter_configs('topic', 'c', '[{"name": "preallocate", "operation": "delete"}, {"name": "no.such.config", "operation": "delete"}]');
-- what contradicts itself is refused
SELECT sh_alter_configs('topic', 'c', '[{"name": "retention.ms", "operation": "set", "value": "1"}, {"name": "retention.ms", "operation": "delete"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('topic', 'c', '[{"name": "retention.ms", "operation": "set", "value": null}]');
SELECT sh_alter_configs('topic', 'c', (SELECT jsonb_agg(jsonb_build_object('name', 'c' || n, 'operation', 'delete')) FROM generate_series(1, 10000) AS n));
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('topic', 'c', '[{"name": "retention.ms", "operation": "append", "value": "1"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('topic', 'c', '[{"name": "no.such.config", "operation": "set", "value": "1"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('topic', 'c', '[{"name": "cleanup.policy", "operation": "subtract", "value": "delete"}, {"name": "cleanup.policy", "operation": "append", "value": "x"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('topic', 'nothing', '[]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('spaceship', 'c', '[]');
\echo :LAST_ERROR_SQLSTATE
SELECT config FROM streamhouse.topic WHERE name = 'c';
-- brokers: all, one, none such
SELECT sh_alter_configs('broker', '', '[{"name": "num.partitions", "operation": "set", "value": "6"}]');
SELECT sh_alter_configs('broker', '1', '[{"name": "num.partitions", "operation": "set", "value": "7"}]');
SELECT sh_alter_configs('broker', '1', '[{"name": "log.retention.ms", "operation": "set", "value": "7"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('broker', '99', '[{"name": "num.partitions", "operation": "set", "value": "7"}]');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_alter_configs('broker', 'one', '[]');
\echo :LAST_ERROR_SQLSTATE
SELECT * FROM streamhouse.broker_config ORDER BY agent_id, name;
SELECT sh_alter_configs('broker', '1', '[]', replace => true);
SELECT * FROM streamhouse.broker_config ORDER BY agent_id, name;
