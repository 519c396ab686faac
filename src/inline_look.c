/* inline_look.c: a look at the inline ring, which every agent takes about once a second and which mostly
 * finds nothing to do: whether a slot may turn, whether enough, or old enough records wait to move, and which
 * those are. Without plans: what is to be done is done by inline.sql and inline_move.c. */
#include "compat.h"
#include "inline.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "enum.h"
#include "fmgr.h"
#include "funcapi.h"
#include "key_scan.h"
#include "result_rows.h"
#include "setting.h"
#include "tables.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(streamhouse_inline_look);
PG_FUNCTION_INFO_V1(streamhouse_inline_is_due);
PG_FUNCTION_INFO_V1(streamhouse_inline_oldest);

enum {
    MOVE_SEGMENTS_MAX = 20000, /* of one plan */
    SLOT_BYTES_IDLE = 65536    /* streamhouse.inline_turn_slot()'s an_empty_one_bytes */
};

#define MIB INT64CONST(1048576)

static const KeyScanSpec slots_all = { "inline_slot", "inline_slot_pkey", 0, { { 0 } } };
static const KeyScanSpec segments_by_slot = {
    "segment", "segment_inline", 1, { { BTEqualStrategyNumber, F_INT2EQ } }
};
static const KeyScanSpec topic_by_id = { "topic", "topic_pkey", 1, { KEY_INT4_EQUAL } };

/* In the order of the type streamhouse.slot_state. */
typedef enum SlotState {
    SLOT_EMPTY,
    SLOT_FILLING,
    SLOT_DRAINING,
    SLOT_SEALED,
    SLOT_MOVED,
    SLOT_STATES
} SlotState;

static const char *const state_names[SLOT_STATES] = { "empty", "filling", "draining", "sealed", "moved" };

typedef struct Slot {
    int16 number;
    SlotState state;
    TimestampTz changed_at;
    int64 bytes; /* on disk; of an empty one 0 */
} Slot;

typedef struct Ring {
    Slot slots[INLINE_SLOTS]; /* what waits longest to move comes first */
    int count;
} Ring;

static void states_read(Oid *states)
{
    for (int state = 0; state < SLOT_STATES; state++) {
        states[state] = enum_value("slot_state", state_names[state]);
    }
}

static SlotState slot_state(const Oid *states, Oid value)
{
    SlotState state = SLOT_EMPTY;
    while (state < SLOT_STATES && states[state] != value) {
        state++;
    }
    if (state == SLOT_STATES) {
        elog(ERROR, "an inline slot is in no state that is known: %u", value);
    }
    return state;
}

static int slots_compare(const void *left, const void *right)
{
    const Slot *a = left;
    const Slot *b = right;
    if (a->state != b->state) {
        return a->state > b->state ? -1 : 1;
    }
    return a->changed_at < b->changed_at ? -1 : a->changed_at > b->changed_at;
}

static void ring_read(Ring *ring)
{
    KeyScan scan;
    Oid states[SLOT_STATES];
    states_read(states);
    ring->count = 0;
    key_scan_open(&scan, &slots_all, AccessShareLock);
    for (bool found = key_scan_seek(&scan, ForwardScanDirection); found && ring->count < INLINE_SLOTS;
         found = key_scan_next(&scan, ForwardScanDirection)) {
        Slot *slot = &ring->slots[ring->count++];
        slot->number = DatumGetInt16(key_scan_column(&scan, Anum_inline_slot_slot));
        slot->state = slot_state(states, DatumGetObjectId(key_scan_column(&scan, Anum_inline_slot_state)));
        slot->changed_at = DatumGetTimestampTz(key_scan_column(&scan, Anum_inline_slot_changed_at));
        slot->bytes = slot->state == SLOT_EMPTY ? 0 : inline_slot_bytes(slot->number);
    }
    key_scan_close(&scan);
    qsort(ring->slots, ring->count, sizeof(Slot), slots_compare);
}

