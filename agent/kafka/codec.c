/* codec.c: Kafka messages in memory: the size, default and comparison of each type of field, and the words
 * for a fault. */
#include "agent/kafka/codec_internal.h"

static const uint8_t item_sizes[KAFKA_TYPE_COUNT] = {
    [KAFKA_TYPE_BOOL] = sizeof(bool),      [KAFKA_TYPE_INT8] = sizeof(int8_t),
    [KAFKA_TYPE_INT16] = sizeof(int16_t),  [KAFKA_TYPE_UINT16] = sizeof(uint16_t),
    [KAFKA_TYPE_INT32] = sizeof(int32_t),  [KAFKA_TYPE_INT64] = sizeof(int64_t),
    [KAFKA_TYPE_FLOAT64] = sizeof(double), [KAFKA_TYPE_UUID] = sizeof(KafkaUuid),
    [KAFKA_TYPE_STRING] = sizeof(Slice),   [KAFKA_TYPE_BYTES] = sizeof(Slice),
    [KAFKA_TYPE_RECORDS] = sizeof(Slice),  [KAFKA_TYPE_RECORD_SLICES] = sizeof(KafkaRecords),
};

size_t kafka_item_size(const KafkaField *field)
{
    return field->type == KAFKA_TYPE_STRUCT ? field->structure->size : item_sizes[field->type];
}

static void item_set_default(const KafkaField *field, void *slot)
{
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_BOOL:
        *(bool *)slot = field->default_value != 0;
        break;
    case KAFKA_TYPE_INT8:
        *(int8_t *)slot = (int8_t)field->default_value;
        break;
    case KAFKA_TYPE_INT16:
        *(int16_t *)slot = (int16_t)field->default_value;
        break;
    case KAFKA_TYPE_UINT16:
        *(uint16_t *)slot = (uint16_t)field->default_value;
        break;
    case KAFKA_TYPE_INT32:
        *(int32_t *)slot = (int32_t)field->default_value;
        break;
    case KAFKA_TYPE_INT64:
        *(int64_t *)slot = field->default_value;
        break;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
        *(Slice *)slot = field->default_null ? SLICE_NULL : SLICE_LITERAL("");
        break;
    case KAFKA_TYPE_STRUCT:
        kafka_defaults(field->structure, slot);
        break;
    case KAFKA_TYPE_FLOAT64:
    case KAFKA_TYPE_UUID:
    case KAFKA_TYPE_RECORDS:
    case KAFKA_TYPE_RECORD_SLICES:
    case KAFKA_TYPE_COUNT:
        memset(slot, 0, item_sizes[field->type]);
        break;
    }
}

void kafka_field_set_default(const KafkaField *field, void *slot)
{
    if (field->array) {
        kafka_array_store(slot, NULL, field->default_null ? KAFKA_NULL : 0);
    } else if (field->indirect) {
        memset(slot, 0, sizeof(void *));
    } else {
        item_set_default(field, slot);
    }
}

void kafka_defaults(const KafkaStruct *structure, void *value)
{
    for (uint16_t i = 0; i < structure->field_count; i++) {
        const KafkaField *field = &structure->fields[i];
        kafka_field_set_default(field, kafka_slot(value, field));
    }
}

void *kafka_items_new(Arena *arena, const KafkaStruct *structure, size_t count)
{
    uint8_t *items = arena_allocate_array(arena, count, structure->size);
    for (size_t i = 0; items && i < count; i++) {
        if (i == 0) {
            kafka_defaults(structure, items);
        } else {
            memcpy(items + i * structure->size, items, structure->size);
        }
    }
    return items;
}

/* A zeroed struct has null where "" is the default; that counts too, since it says nothing either. */
static bool slice_is_default(const KafkaField *field, const Slice *slice)
{
    if (slice_is_null(*slice)) {
        return field->default_null || field->nullable.first == INT16_MAX;
    }
    return slice->size == 0 && !field->default_null;
}

static bool struct_is_default(const KafkaStruct *structure, const void *value)
{
    for (uint16_t i = 0; i < structure->field_count; i++) {
        const KafkaField *field = &structure->fields[i];
        if (!kafka_field_is_default(field, kafka_slot_const(value, field))) {
            return false;
        }
    }
    return true;
}

static bool array_is_default(const KafkaField *field, const void *slot)
{
    int32_t count = kafka_array_load(slot).count;
    if (count < 0) {
        return field->default_null || field->nullable.first == INT16_MAX;
    }
    return count == 0 && !field->default_null;
}

static bool pointer_is_null(const void *slot)
{
    const void *pointer;
    memcpy(&pointer, slot, sizeof(pointer));
    return pointer == NULL;
}

static bool item_is_default(const KafkaField *field, const void *slot)
{
    static const uint8_t zeros[sizeof(KafkaUuid)];
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_BOOL:
        return *(const bool *)slot == (field->default_value != 0);
    case KAFKA_TYPE_INT8:
        return *(const int8_t *)slot == field->default_value;
    case KAFKA_TYPE_INT16:
        return *(const int16_t *)slot == field->default_value;
    case KAFKA_TYPE_UINT16:
        return *(const uint16_t *)slot == field->default_value;
    case KAFKA_TYPE_INT32:
        return *(const int32_t *)slot == field->default_value;
    case KAFKA_TYPE_INT64:
        return *(const int64_t *)slot == field->default_value;
    case KAFKA_TYPE_STRING:
    case KAFKA_TYPE_BYTES:
        return slice_is_default(field, slot);
    case KAFKA_TYPE_STRUCT:
        return struct_is_default(field->structure, slot);
    case KAFKA_TYPE_RECORDS:
        return slice_is_null(*(const Slice *)slot);
    case KAFKA_TYPE_RECORD_SLICES:
        return ((const KafkaRecords *)slot)->count == 0;
    case KAFKA_TYPE_FLOAT64:
    case KAFKA_TYPE_UUID:
    case KAFKA_TYPE_COUNT:
        break;
    }
    return memcmp(slot, zeros, item_sizes[field->type]) == 0;
}

bool kafka_field_is_default(const KafkaField *field, const void *slot)
{
    if (field->array) {
        return array_is_default(field, slot);
    }
    return field->indirect ? pointer_is_null(slot) : item_is_default(field, slot);
}

Status kafka_fault_status(const KafkaFault *fault, const KafkaMessage *message, int16_t version)
{
    if (fault->code == STATUS_OK) {
        return status_ok();
    }
    if (!fault->structure) {
        return status_error(fault->code, "%s version %d: %s", message->root.name, version, fault->reason);
    }
    return status_error(fault->code, "%s version %d: %s%s%s: %s", message->root.name, version,
                        fault->structure->name, fault->field ? " " : "",
                        fault->field ? fault->field->name : "", fault->reason);
}
