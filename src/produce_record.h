/* produce_record.h: a record from the arguments of sh_produce() and its like. See produce_record.c. */
#ifndef STREAMHOUSE_PRODUCE_RECORD_H
#define STREAMHOUSE_PRODUCE_RECORD_H

#include "postgres.h"

#include "outbox.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

enum { PARTITION_ANY = -1 };

/* The bytes of a text or bytea; null for null. */
extern Slice slice_of_varlena(struct varlena *bytes);

/* ms since 1970. ERROR 22008 where the topic's configs do not allow it. */
extern int64 record_timestamp(const ProduceTopic *topic, TimestampTz timestamp);
extern int64 record_timestamp_now(void);

/* {"name": "value"}, {"name": null} or {"name": ["value", …]}, into record->headers. ERROR 22023 for anything
 * else. */
extern void record_read_headers(RecordInput *record, Jsonb *headers);

/* ERROR 22023 for a record without a key in a topic that is compacted. */
extern void record_check(const ProduceTopic *topic, const RecordInput *record);

/* The partition of a record: as asked for, by its key, or the one that the topic's records without a key go
 * to at the moment; -1 when that is still to be chosen. ERROR 22023 when the topic has no such partition. */
extern int32 record_partition(const ProduceTopic *topic, const RecordInput *record, int32 wanted);

#endif
