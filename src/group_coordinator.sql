-- group_coordinator.sql: which agent coordinates a group. An agent stays the coordinator as long as it is alive; then, and
-- for a group that has none yet, rendezvous hashing of the name among the live agents says who is to be. Whoever becomes
-- the coordinator says so under the lock of the group's row, with a higher epoch: what an earlier one, or an earlier call
-- of the same one, may yet write is refused (group_classic.sql). An agent's own word that it is alive is no more than a
-- hint: what counts here is live_agent.

CREATE INDEX consumer_group_coordinator ON streamhouse.consumer_group (coordinator_id)
    WHERE group_type = 'classic' AND emptied_at IS NULL;

CREATE FUNCTION streamhouse.coordinator_choose(name text, live int[]) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT agent_id FROM unnest(live) AS agent_id
    ORDER BY sha256(int4send(agent_id) || convert_to(coordinator_choose.name, 'UTF8')) DESC, agent_id
    LIMIT 1
$$;
COMMENT ON FUNCTION streamhouse.coordinator_choose IS 'The agent of live that is to coordinate the group of that name, by rendezvous hashing. Null when live is empty.';

CREATE FUNCTION streamhouse.coordinator_of(coordinator_id int, name text, live int[]) RETURNS int
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN coordinator_id = ANY (live) THEN coordinator_id ELSE streamhouse.coordinator_choose(name, live) END
$$;
COMMENT ON FUNCTION streamhouse.coordinator_of IS 'The agent of live that coordinates a group, or is to: the one that has it, as long as it is alive, else the one that is chosen. Null when live is empty.';

CREATE FUNCTION sh_find_coordinators(keys text[], zone text DEFAULT NULL)
RETURNS TABLE (key text, agent_id int, kafka_host text, kafka_port int)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    WITH live AS (SELECT streamhouse.coordinating_agent_ids() AS ids),
         near AS (SELECT coalesce(array_agg(a.agent_id), '{}') AS ids FROM streamhouse.live_agent AS a WHERE a.zone = sh_find_coordinators.zone)
    SELECT k.key, a.agent_id, a.kafka_host, a.kafka_port
    FROM live CROSS JOIN near CROSS JOIN unnest(keys) WITH ORDINALITY AS k (key, place)
    LEFT JOIN streamhouse.consumer_group AS g ON g.name = k.key
    LEFT JOIN streamhouse.agent AS a
        ON a.agent_id = coalesce(CASE WHEN g.group_type = 'consumer' THEN streamhouse.coordinator_choose(k.key, near.ids) END,
                                 streamhouse.coordinator_of(g.coordinator_id, k.key, live.ids))
    ORDER BY k.place
$$;
COMMENT ON FUNCTION sh_find_coordinators IS 'The agents that coordinate the groups of these names, or are to, in the order of keys; nulls when no agent is alive. A group need not exist. zone: where the asker is. Any agent can coordinate a group of the consumer protocol (KIP-848), so that one in that zone is named, if one lives there.';

CREATE FUNCTION streamhouse.coordinator_check(claimed streamhouse.consumer_group, agent_id int) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    live CONSTANT int[] := streamhouse.coordinating_agent_ids();
BEGIN
    IF agent_id IS NULL OR agent_id <> ALL (live) THEN
        PERFORM streamhouse.group_fail(15, format('agent %s is not alive', coalesce(agent_id::text, 'without a number')),
                                       'Only an agent whose heartbeats arrive can coordinate a group.');
    ELSIF claimed.coordinator_id <> agent_id AND claimed.coordinator_id = ANY (live) THEN
        PERFORM streamhouse.group_fail(16, format('agent %s coordinates group "%s"', claimed.coordinator_id, claimed.name),
                                       'Ask sh_find_coordinators() again.');
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.coordinator_check IS 'Raises SH015 when the agent is not alive, SH016 when another one that is alive coordinates the group.';

