-- group_config.sql: configs of consumer groups, as Kafka has them on resources of type GROUP. They are by name, and may
-- be there before the group is and stay after it. What a group does not set, and the bounds, are settings of PostgreSQL
-- (Kafka's group.consumer.*). Configs of share and streams groups, which there are none of, are refused.

CREATE TABLE streamhouse.group_config (
    name text PRIMARY KEY,
    config jsonb NOT NULL CHECK (jsonb_typeof(config) = 'object')
);
COMMENT ON TABLE streamhouse.group_config IS 'What was set of consumer groups'' configs.';
COMMENT ON COLUMN streamhouse.group_config.name IS 'Name of the group, which need not exist.';
COMMENT ON COLUMN streamhouse.group_config.config IS 'Configs that were set, name to text.';
SELECT pg_catalog.pg_extension_config_dump('streamhouse.group_config', '');

CREATE FUNCTION streamhouse.group_config_definitions()
RETURNS TABLE (name text, type text, default_value int, minimum int, maximum int, documentation text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.name, 'int', coalesce(streamhouse.broker_config_set('group.' || d.name)::int, streamhouse.setting(d.setting)), streamhouse.setting(d.setting || '_min'), streamhouse.setting(d.setting || '_max'),
           d.documentation
    FROM (VALUES ('consumer.heartbeat.interval.ms', 'streamhouse.consumer_heartbeat_interval',
                  'How often members of the group (group.protocol=consumer) are to send heartbeats.'),
                 ('consumer.session.timeout.ms', 'streamhouse.consumer_session_timeout',
                  'After what silence a member of the group (group.protocol=consumer) is removed.')) AS d (name, setting, documentation)
$$;
COMMENT ON FUNCTION streamhouse.group_config_definitions IS 'Every config that a consumer group has, with its default and its bounds.';

CREATE FUNCTION streamhouse.group_timing("group" text, OUT session_timeout_ms int, OUT heartbeat_interval_ms int)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((c.config ->> 'consumer.session.timeout.ms')::int, streamhouse.broker_config_set('group.consumer.session.timeout.ms')::int,
                    streamhouse.setting('streamhouse.consumer_session_timeout')),
           coalesce((c.config ->> 'consumer.heartbeat.interval.ms')::int, streamhouse.broker_config_set('group.consumer.heartbeat.interval.ms')::int,
                    streamhouse.setting('streamhouse.consumer_heartbeat_interval'))
    FROM (SELECT) AS one LEFT JOIN streamhouse.group_config AS c ON c.name = "group"
$$;
COMMENT ON FUNCTION streamhouse.group_timing IS 'Session timeout and heartbeat interval in effect for a group.';

CREATE FUNCTION streamhouse.group_config_check(config jsonb) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    setting record;
BEGIN
    IF jsonb_typeof(config) IS DISTINCT FROM 'object' THEN
        PERFORM streamhouse.group_fail(40, 'a group''s config must be a JSON object', 'For example {"consumer.session.timeout.ms": "60000"}.');
    END IF;
    FOR setting IN SELECT c.key, c.value, d.*, streamhouse.config_number('int', c.value) AS number
                   FROM jsonb_each_text(config) AS c LEFT JOIN streamhouse.group_config_definitions() AS d ON d.name = c.key LOOP
        IF setting.name IS NULL THEN
            PERFORM streamhouse.group_fail(40, format('unknown group config "%s"', left(setting.key, 300)),
                'Known are ' || (SELECT string_agg(d.name, ', ' ORDER BY d.name) FROM streamhouse.group_config_definitions() AS d) || '.');
        ELSIF setting.value IS NOT NULL AND (setting.number IS NULL OR setting.number NOT BETWEEN setting.minimum AND setting.maximum) THEN
            PERFORM streamhouse.group_fail(40, format('invalid value "%s" for group config "%s"', left(setting.value, 300), setting.name),
                format('It must be a whole number from %s to %s.', setting.minimum, setting.maximum));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION streamhouse.group_config_check IS 'Raises SH040 unless every name is a known group config and every value is in its bounds; null values pass.';

CREATE FUNCTION sh_describe_group_configs("group" text)
RETURNS TABLE (name text, value text, is_default bool, type text, documentation text, default_value text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.name, coalesce(c.config ->> d.name, d.default_value::text), c.config ->> d.name IS NULL, d.type, d.documentation, d.default_value::text
    FROM streamhouse.group_config_definitions() AS d
    LEFT JOIN streamhouse.group_config AS c ON c.name = "group"
    ORDER BY d.name
$$;
COMMENT ON FUNCTION sh_describe_group_configs IS 'Every config of a consumer group, which need not exist, with its value in effect.';

CREATE FUNCTION sh_configured_groups() RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.name FROM streamhouse.group_config AS c ORDER BY c.name
$$;
COMMENT ON FUNCTION sh_configured_groups IS 'Names of the consumer groups that have configs of their own.';

CREATE FUNCTION sh_alter_group_config("group" text, config jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    altered jsonb;
    timing record;
BEGIN
    IF coalesce("group", '') = '' OR length("group") > 1000 THEN
        PERFORM streamhouse.group_fail(42, 'a group''s name has 1 to 1000 characters');
    END IF;
    PERFORM streamhouse.group_config_check(config);
    INSERT INTO streamhouse.group_config AS c (name, config) VALUES ("group", streamhouse.config_as_text(config))
    ON CONFLICT ON CONSTRAINT group_config_pkey DO UPDATE SET config = streamhouse.config_as_text(c.config || config)
    RETURNING c.config INTO altered;
    timing := streamhouse.group_timing("group");
    IF timing.session_timeout_ms <= timing.heartbeat_interval_ms THEN
        PERFORM streamhouse.group_fail(40, format('a session timeout of %s ms is too short for heartbeats every %s ms',
                                                  timing.session_timeout_ms, timing.heartbeat_interval_ms),
                                       'consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms.');
    END IF;
    DELETE FROM streamhouse.group_config AS c WHERE c.name = "group" AND c.config = '{}';
    UPDATE streamhouse.consumer_group AS g SET version = streamhouse.group_version() WHERE g.name = "group";
    UPDATE streamhouse.group_member AS m SET session_timeout_ms = timing.session_timeout_ms
    FROM streamhouse.consumer_group AS g WHERE g.name = "group" AND m.group_id = g.group_id AND m.backend_pid IS NULL;
    RETURN altered;
END $$;
COMMENT ON FUNCTION sh_alter_group_config IS 'Sets configs of a consumer group, which need not exist: those named, null for the default. They apply to its members at once. Gives what is set now. Errors: SH040 no such config or value, SH042 no such name for a group.';
