-- compare.sql: holds sh_commit_object() and its model equal, on answers and on table contents. Every round changes a small
-- world (leases move, topics go, objects expire), makes up a call, gives it to one of the two in a subtransaction that
-- is undone, then to the other. A second session holds locks. Usage, in a database of its own with the extension:
--   \i test/model/compare.sql
--   CALL model_test.run(rounds => 1000, seed => 1);

CREATE EXTENSION IF NOT EXISTS dblink;
DROP SCHEMA IF EXISTS model_test CASCADE;
CREATE SCHEMA model_test;

CREATE TABLE model_test.call (number serial PRIMARY KEY, agent_id int, object_id int8, object_bytes int8, rows streamhouse.commit_row[]);
CREATE TABLE model_test.seen (number serial PRIMARY KEY, function text, status text, error_code text);

-- How often the answers were of each kind: shows that the rounds reach everything.
CREATE VIEW model_test.reach AS
    SELECT status, error_code, count(*) AS times FROM model_test.seen GROUP BY status, error_code;

-- A whole number from 0 to below limit.
CREATE FUNCTION model_test.pick(limit_ int) RETURNS int LANGUAGE sql VOLATILE AS $$ SELECT floor(random() * limit_)::int $$;

CREATE FUNCTION model_test.chance(percent int) RETURNS bool LANGUAGE sql VOLATILE AS $$ SELECT random() * 100 < percent $$;

CREATE PROCEDURE model_test.clear() LANGUAGE plpgsql AS $$
BEGIN
    TRUNCATE streamhouse.partition, streamhouse.lease, streamhouse.object, streamhouse.segment, streamhouse.producer,
             streamhouse.commit_answer, model_test.call;
    INSERT INTO streamhouse.partition (topic_id, partition, floor_offset, log_start_offset)
    SELECT t, p, p * 100, p FROM generate_series(1, 2) AS t, generate_series(0, 2) AS p;
    INSERT INTO streamhouse.lease (topic_id, partition, agent_id, epoch)
    SELECT t, p, 1, 0 FROM generate_series(1, 2) AS t, generate_series(0, 2) AS p;
END
$$;

-- What may happen between two calls.
CREATE PROCEDURE model_test.change_world() LANGUAGE plpgsql AS $$
BEGIN
    IF model_test.chance(20) THEN
        UPDATE streamhouse.lease SET epoch = epoch + 1, agent_id = CASE WHEN model_test.chance(70) THEN 1 WHEN model_test.chance(50) THEN 2 END
        WHERE topic_id = 1 + model_test.pick(2) AND partition = model_test.pick(3);
    END IF;
    IF model_test.chance(5) THEN
        UPDATE streamhouse.partition SET floor_offset = floor_offset + 1000, log_start_offset = log_start_offset + 1
        WHERE topic_id = 1 + model_test.pick(2) AND partition = model_test.pick(3);
    END IF;
    IF model_test.chance(2) THEN
        DELETE FROM streamhouse.partition WHERE topic_id = 2;
        DELETE FROM streamhouse.lease WHERE topic_id = 2;
    END IF;
    IF model_test.chance(5) THEN
        DELETE FROM streamhouse.producer WHERE producer_id = model_test.pick(4);
    END IF;
    IF model_test.chance(5) THEN
        DELETE FROM streamhouse.lease WHERE topic_id = 1 AND partition = 2;
    END IF;
    IF model_test.chance(5) THEN
        DELETE FROM streamhouse.commit_answer WHERE object_id % 3 = 0;
    END IF;
    IF model_test.chance(10) THEN
        UPDATE streamhouse.object SET expires_at = now() - interval '1 s' WHERE state = 'intent';
    END IF;
    IF model_test.chance(5) THEN
        UPDATE streamhouse.object SET state = 'deleting' WHERE object_id % 4 = 0;
    END IF;
END
$$;

-- A batch for a producer that is new, next in line, a repetition, or out of line.
CREATE FUNCTION model_test.make_row(place int, byte_start int8) RETURNS streamhouse.commit_row LANGUAGE plpgsql AS $$
DECLARE
    made streamhouse.commit_row;
    known streamhouse.producer;
