/* commit_row.h: the packed row of sh_commit_object(): one record batch of an object. Big-endian,
 * COMMIT_ROW_SIZE bytes, no padding. Agents write it, the brain reads it. */
#ifndef STREAMHOUSE_COMMIT_ROW_H
#define STREAMHOUSE_COMMIT_ROW_H

#include <stdint.h>

typedef struct CommitRow {
    int32_t batch;          /* ordinal of the batch in its object, from 0 */
    int32_t topic_id;       /* streamhouse.topic.topic_id */
    int32_t partition;      /* from 0 */
    int32_t lease_epoch;    /* the epoch under which the batch was accepted */
    int64_t byte_start;     /* of the batch in the object */
    int32_t byte_length;    /* bytes, header included */
    int32_t offset_count;   /* lastOffsetDelta + 1 */
    int64_t base_timestamp; /* ms since 1970, -1 none */
    int64_t max_timestamp;  /* ms since 1970, -1 none */
    int64_t producer_id;    /* -1 none */
    int16_t producer_epoch; /* -1 none */
    int16_t attributes;     /* the batch's attributes field */
    int32_t first_sequence; /* -1 none */
} CommitRow;

enum { COMMIT_ROW_SIZE = 64 };
_Static_assert(4 * 4 + 8 + 4 + 4 + 8 * 3 + 2 * 2 + 4 == COMMIT_ROW_SIZE, "the fields fill the row");

#endif
