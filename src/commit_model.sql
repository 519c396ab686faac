-- commit_model.sql: what sh_commit_object() means, in set-based SQL. It is slower than the C, and simpler to believe; a
-- randomised test holds the two equal, answers and tables. Also the packed rows for people.

CREATE TYPE streamhouse.commit_row AS (
    batch int4,
    topic_id int4,
    partition int4,
    lease_epoch int4,
    byte_start int8,
    byte_length int4,
    offset_count int4,
    base_timestamp int8,
    max_timestamp int8,
    producer_id int8,
    producer_epoch int2,
    attributes int2,
    first_sequence int4
);
COMMENT ON TYPE streamhouse.commit_row IS 'A record batch that is to be committed: ordinal in its object, partition, lease epoch under which it was accepted, bytes in the object, offsets it needs (lastOffsetDelta + 1), timestamps, producer (-1 for none), attributes and first sequence of the batch.';

CREATE FUNCTION streamhouse.pack_commit_row(
    topic_id int4, partition int4, lease_epoch int4, batch int4 DEFAULT 0, byte_start int8 DEFAULT 0, byte_length int4 DEFAULT 100,
    offset_count int4 DEFAULT 1, base_timestamp int8 DEFAULT -1, max_timestamp int8 DEFAULT -1, producer_id int8 DEFAULT -1,
    producer_epoch int4 DEFAULT -1, first_sequence int4 DEFAULT -1, attributes int4 DEFAULT 0)
RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT int4send(batch) || int4send(topic_id) || int4send(partition) || int4send(lease_epoch)
        || int8send(byte_start) || int4send(byte_length) || int4send(offset_count)
        || int8send(base_timestamp) || int8send(max_timestamp)
        || int8send(producer_id) || int2send(producer_epoch::int2) || int2send(attributes::int2) || int4send(first_sequence)
$$;
COMMENT ON FUNCTION streamhouse.pack_commit_row(int4, int4, int4, int4, int8, int4, int4, int8, int8, int8, int4, int4, int4) IS
'One packed row for sh_commit_object(), from named arguments; join several with ||.';

CREATE FUNCTION streamhouse.pack_commit_rows(rows streamhouse.commit_row[])
RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT string_agg(streamhouse.pack_commit_row(topic_id, partition, lease_epoch, batch, byte_start, byte_length, offset_count,
                                                  base_timestamp, max_timestamp, producer_id, producer_epoch, first_sequence, attributes),
                      '' ORDER BY place)
    FROM unnest(rows) WITH ORDINALITY AS r (batch, topic_id, partition, lease_epoch, byte_start, byte_length, offset_count,
                                            base_timestamp, max_timestamp, producer_id, producer_epoch, attributes, first_sequence, place)
$$;
COMMENT ON FUNCTION streamhouse.pack_commit_rows(streamhouse.commit_row[]) IS 'Packed rows for sh_commit_object(): 64 bytes each, big-endian, fields as in streamhouse.commit_row.';

