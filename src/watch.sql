-- watch.sql: waiting for partitions to move. See watch.c.

CREATE FUNCTION streamhouse.watch_poll(OUT topic_id int, OUT partition int, OUT end_offset int8) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.topic_id, e.partition, e.end_offset FROM streamhouse.partition_end AS e
    UNION ALL
    SELECT p.topic_id, p.partition, -9223372036854775808 + p.log_start_offset FROM streamhouse.partition AS p WHERE p.log_start_offset > 0
    ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION streamhouse.watch_poll IS 'Every partition''s next offset, and where its log begins as a negative number: what sh_watch() compares where it has to poll.';

CREATE FUNCTION streamhouse.watch_log_start(topic_id int, partition int, log_start_offset int8) RETURNS void
LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'streamhouse_watch_log_start';
COMMENT ON FUNCTION streamhouse.watch_log_start IS 'Tells sh_watch(), when this transaction commits, where a partition''s log begins from now on.';

CREATE PROCEDURE sh_watch(INOUT cursor int8, timeout_ms int, INOUT topic_ids int[] DEFAULT NULL,
                          INOUT partitions int[] DEFAULT NULL, INOUT end_offsets int8[] DEFAULT NULL)
LANGUAGE c AS 'MODULE_PATHNAME', 'sh_watch';
COMMENT ON PROCEDURE sh_watch IS 'Waits until a partition has moved past the cursor or timeout_ms have passed. Gives the cursor for the next call and, per partition that moved, its new next offset; a negative number in place of one is -9223372036854775808 plus the offset at which its log now begins. Arrays are null when none did. Cursor 0 means from now. topic_ids {-1}: history was lost (restart, too far behind), read everything again. Holds no snapshot while it waits, so it cannot run in a transaction block. Wakes at once with shared_preload_libraries = ''streamhouse'', else within 100 ms.';
