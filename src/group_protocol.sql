-- group_protocol.sql: what members of classic groups tell each other, as far as the brain has to understand it: which topics they
-- subscribe to, and what their leader assigned.
--
-- Kafka's consumer protocol, which members of classic groups speak among themselves: a version, then what version 0 has,
-- then what later ones added. Arrays and strings have their length in front, big-endian, 4 and 2 bytes.
CREATE FUNCTION streamhouse.protocol_int(bytes bytea, at int, size int) RETURNS int
LANGUAGE sql IMMUTABLE STRICT
RETURN (SELECT sum(get_byte(bytes, at + i)::int8 << 8 * (size - 1 - i))::int8::bit(32)::int4 FROM generate_series(0, size - 1) AS i);
COMMENT ON FUNCTION streamhouse.protocol_int IS 'The big-endian integer of that many bytes at a position from 0; without a sign when it is shorter than 4. Raises 2202E beyond the end.';

-- Bytes of a client: they may be anything.
CREATE FUNCTION streamhouse.classic_topics(subscription bytea) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    version_bytes CONSTANT int := 2;
    topics text[] := '{}';
    at int := version_bytes + 4;
    size int;
BEGIN
    FOR i IN 1 .. streamhouse.protocol_int(subscription, version_bytes, 4) LOOP
        size := streamhouse.protocol_int(subscription, at, 2);
        IF at + 2 + size > length(subscription) THEN
            RETURN NULL;
        END IF;
        topics := topics || convert_from(substr(subscription, at + 3, size), 'UTF8');
        at := at + 2 + size;
    END LOOP;
    RETURN topics;
EXCEPTION WHEN array_subscript_error OR character_not_in_repertoire OR untranslatable_character THEN
    RETURN NULL;
END $$;
COMMENT ON FUNCTION streamhouse.classic_topics IS 'Topics of a classic consumer''s subscription (ConsumerProtocolSubscription); null when it cannot be read.';

CREATE FUNCTION streamhouse.classic_assigned(assignment bytea) RETURNS TABLE (topic text, partition int)
LANGUAGE plpgsql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    version_bytes CONSTANT int := 2;
    at int := version_bytes + 4;
    size int;
    partitions int;
BEGIN
    FOR i IN 1 .. streamhouse.protocol_int(assignment, version_bytes, 4) LOOP
        size := streamhouse.protocol_int(assignment, at, 2);
        topic := convert_from(substr(assignment, at + 3, size), 'UTF8');
        at := at + 2 + size;
        partitions := streamhouse.protocol_int(assignment, at, 4);
        at := at + 4;
        FOR j IN 1 .. partitions LOOP
            partition := streamhouse.protocol_int(assignment, at, 4);
            at := at + 4;
            RETURN NEXT;
        END LOOP;
    END LOOP;
EXCEPTION WHEN array_subscript_error OR character_not_in_repertoire OR untranslatable_character THEN
    RETURN; -- what came before it broke off
END $$;
COMMENT ON FUNCTION streamhouse.classic_assigned IS 'Partitions of a classic consumer''s assignment (ConsumerProtocolAssignment), as far as it can be read.';

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
