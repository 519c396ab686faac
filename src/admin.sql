-- admin.sql: what Kafka's admin tools ask for of partitions: how large they are, who produces to them, and that the agent
-- leads them which hashing chooses.

CREATE FUNCTION sh_partition_sizes(topics text[] DEFAULT NULL)
RETURNS TABLE (topic_id int, topic text, partition int, leader int, bytes int8)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.topic_id, t.name, l.partition, coalesce(l.agent_id, -1), coalesce(s.bytes, 0)
    FROM streamhouse.topic AS t
    JOIN streamhouse.lease AS l USING (topic_id)
    LEFT JOIN (SELECT g.topic_id, g.partition, sum(g.byte_length)::int8 AS bytes FROM streamhouse.segment AS g
               WHERE topics IS NULL OR g.topic_id IN (SELECT w.topic_id FROM streamhouse.topic AS w WHERE w.name = ANY (topics) AND w.deleted_at IS NULL)
               GROUP BY g.topic_id, g.partition) AS s ON s.topic_id = l.topic_id AND s.partition = l.partition
    WHERE t.deleted_at IS NULL AND (topics IS NULL OR t.name = ANY (topics))
    ORDER BY t.name COLLATE "C", l.partition;
END $$;
COMMENT ON FUNCTION sh_partition_sizes IS 'Bytes of record batches that each partition has stored, of the named topics or of all, with the agent that leads it (-1: none). Reads every segment''s row of them once: for people and their tools, not for every second.';

CREATE FUNCTION sh_describe_producers(topic_ids int[], partitions int[], producers_max int DEFAULT 10000)
RETURNS TABLE (request int, producer_id int8, producer_epoch int, last_sequence int, last_timestamp int8)
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.request::int, p.producer_id, p.producer_epoch::int, p.last_sequences[1], (extract(epoch FROM p.written_at) * 1000)::int8
    FROM unnest(topic_ids, partitions) WITH ORDINALITY AS a (topic_id, partition, request)
    CROSS JOIN LATERAL (SELECT DISTINCT ON (r.producer_id) r.producer_id, r.producer_epoch, r.last_sequences, r.written_at
                        FROM streamhouse.producer AS r
                        WHERE r.topic_id = a.topic_id AND r.partition = a.partition
                        ORDER BY r.producer_id, r.end_offset DESC LIMIT producers_max) AS p
    ORDER BY a.request, p.producer_id
$$;
COMMENT ON FUNCTION sh_describe_producers IS 'Idempotent producers that a partition remembers, for Kafka''s DescribeProducers, for several partitions at once: their epoch, the last sequence number and the time of their last batch (ms); request is the place in the arrays, from 1.';

-- A heartbeat that assigns leases has this lock for a moment.
CREATE FUNCTION streamhouse.lease_await_turn(wait_ms int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('lock_timeout', wait_ms::text, true);
    PERFORM pg_advisory_xact_lock(7310590, 1);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION streamhouse.lease_await_turn IS 'Waits until this transaction may move leases; false when that takes longer than wait_ms.';

CREATE FUNCTION sh_elect_leaders(topic_ids int[], partitions int[]) RETURNS TABLE (request int, error_code int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    wait_max_ms CONSTANT int := 500;
    live CONSTANT int[] := streamhouse.live_agent_ids();
    led CONSTANT bool[] := ARRAY(SELECT coalesce(l.agent_id = ANY (live), false)
                                 FROM unnest(topic_ids, partitions) WITH ORDINALITY AS a (topic_id, partition, request)
                                 LEFT JOIN streamhouse.lease AS l ON l.topic_id = a.topic_id AND l.partition = a.partition
                                 ORDER BY a.request);
BEGIN
    IF false = ANY (led) AND streamhouse.lease_await_turn(wait_max_ms) THEN
        PERFORM streamhouse.lease_assign();
    END IF;
    RETURN QUERY
    SELECT a.request::int,
           CASE WHEN l.topic_id IS NULL THEN 3
                WHEN led[a.request] THEN 84
                WHEN l.agent_id IS NULL OR l.agent_id <> ALL (live) THEN 80
                ELSE 0 END
    FROM unnest(topic_ids, partitions) WITH ORDINALITY AS a (topic_id, partition, request)
    LEFT JOIN streamhouse.lease AS l ON l.topic_id = a.topic_id AND l.partition = a.partition
    ORDER BY a.request;
END $$;
COMMENT ON FUNCTION sh_elect_leaders IS 'Gives partitions that nobody leads a leader, for Kafka''s ElectLeaders; request is the place in the arrays, from 1. There is no preferred replica: who leads is the one to lead. error_code is Kafka''s: 0 has a leader now, 3 no such partition, 80 could not get one (it is busy, or no agent is alive), 84 is led already.';
