/* result.c: reads cells of a binary result. Whatever the server sent, a getter stays inside the cell's bytes.
 */
#include "agent/brain/brain.h"

#include "common/reader.h"

enum { UUID_BYTES = 16, SQLSTATE_DIGITS = 3 };

int brain_kafka_error(const BrainResult *result)
{
    const char *state = result->sqlstate;
    if (strncmp(state, "SH", 2) != 0) {
        return -1;
    }
    int code = 0;
    for (int i = 2; i < 2 + SQLSTATE_DIGITS; i++) {
        if (state[i] < '0' || state[i] > '9') {
            return -1;
        }
        code = code * 10 + (state[i] - '0');
    }
    return code;
}

int brain_row_count(const BrainResult *result)
{
    return result->rows ? PQntuples(result->rows) : 0;
}

/* The cell's bytes; SLICE_NULL for null and for a cell outside the result. */
static Slice cell_of(const BrainResult *result, int row, int column)
{
    const PGresult *rows = result->rows;
    if (!rows || row < 0 || row >= PQntuples(rows) || column < 0 || column >= PQnfields(rows)) {
        return SLICE_NULL;
    }
    if (PQgetisnull(rows, row, column) || PQfformat(rows, column) != 1) {
        return SLICE_NULL;
    }
    return slice_of(PQgetvalue(rows, row, column), (size_t)PQgetlength(rows, row, column));
}

bool brain_is_null(const BrainResult *result, int row, int column)
{
    return slice_is_null(cell_of(result, row, column));
}

/* An integer of any width up to size bytes. */
static int64_t cell_integer(const BrainResult *result, int row, int column, size_t size)
{
    Reader in = reader_of(cell_of(result, row, column));
    size_t width = reader_left(&in);
    if (width == 0 || width > size) {
        return 0;
    }
    switch (PQftype(result->rows, column)) {
    case BRAIN_INT2:
        return reader_i16(&in);
    case BRAIN_INT4:
        return reader_i32(&in);
    case BRAIN_INT8:
        return reader_i64(&in);
    default:
        return 0;
    }
}

bool brain_bool(const BrainResult *result, int row, int column)
{
    Slice cell = cell_of(result, row, column);
    return cell.size == 1 && cell.data[0] == 1;
}

int16_t brain_int2(const BrainResult *result, int row, int column)
{
    return (int16_t)cell_integer(result, row, column, sizeof(int16_t));
}

int32_t brain_int4(const BrainResult *result, int row, int column)
{
    return (int32_t)cell_integer(result, row, column, sizeof(int32_t));
}

int64_t brain_int8(const BrainResult *result, int row, int column)
{
    return cell_integer(result, row, column, sizeof(int64_t));
}

Slice brain_text(const BrainResult *result, int row, int column)
{
    Slice cell = cell_of(result, row, column);
    if (!slice_is_null(cell) && PQftype(result->rows, column) == BRAIN_JSONB && cell.size > 0) {
        return slice_of(cell.data + 1, cell.size - 1); /* a version byte comes first */
    }
    return cell;
}

Slice brain_bytes(const BrainResult *result, int row, int column)
{
    return cell_of(result, row, column);
}

const uint8_t *brain_uuid(const BrainResult *result, int row, int column)
{
    Slice cell = cell_of(result, row, column);
    return cell.size == UUID_BYTES ? cell.data : NULL;
}

static const BrainArray no_array = { .count = -1 };

/* Checks the header of array_send()'s form and that the elements can be there. */
static BrainArray cell_array(const BrainResult *result, int row, int column, Oid element, size_t size)
{
    Slice cell = cell_of(result, row, column);
    if (slice_is_null(cell)) {
        return no_array;
    }
    Reader in = reader_of(cell);
    int32_t dimensions = reader_i32(&in);
    reader_i32(&in); /* whether there are nulls: each element says it again */
    Oid type = reader_u32(&in);
    if (reader_failed(&in) || type != element || dimensions < 0 || dimensions > 1) {
        return no_array;
    }
    int32_t count = dimensions == 1 ? reader_i32(&in) : 0;
    if (dimensions == 1) {
        reader_i32(&in); /* the first index */
    }
    if (reader_failed(&in) || count < 0 || (size_t)count > reader_left(&in) / sizeof(int32_t)) {
        return no_array;
    }
    return (BrainArray){ slice_of(in.next, reader_left(&in)), count, size };
}

BrainArray brain_int4s(const BrainResult *result, int row, int column)
{
    return cell_array(result, row, column, BRAIN_INT4, sizeof(int32_t));
}

BrainArray brain_int8s(const BrainResult *result, int row, int column)
{
    return cell_array(result, row, column, BRAIN_INT8, sizeof(int64_t));
}

BrainArray brain_texts(const BrainResult *result, int row, int column)
{
    return cell_array(result, row, column, BRAIN_TEXT, 0);
}

BrainArray brain_byteas(const BrainResult *result, int row, int column)
{
    return cell_array(result, row, column, BRAIN_BYTEA, 0);
}

/* The next element; SLICE_NULL for null. Fails the reader when the element is not as long as it should be. */
static Slice array_next(const BrainArray *array, Reader *in)
{
    int32_t length = reader_i32(in);
    if (reader_failed(in) || length < 0) {
        return SLICE_NULL;
    }
    if (array->size > 0 && (size_t)length != array->size) {
        reader_fail(in);
        return SLICE_NULL;
    }
    return reader_take(in, (size_t)length);
}

int32_t brain_array_int4(const BrainArray *array, int32_t null_value, int32_t *out, int32_t max)
{
    Reader in = reader_of(array->elements);
    int32_t read = 0;
    while (read < array->count && read < max) {
        Reader element = reader_of(array_next(array, &in));
        if (reader_failed(&in)) {
            break;
        }
        out[read++] = reader_left(&element) == sizeof(int32_t) ? reader_i32(&element) : null_value;
    }
    return read;
}

int32_t brain_array_int8(const BrainArray *array, int64_t null_value, int64_t *out, int32_t max)
{
    Reader in = reader_of(array->elements);
    int32_t read = 0;
    while (read < array->count && read < max) {
        Reader element = reader_of(array_next(array, &in));
        if (reader_failed(&in)) {
            break;
        }
        out[read++] = reader_left(&element) == sizeof(int64_t) ? reader_i64(&element) : null_value;
    }
    return read;
}

int32_t brain_array_text(const BrainArray *array, Slice *out, int32_t max)
{
    Reader in = reader_of(array->elements);
    int32_t read = 0;
    while (read < array->count && read < max) {
        Slice element = array_next(array, &in);
        if (reader_failed(&in)) {
            break;
        }
        out[read++] = element;
    }
    return read;
}
