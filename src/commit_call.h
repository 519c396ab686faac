/* commit_call.h: one call of sh_commit_object(): its batches in the caller's order, grouped by partition and
 * by producer. */
#ifndef STREAMHOUSE_COMMIT_CALL_H
#define STREAMHOUSE_COMMIT_CALL_H

#include "postgres.h"

#include "commit_decide.h"
#include "inline.h"
#include "key_scan.h"
#include "row_writer.h"

/* Batches of one call: 8 MiB of packed rows. An object with more is committed in several calls. */
enum { COMMIT_BATCHES_MAX = 131072 };
StaticAssertDecl(COMMIT_BATCHES_MAX <= PG_INT32_MAX / COMMIT_ROW_SIZE, "packed rows fit a bytea");

typedef struct CommitCall {
    int32 agent_id;
    int64 object_id;    /* where answers are kept; minus the call's id for an inline commit */
    int64 object_bytes; /* of the object, or of inline_bytes */
    bool is_inline;
    Slice inline_bytes; /* the batches, where they are not in an object */
    int32 wait_ms;      /* how long to wait for the only partition's lock; 0: not at all */
    int batch_count;
    int partition_count;
    int producer_count;
    CommitBatch *batches;        /* in the caller's order */
    CommitBatch **by_ordinal;    /* sorted by ordinal in the object */
    CommitPartition *partitions; /* sorted by topic and partition: the order of locking */
    CommitProducer *producers;   /* sorted by topic, partition and producer id */
} CommitCall;

/* Reads the packed rows into *call, whose ids and size are set. Whatever is not a row of this object is an
 * ERROR. */
extern void commit_call_parse(CommitCall *call, const uint8 *rows, size_t size);

/* The batch with an ordinal; NULL when the call doesn't have it. */
extern CommitBatch *commit_call_find(const CommitCall *call, int32 ordinal);

/* commit_read.c: what the tables say. */

/* Locks the partition rows, in order, that are free; the others become locked or unknown. With wait_ms, waits
 * for the only one: ERROR 55P03 when that takes longer. */
extern void commit_lock_partitions(CommitCall *call);

/* Locks the object's row and checks that this agent may commit it: else ERROR SH056. A row that somebody else
 * has locked makes every partition of the call locked. True when the object is an intent still. */
extern bool commit_lock_object(CommitCall *call);

/* With a snapshot newer than the locks: answers given before, and leases. */
extern void commit_read_call(CommitCall *call);

/* With the same snapshot: where partitions end, and their producers. */
typedef struct CommitReader {
    KeyScan segments;
    KeyScan producers;
} CommitReader;

extern const KeyScanSpec commit_segment_from_end;

/* Where one partition ends: raises next_offset and sets running_max_timestamp. The scan is over
 * commit_segment_from_end. */
extern void commit_read_end(KeyScan *scan, CommitPartition *partition);

extern void commit_reader_open(CommitReader *reader);
extern void commit_read_partition(CommitReader *reader, CommitPartition *partition);
extern void commit_reader_close(CommitReader *reader);

/* commit_write.c: what the call leaves. */
typedef struct CommitWriter {
    const CommitCall *call;
    InlinePlace place; /* slot -1: not written yet */
    TimestampTz now;
    RowWriter segments;
    RowWriter producers;
} CommitWriter;

extern void commit_writer_open(CommitWriter *writer, const CommitCall *call);
extern void commit_write_partition(CommitWriter *writer, const CommitPartition *partition);
extern void commit_writer_flush(CommitWriter *writer);
extern void commit_writer_close(CommitWriter *writer);

/* One row of segment; slot 0 is an object. */
extern void segment_put(RowWriter *writer, int64 object_id, int16 slot, const CommitSegment *segment);

/* Likewise, of records that are new, with the hint where their partition ends. */
extern void segment_write(RowWriter *writer, int64 object_id, int16 slot, const CommitSegment *segment);

/* Answers to give again, and the object's new state. */
extern void commit_write_call(const CommitCall *call, bool is_intent);

/* The enum values of the tables, as they are numbered in this database. */
extern Oid commit_status_type(void);
extern Oid commit_status_value(CommitStatus status);
extern CommitStatus commit_status_from(Oid value);
extern Oid object_state_value(const char *label);

#endif
