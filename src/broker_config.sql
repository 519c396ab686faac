-- broker_config.sql: Kafka's broker configs: one table of definitions, and what was set, for one agent or for the whole
-- cluster. Some are defaults of topic configs; what is set of those is kept in streamhouse.topic_default, too, where
-- everybody finds it who reads a topic's config. A change is told to all agents, which put theirs over their settings.

CREATE TABLE streamhouse.broker_config_definition (
    name text PRIMARY KEY,
    type text NOT NULL CHECK (type IN ('boolean', 'int', 'long', 'double', 'string', 'list')),
    default_value text,
    minimum numeric,
    maximum numeric,
    allowed text[],
    documentation text NOT NULL,
    topic_config text,
    factor int8 NOT NULL DEFAULT 1,
    rank int NOT NULL DEFAULT 1,
    per_agent bool NOT NULL DEFAULT false
);
COMMENT ON TABLE streamhouse.broker_config_definition IS 'Every broker config that can be set with sh_alter_broker_config(), under Kafka''s names, with type, default and bounds.';
COMMENT ON COLUMN streamhouse.broker_config_definition.name IS 'Name as Kafka clients know it.';
COMMENT ON COLUMN streamhouse.broker_config_definition.type IS 'boolean, int (32 bits), long (64 bits), double, string or list (comma-separated).';
COMMENT ON COLUMN streamhouse.broker_config_definition.default_value IS 'Value where nothing is set; null: another config''s value counts then.';
COMMENT ON COLUMN streamhouse.broker_config_definition.minimum IS 'Smallest number allowed.';
COMMENT ON COLUMN streamhouse.broker_config_definition.maximum IS 'Largest number allowed.';
COMMENT ON COLUMN streamhouse.broker_config_definition.allowed IS 'Values allowed, for strings and for each element of a list; null: any.';
COMMENT ON COLUMN streamhouse.broker_config_definition.documentation IS 'What it does here.';
COMMENT ON COLUMN streamhouse.broker_config_definition.topic_config IS 'The topic config whose default it is; null: none.';
COMMENT ON COLUMN streamhouse.broker_config_definition.factor IS 'What to multiply it with to get the topic config''s value.';
COMMENT ON COLUMN streamhouse.broker_config_definition.rank IS 'Among several for one topic config, that with the lowest rank counts.';
COMMENT ON COLUMN streamhouse.broker_config_definition.per_agent IS 'Whether it can be set for one agent; otherwise for all of them only.';

INSERT INTO streamhouse.broker_config_definition (name, type, default_value, minimum, maximum, per_agent, documentation) VALUES
('auto.create.topics.enable', 'boolean', 'true', NULL, NULL, true,
 'Whether a client that asks for an unknown topic gets it created. The agent''s setting auto_create_topics.'),
('fetch.max.bytes', 'int', '57671680', 1024, 1073741824, true,
 'Most bytes of one Fetch reply, whatever the client asks for. The agent''s setting fetch_bytes_max.'),
('group.initial.rebalance.delay.ms', 'int', '3000', 0, 300000, true,
 'How long a classic group that had no members waits for more than its first. The agent''s setting group_initial_delay_ms.'),
('group.max.session.timeout.ms', 'int', '1800000', 1, 86400000, true,
 'Longest session timeout that a member of a classic group may ask for. The agent''s setting group_session_max_ms.'),
('group.max.size', 'int', '10000', 1, 1000000, true,
 'Most members of a classic group. The agent''s setting group_members_max.'),
('group.min.session.timeout.ms', 'int', '6000', 1, 86400000, true,
 'Shortest session timeout that a member of a classic group may ask for. The agent''s setting group_session_min_ms.'),
('group.consumer.heartbeat.interval.ms', 'int', '5000', 1, 3600000, false,
 'How often members of a consumer group (group.protocol=consumer) are to send heartbeats, unless the group says otherwise. PostgreSQL''s setting streamhouse.consumer_heartbeat_interval, when it is not set here.'),
