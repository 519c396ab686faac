-- A value of jsonb is kept as PostgreSQL writes it, whatever is in it.
SET client_min_messages = warning;
SELECT FROM sh_create_topic('jsonb.text', 1);

CREATE TEMP TABLE document (id int PRIMARY KEY, content jsonb);
INSERT INTO document VALUES
    (1, '{}'), (2, '[]'), (3, '{"a": {}}'), (4, '[[], {}, [[]]]'), (5, 'null'), (6, 'true'), (7, '"text"'), (8, '""'), (9, '-1.50e3'),
    (10, '0.000000000000000000000000000001'), (11, '123456789012345678901234567890'),
    (12, '{"b": 1, "a": [1, "two", null, true, false, {"c": []}], "": ""}'),
    (13, to_jsonb(e'quote " backslash \\ slash / tab \t line \n return \r feed \f back \b bell \x07 escape \x1b delete \x7f'::text)),
    (14, jsonb_build_object(e'key "\n', e'\u00e9\u4e2d\U0001F600')), (15, to_jsonb(e'\n'::text)), (16, to_jsonb(repeat(e'a"', 1000))),
    (17, jsonb_build_array(1, jsonb_build_array(2, jsonb_build_object('x', jsonb_build_array(3))), 4));

SELECT count(sh_enqueue('jsonb.text', content)) AS queued FROM (SELECT content FROM document ORDER BY id) AS ordered;

SELECT count(*) AS kept, count(*) FILTER (WHERE convert_from(r.value, 'UTF8') IS DISTINCT FROM d.content::text) AS different
FROM sh_fetch('jsonb.text', 0, 0) AS r JOIN document AS d ON d.id = r."offset" + 1;
SELECT convert_from(value, 'UTF8') AS value FROM sh_fetch('jsonb.text', 0, 8, 7);
