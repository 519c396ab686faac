-- agent.sql: agents, their heartbeats, and the leases they hold.
--
-- An agent says who it is, about once a second, and is told what to lead. Only its own heartbeat and leave update its
-- row in agent; whoever else changes its leases leaves a lease_notice, so that no open transaction blocks a heartbeat.
-- Leases move in streamhouse.lease_move() alone, one transaction at a time (an advisory lock, which a renewal only
-- tries and a registration or a leave awaits), each under the lock of its partition's row and with a higher epoch. A
-- partition that is busy at that moment is skipped and moves with one of the next heartbeats; one without a leader is
-- waited for, when nothing else was to be done. Locks are taken in the
-- order: the agent's own row, the advisory lock, partition rows, lease rows.

-- Any number, the same everywhere: serialises assignment.
CREATE FUNCTION streamhouse.lease_try_lock() RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_try_advisory_xact_lock(7310590, 1)
$$;
COMMENT ON FUNCTION streamhouse.lease_try_lock IS 'True when this transaction may move leases: one at a time.';

CREATE FUNCTION streamhouse.lease_notify(agent_ids int[]) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO streamhouse.lease_notice (agent_id)
    SELECT DISTINCT agent_id FROM unnest(agent_ids) AS agent_id WHERE agent_id IS NOT NULL
$$;
COMMENT ON FUNCTION streamhouse.lease_notify IS 'Tells agents'' next heartbeats that their leases changed.';

-- Each statement sees what was committed before it: the locks come first, then what is decided under them.
CREATE FUNCTION streamhouse.lease_move(topic_ids int[], partitions int[], live int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    locked_topics int[];
    locked_partitions int[];
    touched int[];
    moved int;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'leases can be moved under READ COMMITTED only',
            HINT = 'An older snapshot would not see what was appended while a partition''s lock was awaited.';
    END IF;
    SELECT array_agg(p.topic_id), array_agg(p.partition) INTO locked_topics, locked_partitions
    FROM (SELECT p.topic_id, p.partition
          FROM streamhouse.partition AS p JOIN unnest(topic_ids, partitions) AS w (topic_id, partition) USING (topic_id, partition)
          ORDER BY p.topic_id, p.partition
          FOR UPDATE OF p SKIP LOCKED) AS p;
    PERFORM FROM streamhouse.lease AS l JOIN unnest(locked_topics, locked_partitions) AS w (topic_id, partition) USING (topic_id, partition)
    ORDER BY l.topic_id, l.partition
    FOR UPDATE OF l;
    WITH wanted AS (
        SELECT l.topic_id, l.partition, l.agent_id AS old_agent_id,
               streamhouse.lease_choose(l.topic_id, l.partition, live) AS new_agent_id
        FROM streamhouse.lease AS l JOIN unnest(locked_topics, locked_partitions) AS w (topic_id, partition) USING (topic_id, partition)
    ), changed AS (
        UPDATE streamhouse.lease AS l SET agent_id = w.new_agent_id, epoch = l.epoch + 1
        FROM wanted AS w
        WHERE (l.topic_id, l.partition) = (w.topic_id, w.partition) AND w.new_agent_id IS DISTINCT FROM w.old_agent_id
        RETURNING l.topic_id, l.partition, l.epoch, w.old_agent_id, w.new_agent_id
    ), recorded AS (
        INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset)
        SELECT c.topic_id, c.partition, c.epoch, e.end_offset
        FROM changed AS c JOIN streamhouse.partition_end AS e USING (topic_id, partition)
    )
    SELECT count(*), array_agg(c.old_agent_id) || array_agg(c.new_agent_id) INTO moved, touched FROM changed AS c;
    IF moved > 0 THEN
        PERFORM streamhouse.lease_notify(touched);
        PERFORM streamhouse.metadata_notify(NULL);
    END IF;
    RETURN moved;
END $$;
COMMENT ON FUNCTION streamhouse.lease_move IS 'Gives the named partitions that are not busy to the agents that rendezvous hashing chooses among live; those that change hands get a new epoch. Gives back how many moved.';

-- Leases of nobody and of the dead.
CREATE FUNCTION streamhouse.lease_orphans(live int[], OUT topic_ids int[], OUT partitions int[])
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(o.topic_id ORDER BY o.topic_id, o.partition), array_agg(o.partition ORDER BY o.topic_id, o.partition)
    FROM (SELECT l.topic_id, l.partition FROM streamhouse.lease AS l WHERE l.agent_id IS NULL
          UNION ALL
          SELECT l.topic_id, l.partition
          FROM streamhouse.agent AS a JOIN streamhouse.lease AS l USING (agent_id)
          WHERE a.agent_id <> ALL (live)) AS o
