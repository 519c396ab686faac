/* codec_decode.c: reads a message by its field tables. Everything in the input is hostile: a length is
 * compared with what is left, a count with how many of the smallest items could still follow, and only then
 * is memory taken, from the arena. */
#include "agent/kafka/codec_internal.h"

typedef struct Decoder {
    Reader *in;
    Arena *arena;
    int16_t version;
    bool flexible; /* compact lengths, tags at the end of every struct */
    KafkaFault fault;
} Decoder;

static bool decode_struct(Decoder *decoder, const KafkaStruct *structure, void *out);
static bool decode_field(Decoder *decoder, const KafkaField *field, void *slot);

/* Keeps the first reason; always false. */
static bool decode_fail(Decoder *decoder, StatusCode code, const char *reason)
{
    if (decoder->fault.code == STATUS_OK) {
        decoder->fault.code = code;
        decoder->fault.reason = reason;
    }
    return reader_fail(decoder->in);
}

static bool decode_corrupt(Decoder *decoder, const char *reason)
{
    return decode_fail(decoder, STATUS_CORRUPT, reason);
}

/* For fixed-size types: the reader has noticed by itself when bytes were missing. */
static bool decode_complete(Decoder *decoder)
{
    return !reader_failed(decoder->in) || decode_corrupt(decoder, "the message ends here");
}

/* A compact length or count: 0 is null, otherwise one more than it says. */
static int64_t decode_compact_length(Decoder *decoder)
{
    return (int64_t)reader_uvarint(decoder->in) - 1;
}

static bool decode_null_allowed(Decoder *decoder, const KafkaField *field)
{
    return kafka_versions_include(field->nullable, decoder->version) ||
           decode_corrupt(decoder, "null where that is not allowed");
}

static bool decode_bytes(Decoder *decoder, const KafkaField *field, int64_t length, Slice *out)
{
    *out = SLICE_NULL;
    if (!decode_complete(decoder)) {
        return false;
    }
    if (length == KAFKA_NULL) {
        return decode_null_allowed(decoder, field);
    }
    if (length < 0) {
        return decode_corrupt(decoder, "a negative length");
    }
    if ((uint64_t)length > reader_left(decoder->in)) {
        return decode_corrupt(decoder, "longer than the message");
    }
    *out = reader_take(decoder->in, (size_t)length);
    return true;
}

static bool decode_string_field(Decoder *decoder, const KafkaField *field, Slice *out)
{
    bool compact = decoder->flexible && !field->plain;
    int64_t length = compact ? decode_compact_length(decoder) : reader_i16(decoder->in);
    if (length > KAFKA_STRING_MAX) {
        return decode_corrupt(decoder, "a string of more than 32767 bytes");
    }
    return decode_bytes(decoder, field, length, out);
}

static bool decode_bytes_field(Decoder *decoder, const KafkaField *field, Slice *out)
{
    int64_t length = decoder->flexible ? decode_compact_length(decoder) : reader_i32(decoder->in);
    return decode_bytes(decoder, field, length, out);
}

static bool decode_record_slices(Decoder *decoder, const KafkaField *field, KafkaRecords *out)
{
    Slice bytes;
    *out = (KafkaRecords){ .null = true };
    if (!decode_bytes_field(decoder, field, &bytes)) {
        return false;
    }
    if (slice_is_null(bytes)) {
        return true;
    }
    Slice *slice = arena_allocate(decoder->arena, sizeof(Slice));
    if (!slice) {
        return decode_fail(decoder, STATUS_LIMIT, "the request's memory is used up");
    }
    *slice = bytes;
    *out = (KafkaRecords){ .slices = slice, .count = 1 };
    return true;
}

static bool decode_float64(Decoder *decoder, double *out)
{
    uint64_t bits = reader_big_endian(decoder->in, sizeof(bits));
    memcpy(out, &bits, sizeof(bits));
    return decode_complete(decoder);
}

static bool decode_uuid(Decoder *decoder, KafkaUuid *out)
{
    Slice bytes = reader_take(decoder->in, sizeof(out->bytes));
    if (slice_is_null(bytes)) {
        return decode_complete(decoder);
    }
    memcpy(out->bytes, bytes.data, sizeof(out->bytes));
    return true;
}

