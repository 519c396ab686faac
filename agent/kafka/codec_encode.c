/* codec_encode.c: writes a message by its field tables. Record batches are only referred to; the rest is
 * copied. */
#include "agent/kafka/codec_internal.h"

#include <assert.h>

typedef struct Encoder {
    Writer *out;
    int16_t version;
    bool flexible; /* compact lengths, tags at the end of every struct */
    KafkaFault fault;
} Encoder;

static bool encode_struct(Encoder *encoder, const KafkaStruct *structure, const void *value);
static bool encode_field(Encoder *encoder, const KafkaField *field, const void *slot);

/* Keeps the first reason; always false. */
static bool encode_fail(Encoder *encoder, const char *reason)
{
    if (encoder->fault.code == STATUS_OK) {
        encoder->fault.code = STATUS_INVALID;
        encoder->fault.reason = reason;
    }
    return false;
}

static bool encode_null_allowed(Encoder *encoder, const KafkaField *field)
{
    return kafka_versions_include(field->nullable, encoder->version) ||
           encode_fail(encoder, "null where that is not allowed");
}

/* A length or count of four bytes, or compact: 0 for null, otherwise one more. */
static void encode_length(Encoder *encoder, int64_t length)
{
    if (encoder->flexible) {
        writer_uvarint(encoder->out, (uint64_t)(length + 1));
    } else {
        writer_i32(encoder->out, (int32_t)length);
    }
}

static bool encode_string(Encoder *encoder, const KafkaField *field, Slice text)
{
    bool null = slice_is_null(text);
    if (null && !encode_null_allowed(encoder, field)) {
        return false;
    }
    if (text.size > KAFKA_STRING_MAX) {
        return encode_fail(encoder, "a string of more than 32767 bytes");
    }
    if (encoder->flexible && !field->plain) {
        writer_uvarint(encoder->out, null ? 0 : text.size + 1);
    } else {
        writer_i16(encoder->out, null ? KAFKA_NULL : (int16_t)text.size);
    }
    writer_bytes(encoder->out, text.data, text.size);
    return true;
}

/* The length in front of bytes; null is checked. */
static bool encode_bytes_length(Encoder *encoder, const KafkaField *field, bool null, size_t size)
{
    if (null && !encode_null_allowed(encoder, field)) {
        return false;
    }
    if (size >= INT32_MAX) {
        return encode_fail(encoder, "more than 2 GiB");
    }
    encode_length(encoder, null ? KAFKA_NULL : (int64_t)size);
    return true;
}

static bool encode_bytes(Encoder *encoder, const KafkaField *field, Slice bytes)
{
    if (!encode_bytes_length(encoder, field, slice_is_null(bytes), bytes.size)) {
        return false;
    }
    writer_bytes(encoder->out, bytes.data, bytes.size);
    return true;
}

static bool encode_records(Encoder *encoder, const KafkaField *field, Slice bytes)
{
    if (!encode_bytes_length(encoder, field, slice_is_null(bytes), bytes.size)) {
        return false;
    }
    writer_reference(encoder->out, bytes);
    return true;
}

static bool encode_record_slices(Encoder *encoder, const KafkaField *field, const KafkaRecords *records)
{
    size_t size = 0;
    for (int32_t i = 0; i < records->count && size < INT32_MAX; i++) {
        size_t more = records->slices[i].size;
        size = more < INT32_MAX - size ? size + more : INT32_MAX;
    }
    if (!encode_bytes_length(encoder, field, records->null, size)) {
        return false;
    }
    for (int32_t i = 0; !records->null && i < records->count; i++) {
        writer_reference(encoder->out, records->slices[i]);
    }
    return true;
}

static bool encode_float64(Encoder *encoder, double value)
{
    int64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    writer_i64(encoder->out, bits);
    return true;
}

static bool encode_item(Encoder *encoder, const KafkaField *field, const void *slot)
{
    Writer *out = encoder->out;
    switch ((KafkaType)field->type) {
    case KAFKA_TYPE_BOOL:
        writer_i8(out, *(const bool *)slot ? 1 : 0);
        return true;
    case KAFKA_TYPE_INT8:
        writer_i8(out, *(const int8_t *)slot);
        return true;
    case KAFKA_TYPE_INT16:
        writer_i16(out, *(const int16_t *)slot);
        return true;
    case KAFKA_TYPE_UINT16:
        writer_u16(out, *(const uint16_t *)slot);
        return true;
    case KAFKA_TYPE_INT32:
        writer_i32(out, *(const int32_t *)slot);
        return true;
    case KAFKA_TYPE_INT64:
        writer_i64(out, *(const int64_t *)slot);
        return true;
    case KAFKA_TYPE_FLOAT64:
        return encode_float64(encoder, *(const double *)slot);
    case KAFKA_TYPE_UUID:
        writer_bytes(out, slot, sizeof(KafkaUuid));
        return true;
    case KAFKA_TYPE_STRING:
        return encode_string(encoder, field, *(const Slice *)slot);
    case KAFKA_TYPE_BYTES:
        return encode_bytes(encoder, field, *(const Slice *)slot);
    case KAFKA_TYPE_RECORDS:
        return encode_records(encoder, field, *(const Slice *)slot);
    case KAFKA_TYPE_RECORD_SLICES:
        return encode_record_slices(encoder, field, slot);
    case KAFKA_TYPE_STRUCT:
        return encode_struct(encoder, field->structure, slot);
    case KAFKA_TYPE_COUNT:
        break;
    }
    return encode_fail(encoder, "a field of no known type");
}

