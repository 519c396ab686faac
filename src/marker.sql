-- marker.sql: the owner marker: which of several copies of a database may use the object store.
--
-- A clone and a restored backup have every row of the original. So the owner writes a chain of objects, owner/CLUSTER/1, 2,
-- 3 …, each only if nobody has written it before, with a content that is in the database before it is in the store. Of two
-- databases that continue from one point, one writes the next number; the other finds there what it did not write, and is
-- lost: it gives no leases, no offsets, moves and deletes nothing until sh_adopt(). So is one whose history ends before the
-- last number. Agents carry the objects; what they mean is decided here.
--
-- A database that finds itself on another server than the one where it last proved itself (marker.c) waits first, so that
-- an original that lives shows itself by its next number, and then begins an era: nobody knows how much of its end is
-- missing. A standby that its primary counted as synchronous has everything; it does neither. Era e begins at offset and id
-- e * 2^40 and at leader epoch e * 2^16: more than any earlier era has given out. Gaps are legal; an empty batch ends each.
--
-- Locks are taken in the order: the owner's row, agents, the advisory lock of leases, partitions, leases.

CREATE TYPE streamhouse.ownership_state AS ENUM ('new', 'owner', 'waiting', 'lost', 'adopting');
COMMENT ON TYPE streamhouse.ownership_state IS 'new: no marker has been written yet, and nothing is refused; owner: the last marker is this database''s; waiting: it runs on another server than when it last proved itself; lost: the store has markers that this database did not write; adopting: sh_adopt() was called, its marker is to be written.';

CREATE TABLE streamhouse.store_owner (
    singleton int PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    state streamhouse.ownership_state NOT NULL,
    server text NOT NULL,
    reason text,
    changed_at timestamptz NOT NULL,
    noticed_at timestamptz,
    incarnation uuid NOT NULL,
    era int NOT NULL DEFAULT 0,
    era_began_at timestamptz
);
COMMENT ON TABLE streamhouse.store_owner IS 'One row, which changes seldom, since every append reads it: whether this database owns the object store. None until an agent has begun.';
COMMENT ON COLUMN streamhouse.store_owner.singleton IS 'Always 1, so that there is one row.';
COMMENT ON COLUMN streamhouse.store_owner.state IS 'Where it stands.';
COMMENT ON COLUMN streamhouse.store_owner.server IS 'streamhouse.server_identity() where it last proved itself.';
COMMENT ON COLUMN streamhouse.store_owner.reason IS 'Why it is not the owner, and what to do; null when it is.';
COMMENT ON COLUMN streamhouse.store_owner.changed_at IS 'Since when it stands there.';
COMMENT ON COLUMN streamhouse.store_owner.noticed_at IS 'When it last found itself on another server.';
COMMENT ON COLUMN streamhouse.store_owner.incarnation IS 'New with every adoption; the marker carries it.';
COMMENT ON COLUMN streamhouse.store_owner.era IS 'Era of its offsets; 0 until something was restored, cloned or promoted.';
COMMENT ON COLUMN streamhouse.store_owner.era_began_at IS 'When the era began; what older intents left in the store is kept for streamhouse.object_grace from then.';

CREATE TABLE streamhouse.store_marker (
    singleton int PRIMARY KEY DEFAULT 1 CHECK (singleton = 1),
    number int8 NOT NULL DEFAULT 0,
    next_number int8,
    next_body text,
    begun_at timestamptz,
    proved_at timestamptz,
    proved_start timestamptz,
    synchronous_names text[] NOT NULL DEFAULT '{}',
    looked_at timestamptz,
    found_number int8,
    found_era int
) WITH (fillfactor = 50);
COMMENT ON TABLE streamhouse.store_marker IS 'One row, which changes with every marker: where the chain stands.';
COMMENT ON COLUMN streamhouse.store_marker.singleton IS 'Always 1, so that there is one row.';
COMMENT ON COLUMN streamhouse.store_marker.number IS 'Number of the last marker that is known to be this database''s; 0: none yet.';
COMMENT ON COLUMN streamhouse.store_marker.next_number IS 'Number of the one that is being written.';
COMMENT ON COLUMN streamhouse.store_marker.next_body IS 'Its content, random in part.';
COMMENT ON COLUMN streamhouse.store_marker.begun_at IS 'When an agent was last told to write or look.';
COMMENT ON COLUMN streamhouse.store_marker.proved_at IS 'When the last marker that was proved was begun: nobody else was the owner before that.';
COMMENT ON COLUMN streamhouse.store_marker.proved_start IS 'streamhouse.server_started_at() then.';
COMMENT ON COLUMN streamhouse.store_marker.synchronous_names IS 'Standbys that were synchronous then; one of them has everything when it is promoted.';
COMMENT ON COLUMN streamhouse.store_marker.looked_at IS 'When an agent last looked at the markers in the store.';
COMMENT ON COLUMN streamhouse.store_marker.found_number IS 'The largest number that it found.';
COMMENT ON COLUMN streamhouse.store_marker.found_era IS 'The era that this marker names.';
SELECT pg_catalog.pg_extension_config_dump('streamhouse.store_owner', '');
SELECT pg_catalog.pg_extension_config_dump('streamhouse.store_marker', '');