static bool decode_item(Decoder *decoder, const KafkaField *field, void *slot)
{
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_BOOL:
        *(bool *)slot = reader_u8(decoder->in) != 0;
        return decode_complete(decoder);
    case KAFKA_TYPE_INT8:
        *(int8_t *)slot = reader_i8(decoder->in);
        return decode_complete(decoder);
    case KAFKA_TYPE_INT16:
        *(int16_t *)slot = reader_i16(decoder->in);
        return decode_complete(decoder);
    case KAFKA_TYPE_UINT16:
        *(uint16_t *)slot = reader_u16(decoder->in);
        return decode_complete(decoder);
    case KAFKA_TYPE_INT32:
        *(int32_t *)slot = reader_i32(decoder->in);
        return decode_complete(decoder);
    case KAFKA_TYPE_INT64:
        *(int64_t *)slot = reader_i64(decoder->in);
        return decode_complete(decoder);
    case KAFKA_TYPE_FLOAT64:
        return decode_float64(decoder, slot);
    case KAFKA_TYPE_UUID:
        return decode_uuid(decoder, slot);
    case KAFKA_TYPE_STRING:
        return decode_string_field(decoder, field, slot);
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
        return decode_bytes_field(decoder, field, slot);
    case KAFKA_TYPE_RECORD_SLICES:
        return decode_record_slices(decoder, field, slot);
    case KAFKA_TYPE_STRUCT:
        return decode_struct(decoder, field->structure, slot);
    case KAFKA_TYPE_COUNT:
        break;
    }
    return decode_fail(decoder, STATUS_INTERNAL, "a field of no known type");
}

static size_t struct_bytes_min(const Decoder *decoder, const KafkaStruct *structure);

/* The fewest bytes one value (or one item of an array) can take. */
static size_t item_bytes_min(const Decoder *decoder, const KafkaField *field)
{
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_BOOL:
    case KAFKA_TYPE_INT8:
        return 1;
    case KAFKA_TYPE_INT16:
    case KAFKA_TYPE_UINT16:
        return 2;
    case KAFKA_TYPE_INT32:
        return 4;
    case KAFKA_TYPE_INT64:
    case KAFKA_TYPE_FLOAT64:
        return 8;
    case KAFKA_TYPE_UUID:
        return sizeof(KafkaUuid);
    case KAFKA_TYPE_STRING:
        return decoder->flexible && !field->plain ? 1 : 2;
    case KAFKA_TYPE_BYTES:
    case KAFKA_TYPE_RECORDS:
    case KAFKA_TYPE_RECORD_SLICES:
        return decoder->flexible ? 1 : 4;
    case KAFKA_TYPE_STRUCT:
        return struct_bytes_min(decoder, field->structure);
    case KAFKA_TYPE_COUNT:
        break;
    }
    return 1;
}

static size_t struct_bytes_min(const Decoder *decoder, const KafkaStruct *structure)
{
    size_t bytes = decoder->flexible ? 1 : 0;
    for (uint16_t i = 0; i < structure->field_count - structure->tagged_count; i++) {
        const KafkaField *field = &structure->fields[i];
        if (!kafka_versions_include(field->versions, decoder->version)) {
            continue;
        }
        if (field->array) {
            bytes += decoder->flexible ? 1 : 4;
        } else {
            bytes += field->indirect ? 1 : item_bytes_min(decoder, field);
        }
    }
    return bytes > 0 ? bytes : 1;
}

static bool decode_array(Decoder *decoder, const KafkaField *field, void *slot)
{
    int64_t count = decoder->flexible ? decode_compact_length(decoder) : reader_i32(decoder->in);
    kafka_array_store(slot, NULL, KAFKA_NULL);
    if (!decode_complete(decoder)) {
        return false;
    }
    if (count == KAFKA_NULL) {
        return decode_null_allowed(decoder, field);
    }
    if (count < 0) {
        return decode_corrupt(decoder, "a negative count");
    }
    if ((uint64_t)count > reader_left(decoder->in) / item_bytes_min(decoder, field)) {
        return decode_corrupt(decoder, "more items than the message has room for");
    }
    size_t size = kafka_item_size(field);
    uint8_t *items = arena_allocate_array(decoder->arena, (size_t)count, size);
    if (!items) {
        return decode_fail(decoder, STATUS_LIMIT, "the request's memory is used up");
    }
    /* Items of an array are never null themselves, whatever the array may be. */
    KafkaField item = *field;
    item.nullable = (KafkaVersions){ INT16_MAX, INT16_MAX };
    for (int64_t i = 0; i < count; i++) {
        if (!decode_item(decoder, &item, items + (size_t)i * size)) {
            return false;
        }
    }
    kafka_array_store(slot, items, (int32_t)count);
    return true;
}