static bool encode_array(Encoder *encoder, const KafkaField *field, const void *slot)
{
    KafkaArray array = kafka_array_load(slot);
    if (array.count < 0 && !encode_null_allowed(encoder, field)) {
        return false;
    }
    encode_length(encoder, array.count < 0 ? KAFKA_NULL : array.count);
    KafkaField item = *field;
    item.nullable = (KafkaVersions){ INT16_MAX, INT16_MAX };
    size_t size = kafka_item_size(field);
    for (int32_t i = 0; i < array.count; i++) {
        if (!encode_item(encoder, &item, (const uint8_t *)array.items + (size_t)i * size)) {
            return false;
        }
    }
    return true;
}

static bool encode_indirect(Encoder *encoder, const KafkaField *field, const void *slot)
{
    const void *value;
    memcpy(&value, slot, sizeof(value));
    if (!value) {
        writer_i8(encoder->out, KAFKA_STRUCT_ABSENT);
        return encode_null_allowed(encoder, field);
    }
    writer_i8(encoder->out, KAFKA_STRUCT_PRESENT);
    return encode_struct(encoder, field->structure, value);
}

static bool encode_field(Encoder *encoder, const KafkaField *field, const void *slot)
{
    if (field->array) {
        return encode_array(encoder, field, slot);
    }
    return field->indirect ? encode_indirect(encoder, field, slot) : encode_item(encoder, field, slot);
}

/* Writes the size in front of what was written since own_start. */
static void encode_size_before(Encoder *encoder, size_t own_start)
{
    Writer *out = encoder->out;
    size_t size = out->used - own_start;
    writer_uvarint(out, size);
    if (writer_failed(out)) {
        return;
    }
    uint8_t prefix[10];
    size_t prefix_size = out->used - own_start - size;
    assert(prefix_size <= sizeof(prefix));
    memcpy(prefix, out->bytes + own_start + size, prefix_size);
    memmove(out->bytes + own_start + prefix_size, out->bytes + own_start, size);
    memcpy(out->bytes + own_start, prefix, prefix_size);
}

static bool encode_tagged_field(Encoder *encoder, const KafkaField *field, const void *slot)
{
    writer_uvarint(encoder->out, (uint64_t)field->tag);
    size_t own_start = encoder->out->used;
    if (!encode_field(encoder, field, slot)) {
        encoder->fault.field = encoder->fault.structure ? encoder->fault.field : field;
        return false;
    }
    encode_size_before(encoder, own_start);
    return true;
}

static bool tag_is_wanted(const Encoder *encoder, const KafkaField *field, const void *value)
{
    return kafka_versions_include(field->versions, encoder->version) &&
           !kafka_field_is_default(field, kafka_slot_const(value, field));
}

static bool encode_tags(Encoder *encoder, const KafkaStruct *structure, const void *value)
{
    const KafkaField *tagged = structure->fields + structure->field_count - structure->tagged_count;
    uint32_t wanted = 0;
    for (uint16_t i = 0; i < structure->tagged_count; i++) {
        wanted += tag_is_wanted(encoder, &tagged[i], value);
    }
    writer_uvarint(encoder->out, wanted);
    for (uint16_t i = 0; wanted > 0 && i < structure->tagged_count; i++) {
        if (tag_is_wanted(encoder, &tagged[i], value) &&
            !encode_tagged_field(encoder, &tagged[i], kafka_slot_const(value, &tagged[i]))) {
            return false;
        }
    }
    return true;
}

/* A field that this version lacks: nothing is written, but a value that matters must not get lost unnoticed.
 */
static bool encode_missing_field(Encoder *encoder, const KafkaField *field, const void *slot)
{
    return field->ignorable || kafka_field_is_default(field, slot) ||
           encode_fail(encoder, "this version has no such field and it may not be dropped");
}

static bool encode_struct(Encoder *encoder, const KafkaStruct *structure, const void *value)
{
    const KafkaField *field = NULL;
    bool encoded = true;
    for (uint16_t i = 0; encoded && i < structure->field_count; i++) {
        field = &structure->fields[i];
        const void *slot = kafka_slot_const(value, field);
        if (!kafka_versions_include(field->versions, encoder->version)) {
            encoded = encode_missing_field(encoder, field, slot);
        } else if (field->tag < 0) {
            encoded = encode_field(encoder, field, slot);
        }
    }
    if (encoded && encoder->flexible) {
        field = NULL;
        encoded = encode_tags(encoder, structure, value);
    }
    if (!encoded && !encoder->fault.structure) {
        encoder->fault.structure = structure;
        encoder->fault.field = encoder->fault.field ? encoder->fault.field : field;
    }
    return encoded;
}

Status kafka_encode(const KafkaMessage *message, int16_t version, const void *value, Writer *out)
{
    if (!kafka_versions_include(message->versions, version)) {
        return status_error(STATUS_INVALID, "%s has no version %d (only %d to %d)", message->root.name,
                            version, message->versions.first, message->versions.last);
    }
    Encoder encoder = { .out = out, .version = version, .flexible = version >= message->flexible_from };
    if (!encode_struct(&encoder, &message->root, value)) {
        return kafka_fault_status(&encoder.fault, message, version);
    }
    if (writer_failed(out)) {
        return status_error(STATUS_LIMIT, "%s: no memory for the encoded message", message->root.name);
    }
    return status_ok();
}