CREATE FUNCTION streamhouse.server_identity() RETURNS text
LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'streamhouse_server_identity';
COMMENT ON FUNCTION streamhouse.server_identity IS 'Tells this copy of the database from others: system identifier, timeline, inode and birth of the control file. The same after a restart; another after a promotion, in a copied folder, in a restored backup.';

CREATE FUNCTION streamhouse.marker_require_history() RETURNS void
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'streamhouse_marker_require_history';
COMMENT ON FUNCTION streamhouse.marker_require_history IS 'Raises 40001 while this database is not known to be the owner of its store, 55000 when it has lost it: it may have lost the end of its log, and must tell no reader that it ends here. Not on a standby.';

-- A start of the server is proof of nothing: a snapshot of a volume has the same files.
CREATE FUNCTION streamhouse.marker_may_assign() RETURNS bool
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN pg_is_in_recovery() -- whatever writes says so itself
           OR NOT EXISTS (SELECT FROM streamhouse.store_owner AS o, streamhouse.store_marker AS m
                          WHERE o.state <> 'new'
                            AND (o.state <> 'owner' OR o.server <> streamhouse.server_identity() OR m.proved_start IS DISTINCT FROM streamhouse.server_started_at()));
END $$;
COMMENT ON FUNCTION streamhouse.marker_may_assign IS 'Whether leases may be given: this database has been proved to be the owner since the server''s start, or no marker was ever written.';

CREATE FUNCTION streamhouse.marker_interval() RETURNS interval
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN make_interval(secs => streamhouse.setting('streamhouse.marker_interval'));
END $$;
COMMENT ON FUNCTION streamhouse.marker_interval IS 'Time between two markers.';

CREATE FUNCTION streamhouse.marker_may_reap() RETURNS bool
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN streamhouse.marker_may_assign()
           AND (pg_is_in_recovery()
                OR NOT EXISTS (SELECT FROM streamhouse.store_owner AS o, streamhouse.store_marker AS m
                               WHERE o.state <> 'new' AND m.proved_at < clock_timestamp() - 5 * streamhouse.marker_interval()));
END $$;
COMMENT ON FUNCTION streamhouse.marker_may_reap IS 'Whether objects may be deleted: this database has just been proved to be the owner, or no marker was ever written.';

CREATE FUNCTION streamhouse.marker_drop_leases() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310590, 1);
    PERFORM FROM streamhouse.lease AS l WHERE l.agent_id IS NOT NULL ORDER BY l.topic_id, l.partition FOR UPDATE;
    PERFORM streamhouse.lease_notify(ARRAY(SELECT DISTINCT l.agent_id FROM streamhouse.lease AS l WHERE l.agent_id IS NOT NULL));
    UPDATE streamhouse.lease AS l SET agent_id = NULL, next_agent_id = NULL, hand_over_until = NULL WHERE l.agent_id IS NOT NULL;
    PERFORM streamhouse.metadata_notify(NULL);
END $$;
COMMENT ON FUNCTION streamhouse.marker_drop_leases IS 'Takes every lease from whoever has it; whoever gets it next gets a new epoch.';

-- The name under which a standby asks its primary for WAL. A restored backup, even to the last byte of an archive, does
-- not: the end of the log may not have been archived.
CREATE FUNCTION streamhouse.marker_was_synchronous() RETURNS bool
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(split_part(o.server, '/', 2)::int8 < split_part(streamhouse.server_identity(), '/', 2)::int8
                    AND split_part(o.server, '/', 1) = split_part(streamhouse.server_identity(), '/', 1)
                    AND c.conninfo <> ''
                    AND coalesce(substring(c.conninfo FROM 'application_name\s*=\s*''?([^'' ]+)'), nullif(current_setting('cluster_name'), ''), 'walreceiver')
                        = ANY (m.synchronous_names), false)
    FROM streamhouse.store_owner AS o, streamhouse.store_marker AS m, (SELECT current_setting('primary_conninfo', true) AS conninfo) AS c