BEGIN
    made := ROW(place, 1 + model_test.pick(2), model_test.pick(3), 0, byte_start, 1 + model_test.pick(500), 1 + model_test.pick(10),
                -1, model_test.pick(1000) - 1, model_test.pick(5) - 1, -1, 8 * model_test.pick(2), -1)::streamhouse.commit_row;
    IF model_test.chance(3) THEN made.topic_id := 99; END IF;
    IF model_test.chance(2) THEN made.offset_count := model_test.pick(2) - 1; END IF;
    IF model_test.chance(1) THEN made.offset_count := 2147483647; END IF;
    IF model_test.chance(2) THEN made.attributes := 16 * (1 + model_test.pick(2)); END IF;
    made.lease_epoch := coalesce((SELECT epoch FROM streamhouse.lease AS l WHERE (l.topic_id, l.partition) = (made.topic_id, made.partition)), 0);
    IF model_test.chance(5) THEN made.lease_epoch := made.lease_epoch - 1; END IF;
    IF made.producer_id < 0 THEN RETURN made; END IF;
    SELECT * INTO known FROM streamhouse.producer AS p
    WHERE (p.topic_id, p.partition, p.producer_id) = (made.topic_id, made.partition, made.producer_id) ORDER BY end_offset DESC LIMIT 1;
    made.producer_epoch := coalesce(known.producer_epoch, 2);
    made.first_sequence := ((coalesce(known.last_sequences[1], 2147483600 + model_test.pick(40))::int8 + 1) & 2147483647)::int4;
    IF model_test.chance(15) AND known.topic_id IS NOT NULL THEN
        made.first_sequence := known.first_sequences[1 + model_test.pick(cardinality(known.first_sequences))];
        made.offset_count := coalesce((SELECT ((l::int8 - f) & 2147483647) + 1 FROM unnest(known.first_sequences, known.last_sequences) AS u (f, l)
                                       WHERE f = made.first_sequence AND ((l::int8 - f) & 2147483647) < 2147483647 LIMIT 1), 1);
    ELSIF model_test.chance(8) THEN
        made.first_sequence := model_test.pick(50) - 1;
    END IF;
    IF model_test.chance(8) THEN
        made.producer_epoch := greatest(made.producer_epoch + model_test.pick(4) - 2, -1);
        IF model_test.chance(60) THEN made.first_sequence := 0; END IF;
    END IF;
    RETURN made;
END
$$;

-- Rows of a new object. A producer's second batch in a call goes on where its first one ended.
CREATE FUNCTION model_test.make_rows() RETURNS streamhouse.commit_row[] LANGUAGE plpgsql AS $$
DECLARE
    made streamhouse.commit_row[];
    earlier streamhouse.commit_row;
    one streamhouse.commit_row;
    byte_start int8 := 0;
BEGIN
    FOR place IN 0 .. model_test.pick(CASE WHEN model_test.chance(10) THEN 60 ELSE 12 END) LOOP
        one := model_test.make_row(place, byte_start);
        IF place > 0 AND model_test.chance(60) THEN
            earlier := made[1 + model_test.pick(place)];
            one.topic_id := earlier.topic_id;
            one.partition := earlier.partition;
            one.lease_epoch := earlier.lease_epoch;
            one.producer_id := earlier.producer_id;
            one.producer_epoch := earlier.producer_epoch;
            one.first_sequence := CASE WHEN model_test.chance(20) OR earlier.first_sequence < 0 THEN earlier.first_sequence
                                       ELSE (earlier.first_sequence::int8 + earlier.offset_count) & 2147483647 END;
        END IF;
        made := array_append(made, one);
        byte_start := byte_start + one.byte_length + CASE WHEN model_test.chance(10) THEN 7 ELSE 0 END;
    END LOOP;
    RETURN made;
END
$$;

-- Breaks a packed row in one of the ways that must be an error.
CREATE FUNCTION model_test.spoil(packed bytea) RETURNS bytea LANGUAGE sql VOLATILE AS $$
    SELECT CASE model_test.pick(6)
        WHEN 0 THEN packed || '\x00'::bytea
        WHEN 1 THEN ''::bytea
        WHEN 2 THEN set_byte(packed, 0, 255)
        WHEN 3 THEN set_byte(packed, 16, 255)
        WHEN 4 THEN set_byte(packed, 24, 127)
        ELSE packed || packed END
$$;

CREATE FUNCTION model_test.state() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT concat_ws(E'\n',
        (SELECT string_agg(s::text, ' ' ORDER BY s) FROM streamhouse.segment AS s),
        (SELECT string_agg(p::text, ' ' ORDER BY p) FROM (SELECT topic_id, partition, producer_id, end_offset, producer_epoch,
            first_sequences, last_sequences, base_offsets FROM streamhouse.producer) AS p),
        (SELECT string_agg(a::text, ' ' ORDER BY a) FROM (SELECT object_id, batch, batches, statuses, error_codes, base_offsets
            FROM streamhouse.commit_answer) AS a),
        (SELECT string_agg(o::text, ' ' ORDER BY o) FROM (SELECT object_id, state, bytes FROM streamhouse.object) AS o))
$$;

