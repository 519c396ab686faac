-- The extension as a whole: what a catalog query can say about every object in it.
SET search_path = public; -- whoever runs this may have a schema of the extension's name
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
CREATE TEMP VIEW member AS
SELECT d.classid, d.objid FROM pg_depend AS d JOIN pg_extension AS e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
WHERE e.extname = 'streamhouse' AND d.deptype = 'e';
CREATE TEMP VIEW routine AS SELECT p.* FROM pg_proc AS p JOIN member AS m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;
CREATE TEMP VIEW relation AS SELECT c.* FROM pg_class AS c JOIN member AS m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;

-- there are members to look at
SELECT (SELECT count(*) > 30 FROM routine) AS routines, (SELECT count(*) > 15 FROM relation) AS relations;

-- every function and procedure has a comment
SELECT oid::regprocedure FROM routine WHERE coalesce(obj_description(oid, 'pg_proc'), '') = '';

-- every table, view and sequence we made has a comment (identity columns' sequences are PostgreSQL's)
SELECT oid::regclass FROM relation AS r
WHERE coalesce(obj_description(oid, 'pg_class'), '') = ''
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype = 'i');

-- every column of a table or a view has a comment
SELECT a.attrelid::regclass, a.attname FROM pg_attribute AS a JOIN relation AS r ON r.oid = a.attrelid
WHERE r.relkind IN ('r', 'v') AND a.attnum > 0 AND NOT a.attisdropped AND coalesce(col_description(a.attrelid, a.attnum), '') = '';

-- every type has a comment
SELECT t.oid::regtype FROM pg_type AS t JOIN member AS m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
WHERE coalesce(obj_description(t.oid, 'pg_type'), '') = '' AND t.typtype IN ('e', 'd')
   OR t.typtype = 'c' AND (SELECT relkind FROM pg_class WHERE oid = t.typrelid) = 'c' AND coalesce(obj_description(t.oid, 'pg_type'), '') = '' AND t.oid = m.objid;

-- every table has a primary key
SELECT oid::regclass FROM relation AS r WHERE relkind = 'r' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = r.oid AND indisprimary);

-- every SECURITY DEFINER function pins its search_path, with pg_temp last
SELECT oid::regprocedure FROM routine
WHERE prosecdef AND NOT coalesce(proconfig && '{"search_path=pg_catalog, pg_temp"}'::text[], false);

-- every function that runs as the owner for its caller calls one that nobody else may, which pins its search_path if it is not C
SELECT p.oid::regprocedure FROM routine AS p
WHERE p.prosrc = 'streamhouse_as_owner'
  AND NOT EXISTS (SELECT FROM routine AS i JOIN pg_language AS l ON l.oid = i.prolang
                  WHERE i.pronamespace = 'streamhouse'::regnamespace AND 'sh_' || i.proname = p.proname AND i.proargtypes = p.proargtypes
                    AND (l.lanname = 'c' OR coalesce(i.proconfig && '{"search_path=pg_catalog, pg_temp"}'::text[], false)));

-- every function's callers are named, PUBLIC (shown as -) among them, below
SELECT oid::regprocedure FROM routine WHERE proacl IS NULL;
-- in schema streamhouse, what views and sh_watch() call may be called by others than the owner
SELECT p.oid::regprocedure, x.grantee::regrole FROM routine AS p, aclexplode(p.proacl) AS x
WHERE p.pronamespace = 'streamhouse'::regnamespace AND x.grantee <> p.proowner ORDER BY p.oid::regprocedure::text COLLATE "C";

-- nobody but the owner may read or write a table; readers may see views and a table
SELECT r.oid::regclass, x.grantee::regrole, x.privilege_type
FROM relation AS r, aclexplode(r.relacl) AS x WHERE x.grantee <> r.relowner ORDER BY r.oid::regclass::text COLLATE "C", 2, 3;

-- pg_dump carries the rows of every table but the definitions, which the extension brings, and what is measured
SELECT oid::regclass FROM relation
WHERE relkind IN ('r', 'S') AND oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'streamhouse')::oid[]) ORDER BY oid::regclass::text COLLATE "C";

-- what each role may call, by name
SELECT DISTINCT x.grantee::regrole::text COLLATE "C" AS role, p.proname COLLATE "C" AS routine
FROM routine AS p, aclexplode(p.proacl) AS x WHERE x.grantee <> p.proowner ORDER BY 1, 2;

-- nothing in the functions' schema is named other than sh_*, and nothing sh_* is elsewhere
SELECT oid::regprocedure FROM routine WHERE (pronamespace = 'streamhouse'::regnamespace) = (proname LIKE 'sh\_%');

-- another schema may hold the functions
DROP EXTENSION streamhouse;
CREATE SCHEMA "Odd name";
CREATE EXTENSION streamhouse SCHEMA "Odd name";
SELECT (t).name, (t).partitions FROM "Odd name".sh_create_topic('elsewhere', 2) AS t;
SELECT count(*) FROM "Odd name".sh_agent_heartbeat('a', gen_random_uuid(), 'h', 1, NULL, NULL, NULL, NULL, 60000, NULL);
SELECT count(*) FROM "Odd name".sh_reap(1, 1);

-- dropping it leaves nothing behind
DROP EXTENSION streamhouse;
SELECT count(*) FROM pg_namespace WHERE nspname = 'streamhouse';
SELECT count(*) FROM pg_proc WHERE proname LIKE 'sh\_%';
DROP SCHEMA "Odd name";
CREATE EXTENSION streamhouse;
