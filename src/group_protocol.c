/* group_protocol.c: the consumer protocol's bytes for SQL, see common/consumer_protocol.h: what a member of a
 * classic group subscribed to, and what its leader gave it. */
#include "compat.h"

#include "catalog/pg_type.h"
#include "common/consumer_protocol.h"
#include "fetch_rows.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(streamhouse_consumer_subscription);
PG_FUNCTION_INFO_V1(streamhouse_consumer_assignment);
PG_FUNCTION_INFO_V1(streamhouse_consumer_assignment_bytes);

enum { NAME_SIZE_MAX = 32767, PAIRS_MAX = 1000000 };

/* A list of texts or numbers that grows. */
typedef struct DatumList {
    Datum *values;
    int count;
    int room;
} DatumList;

static void list_add(DatumList *list, Datum value)
{
    if (list->count == list->room) {
        list->room = list->room ? 2 * list->room : 16;
        list->values = list->values ? repalloc(list->values, list->room * sizeof(Datum))
                                    : palloc(list->room * sizeof(Datum));
    }
    list->values[list->count++] = value;
}

static Datum texts_of(const DatumList *list)
{
    return PointerGetDatum(construct_array(list->values, list->count, TEXTOID, -1, false, TYPALIGN_INT));
}

static Datum numbers_of(const DatumList *list)
{
    return PointerGetDatum(
        construct_array(list->values, list->count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

/* Names that are no text are of no topic: they are left out. */
static Datum text_of(Slice name)
{
    return PointerGetDatum(cstring_to_text_with_len((const char *)name.data, (int)name.size));
}

static void pairs_add(ConsumerPartitions pairs, DatumList *topics, DatumList *partitions)
{
    Slice name;
    int32_t number;
    while (consumer_partitions_next(&pairs, &name, &number)) {
        if (is_text(name)) {
            list_add(topics, text_of(name));
            list_add(partitions, Int32GetDatum(number));
        }
    }
}

static Slice slice_argument(FunctionCallInfo fcinfo, int argument)
{
    bytea *bytes = PG_GETARG_BYTEA_PP(argument);
    return slice_of(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

static Datum row_return(FunctionCallInfo fcinfo, Datum *values)
{
    bool nulls[3] = { false, false, false };
    TupleDesc row_type;
    if (get_call_result_type(fcinfo, NULL, &row_type) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "the function is declared wrongly");
    }
    return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(row_type), values, nulls));
}

Datum streamhouse_consumer_subscription(PG_FUNCTION_ARGS)
{
    ConsumerSubscription said;
    DatumList topics = { 0 };
    DatumList owned_topics = { 0 };
    DatumList owned_partitions = { 0 };
    Slice name;
    if (!consumer_subscription_read(slice_argument(fcinfo, 0), &said)) {
        PG_RETURN_NULL();
    }
    while (consumer_topics_next(&said.topics, &name)) {
        if (is_text(name)) {
            list_add(&topics, text_of(name));
        }
    }
    pairs_add(said.owned, &owned_topics, &owned_partitions);
    Datum values[] = { texts_of(&topics), texts_of(&owned_topics), numbers_of(&owned_partitions) };
    return row_return(fcinfo, values);
}

Datum streamhouse_consumer_assignment(PG_FUNCTION_ARGS)
{
    ConsumerAssignment assignment;
    DatumList topics = { 0 };
    DatumList partitions = { 0 };
    if (!consumer_assignment_read(slice_argument(fcinfo, 0), &assignment)) {
        PG_RETURN_NULL();
    }
    pairs_add(assignment.partitions, &topics, &partitions);
    Datum values[] = { texts_of(&topics), numbers_of(&partitions) };
    return row_return(fcinfo, values);
}

static int elements_of(FunctionCallInfo fcinfo, int argument, Oid type, Datum **values)
{
    bool *nulls;
    int count;
    ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
    bool is_number = type == INT4OID;
    deconstruct_array(array, type, is_number ? (int)sizeof(int32) : -1, is_number, TYPALIGN_INT, values,
                      &nulls, &count);
    for (int i = 0; i < count; i++) {
        if (nulls[i]) {
            ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                    errmsg("an assignment has no null topics or partitions"));
        }
    }
    return count;
}

Datum streamhouse_consumer_assignment_bytes(PG_FUNCTION_ARGS)
{
    Datum *names;
    Datum *numbers;
    Writer writer;
    int count = elements_of(fcinfo, 0, TEXTOID, &names);
    if (count != elements_of(fcinfo, 1, INT4OID, &numbers) || count > PAIRS_MAX) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                errmsg("an assignment is pairs of a topic and a partition, %d at most", PAIRS_MAX));
    }
    Slice *topics = palloc(((size_t)count + 1) * sizeof(Slice));
    int32 *partitions = palloc(((size_t)count + 1) * sizeof(int32));
    for (int i = 0; i < count; i++) {
        text *name = DatumGetTextPP(names[i]);
        topics[i] = slice_of(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
        partitions[i] = DatumGetInt32(numbers[i]);
        if (topics[i].size > NAME_SIZE_MAX) {
            ereport(ERROR, errcode(ERRCODE_NAME_TOO_LONG),
                    errmsg("a topic's name of %zu bytes", topics[i].size));
        }
    }
    writer_init(&writer);
    consumer_assignment_write(&writer, topics, partitions, (size_t)count);
    if (writer_failed(&writer)) {
        writer_free(&writer);
        ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("memory is short"));
    }
    bytea *bytes = palloc(VARHDRSZ + writer.used);
    SET_VARSIZE(bytes, VARHDRSZ + writer.used);
    memcpy(VARDATA(bytes), writer.bytes, writer.used);
    writer_free(&writer);
    PG_RETURN_BYTEA_P(bytes);
}