$$;
COMMENT ON FUNCTION streamhouse.marker_was_synchronous IS 'Whether this server was a synchronous standby when it was promoted, and has everything.';

CREATE FUNCTION streamhouse.marker_enter(state streamhouse.ownership_state, reason text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE streamhouse.store_owner AS o
    SET state = marker_enter.state, reason = marker_enter.reason,
        changed_at = CASE WHEN o.state = marker_enter.state THEN o.changed_at ELSE clock_timestamp() END
    WHERE (o.state, o.reason) IS DISTINCT FROM (marker_enter.state, marker_enter.reason);
    -- A synchronous standby that was promoted is the owner as soon as an agent has looked: who leads goes on leading.
    IF FOUND THEN
        PERFORM pg_notify('streamhouse_owner', '');
        IF state NOT IN ('new', 'owner') AND NOT (state = 'waiting' AND streamhouse.marker_was_synchronous()) THEN
            PERFORM streamhouse.marker_drop_leases();
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.marker_enter IS 'Writes the owner''s new state, and tells agents, which then ask what to do. Who is not the owner leads nothing.';

-- What agents remember of a history that may have lost its end must go: a process that finds itself unknown ends, and
-- starts again with nothing.
CREATE FUNCTION streamhouse.marker_notice() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    elsewhere bool;
BEGIN
    IF NOT EXISTS (SELECT FROM streamhouse.store_owner AS o WHERE o.state = 'owner' AND o.server <> streamhouse.server_identity()) THEN
        RETURN;
    END IF;
    SELECT o.state = 'owner' AND o.server <> streamhouse.server_identity() INTO elsewhere FROM streamhouse.store_owner AS o FOR UPDATE;
    IF NOT elsewhere THEN
        RETURN;
    END IF;
    UPDATE streamhouse.store_owner SET noticed_at = clock_timestamp();
    IF NOT streamhouse.marker_was_synchronous() THEN
        PERFORM FROM streamhouse.agent AS a ORDER BY a.agent_id FOR UPDATE;
        UPDATE streamhouse.agent SET incarnation = gen_random_uuid(), previous_incarnation = NULL;
    END IF;
    PERFORM streamhouse.marker_enter('waiting', 'this database was promoted, restored or copied since it last proved that it owns the store: an agent is looking whether another copy does');
END $$;
COMMENT ON FUNCTION streamhouse.marker_notice IS 'Notes that this database runs on another server than where it last proved itself, if it does: it leads nothing until that is proved again.';

CREATE FUNCTION streamhouse.marker_is_elsewhere() RETURNS bool
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_marker_is_elsewhere';
COMMENT ON FUNCTION streamhouse.marker_is_elsewhere IS 'Whether marker_notice() has something to note.';

CREATE FUNCTION streamhouse.marker_next_era(found_era int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    era_max CONSTANT int := 32767; -- as leader epochs are int4
    new_era int;
BEGIN
    SELECT 2 + greatest(o.era, coalesce(found_era, 0),
                        (SELECT (max(l.epoch) >> 16) FROM streamhouse.lease AS l),
                        (SELECT (max(e.end_offset) >> 40)::int FROM streamhouse.partition_end AS e))
    INTO new_era FROM streamhouse.store_owner AS o;
    IF new_era > era_max THEN
        RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = format('there is no era after %s', era_max),
            HINT = 'Copy the topics to a new cluster.';
    END IF;
    RETURN new_era;
END $$;
COMMENT ON FUNCTION streamhouse.marker_next_era IS 'An era whose offsets and epochs nobody has given out, neither this database nor whoever wrote the markers that were found.';

CREATE FUNCTION streamhouse.inline_append(bytes bytea) RETURNS TABLE (object_id int8, slot int2)
LANGUAGE c VOLATILE STRICT ROWS 1 AS 'MODULE_PATHNAME', 'streamhouse_inline_append';
COMMENT ON FUNCTION streamhouse.inline_append IS 'Writes record batches as one row of the inline ring.';

-- The last offset of a gap has a batch without records, such as compaction leaves in Kafka, so that readers get to the gap's
-- end: clients that read up to the log's end would wait there for ever. All partitions' are one row. It is as old as what
-- comes before it, so that it does not hold up retention.
CREATE FUNCTION streamhouse.marker_fill_gaps(first_offset int8, first_epoch int) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    WITH gap AS MATERIALIZED (
        SELECT i.object_id, i.slot, octet_length(b.bytes) AS byte_length
        FROM (SELECT decode('0000000000000000000000310000000002ebe00203000000000000000000000000000000'
                            '00000000000000ffffffffffffffffffffffffffff00000000', 'hex') AS bytes) AS b,
             LATERAL streamhouse.inline_append(b.bytes) AS i
    )
    INSERT INTO streamhouse.segment (topic_id, partition, base_offset, end_offset, object_id, slot, byte_start, byte_length, batches,
                                     leader_epoch, max_timestamp, running_max_timestamp)
    SELECT p.topic_id, p.partition, first_offset - 1, first_offset, g.object_id, g.slot, 0, g.byte_length, 1,
           first_epoch, greatest(tail.running_max_timestamp, 0), greatest(tail.running_max_timestamp, 0)
    FROM gap AS g CROSS JOIN streamhouse.partition AS p
    LEFT JOIN LATERAL (SELECT s.running_max_timestamp FROM streamhouse.segment AS s
                       WHERE s.topic_id = p.topic_id AND s.partition = p.partition ORDER BY s.end_offset DESC LIMIT 1) AS tail ON true
$$;
COMMENT ON FUNCTION streamhouse.marker_fill_gaps IS 'Ends the gap before an era in every partition.';

CREATE FUNCTION streamhouse.marker_begin_era(found_era int) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    new_era int;
    first_offset int8;
    first_epoch int;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'an era can begin under READ COMMITTED only',
            HINT = 'An older snapshot would not see what was appended while partitions'' locks were awaited.';
    END IF;
    PERFORM pg_advisory_xact_lock(7310590, 1);
    PERFORM FROM streamhouse.partition AS p ORDER BY p.topic_id, p.partition FOR UPDATE;
    PERFORM FROM streamhouse.lease AS l ORDER BY l.topic_id, l.partition FOR UPDATE;
    new_era := streamhouse.marker_next_era(found_era);
    first_offset := new_era::int8 << 40;
    first_epoch := new_era << 16;
    UPDATE streamhouse.partition SET floor_offset = first_offset;
    UPDATE streamhouse.lease SET agent_id = NULL, epoch = first_epoch;
    INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset)
    SELECT l.topic_id, l.partition, l.epoch, first_offset - 1 FROM streamhouse.lease AS l;
    DELETE FROM streamhouse.producer;
    PERFORM setval('streamhouse.object_object_id_seq', first_offset), setval('streamhouse.producer_id_seq', first_offset),
            setval('streamhouse.inline_call_seq', first_offset);
    PERFORM streamhouse.marker_fill_gaps(first_offset, first_epoch);
    UPDATE streamhouse.store_owner SET era = new_era, era_began_at = clock_timestamp();
    PERFORM streamhouse.metadata_notify(NULL);
    RETURN new_era;
END $$;
COMMENT ON FUNCTION streamhouse.marker_begin_era IS 'Raises every partition''s next offset, every epoch and all ids beyond anything given out so far, forgets producers'' batches, and gives back the era''s number.';

CREATE FUNCTION streamhouse.marker_prefix() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT 'owner/' || cluster_uuid || '/' FROM streamhouse.cluster);
END $$;
COMMENT ON FUNCTION streamhouse.marker_prefix IS 'What the keys of this cluster''s markers begin with; a number of 19 digits follows.';

