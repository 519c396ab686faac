-- topic.sql: topics and their partitions: create, alter, delete, grow, describe.

-- The next offset of every partition, by the one rule for it. Planned into the queries that read it.
CREATE VIEW streamhouse.partition_end AS
SELECT p.topic_id, p.partition, p.floor_offset, p.log_start_offset,
       greatest(p.floor_offset, s.end_offset) AS end_offset
FROM streamhouse.partition AS p
LEFT JOIN LATERAL (SELECT g.end_offset FROM streamhouse.segment AS g
                   WHERE g.topic_id = p.topic_id AND g.partition = p.partition
                   ORDER BY g.end_offset DESC LIMIT 1) AS s ON true;
COMMENT ON VIEW streamhouse.partition_end IS 'Every partition with its next offset: greatest(floor_offset, end of its last segment).';
COMMENT ON COLUMN streamhouse.partition_end.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.partition_end.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.partition_end.floor_offset IS 'Least offset the next record may get.';
COMMENT ON COLUMN streamhouse.partition_end.log_start_offset IS 'First offset that can be read.';
COMMENT ON COLUMN streamhouse.partition_end.end_offset IS 'Offset the next record gets.';

-- The latest start of this server's shared memory, or its promotion: after it nothing expires for one TTL.
CREATE FUNCTION streamhouse.server_started_at() RETURNS timestamptz
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'streamhouse_server_started_at';
COMMENT ON FUNCTION streamhouse.server_started_at IS 'When this server started, last recovered from a crash (if the library is preloaded), or was promoted, whichever was last.';

CREATE FUNCTION streamhouse.server_timeline() RETURNS int
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'streamhouse_server_timeline';
COMMENT ON FUNCTION streamhouse.server_timeline IS 'The timeline that this server writes to: a promotion, or a recovery to a point in time, begins a new one. 0 on a standby.';

CREATE FUNCTION streamhouse.setting(name text) RETURNS int
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'streamhouse_setting';
COMMENT ON FUNCTION streamhouse.setting IS 'Value of a setting streamhouse.* in its own unit (seconds, or rows).';

CREATE VIEW streamhouse.live_agent AS
SELECT a.* FROM streamhouse.agent AS a
WHERE a.expires_at > clock_timestamp()
   OR streamhouse.server_started_at() + (a.expires_at - a.heartbeat_at) > clock_timestamp();
COMMENT ON VIEW streamhouse.live_agent IS 'Agents that count as alive: not expired, or within one TTL of a start or a promotion of the server.';
DO $$
DECLARE
    name text;
BEGIN
    FOR name IN SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = 'streamhouse.agent'::regclass AND attnum > 0 LOOP
        EXECUTE format('COMMENT ON COLUMN streamhouse.live_agent.%I IS %L', name,
                       (SELECT pg_catalog.col_description(attrelid, attnum) FROM pg_catalog.pg_attribute
                        WHERE attrelid = 'streamhouse.agent'::regclass AND attname = name));
    END LOOP;
END $$;

CREATE FUNCTION streamhouse.live_agent_ids() RETURNS int[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(agent_id ORDER BY agent_id), '{}') FROM streamhouse.live_agent);
END $$;
COMMENT ON FUNCTION streamhouse.live_agent_ids IS 'Ids of the agents that are alive, sorted.';

CREATE FUNCTION streamhouse.coordinating_agent_ids() RETURNS int[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT coalesce(array_agg(a.agent_id ORDER BY a.agent_id) FILTER (WHERE NOT a.draining), array_agg(a.agent_id ORDER BY a.agent_id), '{}')
            FROM streamhouse.live_agent AS a);
END $$;
COMMENT ON FUNCTION streamhouse.coordinating_agent_ids IS 'Ids of the agents that may coordinate groups, sorted: those that are alive and not about to leave, or all when all are.';

CREATE FUNCTION streamhouse.metadata_notify(topic_id int) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_notify('streamhouse_metadata', coalesce(topic_id::text, '*'))
$$;
COMMENT ON FUNCTION streamhouse.metadata_notify IS 'Tells agents, when this transaction commits, to read a topic again; null: everything.';

