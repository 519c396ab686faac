-- group_classic.sql: generations of classic groups, as their coordinator writes them: before any member is told what it is
-- assigned, when a static member's place goes to another id, and when a group becomes empty. What a member does in a
-- generation is therefore known to the next coordinator, and to whoever judges an offset commit. Two things fence: the
-- coordinator's epoch, and that a generation never goes back.

-- Whether what a coordinator wants to write is to be written: 0, or Kafka's error. The rows are locked, or not there.
CREATE FUNCTION streamhouse.classic_verdict(stored streamhouse.consumer_group, is_locked bool, agent_id int, coordinator_epoch int,
                                            generation int) RETURNS int
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE
        WHEN stored.group_id IS NULL OR stored.coordinator_id IS DISTINCT FROM agent_id
             OR stored.coordinator_epoch <> classic_verdict.coordinator_epoch THEN 16
        WHEN NOT is_locked THEN 14
        WHEN generation < stored.group_epoch THEN 16
        WHEN EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = stored.group_id) THEN 16
        ELSE 0
    END
$$;
COMMENT ON FUNCTION streamhouse.classic_verdict IS '0 when a coordinator may write this generation of a classic group; 14 (COORDINATOR_LOAD_IN_PROGRESS): somebody has the group locked, ask again; 16 (NOT_COORDINATOR): the group has another coordinator, or a newer epoch, or a newer generation, or members of another kind, or is gone.';

-- Arrays are joined by their elements' places, which no statistics are kept of: a nested loop over ten thousand members
-- would be the wrong guess.
CREATE FUNCTION streamhouse.classic_write_members(accepted int[], group_ids int[], member_counts int[], member_ids text[], instance_ids text[],
                                                  client_ids text[], client_hosts text[], session_timeouts_ms int[], rebalance_timeouts_ms int[],
                                                  assignments bytea[], protocol_counts int[], member_protocols text[], member_metadata bytea[])
RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off SET jit = off
AS $$
BEGIN
    WITH owner AS (
        SELECT w.group_id, row_number() OVER (ORDER BY w.place) AS place
        FROM unnest(group_ids, member_counts) WITH ORDINALITY AS w (group_id, members, place), generate_series(1, w.members)
    ), speaker AS (
        SELECT c.place AS member, row_number() OVER (ORDER BY c.place) AS place
        FROM unnest(protocol_counts) WITH ORDINALITY AS c (protocols, place), generate_series(1, c.protocols)
    ), spoken AS (
        SELECT s.member AS place, array_agg(p.name ORDER BY p.place) AS names, array_agg(p.metadata ORDER BY p.place) AS metadata
        FROM speaker AS s JOIN unnest(member_protocols, member_metadata) WITH ORDINALITY AS p (name, metadata, place) USING (place)
        GROUP BY s.member
    )
    INSERT INTO streamhouse.classic_member
    SELECT o.group_id, m.member_id, nullif(m.instance_id, ''), m.client_id, m.client_host, m.session_timeout_ms, m.rebalance_timeout_ms,
           coalesce(s.names, '{}'), coalesce(s.metadata, '{}'), m.assignment
    FROM unnest(member_ids, instance_ids, client_ids, client_hosts, session_timeouts_ms, rebalance_timeouts_ms, assignments)
             WITH ORDINALITY AS m (member_id, instance_id, client_id, client_host, session_timeout_ms, rebalance_timeout_ms, assignment, place)
    JOIN owner AS o USING (place)
    LEFT JOIN spoken AS s USING (place)
    WHERE o.group_id = ANY (accepted);
END $$;
COMMENT ON FUNCTION streamhouse.classic_write_members IS 'Inserts the members of those groups that are accepted, from the arrays of sh_store_classic_groups().';

CREATE FUNCTION sh_store_classic_groups(agent_id int, group_ids int[], coordinator_epochs int[], generations int[],
                                        protocol_types text[], protocol_names text[], leaders text[], member_counts int[],
                                        member_ids text[], instance_ids text[], client_ids text[], client_hosts text[],
                                        session_timeouts_ms int[], rebalance_timeouts_ms int[], assignments bytea[],
                                        protocol_counts int[], member_protocols text[], member_metadata bytea[])
RETURNS TABLE (group_id int, error_code int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    locked int[];
    accepted int[];
    verdicts int[];
BEGIN
    SELECT coalesce(array_agg(l.group_id), '{}') INTO locked
    FROM (SELECT g.group_id FROM streamhouse.consumer_group AS g WHERE g.group_id = ANY (group_ids)
          ORDER BY g.group_id FOR UPDATE SKIP LOCKED) AS l;
    -- A newer snapshot: what was written before the locks were had.
    SELECT array_agg(v.verdict ORDER BY v.place), coalesce(array_agg(v.group_id) FILTER (WHERE v.verdict = 0), '{}')
    INTO verdicts, accepted
    FROM (SELECT w.place, w.group_id,
                 streamhouse.classic_verdict(g, w.group_id = ANY (locked), sh_store_classic_groups.agent_id, w.epoch, w.generation) AS verdict
          FROM unnest(group_ids, coordinator_epochs, generations) WITH ORDINALITY AS w (group_id, epoch, generation, place)
          LEFT JOIN streamhouse.consumer_group AS g ON g.group_id = w.group_id) AS v;
    DELETE FROM streamhouse.classic_member AS m WHERE m.group_id = ANY (accepted);
    PERFORM streamhouse.classic_write_members(accepted, group_ids, member_counts, member_ids, instance_ids, client_ids, client_hosts,
                                              session_timeouts_ms, rebalance_timeouts_ms, assignments,
                                              protocol_counts, member_protocols, member_metadata);
    UPDATE streamhouse.consumer_group AS g
    SET group_type = 'classic', group_epoch = w.generation, protocol_type = w.protocol_type,
        protocol_name = nullif(w.protocol_name, ''), leader_member = nullif(w.leader, ''),
        emptied_at = CASE WHEN w.members = 0 THEN coalesce(g.emptied_at, clock_timestamp()) END
    FROM unnest(group_ids, generations, protocol_types, protocol_names, leaders, member_counts)
             AS w (group_id, generation, protocol_type, protocol_name, leader, members)
    WHERE g.group_id = w.group_id AND g.group_id = ANY (accepted);
    RETURN QUERY SELECT * FROM unnest(group_ids, verdicts);
END $$;
COMMENT ON FUNCTION sh_store_classic_groups IS 'A coordinator writes generations of several classic groups, all or none of each: its number, protocol, leader and all its members, whose arrays go on from group to group (member_counts says how many each has), as those of protocols do from member to member. Empty texts stand for null. Repeated, it changes nothing more. Answers each group in order with 0 or Kafka''s error: 14, somebody has the group locked, ask again; 16, not written, as this is not its coordinator any more.';
