/* message_values.h: values for any Kafka message, made and compared by the same field tables that the codec
 * reads, so that one test can go over all messages and versions. */
#ifndef STREAMHOUSE_MESSAGE_VALUES_H
#define STREAMHOUSE_MESSAGE_VALUES_H

#include "agent/kafka/message.h"

typedef struct ValueMaker {
    Arena *arena;
    uint64_t state; /* of the random numbers; never 0 */
    int16_t version;
    bool plain; /* empty arrays, shortest strings, nulls: the smallest message */
} ValueMaker;

static inline uint64_t value_random(ValueMaker *maker)
{
    maker->state ^= maker->state << 13;
    maker->state ^= maker->state >> 7;
    maker->state ^= maker->state << 17;
    return maker->state;
}

static inline bool value_in_version(KafkaVersions versions, int16_t version)
{
    return version >= versions.first && version <= versions.last;
}

static inline Slice value_make_bytes(ValueMaker *maker, bool null_allowed)
{
    uint64_t dice = value_random(maker);
    if (null_allowed && (maker->plain || dice % 4 == 0)) {
        return SLICE_NULL;
    }
    /* Some are longer than a compact length of one byte can say. */
    size_t size = maker->plain ? 0 : dice % 16 == 1 ? 150 : (dice >> 8) % 12;
    uint8_t *bytes = arena_allocate(maker->arena, size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)value_random(maker);
    }
    return slice_of(bytes, size);
}

static inline void value_make_record_slices(ValueMaker *maker, bool null_allowed, KafkaRecords *out)
{
    Slice *slices = arena_allocate_array(maker->arena, 2, sizeof(Slice));
    slices[0] = value_make_bytes(maker, null_allowed);
    slices[1] = value_make_bytes(maker, false);
    *out = slice_is_null(slices[0]) ? (KafkaRecords){ .null = true }
                                    : (KafkaRecords){ .slices = slices, .count = 2 };
}

static inline void value_make_struct(ValueMaker *maker, const KafkaStruct *structure, void *out);

static inline void value_make_item(ValueMaker *maker, const KafkaField *field, bool null_allowed, void *slot)
{
    uint64_t random = maker->plain ? 0 : value_random(maker);
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_BOOL:
        *(bool *)slot = random & 1;
        break;
    case KAFKA_TYPE_INT8:
        *(int8_t *)slot = (int8_t)random;
        break;
    case KAFKA_TYPE_INT16:
    case KAFKA_TYPE_UINT16:
        *(int16_t *)slot = (int16_t)random;
        break;
    case KAFKA_TYPE_INT32:
        *(int32_t *)slot = (int32_t)random;
        break;
    case KAFKA_TYPE_INT64:
        *(int64_t *)slot = (int64_t)random;
        break;
    case KAFKA_TYPE_FLOAT64:
        *(double *)slot = (double)random / 3;
        break;
    case KAFKA_TYPE_UUID:
        memcpy(slot, &random, sizeof(random));
        break;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        *(Slice *)slot = value_make_bytes(maker, null_allowed);
        break;
    case KAFKA_TYPE_RECORD_SLICES:
        value_make_record_slices(maker, null_allowed, slot);
        break;
    case KAFKA_TYPE_STRUCT:
        value_make_struct(maker, field->structure, slot);
        break;
    case KAFKA_TYPE_COUNT:
        break;
    }
}

static inline size_t value_item_size(const KafkaField *field)
{
    static const size_t sizes[KAFKA_TYPE_COUNT] = {
        [KAFKA_TYPE_BOOL] = 1,
        [KAFKA_TYPE_INT8] = 1,
        [KAFKA_TYPE_INT16] = 2,
        [KAFKA_TYPE_UINT16] = 2,
        [KAFKA_TYPE_INT32] = 4,
        [KAFKA_TYPE_INT64] = 8,
        [KAFKA_TYPE_FLOAT64] = 8,
        [KAFKA_TYPE_UUID] = 16,
        [KAFKA_TYPE_STRING] = sizeof(Slice),
        [KAFKA_TYPE_BYTES] = sizeof(Slice),
        [KAFKA_TYPE_RECORDS] = sizeof(Slice),
        [KAFKA_TYPE_RECORD_SLICES] = sizeof(KafkaRecords),
    };
    return field->type == KAFKA_TYPE_STRUCT ? field->structure->size : sizes[field->type];
}

