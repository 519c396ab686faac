-- offset.sql: which offset: by time, by place, by leader epoch. See segment.c for sh_list_offsets().

CREATE FUNCTION sh_list_offsets(topic_ids int4[], partitions int4[], timestamps int8[])
RETURNS TABLE (request int4, "offset" int8, "timestamp" int8, leader_epoch int4, log_start_offset int8, base_offset int8, end_offset int8,
               object_id int8, object_key text, byte_start int4, byte_length int4, slot int2)
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 100
AS 'MODULE_PATHNAME', 'sh_list_offsets';
COMMENT ON FUNCTION sh_list_offsets(int4[], int4[], int8[]) IS
'Offsets for Kafka''s ListOffsets, for several partitions at once; request is the place in the arrays, from 1; no row: no such partition. Timestamp -1: the next offset; -2 and -4: the first one (both with timestamp -1). -3: the record with the largest timestamp; 0 and above: the first record not older. For these two the segment that has the record is given, offset is its base_offset, and timestamp what to look for in it; offset is null when there is none.';

CREATE FUNCTION sh_offsets_for_leader_epochs(topic_ids int4[], partitions int4[], epochs int4[])
RETURNS TABLE (request int4, leader_epoch int4, end_offset int8)
LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM streamhouse.marker_require_history();
    RETURN QUERY
    SELECT asked.request::int4,
           CASE WHEN latest.epoch >= asked.epoch THEN coalesce(own.epoch, asked.epoch) ELSE -1 END,
           CASE WHEN latest.epoch > asked.epoch THEN following.start_offset
                WHEN latest.epoch = asked.epoch THEN tail.end_offset
                ELSE -1 END
    FROM unnest(topic_ids, partitions, epochs) WITH ORDINALITY AS asked (topic_id, partition, epoch, request)
    CROSS JOIN LATERAL (SELECT greatest(p.floor_offset, (SELECT s.end_offset FROM streamhouse.segment AS s
                                                         WHERE s.topic_id = p.topic_id AND s.partition = p.partition
                                                         ORDER BY s.end_offset DESC LIMIT 1)) AS end_offset
                        FROM streamhouse.partition AS p
                        WHERE p.topic_id = asked.topic_id AND p.partition = asked.partition
                        LIMIT 1) AS tail -- by index, each: however few partitions there are, no scan of all
    LEFT JOIN LATERAL (SELECT e.epoch FROM streamhouse.partition_epoch AS e
                       WHERE e.topic_id = asked.topic_id AND e.partition = asked.partition
                       ORDER BY e.epoch DESC LIMIT 1) AS latest ON true
    LEFT JOIN LATERAL (SELECT e.epoch FROM streamhouse.partition_epoch AS e
                       WHERE e.topic_id = asked.topic_id AND e.partition = asked.partition AND e.epoch <= asked.epoch
                       ORDER BY e.epoch DESC LIMIT 1) AS own ON true
    LEFT JOIN LATERAL (SELECT e.start_offset FROM streamhouse.partition_epoch AS e
                       WHERE e.topic_id = asked.topic_id AND e.partition = asked.partition AND e.epoch > asked.epoch
                       ORDER BY e.epoch LIMIT 1) AS following ON true
    ORDER BY asked.request;
END
$$;
COMMENT ON FUNCTION sh_offsets_for_leader_epochs(int4[], int4[], int4[]) IS
'Where leader epochs ended, for Kafka''s OffsetForLeaderEpoch (KIP-101, KIP-320), for several partitions at once; request is the place in the arrays, from 1; no row: no such partition. Gives the largest epoch that is not above the one asked for, and the offset after its last record: where the next epoch began, or the next offset for the current epoch. An epoch that is not known yet gives -1 and -1.';