$$;
COMMENT ON FUNCTION streamhouse.lease_orphans IS 'Partitions whose lease nobody or a dead agent holds, sorted; nulls when there are none.';

CREATE FUNCTION streamhouse.lease_await(topic_id int, partition int, wait_ms int) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('lock_timeout', greatest(wait_ms, 1)::text, true);
    PERFORM FROM streamhouse.partition AS p WHERE (p.topic_id, p.partition) = (lease_await.topic_id, lease_await.partition) FOR UPDATE;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION streamhouse.lease_await IS 'Waits for a partition''s lock, in the order of asking; false when that takes longer than wait_ms.';

-- Who takes only what is free never gets a partition that busy SQL producers hand to each other, and it would stay without
-- a leader. So those that were busy are waited for, in order and for a short time in all.
CREATE FUNCTION streamhouse.lease_assign_busy(live int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wait_max CONSTANT interval := '500 ms';
    began CONSTANT timestamptz := clock_timestamp();
    timeout_before CONSTANT text := current_setting('lock_timeout');
    busy record;
    left_ms int;
    moved int := 0;
BEGIN
    FOR busy IN SELECT b.topic_id, b.partition
                FROM streamhouse.lease_orphans(live) AS o, unnest(o.topic_ids, o.partitions) AS b (topic_id, partition) LOOP
        left_ms := extract(epoch FROM began + wait_max - clock_timestamp()) * 1000;
        EXIT WHEN left_ms <= 0;
        IF streamhouse.lease_await(busy.topic_id, busy.partition, left_ms) THEN
            moved := moved + streamhouse.lease_move(ARRAY[busy.topic_id], ARRAY[busy.partition], live);
        END IF;
    END LOOP;
    PERFORM set_config('lock_timeout', timeout_before, true);
    RETURN moved;
END $$;
COMMENT ON FUNCTION streamhouse.lease_assign_busy IS 'Waits up to half a second for orphaned partitions that are locked, and assigns those that it got. Gives back how many moved.';

CREATE FUNCTION streamhouse.lease_assign_orphans(live int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    orphans record;
    moved int;
BEGIN
    SELECT * INTO orphans FROM streamhouse.lease_orphans(live);
    IF orphans.topic_ids IS NULL THEN
        RETURN 0;
    END IF;
    moved := streamhouse.lease_move(orphans.topic_ids, orphans.partitions, live);
    -- What was taken at once must not be held while others are waited for: those come with the next heartbeat.
    RETURN CASE WHEN moved > 0 THEN moved ELSE streamhouse.lease_assign_busy(live) END;
END $$;
COMMENT ON FUNCTION streamhouse.lease_assign_orphans IS 'Assigns leases that nobody or a dead agent holds. Gives back how many moved.';

-- Hashing every lease is worth it only after an agent came or went; some moves at a time, since each fences writers.
CREATE FUNCTION streamhouse.lease_balance(live int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    moves_max CONSTANT int := streamhouse.setting('streamhouse.lease_moves_max');
    topic_ids int[];
    partitions int[];
BEGIN
    IF live = (SELECT balanced_agents FROM streamhouse.cluster) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(m.topic_id), array_agg(m.partition) INTO topic_ids, partitions
    FROM (SELECT l.topic_id, l.partition FROM streamhouse.lease AS l
          WHERE l.agent_id = ANY (live) AND l.agent_id <> streamhouse.lease_choose(l.topic_id, l.partition, live)
          LIMIT moves_max) AS m;
    IF topic_ids IS NULL THEN
        PERFORM @extschema@.sh_cluster_id();
        UPDATE streamhouse.cluster SET balanced_agents = live;
        RETURN 0;
    END IF;
    RETURN streamhouse.lease_move(topic_ids, partitions, live);
END $$;
COMMENT ON FUNCTION streamhouse.lease_balance IS 'After agents came or went, moves some leases between live agents to where hashing wants them.';

CREATE FUNCTION streamhouse.lease_assign() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live CONSTANT int[] := streamhouse.live_agent_ids();
BEGIN
    IF cardinality(live) = 0 OR NOT streamhouse.lease_try_lock() THEN
        RETURN 0;
    END IF;
    RETURN streamhouse.lease_assign_orphans(live) + streamhouse.lease_balance(live);
END $$;
COMMENT ON FUNCTION streamhouse.lease_assign IS 'Moves the leases that have to move, unless another transaction is about it. Gives back how many moved.';

-- The epoch stays until the lease goes to an agent again, under the partition's lock: an append that holds the lock now
-- is still accepted, and ends before the next epoch begins.
CREATE FUNCTION streamhouse.lease_release(agent_id int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    released int;
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.agent_id = lease_release.agent_id) THEN
        RETURN 0;
    END IF;
    PERFORM pg_advisory_xact_lock(7310590, 1);
    PERFORM FROM streamhouse.lease AS l WHERE l.agent_id = lease_release.agent_id ORDER BY l.topic_id, l.partition FOR UPDATE;
    UPDATE streamhouse.lease AS l SET agent_id = NULL WHERE l.agent_id = lease_release.agent_id;
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;
COMMENT ON FUNCTION streamhouse.lease_release IS 'Takes all leases from an agent; they are nobody''s until the next assignment. Gives back how many.';

-- Keeps the id of the name. A process under a name whose later process has registered is refused: it would take the
-- leases back, and the two would fence each other for ever.
CREATE FUNCTION streamhouse.agent_register(named streamhouse.agent) RETURNS streamhouse.agent
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    registered streamhouse.agent;
BEGIN
    INSERT INTO streamhouse.agent AS a
        (name, incarnation, kafka_host, kafka_port, http_host, http_port, zone, version, started_at, heartbeat_at, expires_at)
    VALUES (named.name, named.incarnation, named.kafka_host, named.kafka_port, named.http_host, named.http_port, named.zone,
            named.version, named.heartbeat_at, named.heartbeat_at, named.expires_at)
    ON CONFLICT (name) DO UPDATE
    SET incarnation = excluded.incarnation, previous_incarnation = a.incarnation,
        kafka_host = excluded.kafka_host, kafka_port = excluded.kafka_port,
        http_host = excluded.http_host, http_port = excluded.http_port, zone = excluded.zone, version = excluded.version,
        started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at, expires_at = excluded.expires_at,
        lease_version = a.lease_version + 1
    WHERE a.previous_incarnation IS DISTINCT FROM excluded.incarnation
    RETURNING a.* INTO registered;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'SH101', MESSAGE = format('a later process has registered as agent "%s"', named.name),
            HINT = 'Give each agent its own name, or stop one of the two.';
    END IF;
    PERFORM streamhouse.lease_release(registered.agent_id);
    PERFORM streamhouse.metadata_notify(NULL);
    RETURN registered;
END $$;
COMMENT ON FUNCTION streamhouse.agent_register IS 'Writes an agent''s row at the first heartbeat of a process; takes the leases of the process before it. Raises SH101 for a process that was replaced.';

CREATE FUNCTION streamhouse.agent_renew(named streamhouse.agent) RETURNS streamhouse.agent
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    renewed streamhouse.agent;
    moved bool;
BEGIN
    SELECT EXISTS (SELECT FROM streamhouse.agent AS a
                   WHERE a.name = named.name AND a.incarnation = named.incarnation
                     AND (a.kafka_host, a.kafka_port, coalesce(a.zone, '')) <> (named.kafka_host, named.kafka_port, coalesce(named.zone, '')))
    INTO moved;
    UPDATE streamhouse.agent AS a
    SET kafka_host = named.kafka_host, kafka_port = named.kafka_port, http_host = named.http_host, http_port = named.http_port,
        zone = named.zone, version = named.version, heartbeat_at = named.heartbeat_at, expires_at = named.expires_at
    WHERE a.name = named.name AND a.incarnation = named.incarnation
    RETURNING a.* INTO renewed;
    IF moved THEN
        PERFORM streamhouse.metadata_notify(NULL);
    END IF;
    RETURN renewed;
END $$;
COMMENT ON FUNCTION streamhouse.agent_renew IS 'Renews a process that is registered; null when it is not.';

-- Notices are taken before the leases are read, so that one that comes between the two is told of again, not lost.
CREATE FUNCTION streamhouse.agent_take_notices(agent_id int) RETURNS int8
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    taken int;
    current_version int8;
BEGIN
    DELETE FROM streamhouse.lease_notice AS n WHERE n.agent_id = agent_take_notices.agent_id;
    GET DIAGNOSTICS taken = ROW_COUNT;
    IF taken > 0 THEN
        UPDATE streamhouse.agent AS a SET lease_version = a.lease_version + 1
        WHERE a.agent_id = agent_take_notices.agent_id;
    END IF;
    SELECT a.lease_version INTO current_version FROM streamhouse.agent AS a WHERE a.agent_id = agent_take_notices.agent_id;
    RETURN current_version;
END $$;
COMMENT ON FUNCTION streamhouse.agent_take_notices IS 'Raises an agent''s lease_version when there are notices for it, and gives it back.';

CREATE FUNCTION streamhouse.agent_check(named streamhouse.agent, ttl_ms int) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(named.name, '') = '' OR named.incarnation IS NULL OR coalesce(named.kafka_host, '') = '' OR named.kafka_port IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'an agent needs a name, an incarnation, a Kafka host and a Kafka port';
    END IF;
    IF named.kafka_port NOT BETWEEN 1 AND 65535 OR named.http_port NOT BETWEEN 1 AND 65535 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a port must be from 1 to 65535';
    END IF;
    IF ttl_ms IS NULL OR ttl_ms NOT BETWEEN 1 AND 3600000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'ttl_ms must be from 1 to 3600000',
            HINT = 'Several times the time between two heartbeats.';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.agent_check IS 'Raises 22023 when an agent''s heartbeat lacks what it needs.';

CREATE FUNCTION sh_agent_heartbeat(name text, incarnation uuid, kafka_host text, kafka_port int, http_host text, http_port int,
                                   zone text, version text, ttl_ms int, known_lease_version int8,
                                   stats jsonb DEFAULT NULL,
                                   OUT agent_id int, OUT lease_version int8, OUT changed bool,
                                   OUT topic_ids int[], OUT partitions int[], OUT epochs int[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    now_at CONSTANT timestamptz := clock_timestamp();
    named streamhouse.agent;
    current streamhouse.agent;
BEGIN
    named.name := name;
    named.incarnation := incarnation;
    named.kafka_host := kafka_host;
    named.kafka_port := kafka_port;
    named.http_host := http_host;
    named.http_port := http_port;
    named.zone := zone;
    named.version := version;
    named.heartbeat_at := now_at;
    named.expires_at := now_at + make_interval(secs => ttl_ms / 1000.0);
    PERFORM streamhouse.agent_check(named, ttl_ms);

    current := streamhouse.agent_renew(named);
    IF current.agent_id IS NULL THEN
        current := streamhouse.agent_register(named);
        -- Topics, offsets and keys that it has in memory are of an extension, or a history, that is not there any more.
        IF known_lease_version > 0 THEN
            RAISE EXCEPTION USING ERRCODE = 'SH102', MESSAGE = format('this process was registered as agent "%s" elsewhere, not in this cluster', name),
                HINT = 'Was the extension created again, or another database put in its place? Start the agent again.';
        END IF;
    END IF;
    agent_id := current.agent_id;
    IF stats IS NOT NULL THEN
        PERFORM streamhouse.agent_report(agent_id, stats, now_at);
    END IF;
    -- What was locked for one must not be held while the other waits.
    IF streamhouse.timeline_follow() = 0 THEN
        PERFORM streamhouse.lease_assign();
    END IF;
    lease_version := streamhouse.agent_take_notices(agent_id);
    changed := lease_version IS DISTINCT FROM known_lease_version;
    IF changed THEN
        SELECT coalesce(array_agg(l.topic_id ORDER BY l.topic_id, l.partition), '{}'),
               coalesce(array_agg(l.partition ORDER BY l.topic_id, l.partition), '{}'),
               coalesce(array_agg(l.epoch ORDER BY l.topic_id, l.partition), '{}')
        INTO topic_ids, partitions, epochs
        FROM streamhouse.lease AS l WHERE l.agent_id = current.agent_id;
    END IF;
END $$;
COMMENT ON FUNCTION sh_agent_heartbeat IS 'An agent''s heartbeat: registers it under its name, renews it for ttl_ms, assigns leases, and answers with those to hold. The arrays are null when known_lease_version is current. stats: what it has to report of itself, {"name": number}, see streamhouse.agent_stats. SH101: a later process has registered under the name; this one must stop. SH102: known_lease_version is above 0, but this process is not registered: what it remembers is of another cluster, so it must end at once and start again.';

CREATE FUNCTION sh_agent_leave(agent_id int, incarnation uuid) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    now_at CONSTANT timestamptz := clock_timestamp();
    released int;
BEGIN
    -- Times that are equal are a TTL of nothing: it stays dead after a start of the server, too.
    UPDATE streamhouse.agent AS a SET heartbeat_at = now_at, expires_at = now_at, lease_version = a.lease_version + 1
    WHERE a.agent_id = agent_id AND a.incarnation = incarnation;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    released := streamhouse.lease_release(agent_id);
    PERFORM streamhouse.lease_assign();
    PERFORM streamhouse.metadata_notify(NULL);
    RETURN released;
END $$;
COMMENT ON FUNCTION sh_agent_leave IS 'An agent that has drained says goodbye: its leases go to others at once. Gives back how many it had; 0 when the incarnation is not the registered one.';

CREATE FUNCTION sh_agents() RETURNS TABLE (agent_id int, name text, kafka_host text, kafka_port int, zone text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.agent_id, a.name, a.kafka_host, a.kafka_port, a.zone FROM streamhouse.live_agent AS a ORDER BY a.agent_id
$$;
COMMENT ON FUNCTION sh_agents IS 'Agents that are alive: Kafka''s brokers.';
