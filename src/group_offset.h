/* group_offset.h: a group's committed offsets, whose rows are the fences of its partitions. See
 * group_offset.c. */
#ifndef STREAMHOUSE_GROUP_OFFSET_H
#define STREAMHOUSE_GROUP_OFFSET_H

#include "postgres.h"

#include "key_scan.h"
#include "row_writer.h"

enum { OFFSET_NONE = -1 };

/* What is to be committed for a partition. */
typedef struct OffsetCommit {
    int64 offset;
    int32 leader_epoch;
    Datum metadata;        /* text */
    const char *member_id; /* NULL: not a member */
} OffsetCommit;

/* The rows of one group, and the row it is turned to. */
typedef struct GroupOffsets {
    int32 group_id;
    KeyScan rows;
    bool is_writing;
    RowWriter writer;
    int32 topic_id;
    int32 partition;
    int64 commit_id;
    int64 committed_offset;
} GroupOffsets;

typedef enum OffsetLock {
    OFFSET_LOCKED,
    OFFSET_BUSY, /* another transaction has it */
    OFFSET_MOVED /* it has a successor, which a newer snapshot sees */
} OffsetLock;

/* Sees what the snapshot sees that is active now, which must stay so. */
extern void group_offsets_open(GroupOffsets *offsets, int32 group_id);
extern void group_offsets_close(GroupOffsets *offsets);

/* The rows of another group from here on. */
extern void group_offsets_choose(GroupOffsets *offsets, int32 group_id);

/* Turns to a partition's row; false when it has none. It is found sooner from a commit_id on that it had
 * before. */
extern bool group_offsets_turn(GroupOffsets *offsets, int32 topic_id, int32 partition, int64 commit_id);

/* Locks the row, to the end of the transaction. Never waits. */
extern OffsetLock group_offsets_lock(GroupOffsets *offsets);

/* Puts a successor into the place of the row, which is locked. Seen after CommandCounterIncrement(). */
extern void group_offsets_commit(GroupOffsets *offsets, const OffsetCommit *commit);

#endif
