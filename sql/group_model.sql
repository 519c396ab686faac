-- Groups of Kafka members that join, leave, die, change what they want and forget to answer, at random, each keeping the
-- rules of KIP-848; after every step, what must hold of every group does.
\set SHOW_CONTEXT never
SELECT (sh_create_topic('model-' || n, n)).partitions FROM generate_series(1, 5) AS n;

-- What a client knows: its epoch and what it owns. epoch -3: gone.
CREATE TEMP TABLE client (name text PRIMARY KEY, epoch int NOT NULL, owned int[] NOT NULL DEFAULT '{}', instance text, wants text[], is_unsure bool NOT NULL DEFAULT false);
CREATE TEMP TABLE step (n serial, what text);

-- Partitions as one number each.
CREATE FUNCTION pg_temp.pack(t int[], p int[]) RETURNS int[] LANGUAGE sql AS $$ SELECT coalesce(array_agg(a * 1000 + b ORDER BY a, b), '{}') FROM unnest(t, p) AS x (a, b) $$;
CREATE FUNCTION pg_temp.topics_of(o int[]) RETURNS int[] LANGUAGE sql AS $$ SELECT coalesce(array_agg(x / 1000 ORDER BY x), '{}') FROM unnest(o) AS x $$;
CREATE FUNCTION pg_temp.partitions_of(o int[]) RETURNS int[] LANGUAGE sql AS $$ SELECT coalesce(array_agg(x % 1000 ORDER BY x), '{}') FROM unnest(o) AS x $$;

CREATE FUNCTION pg_temp.some_topics() RETURNS text[] LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(array_agg('model-' || n), '{model-3}') FROM generate_series(1, 5) AS n WHERE random() < 0.6 $$;

