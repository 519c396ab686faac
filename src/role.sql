-- role.sql: who may do what. Three roles without login, each with what the one before it may do:
--   streamhouse_reader   views and descriptions
--   streamhouse_admin    topics
--   streamhouse_agent    everything an agent calls
-- They are the server's, not the database's: made when missing, kept by DROP EXTENSION. Nobody else may call anything
-- but what asks for rights on a topic itself.

DO $$
DECLARE
    role text;
    routine regprocedure;
    readers_routines CONSTANT text[] := '{sh_agents,sh_catalog,sh_cluster_id,sh_describe_configs,sh_describe_topic,server_started_at}';
    admins_routines CONSTANT text[] := '{sh_check_topic,sh_create_topic,sh_alter_topic,sh_add_partitions,sh_delete_topic}';
    everybodys_routines CONSTANT text[] := -- rights on the topic decide
        '{sh_produce,sh_produce_batch,sh_enqueue,sh_fetch,sh_fetch_stats,sh_read,sh_read_text,sh_read_json,sh_create_view}';
    name text;
BEGIN
    FOREACH role IN ARRAY '{streamhouse_reader,streamhouse_admin,streamhouse_agent}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    GRANT streamhouse_reader TO streamhouse_admin;
    GRANT streamhouse_admin TO streamhouse_agent;

    FOR routine, name IN
        SELECT p.oid, p.proname
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_extension AS e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
        JOIN pg_catalog.pg_proc AS p ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
        WHERE e.extname = 'streamhouse' AND d.deptype = 'e'
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
        IF name = ANY (everybodys_routines) THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO PUBLIC', routine);
        ELSIF name LIKE 'sh\_%' OR name IN ('watch_poll', 'server_started_at') THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine,
                           CASE WHEN name = ANY (readers_routines) THEN 'streamhouse_reader'
                                WHEN name = ANY (admins_routines) THEN 'streamhouse_admin'
                                ELSE 'streamhouse_agent' END);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA streamhouse TO streamhouse_reader;
GRANT SELECT ON streamhouse.topics, streamhouse.partitions, streamhouse.agents, streamhouse.objects, streamhouse.config_definition
TO streamhouse_reader;
