-- watch.sql: waiting for partitions to move. See watch.c.

CREATE FUNCTION streamhouse.watch_poll(OUT topic_id int, OUT partition int, OUT end_offset int8) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.topic_id, e.partition, e.end_offset FROM streamhouse.partition_end AS e ORDER BY 1, 2
$$;
COMMENT ON FUNCTION streamhouse.watch_poll IS 'Every partition''s next offset: what sh_watch() compares where it has to poll.';

CREATE PROCEDURE sh_watch(INOUT cursor int8, timeout_ms int, INOUT topic_ids int[] DEFAULT NULL,
                          INOUT partitions int[] DEFAULT NULL, INOUT end_offsets int8[] DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'sh_watch';
COMMENT ON PROCEDURE sh_watch IS 'Waits until a partition has moved past the cursor or timeout_ms have passed. Gives the cursor for the next call and, per partition that moved, its new next offset; arrays are null when none did. Cursor 0 means from now. topic_ids {-1}: history was lost (restart, too far behind), read everything again. Holds no snapshot while it waits, so it cannot run in a transaction block. Wakes at once with shared_preload_libraries = ''streamhouse'', else within 100 ms.';
