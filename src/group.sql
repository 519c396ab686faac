-- group.sql: consumer groups: their tables, and who may use which.
--
-- All of a group's state is rows, so that any agent and any backend can go on with it. Its members are Kafka clients,
-- which call by sh_group_heartbeat() (KIP-848), and sessions of PostgreSQL, which call sh_poll(); a group may have both.
--
-- Whoever changes members, subscriptions, targets or owners holds the lock of the group's row, to the end of a transaction
-- that does nothing else. sh_poll() in somebody's transaction block never takes it; it locks rows of group_offset alone,
-- and never waits for one. That row is the fence of a partition. A session adopts its target whenever it polls: it locks
-- the rows, then looks with a newer snapshot whether they are still its own, and has them until its transaction ends. A
-- Kafka client is the partition's owner in group_partition from the heartbeat that gives it the partition, which must get
-- the lock of the same row, to the heartbeat that says it has let go. So a partition has one owner at a time, of either kind.
-- Locks are taken in the order: group, member, group_partition, group_offset, and the last are tried, not waited for.

CREATE TABLE streamhouse.consumer_group (
    group_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    protocol_type text NOT NULL DEFAULT 'consumer',
    group_epoch int NOT NULL DEFAULT 0,
    target_epoch int NOT NULL DEFAULT 0,
    assignor text NOT NULL DEFAULT 'uniform',
    topics_hash text NOT NULL DEFAULT '',
    version int8 NOT NULL,
    role regrole NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    group_type text NOT NULL DEFAULT 'consumer' CHECK (group_type IN ('consumer', 'classic')),
    protocol_name text,
    leader_member text COLLATE "C",
    coordinator_id int,
    coordinator_epoch int NOT NULL DEFAULT 0,
    emptied_at timestamptz DEFAULT clock_timestamp(),
    topics_seen int8,
    targeted_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.consumer_group IS 'Consumer groups. The row is the lock of everything but committed offsets.';
COMMENT ON COLUMN streamhouse.consumer_group.group_id IS 'Our id, small, first in every key.';
COMMENT ON COLUMN streamhouse.consumer_group.name IS 'Kafka''s group id.';
COMMENT ON COLUMN streamhouse.consumer_group.protocol_type IS 'Kafka''s protocol type: consumer, connect and so on; empty for a group that only has committed offsets.';
COMMENT ON COLUMN streamhouse.consumer_group.group_epoch IS 'Rises when members, subscriptions or topics change (KIP-848). Of a classic group: its generation.';
COMMENT ON COLUMN streamhouse.consumer_group.target_epoch IS 'The group epoch for which the target assignment was computed.';
COMMENT ON COLUMN streamhouse.consumer_group.assignor IS 'Assignor that computed it.';
COMMENT ON COLUMN streamhouse.consumer_group.topics_hash IS 'Hash of the subscribed topics'' ids and numbers of partitions, by which a change is noticed.';
COMMENT ON COLUMN streamhouse.consumer_group.version IS 'A random number, another one whenever targets or owners change: what a session knows is good as long as it is the same.';
COMMENT ON COLUMN streamhouse.consumer_group.role IS 'The role that created it, which may use it.';
COMMENT ON COLUMN streamhouse.consumer_group.created_at IS 'When it was created.';
COMMENT ON COLUMN streamhouse.consumer_group.group_type IS 'consumer: members are in group_member, and the brain assigns (KIP-848). classic: members are in classic_member, the leader among them assigns, and an agent, the coordinator, brings them together. An empty group changes its type with its next member.';
COMMENT ON COLUMN streamhouse.consumer_group.protocol_name IS 'Of a classic group: the protocol (a consumer''s assignor) that all members of the generation speak; null without a generation.';
COMMENT ON COLUMN streamhouse.consumer_group.leader_member IS 'Of a classic group: the member that assigns.';
COMMENT ON COLUMN streamhouse.consumer_group.coordinator_id IS 'The agent that coordinates the group, as long as it is alive; null: none has yet.';
COMMENT ON COLUMN streamhouse.consumer_group.coordinator_epoch IS 'Rises whenever another agent becomes the coordinator; what an earlier one writes is refused.';
COMMENT ON COLUMN streamhouse.consumer_group.topics_seen IS 'streamhouse.topics_signature() when regular expressions and topics were last looked at; null: never.';
COMMENT ON COLUMN streamhouse.consumer_group.targeted_at IS 'When the target assignment was computed.';
COMMENT ON COLUMN streamhouse.consumer_group.emptied_at IS 'Since when it has no members; null while it has some. Its offsets expire by it.';

CREATE TYPE streamhouse.member_state AS ENUM ('stable', 'unrevoked_partitions', 'unreleased_partitions');
COMMENT ON TYPE streamhouse.member_state IS 'Where a member stands on its way to its target assignment (KIP-848): stable (there), unrevoked_partitions (was asked to let partitions go and has not said that it did), unreleased_partitions (waits for partitions that others still own).';

CREATE TABLE streamhouse.group_member (
    group_id int NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    instance_id text,
    member_epoch int NOT NULL,
    previous_epoch int NOT NULL,
    state streamhouse.member_state NOT NULL DEFAULT 'stable',
    subscribed_topics text[] NOT NULL DEFAULT '{}',
    subscribed_regex text,
    resolved_topics text[] NOT NULL DEFAULT '{}',
    assignor text,
    rack text,
    client_id text,
    client_host text,
    role regrole NOT NULL,
    backend_pid int,
    backend_start timestamptz,
    auto_offset_reset text,
    session_timeout_ms int NOT NULL,
    rebalance_timeout_ms int NOT NULL,
    revoking_since timestamptz,
    joined_at timestamptz NOT NULL,
    last_seen timestamptz NOT NULL,
    PRIMARY KEY (group_id, member_id),
    UNIQUE (group_id, instance_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.group_member IS 'Members of consumer groups.';
COMMENT ON COLUMN streamhouse.group_member.group_id IS 'The group.';
COMMENT ON COLUMN streamhouse.group_member.member_id IS 'Kafka''s member id.';
COMMENT ON COLUMN streamhouse.group_member.instance_id IS 'Kafka''s group.instance.id: a static member, whose place is kept while it is away; null for others.';
COMMENT ON COLUMN streamhouse.group_member.member_epoch IS 'Epoch that the member has reached; -2: a static member that is away. A session''s stays the one it joined in, as it adopts its target at every poll.';
COMMENT ON COLUMN streamhouse.group_member.previous_epoch IS 'Epoch before that, accepted once more from a member that missed the answer.';
COMMENT ON COLUMN streamhouse.group_member.state IS 'Where it stands on its way to its target.';
COMMENT ON COLUMN streamhouse.group_member.subscribed_topics IS 'Topics it subscribed to, by name.';
COMMENT ON COLUMN streamhouse.group_member.subscribed_regex IS 'Regular expression that names of further topics match as a whole; null: none.';
COMMENT ON COLUMN streamhouse.group_member.resolved_topics IS 'Topics that match it and that the member may consume from.';
COMMENT ON COLUMN streamhouse.group_member.assignor IS 'Assignor that it asks for; null: any.';
COMMENT ON COLUMN streamhouse.group_member.rack IS 'Kafka''s client.rack; kept, not used.';
COMMENT ON COLUMN streamhouse.group_member.client_id IS 'Kafka''s client.id; a session''s application_name.';
COMMENT ON COLUMN streamhouse.group_member.client_host IS 'Where it connects from.';
COMMENT ON COLUMN streamhouse.group_member.role IS 'Whose rights on topics it has.';
COMMENT ON COLUMN streamhouse.group_member.backend_pid IS 'Process of the session that is the member; null for a Kafka client.';
COMMENT ON COLUMN streamhouse.group_member.backend_start IS 'When that process started: pids are used again.';
COMMENT ON COLUMN streamhouse.group_member.auto_offset_reset IS 'Where a session begins to read a partition without a committed offset: earliest, latest or none.';
COMMENT ON COLUMN streamhouse.group_member.session_timeout_ms IS 'For how long it may be silent: Kafka''s session timeout, a session''s poll limit.';
COMMENT ON COLUMN streamhouse.group_member.rebalance_timeout_ms IS 'For how long it may keep partitions that it was asked to let go.';
COMMENT ON COLUMN streamhouse.group_member.revoking_since IS 'Since when it was asked; null when it was not.';
COMMENT ON COLUMN streamhouse.group_member.joined_at IS 'When it joined.';
COMMENT ON COLUMN streamhouse.group_member.last_seen IS 'When it was last seen, to a quarter of session_timeout_ms: not every heartbeat writes a row.';

CREATE TABLE streamhouse.group_seen (
    group_id int NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, member_id, seen_at)
);
COMMENT ON TABLE streamhouse.group_seen IS 'Polls of sessions within their transactions, a few per poll limit. Rows instead of an update of group_member, so that no open transaction keeps a member from being removed.';
COMMENT ON COLUMN streamhouse.group_seen.group_id IS 'The group.';
COMMENT ON COLUMN streamhouse.group_seen.member_id IS 'The member.';
COMMENT ON COLUMN streamhouse.group_seen.seen_at IS 'When it polled.';

CREATE TABLE streamhouse.group_partition (
    group_id int NOT NULL,
    topic_id int NOT NULL,
    partition int NOT NULL,
    target_member text COLLATE "C",
    owner_member text COLLATE "C",
    is_revoking bool NOT NULL DEFAULT false,
    PRIMARY KEY (group_id, topic_id, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.group_partition IS 'Partitions of the topics that a group''s members subscribe to: who is to have them, and who has.';
COMMENT ON COLUMN streamhouse.group_partition.group_id IS 'The group.';
COMMENT ON COLUMN streamhouse.group_partition.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.group_partition.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.group_partition.target_member IS 'Member that is to have it: the target assignment.';
COMMENT ON COLUMN streamhouse.group_partition.owner_member IS 'Kafka client that has it; null when none does. A session has what it is to have, unless a Kafka client still does, or another transaction holds the row in group_offset.';
COMMENT ON COLUMN streamhouse.group_partition.is_revoking IS 'The owner was asked to let it go.';

-- One row per partition of a group. A commit deletes it and inserts its successor instead of updating it: the newest is
-- found first however many dead ones an old snapshot keeps, where a chain of versions would be walked from its beginning.
CREATE TABLE streamhouse.group_offset (
    group_id int NOT NULL,
    topic_id int NOT NULL,
    partition int NOT NULL,
    commit_id int8 NOT NULL,
    committed_offset int8 NOT NULL,
    leader_epoch int NOT NULL,
    metadata text NOT NULL,
    member_id text COLLATE "C",
    committed_at timestamptz NOT NULL,
    PRIMARY KEY (group_id, topic_id, partition, commit_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE streamhouse.group_offset IS 'Committed offsets of groups, one row per partition. The row''s lock is the fence: whoever reads a partition for a group in a transaction holds it.';
COMMENT ON COLUMN streamhouse.group_offset.group_id IS 'The group.';
COMMENT ON COLUMN streamhouse.group_offset.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.group_offset.partition IS 'Number of the partition.';
COMMENT ON COLUMN streamhouse.group_offset.commit_id IS 'Counts the commits of the partition.';
COMMENT ON COLUMN streamhouse.group_offset.committed_offset IS 'Offset to go on from; -1: none was committed.';
COMMENT ON COLUMN streamhouse.group_offset.leader_epoch IS 'Leader epoch of the last record before it; -1: not known.';
COMMENT ON COLUMN streamhouse.group_offset.metadata IS 'What the client wrote beside it. Bytes that are no text are \x and hexadecimal digits, and so is text that begins with \x.';
COMMENT ON COLUMN streamhouse.group_offset.member_id IS 'Member that committed it; null: somebody outside of the group.';
COMMENT ON COLUMN streamhouse.group_offset.committed_at IS 'When it was committed.';

-- A generation of a classic group, written when its leader has assigned, before any member is told: so whatever a member
-- does in a generation, the next coordinator knows of it.
CREATE TABLE streamhouse.classic_member (
    group_id int NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    instance_id text,
    client_id text NOT NULL,
    client_host text NOT NULL,
    session_timeout_ms int NOT NULL,
    rebalance_timeout_ms int NOT NULL,
    protocol_names text[] NOT NULL,
    protocol_metadata bytea[] NOT NULL,
    assignment bytea NOT NULL,
    PRIMARY KEY (group_id, member_id),
    UNIQUE (group_id, instance_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.classic_member IS 'Members of classic groups, as of the last generation that was assigned.';
COMMENT ON COLUMN streamhouse.classic_member.group_id IS 'The group.';
COMMENT ON COLUMN streamhouse.classic_member.member_id IS 'Kafka''s member id.';
COMMENT ON COLUMN streamhouse.classic_member.instance_id IS 'Kafka''s group.instance.id; null for a dynamic member.';
COMMENT ON COLUMN streamhouse.classic_member.client_id IS 'Kafka''s client.id.';
COMMENT ON COLUMN streamhouse.classic_member.client_host IS 'Where it connects from.';
COMMENT ON COLUMN streamhouse.classic_member.session_timeout_ms IS 'For how long it may be silent.';
COMMENT ON COLUMN streamhouse.classic_member.rebalance_timeout_ms IS 'How long it may take to join again.';
COMMENT ON COLUMN streamhouse.classic_member.protocol_names IS 'Protocols that it speaks, the preferred one first.';
COMMENT ON COLUMN streamhouse.classic_member.protocol_metadata IS 'What it said beside each of them: a consumer''s subscription.';
COMMENT ON COLUMN streamhouse.classic_member.assignment IS 'What the leader gave it.';

-- Members are not in a dump: they would not live where it is restored.
SELECT pg_catalog.pg_extension_config_dump('streamhouse.consumer_group', '');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.consumer_group_group_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.group_offset', '');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.group_member', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.group_seen', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.group_partition', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.classic_member', 'WHERE false');

CREATE FUNCTION streamhouse.group_fail(error_code int, message text, hint text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'SH' || lpad(error_code::text, 3, '0'), MESSAGE = message, HINT = coalesce(hint, '');
END $$;
COMMENT ON FUNCTION streamhouse.group_fail IS 'Raises an error whose SQLSTATE is SH and Kafka''s error code.';

CREATE FUNCTION streamhouse.group_version() RETURNS int8
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ('x' || encode(substr(uuid_send(gen_random_uuid()), 1, 8), 'hex'))::bit(64)::int8
$$;
COMMENT ON FUNCTION streamhouse.group_version IS 'A new value of consumer_group.version.';

CREATE FUNCTION streamhouse.group_touch(group_id int) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE streamhouse.consumer_group AS g SET version = streamhouse.group_version() WHERE g.group_id = group_touch.group_id
$$;
COMMENT ON FUNCTION streamhouse.group_touch IS 'Tells sessions to read their assignment again.';

CREATE FUNCTION streamhouse.group_may_use(used streamhouse.consumer_group) RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM pg_roles AS r
                   WHERE (r.oid = used.role OR r.rolname IN ('streamhouse_consumer', 'streamhouse_admin', 'streamhouse_agent'))
                     AND pg_has_role(streamhouse.caller(), r.oid, 'USAGE'))
$$;
COMMENT ON FUNCTION streamhouse.group_may_use IS 'Whether the caller may use the group: the role that created it and its members, streamhouse_consumer, streamhouse_admin and streamhouse_agent may.';

CREATE FUNCTION streamhouse.group_require(used streamhouse.consumer_group) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT streamhouse.group_may_use(used) THEN
        RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
            MESSAGE = format('role %s may not use group "%s"', streamhouse.caller(), used.name),
            HINT = format('It belongs to %s. Use a group of your own, or ask to become a member of that role or of streamhouse_consumer.', used.role);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.group_require IS 'Raises 42501 unless the caller may use the group.';

CREATE FUNCTION streamhouse.group_missing(name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM streamhouse.group_fail(69, format('group "%s" does not exist', left(name, 300)), 'A group exists from its first sh_join() or sh_poll() on.');
END $$;
COMMENT ON FUNCTION streamhouse.group_missing IS 'Raises SH069: there is no group of that name.';

CREATE FUNCTION streamhouse.group_find(name text) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_group streamhouse.consumer_group;
BEGIN
    SELECT * INTO found_group FROM streamhouse.consumer_group AS g WHERE g.name = group_find.name;
    IF NOT FOUND THEN
        PERFORM streamhouse.group_missing(name);
    END IF;
    PERFORM streamhouse.group_require(found_group);
    RETURN found_group;
END $$;
COMMENT ON FUNCTION streamhouse.group_find IS 'The group of that name; raises SH069 when there is none, 42501 when the caller may not use it.';

CREATE FUNCTION streamhouse.group_create(name text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(name, '') = '' OR length(name) > 1000 THEN
        PERFORM streamhouse.group_fail(24, format('invalid group "%s"', left(name, 100)), 'A group''s name has 1 to 1000 characters.');
    END IF;
    INSERT INTO streamhouse.consumer_group (name, version, role)
    VALUES (name, streamhouse.group_version(), streamhouse.caller())
    ON CONFLICT DO NOTHING;
END $$;
COMMENT ON FUNCTION streamhouse.group_create IS 'Creates a group unless there is one of the name. Raises SH024 for a name that none may have.';

-- Null when there is none. A group that is deleted meanwhile is made again.
CREATE FUNCTION streamhouse.group_lock(name text, create_it bool) RETURNS streamhouse.consumer_group
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    locked streamhouse.consumer_group;
BEGIN
    LOOP
        SELECT * INTO locked FROM streamhouse.consumer_group AS g WHERE g.name = group_lock.name FOR UPDATE;
        IF FOUND THEN
            PERFORM streamhouse.group_require(locked);
            RETURN locked;
        END IF;
        IF NOT create_it THEN
            RETURN NULL;
        END IF;
        PERFORM streamhouse.group_create(name);
    END LOOP;
END $$;
COMMENT ON FUNCTION streamhouse.group_lock IS 'The group of that name, locked against other changes, and made when it is missing and create_it says so; else null. Raises 42501 when the caller may not use it.';
