-- schema.sql: every table and type of the brain. A partition's log is rows in segment; its lock is its row in
-- partition. Locks are taken in one order everywhere: partition rows by (topic_id, partition), then the object row.

CREATE SCHEMA streamhouse;
COMMENT ON SCHEMA streamhouse IS 'StreamHouse''s tables and views. People and agents call the sh_* functions; only those change these tables.';

CREATE TYPE streamhouse.object_state AS ENUM ('intent', 'live', 'deleting', 'gone');
COMMENT ON TYPE streamhouse.object_state IS 'Life of an object, never back: intent (key registered before its PUT), live (committed), deleting (an agent is to delete its bytes), gone (deleted once; deleted again a day later against a late PUT, then forgotten).';

CREATE TYPE streamhouse.commit_status AS ENUM ('committed', 'duplicate', 'fenced', 'locked', 'invalid', 'unknown');
COMMENT ON TYPE streamhouse.commit_status IS 'What became of a batch: committed, duplicate (was committed before; same base offset), fenced (lease epoch is not the current one), locked (partition busy, ask again), invalid (sequence or epoch of its producer is wrong), unknown (no such partition).';

CREATE TABLE streamhouse.cluster (
    singleton bool PRIMARY KEY DEFAULT true CHECK (singleton),
    cluster_uuid uuid NOT NULL,
    balanced_agents int[] NOT NULL DEFAULT '{}',
    balanced_at timestamptz,
    swept_object_id int8 NOT NULL DEFAULT 0,
    swept_topic_id int NOT NULL DEFAULT 0,
    swept_partition int NOT NULL DEFAULT 0,
    swept_producer_id int8 NOT NULL DEFAULT 0,
    swept_end_offset int8 NOT NULL DEFAULT 0,
    swept_group_id int NOT NULL DEFAULT 0,
    swept_groups_at timestamptz NOT NULL DEFAULT now(),
    timeline int NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE streamhouse.cluster IS 'One row: who this cluster is, and where its slow sweeps stand.';
COMMENT ON COLUMN streamhouse.cluster.singleton IS 'Always true, so that there is one row.';
COMMENT ON COLUMN streamhouse.cluster.cluster_uuid IS 'The cluster id that Kafka clients see, as a uuid.';
COMMENT ON COLUMN streamhouse.cluster.balanced_agents IS 'The agents over which leases were last evened out.';
COMMENT ON COLUMN streamhouse.cluster.balanced_at IS 'When they were; null: never.';
COMMENT ON COLUMN streamhouse.cluster.swept_object_id IS 'Where the reaper''s sweep over live objects stands.';
COMMENT ON COLUMN streamhouse.cluster.swept_topic_id IS 'Where the reaper''s sweep over producers stands: topic.';
COMMENT ON COLUMN streamhouse.cluster.swept_partition IS 'Where the reaper''s sweep over producers stands: partition.';
COMMENT ON COLUMN streamhouse.cluster.swept_producer_id IS 'Where the reaper''s sweep over producers stands: producer.';
COMMENT ON COLUMN streamhouse.cluster.swept_end_offset IS 'Where the reaper''s sweep over producers stands: end offset.';
COMMENT ON COLUMN streamhouse.cluster.swept_group_id IS 'Where the sweep over groups stands, for offsets that have expired; 0: between two rounds.';
COMMENT ON COLUMN streamhouse.cluster.swept_groups_at IS 'When its last round ended.';
COMMENT ON COLUMN streamhouse.cluster.timeline IS 'The server''s timeline that heartbeats have taken note of; another one is a promotion, or a restored backup, and raises all leader epochs.';
COMMENT ON COLUMN streamhouse.cluster.created_at IS 'When the id was made.';

CREATE TABLE streamhouse.config_definition (
    name text PRIMARY KEY,
    type text NOT NULL CHECK (type IN ('boolean', 'int', 'long', 'double', 'string', 'list')),
    default_value text,
    minimum numeric,
    maximum numeric,
    allowed text[],
    documentation text NOT NULL
);
COMMENT ON TABLE streamhouse.config_definition IS 'Every topic config that is known, with type, default and bounds. Validation, sh_describe_configs() and the manual read this table.';
COMMENT ON COLUMN streamhouse.config_definition.name IS 'Name as Kafka clients know it; our own start with streamhouse.';
COMMENT ON COLUMN streamhouse.config_definition.type IS 'boolean, int (32 bits), long (64 bits), double, string or list (comma-separated).';
COMMENT ON COLUMN streamhouse.config_definition.default_value IS 'Value of a topic that does not set it.';
COMMENT ON COLUMN streamhouse.config_definition.minimum IS 'Smallest number allowed.';
COMMENT ON COLUMN streamhouse.config_definition.maximum IS 'Largest number allowed.';
COMMENT ON COLUMN streamhouse.config_definition.allowed IS 'Values allowed, for strings and for each element of a list; null: any.';
COMMENT ON COLUMN streamhouse.config_definition.documentation IS 'What it does here.';

CREATE TABLE streamhouse.topic_default (
    name text PRIMARY KEY,
    value text NOT NULL,
    set_as text NOT NULL
);
COMMENT ON TABLE streamhouse.topic_default IS 'Defaults of topic configs that were changed for the whole cluster, by broker configs: sh_alter_broker_config() writes it. They count where a topic does not set its own.';
COMMENT ON COLUMN streamhouse.topic_default.name IS 'Name of the topic config.';
COMMENT ON COLUMN streamhouse.topic_default.value IS 'Its default instead of config_definition''s.';
COMMENT ON COLUMN streamhouse.topic_default.set_as IS 'The broker config that was set: log.retention.hours, for example.';

CREATE TABLE streamhouse.topic (
    topic_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic_uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
    name text NOT NULL,
    partitions int NOT NULL CHECK (partitions > 0),
    config jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(config) = 'object'),
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz
);
CREATE UNIQUE INDEX topic_name ON streamhouse.topic (name) WHERE deleted_at IS NULL;
-- Kafka takes "a.b" and "a_b" for the same metric name, so the second of the two is refused.
CREATE UNIQUE INDEX topic_folded_name ON streamhouse.topic (translate(name, '.', '_')) WHERE deleted_at IS NULL;
CREATE INDEX topic_deleted ON streamhouse.topic (topic_id) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE streamhouse.topic IS 'Topics. A deleted one keeps its row until the reaper has removed its segments and producers.';
COMMENT ON COLUMN streamhouse.topic.topic_id IS 'Our id, small, first in every key. Never used again.';
COMMENT ON COLUMN streamhouse.topic.topic_uuid IS 'Kafka''s topic id (KIP-516).';
COMMENT ON COLUMN streamhouse.topic.name IS 'Name, unique among topics that are not deleted.';
COMMENT ON COLUMN streamhouse.topic.partitions IS 'How many partitions, numbered from 0.';
COMMENT ON COLUMN streamhouse.topic.config IS 'Configs that were set, name to text; the rest have the defaults of config_definition.';
COMMENT ON COLUMN streamhouse.topic.created_at IS 'When it was created.';
COMMENT ON COLUMN streamhouse.topic.deleted_at IS 'When it was deleted; null while it exists.';

