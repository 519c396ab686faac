-- access.sql: who may produce to a topic and consume from it. access.c asks; here it is granted.

CREATE FUNCTION streamhouse.caller() RETURNS regrole
LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'streamhouse_caller';
COMMENT ON FUNCTION streamhouse.caller IS 'The role on whose behalf a function runs that has the rights of the extension''s owner (see owner.c); elsewhere current_user.';

CREATE TYPE streamhouse.topic_privilege AS ENUM ('produce', 'consume');
COMMENT ON TYPE streamhouse.topic_privilege IS 'What can be granted on a topic: produce (append records), consume (read them).';

-- A role is kept by its oid, so that it may be renamed and that one of a dropped role's name gets nothing; pg_dump writes
-- a regrole as a name, which means that role where it is restored. Roles have to be restored first, as for every GRANT.
CREATE TABLE streamhouse.topic_grant (
    topic_id int NOT NULL,
    prefix text NOT NULL DEFAULT '' CHECK (topic_id = 0 OR prefix = ''),
    role regrole NOT NULL,
    privilege streamhouse.topic_privilege NOT NULL,
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL,
    PRIMARY KEY (topic_id, prefix, role, privilege)
);
COMMENT ON TABLE streamhouse.topic_grant IS 'Who may do what with which topic, beside the roles that may everywhere: sh_grant() writes it.';
COMMENT ON COLUMN streamhouse.topic_grant.topic_id IS 'The topic; 0: every topic whose name begins with prefix, now and later.';
COMMENT ON COLUMN streamhouse.topic_grant.prefix IS 'What names begin with; empty means every topic, and for a single topic nothing.';
COMMENT ON COLUMN streamhouse.topic_grant.role IS 'To whom: this role and its members; - (oid 0) is everybody.';
COMMENT ON COLUMN streamhouse.topic_grant.privilege IS 'What they may do.';
COMMENT ON COLUMN streamhouse.topic_grant.granted_by IS 'Who granted it.';
COMMENT ON COLUMN streamhouse.topic_grant.granted_at IS 'When.';
-- The grants of dropped roles stay behind: restored elsewhere, their numbers could be those of other roles.
SELECT pg_catalog.pg_extension_config_dump('streamhouse.topic_grant',
    'WHERE role = 0 OR EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = role)');

CREATE FUNCTION streamhouse.access_require(topic_id int, topic text, privilege text) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_access_require';
COMMENT ON FUNCTION streamhouse.access_require IS 'Raises 42501 unless the caller may produce to or consume from the topic.';

CREATE FUNCTION streamhouse.access_forget() RETURNS void
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_access_forget';
COMMENT ON FUNCTION streamhouse.access_forget IS 'Makes the running transaction ask again what it was allowed before.';

CREATE FUNCTION streamhouse.grant_role(role name) RETURNS regrole
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_role oid;
BEGIN
    IF role = 'public' THEN
        RETURN 0;
    END IF;
    SELECT r.oid INTO found_role FROM pg_roles AS r WHERE r.rolname = grant_role.role;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('role "%s" does not exist', role),
            HINT = 'Create it with CREATE ROLE, or name public for everybody.';
    END IF;
    RETURN found_role;
END $$;
COMMENT ON FUNCTION streamhouse.grant_role IS 'The role of that name, 0 for public; raises 42704 when there is none.';