('group.consumer.session.timeout.ms', 'int', '45000', 1, 86400000, false,
 'After what silence a member of a consumer group (group.protocol=consumer) is removed, unless the group says otherwise. PostgreSQL''s setting streamhouse.consumer_session_timeout, when it is not set here.'),
('offsets.retention.minutes', 'int', '10080', 1, 2147483647, false,
 'How long a group without members keeps its committed offsets. PostgreSQL''s setting streamhouse.offsets_retention, when it is not set here.'),
('num.partitions', 'int', '1', 1, 10000, true,
 'Partitions of topics that are created without a number. The agent''s setting default_partitions.');

-- Defaults of topic configs: type, bounds and default are the topic config's, unless the unit is another one.
INSERT INTO streamhouse.broker_config_definition (name, type, default_value, minimum, maximum, allowed, topic_config, documentation)
SELECT n.name, d.type, d.default_value, d.minimum, d.maximum, d.allowed, d.name,
       format('Default of the topic config %s. %s', d.name, d.documentation)
FROM (VALUES ('compression.gzip.level', 'compression.gzip.level'),
             ('compression.lz4.level', 'compression.lz4.level'),
             ('compression.type', 'compression.type'),
             ('compression.zstd.level', 'compression.zstd.level'),
             ('log.cleaner.delete.retention.ms', 'delete.retention.ms'),
             ('log.cleaner.max.compaction.lag.ms', 'max.compaction.lag.ms'),
             ('log.cleaner.min.cleanable.ratio', 'min.cleanable.dirty.ratio'),
             ('log.cleaner.min.compaction.lag.ms', 'min.compaction.lag.ms'),
             ('log.cleanup.policy', 'cleanup.policy'),
             ('log.message.timestamp.after.max.ms', 'message.timestamp.after.max.ms'),
             ('log.message.timestamp.before.max.ms', 'message.timestamp.before.max.ms'),
             ('log.message.timestamp.type', 'message.timestamp.type'),
             ('log.retention.bytes', 'retention.bytes'),
             ('message.max.bytes', 'max.message.bytes')) AS n (name, topic_config)
JOIN streamhouse.config_definition AS d ON d.name = n.topic_config;
INSERT INTO streamhouse.broker_config_definition (name, type, default_value, minimum, topic_config, factor, rank, documentation) VALUES
('log.retention.ms', 'long', NULL, -1, 'retention.ms', 1, 1,
 'Default of the topic config retention.ms: how long records are kept; -1 is for ever. Not set: log.retention.minutes counts.'),
('log.retention.minutes', 'int', NULL, -1, 'retention.ms', 60000, 2,
 'Default of the topic config retention.ms, in minutes. Not set: log.retention.hours counts.'),
('log.retention.hours', 'int', '168', -1, 'retention.ms', 3600000, 3,
 'Default of the topic config retention.ms, in hours.');

CREATE TABLE streamhouse.broker_config (
    agent_id int NOT NULL CHECK (agent_id >= 0),
    name text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (agent_id, name)
);
COMMENT ON TABLE streamhouse.broker_config IS 'Broker configs that were set: sh_alter_broker_config() writes it.';
COMMENT ON COLUMN streamhouse.broker_config.agent_id IS 'The agent; 0: all that have no value of their own.';
COMMENT ON COLUMN streamhouse.broker_config.name IS 'Name, as in broker_config_definition.';
COMMENT ON COLUMN streamhouse.broker_config.value IS 'What was set.';
SELECT pg_catalog.pg_extension_config_dump('streamhouse.broker_config', '');

CREATE FUNCTION streamhouse.broker_config_value(name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT c.value FROM streamhouse.broker_config AS c WHERE c.agent_id = 0 AND c.name = broker_config_value.name),
                    (SELECT d.default_value FROM streamhouse.broker_config_definition AS d WHERE d.name = broker_config_value.name))
$$;
COMMENT ON FUNCTION streamhouse.broker_config_value IS 'What a broker config is set to for the whole cluster, or its default.';