CREATE FUNCTION streamhouse.unpack_commit_rows(batches bytea)
RETURNS SETOF streamhouse.commit_row LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
    SELECT ('x' || substr(hex, 1, 8))::bit(32)::int4,
           ('x' || substr(hex, 9, 8))::bit(32)::int4,
           ('x' || substr(hex, 17, 8))::bit(32)::int4,
           ('x' || substr(hex, 25, 8))::bit(32)::int4,
           ('x' || substr(hex, 33, 16))::bit(64)::int8,
           ('x' || substr(hex, 49, 8))::bit(32)::int4,
           ('x' || substr(hex, 57, 8))::bit(32)::int4,
           ('x' || substr(hex, 65, 16))::bit(64)::int8,
           ('x' || substr(hex, 81, 16))::bit(64)::int8,
           ('x' || substr(hex, 97, 16))::bit(64)::int8,
           ((('x' || substr(hex, 113, 4))::bit(16)::int4 # 32768) - 32768)::int2,
           ((('x' || substr(hex, 117, 4))::bit(16)::int4 # 32768) - 32768)::int2,
           ('x' || substr(hex, 121, 8))::bit(32)::int4
    FROM generate_series(0, length(batches) / 64 - 1) AS number,
         LATERAL (SELECT encode(substring(batches FROM number * 64 + 1 FOR 64), 'hex') AS hex OFFSET 0) AS packed
$$;
COMMENT ON FUNCTION streamhouse.unpack_commit_rows(bytea) IS 'What packed rows say, in their order.';

CREATE FUNCTION streamhouse.check_commit_rows(object_bytes int8, batches bytea)
RETURNS void LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog
AS $$
BEGIN
    IF object_bytes NOT BETWEEN 1 AND 2147483647 THEN
        RAISE EXCEPTION 'an object of % bytes cannot be committed', object_bytes USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    IF length(batches) = 0 OR length(batches) % 64 <> 0 OR length(batches) / 64 > 131072 THEN
        RAISE EXCEPTION 'packed rows of % bytes', length(batches) USING ERRCODE = 'invalid_binary_representation';
    END IF;
    IF EXISTS (SELECT FROM streamhouse.unpack_commit_rows(batches) AS r
               WHERE r.batch < 0 OR r.byte_start < 0 OR r.byte_length < 1 OR r.producer_id < -1
                  OR r.byte_start::numeric + r.byte_length > object_bytes)
       OR EXISTS (SELECT FROM streamhouse.unpack_commit_rows(batches) AS r GROUP BY r.batch HAVING count(*) > 1) THEN
        RAISE EXCEPTION 'a packed row is no batch of the object' USING ERRCODE = 'invalid_binary_representation';
    END IF;
END
$$;
COMMENT ON FUNCTION streamhouse.check_commit_rows(int8, bytea) IS 'Raises an error when rows do not describe batches of an object of that size. A part of the model.';

CREATE FUNCTION streamhouse.commit_object_model(agent_id int4, object_id int8, object_bytes int8, batches bytea)
RETURNS TABLE (batch int4, status streamhouse.commit_status, error_code int2, base_offset int8, leader_epoch int4, log_start_offset int8)
LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
AS $$
#variable_conflict use_column
DECLARE
    locked_topics int4[];
    locked_partitions int4[];
    owner int4;
    state streamhouse.object_state;
    expiry timestamptz;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'the commit needs a READ COMMITTED transaction' USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM streamhouse.check_commit_rows(object_bytes, batches);
    IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;

    -- First lock, taking what is free.
    SELECT array_agg(held.topic_id), array_agg(held.partition) INTO locked_topics, locked_partitions
    FROM (SELECT p.topic_id, p.partition FROM streamhouse.partition AS p
          WHERE (p.topic_id, p.partition) IN (SELECT r.topic_id, r.partition FROM streamhouse.unpack_commit_rows(batches) AS r)
          ORDER BY p.topic_id, p.partition
          FOR UPDATE SKIP LOCKED) AS held;
    SELECT o.agent_id, o.state, o.expires_at INTO owner, state, expiry
    FROM streamhouse.object AS o WHERE o.object_id = commit_object_model.object_id FOR UPDATE SKIP LOCKED;
    IF NOT FOUND AND EXISTS (SELECT FROM streamhouse.object AS o WHERE o.object_id = commit_object_model.object_id) THEN
        locked_topics := '{}';
        locked_partitions := '{}';
    ELSIF owner IS DISTINCT FROM agent_id OR state NOT IN ('intent', 'live') OR (state = 'intent' AND expiry <= clock_timestamp()) THEN
        RAISE EXCEPTION 'object % cannot be committed', object_id USING ERRCODE = 'SH056';
    END IF;

    -- Then, with this statement's newer snapshot, read, decide and write.
    RETURN QUERY
    WITH RECURSIVE asked AS MATERIALIZED (
        SELECT r.*, r.byte_start + r.byte_length AS byte_end,
               row_number() OVER (PARTITION BY r.topic_id, r.partition, r.producer_id ORDER BY r.place) AS step
        FROM (SELECT * FROM streamhouse.unpack_commit_rows(batches) WITH ORDINALITY
                  AS u (batch, topic_id, partition, lease_epoch, byte_start, byte_length, offset_count, base_timestamp,
                        max_timestamp, producer_id, producer_epoch, attributes, first_sequence, place)) AS r
    ), given AS MATERIALIZED (
        SELECT g.batch, g.status, g.error_code, g.base_offset
        FROM streamhouse.commit_answer AS a, unnest(a.batches, a.statuses, a.error_codes, a.base_offsets)
             AS g (batch, status, error_code, base_offset)
        WHERE a.object_id = commit_object_model.object_id
    ), held AS MATERIALIZED (
        SELECT p.topic_id, p.partition, p.log_start_offset, coalesce(l.agent_id, -1) AS leader_id, coalesce(l.epoch, -1) AS epoch,
               greatest(p.floor_offset, tail.end_offset) AS next_offset, coalesce(tail.running_max_timestamp, -1) AS running
        FROM unnest(locked_topics, locked_partitions) AS h (topic_id, partition)
        JOIN streamhouse.partition AS p ON (p.topic_id, p.partition) = (h.topic_id, h.partition)
        LEFT JOIN streamhouse.lease AS l ON (l.topic_id, l.partition) = (h.topic_id, h.partition)
        LEFT JOIN LATERAL (SELECT s.end_offset, s.running_max_timestamp FROM streamhouse.segment AS s
                           WHERE s.topic_id = h.topic_id AND s.partition = h.partition
                           ORDER BY s.end_offset DESC LIMIT 1) AS tail ON true
    ), ready AS MATERIALIZED (
        SELECT a.*, h.leader_id, h.epoch, h.next_offset, h.running, h.log_start_offset, g.batch IS NOT NULL AS is_given,
               CASE WHEN g.batch IS NOT NULL THEN g.status
                    WHEN h.leader_id <> commit_object_model.agent_id OR h.epoch <> a.lease_epoch THEN 'fenced'
                    WHEN a.offset_count < 1 OR a.attributes & 48 <> 0
                         OR (a.producer_id >= 0 AND (a.producer_epoch < 0 OR a.first_sequence < 0)) THEN 'invalid'
               END::streamhouse.commit_status AS early_status,
               CASE WHEN g.batch IS NOT NULL THEN g.error_code
                    WHEN h.leader_id <> commit_object_model.agent_id OR h.epoch <> a.lease_epoch THEN 6 ELSE 87 END AS early_error,
               CASE WHEN g.batch IS NOT NULL THEN g.base_offset ELSE -1 END AS early_offset,
               ((a.first_sequence::int8 + a.offset_count - 1) & 2147483647)::int4 AS last_sequence
        FROM asked AS a JOIN held AS h USING (topic_id, partition) LEFT JOIN given AS g USING (batch)
    ),
    -- A producer's batches one after the other; in bases, a batch of this call stands as -1 - its place.
    chain AS (
        SELECT r.topic_id, r.partition, r.producer_id, 0::int8 AS step, p.producer_epoch::int4 AS epoch, p.first_sequences AS firsts,
               p.last_sequences AS lasts, p.base_offsets AS bases, NULL::streamhouse.commit_status AS refused,
               NULL::int4 AS refused_sequence, 0::int8 AS place,
               NULL::streamhouse.commit_status AS status, 0 AS error_code, 0::int8 AS base, false AS taken, false AS changed
        FROM (SELECT DISTINCT ready.topic_id, ready.partition, ready.producer_id FROM ready WHERE ready.producer_id >= 0) AS r
        LEFT JOIN LATERAL (SELECT * FROM streamhouse.producer AS p
                           WHERE p.topic_id = r.topic_id AND p.partition = r.partition AND p.producer_id = r.producer_id
                           ORDER BY p.end_offset DESC LIMIT 1) AS p ON true
        UNION ALL
        SELECT c.topic_id, c.partition, c.producer_id, b.step,
               CASE WHEN v.taken THEN b.producer_epoch ELSE c.epoch END,
               CASE WHEN v.taken THEN b.first_sequence || CASE WHEN c.epoch = b.producer_epoch THEN c.firsts[:4] END ELSE c.firsts END,
               CASE WHEN v.taken THEN b.last_sequence || CASE WHEN c.epoch = b.producer_epoch THEN c.lasts[:4] END ELSE c.lasts END,
               CASE WHEN v.taken THEN (-b.place - 1) || CASE WHEN c.epoch = b.producer_epoch THEN c.bases[:4] END ELSE c.bases END,
               coalesce(f.refused, CASE WHEN v.status IN ('fenced', 'invalid') THEN v.status END),
               CASE WHEN f.refused IS NOT NULL THEN c.refused_sequence WHEN v.status IN ('fenced', 'invalid') THEN b.first_sequence END,
               b.place, v.status, v.error_code, v.base, v.taken, c.changed OR v.taken
        FROM chain AS c
        JOIN ready AS b ON (b.topic_id, b.partition, b.producer_id, b.step) = (c.topic_id, c.partition, c.producer_id, c.step + 1)
        LEFT JOIN LATERAL (SELECT c.bases[i] AS base FROM generate_subscripts(c.firsts, 1) AS i
                           WHERE c.epoch = b.producer_epoch AND c.firsts[i] = b.first_sequence AND c.lasts[i] = b.last_sequence
                           LIMIT 1) AS twin ON true
        -- The refused batch itself, sent again, makes the producer's order whole.
        CROSS JOIN LATERAL (SELECT CASE WHEN b.first_sequence <> c.refused_sequence THEN c.refused END AS refused) AS f
        CROSS JOIN LATERAL (
            SELECT CASE WHEN b.early_status IS NOT NULL THEN b.early_error::int4
                        WHEN f.refused = 'fenced' THEN 6
                        WHEN c.epoch IS NULL THEN CASE WHEN f.refused IS NULL THEN 0 ELSE 45 END
                        WHEN b.producer_epoch < c.epoch THEN 47
                        WHEN b.producer_epoch > c.epoch THEN CASE WHEN b.first_sequence = 0 THEN 0 ELSE 45 END
                        WHEN twin.base IS NOT NULL THEN 0
                        WHEN b.first_sequence = (c.lasts[1]::int8 + 1) & 2147483647 THEN 0
                        ELSE 45 END AS error) AS e
        CROSS JOIN LATERAL (
            SELECT e.error AS error_code,
                   CASE WHEN b.early_status IS NOT NULL THEN b.early_status WHEN e.error = 6 THEN 'fenced'
                        WHEN e.error <> 0 THEN 'invalid' WHEN twin.base IS NOT NULL THEN 'duplicate'
                        ELSE 'committed' END::streamhouse.commit_status AS status,
                   CASE WHEN b.early_status IS NOT NULL THEN b.early_offset WHEN e.error = 0 THEN twin.base ELSE -1 END AS base,
                   b.early_status IS NULL AND e.error = 0 AND twin.base IS NULL AS taken) AS v
    ), judged AS MATERIALIZED (
        SELECT r.*, coalesce(c.taken, r.early_status IS NULL) AS taken,
               coalesce(c.status, r.early_status, 'committed') AS status,
               coalesce(c.error_code, CASE WHEN r.early_status IS NULL THEN 0 ELSE r.early_error END)::int2 AS error_code,
               CASE WHEN c.place IS NULL THEN r.early_offset ELSE c.base END AS known_base
        FROM ready AS r LEFT JOIN chain AS c USING (place)
    ), taken AS MATERIALIZED (
        SELECT j.*, j.next_offset + coalesce(sum(j.offset_count) OVER earlier, 0)::int8 AS base_offset,
               coalesce(j.byte_start <> lag(j.byte_end) OVER place, true) AS opens
        FROM judged AS j WHERE j.taken
        WINDOW place AS (PARTITION BY j.topic_id, j.partition ORDER BY j.place),
               earlier AS (PARTITION BY j.topic_id, j.partition ORDER BY j.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ), piece AS (
        SELECT t.*, count(*) FILTER (WHERE t.opens) OVER (PARTITION BY t.topic_id, t.partition ORDER BY t.place) AS number FROM taken AS t
    ), run AS (
        SELECT p.topic_id, p.partition, min(p.base_offset) AS base_offset, max(p.base_offset + p.offset_count) AS end_offset,
               min(p.byte_start) AS byte_start, sum(p.byte_length) AS byte_length, count(*) AS batches, min(p.lease_epoch) AS leader_epoch,
               max(p.max_timestamp) AS max_timestamp, min(p.running) AS running
        FROM piece AS p GROUP BY p.topic_id, p.partition, p.number
    ), write_segments AS (
        INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, byte_start, byte_length, batches,
                                         leader_epoch, max_timestamp, running_max_timestamp)
        SELECT r.topic_id, r.partition, r.base_offset, r.end_offset, commit_object_model.object_id, r.byte_start, r.byte_length,
               r.batches, r.leader_epoch, r.max_timestamp,
               greatest(r.running, max(r.max_timestamp) OVER (PARTITION BY r.topic_id, r.partition ORDER BY r.base_offset))
        FROM run AS r
    ), write_producers AS (
        INSERT INTO streamhouse.producer (topic_id, partition, producer_id, end_offset, producer_epoch, first_sequences, last_sequences,
                                          base_offsets, written_at)
        SELECT c.topic_id, c.partition, c.producer_id,
               (SELECT max(t.base_offset + t.offset_count) FROM taken AS t
                WHERE (t.topic_id, t.partition, t.producer_id) = (c.topic_id, c.partition, c.producer_id)),
               c.epoch, c.firsts, c.lasts,
               (SELECT array_agg(coalesce(t.base_offset, b.base) ORDER BY b.number)
                FROM unnest(c.bases) WITH ORDINALITY AS b (base, number) LEFT JOIN taken AS t ON t.place = -b.base - 1),
               clock_timestamp()
        FROM (SELECT DISTINCT ON (chain.topic_id, chain.partition, chain.producer_id) * FROM chain
              ORDER BY chain.topic_id, chain.partition, chain.producer_id, chain.step DESC) AS c
        WHERE c.changed
    ), answer AS MATERIALIZED (
        SELECT a.place, a.batch, coalesce(j.is_given, false) AS is_given,
               CASE WHEN j.place IS NOT NULL THEN j.status
                    WHEN EXISTS (SELECT FROM streamhouse.partition AS p WHERE (p.topic_id, p.partition) = (a.topic_id, a.partition))
                    THEN 'locked' ELSE 'unknown' END::streamhouse.commit_status AS status,
               j.error_code,
               CASE WHEN j.taken THEN t.base_offset WHEN j.known_base < -1 THEN twin.base_offset ELSE coalesce(j.known_base, -1) END AS base_offset,
               a.lease_epoch, j.epoch, j.log_start_offset
        FROM asked AS a LEFT JOIN judged AS j USING (place) LEFT JOIN taken AS t USING (place)
        LEFT JOIN taken AS twin ON j.status = 'duplicate' AND NOT j.is_given AND twin.place = -j.known_base - 1
    ), write_answers AS (
        INSERT INTO streamhouse.commit_answer (object_id, batch, batches, statuses, error_codes, base_offsets, answered_at)
        SELECT commit_object_model.object_id, min(a.batch), array_agg(a.batch ORDER BY a.place), array_agg(a.status ORDER BY a.place),
               array_agg(a.error_code ORDER BY a.place), array_agg(a.base_offset ORDER BY a.place), clock_timestamp()
        FROM answer AS a WHERE NOT a.is_given AND a.status NOT IN ('locked', 'unknown') HAVING count(*) > 0
    ), write_object AS (
        UPDATE streamhouse.object AS o SET state = 'live', bytes = object_bytes
        WHERE o.object_id = commit_object_model.object_id AND o.state = 'intent' AND EXISTS (SELECT FROM taken)
    )
    SELECT a.batch, a.status, CASE WHEN a.status = 'unknown' THEN 3::int2 ELSE coalesce(a.error_code, 0::int2) END, a.base_offset,
           CASE WHEN a.status IN ('committed', 'duplicate') THEN a.lease_epoch ELSE coalesce(a.epoch, -1) END,
           coalesce(a.log_start_offset, -1)
    FROM answer AS a ORDER BY a.place;
END
$$;
COMMENT ON FUNCTION streamhouse.commit_object_model(int4, int8, int8, bytea) IS 'sh_commit_object() in SQL: the same arguments, answers and rows. For tests and readers; agents call the C, which also wakes waiting fetches.';
