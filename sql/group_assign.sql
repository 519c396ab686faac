-- The assignors, as functions of who subscribes to what and who had what before; and a group's heartbeats against what
-- must hold of every group, over random joins, leaves, subscriptions, deaths and topics that come and grow.
\set SHOW_CONTEXT never

-- range: in runs, the first members have one more, and partition n of both topics goes to one member
SELECT streamhouse.group_assign('range', 3, '{1,1,1,1,1,2,2,2,2,2}', '{0,0,0,0,0,0,0,0,0,0}', '{1,1,1,2,2,2}', '{1,2,3,1,2,3}');
-- range: more members than partitions; a topic that nobody wants; one that one wants
SELECT streamhouse.group_assign('range', 3, '{1,2,2,3}', '{0,0,0,0}', '{1,1,1,3}', '{1,2,3,2}');
-- uniform: from nothing
SELECT streamhouse.group_assign('uniform', 3, '{1,1,1,1,1}', '{0,0,0,0,0}', '{1,1,1}', '{1,2,3}');
-- uniform: a fourth member takes one from each of two, and nothing else moves
SELECT streamhouse.group_assign('uniform', 4, '{1,1,1,1,1,1,1,1}', '{1,1,1,2,2,2,3,3}', '{1,1,1,1}', '{1,2,3,4}');
-- uniform: what a member is not subscribed to any more goes to one that is
SELECT streamhouse.group_assign('uniform', 2, '{1,1,2,2}', '{1,1,1,1}', '{1,2}', '{1,2}');
-- uniform: who can only have one topic gets its share of that one
SELECT streamhouse.group_assign('uniform', 2, '{1,1,2,2}', '{1,1,1,1}', '{1,1,2}', '{1,2,1}');
-- nobody there, nothing there
SELECT streamhouse.group_assign('uniform', 0, '{1,1}', '{0,0}', '{}', '{}'), streamhouse.group_assign('range', 2, '{}', '{}', '{}', '{}');
-- nonsense
SELECT streamhouse.group_assign('sticky', 1, '{1}', '{0}', '{1}', '{1}');
SELECT streamhouse.group_assign('uniform', 1, '{1}', '{2}', '{1}', '{1}');
SELECT streamhouse.group_assign('uniform', 1, '{2,1}', '{0,0}', '{1}', '{1}');
SELECT streamhouse.group_assign('uniform', 1, '{1}', '{0}', '{1}', '{2}');

-- Random groups whose members all subscribe to all topics: every partition has a member, loads differ by one at most, and
-- as few partitions move as that allows: all that had no member, and what members had beyond the most they may keep.
CREATE FUNCTION pg_temp.assign_random(seed float) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    members int; partitions int; topics int[]; before int[]; result int[]; subscribed_topics int[]; subscribed_members int[];
    least int; most int; moved int; must int;
BEGIN
    PERFORM setseed(seed);
    members := 1 + floor(random() * 9);
    partitions := 1 + floor(random() * 60);
    SELECT array_agg(t ORDER BY t), array_agg(floor(random() * (members + 1) * random())::int) INTO topics, before
    FROM (SELECT 1 + floor(random() * 4)::int AS t FROM generate_series(1, partitions)) AS t;
    SELECT array_agg(t ORDER BY t, m), array_agg(m ORDER BY t, m) INTO subscribed_topics, subscribed_members
    FROM (SELECT DISTINCT t FROM unnest(topics) AS t) AS t, generate_series(1, members) AS m;
    result := streamhouse.group_assign('uniform', members, topics, before, subscribed_topics, subscribed_members);
    SELECT min(n), max(n) INTO least, most
    FROM (SELECT count(r) AS n FROM generate_series(1, members) AS m LEFT JOIN unnest(result) AS r ON r = m GROUP BY m) AS l;
    SELECT count(*) INTO moved FROM unnest(before, result) AS x (b, r) WHERE b <> 0 AND b <> r;
    -- The members that had most keep one more, as many as there are places for.
    SELECT coalesce(sum(greatest(0, n - partitions / members - CASE WHEN rank <= partitions % members THEN 1 ELSE 0 END)), 0) INTO must
    FROM (SELECT n, row_number() OVER (ORDER BY n DESC) AS rank
          FROM (SELECT count(b) AS n FROM generate_series(1, members) AS m LEFT JOIN unnest(before) AS b ON b = m GROUP BY m) AS l) AS l;
    RETURN CASE WHEN 0 = ANY (result) THEN 'somebody has nobody'
                WHEN most - least > 1 THEN format('loads from %s to %s', least, most)
                WHEN moved <> must THEN format('%s moved, %s had to', moved, must) END;
END $$;
SELECT seed, pg_temp.assign_random(seed / 1000.0) FROM generate_series(1, 1000) AS seed WHERE pg_temp.assign_random(seed / 1000.0) IS NOT NULL;

-- With subscriptions that differ: whoever has a partition wants it, what anybody wants has a member, and no partition
-- could go to a member that has two less.
CREATE FUNCTION pg_temp.assign_mixed(seed float) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    members int; topics int[]; before int[]; result int[]; subscribed_topics int[]; subscribed_members int[]; load int[]; p int; m int;
BEGIN
    PERFORM setseed(seed);
    members := 1 + floor(random() * 7);
    SELECT array_agg(t ORDER BY t), array_agg(floor(random() * (members + 1))::int) INTO topics, before
    FROM (SELECT 1 + floor(random() * 5)::int AS t FROM generate_series(1, 1 + floor(random() * 40)::int)) AS t;
    SELECT coalesce(array_agg(t ORDER BY t, s), '{}'), coalesce(array_agg(s ORDER BY t, s), '{}') INTO subscribed_topics, subscribed_members
    FROM generate_series(1, 5) AS t, generate_series(1, members) AS s WHERE random() < 0.5;
    result := streamhouse.group_assign('uniform', members, topics, before, subscribed_topics, subscribed_members);
    SELECT array_agg((SELECT count(*) FROM unnest(result) AS r WHERE r = s) ORDER BY s) INTO load FROM generate_series(1, members) AS s;
    FOR p IN 1 .. cardinality(topics) LOOP
        IF result[p] = 0 AND topics[p] = ANY (subscribed_topics) THEN
            RETURN format('partition %s has nobody', p);
        END IF;
        IF result[p] <> 0 AND NOT EXISTS (SELECT FROM unnest(subscribed_topics, subscribed_members) AS x (t, s) WHERE t = topics[p] AND s = result[p]) THEN
            RETURN format('member %s does not want partition %s', result[p], p);
        END IF;
        FOR m IN SELECT s FROM unnest(subscribed_topics, subscribed_members) AS x (t, s) WHERE t = topics[p] LOOP
            IF load[m] + 2 <= load[result[p]] THEN
                RETURN format('partition %s of member %s with %s could go to member %s with %s', p, result[p], load[result[p]], m, load[m]);
            END IF;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
SELECT seed, pg_temp.assign_mixed(seed / 1000.0) FROM generate_series(1, 500) AS seed WHERE pg_temp.assign_mixed(seed / 1000.0) IS NOT NULL;
