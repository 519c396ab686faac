/* parameters.c: query parameters in PostgreSQL's binary formats (big-endian; arrays as array_recv() reads
 * them). */
#include "agent/brain/brain.h"

#include <limits.h>

enum { UUID_BYTES = 16, ARRAY_LOWER_BOUND = 1, JSONB_VERSION = 1 };

void brain_parameters_init(BrainParameters *parameters)
{
    *parameters = (BrainParameters){ 0 };
    writer_init(&parameters->bytes);
}

void brain_parameters_free(BrainParameters *parameters)
{
    writer_free(&parameters->bytes);
    brain_parameters_init(parameters);
}

/* False when there is no room for another one. */
static bool parameter_begin(BrainParameters *parameters)
{
    if (parameters->failed || parameters->count == BRAIN_PARAMETERS_MAX) {
        parameters->failed = true;
        return false;
    }
    parameters->starts[parameters->count] = parameters->bytes.used;
    return true;
}

static void parameter_end(BrainParameters *parameters)
{
    size_t length = parameters->bytes.used - parameters->starts[parameters->count];
    if (writer_failed(&parameters->bytes) || length > INT_MAX) {
        parameters->failed = true;
        return;
    }
    parameters->lengths[parameters->count++] = (int)length;
}

void brain_put_null(BrainParameters *parameters)
{
    if (parameter_begin(parameters)) {
        parameters->lengths[parameters->count++] = -1;
    }
}

void brain_put_bool(BrainParameters *parameters, bool value)
{
    if (parameter_begin(parameters)) {
        writer_i8(&parameters->bytes, value);
        parameter_end(parameters);
    }
}

void brain_put_int2(BrainParameters *parameters, int16_t value)
{
    if (parameter_begin(parameters)) {
        writer_i16(&parameters->bytes, value);
        parameter_end(parameters);
    }
}

void brain_put_int4(BrainParameters *parameters, int32_t value)
{
    if (parameter_begin(parameters)) {
        writer_i32(&parameters->bytes, value);
        parameter_end(parameters);
    }
}

void brain_put_int8(BrainParameters *parameters, int64_t value)
{
    if (parameter_begin(parameters)) {
        writer_i64(&parameters->bytes, value);
        parameter_end(parameters);
    }
}

void brain_put_bytea(BrainParameters *parameters, Slice bytes)
{
    if (slice_is_null(bytes)) {
        brain_put_null(parameters);
    } else if (parameter_begin(parameters)) {
        writer_bytes(&parameters->bytes, bytes.data, bytes.size);
        parameter_end(parameters);
    }
}

void brain_put_pieces(BrainParameters *parameters, const Slice *pieces, size_t count)
{
    if (!parameter_begin(parameters)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        writer_bytes(&parameters->bytes, pieces[i].data, pieces[i].size);
    }
    parameter_end(parameters);
}

void brain_put_text(BrainParameters *parameters, Slice text)
{
    brain_put_bytea(parameters, text);
}

void brain_put_jsonb(BrainParameters *parameters, Slice json)
{
    if (slice_is_null(json)) {
        brain_put_null(parameters);
    } else if (parameter_begin(parameters)) {
        writer_i8(&parameters->bytes, JSONB_VERSION);
        writer_bytes(&parameters->bytes, json.data, json.size);
        parameter_end(parameters);
    }
}

void brain_put_uuid(BrainParameters *parameters, const uint8_t *uuid)
{
    brain_put_bytea(parameters, uuid ? slice_of(uuid, UUID_BYTES) : SLICE_NULL);
}

/* Dimensions, whether there are nulls, element type, then the size and first index of the only dimension. */
static bool array_begin(BrainParameters *parameters, const void *values, Oid element, size_t count)
{
    if (!values && count == 0) {
        brain_put_null(parameters);
        return false;
    }
    if (count > INT32_MAX) {
        parameters->failed = true;
    }
    if (!parameter_begin(parameters)) {
        return false;
    }
    writer_i32(&parameters->bytes, count > 0);
    writer_i32(&parameters->bytes, 0);
    writer_u32(&parameters->bytes, element);
    if (count > 0) {
        writer_i32(&parameters->bytes, (int32_t)count);
        writer_i32(&parameters->bytes, ARRAY_LOWER_BOUND);
    }
    return true;
}

void brain_put_int2s(BrainParameters *parameters, const int16_t *values, size_t count)
{
    if (!array_begin(parameters, values, BRAIN_INT2, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        writer_i32(&parameters->bytes, sizeof(values[i]));
        writer_i16(&parameters->bytes, values[i]);
    }
    parameter_end(parameters);
}

void brain_put_int4s(BrainParameters *parameters, const int32_t *values, size_t count)
{
    if (!array_begin(parameters, values, BRAIN_INT4, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        writer_i32(&parameters->bytes, sizeof(values[i]));
        writer_i32(&parameters->bytes, values[i]);
    }
    parameter_end(parameters);
}

void brain_put_int8s(BrainParameters *parameters, const int64_t *values, size_t count)
{
    if (!array_begin(parameters, values, BRAIN_INT8, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        writer_i32(&parameters->bytes, sizeof(values[i]));
        writer_i64(&parameters->bytes, values[i]);
    }
    parameter_end(parameters);
}

static void array_put_slices(BrainParameters *parameters, const Slice *values, Oid element, size_t count)
{
    if (!array_begin(parameters, values, element, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (values[i].size > INT32_MAX) {
            parameters->failed = true;
            return;
        }
        writer_i32(&parameters->bytes, (int32_t)values[i].size);
        writer_bytes(&parameters->bytes, values[i].data, values[i].size);
    }
    parameter_end(parameters);
}

void brain_put_texts(BrainParameters *parameters, const Slice *values, size_t count)
{
    array_put_slices(parameters, values, BRAIN_TEXT, count);
}

void brain_put_byteas(BrainParameters *parameters, const Slice *values, size_t count)
{
    array_put_slices(parameters, values, BRAIN_BYTEA, count);
}

void brain_put_uuids(BrainParameters *parameters, const uint8_t *values, size_t count)
{
    if (!array_begin(parameters, values, BRAIN_UUID, count)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        writer_i32(&parameters->bytes, UUID_BYTES);
        writer_bytes(&parameters->bytes, values + i * UUID_BYTES, UUID_BYTES);
    }
    parameter_end(parameters);
}
