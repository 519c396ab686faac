-- agent.sql: agents, and their heartbeats.
--
-- An agent says who it is, about once a second, and is told what to lead. Only its own heartbeat and leave update its
-- row in agent; whoever else changes its leases leaves a lease_notice, so that no open transaction blocks a heartbeat.
-- Nearly all heartbeats bring no news, and nothing waits for them: agent.c sees to those. The others call plpgsql, whose
-- plans are kept. Either way an agent reads its own rows only: who has to look after everybody's leases is one agent at a
-- time (lease.sql).

-- Keeps the id of the name. A process under a name whose later process has registered is refused: it would take the
-- leases back, and the two would fence each other for ever.
CREATE FUNCTION streamhouse.agent_register(named streamhouse.agent) RETURNS streamhouse.agent
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    registered streamhouse.agent;
BEGIN
    INSERT INTO streamhouse.agent AS a
        (name, incarnation, kafka_host, kafka_port, http_host, http_port, zone, agent_group, lease_weight, draining, version, started_at,
         heartbeat_at, expires_at)
    VALUES (named.name, named.incarnation, named.kafka_host, named.kafka_port, named.http_host, named.http_port, named.zone, named.agent_group,
            named.lease_weight, named.draining, named.version, named.heartbeat_at, named.heartbeat_at, named.expires_at)
    ON CONFLICT (name) DO UPDATE
    SET incarnation = excluded.incarnation, previous_incarnation = a.incarnation,
        kafka_host = excluded.kafka_host, kafka_port = excluded.kafka_port,
        http_host = excluded.http_host, http_port = excluded.http_port, zone = excluded.zone,
        agent_group = excluded.agent_group, lease_weight = excluded.lease_weight, draining = excluded.draining, version = excluded.version,
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

-- The row before is read under the lock that the update takes: nobody else changes it.
CREATE FUNCTION streamhouse.agent_renew(named streamhouse.agent) RETURNS streamhouse.agent
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before streamhouse.agent;
    renewed streamhouse.agent;
BEGIN
    SELECT * INTO before FROM streamhouse.agent AS a WHERE a.name = named.name AND a.incarnation = named.incarnation;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE streamhouse.agent AS a
    SET kafka_host = named.kafka_host, kafka_port = named.kafka_port, http_host = named.http_host, http_port = named.http_port,
        zone = named.zone, agent_group = named.agent_group, lease_weight = named.lease_weight, draining = named.draining,
        version = named.version, heartbeat_at = named.heartbeat_at, expires_at = named.expires_at
    WHERE a.agent_id = before.agent_id AND a.incarnation = named.incarnation
    RETURNING a.* INTO renewed;
    IF (before.kafka_host, before.kafka_port, coalesce(before.zone, '')) <> (named.kafka_host, named.kafka_port, coalesce(named.zone, ''))
       OR before.expires_at <= named.heartbeat_at THEN
        PERFORM streamhouse.metadata_notify(NULL);
    END IF;
    RETURN renewed;
END $$;
COMMENT ON FUNCTION streamhouse.agent_renew IS 'Renews a process that is registered; null when it is not.';

CREATE FUNCTION streamhouse.agent_renew_only(name text, incarnation uuid, kafka_host text, kafka_port int, http_host text, http_port int,
                                             zone text, agent_group text, lease_weight int, draining bool, version text,
                                             lease_version int8, ttl_ms int) RETURNS int
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_agent_renew_only';
COMMENT ON FUNCTION streamhouse.agent_renew_only IS 'Renews an agent that says what it said before, for as long as before, when that is all that is to be done: it neither drains nor has expired, has no notices, knows its lease_version, and neither leases nor timeline nor owner are to be looked at. Gives its id, or null and has done nothing. If nothing else is written, the commit does not wait for the disk, unless there are synchronous standbys.';

CREATE FUNCTION streamhouse.agent_renewed_only() RETURNS bool
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_agent_renewed_only';
COMMENT ON FUNCTION streamhouse.agent_renewed_only IS 'Says that what was written since agent_renew_only() may be lost with the renewal when the server crashes. Gives whether the commit will not wait.';

-- Notices are taken before the leases are read, so that one that comes between the two is told of again, not lost.
CREATE FUNCTION streamhouse.agent_take_notices(agent_id int, lease_version int8) RETURNS int8
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    DELETE FROM streamhouse.lease_notice AS n WHERE n.agent_id = agent_take_notices.agent_id;
    IF FOUND THEN
        UPDATE streamhouse.agent AS a SET lease_version = a.lease_version + 1
        WHERE a.agent_id = agent_take_notices.agent_id RETURNING a.lease_version INTO lease_version;
    END IF;
    RETURN lease_version;
END $$;
COMMENT ON FUNCTION streamhouse.agent_take_notices IS 'Raises an agent''s lease_version, which is given, when there are notices for it, and gives it back.';

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
    IF named.lease_weight IS NULL OR named.lease_weight NOT BETWEEN 1 AND 10000 OR named.draining IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'lease_weight must be from 1 to 10000, and draining true or false';
    END IF;
    IF ttl_ms IS NULL OR ttl_ms NOT BETWEEN 1 AND 3600000 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'ttl_ms must be from 1 to 3600000',
            HINT = 'Several times the time between two heartbeats.';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.agent_check IS 'Raises 22023 when an agent''s heartbeat lacks what it needs.';