static bool decode_indirect(Decoder *decoder, const KafkaField *field, void *slot)
{
    void *value = NULL;
    int8_t presence = reader_i8(decoder->in);
    memcpy(slot, &value, sizeof(value));
    if (!decode_complete(decoder)) {
        return false;
    }
    if (presence < 0) {
        return decode_null_allowed(decoder, field);
    }
    value = arena_allocate(decoder->arena, field->structure->size);
    if (!value) {
        return decode_fail(decoder, STATUS_LIMIT, "the request's memory is used up");
    }
    memcpy(slot, &value, sizeof(value));
    return decode_struct(decoder, field->structure, value);
}

static bool decode_field(Decoder *decoder, const KafkaField *field, void *slot)
{
    if (field->array) {
        return decode_array(decoder, field, slot);
    }
    return field->indirect ? decode_indirect(decoder, field, slot) : decode_item(decoder, field, slot);
}

static const KafkaField *tagged_field_find(const Decoder *decoder, const KafkaStruct *structure, uint32_t tag)
{
    for (uint16_t i = structure->field_count - structure->tagged_count; i < structure->field_count; i++) {
        const KafkaField *field = &structure->fields[i];
        if ((uint32_t)field->tag == tag && kafka_versions_include(field->versions, decoder->version)) {
            return field;
        }
    }
    return NULL;
}

/* One known tagged field, which has to fill its announced size exactly. */
static bool decode_tagged_field(Decoder *decoder, const KafkaField *field, Slice bytes, void *slot)
{
    Reader *outer = decoder->in;
    Reader inner = reader_of(bytes);
    decoder->in = &inner;
    bool decoded = decode_field(decoder, field, slot);
    decoder->in = outer;
    if (!decoded) {
        return reader_fail(outer);
    }
    return reader_left(&inner) == 0 || decode_corrupt(decoder, "a tagged field shorter than it says");
}

static bool decode_tags(Decoder *decoder, const KafkaStruct *structure, void *out)
{
    int64_t last_tag = -1;
    uint32_t count = reader_uvarint(decoder->in);
    /* A tagged field takes two bytes at least: tag and size. */
    if (count > reader_left(decoder->in) / 2) {
        return decode_corrupt(decoder, "more tagged fields than the message has room for");
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t tag = reader_uvarint(decoder->in);
        Slice bytes = reader_take(decoder->in, reader_uvarint(decoder->in));
        if (reader_failed(decoder->in)) {
            return decode_corrupt(decoder, "a tagged field longer than the message");
        }
        if (tag <= last_tag) {
            return decode_corrupt(decoder, "tags do not rise");
        }
        last_tag = tag;
        const KafkaField *field = tagged_field_find(decoder, structure, tag);
        if (field && !decode_tagged_field(decoder, field, bytes, kafka_slot(out, field))) {
            decoder->fault.field = decoder->fault.structure ? decoder->fault.field : field;
            return false;
        }
    }
    return decode_complete(decoder);
}

static bool decode_struct(Decoder *decoder, const KafkaStruct *structure, void *out)
{
    const KafkaField *field = NULL;
    bool decoded = true;
    for (uint16_t i = 0; decoded && i < structure->field_count; i++) {
        field = &structure->fields[i];
        void *slot = kafka_slot(out, field);
        if (field->tag < 0 && kafka_versions_include(field->versions, decoder->version)) {
            decoded = decode_field(decoder, field, slot);
        } else {
            kafka_field_set_default(field, slot);
        }
    }
    if (decoded && decoder->flexible) {
        field = NULL;
        decoded = decode_tags(decoder, structure, out);
    }
    if (!decoded && !decoder->fault.structure) {
        decoder->fault.structure = structure;
        decoder->fault.field = decoder->fault.field ? decoder->fault.field : field;
    }
    return decoded;
}

Status kafka_decode(const KafkaMessage *message, int16_t version, Reader *in, Arena *arena, void *out)
{
    if (!kafka_versions_include(message->versions, version)) {
        return status_error(STATUS_INVALID, "%s has no version %d (only %d to %d)", message->root.name,
                            version, message->versions.first, message->versions.last);
    }
    Decoder decoder = {
        .in = in, .arena = arena, .version = version, .flexible = version >= message->flexible_from
    };
    if (decode_struct(&decoder, &message->root, out)) {
        return status_ok();
    }
    return kafka_fault_status(&decoder.fault, message, version);
}