CREATE TABLE streamhouse.partition (
    topic_id int NOT NULL,
    partition int NOT NULL CHECK (partition >= 0),
    floor_offset int8 NOT NULL DEFAULT 0,
    log_start_offset int8 NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, partition)
);
COMMENT ON TABLE streamhouse.partition IS 'Partitions of topics that are not deleted. The row is the append lock: a commit locks it and does not update it. Next offset = greatest(floor_offset, end_offset of the last segment).';
COMMENT ON COLUMN streamhouse.partition.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.partition.partition IS 'Number of the partition, from 0.';
COMMENT ON COLUMN streamhouse.partition.floor_offset IS 'Least offset the next record may get; raised when the log is emptied or adopted.';
COMMENT ON COLUMN streamhouse.partition.log_start_offset IS 'First offset that can be read.';

CREATE TABLE streamhouse.partition_trim (
    topic_id int NOT NULL,
    partition int NOT NULL,
    PRIMARY KEY (topic_id, partition)
);
COMMENT ON TABLE streamhouse.partition_trim IS 'Partitions whose log begins later than it did: sh_prune() removes their segments before that, some at a time.';
COMMENT ON COLUMN streamhouse.partition_trim.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.partition_trim.partition IS 'Number of the partition.';

CREATE TABLE streamhouse.partition_epoch (
    topic_id int NOT NULL,
    partition int NOT NULL,
    epoch int NOT NULL,
    start_offset int8 NOT NULL,
    PRIMARY KEY (topic_id, partition, epoch)
);
COMMENT ON TABLE streamhouse.partition_epoch IS 'Leader epochs and the next offset when each began; one row when a lease moves. Answers OffsetForLeaderEpoch.';
COMMENT ON COLUMN streamhouse.partition_epoch.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.partition_epoch.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.partition_epoch.epoch IS 'Leader epoch, which only rises.';
COMMENT ON COLUMN streamhouse.partition_epoch.start_offset IS 'The partition''s next offset when the epoch began.';

