/* fetch_text.c: keys and values as text and JSON, for reading with the naked eye. What is no text or no JSON
 * is an error that names the record, or null where the caller wants that; a key that is no text is given as
 * \x and its hex. */
#include "compat.h"
#include "fetch_rows.h"

#include "common/jsonapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

static Datum key_text(Slice key)
{
    if (is_text(key)) {
        return PointerGetDatum(cstring_to_text_with_len((const char *)key.data, (int)key.size));
    }
    text *hex = palloc(VARHDRSZ + 2 + key.size * 2);
    memcpy(VARDATA(hex), "\\x", 2);
    hex_encode((const char *)key.data, key.size, VARDATA(hex) + 2);
    SET_VARSIZE(hex, VARHDRSZ + 2 + key.size * 2);
    return PointerGetDatum(hex);
}

/* False when the value is to be null; ERROR when it may not. */
static bool value_refuse(const FetchRows *rows, const Record *record, const char *what, const char *why)
{
    if (rows->invalid_as_null) {
        return false;
    }
    ereport(ERROR, errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
            errmsg("the value at offset " INT64_FORMAT " of partition %d of topic \"%s\" is not %s",
                   record->offset, rows->partition, rows->topic, what),
            errdetail("%s", why),
            errhint("invalid_as_null => true gives null instead; sh_read() gives the bytes as they are."));
}

/* NULL, or why the text is no jsonb. Some of what is JSON is none: numbers beyond numeric's range, nesting
 * beyond the stack. That comes as an ERROR; it is caught because what can raise it here computes and does
 * nothing else, so that there is nothing to undo. */
static const char *jsonb_make(char *text, size_t size, Datum *value)
{
    MemoryContext before = CurrentMemoryContext;
    const char *volatile why = NULL;
    PG_TRY();
    {
        JsonLexContext *lexer = compat_json_lexer(text, (int)size);
        JsonParseErrorType error = pg_parse_json(lexer, &nullSemAction);
        if (error == JSON_SUCCESS) {
            *value = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
        } else {
            why = json_errdetail(error, lexer);
        }
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(before);
        int category = ERRCODE_TO_CATEGORY(geterrcode());
        if (category != ERRCODE_DATA_EXCEPTION && category != ERRCODE_PROGRAM_LIMIT_EXCEEDED) {
            PG_RE_THROW();
        }
        why = CopyErrorData()->message;
        FlushErrorState();
    }
    PG_END_TRY();
    return why;
}

static bool value_json(const FetchRows *rows, const Record *record, Datum *value)
{
    char *text = pnstrdup((const char *)record->value.data, record->value.size);
    const char *why = jsonb_make(text, record->value.size, value);
    return !why || value_refuse(rows, record, "JSON", why);
}

static bool value_set(const FetchRows *rows, const Record *record, Datum *value)
{
    if (slice_is_null(record->value)) {
        return false;
    }
    if (!is_text(record->value)) {
        return value_refuse(rows, record, "text", "It is not valid UTF-8, or has a zero byte.");
    }
    if (rows->kind == ROWS_JSON) {
        return value_json(rows, record, value);
    }
    *value =
        PointerGetDatum(cstring_to_text_with_len((const char *)record->value.data, (int)record->value.size));
    return true;
}

void row_texts_set(FetchRows *rows, const Record *record)
{
    rows->nulls[RECORD_KEY] = slice_is_null(record->key);
    if (!rows->nulls[RECORD_KEY]) {
        rows->values[RECORD_KEY] = key_text(record->key);
    }
    rows->nulls[RECORD_VALUE] = !value_set(rows, record, &rows->values[RECORD_VALUE]);
}