CREATE FUNCTION sh_broker_configs(agent_id int) RETURNS TABLE (name text, value text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT ON (c.name) c.name, c.value FROM streamhouse.broker_config AS c
    WHERE c.agent_id IN (0, sh_broker_configs.agent_id)
    ORDER BY c.name, c.agent_id DESC
$$;
COMMENT ON FUNCTION sh_broker_configs IS 'Broker configs that were set for an agent or, where it has none of its own, for all of them: what it is to put over its settings.';

CREATE FUNCTION streamhouse.broker_config_set(name text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT c.value FROM streamhouse.broker_config AS c WHERE c.agent_id = 0 AND c.name = broker_config_set.name);
END $$;
COMMENT ON FUNCTION streamhouse.broker_config_set IS 'What a broker config was set to for the whole cluster; null: nothing was set.';

-- A negative number means no limit, in whatever unit.
CREATE FUNCTION streamhouse.topic_default_write() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM streamhouse.topic_default;
    INSERT INTO streamhouse.topic_default (name, value, set_as)
    SELECT DISTINCT ON (d.topic_config) d.topic_config,
           CASE WHEN d.factor = 1 THEN c.value WHEN c.value::numeric < 0 THEN '-1' ELSE (c.value::numeric * d.factor)::text END, d.name
    FROM streamhouse.broker_config AS c JOIN streamhouse.broker_config_definition AS d USING (name)
    WHERE c.agent_id = 0 AND d.topic_config IS NOT NULL
    ORDER BY d.topic_config, d.rank;
    SELECT streamhouse.topic_defaults_changed();
$$;
COMMENT ON FUNCTION streamhouse.topic_default_write IS 'Makes streamhouse.topic_default say what streamhouse.broker_config says.';

CREATE FUNCTION streamhouse.broker_config_check(config jsonb, agent_id int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    shared text;
BEGIN
    PERFORM streamhouse.config_check(config, 'broker');
    IF agent_id <> 0 THEN
        SELECT d.name INTO shared FROM streamhouse.broker_config_definition AS d
        WHERE config ? d.name AND config ->> d.name IS NOT NULL AND NOT d.per_agent ORDER BY d.name LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'SH040', MESSAGE = format('broker config "%s" cannot be set for one agent', shared),
                HINT = 'It is the same for the whole cluster: set it for all agents (Kafka''s default broker, agent_id 0).';
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.broker_config_check IS 'Raises SH040 unless the broker configs may be set for that agent, or for all (0); null values pass.';

CREATE FUNCTION streamhouse.broker_config_of(agent_id int) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_object_agg(c.name, to_jsonb(c.value)), '{}') FROM streamhouse.broker_config AS c WHERE c.agent_id = broker_config_of.agent_id
$$;
COMMENT ON FUNCTION streamhouse.broker_config_of IS 'What was set for an agent, or for all (0), name to value.';

CREATE FUNCTION streamhouse.broker_config_check_sessions() RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong record;
BEGIN
    SELECT a.agent_id, low.value AS minimum, high.value AS maximum INTO wrong
    FROM (SELECT DISTINCT c.agent_id FROM streamhouse.broker_config AS c UNION SELECT 0) AS a
    CROSS JOIN LATERAL @extschema@.sh_describe_broker_configs(a.agent_id) AS low
    CROSS JOIN LATERAL @extschema@.sh_describe_broker_configs(a.agent_id) AS high
    WHERE low.name = 'group.min.session.timeout.ms' AND high.name = 'group.max.session.timeout.ms' AND low.value::int > high.value::int
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SH040',
            MESSAGE = format('group.min.session.timeout.ms %s is more than group.max.session.timeout.ms %s', wrong.minimum, wrong.maximum),
            HINT = 'Set both so that the one is at most the other.';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.broker_config_check_sessions IS 'Raises SH040 when an agent''s shortest session timeout would be more than its longest.';

CREATE FUNCTION streamhouse.broker_config_write(agent_id int, config jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM streamhouse.broker_config AS c WHERE c.agent_id = broker_config_write.agent_id;
    INSERT INTO streamhouse.broker_config (agent_id, name, value)
    SELECT broker_config_write.agent_id, s.key, s.value FROM jsonb_each_text(config) AS s;
    PERFORM streamhouse.broker_config_check_sessions();
    PERFORM streamhouse.topic_default_write();
    PERFORM streamhouse.metadata_notify(NULL);
END $$;
COMMENT ON FUNCTION streamhouse.broker_config_write IS 'Replaces what is set for an agent, or for all (0), and tells every agent.';

-- Two changes at once: the second one waits for the first and builds on it.
CREATE FUNCTION streamhouse.broker_config_lock(agent_id int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF agent_id IS DISTINCT FROM 0 THEN
        PERFORM streamhouse.agent_require(agent_id);
    END IF;
    LOCK TABLE streamhouse.broker_config IN SHARE ROW EXCLUSIVE MODE;
END $$;
COMMENT ON FUNCTION streamhouse.broker_config_lock IS 'Keeps other changes of broker configs out; raises 42704 for an agent that there never was.';

CREATE FUNCTION sh_alter_broker_config(config jsonb, agent_id int DEFAULT 0) RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    altered jsonb;
BEGIN
    PERFORM streamhouse.broker_config_lock(sh_alter_broker_config.agent_id);
    PERFORM streamhouse.broker_config_check(config, sh_alter_broker_config.agent_id);
    altered := streamhouse.config_as_text(streamhouse.broker_config_of(sh_alter_broker_config.agent_id) || config);
    PERFORM streamhouse.broker_config_write(sh_alter_broker_config.agent_id, altered);
    RETURN altered;
END $$;
COMMENT ON FUNCTION sh_alter_broker_config IS 'Sets broker configs, under Kafka''s names: for all agents, or for one; a null value takes one back. Those that are defaults of topic configs (log.retention.ms …) can be set for all only. In effect at once everywhere. Gives back all that is set now. Errors: SH040 invalid config, 42704 no such agent.';

CREATE FUNCTION sh_describe_broker_configs(agent_id int DEFAULT 0, settings jsonb DEFAULT '{}')
RETURNS TABLE (name text, value text, source text, type text, documentation text, default_value text, synonyms jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT d.name, coalesce(o.value, c.value, settings ->> d.name, d.default_value),
           CASE WHEN o.name IS NOT NULL THEN 'broker' WHEN c.name IS NOT NULL THEN 'cluster' WHEN settings ? d.name THEN 'static' ELSE 'default' END,
           d.type, d.documentation, d.default_value,
           streamhouse.config_synonym(d.name, o.value, 'broker') || streamhouse.config_synonym(d.name, c.value, 'cluster')
           || streamhouse.config_synonym(d.name, settings ->> d.name, 'static') || streamhouse.config_synonym(d.name, d.default_value, 'default')
    FROM streamhouse.broker_config_definition AS d
    LEFT JOIN streamhouse.broker_config AS o ON o.name = d.name AND o.agent_id = sh_describe_broker_configs.agent_id AND o.agent_id <> 0
    LEFT JOIN streamhouse.broker_config AS c ON c.name = d.name AND c.agent_id = 0
    ORDER BY d.name COLLATE "C";
END $$;
COMMENT ON FUNCTION sh_describe_broker_configs IS 'Every broker config with its value for one agent, or for all (agent_id 0), and where that comes from: source is broker (set for the agent), cluster (set for all), static (the agent''s own setting, which only the agent knows: settings) or default. synonyms: all places where there is a value, the one that counts first.';

-- Kafka's four operations on the configs of one topic, broker or group.

CREATE FUNCTION streamhouse.config_list(value text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN btrim(value) = '' THEN '{}' ELSE regexp_split_to_array(btrim(value), '\s*,\s*') END
$$;
COMMENT ON FUNCTION streamhouse.config_list IS 'The elements of a config of type list.';

CREATE FUNCTION streamhouse.config_change_list(kind text, name text, current text, operation text, value text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    definition CONSTANT streamhouse.config_definition := streamhouse.config_definition_of(kind, name);
    elements text[];
BEGIN
    IF definition.type IS DISTINCT FROM 'list' THEN
        RAISE EXCEPTION USING ERRCODE = 'SH040', MESSAGE = format('cannot %s to config "%s"', operation, left(name, 300)),
            HINT = 'Only what is known and a list can be appended to and subtracted from.';
    END IF;
    elements := streamhouse.config_list(coalesce(current, definition.default_value, ''));
    IF operation = 'append' THEN
        RETURN (SELECT string_agg(e.element, ',' ORDER BY e.place)
                FROM (SELECT element, min(place) AS place FROM unnest(elements || streamhouse.config_list(value)) WITH ORDINALITY AS u (element, place)
                      GROUP BY element) AS e);
    END IF;
    RETURN (SELECT coalesce(string_agg(u.element, ',' ORDER BY u.place), '') FROM unnest(elements) WITH ORDINALITY AS u (element, place)
            WHERE u.element <> ALL (streamhouse.config_list(value)));
END $$;
COMMENT ON FUNCTION streamhouse.config_change_list IS 'A list config after append or subtract; current null means its default. Raises SH040 when the config is no list.';

-- defaults: what append and subtract begin with where nothing is set.
CREATE FUNCTION streamhouse.config_change(kind text, current jsonb, defaults jsonb, changes jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    change record;
    changed jsonb := current;
BEGIN
    FOR change IN SELECT c.element ->> 'name' AS name, c.element ->> 'operation' AS operation, c.element ->> 'value' AS value
                  FROM jsonb_array_elements(changes) WITH ORDINALITY AS c (element, place) ORDER BY c.place LOOP
        IF change.operation = 'delete' THEN
            changed := changed - change.name;
        ELSIF change.value IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'SH042', MESSAGE = format('config "%s" has no value', left(change.name, 300)),
                HINT = 'To go back to the default, delete it.';
        ELSIF change.operation = 'set' THEN
            changed := changed || jsonb_build_object(change.name, change.value);
        ELSE
            changed := changed || jsonb_build_object(change.name, streamhouse.config_change_list(
                kind, change.name, coalesce(changed ->> change.name, defaults ->> change.name), change.operation, change.value));
        END IF;
    END LOOP;
    RETURN changed;
END $$;
COMMENT ON FUNCTION streamhouse.config_change IS 'Configs after some changes, each {"name", "operation": set, delete, append or subtract, "value"}. Raises SH042 for a missing value, SH040 for what is no list.';

CREATE FUNCTION streamhouse.config_changes_check(changes jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bytes_max CONSTANT int := 65536; -- what is known is far from that; each change is another copy of the configs
    repeated text;
BEGIN
    IF octet_length(changes::text) > bytes_max THEN
        RAISE EXCEPTION USING ERRCODE = 'SH042', MESSAGE = format('changes of configs of %s bytes', octet_length(changes::text)),
            HINT = format('At most %s bytes are taken for one resource.', bytes_max);
    END IF;
    SELECT c.element ->> 'name' INTO repeated FROM jsonb_array_elements(changes) AS c (element)
    GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SH042', MESSAGE = format('config "%s" is named more than once', left(repeated, 300)),
            HINT = 'Each config can be changed once in a request.';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.config_changes_check IS 'Raises SH042 when a config is named twice, or when there is far more than configs need.';

CREATE FUNCTION streamhouse.alter_topic_config(topic text, changes jsonb, replace bool, validate_only bool) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    altered CONSTANT streamhouse.topic := streamhouse.topic_lock(topic);
    changed jsonb;
BEGIN
    changed := streamhouse.config_change('topic', CASE WHEN replace THEN '{}' ELSE altered.config END, streamhouse.topic_defaults(), changes);
    PERFORM streamhouse.config_check(changed);
    IF NOT validate_only THEN
        UPDATE streamhouse.topic AS t SET config = streamhouse.config_as_text(changed) WHERE t.topic_id = altered.topic_id;
        PERFORM streamhouse.metadata_notify(altered.topic_id);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.alter_topic_config IS 'sh_alter_configs() for a topic.';

CREATE FUNCTION streamhouse.alter_broker_config(broker text, changes jsonb, replace bool, validate_only bool) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted_id int := 0;
    current jsonb;
    changed jsonb;
BEGIN
    IF broker <> '' THEN
        SELECT a.agent_id INTO wanted_id FROM streamhouse.agent AS a WHERE a.agent_id::text = broker;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'SH042', MESSAGE = format('there is no broker "%s"', left(broker, 300)),
                HINT = 'Name the id of an agent, or nothing for all of them.';
        END IF;
    END IF;
    PERFORM streamhouse.broker_config_lock(wanted_id);
    current := streamhouse.broker_config_of(wanted_id);
    changed := streamhouse.config_change('broker', CASE WHEN replace THEN '{}' ELSE current END,
                                         CASE WHEN wanted_id <> 0 THEN streamhouse.broker_config_of(0) ELSE '{}' END, changes);
    PERFORM streamhouse.broker_config_check(changed, wanted_id);
    IF NOT validate_only AND changed <> current THEN
        PERFORM streamhouse.broker_config_write(wanted_id, changed);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.alter_broker_config IS 'sh_alter_configs() for a broker, or for all ("").';

CREATE FUNCTION streamhouse.alter_group_config("group" text, changes jsonb, replace bool, validate_only bool) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    current jsonb;
    changed jsonb;
BEGIN
    SELECT coalesce(jsonb_object_agg(d.name, d.value), '{}') INTO current FROM @extschema@.sh_describe_group_configs("group") AS d WHERE NOT d.is_default;
    changed := streamhouse.config_change('group', CASE WHEN replace THEN '{}' ELSE current END, '{}', changes);
    -- What is not named any more goes back to its default.
    SELECT coalesce(jsonb_object_agg(o.key, NULL), '{}') || changed INTO changed FROM jsonb_object_keys(current) AS o (key);
    PERFORM @extschema@.sh_alter_group_config("group", changed);
    IF validate_only THEN
        RAISE EXCEPTION USING ERRCODE = 'SHVAL', MESSAGE = 'the changes are valid';
    END IF;
EXCEPTION WHEN SQLSTATE 'SHVAL' THEN -- SH000 would stand for all of class SH
    RETURN; -- and nothing is changed
END $$;
COMMENT ON FUNCTION streamhouse.alter_group_config IS 'sh_alter_configs() for a group.';

CREATE FUNCTION sh_alter_configs(resource_type text, resource_name text, changes jsonb, replace bool DEFAULT false, validate_only bool DEFAULT false)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM streamhouse.config_changes_check(changes);
    IF resource_type = 'topic' THEN
        PERFORM streamhouse.alter_topic_config(resource_name, changes, replace, validate_only);
    ELSIF resource_type = 'broker' THEN
        PERFORM streamhouse.alter_broker_config(resource_name, changes, replace, validate_only);
    ELSIF resource_type = 'group' THEN
        PERFORM streamhouse.alter_group_config(resource_name, changes, replace, validate_only);
    ELSE
        RAISE EXCEPTION USING ERRCODE = 'SH042', MESSAGE = format('nothing of type "%s" has configs', left(resource_type, 300)),
            HINT = 'Topics, brokers and groups have.';
    END IF;
END $$;
COMMENT ON FUNCTION sh_alter_configs IS 'Kafka''s AlterConfigs (replace: what is not named goes back to its default) and IncrementalAlterConfigs: resource_type is topic, broker (resource_name "" for all) or group; changes is [{"name", "operation": set, delete, append or subtract, "value"}]. All of them are done, or none; validate_only: none, but all are checked. Errors: 42704 no such topic, SH040 invalid config, SH042 named twice, no value, no such broker.';