-- Kafka's rules: letters, digits, '.', '_', '-', at most 249 of them (a file name on its brokers).
CREATE FUNCTION streamhouse.topic_check_name(name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF name IS NULL OR name IN ('.', '..') OR name !~ '^[a-zA-Z0-9._-]{1,249}$' THEN
        RAISE EXCEPTION USING ERRCODE = 'SH017', MESSAGE = format('invalid topic name "%s"', left(name, 300)),
            HINT = 'A name has 1 to 249 letters (a-z, A-Z), digits, dots, underscores and hyphens, and is not "." or "..".';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.topic_check_name IS 'Raises SH017 unless Kafka allows the topic name.';

CREATE FUNCTION streamhouse.topic_check_partitions(partitions int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    partitions_max CONSTANT int := 100000;
BEGIN
    IF partitions IS NULL OR partitions NOT BETWEEN 1 AND partitions_max THEN
        RAISE EXCEPTION USING ERRCODE = 'SH037', MESSAGE = format('invalid number of partitions: %s', coalesce(partitions::text, 'null')),
            HINT = format('A topic has 1 to %s partitions.', partitions_max);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.topic_check_partitions IS 'Raises SH037 unless a topic may have that many partitions.';

CREATE FUNCTION streamhouse.topic_missing(name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('topic "%s" does not exist', left(name, 300)),
        HINT = 'Create it with sh_create_topic().';
END $$;
COMMENT ON FUNCTION streamhouse.topic_missing IS 'Raises 42704: there is no topic of that name.';

CREATE FUNCTION streamhouse.topic_find(name text) RETURNS streamhouse.topic
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_topic streamhouse.topic;
BEGIN
    SELECT * INTO found_topic FROM streamhouse.topic AS t WHERE t.name = topic_find.name AND t.deleted_at IS NULL;
    IF NOT FOUND THEN
        PERFORM streamhouse.topic_missing(topic_find.name);
    END IF;
    RETURN found_topic;
END $$;
COMMENT ON FUNCTION streamhouse.topic_find IS 'The topic of that name; raises 42704 when there is none.';

CREATE FUNCTION streamhouse.topic_lock(name text) RETURNS streamhouse.topic
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    locked_topic streamhouse.topic;
BEGIN
    SELECT * INTO locked_topic FROM streamhouse.topic AS t WHERE t.name = topic_lock.name AND t.deleted_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM streamhouse.topic_missing(topic_lock.name);
    END IF;
    RETURN locked_topic;
END $$;
COMMENT ON FUNCTION streamhouse.topic_lock IS 'The topic of that name, locked against other changes; raises 42704 when there is none.';

-- Adds partitions from first up to (not including) total. Epoch 0 begins at offset 0, led by an agent or by nobody.
CREATE FUNCTION streamhouse.topic_add(topic_id int, first int, total int) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    added CONSTANT int[] := ARRAY(SELECT generate_series(first, total - 1));
BEGIN
    INSERT INTO streamhouse.partition (topic_id, partition) SELECT topic_id, n FROM unnest(added) AS n;
    INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset) SELECT topic_id, n, 0, 0 FROM unnest(added) AS n;
    INSERT INTO streamhouse.lease (topic_id, partition, epoch) SELECT topic_id, n, 0 FROM unnest(added) AS n;
    WITH led AS (
        UPDATE streamhouse.lease AS l SET agent_id = p.new_agent_id
        FROM streamhouse.lease_plan_for(array_fill(topic_id, ARRAY[cardinality(added)]), added, 0, 0, 0) AS p
        WHERE (l.topic_id, l.partition) = (p.topic_id, p.partition) AND streamhouse.marker_may_assign()
        RETURNING l.agent_id
    )
    INSERT INTO streamhouse.lease_notice (agent_id) SELECT DISTINCT led.agent_id FROM led;
    PERFORM streamhouse.metadata_notify(topic_id);
END $$;
COMMENT ON FUNCTION streamhouse.topic_add IS 'Adds partitions to a topic, leased at once when an agent is alive.';

-- Two transactions may both find a name free; the unique index decides between them.
CREATE FUNCTION streamhouse.topic_check_free(name text) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    rival text;
BEGIN
    SELECT t.name INTO rival FROM streamhouse.topic AS t
    WHERE translate(t.name, '.', '_') = translate(topic_check_free.name, '.', '_') AND t.deleted_at IS NULL;
    IF rival = topic_check_free.name THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('topic "%s" already exists', topic_check_free.name),
            HINT = 'Change it with sh_alter_topic() or sh_add_partitions().';
    ELSIF rival IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'SH017', MESSAGE = format('topic name "%s" collides with topic "%s"', topic_check_free.name, rival),
            HINT = 'Names that differ only in dots and underscores have the same metrics.';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.topic_check_free IS 'Raises 42710 when there is a topic of that name, SH017 when a name is too like it.';

CREATE FUNCTION sh_check_topic(topic text, partitions int DEFAULT 1, config jsonb DEFAULT '{}') RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM streamhouse.topic_check_name(topic);
    PERFORM streamhouse.topic_check_partitions(partitions);
    PERFORM streamhouse.config_check(config);
    PERFORM streamhouse.topic_check_free(topic);
END $$;
COMMENT ON FUNCTION sh_check_topic IS 'Says what sh_create_topic() would say, and creates nothing. Errors: 42710 exists, SH017 invalid name, SH037 invalid partitions, SH040 invalid config.';

CREATE FUNCTION sh_create_topic(topic text, partitions int DEFAULT 1, config jsonb DEFAULT '{}') RETURNS streamhouse.topic
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    created streamhouse.topic;
BEGIN
    PERFORM streamhouse.topic_check_name(topic);
    PERFORM streamhouse.topic_check_partitions(partitions);
    PERFORM streamhouse.config_check(config);
    INSERT INTO streamhouse.topic AS t (name, partitions, config)
    VALUES (topic, partitions, streamhouse.config_as_text(config))
    ON CONFLICT DO NOTHING
    RETURNING t.* INTO created;
    IF NOT FOUND THEN
        PERFORM streamhouse.topic_check_free(topic);
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object', MESSAGE = format('topic "%s" was deleted while it was created', topic),
            HINT = 'Create it again.';
    END IF;
    PERFORM streamhouse.topic_add(created.topic_id, 0, partitions);
    RETURN created;
END $$;
COMMENT ON FUNCTION sh_create_topic IS 'Creates a topic and leases its partitions. config: {"name": "value"}, see sh_describe_configs(). Errors: 42710 exists, SH017 invalid name, SH037 invalid partitions, SH040 invalid config.';

CREATE FUNCTION sh_alter_topic(topic text, config jsonb) RETURNS streamhouse.topic
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    altered streamhouse.topic := streamhouse.topic_lock(topic);
BEGIN
    PERFORM streamhouse.config_check(config);
    UPDATE streamhouse.topic AS t SET config = streamhouse.config_as_text(t.config || config)
    WHERE t.topic_id = altered.topic_id
    RETURNING t.* INTO altered;
    PERFORM streamhouse.metadata_notify(altered.topic_id);
    RETURN altered;
END $$;
COMMENT ON FUNCTION sh_alter_topic IS 'Sets configs of a topic and leaves the others; a null value goes back to the default. Errors: 42704 no such topic, SH040 invalid config.';

CREATE FUNCTION sh_add_partitions(topic text, total int, validate_only bool DEFAULT false) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    found_topic CONSTANT streamhouse.topic := streamhouse.topic_lock(topic);
BEGIN
    PERFORM streamhouse.topic_check_partitions(total);
    IF total <= found_topic.partitions THEN
        RAISE EXCEPTION USING ERRCODE = 'SH037',
            MESSAGE = format('topic "%s" has %s partitions already', topic, found_topic.partitions),
            HINT = 'Partitions can be added, not removed: name a larger total.';
    END IF;
    IF validate_only THEN
        RETURN total;
    END IF;
    UPDATE streamhouse.topic AS t SET partitions = total WHERE t.topic_id = found_topic.topic_id;
    PERFORM streamhouse.topic_add(found_topic.topic_id, found_topic.partitions, total);
    RETURN total;
END $$;
COMMENT ON FUNCTION sh_add_partitions IS 'Raises a topic''s number of partitions to total, which it gives back. Keys hash to other partitions from then on. validate_only: says what it would say, and adds none. Errors: 42704 no such topic, SH037 not more than now.';

-- Partition rows go now, under their locks, so that a commit that comes later finds no partition; what may be millions
-- of rows is left to sh_reap().
CREATE FUNCTION streamhouse.topic_delete(deleted_id int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE streamhouse.topic AS t SET deleted_at = clock_timestamp() WHERE t.topic_id = deleted_id AND t.deleted_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM FROM streamhouse.partition AS p WHERE p.topic_id = deleted_id ORDER BY p.partition FOR UPDATE;
    PERFORM FROM streamhouse.lease AS l WHERE l.topic_id = deleted_id ORDER BY l.partition FOR UPDATE;
    WITH released AS (
        DELETE FROM streamhouse.lease AS l WHERE l.topic_id = deleted_id RETURNING l.agent_id
    )
    INSERT INTO streamhouse.lease_notice (agent_id)
    SELECT DISTINCT released.agent_id FROM released WHERE released.agent_id IS NOT NULL;
    DELETE FROM streamhouse.partition AS p WHERE p.topic_id = deleted_id;
    DELETE FROM streamhouse.topic_grant AS g WHERE g.topic_id = deleted_id;
    PERFORM streamhouse.metadata_notify(deleted_id);
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.topic_delete IS 'Deletes the topic of that id: true when there was one.';

CREATE FUNCTION sh_delete_topic(topic text) RETURNS bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT streamhouse.topic_delete(t.topic_id) FROM streamhouse.topic AS t WHERE t.name = topic AND t.deleted_at IS NULL), false)
$$;
COMMENT ON FUNCTION sh_delete_topic IS 'Deletes a topic: true when there was one. Its name is free at once; sh_reap() removes its records bit by bit.';

CREATE FUNCTION sh_delete_topic_by_id(topic_uuid uuid) RETURNS bool
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT streamhouse.topic_delete(t.topic_id) FROM streamhouse.topic AS t
                     WHERE t.topic_uuid = sh_delete_topic_by_id.topic_uuid AND t.deleted_at IS NULL), false)
