-- inline.sql: the inline ring's slots turn, and what is in them moves to objects. See inline.c for writing and reading.
--
-- A slot goes round: empty, filling, draining, sealed, moved, empty. It is sealed when it has stopped filling and nobody
-- holds a writer's lock on its table; moved when no segment names it any more; emptied, by TRUNCATE, a grace later, under
-- a lock that is only tried for: nobody ever queues behind it. Agents call sh_inline_turn() about once a second.
--
-- Moving is three steps of one agent at a time: sh_inline_plan() says which segments, the agent writes them to an object,
-- sh_commit_move() puts segments of that object in the place of theirs. A crash between the steps leaves an intent that
-- expires. Two agents at it at once do no harm: what the one has replaced, the other does not find.

CREATE TABLE streamhouse.job (
    name text PRIMARY KEY,
    agent_id int NOT NULL,
    expires_at timestamptz NOT NULL
);
COMMENT ON TABLE streamhouse.job IS 'Jobs that one agent does for all, and who does them until when.';
COMMENT ON COLUMN streamhouse.job.name IS 'Which job.';
COMMENT ON COLUMN streamhouse.job.agent_id IS 'The agent that does it.';
COMMENT ON COLUMN streamhouse.job.expires_at IS 'When another agent may take it.';
SELECT pg_catalog.pg_extension_config_dump('streamhouse.job', '');

CREATE FUNCTION streamhouse.job_take(name text, agent_id int, ttl interval) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    now_at CONSTANT timestamptz := clock_timestamp();
    held streamhouse.job;
BEGIN
    -- Mostly nothing changes: then nothing is written, and no row locked.
    SELECT * INTO held FROM streamhouse.job AS h WHERE h.name = job_take.name;
    IF held.agent_id = job_take.agent_id AND held.expires_at BETWEEN now_at + ttl * 2 / 3 AND now_at + ttl THEN
        RETURN true;
    ELSIF held.agent_id <> job_take.agent_id AND held.expires_at > now_at
          AND EXISTS (SELECT FROM streamhouse.live_agent AS a WHERE a.agent_id = held.agent_id) THEN
        RETURN false;
    END IF;
    INSERT INTO streamhouse.job AS j (name, agent_id, expires_at)
    VALUES (job_take.name, job_take.agent_id, clock_timestamp() + ttl)
    ON CONFLICT ON CONSTRAINT job_pkey DO UPDATE SET agent_id = excluded.agent_id, expires_at = excluded.expires_at
    WHERE j.agent_id = excluded.agent_id OR j.expires_at <= clock_timestamp() OR j.agent_id <> ALL (streamhouse.live_agent_ids());
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION streamhouse.job_take IS 'Takes or keeps a job for an agent, for two thirds of ttl at least; false when another one has it that is alive.';

CREATE FUNCTION streamhouse.inline_bytes(slot int2) RETURNS int8
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_total_relation_size(('streamhouse.inline_' || slot)::regclass)
$$;
COMMENT ON FUNCTION streamhouse.inline_bytes IS 'Bytes that a slot of the inline ring takes on disk, with its index.';

-- Waits for nobody: false when a lock is held that is in the way.
CREATE FUNCTION streamhouse.inline_try_lock(slot int2, mode text) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format('LOCK TABLE ONLY streamhouse.%I IN %s MODE NOWAIT', 'inline_' || slot,
                   CASE mode WHEN 'share' THEN 'SHARE' ELSE 'ACCESS EXCLUSIVE' END);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;
COMMENT ON FUNCTION streamhouse.inline_try_lock IS 'Locks the table of a slot in mode share or exclusive if that is possible at once.';

CREATE FUNCTION streamhouse.inline_enter(slot int2, state streamhouse.slot_state) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE streamhouse.inline_slot AS s SET state = inline_enter.state, changed_at = clock_timestamp() WHERE s.slot = inline_enter.slot
$$;
COMMENT ON FUNCTION streamhouse.inline_enter IS 'Writes a slot''s new state.';

CREATE FUNCTION streamhouse.inline_is_unused(slot int2) RETURNS bool
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT NOT EXISTS (SELECT FROM streamhouse.segment AS g WHERE g.slot = inline_is_unused.slot AND g.slot > 0)
$$;
COMMENT ON FUNCTION streamhouse.inline_is_unused IS 'Whether no segment names a slot.';