static bool slot_waits(const Slot *slot)
{
    return slot->state == SLOT_FILLING || slot->state == SLOT_DRAINING || slot->state == SLOT_SEALED;
}

static int64 ring_bytes(const Ring *ring, bool waiting)
{
    int64 bytes = 0;
    for (int i = 0; i < ring->count; i++) {
        bytes += !waiting || slot_waits(&ring->slots[i]) ? ring->slots[i].bytes : 0;
    }
    return bytes;
}

static bool has_passed(TimestampTz since, int seconds)
{
    return since + seconds * USECS_PER_SEC <= GetCurrentTimestamp();
}

/* ---- What waits to move ---- */

typedef struct Waiting {
    KeyScan segments;
    KeyScan topic;
    int32 topic_id; /* looked up last; 0: none */
    bool topic_lives;
    pg_uuid_t topic_uuid; /* of one that lives */
} Waiting;

static void waiting_open(Waiting *waiting)
{
    waiting->topic_id = 0;
    key_scan_open(&waiting->segments, &segments_by_slot, AccessShareLock);
    key_scan_open(&waiting->topic, &topic_by_id, AccessShareLock);
}

static void waiting_close(Waiting *waiting)
{
    key_scan_close(&waiting->topic);
    key_scan_close(&waiting->segments);
}

/* False for one that is not there, or deleted. */
static bool topic_find(Waiting *waiting, int32 topic_id)
{
    bool lives = false;
    key_scan_set(&waiting->topic, 0, Int32GetDatum(topic_id));
    if (key_scan_seek(&waiting->topic, ForwardScanDirection)) {
        (void)key_scan_nullable(&waiting->topic, Anum_topic_deleted_at, &lives);
        waiting->topic_uuid = *DatumGetUUIDP(key_scan_column(&waiting->topic, Anum_topic_topic_uuid));
    }
    return lives;
}

/* Segments of deleted topics are not worth moving. */
static bool topic_lives(Waiting *waiting, int32 topic_id)
{
    if (topic_id != waiting->topic_id) {
        waiting->topic_lives = topic_find(waiting, topic_id);
        waiting->topic_id = topic_id;
    }
    return waiting->topic_lives;
}

/* The next one of a topic that lives: first of the slot, or after the one found before. */
static bool waiting_find(Waiting *waiting, const Slot *slot, bool first)
{
    bool found;
    if (first) {
        key_scan_set(&waiting->segments, 0, Int16GetDatum(slot->number));
        found = key_scan_seek(&waiting->segments, ForwardScanDirection);
    } else {
        found = key_scan_next(&waiting->segments, ForwardScanDirection);
    }
    while (found && !topic_lives(waiting, key_scan_int32(&waiting->segments, Anum_segment_topic_id))) {
        CHECK_FOR_INTERRUPTS();
        found = key_scan_next(&waiting->segments, ForwardScanDirection);
    }
    return found;
}

/* 1: there is one, and it has waited for long enough; 0: it has not; -1: there is none. */
static int oldest_is_due(Waiting *waiting, const Ring *ring)
{
    for (int i = 0; i < ring->count; i++) {
        if (slot_waits(&ring->slots[i]) && waiting_find(waiting, &ring->slots[i], true)) {
            InlinePlace place = { key_scan_int64(&waiting->segments, Anum_segment_object_id),
                                  ring->slots[i].number };
            TimestampTz written_at;
            return !inline_written_at(&place, &written_at) ||
                   has_passed(written_at, setting_inline_move_age_s);
        }
    }
    return -1;
}

/* Entries of the index, also of rows that are gone: not fewer than there are segments. */
static int entries_count(Waiting *waiting, const Ring *ring, int most)
{
    int count = 0;
    IndexScanDesc scan = waiting->segments.scan;
    for (int i = 0; i < ring->count; i++) {
        if (slot_waits(&ring->slots[i])) {
            key_scan_set(&waiting->segments, 0, Int16GetDatum(ring->slots[i].number));
            index_rescan(scan, waiting->segments.keys, waiting->segments.key_count, NULL, 0);
            while (count < most && index_getnext_tid(scan, ForwardScanDirection)) {
                count++;
            }
        }
    }
    return count;
}

