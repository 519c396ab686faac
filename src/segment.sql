-- segment.sql: where offsets are: sh_find_segments(). See segment.c.

CREATE FUNCTION sh_find_segments(topic_ids int4[], partitions int4[], offsets int8[], max_bytes int4[], request_bytes int8)
RETURNS TABLE (request int4, base_offset int8, end_offset int8, object_id int8, object_key text, byte_start int4, byte_length int4,
               leader_epoch int4, log_start_offset int8, high_watermark int8, slot int2)
LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 100
AS 'MODULE_PATHNAME', 'sh_find_segments';
COMMENT ON FUNCTION sh_find_segments(int4[], int4[], int8[], int4[], int8) IS
'Segments from an offset on, for several partitions at once; array elements at one place belong together, and request is that place, from 1. Segments are given in order until those given reach the partition''s max_bytes or all of them request_bytes: the one that crosses a limit is given (cut it between batches), and the first of the call whatever its size. At least one row for every partition that exists; one without a segment (base_offset null) when the offset is before log_start_offset, at or beyond high_watermark, or the bytes are spent. No row: no such partition. slot 0: the bytes are in the object object_key; above: in that slot of the inline ring, see sh_read_inline().';