CREATE FUNCTION sh_agent_heartbeat(name text, incarnation uuid, kafka_host text, kafka_port int, http_host text, http_port int,
                                   zone text, version text, ttl_ms int, known_lease_version int8,
                                   stats jsonb DEFAULT NULL, agent_group text DEFAULT NULL, lease_weight int DEFAULT 100, draining bool DEFAULT false,
                                   hot_topic_ids int[] DEFAULT '{}', hot_partitions int[] DEFAULT '{}', hot_loads int8[] DEFAULT '{}',
                                   OUT agent_id int, OUT lease_version int8, OUT changed bool,
                                   OUT topic_ids int[], OUT partitions int[], OUT epochs int[])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    now_at CONSTANT timestamptz := clock_timestamp();
    named streamhouse.agent;
    current streamhouse.agent;
    is_settled bool;
    is_new bool := false;
    is_lost_with_it bool;
BEGIN
    agent_id := streamhouse.agent_renew_only(name, incarnation, kafka_host, kafka_port, http_host, http_port, zone, agent_group, lease_weight, draining,
                                             version, known_lease_version, ttl_ms);
    lease_version := known_lease_version;
    is_settled := agent_id IS NOT NULL;
    IF NOT is_settled THEN
        PERFORM streamhouse.marker_notice();
        named.name := name;
        named.incarnation := incarnation;
        named.kafka_host := kafka_host;
        named.kafka_port := kafka_port;
        named.http_host := http_host;
        named.http_port := http_port;
        named.zone := zone;
        named.agent_group := agent_group;
        named.lease_weight := lease_weight;
        named.draining := draining;
        named.version := version;
        named.heartbeat_at := now_at;
        named.expires_at := now_at + make_interval(secs => ttl_ms / 1000.0);
        PERFORM streamhouse.agent_check(named, ttl_ms);

        current := streamhouse.agent_renew(named);
        is_new := current.agent_id IS NULL;
        IF is_new THEN
            current := streamhouse.agent_register(named);
            -- Topics, offsets and keys that it has in memory are of an extension, or a history, that is not there any more.
            IF known_lease_version > 0 THEN
                RAISE EXCEPTION USING ERRCODE = 'SH102', MESSAGE = format('this process was registered as agent "%s" elsewhere, not in this cluster', name),
                    HINT = 'Was the extension created again, or another database put in its place? Start the agent again.';
            END IF;
        END IF;
        agent_id := current.agent_id;
        lease_version := current.lease_version;
    END IF;
    IF stats IS NOT NULL THEN
        PERFORM streamhouse.agent_report(agent_id, stats, now_at, hot_topic_ids, hot_partitions, hot_loads);
        is_lost_with_it := streamhouse.agent_renewed_only(); -- an assignment costs less than PERFORM
    END IF;
    -- What was locked for one must not be held while the other waits.
    IF NOT is_settled AND streamhouse.timeline_follow() > 0 THEN
        NULL;
    ELSIF draining OR is_new OR streamhouse.lease_look_after(agent_id) THEN
        PERFORM streamhouse.lease_assign();
    ELSIF is_settled THEN
        changed := false;
        RETURN;
    END IF;
    lease_version := streamhouse.agent_take_notices(agent_id, lease_version);
    changed := lease_version IS DISTINCT FROM known_lease_version;
    IF changed THEN
        SELECT coalesce(array_agg(l.topic_id ORDER BY l.topic_id, l.partition), '{}'),
               coalesce(array_agg(l.partition ORDER BY l.topic_id, l.partition), '{}'),
               coalesce(array_agg(l.epoch ORDER BY l.topic_id, l.partition), '{}')
        INTO topic_ids, partitions, epochs
        FROM streamhouse.lease AS l WHERE l.agent_id = agent_id;
    END IF;
END $$;
COMMENT ON FUNCTION sh_agent_heartbeat IS 'An agent''s heartbeat: registers it under its name, renews it for ttl_ms, assigns leases, and answers with those to hold. The arrays are null when known_lease_version is current. stats: what it has to report of itself, {"name": number}, see streamhouse.agent_stats. lease_weight: its share of the leases, compared with others'', 100 as a rule. draining: it is about to leave, and its leases are to be handed over. hot_…: the partitions that it is sent most for, with bytes a second. SH101: a later process has registered under the name; this one must stop. SH102: known_lease_version is above 0, but this process is not registered: what it remembers is of another cluster, so it must end at once and start again.';

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
    SELECT a.agent_id, a.name, a.kafka_host, a.kafka_port, a.zone FROM streamhouse.live_agent AS a
    WHERE NOT a.draining OR EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.agent_id = a.agent_id)
    ORDER BY a.agent_id
$$;
COMMENT ON FUNCTION sh_agents IS 'Agents that are alive, but for those that are about to leave and have handed everything over: Kafka''s brokers.';