static bool enough_waits(Waiting *waiting, const Ring *ring, int64 move_bytes)
{
    int segments = 0;
    int64 bytes = 0;
    for (int i = 0; i < ring->count; i++) {
        if (!slot_waits(&ring->slots[i])) {
            continue;
        }
        for (bool found = waiting_find(waiting, &ring->slots[i], true); found;
             found = waiting_find(waiting, &ring->slots[i], false)) {
            bytes += key_scan_int32(&waiting->segments, Anum_segment_byte_length);
            if (++segments >= MOVE_SEGMENTS_MAX || bytes >= move_bytes) {
                return true;
            }
        }
    }
    return false;
}

/* Bytes on disk and entries of the index are at least as many as those that wait, and quickly told. */
static bool may_be_enough(Waiting *waiting, const Ring *ring, int64 move_bytes)
{
    return ring_bytes(ring, true) >= move_bytes ||
           entries_count(waiting, ring, MOVE_SEGMENTS_MAX) >= MOVE_SEGMENTS_MAX;
}

static bool ring_is_due(const Ring *ring, int64 max_bytes)
{
    Waiting waiting;
    int64 move_bytes = Min(setting_inline_move_bytes_mb * MIB, max_bytes);
    waiting_open(&waiting);
    int due = oldest_is_due(&waiting, ring);
    if (due == 0) {
        due = may_be_enough(&waiting, ring, move_bytes) && enough_waits(&waiting, ring, move_bytes);
    }
    waiting_close(&waiting);
    return due > 0;
}

/* ---- What may turn ---- */

static bool slot_is_unused(const Slot *slot)
{
    return !key_scan_any(&segments_by_slot, Int16GetDatum(slot->number));
}

/* True also when streamhouse.inline_turn_slot() then finds a lock in the way, or no empty slot. */
static bool slot_may_turn(const Slot *slot)
{
    switch (slot->state) {
    case SLOT_DRAINING:
        return true;
    case SLOT_SEALED:
        return slot_is_unused(slot);
    case SLOT_MOVED:
        return has_passed(slot->changed_at, setting_inline_grace_s);
    case SLOT_FILLING:
        return slot->bytes >= setting_inline_slot_bytes_mb * MIB ||
               (slot->bytes >= SLOT_BYTES_IDLE && has_passed(slot->changed_at, setting_inline_slot_age_s));
    default:
        return false;
    }
}

static bool ring_may_turn(const Ring *ring)
{
    bool turns = ring->count == 0; /* its slots have no rows yet */
    for (int i = 0; i < ring->count && !turns; i++) {
        turns = slot_may_turn(&ring->slots[i]);
    }
    return turns;
}

/* (turns, moves, ring_bytes, waiting_bytes) */
Datum streamhouse_inline_look(PG_FUNCTION_ARGS)
{
    Ring ring;
    TupleDesc columns;
    if (get_call_result_type(fcinfo, NULL, &columns) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "streamhouse_inline_look gives back a row");
    }
    ring_read(&ring);
    Datum values[] = { BoolGetDatum(ring_may_turn(&ring)),
                       BoolGetDatum(ring_is_due(&ring, PG_GETARG_INT64(0))),
                       Int64GetDatum(ring_bytes(&ring, false)), Int64GetDatum(ring_bytes(&ring, true)) };
    bool nulls[lengthof(values)] = { false };
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(columns), values, nulls));
}

Datum streamhouse_inline_is_due(PG_FUNCTION_ARGS)
{
    Ring ring;
    ring_read(&ring);
    PG_RETURN_BOOL(ring_is_due(&ring, PG_GETARG_INT64(0)));
}

/* ---- Which those are ---- */

