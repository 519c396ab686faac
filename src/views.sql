-- views.sql: what a person looks at in psql, with sizes that people can read.

CREATE VIEW streamhouse.partitions AS
SELECT t.name AS topic, e.partition, a.name AS leader, l.epoch AS leader_epoch,
       e.log_start_offset, e.end_offset AS high_watermark, s.segments, s.bytes, pg_size_pretty(s.bytes) AS size,
       s.inline_bytes
FROM streamhouse.topic AS t
JOIN streamhouse.partition_end AS e USING (topic_id)
LEFT JOIN streamhouse.lease AS l USING (topic_id, partition)
LEFT JOIN streamhouse.live_agent AS a USING (agent_id)
CROSS JOIN LATERAL (SELECT count(*) AS segments, coalesce(sum(g.byte_length), 0)::int8 AS bytes,
                           coalesce(sum(g.byte_length) FILTER (WHERE g.slot > 0), 0)::int8 AS inline_bytes
                    FROM streamhouse.segment AS g WHERE g.topic_id = e.topic_id AND g.partition = e.partition) AS s
WHERE t.deleted_at IS NULL;
COMMENT ON VIEW streamhouse.partitions IS 'Partitions: who leads them, which offsets can be read, how much is stored. Reads every segment''s row of the partitions asked for: for people, not for every second.';
COMMENT ON COLUMN streamhouse.partitions.topic IS 'Name of the topic.';
COMMENT ON COLUMN streamhouse.partitions.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.partitions.leader IS 'Name of the agent that leads it; null when none does.';
COMMENT ON COLUMN streamhouse.partitions.leader_epoch IS 'Leader epoch.';
COMMENT ON COLUMN streamhouse.partitions.log_start_offset IS 'First offset that can be read.';
COMMENT ON COLUMN streamhouse.partitions.high_watermark IS 'Offset the next record gets.';
COMMENT ON COLUMN streamhouse.partitions.segments IS 'Segments it has.';
COMMENT ON COLUMN streamhouse.partitions.bytes IS 'Bytes of its record batches, as stored.';
COMMENT ON COLUMN streamhouse.partitions.size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.partitions.inline_bytes IS 'Those of them that are in PostgreSQL, not yet in the store.';

CREATE VIEW streamhouse.topics AS
SELECT t.name AS topic, t.topic_id, t.topic_uuid, t.partitions, p.offsets, p.segments, p.bytes, pg_size_pretty(p.bytes) AS size,
       p.inline_bytes, t.config, t.created_at
FROM streamhouse.topic AS t
CROSS JOIN LATERAL (SELECT coalesce(sum(e.end_offset - e.log_start_offset), 0)::int8 AS offsets, s.segments, s.bytes, s.inline_bytes
                    FROM streamhouse.partition_end AS e,
                         (SELECT count(*) AS segments, coalesce(sum(g.byte_length), 0)::int8 AS bytes,
                                 coalesce(sum(g.byte_length) FILTER (WHERE g.slot > 0), 0)::int8 AS inline_bytes
                          FROM streamhouse.segment AS g WHERE g.topic_id = t.topic_id) AS s
                    WHERE e.topic_id = t.topic_id
                    GROUP BY s.segments, s.bytes, s.inline_bytes) AS p
WHERE t.deleted_at IS NULL;
COMMENT ON VIEW streamhouse.topics IS 'Topics with what is stored of them. Reads every segment''s row of the topics asked for: for people, not for every second.';
COMMENT ON COLUMN streamhouse.topics.topic IS 'Name.';
COMMENT ON COLUMN streamhouse.topics.topic_id IS 'Our id.';
COMMENT ON COLUMN streamhouse.topics.topic_uuid IS 'Kafka''s topic id.';
COMMENT ON COLUMN streamhouse.topics.partitions IS 'How many partitions.';
COMMENT ON COLUMN streamhouse.topics.offsets IS 'Offsets between log start and high watermark, over all partitions: its records, but for gaps.';
COMMENT ON COLUMN streamhouse.topics.segments IS 'Segments of all partitions.';
COMMENT ON COLUMN streamhouse.topics.bytes IS 'Bytes of its record batches, as stored.';
COMMENT ON COLUMN streamhouse.topics.size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.topics.inline_bytes IS 'Those of them that are in PostgreSQL, not yet in the store.';
COMMENT ON COLUMN streamhouse.topics.config IS 'Configs that were set.';
COMMENT ON COLUMN streamhouse.topics.created_at IS 'When it was created.';

CREATE VIEW streamhouse.agents AS
SELECT a.agent_id, a.name AS agent, v.agent_id IS NOT NULL AS alive, a.kafka_host || ':' || a.kafka_port AS kafka,
       a.http_host || ':' || a.http_port AS http, a.zone, a.version, l.leads, a.started_at, a.heartbeat_at,
       s.reported_at, r.produce_bytes_per_s, r.fetch_bytes_per_s,
       (s.stats ->> 'flushes_inline')::numeric::int8 AS flushes_inline, (s.stats ->> 'flushes_object')::numeric::int8 AS flushes_object,
       (s.stats ->> 'commit_p99_ms')::numeric AS commit_p99_ms, (s.stats ->> 'connections')::numeric::int AS connections,
       (s.stats ->> 'memory_bytes')::numeric::int8 AS memory_bytes, pg_size_pretty((s.stats ->> 'memory_bytes')::numeric::int8) AS memory
