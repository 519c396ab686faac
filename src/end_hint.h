/* end_hint.h: where a partition, or a producer in it, was last seen to end by this backend. */
#ifndef STREAMHOUSE_END_HINT_H
#define STREAMHOUSE_END_HINT_H

#include "postgres.h"

/* In the place of a producer's id: the partition itself. */
enum { END_HINT_PARTITION = -1 };

/* An end offset that was there once, PG_INT64_MIN when none is known. It may have gone, or never have been
 * committed. */
extern int64 end_hint_get(int32 topic_id, int32 partition, int64 producer_id);
extern void end_hint_put(int32 topic_id, int32 partition, int64 producer_id, int64 end_offset);

#endif
