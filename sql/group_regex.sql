-- Regular expressions over names of topics: RE2's syntax, as Kafka's clients send it, in PostgreSQL's.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
CREATE FUNCTION pg_temp.matches(regex text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    found text;
BEGIN
    SELECT string_agg(n, ' ' ORDER BY i) INTO found
    FROM unnest('{a,A,b,aa,ab,a.b,a-1,a_2,orders,orders.eu,Orders,-}'::text[]) WITH ORDINALITY AS t (n, i)
    WHERE n ~ streamhouse.regex_translate(regex);
    RETURN found;
EXCEPTION WHEN SQLSTATE 'SH128' THEN
    RETURN 'refused: ' || regexp_replace(SQLERRM, '^.*": ', '');
END $$;
CREATE TEMP TABLE expression (id int GENERATED ALWAYS AS IDENTITY, regex text);
-- what both syntaxes have, and a whole name
INSERT INTO expression (regex) VALUES ('a'), ('a.*'), ('^orders.*'), ('^orders.*|^a$'), ('.*(eu|b)'), ('a?b?'), ('a{2}'), ('a{1,2}'), ('[a-c]+'), ('[^a]*'), ('a.b'), ('a\.b'), ('a|'), ('()'), ('(|a)+'), ('(?:a)*');
-- what RE2 writes otherwise
INSERT INTO expression (regex) VALUES ('a.*?'), ('a+?b'), ('(?i)ORDERS'), ('(?i:o)rders'), ('(?i)o(?-i)rders'), ('a(?i)|b'), ('[^a](?i)'), ('(?i)[^a]'), ('(?P<n>a)b'), ('(?<n>a)b'), ('\Qa.b\E'), ('\Qa.b'), ('\d'), ('a[\d_-]+'),
    ('\D+'), ('\w+'), ('[\w.]+'), ('a\W\w'), ('\s'), ('\S'), ('\pL+'), ('\PL'), ('\p{Lu}'), ('\p{^Lu}'), ('[[:upper:]]'), ('[[:^alpha:][:lower:]]+'), ('\x61'), ('\x{61}'), ('\141'), ('\Aa\z'), ('a\b.*'), ('a\Bb'), ('(?s).a'), ('(?m)^a$'), ('(?U)a*'),
    ('x{'), ('x{1,'), ('x{,2}'), ('[]a]'), ('[a-]'), ('[+--]'), ('é'), ('[é-ü]'), ('[^é]');
-- what it does not know, or what would take long
INSERT INTO expression (regex) VALUES ('('), ('a)'), ('['), ('[b-a]'), ('[[:letter:]]'), ('*'), ('a**'), ('a*+'), ('a{2}{2}'), ('|*'), ('(*a)'), ('a{3,2}'), ('a{256}'), ('\1'), ('(a)\1'), ('\k<n>'), ('(?=a)'), ('(?!a)'), ('(?<=a)b'), ('(?<!a)b'), ('(?>a)'),
    ('(?z)a'), ('(?'), ('(?P<>a)'), ('(?i-)a'), ('\Z'), ('\e'), ('\p{Greek}'), ('\pX'), ('\x{110000}'), ('a\'), ('((a{100}){100})'), (repeat('.?', 100)), (repeat('(', 60) || repeat(')', 60)), ('(.*a.{20}.*){50}'),
    ('((((()?){255}){255}){255})'), ('((((?i)){255}){255})'), ('(((|||)*){255}){255}');
SELECT left(regex, 40) AS regex, pg_temp.matches(regex) FROM expression ORDER BY id;
SELECT streamhouse.regex_translate(repeat('a', 1025));
SELECT streamhouse.regex_translate(repeat('é', 512)) IS NOT NULL AS taken;
SELECT streamhouse.regex_translate('a(b');
-- what is taken is PostgreSQL's to read, and quickly: nothing here takes a second
SELECT count(*) FILTER (WHERE repeat('ab', 124) ~ streamhouse.regex_translate(r)) AS matched
FROM unnest(ARRAY[repeat('.?', 60), repeat('(a|b)*', 40), '.*a.{250}', '([ab]*a[ab]{100}){5}', '((a|ab|abc){1,9}b?)', repeat('a?', 45) || repeat('a', 50)]) AS r;
-- whatever is written: it is refused, or PostgreSQL can read it
CREATE FUNCTION pg_temp.random_regex(n int) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg((ARRAY['a', 'b', '-', '.', '(', '(?:', '(?i)', '(?-i:', '(?P<n>', ')', ')', '[', '[^', ']', ']', '[:alpha:]', '|', '*', '+', '?', '{2}', '{0,}', '{3,9}', '{',
                              '}', '^', '$', '\', '\d', '\W', '\pL', '\p{', '\x6', '\x{61}', '\14', '\Q', '\E', '\b', ',', 'é', '***:', '(?x)', '#', ' '])
                      [1 + get_byte(sha256(int4send(n)), i) % 44], '' ORDER BY i)
    FROM generate_series(0, n % 14) AS i
$$;
CREATE FUNCTION pg_temp.is_handled(regex text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    RETURN 'orders.eu' ~ streamhouse.regex_translate(regex) IS NOT NULL;
EXCEPTION WHEN SQLSTATE 'SH128' THEN
    RETURN false;
END $$;
SELECT count(*) FILTER (WHERE pg_temp.is_handled(pg_temp.random_regex(n))) > 2000 AS many_are_taken FROM generate_series(1, 20000) AS n;

-- members resolve anew when topics change, and only then; those of one expression together
SELECT (sh_create_topic(n, 1)).name FROM unnest('{rx.one,rx.two,other}'::text[]) AS n;
SELECT error_code, partitions FROM sh_group_heartbeat('rx', 'a', 0, rebalance_timeout_ms => 1, subscribed_regex => 'rx\.\w+', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT error_code FROM sh_group_heartbeat('rx', 'b', 0, rebalance_timeout_ms => 60000, subscribed_regex => 'rx\.\w+', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT member_id, resolved_topics FROM streamhouse.group_member ORDER BY 1;
SELECT sh_group_tick();
UPDATE streamhouse.group_member SET resolved_topics = '{rx.one}' WHERE member_id = 'b';
SELECT sh_group_tick();
SELECT member_id, resolved_topics FROM streamhouse.group_member ORDER BY 1;
SELECT (sh_create_topic('rx.three', 1)).name;
SELECT sh_group_step(), sh_group_step();
SELECT member_id, resolved_topics FROM streamhouse.group_member ORDER BY 1;
SELECT sh_delete_topic('rx.two') IS NOT NULL AS deleted, sh_group_tick();
SELECT member_id, resolved_topics FROM streamhouse.group_member ORDER BY 1;
SELECT error_code, error_message FROM sh_group_heartbeat('rx', 'c', 0, rebalance_timeout_ms => 1, subscribed_regex => '(?=rx)', owned_topic_ids => '{}', owned_partitions => '{}');
SELECT a.error_code, b.error_code FROM sh_group_heartbeat('rx', 'a', -1) AS a, sh_group_heartbeat('rx', 'b', -1) AS b;
SELECT sh_delete_group('rx');
SELECT sh_delete_topic(name) IS NOT NULL AS deleted FROM streamhouse.topic WHERE (name LIKE 'rx.%' OR name = 'other') AND deleted_at IS NULL;