$$;
COMMENT ON FUNCTION sh_delete_topic_by_id IS 'sh_delete_topic() by Kafka''s topic id: never a topic that was made anew under the same name.';

CREATE FUNCTION sh_describe_topic(topic text)
RETURNS TABLE (partition int, leader text, leader_epoch int, log_start_offset int8, high_watermark int8,
               segments int8, bytes int8, size text)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wanted CONSTANT int := (streamhouse.topic_find(topic)).topic_id;
BEGIN
    RETURN QUERY
    SELECT e.partition, a.name, l.epoch, e.log_start_offset, e.end_offset, s.segments, s.bytes, pg_size_pretty(s.bytes)
    FROM streamhouse.partition_end AS e
    LEFT JOIN streamhouse.lease AS l USING (topic_id, partition)
    LEFT JOIN streamhouse.live_agent AS a USING (agent_id)
    CROSS JOIN LATERAL (SELECT count(*) AS segments, coalesce(sum(g.byte_length), 0)::int8 AS bytes
                        FROM streamhouse.segment AS g WHERE g.topic_id = e.topic_id AND g.partition = e.partition) AS s
    WHERE e.topic_id = wanted
    ORDER BY e.partition;
END $$;
COMMENT ON FUNCTION sh_describe_topic IS 'A topic''s partitions, one row each: who leads, which offsets can be read, how much is stored. Error: 42704 no such topic.';