-- The position is for people and for tools: nothing is decided by it.
CREATE FUNCTION streamhouse.marker_body(number int8) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN (SELECT jsonb_build_object('cluster', c.cluster_uuid, 'number', number, 'token', gen_random_uuid(), 'incarnation', o.incarnation, 'era', o.era,
                                      'server', streamhouse.server_identity(), 'position', pg_current_wal_insert_lsn(), 'written_at', clock_timestamp())::text
            FROM streamhouse.cluster AS c, streamhouse.store_owner AS o);
END $$;
COMMENT ON FUNCTION streamhouse.marker_body IS 'Content of a new marker: nobody else''s is the same.';

-- Whatever agents find there was written by somebody.
CREATE FUNCTION streamhouse.marker_era(body text) RETURNS int
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(substring(body FROM '"era": *([0-9]{1,5})\M')::int, 0);
END $$;
COMMENT ON FUNCTION streamhouse.marker_era IS 'The era that a marker names; 0 for what is no marker.';

CREATE FUNCTION streamhouse.marker_found(numbers int8[], newest text) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE streamhouse.store_marker AS m
    SET looked_at = clock_timestamp(), found_number = (SELECT coalesce(max(n), 0) FROM unnest(numbers) AS n),
        found_era = greatest(m.found_era, streamhouse.marker_era(newest));
