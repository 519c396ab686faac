/* jsonb_text.c: jsonb as text. PostgreSQL's own writer looks at strings a character at a time and appends
 * each by itself; this one copies runs of those that need no escape, which is nearly all. The text is the
 * same. */
#include "compat.h"
#include "jsonb_text.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

static bool needs_escape(unsigned char character)
{
    return character < ' ' || character == '"' || character == '\\';
}

static void escape_write(StringInfo out, char character)
{
    static const char short_forms[][2] = {
        { '\b', 'b' }, { '\f', 'f' }, { '\n', 'n' },  { '\r', 'r' },
        { '\t', 't' }, { '"', '"' },  { '\\', '\\' },
    };
    for (size_t i = 0; i < lengthof(short_forms); i++) {
        if (short_forms[i][0] == character) {
            appendStringInfoChar(out, '\\');
            appendStringInfoChar(out, short_forms[i][1]);
            return;
        }
    }
    appendStringInfo(out, "\\u%04x", (unsigned char)character);
}

static void string_write(StringInfo out, const char *text, int size)
{
    int written = 0;
    appendStringInfoChar(out, '"');
    for (int i = 0; i < size; i++) {
        if (needs_escape((unsigned char)text[i])) {
            appendBinaryStringInfo(out, text + written, i - written);
            escape_write(out, text[i]);
            written = i + 1;
        }
    }
    appendBinaryStringInfo(out, text + written, size - written);
    appendStringInfoChar(out, '"');
}

static void scalar_write(StringInfo out, const JsonbValue *value)
{
    char *number;
    switch (value->type) {
    case jbvNull:
        appendStringInfoString(out, "null");
        break;
    case jbvBool:
        appendStringInfoString(out, value->val.boolean ? "true" : "false");
        break;
    case jbvNumeric:
        number = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
        appendStringInfoString(out, number);
        pfree(number);
        break;
    case jbvString:
        string_write(out, value->val.string.val, value->val.string.len);
        break;
    default:
        elog(ERROR, "unexpected jsonb value of type %d", (int)value->type);
    }
}

static void comma_write(StringInfo out, bool is_first)
{
    if (!is_first) {
        appendStringInfoString(out, ", ");
    }
}

/* What stands alone is kept as an array of one, which is not written. */
static bool is_bracket(JsonbIteratorToken token, const JsonbValue *value, bool is_scalar)
{
    return token == WJB_BEGIN_OBJECT || token == WJB_END_OBJECT ||
           (token == WJB_BEGIN_ARRAY && !value->val.array.rawScalar) ||
           (token == WJB_END_ARRAY && !is_scalar);
}

static char bracket_of(JsonbIteratorToken token)
{
    switch (token) {
    case WJB_BEGIN_OBJECT:
        return '{';
    case WJB_END_OBJECT:
        return '}';
    case WJB_BEGIN_ARRAY:
        return '[';
    default:
        return ']';
    }
}

Slice slice_of_jsonb(Jsonb *json)
{
    StringInfoData out;
    JsonbIterator *iterator = JsonbIteratorInit(&json->root);
    JsonbIteratorToken token;
    JsonbValue value;
    bool is_first = true;
    initStringInfo(&out);
    enlargeStringInfo(&out, (int)VARSIZE(json));
    while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE) {
        bool opens = token == WJB_BEGIN_OBJECT || token == WJB_BEGIN_ARRAY;
        bool closes = token == WJB_END_OBJECT || token == WJB_END_ARRAY;
        if (!closes) {
            comma_write(&out, is_first);
        }
        if (is_bracket(token, &value, JB_ROOT_IS_SCALAR(json))) {
            appendStringInfoChar(&out, bracket_of(token));
        } else if (token == WJB_KEY) {
            string_write(&out, value.val.string.val, value.val.string.len);
            appendStringInfoString(&out, ": ");
        } else if (token == WJB_ELEM || token == WJB_VALUE) {
            scalar_write(&out, &value);
        }
        is_first = opens || token == WJB_KEY;
    }
    return slice_of(out.data, out.len);
}