-- Statements are VOLATILE plpgsql's: each sees what was committed before it, after the locks were taken.
CREATE FUNCTION streamhouse.inline_turn_slot(at streamhouse.inline_slot) RETURNS bool
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grace CONSTANT interval := make_interval(secs => streamhouse.setting('streamhouse.inline_grace'));
    slot_age CONSTANT interval := make_interval(secs => streamhouse.setting('streamhouse.inline_slot_age'));
    slot_bytes CONSTANT int8 := streamhouse.setting('streamhouse.inline_slot_bytes') * 1048576::int8;
    an_empty_one_bytes CONSTANT int8 := 65536;
    bytes int8;
    next_slot int2;
BEGIN
    IF at.state = 'draining' AND streamhouse.inline_try_lock(at.slot, 'share') THEN
        PERFORM streamhouse.inline_enter(at.slot, 'sealed');
    ELSIF at.state = 'sealed' AND streamhouse.inline_is_unused(at.slot) THEN
        PERFORM streamhouse.inline_enter(at.slot, 'moved');
    ELSIF at.state = 'moved' AND at.changed_at + grace <= clock_timestamp() AND streamhouse.inline_try_lock(at.slot, 'exclusive') THEN
        EXECUTE format('TRUNCATE TABLE ONLY streamhouse.%I', 'inline_' || at.slot);
        PERFORM streamhouse.inline_enter(at.slot, 'empty');
    ELSIF at.state = 'filling' THEN
        bytes := streamhouse.inline_bytes(at.slot);
        IF bytes < slot_bytes AND (bytes < an_empty_one_bytes OR at.changed_at + slot_age > clock_timestamp()) THEN
            RETURN false;
        END IF;
        SELECT s.slot INTO next_slot FROM streamhouse.inline_slot AS s WHERE s.state = 'empty'
        ORDER BY s.slot <= at.slot, s.slot LIMIT 1;
        IF NOT FOUND THEN
            RETURN false;
        END IF;
        PERFORM streamhouse.inline_enter(at.slot, 'draining');
        PERFORM streamhouse.inline_enter(next_slot, 'filling');
    ELSE
        RETURN false;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION streamhouse.inline_turn_slot IS 'Moves a slot to its next state if the time has come: true when it did.';

-- Asked about once a second by every agent, mostly for nothing.
CREATE FUNCTION streamhouse.inline_look(max_bytes int8, OUT turns bool, OUT moves bool, OUT ring_bytes int8, OUT waiting_bytes int8)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_inline_look';
COMMENT ON FUNCTION streamhouse.inline_look IS 'Whether a slot of the inline ring may turn; whether records are to move (streamhouse.inline_is_due); bytes on disk of the slots that are not empty, and of those with records that have not moved.';

-- One slot a call, so that a lock is held for one step alone. The slot that is to be emptied soonest comes first.
CREATE FUNCTION sh_inline_turn(agent_id int, max_bytes int8 DEFAULT 67108864, OUT turned bool, OUT ring_bytes int8, OUT waiting_bytes int8, OUT moves bool)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    is_known CONSTANT bool := streamhouse.agent_require(agent_id); -- costs less than PERFORM
    at streamhouse.inline_slot;
    look record := streamhouse.inline_look(max_bytes);
BEGIN
    turned := false;
    IF look.turns AND pg_try_advisory_xact_lock(7310590, 3) THEN
        IF NOT EXISTS (SELECT FROM streamhouse.inline_slot) THEN
            INSERT INTO streamhouse.inline_slot (slot, state)
            SELECT n, CASE n WHEN 1 THEN 'filling' ELSE 'empty' END::streamhouse.slot_state FROM generate_series(1, 8) AS n;
        END IF;
        FOR at IN SELECT * FROM streamhouse.inline_slot AS s WHERE s.state <> 'empty' ORDER BY s.state DESC, s.changed_at LOOP
            turned := streamhouse.inline_turn_slot(at);
            EXIT WHEN turned;
        END LOOP;
        look := streamhouse.inline_look(max_bytes);
    END IF;
    ring_bytes := look.ring_bytes;
    waiting_bytes := look.waiting_bytes;
    moves := look.moves;
END $$;
COMMENT ON FUNCTION sh_inline_turn IS 'Does one step of the inline ring''s turning, if one is due: call it again while turned is true. ring_bytes: the ring''s size on disk; waiting_bytes: without the slots whose records have all moved; moves: sh_inline_plan(agent_id, max_bytes) is worth a call.';

CREATE FUNCTION streamhouse.inline_is_due(max_bytes int8) RETURNS bool
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_inline_is_due';
COMMENT ON FUNCTION streamhouse.inline_is_due IS 'Whether what waits in the ring is enough, streamhouse.inline_move_bytes or max_bytes, or old enough, to move.';

