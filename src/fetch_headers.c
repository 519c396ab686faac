/* fetch_headers.c: a record's headers as jsonb. Kafka's are a list of names and bytes; what people want is an
 * object of texts, so that is what they get, and what is not text or not unique is told apart without loss.
 */
#include "compat.h"
#include "fetch_rows.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

bool is_text(Slice bytes)
{
    if (memchr(bytes.data, 0, bytes.size)) {
        return false;
    }
    if (GetDatabaseEncoding() == PG_UTF8) {
        return pg_verify_mbstr(PG_UTF8, (const char *)bytes.data, (int)bytes.size, true);
    }
    for (size_t i = 0; i < bytes.size; i++) {
        if (bytes.data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

static JsonbValue string_of(const char *text, size_t size)
{
    return (JsonbValue){ .type = jbvString,
                         .val.string = { .val = unconstify(char *, text), .len = (int)size } };
}

/* A name is text by Kafka's rules; one that is not becomes \x and its bytes in hex. */
static JsonbValue name_of(Slice name)
{
    if (is_text(name)) {
        return string_of((const char *)name.data, name.size);
    }
    char *hex = palloc(name.size * 2 + 2);
    memcpy(hex, "\\x", 2);
    hex_encode((const char *)name.data, name.size, hex + 2);
    return string_of(hex, name.size * 2 + 2);
}

static JsonbValue base64_of(Slice bytes)
{
    int room = pg_b64_enc_len((int)bytes.size);
    char *text = palloc(room + 1);
    int size = pg_b64_encode(compat_b64_source(bytes.data), (int)bytes.size, text, room);
    return string_of(text, size);
}

static void value_push(JsonbParseState **state, JsonbIteratorToken place, Slice value)
{
    JsonbValue json = { .type = jbvNull };
    if (!slice_is_null(value) && !is_text(value)) {
        JsonbValue name = string_of("base64", strlen("base64"));
        json = base64_of(value);
        pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
        pushJsonbValue(state, WJB_KEY, &name);
        pushJsonbValue(state, WJB_VALUE, &json);
        pushJsonbValue(state, WJB_END_OBJECT, NULL);
        return;
    }
    if (!slice_is_null(value)) {
        json = string_of((const char *)value.data, value.size);
    }
    pushJsonbValue(state, place, &json);
}

/* All values of the name that the header at number first has; only there, not at its repetitions. */
static void name_push(JsonbParseState **state, const RecordHeader *headers, int count, int number)
{
    int same = 0;
    for (int i = 0; i < number; i++) {
        if (slice_equals(headers[i].key, headers[number].key)) {
            return;
        }
    }
    for (int i = number; i < count; i++) {
        same += slice_equals(headers[i].key, headers[number].key);
    }
    JsonbValue name = name_of(headers[number].key);
    pushJsonbValue(state, WJB_KEY, &name);
    if (same == 1) {
        value_push(state, WJB_VALUE, headers[number].value);
        return;
    }
    pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
    for (int i = number; i < count; i++) {
        if (slice_equals(headers[i].key, headers[number].key)) {
            value_push(state, WJB_ELEM, headers[i].value);
        }
    }
    pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

Jsonb *headers_jsonb(const Record *record)
{
    JsonbParseState *state = NULL;
    Reader reader = reader_of(record->headers);
    RecordHeader *headers =
        palloc_extended(sizeof(RecordHeader) * (Size)record->header_count, MCXT_ALLOC_HUGE);
    int count = 0;
    while (count < record->header_count && record_header_next(&reader, &headers[count])) {
        count++;
    }
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
    for (int i = 0; i < count; i++) {
        CHECK_FOR_INTERRUPTS();
        name_push(&state, headers, count, i);
    }
    return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
