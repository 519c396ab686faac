-- lease.sql: who leads which partition: the plan, moves, hand-overs.
--
-- A partition without a leader, or with a dead one, gets one at once (lease_move). A planned move, because an agent
-- came, drains or has too much, is a hand-over: the lease names its next leader, the present one is told at once, stops
-- accepting, waits for what is under way, and calls sh_lease_hand_over(). One that does not is overruled. Either way
-- the epoch rises under the lock of the partition's row, with a row in partition_epoch, and all agents are told what
-- changed (channel streamhouse_lease).
--
-- Plans are made by one transaction at a time (an advisory lock, which a renewal only tries and a registration or a
-- leave awaits), by whichever agent's heartbeat finds that nobody did so lately. A partition that is busy at that moment
-- is skipped and moves the next time; one without a leader is waited for, when nothing else was to be done. Locks are
-- taken in the order: the agent's own row, the advisory lock, partition rows, lease rows.

-- Any number, the same everywhere: serialises assignment.
CREATE FUNCTION streamhouse.lease_try_lock() RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN pg_try_advisory_xact_lock(7310590, 1);
END $$;
COMMENT ON FUNCTION streamhouse.lease_try_lock IS 'True when this transaction may plan leases: one at a time.';

CREATE FUNCTION streamhouse.lease_notify(agent_ids int[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO streamhouse.lease_notice (agent_id)
    SELECT DISTINCT u.agent_id FROM unnest(agent_ids) AS u (agent_id) WHERE u.agent_id <> 0;
END $$;
COMMENT ON FUNCTION streamhouse.lease_notify IS 'Tells agents'' next heartbeats that their leases changed.';

-- What is told takes effect with the commit, like what it speaks of. A payload has less than 8000 bytes.
CREATE FUNCTION streamhouse.lease_tell(topic_ids int[], partitions int[], leaders int[], epochs int[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('streamhouse_lease', string_agg(format('%s:%s:%s:%s', c.topic_id, c.partition, c.leader, c.epoch), ' '))
    FROM unnest(topic_ids, partitions, leaders, epochs) WITH ORDINALITY AS c (topic_id, partition, leader, epoch, place)
    GROUP BY (c.place - 1) / 150;
END $$;
COMMENT ON FUNCTION streamhouse.lease_tell IS 'Tells all agents who leads which partition under which epoch: topic:partition:agent:epoch, with blanks between, on channel streamhouse_lease.';

CREATE FUNCTION streamhouse.lease_plan(agent_ids int[], weights int[], zones int[], groups int[], topic_ids int[], partitions int[],
                                       holders int[], alive bool[], wanted_zones int[], wanted_groups int[], loads int8[],
                                       moves_max int, slack_percent int, swaps_max int)
RETURNS TABLE (topic_id int, partition int, old_agent_id int, new_agent_id int, is_planned bool)
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'streamhouse_lease_plan';
COMMENT ON FUNCTION streamhouse.lease_plan IS 'Leases that are to move. agent_ids (sorted), weights, zones and groups: who may lead; topic_ids and the rest: all partitions, with who leads them now (0: nobody), whether he is alive, and where each is wanted. Zones and groups are numbers, 0: none. moves_max bounds planned moves: those of partitions that somebody leads.';

-- Zones and groups by their places among those that agents have, so that the plan compares numbers.
CREATE FUNCTION streamhouse.lease_plan_for(of_topic_ids int[], of_partitions int[], moves_max int, slack_percent int, swaps_max int)
RETURNS TABLE (topic_id int, partition int, old_agent_id int, new_agent_id int, is_planned bool)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    live CONSTANT int[] := streamhouse.live_agent_ids();
    zone_names CONSTANT text[] := ARRAY(SELECT DISTINCT a.zone FROM streamhouse.agent AS a WHERE a.agent_id = ANY (live) AND a.zone <> '' ORDER BY 1);
    group_names CONSTANT text[] := ARRAY(SELECT DISTINCT a.agent_group FROM streamhouse.agent AS a WHERE a.agent_id = ANY (live) AND a.agent_group <> '' ORDER BY 1);
    agents record;
    leases record;
BEGIN
    SELECT coalesce(array_agg(a.agent_id ORDER BY a.agent_id), '{}') AS ids, coalesce(array_agg(a.lease_weight ORDER BY a.agent_id), '{}') AS weights,
           coalesce(array_agg(coalesce(array_position(zone_names, a.zone), 0) ORDER BY a.agent_id), '{}') AS zones,
           coalesce(array_agg(coalesce(array_position(group_names, a.agent_group), 0) ORDER BY a.agent_id), '{}') AS groups
    INTO agents
    FROM streamhouse.agent AS a WHERE a.agent_id = ANY (live) AND NOT a.draining;
    WITH wishes AS MATERIALIZED (
        SELECT t.topic_id, coalesce(array_position(zone_names, c.config ->> 'streamhouse.leader.zone'), 0) AS zone,
               coalesce(array_position(group_names, c.config ->> 'streamhouse.agent.group'), 0) AS "group"
        FROM streamhouse.topic AS t, LATERAL (SELECT streamhouse.topic_defaults() || t.config AS config) AS c
        WHERE t.deleted_at IS NULL AND (of_topic_ids IS NULL OR t.topic_id = ANY (of_topic_ids))
    ), hot AS MATERIALIZED (
        SELECT h.topic_id, h.partition, max(h.load) AS load
        FROM streamhouse.agent_stats AS s, unnest(s.hot_topic_ids, s.hot_partitions, s.hot_loads) AS h (topic_id, partition, load)
        WHERE s.agent_id = ANY (live)
        GROUP BY h.topic_id, h.partition
    )
    SELECT coalesce(array_agg(p.topic_id), '{}') AS topic_ids, coalesce(array_agg(p.partition), '{}') AS partitions,
           coalesce(array_agg(p.holder), '{}') AS holders, coalesce(array_agg(p.alive), '{}') AS alive,
           coalesce(array_agg(p.zone), '{}') AS zones, coalesce(array_agg(p."group"), '{}') AS groups, coalesce(array_agg(p.load), '{}') AS loads
    INTO leases
    FROM (SELECT l.topic_id, l.partition, coalesce(l.agent_id, 0) AS holder, coalesce(l.agent_id = ANY (live), false) AS alive,
                 w.zone, w."group", coalesce(hot.load, 0) AS load
          FROM streamhouse.lease AS l JOIN wishes AS w ON w.topic_id = l.topic_id
          LEFT JOIN hot ON (hot.topic_id, hot.partition) = (l.topic_id, l.partition)
          WHERE of_topic_ids IS NULL OR (l.topic_id, l.partition) IN (SELECT * FROM unnest(of_topic_ids, of_partitions))
          ORDER BY l.topic_id, l.partition) AS p;
    RETURN QUERY
    SELECT * FROM streamhouse.lease_plan(agents.ids, agents.weights, agents.zones, agents.groups, leases.topic_ids, leases.partitions, leases.holders,
                                         leases.alive, leases.zones, leases.groups, leases.loads, moves_max, slack_percent, swaps_max);
END $$;
COMMENT ON FUNCTION streamhouse.lease_plan_for IS 'Leases that are to move, of all partitions or of the named ones, over the agents that are alive and do not drain.';

-- Each statement sees what was committed before it: the locks come first, then what is decided under them.
CREATE FUNCTION streamhouse.lease_lock(INOUT topic_ids int[], INOUT partitions int[])
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    SELECT array_agg(p.topic_id), array_agg(p.partition) INTO topic_ids, partitions
    FROM (SELECT p.topic_id, p.partition
          FROM streamhouse.partition AS p JOIN unnest(topic_ids, partitions) AS w (topic_id, partition) USING (topic_id, partition)
          ORDER BY p.topic_id, p.partition
          FOR UPDATE OF p SKIP LOCKED) AS p;
    PERFORM FROM streamhouse.lease AS l JOIN unnest(topic_ids, partitions) AS w (topic_id, partition) USING (topic_id, partition)
    ORDER BY l.topic_id, l.partition
    FOR UPDATE OF l;
END $$;
COMMENT ON FUNCTION streamhouse.lease_lock IS 'Locks the named partitions that are not busy, so that their epochs may be raised, and then their leases. Gives back which.';

CREATE FUNCTION streamhouse.lease_move(topic_ids int[], partitions int[], old_agent_ids int[], new_agent_ids int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    locked record;
    changed record;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'leases can be moved under READ COMMITTED only',
            HINT = 'An older snapshot would not see what was appended while a partition''s lock was awaited.';
    END IF;
    SELECT * INTO locked FROM streamhouse.lease_lock(topic_ids, partitions);
    WITH changed AS (
        UPDATE streamhouse.lease AS l SET agent_id = w.new_agent_id, epoch = l.epoch + 1, next_agent_id = NULL, hand_over_until = NULL
        FROM unnest(topic_ids, partitions, old_agent_ids, new_agent_ids) AS w (topic_id, partition, old_agent_id, new_agent_id)
        JOIN unnest(locked.topic_ids, locked.partitions) AS k (topic_id, partition) USING (topic_id, partition)
        WHERE (l.topic_id, l.partition) = (w.topic_id, w.partition) AND coalesce(l.agent_id, 0) = w.old_agent_id
        RETURNING l.topic_id, l.partition, l.epoch, w.old_agent_id, w.new_agent_id
    ), recorded AS (
        INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset)
        SELECT c.topic_id, c.partition, c.epoch, e.end_offset
        FROM changed AS c JOIN streamhouse.partition_end AS e USING (topic_id, partition)
    )
    SELECT array_agg(c.topic_id) AS topic_ids, array_agg(c.partition) AS partitions, array_agg(c.new_agent_id) AS leaders,
           array_agg(c.epoch) AS epochs, array_agg(nullif(c.old_agent_id, 0)) || array_agg(c.new_agent_id) AS touched INTO changed
    FROM changed AS c;
    IF changed.topic_ids IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM streamhouse.lease_notify(changed.touched);
    PERFORM streamhouse.lease_tell(changed.topic_ids, changed.partitions, changed.leaders, changed.epochs);
    RETURN cardinality(changed.topic_ids);
END $$;
COMMENT ON FUNCTION streamhouse.lease_move IS 'Moves leases, with a new epoch each, of the named partitions that are not busy and that the old agent (0: nobody) still holds. Gives back how many moved.';

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
-- a leader, or with a stale epoch. So those that were busy are waited for, in order and for a short time in all.
CREATE FUNCTION streamhouse.lease_await_busy(topic_ids int[], partitions int[]) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wait_max CONSTANT interval := '500 ms';
    began CONSTANT timestamptz := clock_timestamp();
    timeout_before CONSTANT text := current_setting('lock_timeout');
    left_ms int;
BEGIN
    FOR n IN 1 .. coalesce(cardinality(topic_ids), 0) LOOP
        left_ms := extract(epoch FROM began + wait_max - clock_timestamp()) * 1000;
        EXIT WHEN left_ms <= 0;
        PERFORM streamhouse.lease_await(topic_ids[n], partitions[n], left_ms);
    END LOOP;
    PERFORM set_config('lock_timeout', timeout_before, true);
END $$;
COMMENT ON FUNCTION streamhouse.lease_await_busy IS 'Waits for the locks of partitions that were busy, half a second at most in all, so that lease_lock() gets those that came.';

-- Who is told may not be listening, so that there is an end to it: then the lease moves all the same.
CREATE FUNCTION streamhouse.lease_begin_hand_over(topic_ids int[], partitions int[], old_agent_ids int[], new_agent_ids int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    patience CONSTANT interval := '2 s';
    pairs text[];
BEGIN
    WITH marked AS (
        UPDATE streamhouse.lease AS l SET next_agent_id = w.new_agent_id, hand_over_until = clock_timestamp() + patience
        FROM unnest(topic_ids, partitions, old_agent_ids, new_agent_ids) AS w (topic_id, partition, old_agent_id, new_agent_id)
        WHERE (l.topic_id, l.partition) = (w.topic_id, w.partition) AND l.agent_id = w.old_agent_id
        RETURNING l.agent_id, l.next_agent_id
    )
    SELECT array_agg(format('%s>%s', m.agent_id, m.next_agent_id)) INTO pairs FROM marked AS m;
    PERFORM pg_notify('streamhouse_hand_over', string_agg(t.pair, ' '))
    FROM (SELECT p.pair, row_number() OVER (ORDER BY p.pair) AS place FROM (SELECT DISTINCT unnest(pairs)) AS p (pair)) AS t
    GROUP BY (t.place - 1) / 300;
    RETURN coalesce(cardinality(pairs), 0);
END $$;
COMMENT ON FUNCTION streamhouse.lease_begin_hand_over IS 'Names the next leaders of partitions and tells both, on channel streamhouse_hand_over: present>next, with blanks between. Gives back how many.';

CREATE FUNCTION sh_lease_hand_overs(agent_id int) RETURNS TABLE (topic_id int, partition int, epoch int, next_agent_id int)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT l.topic_id, l.partition, l.epoch, l.next_agent_id FROM streamhouse.lease AS l
    WHERE l.agent_id = sh_lease_hand_overs.agent_id AND l.next_agent_id IS NOT NULL
    ORDER BY l.topic_id, l.partition;
END $$;
COMMENT ON FUNCTION sh_lease_hand_overs IS 'Partitions that an agent leads and is to give up, with the agent that is to lead them next.';

CREATE FUNCTION sh_lease_hand_over(agent_id int, incarnation uuid, topic_ids int[], partitions int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    given record;
    moved int;
BEGIN
    PERFORM FROM streamhouse.agent AS a WHERE a.agent_id = agent_id AND a.incarnation = incarnation;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT array_agg(l.topic_id) AS topic_ids, array_agg(l.partition) AS partitions, array_agg(l.agent_id) AS holders, array_agg(l.next_agent_id) AS next_ids
    INTO given
    FROM streamhouse.lease AS l JOIN unnest(topic_ids, partitions) AS w (topic_id, partition) USING (topic_id, partition)
    WHERE l.agent_id = agent_id AND l.next_agent_id = ANY (streamhouse.live_agent_ids());
    IF given.topic_ids IS NULL THEN
        RETURN 0;
    END IF;
    moved := streamhouse.lease_move(given.topic_ids, given.partitions, given.holders, given.next_ids);
    IF NOT EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.agent_id = agent_id) THEN
        -- If it drains, it is no broker any more.
        PERFORM streamhouse.metadata_notify(NULL);
    END IF;
    RETURN moved;
END $$;
COMMENT ON FUNCTION sh_lease_hand_over IS 'An agent has finished what was under way for these partitions and gives them to their next leaders. What is busy stays with it for now. Gives back how many moved; 0 when the incarnation is not the registered one.';

-- Planned from statistics that were taken while leases moved, or from none, this would read all leases, and so would
-- lease_end_hand_overs(): three times a second.
CREATE FUNCTION streamhouse.lease_hand_overs_pend() RETURNS bool
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    RETURN EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.next_agent_id IS NOT NULL);
END $$;
COMMENT ON FUNCTION streamhouse.lease_hand_overs_pend IS 'Whether any partition is being handed over.';

-- Whose leader has not handed it over in time, or whose next leader died meanwhile: it stays where it is.
CREATE FUNCTION streamhouse.lease_end_hand_overs(live int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    overdue record;
BEGIN
    UPDATE streamhouse.lease AS l SET next_agent_id = NULL, hand_over_until = NULL
    WHERE l.next_agent_id IS NOT NULL AND l.next_agent_id <> ALL (live);
    SELECT array_agg(l.topic_id) AS topic_ids, array_agg(l.partition) AS partitions, array_agg(l.agent_id) AS holders, array_agg(l.next_agent_id) AS next_ids
    INTO overdue
    FROM streamhouse.lease AS l WHERE l.next_agent_id IS NOT NULL AND l.hand_over_until < clock_timestamp() AND l.agent_id IS NOT NULL;
    IF overdue.topic_ids IS NULL THEN
        RETURN 0;
    END IF;
    RETURN streamhouse.lease_move(overdue.topic_ids, overdue.partitions, overdue.holders, overdue.next_ids);
END $$;
COMMENT ON FUNCTION streamhouse.lease_end_hand_overs IS 'Moves leases whose holders were told to hand them over and did not. Gives back how many moved.';

CREATE FUNCTION streamhouse.lease_assign_all(moves_max int, slack_percent int, swaps_max int, OUT moved int, OUT handed_over int)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
    planned record;
BEGIN
    SELECT array_agg(p.topic_id) AS topic_ids, array_agg(p.partition) AS partitions, array_agg(p.old_agent_id) AS old_ids,
           array_agg(p.new_agent_id) AS new_ids, array_agg(p.is_planned) AS is_planned INTO planned
    FROM streamhouse.lease_plan_for(NULL, NULL, moves_max, slack_percent, swaps_max) AS p;
    SELECT array_agg(p.topic_id) AS topic_ids, array_agg(p.partition) AS partitions, array_agg(p.old_id) AS old_ids, array_agg(p.new_id) AS new_ids INTO part
    FROM unnest(planned.topic_ids, planned.partitions, planned.old_ids, planned.new_ids, planned.is_planned) AS p (topic_id, partition, old_id, new_id, is_planned)
    WHERE NOT p.is_planned;
    moved := 0;
    IF part.topic_ids IS NOT NULL THEN
        moved := streamhouse.lease_move(part.topic_ids, part.partitions, part.old_ids, part.new_ids);
        -- What was taken at once must not be held while others are waited for: those come with the next plan.
        IF moved = 0 THEN
            PERFORM streamhouse.lease_await_busy(part.topic_ids, part.partitions);
            moved := streamhouse.lease_move(part.topic_ids, part.partitions, part.old_ids, part.new_ids);
        END IF;
    END IF;
    SELECT array_agg(p.topic_id) AS topic_ids, array_agg(p.partition) AS partitions, array_agg(p.old_id) AS old_ids, array_agg(p.new_id) AS new_ids INTO part
    FROM unnest(planned.topic_ids, planned.partitions, planned.old_ids, planned.new_ids, planned.is_planned) AS p (topic_id, partition, old_id, new_id, is_planned)
    WHERE p.is_planned;
    handed_over := CASE WHEN part.topic_ids IS NULL THEN 0
                        ELSE streamhouse.lease_begin_hand_over(part.topic_ids, part.partitions, part.old_ids, part.new_ids) END;
END $$;
COMMENT ON FUNCTION streamhouse.lease_assign_all IS 'Makes a plan and begins to carry it out. moved: leases that nobody held and somebody holds now; handed_over: those that their holders are to give up.';

-- A plan is made when agents came, went or began to drain, until it is carried out; when a partition has no leader; and
-- now and then, for topics that came or changed and for load. Planned moves begin when those before them have ended, so
-- that there are never more than lease_moves_max.
CREATE FUNCTION streamhouse.lease_assign() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    balance_every CONSTANT interval := '30 s';
    settle_for CONSTANT interval := '10 s';
    slack_percent CONSTANT int := 15;
    swaps_max CONSTANT int := 2;
    live CONSTANT int[] := streamhouse.live_agent_ids();
    able CONSTANT int[] := ARRAY(SELECT a.agent_id FROM streamhouse.agent AS a WHERE a.agent_id = ANY (live) AND NOT a.draining ORDER BY 1);
    dying int[];
    balanced record;
    changed bool;
    due bool;
    pending bool;
    settled bool;
    orphaned bool;
    begun record;
    moves_max int := 0;
    moved int := 0;
BEGIN
    IF cardinality(able) = 0 OR NOT streamhouse.marker_may_assign() OR NOT streamhouse.lease_try_lock() THEN
        RETURN 0;
    END IF;
    -- One that counts as dead and is being renewed at this moment goes on serving: the next look sees it alive.
    dying := ARRAY(SELECT a.agent_id FROM streamhouse.agent AS a
                   WHERE a.agent_id <> ALL (live) AND EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.agent_id = a.agent_id)
                   ORDER BY 1);
    IF dying <> '{}' AND dying <> ARRAY(SELECT l.agent_id FROM (SELECT a.agent_id, a.expires_at FROM streamhouse.agent AS a
                                                               WHERE a.agent_id = ANY (dying) ORDER BY a.agent_id FOR UPDATE SKIP LOCKED) AS l
                                       WHERE l.expires_at <= clock_timestamp() ORDER BY 1) THEN
        RETURN 0;
    END IF;
    SELECT c.balanced_agents, c.balanced_at INTO balanced FROM streamhouse.cluster AS c;
    changed := balanced.balanced_agents IS DISTINCT FROM able;
    due := balanced.balanced_at IS NULL OR balanced.balanced_at + balance_every < clock_timestamp();
    pending := streamhouse.lease_hand_overs_pend();
    IF pending THEN
        moved := streamhouse.lease_end_hand_overs(live);
        pending := streamhouse.lease_hand_overs_pend();
    END IF;
    orphaned := EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.agent_id IS NULL)
             OR EXISTS (SELECT FROM streamhouse.agent AS a WHERE a.agent_id <> ALL (live)
                        AND EXISTS (SELECT FROM streamhouse.lease AS l WHERE l.agent_id = a.agent_id));
    -- After a promotion agents come back one by one, and what they report of their load is not what it will be.
    settled := streamhouse.server_timeline() = 1 OR streamhouse.server_started_at() + settle_for < clock_timestamp();
    IF NOT (orphaned OR ((changed OR due) AND settled AND NOT pending)) THEN
        RETURN moved;
    END IF;
    IF (changed OR due) AND settled AND NOT pending THEN
        moves_max := streamhouse.setting('streamhouse.lease_moves_max');
    END IF;
    SELECT * INTO begun
    FROM streamhouse.lease_assign_all(moves_max, CASE WHEN changed THEN 0 ELSE slack_percent END, CASE WHEN due THEN swaps_max ELSE 0 END);
    IF orphaned THEN
        -- Who has died is no broker any more.
        PERFORM streamhouse.metadata_notify(NULL);
    END IF;
    IF moves_max > 0 AND begun.handed_over = 0 THEN
        PERFORM @extschema@.sh_cluster_id();
        UPDATE streamhouse.cluster SET balanced_agents = able, balanced_at = clock_timestamp();
    END IF;
    moved := moved + begun.moved + begun.handed_over;
    RETURN moved;
END $$;
COMMENT ON FUNCTION streamhouse.lease_assign IS 'Moves the leases that have to move, and begins to hand over those that ought to, unless another transaction is about it, or this database may not be the owner of its store. Gives back how many.';

CREATE FUNCTION streamhouse.lease_look_after(agent_id int) RETURNS bool
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_lease_look_after';
COMMENT ON FUNCTION streamhouse.lease_look_after IS 'Looks at everybody''s leases, unless an agent did so in the last 0.3 seconds. True when lease_assign() is to be called: the caller has its lock then.';

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
    UPDATE streamhouse.lease AS l SET agent_id = NULL, next_agent_id = NULL, hand_over_until = NULL WHERE l.agent_id = lease_release.agent_id;
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;
COMMENT ON FUNCTION streamhouse.lease_release IS 'Takes all leases from an agent; they are nobody''s until the next assignment. Gives back how many.';