CREATE FUNCTION streamhouse.inline_oldest(max_bytes int8)
RETURNS TABLE (topic_id int, topic_uuid uuid, partition int, base_offset int8, end_offset int8, object_id int8, slot int2,
               byte_start int, byte_length int, leader_epoch int)
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_inline_oldest';
COMMENT ON FUNCTION streamhouse.inline_oldest IS 'The oldest segments of the ring, until they have max_bytes, 20,000 at most, sorted by partition and offset; those of deleted topics are not worth moving.';

CREATE FUNCTION sh_inline_plan(agent_id int, max_bytes int8 DEFAULT 67108864, ttl_ms int DEFAULT 60000, whatever bool DEFAULT false)
RETURNS TABLE (topic_id int, topic_uuid uuid, partition int, base_offset int8, end_offset int8, object_id int8, slot int2,
               byte_start int, byte_length int, leader_epoch int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF max_bytes IS NULL OR max_bytes NOT BETWEEN 1 AND 1073741824 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'max_bytes must be from 1 to 1073741824';
    END IF;
    PERFORM streamhouse.agent_require(sh_inline_plan.agent_id);
    IF NOT streamhouse.marker_may_assign() OR NOT streamhouse.job_take('mover', sh_inline_plan.agent_id, make_interval(secs => ttl_ms / 1000.0)) THEN
        RETURN;
    END IF;
    IF whatever IS NOT TRUE AND NOT streamhouse.inline_is_due(max_bytes) THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT o.* FROM streamhouse.inline_oldest(max_bytes) AS o;
END $$;
COMMENT ON FUNCTION sh_inline_plan IS 'Inline segments that are to move to an object now, the oldest first up to max_bytes, sorted by partition and offset: none while they are fewer than streamhouse.inline_move_bytes and younger than streamhouse.inline_move_age (unless whatever is true), and none when another agent does this job or this database may not be the owner of its store. The caller has the job for ttl_ms, or until it is dead.';

-- Neighbours in the log that are neighbours in the object become one segment.
CREATE FUNCTION streamhouse.move_segments(new_object_id int8, topic_ids int[], partitions int[], end_offsets int8[], object_ids int8[], byte_starts int[])
RETURNS int8
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_move_segments';
COMMENT ON FUNCTION streamhouse.move_segments IS 'Puts segments of an object in the place of inline ones that are still there. Gives back how many of those there were.';

CREATE FUNCTION sh_commit_move(agent_id int, object_id int8, object_bytes int8, topic_ids int[], partitions int[], end_offsets int8[],
                               object_ids int8[], byte_starts int[])
RETURNS int8
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    intent streamhouse.object;
    moved int8;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'segments can be moved under READ COMMITTED only',
            HINT = 'An older snapshot would not see what became of them.';
    END IF;
    IF cardinality(topic_ids) IS NULL OR cardinality(partitions) <> cardinality(topic_ids) OR cardinality(end_offsets) <> cardinality(topic_ids)
       OR cardinality(object_ids) <> cardinality(topic_ids) OR cardinality(byte_starts) <> cardinality(topic_ids) THEN
        RAISE EXCEPTION USING ERRCODE = 'array_subscript_error', MESSAGE = 'the arrays are not equally long',
            HINT = 'Elements at one place belong together.';
    END IF;
    SELECT * INTO intent FROM streamhouse.object AS o WHERE o.object_id = object_id FOR UPDATE;
    IF NOT FOUND OR intent.agent_id <> agent_id OR intent.state <> 'intent' OR intent.expires_at <= clock_timestamp() THEN
        RAISE EXCEPTION USING ERRCODE = 'SH056', MESSAGE = format('object %s cannot be committed', object_id),
            HINT = 'Write the batches again under a key from sh_reserve_objects(), and commit that.';
    END IF;
    moved := streamhouse.move_segments(object_id, topic_ids, partitions, end_offsets, object_ids, byte_starts);
    IF moved > 0 THEN
        UPDATE streamhouse.object AS o SET state = 'live', bytes = object_bytes WHERE o.object_id = object_id;
    END IF;
    RETURN moved;
END $$;
COMMENT ON FUNCTION sh_commit_move IS 'Makes an object live that has the bytes of inline segments, and puts segments of it in their place, in one transaction; offsets stay as they are. A segment is named by topic_id, partition, end_offset and the object_id that sh_inline_plan() gave; byte_starts says where its batches begin in the object. Those that are gone meanwhile are left out. Gives back how many were replaced; 0 leaves the object to the reaper. SH056: the object is not this agent''s intent, or too old.';
