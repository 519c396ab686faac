/* codec_internal.h: what decoding and encoding share: how a field lies in memory and which of its properties
 * hold in a version. */
#ifndef STREAMHOUSE_KAFKA_CODEC_INTERNAL_H
#define STREAMHOUSE_KAFKA_CODEC_INTERNAL_H

#include "agent/kafka/codec.h"

/* Every generated array looks like this: a pointer, then the count. Copied in and out, since the pointers'
 * types differ. */
typedef struct KafkaArray {
    void *items;
    int32_t count;
} KafkaArray;

_Static_assert(sizeof(KafkaArray) == sizeof(KafkaInt32Array), "all arrays have one layout");
_Static_assert(offsetof(KafkaArray, count) == offsetof(KafkaInt32Array, count), "all arrays have one layout");

enum {
    KAFKA_NULL = -1,              /* the length or count that says null */
    KAFKA_STRING_MAX = INT16_MAX, /* bytes of a string, compact ones too */
    KAFKA_STRUCT_ABSENT = -1,     /* the byte in front of a struct that may be null */
    KAFKA_STRUCT_PRESENT = 1
};

/* Where and why decoding or encoding stopped. */
typedef struct KafkaFault {
    StatusCode code; /* STATUS_OK: nothing happened */
    const char *reason;
    const KafkaStruct *structure;
    const KafkaField *field;
} KafkaFault;

static inline bool kafka_versions_include(KafkaVersions versions, int16_t version)
{
    return version >= versions.first && version <= versions.last;
}

static inline void *kafka_slot(void *structure, const KafkaField *field)
{
    return (uint8_t *)structure + field->offset;
}

static inline const void *kafka_slot_const(const void *structure, const KafkaField *field)
{
    return (const uint8_t *)structure + field->offset;
}

static inline KafkaArray kafka_array_load(const void *slot)
{
    KafkaArray array;
    memcpy(&array.items, slot, sizeof(array.items));
    memcpy(&array.count, (const uint8_t *)slot + offsetof(KafkaArray, count), sizeof(array.count));
    return array;
}

static inline void kafka_array_store(void *slot, void *items, int32_t count)
{
    memcpy(slot, &items, sizeof(items));
    memcpy((uint8_t *)slot + offsetof(KafkaArray, count), &count, sizeof(count));
}

/* Bytes of one value of the field's type in memory (of one item when it is an array). */
size_t kafka_item_size(const KafkaField *field);

/* Sets one field of a struct to its default. */
void kafka_field_set_default(const KafkaField *field, void *slot);

/* Whether a field holds its default: then a tagged field is left out, and any field may be missing from a
 * version. */
bool kafka_field_is_default(const KafkaField *field, const void *slot);

/* "FetchRequest version 12: Fetch.Partition records: needs more bytes than are left" */
Status kafka_fault_status(const KafkaFault *fault, const KafkaMessage *message, int16_t version);

#endif
