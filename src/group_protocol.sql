-- group_protocol.sql: what members of a classic group say in the consumer protocol, whose bytes Kafka's clients make.

CREATE FUNCTION streamhouse.consumer_subscription(metadata bytea, OUT topics text[], OUT owned_topics text[], OUT owned_partitions int[])
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'streamhouse_consumer_subscription';
COMMENT ON FUNCTION streamhouse.consumer_subscription IS 'Topics that a member of a classic group subscribed to, and partitions it says it owns, as pairs; null when the metadata is no subscription of the consumer protocol.';

CREATE FUNCTION streamhouse.consumer_assignment(assignment bytea, OUT topics text[], OUT partitions int[])
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'streamhouse_consumer_assignment';
COMMENT ON FUNCTION streamhouse.consumer_assignment IS 'Partitions that a classic group''s leader gave to a member, as pairs; null when the bytes are no assignment of the consumer protocol.';

CREATE FUNCTION streamhouse.consumer_assignment_bytes(topics text[], partitions int[]) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'streamhouse_consumer_assignment_bytes';
COMMENT ON FUNCTION streamhouse.consumer_assignment_bytes IS 'An assignment as the consumer protocol writes it; pairs of the same topic have to be next to each other.';

CREATE FUNCTION streamhouse.classic_topics(subscription bytea) RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (streamhouse.consumer_subscription(subscription)).topics
$$;
COMMENT ON FUNCTION streamhouse.classic_topics IS 'Topics of a classic consumer''s subscription; null when it cannot be read.';

CREATE FUNCTION streamhouse.classic_assigned(assignment bytea) RETURNS TABLE (topic text, partition int)
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT u.topic, u.partition FROM streamhouse.consumer_assignment(assignment) AS a, unnest(a.topics, a.partitions) AS u (topic, partition)
$$;
COMMENT ON FUNCTION streamhouse.classic_assigned IS 'Partitions of a classic consumer''s assignment, a row each; none when it cannot be read.';

CREATE FUNCTION streamhouse.classic_subscribed(described streamhouse.consumer_group) RETURNS text[]
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    WITH members AS MATERIALIZED (
        SELECT streamhouse.classic_topics(c.protocol_metadata[array_position(c.protocol_names, described.protocol_name)]) AS topics
        FROM streamhouse.classic_member AS c WHERE c.group_id = described.group_id
    )
    SELECT CASE WHEN NOT EXISTS (SELECT FROM members AS m WHERE m.topics IS NULL)
                THEN ARRAY(SELECT DISTINCT t FROM members AS m CROSS JOIN LATERAL unnest(m.topics) AS t) END
$$;
COMMENT ON FUNCTION streamhouse.classic_subscribed IS 'Topics that members of a classic group of consumers subscribe to; null when that cannot be read.';

CREATE FUNCTION streamhouse.group_subscribed(described streamhouse.consumer_group, topic text) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN described.group_type = 'classic' THEN described.protocol_type = 'consumer' AND coalesce(topic = ANY (streamhouse.classic_subscribed(described)), true)
                ELSE EXISTS (SELECT FROM streamhouse.group_member AS m
                             WHERE m.group_id = described.group_id AND topic = ANY (m.subscribed_topics || m.resolved_topics)) END
$$;
COMMENT ON FUNCTION streamhouse.group_subscribed IS 'Whether members of a group subscribe to a topic, as far as is known.';
