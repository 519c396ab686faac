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
