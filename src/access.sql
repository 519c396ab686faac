-- access.sql: who may produce to a topic and consume from it.

CREATE FUNCTION streamhouse.caller() RETURNS regrole
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_caller';
COMMENT ON FUNCTION streamhouse.caller IS 'The role on whose behalf a function runs that has the rights of the extension''s owner (see owner.c); elsewhere current_user.';
