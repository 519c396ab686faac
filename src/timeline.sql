-- timeline.sql: what a promotion means for leader epochs. A server that was promoted goes on from what it has replayed. With
-- synchronous standbys that is everything that was acknowledged, but a reader may have seen more: what the old primary had
-- committed and no standby had, when the wait for it was cut short. Its offsets are given again. So the first heartbeat after a
-- promotion raises every partition's leader epoch, and a consumer that is ahead learns from the epochs where the logs part.

CREATE TABLE streamhouse.stale_epoch (
    topic_id int NOT NULL,
    partition int NOT NULL,
    PRIMARY KEY (topic_id, partition)
);
COMMENT ON TABLE streamhouse.stale_epoch IS 'Partitions whose leader epoch is of an earlier timeline of the server: heartbeats raise it, those of busy partitions a little later. Empty but for a moment after a promotion.';
COMMENT ON COLUMN streamhouse.stale_epoch.topic_id IS 'The topic.';
COMMENT ON COLUMN streamhouse.stale_epoch.partition IS 'Number of the partition.';

SELECT pg_catalog.pg_extension_config_dump('streamhouse.stale_epoch', '');

CREATE FUNCTION streamhouse.timeline_note() RETURNS void
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM @extschema@.sh_cluster_id();
    UPDATE streamhouse.cluster AS c SET timeline = streamhouse.server_timeline() WHERE c.timeline <> streamhouse.server_timeline();
    IF FOUND THEN
        INSERT INTO streamhouse.stale_epoch (topic_id, partition)
        SELECT l.topic_id, l.partition FROM streamhouse.lease AS l ON CONFLICT DO NOTHING;
    END IF;
END $$;
COMMENT ON FUNCTION streamhouse.timeline_note IS 'Takes note of the server''s timeline; when it is a new one, all leader epochs are stale.';

CREATE FUNCTION streamhouse.epoch_raise(topic_ids int[], partitions int[]) RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    locked record;
    led_by int[];
    raised int;
BEGIN
    SELECT * INTO locked FROM streamhouse.lease_lock(topic_ids, partitions);
    DELETE FROM streamhouse.stale_epoch AS s
    USING unnest(locked.topic_ids, locked.partitions) AS w (topic_id, partition)
    WHERE (s.topic_id, s.partition) = (w.topic_id, w.partition);
    WITH changed AS (
        UPDATE streamhouse.lease AS l SET epoch = l.epoch + 1
        FROM unnest(locked.topic_ids, locked.partitions) AS w (topic_id, partition)
        WHERE (l.topic_id, l.partition) = (w.topic_id, w.partition)
        RETURNING l.topic_id, l.partition, l.epoch, l.agent_id
    ), recorded AS (
        INSERT INTO streamhouse.partition_epoch (topic_id, partition, epoch, start_offset)
        SELECT c.topic_id, c.partition, c.epoch, e.end_offset
        FROM changed AS c JOIN streamhouse.partition_end AS e USING (topic_id, partition)
    )
    SELECT count(*), array_agg(c.agent_id) INTO raised, led_by FROM changed AS c;
    IF raised > 0 THEN
        PERFORM streamhouse.lease_notify(led_by);
        PERFORM streamhouse.metadata_notify(NULL);
    END IF;
    RETURN raised;
END $$;
COMMENT ON FUNCTION streamhouse.epoch_raise IS 'Raises the leader epochs of the named partitions that are not busy, who leads them stays; writes where the new ones begin. Gives back how many.';

CREATE FUNCTION streamhouse.timeline_follow() RETURNS int
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    topic_ids int[];
    partitions int[];
    raised int;
BEGIN
    IF streamhouse.server_timeline() = (SELECT c.timeline FROM streamhouse.cluster AS c) AND NOT EXISTS (SELECT FROM streamhouse.stale_epoch)
       OR NOT streamhouse.lease_try_lock() THEN
        RETURN 0;
    END IF;
    PERFORM streamhouse.timeline_note();
    DELETE FROM streamhouse.stale_epoch AS s
    WHERE NOT EXISTS (SELECT FROM streamhouse.partition AS p WHERE (p.topic_id, p.partition) = (s.topic_id, s.partition));
    SELECT array_agg(s.topic_id ORDER BY s.topic_id, s.partition), array_agg(s.partition ORDER BY s.topic_id, s.partition)
    INTO topic_ids, partitions FROM streamhouse.stale_epoch AS s;
    raised := streamhouse.epoch_raise(topic_ids, partitions);
    IF raised = 0 THEN
        PERFORM streamhouse.lease_await_busy(topic_ids, partitions);
        raised := streamhouse.epoch_raise(topic_ids, partitions);
    END IF;
    RETURN raised;
END $$;
COMMENT ON FUNCTION streamhouse.timeline_follow IS 'After a promotion of this server, raises all leader epochs, unless another transaction is about it. Gives back how many.';