-- Answers and tables after a call, or the error's state.
CREATE FUNCTION model_test.perform_call(function text, agent_id int, object_id int8, object_bytes int8, packed bytea, undo bool)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    outcome text;
BEGIN
    BEGIN
        EXECUTE format('WITH answer AS (SELECT * FROM %s($1, $2, $3, $4) WITH ORDINALITY),
                             seen AS (INSERT INTO model_test.seen (function, status, error_code)
                                      SELECT %L, status, error_code FROM answer)
                        SELECT string_agg(answer::text, '' '' ORDER BY ordinality) FROM answer', function, function)
        INTO outcome USING agent_id, object_id, object_bytes, packed;
        outcome := outcome || E'\n' || model_test.state();
        IF undo THEN
            RAISE EXCEPTION 'undo' USING ERRCODE = 'MT000';
        END IF;
    EXCEPTION
        WHEN SQLSTATE 'MT000' THEN NULL;
        WHEN OTHERS THEN
            outcome := 'error ' || SQLSTATE;
            INSERT INTO model_test.seen (function, status, error_code) VALUES (function, 'error', SQLSTATE);
    END;
    RETURN outcome;
END
$$;

CREATE FUNCTION model_test.compare(round int, agent_id int, object_id int8, object_bytes int8, packed bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    functions text[] := ARRAY['sh_commit_object', 'streamhouse.commit_object_model'];
    first int := 1 + model_test.pick(2);
    outcomes text[];
BEGIN
    outcomes[first] := model_test.perform_call(functions[first], agent_id, object_id, object_bytes, packed, undo => true);
    outcomes[3 - first] := model_test.perform_call(functions[3 - first], agent_id, object_id, object_bytes, packed, undo => false);
    IF outcomes[1] IS DISTINCT FROM outcomes[2] THEN
        RAISE EXCEPTION 'sh_commit_object() and its model disagree in round %', round
            USING DETAIL = format(E'call %s %s %s %s\nC:     %s\nmodel: %s', agent_id, object_id, object_bytes, packed, outcomes[1], outcomes[2]);
    END IF;
END
$$;

CREATE FUNCTION model_test.new_call() RETURNS model_test.call LANGUAGE sql VOLATILE AS $$
    WITH object AS (
        INSERT INTO streamhouse.object (key, agent_id, expires_at)
        VALUES (gen_random_uuid()::text, CASE WHEN model_test.chance(95) THEN 1 ELSE 2 END, now() + interval '1 h') RETURNING object_id
    )
    INSERT INTO model_test.call (agent_id, object_id, object_bytes, rows) SELECT 1, object_id, 100000, model_test.make_rows() FROM object RETURNING *
$$;

-- A call as it was, or some of its batches, perhaps in another order.
CREATE FUNCTION model_test.old_call() RETURNS model_test.call LANGUAGE plpgsql AS $$
DECLARE
    found model_test.call;
BEGIN
    SELECT * INTO found FROM model_test.call ORDER BY random() LIMIT 1;
    IF model_test.chance(50) THEN
        found.rows := (SELECT array_agg(r ORDER BY CASE WHEN found.number % 2 = 0 THEN random() ELSE r.batch END)
                       FROM (SELECT * FROM unnest(found.rows) WHERE random() < 0.6 OR batch = 0) AS r);
    END IF;
    RETURN found;
END
$$;

CREATE FUNCTION model_test.next_call() RETURNS model_test.call LANGUAGE plpgsql AS $$
BEGIN
    IF model_test.chance(30) AND EXISTS (SELECT FROM model_test.call) THEN
        RETURN model_test.old_call();
    END IF;
    RETURN model_test.new_call();
END
$$;

-- Has the other session lock something, or nothing.
CREATE FUNCTION model_test.lock_some(object_id int8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dblink_exec('model_test_locker', 'BEGIN');
    IF model_test.chance(25) THEN
        PERFORM * FROM dblink('model_test_locker', format('SELECT 1 FROM streamhouse.partition WHERE partition = %s FOR UPDATE', model_test.pick(3)))
            AS locked (one int);
    END IF;
    IF model_test.chance(4) THEN
        PERFORM * FROM dblink('model_test_locker', format('SELECT 1 FROM streamhouse.object WHERE object_id = %s FOR UPDATE', object_id))
            AS locked (one int);
    END IF;
END
$$;

CREATE PROCEDURE model_test.run(rounds int, seed int, rounds_a_world int DEFAULT 60) LANGUAGE plpgsql AS $$
DECLARE
    call model_test.call;
    packed bytea;
BEGIN
    PERFORM setseed((seed % 1000000) / 1000000.0);
    PERFORM dblink_connect('model_test_locker', format('dbname=%L host=%L port=%s user=%L', current_database(),
        trim(split_part(current_setting('unix_socket_directories'), ',', 1)), current_setting('port'), current_user));
    FOR round IN 0 .. rounds - 1 LOOP
        IF round % rounds_a_world = 0 THEN
            CALL model_test.clear();
        END IF;
        CALL model_test.change_world();
        call := model_test.next_call();
        packed := streamhouse.pack_commit_rows(call.rows);
        IF model_test.chance(2) THEN
            packed := model_test.spoil(packed);
        END IF;
        COMMIT;
        PERFORM model_test.lock_some(call.object_id);
        PERFORM model_test.compare(round, call.agent_id, call.object_id, call.object_bytes, packed);
        PERFORM dblink_exec('model_test_locker', 'ROLLBACK');
        COMMIT;
    END LOOP;
    PERFORM dblink_disconnect('model_test_locker');
END
$$;