END $$;
COMMENT ON FUNCTION streamhouse.marker_found IS 'Notes what an agent found in the store.';

CREATE FUNCTION streamhouse.marker_proved(number int8, begun_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner CONSTANT streamhouse.store_owner := (SELECT o FROM streamhouse.store_owner AS o);
BEGIN
    IF owner.state = 'waiting' AND NOT streamhouse.marker_was_synchronous() THEN
        PERFORM streamhouse.marker_begin_era((SELECT m.found_era FROM streamhouse.store_marker AS m));
    ELSIF owner.state = 'waiting' THEN
        PERFORM pg_advisory_xact_lock(7310590, 1);
        PERFORM streamhouse.timeline_follow(); -- before anybody may append, not with the first heartbeat after that
    END IF;
    IF owner.server <> streamhouse.server_identity() THEN
        UPDATE streamhouse.store_owner SET server = streamhouse.server_identity();
    END IF;
    IF owner.state <> 'owner' OR owner.reason IS NOT NULL THEN
        PERFORM streamhouse.marker_enter('owner', NULL);
    END IF;
    UPDATE streamhouse.store_marker AS m
    SET number = marker_proved.number, next_number = NULL, next_body = NULL, proved_at = marker_proved.begun_at,
        proved_start = streamhouse.server_started_at(),
        synchronous_names = CASE WHEN current_setting('synchronous_standby_names') = '' THEN '{}'
                                 ELSE ARRAY(SELECT r.application_name FROM pg_stat_replication AS r
                                            WHERE r.sync_state IN ('sync', 'quorum') AND r.state = 'streaming' ORDER BY 1) END;
END $$;
COMMENT ON FUNCTION streamhouse.marker_proved IS 'Notes that a marker of this database is the last in the store.';

CREATE FUNCTION streamhouse.marker_lost(why text) RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
    SELECT streamhouse.marker_enter('lost', why || ': it leads and deletes nothing. If it is to have the store from now on, call sh_adopt()')
$$;
COMMENT ON FUNCTION streamhouse.marker_lost IS 'Notes that another database owns the store.';

-- Judges what became of the marker that is next. body: the content of the newest; null when that was just written.
CREATE FUNCTION streamhouse.marker_judge(number int8, is_stored bool, numbers int8[], body text, begun_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine CONSTANT streamhouse.store_marker := (SELECT m FROM streamhouse.store_marker AS m);
    newest CONSTANT int8 := (SELECT coalesce(max(n), 0) FROM unnest(numbers) AS n);
    may_be_next CONSTANT int8 := coalesce(mine.next_number, mine.number + 1);
    why text;
BEGIN
    IF newest > may_be_next THEN
        PERFORM streamhouse.marker_lost(format('the store has owner marker %s, and the history of this database, a copy or a restored backup, ends at %s', newest, mine.number));
    ELSIF is_stored IS FALSE OR (newest = may_be_next AND body IS NOT NULL AND body IS DISTINCT FROM mine.next_body) THEN
        PERFORM streamhouse.marker_lost(format('owner marker %s in the store was written by another copy of this database', may_be_next));
    ELSIF is_stored AND number = may_be_next AND (newest < number OR (mine.number > 0 AND number = mine.number + 1 AND mine.number <> ALL (numbers))) THEN
        why := format('the store does not have owner marker %s: is it another one, or was it emptied? If this database is to have it from now on, call sh_adopt()', least(newest, number - 1));
        UPDATE streamhouse.store_owner AS o SET reason = why WHERE o.state <> 'new' AND o.reason IS DISTINCT FROM why;
        IF FOUND THEN
            PERFORM pg_notify('streamhouse_owner', '');
        END IF;
    ELSIF is_stored AND number = may_be_next THEN
        PERFORM streamhouse.marker_proved(number, begun_at);
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.marker_judge IS 'Decides by what an agent wrote and found whether this database is the owner.';

CREATE FUNCTION streamhouse.marker_judge_adoption(number int8, is_stored bool, numbers int8[], body text, begun_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    mine CONSTANT streamhouse.store_marker := (SELECT m FROM streamhouse.store_marker AS m);
    newest CONSTANT int8 := (SELECT coalesce(max(n), 0) FROM unnest(numbers) AS n);
BEGIN
    IF is_stored AND number = mine.next_number AND newest = number AND (body IS NULL OR body = mine.next_body) THEN
        PERFORM streamhouse.marker_proved(number, begun_at);
    ELSIF body IS NOT NULL AND streamhouse.marker_era(body) >= (SELECT o.era FROM streamhouse.store_owner AS o) AND body IS DISTINCT FROM mine.next_body THEN
        PERFORM streamhouse.marker_lost('another copy of this database adopted the store at the same time');
    ELSIF body IS NOT NULL THEN
        -- The owner wrote one more: the next one then, and at once, before it writes that, too.
        UPDATE streamhouse.store_marker SET next_number = NULL, next_body = NULL, begun_at = NULL;
        PERFORM pg_notify('streamhouse_owner', '');
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.marker_judge_adoption IS 'Decides likewise after sh_adopt(): whoever writes the marker after the newest has the store.';

-- What comes next, with its content, is committed before an agent writes it.
CREATE FUNCTION streamhouse.marker_register(now_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    due_number int8;
BEGIN
    SELECT CASE o.state WHEN 'adopting' THEN greatest(m.number, m.found_number) ELSE m.number END + 1 INTO due_number
    FROM streamhouse.store_owner AS o, streamhouse.store_marker AS m;
    UPDATE streamhouse.store_marker AS m
    SET begun_at = now_at, next_number = due_number,
        next_body = CASE WHEN m.next_number IS DISTINCT FROM due_number THEN streamhouse.marker_body(due_number) ELSE m.next_body END;
END $$;
COMMENT ON FUNCTION streamhouse.marker_register IS 'Writes down which marker is to be written now, and with which content, if that is not done yet.';

-- In waiting, an original that lives has the time to show itself; it writes a marker every interval.
CREATE FUNCTION streamhouse.marker_task(now_at timestamptz) RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner CONSTANT streamhouse.store_owner := (SELECT o FROM streamhouse.store_owner AS o);
BEGIN
    IF owner.state = 'lost'
       OR (owner.state = 'waiting' AND NOT streamhouse.marker_was_synchronous()
           AND owner.noticed_at + 4 * streamhouse.marker_interval() > clock_timestamp()) THEN
        UPDATE streamhouse.store_marker SET begun_at = now_at;
        RETURN 'look';
    END IF;
    PERFORM streamhouse.marker_register(now_at);
    RETURN 'write';
END $$;
COMMENT ON FUNCTION streamhouse.marker_task IS 'What an agent is told to do at now_at: write the next marker, or look only.';

CREATE FUNCTION streamhouse.marker_due_ms() RETURNS int
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_marker_due_ms';
COMMENT ON FUNCTION streamhouse.marker_due_ms IS 'How long it takes until an interval has passed since the last time; 0 when it has, or the owner''s state has changed since.';

CREATE FUNCTION streamhouse.marker_lock() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM FROM streamhouse.store_owner FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM @extschema@.sh_cluster_id();
        INSERT INTO streamhouse.store_owner (state, server, changed_at, incarnation)
        VALUES ('new', streamhouse.server_identity(), clock_timestamp(), gen_random_uuid()) ON CONFLICT DO NOTHING;
        PERFORM FROM streamhouse.store_owner FOR UPDATE;
    END IF;
    IF NOT EXISTS (SELECT FROM streamhouse.store_marker) THEN
        INSERT INTO streamhouse.store_marker DEFAULT VALUES ON CONFLICT DO NOTHING;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.marker_lock IS 'Locks the owner''s row, and makes it and the marker''s if there are none.';

CREATE FUNCTION sh_marker_begin(agent_id int, OUT holds bool, OUT reason text, OUT task text, OUT number int8, OUT body text, OUT prefix text,
                                OUT begun_us int8, OUT age_ms int8, OUT due_ms int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    is_known CONSTANT bool := streamhouse.agent_require(agent_id); -- costs less than PERFORM
    now_at CONSTANT timestamptz := clock_timestamp();
BEGIN
    IF streamhouse.marker_is_elsewhere() THEN
        PERFORM streamhouse.marker_notice();
    END IF;
    task := 'none';
    due_ms := streamhouse.marker_due_ms();
    IF due_ms <= 0 AND streamhouse.job_take('marker', agent_id, 10 * streamhouse.marker_interval()) THEN
        PERFORM streamhouse.marker_lock();
        task := streamhouse.marker_task(now_at);
        due_ms := streamhouse.marker_due_ms();
        -- A promoted standby must know which marker may be there.
        IF current_setting('synchronous_commit') IN ('off', 'local', 'remote_write') THEN
            PERFORM set_config('synchronous_commit', 'on', true);
        END IF;
    END IF;
    begun_us := (extract(epoch FROM now_at) * 1000000)::int8;
    prefix := streamhouse.marker_prefix();
    SELECT o.state IN ('new', 'owner'), coalesce(o.reason, ''), CASE task WHEN 'write' THEN m.next_number ELSE 0 END,
           CASE task WHEN 'write' THEN m.next_body ELSE '' END, coalesce(extract(epoch FROM now_at - m.proved_at) * 1000, 0)::int8
    INTO holds, reason, number, body, age_ms
    FROM streamhouse.store_owner AS o, streamhouse.store_marker AS m;
    holds := coalesce(holds, true);
END $$;
COMMENT ON FUNCTION sh_marker_begin IS 'What an agent is to do about the store''s owner marker now; agents ask when due_ms have passed, and at each notification streamhouse_owner. task none: nothing, another agent does it or it is not due; write: PUT body as prefix || number (19 digits) if there is no such object, then look; look: list what begins with prefix; then report with sh_marker_end(). holds: this database may use the store; else reason says why not. age_ms: since the last marker that was proved.';

CREATE FUNCTION sh_marker_end(agent_id int, begun_us int8, number int8, is_stored bool, numbers int8[], newest text,
                              OUT holds bool, OUT reason text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    is_known CONSTANT bool := streamhouse.agent_require(agent_id);
    begun_at CONSTANT timestamptz := to_timestamp(begun_us / 1000000.0);
    state streamhouse.ownership_state;
BEGIN
    IF numbers IS NULL OR array_position(numbers, NULL) IS NOT NULL OR begun_us IS NULL OR begun_at > clock_timestamp() THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a look at the owner markers needs the numbers that were found and the time from sh_marker_begin()';
    END IF;
    IF streamhouse.marker_is_elsewhere() THEN
        PERFORM streamhouse.marker_notice();
    END IF;
    SELECT o.state INTO state FROM streamhouse.store_owner AS o FOR UPDATE;
    PERFORM streamhouse.marker_found(numbers, newest);
    IF state = 'adopting' THEN
        PERFORM streamhouse.marker_judge_adoption(number, is_stored, numbers, newest, begun_at);
    ELSIF state <> 'lost' THEN
        PERFORM streamhouse.marker_judge(number, is_stored, numbers, newest, begun_at);
    END IF;
    SELECT o.state IN ('new', 'owner'), coalesce(o.reason, '') INTO holds, reason FROM streamhouse.store_owner AS o;
END $$;
COMMENT ON FUNCTION sh_marker_end IS 'Reports what an agent did for sh_marker_begin(). is_stored: the marker number is in the store as it was given (true), or somebody else''s is (false), or none was to be written (null). numbers: all markers that were found afterwards. newest: content of the one with the largest number, null when that is the one just written and the store''s conditional PUT can be relied on.';

CREATE FUNCTION sh_adopt(OUT era int, OUT first_offset int8, OUT first_epoch int)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    fresh CONSTANT interval := '60 s';
    owner streamhouse.store_owner;
    marker streamhouse.store_marker;
BEGIN
    PERFORM streamhouse.marker_notice();
    SELECT * INTO owner FROM streamhouse.store_owner FOR UPDATE;
    IF NOT FOUND OR owner.state IN ('new', 'owner') AND owner.reason IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = 'this database owns its object store already: there is nothing to adopt',
            HINT = 'SELECT * FROM streamhouse.ownership shows how it stands.';
    END IF;
    SELECT * INTO marker FROM streamhouse.store_marker;
    IF marker.looked_at IS NULL OR marker.looked_at < clock_timestamp() - fresh OR marker.looked_at < owner.noticed_at THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state', MESSAGE = 'nobody has looked lately which owner markers the object store has',
            HINT = 'Start an agent with this database and the store that it is to have, wait until /ready tells of the owner marker, and call sh_adopt() again.';
    END IF;
    IF owner.state <> 'adopting' THEN
        -- The original's agents, which have not come here, are not to lead, though they count as alive for a while.
        UPDATE streamhouse.agent AS a SET expires_at = a.heartbeat_at WHERE a.heartbeat_at < owner.noticed_at;
        PERFORM streamhouse.marker_begin_era(marker.found_era);
        UPDATE streamhouse.store_owner SET incarnation = gen_random_uuid();
        UPDATE streamhouse.store_marker SET next_number = NULL, next_body = NULL;
        PERFORM streamhouse.marker_enter('adopting', 'sh_adopt() was called; an agent is to write the marker');
    END IF;
    SELECT o.era, o.era::int8 << 40, o.era << 16 INTO era, first_offset, first_epoch FROM streamhouse.store_owner AS o;
END $$;
COMMENT ON FUNCTION sh_adopt IS 'Makes this database, a clone or a restored backup, the owner of the object store that its agents have; whoever was, gives no offsets and deletes nothing from its next look on. Every partition goes on at first_offset and first_epoch, beyond anything that was ever given out, ids likewise, and idempotent producers begin anew. Records that this database does not have are lost to its clients; their objects stay in the store. It counts once an agent has written the marker, a second or so later: see streamhouse.ownership. Needs an agent that has looked at the store within a minute. Check with sh_missing_objects() that the store still has what this database refers to.';

CREATE FUNCTION streamhouse.store_has(key text) RETURNS bool
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_store_has';
COMMENT ON FUNCTION streamhouse.store_has IS 'Whether the store has an object, asked of the store itself.';

CREATE FUNCTION sh_missing_objects(after_object_id int8 DEFAULT 0, max_objects int DEFAULT NULL)
RETURNS TABLE (object_id int8, key text, topics text[], segments int8, bytes int8)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    candidate record;
BEGIN
    FOR candidate IN SELECT o.object_id, o.key FROM streamhouse.object AS o
                     WHERE o.object_id > after_object_id AND o.state = 'live'
                       AND EXISTS (SELECT FROM streamhouse.segment AS g WHERE g.object_id = o.object_id AND g.slot = 0)
                     ORDER BY o.object_id LIMIT max_objects LOOP
        CONTINUE WHEN streamhouse.store_has(candidate.key);
        RETURN QUERY
        SELECT candidate.object_id, candidate.key, array_agg(DISTINCT t.name ORDER BY t.name), count(*), sum(g.byte_length)::int8
        FROM streamhouse.segment AS g JOIN streamhouse.topic AS t USING (topic_id)
        WHERE g.object_id = candidate.object_id AND g.slot = 0;
    END LOOP;
END $$;
COMMENT ON FUNCTION sh_missing_objects IS 'Objects that segments refer to and the store does not have, as after a backup was restored that is older than streamhouse.object_grace; topics: whose records are lost with them. One request to the store per object after after_object_id, max_objects at most: minutes for many. This server needs the settings streamhouse.store and streamhouse.s3_*.';

CREATE VIEW streamhouse.ownership AS
SELECT o.state, o.server = streamhouse.server_identity() AS same_server, o.reason, o.changed_at, o.era, o.incarnation, m.number, m.proved_at,
       NOT pg_is_in_recovery() AND streamhouse.marker_may_assign() AS assigns, NOT pg_is_in_recovery() AND streamhouse.marker_may_reap() AS deletes,
       m.synchronous_names, m.looked_at, m.found_number, m.found_era
FROM streamhouse.store_owner AS o, streamhouse.store_marker AS m;
COMMENT ON VIEW streamhouse.ownership IS 'Whether this database owns the object store of its agents. No row: no agent has begun yet.';
COMMENT ON COLUMN streamhouse.ownership.state IS 'new, owner, waiting, lost or adopting: see the type.';
COMMENT ON COLUMN streamhouse.ownership.same_server IS 'Whether it runs where it last proved itself; when not, it appends nothing.';
COMMENT ON COLUMN streamhouse.ownership.reason IS 'Why it is not the owner, and what to do.';
COMMENT ON COLUMN streamhouse.ownership.changed_at IS 'Since when.';
COMMENT ON COLUMN streamhouse.ownership.era IS 'Era of its offsets; those of era e begin at e * 2^40.';
COMMENT ON COLUMN streamhouse.ownership.incarnation IS 'New with every adoption.';
COMMENT ON COLUMN streamhouse.ownership.number IS 'Number of its last marker.';
COMMENT ON COLUMN streamhouse.ownership.proved_at IS 'When that was begun.';
COMMENT ON COLUMN streamhouse.ownership.assigns IS 'Whether agents get leases now.';
COMMENT ON COLUMN streamhouse.ownership.deletes IS 'Whether objects are deleted from the store now: the last proof is recent.';
COMMENT ON COLUMN streamhouse.ownership.synchronous_names IS 'Standbys that would go on without a gap when promoted.';
COMMENT ON COLUMN streamhouse.ownership.looked_at IS 'When an agent last looked at the store.';
COMMENT ON COLUMN streamhouse.ownership.found_number IS 'The newest marker that it found.';
COMMENT ON COLUMN streamhouse.ownership.found_era IS 'The era that it names.';
