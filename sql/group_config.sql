-- Configs of consumer groups: which there are, their bounds, and that members follow them.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
SELECT name, value, is_default, type, default_value FROM sh_describe_group_configs('gc');
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": 50000, "consumer.heartbeat.interval.ms": "6000"}');
SELECT name, value, is_default FROM sh_describe_group_configs('gc');
-- others are as they were; null is the default again, and a group without configs has no row
SELECT sh_alter_group_config('gc', '{"consumer.heartbeat.interval.ms": null}');
SELECT count(*) FROM streamhouse.group_config;
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": null}');
SELECT count(*) FROM streamhouse.group_config;
-- refused
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": "44999"}');
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": "60001"}');
SELECT sh_alter_group_config('gc', '{"consumer.heartbeat.interval.ms": "4999"}');
SELECT sh_alter_group_config('gc', '{"consumer.heartbeat.interval.ms": "soon"}');
SELECT sh_alter_group_config('gc', '{"share.session.timeout.ms": "45000"}');
SELECT sh_alter_group_config('gc', '{"streams.heartbeat.interval.ms": "5000"}');
SELECT sh_alter_group_config('gc', '[]');
SELECT sh_alter_group_config('', '{}');
SELECT count(*) FROM streamhouse.group_config;
-- the bounds are settings, and a session lasts longer than from one heartbeat to the next
SET streamhouse.consumer_session_timeout_min = '1s';
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": "5000"}');
SET streamhouse.consumer_heartbeat_interval_min = '100ms';
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": "2000", "consumer.heartbeat.interval.ms": "500"}');

-- members have them from their first heartbeat on, and follow
SELECT (sh_create_topic('gc', 2)).partitions;
SELECT error_code, epoch, heartbeat_interval_ms, session_timeout_ms, settled FROM sh_member_heartbeat('gc', 'm', 0, NULL, NULL, 60000, '{gc}', NULL, NULL, '{}', '{}', 'c', '/h');
SELECT session_timeout_ms FROM streamhouse.group_member;
SELECT version FROM streamhouse.consumer_group \gset before_
SELECT sh_alter_group_config('gc', '{"consumer.session.timeout.ms": "3000"}');
SELECT session_timeout_ms FROM streamhouse.group_member;
SELECT version <> :before_version AS told FROM sh_group_versions((SELECT array_agg(group_id) FROM streamhouse.consumer_group));
SELECT heartbeat_interval_ms, session_timeout_ms FROM sh_member_heartbeat('gc', 'm', 1, NULL, NULL, -1, NULL, NULL, NULL, NULL, NULL, 'c', '/h');
-- and it is they that time out by it
UPDATE streamhouse.group_member SET last_seen = last_seen - interval '3 s';
SELECT sh_group_tick();
UPDATE streamhouse.group_member SET last_seen = last_seen - interval '1 s';
-- (a server that has just started gives them another timeout)
DO $$ BEGIN PERFORM pg_sleep(greatest(0, extract(epoch FROM streamhouse.server_started_at() + interval '4 s' - clock_timestamp()))); END $$;
SELECT sh_group_tick();
SELECT count(*) FROM streamhouse.group_member;
SELECT emptied_at IS NOT NULL AS is_empty FROM streamhouse.consumer_group;

SELECT sh_delete_group('gc'), sh_delete_topic('gc') IS NOT NULL AS deleted;
-- configs are by name, and stay
SELECT name, value FROM sh_describe_group_configs('gc') WHERE NOT is_default;
SELECT count(*) = (SELECT count(*) FROM streamhouse.group_config) AS all_are_named FROM sh_configured_groups();
DELETE FROM streamhouse.group_config;
