-- Rights: the roles, grants on topics, and who counts as the caller.
\set SHOW_CONTEXT never
DROP EXTENSION streamhouse;
CREATE EXTENSION streamhouse;
SELECT count(*) FROM (SELECT sh_create_topic(name, 1) FROM unnest('{orders,orders.eu,orders.us,clicks}'::text[]) AS name) AS t;
-- the columns are where src/tables.h says
SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'streamhouse.topic_grant'::regclass AND attnum > 0;
CREATE ROLE regress_alice;
CREATE ROLE regress_team;
CREATE ROLE regress_bob IN ROLE regress_team;
CREATE ROLE regress_admin IN ROLE streamhouse_admin;

-- a function of people, as those that produce and consume are: it runs as the owner and asks what the caller may
CREATE FUNCTION streamhouse.try(topic text, privilege text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM streamhouse.access_require((streamhouse.topic_find(topic)).topic_id, topic, privilege);
    RETURN format('%s may %s %s', streamhouse.caller(), privilege, topic);
END $$;
REVOKE ALL ON FUNCTION streamhouse.try FROM PUBLIC;
CREATE FUNCTION public.sh_try(topic text, privilege text) RETURNS text LANGUAGE c AS '$libdir/streamhouse', 'streamhouse_as_owner';

-- without any right: nothing, and the error says what to do
SET ROLE regress_alice;
SELECT sh_try('orders', 'produce');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_try('orders', 'consume');
SELECT sh_grant('orders', 'regress_alice', 'produce');
SELECT sh_revoke('orders', 'regress_alice', 'produce');
SELECT sh_grants();
SELECT * FROM streamhouse.topic_grant;
SELECT streamhouse.try('orders', 'produce');
RESET ROLE;

-- one grant: that privilege on that topic, given by an administrator
SET ROLE regress_admin;
SELECT sh_grant('orders', 'regress_alice', 'produce');
SELECT sh_grant('orders', 'regress_alice', 'produce', 'consume'), 'one is new';
SELECT sh_revoke('orders', 'regress_alice', 'consume');
SELECT topic, role, privilege, granted_by FROM sh_grants();
SET ROLE regress_alice;
SELECT sh_try('orders', 'produce');
SELECT sh_try('orders', 'consume');
SELECT sh_try('orders.eu', 'produce');
RESET ROLE;

-- an administrator, an agent, a superuser, the owner may everything; a producer and a consumer their half of it, everywhere
SET ROLE regress_admin;
SELECT sh_try('clicks', 'produce'), sh_try('clicks', 'consume');
SET ROLE streamhouse_agent;
SELECT sh_try('clicks', 'produce'), sh_try('clicks', 'consume');
SET ROLE streamhouse_producer;
SELECT sh_try('clicks', 'produce');
SELECT sh_try('clicks', 'consume');
SET ROLE streamhouse_consumer;
SELECT sh_try('clicks', 'consume');
SELECT sh_try('clicks', 'produce');
RESET ROLE;
SELECT sh_try('clicks', 'produce') = format('%I may produce clicks', current_user);

-- a member has what its role was granted, when it inherits
SELECT sh_grant('clicks', 'regress_team', 'consume');
SET ROLE regress_bob;
SELECT sh_try('clicks', 'consume');
SELECT sh_try('clicks', 'produce');
RESET ROLE;
CREATE ROLE regress_carol NOINHERIT IN ROLE regress_team;
SET ROLE regress_carol;
SELECT sh_try('clicks', 'consume');
RESET ROLE;
-- who logged in does not matter, nor who was before SET ROLE
SET SESSION AUTHORIZATION regress_bob;
SET ROLE regress_team;
SELECT sh_try('clicks', 'consume');
RESET SESSION AUTHORIZATION;

-- in somebody's SECURITY DEFINER function the definer's rights count; in one with the caller's, the caller's
CREATE FUNCTION public.by_bob() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT public.sh_try('clicks', 'consume') $$;
ALTER FUNCTION public.by_bob OWNER TO regress_bob;
CREATE FUNCTION public.by_anybody() RETURNS text LANGUAGE sql AS $$ SELECT public.sh_try('clicks', 'consume') $$;
SET ROLE regress_alice;
SELECT by_bob();
SELECT by_anybody();
RESET ROLE;
DROP FUNCTION public.by_bob, public.by_anybody;

-- a prefix stands for topics that are and that come; * for all; public for everybody
SELECT sh_grant('orders.*', 'regress_alice', 'consume');
SET ROLE regress_alice;
SELECT sh_try('orders.us', 'consume');
SELECT sh_try('orders', 'consume');
RESET ROLE;
SELECT (sh_create_topic('orders.cn')).name;
SELECT sh_grant('*', 'regress_bob', 'produce'), sh_grant('clicks', 'public', 'consume');
SET ROLE regress_alice;
SELECT sh_try('orders.cn', 'consume'), sh_try('clicks', 'consume');
SELECT sh_try('orders.cn', 'produce');
SET ROLE regress_bob;
SELECT sh_try('orders.cn', 'produce');
RESET ROLE;
SELECT topic, role, privilege FROM sh_grants();

-- a revoke is for the next statement of its own transaction, and takes back what was named, no more
SET ROLE regress_alice;
BEGIN;
SELECT sh_try('orders', 'produce');
SET LOCAL ROLE regress_admin;
SELECT sh_revoke('orders', 'regress_alice', 'produce', 'consume');
SET LOCAL ROLE regress_alice;
SELECT sh_try('orders', 'produce');
ROLLBACK;
-- it was rolled back
SELECT sh_try('orders', 'produce');
RESET ROLE;
SELECT sh_revoke('orders.*', 'regress_alice', 'consume'), sh_revoke('orders', 'regress_bob', 'produce');
SET ROLE regress_alice;
SELECT sh_try('orders.us', 'consume');
RESET ROLE;

-- a grant that is rolled back with its savepoint gives nothing
BEGIN;
SAVEPOINT before;
SELECT sh_grant('orders.us', 'regress_alice', 'produce');
SET LOCAL ROLE regress_alice;
SELECT sh_try('orders.us', 'produce');
ROLLBACK TO before;
SET LOCAL ROLE regress_alice;
SELECT sh_try('orders.us', 'produce');
ROLLBACK;

-- a grant follows its role when that is renamed, and dies with it: a later role of the name gets nothing
ALTER ROLE regress_alice RENAME TO regress_alicia;
SELECT topic, role, privilege FROM sh_grants() WHERE role LIKE 'regress_ali%';
DROP ROLE regress_alicia;
CREATE ROLE regress_alicia;
SET ROLE regress_alicia;
SELECT sh_try('orders', 'produce');
RESET ROLE;
SELECT topic, role, privilege FROM sh_grants() WHERE role LIKE 'regress_ali%';
-- pg_dump would leave it out
SELECT count(*) FROM streamhouse.topic_grant WHERE role = 0 OR EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = role);
SELECT count(*) FROM streamhouse.topic_grant;
-- the next grant clears it away
SELECT sh_grant('orders', 'regress_team', 'produce');
SELECT count(*) FROM streamhouse.topic_grant;