typedef struct OldSegment {
    int32 topic_id;
    int32 partition;
    pg_uuid_t topic_uuid;
    int64 base_offset;
    int64 end_offset;
    InlinePlace place;
    int32 byte_start;
    int32 byte_length;
    int32 leader_epoch;
} OldSegment;

typedef struct OldSegments {
    OldSegment *segments;
    int count;
    int capacity;
    int64 bytes;
} OldSegments;

static bool old_segments_are_enough(const OldSegments *found, int64 max_bytes)
{
    return found->bytes >= max_bytes || found->count >= MOVE_SEGMENTS_MAX;
}

static void old_segments_add(OldSegments *found, Waiting *waiting, int16 slot)
{
    KeyScan *row = &waiting->segments;
    if (found->count == found->capacity) {
        found->capacity *= 2;
        found->segments = repalloc(found->segments, found->capacity * sizeof(OldSegment));
    }
    OldSegment *segment = &found->segments[found->count++];
    *segment = (OldSegment){
        .topic_id = key_scan_int32(row, Anum_segment_topic_id),
        .partition = key_scan_int32(row, Anum_segment_partition),
        .topic_uuid = waiting->topic_uuid,
        .base_offset = key_scan_int64(row, Anum_segment_base_offset),
        .end_offset = key_scan_int64(row, Anum_segment_end_offset),
        .place = { key_scan_int64(row, Anum_segment_object_id), slot },
        .byte_start = key_scan_int32(row, Anum_segment_byte_start),
        .byte_length = key_scan_int32(row, Anum_segment_byte_length),
        .leader_epoch = key_scan_int32(row, Anum_segment_leader_epoch),
    };
    found->bytes += segment->byte_length;
}

static void old_segments_find(OldSegments *found, const Ring *ring, int64 max_bytes)
{
    Waiting waiting;
    waiting_open(&waiting);
    for (int i = 0; i < ring->count; i++) {
        const Slot *slot = &ring->slots[i];
        bool first = true;
        while (slot_waits(slot) && !old_segments_are_enough(found, max_bytes) &&
               waiting_find(&waiting, slot, first)) {
            old_segments_add(found, &waiting, slot->number);
            first = false;
            CHECK_FOR_INTERRUPTS();
        }
    }
    waiting_close(&waiting);
}

static int old_segments_compare(const void *left, const void *right)
{
    const OldSegment *a = left;
    const OldSegment *b = right;
    if (a->topic_id != b->topic_id) {
        return a->topic_id < b->topic_id ? -1 : 1;
    }
    if (a->partition != b->partition) {
        return a->partition < b->partition ? -1 : 1;
    }
    return a->end_offset < b->end_offset ? -1 : a->end_offset > b->end_offset;
}

static void old_segment_put(ResultRows *rows, const OldSegment *segment)
{
    Datum values[] = {
        Int32GetDatum(segment->topic_id),    UUIDPGetDatum(&segment->topic_uuid),
        Int32GetDatum(segment->partition),   Int64GetDatum(segment->base_offset),
        Int64GetDatum(segment->end_offset),  Int64GetDatum(segment->place.object_id),
        Int16GetDatum(segment->place.slot),  Int32GetDatum(segment->byte_start),
        Int32GetDatum(segment->byte_length), Int32GetDatum(segment->leader_epoch),
    };
    result_rows_put(rows, values, NULL);
}

/* streamhouse.inline_oldest() */
Datum streamhouse_inline_oldest(PG_FUNCTION_ARGS)
{
    Ring ring;
    ResultRows rows = result_rows_open(fcinfo);
    OldSegments found = { .capacity = 1024 };
    found.segments = palloc(found.capacity * sizeof(OldSegment));
    ring_read(&ring);
    old_segments_find(&found, &ring, PG_GETARG_INT64(0));
    qsort(found.segments, found.count, sizeof(OldSegment), old_segments_compare);
    for (int i = 0; i < found.count; i++) {
        old_segment_put(&rows, &found.segments[i]);
    }
    return (Datum)0;
}