CREATE FUNCTION sh_claim_group("group" text, agent_id int, create_it bool)
RETURNS TABLE (group_id int, coordinator_epoch int, is_consumer bool, generation int, protocol_type text, protocol_name text, leader text,
               member_id text, instance_id text, client_id text, client_host text, session_timeout_ms int,
               rebalance_timeout_ms int, protocol_names text[], protocol_metadata bytea[], assignment bytea)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    claimed streamhouse.consumer_group;
    is_consumer bool;
BEGIN
    -- Nobody coordinates it but the brain: its members' agents ask often, and change nothing.
    SELECT * INTO claimed FROM streamhouse.consumer_group AS g
    WHERE g.name = "group" AND g.group_type = 'consumer' AND EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id);
    IF FOUND THEN
        PERFORM streamhouse.group_require(claimed);
        RETURN QUERY SELECT claimed.group_id, claimed.coordinator_epoch, true, claimed.group_epoch, 'consumer', NULL::text, NULL::text, NULL::text,
                            NULL::text, NULL::text, NULL::text, NULL::int, NULL::int, NULL::text[], NULL::bytea[], NULL::bytea;
        RETURN;
    END IF;
    claimed := streamhouse.group_lock("group", create_it);
    IF claimed.group_id IS NULL THEN
        RETURN;
    END IF;
    PERFORM streamhouse.coordinator_check(claimed, sh_claim_group.agent_id);
    is_consumer := EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = claimed.group_id);
    UPDATE streamhouse.consumer_group AS g
    SET coordinator_id = sh_claim_group.agent_id, coordinator_epoch = g.coordinator_epoch + 1
    WHERE g.group_id = claimed.group_id;
    RETURN QUERY
    SELECT claimed.group_id, claimed.coordinator_epoch + 1, is_consumer, claimed.group_epoch,
           nullif(claimed.protocol_type, ''), claimed.protocol_name, claimed.leader_member,
           m.member_id, m.instance_id, m.client_id, m.client_host, m.session_timeout_ms, m.rebalance_timeout_ms,
           m.protocol_names, m.protocol_metadata, m.assignment
    FROM (VALUES (1)) AS one (row)
    LEFT JOIN streamhouse.classic_member AS m ON m.group_id = claimed.group_id AND NOT is_consumer
    ORDER BY m.member_id;
END $$;
COMMENT ON FUNCTION sh_claim_group IS 'Makes an agent the coordinator of a group, with a higher coordinator_epoch, and gives back its last generation: a row per member, or one with nulls when it has none; no row when there is no such group and create_it is false. is_consumer: its members speak KIP-848''s protocol, or are sessions. SH015: the agent is not alive. SH016: another agent that is alive coordinates the group. SH024: no group may have that name.';

CREATE FUNCTION sh_orphan_groups(agent_id int, own bool, after text, most int) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.consumer_group AS g WHERE g.group_type = 'classic' AND g.emptied_at IS NULL) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH live AS MATERIALIZED (SELECT streamhouse.coordinating_agent_ids() AS ids)
    SELECT g.name
    FROM live CROSS JOIN streamhouse.consumer_group AS g
    WHERE g.group_type = 'classic' AND g.emptied_at IS NULL
      AND CASE WHEN g.coordinator_id = ANY (live.ids) THEN (own OR g.leader_member IS NULL) AND g.coordinator_id = sh_orphan_groups.agent_id
               ELSE streamhouse.coordinator_choose(g.name, live.ids) = sh_orphan_groups.agent_id END
      AND g.name COLLATE "C" > after
    ORDER BY g.name COLLATE "C"
    LIMIT most;
END $$;
COMMENT ON FUNCTION sh_orphan_groups IS 'Classic groups with members that the agent is to claim, though nobody asks for them, so that members who vanished with their coordinator expire: those whose coordinator is dead, or that have none, and that hashing gives to this agent; of those that it coordinates already, the ones that were consumer groups until now; own: all of them (it has started, and knows nothing of them). In the order of their names, from after on.';