CREATE FUNCTION streamhouse.grant_privileges(privileges text[]) RETURNS streamhouse.topic_privilege[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(cardinality(privileges), 0) = 0 OR NOT coalesce(privileges <@ '{produce,consume}', false) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = format('invalid privileges: %s', coalesce(privileges::text, 'null')),
            HINT = 'Name produce, consume or both: sh_grant(''orders'', ''alice'', ''produce'', ''consume'').';
    END IF;
    RETURN privileges;
END $$;
COMMENT ON FUNCTION streamhouse.grant_privileges IS 'Privileges by their names; raises 22023 for anything but produce and consume.';

-- topic_lock() keeps sh_delete_topic() out until the grant is written.
CREATE FUNCTION streamhouse.grant_target(topic text, OUT topic_id int, OUT prefix text)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF right(topic, 1) = '*' THEN
        topic_id := 0;
        prefix := left(topic, -1);
        IF prefix !~ '^[a-zA-Z0-9._-]*$' THEN
            PERFORM streamhouse.topic_check_name(topic);
        END IF;
    ELSE
        topic_id := (streamhouse.topic_lock(topic)).topic_id;
        prefix := '';
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.grant_target IS 'What a grant is on: a topic by its name (42704 when there is none), or the beginning of names before a *.';

CREATE FUNCTION streamhouse.grant(topic text, role name, VARIADIC privileges text[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
    granted int;
BEGIN
    DELETE FROM streamhouse.topic_grant AS g WHERE g.role <> 0 AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.oid = g.role);
    SELECT * INTO target FROM streamhouse.grant_target(topic);
    INSERT INTO streamhouse.topic_grant (topic_id, prefix, role, privilege, granted_by, granted_at)
    SELECT DISTINCT target.topic_id, target.prefix, streamhouse.grant_role("grant".role), p.privilege, streamhouse.caller()::text, now()
    FROM unnest(streamhouse.grant_privileges(privileges)) AS p (privilege)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS granted = ROW_COUNT;
    RETURN granted;
END $$;
COMMENT ON FUNCTION streamhouse.grant IS 'What sh_grant() runs as the extension''s owner.';

CREATE FUNCTION sh_grant(topic text, role name, VARIADIC privileges text[]) RETURNS int
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_grant IS 'Lets a role and its members produce to a topic, consume from it, or both: sh_grant(''orders'', ''alice'', ''produce'', ''consume''). A topic that ends in * stands for every name that begins so, of later topics too; role public is everybody. Gives back how many privileges are new. Errors: 42704 no such topic or role, 22023 no such privilege.';

CREATE FUNCTION streamhouse.revoke(topic text, role name, VARIADIC privileges text[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    target record;
    revoked int;
BEGIN
    SELECT * INTO target FROM streamhouse.grant_target(topic);
    DELETE FROM streamhouse.topic_grant AS g
    WHERE g.topic_id = target.topic_id AND g.prefix = target.prefix AND g.role = streamhouse.grant_role(revoke.role)
      AND g.privilege = ANY (streamhouse.grant_privileges(privileges));
    GET DIAGNOSTICS revoked = ROW_COUNT;
    PERFORM streamhouse.access_forget();
    RETURN revoked;
END $$;
COMMENT ON FUNCTION streamhouse.revoke IS 'What sh_revoke() runs as the extension''s owner.';

CREATE FUNCTION sh_revoke(topic text, role name, VARIADIC privileges text[]) RETURNS int
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'streamhouse_as_owner';
COMMENT ON FUNCTION sh_revoke IS 'Takes back what sh_grant() gave, named in the same words; a transaction that runs meanwhile may go on with what it was allowed. Gives back how many privileges there were. Errors: 42704 no such topic or role, 22023 no such privilege.';

CREATE FUNCTION sh_grants()
RETURNS TABLE (topic text, role text, privilege text, granted_by text, granted_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(t.name, g.prefix || '*'), CASE WHEN g.role = 0 THEN 'public' ELSE r.rolname::text END,
           g.privilege::text, g.granted_by, g.granted_at
    FROM streamhouse.topic_grant AS g
    LEFT JOIN pg_roles AS r ON r.oid = g.role
    LEFT JOIN streamhouse.topic AS t ON t.topic_id = g.topic_id AND t.deleted_at IS NULL
    WHERE (t.topic_id IS NOT NULL OR g.topic_id = 0) AND (g.role = 0 OR r.oid IS NOT NULL)
    ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION sh_grants IS 'Every privilege that sh_grant() gave and sh_revoke() did not take back. Members of streamhouse_admin and streamhouse_agent may do everything, and those of streamhouse_producer and streamhouse_consumer produce to and consume from every topic, without one.';