CREATE FUNCTION sh_topic_configs(config jsonb)
RETURNS TABLE (name text, value text, is_default bool, type text, documentation text, default_value text, source text, synonyms jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT d.name, coalesce(config ->> d.name, c.value, d.default_value), config ->> d.name IS NULL, d.type, d.documentation, d.default_value,
           CASE WHEN config ->> d.name IS NOT NULL THEN 'topic' WHEN c.name IS NOT NULL THEN 'cluster' ELSE 'default' END,
           streamhouse.config_synonym(d.name, config ->> d.name, 'topic') || streamhouse.config_synonym(c.set_as, w.value, 'cluster')
           || streamhouse.config_synonym(coalesce(b.name, d.name), coalesce(b.default_value, d.default_value), 'default')
    FROM streamhouse.config_definition AS d
    LEFT JOIN streamhouse.topic_default AS c ON c.name = d.name
    LEFT JOIN streamhouse.broker_config AS w ON w.agent_id = 0 AND w.name = c.set_as
    LEFT JOIN streamhouse.broker_config_definition AS b ON b.topic_config = d.name AND b.default_value IS NOT NULL
    ORDER BY d.name;
END $$;
COMMENT ON FUNCTION sh_topic_configs IS 'Every known topic config as it is, or would be, in effect for a topic for which config was set; the columns are those of sh_describe_configs().';

CREATE FUNCTION sh_describe_configs(topic text)
RETURNS TABLE (name text, value text, is_default bool, type text, documentation text, default_value text, source text, synonyms jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT * FROM @extschema@.sh_topic_configs((streamhouse.topic_find(topic)).config);
END $$;
COMMENT ON FUNCTION sh_describe_configs IS 'Every known config of a topic with its value in effect and where that comes from: source is topic (set for it), cluster (set for all topics with sh_alter_broker_config()) or default; is_default: it is not set for the topic. synonyms: all places where there is a value, [{"name", "value", "source"}], the one that counts first. Error: 42704 no such topic.';

CREATE FUNCTION sh_catalog(topics text[] DEFAULT NULL, topic_uuids uuid[] DEFAULT NULL)
RETURNS TABLE (topic_id int, topic_uuid uuid, name text, config jsonb, leaders int[], epochs int[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.topic_id, t.topic_uuid, t.name, streamhouse.topic_defaults() || t.config, p.leaders, p.epochs
    FROM streamhouse.topic AS t
    CROSS JOIN LATERAL (SELECT array_agg(coalesce(a.agent_id, -1) ORDER BY l.partition) AS leaders,
                               array_agg(l.epoch ORDER BY l.partition) AS epochs
                        FROM streamhouse.lease AS l
                        LEFT JOIN unnest(streamhouse.live_agent_ids()) AS a (agent_id) USING (agent_id)
                        WHERE l.topic_id = t.topic_id) AS p
    WHERE t.deleted_at IS NULL
      AND (topics IS NULL AND topic_uuids IS NULL OR t.name = ANY (topics) OR t.topic_uuid = ANY (topic_uuids))
    ORDER BY t.name
$$;
COMMENT ON FUNCTION sh_catalog IS 'Topics with their leaders, by name or by Kafka topic id; all of them when both are null. config has what was set for the topic or for all topics; leaders (-1: none) and epochs start with partition 0. Topics that do not exist have no row.';

CREATE FUNCTION sh_cluster_id() RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.cluster) THEN
        INSERT INTO streamhouse.cluster (cluster_uuid, timeline) VALUES (gen_random_uuid(), streamhouse.server_timeline()) ON CONFLICT DO NOTHING;
    END IF;
    RETURN (SELECT translate(rtrim(encode(uuid_send(cluster_uuid), 'base64'), '='), '+/', '-_') FROM streamhouse.cluster);
END $$;
COMMENT ON FUNCTION sh_cluster_id IS 'The cluster''s id as Kafka clients see it: 22 characters, the same for ever.';