FROM streamhouse.agent AS a
LEFT JOIN streamhouse.live_agent AS v USING (agent_id)
LEFT JOIN streamhouse.agent_stats AS s USING (agent_id)
CROSS JOIN LATERAL (SELECT count(*) AS leads FROM streamhouse.lease AS l WHERE l.agent_id = a.agent_id) AS l
-- A counter that fell began anew: then nothing is said.
CROSS JOIN LATERAL (SELECT sum(round(c.grown / c.seconds)) FILTER (WHERE c.name = 'produce_bytes') AS produce_bytes_per_s,
                           sum(round(c.grown / c.seconds)) FILTER (WHERE c.name = 'fetch_bytes') AS fetch_bytes_per_s
                    FROM (SELECT name, (s.stats ->> name)::numeric - (s.earlier_stats ->> name)::numeric AS grown,
                                 extract(epoch FROM s.reported_at - s.earlier_at) AS seconds
                          FROM unnest('{produce_bytes,fetch_bytes}'::text[]) AS name) AS c
                    WHERE c.grown >= 0 AND c.seconds > 0) AS r;
COMMENT ON VIEW streamhouse.agents IS 'Agents that were ever seen.';
COMMENT ON COLUMN streamhouse.agents.agent_id IS 'Kafka node id.';
COMMENT ON COLUMN streamhouse.agents.agent IS 'Name.';
COMMENT ON COLUMN streamhouse.agents.alive IS 'Whether its heartbeat is fresh.';
COMMENT ON COLUMN streamhouse.agents.kafka IS 'Where Kafka clients reach it.';
COMMENT ON COLUMN streamhouse.agents.http IS 'Where its HTTP listener is.';
COMMENT ON COLUMN streamhouse.agents.zone IS 'Availability zone.';
COMMENT ON COLUMN streamhouse.agents.version IS 'Version of the program.';
COMMENT ON COLUMN streamhouse.agents.leads IS 'Partitions it leads.';
COMMENT ON COLUMN streamhouse.agents.started_at IS 'When this process of it was first seen.';
COMMENT ON COLUMN streamhouse.agents.heartbeat_at IS 'When it was last seen.';
COMMENT ON COLUMN streamhouse.agents.reported_at IS 'When it last said of itself what follows; null when it never did.';
COMMENT ON COLUMN streamhouse.agents.produce_bytes_per_s IS 'Bytes a second that producers sent it, over the last seconds that it reported.';
COMMENT ON COLUMN streamhouse.agents.fetch_bytes_per_s IS 'Bytes a second that it gave to consumers, likewise.';
COMMENT ON COLUMN streamhouse.agents.flushes_inline IS 'How often it committed batches inline since it started.';
COMMENT ON COLUMN streamhouse.agents.flushes_object IS 'How often it wrote batches to an object since it started.';
COMMENT ON COLUMN streamhouse.agents.commit_p99_ms IS 'The time in milliseconds that 99 of 100 of its commits stay under.';
COMMENT ON COLUMN streamhouse.agents.connections IS 'Clients that are connected to it.';
COMMENT ON COLUMN streamhouse.agents.memory_bytes IS 'Memory that its process takes.';
COMMENT ON COLUMN streamhouse.agents.memory IS 'The same, to read.';

CREATE VIEW streamhouse.objects AS
SELECT o.object_id, o.key, o.state, o.bytes, pg_size_pretty(o.bytes) AS size, s.segments, s.used_bytes,
       pg_size_pretty(s.used_bytes) AS used_size, a.name AS agent, o.created_at, o.expires_at
FROM streamhouse.object AS o
LEFT JOIN streamhouse.agent AS a USING (agent_id)
CROSS JOIN LATERAL (SELECT count(*) AS segments, coalesce(sum(g.byte_length), 0)::int8 AS used_bytes
                    FROM streamhouse.segment AS g WHERE g.object_id = o.object_id AND g.slot = 0) AS s;
COMMENT ON VIEW streamhouse.objects IS 'Objects in the store, and what of them is in use. Reads every segment''s row of the objects asked for: for people, not for every second.';
COMMENT ON COLUMN streamhouse.objects.object_id IS 'Our id.';
COMMENT ON COLUMN streamhouse.objects.key IS 'Key under the store''s prefix.';
COMMENT ON COLUMN streamhouse.objects.state IS 'Where it stands in its life.';
COMMENT ON COLUMN streamhouse.objects.bytes IS 'Size; null before its commit.';
COMMENT ON COLUMN streamhouse.objects.size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.objects.segments IS 'Segments whose bytes are in it.';
COMMENT ON COLUMN streamhouse.objects.used_bytes IS 'Bytes that they take.';
COMMENT ON COLUMN streamhouse.objects.used_size IS 'The same, to read.';
COMMENT ON COLUMN streamhouse.objects.agent IS 'Name of the agent that wrote it.';
COMMENT ON COLUMN streamhouse.objects.created_at IS 'When its key was registered.';
COMMENT ON COLUMN streamhouse.objects.expires_at IS 'Last moment at which it could be committed.';