-- a grant dies with its topic: a later one of the name has none
SELECT sh_delete_topic('orders');
SELECT (sh_create_topic('orders')).name;
SET ROLE regress_team;
SELECT sh_try('orders', 'produce');
RESET ROLE;

-- what cannot be granted
SELECT sh_grant('nowhere', 'regress_bob', 'produce');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_grant('orders', 'regress_nobody', 'produce');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_grant('orders', 'regress_bob', 'write');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_grant('orders', 'regress_bob', NULL);
SELECT sh_grant('orders', 'regress_bob', VARIADIC '{}');
SELECT sh_grant('or%*', 'regress_bob', 'produce');
\echo :LAST_ERROR_SQLSTATE
SELECT sh_grant(NULL, 'regress_bob', 'produce');
SELECT sh_grant('orders', NULL, 'produce');
SELECT streamhouse.access_require(1, 'orders', 'write');

-- the roles themselves have no login, and what they inherit is this
SELECT r.rolname, r.rolcanlogin, r.rolsuper, array_agg(m.roleid::regrole ORDER BY m.roleid::regrole::text COLLATE "C") FILTER (WHERE m.roleid IS NOT NULL) AS member_of
FROM pg_roles AS r LEFT JOIN pg_auth_members AS m ON m.member = r.oid
WHERE r.rolname LIKE 'streamhouse\_%' GROUP BY 1, 2, 3 ORDER BY 1;

-- the caller's search_path chooses no operator of what runs as the owner
CREATE SCHEMA regress_trap;
GRANT USAGE ON SCHEMA regress_trap TO PUBLIC;
CREATE FUNCTION regress_trap.equal(int, int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this runs as another user' USING ERRCODE = 'raise_exception';
END $$;
CREATE OPERATOR regress_trap.= (FUNCTION = regress_trap.equal, LEFTARG = int, RIGHTARG = int);
SELECT count(*) FROM sh_grant('clicks', 'regress_bob', 'consume');
SET search_path = regress_trap, public, pg_catalog;
SET ROLE regress_bob;
SELECT count(*) FROM sh_poll('trapped', '{clicks}');
SELECT sh_leave('trapped');
SHOW search_path;
-- nor after an error
SELECT count(*) FROM sh_poll('trapped', '{nowhere}');
SHOW search_path;
RESET ROLE;
RESET search_path;
SELECT sh_delete_group('trapped');
DROP SCHEMA regress_trap CASCADE;

DROP FUNCTION public.sh_try;
DROP FUNCTION streamhouse.try;
DROP ROLE regress_alicia, regress_bob, regress_carol, regress_team, regress_admin;