CREATE FUNCTION pg_temp.join_group(who text, wants text[], chosen text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE a record; c client;
BEGIN
    SELECT * INTO c FROM client WHERE name = who;
    a := sh_group_heartbeat('model', who, 0, instance_id => c.instance, rebalance_timeout_ms => 60000, subscribed_topics => wants, assignor => chosen,
                            owned_topic_ids => '{}', owned_partitions => '{}');
    IF a.error_code <> 0 THEN RAISE EXCEPTION 'join of %: %', who, a; END IF;
    UPDATE client SET epoch = a.member_epoch, owned = pg_temp.pack(a.topic_ids, a.partitions), wants = join_group.wants, is_unsure = false WHERE name = who;
END $$;

-- A heartbeat; a client gives up at once what it is not to have, and says so with the next one. After an answer that got
-- lost it says everything about itself, and is told everything.
CREATE FUNCTION pg_temp.beat(who text, lost_answer bool) RETURNS void LANGUAGE plpgsql AS $$
DECLARE a record; c client; target int[];
BEGIN
    SELECT * INTO c FROM client WHERE name = who;
    a := sh_group_heartbeat('model', who, c.epoch, instance_id => c.instance, rebalance_timeout_ms => CASE WHEN c.is_unsure THEN 60000 ELSE -1 END,
                            subscribed_topics => CASE WHEN c.is_unsure THEN c.wants END, owned_topic_ids => pg_temp.topics_of(c.owned), owned_partitions => pg_temp.partitions_of(c.owned));
    IF a.error_code IN (25, 110) THEN
        UPDATE client SET epoch = -3, owned = '{}' WHERE name = who;
        RETURN;
    END IF;
    IF a.error_code <> 0 THEN RAISE EXCEPTION 'heartbeat of %: %', who, a; END IF;
    IF a.member_epoch < c.epoch THEN RAISE EXCEPTION 'epoch of % fell from % to %', who, c.epoch, a.member_epoch; END IF;
    UPDATE client SET is_unsure = lost_answer WHERE name = who;
    IF lost_answer THEN RETURN; END IF;
    IF a.topic_ids IS NOT NULL THEN
        target := pg_temp.pack(a.topic_ids, a.partitions);
        UPDATE client SET owned = target WHERE name = who;
    END IF;
    UPDATE client SET epoch = a.member_epoch WHERE name = who;
END $$;

CREATE FUNCTION pg_temp.check_group(settled bool) RETURNS text LANGUAGE plpgsql AS $$
DECLARE g streamhouse.consumer_group; bad text; wanted int[]; loads int[];
BEGIN
    SELECT * INTO g FROM streamhouse.consumer_group WHERE name = 'model';
    -- no partition with two clients
    SELECT string_agg(p::text, ',') INTO bad FROM (SELECT p FROM client, unnest(owned) AS p WHERE epoch > 0 GROUP BY p HAVING count(*) > 1) AS twice;
    IF bad IS NOT NULL THEN RETURN 'two own ' || bad; END IF;
    -- what a client owns is the brain's knowledge, too
    SELECT c.name INTO bad FROM client AS c, unnest(c.owned) AS p
    WHERE c.epoch > 0 AND NOT EXISTS (SELECT FROM streamhouse.group_partition AS x WHERE x.group_id = g.group_id AND x.topic_id = p / 1000 AND x.partition = p % 1000 AND x.owner_member = c.name)
      AND EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id AND m.member_id = c.name AND m.member_epoch > 0);
    IF bad IS NOT NULL THEN RETURN bad || ' owns what is not its own'; END IF;
    IF g.target_epoch > g.group_epoch THEN RETURN 'target before group'; END IF;
    -- every partition that somebody wants is to go to somebody who wants it, and no other is
    SELECT string_agg(x, ',') INTO bad FROM (
        (SELECT DISTINCT t.topic_id || ':' || p.partition AS x FROM streamhouse.group_member AS m, streamhouse.topic AS t, streamhouse.partition AS p
         WHERE m.group_id = g.group_id AND t.name = ANY (m.subscribed_topics) AND p.topic_id = t.topic_id AND t.deleted_at IS NULL)
        EXCEPT
        (SELECT x.topic_id || ':' || x.partition FROM streamhouse.group_partition AS x, streamhouse.group_member AS m, streamhouse.topic AS t
         WHERE x.group_id = g.group_id AND m.group_id = g.group_id AND m.member_id = x.target_member AND t.topic_id = x.topic_id AND t.name = ANY (m.subscribed_topics))) AS y;
    IF bad IS NOT NULL AND g.topics_hash = streamhouse.group_topics_hash(g.group_id) THEN RETURN 'nobody is to have ' || bad; END IF;
    IF settled THEN
        SELECT string_agg(format('%s-%s', x.topic_id, x.partition), ',') INTO bad FROM streamhouse.group_partition AS x
        WHERE x.group_id = g.group_id AND x.target_member IS DISTINCT FROM x.owner_member
          AND NOT EXISTS (SELECT FROM streamhouse.group_member AS m WHERE m.group_id = g.group_id AND m.member_id = x.target_member AND m.member_epoch = -2);
        IF bad IS NOT NULL THEN RETURN 'not settled: ' || bad; END IF;
        SELECT string_agg(m.member_id, ',') INTO bad FROM streamhouse.group_member AS m
        WHERE m.group_id = g.group_id AND m.member_epoch <> -2 AND (m.state <> 'stable' OR m.member_epoch <> g.target_epoch);
        IF bad IS NOT NULL THEN RETURN 'not stable: ' || bad; END IF;
        SELECT string_agg(c.name, ',') INTO bad FROM client AS c
        WHERE c.epoch > 0 AND c.owned IS DISTINCT FROM (SELECT pg_temp.pack(array_agg(x.topic_id), array_agg(x.partition)) FROM streamhouse.group_partition AS x
                                                        WHERE x.group_id = g.group_id AND x.owner_member = c.name);
        IF bad IS NOT NULL THEN RETURN 'do not know what they have: ' || bad; END IF;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION pg_temp.step(kind float, who text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE c client;
BEGIN
    SELECT * INTO c FROM client WHERE name = who;
    IF c.epoch <= -2 THEN
        PERFORM pg_temp.join_group(who, pg_temp.some_topics(), CASE WHEN random() < 0.2 THEN 'range' END);
        RETURN 'join ' || who;
    ELSIF kind < 0.7 THEN
        PERFORM pg_temp.beat(who, kind < 0.1);
        RETURN 'beat ' || who;
    ELSIF kind < 0.75 THEN
        PERFORM sh_group_heartbeat('model', who, -1, instance_id => c.instance);
        UPDATE client SET epoch = -3, owned = '{}' WHERE name = who;
        RETURN 'leave ' || who;
    ELSIF kind < 0.8 AND c.instance IS NOT NULL THEN
        PERFORM sh_group_heartbeat('model', who, -2, instance_id => c.instance);
        UPDATE client SET epoch = -2, owned = '{}' WHERE name = who;
        RETURN 'away ' || who;
    ELSIF kind < 0.86 THEN
        UPDATE streamhouse.group_member SET last_seen = '-infinity', session_timeout_ms = 1 WHERE member_id = who;
        UPDATE client SET epoch = -3, owned = '{}' WHERE name = who;
        RETURN 'death ' || who;
    ELSIF kind < 0.93 THEN
        UPDATE client SET wants = pg_temp.some_topics(), is_unsure = true WHERE name = who;
        PERFORM pg_temp.beat(who, false);
        RETURN 'subscribe ' || who;
    ELSIF kind < 0.95 THEN
        PERFORM sh_add_partitions('model-2', partitions + 1) FROM streamhouse.topic WHERE name = 'model-2' AND deleted_at IS NULL AND partitions < 12;
        RETURN 'grow';
    ELSIF kind < 0.97 THEN
        PERFORM sh_delete_topic('model-4');
        RETURN 'delete';
    ELSIF kind < 0.99 THEN
        PERFORM sh_create_topic('model-4', 4) WHERE NOT EXISTS (SELECT FROM streamhouse.topic WHERE name = 'model-4' AND deleted_at IS NULL);
        RETURN 'create';
    END IF;
    PERFORM sh_group_tick();
    RETURN 'tick';
END $$;

CREATE PROCEDURE pg_temp.run(steps int, seed float) LANGUAGE plpgsql AS $$
DECLARE bad text; epoch_before int := 0; epoch_now int; who text; i int;
BEGIN
    PERFORM setseed(seed);
    FOR i IN 1 .. steps LOOP
        SELECT name INTO who FROM client ORDER BY random() LIMIT 1;
        INSERT INTO step (what) SELECT pg_temp.step(random(), who);
        COMMIT;
        bad := pg_temp.check_group(false);
        SELECT group_epoch INTO epoch_now FROM streamhouse.consumer_group WHERE name = 'model';
        IF epoch_now < epoch_before THEN bad := 'the group epoch fell'; END IF;
        epoch_before := epoch_now;
        IF bad IS NOT NULL THEN RAISE EXCEPTION 'seed %, step %: % after %', seed, i, bad, (SELECT what FROM step ORDER BY n DESC LIMIT 1); END IF;
    END LOOP;
    -- Left in peace, it settles.
    FOR i IN 1 .. 6 LOOP
        FOR who IN SELECT name FROM client WHERE epoch > 0 ORDER BY name LOOP
            PERFORM pg_temp.beat(who, false);
            COMMIT;
            bad := pg_temp.check_group(false);
            IF bad IS NOT NULL THEN RAISE EXCEPTION 'seed %, settling: %', seed, bad; END IF;
        END LOOP;
    END LOOP;
    bad := pg_temp.check_group(true);
    IF bad IS NOT NULL THEN RAISE EXCEPTION 'seed %: %', seed, bad; END IF;
END $$;

INSERT INTO client (name, epoch, instance) SELECT 'c' || n, -3, CASE WHEN n <= 2 THEN 'i' || n END FROM generate_series(1, 6) AS n;
CALL pg_temp.run(150, 0.1);
CALL pg_temp.run(150, 0.2);
CALL pg_temp.run(150, 0.3);
CALL pg_temp.run(150, 0.4);
-- every kind of step was taken
SELECT count(DISTINCT split_part(what, ' ', 1)) FROM step;
UPDATE streamhouse.group_member SET last_seen = '-infinity', session_timeout_ms = 1;
SELECT sh_delete_group('model');
SELECT count(sh_delete_topic('model-' || n)) FROM generate_series(1, 5) AS n;
