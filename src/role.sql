-- role.sql: who may do what. Roles without login:
--   streamhouse_reader    views and descriptions
--   streamhouse_admin     that, topics and rights; produce to and consume from every topic
--   streamhouse_agent     all of that, and what an agent calls
--   streamhouse_producer  produce to every topic
--   streamhouse_consumer  consume from every topic
-- They are the server's, not the database's: made when missing, kept by DROP EXTENSION. What people call to produce and
-- to consume may be called by everybody: it asks for the right to the topic itself (access.c). No table can be read or
-- written by anybody but the owner; a function that is not listed here is the agents' if it is sh_*, else the owner's.

DO $$
DECLARE
    role text;
    routine regprocedure;
    name text;
    callers CONSTANT jsonb := '{
        "public": ["sh_produce", "sh_produce_batch", "sh_enqueue",
                   "sh_fetch", "sh_read", "sh_read_json", "sh_read_text", "sh_create_view", "sh_fetch_stats",
                   "sh_poll", "sh_join", "sh_leave", "sh_commit", "sh_seek", "sh_reset_offsets",
                   "sh_groups", "sh_describe_group", "sh_group_lag", "sh_delete_group"],
        "streamhouse_reader": ["sh_agents", "sh_catalog", "sh_cluster_id", "sh_describe_broker_configs", "sh_describe_configs",
                               "sh_describe_group_configs", "sh_describe_topic", "sh_grants", "sh_overview", "sh_cost",
                               "server_started_at", "slow_commit_rows", "server_identity", "marker_may_assign", "marker_may_reap"],
        "streamhouse_admin": ["sh_check_topic", "sh_create_topic", "sh_alter_topic", "sh_alter_broker_config", "sh_add_partitions",
                              "sh_delete_topic", "sh_delete_records", "sh_alter_group_config", "sh_adopt", "sh_missing_objects",
                              "sh_grant", "sh_revoke"],
        "streamhouse_agent": ["watch_poll"]
    }';
BEGIN
    FOREACH role IN ARRAY '{streamhouse_reader,streamhouse_admin,streamhouse_agent,streamhouse_producer,streamhouse_consumer}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
    GRANT streamhouse_reader TO streamhouse_admin;
    GRANT streamhouse_admin TO streamhouse_agent;

    FOR routine, name, role IN
        SELECT p.oid, p.proname, coalesce((SELECT c.key FROM jsonb_each(callers) AS c WHERE c.value ? p.proname),
                                          CASE WHEN p.proname LIKE 'sh\_%' THEN 'streamhouse_agent' END)
        FROM pg_catalog.pg_depend AS d
        JOIN pg_catalog.pg_extension AS e ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
        JOIN pg_catalog.pg_proc AS p ON d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
        WHERE e.extname = 'streamhouse' AND d.deptype = 'e'
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
        IF role IS NOT NULL THEN
            EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', routine, role);
        END IF;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA streamhouse TO streamhouse_reader;
GRANT SELECT ON streamhouse.ownership, streamhouse.topics, streamhouse.partitions, streamhouse.agents, streamhouse.objects, streamhouse.throughput,
    streamhouse.lag, streamhouse.storage, streamhouse.slow_commits, streamhouse.config_definition, streamhouse.broker_config_definition
TO streamhouse_reader;