static inline void value_make_array(ValueMaker *maker, const KafkaField *field, bool null_allowed, void *slot)
{
    KafkaInt8Array *array = slot; /* all arrays look the same */
    uint64_t dice = value_random(maker);
    if (null_allowed && (maker->plain || dice % 4 == 0)) {
        *array = (KafkaInt8Array){ .count = -1 };
        return;
    }
    size_t size = value_item_size(field);
    array->count = maker->plain ? 0 : (int32_t)((dice >> 8) % 3);
    array->items = arena_allocate_array(maker->arena, (size_t)array->count, size);
    for (int32_t i = 0; i < array->count; i++) {
        value_make_item(maker, field, false, array->items + (size_t)i * size);
    }
}

static inline void value_make_field(ValueMaker *maker, const KafkaField *field, void *slot)
{
    bool null_allowed = value_in_version(field->nullable, maker->version);
    if (field->array) {
        value_make_array(maker, field, null_allowed, slot);
    } else if (!field->indirect) {
        value_make_item(maker, field, null_allowed, slot);
    } else if (!maker->plain && value_random(maker) % 2) {
        void *value = arena_allocate(maker->arena, field->structure->size);
        value_make_struct(maker, field->structure, value);
        memcpy(slot, &value, sizeof(value));
    }
}

/* Fields of the version get any value, the others their default. Tagged fields keep it now and then. */
static inline void value_make_struct(ValueMaker *maker, const KafkaStruct *structure, void *out)
{
    kafka_defaults(structure, out);
    for (uint16_t i = 0; i < structure->field_count; i++) {
        const KafkaField *field = &structure->fields[i];
        bool skipped = field->tag >= 0 && (maker->plain || value_random(maker) % 3 == 0);
        if (value_in_version(field->versions, maker->version) && !skipped) {
            value_make_field(maker, field, (uint8_t *)out + field->offset);
        }
    }
}

static inline Slice value_records_joined(Arena *arena, const KafkaRecords *records)
{
    size_t size = 0;
    for (int32_t i = 0; i < records->count; i++) {
        size += records->slices[i].size;
    }
    uint8_t *joined = arena_allocate(arena, size);
    size_t position = 0;
    for (int32_t i = 0; joined && i < records->count; i++) {
        memcpy(joined + position, records->slices[i].data, records->slices[i].size);
        position += records->slices[i].size;
    }
    return records->null ? SLICE_NULL : slice_of(joined, size);
}

static inline bool value_structs_equal(Arena *arena, const KafkaStruct *structure, const void *a,
                                       const void *b);

static inline bool value_items_equal(Arena *arena, const KafkaField *field, const void *a, const void *b)
{
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        return slice_equals(*(const Slice *)a, *(const Slice *)b);
    case KAFKA_TYPE_RECORD_SLICES:
        return slice_equals(value_records_joined(arena, a), value_records_joined(arena, b));
    case KAFKA_TYPE_STRUCT:
        return value_structs_equal(arena, field->structure, a, b);
    default:
        return memcmp(a, b, value_item_size(field)) == 0;
    }
}

static inline bool value_arrays_equal(Arena *arena, const KafkaField *field, const void *a, const void *b)
{
    const KafkaInt8Array *left = a;
    const KafkaInt8Array *right = b;
    bool equal = left->count == right->count;
    for (int32_t i = 0; equal && i < left->count; i++) {
        size_t position = (size_t)i * value_item_size(field);
        equal = value_items_equal(arena, field, left->items + position, right->items + position);
    }
    return equal;
}

static inline bool value_pointers_equal(Arena *arena, const KafkaField *field, const void *a, const void *b)
{
    const void *left;
    const void *right;
    memcpy(&left, a, sizeof(left));
    memcpy(&right, b, sizeof(right));
    if (!left || !right) {
        return left == right;
    }
    return value_structs_equal(arena, field->structure, left, right);
}

/* Compares every field, those that a version lacks too: they must have come back as their defaults. */
static inline bool value_structs_equal(Arena *arena, const KafkaStruct *structure, const void *a,
                                       const void *b)
{
    bool equal = true;
    for (uint16_t i = 0; equal && i < structure->field_count; i++) {
        const KafkaField *field = &structure->fields[i];
        const void *left = (const uint8_t *)a + field->offset;
        const void *right = (const uint8_t *)b + field->offset;
        equal = field->array      ? value_arrays_equal(arena, field, left, right)
                : field->indirect ? value_pointers_equal(arena, field, left, right)
                                  : value_items_equal(arena, field, left, right);
    }
    return equal;
}

/* The writer's output in one piece. */
static inline Slice value_written(Arena *arena, const Writer *writer)
{
    Slice *slices = arena_allocate_array(arena, writer_slice_count(writer), sizeof(Slice));
    size_t count = slices ? writer_slices(writer, slices) : 0;
    KafkaRecords records = { .slices = slices, .count = (int32_t)count };
    return value_records_joined(arena, &records);
}

#endif