CREATE TABLE streamhouse.agent (
    agent_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    incarnation uuid NOT NULL,
    previous_incarnation uuid,
    kafka_host text NOT NULL,
    kafka_port int NOT NULL CHECK (kafka_port BETWEEN 1 AND 65535),
    http_host text,
    http_port int CHECK (http_port BETWEEN 1 AND 65535),
    zone text,
    agent_group text,
    lease_weight int NOT NULL DEFAULT 100 CHECK (lease_weight BETWEEN 1 AND 10000),
    draining bool NOT NULL DEFAULT false,
    version text,
    started_at timestamptz NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    lease_version int8 NOT NULL DEFAULT 1
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.agent IS 'Agents that have called sh_agent_heartbeat(). One is alive until expires_at, and for one TTL after a server start.';
COMMENT ON COLUMN streamhouse.agent.agent_id IS 'Kafka node id; kept when an agent restarts under the same name.';
COMMENT ON COLUMN streamhouse.agent.name IS 'Name it was started with.';
COMMENT ON COLUMN streamhouse.agent.incarnation IS 'New at every start of the process; a new one gets new epochs.';
COMMENT ON COLUMN streamhouse.agent.previous_incarnation IS 'The one before, which is refused: two processes under one name would fence each other for ever.';
COMMENT ON COLUMN streamhouse.agent.kafka_host IS 'Host that Kafka clients are told.';
COMMENT ON COLUMN streamhouse.agent.kafka_port IS 'Port that Kafka clients are told.';
COMMENT ON COLUMN streamhouse.agent.http_host IS 'Host of its HTTP listener.';
COMMENT ON COLUMN streamhouse.agent.http_port IS 'Port of its HTTP listener.';
COMMENT ON COLUMN streamhouse.agent.zone IS 'Availability zone (Kafka: rack).';
COMMENT ON COLUMN streamhouse.agent.agent_group IS 'Group of agents it belongs to: topics may be led by one group only (streamhouse.agent.group).';
COMMENT ON COLUMN streamhouse.agent.lease_weight IS 'Its share of the leases, compared with other agents''.';
COMMENT ON COLUMN streamhouse.agent.draining IS 'Whether it is about to leave: it leads until its leases are handed over, and gets no new ones.';
COMMENT ON COLUMN streamhouse.agent.version IS 'Version of the program.';
COMMENT ON COLUMN streamhouse.agent.started_at IS 'When this incarnation was first seen.';
COMMENT ON COLUMN streamhouse.agent.heartbeat_at IS 'When it was last seen.';
COMMENT ON COLUMN streamhouse.agent.expires_at IS 'When it counts as dead unless it is seen again.';
COMMENT ON COLUMN streamhouse.agent.lease_version IS 'Rises whenever its leases change; a heartbeat that knows the current one gets no lists.';

CREATE TABLE streamhouse.lease (
    topic_id int NOT NULL,
    partition int NOT NULL,
    agent_id int,
    epoch int NOT NULL,
    next_agent_id int,
    hand_over_until timestamptz,
    PRIMARY KEY (topic_id, partition)
);
CREATE INDEX lease_agent ON streamhouse.lease (agent_id);
CREATE INDEX lease_hand_over ON streamhouse.lease (agent_id) WHERE next_agent_id IS NOT NULL;
COMMENT ON TABLE streamhouse.lease IS 'Who leads a partition. Every partition has one row, which changes only when it moves. The epoch changes only under the lock of the partition''s row, with a row in partition_epoch; agent_id may be cleared without it.';
COMMENT ON COLUMN streamhouse.lease.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.lease.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.lease.agent_id IS 'The leader; null when nobody leads.';
COMMENT ON COLUMN streamhouse.lease.epoch IS 'Leader epoch. A commit under an older one is fenced.';
COMMENT ON COLUMN streamhouse.lease.next_agent_id IS 'The agent that agent_id is to hand it over to; null as a rule.';
COMMENT ON COLUMN streamhouse.lease.hand_over_until IS 'When it moves there in any case.';

CREATE TABLE streamhouse.lease_notice (
    notice_id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    agent_id int NOT NULL
);
CREATE INDEX lease_notice_agent ON streamhouse.lease_notice (agent_id);
COMMENT ON TABLE streamhouse.lease_notice IS 'Tells an agent''s next heartbeat that its leases changed. Rows instead of an update of agent, so that no open transaction can block a heartbeat.';
COMMENT ON COLUMN streamhouse.lease_notice.notice_id IS 'Tells notices apart.';
COMMENT ON COLUMN streamhouse.lease_notice.agent_id IS 'Agent that gained or lost leases.';

CREATE TABLE streamhouse.object (
    object_id int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    state streamhouse.object_state NOT NULL DEFAULT 'intent',
    bytes int8,
    agent_id int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    emptied_at timestamptz,
    deleted_at timestamptz,
    reap_after timestamptz
);
CREATE INDEX object_intent ON streamhouse.object (expires_at) WHERE state = 'intent';
CREATE INDEX object_emptied ON streamhouse.object (emptied_at) WHERE state = 'live' AND emptied_at IS NOT NULL;
CREATE INDEX object_deleting ON streamhouse.object (reap_after) WHERE state IN ('deleting', 'gone');
COMMENT ON TABLE streamhouse.object IS 'Objects in the store. A commit locks the row and checks state and expires_at under that lock, so that the reaper and a commit never both win.';
COMMENT ON COLUMN streamhouse.object.object_id IS 'Our id; the footer of the object carries it.';
COMMENT ON COLUMN streamhouse.object.key IS 'Key under the store''s prefix; random, never used again.';
COMMENT ON COLUMN streamhouse.object.state IS 'Where it stands in its life.';
COMMENT ON COLUMN streamhouse.object.bytes IS 'Size; null before its commit.';
COMMENT ON COLUMN streamhouse.object.agent_id IS 'Agent that reserved it.';
COMMENT ON COLUMN streamhouse.object.created_at IS 'When the key was registered.';
COMMENT ON COLUMN streamhouse.object.expires_at IS 'Last moment at which it may be committed.';
COMMENT ON COLUMN streamhouse.object.emptied_at IS 'When the reaper first saw it live without a segment; the grace runs from here.';
COMMENT ON COLUMN streamhouse.object.deleted_at IS 'When its bytes were first reported as deleted.';
COMMENT ON COLUMN streamhouse.object.reap_after IS 'When sh_reap() hands it out (again), in states deleting and gone.';

CREATE TABLE streamhouse.segment (
    topic_id int NOT NULL,
    partition int NOT NULL,
    base_offset int8 NOT NULL,
    end_offset int8 NOT NULL,
    object_id int8 NOT NULL,
    byte_start int4 NOT NULL,
    byte_length int4 NOT NULL,
    batches int4 NOT NULL,
    leader_epoch int4 NOT NULL,
    max_timestamp int8 NOT NULL,
    running_max_timestamp int8 NOT NULL,
    slot int2 NOT NULL DEFAULT 0 CHECK (slot BETWEEN 0 AND 8),
    PRIMARY KEY (topic_id, partition, end_offset),
    CHECK (end_offset > base_offset)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX segment_object ON streamhouse.segment (object_id) WHERE slot = 0;
CREATE INDEX segment_inline ON streamhouse.segment (slot, object_id) WHERE slot > 0;
COMMENT ON TABLE streamhouse.segment IS 'Runs of consecutive offsets of one partition, and where their bytes are.';
COMMENT ON COLUMN streamhouse.segment.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.segment.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.segment.base_offset IS 'First offset.';
COMMENT ON COLUMN streamhouse.segment.end_offset IS 'Offset after the last one.';
COMMENT ON COLUMN streamhouse.segment.object_id IS 'Object with the bytes, or, in a slot of the inline ring, the row with them.';
COMMENT ON COLUMN streamhouse.segment.byte_start IS 'Where its batches begin in the object.';
COMMENT ON COLUMN streamhouse.segment.byte_length IS 'How many bytes they take.';
COMMENT ON COLUMN streamhouse.segment.batches IS 'How many record batches.';
COMMENT ON COLUMN streamhouse.segment.leader_epoch IS 'Leader epoch of its batches.';
COMMENT ON COLUMN streamhouse.segment.max_timestamp IS 'Largest record timestamp in it, ms since 1970; -1 when none has one.';
COMMENT ON COLUMN streamhouse.segment.running_max_timestamp IS 'Largest timestamp in the partition up to its end, so that lookups by time can halve the range.';

COMMENT ON COLUMN streamhouse.segment.slot IS 'Where the bytes are: 0 in an object in the store, 1 to 8 in inline_1 to inline_8.';

-- The inline ring: record batches that PostgreSQL holds until they move to an object. Rows are never deleted: a slot is
-- emptied as a whole by TRUNCATE, so that nothing has to be vacuumed. See inline.sql.
CREATE TYPE streamhouse.slot_state AS ENUM ('empty', 'filling', 'draining', 'sealed', 'moved');
COMMENT ON TYPE streamhouse.slot_state IS 'Life of a slot of the inline ring, a circle: empty, filling (the one that is written to), draining (the next one is, but transactions under way may still write to this one), sealed (nobody writes to it any more), moved (no segment is in it any more; emptied after a grace).';

CREATE TABLE streamhouse.inline_slot (
    slot int2 PRIMARY KEY CHECK (slot BETWEEN 1 AND 8),
    state streamhouse.slot_state NOT NULL DEFAULT 'empty',
    changed_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE streamhouse.inline_slot IS 'The slots of the inline ring, one of which is filling. Rows come with the first rotation; until then slot 1 is filling and the others are empty.';
COMMENT ON COLUMN streamhouse.inline_slot.slot IS 'Number of the slot: its rows are in inline_1 to inline_8.';
COMMENT ON COLUMN streamhouse.inline_slot.state IS 'Where it stands in its circle.';
COMMENT ON COLUMN streamhouse.inline_slot.changed_at IS 'Since when.';
DO $$
BEGIN
    FOR n IN 1 .. 8 LOOP
        -- A piece fills a page and stays in it: a second table and index for its bytes would cost more than they save.
        EXECUTE format('CREATE TABLE streamhouse.inline_%s (
                            object_id int8, written_at timestamptz NOT NULL, byte_start int4 DEFAULT 0, bytes bytea NOT NULL,
                            PRIMARY KEY (object_id, byte_start))
                        WITH (autovacuum_enabled = false, toast.autovacuum_enabled = false, toast_tuple_target = 8160)', n);
        EXECUTE format('ALTER TABLE streamhouse.inline_%s ALTER COLUMN bytes SET STORAGE EXTERNAL', n);
        EXECUTE format('COMMENT ON TABLE streamhouse.inline_%s IS ''Slot %s of the inline ring: record batches that are not in an object yet.''', n, n);
        EXECUTE format('COMMENT ON COLUMN streamhouse.inline_%s.object_id IS ''Id of the write, from the sequence of objects, so that an id is either an object''''s or a write''''s to the ring.''', n);
        EXECUTE format('COMMENT ON COLUMN streamhouse.inline_%s.written_at IS ''When it was written.''', n);
        EXECUTE format('COMMENT ON COLUMN streamhouse.inline_%s.byte_start IS ''Where the piece begins in the bytes of the write.''', n);
        EXECUTE format('COMMENT ON COLUMN streamhouse.inline_%s.bytes IS ''A piece, a page full at most, of record batches, one after the other, of one or several partitions.''', n);
    END LOOP;
END $$;

CREATE TABLE streamhouse.producer (
    topic_id int NOT NULL,
    partition int NOT NULL,
    producer_id int8 NOT NULL,
    end_offset int8 NOT NULL,
    producer_epoch int2 NOT NULL,
    first_sequences int4[] NOT NULL,
    last_sequences int4[] NOT NULL,
    base_offsets int8[] NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (topic_id, partition, producer_id, end_offset),
    CHECK (cardinality(first_sequences) BETWEEN 1 AND 5
           AND cardinality(last_sequences) = cardinality(first_sequences)
           AND cardinality(base_offsets) = cardinality(first_sequences))
);
COMMENT ON TABLE streamhouse.producer IS 'Idempotent producers'' last five batches per partition. Insert-only: the row with the largest end_offset counts, the reaper prunes the others.';
COMMENT ON COLUMN streamhouse.producer.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.producer.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.producer.producer_id IS 'Kafka producer id.';
COMMENT ON COLUMN streamhouse.producer.end_offset IS 'Offset after its last batch.';
COMMENT ON COLUMN streamhouse.producer.producer_epoch IS 'Kafka producer epoch of the batches in the ring.';
COMMENT ON COLUMN streamhouse.producer.first_sequences IS 'First sequence of up to five batches, newest first.';
COMMENT ON COLUMN streamhouse.producer.last_sequences IS 'Last sequence of the same batches.';
COMMENT ON COLUMN streamhouse.producer.base_offsets IS 'Base offset of the same batches.';
COMMENT ON COLUMN streamhouse.producer.written_at IS 'When the row was written; old ones expire.';

CREATE SEQUENCE streamhouse.producer_id_seq AS int8 MINVALUE 0 START 0;
COMMENT ON SEQUENCE streamhouse.producer_id_seq IS 'Producer ids that sh_init_producer() hands out.';

CREATE SEQUENCE streamhouse.inline_call_seq AS int8 INCREMENT 1024 MINVALUE 1 START 1;
COMMENT ON SEQUENCE streamhouse.inline_call_seq IS 'Ids of inline commits, reserved by agents in blocks of 1024; commit_answer has them as negative numbers.';

CREATE TABLE streamhouse.commit_answer (
    object_id int8 NOT NULL,
    batch int NOT NULL,
    batches int4[] NOT NULL,
    statuses streamhouse.commit_status[] NOT NULL,
    error_codes int2[] NOT NULL,
    base_offsets int8[] NOT NULL,
    answered_at timestamptz NOT NULL,
    PRIMARY KEY (object_id, batch),
    CHECK (cardinality(batches) > 0
           AND cardinality(statuses) = cardinality(batches)
           AND cardinality(error_codes) = cardinality(batches)
           AND cardinality(base_offsets) = cardinality(batches))
);
COMMENT ON TABLE streamhouse.commit_answer IS 'Final answers of sh_commit_object(), kept an hour and given again when asked again. One row per call, with the batches that got their final answer in it.';
COMMENT ON COLUMN streamhouse.commit_answer.object_id IS 'The object; for an inline commit, its id as a negative number.';
COMMENT ON COLUMN streamhouse.commit_answer.batch IS 'Smallest ordinal in batches.';
COMMENT ON COLUMN streamhouse.commit_answer.batches IS 'Ordinals of the batches in the object, in the order in which they were asked for.';
COMMENT ON COLUMN streamhouse.commit_answer.statuses IS 'What became of them.';
COMMENT ON COLUMN streamhouse.commit_answer.error_codes IS 'Kafka error codes, 0 for none.';
COMMENT ON COLUMN streamhouse.commit_answer.base_offsets IS 'Offsets of their first records, -1 for none.';
COMMENT ON COLUMN streamhouse.commit_answer.answered_at IS 'When the answers were given first.';

-- pg_dump leaves out an extension's rows unless told otherwise.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY '{cluster,topic,topic_topic_id_seq,partition,partition_epoch,agent,agent_agent_id_seq,lease,
                            lease_notice,lease_notice_notice_id_seq,object,object_object_id_seq,segment,inline_slot,inline_1,inline_2,inline_3,
                            inline_4,inline_5,inline_6,inline_7,inline_8,inline_call_seq,producer,producer_id_seq,commit_answer,topic_default,partition_trim}'::text[] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(('streamhouse.' || name)::regclass, '');
    END LOOP;
END $$;
